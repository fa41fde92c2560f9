/* What a process of an attached cgroup reaches without a network, because nobody gave it what a sandbox
 * has: namespaces, a seccomp filter, a limit on core dumps, a terminal of its own. */
#include "sandbox/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/mem.h"

#define PROC_BYTES_MAX (1u << 20)

struct process {
	const struct osh_sandbox_instance *instance;
	pid_t pid;
	char *status, *stat, *limits, *mounts; /* of /proc/PID; owned */
};

int sandbox_read_proc(pid_t pid, const char *name, char **ret_text)
{
	char path[48];
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return osh_read_file(path, PROC_BYTES_MAX, ret_text, &len);
}

bool osh_sandbox_is_in_our_user_namespace(pid_t pid)
{
	char path[48];
	struct stat theirs, ours;

	if (stat("/proc/self/ns/user", &ours) < 0)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	return stat(path, &theirs) < 0 ? errno != ENOENT : theirs.st_ino == ours.st_ino;
}

/* A filter may be laxer than ours; that there is none can be told (proc_pid_status(5)). */
static bool calls_unfiltered(const struct process *process)
{
	return !strstr(process->status, "\nSeccomp:\t2\n");
}

/* Has it the limit that a helper on a pipe is not started with? 0 does not stop it (core(5)). */
static bool dumps_nothing(const struct process *process)
{
	static const char name[] = "\nMax core file size ";
	const char *line = strstr(process->limits, name);
	char soft[24], hard[24];

	return line && sscanf(line + sizeof(name) - 1, "%23s %23s", soft, hard) == 2 && strcmp(soft, "1") == 0 &&
	       strcmp(hard, "1") == 0;
}

/* A limit keeps the memory of what crashes by mistake; a program that lowers its own to 0 first is not
 * stopped. A server on a socket ("@", Linux 6.16) is kept from it by osh_connect_unix, whatever the limit. */
static bool dumps_outside(const struct process *process)
{
	_cleanup_free_ char *pattern = NULL;
	size_t len;

	return osh_read_file("/proc/sys/kernel/core_pattern", PROC_BYTES_MAX, &pattern, &len) < 0 ||
	       (pattern[0] == '|' && !dumps_nothing(process));
}

static bool may_type_at_all(void)
{
	_cleanup_free_ char *legacy = NULL;
	size_t len;

	/* Before Linux 6.2 nothing forbids it. */
	return osh_read_file("/proc/sys/dev/tty/legacy_tiocsti", PROC_BYTES_MAX, &legacy, &len) < 0 || legacy[0] != '0';
}

/* TIOCSTI works on the controlling terminal alone; who reads there is in its session (ioctl_tty(2)). */
static bool types_outside(const struct process *process)
{
	const char *rest = strrchr(process->stat, ')'); /* the name before it may hold any byte */
	int session, terminal;

	if (!rest || sscanf(rest, ") %*c %*d %*d %d %d", &session, &terminal) != 2)
		return true;
	return terminal && !(session > 0 && osh_sandbox_holds_process(process->instance, session)) && may_type_at_all();
}

/* Blanks in paths are escaped, so this is the type of a mount. A pin is unlinked in one that may be written;
 * bpf(2), where it is not refused, detaches by way of any. */
static bool may_unpin(const struct process *process)
{
	return strstr(process->mounts, " - bpf ") && attached_may_be(process->pid, process->status, 0);
}

static unsigned look(const struct process *process)
{
	return (may_unpin(process) ? OSH_EXPOSED_PINS : 0) |
	       (attached_may_leave(process->instance, process->pid, process->mounts, process->status) ? OSH_EXPOSED_CGROUP : 0) |
	       (calls_unfiltered(process) ? OSH_EXPOSED_CALLS : 0) |
	       (dumps_outside(process) ? OSH_EXPOSED_CORE : 0) |
	       (types_outside(process) ? OSH_EXPOSED_TERMINAL : 0);
}

static bool has_ended(int r)
{
	return r == -ENOENT || r == -ESRCH || r == -EINVAL; /* the last of a zombie's mountinfo */
}

static int read_all(struct process *process)
{
	int r = sandbox_read_proc(process->pid, "status", &process->status);

	if (r == 0)
		r = sandbox_read_proc(process->pid, "stat", &process->stat);
	if (r == 0)
		r = sandbox_read_proc(process->pid, "limits", &process->limits);
	return r < 0 ? r : sandbox_read_proc(process->pid, "mountinfo", &process->mounts);
}

static void forget(struct process *process)
{
	free(process->status);
	free(process->stat);
	free(process->limits);
	free(process->mounts);
}

unsigned osh_sandbox_exposure(const struct osh_sandbox_instance *instance, pid_t pid)
{
	struct process process = { .instance = instance, .pid = pid };
	_cleanup_free_ char *again = NULL;
	unsigned exposure = OSH_EXPOSED_ALL;
	int r = read_all(&process);

	if (r == 0) {
		exposure = look(&process);
		r = sandbox_read_proc(pid, "mountinfo", &again);
	}
	forget(&process);
	return has_ended(r) ? 0 : exposure; /* what was read of one that ended meanwhile says nothing */
}
