/* Ending sandboxes, for now or for good, and starting them again: several at once. */
#include <stdio.h>

#include "args.h"
#include "client.h"
#include "out.h"
#include "policy_file.h"
#include "selector.h"

struct values {
	struct osh_list names;
	const char *selector;
	bool all;
};

static const struct osh_option options[] = {
	{ "name", 'n', "NAME", "a sandbox, as if it were an argument; repeatable", OSH_OPTION_LIST,
	  offsetof(struct values, names) },
	{ "all", 0, NULL, "all of yours", OSH_OPTION_FLAG, offsetof(struct values, all) },
	OSH_OPTION_SELECTOR(struct values),
	OSH_OPTIONS_END,
};

/* What is done to one sandbox. Returns the exit status. */
typedef int one_fn(struct osh_client *client, const char *name);

static int ask(struct osh_client *client, const char *method, const char *name, const char *done,
	       struct osh_wire_reply *ret_reply)
{
	int status = osh_client_call(client, method, json_pack("{s:s}", "name", name), ret_reply);

	if (status == OSH_EXIT_OK)
		printf("sandbox %s %s\n", name, done);
	return status;
}

/* One that fails does not keep the others; without an agent there are none. */
static int combine(int worst, int status)
{
	return status == OSH_EXIT_OK ? worst : status;
}

static int each_named(struct osh_client *client, const struct values *values,
		      const struct osh_args *args, one_fn *one)
{
	size_t count = values->names.count + (size_t)args->count;
	int worst = OSH_EXIT_OK;

	for (size_t i = 0; i < count && worst != OSH_EXIT_NO_AGENT; i++)
		worst = combine(worst, one(client, i < values->names.count ?
							   values->names.items[i] :
							   args->words[i - values->names.count]));
	return worst;
}

static int each_selected(struct osh_client *client, const struct osh_selector *selector, one_fn *one)
{
	struct osh_wire_reply reply;
	int worst = osh_client_call(client, "SandboxList", json_object(), &reply);
	json_t *list = json_object_get(reply.parameters, "sandboxes");

	osh_selector_filter(selector, list);
	for (size_t i = 0; i < json_array_size(list) && worst != OSH_EXIT_NO_AGENT; i++)
		worst = combine(worst, one(client, osh_json_text(json_array_get(list, i), "name")));
	osh_wire_reply_done(&reply);
	return worst;
}

static int run_each(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv,
		    one_fn *one)
{
	struct values values = { 0 };
	_cleanup_client_ struct osh_client client;
	struct osh_selector selector;
	struct osh_args args;
	bool is_named, is_selected;
	int status;

	osh_client_init(&client);
	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_selector_parse(command, values.selector, &selector, &status))
		return status;
	is_named = args.count || values.names.count;
	is_selected = values.all || values.selector;
	if (args.rest)
		return osh_cli_misuse(command, "unexpected argument '--'");
	if (!is_named && !is_selected)
		return osh_cli_misuse(command, "NAME is missing (or --all)");
	if (is_named && is_selected)
		return osh_cli_misuse(command, "names and %s exclude each other",
				      values.all ? "--all" : "--selector");
	status = osh_client_open(cli, false, &client);
	if (status != OSH_EXIT_OK)
		return status;
	return is_named ? each_named(&client, &values, &args, one) :
			  each_selected(&client, &selector, one);
}

/* ---- delete ---------------------------------------------------------------------------- */

static int delete_one(struct osh_client *client, const char *name)
{
	struct osh_wire_reply reply;
	int status = ask(client, "SandboxDelete", name, "deleted", &reply);

	osh_wire_reply_done(&reply);
	return status;
}

static int run_delete(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	return run_each(cli, command, argc, argv, delete_one);
}

const struct osh_command osh_command_sandbox_delete = {
	"sandbox delete", "NAME...|--all", "End sandboxes and remove all they left", options, run_delete,
};

/* ---- stop ------------------------------------------------------------------------------ */

static int stop_one(struct osh_client *client, const char *name)
{
	struct osh_wire_reply reply;
	int status = ask(client, "SandboxStop", name, "stopped", &reply);

	osh_wire_reply_done(&reply);
	return status;
}

static int run_stop(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	return run_each(cli, command, argc, argv, stop_one);
}

const struct osh_command osh_command_sandbox_stop = {
	"sandbox stop", "NAME...|--all", "End what runs in sandboxes and keep the rest", options, run_stop,
};

/* ---- start ----------------------------------------------------------------------------- */

static int start_one(struct osh_client *client, const char *name)
{
	struct osh_wire_reply reply;
	int status = ask(client, "SandboxStart", name, "started", &reply);

	osh_policy_file_report(NULL, json_object_get(reply.parameters, "warnings"));
	osh_wire_reply_done(&reply);
	return status;
}

static int run_start(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	return run_each(cli, command, argc, argv, start_one);
}

const struct osh_command osh_command_sandbox_start = {
	"sandbox start", "NAME...|--all", "Have stopped sandboxes run again", options, run_start,
};
