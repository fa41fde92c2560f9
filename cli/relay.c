#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "client.h"
#include "out.h"
#include "tty.h"

#define COPY_BYTES 16384
#define CONTROL_D '\x04'
#define CONTROL_P '\x10'
#define CONTROL_Q '\x11'

struct relay {
	const struct osh_relay_options *options;
	struct osh_tty tty;
	int output, master;      /* owned; -1 when they are closed */
	int signal_fd;
	sigset_t old_mask;
	bool input_open;
	bool has_ended;          /* the status is known: what was written before still comes */
	bool is_over;
	bool saw_control_p;      /* held back until the next key */
	struct osh_relay_result result;
	char input[COPY_BYTES];  /* typed, not yet taken by the pty */
	size_t input_start, input_len;
	char message[1152];      /* why the program was lost, printed when the terminal is ours again */
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
	if (relay->master >= 0)
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
	relay->is_over = true; /* not reached: the signal was pending */
	relay->result.status = 128 + number;
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

	while (!relay->is_over && read(relay->signal_fd, &info, sizeof(info)) == sizeof(info))
		on_signal(relay, (int)info.ssi_signo);
}

static void lose(struct relay *relay, enum osh_exit status, const char *why)
{
	relay->is_over = true;
	relay->result.status = (int)status;
	snprintf(relay->message, sizeof(relay->message), "%s%s",
		 status == OSH_EXIT_TIMEOUT ? "" : "the program was lost: ", why);
}

/* ---- Output ---------------------------------------------------------------------------- */

static void copy_output(struct relay *relay)
{
	char data[COPY_BYTES];
	ssize_t n = read(relay->output, data, sizeof(data));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		relay->output = osh_close(relay->output);
	else if (osh_tty_write(STDOUT_FILENO, data, (size_t)n) < 0)
		lose(relay, OSH_EXIT_FAILED, "cannot write the program's output");
}

/* ---- Input ----------------------------------------------------------------------------- */

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

static void detach(struct relay *relay)
{
	struct osh_err err = { 0 };

	if (relay->options->detach(relay->options->context, &err) < 0) {
		lose(relay, OSH_EXIT_FAILED, err.message);
		return;
	}
	relay->is_over = true;
	relay->result = (struct osh_relay_result){ .is_detached = true };
}

/* Take Ctrl-P Ctrl-Q out of what was typed; a Ctrl-P waits for the key behind it. Keys behind
 * the two are nobody's. */
static size_t look_for_detach(struct relay *relay, const char *typed, size_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < len && !relay->is_over; i++) {
		if (relay->saw_control_p && typed[i] == CONTROL_Q) {
			detach(relay);
			return kept;
		}
		if (relay->saw_control_p)
			relay->input[kept++] = CONTROL_P;
		relay->saw_control_p = typed[i] == CONTROL_P;
		if (!relay->saw_control_p)
			relay->input[kept++] = typed[i];
	}
	return kept;
}

static void read_input(struct relay *relay)
{
	char typed[COPY_BYTES - 1]; /* a Ctrl-P that was held back fits in front */
	ssize_t n = read(STDIN_FILENO, typed, sizeof(typed));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	relay->input_start = 0;
	if (n <= 0) { /* a file or pipe ended: a terminal says that with ^D */
		relay->input_open = false;
		relay->input[0] = CONTROL_D;
		relay->input_len = relay->options->ends_input;
	} else if (relay->options->detach && relay->tty.fd >= 0) {
		relay->input_len = look_for_detach(relay, typed, (size_t)n);
	} else {
		memcpy(relay->input, typed, (size_t)n);
		relay->input_len = (size_t)n;
	}
	if (relay->input_len && relay->master >= 0)
		flush_input(relay);
}

/* ---- The agent --------------------------------------------------------------------------- */

/* A reply arrived, or the agent went away. */
static void read_wire(struct relay *relay)
{
	struct osh_wire_reply reply;
	struct osh_err err = { 0 };
	int r;

	while (!relay->is_over && !relay->has_ended &&
	       (r = osh_wire_try_next(relay->options->wire, &reply, &err)) != -EAGAIN) {
		if (r < 0) {
			lose(relay, r == -EREMOTEIO ? osh_client_exit(r, &reply) : OSH_EXIT_FAILED,
			     err.message);
			if (r == -EREMOTEIO)
				osh_wire_reply_done(&reply);
			return;
		}
		relay->has_ended = !reply.continues;
		relay->result.status = (int)osh_json_int(reply.parameters, "status");
		osh_wire_reply_done(&reply);
	}
}

/* ---- The loop ---------------------------------------------------------------------------- */

/* The pipe's end comes when everything that the program wrote has. */
static void relay_loop(struct relay *relay)
{
	enum { INPUT, OUTPUT, MASTER, WIRE, SIGNAL, COUNT };

	while (!relay->is_over && (!relay->has_ended || relay->output >= 0)) {
		struct pollfd fds[COUNT] = {
			[INPUT] = { .fd = -1, .events = POLLIN },
			[OUTPUT] = { .fd = relay->output, .events = POLLIN },
			[MASTER] = { .fd = -1, .events = POLLOUT },
			[WIRE] = { .fd = relay->has_ended ? -1 : relay->options->wire->fd,
				   .events = POLLIN },
			[SIGNAL] = { .fd = relay->signal_fd, .events = POLLIN },
		};

		if (relay->input_open && relay->input_len == 0 && relay->master >= 0)
			fds[INPUT].fd = STDIN_FILENO;
		if (relay->input_len)
			fds[MASTER].fd = relay->master;
		if (poll(fds, COUNT, -1) < 0) {
			if (errno != EINTR)
				lose(relay, OSH_EXIT_FAILED, strerror(errno));
			continue;
		}
		if (fds[SIGNAL].revents)
			read_signals(relay);
		if (fds[MASTER].revents && !relay->is_over)
			flush_input(relay);
		if (fds[OUTPUT].revents && !relay->is_over)
			copy_output(relay);
		if (fds[INPUT].revents && !relay->is_over)
			read_input(relay);
		if (fds[WIRE].revents && !relay->is_over)
			read_wire(relay);
	}
}

struct osh_relay_result osh_relay(const struct osh_relay_options *options)
{
	struct relay relay = {
		.options = options,
		.output = options->output,
		.master = options->master,
		.signal_fd = -1,
		.input_open = true,
	};
	int r;

	osh_tty_init(&relay.tty, STDIN_FILENO);
	r = block_signals(&relay);
	if (r == 0)
		r = osh_tty_raw(&relay.tty);
	if (r < 0) {
		lose(&relay, OSH_EXIT_FAILED, strerror(-r));
	} else {
		pass_size(&relay); /* it may have changed since the call was sent */
		relay_loop(&relay);
	}
	osh_tty_restore(&relay.tty);
	osh_close(relay.output);
	osh_close(relay.master);
	osh_close(relay.signal_fd);
	(void)sigprocmask(SIG_SETMASK, &relay.old_mask, NULL);
	if (relay.message[0])
		osh_cli_error("%s", relay.message);
	return relay.result;
}
