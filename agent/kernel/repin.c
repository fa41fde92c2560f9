/* Pins that somebody removed. What they kept is held open and stays in force, but would end with this
 * agent: rules on attached cgroups with it, and the next agent could not go on with what it finds. */
#include "kernel/install.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
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

int osh_install_hold_memory(struct osh_install *install)
{
	char path[PATH_MAX];
	struct dirent *entry;
	int first_error = 0;
	DIR *dir;

	if (snprintf(path, sizeof(path), "%s/" PINS_MEMORY, install->pin_dir) >= PATH_MAX)
		return -ENAMETOOLONG;
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		int fd = entry->d_name[0] == '.' ? 0 : osh_install_hold(install, PINS_MEMORY, entry->d_name);

		if (fd < 0 && first_error == 0)
			first_error = fd;
	}
	closedir(dir);
	return first_error;
}

static int mend_pin(const struct osh_install *install, const struct osh_pin *pin)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s/%s", install->pin_dir, pin->place, pin->name) >= PATH_MAX)
		return -ENAMETOOLONG;
	return pins_mend(pin->fd, install->pin_dir, path);
}

/* Another build's is not put back: with it or without it, its programs are replaced once nobody needs them. */
static int mend_build(const struct osh_install *install)
{
	char path[PATH_MAX];

	if (!install->build[0])
		return 0;
	if (snprintf(path, sizeof(path), "%s/" LAYOUT "/build/%s", install->pin_dir, install->build) >= PATH_MAX)
		return -ENAMETOOLONG;
	return pins_mend_dir(install->pin_dir, path);
}

static bool lacks_memory(const struct osh_install *install)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/" PINS_MEMORY, install->pin_dir) < PATH_MAX && access(path, F_OK) < 0;
}

/* osh_kernel_memory_lock lies on the directory that is gone and is held by the proxy: nobody can take the lock
 * on the new one in the name of a process that runs. The agent's own would end with the agent, when it is
 * wanted. */
static void tell_lost_lock(const struct osh_install *install)
{
	osh_warning("the lock of the proxy went with %s/" PINS_MEMORY ": if this agent is killed, the next one does not "
		    "wait for the last verdicts of its proxy", install->pin_dir);
}

int osh_install_repin(struct osh_install *install)
{
	int first_error = mend_dir(install), pinned = 0, r;
	bool lacked_memory = lacks_memory(install);

	for (size_t i = 0; first_error == 0 && i < install->pin_count; i++) {
		r = mend_pin(install, &install->pins[i]);
		if (r < 0)
			first_error = r;
		else
			pinned += r;
	}
	if (lacked_memory && !lacks_memory(install))
		tell_lost_lock(install);
	if (first_error == 0) { /* last, as when they were made */
		r = mend_build(install);
		first_error = r < 0 ? r : 0;
		pinned += r > 0;
	}
	r = osh_install_repin_attached(install);
	if (first_error < 0 || r < 0)
		return first_error < 0 ? first_error : r;
	return pinned + r;
}
