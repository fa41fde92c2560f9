/* Which namespaces of an attached cgroup's processes have programs outside in them. */
#include "sandbox/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define SPACES_MAX 64 /* a pod has a few; of more it is not told */

struct spaces {
	const char *kind;
	ino_t inodes[SPACES_MAX];
	size_t count;
};

static bool has_inode(const struct spaces *spaces, ino_t inode)
{
	for (size_t i = 0; i < spaces->count; i++) {
		if (spaces->inodes[i] == inode)
			return true;
	}
	return false;
}

static int open_space(pid_t pid, const char *kind)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kind);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* A process is seen by those in a PID namespace around its own, too (pid_namespaces(7)); other kinds have
 * nothing around them (EINVAL). What is around the agent's is not told (EPERM). */
static bool is_in(const struct spaces *spaces, pid_t pid)
{
	int fd = open_space(pid, spaces->kind);
	bool found = false;

	while (fd >= 0 && !found) {
		struct stat st;
		int around = ioctl(fd, NS_GET_PARENT);

		found = fstat(fd, &st) == 0 && has_inode(spaces, st.st_ino);
		close(fd);
		fd = around;
	}
	osh_close(fd);
	return found;
}

static bool has_outsider(const struct osh_sandbox_instance *instance, const struct spaces *spaces)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	bool found = !proc; /* it cannot be told */

	while (!found && (entry = readdir(proc))) {
		uint64_t pid;

		found = osh_str_parse_u64(osh_str(entry->d_name), INT32_MAX, &pid) == 0 &&
			is_in(spaces, (pid_t)pid) && !osh_sandbox_holds_process(instance, (pid_t)pid);
	}
	if (proc)
		closedir(proc);
	return found;
}

static int add_space(void *context, pid_t pid)
{
	struct spaces *spaces = context;
	_cleanup_fd_ int fd = open_space(pid, spaces->kind);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT || errno == ESRCH ? 0 : -errno; /* it has ended */
	if (fstat(fd, &st) < 0)
		return -errno;
	if (has_inode(spaces, st.st_ino))
		return 0;
	if (spaces->count == SPACES_MAX)
		return -E2BIG;
	spaces->inodes[spaces->count++] = st.st_ino;
	return 0;
}

bool osh_sandbox_shares(const struct osh_sandbox_instance *instance, const char *kind)
{
	struct spaces spaces = { .kind = kind };

	return osh_sandbox_each_process(instance, add_space, &spaces) < 0 || has_outsider(instance, &spaces);
}
