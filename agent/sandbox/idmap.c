/* Directories of the host are shown inside with no group of theirs mapped (id-mapped
 * mounts, Linux 5.12). Writing to an inode whose owner or group cannot be told is refused by
 * the kernel itself (inode_permission, HAS_UNMAPPED_ID), whatever the path that led there:
 * so no socket and no pipe of the host is reached through them, which "read-only" alone
 * does not prevent. Owners stay as they are, because programs look at them. */
#include "sandbox/internal.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/knockout.h"

/* A map must not be empty: the last id, which nobody has (4294967295 is none at all). */
#define USERS_MAP "0 0 4294967295\n"
#define GROUPS_MAP "4294967294 4294967294 1\n"

static bool write_map(pid_t pid, const char *name, const char *map)
{
	char path[64];
	_cleanup_fd_ int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, map, strlen(map)) == (ssize_t)strlen(map);
}

static int open_namespace(pid_t pid)
{
	char path[64];

	if (!write_map(pid, "uid_map", USERS_MAP) || !write_map(pid, "gid_map", GROUPS_MAP))
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* A user namespace exists as long as somebody is in it or holds it: a child waits in it
 * until it is held. It reports its end to nobody (exit_signal 0), so that the agent's
 * loop never hears of it. */
int idmap_open(void)
{
	struct clone_args args = { .flags = CLONE_NEWUSER | CLONE_CLEAR_SIGHAND };
	long pid = syscall(SYS_clone3, &args, sizeof(args));
	int fd;

	if (pid < 0)
		return -1;
	if (pid == 0) {
		for (;;)
			pause();
	}
	fd = open_namespace((pid_t)pid);
	(void)kill((pid_t)pid, SIGKILL);
	(void)waitpid((pid_t)pid, NULL, __WALL);
	return fd;
}

static int map_tree(int tree_fd, int idmap_fd)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)idmap_fd };

	return mount_setattr(tree_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr));
}

bool idmap_works(int idmap_fd)
{
	_cleanup_fd_ int fd = idmap_fd < 0 ? -1 : mount_clone(AT_FDCWD, "/usr", MOUNT_READ_ONLY);

	return fd >= 0 && map_tree(fd, idmap_fd) == 0;
}

/* Not every file system takes it (overlayfs does not, tmpfs since 6.3), nor one that is
 * mapped already: those are shown as they are. */
int mount_clone_host(int idmap_fd, const char *path)
{
	int fd = mount_clone(AT_FDCWD, path, MOUNT_READ_ONLY);

	if (fd >= 0 && idmap_fd >= 0 && !osh_layer_off("idmap"))
		(void)map_tree(fd, idmap_fd);
	return fd;
}
