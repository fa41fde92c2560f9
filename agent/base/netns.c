#include "base/netns.h"

#include <errno.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fd.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* newer than some libc's headers */
#endif

int osh_netns_cookie(uint64_t *ret_cookie)
{
	_cleanup_fd_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*ret_cookie);

	return fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, ret_cookie, &len) < 0 ? -errno : 0;
}

int osh_netns_is_ruled_from(int netns_fd, int userns_fd)
{
	_cleanup_fd_ int owner = ioctl(netns_fd, NS_GET_USERNS);
	struct stat theirs, one;

	if (owner < 0 || fstat(userns_fd, &theirs) < 0)
		return -errno;
	for (;;) {
		int parent;

		if (fstat(owner, &one) < 0)
			return -errno;
		if (one.st_ino == theirs.st_ino && one.st_dev == theirs.st_dev)
			return 1;
		parent = ioctl(owner, NS_GET_PARENT);
		if (parent < 0)
			return errno == EPERM ? 0 : -errno; /* our own, or the first of all, was the last */
		osh_close(owner);
		owner = parent;
	}
}
