/* Running programs in sandboxes for connections. */
#include "control/exec.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/log.h"
#include "control/agent.h"
#include "control/call.h"
#include "control/lifecycle.h"
#include "control/server.h"
#include "sandbox/sandbox.h"

#define ARGUMENTS_MAX 4096
#define ENVIRONMENT_MAX 256
#define SESSIONS_PER_SANDBOX_MAX 256
#define STATUS_KILLED (128 + 9)
#define TIMEOUT_MS_MAX (7 * 24 * 3600 * 1000)
/* From the request to end to the end. */
#define GRACE_MS 2000

/* A program and the call that waits for it. */
struct osh_session {
	struct osh_session *next;
	struct osh_agent_sandbox *sandbox;
	struct osh_call *call;
	bool is_started;
	bool is_first;        /* what it runs becomes the sandbox's first command */
	pid_t pid;            /* inside */
	uint64_t timeout_ms;  /* 0: none */
	struct osh_timer timer;
	bool is_late;         /* the time is up: it was asked to end */
};

static void free_session(struct osh_session *session)
{
	session->call->on_cancel = NULL;
	session->call->context = NULL;
	osh_loop_timer_cancel(session->sandbox->agent->loop, &session->timer);
	LL_DELETE(session->sandbox->sessions, session);
	free(session);
}

static void end_session(struct osh_session *session, int status)
{
	struct osh_call *call = session->call;
	uint64_t timeout_ms = session->timeout_ms;
	bool is_late = session->is_late;

	free_session(session);
	if (is_late)
		osh_call_error(call, "Timeout", "the program had not ended after %llu s: it was killed",
			       (unsigned long long)timeout_ms / 1000);
	else
		osh_call_reply(call, json_pack("{s:i}", "status", status), NULL, 0);
}

/* First it may tidy up, then it is killed. */
static void on_time_up(struct osh_timer *timer)
{
	struct osh_session *session = osh_container_of(timer, struct osh_session, timer);

	osh_sandbox_spawn_signal(session->sandbox->instance, session,
				 session->is_late ? SIGKILL : SIGTERM);
	session->is_late = true;
	(void)osh_loop_timer_set(session->sandbox->agent->loop, timer, GRACE_MS);
}

/* Its time runs from its start. Without memory for a timer it is over at once. */
static void begin_time(struct osh_session *session)
{
	session->timer.on_expire = on_time_up;
	if (session->timeout_ms &&
	    osh_loop_timer_set(session->sandbox->agent->loop, &session->timer, session->timeout_ms) < 0)
		on_time_up(&session->timer);
}

static void fail_session(struct osh_session *session, const struct osh_err *err)
{
	struct osh_call *call = session->call;

	free_session(session);
	/* Never NotFound: it is the program that is missing, not the sandbox. */
	osh_call_error(call, "Failed", "%s", err->message);
}

/* `start` runs it again: what was asked for is kept once it runs. */
static void keep_command(const struct osh_session *session)
{
	const json_t *parameters = session->call->parameters;
	struct osh_recipe *recipe = &session->sandbox->recipe;
	json_t *argv = json_object_get(parameters, "argv");
	struct osh_err err = { 0 };

	if (!argv) /* it is the one that is kept */
		return;
	json_decref(recipe->command);
	json_decref(recipe->command_env);
	recipe->command = json_incref(argv);
	recipe->command_env = json_incref(json_object_get(parameters, "env"));
	if (osh_recipe_save(osh_sandbox_dir(session->sandbox->instance), recipe, &err) < 0)
		osh_warning("%s: its first command is not kept: %s", session->sandbox->name, err.message);
}

static void on_started(void *context, const struct osh_err *err, pid_t pid,
		       struct osh_sandbox_terminal terminal)
{
	struct osh_session *session = context;
	const int fds[] = { terminal.output, terminal.master };
	size_t count = terminal.output < 0 ? 0 : terminal.master < 0 ? 1 : 2;

	if (err) {
		fail_session(session, err);
		return;
	}
	session->is_started = true;
	session->pid = pid;
	if (session->is_first)
		keep_command(session);
	begin_time(session);
	osh_call_reply_continues(session->call, json_pack("{s:i}", "pid", (int)pid), fds, count);
	osh_close(terminal.output);
	osh_close(terminal.master);
}

static void on_exit_status(void *context, int status)
{
	end_session(context, status);
}

static void on_cancel(struct osh_call *call)
{
	struct osh_session *session = call->context;

	/* A caller that goes away hangs its program up. An agent that stops does not: programs
	 * go on, as they do when it is killed. */
	if (call->agent->is_stopping)
		osh_sandbox_spawn_forget(session->sandbox->instance, session);
	else
		osh_sandbox_spawn_abandon(session->sandbox->instance, session);
	free_session(session);
}

void osh_exec_drop(struct osh_agent_sandbox *sandbox)
{
	struct osh_err err = { 0 };

	osh_err_set(&err, ECANCELED, "sandbox %s ended before the program started", sandbox->name);
	while (sandbox->sessions) {
		struct osh_session *session = sandbox->sessions;

		osh_sandbox_spawn_abandon(sandbox->instance, session);
		if (session->is_started)
			end_session(session, STATUS_KILLED);
		else
			fail_session(session, &err);
	}
}

static bool has_room(const struct osh_agent_sandbox *sandbox)
{
	const struct osh_session *session;
	int count = 0;

	LL_COUNT(sandbox->sessions, session, count);
	return count < SESSIONS_PER_SANDBOX_MAX;
}

/* NULL: the call has been answered. */
static struct osh_session *new_session(struct osh_call *call, struct osh_agent_sandbox *sandbox)
{
	struct osh_session *session;

	if (!call->more) {
		osh_call_error(call, "Invalid", "%s answers twice: call it with \"more\"",
			       strrchr(call->method, '.') + 1);
		return NULL;
	}
	if (!has_room(sandbox)) {
		osh_call_error(call, "Failed", "%d programs run in %s for callers already",
			       SESSIONS_PER_SANDBOX_MAX, sandbox->name);
		return NULL;
	}
	session = calloc(1, sizeof(*session));
	if (!session) {
		osh_call_error(call, "Failed", "out of memory");
		return NULL;
	}
	session->sandbox = sandbox;
	session->call = call;
	LL_PREPEND(sandbox->sessions, session);
	call->context = session;
	call->on_cancel = on_cancel;
	return session;
}

static struct osh_sandbox_command_events events_of(struct osh_session *session)
{
	return (struct osh_sandbox_command_events){ .on_started = on_started,
						    .on_exit = on_exit_status,
						    .context = session };
}

/* ---- SandboxExec ---------------------------------------- */

/* The hooks that mind a socket are those of where it was made: one from here, connected anew
 * inside, would pass none. */
static bool is_network_socket(int fd)
{
	int domain;
	socklen_t len = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain != AF_UNIX;
}

/* What json_unpack cannot check. Returns false when the call has been answered. */
static bool is_possible(struct osh_call *call, const struct osh_sandbox_command *command,
			json_int_t rows, json_int_t columns)
{
	size_t wanted = command->tty ? 0 : 3;

	if (call->fd_count != wanted) {
		osh_call_error(call, "Invalid", "SandboxExec takes %zu descriptors here, not %zu",
			       wanted, call->fd_count);
		return false;
	}
	for (size_t i = 0; i < call->fd_count; i++) {
		if (osh_server_is_connection(call->agent->server, call->fds[i])) {
			osh_call_error(call, "PermissionDenied",
				       "a connection to the agent is not for the inside");
			return false;
		}
		if (is_network_socket(call->fds[i])) {
			osh_call_error(call, "PermissionDenied",
				       "descriptor %zu is a network socket of the outside: put a pipe in "
				       "between (cat | openshell ... | cat)", i);
			return false;
		}
	}
	if (rows < 0 || rows > UINT16_MAX || columns < 0 || columns > UINT16_MAX) {
		osh_call_error(call, "Invalid", "rows and columns must be 0 to %d", UINT16_MAX);
		return false;
	}
	if (!command->argv[0]) {
		osh_call_error(call, "Invalid", "argv is empty: name a program");
		return false;
	}
	return true;
}

struct exec_parameters {
	const char *name, *cwd;
	json_t *argv, *env;
	int tty, is_first;
	json_int_t rows, columns, timeout_ms;
};

static bool unpack_exec(struct osh_call *call, struct exec_parameters *parameters)
{
	if (!osh_call_unpack(call, "s:s, s?o, s?o, s?s, s:b, s?b, s?I, s?I, s?I", "name",
			     &parameters->name, "argv", &parameters->argv, "env", &parameters->env,
			     "cwd", &parameters->cwd, "tty", &parameters->tty, "first",
			     &parameters->is_first, "rows", &parameters->rows, "columns",
			     &parameters->columns, "timeout_ms", &parameters->timeout_ms))
		return false;
	if (parameters->timeout_ms >= 0 && parameters->timeout_ms <= TIMEOUT_MS_MAX)
		return true;
	osh_call_error(call, "Invalid", "timeout_ms must be 0 to %d", TIMEOUT_MS_MAX);
	return false;
}

static void spawn(struct osh_call *call, struct osh_agent_sandbox *sandbox,
		  const struct osh_sandbox_command *command, uint64_t timeout_ms)
{
	struct osh_session *session = new_session(call, sandbox);
	struct osh_sandbox_command_events events = events_of(session);
	struct osh_err err = { 0 };

	if (!session)
		return;
	session->timeout_ms = timeout_ms;
	session->is_first = command->is_first;
	if (osh_sandbox_spawn(sandbox->instance, command, &events, &err) < 0)
		fail_session(session, &err);
}

static void exec_in_sandbox(struct osh_call *call)
{
	struct osh_sandbox_command command = { .stdio = { -1, -1, -1 } };
	struct exec_parameters parameters = { 0 };
	_cleanup_free_ const char **argv = NULL;
	_cleanup_free_ const char **env = NULL;
	struct osh_agent_sandbox *sandbox;

	if (!unpack_exec(call, &parameters))
		return;
	sandbox = osh_call_inside(call, parameters.name);
	if (!sandbox)
		return;
	/* The first command, as it was: with the variables that it had. */
	if (parameters.is_first && !parameters.argv) {
		parameters.argv = sandbox->recipe.command;
		parameters.env = sandbox->recipe.command_env;
	}
	argv = osh_call_strings(call, "argv", parameters.argv, ARGUMENTS_MAX);
	if (!argv)
		return;
	env = osh_call_strings(call, "env", parameters.env, ENVIRONMENT_MAX);
	if (!env)
		return;
	command.argv = argv;
	command.env = env;
	command.cwd = parameters.cwd ? parameters.cwd : json_string_value(sandbox->recipe.workdir);
	command.tty = parameters.tty;
	command.is_first = parameters.is_first;
	command.rows = (uint16_t)parameters.rows;
	command.columns = (uint16_t)parameters.columns;
	if (!is_possible(call, &command, parameters.rows, parameters.columns))
		return;
	if (!command.tty)
		memcpy(command.stdio, call->fds, sizeof(command.stdio)); /* borrowed: duplicated */
	spawn(call, sandbox, &command, (uint64_t)parameters.timeout_ms);
}

/* ---- SandboxAttach, SandboxDetach ---------------------------------------- */

static void attach_to_first(struct osh_call *call)
{
	struct osh_sandbox_command_events events;
	struct osh_agent_sandbox *sandbox;
	struct osh_session *session;
	struct osh_err err = { 0 };
	const char *name;

	if (!osh_call_unpack(call, "s:s", "name", &name))
		return;
	sandbox = osh_call_inside(call, name);
	session = sandbox ? new_session(call, sandbox) : NULL;
	if (!session)
		return;
	events = events_of(session);
	if (osh_sandbox_attach(sandbox->instance, &events, &err) < 0)
		fail_session(session, &err);
}

static struct osh_session *find_session(struct osh_agent_sandbox *sandbox, pid_t pid)
{
	struct osh_session *session;

	LL_FOREACH(sandbox->sessions, session) {
		if (session->is_started && session->pid == pid)
			return session;
	}
	return NULL;
}

/* Its caller goes, the program does not. Nobody waits for its end, so nothing ends it then. */
static void detach_session(struct osh_call *call)
{
	struct osh_agent_sandbox *sandbox;
	struct osh_session *session;
	const char *name;
	int pid;

	if (!osh_call_unpack(call, "s:s, s:i", "name", &name, "pid", &pid))
		return;
	sandbox = osh_call_inside(call, name);
	if (!sandbox)
		return;
	session = find_session(sandbox, pid);
	if (!session) {
		osh_call_error(call, "NotFound", "no caller waits for process %d of %s", pid, name);
		return;
	}
	osh_sandbox_spawn_detach(sandbox->instance, session);
	end_session(session, 0);
	osh_call_reply(call, json_object(), NULL, 0);
}

const struct osh_method osh_exec_methods[] = {
	{ "SandboxExec", exec_in_sandbox },
	{ "SandboxAttach", attach_to_first },
	{ "SandboxDetach", detach_session },
	{ 0 },
};
