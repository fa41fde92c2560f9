/* Pins that somebody removed. What they kept is held open and stays in force, but would end with this
 * agent: rules on attached cgroups with it, and the next agent could not go on with what it finds. */
#include "kernel/install.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "kernel/pins.h"

/* The lock lies on the directory: one that is made again needs a lock of its own. */
static int mend_dir(struct osh_install *install)
{
	struct osh_err err = { 0 }; /* the caller says it */
	struct stat st;
	int fd, r;

	if (fstat(install->pin_dir_fd, &st) == 0 && st.st_nlink > 0)
		return 0;
	r = pins_make_dir(install->pin_dir, &err);
	if (r == 0)
		r = pins_lock_dir(install->pin_dir, &fd, &err);
	if (r < 0)
		return r;
	osh_close(install->pin_dir_fd);
	install->pin_dir_fd = fd;
	return 0;
}

/* pin_dir/LAYOUT/KIND/NAME; without a name or a kind their directory. */
static int path_of(const struct osh_install *install, const char *kind, const char *name, char path[static PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/" LAYOUT "/%s/%s", install->pin_dir, kind, name);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int make_dir(const struct osh_install *install, const char *kind)
{
	char path[PATH_MAX];
	int r = path_of(install, kind, "", path);

	return r < 0 ? r : mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* 1: it had to be; 0: it is there. */
static int mend_pin(const struct osh_install *install, const struct osh_pin *pin)
{
	char path[PATH_MAX];
	int r = path_of(install, pin->kind, pin->name, path);

	if (r < 0 || access(path, F_OK) == 0)
		return r;
	r = make_dir(install, "");
	if (r == 0)
		r = make_dir(install, pin->kind);
	if (r == 0 && bpf_obj_pin(pin->fd, path) < 0)
		r = -errno;
	return r < 0 ? r : 1;
}

int osh_install_repin(struct osh_install *install)
{
	int first_error = mend_dir(install), pinned = 0, r;

	for (size_t i = 0; first_error == 0 && i < install->pin_count; i++) {
		r = mend_pin(install, &install->pins[i]);
		if (r < 0)
			first_error = r;
		else
			pinned += r;
	}
	r = osh_install_repin_attached(install);
	if (first_error < 0 || r < 0)
		return first_error < 0 ? first_error : r;
	return pinned + r;
}
