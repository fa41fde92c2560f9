#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/landlock.h"
#include "openshell/limits.h"
#include "run.h"
#include "staging.h"

/* Inside: unpack where the agent looks for what was killed in the middle, if the destination ($1) is below
 * /sandbox or /tmp, else beside it; give it its name ($3; in the archive it is $2), if all came: tar takes an
 * end between two members for the archive's, so the last of all is a directory ($4). Another copy that ends may
 * take the directory of both away, once. What stands there that is none, or lets nobody in, is left alone: then
 * beside the destination, under a name that is free. Who is hung up while it clears away goes on with that;
 * what came before is seen by the end of its input. Nobody may be there to read that tar was hung up: no
 * reason to die. */
static char unpack_inside[] =
	"to=$1; if [ -d \"$to\" ]; then to=$to/$3; fi\n"
	"if [ -d \"$to\" ]; then echo \"$to is a directory already\" >&2; exit 1; fi\n"
	"at=$(dirname -- \"$to\")\n"
	"top=$(readlink -e -- \"$at\")\n"
	"case $top/ in /sandbox/*) top=/sandbox ;; /tmp/*) top=/tmp ;; esac\n"
	"shared=$top/" OSH_COPY_DIR "\n"
	"stage() { mkdir -- \"$shared\"; [ -d \"$shared\" ] && [ ! -L \"$shared\" ] && mktemp -d -- \"$shared/XXXXXX\"; }\n"
	"clear() { trap '' HUP INT TERM; rm -rf -- \"$dir\"; rmdir -- \"$shared\" 2>/dev/null; }\n"
	"trap '' HUP INT TERM PIPE\n"
	"{ [ -d \"$at\" ] && [ -w \"$at\" ] &&\n"
	"dir=$({ stage || stage || mktemp -d -- \"$at/" OSH_COPY_DIR ".XXXXXX\"; } 2>/dev/null); } ||\n"
	"{ echo \"$at is no directory that can be written to\" >&2; exit 1; }\n"
	"trap 'clear; exit 1' HUP INT TERM\n"
	"tar --extract --file=- --directory=\"$dir\" &&\n"
	"{ [ -d \"$dir/$4\" ] || { echo 'what was sent ends in the middle' >&2; false; }; } &&\n"
	"mv -T -- \"$dir/$2\" \"$to\"\n"
	"status=$?; clear; exit $status\n";

/* Inside: what a link at the end leads to is what is meant. */
static char pack_inside[] =
	"refuse() { echo \"$1\" >&2; exit 1; }\n"
	"path=$(readlink -e -- \"$1\") || refuse \"no such file: $1\"\n"
	"[ \"$path\" != / ] || refuse 'not all of /'\n"
	"exec tar --create --no-unquote --file=- --directory=\"$(dirname -- \"$path\")\" -- \"${path##*/}\"\n";

/* ---- tar, here ---------------------------------------- */

/* Whatever the archive makes it try: it writes below the staging directory alone. Where the
 * kernel has no Landlock, tar's own care for names has to do. */
static int confine(const char *staging)
{
	struct osh_landlock *landlock = NULL;
	int r = osh_landlock_new(&landlock);

	if (r == -EOPNOTSUPP)
		return 0;
	if (r == 0)
		r = osh_landlock_grant(landlock, "/", false);
	if (r == 0)
		r = osh_landlock_grant(landlock, "/dev/null", true);
	if (r == 0)
		r = osh_landlock_grant(landlock, staging, true);
	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	if (r == 0)
		r = osh_landlock_enforce(landlock);
	osh_landlock_free(landlock);
	return r;
}

static _Noreturn void become_tar(char *const *argv, int fd, int as, const struct osh_staging *staging)
{
	sigset_t none;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	if (dup2(fd, as) < 0 ||
	    (staging && (osh_set_cloexec(staging->alive_fd, 0) < 0 || confine(staging->dir) < 0)))
		_exit(126);
	execvp(argv[0], argv);
	_exit(127);
}

/* A tar whose standard input or output (`as`) is one end of a new pipe; the other end is
 * *ret_fd. Confined to `staging` unless that is NULL. */
static int start_tar(char *const *argv, int as, const struct osh_staging *staging, pid_t *ret_pid, int *ret_fd)
{
	int ends[2], its;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	its = as == STDIN_FILENO ? ends[0] : ends[1];
	*ret_pid = fork();
	if (*ret_pid == 0)
		become_tar(argv, its, as, staging);
	*ret_fd = as == STDIN_FILENO ? ends[1] : ends[0];
	osh_close(its);
	if (*ret_pid > 0)
		return 0;
	osh_close(*ret_fd);
	return -EAGAIN;
}

/* Returns the exit status of openshell; a failure is reported (tar has said why). */
static int end_tar(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return OSH_EXIT_FAILED;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		osh_cli_error("cannot run tar here: install it");
	else if (WIFEXITED(status) && WEXITSTATUS(status) == 126)
		osh_cli_error("cannot confine tar");
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? OSH_EXIT_OK : OSH_EXIT_FAILED;
}

/* ---- The other end, inside ---------------------------------------- */

/* `path`: what it is about there; a relative one starts where programs do. `ends`: its input and
 * output, taken over; -1: nothing. The status is never the program's own. */
static struct osh_run_result run_inside(struct osh_client *client, const struct osh_copy *copy, const char *path,
					char *const *argv, int ends[static 2])
{
	struct osh_run run = {
		.cli = copy->cli,
		.sandbox = copy->sandbox,
		.argv = argv,
		.cwd = *path == '/' ? "/" : NULL, /* the sandbox's own may be what is brought */
		.doing = "copying",
		.ends = ends,
	};
	struct osh_run_result result;

	for (int i = 0; i < 2; i++) {
		if (ends[i] < 0)
			ends[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
	}
	result = osh_run(client, &run);
	if (result.started && result.status)
		result.status = OSH_EXIT_FAILED;
	return result;
}

static int report_start(int r)
{
	osh_cli_error("cannot start tar: %s", strerror(-r));
	return OSH_EXIT_FAILED;
}

/* ---- In ---------------------------------------- */

/* "dir/name", "name", "name/" as directory and name; what is no name is resolved first. */
static int split(const char *path, char real[static PATH_MAX], const char **ret_name)
{
	char *slash;

	if (!realpath(path, real))
		return -errno;
	slash = strrchr(real, '/');
	*slash = '\0';
	*ret_name = slash + 1;
	return **ret_name ? 0 : -EISDIR; /* "/" */
}

/* The last word of a path, for its copy. "" when it is none: "/", "..". */
static void base_of(const char *path, char base[static NAME_MAX + 1])
{
	size_t end = strlen(path), start;

	while (end && path[end - 1] == '/')
		end--;
	start = end;
	while (start && path[start - 1] != '/')
		start--;
	snprintf(base, NAME_MAX + 1, "%.*s", (int)(end - start), path + start);
	if (strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		base[0] = '\0';
}

/* A directory of / to be the archive's last member, to see by that all came. Not `name`. */
static char *last_of(const char *name)
{
	static char proc[] = "proc", sys[] = "sys";

	return strcmp(name, proc) == 0 ? sys : proc;
}

static int start_packing(const char *dir, const char *name, pid_t *ret_pid, int *ret_fd)
{
	char from[PATH_MAX + 32], file[NAME_MAX + 32], last[32];

	snprintf(from, sizeof(from), "--directory=%s", *dir ? dir : "/");
	snprintf(file, sizeof(file), "--add-file=%s", name);
	snprintf(last, sizeof(last), "--add-file=%s", last_of(name));
	return start_tar((char *[]){ (char *)"tar", (char *)"--create", (char *)"--no-unquote", (char *)"--file=-", from,
				     file, (char *)"--directory=/", (char *)"--no-recursion", last, NULL },
			 STDOUT_FILENO, NULL, ret_pid, ret_fd);
}

int osh_copy_in(struct osh_client *client, const struct osh_copy *copy)
{
	char dir[PATH_MAX], base[NAME_MAX + 1];
	const char *name = "";
	pid_t pid;
	int ends[2] = { -1, -1 }, status, tar_status;
	int r = split(copy->from, dir, &name);

	if (r < 0) {
		osh_cli_error("%s: %s", copy->from, strerror(-r));
		return OSH_EXIT_FAILED;
	}
	base_of(copy->from, base);
	r = start_packing(dir, name, &pid, &ends[0]);
	if (r < 0)
		return report_start(r);
	status = run_inside(client, copy, copy->to,
			    (char *[]){ (char *)"/bin/sh", (char *)"-c", unpack_inside, (char *)"cp",
					(char *)(uintptr_t)copy->to, (char *)(uintptr_t)name,
					(char *)(uintptr_t)(*base ? base : name), last_of(name), NULL },
			    ends).status;
	tar_status = end_tar(pid);
	return status == OSH_EXIT_OK ? tar_status : status;
}

/* ---- Out ---------------------------------------- */

/* Unpack what the sandbox sends into the staging directory. */
static int receive(struct osh_client *client, const struct osh_copy *copy,
		   const struct osh_staging *staging)
{
	char option[PATH_MAX + 32];
	int ends[2] = { -1, -1 }, input, tar_status, r;
	struct osh_run_result result;
	pid_t pid;

	snprintf(option, sizeof(option), "--directory=%s", staging->dir);
	r = start_tar((char *[]){ (char *)"tar", (char *)"--extract", (char *)"--file=-", option,
				  (char *)"--no-same-owner", (char *)"--no-same-permissions", NULL },
		      STDIN_FILENO, staging, &pid, &ends[1]);
	if (r < 0)
		return report_start(r);
	input = fcntl(ends[1], F_DUPFD_CLOEXEC, 0);
	result = run_inside(client, copy, copy->from,
			    (char *[]){ (char *)"/bin/sh", (char *)"-c", pack_inside, (char *)"cp",
					(char *)(uintptr_t)copy->from, NULL },
			    ends);
	if (result.status != OSH_EXIT_OK)
		(void)kill(pid, SIGKILL); /* before its input ends: what went wrong has been said */
	osh_close(input);
	tar_status = end_tar(pid);
	return result.status == OSH_EXIT_OK ? tar_status : result.status;
}

static int put_in_place(const struct osh_staging *staging, unsigned *ret_refused)
{
	struct osh_err err = { 0 };
	int r = osh_staging_vet(staging, ret_refused, &err);

	if (r == 0)
		r = osh_staging_commit(staging, &err);
	if (r < 0)
		osh_cli_error("%s", err.message);
	return r < 0 ? OSH_EXIT_FAILED : OSH_EXIT_OK;
}

int osh_copy_out(struct osh_client *client, const struct osh_copy *copy)
{
	struct osh_staging staging;
	char base[NAME_MAX + 1];
	struct osh_err err = { 0 };
	unsigned refused = 0;
	int status;

	base_of(copy->from, base);
	if (!*base) {
		osh_cli_error("%s: name a file or a directory inside", copy->from);
		return OSH_EXIT_FAILED;
	}
	if (osh_staging_open(copy->to, base, &staging, &err) < 0) {
		osh_cli_error("%s", err.message);
		return OSH_EXIT_FAILED;
	}
	status = receive(client, copy, &staging);
	if (status == OSH_EXIT_OK)
		status = put_in_place(&staging, &refused);
	osh_staging_close(&staging);
	return status == OSH_EXIT_OK && refused ? OSH_EXIT_FAILED : status;
}
