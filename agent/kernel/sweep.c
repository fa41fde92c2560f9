/* Removing what an agent that is gone left pinned, but for what holds a cgroup that stays attached. */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "kernel/install.h"
#include "kernel/pins.h"

struct kept {
	const uint64_t *sandboxes;
	size_t count;
};

static bool is_kept(const struct kept *kept, uint64_t sandbox)
{
	for (size_t i = 0; i < kept->count; i++) {
		if (kept->sandboxes[i] == sandbox)
			return true;
	}
	return false;
}

/* Each is a directory, named by its cgroup's id. */
static void detach_others(const struct kept *kept, const char *pin_dir, const char *layout)
{
	char path[PATH_MAX];
	struct dirent *entry;
	uint64_t id;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%s/attached", pin_dir, layout);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (osh_str_parse_u64(osh_str(entry->d_name), UINT64_MAX, &id) == 0 && !is_kept(kept, id))
			pins_remove_tree(dirfd(dir), entry->d_name);
	}
	if (dir)
		closedir(dir);
}

/* Whoever is in none of them is judged no more. What the other tables hold of them goes with the next agent. */
static void forget_others(const struct kept *kept, const char *pin_dir, const char *layout)
{
	char path[PATH_MAX];
	uint64_t ids[OSH_SANDBOXES_MAX], *previous = NULL;
	size_t count = 0;
	_cleanup_fd_ int fd = -1;

	snprintf(path, sizeof(path), "%s/%s/maps/sandboxes", pin_dir, layout);
	fd = bpf_obj_get(path);
	while (fd >= 0 && count < OSH_SANDBOXES_MAX && bpf_map_get_next_key(fd, previous, &ids[count]) == 0)
		previous = &ids[count++];
	for (size_t i = 0; i < count; i++) {
		if (!is_kept(kept, ids[i]))
			(void)bpf_map_delete_elem(fd, &ids[i]);
	}
}

static bool sweep_layout(const void *context, const char *pin_dir, const char *layout)
{
	const struct kept *kept = context;
	_cleanup_fd_ int fd = -1;

	if (kept->count) {
		detach_others(kept, pin_dir, layout);
		forget_others(kept, pin_dir, layout);
		return false;
	}
	fd = open(pin_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pins_remove_tree(fd, layout);
	return false;
}

int osh_install_sweep(const char *pin_dir, const uint64_t *sandboxes, size_t count, struct osh_err *err)
{
	const struct kept kept = { sandboxes, count };
	_cleanup_fd_ int fd = -1;
	int r;

	if (access(pin_dir, F_OK) < 0)
		return 0;
	r = pins_lock_dir(pin_dir, &fd, err);
	if (r < 0)
		return r;
	pins_any_layout(pin_dir, sweep_layout, &kept);
	pins_remove_tree(fd, PINS_MEMORY);
	if (count)
		return 0;
	if (rmdir(pin_dir) < 0)
		return osh_err_sys(err, errno, "cannot remove %s", pin_dir);
	osh_info("kernel programs and maps below %s removed", pin_dir);
	return 0;
}
