/* A sandbox that outlives its agent; its sockets; where paths lead in it; the files that
 * remember it. Needs root. */
#include <arpa/inet.h>
#include <dirent.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "sandbox/internal.h"
#include "sandbox_world.h"

TestSuite(adopt, .init = make_world, .fini = sweep_world, .timeout = 240);

struct adopted {
	struct osh_sandbox_instance *boxes[4];
	int count;
};

static void take(void *context, struct osh_sandbox_instance *instance)
{
	struct adopted *adopted = context;

	cr_assert(lt(int, adopted->count, 4));
	adopted->boxes[adopted->count++] = instance;
}

static struct adopted adopt_all(void)
{
	struct adopted adopted = { 0 };
	struct osh_err err = { 0 };
	int r = osh_sandbox_adopt_all(world.host, take, &adopted, &err);

	cr_assert(eq(int, r, adopted.count), "%s", err.message);
	return adopted;
}

/* The agent stops and another one starts: a new host on the same directories. */
static void restart_host(void)
{
	osh_sandbox_host_close(world.host);
	open_host();
}

Test(adopt, a_new_agent_takes_a_running_sandbox_over)
{
	static struct run run;
	struct adopted adopted;
	uint64_t id;
	int64_t created;
	uid_t uid;
	pid_t init;

	launch_default();
	id = osh_sandbox_id(world.box);
	uid = osh_sandbox_uid(world.box);
	init = osh_sandbox_init_pid(world.box);
	created = osh_sandbox_created(world.box);
	sh(&run, "echo kept > /tmp/f; setsid sleep 1000 > /dev/null 2>&1 &\n"
		 "until pgrep -x sleep > /dev/null; do :; done");
	osh_sandbox_release(world.box);
	world.box = NULL;
	restart_host();
	adopted = adopt_all();
	cr_assert(eq(int, adopted.count, 1));
	world.box = adopted.boxes[0];
	cr_expect(eq(str, (char *)osh_sandbox_name(world.box), "demo"));
	cr_expect(eq(u64, osh_sandbox_id(world.box), id));
	cr_expect(eq(u32, osh_sandbox_uid(world.box), uid));
	cr_expect(eq(int, osh_sandbox_init_pid(world.box), init));
	cr_expect(eq(i64, osh_sandbox_created(world.box), created));
	cr_expect(osh_sandbox_keep(world.box));
	cr_expect(eq(str, (char *)osh_sandbox_providers(world.box)[0], "my-github"));
	cr_expect(eq(ptr, (void *)osh_sandbox_providers(world.box)[1], NULL));
	expect_sh("cat /tmp/f; pgrep -c -x sleep; echo $GITHUB_TOKEN", "kept\n1\nplaceholder");
	end_world();
}

/* ---- Stopped ones ---- */

static void launch_again(void)
{
	struct osh_policy_static policy = default_static();
	const struct osh_sandbox_spec spec = { .name = "demo", .policy = &policy, .keep = true };
	struct osh_err err = { 0 };

	cr_assert(eq(int, osh_sandbox_launch(world.box, &spec, NULL, &err), 0), "%s", err.message);
}

/* Release, restart, adopt: the same sandbox, by the next agent. */
static void pass_on(void)
{
	struct adopted adopted;

	osh_sandbox_release(world.box);
	world.box = NULL;
	restart_host();
	adopted = adopt_all();
	cr_assert(eq(int, adopted.count, 1));
	world.box = adopted.boxes[0];
}

Test(adopt, a_stopped_sandbox_is_launched_again_with_its_files_and_user)
{
	static struct run killed;
	static const char *const argv[] = { "/bin/sleep", "1000", NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct osh_sandbox_command command = { .argv = argv, .stdio = { null, null, null } };
	struct osh_sandbox_command_events events = events_of(&killed);
	struct osh_err err = { 0 };
	uint64_t id;
	uid_t uid;

	launch_default();
	id = osh_sandbox_id(world.box);
	uid = osh_sandbox_uid(world.box);
	expect_sh("echo kept > /sandbox/f; exit 0", "");
	cr_assert(eq(int, osh_sandbox_spawn(world.box, &command, &events, NULL), 0));
	run_loop_until(&killed.started);
	cr_assert(eq(int, osh_sandbox_stop(world.box, &err), 0), "%s", err.message);
	cr_expect(all(killed.ended, eq(int, killed.status, 137)));
	cr_expect(eq(int, osh_sandbox_init_pid(world.box), 0));
	cr_expect(eq(int, osh_sandbox_spawn(world.box, &command, &events, &err), -ESRCH));
	cr_expect(eq(int, osh_sandbox_stop(world.box, &err), 0), "twice");
	pass_on();
	cr_expect(all(eq(int, osh_sandbox_init_pid(world.box), 0), eq(u64, osh_sandbox_id(world.box), id)));
	launch_again();
	cr_expect(eq(u32, osh_sandbox_uid(world.box), uid));
	expect_sh("cat /sandbox/f; pgrep -c sleep; exit 0", "kept\n0");
	pass_on(); /* running again */
	expect_sh("cat /sandbox/f", "kept");
	close(null);
	end_world();
}

/* As after a start of the host: the cgroup is gone, and its number may be another's. */
Test(adopt, a_stopped_sandbox_gets_a_cgroup_again_and_keeps_its_user_from_others)
{
	struct osh_sandbox_instance *other;
	struct osh_err err = { 0 };
	char path[128], line[256];
	uid_t uid;

	launch_default();
	cr_assert(eq(int, osh_sandbox_stop(world.box, &err), 0), "%s", err.message);
	snprintf(path, sizeof(path), "%s/demo", osh_sandbox_host_cgroup(world.host));
	cr_assert(eq(int, rmdir(path), 0));
	pass_on();
	/* The next cgroup's number would give the user that is taken now: by hand, as numbers are
	 * not ours to choose. */
	uid = (uid_t)(OSH_SANDBOX_UID_FIRST + ((osh_sandbox_id(world.box) + 1) & 0xffffff));
	world.box->record.uid = uid;
	cr_assert(eq(int, osh_sandbox_cgroup_make(world.host, "other", &other, &err), 0), "%s", err.message);
	cr_expect(ne(u32, osh_sandbox_uid(other), uid));
	cr_expect(eq(int, osh_sandbox_destroy(other, NULL), 0));
	snprintf(line, sizeof(line), "chown -R %u %s/sandboxes/demo/sandbox", uid, world.state);
	cr_assert(eq(int, outside(line), 0));
	launch_again();
	cr_expect(eq(u32, osh_sandbox_uid(world.box), uid));
	expect_sh("touch /sandbox/x && echo mine", "mine");
	end_world();
}

/* The record says that it is stopped before anything is killed. */
Test(adopt, what_a_killed_agent_had_begun_to_stop_is_stopped)
{
	struct sandbox_record record;
	pid_t init;
	int status;

	launch_default();
	init = osh_sandbox_init_pid(world.box);
	expect_sh("echo kept > /sandbox/f; exit 0", "");
	record = world.box->record;
	record.init_pid = 0;
	cr_assert(eq(int, record_save(world.box->dir, &record), 0));
	pass_on();
	cr_expect(eq(int, osh_sandbox_init_pid(world.box), 0));
	cr_assert(eq(int, waitpid(init, &status, 0), init)); /* our child, as we are both agents */
	cr_expect(eq(int, status, SIGKILL)); /* wait(2): the signal alone */
	launch_again();
	expect_sh("cat /sandbox/f", "kept");
	end_world();
}

Test(adopt, commands_of_the_old_agent_run_on_and_are_nobodys_news)
{
	static const char *const argv[] = { "/bin/sh", "-c", "while ! test -e /tmp/go; do sleep 0.01; done; "
					    "echo done > /tmp/out", NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct osh_sandbox_command command = { .argv = argv, .stdio = { null, null, null } };
	static struct run old, look;
	struct osh_sandbox_command_events events = events_of(&old);
	struct adopted adopted;

	launch_default();
	cr_assert(eq(int, osh_sandbox_spawn(world.box, &command, &events, NULL), 0));
	run_loop_until(&old.started);
	osh_sandbox_release(world.box);
	world.box = NULL;
	restart_host();
	adopted = adopt_all();
	cr_assert(eq(int, adopted.count, 1));
	world.box = adopted.boxes[0];
	/* The first command of the new agent has the number of the old one's. */
	expect_sh("touch /tmp/go; exit 0", "");
	for (int i = 0; i < 1000 && strcmp(look.output, "done") != 0; i++)
		sh(&look, "cat /tmp/out 2>/dev/null");
	cr_expect(eq(str, look.output, "done"));
	cr_expect(not(old.ended));
	close(null);
	end_world();
}

static void note_death(void *context, struct osh_sandbox_instance *instance)
{
	(void)instance;
	*(bool *)context = true;
}

Test(adopt, an_adopted_sandbox_reports_its_death)
{
	struct adopted adopted;
	bool died = false;

	launch_default();
	osh_sandbox_release(world.box);
	restart_host();
	adopted = adopt_all();
	world.box = adopted.boxes[0];
	cr_assert(eq(int, kill(osh_sandbox_init_pid(world.box), SIGKILL), 0));
	osh_sandbox_on_death(world.box, note_death, &died);
	run_loop_until(&died);
	end_world();
}

static void kill_and_reap(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

Test(adopt, remains_of_dead_sandboxes_are_removed)
{
	struct osh_err err = { 0 };
	struct adopted adopted;

	/* One that died and was not to be kept, one that was never launched, one running. */
	{
		struct osh_policy_static policy = default_static();
		struct osh_sandbox_spec spec = { .name = "brief", .policy = &policy };

		cr_assert(eq(int, launch_with("brief", &spec, &err), 0));
		kill_and_reap(osh_sandbox_init_pid(world.box));
		osh_sandbox_release(world.box);
	}
	cr_assert(eq(int, osh_sandbox_cgroup_make(world.host, "half", &world.box, &err), 0));
	osh_sandbox_release(world.box);
	{
		struct osh_policy_static policy = default_static();
		struct osh_sandbox_spec spec = { .name = "alive", .policy = &policy };

		cr_assert(eq(int, launch_with("alive", &spec, &err), 0));
		osh_sandbox_release(world.box);
	}
	world.box = NULL;
	restart_host();
	adopted = adopt_all();
	cr_assert(eq(int, adopted.count, 1));
	world.box = adopted.boxes[0];
	cr_expect(eq(str, (char *)osh_sandbox_name(world.box), "alive"));
	expect_sh("echo alive", "alive");
	end_world(); /* fails when anything of the others is left */
}

static void launch_with_file(void)
{
	launch_default();
	expect_sh("echo kept > /sandbox/f; exit 0", "");
}

/* Its init died under no agent, or the host was started anew. */
Test(adopt, a_dead_sandbox_that_is_kept_is_stopped)
{
	struct sandbox_record record;

	launch_with_file();
	kill_and_reap(osh_sandbox_init_pid(world.box));
	pass_on();
	cr_expect(all(eq(int, osh_sandbox_init_pid(world.box), 0), not(osh_sandbox_is_damaged(world.box))));
	cr_assert(eq(int, record_load(world.box->dir, &record), 0));
	cr_expect(eq(int, record.init_pid, 0), "also for the agent after this one");
	record_done(&record);
	launch_again();
	expect_sh("cat /sandbox/f", "kept");
	end_world();
}

/* One that nobody can speak to is not left to itself. */
Test(adopt, a_kept_sandbox_out_of_reach_is_ended_and_stopped)
{
	pid_t init;

	launch_with_file();
	init = osh_sandbox_init_pid(world.box);
	cr_assert(eq(int, unlink(world.box->socket_path), 0));
	pass_on();
	cr_expect(eq(int, osh_sandbox_init_pid(world.box), 0));
	cr_expect(eq(int, waitpid(init, NULL, 0), init)); /* our child, as we are both agents */
	launch_again();
	expect_sh("cat /sandbox/f", "kept");
	end_world();
}

/* Whether it ran or was stopped: its files are somebody's work. */
static void expect_fenced(const char *damage)
{
	char line[600];

	osh_sandbox_release(world.box);
	snprintf(line, sizeof(line), "cd %s/sandboxes/demo && %s", world.state, damage);
	cr_assert(eq(int, outside(line), 0));
	world.box = NULL;
	restart_host();
	{
		struct adopted adopted = adopt_all();

		cr_assert(eq(int, adopted.count, 1), "%s", damage);
		world.box = adopted.boxes[0];
	}
	cr_expect(all(osh_sandbox_is_damaged(world.box), osh_sandbox_keep(world.box)), "%s", damage);
	cr_expect(eq(int, osh_sandbox_init_pid(world.box), 0));
	snprintf(line, sizeof(line), "grep -qx kept %s/sandboxes/demo/sandbox/f && test ! -s %s/demo/cgroup.procs",
		 world.state, osh_sandbox_host_cgroup(world.host));
	cr_expect(eq(int, outside(line), 0), "%s", damage);
	end_world(); /* it can be destroyed, whole */
}

Test(adopt, a_torn_record_of_a_running_sandbox_fences_it)
{
	pid_t init;

	launch_with_file();
	init = osh_sandbox_init_pid(world.box);
	expect_fenced("truncate -s 20 record.json");
	cr_expect(eq(int, waitpid(init, NULL, 0), init)); /* our child, as we are both agents */
}

Test(adopt, a_torn_record_of_a_stopped_sandbox_fences_it)
{
	uid_t uid;

	launch_with_file();
	uid = osh_sandbox_uid(world.box);
	cr_assert(eq(int, osh_sandbox_stop(world.box, NULL), 0));
	expect_fenced("truncate -s 20 record.json");
	cr_expect(gt(u32, uid, 0));
}

Test(adopt, a_record_of_another_sandbox_fences_it)
{
	launch_with_file();
	cr_assert(eq(int, osh_sandbox_stop(world.box, NULL), 0));
	expect_fenced("sed -i s/demo/other/ record.json");
}

Test(adopt, a_record_that_says_root_fences_it)
{
	launch_with_file();
	cr_assert(eq(int, osh_sandbox_stop(world.box, NULL), 0));
	expect_fenced("sed -i -E 's/\"uid\": [0-9]+/\"uid\": 4294967296/' record.json");
}

/* The record is whole, and the cgroup cannot be had: no reason to remove anything. */
Test(adopt, a_stopped_sandbox_that_cannot_be_taken_over_is_fenced)
{
	launch_with_file();
	cr_assert(eq(int, osh_sandbox_stop(world.box, NULL), 0));
	expect_fenced("rm -f record.json.new; mkdir -p record.json.new/x; sed -i -E 's/\"id\": [0-9]+/\"id\": 1/' record.json");
}

Test(adopt, a_sandbox_whose_state_was_removed_is_ended)
{
	struct adopted adopted;
	char procs[600], byte;
	pid_t init;
	int fd;

	launch_default();
	init = osh_sandbox_init_pid(world.box);
	snprintf(procs, sizeof(procs), "%s/demo/cgroup.procs", osh_sandbox_host_cgroup(world.host));
	fd = open(procs, O_RDONLY | O_CLOEXEC);
	cr_expect(eq(int, (int)read(fd, &byte, 1), 1));
	close(fd);
	cr_assert(eq(int, tree_remove(osh_sandbox_dir(world.box), UINT_MAX), 0));
	osh_sandbox_release(world.box);
	world.box = NULL;
	restart_host();
	adopted = adopt_all();
	cr_expect(eq(int, adopted.count, 0));
	cr_expect(ne(int, access(procs, F_OK), 0));
	waitpid(init, NULL, 0);
	end_world();
}

/* An agent of its own, that makes, uses and ends sandboxes until it is killed. */
static _Noreturn void be_an_agent(void)
{
	struct osh_policy_static policy = default_static();
	struct osh_sandbox_spec spec = { .name = "victim", .policy = &policy };

	setsid();
	world.loop = osh_loop_new();
	open_host();
	for (;;) {
		if (launch_with("victim", &spec, NULL) < 0)
			_exit(1);
		osh_loop_run_once(world.loop, 30); /* so that some kills find it running */
		if (osh_sandbox_destroy(world.box, NULL) < 0)
			_exit(2);
	}
}

Test(adopt, an_agent_killed_at_any_moment_leaves_a_sandbox_or_nothing)
{
	char procs[600];
	int adopted_count = 0;

	for (int i = 0; i < 24; i++) {
		const struct timespec delay = { .tv_nsec = (long)(i * 7919 % 97) * 1000000 };
		struct adopted adopted;
		int status;
		pid_t agent = fork();

		if (agent == 0)
			be_an_agent();
		nanosleep(&delay, NULL); /* the moment of the kill, not a wait for something */
		kill(agent, SIGKILL);
		waitpid(agent, &status, 0);
		cr_assert(ne(int, WIFSIGNALED(status), 0), "the agent ended by itself: %d", status);
		restart_host();
		adopted = adopt_all();
		adopted_count += adopted.count;
		if (adopted.count) {
			world.box = adopted.boxes[0];
			expect_sh("echo whole", "whole");
			cr_expect(eq(int, osh_sandbox_destroy(world.box, NULL), 0));
			world.box = NULL;
		}
		snprintf(procs, sizeof(procs), "%s/victim", osh_sandbox_host_cgroup(world.host));
		cr_expect(ne(int, access(procs, F_OK), 0), "after %d", i);
	}
	cr_log_info("%d of 24 were taken over", adopted_count);
	end_world();
}

Test(adopt, a_reused_pid_is_not_taken_for_an_init)
{
	struct sandbox_record record;
	struct adopted adopted;
	char dir[256];
	pid_t stranger;

	launch_default();
	kill_and_reap(osh_sandbox_init_pid(world.box));
	snprintf(dir, sizeof(dir), "%s", osh_sandbox_dir(world.box));
	osh_sandbox_release(world.box);
	world.box = NULL;
	stranger = fork();
	if (stranger == 0) {
		pause();
		_exit(0);
	}
	cr_assert(eq(int, record_load(dir, &record), 0));
	record.init_pid = stranger;
	cr_assert(eq(int, process_start_time(stranger, &record.init_start), 0));
	cr_assert(eq(int, record_save(dir, &record), 0));
	record_done(&record);
	restart_host();
	adopted = adopt_all();
	cr_assert(eq(int, adopted.count, 1));
	world.box = adopted.boxes[0];
	cr_expect(eq(int, osh_sandbox_init_pid(world.box), 0)); /* stopped */
	cr_expect(eq(int, waitpid(stranger, NULL, WNOHANG), 0)); /* and it was left alone */
	kill_and_reap(stranger);
	end_world();
}

/* ---- Only the agent speaks to init ------------------------------------------------------ */

static int try_connect(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	char byte;
	int r;

	memcpy(addr.sun_path, path, strlen(path) + 1);
	r = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : (int)recv(fd, &byte, 1, 0);
	close(fd);
	return r; /* 1: the hello, 0: turned away */
}

Test(adopt, init_turns_other_users_away)
{
	char path[108];
	pid_t pid;
	int status;

	launch_default();
	snprintf(path, sizeof(path), "%.80s/init/demo.sock", world.run);
	/* Even where directory and socket would let them in. */
	cr_assert(eq(int, chmod(world.dir, 0755) | chmod(path, 0666), 0));
	snprintf(path, sizeof(path), "%.80s/init", world.run);
	cr_assert(eq(int, chmod(path, 0755), 0));
	snprintf(path, sizeof(path), "%.80s/init/demo.sock", world.run);
	pid = fork();
	if (pid == 0) {
		if (setuid(osh_sandbox_uid(world.box)) < 0)
			_exit(99);
		_exit(try_connect(path) == 0 ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	cr_expect(eq(int, status, 0));
	expect_sh("echo the agent is still served", "the agent is still served");
	end_world();
}

/* ---- Sockets ---------------------------------------------------------------------------- */

static int *sockets_as_array(struct osh_sandbox_sockets *sockets)
{
	_Static_assert(sizeof(*sockets) == OSH_SANDBOX_SOCKETS_COUNT * sizeof(int), "an array of ints");
	return (int *)sockets;
}

static void close_sockets(struct osh_sandbox_sockets *sockets)
{
	for (int i = 0; i < OSH_SANDBOX_SOCKETS_COUNT; i++)
		close(sockets_as_array(sockets)[i]);
}

Test(adopt, opens_the_agents_sockets_inside_and_comes_back)
{
	struct osh_sandbox_sockets sockets, again;
	struct osh_err err = { 0 };
	char before[64] = "", after[64] = "";
	static struct run run;
	int r, fd;

	launch_default();
	cr_assert(gt(long, (long)readlink("/proc/self/ns/net", before, 63), 0L));
	r = osh_sandbox_sockets_open(world.box, &sockets, &err);
	cr_assert(eq(int, r, 0), "%s", err.message);
	cr_assert(gt(long, (long)readlink("/proc/self/ns/net", after, 63), 0L));
	cr_expect(eq(str, before, after));
	for (int i = 0; i < OSH_SANDBOX_SOCKETS_COUNT; i++) {
		int flags = fcntl(sockets_as_array(&sockets)[i], F_GETFL);

		cr_expect(ne(int, flags & O_NONBLOCK, 0));
		cr_expect(eq(int, fcntl(sockets_as_array(&sockets)[i], F_GETFD), FD_CLOEXEC));
	}
	sh(&run, "/bin/bash -c 'exec 3<>/dev/tcp/198.18.0.1/1 && echo v4; "
		 "exec 4<>/dev/tcp/fd6f:7368::c612:1/1 && echo v6; exec 5<>/dev/tcp/198.18.0.1/53 && echo d4; "
		 "exec 6<>/dev/tcp/fd6f:7368::c612:1/53 && echo d6; echo q > /dev/udp/198.18.0.1/53; "
		 "echo q > /dev/udp/fd6f:7368::c612:1/53; exec 7<>/dev/tcp/198.18.0.1/2 || echo refused'");
	cr_expect(ne(ptr, strstr(run.output, "v4\nv6\nd4\nd6\n"), NULL), "%s", run.output);
	cr_expect(ne(ptr, strstr(run.output, "refused"), NULL), "%s", run.output);
	fd = accept4(sockets.tcp4, NULL, NULL, SOCK_CLOEXEC);
	cr_expect(ge(int, fd, 0));
	osh_close(fd);
	fd = accept4(sockets.tcp6, NULL, NULL, SOCK_CLOEXEC);
	cr_expect(ge(int, fd, 0));
	osh_close(fd);
	cr_expect(eq(int, (int)recv(sockets.dns_udp4, before, sizeof(before), 0), 2));
	cr_expect(eq(int, (int)recv(sockets.dns_udp6, before, sizeof(before), 0), 2));
	/* A program inside cannot take the ports when they are free. */
	close_sockets(&sockets);
	expect_sh_fails("/usr/bin/python3 -c 'import socket\nsocket.socket().bind((\"198.18.0.1\", 1))'",
			"Permission denied");
	cr_expect(eq(int, osh_sandbox_sockets_open(world.box, &again, &err), 0), "%s", err.message);
	close_sockets(&again);
	end_world();
}

Test(adopt, opens_no_sockets_in_a_dead_sandbox)
{
	struct osh_sandbox_sockets sockets;
	struct osh_err err = { 0 };

	cr_assert(eq(int, osh_sandbox_cgroup_make(world.host, "half", &world.box, &err), 0));
	cr_expect(eq(int, osh_sandbox_sockets_open(world.box, &sockets, &err), -ESRCH));
	end_world();
}

/* ---- Resolving -------------------------------------------------------------------------- */

Test(adopt, resolves_links_in_the_sandboxes_own_root)
{
	char found[256], small[4];
	char *want = realpath("/usr/bin/python3", NULL);

	launch_default();
	cr_assert(ne(ptr, want, NULL));
	cr_expect(eq(int, osh_sandbox_resolve(world.box, "/usr/bin/python3", found, sizeof(found)), 0));
	cr_expect(eq(str, found, want));
	cr_expect(eq(int, osh_sandbox_resolve(world.box, want, found, sizeof(found)), -EALREADY));
	cr_expect(eq(int, osh_sandbox_resolve(world.box, "/no/such", found, sizeof(found)), -ENOENT));
	cr_expect(eq(int, osh_sandbox_resolve(world.box, "relative", found, sizeof(found)), -ENOENT));
	cr_expect(eq(int, osh_sandbox_resolve(world.box, "/usr/bin/python3", small, sizeof(small)),
		     -ENAMETOOLONG));
	/* A link that would leave the root leads to the sandbox's file of that name. */
	expect_sh("ln -s ../../../../etc/hostname /sandbox/up; ln -s /sandbox/loop /sandbox/loop; "
		  "ln -s /proc/self/exe /sandbox/magic", "");
	cr_expect(eq(int, osh_sandbox_resolve(world.box, "/sandbox/up", found, sizeof(found)), 0));
	cr_expect(eq(str, found, "/etc/hostname"));
	cr_expect(eq(int, osh_sandbox_resolve(world.box, "/sandbox/loop", found, sizeof(found)), -ENOENT));
	cr_expect(eq(int, osh_sandbox_resolve(world.box, "/sandbox/magic", found, sizeof(found)), -ENOENT));
	free(want);
	end_world();
}

/* ---- Pieces ----------------------------------------------------------------------------- */

Test(pieces, finds_cgroup2_in_mountinfo)
{
	static const struct { const char *text, *want; } cases[] = {
		{ "30 22 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw\n"
		  "40 30 0:37 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n",
		  "/sys/fs/cgroup/unified" },
		{ "24 1 0:22 / /sys/fs/cgroup rw - cgroup2 none rw", "/sys/fs/cgroup" },
		{ "24 1 0:22 / /odd\\040place\\134x rw - cgroup2 none rw", "/odd place\\x" },
		{ "39 30 0:36 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=cgroup2\n", NULL },
		{ "", NULL },
		{ "garbage\n - cgroup2 x", "" },
	};
	char found[64];

	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++) {
		int r = cgroup_find_mount(cases[i].text, found, sizeof(found));

		if (!cases[i].want) {
			cr_expect(eq(int, r, -ENOENT), "case %zu", i);
		} else if (cases[i].want[0]) {
			cr_expect(eq(int, r, 0), "case %zu", i);
			cr_expect(eq(str, found, (char *)cases[i].want));
		}
	}
	cr_expect(eq(int, cgroup_find_mount(cases[0].text, found, 8), -ENAMETOOLONG));
}

Test(pieces, a_record_comes_back_as_it_was_saved)
{
	static const char *const providers[] = { "a", "b", NULL };
	struct sandbox_record saved = { .name = "demo", .id = 0x123456789abcULL, .uid = 0x78000001,
					.gid = 0x78000002, .init_pid = 77, .init_start = 123456789,
					.created = 1700000000, .keep = true };
	struct sandbox_record loaded;
	char dir[] = "/tmp/oshs-record-XXXXXX", path[64];
	static const char *const bad[] = { "", "{", "{}", "[]", "{\"version\": 2, \"name\": \"x\"}" };

	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	cr_assert(eq(int, record_set_providers(&saved, providers), 0));
	cr_assert(eq(int, record_save(dir, &saved), 0));
	cr_assert(eq(int, record_load(dir, &loaded), 0));
	cr_expect(eq(str, loaded.name, saved.name));
	cr_expect(eq(u64, loaded.id, saved.id));
	cr_expect(all(eq(u32, loaded.uid, saved.uid), eq(u32, loaded.gid, saved.gid)));
	cr_expect(all(eq(int, loaded.init_pid, 77), eq(u64, loaded.init_start, saved.init_start)));
	cr_expect(all(eq(i64, loaded.created, saved.created), loaded.keep));
	cr_expect(all(eq(str, loaded.providers[0], "a"), eq(str, loaded.providers[1], "b")));
	cr_expect(eq(ptr, loaded.providers[2], NULL));
	record_done(&loaded);
	record_done(&saved);
	snprintf(path, sizeof(path), "%s/record.json", dir);
	for (size_t i = 0; i < OSH_COUNT_OF(bad); i++) {
		cr_assert(eq(int, osh_replace_file(path, bad[i], strlen(bad[i]), 0600), 0));
		cr_expect(eq(int, record_load(dir, &loaded), -EBADMSG), "%s", bad[i]);
	}
	unlink(path);
	cr_expect(eq(int, record_load(dir, &loaded), -ENOENT));
	cr_expect(eq(int, rmdir(dir), 0));
}

Test(pieces, a_record_of_what_is_attached_is_kept_twice)
{
	struct sandbox_record saved = { .name = "demo", .id = 77, .attached = "/cg/x", .gateway = OSH_GATEWAY,
					.netns = 5, .created = 1700000000, .keep = true, .keeps_established = true };
	char dir[] = "/tmp/oshs-record-XXXXXX", path[64], copy[64];
	static const char *const bad[] = { "", "{\"version\": 1", NULL };
	struct sandbox_record loaded;

	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	cr_assert(eq(int, record_save(dir, &saved), 0));
	cr_assert(eq(int, record_load(dir, &loaded), 0));
	record_done(&loaded);
	snprintf(path, sizeof(path), "%s/record.json", dir);
	snprintf(copy, sizeof(copy), "%s/attached.json", dir);
	for (size_t i = 0; i < OSH_COUNT_OF(bad); i++) {
		if (bad[i])
			cr_assert(eq(int, osh_replace_file(path, bad[i], strlen(bad[i]), 0600), 0));
		else
			unlink(path);
		cr_assert(eq(int, record_load(dir, &loaded), 1));
		cr_expect(all(eq(str, loaded.name, "demo"), eq(str, loaded.attached, "/cg/x"), eq(u64, loaded.id, 77)));
		cr_expect(all(eq(u64, loaded.netns, 5), loaded.keep, loaded.keeps_established));
		record_done(&loaded);
	}
	cr_assert(eq(int, osh_replace_file(path, "{", 1, 0600), 0));
	cr_assert(eq(int, osh_replace_file(copy, "{", 1, 0600), 0));
	cr_expect(eq(int, record_load(dir, &loaded), -EBADMSG));
	unlink(path);
	unlink(copy);
	cr_expect(eq(int, rmdir(dir), 0));
}

Test(pieces, removes_a_tree_but_nothing_that_it_links_to)
{
	char base[] = "/tmp/oshs-tree-XXXXXX", line[512];
	struct stat st;

	cr_assert(ne(ptr, mkdtemp(base), NULL));
	snprintf(line, sizeof(line), "cd %s && mkdir -p t/a/b/c t/d outside && touch t/a/b/c/f t/d/g outside/f "
		 "&& ln -s %s/outside t/a/link && ln -s %s/outside/f t/filelink && mkfifo t/p && chmod 0 t/a/b",
		 base, base, base);
	cr_assert(eq(int, outside(line), 0));
	snprintf(line, sizeof(line), "%s/t", base);
	for (int i = 0; i < 3; i++)
		cr_expect(eq(int, tree_remove(line, 1), 1));
	cr_expect(eq(int, tree_remove(line, UINT_MAX), 0));
	cr_expect(ne(int, stat(line, &st), 0));
	cr_expect(eq(int, tree_remove(line, UINT_MAX), 0)); /* once more: not there is fine */
	snprintf(line, sizeof(line), "%s/outside/f", base);
	cr_expect(eq(int, stat(line, &st), 0));
	/* A link in place of the tree is not followed. */
	snprintf(line, sizeof(line), "ln -s %s/outside %s/t", base, base);
	cr_assert(eq(int, outside(line), 0));
	snprintf(line, sizeof(line), "%s/t", base);
	cr_expect(lt(int, tree_remove(line, UINT_MAX), 0));
	snprintf(line, sizeof(line), "rm -r %s", base);
	cr_expect(eq(int, outside(line), 0));
}

/* The C library's, counted: how often a name is tried or asked for. */
static unsigned names_tried;

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	names_tried++;
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

int faccessat(int fd, const char *path, int mode, int flags)
{
	names_tried++;
	return (int)syscall(SYS_faccessat2, fd, path, mode, flags);
}

Test(pieces, names_that_are_taken_make_no_slice_of_a_removal_longer)
{
	char base[] = "/tmp/oshs-tree-XXXXXX", line[512];
	int slices = 0, r;

	cr_assert(ne(ptr, mkdtemp(base), NULL));
	/* Directories that are full, files, and what has to be moved up between them. */
	snprintf(line, sizeof(line), "mkdir %s/t && cd %s/t && seq -f .removing-%%.0f/x 0 399 | xargs mkdir -p && "
		 "seq -f .removing-%%.0f 400 799 | xargs touch && seq -f a/%%.0f/b/c 100 | xargs mkdir -p", base, base);
	cr_assert(eq(int, outside(line), 0));
	snprintf(line, sizeof(line), "%s/t", base);
	do {
		names_tried = 0;
		r = tree_remove(line, 50);
		cr_expect(le(uint, names_tried, 50));
	} while (r > 0 && ++slices < 200);
	cr_expect(eq(int, r, 0));
	cr_expect(eq(int, rmdir(base), 0));
}
