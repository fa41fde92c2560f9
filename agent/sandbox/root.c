/* The private root of a sandbox: a tmpfs that shows the host's programs read-only, the
 * sandbox's own /sandbox, /tmp, /proc and /dev, and nothing else of the host. Every mount
 * is made with the descriptor-based calls (Linux 5.12), so flags hold for whole trees. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define READ_ONLY (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define WRITABLE (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

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

/* Secrets in directories that are shown. Most are closed to other users anyway; this
 * holds when one is not. A trailing slash: a directory. */
static const char *const masked_paths[] = {
	"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/security/opasswd",
	"/etc/sudoers", "/etc/sudoers.d/", "/etc/ssh/ssh_host_*_key", "/etc/ssl/private/",
	"/etc/pki/tls/private/", "/etc/letsencrypt/", "/etc/krb5.keytab", "/etc/wireguard/",
	"/etc/openvpn/", "/etc/ipsec.secrets", "/etc/ipsec.d/private/", "/etc/ppp/",
	"/etc/NetworkManager/system-connections/", "/etc/wpa_supplicant/", "/etc/docker/",
	"/etc/containers/auth.json", "/etc/kubernetes/", "/etc/rancher/", "/etc/openshell/",
	"/etc/postgresql/", "/etc/mysql/debian.cnf",
	/* Host-wide kernel objects behind files that some kernels leave readable. */
	"/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/sched_debug",
	"/proc/sysrq-trigger", "/proc/kmsg", "/proc/kallsyms", "/proc/config.gz", "/proc/acpi/",
	"/proc/scsi/",
};

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

/* ---- Mounts --------------------------------------------------------------------- */

static int set_attributes(int tree_fd, uint64_t attributes)
{
	struct mount_attr attr = { .attr_set = attributes, .propagation = MS_PRIVATE };

	if (mount_setattr(tree_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return -errno;
	return 0;
}

/* A copy of what is mounted at `path`, mounts in it included, not visible anywhere yet. */
static int clone_tree(int dir_fd, const char *path, uint64_t attributes)
{
	_cleanup_fd_ int fd = open_tree(dir_fd, path,
					OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	int r;

	if (fd < 0)
		return -errno;
	r = set_attributes(fd, attributes);
	return r < 0 ? r : osh_take_fd(&fd);
}

/* Takes tree_fd over, also when it is an error already. */
static int attach(int tree_fd, int place_fd)
{
	int r = tree_fd;

	if (tree_fd >= 0) {
		r = move_mount(tree_fd, "", place_fd, "",
			       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
			    ? -errno
			    : 0;
	}
	osh_close(tree_fd);
	return r;
}

struct mount_option {
	const char *name, *value; /* value NULL: a flag */
};

/* A new file system, as a descriptor of its unattached root. */
static int make_filesystem(const char *type, const struct mount_option *options, size_t count,
			   unsigned attributes)
{
	_cleanup_fd_ int fs = fsopen(type, FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0)
		return -errno;
	for (size_t i = 0; i < count; i++) {
		unsigned command = options[i].value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;

		if (fsconfig(fs, command, options[i].name, options[i].value, 0) < 0)
			return -errno;
	}
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = fsmount(fs, FSMOUNT_CLOEXEC, attributes);
	return fd < 0 ? -errno : fd;
}

/* ---- Places inside the new root ------------------------------------------------- */

/* Symbolic links inside are followed as they will be later: from the new root. */
static int open_inside(int root_fd, const char *path, uint64_t flags)
{
	const struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static bool same_filesystem(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev;
}

static int make_file(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0444);

	if (fd < 0)
		return -errno;
	osh_close(fd);
	return 0;
}

/* Make one name in a directory, but only in our own tmpfs: never on the host. */
static int make_one(int root_fd, int parent_fd, const char *name, bool directory)
{
	if (!same_filesystem(root_fd, parent_fd))
		return -EROFS;
	if (directory)
		return mkdirat(parent_fd, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
	return make_file(parent_fd, name);
}

/* Open the place `path` (absolute) as O_PATH, making it and its parents where needed. */
static int open_place(int root_fd, const char *path, bool directory)
{
	char parent[PATH_MAX];
	_cleanup_fd_ int parent_fd = -1;
	const char *name;
	int fd, r;

	fd = open_inside(root_fd, path, O_PATH);
	if (fd != -ENOENT)
		return fd;
	name = strrchr(path, '/') + 1;
	if ((size_t)(name - path) >= sizeof(parent))
		return -ENAMETOOLONG;
	memcpy(parent, path, (size_t)(name - path));
	parent[name - path] = '\0';
	if (name - path > 1)
		parent[name - path - 1] = '\0';
	parent_fd = open_place(root_fd, parent, true);
	if (parent_fd < 0)
		return parent_fd;
	r = make_one(root_fd, parent_fd, name, directory);
	return r < 0 ? r : open_inside(root_fd, path, O_PATH);
}

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
	r = attach(make_filesystem("tmpfs", options, OSH_COUNT_OF(options), WRITABLE), place);
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
	place = open_place(launch->root_fd, path, true);
	return place < 0 ? place : attach(clone_tree(AT_FDCWD, path, READ_ONLY), place);
}

static int make_entry(struct launch *launch, const struct root_entry *entry)
{
	switch (entry->kind) {
	case ENTRY_HOST:
	case ENTRY_HOST_DIR:
		return bind_host(launch, entry);
	case ENTRY_EMPTY:
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

/* Does a begin with b, as paths do? */
static bool is_at_or_below(const char *a, const char *b)
{
	size_t len = strlen(b);

	return strcmp(b, "/") == 0 || (strncmp(a, b, len) == 0 && (a[len] == '/' || a[len] == '\0'));
}

static bool is_own(const struct launch *launch, const char *path)
{
	const struct osh_sandbox_host *host = launch->instance->host;

	for (size_t i = 0; i < OSH_COUNT_OF(own_paths); i++) {
		if (is_at_or_below(path, own_paths[i]) || is_at_or_below(own_paths[i], path))
			return true;
	}
	return is_at_or_below(path, host->state_dir) || is_at_or_below(path, host->run_dir);
}

/* A path of the policy that is not inside yet (or only as a directory that stands for
 * "hidden"), or must be writable: the host's is bound there. What the host does not have
 * is left to Landlock's step to complain of. */
static int bind_policy_path(struct launch *launch, const char *path, bool writable)
{
	_cleanup_fd_ int place = -1;
	struct stat st;
	int r;

	if (is_own(launch, path) || stat(path, &st) < 0)
		return 0;
	place = open_inside(launch->root_fd, path, O_PATH);
	if (place >= 0 && !writable && !same_filesystem(launch->root_fd, place))
		return 0;
	if (place < 0)
		place = open_place(launch->root_fd, path, S_ISDIR(st.st_mode));
	if (place < 0)
		return launch_fail(launch, place, "no place for %s of the policy", path);
	r = attach(clone_tree(AT_FDCWD, path, writable ? WRITABLE : READ_ONLY), place);
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
	place = open_inside(launch->root_fd, target, O_PATH);
	r = place < 0 ? place : attach(clone_tree(AT_FDCWD, source, WRITABLE), place);
	return r < 0 ? launch_fail(launch, r, "%s on %s", source, target) : 0;
}

static int bind_own_file(struct launch *launch, const char *source, const char *target)
{
	_cleanup_fd_ int place = open_place(launch->root_fd, target, false);
	int r = place < 0 ? place : attach(clone_tree(AT_FDCWD, source, READ_ONLY), place);

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

/* ---- /proc and /dev ------------------------------------------------------------- */

static int mount_at(struct launch *launch, const char *target, int tree_fd)
{
	_cleanup_fd_ int place = open_inside(launch->root_fd, target, O_PATH);
	int r;

	if (place < 0) {
		osh_close(tree_fd);
		return launch_fail(launch, place, "%s", target);
	}
	r = attach(tree_fd, place);
	return r < 0 ? launch_fail(launch, r, "%s", target) : 0;
}

/* Read-only: what may be written there is other programs' memory and the kernel's
 * settings, and whoever writes an allowed binary's memory speaks in its name. */
static int mount_proc(struct launch *launch)
{
	static const struct mount_option options[] = { { "hidepid", "invisible" } };

	return mount_at(launch, "/proc",
			make_filesystem("proc", options, OSH_COUNT_OF(options),
					READ_ONLY | MOUNT_ATTR_NOEXEC));
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
static int mount_dev(struct launch *launch)
{
	static const struct mount_option dev[] = { { "mode", "0755" }, { "size", "64k" } };
	static const struct mount_option shm[] = { { "mode", "1777" }, { "size", "256m" } };
	static const struct mount_option pts[] = { { "ptmxmode", "0666" }, { "mode", "0620" } };
	int dev_fd = make_filesystem("tmpfs", dev, OSH_COUNT_OF(dev),
				     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	int r = dev_fd < 0 ? dev_fd : make_devices(dev_fd);

	if (r < 0) {
		osh_close(dev_fd);
		return launch_fail(launch, r, "device nodes (the agent needs CAP_MKNOD)");
	}
	r = mount_at(launch, "/dev", dev_fd);
	if (r == 0)
		r = mount_at(launch, "/dev/pts",
			     make_filesystem("devpts", pts, OSH_COUNT_OF(pts),
					     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
	if (r == 0)
		r = mount_at(launch, "/dev/shm",
			     make_filesystem("tmpfs", shm, OSH_COUNT_OF(shm),
					     WRITABLE | MOUNT_ATTR_NOEXEC));
	return r;
}

/* ---- Generated files ------------------------------------------------------------ */

static int write_own_file(struct launch *launch, const struct sandbox_file *file)
{
	const struct osh_sandbox_instance *instance = launch->instance;
	const struct sandbox_files_input input = {
		.name = instance->record.name,
		.uid = instance->record.uid,
		.gid = instance->record.gid,
		.ca_pem = launch->spec->ca_pem,
	};
	char path[128];
	FILE *out;
	int fd, r;

	snprintf(path, sizeof(path), OSH_SANDBOX_OWN_DIR "/%s", file->own_name);
	fd = openat(launch->root_fd, path + 1, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	out = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (!out) {
		r = -errno;
		osh_close(fd);
		return r;
	}
	r = file->write(out, &input);
	if (ferror(out) && r == 0)
		r = -EIO;
	return fclose(out) != 0 && r == 0 ? -errno : r;
}

/* A place that is a link out of what is shown (/etc/resolv.conf into /run) leads into our
 * own tmpfs, where open_place makes its end. */
static int open_linked_place(int root_fd, const char *path)
{
	char target[PATH_MAX], joined[PATH_MAX];
	ssize_t len = readlinkat(root_fd, path + 1, target, sizeof(target) - 1);

	if (len < 0)
		return -ENOENT;
	target[len] = '\0';
	if (target[0] == '/')
		return open_place(root_fd, target, false);
	if ((size_t)snprintf(joined, sizeof(joined), "%.*s/%s", (int)(strrchr(path, '/') - path), path,
			     target) >= sizeof(joined))
		return -ENAMETOOLONG;
	return open_place(root_fd, joined, false);
}

static int bind_over(struct launch *launch, const struct sandbox_file *file, const char *target)
{
	char source[128];
	_cleanup_fd_ int place = open_inside(launch->root_fd, target, O_PATH);

	if (place == -ENOENT)
		place = open_linked_place(launch->root_fd, target);
	if (place < 0)
		return place;
	snprintf(source, sizeof(source), OSH_SANDBOX_OWN_DIR "/%s", file->own_name);
	return attach(clone_tree(launch->root_fd, source + 1, READ_ONLY | MOUNT_ATTR_NOEXEC), place);
}

static int make_files(struct launch *launch)
{
	const struct sandbox_file *files;
	size_t count = sandbox_files(&files);

	for (size_t i = 0; i < count; i++) {
		int r = write_own_file(launch, &files[i]);

		if (r < 0)
			return launch_fail(launch, r, "%s", files[i].own_name);
		for (const char *const *place = files[i].places; *place; place++) {
			r = bind_over(launch, &files[i], *place);
			if (r == -ENOENT && !files[i].required)
				continue;
			if (r == -ENOENT)
				return launch_fail(launch, r, "the host has no %s to bind over: create "
							      "an empty one", *place);
			if (r < 0)
				return launch_fail(launch, r, "%s", *place);
		}
	}
	return 0;
}

/* ---- Masks ---------------------------------------------------------------------- */

static int mask(struct launch *launch, const char *path)
{
	_cleanup_fd_ int place = open_inside(launch->root_fd, path, O_PATH | O_NOFOLLOW);
	struct stat st;

	if (place < 0 || fstat(place, &st) < 0)
		return place == -ENOENT || place == -ENOTDIR ? 0 : place < 0 ? place : -errno;
	if (S_ISLNK(st.st_mode))
		return 0; /* what it leads to is masked under its own name, or not shown */
	return attach(clone_tree(launch->root_fd,
				 S_ISDIR(st.st_mode) ? "run/openshell/.none" : "run/openshell/.nothing",
				 READ_ONLY | MOUNT_ATTR_NOEXEC),
		      place);
}

/* Patterns are expanded on the host: what is shown is a part of it. */
static int mask_pattern(struct launch *launch, const char *pattern)
{
	glob_t found;
	int r = 0;

	if (!strchr(pattern, '*'))
		return mask(launch, pattern);
	if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0)
		return 0;
	for (size_t i = 0; r == 0 && i < found.gl_pathc; i++)
		r = mask(launch, found.gl_pathv[i]);
	globfree(&found);
	return r;
}

static int mask_secrets(struct launch *launch)
{
	const struct osh_sandbox_host *host = launch->instance->host;
	int r;

	if (mkdirat(launch->root_fd, "run/openshell/.none", 0) < 0)
		return -errno;
	r = make_file(launch->root_fd, "run/openshell/.nothing");
	if (r == 0 && fchmodat(launch->root_fd, "run/openshell/.nothing", 0, 0) < 0)
		r = -errno;
	for (size_t i = 0; r == 0 && i < OSH_COUNT_OF(masked_paths); i++) {
		r = mask_pattern(launch, masked_paths[i]);
		if (r < 0)
			return launch_fail(launch, r, "%s", masked_paths[i]);
	}
	/* In case they lie in a directory that is shown, /opt for instance. */
	if (r == 0)
		r = mask(launch, host->state_dir);
	if (r == 0)
		r = mask(launch, host->run_dir);
	return r;
}

/* ---- The face ------------------------------------------------------------------- */

int root_build(struct launch *launch)
{
	int (*const steps[])(struct launch *) = {
		mount_root, make_entries, bind_policy, mount_proc, mount_dev,
		bind_own,   make_files,   mask_secrets,
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
	struct mount_attr attr = { .attr_set = READ_ONLY | MOUNT_ATTR_NOEXEC };

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
