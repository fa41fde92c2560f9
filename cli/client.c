#include "client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "progress.h"
#include "start.h"

void osh_client_init(struct osh_client *client)
{
	*client = (struct osh_client){ .wire = { .fd = -1 } };
}

void osh_client_close(struct osh_client *client)
{
	if (client->wire.fd >= 0)
		osh_wire_done(&client->wire);
	osh_client_init(client);
}

int osh_client_connect(const struct osh_cli *cli, struct osh_client *client, struct osh_err *err)
{
	struct osh_wire wire;
	int r = osh_wire_connect(cli->socket, &wire, err);

	if (r == 0)
		client->wire = wire;
	return r;
}

static bool is_absent(int result)
{
	return result == -ENOENT || result == -ECONNREFUSED;
}

/* One line that says how to start an agent, for the socket that was asked for. */
static int report_absent(const struct osh_cli *cli)
{
	const char *slash = strrchr(cli->socket, '/');
	int dir_len = slash && slash > cli->socket ? (int)(slash - cli->socket) : 0;

	if (cli->socket_is_default)
		osh_cli_error("no agent answers at %s; start one: sudo systemctl start openshelld"
			      " (without systemd: sudo openshelld &)", cli->socket);
	else
		osh_cli_error(
			"no agent answers at %s; start one: sudo openshelld --run-dir %.*s &, or"
			" give another --socket",
			cli->socket, dir_len ? dir_len : 1, dir_len ? cli->socket : ".");
	return OSH_EXIT_NO_AGENT;
}

int osh_client_open(const struct osh_cli *cli, bool may_start, struct osh_client *client)
{
	struct osh_err err = { 0 };
	int r = osh_client_connect(cli, client, &err);

	if (is_absent(r) && may_start && cli->socket_is_default && geteuid() == 0) {
		struct osh_err start_err = { 0 };
		int started = osh_start_agent(&start_err);

		/* Also when it failed: somebody else's may have been quicker. */
		r = osh_client_connect(cli, client, &err);
		if (r < 0 && started < 0) {
			osh_cli_error("%s", start_err.message);
			return OSH_EXIT_NO_AGENT;
		}
	}
	if (is_absent(r))
		return report_absent(cli);
	if (r < 0) {
		osh_cli_error("%s", err.message);
		return OSH_EXIT_NO_AGENT;
	}
	client->doing = "waiting for the agent";
	return OSH_EXIT_OK;
}

/* Wait until the socket has something, or the deadline (-1: none) passed. */
static int wait_readable(const struct osh_client *client, int64_t deadline_ms,
			 struct osh_progress *progress)
{
	struct pollfd poll_fd = { .fd = client->wire.fd, .events = POLLIN };

	for (;;) {
		int64_t left = deadline_ms < 0 ? -1 : deadline_ms - osh_cli_now_ms();
		int n;

		if (deadline_ms >= 0 && left <= 0)
			return -ETIMEDOUT;
		n = poll(&poll_fd, 1, osh_progress_wait_ms(progress, (int)left));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		osh_progress_tick(progress);
	}
}

static int wait_reply(struct osh_client *client, int timeout_ms, struct osh_wire_reply *ret_reply,
		      struct osh_err *err)
{
	int64_t deadline_ms = timeout_ms < 0 ? -1 : osh_cli_now_ms() + timeout_ms;
	struct osh_progress progress;
	int r, waited = 0;

	osh_progress_begin(&progress, client->doing);
	while ((r = osh_wire_try_next(&client->wire, ret_reply, err)) == -EAGAIN && waited == 0)
		waited = wait_readable(client, deadline_ms, &progress);
	osh_progress_end(&progress);
	if (waited == -ETIMEDOUT)
		return osh_err_set(err, ETIMEDOUT,
				   "the agent has not answered for %d seconds;"
				   " see its log",
				   timeout_ms / 1000);
	return waited < 0 ? osh_err_sys(err, -waited, "cannot wait for the agent") : r;
}

int osh_client_next(struct osh_client *client, struct osh_wire_reply *ret_reply, struct osh_err *err)
{
	return wait_reply(client, -1, ret_reply, err);
}

static int check_parameters(const json_t *parameters, struct osh_err *err)
{
	if (parameters)
		return 0;
	return osh_err_set(err, EINVAL, "an argument is not UTF-8 text: the agent cannot be told");
}

int osh_client_send_more(struct osh_client *client, const char *method, json_t *parameters,
			 const int *fds, size_t fd_count, struct osh_err *err)
{
	int r = check_parameters(parameters, err);

	return r < 0 ? r :
		       osh_wire_send_call(&client->wire, method, parameters, true, fds, fd_count,
					  err);
}

int osh_client_ask(struct osh_client *client, const char *method, json_t *parameters,
		   const int *fds, size_t fd_count, int timeout_ms,
		   struct osh_wire_reply *ret_reply, struct osh_err *err)
{
	int r = check_parameters(parameters, err);

	*ret_reply = (struct osh_wire_reply){ 0 };
	if (r < 0)
		return r;
	r = osh_wire_send_call(&client->wire, method, parameters, false, fds, fd_count, err);
	return r < 0 ? r : wait_reply(client, timeout_ms, ret_reply, err);
}

enum osh_exit osh_client_exit(int result, const struct osh_wire_reply *reply)
{
	switch (result) {
	case 0:
		return OSH_EXIT_OK;
	case -EREMOTEIO:
		return strcmp(reply->error, "Timeout") == 0 ? OSH_EXIT_TIMEOUT : OSH_EXIT_FAILED;
	case -ETIMEDOUT:
		return OSH_EXIT_TIMEOUT;
	case -EINVAL:
	case -ENOMEM:
	case -ENOBUFS:
	case -EMSGSIZE:
		return OSH_EXIT_FAILED;
	default: /* the connection broke */
		return OSH_EXIT_NO_AGENT;
	}
}

int osh_client_report(int result, const struct osh_wire_reply *reply, const struct osh_err *err)
{
	if (result < 0)
		osh_cli_error("%s", err->message);
	return osh_client_exit(result, reply);
}

int osh_client_call(struct osh_client *client, const char *method, json_t *parameters,
		    struct osh_wire_reply *ret_reply)
{
	struct osh_err err = { 0 };
	int r = osh_client_ask(client, method, parameters, NULL, 0, OSH_CLIENT_TIMEOUT_MS,
			       ret_reply, &err);

	return osh_client_report(r, ret_reply, &err);
}
