/* Memory that outlives whoever maps it: a BPF array that can be mapped, pinned beside the
 * layouts. A memfd would go with its last descriptor; a file could be cut short under its
 * readers by whoever writes to it, and wants room on a disk. Not in a layout: what is in it
 * is not the programs' and stays when they are replaced. */
#include "kernel/kernel.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "kernel/pins.h"

#define PAGE_BYTES 4096u
/* A writer whose agent was killed is being killed as well: it is a matter of its last moments. */
#define LOCK_PATIENCE_MS 3000
#define LOCK_NAP_MS 2

static bool is_our_shape(int fd, uint32_t pages)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) == 0 && info.type == BPF_MAP_TYPE_ARRAY &&
	       info.value_size == PAGE_BYTES && info.max_entries == pages && (info.map_flags & BPF_F_MMAPABLE);
}

static int make(const char *path, const char *name, uint32_t pages, int *ret_fd)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	_cleanup_fd_ int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(uint32_t), PAGE_BYTES, pages,
					     &options);

	if (fd < 0)
		return fd;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	if (bpf_obj_pin(fd, path) < 0)
		return -errno;
	*ret_fd = osh_take_fd(&fd);
	return 1;
}

/* The path of one, of the directory when name is "". */
static int path_of(const char *pin_dir, const char *name, char path[static PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/" PINS_MEMORY "/%s", pin_dir, name);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int osh_kernel_memory(const char *pin_dir, const char *name, size_t bytes, bool may_make, int *ret_fd)
{
	uint32_t pages = (uint32_t)((bytes + PAGE_BYTES - 1) / PAGE_BYTES);
	char path[PATH_MAX];
	_cleanup_fd_ int fd = -1;
	int r = path_of(pin_dir, "", path);

	if (r == 0 && may_make && mkdir(path, 0700) < 0 && errno != EEXIST)
		r = -errno;
	if (r == 0)
		r = path_of(pin_dir, name, path);
	if (r < 0)
		return r;
	fd = bpf_obj_get(path);
	if (fd >= 0 && is_our_shape(fd, pages)) {
		*ret_fd = osh_take_fd(&fd);
		return 0;
	}
	return may_make ? make(path, name, pages, ret_fd) : -ENOENT;
}

int osh_kernel_memory_lock(const char *pin_dir)
{
	const struct timespec nap = { .tv_nsec = LOCK_NAP_MS * 1000000L };
	char path[PATH_MAX];
	_cleanup_fd_ int fd = -1;
	int r = path_of(pin_dir, "", path);

	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited_ms += LOCK_NAP_MS) {
		if (errno != EWOULDBLOCK || waited_ms >= LOCK_PATIENCE_MS)
			return -errno;
		(void)nanosleep(&nap, NULL);
	}
	return osh_take_fd(&fd);
}
