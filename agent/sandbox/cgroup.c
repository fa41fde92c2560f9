#include "sandbox/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define EMPTY_PATIENCE_MS 10000
#define PROCS_BYTES_MAX (64u << 20)
#define TREE_MAX 4096 /* cgroups in one that is attached to */

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

static int has_event(int events_fd, const char *line)
{
	char text[256];
	ssize_t n = pread(events_fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	return strstr(text, line) != NULL;
}

int cgroup_is_empty(int events_fd)
{
	return has_event(events_fd, "populated 0");
}

static int is_populated(int events_fd)
{
	return has_event(events_fd, "populated 1");
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
static int await_event(int cgroup_fd, const char *line)
{
	_cleanup_fd_ int fd = openat(cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	struct pollfd events = { .fd = fd, .events = POLLPRI };
	int64_t deadline_ms = clock_ms() + EMPTY_PATIENCE_MS;

	if (fd < 0)
		return -errno;
	for (;;) {
		int64_t left_ms = deadline_ms - clock_ms();
		int seen = has_event(fd, line);

		if (seen != 0)
			return seen < 0 ? seen : 0;
		if (left_ms <= 0)
			return -EBUSY;
		if (poll(&events, 1, (int)left_ms) < 0 && errno != EINTR)
			return -errno;
	}
}

int cgroup_await_empty(int cgroup_fd)
{
	return await_event(cgroup_fd, "populated 0");
}

int cgroup_freeze(int cgroup_fd, bool frozen)
{
	_cleanup_fd_ int fd = openat(cgroup_fd, "cgroup.freeze", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, frozen ? "1" : "0", 1) < 0)
		return -errno;
	return frozen ? await_event(cgroup_fd, "frozen 1") : 0;
}

int cgroup_is_frozen(int cgroup_fd)
{
	_cleanup_fd_ int fd = openat(cgroup_fd, "cgroup.freeze", O_RDONLY | O_CLOEXEC);
	char state;

	return fd < 0 || read(fd, &state, 1) != 1 ? -errno : state == '1';
}

int cgroup_remove(const char *path)
{
	return rmdir(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* ---- A tree of them ---------------------------------------- */

struct process_walk {
	unsigned left; /* cgroups that may still be looked at */
	int (*each)(void *context, pid_t pid);
	void *context;
};

static int each_process_in(struct process_walk *walk, const char *path)
{
	char procs[PATH_MAX];
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	if (snprintf(procs, sizeof(procs), "%s/cgroup.procs", path) >= (int)sizeof(procs))
		return -ENAMETOOLONG;
	r = osh_read_file(procs, PROCS_BYTES_MAX, &text, &len);
	if (r < 0)
		return r == -ENOENT || r == -ENODEV || r == -EOPNOTSUPP ? 0 : r; /* gone, or threaded */
	for (char *line = text; r == 0 && *line; line += strcspn(line, "\n") + 1) {
		uint64_t pid;

		r = osh_str_parse_u64(osh_str_n(line, strcspn(line, "\n")), INT32_MAX, &pid);
		if (r == 0)
			r = walk->each(walk->context, (pid_t)pid);
	}
	return r;
}

/* Those of the cgroup, then those below it; stops at the first answer that is not 0, and returns it. */
static int walk_processes(struct process_walk *walk, const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int r;

	if (!dir)
		return errno == ENOENT ? 0 : -errno; /* removed meanwhile */
	r = walk->left-- == 0 ? -E2BIG : each_process_in(walk, path);
	while (r == 0 && (entry = readdir(dir))) {
		char below[PATH_MAX];

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) >= (int)sizeof(below))
			r = -ENAMETOOLONG;
		else
			r = walk_processes(walk, below);
	}
	closedir(dir);
	return r;
}

int cgroup_each_process(const char *path, int (*each)(void *context, pid_t pid), void *context)
{
	struct process_walk walk = { .left = TREE_MAX, .each = each, .context = context };

	return walk_processes(&walk, path);
}
