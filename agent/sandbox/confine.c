/* What a sandbox loses for ever, before its first program runs. */
#include "sandbox/internal.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/knockout.h"
#include "base/landlock.h"
#include "base/mem.h"

#define FILES_SOFT 1024

/* Given to every sandbox whatever its policy says: without them no shell, no terminal
 * and no compiler works, and none of them is the host's. */
struct own_grant {
	const char *path;
	bool writable;
	const char *reason;
};

static const struct own_grant own_grants[] = {
	{ OSH_SANDBOX_OWN_DIR, false, "pid 1 itself, and the CA bundles that the environment names" },
	{ "/dev/null", true, "every shell redirection" },
	{ "/dev/zero", true, "memory for old allocators" },
	{ "/dev/full", true, "tests of write errors" },
	{ "/dev/random", false, "keys" },
	{ "/dev/urandom", false, "keys" },
	{ "/dev/tty", true, "prompts, pagers" },
	{ "/dev/ptmx", true, "terminal multiplexers, script(1), expect(1)" },
	{ "/dev/pts", true, "own terminals" },
	{ "/dev/shm", true, "POSIX shared memory and semaphores (Python, Chromium)" },
};

/* A core limit of 0 would not keep the helper of a core_pattern pipe from being started,
 * 1 does (core(5)). Few descriptors at first, as everywhere: programs that close all they
 * may have open take long with the agent's own limit. */
static int set_limits(void)
{
	const struct rlimit core = { .rlim_cur = 1, .rlim_max = 1 };
	struct rlimit files;

	if (setrlimit(RLIMIT_CORE, &core) < 0 || getrlimit(RLIMIT_NOFILE, &files) < 0)
		return -errno;
	files.rlim_cur = files.rlim_max < FILES_SOFT ? files.rlim_max : FILES_SOFT;
	return setrlimit(RLIMIT_NOFILE, &files) < 0 ? -errno : 0;
}

int confine_limits(void)
{
	int fd, r = set_limits();

	if (r < 0)
		return r;
	/* An agent that is protected from the OOM killer must not hand that on. */
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!write(fd, "0", 1);
	osh_close(fd);
	/* Root's session keyring stays with root; a kernel without keyrings has none to leave. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS &&
	    errno != EDQUOT)
		return -errno;
	return 0;
}

int confine_capabilities(void)
{
	if (osh_layer_off("user"))
		return 0;
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_apply(CAPNG_SELECT_BOUNDS) < 0)
		return -EPERM;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

/* Raw calls: the libc wrappers would signal threads that only the parent had. Leaving
 * uid 0 empties the permitted and effective sets; the inheritable one was cleared. */
int confine_user(uid_t uid, gid_t gid)
{
	if (osh_layer_off("user"))
		return 0;
	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, gid, gid, gid) < 0 ||
	    syscall(SYS_setresuid, uid, uid, uid) < 0)
		return -errno;
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		return -EPERM;
	/* The library is silent when it could not drop a bound. */
	if (capng_get_caps_process() < 0 || capng_have_capabilities(CAPNG_SELECT_ALL) != CAPNG_NONE)
		return -EPERM;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* A path of the policy. Best effort: what is not there is left out, with a word. */
static int grant_path(struct launch *launch, struct osh_landlock *landlock, const char *path,
		      bool writable)
{
	bool hard = launch->spec->policy->landlock == OSH_LANDLOCK_HARD_REQUIREMENT;
	int r = osh_landlock_grant(landlock, path, writable);

	if (r == 0)
		return 0;
	if (hard)
		return launch_fail(launch, r, "%s (compatibility is hard_requirement)", path);
	launch_warn(launch, "filesystem_policy: %s is left out: %s", path, strerror(-r));
	return 0;
}

static int grant_own(struct launch *launch, struct osh_landlock *landlock)
{
	for (size_t i = 0; i < OSH_COUNT_OF(own_grants); i++) {
		int r = osh_landlock_grant(landlock, own_grants[i].path, own_grants[i].writable);

		if (r < 0)
			return launch_fail(launch, r, "%s", own_grants[i].path);
	}
	return 0;
}

static int grant_policy(struct launch *launch, struct osh_landlock *landlock)
{
	const struct osh_policy_static *policy = launch->spec->policy;
	int r = 0;

	if (policy->include_workdir)
		r = grant_path(launch, landlock, OSH_SANDBOX_HOME, true);
	for (size_t i = 0; r == 0 && i < policy->read_only_count; i++)
		r = grant_path(launch, landlock, policy->read_only[i], false);
	for (size_t i = 0; r == 0 && i < policy->read_write_count; i++)
		r = grant_path(launch, landlock, policy->read_write[i], true);
	return r;
}

int confine_landlock(struct launch *launch)
{
	struct osh_landlock *landlock = NULL;
	int r = osh_layer_off("landlock") ? -EOPNOTSUPP : osh_landlock_new(&landlock);

	if (r == -EOPNOTSUPP) {
		if (launch->spec->policy->landlock == OSH_LANDLOCK_HARD_REQUIREMENT)
			return launch_fail(launch, r, "this kernel has no Landlock, and "
						      "compatibility is hard_requirement: boot with "
						      "lsm=landlock,... or use best_effort");
		launch_warn(launch, "filesystem_policy is not enforced: this kernel has no Landlock");
		return 0;
	}
	if (r == 0)
		r = grant_own(launch, landlock);
	if (r == 0)
		r = grant_policy(launch, landlock);
	if (r == 0)
		r = osh_landlock_enforce(landlock);
	osh_landlock_free(landlock);
	return r;
}
