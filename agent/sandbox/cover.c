/* Keeping covered, in running sandboxes, what overlay.c lays something over. The kernel takes a mount away
 * with the file that it lies on: where somebody on the host removes such a file, or renames a new one over it
 * as most programs do that write one, a sandbox sees the host's until it is covered again. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#include "base/fd.h"
#include "base/log.h"

/* ---- Was anything replaced? ---------------------------------------- */

static void mix(uint64_t *sum, uint64_t value)
{
	*sum = (*sum ^ value) * 0x100000001b3; /* FNV-1a */
}

/* Whatever is done to a file or to its name, the time of its last change is another one. */
static void note_place(void *context, const char *path)
{
	struct stat st = { 0 };

	(void)stat(path, &st); /* absent: zeroes */
	mix(context, st.st_dev);
	mix(context, st.st_ino);
	mix(context, (uint64_t)st.st_ctim.tv_sec);
	mix(context, (uint64_t)st.st_ctim.tv_nsec);
}

/* ---- Covering ---------------------------------------- */

static bool is_running(const struct osh_sandbox_instance *instance)
{
	return !sandbox_is_attached(instance) && instance->record.init_pid && instance->pid_io.fd >= 0;
}

static void cover(const struct osh_sandbox_instance *instance)
{
	struct launch launch = { .instance = instance, .root_fd = -1 };
	int r;

	if (setns(instance->pid_io.fd, CLONE_NEWNS) < 0)
		return; /* it has just ended */
	launch.root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = launch.root_fd < 0 ? -errno : root_cover(&launch);
	if (r < 0)
		osh_error("sandbox %s: cannot cover the host's %s again (%s): it is seen in there until the sandbox "
			  "is stopped and started", instance->record.name, launch.detail, strerror(-r));
	osh_close(launch.root_fd);
}

/* Not in this process, which would have to find its way back. */
static void cover_all(const struct osh_sandbox_host *host)
{
	const struct osh_sandbox_instance *instance;
	pid_t pid = fork();

	if (pid == 0) {
		DL_FOREACH(host->instances, instance) {
			if (is_running(instance))
				cover(instance);
		}
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (pid < 0)
		osh_error("cannot cover the host's files again that were replaced: %s", strerror(errno));
}

void osh_sandbox_keep_covered(struct osh_sandbox_host *host)
{
	const struct osh_sandbox_instance *instance;
	uint64_t seen = 0xcbf29ce484222325;

	overlay_each_place(note_place, &seen);
	if (seen == host->places_seen)
		return;
	host->places_seen = seen;
	DL_FOREACH(host->instances, instance) {
		if (is_running(instance)) {
			cover_all(host);
			return;
		}
	}
}
