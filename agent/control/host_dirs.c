#include "control/host_dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define LOCK_NAME "openshelld.lock"

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

static int say_busy(int fd, const char *dir, struct osh_err *err)
{
	char pid[16] = "";
	ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

	pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
	return osh_err_set(
		err, EBUSY,
		"another openshelld (pid %s) works in %s: stop it, or choose other directories",
		pid, dir);
}

pid_t osh_host_dir_owner(const char *dir)
{
	char path[PATH_MAX], text[16] = "";
	_cleanup_fd_ int fd = -1;
	uint64_t pid;

	if (lock_path(dir, path) < 0)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 || pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	return osh_str_parse_u64(osh_str(text), INT32_MAX, &pid) < 0 ? 0 : (pid_t)pid;
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
		if (flock(fd, LOCK_EX | LOCK_NB) < 0)
			return errno == EWOULDBLOCK
				       ? say_busy(fd, dir, err)
				       : osh_err_sys(err, errno, "cannot lock %s", path);
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
