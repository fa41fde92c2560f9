/* An openshell-init that is not ours: what the agent does with what it says. The stand-in
 * is a script, started and confined like the real one. Needs root. */
#include <signal.h>
#include <sys/wait.h>

#include "sandbox/protocol.h"
#include "sandbox_world.h"

static const char *const script_head =
	"#!/usr/bin/python3\n"
	"import socket, struct, array, os, sys, time\n"
	"def msg(type, value=0, id=0, text=b''): return struct.pack('<IiQ240s', type, value, id, text)\n"
	"HELLO, SPAWN, SIGNAL, STARTED, FAILED, EXITED = 1, 2, 3, 4, 5, 6\n"
	"c, _ = socket.socket(fileno=3).accept()\n"
	"def send(m, *fds):\n"
	"  c.sendmsg([m], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else [])\n"
	"def spawned(): return struct.unpack('<IiQ240s', c.recv(4096))[2]\n"
	"def rest():\n"
	"  while True: time.sleep(1000)\n";

/* Make it the host's init; the rest of the world is as in the other tests. */
static void use_script(const char *body)
{
	char text[4096], path[128];

	snprintf(path, sizeof(path), "%s/fake-init", world.dir);
	snprintf(text, sizeof(text), "%s%s\nrest()\n", script_head, body);
	cr_assert(eq(int, osh_replace_file(path, text, strlen(text), 0755), 0));
	osh_sandbox_host_close(world.host);
	snprintf(world.init, sizeof(world.init), "%s", path);
	open_host();
}

static void end_hostile_world(void)
{
	unlink(world.init);
	end_world();
}

TestSuite(hostile, .init = make_world, .fini = sweep_world, .timeout = 240);

static const struct { const char *name, *body; bool tty; } misbehaviours[] = {
	{ "unknown type", "send(msg(HELLO, 2)); send(msg(99))", false },
	{ "type 0", "send(msg(HELLO, 2)); send(msg(0))", false },
	{ "short message", "send(msg(HELLO, 2)); send(b'x')", false },
	{ "long message", "send(msg(HELLO, 2)); send(msg(STARTED) + b'x')", false },
	{ "agent's own message", "send(msg(HELLO, 2)); send(msg(SPAWN, 1, 1))", false },
	{ "unknown command", "send(msg(HELLO, 2)); send(msg(STARTED, 5, 12345))", false },
	{ "end without start", "send(msg(HELLO, 2)); send(msg(EXITED, 0, spawned()))", false },
	{ "start twice", "send(msg(HELLO, 2)); i = spawned(); send(msg(STARTED, 5, i)); "
			 "send(msg(STARTED, 5, i))", false },
	{ "pid 0", "send(msg(HELLO, 2)); send(msg(STARTED, 0, spawned()))", false },
	{ "terminal that is none", "send(msg(HELLO, 2)); send(msg(STARTED, 5, spawned()), 0)", true },
	{ "terminal with another pipe's end", "send(msg(HELLO, 2)); r, w = os.pipe(); "
					      "send(msg(STARTED, 5, spawned()), w)", true },
	{ "pipe, and a terminal that is none", "send(msg(HELLO, 2)); r, w = os.pipe(); "
					       "send(msg(STARTED, 5, spawned()), r, w)", true },
	{ "no terminal", "send(msg(HELLO, 2)); send(msg(STARTED, 5, spawned()))", true },
	{ "descriptor unasked", "send(msg(HELLO, 2)); send(msg(STARTED, 5, spawned()), 0)", false },
	{ "many descriptors", "send(msg(HELLO, 2)); send(msg(STARTED, 5, spawned()), 0, 0, 0, 0)", false },
	{ "closed connection", "send(msg(HELLO, 2)); spawned(); c.close()", false },
	{ "end of init", "send(msg(HELLO, 2)); spawned(); os._exit(0)", false },
};

static void note_death(void *context, struct osh_sandbox_instance *instance)
{
	(void)instance;
	*(bool *)context = true;
}

static void start_true(struct run *run, bool tty)
{
	static const char *const argv[] = { "true", NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct osh_sandbox_command command = { .argv = argv, .tty = tty, .stdio = { null, null, null } };
	struct osh_sandbox_command_events events = events_of(run);

	*run = (struct run){ .terminal = { -1, -1 } };
	cr_assert(eq(int, osh_sandbox_spawn(world.box, &command, &events, NULL), 0));
	close(null);
}

/* By index: pointers in a parameter would belong to another process. */
ParameterizedTestParameters(hostile, ends_an_init_that_misbehaves)
{
	static size_t indexes[OSH_COUNT_OF(misbehaviours)];

	for (size_t i = 0; i < OSH_COUNT_OF(indexes); i++)
		indexes[i] = i;
	return cr_make_param_array(size_t, indexes, OSH_COUNT_OF(indexes));
}

ParameterizedTest(size_t *index, hostile, ends_an_init_that_misbehaves)
{
	const __typeof__(misbehaviours[0]) *parameter = &misbehaviours[*index];
	static struct run run;
	bool died = false;

	use_script(parameter->body);
	launch_default();
	osh_sandbox_on_death(world.box, note_death, &died);
	start_true(&run, parameter->tty);
	run_loop_until(&died);
	/* The caller hears the end of each command exactly once, whatever init said. */
	cr_expect(all(run.started, run.ended), "%s", parameter->name);
	cr_expect(all(eq(int, run.terminal.output, -1), eq(int, run.terminal.master, -1)));
	cr_expect(ne(int, run.err.code ? run.err.code : run.status, 0), "%s", parameter->name);
	end_hostile_world();
}

/* The twin: the same script that says what ours would say. */
Test(hostile, takes_well_formed_answers_from_any_init)
{
	static struct run run;

	use_script("send(msg(HELLO, 2)); i = spawned(); send(msg(STARTED, 5, i)); send(msg(EXITED, 42, i))");
	launch_default();
	start_true(&run, false);
	run_loop_until(&run.ended);
	cr_expect(eq(int, run.status, 42));
	end_hostile_world();
}

Test(hostile, escapes_what_a_failure_says)
{
	static struct run run;

	use_script("send(msg(HELLO, 2)); send(msg(FAILED, 2, spawned(), b'a\\x1b]0;x\\x07\\xff' + b'y' * 300))");
	launch_default();
	start_true(&run, false);
	run_loop_until(&run.ended);
	cr_expect(eq(int, run.err.code, ENOENT));
	cr_expect(eq(int, strncmp(run.err.message, "a\\x1b]0;x\\x07\\xffyyy", 19), 0), "%s",
		  run.err.message);
	end_hostile_world();
}

static void expect_no_launch(const char *body, const char *part)
{
	struct osh_policy_static policy = default_static();
	const struct osh_sandbox_spec spec = { .name = "demo", .policy = &policy };
	struct osh_err err = { 0 };

	use_script(body);
	cr_expect(lt(int, launch_with("demo", &spec, &err), 0));
	cr_expect(ne(ptr, strstr(err.message, part), NULL), "%s", err.message);
	cr_expect(eq(int, osh_sandbox_init_pid(world.box), 0));
	end_hostile_world();
}

Test(hostile, refuses_an_init_of_another_version)
{
	expect_no_launch("send(msg(HELLO, 3))", "openshell-init does not answer");
}

Test(hostile, refuses_an_init_that_says_something_else_first)
{
	expect_no_launch("send(msg(EXITED, 1))", "openshell-init does not answer");
}

Test(hostile, refuses_an_init_that_ends)
{
	expect_no_launch("sys.exit(0)", "openshell-init does not answer");
}
