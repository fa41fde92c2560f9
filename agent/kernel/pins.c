/* Where programs and maps live between agents: DIRECTORY/LAYOUT on a BPF file system. */
#include "kernel/pins.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define BPFFS "/sys/fs/bpf"

static bool is_on_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (uint32_t)fs.f_type == BPF_FS_MAGIC;
}

int pins_make_dir(const char *path, struct osh_err *err)
{
	if (osh_path_is_below(path, BPFFS) && !is_on_bpffs(BPFFS) &&
	    mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
		return osh_err_sys(err, errno, "cannot mount the BPF file system at " BPFFS
				   " (is /sys mounted, and this root?)");
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return osh_err_sys(err, errno, "cannot make %s", path);
	if (!is_on_bpffs(path)) {
		(void)rmdir(path);
		return osh_err_set(err, EINVAL,
				   "%s is not on a BPF file system: choose a directory below " BPFFS
				   ", or mount one with: mount -t bpf bpf DIRECTORY", path);
	}
	return 0;
}

int pins_lock_dir(const char *path, int *ret_fd, struct osh_err *err)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return osh_err_sys(err, errno, "cannot open %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return osh_err_set(err, EBUSY,
				   "another agent uses %s: stop it, or give this one its own directories",
				   path);
	*ret_fd = osh_take_fd(&fd);
	return 0;
}

static int make_dirs(const char *top, char *path)
{
	char *end = path + strlen(top);
	int r = 0;

	while (r == 0 && (end = strchr(end + 1, '/'))) {
		*end = '\0';
		r = mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
		*end = '/';
	}
	return r;
}

/* 1: it is gone, and what it was in is there; 0: it is not; or -errno. */
static int look_for(const char *pin_dir, char *path)
{
	int r;

	if (access(path, F_OK) == 0)
		return 0;
	r = make_dirs(pin_dir, path);
	return r < 0 ? r : 1;
}

int pins_mend(int fd, const char *pin_dir, char *path)
{
	int r = look_for(pin_dir, path);

	return r > 0 && bpf_obj_pin(fd, path) < 0 ? -errno : r;
}

int pins_mend_dir(const char *pin_dir, char *path)
{
	int r = look_for(pin_dir, path);

	return r > 0 && mkdir(path, 0700) < 0 ? -errno : r;
}

void pins_remove_tree(int parent_fd, const char *name)
{
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (!dir) {
		osh_close(fd);
		(void)unlinkat(parent_fd, name, 0);
		return;
	}
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			pins_remove_tree(dirfd(dir), entry->d_name);
	}
	closedir(dir);
	(void)unlinkat(parent_fd, name, AT_REMOVEDIR);
}

bool pins_has_sandbox(int map_fd)
{
	uint64_t key;

	return bpf_map_get_next_key(map_fd, NULL, &key) != -ENOENT;
}

bool pins_hold_sandboxes(const char *pin_dir, const char *layout)
{
	char path[PATH_MAX];
	_cleanup_fd_ int fd = -1;

	if (snprintf(path, sizeof(path), "%s/%s/maps/sandboxes", pin_dir, layout) >= PATH_MAX)
		return true;
	fd = bpf_obj_get(path);
	return fd >= 0 ? pins_has_sandbox(fd) : fd != -ENOENT;
}

bool pins_any_layout(const char *pin_dir, bool (*each)(const void *context, const char *pin_dir, const char *layout),
		     const void *context)
{
	DIR *dir = opendir(pin_dir);
	struct dirent *entry;
	bool found = false;

	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, LAYOUT_PREFIX, strlen(LAYOUT_PREFIX)) == 0)
			found = each(context, pin_dir, entry->d_name);
	}
	closedir(dir);
	return found;
}
