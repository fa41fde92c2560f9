#include "control/takeover.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
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

static bool is_called_off(int signal_fd)
{
	struct signalfd_siginfo info;

	while (read(signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo != SIGHUP)
			return true;
	}
	return false;
}

/* 0; -ETIMEDOUT or -ECANCELED. */
static int await_end(int pidfd, int signal_fd)
{
	struct pollfd either[] = { { .fd = pidfd, .events = POLLIN }, { .fd = signal_fd, .events = POLLIN } };

	while (poll(either, OSH_COUNT_OF(either), PATIENCE_MS) > 0) {
		if (either[0].revents)
			return 0;
		if (is_called_off(signal_fd))
			return -ECANCELED;
	}
	return -ETIMEDOUT;
}

static int end_owner(int pidfd, int signal_fd)
{
	int r;

	(void)pidfd_send_signal(pidfd, SIGTERM, NULL, 0);
	(void)pidfd_send_signal(pidfd, SIGCONT, NULL, 0); /* one that was stopped hears nothing */
	r = await_end(pidfd, signal_fd);
	if (r != -ETIMEDOUT)
		return r;
	osh_warning("it does not end: killing it");
	(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	return await_end(pidfd, signal_fd);
}

int osh_take_over(const char *dir, int signal_fd, struct osh_err *err)
{
	_cleanup_fd_ int pidfd = open_owner(dir);
	int r;

	if (pidfd == -ESRCH)
		return 0;
	if (pidfd < 0)
		return osh_err_sys(err, -pidfd, "cannot find the agent that works in %s", dir);
	osh_info("taking over from the agent that works in %s", dir);
	r = end_owner(pidfd, signal_fd);
	if (r == -ECANCELED)
		return osh_err_set(err, ECANCELED, "called off; the agent that works in %s was asked to end", dir);
	if (r < 0)
		return osh_err_set(err, EBUSY, "the agent that works in %s cannot be ended", dir);
	return 0;
}
