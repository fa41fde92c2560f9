/* `openshell forward`: a server inside a sandbox, reached from this host's loopback. The
 * process that forwards is the caller's: it listens here, has the agent open each way in, and
 * copies. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "args.h"
#include "base/fd.h"
#include "base/str.h"
#include "client.h"
#include "listing.h"
#include "out.h"
#include "streams.h"

#define BACKLOG 64
/* A connection on a loopback is made at once, or the server does not take any. */
#define DIAL_PATIENCE_MS 2000
/* How long, and how often, an agent that went away is looked for. */
#define RETURN_PATIENCE_MS 30000
#define RETURN_PAUSE_MS 200

struct forward {
	const struct osh_cli *cli;
	const char *sandbox;
	uint16_t port, local_port;
	int listener;
	struct osh_client client; /* stands for us at the agent; its end is ours */
	struct osh_client dialer; /* ways in are asked for here; closed until the first */
	struct osh_streams streams;
	int64_t lost_ms;          /* since when there is no agent; 0: there is */
	bool is_over;
	int status;
};

/* ---- Arguments ---------------------------------------- */

static bool parse_port(const char *text, size_t len, bool may_be_any, uint16_t *ret_port)
{
	uint64_t port;

	if (osh_str_parse_u64(osh_str_n(text, len), UINT16_MAX, &port) < 0 || (port == 0 && !may_be_any))
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

/* "[LOCAL:]PORT"; *ret_has_local: LOCAL was given. */
static bool parse_ports(const char *text, uint16_t *ret_port, uint16_t *ret_local, bool *ret_has_local)
{
	const char *colon = strchr(text, ':'), *port = colon ? colon + 1 : text;

	*ret_has_local = colon;
	if (!parse_port(port, strlen(port), false, ret_port))
		return false;
	if (colon)
		return parse_port(text, (size_t)(colon - text), true, ret_local);
	*ret_local = *ret_port;
	return true;
}

static bool parse_words(const struct osh_command *command, const struct osh_args *args,
			const char *name, struct forward *forward, bool *ret_has_local, int *ret_status)
{
	int wanted = name ? 1 : 2;

	if (args->count != wanted || args->rest) {
		*ret_status = osh_cli_misuse(command, "%s", args->count < wanted ?
						     "PORT and NAME of a sandbox are needed" :
						     "too many arguments");
		return false;
	}
	if (!parse_ports(args->words[0], &forward->port, &forward->local_port, ret_has_local)) {
		*ret_status = osh_cli_misuse(command, "'%s' is not PORT or LOCAL:PORT, of 1 to 65535",
					     args->words[0]);
		return false;
	}
	forward->sandbox = name ? name : args->words[1];
	return true;
}

/* ---- Listening ---------------------------------------- */

static int open_listener(struct forward *forward)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(forward->local_port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	int one = 1;

	forward->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (forward->listener < 0 ||
	    setsockopt(forward->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(forward->listener, (struct sockaddr *)&address, len) < 0 ||
	    listen(forward->listener, BACKLOG) < 0 ||
	    getsockname(forward->listener, (struct sockaddr *)&address, &len) < 0)
		return -errno;
	forward->local_port = ntohs(address.sin_port);
	return 0;
}

static int report_listener(const struct forward *forward, int r)
{
	if (r == -EADDRINUSE)
		osh_cli_error("port %u is in use on this host: give another one, for example 0:%u for any",
			      forward->local_port, forward->port);
	else
		osh_cli_error("cannot listen on 127.0.0.1:%u: %s", forward->local_port, strerror(-r));
	return OSH_EXIT_FAILED;
}

/* Tell the agent. Returns 0, -EREMOTEIO (it refuses) or another -errno. */
static int enter(struct forward *forward, struct osh_wire_reply *ret_reply, struct osh_err *err)
{
	int r = osh_client_send_more(&forward->client, "ForwardStart",
				     json_pack("{s:s, s:i, s:i}", "name", forward->sandbox, "port",
					       (int)forward->port, "local_port", (int)forward->local_port),
				     NULL, 0, err);

	return r < 0 ? r : osh_wire_next(&forward->client.wire, ret_reply, err);
}

static int begin(struct forward *forward)
{
	struct osh_wire_reply reply = { 0 };
	struct osh_err err = { 0 };
	int r, status = osh_client_open(forward->cli, false, &forward->client);

	if (status != OSH_EXIT_OK)
		return status;
	r = open_listener(forward);
	if (r < 0)
		return report_listener(forward, r);
	r = enter(forward, &reply, &err);
	status = osh_client_report(r, &reply, &err);
	osh_wire_reply_done(&reply);
	return status;
}

/* ---- Connections ---------------------------------------- */

static bool is_connected(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLOUT };
	socklen_t len = sizeof(int);
	int code = 0;

	return poll(&wait, 1, DIAL_PATIENCE_MS) == 1 &&
	       getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) == 0 && code == 0;
}

/* Returns a connected socket, or -1. */
static int dial(struct forward *forward, bool ipv6)
{
	struct osh_wire_reply reply = { 0 };
	struct osh_err err = { 0 };
	_cleanup_fd_ int fd = -1;
	int r = 0;

	if (forward->dialer.wire.fd < 0)
		r = osh_client_connect(forward->cli, &forward->dialer, &err);
	if (r == 0)
		r = osh_client_ask(&forward->dialer, "SandboxDial",
				   json_pack("{s:s, s:i, s:b}", "name", forward->sandbox, "port",
					     (int)forward->port, "ipv6", ipv6),
				   NULL, 0, DIAL_PATIENCE_MS, &reply, &err);
	if (r == 0 && reply.fd_count == 1)
		fd = osh_take_fd(&reply.fds[0]);
	if (r < 0 && r != -EREMOTEIO)
		osh_client_close(&forward->dialer);
	osh_wire_reply_done(&reply);
	return fd >= 0 && is_connected(fd) ? osh_take_fd(&fd) : -1;
}

/* Nobody listens inside: then the one who came is told so by a reset. */
static void refuse(int fd)
{
	const struct linger reset = { .l_onoff = 1 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	osh_close(fd);
}

static void accept_one(struct forward *forward)
{
	int outside = accept4(forward->listener, NULL, NULL, SOCK_CLOEXEC), inside;

	if (outside < 0)
		return;
	inside = dial(forward, false);
	if (inside < 0)
		inside = dial(forward, true);
	if (inside < 0)
		refuse(outside);
	else
		(void)osh_streams_add(&forward->streams, outside, inside);
}

/* ---- The agent ---------------------------------------- */

static void end(struct forward *forward, int status)
{
	forward->is_over = true;
	forward->status = status;
}

static void lose_agent(struct forward *forward)
{
	osh_client_close(&forward->client);
	osh_client_close(&forward->dialer);
	forward->lost_ms = osh_cli_now_ms();
}

/* It was asked to stop us, or it went away. */
static void read_wire(struct forward *forward)
{
	struct osh_wire_reply reply = { 0 };
	struct osh_err err = { 0 };
	int r = osh_wire_try_next(&forward->client.wire, &reply, &err);

	if (r == -EAGAIN)
		return;
	if (r < 0) {
		lose_agent(forward);
	} else if (strcmp(osh_json_text(reply.parameters, "reason"), "stop") == 0) {
		end(forward, OSH_EXIT_OK);
	} else {
		osh_cli_note("sandbox %s does not run any more", forward->sandbox);
		end(forward, OSH_EXIT_FAILED);
	}
	osh_wire_reply_done(&reply);
}

/* An agent that is started anew finds us again; connections that are open go on meanwhile. */
static void look_for_agent(struct forward *forward)
{
	struct osh_wire_reply reply = { 0 };
	struct osh_err err = { 0 };
	int r = osh_client_connect(forward->cli, &forward->client, &err);

	if (r == 0)
		r = enter(forward, &reply, &err);
	osh_wire_reply_done(&reply);
	if (r == 0) {
		forward->lost_ms = 0;
		return;
	}
	osh_client_close(&forward->client);
	if (r == -EREMOTEIO || osh_cli_now_ms() - forward->lost_ms > RETURN_PATIENCE_MS) {
		osh_cli_error("%s", err.message);
		end(forward, r == -EREMOTEIO ? OSH_EXIT_FAILED : OSH_EXIT_NO_AGENT);
	}
}

static int serve(struct forward *forward)
{
	enum { WIRE = OSH_STREAMS_POLLS, LISTENER, COUNT };
	static struct pollfd polls[COUNT];

	while (!forward->is_over) {
		bool has_room = forward->streams.count < OSH_STREAMS_MAX && !forward->lost_ms;

		osh_streams_prepare(&forward->streams, polls);
		polls[WIRE] = (struct pollfd){ .fd = forward->client.wire.fd, .events = POLLIN };
		polls[LISTENER] = (struct pollfd){ .fd = has_room ? forward->listener : -1,
						   .events = POLLIN };
		if (poll(polls, COUNT, forward->lost_ms ? RETURN_PAUSE_MS : -1) < 0 && errno != EINTR)
			return OSH_EXIT_FAILED;
		osh_streams_serve(&forward->streams, polls);
		if (polls[WIRE].fd >= 0 && polls[WIRE].revents)
			read_wire(forward);
		if (polls[LISTENER].fd >= 0 && polls[LISTENER].revents)
			accept_one(forward);
		if (forward->lost_ms)
			look_for_agent(forward);
	}
	return forward->status;
}

/* ---- start ---------------------------------------- */

struct start_values {
	const char *name;
	bool background;
};

static const struct osh_option start_options[] = {
	OSH_OPTION_NAME(struct start_values),
	{ "background", 'd', NULL, "return when it forwards; 'forward stop' ends it", OSH_OPTION_FLAG,
	  offsetof(struct start_values, background) },
	OSH_OPTIONS_END,
};

static void say_begun(const struct forward *forward)
{
	printf("127.0.0.1:%u is port %u of sandbox %s\n", forward->local_port, forward->port,
	       forward->sandbox);
	(void)fflush(stdout);
}

/* In the background: nothing of the caller's terminal or pipes is held open. */
static void let_go(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)setsid();
	(void)!chdir("/");
	for (int i = 0; i < 3 && fd >= 0; i++)
		(void)dup2(fd, i);
	osh_close(fd);
}

static int forward_here(struct forward *forward, int ready_fd)
{
	int status = begin(forward);

	if (status == OSH_EXIT_OK) {
		say_begun(forward);
		if (ready_fd >= 0) {
			(void)!write(ready_fd, "", 1);
			osh_close(ready_fd);
			let_go();
		}
		status = serve(forward);
	}
	osh_streams_done(&forward->streams);
	osh_client_close(&forward->client);
	osh_client_close(&forward->dialer);
	osh_close(forward->listener);
	return status;
}

/* The child says what there is to say, and that it forwards, through a pipe that it closes
 * otherwise; its status is ours then. */
static int forward_in_background(struct forward *forward)
{
	int ends[2], status = OSH_EXIT_FAILED;
	char byte;
	pid_t pid;

	(void)fflush(NULL);
	if (pipe2(ends, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		osh_cli_error("cannot start a process: %s", strerror(errno));
		return OSH_EXIT_FAILED;
	}
	if (pid == 0) {
		osh_close(ends[0]);
		status = forward_here(forward, ends[1]);
		(void)fflush(NULL);
		_exit(status);
	}
	osh_close(ends[1]);
	if (osh_read_full(ends[0], &byte, 1) == 0)
		status = OSH_EXIT_OK;
	else if (waitpid(pid, &status, 0) == pid && WIFEXITED(status))
		status = WEXITSTATUS(status);
	osh_close(ends[0]);
	return status;
}

static int run_start(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct start_values values = { 0 };
	struct forward forward = { .cli = cli, .listener = -1 };
	struct osh_args args;
	bool has_local;
	int status;

	osh_client_init(&forward.client);
	osh_client_init(&forward.dialer);
	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !parse_words(command, &args, values.name, &forward, &has_local, &status))
		return status;
	(void)signal(SIGPIPE, SIG_IGN);
	return values.background ? forward_in_background(&forward) : forward_here(&forward, -1);
}

const struct osh_command osh_command_forward_start = {
	"forward start", "[LOCAL:]PORT NAME", "Reach a server in a sandbox from this host's loopback",
	start_options,	 run_start,
};

/* ---- list ---------------------------------------- */

struct list_values {
	const char *output;
};

static const struct osh_option list_options[] = {
	OSH_OPTION_OUTPUT(struct list_values),
	OSH_OPTIONS_END,
};

static void add_row(struct osh_table *table, const json_t *forward)
{
	char local[32];

	snprintf(local, sizeof(local), "127.0.0.1:%d", (int)osh_json_int(forward, "local_port"));
	osh_table_add(table, osh_json_text(forward, "sandbox"));
	osh_table_add_int(table, osh_json_int(forward, "port"));
	osh_table_add(table, local);
	osh_table_add_int(table, osh_json_int(forward, "pid"));
}

static int run_list(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	static const char *const heading[] = { "SANDBOX", "PORT", "LOCAL", "PID", NULL };
	static const struct osh_listing listing = { "ForwardList", "forwards", heading, add_row };
	struct list_values values = { 0 };
	enum osh_output output;
	struct osh_args args;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_none(command, &args, &status) ||
	    !osh_args_output(command, values.output, OSH_OUTPUTS_ONE, &output, &status))
		return status;
	return osh_listing_run(cli, &listing, NULL, output);
}

const struct osh_command osh_command_forward_list = {
	"forward list", "", "List who forwards to which sandbox", list_options, run_list,
};

/* ---- stop ---------------------------------------- */

struct stop_values {
	const char *name;
};

static const struct osh_option stop_options[] = {
	OSH_OPTION_NAME(struct stop_values),
	OSH_OPTIONS_END,
};

static int run_stop(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct stop_values values = { 0 };
	struct forward forward = { 0 };
	_cleanup_client_ struct osh_client client;
	struct osh_wire_reply reply = { 0 };
	json_t *parameters;
	struct osh_args args;
	bool has_local;
	int status;

	osh_client_init(&client);
	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !parse_words(command, &args, values.name, &forward, &has_local, &status))
		return status;
	status = osh_client_open(cli, false, &client);
	if (status != OSH_EXIT_OK)
		return status;
	parameters = json_pack("{s:s, s:i}", "name", forward.sandbox, "port", (int)forward.port);
	if (parameters && has_local)
		(void)json_object_set_new(parameters, "local_port", json_integer(forward.local_port));
	status = osh_client_call(&client, "ForwardStop", parameters, &reply);
	osh_wire_reply_done(&reply);
	return status;
}

const struct osh_command osh_command_forward_stop = {
	"forward stop", "[LOCAL:]PORT NAME", "End forwarding to a port of a sandbox", stop_options,
	run_stop,
};
