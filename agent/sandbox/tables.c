/* The descriptors of a process in an attached cgroup through which it uses sockets. Its threads share one
 * table, unless one has made itself its own (unshare with CLONE_FILES), as it may have before the first
 * thread ended. */
#include "sandbox/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* linux/pidfd.h: Linux 6.9 */
#endif

#define SOCKET "socket:["
#define IO_URING "anon_inode:[io_uring]"

/* Who ended meanwhile, as by a signal, has nothing open. */
static int unless_gone(int r)
{
	return r == -ENOENT || r == -ESRCH ? 0 : r;
}

/* The next entry that is a number. 1, 0: none is left, or -errno. */
static int next_number(DIR *dir, int *ret_number)
{
	struct dirent *entry;
	uint64_t number;

	while (errno = 0, entry = readdir(dir)) {
		if (osh_str_parse_u64(osh_str(entry->d_name), INT_MAX, &number) < 0)
			continue;
		*ret_number = (int)number;
		return 1;
	}
	return unless_gone(-errno);
}

static int show_socket(const struct socket_walk *walk, struct osh_sandbox_socket *found)
{
	socklen_t len = sizeof(int);

	if (getsockopt(found->fd, SOL_SOCKET, SO_DOMAIN, &found->domain, &len) < 0)
		return errno == ENOTSOCK ? 0 : -errno;
	(void)getsockopt(found->fd, SOL_SOCKET, SO_TYPE, &found->type, &len);
	(void)getsockopt(found->fd, SOL_SOCKET, SO_PROTOCOL, &found->protocol, &len);
	return walk->each(walk->context, found);
}

/* `task`: a pidfd of whose table it is, or -1. */
static int show(const struct socket_walk *walk, pid_t pid, int task, int number, bool is_socket)
{
	_cleanup_fd_ int fd = task < 0 ? -1 : pidfd_getfd(task, number, 0);
	struct osh_sandbox_socket found = { .pid = pid, .fd = fd, .domain = AF_UNSPEC };

	if (task >= 0 && fd < 0)
		return errno == EBADF ? 0 : unless_gone(-errno);
	return is_socket && fd >= 0 ? show_socket(walk, &found) : walk->each(walk->context, &found);
}

static int look_at(const struct socket_walk *walk, pid_t pid, int task, int dir_fd, int number)
{
	char name[16], target[32] = "";

	snprintf(name, sizeof(name), "%d", number);
	if (readlinkat(dir_fd, name, target, sizeof(target) - 1) < 0)
		return unless_gone(-errno);
	if (strncmp(target, SOCKET, strlen(SOCKET)) == 0)
		return show(walk, pid, task, number, true);
	return strcmp(target, IO_URING) == 0 ? show(walk, pid, task, number, false) : 0;
}

static int look_through(const struct socket_walk *walk, pid_t pid, pid_t thread)
{
	_cleanup_fd_ int task = pidfd_open(thread, thread == pid ? 0 : PIDFD_THREAD);
	int number, r;
	char path[48];
	DIR *dir;

	if (task < 0 && (thread == pid || errno != EINVAL))
		return unless_gone(-errno);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/fd", (int)pid, (int)thread);
	dir = opendir(path);
	if (!dir)
		return unless_gone(-errno);
	while ((r = next_number(dir, &number)) > 0) {
		r = look_at(walk, pid, task, dirfd(dir), number);
		if (r < 0)
			break;
	}
	closedir(dir);
	return r;
}

/* No, too, where the kernel cannot tell. */
static bool share_table(pid_t one, pid_t other)
{
	return syscall(SYS_kcmp, one, other, KCMP_FILES, 0, 0) == 0;
}

int tables_look_through(void *context, pid_t pid)
{
	int thread, r = look_through(context, pid, pid);
	pid_t last = pid; /* whose table was looked through: another one may be shared by many, too */
	char path[32];
	DIR *dir;

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return unless_gone(-errno);
	while ((r = next_number(dir, &thread)) > 0) {
		if (thread == pid || share_table(pid, thread) || share_table(last, thread))
			continue;
		r = look_through(context, pid, thread);
		last = thread;
		if (r < 0)
			break;
	}
	closedir(dir);
	return r;
}
