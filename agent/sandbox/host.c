/* What is found or made once per agent. */
#include "sandbox/internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/landlock.h"
#include "base/mem.h"

#define DEFAULT_RUN_DIR "/run/openshell"
#define MOUNTINFO_BYTES_MAX (16u << 20)

static int resolve(const char *path, char buf[static OSH_SANDBOX_PATH_MAX], struct osh_err *err)
{
	char full[PATH_MAX];

	if (!realpath(path, full))
		return osh_err_sys(err, errno, "%s", path);
	/* Names are appended to it: a path this long leaves no room. */
	if (strlen(full) > OSH_SANDBOX_PATH_MAX - 128)
		return osh_err_set(err, ENAMETOOLONG, "%s is longer than %d bytes: use a shorter one",
				   path, OSH_SANDBOX_PATH_MAX - 128);
	memcpy(buf, full, strlen(full) + 1);
	return 0;
}

static int make_dir(const char *path, mode_t mode, struct osh_err *err)
{
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return osh_err_sys(err, errno, "cannot make %s", path);
	return 0;
}

static int find_dirs(const struct osh_sandbox_host_options *options, struct osh_sandbox_host *host,
		     struct osh_err *err)
{
	char path[OSH_SANDBOX_PATH_MAX + 16];
	int r = make_dir(options->state_dir, 0700, err);

	if (r == 0)
		r = make_dir(options->run_dir, 0755, err);
	if (r == 0)
		r = resolve(options->state_dir, host->state_dir, err);
	if (r == 0)
		r = resolve(options->run_dir, host->run_dir, err);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/sandboxes", host->state_dir);
	r = make_dir(path, 0700, err);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/init", host->run_dir);
	return make_dir(path, 0700, err);
}

static int find_init(const char *init_path, struct osh_sandbox_host *host, struct osh_err *err)
{
	if (access(init_path, X_OK) < 0)
		return osh_err_sys(err, errno, "openshell-init is not at %s (run make, or make install)",
				   init_path);
	return resolve(init_path, host->init_path, err);
}

/* FNV-1a: names need to differ, not to withstand anybody. */
static void make_key(const char *run_dir, char key[static OSH_KEY_MAX])
{
	uint32_t hash = 2166136261u;

	key[0] = '\0';
	if (strcmp(run_dir, DEFAULT_RUN_DIR) == 0)
		return;
	for (const char *c = run_dir; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 16777619u;
	snprintf(key, OSH_KEY_MAX, "%08x", hash);
}

int osh_sandbox_key_of(const char *run_dir, char ret_key[static OSH_KEY_MAX], struct osh_err *err)
{
	char path[OSH_SANDBOX_PATH_MAX];
	int r = resolve(run_dir, path, err);

	if (r == 0)
		make_key(path, ret_key);
	return r;
}

/* On a hybrid host cgroup2 is not at /sys/fs/cgroup, and has no controllers: limits alone
 * need them. */
static int make_root_cgroup(struct osh_sandbox_host *host, struct osh_err *err)
{
	_cleanup_free_ char *mountinfo = NULL;
	char mount[OSH_SANDBOX_PATH_MAX - 32];
	size_t len;
	int r = osh_read_file("/proc/self/mountinfo", MOUNTINFO_BYTES_MAX, &mountinfo, &len);

	if (r == 0)
		r = cgroup_find_mount(mountinfo, mount, sizeof(mount));
	if (r == -ENOENT)
		return osh_err_set(err, ENOENT, "no cgroup2 file system is mounted: "
						"mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified");
	if (r < 0)
		return osh_err_sys(err, -r, "/proc/self/mountinfo");
	snprintf(host->cgroup, sizeof(host->cgroup), "%s/openshell%s%s", mount,
		 host->key[0] ? "-" : "", host->key);
	if (mkdir(host->cgroup, 0755) < 0 && errno != EEXIST)
		return osh_err_sys(err, errno, "cannot make cgroup %s (openshelld must run as root, "
					       "with cgroup2 writable)", host->cgroup);
	limits_find_controllers(host, mount);
	return 0;
}

int osh_sandbox_host_open(const struct osh_sandbox_host_options *options,
			  struct osh_sandbox_host **ret_host, struct osh_err *err)
{
	struct osh_sandbox_host *host;
	int r;

	if (geteuid() != 0)
		return osh_err_set(err, EPERM, "openshelld must run as root: it makes namespaces");
	host = calloc(1, sizeof(*host));
	if (!host)
		return osh_err_sys(err, ENOMEM, "sandboxes");
	host->loop = options->loop;
	host->idmap_fd = idmap_open();
	r = find_dirs(options, host, err);
	if (r == 0)
		r = find_init(options->init_path, host, err);
	if (r == 0) {
		make_key(host->run_dir, host->key);
		r = make_root_cgroup(host, err);
	}
	if (r == 0) {
		r = seccomp_filter_build(&host->filter);
		if (r < 0)
			osh_err_sys(err, -r, "cannot compile the seccomp filter");
	}
	if (r < 0) {
		osh_sandbox_host_close(host);
		return r;
	}
	trash_open(host);
	*ret_host = host;
	return 0;
}

void osh_sandbox_host_close(struct osh_sandbox_host *host)
{
	if (!host)
		return;
	trash_close(host);
	osh_close(host->idmap_fd);
	free(host->filter.filter);
	keystore_done(&host->keystore);
	free(host);
}

void osh_sandbox_host_uninstall(struct osh_sandbox_host *host)
{
	char path[OSH_SANDBOX_PATH_MAX + 16];

	(void)cgroup_remove(host->cgroup);
	snprintf(path, sizeof(path), "%s/init", host->run_dir);
	(void)rmdir(path);
}

const char *osh_sandbox_host_cgroup(const struct osh_sandbox_host *host)
{
	return host->cgroup;
}

const char *osh_sandbox_host_key(const struct osh_sandbox_host *host)
{
	return host->key;
}

bool osh_sandbox_has_idmap(const struct osh_sandbox_host *host)
{
	return idmap_works(host->idmap_fd);
}

int osh_sandbox_landlock_abi(void)
{
	return osh_landlock_abi();
}
