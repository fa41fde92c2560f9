#include "control/host_dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define LOCK_NAME "openshelld.lock"
#define PATIENCE_MS 2000
#define NAP_MS 2

static int make_parents(const char *path, struct osh_err *err)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(part))
		return osh_err_sys(err, ENAMETOOLONG, "%.128s...", path);
	memcpy(part, path, len + 1);
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(part, 0755) == 0) {
			if (chmod(part, 0755) < 0)
				return osh_err_sys(err, errno, "cannot open %s", part);
		} else if (errno != EEXIST) {
			return osh_err_sys(err, errno, "cannot make %s", part);
		}
		*slash = '/';
	}
	return 0;
}

static int check_dir(const char *path, struct osh_err *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return osh_err_sys(err, errno, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return osh_err_set(err, ENOTDIR, "%s is not a directory", path);
	if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return osh_err_set(err, EPERM,
				   "%s belongs to or can be written by others: chown it to root, "
				   "chmod go-w it",
				   path);
	return 0;
}

int osh_host_dir_make(const char *path, mode_t mode, struct osh_err *err)
{
	int r = make_parents(path, err);

	if (r < 0)
		return r;
	if (mkdir(path, mode) == 0)
		return chmod(path, mode) < 0 ? osh_err_sys(err, errno, "cannot chmod %s", path) : 0;
	if (errno != EEXIST)
		return osh_err_sys(err, errno, "cannot make %s", path);
	return check_dir(path, err);
}

/* ---- The lock ---------------------------------------- */

static int lock_path(const char *dir, char path[static PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/" LOCK_NAME, dir);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* 0: nobody wrote there. */
static pid_t read_pid(int fd)
{
	char text[16] = "";
	uint64_t pid;

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	return osh_str_parse_u64(osh_str(text), INT32_MAX, &pid) < 0 ? 0 : (pid_t)pid;
}

static int say_busy(int fd, const char *dir, struct osh_err *err)
{
	return osh_err_set(
		err, EBUSY,
		"another openshelld (pid %d) works in %s: stop it, or choose other directories",
		(int)read_pid(fd), dir);
}

/* Or not begun: who has the lock of a file without a pid is about to write it, or only asks for the owner.
 * Killed while it started a program, an owner is outlived by that child, which has the lock until it executes.
 * Each is a matter of moments. */
static bool has_owner_ended(int fd)
{
	pid_t pid = read_pid(fd);
	_cleanup_fd_ int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
	struct pollfd ended = { .fd = pidfd, .events = POLLIN };

	return pid <= 0 || (pidfd < 0 ? errno == ESRCH : poll(&ended, 1, 0) > 0);
}

/* 0, -EWOULDBLOCK or another -errno. */
static int lock_file(int fd)
{
	const struct timespec nap = { .tv_nsec = NAP_MS * 1000000L };

	for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited_ms += NAP_MS) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (waited_ms >= PATIENCE_MS || !has_owner_ended(fd))
			return -EWOULDBLOCK;
		(void)nanosleep(&nap, NULL);
	}
	return 0;
}

pid_t osh_host_dir_owner(const char *dir)
{
	char path[PATH_MAX];
	_cleanup_fd_ int fd = -1;

	if (lock_path(dir, path) < 0)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 || has_owner_ended(fd) ? 0 : read_pid(fd);
}

bool osh_host_dir_was_left(const char *dir)
{
	char path[PATH_MAX];
	struct stat st;

	return lock_path(dir, path) == 0 && lstat(path, &st) == 0 && st.st_size > 0 && !osh_host_dir_owner(dir);
}

/* An owner that stops removes the file: what we locked may not be what is there now. */
static bool is_the_file(int fd, const char *path)
{
	struct stat opened, present;

	return fstat(fd, &opened) == 0 && stat(path, &present) == 0 &&
	       opened.st_dev == present.st_dev && opened.st_ino == present.st_ino;
}

static int write_pid(int fd)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) != len)
		return -errno;
	return 0;
}

int osh_host_dir_lock(const char *dir, struct osh_err *err)
{
	char path[PATH_MAX];
	int r = lock_path(dir, path);

	if (r < 0)
		return osh_err_sys(err, -r, "%.128s...", dir);
	for (;;) {
		_cleanup_fd_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return osh_err_sys(err, errno, "cannot open %s", path);
		r = lock_file(fd);
		if (r < 0)
			return r == -EWOULDBLOCK ? say_busy(fd, dir, err)
						 : osh_err_sys(err, -r, "cannot lock %s", path);
		if (!is_the_file(fd, path))
			continue;
		r = write_pid(fd);
		return r < 0 ? osh_err_sys(err, -r, "cannot write %s", path) : osh_take_fd(&fd);
	}
}

void osh_host_dir_unlock(const char *dir)
{
	char path[PATH_MAX];

	if (lock_path(dir, path) == 0)
		(void)unlink(path);
}
