#include "sandbox/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/knockout.h"
#include "base/log.h"
#include "base/mem.h"
#include "openshell/limits.h"

/* The tree's top directory, where directories that are not empty are moved to, so that
 * the work is always one level deep. */
struct removal {
	int top_fd;
	unsigned budget; /* entries that may still be looked at */
};

/* One name a call: to look for one that is free could take as long as there are names. What is taken, by
 * what an earlier slice or agent moved, is passed over, for the next call goes on from there. An empty
 * directory of that name is replaced, which removes it. */
static int move_up(int dir_fd, const char *name, int top_fd)
{
	static uint64_t moved;
	char up[32];

	snprintf(up, sizeof(up), ".removing-%llu", (unsigned long long)moved++);
	if (renameat(dir_fd, name, top_fd, up) == 0 || errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
		return 1;
	return -errno;
}

/* `dir_fd` is `top_fd` or one of its children. Returns 1 when something is left, maybe moved up. */
static int remove_entry(const struct removal *removal, int dir_fd, const char *name)
{
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
	return move_up(dir_fd, name, removal->top_fd);
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
	} while (r > 0 && removal->budget);
	if (r != 0)
		return r;
	return unlinkat(removal->top_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Takes dir_fd over unless it is the top. Returns 1 when there were entries, 0 or -errno. */
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
		if (removal->budget == 0)
			break;
		removal->budget--;
		r = remove_entry(removal, dir_fd, entry->d_name);
		if (r > 0 && descend)
			r = remove_directory(removal, entry->d_name);
	}
	closedir(dir);
	return r < 0 ? r : seen;
}

int tree_remove(const char *path, unsigned budget)
{
	struct removal removal = {
		.top_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
		.budget = budget,
	};
	int r;

	if (removal.top_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	/* Each round may move deeper directories up; one that finds nothing is the last. */
	do
		r = remove_children(&removal, removal.top_fd, true);
	while (r > 0 && removal.budget);
	osh_close(removal.top_fd);
	if (r != 0)
		return r;
	return rmdir(path) < 0 ? -errno : 0;
}

/* ---- In slices ------------------------------------------------------------------- */

/* A few milliseconds' worth: what a build leaves takes seconds, and the agent has others
 * to serve meanwhile. */
#define SLICE_ENTRIES 512
#define TRASH_PREFIX ".removing-" /* beside the sandboxes: no name of one begins so */

static void go_on(struct osh_sandbox_host *host)
{
	/* A millisecond, or it would be due in the same batch of events again. */
	if (osh_loop_timer_set(host->loop, &host->trash_timer, 1) < 0)
		osh_warning("the next agent removes the rest of deleted sandboxes: out of memory");
}

int trash_put(struct osh_sandbox_host *host, const char *path, uint64_t id)
{
	char trash[OSH_SANDBOX_PATH_MAX + 64];
	int r;

	snprintf(trash, sizeof(trash), "%s/sandboxes/" TRASH_PREFIX "%llu", host->state_dir,
		 (unsigned long long)id);
	if (rename(path, trash) < 0)
		return errno == ENOENT ? 0 : -errno;
	osh_crash_point();
	r = tree_remove(trash, SLICE_ENTRIES);
	if (r > 0)
		go_on(host);
	return r < 0 ? r : 0;
}

/* Into a directory of the agent's own, so that no name beside it is the sandbox's. An earlier one may still
 * be there, in slices. */
static int put_copies(const struct osh_sandbox_instance *instance, const char *path)
{
	char trash[OSH_SANDBOX_PATH_MAX + 64], inside[sizeof(trash) + 8];
	unsigned number = 0;
	int r;

	do {
		snprintf(trash, sizeof(trash), "%s/sandboxes/" TRASH_PREFIX "%llu-%u", instance->host->state_dir,
			 (unsigned long long)instance->record.id, number++);
		r = mkdir(trash, 0700) < 0 ? -errno : 0;
	} while (r == -EEXIST);
	if (r < 0)
		return r;
	osh_crash_point();
	snprintf(inside, sizeof(inside), "%s/copies", trash);
	return rename(path, inside) < 0 ? -errno : 0;
}

void trash_copies(const struct osh_sandbox_instance *instance)
{
	static const char *const places[] = { "sandbox", "tmp" };
	char path[OSH_SANDBOX_PATH_MAX + 32];
	int r;

	for (size_t i = 0; i < OSH_COUNT_OF(places); i++) {
		snprintf(path, sizeof(path), "%s/%s/" OSH_COPY_DIR, instance->dir, places[i]);
		/* Who runs inside may have put anything there. */
		if (unlink(path) == 0 || errno == ENOENT)
			continue;
		r = errno == EISDIR ? put_copies(instance, path) : -errno;
		if (r < 0)
			osh_warning("cannot remove %s: %s", path, strerror(-r));
		go_on(instance->host);
	}
}

/* One that cannot be removed is left to the next agent: it does not hold others up. */
static int remove_slice(const char *sandboxes, const char *name)
{
	char trash[OSH_SANDBOX_PATH_MAX + 300];
	int r;

	snprintf(trash, sizeof(trash), "%s/%s", sandboxes, name);
	r = tree_remove(trash, SLICE_ENTRIES);
	if (r < 0)
		osh_warning("cannot remove %s: %s", trash, strerror(-r));
	return r;
}

/* Returns whether something is left. */
static bool remove_some(const struct osh_sandbox_host *host)
{
	char sandboxes[OSH_SANDBOX_PATH_MAX + 16];
	struct dirent *entry;
	bool is_more = false;
	DIR *dir;

	snprintf(sandboxes, sizeof(sandboxes), "%s/sandboxes", host->state_dir);
	dir = opendir(sandboxes);
	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, TRASH_PREFIX, strlen(TRASH_PREFIX)) == 0)
			is_more |= remove_slice(sandboxes, entry->d_name) > 0;
	}
	if (dir)
		closedir(dir);
	return is_more;
}

static void on_trash_timer(struct osh_timer *timer)
{
	struct osh_sandbox_host *host = osh_container_of(timer, struct osh_sandbox_host, trash_timer);

	if (remove_some(host))
		go_on(host);
}

void trash_empty(struct osh_sandbox_host *host)
{
	while (remove_some(host))
		;
}

void trash_open(struct osh_sandbox_host *host)
{
	host->trash_timer.on_expire = on_trash_timer;
	go_on(host); /* what an earlier agent did not get to */
}

void trash_close(struct osh_sandbox_host *host)
{
	osh_loop_timer_cancel(host->loop, &host->trash_timer);
}
