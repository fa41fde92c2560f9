/* The commands about the policy of a running sandbox. */
#include <stdio.h>

#include "out.h"
#include "policy_file.h"
#include "policy_tools.h"

/* ---- get ---------------------------------------- */

struct get_values {
	const char *name, *revision, *output;
	bool base, full;
};

static const struct osh_option get_options[] = {
	OSH_OPTION_NAME(struct get_values),
	{ "rev", 0, "N", "that revision, not the one in force", OSH_OPTION_TEXT,
	  offsetof(struct get_values, revision) },
	{ "base", 0, NULL, "as it was written (the default)", OSH_OPTION_FLAG,
	  offsetof(struct get_values, base) },
	{ "full", 0, NULL, "with what providers add to it", OSH_OPTION_FLAG,
	  offsetof(struct get_values, full) },
	OSH_OPTION_POLICY_OUTPUT(struct get_values),
	OSH_OPTIONS_END,
};

static int get_policy(struct osh_cli *cli, json_t *parameters, enum osh_policy_output output)
{
	_cleanup_client_ struct osh_client client;
	struct osh_wire_reply reply = { 0 };
	const json_t *policy;
	int status;

	osh_client_init(&client);
	status = osh_client_open(cli, false, &client);
	if (status != OSH_EXIT_OK) {
		json_decref(parameters);
		return status;
	}
	status = osh_client_call(&client, "PolicyGet", parameters, &reply);
	policy = json_object_get(reply.parameters, "policy");
	if (status == OSH_EXIT_OK && output == OSH_POLICY_OUTPUT_JSON)
		status = osh_out_json(reply.parameters);
	else if (status == OSH_EXIT_OK) /* YAML, byte for byte: it is to be edited and set again */
		fwrite(json_string_value(policy), 1, json_string_length(policy), stdout);
	osh_wire_reply_done(&reply);
	return status;
}

static int run_get(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct get_values values = { 0 };
	enum osh_policy_output output;
	struct osh_args args;
	const char *name;
	uint64_t revision = 0;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_name(command, values.name, &args, &name, &status) ||
	    !osh_policy_output(command, values.output, &output, &status) ||
	    !osh_policy_revision_option(command, values.revision, &revision, &status))
		return status;
	/* A provider says where its secret may go, and grants nothing: both are the text. */
	if (values.base && values.full)
		return osh_cli_misuse(command, "--base and --full exclude each other");
	if (!values.revision)
		return get_policy(cli, json_pack("{s:s}", "name", name), output);
	return get_policy(cli,
			  json_pack("{s:s, s:I}", "name", name, "revision", (json_int_t)revision),
			  output);
}

const struct osh_command osh_command_policy_get = {
	"policy get", "NAME", "Print the policy of a sandbox", get_options, run_get,
};

/* ---- set ---------------------------------------- */

struct set_values {
	const char *name, *policy, *timeout, *output;
	bool wait;
};

static const struct osh_option set_options[] = {
	OSH_OPTION_NAME(struct set_values),
	{ "policy", 0, "FILE", "the new policy ('-': standard input)", OSH_OPTION_TEXT,
	  offsetof(struct set_values, policy) },
	OSH_OPTION_WAIT(struct set_values),
	OSH_OPTION_POLICY_OUTPUT(struct set_values),
	OSH_OPTIONS_END,
};

struct setting {
	const char *name;
	struct osh_policy_file file;
	int timeout_ms; /* 0: do not wait */
	enum osh_policy_output output;
};

static int say_set(const struct setting *setting, const json_t *answer)
{
	if (setting->output != OSH_POLICY_OUTPUT_TEXT)
		return osh_policy_print(answer, setting->output);
	printf("policy revision %lld of sandbox %s %s (sha256 %.12s)\n",
	       (long long)osh_json_int(answer, "revision"), setting->name,
	       setting->timeout_ms ? "is enforced" : "is on its way",
	       osh_json_text(answer, "policy_hash"));
	return OSH_EXIT_OK;
}

static int set_policy(struct osh_cli *cli, const struct setting *setting)
{
	_cleanup_client_ struct osh_client client;
	struct osh_wire_reply reply;
	json_t *parameters;
	int status;

	osh_client_init(&client);
	status = osh_client_open(cli, false, &client);
	if (status != OSH_EXIT_OK)
		return status;
	parameters = osh_policy_file_describe(
		&setting->file,
		json_pack("{s:s, s:b}", "name", setting->name, "wait", setting->timeout_ms > 0));
	status = osh_policy_change(&client, "PolicySet", parameters, setting->file.fd,
				   setting->timeout_ms, setting->file.path, &reply);
	if (status == OSH_EXIT_OK)
		status = say_set(setting, reply.parameters);
	osh_wire_reply_done(&reply);
	return status;
}

static int run_set(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct set_values values = { 0 };
	struct setting setting = { .file = OSH_POLICY_FILE_NONE };
	struct osh_args args;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_name(command, values.name, &args, &setting.name, &status) ||
	    !osh_policy_output(command, values.output, &setting.output, &status))
		return status;
	if (!values.policy)
		return osh_cli_misuse(command, "no policy given: --policy FILE");
	if (!osh_policy_timeout(command, values.wait, values.timeout, &setting.timeout_ms, &status))
		return status;
	status = osh_policy_file_load(values.policy, &setting.file);
	if (status == OSH_EXIT_OK)
		status = set_policy(cli, &setting);
	osh_policy_file_done(&setting.file);
	return status;
}

const struct osh_command osh_command_policy_set = {
	"policy set", "NAME --policy FILE", "Replace the policy of a running sandbox", set_options,
	run_set,
};
