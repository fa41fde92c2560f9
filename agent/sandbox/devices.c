/* /proc and /dev of a sandbox: nothing in them is the host's. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

struct device {
	const char *name;
	mode_t mode;
	unsigned major, minor;
};

static const struct device devices[] = {
	{ "null", 0666, 1, 3 },   { "zero", 0666, 1, 5 },    { "full", 0666, 1, 7 },
	{ "random", 0444, 1, 8 }, { "urandom", 0444, 1, 9 }, { "tty", 0666, 5, 0 },
};

static const struct { const char *name, *target; } device_links[] = {
	{ "ptmx", "pts/ptmx" },
	{ "fd", "/proc/self/fd" },
	{ "stdin", "/proc/self/fd/0" },
	{ "stdout", "/proc/self/fd/1" },
	{ "stderr", "/proc/self/fd/2" },
};

static int mount_on(struct launch *launch, const char *target, int tree_fd)
{
	_cleanup_fd_ int place = osh_open_in_root(launch->root_fd, target, O_PATH, 0);
	int r;

	if (place < 0) {
		osh_close(tree_fd);
		return launch_fail(launch, place, "%s", target);
	}
	r = mount_attach(tree_fd, place);
	return r < 0 ? launch_fail(launch, r, "%s", target) : 0;
}

/* Read-only: what may be written there is other programs' memory and the kernel's
 * settings, and whoever writes an allowed binary's memory speaks in its name. */
int root_mount_proc(struct launch *launch)
{
	static const struct mount_option options[] = { { "hidepid", "invisible" } };

	return mount_on(launch, "/proc",
			mount_filesystem("proc", options, OSH_COUNT_OF(options),
					 MOUNT_READ_ONLY | MOUNT_ATTR_NOEXEC));
}

static int make_devices(int dev_fd)
{
	for (size_t i = 0; i < OSH_COUNT_OF(devices); i++) {
		const struct device *device = &devices[i];

		if (mknodat(dev_fd, device->name, S_IFCHR | device->mode,
			    makedev(device->major, device->minor)) < 0 ||
		    fchmodat(dev_fd, device->name, device->mode, 0) < 0)
			return -errno;
	}
	for (size_t i = 0; i < OSH_COUNT_OF(device_links); i++) {
		if (symlinkat(device_links[i].target, dev_fd, device_links[i].name) < 0)
			return -errno;
	}
	if (mkdirat(dev_fd, "pts", 0755) < 0 || mkdirat(dev_fd, "shm", 0755) < 0)
		return -errno;
	return 0;
}

/* An own instance of devpts: terminals of the host do not exist in it. */
int root_mount_dev(struct launch *launch)
{
	static const struct mount_option dev[] = { { "mode", "0755" }, { "size", "64k" } };
	static const struct mount_option shm[] = { { "mode", "1777" }, { "size", "256m" } };
	static const struct mount_option pts[] = { { "ptmxmode", "0666" }, { "mode", "0620" } };
	int dev_fd = mount_filesystem("tmpfs", dev, OSH_COUNT_OF(dev),
				      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	int r = dev_fd < 0 ? dev_fd : make_devices(dev_fd);

	if (r < 0) {
		osh_close(dev_fd);
		return launch_fail(launch, r, "device nodes (the agent needs CAP_MKNOD)");
	}
	r = mount_on(launch, "/dev", dev_fd);
	if (r == 0)
		r = mount_on(launch, "/dev/pts",
			     mount_filesystem("devpts", pts, OSH_COUNT_OF(pts),
					      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
	if (r == 0)
		r = mount_on(launch, "/dev/shm",
			     mount_filesystem("tmpfs", shm, OSH_COUNT_OF(shm),
					      MOUNT_WRITABLE | MOUNT_ATTR_NOEXEC));
	return r;
}
