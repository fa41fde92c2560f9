/* What never: sockets and packets that no rule can allow.
 *
 *   sock_create     only TCP and UDP (UDP-Lite and raw sockets reach no address hook at
 *                   all). It runs for AF_INET and AF_INET6 alone: AF_PACKET, AF_VSOCK and
 *                   the other families are seccomp's work (agent/sandbox), or attached.bpf.c's
 *   bind4|6         not the agent's ports, should it be away
 *   connect_unix, sendmsg_unix
 *                   Unix sockets, by stream and by datagram: only for a sandbox that is in
 *                   force, only from its own network namespace, which bounds the abstract
 *                   names. They run before the path is looked up, so which socket a path leads
 *                   to is decided on its inode by the mount (agent/sandbox/idmap.c). None for
 *                   the kernel that hands out the memory of who crashed
 *   skb egress      the packet itself: stays on lo, no source routing; on the lo of an attached cgroup
 *                   no datagram and no connection goes to a program outside */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "common.h"
#include "decide.h"
#include "types.h"

#define TCP_FLAGS_AT 13
#define TCP_SYN 0x02
#define TCP_ACK 0x10
#define PF_DUMPCORE 0x200 /* include/linux/sched.h */

char LICENSE[] SEC("license") = "GPL";

/* ---- Sockets ------------------------------------------------------------------------ */

static __always_inline void report_socket(struct osh_event *event, __u64 sandbox, __u32 reason)
{
	event->sandbox = sandbox;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->reason = reason;
	report(event);
	count(OSH_COUNT_SOCKET_REFUSED);
}

/* So that on a loopback with others on it the sandbox's own sockets are known. */
static __always_inline int mark_own(struct bpf_sock *ctx, __u64 sandbox)
{
	struct osh_socket *socket = bpf_sk_storage_get(&sockets, ctx, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (socket)
		socket->sandbox = sandbox;
	return socket != NULL;
}

SEC("cgroup/sock_create")
int osh_sock_create(struct bpf_sock *ctx)
{
	const struct osh_settings *set = get_settings();
	struct osh_event event = {
		.family = ctx->family,
		.sock_type = ctx->type,
		.ip_protocol = ctx->protocol,
	};
	const struct osh_sandbox *entry;
	__u64 sandbox;

	if (!set)
		return 0;
	sandbox = current_sandbox(set);
	entry = bpf_map_lookup_elem(&sandboxes, &sandbox);
	if (!entry) {
		report_socket(&event, sandbox, OSH_KERNEL_NO_SANDBOX);
		return 0;
	}
	if (!osh_decide_socket(ctx->family, ctx->type, ctx->protocol)) {
		report_socket(&event, sandbox, OSH_KERNEL_SOCKET_TYPE);
		return 0;
	}
	return !(entry->flags & OSH_SANDBOX_ATTACHED) || mark_own(ctx, sandbox);
}

static __always_inline int judge_bind(struct bpf_sock_addr *ctx)
{
	const struct osh_settings *set = get_settings();
	struct osh_event event = {
		.dst_port_host = bpf_ntohs((__u16)ctx->user_port),
		.family = ctx->family,
		.sock_type = ctx->type,
		.ip_protocol = ctx->protocol,
	};

	if (!set)
		return 0;
	if (osh_decide_bind(event.dst_port_host))
		return 1;
	report_socket(&event, current_sandbox(set), OSH_KERNEL_RESERVED_PORT);
	return 0;
}

SEC("cgroup/bind4")
int osh_bind4(struct bpf_sock_addr *ctx)
{
	return judge_bind(ctx);
}

SEC("cgroup/bind6")
int osh_bind6(struct bpf_sock_addr *ctx)
{
	return judge_bind(ctx);
}

/* From "@" in core_pattern (Linux 6.16, fs/coredump.c) the kernel itself connects, as who crashes, whatever
 * the limit. No program of its own runs any more. */
static __always_inline int is_dumping(void)
{
	const struct task_struct *task = bpf_get_current_task_btf();

	return (task->flags & PF_DUMPCORE) != 0;
}

static __always_inline int judge_unix(struct bpf_sock_addr *ctx)
{
	const struct osh_settings *set = get_settings();
	struct osh_event event = { .family = OSH_AF_UNIX, .sock_type = ctx->type };
	struct osh_unix_dial dial = {};
	const struct osh_sandbox *entry;
	__u64 sandbox;

	if (!set)
		return 0;
	sandbox = current_sandbox(set);
	entry = bpf_map_lookup_elem(&sandboxes, &sandbox);
	dial.sandbox_known = entry != NULL;
	dial.dumping = is_dumping();
	/* An attached cgroup's are judged where they lead to, if at all (attached.bpf.c). */
	dial.own_netns = (entry && entry->flags & OSH_SANDBOX_ATTACHED) ||
			 is_own_netns(set, entry, bpf_get_netns_cookie(ctx));
	event.reason = osh_decide_unix(&dial);
	if (!event.reason)
		return 1;
	report_socket(&event, sandbox, event.reason);
	return 0;
}

/* Attach types of Linux 6.7, which libbpf 1.1 has no section names for: the loader sets
 * them, and leaves both out where the kernel has none (agent/kernel/install.c). */
SEC("cgroup/connect4")
int osh_connect_unix(struct bpf_sock_addr *ctx)
{
	return judge_unix(ctx);
}

SEC("cgroup/sendmsg4")
int osh_sendmsg_unix(struct bpf_sock_addr *ctx)
{
	return judge_unix(ctx);
}

/* ---- Packets ------------------------------------------------------------------------- */

static __always_inline int read_packet(struct __sk_buff *ctx, struct osh_packet *packet)
{
	struct iphdr v4;
	struct ipv6hdr v6;
	__u8 jumbo[8];

	packet->ifindex = ctx->ifindex;
	if (ctx->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(ctx, 0, &v4, sizeof(v4)) < 0)
			return 0;
		packet->version = v4.version;
		packet->header_words = v4.ihl;
		packet->protocol = v4.protocol;
		packet->dst.word_be[2] = bpf_htonl(0xffff);
		packet->dst.word_be[3] = v4.daddr;
		return 1;
	}
	if (ctx->protocol != bpf_htons(ETH_P_IPV6) ||
	    bpf_skb_load_bytes(ctx, 0, &v6, sizeof(v6)) < 0)
		return 0;
	packet->version = v6.version;
	packet->protocol = v6.nexthdr;
	if (v6.nexthdr == OSH_IP_HOPOPTS && bpf_skb_load_bytes(ctx, sizeof(v6), jumbo, sizeof(jumbo)) == 0)
		packet->protocol = osh_protocol_behind_jumbo(jumbo);
	__builtin_memcpy(&packet->dst, &v6.daddr, sizeof(packet->dst));
	return 1;
}

/* A connected UDP socket: its connect hook knew the process. The send fails with EPERM. */
static __always_inline void name_sender(struct __sk_buff *ctx, struct osh_event *event)
{
	struct bpf_sock *sk = ctx->sk;
	const struct osh_socket *socket;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk)
		return;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!socket || socket->action != OSH_ACTION_PEER)
		return;
	event->reason = OSH_KERNEL_PROTOCOL;
	event->identity = socket->flow.identity;
	event->pid = socket->flow.pid;
	event->dst = socket->flow.dst;
	event->dst_port_host = socket->flow.dst_port_host;
}

/* No process: this may run in an interrupt. The socket's cgroup still tells. */
static __always_inline __u64 sandbox_of_packet(struct __sk_buff *ctx, const struct osh_settings *set)
{
	__u32 zero = 0;
	const __u32 *levels = bpf_map_lookup_elem(&attached_levels, &zero);

	if (bpf_skb_ancestor_cgroup_id(ctx, set->root_level) == set->root_cgroup)
		return bpf_skb_ancestor_cgroup_id(ctx, set->root_level + 1);
	for (int level = 0; levels && *levels && level <= OSH_ATTACH_LEVEL_MAX; level++) {
		__u64 id = *levels & 1u << level ? bpf_skb_ancestor_cgroup_id(ctx, level) : 0;

		if (id && bpf_map_lookup_elem(&sandboxes, &id))
			return id;
	}
	return 0;
}

static __always_inline void report_packet(struct __sk_buff *ctx, const struct osh_packet *packet, __u32 reason)
{
	const struct osh_settings *set = get_settings();
	struct osh_event event = {
		.sandbox = set ? sandbox_of_packet(ctx, set) : 0,
		.dst = packet->dst,
		.reason = reason,
		.ip_protocol = packet->protocol,
		.family = packet->version == 6 ? OSH_AF_INET6 : OSH_AF_INET,
	};

	name_sender(ctx, &event);
	report(&event);
	count(OSH_COUNT_PACKET_DROPPED);
}

static __always_inline struct bpf_sock *look_up(struct __sk_buff *ctx, const struct osh_packet *packet,
						struct bpf_sock_tuple *tuple, __u32 len)
{
	return packet->protocol == OSH_IP_TCP ? bpf_sk_lookup_tcp(ctx, tuple, len, BPF_F_CURRENT_NETNS, 0) :
						bpf_sk_lookup_udp(ctx, tuple, len, BPF_F_CURRENT_NETNS, 0);
}

/* The very receiver: also of a connected socket's datagram as it is now, for behind one that was the
 * sandbox's own at connect another program may have bound the port, and of a connection to a port that
 * several listen at (SO_REUSEPORT), among whom its source decides. */
static __always_inline __u8 find_receiver(struct __sk_buff *ctx, const struct osh_packet *packet, __u64 sandbox)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk = NULL;
	__u8 receiver;

	if (packet->version == 4) {
		if (bpf_skb_load_bytes(ctx, offsetof(struct iphdr, saddr), &tuple.ipv4.saddr, 8) == 0 &&
		    bpf_skb_load_bytes(ctx, sizeof(struct iphdr), &tuple.ipv4.sport, 4) == 0)
			sk = look_up(ctx, packet, &tuple, sizeof(tuple.ipv4));
	} else if (bpf_skb_load_bytes(ctx, offsetof(struct ipv6hdr, saddr), tuple.ipv6.saddr, 32) == 0 &&
		   bpf_skb_load_bytes(ctx, sizeof(struct ipv6hdr), &tuple.ipv6.sport, 4) == 0) {
		sk = look_up(ctx, packet, &tuple, sizeof(tuple.ipv6));
	}
	if (!sk)
		return OSH_RECEIVER_NONE;
	receiver = whose_is(sk, sandbox);
	bpf_sk_release(sk);
	return receiver;
}

/* Does who hears it depend on who is bound there now? */
static __always_inline int is_local_opening(struct __sk_buff *ctx, const struct osh_packet *packet)
{
	__u32 header_bytes = packet->version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	__u8 flags = 0;

	if (!osh_addr_is_loopback(&packet->dst))
		return 0;
	if (packet->protocol != OSH_IP_TCP)
		return packet->protocol == OSH_IP_UDP;
	return bpf_skb_load_bytes(ctx, header_bytes + TCP_FLAGS_AT, &flags, 1) < 0 ||
	       (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Not to be heard by a program outside; where nobody is, there is nothing to tell either. Nobody is found
 * also where an earlier connection of these ports has just ended: the connect hook has seen who listens. */
static __always_inline int judge_local(struct __sk_buff *ctx, const struct osh_packet *packet)
{
	const struct osh_settings *set = get_settings();
	__u64 id = set ? sandbox_of_packet(ctx, set) : 0;
	const struct osh_sandbox *sandbox = bpf_map_lookup_elem(&sandboxes, &id);
	__u8 receiver;

	if (sandbox && !(sandbox->flags & OSH_SANDBOX_ATTACHED))
		return 1;
	receiver = find_receiver(ctx, packet, id);
	if (receiver == OSH_RECEIVER_OTHERS)
		report_packet(ctx, packet, OSH_KERNEL_OTHERS_LOOPBACK);
	return receiver == OSH_RECEIVER_OWN || (receiver == OSH_RECEIVER_NONE && packet->protocol == OSH_IP_TCP);
}

static __always_inline int is_kept(struct __sk_buff *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	const struct osh_socket *socket;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 0;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	return socket && socket->action == OSH_SOCKET_KEPT;
}

SEC("cgroup_skb/egress")
int osh_skb_egress(struct __sk_buff *ctx)
{
	struct osh_packet packet = {};

	if (!read_packet(ctx, &packet) || (!osh_decide_packet(&packet) && !is_kept(ctx))) {
		report_packet(ctx, &packet, OSH_KERNEL_PACKET);
		return 0;
	}
	return !is_local_opening(ctx, &packet) || is_kept(ctx) || judge_local(ctx, &packet);
}
