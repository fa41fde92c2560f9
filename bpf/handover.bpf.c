/* What changes hands: descriptors of sockets that one program gives another.
 *
 *   file_receive      a descriptor that arrives over a Unix socket: no network socket of another
 *                     namespace, or of another cgroup than the attached one. The hooks of
 *                     egress.bpf.c and guard.bpf.c are those of the cgroup that a socket was made
 *                     in, so one from outside would pass none of them
 *   socket_sendmsg    a connection belongs to the program that opened it, and to what that one
 *                     started: a grant to an executable covers its descendants, so for them the
 *                     answer would be the same. Any other program is refused
 *   sock_send_length  both, told when something has been sent; the agent then ends the connection
 *
 * A second lock: the first two are of the BPF security module, which not every kernel has and none
 * that is locked down; there the third stands in for them (6.3). `openshell status` says what is
 * in force (agent/kernel/features.c). */
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "caller.h"
#include "cgroup.h"
#include "common.h"
#include "decide.h"
#include "file.h"
#include "types.h"

char LICENSE[] SEC("license") = "GPL";

#define TCP_CLOSE 7 /* net/tcp_states.h: of Unix sockets, neither connected nor listening */

/* ---- A socket from outside ------------------------------------------------------------ */

/* A network socket of another namespace than its user's or, of an attached cgroup, which may share
 * its network with others, of another cgroup. */
static __always_inline __u32 find_outside(struct sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 attached;

	if (BPF_CORE_READ(sk, __sk_common.skc_net.net) != BPF_CORE_READ(task, nsproxy, net_ns))
		return OSH_KERNEL_WRONG_NETNS;
	attached = current_attached();
	return attached && !is_made_in(sk, attached) ? OSH_KERNEL_WRONG_CGROUP : 0;
}

/* Of a sandbox they are the mounts' and Landlock's matter. To an attached cgroup none is handed that
 * could be sent on or connected to others: a connection leads to whom it leads. */
static __always_inline __u32 find_outside_unix(struct sock *sk)
{
	__u64 attached = current_attached();

	if (!attached || is_made_in(sk, attached) ||
	    (BPF_CORE_READ(sk, sk_type) != OSH_SOCK_DGRAM && BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_CLOSE))
		return 0;
	return OSH_KERNEL_WRONG_CGROUP;
}

SEC("lsm_cgroup/file_receive")
int BPF_PROG(osh_file_receive, struct file *file)
{
	const struct osh_settings *set = get_settings();
	struct sock *sk = socket_of(file);
	struct osh_event event = {};
	struct caller caller;

	if (!sk)
		return LEAVE;
	event.family = BPF_CORE_READ(sk, __sk_common.skc_family);
	event.reason = event.family == OSH_AF_UNIX ? find_outside_unix(sk) : find_outside(sk);
	if (!event.reason)
		return LEAVE;
	caller = current_caller(set ? current_sandbox(set) : 0);
	event.sandbox = caller.sandbox;
	event.identity = caller.identity;
	event.pid = caller.tgid;
	report(&event);
	count(OSH_COUNT_SOCKET_REFUSED);
	return REFUSE;
}

/* ---- Another program's connection ---------------------------------------------------------- */

/* Is `identity` the one given, or was it started by it? */
static __always_inline int descends_from(__u32 identity, __u32 ancestor)
{
	for (int depth = 0; depth <= OSH_LINEAGE_MAX + 1; depth++) {
		const struct osh_identity *id;

		if (identity == ancestor)
			return 1;
		id = bpf_map_lookup_elem(&identities, &identity);
		if (!id || !id->parent)
			return 0;
		identity = id->parent;
	}
	return 0;
}

/* Of the flow its destination and cookie are looked at. */
static __always_inline void report_sender(const struct caller *caller, const struct osh_flow *flow,
					  __u32 reason)
{
	struct osh_event event = {
		.sandbox = caller->sandbox,
		.dst = flow->dst,
		.identity = caller->identity,
		.pid = caller->tgid,
		.reason = reason,
		.dst_port_host = flow->dst_port_host,
		.ip_protocol = OSH_IP_TCP,
		.family = osh_addr_is_v4(&flow->dst) ? OSH_AF_INET : OSH_AF_INET6,
		.cookie = flow->cookie,
	};

	report(&event);
}

/* What this socket dialled, if it was led to the agent and another program sends on it now. */
static __always_inline struct osh_socket *others_flow(struct sock *sk, struct caller *ret_caller)
{
	struct osh_socket *socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);

	if (!socket || socket->action != OSH_ACTION_REDIRECT)
		return NULL;
	*ret_caller = current_caller(socket->sandbox);
	return descends_from(ret_caller->identity, socket->flow.identity) ? NULL : socket;
}

SEC("lsm_cgroup/socket_sendmsg")
int BPF_PROG(osh_socket_sendmsg, struct socket *sock)
{
	const struct osh_socket *socket;
	struct sock *sk = sock->sk;
	struct caller caller;

	socket = sk ? others_flow(sk, &caller) : NULL;
	if (!socket)
		return LEAVE;
	report_sender(&caller, &socket->flow, OSH_KERNEL_OTHERS_FLOW);
	count(OSH_COUNT_SOCKET_REFUSED);
	return REFUSE;
}

/* ---- Telling only ---------------------------------------------------------------------------- */

static __always_inline struct osh_addr mapped(__u32 v4_be)
{
	return (struct osh_addr){ { 0, 0, bpf_htonl(0xffff), v4_be } };
}

static __always_inline void read_peer(struct sock *sk, struct osh_addr *ret_addr)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == OSH_AF_INET6)
		BPF_CORE_READ_INTO(ret_addr, sk, __sk_common.skc_v6_daddr);
	else
		*ret_addr = mapped(BPF_CORE_READ(sk, __sk_common.skc_daddr));
}

/* One that the proxy has not accepted yet it will not serve; one that it has, the agent ends. */
static __always_inline void mark_waiting(struct sock *sk, const struct osh_socket *socket)
{
	struct osh_flow_key key = {
		.sandbox = socket->sandbox,
		.client_port_host = BPF_CORE_READ(sk, __sk_common.skc_num),
	};
	struct osh_flow *flow;

	if (BPF_CORE_READ(sk, __sk_common.skc_family) == OSH_AF_INET6)
		BPF_CORE_READ_INTO(&key.client, sk, __sk_common.skc_v6_rcv_saddr);
	else
		key.client = mapped(BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
	flow = bpf_map_lookup_elem(&flows, &key);
	if (flow && flow->cookie == socket->flow.cookie)
		flow->is_shared = 1;
}

/* Each socket is told of once for each program that sends on it. */
static __always_inline void tell_outside(struct sock *sk, __u64 sandbox)
{
	struct osh_socket *socket = bpf_sk_storage_get(&sockets, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	struct caller caller = current_caller(sandbox);
	struct osh_flow peer = {};

	if (!socket || (socket->told && socket->told == caller.identity))
		return;
	socket->told = caller.identity;
	read_peer(sk, &peer.dst);
	peer.dst_port_host = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	report_sender(&caller, &peer, OSH_KERNEL_OUTSIDE_SOCKET);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(osh_sent, struct sock *sk, int result)
{
	const struct osh_settings *set = get_settings();
	__u64 sandbox = set ? current_sandbox(set) : 0;
	struct osh_socket *socket;
	struct caller caller;

	if (!sandbox || result <= 0 || BPF_CORE_READ(sk, __sk_common.skc_family) == OSH_AF_UNIX)
		return 0;
	if (find_outside(sk)) {
		tell_outside(sk, sandbox);
		return 0;
	}
	socket = others_flow(sk, &caller);
	if (!socket || (socket->told && socket->told == caller.identity))
		return 0;
	socket->told = caller.identity;
	mark_waiting(sk, socket);
	report_sender(&caller, &socket->flow, OSH_KERNEL_SHARED_FLOW);
	return 0;
}
