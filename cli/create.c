/* `openshell sandbox create`: make a sandbox, run something in it, keep it or
 * end it. One connection serves all three steps: with --no-keep the sandbox
 * lives exactly as long as that connection, however this process ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "base/mem.h"
#include "client.h"
#include "copy.h"
#include "limits.h"
#include "out.h"
#include "policy_file.h"
#include "run.h"
#include "selector.h"
#include "tty.h"

struct values {
	const char *name, *policy, *workdir, *cpu, *memory, *pids;
	struct osh_list providers, env, labels, uploads;
	bool keep, no_keep, tty, no_tty, detach;
};

static const struct osh_option options[] = {
	{ "name", 'n', "NAME", "its name ([a-z0-9][a-z0-9-]*, at most 63); else one is made up",
	  OSH_OPTION_TEXT, offsetof(struct values, name) },
	{ "policy", 0, "FILE", "its policy ('-': standard input); else the shipped default",
	  OSH_OPTION_TEXT, offsetof(struct values, policy) },
	{ "provider", 0, "NAME", "give it a provider's credentials; repeatable", OSH_OPTION_LIST,
	  offsetof(struct values, providers) },
	{ "env", 0, "KEY=VALUE", "set a variable in it; repeatable", OSH_OPTION_LIST,
	  offsetof(struct values, env) },
	{ "label", 0, "KEY=VALUE", "a label to find it by (sandbox list --selector); repeatable",
	  OSH_OPTION_LIST, offsetof(struct values, labels) },
	{ "workdir", 0, "DIR", "where programs start in it, instead of /sandbox", OSH_OPTION_TEXT,
	  offsetof(struct values, workdir) },
	{ "cpu", 0, "N", "at most that many processors (0.5: half of one)", OSH_OPTION_TEXT,
	  offsetof(struct values, cpu) },
	{ "memory", 0, "BYTES", "at most that much memory (K, M, G, T behind)", OSH_OPTION_TEXT,
	  offsetof(struct values, memory) },
	{ "pids", 0, "N", "at most that many processes", OSH_OPTION_TEXT,
	  offsetof(struct values, pids) },
	{ "upload", 0, "PATH[:DIR]", "copy it into the sandbox first (DIR: /sandbox); repeatable",
	  OSH_OPTION_LIST, offsetof(struct values, uploads) },
	{ "detach", 0, NULL, "leave the command running, with a terminal for attach-main",
	  OSH_OPTION_FLAG, offsetof(struct values, detach) },
	{ "keep", 0, NULL, "keep it when the command ends (the default)", OSH_OPTION_FLAG,
	  offsetof(struct values, keep) },
	{ "no-keep", 0, NULL, "delete it when the command ends", OSH_OPTION_FLAG,
	  offsetof(struct values, no_keep) },
	{ "tty", 0, NULL, "give the command a terminal in any case", OSH_OPTION_FLAG,
	  offsetof(struct values, tty) },
	{ "no-tty", 0, NULL, "never give it one", OSH_OPTION_FLAG,
	  offsetof(struct values, no_tty) },
	OSH_OPTIONS_END,
};

struct creation {
	const struct values *values;
	char *const *argv; /* NULL: a shell, or nothing */
	bool runs;         /* something runs in it at once */
	struct osh_policy_file policy;
	json_t *labels, *limits; /* owned */
	char name[OSH_NAME_MAX];
};

static json_t *make_list(const struct osh_list *list)
{
	json_t *array = json_array();

	for (size_t i = 0; array && i < list->count; i++) {
		if (json_array_append_new(array, json_string(list->items[i])) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *make_parameters(const struct creation *creation)
{
	const struct values *values = creation->values;
	json_t *parameters = json_pack(
		"{s:o, s:o, s:O, s:O, s:s*, s:s*, s:b}", "providers", make_list(&values->providers),
		"env", make_list(&values->env), "labels", creation->labels, "limits",
		creation->limits, "name", values->name, "workdir", values->workdir, "keep",
		!values->no_keep);

	return parameters && values->policy ?
		       osh_policy_file_describe(&creation->policy, parameters) :
		       parameters;
}

/* Standard output belongs to the command when there is one. */
static void say_created(const struct creation *creation)
{
	if (creation->runs && !creation->values->detach)
		osh_cli_note("sandbox %s created", creation->name);
	else
		puts(creation->name);
}

/* Said at every start, also when the warning about the file scrolls by. */
static void warn_of_mode(const struct creation *creation, const struct osh_wire_reply *reply)
{
	const json_t *sandbox = json_object_get(reply->parameters, "sandbox");

	if (json_is_true(json_object_get(sandbox, "permissive")))
		osh_cli_note("sandbox %s is permissive: what its policy denies is let through and recorded",
			     creation->name);
}

static int make_sandbox(struct osh_client *client, struct creation *creation)
{
	struct osh_wire_reply reply;
	struct osh_err err = { 0 };
	int r, status;

	client->doing = "creating the sandbox";
	r = osh_client_ask(client, "SandboxCreate", make_parameters(creation), &creation->policy.fd,
			   creation->policy.fd >= 0, OSH_CLIENT_TIMEOUT_MS, &reply, &err);
	status = osh_client_exit(r, &reply);
	if (status == OSH_EXIT_OK) {
		osh_policy_file_report(creation->values->policy,
				       json_object_get(reply.parameters, "warnings"));
		snprintf(creation->name, sizeof(creation->name), "%s",
			 osh_json_text(json_object_get(reply.parameters, "sandbox"), "name"));
		warn_of_mode(creation, &reply);
	} else {
		osh_policy_file_report(creation->values->policy,
				       json_object_get(reply.parameters, "diagnostics"));
		osh_cli_error("%s", err.message);
	}
	osh_wire_reply_done(&reply);
	return status;
}

/* "gone" includes one that somebody else deleted meanwhile. */
static bool delete_sandbox(struct osh_client *client, const struct creation *creation)
{
	struct osh_wire_reply reply;
	struct osh_err err = { 0 };
	bool gone;
	int r;

	client->doing = "deleting the sandbox";
	r = osh_client_ask(client, "SandboxDelete", json_pack("{s:s}", "name", creation->name), NULL,
			   0, OSH_CLIENT_TIMEOUT_MS, &reply, &err);
	gone = r == 0 || strcmp(reply.error, "NotFound") == 0;
	if (!gone)
		osh_cli_error("sandbox %s is not deleted: %s", creation->name, err.message);
	osh_wire_reply_done(&reply);
	return gone;
}

/* What is said when the sandbox stays. */
static void say_kept(const struct creation *creation, const struct osh_run_result *result)
{
	if (result->is_detached && !creation->values->detach)
		osh_cli_note("detached: openshell sandbox attach-main %s", creation->name);
	else if (!result->is_detached && isatty(STDERR_FILENO))
		osh_cli_note("sandbox %s keeps running; openshell sandbox connect %s",
			     creation->name, creation->name);
}

static int run_in_sandbox(const struct osh_cli *cli, struct osh_client *client,
			  const struct creation *creation)
{
	const struct values *values = creation->values;
	struct osh_run run = {
		.cli = cli,
		.sandbox = creation->name,
		.argv = creation->argv,
		.tty = values->detach || osh_run_wants_tty(values->tty, values->no_tty),
		.is_first = true,
		.leaves = values->detach,
		/* One that is not kept ends with us. */
		.detach = values->no_keep ? OSH_RUN_DETACH_NEVER : OSH_RUN_DETACH_LEAVE,
	};
	struct osh_run_result result = osh_run(client, &run);

	if (!result.started) { /* nothing half made: no sandbox for a command that does not exist */
		if (delete_sandbox(client, creation))
			osh_cli_note("sandbox %s deleted again", creation->name);
		return result.status;
	}
	if (!values->no_keep)
		say_kept(creation, &result);
	else if (!delete_sandbox(client, creation) && result.status == 0)
		return OSH_EXIT_FAILED;
	return result.status;
}

/* "PATH" or "PATH:DIR": the last colon counts, when an absolute path follows it. */
static int upload(const struct osh_cli *cli, const struct creation *creation, const char *what)
{
	const char *colon = strrchr(what, ':');
	size_t len = colon && colon[1] == '/' ? (size_t)(colon - what) : strlen(what);
	_cleanup_free_ char *from = strndup(what, len);
	struct osh_copy copy = {
		.cli = cli,
		.sandbox = creation->name,
		.from = from,
		.to = what[len] ? what + len + 1 : "/sandbox",
	};
	_cleanup_client_ struct osh_client client;
	int status;

	if (!from)
		return osh_cli_no_memory();
	osh_client_init(&client);
	status = osh_client_open(cli, false, &client);
	return status == OSH_EXIT_OK ? osh_copy_in(&client, &copy) : status;
}

/* Nothing half made: without its files the sandbox is not what was asked for. */
static int upload_all(const struct osh_cli *cli, struct osh_client *client,
		      const struct creation *creation)
{
	const struct osh_list *uploads = &creation->values->uploads;
	int status = OSH_EXIT_OK;

	for (size_t i = 0; status == OSH_EXIT_OK && i < uploads->count; i++)
		status = upload(cli, creation, uploads->items[i]);
	if (status != OSH_EXIT_OK && delete_sandbox(client, creation))
		osh_cli_note("sandbox %s deleted again", creation->name);
	return status;
}

static int create(struct osh_cli *cli, struct creation *creation)
{
	_cleanup_client_ struct osh_client client;
	int status = OSH_EXIT_OK;

	osh_client_init(&client);
	if (creation->values->policy)
		status = osh_policy_file_load(creation->values->policy, &creation->policy);
	if (status == OSH_EXIT_OK)
		status = osh_client_open(cli, true, &client);
	if (status == OSH_EXIT_OK)
		status = make_sandbox(&client, creation);
	if (status == OSH_EXIT_OK)
		status = upload_all(cli, &client, creation);
	if (status == OSH_EXIT_OK)
		say_created(creation);
	if (status == OSH_EXIT_OK && creation->runs)
		status = run_in_sandbox(cli, &client, creation);
	return status;
}

static int check(const struct osh_command *command, const struct values *values,
		 const struct osh_args *args)
{
	int status;

	if (args->count)
		return osh_cli_misuse(command,
				      "unexpected argument '%s': put a command behind --, a name"
				      " behind --name",
				      args->words[0]);
	if (args->rest && args->rest_count == 0)
		return osh_cli_misuse(command, "no command given behind --");
	if (values->tty && values->no_tty)
		return osh_cli_misuse(command, "--tty and --no-tty exclude each other");
	if (values->detach && (values->no_tty || values->no_keep))
		return osh_cli_misuse(command, "--detach and %s exclude each other",
				      values->no_tty ? "--no-tty" : "--no-keep");
	if (values->detach && !args->rest)
		return osh_cli_misuse(command, "--detach needs a command behind --");
	if (values->keep && values->no_keep)
		return osh_cli_misuse(command, "--keep and --no-keep exclude each other");
	if (values->workdir && values->workdir[0] != '/')
		return osh_cli_misuse(command, "--workdir needs an absolute path, not '%s'",
				      values->workdir);
	if (values->no_keep && !args->rest && !osh_tty_is_interactive())
		return osh_cli_misuse(command,
				      "--no-keep without a terminal needs a command behind --");
	if (!osh_args_env(command, &values->env, &status))
		return status;
	return OSH_EXIT_OK;
}

static int run_create(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct values values = { 0 };
	struct creation creation = { .values = &values, .policy = OSH_POLICY_FILE_NONE };
	struct osh_args args;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status))
		return status;
	status = check(command, &values, &args);
	if (status != OSH_EXIT_OK)
		return status;
	creation.argv = args.rest;
	creation.runs = args.rest || osh_tty_is_interactive();
	creation.labels = osh_selector_label_options(command, &values.labels, &status);
	if (creation.labels)
		creation.limits = osh_limits_options(command, values.cpu, values.memory, values.pids,
						     &status);
	if (creation.limits)
		status = create(cli, &creation);
	osh_policy_file_done(&creation.policy);
	json_decref(creation.labels);
	json_decref(creation.limits);
	return status;
}

const struct osh_command osh_command_sandbox_create = {
	"sandbox create",
	"[-- COMMAND [ARG...]]",
	"Make a sandbox and run a command or a shell in it",
	options,
	run_create,
};
