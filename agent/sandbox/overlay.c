/* What lies over the host's files in a sandbox's root: generated ones in place of those
 * that would tell of the host, nothing in place of secrets. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

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

/* ---- Generated files ------------------------------------------------------------ */

static int write_own_file(struct launch *launch, const struct sandbox_file *file)
{
	const struct osh_sandbox_instance *instance = launch->instance;
	const struct sandbox_files_input input = {
		.name = instance->record.name,
		.uid = instance->record.uid,
		.gid = instance->record.gid,
		.ca_pem = launch->spec->ca_pem,
		.keystore = &instance->host->keystore,
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
 * own tmpfs, where mount_open_place makes its end. */
static int open_linked_place(int root_fd, const char *path)
{
	char target[PATH_MAX], joined[PATH_MAX];
	ssize_t len = readlinkat(root_fd, path + 1, target, sizeof(target) - 1);

	if (len < 0)
		return -ENOENT;
	target[len] = '\0';
	if (target[0] == '/')
		return mount_open_place(root_fd, target, false);
	if ((size_t)snprintf(joined, sizeof(joined), "%.*s/%s", (int)(strrchr(path, '/') - path), path,
			     target) >= sizeof(joined))
		return -ENAMETOOLONG;
	return mount_open_place(root_fd, joined, false);
}

static bool lies_over(const struct launch *launch, const char *own_name, int place)
{
	struct stat own, seen;

	return fstatat(launch->root_fd, own_name, &own, 0) == 0 && fstat(place, &seen) == 0 &&
	       own.st_dev == seen.st_dev && own.st_ino == seen.st_ino;
}

/* Nothing happens where it lies already. */
static int lay_over(const struct launch *launch, const char *own_name, int place)
{
	if (lies_over(launch, own_name, place))
		return 0;
	return mount_attach(mount_clone(launch->root_fd, own_name, MOUNT_READ_ONLY | MOUNT_ATTR_NOEXEC), place);
}

static int bind_over(struct launch *launch, const struct sandbox_file *file, const char *target)
{
	char source[128];
	_cleanup_fd_ int place = osh_open_in_root(launch->root_fd, target, O_PATH, 0);

	if (place == -ENOENT)
		place = open_linked_place(launch->root_fd, target);
	if (place < 0)
		return place;
	snprintf(source, sizeof(source), OSH_SANDBOX_OWN_DIR "/%s", file->own_name);
	return lay_over(launch, source + 1, place);
}

static int bind_at_places(struct launch *launch, const struct sandbox_file *file)
{
	for (const char *const *place = file->places; *place; place++) {
		int r = bind_over(launch, file, *place);

		if (r == -ENOENT && !file->required)
			continue;
		if (r == -ENOENT)
			return launch_fail(launch, r, "the host has no %s to bind over: create an empty one", *place);
		if (r < 0)
			return launch_fail(launch, r, "%s", *place);
	}
	return 0;
}

int root_make_files(struct launch *launch)
{
	const struct sandbox_file *files;
	size_t count = sandbox_files(&files);
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		r = write_own_file(launch, &files[i]);
		if (r < 0)
			return launch_fail(launch, r, "%s", files[i].own_name);
		r = bind_at_places(launch, &files[i]);
	}
	return r;
}

/* ---- Masks ---------------------------------------------------------------------- */

static int mask(struct launch *launch, const char *path)
{
	_cleanup_fd_ int place = osh_open_in_root(launch->root_fd, path, O_PATH | O_NOFOLLOW, 0);
	struct stat st;

	if (place < 0 || fstat(place, &st) < 0)
		return place == -ENOENT || place == -ENOTDIR ? 0 : place < 0 ? place : -errno;
	if (S_ISLNK(st.st_mode))
		return 0; /* what it leads to is masked under its own name, or not shown */
	return lay_over(launch, S_ISDIR(st.st_mode) ? "run/openshell/.none" : "run/openshell/.nothing", place);
}

/* Mask a directory of the host unless the sandbox has one of its own there (/run, /tmp). */
static int mask_if_shown(struct launch *launch, const char *path)
{
	_cleanup_fd_ int place = osh_open_in_root(launch->root_fd, path, O_PATH | O_NOFOLLOW, 0);
	struct stat here, inside;

	if (place < 0 || fstat(place, &inside) < 0 || stat(path, &here) < 0)
		return place == -ENOENT || place == -ENOTDIR ? 0 : place < 0 ? place : -errno;
	if (here.st_dev != inside.st_dev || here.st_ino != inside.st_ino)
		return 0;
	return mask(launch, path);
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

static int mask_all(struct launch *launch)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < OSH_COUNT_OF(masked_paths); i++) {
		r = mask_pattern(launch, masked_paths[i]);
		if (r < 0)
			return launch_fail(launch, r, "%s", masked_paths[i]);
	}
	return r;
}

int root_mask_secrets(struct launch *launch)
{
	const struct osh_sandbox_host *host = launch->instance->host;
	int r;

	if (mkdirat(launch->root_fd, "run/openshell/.none", 0) < 0)
		return -errno;
	r = mount_make_file(launch->root_fd, "run/openshell/.nothing");
	if (r == 0 && fchmodat(launch->root_fd, "run/openshell/.nothing", 0, 0) < 0)
		r = -errno;
	if (r == 0)
		r = mask_all(launch);
	/* In case they lie in a directory that is shown, /opt for instance. */
	if (r == 0)
		r = mask_if_shown(launch, host->state_dir);
	if (r == 0)
		r = mask_if_shown(launch, host->run_dir);
	return r;
}

/* ---- Later ---------------------------------------------------------------------- */

void overlay_each_place(void (*each)(void *context, const char *path), void *context)
{
	const struct sandbox_file *files;
	size_t count = sandbox_files(&files);
	char directory[PATH_MAX];

	for (size_t i = 0; i < count; i++) {
		for (const char *const *place = files[i].places; *place; place++)
			each(context, *place);
	}
	for (size_t i = 0; i < OSH_COUNT_OF(masked_paths); i++) {
		size_t len = strcspn(masked_paths[i], "*");

		while (masked_paths[i][len] && masked_paths[i][len - 1] != '/')
			len--;
		snprintf(directory, sizeof(directory), "%.*s", (int)len, masked_paths[i]);
		if (!path_is_at_or_below(directory, "/proc")) /* the sandbox's own, which nobody outside changes */
			each(context, directory);
	}
}

int root_cover(struct launch *launch)
{
	const struct sandbox_file *files;
	size_t count = sandbox_files(&files);
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		for (const char *const *place = files[i].places; r == 0 && *place; place++) {
			r = bind_over(launch, &files[i], *place);
			/* Not there, or a link now to where nothing is and nothing can be made any more. */
			if (r == -ENOENT || r == -EROFS)
				r = 0;
			if (r < 0)
				return launch_fail(launch, r, "%s", *place);
		}
	}
	return mask_all(launch);
}
