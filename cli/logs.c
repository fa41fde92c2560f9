/* `openshell logs`: the verdicts of one sandbox, past and present. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "args.h"
#include "base/str.h"
#include "client.h"
#include "feed.h"
#include "out.h"
#include "verdict/format.h"

#define LINE_BYTES (8u << 10)
/* How long a wait on the ring may hide that the agent went away. */
#define WAIT_MS 250
#define RECONNECT_MS 500
#define NS_PER_SECOND 1000000000ull
#define SINCE_SECONDS_MAX (10ull * 365 * 86400)

struct values {
	const char *name, *since, *output;
	bool tail, denied, all;
};

static const struct osh_option options[] = {
	OSH_OPTION_NAME(struct values),
	{ "tail", 0, NULL, "go on with new verdicts as they happen", OSH_OPTION_FLAG,
	  offsetof(struct values, tail) },
	{ "since", 0, "AGE", "only those of the last AGE: 30s, 5m, 2h, 1d", OSH_OPTION_TEXT,
	  offsetof(struct values, since) },
	{ "denied", 0, NULL, "only what was refused", OSH_OPTION_FLAG,
	  offsetof(struct values, denied) },
	{ "all", 0, NULL, "also those of earlier sandboxes of that name", OSH_OPTION_FLAG,
	  offsetof(struct values, all) },
	OSH_OPTION_OUTPUT_STREAM(struct values),
	OSH_OPTIONS_END,
};

struct logs {
	const char *name;
	uint64_t id;         /* of the sandbox that has the name now; 0: none has */
	uint64_t started_ns; /* of this command */
	bool denied, all;
	enum osh_output output;
	uint64_t since_ns;
	uint64_t printed;
	bool seen; /* a verdict under this name, shown or not */
	struct osh_feed feed;
};

/* "5m" -> nanoseconds. */
static bool parse_age(const char *text, uint64_t *ret_ns)
{
	static const struct {
		char unit;
		uint64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	size_t len = strlen(text);
	uint64_t number;

	for (size_t i = 0; len > 1 && i < OSH_COUNT_OF(units); i++) {
		if (text[len - 1] != units[i].unit)
			continue;
		if (osh_str_parse_u64(osh_str_n(text, len - 1),
				      SINCE_SECONDS_MAX / units[i].seconds, &number) < 0)
			return false;
		*ret_ns = number * units[i].seconds * NS_PER_SECOND;
		return true;
	}
	return false;
}

static void print_json(const struct osh_verdict *verdict)
{
	json_t *json = osh_verdict_json(verdict);

	if (json && json_dumpf(json, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) == 0)
		putchar('\n');
	json_decref(json);
}

/* Of an earlier sandbox of that name? Whatever happens from now on is none's. */
static bool is_earlier(const struct logs *logs, const struct osh_verdict *verdict)
{
	return logs->id && verdict->sandbox_id != logs->id && verdict->time_ns < logs->started_ns;
}

static void on_verdict(void *context, const struct osh_verdict *verdict)
{
	struct logs *logs = context;
	char line[LINE_BYTES];

	if (!verdict->sandbox || strcmp(verdict->sandbox, logs->name) != 0)
		return;
	logs->seen = true;
	if (verdict->time_ns < logs->since_ns || (!logs->all && is_earlier(logs, verdict)) ||
	    (logs->denied && verdict->decision != OSH_VERDICT_DENY))
		return;
	logs->printed++;
	if (logs->output == OSH_OUTPUT_JSON) {
		print_json(verdict);
		return;
	}
	osh_verdict_line(verdict, line, sizeof(line));
	puts(line);
}

static void print_live(struct logs *logs)
{
	struct osh_verdict verdict;
	uint64_t lost;

	while (osh_feed_next(&logs->feed, &verdict, &lost) > 0) {
		if (lost)
			osh_cli_note(
				"%llu verdicts of all sandboxes came too fast and are missing here;"
				" the journal has them",
				(unsigned long long)lost);
		on_verdict(logs, &verdict);
	}
	(void)fflush(stdout);
}

/* Which sandbox has the name. None is no failure yet: there may be records of one that is
 * gone; *ret_absent is what to say if there are not. */
static int find_sandbox(struct logs *logs, struct osh_client *client, struct osh_err *ret_absent)
{
	struct osh_wire_reply reply;
	struct osh_err err = { 0 };
	int r = osh_client_ask(client, "SandboxGet", json_pack("{s:s}", "name", logs->name), NULL, 0,
			       OSH_CLIENT_TIMEOUT_MS, &reply, &err);
	int status = OSH_EXIT_OK;

	if (r == -EREMOTEIO && strcmp(reply.error, "NotFound") == 0)
		*ret_absent = err;
	else if (r < 0)
		status = osh_client_report(r, &reply, &err);
	else
		logs->id = (uint64_t)osh_json_int(json_object_get(reply.parameters, "sandbox"), "id");
	osh_wire_reply_done(&reply);
	return status;
}

static int print_history(struct logs *logs, struct osh_client *client)
{
	struct osh_err err = { 0 }, absent = { 0 };
	int r, status = find_sandbox(logs, client, &absent);

	if (status != OSH_EXIT_OK)
		return status;
	r = osh_feed_open(&logs->feed, client, UINT64_MAX, logs->since_ns, on_verdict, logs, &err);
	if (r < 0) {
		osh_cli_error("%s", err.message);
		return r == -ETIMEDOUT ? OSH_EXIT_TIMEOUT : OSH_EXIT_FAILED;
	}
	print_live(logs); /* what is not on disk yet */
	if (logs->id || logs->seen)
		return OSH_EXIT_OK;
	osh_cli_error("%s", absent.message);
	return OSH_EXIT_FAILED;
}

/* Nobody is asked anything here, so the socket becomes readable when it ends. */
static bool is_agent_gone(const struct osh_client *client)
{
	struct pollfd poll_fd = { .fd = client->wire.fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) > 0;
}

/* Until an agent answers again; its journal closes the gap. */
static void reconnect(struct osh_cli *cli, struct logs *logs, struct osh_client *client)
{
	struct osh_err err;

	osh_cli_note("the agent went away: waiting for it at %s", cli->socket);
	for (;;) {
		osh_client_close(client);
		if (osh_client_connect(cli, client, &err) == 0 &&
		    osh_feed_open(&logs->feed, client, UINT64_MAX, logs->since_ns, on_verdict, logs,
				  &err) == 0)
			break;
		(void)poll(NULL, 0, RECONNECT_MS);
	}
	osh_cli_note("the agent is back");
}

static int follow(struct osh_cli *cli, struct logs *logs, struct osh_client *client)
{
	while (!ferror(stdout)) {
		print_live(logs);
		osh_feed_wait(&logs->feed, WAIT_MS);
		if (is_agent_gone(client)) {
			print_live(logs); /* its last words */
			reconnect(cli, logs, client);
		}
	}
	return OSH_EXIT_FAILED;
}

static int show_logs(struct osh_cli *cli, struct logs *logs, bool tail)
{
	_cleanup_client_ struct osh_client client;
	int status;

	osh_client_init(&client);
	osh_feed_init(&logs->feed, logs->name);
	status = osh_client_open(cli, false, &client);
	if (status == OSH_EXIT_OK)
		status = print_history(logs, &client);
	if (status == OSH_EXIT_OK && tail)
		status = follow(cli, logs, &client);
	osh_feed_close(&logs->feed);
	return status;
}

static int run_logs(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct values values = { 0 };
	struct logs logs = { 0 };
	struct osh_args args;
	struct timespec now;
	uint64_t age_ns;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_name(command, values.name, &args, &logs.name, &status) ||
	    !osh_args_output(command, values.output, OSH_OUTPUTS_STREAM, &logs.output, &status))
		return status;
	clock_gettime(CLOCK_REALTIME, &now);
	logs.started_ns = (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
	if (values.since) {
		if (!parse_age(values.since, &age_ns))
			return osh_cli_misuse(command,
					      "--since needs a number and s, m, h or d, such as 5m,"
					      " not '%s'",
					      values.since);
		logs.since_ns = logs.started_ns > age_ns ? logs.started_ns - age_ns : 0;
	}
	logs.denied = values.denied;
	logs.all = values.all;
	return show_logs(cli, &logs, values.tail);
}

const struct osh_command osh_command_logs = {
	"logs", "NAME", "Show the verdicts of a sandbox", options, run_logs,
};
