/* Pins that somebody removed. What they kept is held open and stays in force, but would end with this
 * agent: rules on attached cgroups with it, and the next agent could not go on with what it finds. */
#include "kernel/install.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

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

static int mend_pin(const struct osh_install *install, const struct osh_pin *pin)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/" LAYOUT "/%s/%s", install->pin_dir, pin->kind, pin->name) >= PATH_MAX)
		return -ENAMETOOLONG;
	return pins_mend(pin->fd, install->pin_dir, path);
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
