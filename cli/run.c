#include "run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "out.h"
#include "pipes.h"
#include "tty.h"

#define COPY_BYTES 16384
/* How often a pty that everybody inside has closed is looked at again: a program
 * may be about to open it anew, or about to exit. */
#define HUNG_UP_MS 200
#define CONTROL_D '\x04'

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
	json_t *argv = make_argv(run->argv ? run->argv : login_shell);
	json_t *env = argv ? make_env(run) : NULL;
	json_t *parameters;
	uint16_t rows, columns;

	if (!env) {
		json_decref(argv);
		return NULL;
	}
	parameters = json_pack("{s:s, s:o, s:o, s:b, s:I}", "name", run->sandbox, "argv", argv,
			       "env", env, "tty", run->tty, "timeout_ms",
			       (json_int_t)run->timeout_ms);
	if (parameters && run->cwd &&
	    json_object_set_new(parameters, "cwd", json_string(run->cwd)) < 0) {
		json_decref(parameters);
		return NULL;
	}
	if (parameters && run->tty) {
		osh_tty_size(&rows, &columns);
		if (json_object_set_new(parameters, "rows", json_integer(rows)) < 0 ||
		    json_object_set_new(parameters, "columns", json_integer(columns)) < 0) {
			json_decref(parameters);
			return NULL;
		}
	}
	return parameters;
}

/* ---- With a terminal: copying between ours and the pty ------------------------------- */

struct relay {
	struct osh_wire *wire;
	struct osh_tty tty;
	int master;              /* the pty, owned: closing it would hang the program up */
	bool is_hung_up;         /* nobody inside holds the pty open just now */
	int signal_fd;
	sigset_t old_mask;
	bool input_open;
	bool done;
	int status;
	char input[COPY_BYTES];  /* typed, not yet taken by the pty */
	size_t input_start, input_len;
	char message[512]; /* why the program was lost, printed when the terminal is ours again */
};

static int block_signals(struct relay *relay)
{
	static const int signals[] = { SIGWINCH, SIGCONT, SIGTSTP, SIGINT,
				       SIGQUIT,	 SIGTERM, SIGHUP,  SIGPIPE };
	sigset_t mask;

	sigemptyset(&mask);
	for (size_t i = 0; i < OSH_COUNT_OF(signals); i++)
		sigaddset(&mask, signals[i]);
	if (sigprocmask(SIG_BLOCK, &mask, &relay->old_mask) < 0)
		return -errno;
	relay->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	return relay->signal_fd < 0 ? -errno : 0;
}

static void pass_size(const struct relay *relay)
{
	struct winsize size = { 0 };

	osh_tty_size(&size.ws_row, &size.ws_col);
	(void)ioctl(relay->master, TIOCSWINSZ, &size);
}

/* Die of the signal as if it had never been caught; the agent hangs the program up
 * when our connection closes. */
static void die_of(struct relay *relay, int number)
{
	sigset_t one;

	osh_tty_restore(&relay->tty);
	sigemptyset(&one);
	sigaddset(&one, number);
	(void)raise(number);
	(void)sigprocmask(SIG_UNBLOCK, &one, NULL);
	relay->done = true; /* not reached: the signal was pending */
	relay->status = 128 + number;
}

static void on_signal(struct relay *relay, int number)
{
	switch (number) {
	case SIGTSTP: /* from outside: ^Z goes to the program */
		osh_tty_restore(&relay->tty);
		(void)raise(SIGSTOP);
		return;
	case SIGCONT:
		(void)osh_tty_raw(&relay->tty);
		pass_size(relay);
		return;
	case SIGWINCH:
		pass_size(relay);
		return;
	case SIGPIPE: /* seen as a failed write */
		return;
	default:
		die_of(relay, number);
	}
}

static void read_signals(struct relay *relay)
{
	struct signalfd_siginfo info;

	while (!relay->done && read(relay->signal_fd, &info, sizeof(info)) == sizeof(info))
		on_signal(relay, (int)info.ssi_signo);
}

static void lose(struct relay *relay, const char *why)
{
	relay->done = true;
	relay->status = OSH_EXIT_FAILED;
	snprintf(relay->message, sizeof(relay->message), "%s", why);
}

/* One piece of output. Returns false when there is none now, or no more. */
static bool copy_output(struct relay *relay)
{
	char data[COPY_BYTES];
	ssize_t n = read(relay->master, data, sizeof(data));

	if (n > 0) {
		if (osh_tty_write(STDOUT_FILENO, data, (size_t)n) == 0)
			return true;
		lose(relay, "cannot write the program's output");
		return false;
	}
	relay->is_hung_up = n == 0 || (errno != EAGAIN && errno != EINTR); /* EIO */
	return false;
}

static void flush_input(struct relay *relay)
{
	ssize_t n = write(relay->master, relay->input + relay->input_start, relay->input_len);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			relay->input_len = 0;
		return;
	}
	relay->input_start += (size_t)n;
	relay->input_len -= (size_t)n;
}

static void read_input(struct relay *relay)
{
	ssize_t n = read(STDIN_FILENO, relay->input, sizeof(relay->input));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	relay->input_start = 0;
	if (n > 0) {
		relay->input_len = (size_t)n;
	} else { /* a file or pipe ended: a terminal says that with ^D */
		relay->input_open = false;
		relay->input[0] = CONTROL_D;
		relay->input_len = 1;
	}
	flush_input(relay);
}

/* A reply arrived, or the agent went away. */
static void read_wire(struct relay *relay)
{
	struct osh_wire_reply reply;
	struct osh_err err = { 0 };
	int r;

	while (!relay->done && (r = osh_wire_try_next(relay->wire, &reply, &err)) != -EAGAIN) {
		if (r < 0) {
			lose(relay, err.message);
			if (r == -EREMOTEIO)
				osh_wire_reply_done(&reply);
			return;
		}
		relay->done = !reply.continues;
		relay->status = (int)osh_json_int(reply.parameters, "status");
		osh_wire_reply_done(&reply);
	}
}

/* What it wrote before it ended is already in the pty; what its background jobs
 * write later is not waited for. */
static void drain_output(struct relay *relay)
{
	while (copy_output(relay))
		;
}

static void relay_loop(struct relay *relay)
{
	enum { INPUT, MASTER, WIRE, SIGNAL, COUNT };

	while (!relay->done) {
		struct pollfd fds[COUNT] = {
			[INPUT] = { .fd = -1, .events = POLLIN },
			[MASTER] = { .fd = relay->is_hung_up ? -1 : relay->master,
				     .events = POLLIN },
			[WIRE] = { .fd = relay->wire->fd, .events = POLLIN },
			[SIGNAL] = { .fd = relay->signal_fd, .events = POLLIN },
		};

		if (relay->input_open && relay->input_len == 0)
			fds[INPUT].fd = STDIN_FILENO;
		if (relay->input_len)
			fds[MASTER].events |= POLLOUT;
		if (poll(fds, COUNT, relay->is_hung_up ? HUNG_UP_MS : -1) < 0) {
			if (errno != EINTR)
				lose(relay, strerror(errno));
			continue;
		}
		relay->is_hung_up = false;
		if (fds[SIGNAL].revents)
			read_signals(relay);
		if (fds[MASTER].revents & POLLOUT)
			flush_input(relay);
		if (fds[MASTER].revents & (POLLIN | POLLHUP | POLLERR))
			(void)copy_output(relay);
		if (fds[INPUT].revents && !relay->done)
			read_input(relay);
		if (fds[WIRE].revents && !relay->done)
			read_wire(relay);
	}
	drain_output(relay);
}

/* Takes over `master`. Returns the exit status. */
static int relay_terminal(struct osh_wire *wire, int master)
{
	struct relay relay = {
		.wire = wire, .master = master, .signal_fd = -1, .input_open = true
	};
	int r;

	osh_tty_init(&relay.tty, STDIN_FILENO);
	r = block_signals(&relay);
	if (r == 0)
		r = osh_set_nonblocking(master);
	if (r == 0)
		r = osh_tty_raw(&relay.tty);
	if (r < 0) {
		lose(&relay, strerror(-r));
	} else {
		pass_size(&relay); /* it may have changed since the call was sent */
		relay_loop(&relay);
	}
	osh_tty_restore(&relay.tty);
	osh_close(relay.master);
	osh_close(relay.signal_fd);
	(void)sigprocmask(SIG_SETMASK, &relay.old_mask, NULL);
	if (relay.message[0])
		osh_cli_error("the program was lost: %s", relay.message);
	return relay.status;
}

/* ---- Without a terminal ---------------------------------------------------------------- */

/* Wait for something from the agent while the pipes are served. Returns 0 or -errno. */
static int serve_pipes(struct osh_client *client, struct osh_pipes *pipes)
{
	struct pollfd fds[OSH_PIPES_MAX + 1];

	osh_pipes_prepare(pipes, fds);
	fds[OSH_PIPES_MAX] = (struct pollfd){ .fd = client->wire.fd, .events = POLLIN };
	if (poll(fds, OSH_PIPES_MAX + 1, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	osh_pipes_copy(pipes, fds);
	return 0;
}

/* The program's end. Returns the exit status. */
static int wait_end(struct osh_client *client, struct osh_pipes *pipes)
{
	struct osh_wire_reply reply = { 0 };
	struct osh_err err = { 0 };
	int status, r;

	do {
		osh_wire_reply_done(&reply);
		while ((r = osh_wire_try_next(&client->wire, &reply, &err)) == -EAGAIN) {
			r = serve_pipes(client, pipes);
			if (r < 0)
				return osh_client_report(
					osh_err_sys(&err, -r, "cannot wait for the program"),
					&reply, &err);
		}
	} while (r == 0 && reply.continues);
	osh_pipes_drain(pipes);
	status = r < 0 ? osh_client_report(r, &reply, &err) :
			 (int)osh_json_int(reply.parameters, "status");
	osh_wire_reply_done(&reply);
	return status;
}

/* ---- Both kinds ------------------------------------------------------------------------ */

/* Send the call and take the first reply: it runs (continues), or has ended. */
static int start(struct osh_client *client, const struct osh_run *run, struct osh_pipes *pipes,
		 struct osh_wire_reply *ret_reply, struct osh_err *err)
{
	int r = run->tty ? 0 : osh_pipes_open(pipes);

	if (r < 0)
		return osh_err_set(err, EINVAL, "cannot make pipes for the program: %s",
				   strerror(-r));
	(void)fflush(NULL); /* what we said comes before what the program says */
	r = osh_client_send_more(client, "SandboxExec", make_parameters(run), pipes->inside,
				 run->tty ? 0 : OSH_PIPES_MAX, err);
	osh_pipes_sent(pipes);
	if (r == 0)
		r = osh_wire_next(&client->wire, ret_reply, err);
	if (r == 0 && run->tty && ret_reply->continues && ret_reply->fd_count == 0)
		r = osh_err_set(err, EPROTO, "the agent sent no terminal for the program");
	return r;
}

struct osh_run_result osh_run(struct osh_client *client, const struct osh_run *run)
{
	struct osh_pipes pipes = { .inside = { 0, 1, 2 }, .input = -1, .output = { -1, -1 } };
	struct osh_run_result result = { .started = true };
	struct osh_wire_reply reply = { 0 };
	struct osh_err err = { 0 };
	int r = start(client, run, &pipes, &reply, &err);

	if (r < 0) {
		result.started = false;
		result.status = osh_client_report(r, &reply, &err);
	} else if (!reply.continues) { /* it had ended before the first reply was written */
		osh_pipes_drain(&pipes);
		result.status = (int)osh_json_int(reply.parameters, "status");
	} else if (run->tty) {
		result.status = relay_terminal(&client->wire, osh_take_fd(&reply.fds[0]));
	} else {
		result.status = wait_end(client, &pipes);
	}
	osh_wire_reply_done(&reply);
	osh_pipes_close(&pipes);
	return result;
}
