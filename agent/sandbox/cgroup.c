#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

#define EMPTY_PATIENCE_MS 10000

/* A mountinfo field escapes blanks and backslashes as \ooo (proc(5)). */
static int unescape(const char *field, size_t len, char *buf, size_t size)
{
	size_t out = 0;

	for (size_t in = 0; in < len; in++) {
		char c = field[in];

		if (c == '\\' && len - in > 3) {
			c = (char)((field[in + 1] - '0') << 6 | (field[in + 2] - '0') << 3 |
				   (field[in + 3] - '0'));
			in += 3;
		}
		if (out + 1 >= size)
			return -ENAMETOOLONG;
		buf[out++] = c;
	}
	buf[out] = '\0';
	return 0;
}

/* "36 35 98:0 /root /mountpoint options [optional...] - fstype source superoptions" */
int cgroup_find_mount(const char *mountinfo, char *buf, size_t size)
{
	while (*mountinfo) {
		size_t line_len = strcspn(mountinfo, "\n");
		const char *dash = memmem(mountinfo, line_len, " - cgroup2 ", 11);
		const char *field = mountinfo;

		if (dash) {
			for (int i = 0; i < 4 && field < dash; i++)
				field += strcspn(field, " ") + 1;
			return unescape(field, strcspn(field, " "), buf, size);
		}
		mountinfo += line_len + (mountinfo[line_len] == '\n');
	}
	return -ENOENT;
}

/* The inode number of a cgroup's directory is its id (kernfs, 64-bit systems). */
int cgroup_open(const char *path, int *ret_fd, uint64_t *ret_id)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	*ret_id = st.st_ino;
	*ret_fd = osh_take_fd(&fd);
	return 0;
}

int cgroup_make(const char *path, int *ret_fd, uint64_t *ret_id)
{
	if (mkdir(path, 0755) < 0)
		return -errno;
	return cgroup_open(path, ret_fd, ret_id);
}

static int is_populated(int events_fd)
{
	char text[256];
	ssize_t n = pread(events_fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	return strstr(text, "populated 1") != NULL;
}

static int64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int cgroup_kill(int cgroup_fd)
{
	_cleanup_fd_ int events = openat(cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	_cleanup_fd_ int kill_fd = openat(cgroup_fd, "cgroup.kill", O_WRONLY | O_CLOEXEC);

	if (events < 0 || kill_fd < 0)
		return -errno;
	if (is_populated(events) == 0)
		return 0;
	return write(kill_fd, "1", 1) < 0 ? -errno : 0;
}

/* cgroup.events raises POLLPRI on each change. Reading comes first, so no change is missed. */
int cgroup_await_empty(int cgroup_fd)
{
	_cleanup_fd_ int fd = openat(cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	struct pollfd events = { .fd = fd, .events = POLLPRI };
	int64_t deadline_ms = clock_ms() + EMPTY_PATIENCE_MS;

	if (fd < 0)
		return -errno;
	for (;;) {
		int64_t left_ms = deadline_ms - clock_ms();
		int populated = is_populated(fd);

		if (populated <= 0)
			return populated;
		if (left_ms <= 0)
			return -EBUSY;
		if (poll(&events, 1, (int)left_ms) < 0 && errno != EINTR)
			return -errno;
	}
}

int cgroup_remove(const char *path)
{
	return rmdir(path) < 0 && errno != ENOENT ? -errno : 0;
}
