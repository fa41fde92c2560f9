/* A sandbox from outside: launch, commands, terminals, ends. Needs root. */
#include <dirent.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "sandbox_world.h"

TestSuite(sandbox, .init = make_world, .fini = sweep_world, .timeout = 240);

Test(sandbox, runs_a_command_and_reports_its_status)
{
	static struct run run;

	launch_default();
	/* The default policy draws no warning: it names nothing that a sandbox lacks. */
	cr_expect(eq(ptr, world.warnings, NULL), "%s", world.warnings);
	cr_expect(eq(int, sh(&run, "echo hello; exit 7"), 7));
	cr_expect(eq(str, run.output, "hello"));
	cr_expect(eq(int, sh(&run, "exit 0"), 0));
	cr_expect(eq(int, sh(&run, "kill -TERM $$"), 143));
	cr_expect(eq(int, sh(&run, "kill -SEGV $$"), 139));
	end_world();
}

Test(sandbox, says_when_a_command_is_missing)
{
	static const char *const missing[] = { "no-such-thing", NULL };
	static const char *const directory[] = { "/usr", NULL };
	static const char *const fine[] = { "true", NULL };
	static struct run run;

	launch_default();
	run_argv(&run, missing, NULL, NULL);
	cr_expect(eq(int, run.err.code, ENOENT));
	cr_expect(eq(str, run.err.message, "no such command: no-such-thing"));
	run_argv(&run, directory, NULL, NULL);
	cr_expect(eq(int, run.err.code, EACCES));
	run_argv(&run, fine, NULL, "/no/such/dir");
	cr_expect(eq(int, run.err.code, ENOENT));
	cr_expect(ne(ptr, strstr(run.err.message, "/no/such/dir"), NULL));
	run_argv(&run, fine, NULL, "/tmp");
	cr_expect(eq(int, run.err.code, 0));
	cr_expect(eq(int, run.status, 0));
	end_world();
}

Test(sandbox, refuses_bad_commands_before_init_sees_them)
{
	static const char *const none[] = { NULL };
	static const char *const fine[] = { "true", NULL };
	static const char *const not_a_setting[] = { "FOO", NULL };
	static char huge[OSH_POLICY_BYTES_MAX * 3];
	const char *const too_long[] = { "true", huge, NULL };
	struct { const char *const *argv, *const *env; int want; } cases[] = {
		{ none, NULL, -EINVAL }, { fine, not_a_setting, -EINVAL }, { too_long, NULL, -E2BIG },
	};
	static struct run run;
	struct osh_sandbox_command_events events = events_of(&run);

	launch_default();
	memset(huge, 'x', sizeof(huge) - 1);
	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++) {
		struct osh_sandbox_command command = { .argv = cases[i].argv, .env = cases[i].env };
		struct osh_err err = { 0 };

		cr_expect(eq(int, osh_sandbox_spawn(world.box, &command, &events, &err), cases[i].want));
		cr_expect(ne(chr, err.message[0], '\0'));
	}
	end_world();
}

Test(sandbox, passes_long_arguments_whole)
{
	static char text[100001];
	static const char *argv[] = { "/bin/sh", "-c", "printf %s \"$1\" | wc -c", "sh", text, NULL };
	static struct run run;

	launch_default();
	memset(text, 'x', sizeof(text) - 1);
	run_argv(&run, argv, NULL, NULL);
	cr_expect(eq(str, run.output, "100000\n"));
	end_world();
}

Test(sandbox, clears_the_environment_but_for_named_variables)
{
	static const char *const env[] = { "FOO=bar", "LANG=de_DE.UTF-8", NULL };
	static const char *const argv[] = { "/usr/bin/env", NULL };
	static const char *const names[] = { "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "FOO",
					     "GITHUB_TOKEN", "NODE_EXTRA_CA_CERTS", "DENO_CERT", "AWS_CA_BUNDLE", "SSL_CERT_FILE",
					     "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
					     "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" };
	static struct run run;
	size_t lines = 0;

	setenv("SECRET_OF_THE_AGENT", "x", 1);
	launch_default();
	run_argv(&run, argv, env, NULL);
	for (const char *c = run.output; *c; c++)
		lines += *c == '\n';
	cr_expect(eq(sz, lines, OSH_COUNT_OF(names)), "%s", run.output);
	for (size_t i = 0; i < OSH_COUNT_OF(names); i++) {
		char start[64];

		snprintf(start, sizeof(start), "%s=", names[i]);
		cr_expect(ne(ptr, strstr(run.output, start), NULL), "%s in %s", names[i], run.output);
	}
	cr_expect(ne(ptr, strstr(run.output, "FOO=bar\n"), NULL));
	cr_expect(ne(ptr, strstr(run.output, "LANG=de_DE.UTF-8\n"), NULL));
	cr_expect(eq(ptr, strstr(run.output, "SECRET"), NULL));
	end_world();
}

/* ---- Terminals ---- */

static void start_on_terminal(struct run *run, const char *line)
{
	const char *argv[] = { "/bin/sh", "-c", line, NULL };
	struct osh_sandbox_command command = { .argv = argv, .tty = true, .rows = 33, .columns = 77 };
	struct osh_sandbox_command_events events = events_of(run);
	struct osh_err err = { 0 };
	int r;

	*run = (struct run){ .terminal = { -1, -1 } };
	r = osh_sandbox_spawn(world.box, &command, &events, &err);
	cr_assert(eq(int, r, 0), "%s", err.message);
	run_loop_until(&run->started);
	cr_assert(ge(int, run->terminal.output, 0), "%s", run->err.message);
}

static void close_terminal(struct run *run)
{
	close(run->terminal.output);
	close(run->terminal.master);
}

static void read_terminal_until(struct run *run, const char *text)
{
	for (int i = 0; i < PATIENCE_MS / 10 && !strstr(run->output, text); i++) {
		struct pollfd more = { .fd = run->terminal.output, .events = POLLIN };

		poll(&more, 1, 10);
		collect(run, run->terminal.output);
		osh_loop_run_once(world.loop, 0);
	}
	cr_assert(ne(ptr, strstr(run->output, text), NULL), "%s", run->output);
}

Test(sandbox, gives_a_command_its_own_terminal)
{
	static struct run run;

	launch_default();
	start_on_terminal(&run, "tty; stty size; echo $TERM; test -t 0 && echo is-a-tty; "
				"echo session $(ps -o sid= -p $$) $$ > /dev/tty");
	run_loop_until(&run.ended);
	read_terminal_until(&run, "session");
	cr_expect(ne(ptr, strstr(run.output, "/dev/pts/0\r\n33 77\r\nxterm\r\nis-a-tty\r\n"), NULL), "%s",
		  run.output);
	close_terminal(&run);
	end_world();
}

Test(sandbox, resizes_and_signals_through_the_terminal)
{
	static struct run run;
	const struct winsize size = { .ws_row = 50, .ws_col = 120 };

	launch_default();
	start_on_terminal(&run, "trap 'stty size; trap - WINCH' WINCH; echo ready; "
				"while :; do sleep 0.05; done");
	read_terminal_until(&run, "ready");
	cr_assert(eq(int, ioctl(run.terminal.master, TIOCSWINSZ, &size), 0));
	read_terminal_until(&run, "50 120");
	cr_assert(eq(int, (int)write(run.terminal.master, "\003", 1), 1));
	run_loop_until(&run.ended);
	cr_expect(eq(int, run.status, 130));
	close_terminal(&run);
	end_world();
}

Test(sandbox, hangs_up_when_the_terminal_is_closed)
{
	static struct run run;

	launch_default();
	start_on_terminal(&run, "echo ready; while :; do sleep 0.05; done");
	read_terminal_until(&run, "ready");
	close_terminal(&run);
	run_loop_until(&run.ended);
	cr_expect(eq(int, run.status, 129));
	end_world();
}

/* ---- Abandoned commands, ends of the sandbox ---- */

static void start_sleeper(struct run *run)
{
	static const char *const argv[] = { "/bin/sleep", "1000", NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct osh_sandbox_command command = { .argv = argv, .stdio = { null, null, null } };
	struct osh_sandbox_command_events events = events_of(run);

	*run = (struct run){ .terminal = { -1, -1 } };
	cr_assert(eq(int, osh_sandbox_spawn(world.box, &command, &events, NULL), 0));
	close(null);
}

Test(sandbox, hangs_an_abandoned_command_up_and_says_nothing)
{
	static struct run abandoned, early, other, count;

	launch_default();
	start_sleeper(&abandoned);
	run_loop_until(&abandoned.started);
	osh_sandbox_spawn_abandon(world.box, &abandoned);
	start_sleeper(&early);
	osh_sandbox_spawn_abandon(world.box, &early); /* not even started */
	start_sleeper(&other);
	run_loop_until(&other.started);
	/* Both go, the third stays. */
	for (int i = 0; i < 500 && strcmp(count.output, "1") != 0; i++)
		sh(&count, "pgrep -c -x sleep");
	cr_expect(eq(str, count.output, "1"));
	cr_expect(not(abandoned.ended));
	cr_expect(not(early.started));
	cr_expect(not(other.ended));
	cr_expect(eq(int, osh_sandbox_destroy(world.box, NULL), 0));
	world.box = NULL;
	cr_expect(other.ended);
	cr_expect(eq(int, other.status, 137));
	end_world();
}

static bool died;

static void note_death(void *context, struct osh_sandbox_instance *instance)
{
	cr_expect(eq(ptr, context, &died));
	cr_expect(eq(ptr, instance, world.box));
	died = true;
}

Test(sandbox, dies_whole_with_its_init)
{
	static struct run run;
	struct osh_sandbox_command_events events = events_of(&run);
	static const char *const argv[] = { "true", NULL };
	struct osh_sandbox_command command = { .argv = argv };
	struct osh_err err = { 0 };
	pid_t init;

	launch_default();
	osh_sandbox_on_death(world.box, note_death, &died);
	start_sleeper(&run);
	run_loop_until(&run.started);
	init = osh_sandbox_init_pid(world.box);
	cr_assert(eq(int, kill(init, SIGKILL), 0));
	run_loop_until(&died);
	cr_expect(run.ended);
	cr_expect(eq(int, run.status, 137));
	cr_expect(eq(int, osh_sandbox_spawn(world.box, &command, &events, &err), -ESRCH));
	cr_expect(eq(int, kill(init, 0), -1)); /* reaped */
	end_world();
}

static void destroy_from_within(void *context, int status)
{
	(void)status;
	cr_expect(eq(int, osh_sandbox_destroy(world.box, NULL), 0));
	world.box = NULL;
	*(bool *)context = true;
}

static void ignore_start(void *context, const struct osh_err *err, pid_t pid,
			 struct osh_sandbox_terminal terminal)
{
	(void)context, (void)err, (void)pid, (void)terminal;
}

Test(sandbox, may_be_destroyed_by_the_callback_of_its_command)
{
	static const char *const argv[] = { "true", NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct osh_sandbox_command command = { .argv = argv, .stdio = { null, null, null } };
	bool done = false;
	struct osh_sandbox_command_events events = { ignore_start, destroy_from_within, &done };

	launch_default();
	cr_assert(eq(int, osh_sandbox_spawn(world.box, &command, &events, NULL), 0));
	run_loop_until(&done);
	close(null);
	end_world();
}

/* ---- Names, launches that fail ---- */

Test(sandbox, checks_names_before_it_builds_paths)
{
	static const char *const good[] = { "a", "0", "demo-1",
		"a23456789012345678901234567890123456789012345678901234567890123" };
	static const char *const bad[] = { "", "-x", ".", "..", "../x", "a/b", "A", "a_b", "a\n", "%s", "a b",
		"a234567890123456789012345678901234567890123456789012345678901234" };
	struct osh_err err = { 0 };

	for (size_t i = 0; i < OSH_COUNT_OF(good); i++)
		cr_expect(osh_sandbox_name_is_valid(good[i]), "%s", good[i]);
	for (size_t i = 0; i < OSH_COUNT_OF(bad); i++) {
		cr_expect(not(osh_sandbox_name_is_valid(bad[i])), "%s", bad[i]);
		cr_expect(eq(int, osh_sandbox_cgroup_make(world.host, bad[i], &world.box, &err), -EINVAL));
	}
	world.box = NULL;
	end_world();
}

Test(sandbox, refuses_a_taken_name_and_keeps_the_owner)
{
	struct osh_sandbox_instance *second = NULL;
	struct osh_err err = { 0 };

	launch_default();
	cr_expect(eq(int, osh_sandbox_cgroup_make(world.host, "demo", &second, &err), -EEXIST));
	cr_expect(ne(ptr, strstr(err.message, "demo exists already"), NULL), "%s", err.message);
	cr_expect(eq(ptr, second, NULL));
	expect_sh("echo still here", "still here");
	end_world();
}

Test(sandbox, half_made_ones_can_be_destroyed)
{
	struct osh_err err = { 0 };

	cr_assert(eq(int, osh_sandbox_cgroup_make(world.host, "half", &world.box, &err), 0));
	cr_expect(eq(int, access(osh_sandbox_log_path(world.box), F_OK), 0));
	end_world();
}

/* Each call fails in turn, in the child alone: the agent does not use them. */
static const struct { int call; const char *step; } injections[] = {
	{ SCMP_SYS(setsid), "own session" },
	{ SCMP_SYS(unshare), "cgroup namespace" },
	{ SCMP_SYS(sethostname), "host name" },
	{ SCMP_SYS(mount), "private root" },
	{ SCMP_SYS(fsopen), "private root" },
	{ SCMP_SYS(fsconfig), "private root" },
	{ SCMP_SYS(fsmount), "private root" },
	{ SCMP_SYS(open_tree), "private root" },
	{ SCMP_SYS(mount_setattr), "private root" },
	{ SCMP_SYS(move_mount), "private root" },
	{ SCMP_SYS(openat2), "private root" },
	{ SCMP_SYS(mknodat), "private root" },
	{ SCMP_SYS(symlinkat), "private root" },
	{ SCMP_SYS(pivot_root), "entering the private root" },
	{ SCMP_SYS(umount2), "entering the private root" },
	{ SCMP_SYS(keyctl), "limits" },
	{ SCMP_SYS(setgroups), "own user" },
	{ SCMP_SYS(setresgid), "own user" },
	{ SCMP_SYS(setresuid), "own user" },
	{ SCMP_SYS(landlock_create_ruleset), "Landlock" },
	{ SCMP_SYS(landlock_add_rule), "Landlock" },
	{ SCMP_SYS(landlock_restrict_self), "Landlock" },
	{ SCMP_SYS(execve), "openshell-init" },
	{ SCMP_SYS(clone3), "new namespaces" },
};

static void inject(int call)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	cr_assert(eq(int, seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 0), 0));
	cr_assert(eq(int, seccomp_load(filter), 0));
	seccomp_release(filter);
}

static bool has_processes(void)
{
	char path[600], byte;
	int fd;
	bool any;

	snprintf(path, sizeof(path), "%s/demo/cgroup.procs", osh_sandbox_host_cgroup(world.host));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	any = fd >= 0 && read(fd, &byte, 1) == 1;
	osh_close(fd);
	return any;
}

/* By index: pointers in a parameter would belong to another process. */
ParameterizedTestParameters(sandbox, leaves_nothing_when_a_step_fails)
{
	static size_t indexes[OSH_COUNT_OF(injections)];

	for (size_t i = 0; i < OSH_COUNT_OF(indexes); i++)
		indexes[i] = i;
	return cr_make_param_array(size_t, indexes, OSH_COUNT_OF(indexes));
}

ParameterizedTest(size_t *index, sandbox, leaves_nothing_when_a_step_fails)
{
	const char *step = injections[*index].step;
	struct osh_policy_static policy = default_static();
	const struct osh_sandbox_spec spec = { .name = "demo", .policy = &policy };
	struct osh_err err = { 0 };
	char socket_path[128];
	int r;

	inject(injections[*index].call);
	r = launch_with("demo", &spec, &err);
	cr_expect(lt(int, r, 0));
	cr_expect(ne(ptr, strstr(err.message, step), NULL), "wanted %s, got: %s", step, err.message);
	cr_expect(not(has_processes()));
	cr_expect(eq(int, osh_sandbox_init_pid(world.box), 0));
	snprintf(socket_path, sizeof(socket_path), "%s/init/demo.sock", world.run);
	cr_expect(ne(int, access(socket_path, F_OK), 0));
	end_world();
}

Test(sandbox, a_launch_can_be_tried_again)
{
	static char *absent[] = { "/no/such/path" };
	struct osh_policy_static bad = { .has_filesystem = true, .read_only = absent, .read_only_count = 1,
					 .landlock = OSH_LANDLOCK_HARD_REQUIREMENT };
	struct osh_policy_static good = default_static();
	struct osh_sandbox_spec spec = { .name = "demo", .policy = &bad };
	struct osh_err err = { 0 };

	cr_expect(eq(int, launch_with("demo", &spec, &err), -ENOENT));
	cr_expect(ne(ptr, strstr(err.message, "/no/such/path"), NULL), "%s", err.message);
	spec.policy = &good;
	cr_expect(eq(int, osh_sandbox_launch(world.box, &spec, NULL, &err), 0), "%s", err.message);
	expect_sh("echo up", "up");
	end_world();
}

/* A Unix address holds 108 bytes: a run directory may be longer. */
Test(sandbox, works_below_a_long_directory_and_refuses_one_too_long)
{
	char name[201], text[256], deeper[512];
	struct osh_sandbox_host *short_host = world.host, *host = NULL;
	struct osh_sandbox_host_options options = { .loop = world.loop, .state_dir = world.state,
						    .run_dir = text, .init_path = world.init };
	struct osh_err err = { 0 };

	memset(name, 'd', sizeof(name) - 1);
	name[200] = '\0';
	snprintf(text, sizeof(text), "%.32s/%s", world.dir, name);
	cr_assert(eq(int, osh_sandbox_host_open(&options, &host, &err), 0), "%s", err.message);
	world.host = host;
	launch_default();
	expect_sh("echo fine", "fine");
	cr_expect(eq(int, osh_sandbox_destroy(world.box, &err), 0), "%s", err.message);
	world.box = NULL;
	osh_sandbox_host_uninstall(host);
	osh_sandbox_host_close(host);
	world.host = short_host;
	snprintf(deeper, sizeof(deeper), "%s/%s", text, name);
	options.run_dir = deeper;
	cr_expect(eq(int, osh_sandbox_host_open(&options, &host, &err), -ENAMETOOLONG));
	cr_expect(ne(ptr, strstr(err.message, "use a shorter one"), NULL), "%s", err.message);
	rmdir(deeper);
	rmdir(text);
	end_world();
}

Test(sandbox, says_where_init_is_missing)
{
	struct osh_sandbox_host *host = NULL;
	struct osh_sandbox_host_options options = { .loop = world.loop, .state_dir = world.state,
						    .run_dir = world.run, .init_path = "/no/such/init" };
	struct osh_err err = { 0 };

	cr_expect(eq(int, osh_sandbox_host_open(&options, &host, &err), -ENOENT));
	cr_expect(ne(ptr, strstr(err.message, "openshell-init is not at /no/such/init"), NULL));
	end_world();
}

/* ---- What is left ---- */

/* Other programs mount and unmount meanwhile: only what bears our directory counts. */
static bool is_mounted_anywhere(const char *part)
{
	char *text;
	size_t len;
	bool found;

	cr_assert(eq(int, osh_read_file("/proc/self/mountinfo", 1 << 24, &text, &len), 0));
	found = strstr(text, part) != NULL;
	free(text);
	return found;
}

static size_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

/* How much of deleted sandboxes is still on disk: seen by name beside the living. */
static int count_trash(void)
{
	char command[192];

	snprintf(command, sizeof(command), "exit $(ls -A %s/sandboxes | grep -c ^.removing-)", world.state);
	return outside(command);
}

/* Returns how many turns of the loop it took. */
static int empty_trash(void)
{
	int turns = 0;

	for (; count_trash() > 0; turns++) {
		cr_assert(lt(int, turns, 100));
		cr_assert(eq(int, osh_loop_run_once(world.loop, 1000), 0));
	}
	return turns;
}

static void fill_box(void)
{
	expect_sh("for d in 1 2 3 4; do mkdir -p $d/x; (cd $d/x && seq 500 | xargs touch); done; echo full", "full");
}

Test(sandbox, removes_many_files_in_slices)
{
	struct osh_err err = { 0 };

	launch_default();
	fill_box();
	cr_assert(eq(int, osh_sandbox_destroy(world.box, &err), 0), "%s", err.message);
	cr_expect(eq(int, count_trash(), 1));
	/* The name is free at once. */
	cr_assert(eq(int, osh_sandbox_cgroup_make(world.host, "demo", &world.box, &err), 0), "%s", err.message);
	cr_expect(gt(int, empty_trash(), 2));
	end_world();
}

Test(sandbox, a_new_agent_removes_what_the_last_one_did_not_get_to)
{
	struct osh_err err = { 0 };

	launch_default();
	fill_box();
	cr_assert(eq(int, osh_sandbox_destroy(world.box, &err), 0), "%s", err.message);
	world.box = NULL;
	osh_sandbox_host_close(world.host);
	cr_expect(eq(int, count_trash(), 1));
	open_host();
	(void)empty_trash();
	end_world();
}

Test(sandbox, leaves_nothing_when_it_is_destroyed)
{
	size_t fds = count_entries("/proc/self/fd");
	char state[160], init_dir[160];
	static struct run run;

	snprintf(state, sizeof(state), "%s/sandboxes", world.state);
	snprintf(init_dir, sizeof(init_dir), "%s/init", world.run);
	for (int i = 0; i < 2; i++) {
		launch_default();
		free(world.warnings);
		world.warnings = NULL;
		/* Deep, read-only, odd names, many: and a daemon that outlives its parent. */
		sh(&run, "cd /sandbox && p=$(printf 'a-name-of-some-length/%.0s' $(seq 150)) && for i in 1 2; "
			 "do mkdir -p $p && cd $p; done; touch x; chmod 0 . ; cd /tmp; mkdir -p a/b/c ' ' "
			 "'\n'; touch a/b/f; chmod 0500 a/b; ln -s /etc/passwd l; mkfifo p; "
			 "setsid sleep 1000 >/dev/null 2>&1 & exit 0");
		cr_expect(eq(int, run.status, 0), "%s", run.output);
		cr_expect(eq(int, osh_sandbox_destroy(world.box, NULL), 0));
		world.box = NULL;
		cr_expect(not(has_processes()));
		(void)empty_trash();
		cr_expect(eq(sz, count_entries(state), 2));
		cr_expect(eq(sz, count_entries(init_dir), 2));
	}
	cr_expect(not(is_mounted_anywhere(world.dir)));
	cr_expect(eq(sz, count_entries("/proc/self/fd"), fds));
	cr_expect(eq(int, waitpid(-1, NULL, WNOHANG), -1)); /* no child, no zombie */
	cr_expect(eq(int, access("/etc/passwd", F_OK), 0));
	end_world();
}
