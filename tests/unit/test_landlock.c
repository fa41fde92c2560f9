/* Landlock: what is granted works, its twin beside it does not. Criterion runs each test
 * in an own process, so a test may confine itself. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/landlock.h"

static char dir[] = "/tmp/oshs-landlock-XXXXXX";

static void path_of(const char *name, char buf[static 256])
{
	snprintf(buf, 256, "%s/%s", dir, name);
}

static void put_file(const char *name)
{
	char path[256];

	path_of(name, path);
	cr_assert(eq(int, osh_replace_file(path, "x", 1, 0644), 0));
}

static int try_open(const char *name, int flags)
{
	char path[256];
	int fd;

	path_of(name, path);
	fd = open(path, flags | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static void make_world(void)
{
	char path[256];

	if (osh_landlock_abi() == 0)
		cr_skip_test("this kernel has no Landlock");
	cr_assert(mkdtemp(dir) != NULL);
	path_of("ro", path);
	mkdir(path, 0755);
	path_of("rw", path);
	mkdir(path, 0755);
	path_of("none", path);
	mkdir(path, 0755);
	put_file("ro/file");
	put_file("rw/file");
	put_file("none/file");
	put_file("single");
	put_file("single.twin");
}

static void remove_world(void)
{
	static const char *const names[] = { "ro/file", "rw/file", "rw/new", "none/file", "single",
					     "single.twin", "ro", "rw", "none", "" };
	char path[256];

	for (size_t i = 0; i < OSH_COUNT_OF(names); i++) {
		path_of(names[i], path);
		(void)remove(path);
	}
}

TestSuite(landlock, .init = make_world);

/* Confine a child, run `probe` in it, and report what it returned (0..100). */
static int in_confined_child(int (*probe)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct osh_landlock *landlock;
		char path[256];
		int r = osh_landlock_new(&landlock);

		path_of("ro", path);
		r = r ? r : osh_landlock_grant(landlock, path, false);
		path_of("rw", path);
		r = r ? r : osh_landlock_grant(landlock, path, true);
		path_of("single", path);
		r = r ? r : osh_landlock_grant(landlock, path, true);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		r = r ? r : osh_landlock_enforce(landlock);
		osh_landlock_free(landlock);
		_exit(r ? 101 : probe());
	}
	waitpid(pid, &status, 0);
	remove_world();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 102;
}

/* Each returns the number of the first expectation that failed, 0 when none did. */
static int probe_files(void)
{
	struct { const char *name; int flags, want; } cases[] = {
		{ "ro/file", O_RDONLY, 0 },
		{ "ro/file", O_WRONLY, -EACCES },
		{ "ro/new", O_WRONLY | O_CREAT, -EACCES },
		{ "rw/file", O_RDWR, 0 },
		{ "rw/new", O_WRONLY | O_CREAT, 0 },
		{ "none/file", O_RDONLY, -EACCES },
		{ "none/new", O_WRONLY | O_CREAT, -EACCES },
		{ "single", O_RDWR, 0 },
		{ "single.twin", O_RDONLY, -EACCES },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++) {
		if (try_open(cases[i].name, cases[i].flags) != cases[i].want)
			return (int)i + 1;
	}
	return 0;
}

Test(landlock, grants_what_it_names_and_nothing_beside_it)
{
	cr_expect(eq(int, in_confined_child(probe_files), 0));
}

static int probe_signals(void)
{
	pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	if (kill(child, SIGKILL) < 0)
		return 1;
	waitpid(child, NULL, 0);
	if (kill(getppid(), 0) == 0 || errno != EPERM)
		return 2;
	return 0;
}

/* Before ABI 6 there are no scopes: the sandbox's own namespaces hold alone, and a probe gets as
 * far as its last step. */
#define HAS_SCOPES (osh_landlock_abi() >= 6)

Test(landlock, scopes_signals_to_its_own_children)
{
	cr_expect(eq(int, in_confined_child(probe_signals), HAS_SCOPES ? 0 : 2));
}

static int connect_abstract(const char *name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "%s", name);
	r = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	close(fd);
	return r;
}

static int listen_abstract(const char *name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "%s", name);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1) < 0)
		return -errno;
	return fd;
}

static char outer_name[64], inner_name[64];

static int probe_abstract(void)
{
	if (listen_abstract(inner_name) < 0)
		return 1;
	if (connect_abstract(inner_name) != 0)
		return 2;
	return connect_abstract(outer_name) == -EPERM ? 0 : 3;
}

Test(landlock, scopes_abstract_sockets_to_its_own)
{
	int fd;

	snprintf(outer_name, sizeof(outer_name), "oshs-outer-%d", getpid());
	snprintf(inner_name, sizeof(inner_name), "oshs-inner-%d", getpid());
	fd = listen_abstract(outer_name);
	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int, connect_abstract(outer_name), 0));
	cr_expect(eq(int, in_confined_child(probe_abstract), HAS_SCOPES ? 0 : 3));
	close(fd);
}

Test(landlock, read_only_is_what_there_is_and_no_list_where_only_files_are)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		char ro[256], absent[256], none[256];
		struct osh_landlock_readable readables[] = {
			{ .path = absent }, { .path = ro }, { .path = none, .only_files = true }
		};

		path_of("ro", ro);
		path_of("absent", absent);
		path_of("none", none);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (osh_landlock_read_only(readables, OSH_COUNT_OF(readables)) != 0)
			_exit(1);
		if (try_open("ro/file", O_RDONLY) != 0 || try_open("ro", O_RDONLY | O_DIRECTORY) != 0)
			_exit(2);
		if (try_open("none/file", O_RDONLY) != 0 || try_open("none", O_RDONLY | O_DIRECTORY) != -EACCES)
			_exit(3);
		_exit(try_open("rw/file", O_RDONLY) == -EACCES ? 0 : 4);
	}
	waitpid(pid, &status, 0);
	remove_world();
	cr_expect(eq(int, status, 0));
}

Test(landlock, granting_an_absent_path_says_so)
{
	struct osh_landlock *landlock;

	remove_world();
	cr_assert(eq(int, osh_landlock_new(&landlock), 0));
	cr_expect(eq(int, osh_landlock_grant(landlock, "/nonexistent/x", true), -ENOENT));
	osh_landlock_free(landlock);
	osh_landlock_free(NULL);
}
