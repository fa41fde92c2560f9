/* Where to: every destination that a sandbox's socket is given.
 *
 *   connect4|6      TCP and UDP connect, TCP fast open: leave, deny, or point at the agent
 *   sendmsg4|6      UDP datagrams with an address: the same
 *   recvmsg4|6, getpeername4|6
 *                   show what was dialled instead of the agent's address
 *   sockops         an established redirected connection: hand its record to the proxy
 *
 * The program, not the socket or the address given, says which family is dialled: a UDP
 * send may carry AF_UNSPEC and an IPv6 socket an IPv4 address, so neither user_family nor
 * family is ever looked at to decide. */
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "caller.h"
#include "common.h"
#include "decide.h"
#include "types.h"

char LICENSE[] SEC("license") = "GPL";

/* ---- Addresses in and out of the context ------------------------------------------ */

static __always_inline struct osh_addr read_v4(const struct bpf_sock_addr *ctx)
{
	return (struct osh_addr){ { 0, 0, bpf_htonl(0xffff), ctx->user_ip4 } };
}

static __always_inline struct osh_addr read_v6(const struct bpf_sock_addr *ctx)
{
	return (struct osh_addr){ { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2],
				    ctx->user_ip6[3] } };
}

static __always_inline __u16 read_port(const struct bpf_sock_addr *ctx)
{
	return bpf_ntohs((__u16)ctx->user_port);
}

static __always_inline void write_v4(struct bpf_sock_addr *ctx, const struct osh_addr *addr,
				     __u16 port_host)
{
	ctx->user_ip4 = addr->word_be[3];
	ctx->user_port = bpf_htons(port_host);
}

static __always_inline void write_v6(struct bpf_sock_addr *ctx, const struct osh_addr *addr,
				     __u16 port_host)
{
	ctx->user_ip6[0] = addr->word_be[0];
	ctx->user_ip6[1] = addr->word_be[1];
	ctx->user_ip6[2] = addr->word_be[2];
	ctx->user_ip6[3] = addr->word_be[3];
	ctx->user_port = bpf_htons(port_host);
}

/* ---- Facts -------------------------------------------------------------------------- */

static __always_inline int is_reachable(const struct caller *caller, const struct osh_dial *dial)
{
	struct osh_reach_key key = {
		.sandbox = caller->sandbox,
		.dst = dial->dst,
		.dst_port_host = dial->dst_port_host,
	};

	if (caller->sandbox_flags & OSH_SANDBOX_REACHES_ALL)
		return 1;
	if (bpf_map_lookup_elem(&reachable, &key))
		return 1;
	__builtin_memset(&key.dst, 0, sizeof(key.dst)); /* any address on that port */
	return bpf_map_lookup_elem(&reachable, &key) != NULL;
}

static __always_inline int is_denied_before(const struct caller *caller,
					    const struct osh_dial *dial)
{
	struct osh_denial_key key = {
		.sandbox = caller->sandbox,
		.dst = dial->dst,
		.generation = caller->generation,
		.identity = caller->identity,
		.dst_port_host = dial->dst_port_host,
	};

	return bpf_map_lookup_elem(&denials, &key) != NULL;
}

static __always_inline struct osh_decision judge_flow(const struct caller *caller,
						      const struct osh_dial *dial)
{
	struct osh_flow_facts facts = {
		.identity = caller->identity,
		.identity_flags = caller->flags,
		.dst_port_host = dial->dst_port_host,
		.denied_before = is_denied_before(caller, dial),
		.loopback = osh_addr_is_loopback(&dial->dst),
	};

	facts.reachable = (facts.loopback || !osh_is_explained(dial->dst_port_host)) && is_reachable(caller, dial);

	return osh_decide_flow(&facts);
}

/* ---- connect, sendmsg ------------------------------------------------------------------ */

/* Remember what was dialled, with the socket. */
static __always_inline int remember(struct bpf_sock_addr *ctx, const struct caller *caller,
				    const struct osh_dial *dial, __u32 action)
{
	struct bpf_sock *sk = ctx->sk;
	struct osh_socket *socket;

	if (!sk)
		return 0;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!socket)
		return 0;
	socket->flow.dst = dial->dst;
	socket->flow.dst_port_host = dial->dst_port_host;
	socket->flow.identity = caller->identity;
	socket->flow.pid = caller->tgid;
	socket->flow.cookie = bpf_get_socket_cookie(ctx);
	socket->sandbox = caller->sandbox;
	socket->action = action;
	socket->told = 0;
	return 1;
}

static __always_inline void report_dial(const struct caller *caller, const struct osh_dial *dial,
					__u32 reason)
{
	struct osh_event event = {
		.sandbox = caller->sandbox,
		.dst = dial->dst,
		.identity = caller->identity,
		.pid = caller->tgid,
		.reason = reason,
		.dst_port_host = dial->dst_port_host,
		.ip_protocol = dial->ip_protocol,
		.family = osh_addr_is_v4(&dial->dst) ? OSH_AF_INET : OSH_AF_INET6,
	};

	report(&event);
	count(OSH_COUNT_CONNECT_DENIED);
}

static __always_inline struct bpf_sock *look_up(struct bpf_sock_addr *ctx, struct bpf_sock_tuple *tuple, __u32 len)
{
	return ctx->protocol == OSH_IP_TCP ? bpf_sk_lookup_tcp(ctx, tuple, len, BPF_F_CURRENT_NETNS, 0) :
					     bpf_sk_lookup_udp(ctx, tuple, len, BPF_F_CURRENT_NETNS, 0);
}

/* Whose socket listens, or is bound, at a loopback address? */
static __always_inline __u8 find_receiver(struct bpf_sock_addr *ctx, const struct osh_addr *dst, __u64 sandbox)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	__u8 receiver;

	if (osh_addr_is_v4(dst)) {
		tuple.ipv4.daddr = dst->word_be[3] ? dst->word_be[3] : bpf_htonl(0x7f000001);
		tuple.ipv4.dport = (__u16)ctx->user_port;
		sk = look_up(ctx, &tuple, sizeof(tuple.ipv4));
	} else {
		tuple.ipv6.daddr[3] = bpf_htonl(1);
		tuple.ipv6.dport = (__u16)ctx->user_port;
		sk = look_up(ctx, &tuple, sizeof(tuple.ipv6));
	}
	if (!sk)
		return OSH_RECEIVER_NONE;
	receiver = whose_is(sk, sandbox);
	bpf_sk_release(sk);
	return receiver;
}

/* One destination: what to do with it. Everything but OSH_ACTION_DENY is carried out by
 * the caller, who knows the family; the agent's address is behind *ret_gateway_host. */
static __noinline __u32 judge_dial(struct bpf_sock_addr *ctx, const struct osh_addr *dst, int sends,
				   __u32 *ret_gateway_host)
{
	const struct osh_settings *set = get_settings();
	struct caller caller = { .tgid = bpf_get_current_pid_tgid() >> 32 };
	struct osh_dial dial = {};
	const struct osh_sandbox *sandbox;
	struct osh_decision decision;

	if (!set || !dst || !ret_gateway_host)
		return OSH_ACTION_DENY;
	caller.sandbox = current_sandbox(set);
	sandbox = bpf_map_lookup_elem(&sandboxes, &caller.sandbox);
	if (sandbox) {
		caller.generation = sandbox->generation;
		caller.sandbox_flags = sandbox->flags;
	}
	find_identity(&caller);

	dial.dst = *dst;
	dial.dst_port_host = read_port(ctx);
	dial.ip_protocol = ctx->protocol;
	dial.sandbox_known = sandbox != NULL;
	dial.own_netns = is_own_netns(set, sandbox, bpf_get_netns_cookie(ctx));
	dial.sends = sends != 0;
	dial.attached = (caller.sandbox_flags & OSH_SANDBOX_ATTACHED) != 0;
	dial.host_net = (caller.sandbox_flags & OSH_SANDBOX_HOST_NET) != 0;
	if (dial.attached && osh_addr_is_loopback(dst))
		dial.receiver = find_receiver(ctx, dst, caller.sandbox);
	*ret_gateway_host = sandbox ? sandbox->gateway_host : OSH_GATEWAY;
	decision = osh_decide_dial(&dial);
	if (decision.action == OSH_ACTION_JUDGE)
		decision = judge_flow(&caller, &dial);
	if ((decision.action == OSH_ACTION_DNS || decision.action == OSH_ACTION_REDIRECT ||
	     decision.action == OSH_ACTION_PEER) &&
	    !remember(ctx, &caller, &dial, decision.action)) {
		decision.action = OSH_ACTION_DENY;
		decision.reason = OSH_KERNEL_TABLE_FULL;
	}
	switch (decision.action) {
	case OSH_ACTION_PEER:
		break;
	case OSH_ACTION_LEAVE:
		count(OSH_COUNT_CONNECT_LOCAL);
		break;
	case OSH_ACTION_DNS:
		count(OSH_COUNT_DNS_REDIRECTED);
		break;
	case OSH_ACTION_REDIRECT:
		count(OSH_COUNT_CONNECT_REDIRECTED);
		break;
	case OSH_ACTION_NOBODY:
		bpf_set_retval(-OSH_ECONNREFUSED);
		return OSH_ACTION_DENY;
	default:
		report_dial(&caller, &dial, decision.reason);
		return OSH_ACTION_DENY;
	}
	return decision.action;
}

/* The agent's port for an action, 0: none. */
static __always_inline __u16 agent_port(__u32 action)
{
	if (action == OSH_ACTION_DNS)
		return OSH_DNS_PORT;
	return action == OSH_ACTION_REDIRECT ? OSH_REDIRECT_PORT : 0;
}

static __always_inline int dial_v4(struct bpf_sock_addr *ctx, int sends)
{
	struct osh_addr dst = read_v4(ctx), gateway;
	__u32 gateway_host = OSH_GATEWAY;
	__u32 action = judge_dial(ctx, &dst, sends, &gateway_host);
	__u16 port_host = agent_port(action);

	if (port_host) {
		osh_addr_gateway_for(&dst, gateway_host, &gateway);
		write_v4(ctx, &gateway, port_host);
	}
	return action != OSH_ACTION_DENY;
}

static __always_inline int dial_v6(struct bpf_sock_addr *ctx, int sends)
{
	struct osh_addr dst = read_v6(ctx), gateway;
	__u32 gateway_host = OSH_GATEWAY;
	__u32 action = judge_dial(ctx, &dst, sends, &gateway_host);
	__u16 port_host = agent_port(action);

	if (port_host) {
		osh_addr_gateway_for(&dst, gateway_host, &gateway);
		write_v6(ctx, &gateway, port_host);
	}
	return action != OSH_ACTION_DENY;
}

SEC("cgroup/connect4")
int osh_connect4(struct bpf_sock_addr *ctx)
{
	return dial_v4(ctx, 0);
}

SEC("cgroup/connect6")
int osh_connect6(struct bpf_sock_addr *ctx)
{
	return dial_v6(ctx, 0);
}

SEC("cgroup/sendmsg4")
int osh_sendmsg4(struct bpf_sock_addr *ctx)
{
	return dial_v4(ctx, 1);
}

SEC("cgroup/sendmsg6")
int osh_sendmsg6(struct bpf_sock_addr *ctx)
{
	return dial_v6(ctx, 1);
}

/* ---- recvmsg, getpeername ------------------------------------------------------------ */

/* What this socket dialled, if `shown` is where the agent answers. */
static __always_inline const struct osh_socket *dialled(struct bpf_sock_addr *ctx,
							const struct osh_addr *shown)
{
	struct bpf_sock *sk = ctx->sk;
	const struct osh_socket *socket;

	if (!sk || !osh_addr_is_gateway(shown))
		return NULL;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!socket || read_port(ctx) != agent_port(socket->action))
		return NULL;
	return socket;
}

static __always_inline int show_v4(struct bpf_sock_addr *ctx)
{
	struct osh_addr shown = read_v4(ctx);
	const struct osh_socket *socket = dialled(ctx, &shown);

	if (socket)
		write_v4(ctx, &socket->flow.dst, socket->flow.dst_port_host);
	return 1;
}

static __always_inline int show_v6(struct bpf_sock_addr *ctx)
{
	struct osh_addr shown = read_v6(ctx);
	const struct osh_socket *socket = dialled(ctx, &shown);

	if (socket)
		write_v6(ctx, &socket->flow.dst, socket->flow.dst_port_host);
	return 1;
}

SEC("cgroup/recvmsg4")
int osh_recvmsg4(struct bpf_sock_addr *ctx)
{
	return show_v4(ctx);
}

SEC("cgroup/recvmsg6")
int osh_recvmsg6(struct bpf_sock_addr *ctx)
{
	return show_v6(ctx);
}

SEC("cgroup/getpeername4")
int osh_getpeername4(struct bpf_sock_addr *ctx)
{
	return show_v4(ctx);
}

SEC("cgroup/getpeername6")
int osh_getpeername6(struct bpf_sock_addr *ctx)
{
	return show_v6(ctx);
}

/* ---- sockops ----------------------------------------------------------------------------- */

static __always_inline void read_client(const struct bpf_sock_ops *ctx, struct osh_flow_key *key)
{
	if (ctx->family == OSH_AF_INET6) { /* holds the v4-mapped form on an IPv4 connection */
		key->client.word_be[0] = ctx->local_ip6[0];
		key->client.word_be[1] = ctx->local_ip6[1];
		key->client.word_be[2] = ctx->local_ip6[2];
		key->client.word_be[3] = ctx->local_ip6[3];
		/* Or clang joins the two branches' last reads behind one computed address, and
		 * the verifier takes a context only at constant offsets. */
		barrier();
	} else {
		key->client.word_be[2] = bpf_htonl(0xffff);
		key->client.word_be[3] = ctx->local_ip4;
	}
	key->client_port_host = ctx->local_port;
}

/* The proxy refuses what it finds nothing about; why is known here. */
static __noinline int report_lost_flow(const struct osh_socket *socket)
{
	struct osh_event event = {
		.reason = OSH_KERNEL_TABLE_FULL,
		.ip_protocol = OSH_IP_TCP,
	};

	if (!socket)
		return 0;
	event.sandbox = socket->sandbox;
	event.dst = socket->flow.dst;
	event.identity = socket->flow.identity;
	event.pid = socket->flow.pid;
	event.dst_port_host = socket->flow.dst_port_host;
	event.family = osh_addr_is_v4(&socket->flow.dst) ? OSH_AF_INET : OSH_AF_INET6;
	report(&event);
	count(OSH_COUNT_FLOW_LOST);
	return 0;
}

/* The client's side is established before the final ACK leaves, so before the listener can
 * accept: the proxy always finds the record. */
SEC("sockops")
int osh_sockops(struct bpf_sock_ops *ctx)
{
	struct osh_flow_key key = {};
	const struct osh_socket *socket;
	struct bpf_sock *sk;

	if (ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		return 1;
	sk = ctx->sk;
	if (!sk)
		return 1;
	socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);
	if (!socket || socket->action != OSH_ACTION_REDIRECT)
		return 1;
	key.sandbox = socket->sandbox;
	read_client(ctx, &key);
	if (bpf_map_update_elem(&flows, &key, &socket->flow, BPF_ANY))
		report_lost_flow(socket);
	return 1;
}
