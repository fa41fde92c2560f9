#include "control/takeover.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/pidfd.h>

#include "base/fd.h"
#include "base/log.h"
#include "control/host_dirs.h"

#define PATIENCE_MS 3000

/* The owner by a descriptor: its pid is another's only when the lock is free as well. Returns
 * -ESRCH when there is none. */
static int open_owner(const char *dir)
{
	_cleanup_fd_ int fd = -1;
	pid_t pid = osh_host_dir_owner(dir);

	if (pid <= 0)
		return -ESRCH;
	fd = pidfd_open(pid, 0);
	if (fd < 0)
		return -errno;
	return osh_host_dir_owner(dir) == pid ? osh_take_fd(&fd) : -ESRCH;
}

static bool has_ended(int pidfd)
{
	struct pollfd ended = { .fd = pidfd, .events = POLLIN };

	return poll(&ended, 1, PATIENCE_MS) > 0;
}

int osh_take_over(const char *dir, struct osh_err *err)
{
	_cleanup_fd_ int pidfd = open_owner(dir);

	if (pidfd == -ESRCH)
		return 0;
	if (pidfd < 0)
		return osh_err_sys(err, -pidfd, "cannot find the agent that works in %s", dir);
	osh_info("taking over from the agent that works in %s", dir);
	(void)pidfd_send_signal(pidfd, SIGTERM, NULL, 0);
	(void)pidfd_send_signal(pidfd, SIGCONT, NULL, 0); /* one that was stopped hears nothing */
	if (has_ended(pidfd))
		return 0;
	osh_warning("it does not end: killing it");
	(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	if (has_ended(pidfd))
		return 0;
	return osh_err_set(err, EBUSY, "the agent that works in %s cannot be ended", dir);
}
