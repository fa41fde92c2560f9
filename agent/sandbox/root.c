/* The private root of a sandbox: a tmpfs that shows the host's programs read-only, the
 * sandbox's own /sandbox, /tmp, /proc and /dev, and nothing else of the host. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/knockout.h"
#include "base/mem.h"

/* ---- The table of the root ------------------------------------------------------ */

enum entry_kind {
	ENTRY_HOST,      /* the host's, read-only; a symbolic link stays one; left out when absent */
	ENTRY_HOST_DIR,  /* as ENTRY_HOST, but an empty directory when the host has none */
	ENTRY_EMPTY,     /* an empty directory of our own, read-only */
	ENTRY_SECRET,    /* the same, entered by nobody */
	ENTRY_LINK,      /* a symbolic link to `target` */
};

struct root_entry {
	const char *path;    /* without the leading slash */
	enum entry_kind kind;
	const char *target;
	const char *reason;
};

/* What is not named here does not exist inside. In order: parents first. */
static const struct root_entry root_entries[] = {
	{ "usr", ENTRY_HOST_DIR, NULL, "programs and libraries" },
	{ "bin", ENTRY_HOST, NULL, "programs; a link into /usr on merged systems" },
	{ "sbin", ENTRY_HOST, NULL, "as /bin" },
	{ "lib", ENTRY_HOST, NULL, "libraries" },
	{ "lib32", ENTRY_HOST, NULL, "libraries" },
	{ "lib64", ENTRY_HOST, NULL, "libraries, the dynamic loader" },
	{ "libx32", ENTRY_HOST, NULL, "libraries" },
	{ "etc", ENTRY_HOST_DIR, NULL, "configuration of programs; secrets are masked below" },
	{ "opt", ENTRY_HOST_DIR, NULL, "programs" },
	{ "app", ENTRY_HOST_DIR, NULL, "where container images keep theirs; policies name it" },
	{ "nix", ENTRY_HOST, NULL, "programs of NixOS hosts" },
	{ "gnu", ENTRY_HOST, NULL, "programs of Guix hosts" },
	{ "proc", ENTRY_EMPTY, NULL, "mount point" },
	{ "dev", ENTRY_EMPTY, NULL, "mount point" },
	{ "sandbox", ENTRY_EMPTY, NULL, "mount point" },
	{ "tmp", ENTRY_EMPTY, NULL, "mount point" },
	{ "sys", ENTRY_EMPTY, NULL, "devices, kernel settings, cgroups of the host: hidden" },
	{ "run", ENTRY_EMPTY, NULL, "sockets of the host's daemons: hidden" },
	{ "run/openshell", ENTRY_EMPTY, NULL, "generated files, pid 1" },
	{ "run/lock", ENTRY_EMPTY, NULL, "expected by programs" },
	{ "home", ENTRY_EMPTY, NULL, "keys, tokens, agents' sockets of users: hidden" },
	{ "root", ENTRY_SECRET, NULL, "as /home" },
	{ "srv", ENTRY_EMPTY, NULL, "data of the host's services: hidden" },
	{ "mnt", ENTRY_EMPTY, NULL, "other file systems: hidden" },
	{ "media", ENTRY_EMPTY, NULL, "other file systems: hidden" },
	{ "var", ENTRY_EMPTY, NULL, "state, spools, caches of the host's services: hidden" },
	{ "var/lib", ENTRY_EMPTY, NULL, "databases, container images, our own state: hidden" },
	{ "var/cache", ENTRY_EMPTY, NULL, "expected by programs" },
	{ "var/log", ENTRY_EMPTY, NULL, "holds openshell.log alone" },
	{ "var/run", ENTRY_LINK, "/run", "old name" },
	{ "var/lock", ENTRY_LINK, "/run/lock", "old name" },
	{ "var/tmp", ENTRY_LINK, "/tmp", "survives like /tmp does" },
};

/* Never the host's, whatever a policy names: these, what is in them, what holds them. */
static const char *const own_paths[] = {
	"/proc", "/sys", "/dev", "/run", "/tmp", "/sandbox", "/var/run", "/var/lock", "/var/tmp",
	"/var/log", "/etc/resolv.conf",
};

/* ---- The steps ------------------------------------------------------------------ */

/* On its own directory in the state, because /tmp and the like may hold the state. */
static int mount_root(struct launch *launch)
{
	static const struct mount_option options[] = { { "mode", "0755" }, { "size", "16m" } };
	char path[OSH_SANDBOX_PATH_MAX + 8];
	_cleanup_fd_ int place = -1;
	int r;

	/* Nothing that happens to mounts here may reach the host, or the reverse. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	snprintf(path, sizeof(path), "%s/root", launch->instance->dir);
	place = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (place < 0)
		return launch_fail(launch, -errno, "%s", path);
	r = mount_attach(mount_filesystem("tmpfs", options, OSH_COUNT_OF(options), MOUNT_WRITABLE), place);
	if (r < 0)
		return launch_fail(launch, r, "tmpfs on %s", path);
	launch->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return launch->root_fd < 0 ? -errno : 0;
}

static int copy_link(int root_fd, const char *host_path, const char *name)
{
	char target[PATH_MAX];
	ssize_t len = readlink(host_path, target, sizeof(target) - 1);

	if (len < 0)
		return -errno;
	target[len] = '\0';
	return symlinkat(target, root_fd, name) < 0 ? -errno : 0;
}

static int bind_host(struct launch *launch, const struct root_entry *entry)
{
	char path[64];
	struct stat st;
	_cleanup_fd_ int place = -1;

	snprintf(path, sizeof(path), "/%s", entry->path);
	if (lstat(path, &st) < 0) {
		if (errno == ENOENT && entry->kind == ENTRY_HOST)
			return 0;
		if (errno == ENOENT)
			return mkdirat(launch->root_fd, entry->path, 0755) < 0 ? -errno : 0;
		return -errno;
	}
	if (S_ISLNK(st.st_mode))
		return copy_link(launch->root_fd, path, entry->path);
	place = mount_open_place(launch->root_fd, path, true);
	return place < 0 ? place : mount_attach(mount_clone_host(launch->idmap_fd, path), place);
}

static int make_entry(struct launch *launch, const struct root_entry *entry)
{
	switch (entry->kind) {
	case ENTRY_HOST:
	case ENTRY_HOST_DIR:
		return bind_host(launch, entry);
	case ENTRY_EMPTY:
		if (osh_layer_off(entry->path))
			return bind_host(launch, entry);
		return mkdirat(launch->root_fd, entry->path, 0755) < 0 ? -errno : 0;
	case ENTRY_SECRET:
		return mkdirat(launch->root_fd, entry->path, 0700) < 0 ? -errno : 0;
	case ENTRY_LINK:
		return symlinkat(entry->target, launch->root_fd, entry->path) < 0 ? -errno : 0;
	}
	return -EINVAL;
}

static int make_entries(struct launch *launch)
{
	for (size_t i = 0; i < OSH_COUNT_OF(root_entries); i++) {
		int r = make_entry(launch, &root_entries[i]);

		if (r < 0)
			return launch_fail(launch, r, "/%s", root_entries[i].path);
	}
	return 0;
}

bool path_is_at_or_below(const char *path, const char *directory)
{
	size_t len = strlen(directory);

	return strcmp(directory, "/") == 0 ||
	       (strncmp(path, directory, len) == 0 && (path[len] == '/' || path[len] == '\0'));
}

bool root_is_own(const struct launch *launch, const char *path)
{
	const struct osh_sandbox_host *host = launch->instance->host;

	for (size_t i = 0; i < OSH_COUNT_OF(own_paths); i++) {
		if (path_is_at_or_below(path, own_paths[i]) || path_is_at_or_below(own_paths[i], path))
			return true;
	}
	return path_is_at_or_below(path, host->state_dir) || path_is_at_or_below(path, host->run_dir);
}

/* A path of the policy that is not inside yet (or only as a directory that stands for
 * "hidden"), or must be writable: the host's is bound there. What the host does not have
 * is left to Landlock's step to complain of. */
static int bind_policy_path(struct launch *launch, const char *path, bool writable)
{
	_cleanup_fd_ int place = -1;
	struct stat st;
	int r;

	if (root_is_own(launch, path) || stat(path, &st) < 0)
		return 0;
	place = osh_open_in_root(launch->root_fd, path, O_PATH, 0);
	if (place >= 0 && !writable && !mount_same_filesystem(launch->root_fd, place))
		return 0;
	if (place < 0)
		place = mount_open_place(launch->root_fd, path, S_ISDIR(st.st_mode));
	if (place < 0)
		return launch_fail(launch, place, "no place for %s of the policy", path);
	r = mount_attach(writable ? mount_clone(AT_FDCWD, path, MOUNT_WRITABLE)
				  : mount_clone_host(launch->idmap_fd, path), place);
	return r < 0 ? launch_fail(launch, r, "%s of the policy", path) : 0;
}

static int bind_policy(struct launch *launch)
{
	const struct osh_policy_static *policy = launch->spec->policy;
	int r = 0;

	for (size_t i = 0; r == 0 && i < policy->read_only_count; i++)
		r = bind_policy_path(launch, policy->read_only[i], false);
	for (size_t i = 0; r == 0 && i < policy->read_write_count; i++)
		r = bind_policy_path(launch, policy->read_write[i], true);
	return r;
}

/* /sandbox and /tmp live in the state directory, on disk: a build in them must not eat
 * the host's memory. */
static int bind_own_directory(struct launch *launch, const char *name)
{
	char source[OSH_SANDBOX_PATH_MAX + 16], target[16];
	_cleanup_fd_ int place = -1;
	int r;

	snprintf(source, sizeof(source), "%s/%s", launch->instance->dir, name);
	snprintf(target, sizeof(target), "/%s", name);
	place = osh_open_in_root(launch->root_fd, target, O_PATH, 0);
	r = place < 0 ? place : mount_attach(mount_clone(AT_FDCWD, source, MOUNT_WRITABLE), place);
	return r < 0 ? launch_fail(launch, r, "%s on %s", source, target) : 0;
}

static int bind_own_file(struct launch *launch, const char *source, const char *target)
{
	_cleanup_fd_ int place = mount_open_place(launch->root_fd, target, false);
	int r = place < 0 ? place : mount_attach(mount_clone(AT_FDCWD, source, MOUNT_READ_ONLY), place);

	return r < 0 ? launch_fail(launch, r, "%s on %s", source, target) : 0;
}

static int bind_own(struct launch *launch)
{
	int r = bind_own_directory(launch, "sandbox");

	if (r == 0)
		r = bind_own_directory(launch, "tmp");
	if (r == 0)
		r = bind_own_file(launch, launch->instance->log_path, "/var/log/openshell.log");
	if (r == 0)
		r = bind_own_file(launch, launch->instance->host->init_path,
				  OSH_SANDBOX_OWN_DIR "/init");
	return r;
}

/* ---- The face ------------------------------------------------------------------- */

int root_build(struct launch *launch)
{
	int (*const steps[])(struct launch *) = {
		mount_root,	make_entries,	 bind_policy,		 root_keep_run_later, root_mount_proc,
		root_mount_dev, bind_own,	 root_make_files,	 root_bind_unix_sockets,
		root_mask_secrets,
	};

	for (size_t i = 0; i < OSH_COUNT_OF(steps); i++) {
		int r = steps[i](launch);

		if (r < 0)
			return r;
	}
	return 0;
}

static int seal(const char *path)
{
	struct mount_attr attr = { .attr_set = MOUNT_READ_ONLY | MOUNT_ATTR_NOEXEC };

	if (strcmp(path, "/dev") == 0)
		attr.attr_set = MOUNT_ATTR_RDONLY;
	return mount_setattr(AT_FDCWD, path, 0, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

/* pivot_root(2) with both names the same stacks the old root on the new one, from where
 * it is taken off: no directory for it is needed. */
int root_enter(struct launch *launch)
{
	int r;

	if (fchdir(launch->root_fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	r = seal("/dev");
	if (r == 0)
		r = seal("/");
	if (r < 0)
		return launch_fail(launch, r, "cannot make the root read-only");
	return 0;
}
