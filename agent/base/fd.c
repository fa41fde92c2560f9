#include "base/fd.h"
#include "base/knockout.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int osh_close(int fd)
{
	if (fd >= 0) {
		int saved = errno;

		close(fd);
		errno = saved;
	}
	return -1;
}

/* A rename or mount anywhere on the host, while the kernel goes through a "..", makes it ask us to try again:
 * it cannot know whether that led out (EAGAIN in openat2(2)). */
#define IN_ROOT_TRIES 128

int osh_open_in_root(int root, const char *path, uint64_t flags, uint64_t resolve)
{
	const struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve,
	};

	for (int i = 0; i < IN_ROOT_TRIES; i++) {
		int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

		if (fd >= 0 || errno != EAGAIN)
			return fd < 0 ? -errno : fd;
	}
	return -EAGAIN;
}

int osh_read_full(int fd, void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)data + done, len - done);

		if (n == 0)
			return -ENODATA;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

int osh_write_full(int fd, const void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(fd, (const char *)data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

int osh_read_fd(int fd, size_t max, char **ret_data, size_t *ret_len)
{
	_cleanup_free_ char *data = NULL;
	size_t len = 0, room = 0;

	/* Not trusting st_size: /proc files report 0 and files grow. */
	for (;;) {
		ssize_t n;

		if (len == room) {
			char *grown;

			room = room ? room * 2 : 8192;
			grown = realloc(data, room + 1);
			if (!grown)
				return -ENOMEM;
			data = grown;
		}
		n = read(fd, data + len, room - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
	}
	data[len] = '\0';
	*ret_data = osh_take(data);
	*ret_len = len;
	return 0;
}

int osh_read_file(const char *path, size_t max, char **ret_data, size_t *ret_len)
{
	/* Non-blocking, so that a FIFO in place of the file cannot hang us. */
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return osh_read_fd(fd, max, ret_data, ret_len);
}

static int write_beside(const char *path, const void *data, size_t len, mode_t mode, bool sync)
{
	_cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	int r;

	if (fd < 0)
		return -errno;
	if (fchmod(fd, mode) < 0)
		return -errno;
	r = osh_write_full(fd, data, len);
	return r == 0 && sync && fsync(fd) < 0 ? -errno : r;
}

/* The rename itself reaches the disk with its directory. */
static int sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	_cleanup_fd_ int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd < 0)
		return dir ? -errno : -ENOMEM;
	return fsync(fd) < 0 ? -errno : 0;
}

static int replace_file(const char *path, const void *data, size_t len, mode_t mode, bool sync)
{
	_cleanup_free_ char *temporary = NULL;
	int r;

	if (asprintf(&temporary, "%s.new", path) < 0) {
		temporary = NULL;
		return -ENOMEM;
	}
	(void)unlink(temporary); /* left by a crash: ours alone, the directory is private */
	r = write_beside(temporary, data, len, mode, sync);
	osh_crash_point();
	if (r == 0 && rename(temporary, path) < 0)
		r = -errno;
	osh_crash_point();
	if (r < 0) {
		(void)unlink(temporary);
		return r;
	}
	return sync ? sync_parent(path) : 0;
}

int osh_replace_file(const char *path, const void *data, size_t len, mode_t mode)
{
	return replace_file(path, data, len, mode, true);
}

int osh_replace_file_unsynced(const char *path, const void *data, size_t len, mode_t mode)
{
	return replace_file(path, data, len, mode, false);
}

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

int osh_memfd_sealed(const char *name, const void *data, size_t len)
{
	_cleanup_fd_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	r = osh_write_full(fd, data, len);
	if (r < 0)
		return r;
	if (fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) < 0)
		return -errno;
	return osh_take_fd(&fd);
}

int osh_memfd_read(int fd, size_t max, char **ret_data, size_t *ret_len)
{
	int seals = fcntl(fd, F_GET_SEALS); /* EINVAL: no memfd */
	_cleanup_free_ char *data = NULL;
	size_t len, done = 0;
	struct stat st;

	if (seals < 0 || (seals & SEALS) != SEALS)
		return -EPERM;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	len = (size_t)st.st_size;
	data = malloc(len + 1);
	if (!data)
		return -ENOMEM;
	while (done < len) { /* not read(): the position is shared with whoever made it */
		ssize_t n = pread(fd, data + done, len - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		done += (size_t)n;
	}
	data[len] = '\0';
	*ret_data = osh_take(data);
	*ret_len = len;
	return 0;
}

int osh_set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

int osh_set_cloexec(int fd, int on)
{
	return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
}

ssize_t osh_send_piece(int sock, const void *data, size_t len, const int *fds, size_t fd_count,
		       int flags)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * OSH_FDS_MAX)];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fd_count > OSH_FDS_MAX)
		return -EINVAL;
	if (fd_count) {
		struct cmsghdr *cmsg;

		msg.msg_control = control.room;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
	}
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int osh_send_fds(int sock, const void *data, size_t len, const int *fds, size_t fd_count)
{
	ssize_t n = osh_send_piece(sock, data, len, fds, fd_count, 0);

	if (n < 0)
		return (int)n;
	if ((size_t)n < len) /* a stream socket took a part: the rest carries no descriptors */
		return osh_write_full(sock, (const char *)data + n, len - (size_t)n);
	return 0;
}

static size_t collect_fds(struct msghdr *msg, int *fds, size_t fd_max, int *ret_surplus)
{
	size_t count = 0;

	*ret_surplus = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (count < fd_max) {
				fds[count++] = fd;
			} else {
				osh_close(fd);
				*ret_surplus = 1;
			}
		}
	}
	return count;
}

int osh_recv_fds(int sock, void *data, size_t size, size_t *ret_len, int *fds, size_t fd_max,
		 size_t *ret_fd_count)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * OSH_FDS_MAX)];
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = size };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	size_t count;
	int surplus;
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	count = collect_fds(&msg, fds, fd_max, &surplus);
	if (surplus || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		for (size_t i = 0; i < count; i++)
			osh_close(fds[i]);
		return -EMSGSIZE;
	}
	*ret_len = (size_t)n;
	if (ret_fd_count)
		*ret_fd_count = count;
	return 0;
}
