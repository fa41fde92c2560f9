/* The decisions of the connect and socket hooks, as plain C: no helper, no context, no
 * map. The hooks (egress.bpf.c, guard.bpf.c) collect the facts and carry out the answer;
 * tests compile this header on the host. Whatever is not named here is denied. */
#ifndef OSH_BPF_DECIDE_H
#define OSH_BPF_DECIDE_H

#include <linux/types.h>

#include "openshell/abi.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define OSH_BE32(x) __builtin_bswap32(x)
#else
#define OSH_BE32(x) (x)
#endif

#define OSH_DECIDE static inline __attribute__((always_inline, unused))

/* The numbers of the kernel's interface that are needed here; libc's headers and the
 * kernel's fight over them. */
#define OSH_AF_UNIX 1
#define OSH_AF_INET 2
#define OSH_AF_INET6 10
#define OSH_AF_NETLINK 16
#define OSH_NETLINK_ROUTE 0
#define OSH_SOCK_STREAM 1
#define OSH_SOCK_DGRAM 2
#define OSH_ECONNREFUSED 111
#define OSH_IP_HOPOPTS 0 /* IPv6 next header */
#define OSH_IP_ICMP 1
#define OSH_IP_TCP 6
#define OSH_IP_UDP 17
#define OSH_IP_FRAGMENT 44 /* IPv6 next header */
#define OSH_IP_ICMPV6 58

enum osh_action {
	OSH_ACTION_DENY = 0,
	OSH_ACTION_LEAVE,    /* let the call go on as it is */
	OSH_ACTION_NOBODY,   /* TCP: fail as where nobody listens, for nobody does: let through, it could meet
				somebody who has just begun to */
	OSH_ACTION_PEER,     /* UDP connect: nothing leaves yet; what does is dropped as a packet */
	OSH_ACTION_DNS,      /* point it at the agent's DNS socket */
	OSH_ACTION_JUDGE,    /* TCP: ask osh_decide_flow */
	OSH_ACTION_REDIRECT, /* point it at the agent's listener */
};

struct osh_decision {
	__u32 action; /* enum osh_action */
	__u32 reason; /* enum osh_kernel_reason when denied */
};

/* ---- Addresses --------------------------------------------------------------- */

OSH_DECIDE int osh_addr_is_v4(const struct osh_addr *addr)
{
	return addr->word_be[0] == 0 && addr->word_be[1] == 0 &&
	       addr->word_be[2] == OSH_BE32(0x0000ffff);
}

/* 127/8 and 0.0.0.0 (which the kernel turns into 127.0.0.1), their v4-mapped forms, ::1
 * and ::. */
OSH_DECIDE int osh_addr_is_loopback(const struct osh_addr *addr)
{
	__u32 last = addr->word_be[3];

	if (osh_addr_is_v4(addr))
		return (last & OSH_BE32(0xff000000)) == OSH_BE32(0x7f000000) || last == 0;
	return addr->word_be[0] == 0 && addr->word_be[1] == 0 && addr->word_be[2] == 0 &&
	       (last == OSH_BE32(1) || last == 0);
}

/* An address of the agent's in either family. */
OSH_DECIDE int osh_addr_is_gateway(const struct osh_addr *addr)
{
	__u32 last = OSH_BE32(addr->word_be[3]);

	if (last < OSH_GATEWAY || last > OSH_GATEWAY_LAST)
		return 0;
	return osh_addr_is_v4(addr) || (addr->word_be[0] == OSH_BE32(OSH_SYNTH6_WORD0) &&
					addr->word_be[1] == 0 && addr->word_be[2] == 0);
}

/* The agent's address in the form that a socket which dialled `dst` can reach. */
OSH_DECIDE void osh_addr_gateway_for(const struct osh_addr *dst, __u32 gateway_host,
				     struct osh_addr *ret_gateway)
{
	int v4 = osh_addr_is_v4(dst);

	ret_gateway->word_be[0] = v4 ? 0 : OSH_BE32(OSH_SYNTH6_WORD0);
	ret_gateway->word_be[1] = 0;
	ret_gateway->word_be[2] = v4 ? OSH_BE32(0x0000ffff) : 0;
	ret_gateway->word_be[3] = OSH_BE32(gateway_host);
}

/* ---- connect, sendmsg --------------------------------------------------------- */

struct osh_dial {
	struct osh_addr dst;
	__u16 dst_port_host;
	__u8 ip_protocol;
	__u8 sandbox_known;
	__u8 own_netns; /* the socket is not in the agent's network namespace */
	__u8 sends;     /* a datagram leaves at once; 0: connect */
	__u8 attached;  /* others may answer on this loopback, too */
	__u8 host_net;  /* attached, in the agent's network: a policy may name them */
	__u8 receiver;  /* attached, on loopback: enum osh_receiver */
};

enum osh_receiver {
	OSH_RECEIVER_NONE = 0,
	OSH_RECEIVER_OWN,    /* a socket that was made in the sandbox */
	OSH_RECEIVER_OTHERS,
};

/* Is the port not the sandbox's own? Only a first look: the source, not known yet, may decide who hears it,
 * so that packets are looked at again (osh_skb_egress). */
OSH_DECIDE int osh_is_others(const struct osh_dial *dial)
{
	if (dial->ip_protocol == OSH_IP_UDP)
		return dial->receiver == OSH_RECEIVER_OTHERS;
	return dial->receiver != OSH_RECEIVER_OWN;
}

/* First look: all that can be told from the destination. DNS comes before loopback, so
 * that a resolver on loopback is no way around the agent's. */
OSH_DECIDE struct osh_decision osh_decide_dial(const struct osh_dial *dial)
{
	struct osh_decision decision = { OSH_ACTION_DENY, OSH_KERNEL_PROTOCOL };
	int tcp = dial->ip_protocol == OSH_IP_TCP, udp = dial->ip_protocol == OSH_IP_UDP;

	if (!dial->sandbox_known) {
		decision.reason = OSH_KERNEL_NO_SANDBOX;
	} else if (!dial->own_netns) {
		decision.reason = OSH_KERNEL_WRONG_NETNS;
	} else if (!tcp && !udp) {
		decision.reason = OSH_KERNEL_PROTOCOL;
	} else if (dial->dst_port_host == OSH_DNS_PORT) {
		decision.action = OSH_ACTION_DNS;
	} else if (osh_addr_is_gateway(&dial->dst)) {
		decision.reason = OSH_KERNEL_AGENT_ADDRESS;
	} else if (tcp && osh_addr_is_loopback(&dial->dst) &&
		   dial->dst_port_host == OSH_INSPECTOR_PORT) {
		decision.reason = OSH_KERNEL_INSPECTOR;
	} else if (osh_addr_is_loopback(&dial->dst) && dial->attached && osh_is_others(dial)) {
		decision.reason = OSH_KERNEL_OTHERS_LOOPBACK;
		if (dial->host_net && tcp)
			decision.action = OSH_ACTION_JUDGE;
		else if (dial->receiver == OSH_RECEIVER_NONE)
			decision.action = OSH_ACTION_NOBODY;
	} else if (osh_addr_is_loopback(&dial->dst)) {
		decision.action = OSH_ACTION_LEAVE;
	} else if (tcp) {
		decision.action = OSH_ACTION_JUDGE;
	} else if (!dial->sends) {
		/* Resolvers connect to each address of an answer to learn their own (RFC 6724 5):
		 * refused, it would look unreachable and every lookup would leave a record. */
		decision.action = OSH_ACTION_PEER;
	}
	return decision;
}

struct osh_flow_facts {
	__u32 identity;       /* 0: unknown */
	__u32 identity_flags; /* OSH_EXE_* */
	__u16 dst_port_host;
	__u8 denied_before;   /* the denials map holds this question */
	__u8 reachable;       /* some policy names this address or, for the port, any address;
				 or the sandbox's policy is permissive. Not looked at where
				 osh_is_explained, but on loopback */
	__u8 loopback;        /* the host's: no denial there is explained */
};

/* Where the agent explains a denial in HTTP, so that every connection must come there. */
OSH_DECIDE int osh_is_explained(__u16 dst_port_host)
{
	return dst_port_host == 80 || dst_port_host == 443;
}

/* Second look, TCP only. */
OSH_DECIDE struct osh_decision osh_decide_flow(const struct osh_flow_facts *facts)
{
	struct osh_decision decision = { OSH_ACTION_DENY, OSH_KERNEL_NOT_REACHABLE };

	if (facts->identity == 0 || facts->identity_flags & OSH_EXE_NAMELESS) {
		decision.reason = OSH_KERNEL_NO_IDENTITY;
	} else if (facts->denied_before) {
		decision.reason = OSH_KERNEL_CACHED_DENIAL;
	} else if (facts->reachable || (osh_is_explained(facts->dst_port_host) && !facts->loopback)) {
		decision.action = OSH_ACTION_REDIRECT;
	} else if (facts->loopback) {
		decision.reason = OSH_KERNEL_OTHERS_LOOPBACK;
	}
	return decision;
}

/* ---- socket ------------------------------------------------------------------- */

/* TCP and UDP over IPv4 and IPv6. Asked only about those two families: the cgroup hook
 * runs for no other, which is why seccomp must refuse the rest. */
OSH_DECIDE int osh_decide_socket(__u32 family, __u32 type, __u32 protocol)
{
	if (family != OSH_AF_INET && family != OSH_AF_INET6)
		return 0;
	return (type == OSH_SOCK_STREAM && protocol == OSH_IP_TCP) ||
	       (type == OSH_SOCK_DGRAM && protocol == OSH_IP_UDP);
}

/* Asked about every family, before the kernel looks whether it has it: as the seccomp filter of a
 * sandbox (agent/sandbox/seccomp.c). Protocol 0 is the type's own. */
OSH_DECIDE int osh_decide_family(__u32 family, __u32 type, __u32 protocol)
{
	switch (family) {
	case OSH_AF_UNIX:
		return 1;
	case OSH_AF_INET:
	case OSH_AF_INET6:
		return (type == OSH_SOCK_STREAM || type == OSH_SOCK_DGRAM) &&
		       (protocol == 0 || protocol == OSH_IP_TCP || protocol == OSH_IP_UDP);
	case OSH_AF_NETLINK:
		return protocol == OSH_NETLINK_ROUTE;
	default:
		return 0;
	}
}

OSH_DECIDE int osh_decide_bind(__u16 port_host)
{
	return port_host != OSH_REDIRECT_PORT && port_host != OSH_DNS_PORT;
}

struct osh_unix_dial {
	__u8 sandbox_known;
	__u8 own_netns; /* as of struct osh_dial */
	__u8 dumping;   /* the caller is about to end, and its memory is being written */
};

/* Returns the enum osh_kernel_reason of a refusal, 0 to let the lookup go on. */
OSH_DECIDE __u32 osh_decide_unix(const struct osh_unix_dial *dial)
{
	if (!dial->sandbox_known)
		return OSH_KERNEL_NO_SANDBOX;
	if (dial->dumping)
		return OSH_KERNEL_CORE_DUMP;
	return dial->own_netns ? 0 : OSH_KERNEL_WRONG_NETNS;
}

/* ---- packets ------------------------------------------------------------------- */

struct osh_packet {
	struct osh_addr dst;
	__u32 ifindex;
	__u8 version;      /* 4 or 6 */
	__u8 header_words; /* version 4: ihl */
	__u8 protocol;     /* version 6: next header, behind a jumbo header if there is one */
};

/* A TCP segment over 64 KiB on its way over lo carries one hop-by-hop header that holds
 * nothing but a jumbo length (RFC 2675; "BIG TCP", Linux 5.19). Returns the protocol behind
 * that header, 0 when it is anything else. */
OSH_DECIDE __u8 osh_protocol_behind_jumbo(const __u8 header[8])
{
	const __u8 one_header = 0, jumbo_option = 0xc2, jumbo_len = 4;

	if (header[1] != one_header || header[2] != jumbo_option || header[3] != jumbo_len ||
	    header[0] != OSH_IP_TCP)
		return OSH_IP_HOPOPTS;
	return OSH_IP_TCP;
}

#define OSH_LOOPBACK_IFINDEX 1 /* LOOPBACK_IFINDEX: lo of every network namespace */

/* What leaves a socket of a sandbox stays on lo, goes to an address of lo, and carries no
 * IP option or routing header that could name another one (source routing hides the real
 * destination from the connect hooks). */
OSH_DECIDE int osh_decide_packet(const struct osh_packet *packet)
{
	if (packet->ifindex != OSH_LOOPBACK_IFINDEX)
		return 0;
	if (packet->version == 4 && packet->header_words != 5)
		return 0;
	if (packet->version != 4 && packet->version != 6)
		return 0;
	if (packet->protocol != OSH_IP_TCP && packet->protocol != OSH_IP_UDP &&
	    packet->protocol != (packet->version == 4 ? OSH_IP_ICMP : OSH_IP_ICMPV6) &&
	    !(packet->version == 6 && packet->protocol == OSH_IP_FRAGMENT))
		return 0;
	return osh_addr_is_loopback(&packet->dst) || osh_addr_is_gateway(&packet->dst);
}

#endif
