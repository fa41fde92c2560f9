/* What an attached cgroup has in place of a sandbox's namespaces, mounts and seccomp filter: its
 * programs are somebody else's and run as they did, so nothing but the kernel's security hooks can
 * hold them. Only where BPF is a security module; elsewhere osh_preflight names what is missing.
 *
 *   socket_create        the families, types and protocols that a sandbox has
 *   unix_stream_connect, unix_may_send
 *                        Unix sockets, by stream and by datagram: those made in the cgroup, whose
 *                        programs bound them, and those that the policy names. Decided on the socket
 *                        that a path has led to, which is one whatever its spelling; abstract names too
 *   ptrace_access_check, ptrace_traceme
 *                        no program acts as another one: that would be its identity. Looking (ps) is
 *                        no access
 *   bpf                  no program takes a hook away, or puts one in front
 *   capable              no program changes the network around the hooks (tc on lo would copy what
 *                        passes there), or the kernel. In every user namespace: that of a rootless
 *                        container owns its network, too
 *
 * Each asks for the caller's cgroup first. Programs elsewhere pay for that question, no more. */
#include <linux/bpf.h>
#include <linux/capability.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "caller.h"
#include "cgroup.h"
#include "common.h"
#include "decide.h"

char LICENSE[] SEC("license") = "GPL";

struct user_namespace;

#define PTRACE_MODE_ATTACH 0x02 /* linux/ptrace.h of the kernel */

static __always_inline void name_caller(__u64 sandbox, struct osh_event *event)
{
	const struct caller caller = current_caller(sandbox);

	event->sandbox = sandbox;
	event->identity = caller.identity;
	event->pid = caller.tgid;
	count(OSH_COUNT_SOCKET_REFUSED);
}

static __always_inline int refuse(__u64 sandbox, struct osh_event *event)
{
	name_caller(sandbox, event);
	report(event);
	return REFUSE;
}

/* ---- Sockets --------------------------------------------------------------------------- */

SEC("lsm_cgroup/socket_create")
int BPF_PROG(osh_attached_socket, int family, int type, int protocol, int by_kernel)
{
	struct osh_event event = {
		.reason = OSH_KERNEL_SOCKET_TYPE,
		.family = family,
		.sock_type = type,
		.ip_protocol = protocol,
	};
	__u64 sandbox = current_attached();

	if (!sandbox || by_kernel || osh_decide_family(family, type, protocol))
		return LEAVE;
	return refuse(sandbox, &event);
}

static __always_inline int is_named(struct sock *sk, __u64 sandbox)
{
	struct inode *inode = BPF_CORE_READ((struct unix_sock *)sk, path.dentry, d_inode);
	struct osh_unix_key key = { .sandbox = sandbox };

	if (!inode)
		return 0;
	key.ino = BPF_CORE_READ(inode, i_ino);
	key.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	key.generation = BPF_CORE_READ(inode, i_generation);
	return bpf_map_lookup_elem(&unix_sockets, &key) != NULL;
}

static __always_inline void read_name(struct sock *sk, char name[OSH_UNIX_NAME_MAX])
{
	struct unix_address *address = BPF_CORE_READ((struct unix_sock *)sk, addr);
	__u32 len = BPF_CORE_READ(address, len) - sizeof(unsigned short);

	__builtin_memset(name, 0, OSH_UNIX_NAME_MAX);
	if (address && len < OSH_UNIX_NAME_MAX)
		bpf_probe_read_kernel(name, len, address->name[0].sun_path);
}

static __always_inline int refuse_unix(__u64 sandbox, struct osh_event *event, struct sock *peer)
{
	struct osh_unix_event *record;

	name_caller(sandbox, event);
	record = begin_record(event, sizeof(*record));
	if (!record)
		return REFUSE;
	read_name(peer, record->name);
	submit_record(&record->event);
	return REFUSE;
}

static __always_inline int judge_unix(struct sock *peer, __u32 type)
{
	struct osh_event event = {
		.reason = OSH_KERNEL_UNIX_SOCKET,
		.family = OSH_AF_UNIX,
		.sock_type = type,
	};
	__u64 sandbox = current_attached();

	if (!sandbox || !peer || is_made_in(peer, sandbox) || is_named(peer, sandbox))
		return LEAVE;
	return refuse_unix(sandbox, &event, peer);
}

SEC("lsm_cgroup/unix_stream_connect")
int BPF_PROG(osh_attached_unix_connect, struct sock *sk, struct sock *listener)
{
	return judge_unix(listener, OSH_SOCK_STREAM);
}

SEC("lsm_cgroup/unix_may_send")
int BPF_PROG(osh_attached_unix_send, struct socket *socket, struct socket *peer)
{
	return judge_unix(BPF_CORE_READ(peer, sk), OSH_SOCK_DGRAM);
}

/* ---- Other programs --------------------------------------------------------------------- */

static __always_inline int refuse_call(__u32 reason)
{
	struct osh_event event = { .reason = reason };
	__u64 sandbox = current_attached();

	return sandbox ? refuse(sandbox, &event) : LEAVE;
}

SEC("lsm_cgroup/ptrace_access_check")
int BPF_PROG(osh_attached_ptrace, struct task_struct *other, unsigned int mode)
{
	return mode & PTRACE_MODE_ATTACH ? refuse_call(OSH_KERNEL_OTHERS_PLACE) : LEAVE;
}

SEC("lsm_cgroup/ptrace_traceme")
int BPF_PROG(osh_attached_traceme, struct task_struct *parent)
{
	return refuse_call(OSH_KERNEL_OTHERS_PLACE);
}

/* ---- The rules themselves ----------------------------------------------------------------- */

SEC("lsm_cgroup/bpf")
int BPF_PROG(osh_attached_bpf, int command)
{
	return refuse_call(OSH_KERNEL_BPF);
}

/* Without a record: programs ask for what they can do by trying. */
SEC("lsm_cgroup/capable")
int BPF_PROG(osh_attached_capable, const struct cred *cred, struct user_namespace *namespace, int capability)
{
	if (capability != CAP_NET_ADMIN && capability != CAP_SYS_MODULE)
		return LEAVE;
	return current_attached() ? REFUSE : LEAVE;
}
