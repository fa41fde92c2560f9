#include "run.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "out.h"
#include "pipes.h"
#include "progress.h"
#include "relay.h"
#include "tty.h"

/* bash where the sandbox has it; every sandbox has a sh. */
static char *const login_shell[] = {
	(char *)"sh",
	(char *)"-c",
	(char *)"command -v bash >/dev/null && exec bash -l; exec sh -l",
	NULL,
};

/* What a program on a terminal has to know about it; the rest of the user's
 * environment stays outside. */
static const char *const terminal_variables[] = { "TERM", "COLORTERM", "LANG", "LC_ALL",
						  "LC_CTYPE" };

bool osh_run_wants_tty(bool tty, bool no_tty)
{
	return tty || (!no_tty && osh_tty_is_interactive());
}

/* ---- Asking for it ------------------------------------------------------------------ */

static int append_text(json_t *array, const char *text)
{
	return json_array_append_new(array, json_string(text)); /* -1 for NULL too: not UTF-8 */
}

static json_t *make_argv(char *const *argv)
{
	json_t *array = json_array();

	for (size_t i = 0; array && argv[i]; i++) {
		if (append_text(array, argv[i]) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static int append_terminal(json_t *array)
{
	for (size_t i = 0; i < OSH_COUNT_OF(terminal_variables); i++) {
		const char *value = getenv(terminal_variables[i]);
		char text[256];
		int n;

		if (!value)
			continue;
		n = snprintf(text, sizeof(text), "%s=%s", terminal_variables[i], value);
		if (n > 0 && (size_t)n < sizeof(text) && append_text(array, text) < 0)
			return -1;
	}
	return 0;
}

static json_t *make_env(const struct osh_run *run)
{
	json_t *array = json_array();
	bool failed = !array || (run->tty && append_terminal(array) < 0);

	for (size_t i = 0; !failed && run->env && run->env[i]; i++)
		failed = append_text(array, run->env[i]) < 0;
	if (failed) {
		json_decref(array);
		return NULL;
	}
	return array;
}

static json_t *make_parameters(const struct osh_run *run)
{
	json_t *parameters = json_pack("{s:s, s:b, s:s*, s:I}", "name", run->sandbox, "tty", run->tty,
				       "cwd", run->cwd, "timeout_ms", (json_int_t)run->timeout_ms);
	uint16_t rows, columns;
	int r = parameters ? 0 : -1;

	if (r == 0 && !run->is_kept)
		r = json_object_set_new(parameters, "argv",
					make_argv(run->argv ? run->argv : login_shell));
	if (r == 0 && !run->is_kept)
		r = json_object_set_new(parameters, "env", make_env(run));
	if (r == 0 && run->is_first)
		r = json_object_set_new(parameters, "first", json_true());
	if (r == 0 && run->tty) {
		osh_tty_size(&rows, &columns);
		r = json_object_set_new(parameters, "rows", json_integer(rows));
	}
	if (r == 0 && run->tty)
		r = json_object_set_new(parameters, "columns", json_integer(columns));
	if (r == 0)
		return parameters;
	json_decref(parameters);
	return NULL;
}

/* ---- With a terminal ------------------------------------------------------------------- */

/* Who asks to detach, and from what. */
struct detaching {
	const struct osh_run *run;
	int64_t pid;
};

static int leave(void *context, struct osh_err *err)
{
	(void)context;
	(void)err;
	return 0;
}

/* By a connection of its own: on ours the program's end is waited for. */
static int ask_to_detach(void *context, struct osh_err *err)
{
	const struct detaching *detaching = context;
	_cleanup_client_ struct osh_client client;
	struct osh_wire_reply reply = { 0 };
	int r;

	osh_client_init(&client);
	r = osh_client_connect(detaching->run->cli, &client, err);
	if (r == 0)
		r = osh_client_ask(&client, "SandboxDetach",
				   json_pack("{s:s, s:I}", "name", detaching->run->sandbox, "pid",
					     (json_int_t)detaching->pid),
				   NULL, 0, OSH_CLIENT_TIMEOUT_MS, &reply, err);
	osh_wire_reply_done(&reply);
	return r;
}

static void relay_terminal(struct osh_client *client, const struct osh_run *run,
			   struct osh_wire_reply *reply, struct osh_run_result *result)
{
	struct detaching detaching = { run, osh_json_int(reply->parameters, "pid") };
	struct osh_relay_options options = {
		.wire = &client->wire,
		.output = osh_take_fd(&reply->fds[0]),
		.master = reply->fd_count > 1 ? osh_take_fd(&reply->fds[1]) : -1,
		.ends_input = !run->joins,
		.context = &detaching,
		.detach = run->detach == OSH_RUN_DETACH_ASK   ? ask_to_detach :
			  run->detach == OSH_RUN_DETACH_LEAVE ? leave :
								NULL,
	};
	struct osh_relay_result relayed = osh_relay(&options);

	result->status = relayed.status;
	result->is_detached = relayed.is_detached;
}

/* ---- Without a terminal ---------------------------------------------------------------- */

/* Wait for something from the agent while the pipes are served. Returns 0 or -errno. */
static int serve_pipes(struct osh_client *client, struct osh_pipes *pipes,
		       struct osh_progress *progress)
{
	struct pollfd fds[OSH_PIPES_MAX + 1];

	osh_pipes_prepare(pipes, fds);
	fds[OSH_PIPES_MAX] = (struct pollfd){ .fd = client->wire.fd, .events = POLLIN };
	if (poll(fds, OSH_PIPES_MAX + 1, osh_progress_wait_ms(progress, -1)) < 0)
		return errno == EINTR ? 0 : -errno;
	osh_progress_tick(progress);
	osh_pipes_copy(pipes, fds);
	return 0;
}

/* The reply that says how it ended. */
static int wait_last(struct osh_client *client, struct osh_pipes *pipes,
		     struct osh_progress *progress, struct osh_wire_reply *ret_reply, struct osh_err *err)
{
	int r;

	do {
		osh_wire_reply_done(ret_reply);
		while ((r = osh_wire_try_next(&client->wire, ret_reply, err)) == -EAGAIN) {
			r = serve_pipes(client, pipes, progress);
			if (r < 0)
				return osh_err_sys(err, -r, "cannot wait for the program");
		}
	} while (r == 0 && ret_reply->continues);
	return r;
}

/* The program's end. Returns the exit status. */
static int wait_end(struct osh_client *client, const struct osh_run *run, struct osh_pipes *pipes)
{
	struct osh_wire_reply reply = { 0 };
	struct osh_progress progress;
	struct osh_err err = { 0 };
	int status, r;

	osh_progress_begin(&progress, run->doing);
	r = wait_last(client, pipes, &progress, &reply, &err);
	osh_progress_end(&progress);
	osh_pipes_drain(pipes);
	status = r < 0 ? osh_client_report(r, &reply, &err) :
			 (int)osh_json_int(reply.parameters, "status");
	osh_wire_reply_done(&reply);
	return status;
}

/* ---- Both kinds ------------------------------------------------------------------------ */

static int open_pipes(const struct osh_run *run, struct osh_pipes *pipes)
{
	return osh_pipes_open(pipes, run->ends ? run->ends[0] : -1, run->ends ? run->ends[1] : -1);
}

/* Take the first reply: it runs (continues), or has ended. */
static int take_first(struct osh_client *client, const struct osh_run *run,
		      struct osh_wire_reply *ret_reply, struct osh_err *err)
{
	int r = osh_client_next(client, ret_reply, err);

	if (r == 0 && run->tty && ret_reply->continues && ret_reply->fd_count == 0)
		r = osh_err_set(err, EPROTO, "the agent sent no terminal for the program");
	return r;
}

static int start(struct osh_client *client, const struct osh_run *run, struct osh_pipes *pipes,
		 struct osh_wire_reply *ret_reply, struct osh_err *err)
{
	int r = run->tty ? 0 : open_pipes(run, pipes);

	if (r < 0)
		return osh_err_set(err, EINVAL, "cannot make pipes for the program: %s",
				   strerror(-r));
	(void)fflush(NULL); /* what we said comes before what the program says */
	r = osh_client_send_more(client, "SandboxExec", make_parameters(run), pipes->inside,
				 run->tty ? 0 : OSH_PIPES_MAX, err);
	osh_pipes_sent(pipes);
	return r < 0 ? r : take_first(client, run, ret_reply, err);
}

/* The first reply is there (r, err): the rest, until the program ends. */
static struct osh_run_result follow(struct osh_client *client, const struct osh_run *run,
				    struct osh_pipes *pipes, int r, struct osh_wire_reply *reply,
				    const struct osh_err *err)
{
	struct osh_run_result result = { .started = r == 0 };

	if (r < 0) {
		result.status = osh_client_report(r, reply, err);
	} else if (!reply->continues) { /* it had ended before the first reply was written */
		osh_pipes_drain(pipes);
		result.status = (int)osh_json_int(reply->parameters, "status");
	} else if (run->leaves) {
		result.is_detached = true;
	} else if (run->tty) {
		relay_terminal(client, run, reply, &result);
	} else {
		result.status = wait_end(client, run, pipes);
	}
	return result;
}

static const struct osh_pipes no_pipes = { .inside = { 0, 1, 2 }, .input = -1, .output = { -1, -1 } };

struct osh_run_result osh_run(struct osh_client *client, const struct osh_run *run)
{
	struct osh_pipes pipes = no_pipes;
	struct osh_wire_reply reply = { 0 };
	struct osh_err err = { 0 };
	int r = start(client, run, &pipes, &reply, &err);
	struct osh_run_result result = follow(client, run, &pipes, r, &reply, &err);

	osh_wire_reply_done(&reply);
	osh_pipes_close(&pipes);
	return result;
}

struct osh_run_result osh_run_attach(struct osh_client *client, const struct osh_run *run)
{
	struct osh_run attached = *run;
	struct osh_pipes pipes = no_pipes;
	struct osh_wire_reply reply = { 0 };
	struct osh_run_result result;
	struct osh_err err = { 0 };
	int r = osh_client_send_more(client, "SandboxAttach",
				     json_pack("{s:s}", "name", run->sandbox), NULL, 0, &err);

	attached.tty = true;
	attached.joins = true;
	if (r == 0)
		r = take_first(client, &attached, &reply, &err);
	result = follow(client, &attached, &pipes, r, &reply, &err);
	osh_wire_reply_done(&reply);
	return result;
}
