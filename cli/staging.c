#include "staging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli.h"

/* ---- Opening ---------------------------------------- */

static int choose_name(const char *to, const char *base, char name[static PATH_MAX],
		       struct osh_err *err)
{
	struct stat st;
	bool is_dir = stat(to, &st) == 0 && S_ISDIR(st.st_mode);
	int n = snprintf(name, PATH_MAX, "%s%s%s", to, is_dir ? "/" : "", is_dir ? base : "");

	if (n < 0 || n >= PATH_MAX)
		return osh_err_sys(err, ENAMETOOLONG, "%s", to);
	if (lstat(name, &st) == 0 && S_ISDIR(st.st_mode))
		return osh_err_set(err, EEXIST, "%s is a directory already: remove it, or name another place",
				   name);
	return 0;
}

static void remove_tree(char *dir)
{
	char *roots[] = { dir, NULL };
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	FTSENT *entry;

	while (tree && (entry = fts_read(tree))) {
		if (entry->fts_info == FTS_D)
			(void)chmod(entry->fts_accpath, 0700); /* or it could not be emptied */
		else
			(void)remove(entry->fts_accpath);
	}
	if (tree)
		fts_close(tree);
}

/* No signal for us or our terminal is for it, and nothing of ours stays open in it. */
static _Noreturn void sweep(struct osh_staging *staging, int ended_fd)
{
	char byte;

	(void)setsid();
	if (dup2(ended_fd, STDIN_FILENO) < 0 || syscall(SYS_close_range, 1u, ~0u, 0u) < 0)
		_exit(1);
	(void)osh_read_full(STDIN_FILENO, &byte, 1);
	remove_tree(staging->dir);
	_exit(0);
}

static int start_sweeper(struct osh_staging *staging)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	staging->sweeper = fork();
	if (staging->sweeper == 0)
		sweep(staging, ends[0]);
	osh_close(ends[0]);
	staging->alive_fd = ends[1];
	if (staging->sweeper > 0)
		return 0;
	osh_close(ends[1]);
	return -EAGAIN;
}

int osh_staging_open(const char *to, const char *base, struct osh_staging *ret_staging,
		     struct osh_err *err)
{
	struct osh_staging staging;
	const char *slash;
	int r = choose_name(to, base, staging.name, err), n;

	if (r < 0)
		return r;
	slash = strrchr(staging.name, '/');
	n = snprintf(staging.dir, PATH_MAX, "%.*s.openshell-cp.XXXXXX",
		     slash ? (int)(slash - staging.name) + 1 : 0, staging.name);
	if (n < 0 || n >= PATH_MAX)
		return osh_err_sys(err, ENAMETOOLONG, "%s", to);
	if (!mkdtemp(staging.dir)) /* 0700 */
		return osh_err_sys(err, errno, "cannot make a directory beside %s", staging.name);
	r = start_sweeper(&staging);
	if (r < 0) {
		remove_tree(staging.dir);
		return osh_err_sys(err, -r, "cannot start a process");
	}
	*ret_staging = staging;
	return 0;
}

/* ---- Looking through ---------------------------------------- */

/* As it is written: with what is not there yet it must not lead out either. `level` is how
 * many directories the link is below the top. */
static bool is_written_beneath(const char *target, long level)
{
	if (target[0] == '/')
		return false;
	while (*target) {
		size_t len = strcspn(target, "/");

		if (len == 2 && target[0] == '.' && target[1] == '.')
			level--;
		else if (len && !(len == 1 && target[0] == '.'))
			level++;
		if (level < 0)
			return false;
		target += len + (target[len] == '/');
	}
	return true;
}

/* As the kernel follows it, other links on the way included. */
static bool leads_beneath(int dir_fd, const char *path)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));

	if (fd < 0)
		return errno == ENOENT;
	osh_close(fd);
	return true;
}

static bool is_link_kept(int dir_fd, const char *path, const FTSENT *entry)
{
	char target[PATH_MAX];
	ssize_t len = readlink(entry->fts_accpath, target, sizeof(target) - 1);

	if (len < 0)
		return false;
	target[len] = '\0';
	/* Level 0 is the staging directory, 1 what was asked for. */
	return is_written_beneath(target, entry->fts_level - 2) && leads_beneath(dir_fd, path);
}

static int refuse(const FTSENT *entry, const char *path, const char *why, unsigned *refused)
{
	osh_cli_error("%s is left out: %s", path, why);
	++*refused;
	return unlink(entry->fts_accpath) < 0 ? -errno : 0;
}

static int vet_mode(const FTSENT *entry)
{
	mode_t mode = entry->fts_statp->st_mode;

	if ((mode & 07000) == 0)
		return 0;
	return chmod(entry->fts_accpath, mode & 0777) < 0 ? -errno : 0;
}

static int vet_entry(int dir_fd, const FTSENT *entry, const char *path, unsigned *refused)
{
	switch (entry->fts_info) {
	case FTS_D:
	case FTS_F:
		return vet_mode(entry);
	case FTS_SL:
	case FTS_SLNONE:
		return is_link_kept(dir_fd, path, entry) ?
			       0 :
			       refuse(entry, path, "the link leads out of what is copied", refused);
	case FTS_DEFAULT:
		return refuse(entry, path, "neither a file nor a directory", refused);
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return entry->fts_errno ? -entry->fts_errno : -EIO;
	default: /* directories again, behind what is in them */
		return 0;
	}
}

int osh_staging_vet(const struct osh_staging *staging, unsigned *ret_refused, struct osh_err *err)
{
	char *roots[] = { (char *)(uintptr_t)staging->dir, NULL };
	_cleanup_fd_ int dir_fd = open(staging->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	size_t skip = strlen(staging->dir) + 1;
	unsigned refused = 0;
	FTSENT *entry;
	int r = dir_fd < 0 || !tree ? -errno : 0;

	while (r == 0 && (errno = 0, entry = fts_read(tree))) {
		if (entry->fts_level > 0)
			r = vet_entry(dir_fd, entry, entry->fts_path + skip, &refused);
	}
	if (r == 0 && errno)
		r = -errno;
	if (tree)
		fts_close(tree);
	*ret_refused = refused;
	return r < 0 ? osh_err_sys(err, -r, "cannot look through what was copied") : 0;
}

/* ---- Ending ---------------------------------------- */

/* The only entry; *ret_name is "" when there is none, and -EBADMSG when there are more. */
static int find_only(const char *dir, char ret_name[static NAME_MAX + 1])
{
	DIR *stream = opendir(dir);
	struct dirent *entry;
	int count = 0;

	if (!stream)
		return -errno;
	ret_name[0] = '\0';
	while ((entry = readdir(stream))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(ret_name, NAME_MAX + 1, "%s", entry->d_name);
		count++;
	}
	closedir(stream);
	return count > 1 ? -EBADMSG : 0;
}

int osh_staging_commit(const struct osh_staging *staging, struct osh_err *err)
{
	char only[NAME_MAX + 1], path[PATH_MAX + NAME_MAX + 2];
	int r = find_only(staging->dir, only);

	if (r < 0)
		return osh_err_set(err, -r, "the sandbox sent more than was asked for");
	if (!*only)
		return osh_err_set(err, ENOENT, "nothing was copied");
	snprintf(path, sizeof(path), "%s/%s", staging->dir, only);
	if (rename(path, staging->name) < 0)
		return osh_err_sys(err, errno, "cannot put %s in place", staging->name);
	return 0;
}

void osh_staging_close(struct osh_staging *staging)
{
	staging->alive_fd = osh_close(staging->alive_fd);
	while (waitpid(staging->sweeper, NULL, 0) < 0 && errno == EINTR)
		;
}
