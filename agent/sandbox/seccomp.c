/* The system calls that a sandbox goes without: one table, a reason per row. A second
 * lock on most of them (namespaces, capabilities and the kernel half are the first);
 * for io_uring, AF_VSOCK and the like it is one of two locks, each alone sufficient. */
#include "sandbox/internal.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <netinet/in.h>

#include "base/mem.h"
#include "base/seccomp.h"

/* The highest call number that somebody has judged for this table (mseal, Linux 6.10).
 * Newer ones answer ENOSYS, as on an older kernel, until they are judged too: 467
 * (open_tree_attr) shows why. Numbers from 424 on are the same on every architecture. */
#define JUDGED_MAX 462

#define FAMILIES_MAX 46   /* AF_MAX of Linux 6.18 */
#define TYPE_MASK 0xf     /* SOCK_TYPE_MASK */

struct call_rule {
	int call;
	int code;            /* what it answers */
	const char *reason;
};

static const struct call_rule denied_calls[] = {
	/* A network or a file system that no hook and no rule has seen. */
	{ SCMP_SYS(io_uring_setup), EPERM, "connects in kernel workers, files past seccomp" },
	{ SCMP_SYS(io_uring_enter), EPERM, "as io_uring_setup" },
	{ SCMP_SYS(io_uring_register), EPERM, "as io_uring_setup" },
	{ SCMP_SYS(setns), EPERM, "enters another namespace" },
	/* Its flags are in memory, out of a filter's reach; ENOSYS makes libcs use clone. */
	{ SCMP_SYS(clone3), ENOSYS, "could make namespaces" },
	{ SCMP_SYS(mount), EPERM, "changes the root that Landlock and identity rest on" },
	{ SCMP_SYS(umount2), EPERM, "uncovers what was bound over" },
	{ SCMP_SYS(pivot_root), EPERM, "as mount" },
	{ SCMP_SYS(chroot), EPERM, "makes another path name an allowed binary" },
	{ SCMP_SYS(open_tree), EPERM, "as mount" },
	{ SCMP_SYS(move_mount), EPERM, "as mount" },
	{ SCMP_SYS(fsopen), EPERM, "as mount" },
	{ SCMP_SYS(fsconfig), EPERM, "as mount" },
	{ SCMP_SYS(fsmount), EPERM, "as mount" },
	{ SCMP_SYS(fspick), EPERM, "as mount" },
	{ SCMP_SYS(mount_setattr), EPERM, "as mount" },
	{ SCMP_SYS(open_by_handle_at), EPERM, "opens files without a path" },
	{ SCMP_SYS(fanotify_init), EPERM, "watches beyond its own tree" },

	/* Acting as another program: identity is who runs, not who steers. */
	{ SCMP_SYS(ptrace), EPERM, "drives an allowed binary" },
	{ SCMP_SYS(process_vm_readv), EPERM, "reads another program's memory" },
	{ SCMP_SYS(process_vm_writev), EPERM, "writes another program's memory" },
	{ SCMP_SYS(process_madvise), EPERM, "acts on another program's memory" },
	{ SCMP_SYS(pidfd_getfd), EPERM, "takes another program's connections" },
	{ SCMP_SYS(kcmp), EPERM, "compares kernel objects of other programs" },

	/* The kernel's own machinery: large attack surface, no use for a program here. */
	{ SCMP_SYS(bpf), EPERM, "the language that the enforcement is written in" },
	{ SCMP_SYS(perf_event_open), EPERM, "observes the kernel and others" },
	{ SCMP_SYS(userfaultfd), EPERM, "stretches races in the kernel" },
	{ SCMP_SYS(keyctl), EPERM, "keyrings are not namespaced" },
	{ SCMP_SYS(add_key), EPERM, "as keyctl" },
	{ SCMP_SYS(request_key), EPERM, "runs a helper on the host" },
	{ SCMP_SYS(syslog), EPERM, "reads the kernel's log" },
	{ SCMP_SYS(lookup_dcookie), EPERM, "profiling of the whole host" },
	{ SCMP_SYS(kexec_load), EPERM, "replaces the kernel" },
	{ SCMP_SYS(kexec_file_load), EPERM, "replaces the kernel" },
	{ SCMP_SYS(init_module), EPERM, "changes the kernel" },
	{ SCMP_SYS(finit_module), EPERM, "changes the kernel" },
	{ SCMP_SYS(delete_module), EPERM, "changes the kernel" },

	/* The host itself. */
	{ SCMP_SYS(reboot), EPERM, "acts on the host" },
	{ SCMP_SYS(swapon), EPERM, "acts on the host" },
	{ SCMP_SYS(swapoff), EPERM, "acts on the host" },
	{ SCMP_SYS(acct), EPERM, "acts on the host" },
	{ SCMP_SYS(quotactl), EPERM, "acts on the host" },
	{ SCMP_SYS(quotactl_fd), EPERM, "acts on the host" },
	{ SCMP_SYS(settimeofday), EPERM, "acts on the host" },
	{ SCMP_SYS(clock_settime), EPERM, "acts on the host" },
	{ SCMP_SYS(vhangup), EPERM, "hangs up a terminal" },
	{ SCMP_SYS(iopl), EPERM, "device access" },
	{ SCMP_SYS(ioperm), EPERM, "device access" },
	{ SCMP_SYS(nfsservctl), EPERM, "removed from the kernel long ago" },
};

/* Calls that are fine but for one argument. */
struct argument_rule {
	int call;
	unsigned argument;
	uint64_t mask, value; /* denied when (argument & mask) == value */
	const char *reason;
};

#define LOW_32 0xffffffffu /* the kernel looks at 32 bits of these */

static const struct argument_rule denied_arguments[] = {
	{ SCMP_SYS(clone), 0, CLONE_NEWUSER, CLONE_NEWUSER, "full capabilities over the kernel's surface" },
	{ SCMP_SYS(clone), 0, CLONE_NEWNET, CLONE_NEWNET, "a network namespace" },
	{ SCMP_SYS(clone), 0, CLONE_NEWNS, CLONE_NEWNS, "a mount namespace" },
	{ SCMP_SYS(clone), 0, CLONE_NEWPID, CLONE_NEWPID, "a pid namespace" },
	{ SCMP_SYS(clone), 0, CLONE_NEWIPC, CLONE_NEWIPC, "an ipc namespace" },
	{ SCMP_SYS(clone), 0, CLONE_NEWUTS, CLONE_NEWUTS, "a uts namespace" },
	{ SCMP_SYS(clone), 0, CLONE_NEWCGROUP, CLONE_NEWCGROUP, "a cgroup namespace" },
	{ SCMP_SYS(unshare), 0, CLONE_NEWUSER, CLONE_NEWUSER, "as clone" },
	{ SCMP_SYS(unshare), 0, CLONE_NEWNET, CLONE_NEWNET, "as clone" },
	{ SCMP_SYS(unshare), 0, CLONE_NEWNS, CLONE_NEWNS, "as clone" },
	{ SCMP_SYS(unshare), 0, CLONE_NEWPID, CLONE_NEWPID, "as clone" },
	{ SCMP_SYS(unshare), 0, CLONE_NEWIPC, CLONE_NEWIPC, "as clone" },
	{ SCMP_SYS(unshare), 0, CLONE_NEWUTS, CLONE_NEWUTS, "as clone" },
	{ SCMP_SYS(unshare), 0, CLONE_NEWCGROUP, CLONE_NEWCGROUP, "as clone" },
	{ SCMP_SYS(unshare), 0, CLONE_NEWTIME, CLONE_NEWTIME, "as clone" },
	{ SCMP_SYS(ioctl), 1, LOW_32, TIOCSTI, "types into the caller's terminal" },
	{ SCMP_SYS(ioctl), 1, LOW_32, TIOCLINUX, "pastes into a console" },
	{ SCMP_SYS(ioctl), 1, LOW_32, TIOCSETD, "loads line disciplines: kernel code for modems" },
	{ SCMP_SYS(prctl), 0, LOW_32, PR_SET_MM, "makes /proc/PID/exe lie" },
	{ SCMP_SYS(socket), 0, LOW_32, AF_UNSPEC, "no family" },
};

/* What a socket may be. The kernel half refuses the same again at creation. */
static const int allowed_families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };
static const int allowed_inet_types[] = { SOCK_STREAM, SOCK_DGRAM };
static const int allowed_inet_protocols[] = { 0, IPPROTO_TCP, IPPROTO_UDP };

static bool is_among(int value, const int *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (list[i] == value)
			return true;
	}
	return false;
}

static int deny(scmp_filter_ctx filter, int call, unsigned count, struct scmp_arg_cmp a,
		struct scmp_arg_cmp b)
{
	const struct scmp_arg_cmp comparisons[2] = { a, b };

	return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), call, count, comparisons);
}

/* Only the low 32 bits: the kernel's parameter is an int, the register is not. */
static struct scmp_arg_cmp equals(unsigned argument, int value)
{
	return SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, LOW_32, (scmp_datum_t)(uint32_t)value);
}

static struct scmp_arg_cmp above(unsigned argument, int value)
{
	return SCMP_CMP(argument, SCMP_CMP_GT, (scmp_datum_t)value);
}

static int deny_families(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp unused = { 0 };
	int r = deny(filter, SCMP_SYS(socket), 1, above(0, FAMILIES_MAX), unused);

	for (int family = 1; r == 0 && family <= FAMILIES_MAX; family++) {
		if (!is_among(family, allowed_families, OSH_COUNT_OF(allowed_families)))
			r = deny(filter, SCMP_SYS(socket), 1, equals(0, family), unused);
	}
	/* Only routes, which getifaddrs and getaddrinfo ask for. */
	if (r == 0)
		r = deny(filter, SCMP_SYS(socket), 2, equals(0, AF_NETLINK), above(2, 0));
	if (r == 0)
		r = deny(filter, SCMP_SYS(socketpair), 1, SCMP_CMP(0, SCMP_CMP_NE, AF_UNIX), unused);
	return r;
}

static int deny_inet(scmp_filter_ctx filter, int family)
{
	int r = deny(filter, SCMP_SYS(socket), 2, equals(0, family), above(2, IPPROTO_UDP));

	for (int protocol = 0; r == 0 && protocol <= IPPROTO_UDP; protocol++) {
		if (!is_among(protocol, allowed_inet_protocols, OSH_COUNT_OF(allowed_inet_protocols)))
			r = deny(filter, SCMP_SYS(socket), 2, equals(0, family), equals(2, protocol));
	}
	for (int type = 0; r == 0 && type <= TYPE_MASK; type++) {
		if (!is_among(type, allowed_inet_types, OSH_COUNT_OF(allowed_inet_types)))
			r = deny(filter, SCMP_SYS(socket), 2, equals(0, family),
				 SCMP_CMP(1, SCMP_CMP_MASKED_EQ, TYPE_MASK, (scmp_datum_t)type));
	}
	return r;
}

/* With a limit of 1 nobody gets the memory of who crashes, with any other a helper at the end of
 * core_pattern's pipe does (core(5)). Programs set 0 and take that for safe: they are answered that it is
 * done, for some would go no further; one that asks for the old value, too, gets none of us. */
static int keep_core_limit(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp is_set = SCMP_CMP(2, SCMP_CMP_NE, 0);
	int r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(0), SCMP_SYS(setrlimit), 1, equals(0, RLIMIT_CORE));

	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(0), SCMP_SYS(prlimit64), 3, equals(1, RLIMIT_CORE), is_set,
				     SCMP_CMP(3, SCMP_CMP_EQ, 0));
	return r < 0 ? r : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prlimit64), 3,
					    equals(1, RLIMIT_CORE), is_set, SCMP_CMP(3, SCMP_CMP_NE, 0));
}

static int add_rules(scmp_filter_ctx filter)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < OSH_COUNT_OF(denied_calls); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)denied_calls[i].code),
				     denied_calls[i].call, 0);
	for (size_t i = 0; r == 0 && i < OSH_COUNT_OF(denied_arguments); i++) {
		const struct argument_rule *rule = &denied_arguments[i];

		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), rule->call, 1,
				     SCMP_CMP(rule->argument, SCMP_CMP_MASKED_EQ, rule->mask,
					      rule->value));
	}
	if (r == 0)
		r = deny_families(filter);
	if (r == 0)
		r = deny_inet(filter, AF_INET);
	if (r == 0)
		r = deny_inet(filter, AF_INET6);
	return r < 0 ? r : keep_core_limit(filter);
}

/* libseccomp has no "every call above": two instructions in front of what it made. The
 * jumps behind are relative. On a foreign architecture the number means something else,
 * but there the program behind kills whatever the number is, so nothing may return
 * before it but the answer ENOSYS, which runs nothing. x32 numbers (0x40000000 and up)
 * are such. */
static int put_in_front(const struct sock_filter *program, size_t count,
			struct sock_fprog *ret_filter)
{
	const struct sock_filter front[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, JUDGED_MAX, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};
	const size_t front_count = OSH_COUNT_OF(front);
	struct sock_filter *whole;

	if (count + front_count > BPF_MAXINSNS)
		return -E2BIG;
	whole = malloc((count + front_count) * sizeof(*whole));
	if (!whole)
		return -ENOMEM;
	memcpy(whole, front, sizeof(front));
	memcpy(whole + front_count, program, count * sizeof(*whole));
	*ret_filter = (struct sock_fprog){ .len = (unsigned short)(count + front_count),
					   .filter = whole };
	return 0;
}

static int describe(scmp_filter_ctx filter)
{
	/* The 32-bit and x32 doors to the same kernel are not judged: nobody uses them. */
	int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	/* A binary tree over the call numbers: allowed calls pay for few comparisons. */
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return r < 0 ? r : add_rules(filter);
}

int seccomp_filter_build(struct sock_fprog *ret_filter)
{
	struct sock_fprog program;
	int r = osh_seccomp_compile(SCMP_ACT_ALLOW, describe, &program);

	if (r < 0)
		return r;
	r = put_in_front(program.filter, program.len, ret_filter);
	free(program.filter);
	return r;
}
