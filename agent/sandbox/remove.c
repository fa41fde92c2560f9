#include "sandbox/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

/* The tree's top directory, where directories that are not empty are moved to, so that
 * the work is always one level deep. */
struct removal {
	int top_fd;
	uint64_t moved; /* makes names */
};

/* `dir_fd` is `top_fd` or one of its children. Returns 1 when something was moved up. */
static int remove_entry(struct removal *removal, int dir_fd, const char *name)
{
	char up[32];

	if (unlinkat(dir_fd, name, 0) == 0)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0)
		return 0;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return -errno;
	if (dir_fd == removal->top_fd)
		return 1; /* its own turn comes */
	do
		snprintf(up, sizeof(up), ".removing-%llu", (unsigned long long)removal->moved++);
	while (faccessat(removal->top_fd, up, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
	return renameat(dir_fd, name, removal->top_fd, up) < 0 ? -errno : 1;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int remove_children(struct removal *removal, int dir_fd, bool descend);

/* An entry of the top that is a directory with content: empty it, then remove it. */
static int remove_directory(struct removal *removal, const char *name)
{
	int r;

	do {
		int fd = openat(removal->top_fd, name,
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		r = fd < 0 ? -errno : remove_children(removal, fd, false);
	} while (r > 0);
	if (r < 0)
		return r;
	return unlinkat(removal->top_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Takes dir_fd over unless it is the top. Returns how many entries were seen, or -errno. */
static int remove_children(struct removal *removal, int dir_fd, bool descend)
{
	int fd = dir_fd == removal->top_fd ? openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
					   : dir_fd;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	int seen = 0, r = 0;

	if (!dir) {
		r = -errno;
		osh_close(fd);
		return r;
	}
	while (r >= 0 && (entry = readdir(dir))) {
		if (is_dots(entry->d_name))
			continue;
		seen = 1;
		r = remove_entry(removal, dir_fd, entry->d_name);
		if (r > 0 && descend)
			r = remove_directory(removal, entry->d_name);
	}
	closedir(dir);
	return r < 0 ? r : seen;
}

int tree_remove(const char *path)
{
	struct removal removal = {
		.top_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
	};
	int r;

	if (removal.top_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	/* Each round may move deeper directories up; one that finds nothing is the last. */
	do
		r = remove_children(&removal, removal.top_fd, true);
	while (r > 0);
	osh_close(removal.top_fd);
	if (r < 0)
		return r;
	return rmdir(path) < 0 ? -errno : 0;
}
