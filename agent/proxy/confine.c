#include "proxy/confine.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <linux/bpf.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/knockout.h"
#include "base/landlock.h"
#include "base/mem.h"
#include "base/seccomp.h"
#include "openshell/limits.h"

#define FILES_MAX 65536
#define CONF "/etc/resolv.conf"

/* Everything a proxy does; what is not here fails with EPERM. */
static const int allowed_calls[] = {
	/* bytes */
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
	SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg),
	SCMP_SYS(sendmmsg), SCMP_SYS(splice), SCMP_SYS(pipe2),
	/* sockets */
	SCMP_SYS(socket), SCMP_SYS(connect), SCMP_SYS(accept4), SCMP_SYS(bind), SCMP_SYS(shutdown),
	SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
	/* waiting */
	SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
	SCMP_SYS(eventfd2), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(futex), SCMP_SYS(sched_yield),
	/* time and chance */
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday), SCMP_SYS(time),
	SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep), SCMP_SYS(getrandom),
	/* memory */
	SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(madvise),
	SCMP_SYS(brk), SCMP_SYS(mlock), SCMP_SYS(munlock), SCMP_SYS(mlock2),
	/* files: Landlock says which */
	SCMP_SYS(openat), SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(lseek),
	SCMP_SYS(statx), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(fcntl),
	SCMP_SYS(dup), SCMP_SYS(ioctl), SCMP_SYS(getdents64), SCMP_SYS(readlink), SCMP_SYS(getcwd),
	SCMP_SYS(memfd_create), SCMP_SYS(uname),
	/* threads and signals of its own */
	SCMP_SYS(clone), SCMP_SYS(clone3), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(gettid),
	SCMP_SYS(getpid), SCMP_SYS(tgkill), SCMP_SYS(exit), SCMP_SYS(exit_group),
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
	SCMP_SYS(sched_getaffinity), SCMP_SYS(sysinfo), SCMP_SYS(prctl), SCMP_SYS(restart_syscall),
	SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(prlimit64),
#ifdef OSH_SANITIZED /* LeakSanitizer stops the other threads and reads their stacks */
	SCMP_SYS(ptrace), SCMP_SYS(wait4), SCMP_SYS(getppid), SCMP_SYS(open), SCMP_SYS(getdents),
#endif
};

/* Of bpf(2) only what works on maps that it was handed. */
static const int allowed_bpf[] = {
	BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_MAP_DELETE_ELEM,
	BPF_MAP_LOOKUP_AND_DELETE_ELEM, BPF_MAP_LOOKUP_BATCH,
};

/* What the resolver and OpenSSL read. A rule holds for an inode, and /etc/hosts and /etc/resolv.conf are replaced
 * as long as the host runs, so theirs is for the directories. Landlock can except nothing beneath, thus all files
 * of /etc that everybody may read are this process's, too: it has a user of its own and no group. Sandboxes are
 * shown most of them anyway (sandbox/overlay.c), and worth stealing is what the process holds in memory. */
static const struct osh_landlock_readable readables[] = {
	{ .path = "/etc", .only_files = true },
	{ .path = "/etc/ssl" }, { .path = "/etc/pki" }, { .path = "/usr/share/ca-certificates" },
	{ .path = "/usr/lib/ssl" }, { .path = "/run/systemd/resolve" }, { .path = "/proc/self/fd" },
	{ .path = "/dev/urandom" },
#ifdef OSH_SANITIZED
	{ .path = "/proc/self" },
#endif
};

static int describe(scmp_filter_ctx filter)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < OSH_COUNT_OF(allowed_calls); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed_calls[i], 0);
	for (size_t i = 0; r == 0 && i < OSH_COUNT_OF(allowed_bpf); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(bpf), 1,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)allowed_bpf[i]));
	return r;
}

static int filter_calls(void)
{
	struct sock_fprog program;
	int r = osh_seccomp_compile(SCMP_ACT_ERRNO(EPERM), describe, &program);

	if (r < 0)
		return r;
	r = osh_seccomp_load(&program);
	free(program.filter);
	return r;
}

/* And the directory that /etc/resolv.conf leads into, if it is a link. */
static int limit_files(void)
{
	struct osh_landlock_readable all[OSH_COUNT_OF(readables) + 1];
	char target[PATH_MAX], *end;

	memcpy(all, readables, sizeof(readables));
	all[OSH_COUNT_OF(readables)] = (struct osh_landlock_readable){ .path = CONF, .only_files = true };
	if (realpath(CONF, target)) {
		end = strrchr(target, '/');
		if (end > target) /* else: right below the root, and that file alone */
			*end = '\0';
		all[OSH_COUNT_OF(readables)].path = target;
	}
	return osh_landlock_read_only(all, OSH_COUNT_OF(all));
}

static int drop_user(void)
{
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_apply(CAPNG_SELECT_BOUNDS) < 0)
		return -EPERM;
	if (setgroups(0, NULL) < 0 || setresgid(OSH_PROXY_UID, OSH_PROXY_UID, OSH_PROXY_UID) < 0 ||
	    setresuid(OSH_PROXY_UID, OSH_PROXY_UID, OSH_PROXY_UID) < 0)
		return -errno;
	return 0;
}

static int set_limits(void)
{
	struct rlimit core = { .rlim_cur = 1, .rlim_max = 1 }; /* not 0: core(5), pipes */
	struct rlimit files = { .rlim_cur = FILES_MAX, .rlim_max = FILES_MAX };

	if (!osh_layer_off("core") && setrlimit(RLIMIT_CORE, &core) < 0)
		return -errno;
	/* The hard limit may be lower and not ours to raise: then that is the bound. */
	if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
		if (getrlimit(RLIMIT_NOFILE, &files) < 0)
			return -errno;
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	return 0;
}

int osh_confine(struct osh_err *err)
{
	pid_t parent = getppid();
	int r = set_limits();

	if (r < 0)
		return osh_err_sys(err, -r, "cannot set limits");
	r = drop_user();
	if (r < 0)
		return osh_err_sys(err, -r, "cannot give up root");
	/* After the change of user, which clears both. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_DUMPABLE, osh_layer_off("dumpable"), 0, 0, 0) < 0 ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return osh_err_sys(err, errno, "prctl");
	if (getppid() != parent)
		return osh_err_set(err, ESRCH, "the agent died meanwhile");
	r = limit_files();
	if (r < 0 && r != -EOPNOTSUPP)
		return osh_err_sys(err, -r, "Landlock");
	r = filter_calls();
	if (r < 0)
		return osh_err_sys(err, -r, "seccomp");
	return 0;
}
