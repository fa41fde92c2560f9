/* The commands about sandboxes that exist. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "args.h"
#include "base/str.h"
#include "client.h"
#include "limits.h"
#include "listing.h"
#include "out.h"
#include "run.h"
#include "selector.h"

/* ---- list ---------------------------------------------------------------------------- */

struct list_values {
	const char *output, *selector;
};

static const struct osh_option list_options[] = {
	OSH_OPTION_SELECTOR(struct list_values),
	OSH_OPTION_OUTPUT_LIST(struct list_values),
	OSH_OPTIONS_END,
};

static void add_row(struct osh_table *table, const json_t *sandbox)
{
	char age[OSH_AGE_BYTES], providers[512];

	osh_table_add(table, osh_json_text(sandbox, "name"));
	osh_table_add(table, osh_json_text(sandbox, "state"));
	osh_table_add(table, osh_out_age(osh_json_int(sandbox, "created"), age));
	osh_table_add_int(table, osh_json_int(sandbox, "revision"));
	osh_table_add_int(table, osh_json_int(sandbox, "allowed"));
	osh_table_add_int(table, osh_json_int(sandbox, "audited"));
	osh_table_add_int(table, osh_json_int(sandbox, "denied"));
	osh_json_join(json_object_get(sandbox, "providers"), providers, sizeof(providers));
	osh_table_add(table, providers);
}

static int run_list(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	static const char *const heading[] = { "NAME", "STATE", "AGE", "REVISION", "ALLOWED",
					       "AUDITED", "DENIED", "PROVIDERS", NULL };
	static const struct osh_listing listing = { "SandboxList", "sandboxes", heading, add_row };
	struct list_values values = { 0 };
	struct osh_selector selector;
	enum osh_output output;
	struct osh_args args;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_none(command, &args, &status) ||
	    !osh_args_output(command, values.output, OSH_OUTPUTS_LIST, &output, &status) ||
	    !osh_selector_parse(command, values.selector, &selector, &status))
		return status;
	return osh_listing_run(cli, &listing, &selector, output);
}

const struct osh_command osh_command_sandbox_list = {
	"sandbox list", "", "List the sandboxes", list_options, run_list,
};

/* ---- get ------------------------------------------------------------------------------ */

struct get_values {
	const char *name, *output;
	bool ca;
};

static const struct osh_option get_options[] = {
	OSH_OPTION_NAME(struct get_values),
	OSH_OPTION_OUTPUT(struct get_values),
	{ "ca", 0, NULL, "print the certificate that its inspected connections show, PEM", OSH_OPTION_FLAG,
	  offsetof(struct get_values, ca) },
	OSH_OPTIONS_END,
};

static void print_attachment(const json_t *sandbox, int width)
{
	const json_t *row;
	size_t i;

	osh_out_field("attached", width, osh_json_text(sandbox, "attached"));
	json_array_foreach(json_object_get(sandbox, "degraded"), i, row)
		osh_out_field("unenforced", width, json_string_value(row));
}

static int print_ca(const json_t *ca)
{
	if (!ca) {
		osh_cli_error("its certificate cannot be read");
		return OSH_EXIT_FAILED;
	}
	fputs(json_string_value(ca), stdout);
	return OSH_EXIT_OK;
}

static int print_fields(const json_t *sandbox)
{
	enum { WIDTH = 12 };
	char created[OSH_TIME_BYTES], providers[512], text[OSH_LIMITS_BYTES];
	const json_t *keep = json_object_get(sandbox, "keep");

	osh_json_join(json_object_get(sandbox, "providers"), providers, sizeof(providers));
	osh_out_field("name", WIDTH, osh_json_text(sandbox, "name"));
	osh_out_field("state", WIDTH, osh_json_text(sandbox, "state"));
	osh_out_field("created", WIDTH, osh_out_time(osh_json_int(sandbox, "created"), created));
	osh_out_field("keep", WIDTH,
		      json_is_true(keep) ? "yes" : "no, deleted when its creator ends");
	if (json_object_get(sandbox, "attached"))
		print_attachment(sandbox, WIDTH);
	osh_out_field("labels", WIDTH, osh_selector_labels(json_object_get(sandbox, "labels"), text, sizeof(text)));
	osh_out_field("command", WIDTH, osh_json_text(sandbox, "command"));
	osh_out_field("workdir", WIDTH, osh_json_text(sandbox, "workdir"));
	osh_out_field("limits", WIDTH, osh_limits_text(sandbox, text));
	osh_out_field("providers", WIDTH, providers);
	osh_out_field_int("revision", WIDTH, osh_json_int(sandbox, "revision"));
	osh_out_field("policy hash", WIDTH, osh_json_text(sandbox, "policy_hash"));
	osh_out_field("mode", WIDTH,
		      json_is_true(json_object_get(sandbox, "permissive")) ?
			      "permissive: denials are let through and recorded" :
			      "enforcing");
	osh_out_field_int("id", WIDTH, osh_json_int(sandbox, "id"));
	osh_out_field_int("uid", WIDTH, osh_json_int(sandbox, "uid"));
	osh_out_field_int("pid", WIDTH, osh_json_int(sandbox, "pid"));
	osh_out_field_int("allowed", WIDTH, osh_json_int(sandbox, "allowed"));
	osh_out_field_int("audited", WIDTH, osh_json_int(sandbox, "audited"));
	osh_out_field_int("denied", WIDTH, osh_json_int(sandbox, "denied"));
	return OSH_EXIT_OK;
}

static int run_get(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct get_values values = { 0 };
	_cleanup_client_ struct osh_client client;
	struct osh_wire_reply reply = { 0 };
	enum osh_output output;
	struct osh_args args;
	const json_t *sandbox;
	const char *name;
	int status;

	osh_client_init(&client);
	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_name(command, values.name, &args, &name, &status) ||
	    !osh_args_output(command, values.output, OSH_OUTPUTS_ONE, &output, &status))
		return status;
	status = osh_client_open(cli, false, &client);
	if (status == OSH_EXIT_OK)
		status = osh_client_call(&client, "SandboxGet", json_pack("{s:s, s:b}", "name", name, "ca", values.ca),
					 &reply);
	sandbox = json_object_get(reply.parameters, "sandbox");
	if (status == OSH_EXIT_OK)
		status = values.ca ? print_ca(json_object_get(reply.parameters, "ca")) :
			 output == OSH_OUTPUT_JSON ? osh_out_json(sandbox) :
			 output == OSH_OUTPUT_YAML ? osh_out_yaml(sandbox) :
						     print_fields(sandbox);
	osh_wire_reply_done(&reply);
	return status;
}

const struct osh_command osh_command_sandbox_get = {
	"sandbox get", "NAME", "Show one sandbox", get_options, run_get,
};

#define TIMEOUT_SECONDS_MAX (7 * 24 * 3600)

/* ---- connect, exec --------------------------------------------------------------------- */

struct exec_values {
	const char *name, *workdir, *timeout;
	struct osh_list env;
	bool tty, no_tty;
};

static const struct osh_option connect_options[] = {
	OSH_OPTION_NAME(struct exec_values),
	OSH_OPTIONS_END,
};

static const struct osh_option exec_options[] = {
	OSH_OPTION_NAME(struct exec_values),
	{ "env", 0, "KEY=VALUE", "set a variable; repeatable", OSH_OPTION_LIST,
	  offsetof(struct exec_values, env) },
	{ "workdir", 0, "DIR", "start there, not in /sandbox", OSH_OPTION_TEXT,
	  offsetof(struct exec_values, workdir) },
	{ "timeout", 0, "SECONDS", "kill it when it has not ended after that long; then exit with 124",
	  OSH_OPTION_TEXT, offsetof(struct exec_values, timeout) },
	{ "tty", 0, NULL, "give the command a terminal in any case", OSH_OPTION_FLAG,
	  offsetof(struct exec_values, tty) },
	{ "no-tty", 0, NULL, "never give it one", OSH_OPTION_FLAG,
	  offsetof(struct exec_values, no_tty) },
	OSH_OPTIONS_END,
};

static int run_inside(struct osh_cli *cli, struct osh_run *run)
{
	_cleanup_client_ struct osh_client client;
	struct osh_run_result result;
	int status;

	osh_client_init(&client);
	status = osh_client_open(cli, false, &client);
	if (status != OSH_EXIT_OK)
		return status;
	run->cli = cli;
	result = osh_run(&client, run);
	if (result.is_detached)
		osh_cli_note("detached: it goes on in sandbox %s", run->sandbox);
	return result.status;
}

static int run_connect(struct osh_cli *cli, const struct osh_command *command, int argc,
		       char **argv)
{
	struct exec_values values = { 0 };
	struct osh_run run = { .tty = osh_run_wants_tty(false, false),
			       .detach = OSH_RUN_DETACH_ASK };
	struct osh_args args;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status))
		return status;
	if (args.rest)
		return osh_cli_misuse(
			command,
			"connect opens a shell: for a command use 'openshell sandbox exec'");
	if (!osh_args_name(command, values.name, &args, &run.sandbox, &status))
		return status;
	return run_inside(cli, &run);
}

const struct osh_command osh_command_sandbox_connect = {
	"sandbox connect", "NAME", "Open a shell in a sandbox", connect_options, run_connect,
};

static int run_exec(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct exec_values values = { 0 };
	struct osh_run run = { .detach = OSH_RUN_DETACH_ASK };
	struct osh_args args, words;
	uint64_t seconds = 0;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status))
		return status;
	if (args.count > (values.name ? 0 : 1))
		return osh_cli_misuse(command,
				      "unexpected argument '%s': put the command behind --",
				      args.words[values.name ? 0 : 1]);
	words = args;
	words.rest = NULL;
	if (!osh_args_name(command, values.name, &words, &run.sandbox, &status) ||
	    !osh_args_env(command, &values.env, &status))
		return status;
	if (args.rest_count == 0)
		return osh_cli_misuse(command, "no command given: put one behind --");
	if (values.tty && values.no_tty)
		return osh_cli_misuse(command, "--tty and --no-tty exclude each other");
	if (values.timeout && (osh_str_parse_u64(osh_str(values.timeout), TIMEOUT_SECONDS_MAX, &seconds) < 0 ||
			       seconds == 0))
		return osh_cli_misuse(command, "--timeout needs seconds from 1 to %d, not '%s'",
				      TIMEOUT_SECONDS_MAX, values.timeout);
	run.timeout_ms = (int64_t)seconds * 1000;
	run.argv = args.rest;
	run.env = values.env.items;
	run.cwd = values.workdir;
	run.tty = osh_run_wants_tty(values.tty, values.no_tty);
	return run_inside(cli, &run);
}

const struct osh_command osh_command_sandbox_exec = {
	"sandbox exec", "NAME -- COMMAND [ARG...]", "Run a command in a sandbox", exec_options,
	run_exec,
};

/* ---- attach-main ------------------------------------------------------------------------ */

static int run_attach_main(struct osh_cli *cli, const struct osh_command *command, int argc,
			   char **argv)
{
	struct exec_values values = { 0 };
	struct osh_run run = { .cli = cli, .detach = OSH_RUN_DETACH_LEAVE };
	_cleanup_client_ struct osh_client client;
	struct osh_run_result result;
	struct osh_args args;
	int status;

	osh_client_init(&client);
	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_name(command, values.name, &args, &run.sandbox, &status))
		return status;
	status = osh_client_open(cli, false, &client);
	if (status != OSH_EXIT_OK)
		return status;
	result = osh_run_attach(&client, &run);
	if (result.is_detached)
		osh_cli_note("detached: openshell sandbox attach-main %s", run.sandbox);
	return result.status;
}

const struct osh_command osh_command_sandbox_attach_main = {
	"sandbox attach-main", "NAME", "Join the terminal of a sandbox's first command",
	connect_options,       run_attach_main,
};
