/* Ending sandboxes, for now or for good, and starting them again: several at once. */
#include <stdio.h>

#include "args.h"
#include "client.h"
#include "out.h"
#include "policy_file.h"
#include "run.h"
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

struct action {
	struct osh_cli *cli;
	/* What is done to one sandbox. Returns the exit status. */
	int (*one)(const struct action *action, struct osh_client *client, const char *name);
	bool takes_command;
	bool is_for_cgroups; /* among all or selected ones: attached cgroups are meant, else sandboxes of ours */
	char *const *argv; /* what stood behind "--"; NULL: nothing */
};

static int ask(struct osh_client *client, const char *method, const char *name, const char *doing,
	       const char *done)
{
	struct osh_wire_reply reply;
	char text[128];
	int status;

	snprintf(text, sizeof(text), "%s sandbox %.64s", doing, name);
	client->doing = text;
	status = osh_client_call(client, method, json_pack("{s:s}", "name", name), &reply);
	client->doing = NULL;
	osh_wire_reply_done(&reply);
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
		      const struct osh_args *args, const struct action *action)
{
	size_t count = values->names.count + (size_t)args->count;
	int worst = OSH_EXIT_OK;

	for (size_t i = 0; i < count && worst != OSH_EXIT_NO_AGENT; i++)
		worst = combine(worst, action->one(action, client,
						   i < values->names.count ?
							   values->names.items[i] :
							   args->words[i - values->names.count]));
	return worst;
}

static bool is_attached(const json_t *sandbox)
{
	return json_object_get(sandbox, "attached");
}

static int each_selected(struct osh_client *client, const struct osh_selector *selector,
			 const struct action *action)
{
	struct osh_wire_reply reply;
	int worst = osh_client_call(client, "SandboxList", json_object(), &reply);
	json_t *list = json_object_get(reply.parameters, "sandboxes");

	osh_selector_filter(selector, list);
	for (size_t i = 0; i < json_array_size(list) && worst != OSH_EXIT_NO_AGENT; i++) {
		const json_t *sandbox = json_array_get(list, i);

		if (is_attached(sandbox) == action->is_for_cgroups)
			worst = combine(worst, action->one(action, client, osh_json_text(sandbox, "name")));
	}
	osh_wire_reply_done(&reply);
	return worst;
}

static int check(const struct osh_command *command, const struct values *values,
		 const struct osh_args *args, const struct action *action)
{
	size_t named = values->names.count + (size_t)args->count;
	bool is_selected = values->all || values->selector;

	if (args->rest && !action->takes_command)
		return osh_cli_misuse(command, "unexpected argument '--'");
	if (args->rest && (args->rest_count == 0 || named != 1))
		return osh_cli_misuse(command, "'--' needs a command behind it, and one NAME");
	if (!named && !is_selected)
		return osh_cli_misuse(command, "NAME is missing (or --all)");
	if (named && is_selected)
		return osh_cli_misuse(command, "names and %s exclude each other",
				      values->all ? "--all" : "--selector");
	return OSH_EXIT_OK;
}

static int run_each(struct action action, const struct osh_command *command, int argc, char **argv)
{
	struct values values = { 0 };
	_cleanup_client_ struct osh_client client;
	struct osh_selector selector;
	struct osh_args args;
	int status;

	osh_client_init(&client);
	if (!osh_args_parse(action.cli, command, argc, argv, &values, &args, &status) ||
	    !osh_selector_parse(command, values.selector, &selector, &status))
		return status;
	status = check(command, &values, &args, &action);
	if (status == OSH_EXIT_OK)
		status = osh_client_open(action.cli, false, &client);
	if (status != OSH_EXIT_OK)
		return status;
	action.argv = args.rest;
	return values.all || values.selector ? each_selected(&client, &selector, &action) :
					       each_named(&client, &values, &args, &action);
}

/* ---- delete ---------------------------------------------------------------------------- */

static int delete_one(const struct action *action, struct osh_client *client, const char *name)
{
	(void)action;
	return ask(client, "SandboxDelete", name, "deleting", "deleted");
}

static int run_delete(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	return run_each((struct action){ .cli = cli, .one = delete_one }, command, argc, argv);
}

const struct osh_command osh_command_sandbox_delete = {
	"sandbox delete", "NAME...|--all", "End sandboxes and remove all they left", options, run_delete,
};

/* ---- detach ---------------------------------------------------------------------------- */

static int detach_one(const struct action *action, struct osh_client *client, const char *name)
{
	(void)action;
	return ask(client, "SandboxDetachCgroup", name, "detaching", "detached");
}

static int run_detach(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	return run_each((struct action){ .cli = cli, .one = detach_one, .is_for_cgroups = true }, command, argc,
			argv);
}

const struct osh_command osh_command_sandbox_detach = {
	"sandbox detach", "NAME...|--all", "Take rules away from cgroups, whose programs go on", options, run_detach,
};

/* ---- stop ------------------------------------------------------------------------------ */

static int stop_one(const struct action *action, struct osh_client *client, const char *name)
{
	(void)action;
	return ask(client, "SandboxStop", name, "stopping", "stopped");
}

static int run_stop(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	return run_each((struct action){ .cli = cli, .one = stop_one }, command, argc, argv);
}

const struct osh_command osh_command_sandbox_stop = {
	"sandbox stop", "NAME...|--all", "End what runs in sandboxes and keep the rest", options, run_stop,
};

/* ---- start ----------------------------------------------------------------------------- */

/* Run its first command again, or `argv` as its first command from now on; it is left running,
 * on a terminal for attach-main. Nothing half started. */
static int run_first(const struct action *action, struct osh_client *client, const char *name)
{
	const struct osh_run run = {
		.cli = action->cli,
		.sandbox = name,
		.argv = action->argv,
		.tty = true,
		.is_first = true,
		.is_kept = !action->argv,
		.leaves = true,
	};
	struct osh_run_result result = osh_run(client, &run);

	if (result.started)
		return OSH_EXIT_OK;
	(void)ask(client, "SandboxStop", name, "stopping", "stopped again");
	return result.status;
}

static int start_one(const struct action *action, struct osh_client *shared, const char *name)
{
	_cleanup_client_ struct osh_client client;
	struct osh_wire_reply reply = { 0 };
	int status;
	bool has_command;

	(void)shared; /* one that a program was left running on is of no more use */
	osh_client_init(&client);
	status = osh_client_open(action->cli, false, &client);
	client.doing = "starting the sandbox";
	if (status == OSH_EXIT_OK)
		status = osh_client_call(&client, "SandboxStart", json_pack("{s:s}", "name", name), &reply);
	osh_policy_file_report(NULL, json_object_get(reply.parameters, "warnings"));
	has_command = *osh_json_text(json_object_get(reply.parameters, "sandbox"), "command");
	osh_wire_reply_done(&reply);
	if (status == OSH_EXIT_OK && (action->argv || has_command))
		status = run_first(action, &client, name);
	if (status == OSH_EXIT_OK)
		printf("sandbox %s started\n", name);
	return status;
}

static int run_start(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	return run_each((struct action){ .cli = cli, .one = start_one, .takes_command = true }, command,
			argc, argv);
}

const struct osh_command osh_command_sandbox_start = {
	"sandbox start", "NAME...|--all [-- COMMAND [ARG...]]", "Have stopped sandboxes run again",
	options,	 run_start,
};
