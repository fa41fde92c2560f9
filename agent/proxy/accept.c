#include "proxy/accept.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "base/fd.h"
#include "proxy/worker.h"

/* Of all descriptors one in so many is left to those who are here already: for the servers that
 * they dial, and to ask for names. */
#define SHARE_OF_LIVE_FLOWS 8

/* Descriptors are numbered from below: a high number says how many there are. */
static bool is_scarce(int fd)
{
	struct rlimit files;

	return getrlimit(RLIMIT_NOFILE, &files) == 0 &&
	       (rlim_t)fd >= files.rlim_cur - files.rlim_cur / SHARE_OF_LIVE_FLOWS;
}

static void refuse(int fd)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	osh_close(fd);
}

static int accept_one(int listener, struct sockaddr_storage *ret_peer)
{
	socklen_t len = sizeof(*ret_peer);
	int fd = accept4(listener, (struct sockaddr *)ret_peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static void keep_spare(struct osh_worker *worker)
{
	if (worker->spare_fd < 0)
		worker->spare_fd = eventfd(0, EFD_CLOEXEC);
}

/* With the descriptor that is kept for this. */
static int refuse_by_spare(struct osh_worker *worker, int listener, struct sockaddr_storage *ret_peer)
{
	int fd;

	if (worker->spare_fd < 0)
		return -ENFILE;
	worker->spare_fd = osh_close(worker->spare_fd);
	fd = accept_one(listener, ret_peer);
	if (fd >= 0)
		refuse(fd);
	keep_spare(worker);
	return fd < 0 ? fd : -EMFILE;
}

int osh_accept(struct osh_worker *worker, int listener, struct sockaddr_storage *ret_peer)
{
	int fd;

	keep_spare(worker);
	do
		fd = accept_one(listener, ret_peer);
	while (fd == -EINTR || fd == -ECONNABORTED);
	if (fd == -EMFILE || fd == -ENFILE)
		fd = refuse_by_spare(worker, listener, ret_peer);
	if (fd < 0 || !is_scarce(fd))
		return fd;
	refuse(fd);
	return -EMFILE;
}
