/* Running programs in sandboxes for connections. */
#include "control/exec.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

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

static void on_started(void *context, const struct osh_err *err, pid_t pid, int pty_fd)
{
	struct osh_session *session = context;

	if (err) {
		osh_close(pty_fd);
		fail_session(session, err);
		return;
	}
	session->is_started = true;
	begin_time(session);
	osh_call_reply_continues(session->call, json_pack("{s:i}", "pid", (int)pid), &pty_fd,
				 pty_fd >= 0);
	osh_close(pty_fd);
}

static void on_exit_status(void *context, int status)
{
	end_session(context, status);
}

static void on_cancel(struct osh_call *call)
{
	struct osh_session *session = call->context;

	/* A caller that goes away hangs its program up. An agent that stops does not: programs
	 * go on, as they do when it is killed, and its instances are released, not told. */
	if (!call->agent->is_stopping)
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

static void start(struct osh_call *call, struct osh_agent_sandbox *sandbox,
		  const struct osh_sandbox_command *command, uint64_t timeout_ms)
{
	struct osh_session *session = calloc(1, sizeof(*session));
	struct osh_sandbox_command_events events = { .on_started = on_started,
						     .on_exit = on_exit_status,
						     .context = session };
	struct osh_err err = { 0 };

	if (!session) {
		osh_call_error(call, "Failed", "out of memory");
		return;
	}
	session->sandbox = sandbox;
	session->call = call;
	session->timeout_ms = timeout_ms;
	LL_PREPEND(sandbox->sessions, session);
	call->context = session;
	call->on_cancel = on_cancel;
	if (osh_sandbox_spawn(sandbox->instance, command, &events, &err) < 0)
		fail_session(session, &err);
}

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

	if (!call->more) {
		osh_call_error(call, "Invalid", "SandboxExec answers twice: call it with \"more\"");
		return false;
	}
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

static void exec_in_sandbox(struct osh_call *call)
{
	struct osh_sandbox_command command = { .stdio = { -1, -1, -1 } };
	_cleanup_free_ const char **argv = NULL;
	_cleanup_free_ const char **env = NULL;
	json_t *argv_json, *env_json = NULL;
	json_int_t rows = 0, columns = 0, timeout_ms = 0;
	struct osh_agent_sandbox *sandbox;
	const char *name;
	int tty;

	if (!osh_call_unpack(call, "s:s, s:o, s?o, s?s, s:b, s?I, s?I, s?I", "name", &name,
			     "argv", &argv_json, "env", &env_json, "cwd", &command.cwd, "tty", &tty,
			     "rows", &rows, "columns", &columns, "timeout_ms", &timeout_ms))
		return;
	if (timeout_ms < 0 || timeout_ms > TIMEOUT_MS_MAX) {
		osh_call_error(call, "Invalid", "timeout_ms must be 0 to %d", TIMEOUT_MS_MAX);
		return;
	}
	sandbox = osh_call_sandbox(call, name, true);
	if (!sandbox)
		return;
	argv = osh_call_strings(call, "argv", argv_json, ARGUMENTS_MAX);
	if (!argv)
		return;
	env = osh_call_strings(call, "env", env_json, ENVIRONMENT_MAX);
	if (!env)
		return;
	command.argv = argv;
	command.env = env;
	if (!command.cwd)
		command.cwd = json_string_value(sandbox->recipe.workdir);
	command.tty = tty;
	command.rows = (uint16_t)rows;
	command.columns = (uint16_t)columns;
	if (!is_possible(call, &command, rows, columns))
		return;
	if (!has_room(sandbox)) {
		osh_call_error(call, "Failed", "%d programs run in %s for callers already",
			       SESSIONS_PER_SANDBOX_MAX, name);
		return;
	}
	if (!tty)
		memcpy(command.stdio, call->fds, sizeof(command.stdio)); /* borrowed: duplicated */
	start(call, sandbox, &command, (uint64_t)timeout_ms);
}

const struct osh_method osh_exec_methods[] = {
	{ "SandboxExec", exec_in_sandbox },
	{ 0 },
};
