/* Directories of the host that a policy makes writable inside. Some files in them are code for
 * whoever works there next, outside: a repository's hooks, a directory's environment, an editor's
 * tasks. Programs inside read those and do not write them, unless read_write names one by
 * itself. What is not there when the sandbox is created cannot be kept. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/mem.h"

struct run_later {
	const char *path;   /* in the shared directory; holders before what they hold */
	bool holds_others;  /* writable itself, but not to be renamed and made anew: a mount is not */
	const char *reason;
};

static const struct run_later run_later[] = {
	{ ".git", true, "holds the next two; as a file it names another repository" },
	{ ".git/hooks", false, "run by git" },
	{ ".git/config", false, "names programs that git runs: core.fsmonitor, core.hooksPath, aliases" },
	{ ".vscode", true, "holds the next" },
	{ ".vscode/tasks.json", false, "run by VS Code when the folder is opened" },
	{ ".envrc", false, "run by direnv" },
};

static bool is_named(const struct osh_policy_static *policy, const char *directory, const char *path)
{
	size_t len = strlen(directory);

	for (size_t i = 0; i < policy->read_write_count; i++) {
		const char *named = policy->read_write[i];

		if (strncmp(named, directory, len) == 0 && named[len] == '/' && strcmp(named + len + 1, path) == 0)
			return true;
	}
	return false;
}

/* 1: kept; 0: not there, or a symbolic link, which anybody may lead elsewhere. */
static int keep(int directory_fd, const struct run_later *file)
{
	_cleanup_fd_ int place = osh_open_in_root(directory_fd, file->path, O_PATH | O_NOFOLLOW, 0);
	struct stat st;
	int r;

	if (place == -ENOENT || place == -ENOTDIR)
		return 0;
	if (place < 0 || fstat(place, &st) < 0)
		return place < 0 ? place : -errno;
	if (S_ISLNK(st.st_mode))
		return 0;
	r = mount_attach(mount_clone(place, "", file->holds_others && S_ISDIR(st.st_mode) ?
						MOUNT_WRITABLE : MOUNT_READ_ONLY), place);
	return r < 0 ? r : 1;
}

static int keep_all(struct launch *launch, const char *directory)
{
	const struct osh_policy_static *policy = launch->spec->policy;
	_cleanup_fd_ int fd = osh_open_in_root(launch->root_fd, directory, O_PATH | O_DIRECTORY, 0);
	char kept[128] = "";

	if (fd < 0)
		return 0; /* a file; or not there, which Landlock's step complains of */
	for (size_t i = 0; i < OSH_COUNT_OF(run_later); i++) {
		const struct run_later *file = &run_later[i];
		int r = is_named(policy, directory, file->path) ? 0 : keep(fd, file);

		if (r < 0)
			return launch_fail(launch, r, "%s/%s", directory, file->path);
		if (r > 0 && !file->holds_others)
			snprintf(kept + strlen(kept), sizeof(kept) - strlen(kept), "%s%s", *kept ? ", " : "", file->path);
	}
	if (*kept)
		launch_warn(launch, "filesystem_policy: read-only in %s, because the host runs them: %s "
				    "(name one in read_write to have it writable)", directory, kept);
	return 0;
}

int root_keep_run_later(struct launch *launch)
{
	const struct osh_policy_static *policy = launch->spec->policy;
	int r = 0;

	for (size_t i = 0; r == 0 && i < policy->read_write_count; i++) {
		if (!root_is_own(launch, policy->read_write[i]))
			r = keep_all(launch, policy->read_write[i]);
	}
	return r;
}
