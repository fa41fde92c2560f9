/* What a path leads to in a sandbox's root, asked from outside. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h> /* RESOLVE_NO_SYMLINKS */
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fd.h"

/* The process lived after its root was opened, so the number meant it all the time. */
static bool is_alive(int pidfd)
{
	return pidfd_send_signal(pidfd, 0, NULL, 0) == 0;
}

static int open_in_root(const struct osh_sandbox_instance *instance, const char *path,
			uint64_t resolve)
{
	char root_path[32];
	_cleanup_fd_ int root = -1;

	if (!sandbox_is_attached(instance)) {
		snprintf(root_path, sizeof(root_path), "/proc/%d/root", (int)instance->record.init_pid);
		root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (root < 0 || !is_alive(instance->pid_io.fd))
			return -ENOENT;
	}
	return osh_open_in_root(root < 0 ? instance->root_fd : root, path, O_PATH, resolve);
}

int osh_sandbox_resolve(struct osh_sandbox_instance *instance, const char *path, char *buf, size_t size)
{
	char link_path[32], found[PATH_MAX];
	_cleanup_fd_ int fd = -1;
	ssize_t len;

	if (instance->pid_io.fd < 0 || path[0] != '/')
		return -ENOENT;
	fd = open_in_root(instance, path, 0);
	if (fd < 0)
		return -ENOENT;
	/* The kernel names it from the top of its own mount tree, which is the sandbox's root. */
	snprintf(link_path, sizeof(link_path), "/proc/self/fd/%d", fd);
	len = readlink(link_path, found, sizeof(found) - 1);
	if (len <= 0 || found[0] != '/')
		return -ENOENT;
	found[len] = '\0';
	if (strcmp(found, path) == 0)
		return -EALREADY;
	if ((size_t)len >= size)
		return -ENAMETOOLONG;
	memcpy(buf, found, (size_t)len + 1);
	return 0;
}

int osh_sandbox_open_executable(struct osh_sandbox_instance *instance, const char *path)
{
	char link_path[32];
	_cleanup_fd_ int place = -1;
	struct stat st;
	int fd;

	if (instance->pid_io.fd < 0)
		return -ESRCH;
	/* The kernel named it: a link in it is newer than the program that runs. */
	place = open_in_root(instance, path, RESOLVE_NO_SYMLINKS);
	if (place < 0)
		return place;
	if (fstat(place, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOEXEC; /* a FIFO or device is not even opened */
	snprintf(link_path, sizeof(link_path), "/proc/self/fd/%d", place);
	fd = open(link_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

int osh_sandbox_open_socket(struct osh_sandbox_instance *instance, const char *path)
{
	_cleanup_fd_ int fd = open_in_root(instance, path, 0);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	return sandbox_owns_socket(instance->host, fd) ? -EPERM : osh_take_fd(&fd);
}

/* ---- What the sandbox may write -------------------------------------------------- */

int sandbox_may_write_fd(const struct osh_sandbox_instance *instance, uid_t uid, int fd)
{
	struct statvfs fs;
	struct stat st;

	if (fstat(fd, &st) < 0 || fstatvfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_flag & ST_RDONLY)
		return 0;
	/* Group and ACL rights (whose mask shows as the group's) count, whoever has them; of other users,
	 * too, where there may be some. */
	return uid == 0 || st.st_uid == uid || (st.st_mode & 0022) != 0 ||
	       (sandbox_is_attached(instance) && st.st_uid != 0);
}

/* The file or directory at the first `len` bytes of a path. What is not there is decided by
 * the directory it would be in. */
static bool may_write_place(const struct osh_sandbox_instance *instance, const char *path, size_t len)
{
	char place[PATH_MAX];
	_cleanup_fd_ int fd = -1;

	memcpy(place, path, len);
	place[len] = '\0';
	fd = open_in_root(instance, place, 0);
	return fd >= 0 && sandbox_may_write_fd(instance, instance->record.uid, fd) != 0;
}

static bool may_write_way(const struct osh_sandbox_instance *instance, const char *path)
{
	size_t len = strcspn(path, "*"); /* of a glob, the directories that are written out */

	if (len >= PATH_MAX)
		return true;
	for (size_t i = 1; i < len; i++) {
		if (path[i] == '/' && may_write_place(instance, path, i))
			return true;
	}
	return !path[len] && may_write_place(instance, path, len);
}

bool osh_sandbox_may_write(struct osh_sandbox_instance *instance, const char *path)
{
	char target[PATH_MAX];

	if (path[0] != '/' || instance->pid_io.fd < 0 || sandbox_is_attached(instance))
		return false;
	return may_write_way(instance, path) ||
	       (osh_sandbox_resolve(instance, path, target, sizeof(target)) == 0 &&
		may_write_way(instance, target));
}
