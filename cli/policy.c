/* The commands about the policy of a running sandbox. */
#include <stdio.h>
#include <string.h>

#include "args.h"
#include "base/str.h"
#include "client.h"
#include "out.h"
#include "policy_file.h"

/* ---- get ------------------------------------------------------------------------------ */

struct get_values {
	const char *name, *revision, *output;
};

static const struct osh_option get_options[] = {
	OSH_OPTION_NAME(struct get_values),
	{ "rev", 0, "N", "that revision, not the one in force", OSH_OPTION_TEXT,
	  offsetof(struct get_values, revision) },
	OSH_OPTION_OUTPUT(struct get_values),
	OSH_OPTIONS_END,
};

static int get_policy(struct osh_cli *cli, json_t *parameters, enum osh_output output)
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
	if (status == OSH_EXIT_OK && output == OSH_OUTPUT_JSON)
		status = osh_out_json(reply.parameters);
	else if (status == OSH_EXIT_OK) /* byte for byte: it is to be edited and set again */
		fwrite(json_string_value(policy), 1, json_string_length(policy), stdout);
	osh_wire_reply_done(&reply);
	return status;
}

static int run_get(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct get_values values = { 0 };
	enum osh_output output;
	struct osh_args args;
	const char *name;
	uint64_t revision;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_name(command, values.name, &args, &name, &status) ||
	    !osh_args_output(command, values.output, false, &output, &status))
		return status;
	if (!values.revision)
		return get_policy(cli, json_pack("{s:s}", "name", name), output);
	if (osh_str_parse_u64(osh_str(values.revision), UINT32_MAX, &revision) < 0)
		return osh_cli_misuse(command, "--rev needs a number, not '%s'", values.revision);
	return get_policy(cli,
			  json_pack("{s:s, s:I}", "name", name, "revision", (json_int_t)revision),
			  output);
}

const struct osh_command osh_command_policy_get = {
	"policy get", "NAME", "Print the policy of a sandbox", get_options, run_get,
};

/* ---- set ------------------------------------------------------------------------------ */

#define WAIT_SECONDS_DEFAULT 60
#define WAIT_SECONDS_MAX 3600
/* How much longer than the agent's own deadline its answer is waited for. */
#define ANSWER_GRACE_MS 5000

struct set_values {
	const char *name, *policy, *timeout, *output;
	bool wait;
};

static const struct osh_option set_options[] = {
	OSH_OPTION_NAME(struct set_values),
	{ "policy", 0, "FILE", "the new policy ('-': standard input)", OSH_OPTION_TEXT,
	  offsetof(struct set_values, policy) },
	{ "wait", 0, NULL, "return when it is enforced everywhere", OSH_OPTION_FLAG,
	  offsetof(struct set_values, wait) },
	{ "timeout", 0, "SECONDS", "with --wait: give up after that long (60)", OSH_OPTION_TEXT,
	  offsetof(struct set_values, timeout) },
	OSH_OPTION_OUTPUT(struct set_values),
	OSH_OPTIONS_END,
};

struct setting {
	const char *name;
	struct osh_policy_file file;
	bool wait;
	int timeout_ms;
	enum osh_output output;
};

static json_t *make_parameters(const struct setting *setting)
{
	json_t *parameters = json_pack("{s:s, s:b}", "name", setting->name, "wait", setting->wait);

	if (parameters && setting->wait &&
	    json_object_set_new(parameters, "timeout_ms", json_integer(setting->timeout_ms)) < 0) {
		json_decref(parameters);
		return NULL;
	}
	return osh_policy_file_attach(&setting->file, parameters);
}

static int say_set(const struct setting *setting, const json_t *answer)
{
	if (setting->output == OSH_OUTPUT_JSON)
		return osh_out_json(answer);
	printf("policy revision %lld of sandbox %s %s (sha256 %.12s)\n",
	       (long long)osh_json_int(answer, "revision"), setting->name,
	       setting->wait ? "is enforced" : "is on its way",
	       osh_json_text(answer, "policy_hash"));
	return OSH_EXIT_OK;
}

static int report_refusal(const struct setting *setting, int result,
			  const struct osh_wire_reply *reply, const struct osh_err *err)
{
	const json_t *diagnostics = json_object_get(reply->parameters, "diagnostics");

	osh_policy_file_report(setting->file.path, diagnostics);
	if (json_array_size(diagnostics) > 0)
		osh_cli_error("%s; the policy in force stays", err->message);
	else
		osh_cli_error("%s", err->message);
	return osh_client_exit(result, reply);
}

static int set_policy(struct osh_cli *cli, const struct setting *setting)
{
	_cleanup_client_ struct osh_client client;
	struct osh_wire_reply reply;
	struct osh_err err = { 0 };
	int status, r;

	osh_client_init(&client);
	status = osh_client_open(cli, false, &client);
	if (status != OSH_EXIT_OK)
		return status;
	r = osh_client_ask(&client, "PolicySet", make_parameters(setting), NULL, 0,
			   setting->wait ? setting->timeout_ms + ANSWER_GRACE_MS :
					   OSH_CLIENT_TIMEOUT_MS,
			   &reply, &err);
	if (r < 0) {
		status = report_refusal(setting, r, &reply, &err);
	} else {
		osh_policy_file_report(setting->file.path,
				       json_object_get(reply.parameters, "warnings"));
		status = say_set(setting, reply.parameters);
	}
	osh_wire_reply_done(&reply);
	return status;
}

static int run_set(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct set_values values = { 0 };
	struct setting setting = { 0 };
	struct osh_args args;
	uint64_t seconds = WAIT_SECONDS_DEFAULT;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_name(command, values.name, &args, &setting.name, &status) ||
	    !osh_args_output(command, values.output, false, &setting.output, &status))
		return status;
	if (!values.policy)
		return osh_cli_misuse(command, "no policy given: --policy FILE");
	if (values.timeout && !values.wait)
		return osh_cli_misuse(command, "--timeout needs --wait");
	if (values.timeout &&
	    (osh_str_parse_u64(osh_str(values.timeout), WAIT_SECONDS_MAX, &seconds) < 0 ||
	     seconds == 0))
		return osh_cli_misuse(command, "--timeout needs seconds from 1 to %d, not '%s'",
				      WAIT_SECONDS_MAX, values.timeout);
	setting.wait = values.wait;
	setting.timeout_ms = (int)seconds * 1000;
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
