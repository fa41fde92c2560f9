/* Mounts by descriptor (Linux 5.12): a tree is copied, gets its flags as a whole, and is
 * then put in its place. Places are looked up as the sandbox will see them. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* ---- Mounts --------------------------------------------------------------------- */

static int set_attributes(int tree_fd, uint64_t attributes)
{
	struct mount_attr attr = { .attr_set = attributes, .propagation = MS_PRIVATE };

	if (mount_setattr(tree_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return -errno;
	return 0;
}

int mount_clone(int dir_fd, const char *path, uint64_t attributes)
{
	_cleanup_fd_ int fd = open_tree(dir_fd, path,
					OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE |
						AT_EMPTY_PATH);
	int r;

	if (fd < 0)
		return -errno;
	r = set_attributes(fd, attributes);
	return r < 0 ? r : osh_take_fd(&fd);
}

int mount_attach(int tree_fd, int place_fd)
{
	int r = tree_fd;

	if (tree_fd >= 0) {
		r = move_mount(tree_fd, "", place_fd, "",
			       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
			    ? -errno
			    : 0;
	}
	osh_close(tree_fd);
	return r;
}

int mount_filesystem(const char *type, const struct mount_option *options, size_t count,
		     unsigned attributes)
{
	_cleanup_fd_ int fs = fsopen(type, FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0)
		return -errno;
	for (size_t i = 0; i < count; i++) {
		unsigned command = options[i].value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;

		if (fsconfig(fs, command, options[i].name, options[i].value, 0) < 0)
			return -errno;
	}
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = fsmount(fs, FSMOUNT_CLOEXEC, attributes);
	return fd < 0 ? -errno : fd;
}

/* ---- Places inside the new root ------------------------------------------------- */

bool mount_same_filesystem(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev;
}

int mount_make_file(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0444);

	if (fd < 0)
		return -errno;
	osh_close(fd);
	return 0;
}

/* Make one name in a directory, but only in our own tmpfs: never on the host. */
static int make_one(int root_fd, int parent_fd, const char *name, bool directory)
{
	if (!mount_same_filesystem(root_fd, parent_fd))
		return -EROFS;
	if (directory)
		return mkdirat(parent_fd, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
	return mount_make_file(parent_fd, name);
}

/* Open the place `path` (absolute) as O_PATH, making it and its parents where needed. */
int mount_open_place(int root_fd, const char *path, bool directory)
{
	char parent[PATH_MAX];
	_cleanup_fd_ int parent_fd = -1;
	const char *name;
	int fd, r;

	fd = osh_open_in_root(root_fd, path, O_PATH, 0);
	if (fd != -ENOENT)
		return fd;
	name = strrchr(path, '/') + 1;
	if ((size_t)(name - path) >= sizeof(parent))
		return -ENAMETOOLONG;
	memcpy(parent, path, (size_t)(name - path));
	parent[name - path] = '\0';
	if (name - path > 1)
		parent[name - path - 1] = '\0';
	parent_fd = mount_open_place(root_fd, parent, true);
	if (parent_fd < 0)
		return parent_fd;
	r = make_one(root_fd, parent_fd, name, directory);
	return r < 0 ? r : osh_open_in_root(root_fd, path, O_PATH, 0);
}
