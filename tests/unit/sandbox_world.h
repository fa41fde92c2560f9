/* What the sandbox tests share: a host in a directory of its own, one command inside, and
 * what came of it. Included by tests/unit/test_sandbox*.c only. */
#ifndef SANDBOX_WORLD_H
#define SANDBOX_WORLD_H

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "sandbox/sandbox.h"

#define PATIENCE_MS 100000 /* of a machine that is emulated, too */
#define OUTPUT_MAX (1 << 20)

struct world {
	char dir[64];
	char state[96], run[96], init[512];
	struct osh_loop *loop;
	struct osh_sandbox_host *host;
	struct osh_sandbox_instance *box; /* the one of tests that need one */
	char *warnings;
};

static struct world world;

static char *default_read_only[] = { "/usr", "/lib", "/proc", "/dev/urandom", "/app", "/etc", "/var/log" };
static char *default_read_write[] = { "/tmp", "/dev/null" };

/* The restrictive policy of the reference. */
static inline struct osh_policy_static default_static(void)
{
	return (struct osh_policy_static){
		.has_filesystem = true,
		.include_workdir = true,
		.read_only = default_read_only,
		.read_only_count = OSH_COUNT_OF(default_read_only),
		.read_write = default_read_write,
		.read_write_count = OSH_COUNT_OF(default_read_write),
	};
}

static inline void open_host(void)
{
	struct osh_sandbox_host_options options = {
		.loop = world.loop, .state_dir = world.state, .run_dir = world.run, .init_path = world.init,
	};
	struct osh_err err = { 0 };
	int r = osh_sandbox_host_open(&options, &world.host, &err);

	cr_assert(eq(int, r, 0), "%s", err.message);
}

static inline void make_world(void)
{
	const char *build = getenv("OSH_BUILD_DIR");

	if (geteuid() != 0)
		cr_skip_test("sandboxes need root");
	snprintf(world.dir, sizeof(world.dir), "/tmp/oshs-XXXXXX");
	cr_assert(mkdtemp(world.dir) != NULL);
	snprintf(world.state, sizeof(world.state), "%s/state", world.dir);
	snprintf(world.run, sizeof(world.run), "%s/run", world.dir);
	snprintf(world.init, sizeof(world.init), "%s/openshell-init", build ? build : "build");
	world.loop = osh_loop_new();
	open_host();
}

/* Called at the end of a test's body: what .fini finds is only a warning. */
static inline void end_world(void)
{
	char command[128];
	struct osh_err err = { 0 };

	cr_expect(eq(int, osh_sandbox_destroy(world.box, &err), 0), "%s", err.message);
	world.box = NULL;
	/* What a killed agent had begun to remove, the loop goes on with. */
	snprintf(command, sizeof(command), "%s/sandboxes", world.state);
	for (int tries = 0; rmdir(command) < 0 && tries < 100; tries++)
		osh_loop_run_once(world.loop, 10);
	osh_sandbox_host_uninstall(world.host);
	cr_expect(ne(int, access(osh_sandbox_host_cgroup(world.host), F_OK), 0));
	osh_sandbox_host_close(world.host);
	world.host = NULL;
	osh_loop_free(world.loop);
	free(world.warnings);
	world.warnings = NULL;
	cr_expect(ne(int, access(command, F_OK), 0), "something is left in %s", command);
	(void)rmdir(world.state);
	(void)rmdir(world.run);
	cr_expect(eq(int, rmdir(world.dir), 0), "something is left in %s", world.dir);
}

/* After a failed assertion: leave nothing on the machine either way. */
static inline void sweep_world(void)
{
	if (world.box && world.host)
		(void)osh_sandbox_destroy(world.box, NULL);
	if (world.host)
		osh_sandbox_host_uninstall(world.host);
}

/* Self-signed; its key was thrown away. Text in front of a certificate is allowed. */
static const char test_ca[] = "sandbox ca\n"
	"-----BEGIN CERTIFICATE-----\n"
	"MIIBQDCB86ADAgECAhQzbR6lUX1HV8jAcjCy/wOLSR7pvTAFBgMrZXAwFTETMBEG\n"
	"A1UEAwwKc2FuZGJveCBjYTAgFw0yNjExMjQwNzI0NTlaGA8yMTI2MTAzMTA3MjQ1\n"
	"OVowFTETMBEGA1UEAwwKc2FuZGJveCBjYTAqMAUGAytlcAMhADLnozmlOkQf/Fd4\n"
	"g6tETk92SHyz576e1DRQ8h46hF/6o1MwUTAdBgNVHQ4EFgQUo9naiFKClJfZDKHy\n"
	"HsZSQipkxFAwHwYDVR0jBBgwFoAUo9naiFKClJfZDKHyHsZSQipkxFAwDwYDVR0T\n"
	"AQH/BAUwAwEB/zAFBgMrZXADQQDjgH7rbHwXDodmytEvXFi4Huic3To5B2pbeGPR\n"
	"FFlE8rCEppGFQJKg/rO9/ZW6+P2gezML/jNXKv8laC0kUagJ\n"
	"-----END CERTIFICATE-----\n";

static inline int launch_with(const char *name, const struct osh_sandbox_spec *spec, struct osh_err *err)
{
	int r = osh_sandbox_cgroup_make(world.host, name, &world.box, err);

	if (r == 0)
		r = osh_sandbox_launch(world.box, spec, &world.warnings, err);
	return r;
}

static inline void launch_policy(const struct osh_policy_static *policy)
{
	static const char *const env[] = { "GITHUB_TOKEN=placeholder", NULL };
	static const char *const providers[] = { "my-github", NULL };
	const struct osh_sandbox_spec spec = {
		.name = "demo",
		.policy = policy,
		.ca_pem = test_ca,
		.keep = true,
		.env = env,
		.providers = providers,
	};
	struct osh_err err = { 0 };
	int r = launch_with("demo", &spec, &err);

	cr_assert(eq(int, r, 0), "%s", err.message);
}

static inline void launch_default(void)
{
	struct osh_policy_static policy = default_static();

	launch_policy(&policy);
}

/* A shell line on the host; its exit status, -1 when it ended otherwise. */
static inline int outside(const char *line)
{
	char *const argv[] = { "sh", "-c", (char *)line, NULL };
	int status;
	pid_t pid;

	cr_assert(eq(int, posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ), 0));
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- One command, from start to end ---- */

struct run {
	bool started, ended;
	struct osh_err err; /* of a start that failed */
	pid_t pid;
	int status;
	struct osh_sandbox_terminal terminal;
	char output[65536]; /* stdout and stderr, or what the terminal showed */
	size_t len;
};

static inline void run_on_started(void *context, const struct osh_err *err, pid_t pid,
				  struct osh_sandbox_terminal terminal)
{
	struct run *run = context;

	cr_assert(not(run->started), "on_started twice");
	run->started = true;
	run->pid = pid;
	run->terminal = terminal;
	if (err) {
		run->err = *err;
		run->ended = true;
	}
}

static inline void run_on_exit(void *context, int status)
{
	struct run *run = context;

	cr_assert(all(run->started, not(run->ended)), "on_exit out of order");
	run->ended = true;
	run->status = status;
}

static inline struct osh_sandbox_command_events events_of(struct run *run)
{
	return (struct osh_sandbox_command_events){ run_on_started, run_on_exit, run };
}

/* Run the loop until *flag; the loop's own timeout is the deadline. */
static inline void run_loop_until(const bool *flag)
{
	for (int i = 0; i < PATIENCE_MS / 10 && !*flag; i++)
		osh_loop_run_once(world.loop, 10);
	cr_assert(ne(int, *flag, 0), "nothing happened for %d ms", PATIENCE_MS);
}

/* What is there now; false at the end of file (EIO: a terminal whose last slave closed). */
static inline bool collect(struct run *run, int fd)
{
	ssize_t n = read(fd, run->output + run->len, sizeof(run->output) - 1 - run->len);

	if (n < 0)
		return errno == EAGAIN;
	run->len += (size_t)n;
	run->output[run->len] = '\0';
	return n > 0;
}

static inline void run_argv(struct run *run, const char *const *argv, const char *const *env,
			    const char *cwd)
{
	int fds[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct osh_sandbox_command_events events = events_of(run);
	struct osh_err err = { 0 };
	struct osh_sandbox_command command = { .argv = argv, .env = env, .cwd = cwd };
	int r;

	*run = (struct run){ .terminal = { -1, -1 } };
	cr_assert(eq(int, pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0));
	command.stdio[0] = null;
	command.stdio[1] = fds[1];
	command.stdio[2] = fds[1];
	r = osh_sandbox_spawn(world.box, &command, &events, &err);
	cr_assert(eq(int, r, 0), "%s", err.message);
	close(fds[1]);
	close(null);
	for (int i = 0; i < PATIENCE_MS && !run->ended; i++) {
		osh_loop_run_once(world.loop, 1);
		collect(run, fds[0]);
	}
	cr_assert(run->ended, "the command does not end");
	while (collect(run, fds[0]) && run->len < sizeof(run->output) - 1) {
		struct pollfd more = { .fd = fds[0], .events = POLLIN };

		if (poll(&more, 1, 0) == 0)
			break;
	}
	close(fds[0]);
}

/* A shell line inside; its output without trailing newlines in run->output. */
static inline int sh(struct run *run, const char *line)
{
	const char *const argv[] = { "/bin/sh", "-c", line, NULL };

	run_argv(run, argv, NULL, NULL);
	while (run->len && run->output[run->len - 1] == '\n')
		run->output[--run->len] = '\0';
	return run->status;
}

/* Expect a line's output, and success. */
#define expect_sh(line, want)                                                              \
	do {                                                                               \
		static struct run run_;                                                    \
		int status_ = sh(&run_, line);                                             \
		cr_expect(ne(int, status_ == 0 && strcmp(run_.output, want) == 0, 0),                  \
			  "%s\n  status %d, output: %s\n  wanted: %s", line, status_,      \
			  run_.output, want);                                              \
	} while (0)

/* Expect a line to fail, with `part` in what it says. */
#define expect_sh_fails(line, part)                                                        \
	do {                                                                               \
		static struct run run_;                                                    \
		int status_ = sh(&run_, line);                                             \
		cr_expect(ne(int, status_ != 0 && strstr(run_.output, part), 0),                       \
			  "%s\n  status %d, output: %s\n  wanted failure with: %s", line,  \
			  status_, run_.output, part);                                     \
	} while (0)

#endif
