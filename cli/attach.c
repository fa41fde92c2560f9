/* `openshell sandbox attach`: network rules for a cgroup that exists. */
#include <stdio.h>

#include "args.h"
#include "client.h"
#include "out.h"
#include "policy_file.h"

struct values {
	const char *name, *policy, *cgroup;
	bool allow_degraded, keep_established;
};

static const struct osh_option options[] = {
	{ "cgroup", 0, "PATH", "its directory in the cgroup2 hierarchy", OSH_OPTION_TEXT,
	  offsetof(struct values, cgroup) },
	{ "name", 'n', "NAME", "what to call it ([a-z0-9][a-z0-9-]*, at most 63); else one is made up",
	  OSH_OPTION_TEXT, offsetof(struct values, name) },
	{ "policy", 0, "FILE", "its policy ('-': standard input)", OSH_OPTION_TEXT,
	  offsetof(struct values, policy) },
	{ "allow-degraded", 0, NULL, "also where not all can be enforced: it is shown for as long as it lasts",
	  OSH_OPTION_FLAG, offsetof(struct values, allow_degraded) },
	{ "keep-established", 0, NULL, "record sockets that no rule reaches, instead of refusing",
	  OSH_OPTION_FLAG, offsetof(struct values, keep_established) },
	OSH_OPTIONS_END,
};

/* Of an attached cgroup, or why it is none. */
static void say_degraded(const json_t *from)
{
	const json_t *row;
	size_t i;

	json_array_foreach(json_object_get(from, "degraded"), i, row)
		osh_cli_note("not enforced: %s", json_string_value(row));
}

static int attach(struct osh_client *client, const struct values *values, const struct osh_policy_file *policy)
{
	json_t *parameters = json_pack("{s:s, s:s*, s:b, s:b}", "cgroup", values->cgroup, "name", values->name,
				       "allow_degraded", values->allow_degraded, "keep_established",
				       values->keep_established);
	struct osh_wire_reply reply;
	struct osh_err err = { 0 };
	int r, status;

	client->doing = "attaching";
	r = osh_client_ask(client, "SandboxAttachCgroup", parameters ? osh_policy_file_describe(policy, parameters) : NULL,
			   &policy->fd, 1, OSH_CLIENT_TIMEOUT_MS, &reply, &err);
	status = osh_client_exit(r, &reply);
	if (status == OSH_EXIT_OK) {
		osh_policy_file_report(values->policy, json_object_get(reply.parameters, "warnings"));
		say_degraded(json_object_get(reply.parameters, "sandbox"));
		puts(osh_json_text(json_object_get(reply.parameters, "sandbox"), "name"));
	} else {
		osh_policy_file_report(values->policy, json_object_get(reply.parameters, "diagnostics"));
		say_degraded(reply.parameters);
		osh_cli_error("%s", err.message);
	}
	osh_wire_reply_done(&reply);
	return status;
}

static int run_attach(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct osh_policy_file policy = OSH_POLICY_FILE_NONE;
	_cleanup_client_ struct osh_client client;
	struct values values = { 0 };
	struct osh_args args;
	int status;

	osh_client_init(&client);
	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_none(command, &args, &status))
		return status;
	if (!values.cgroup || !values.policy)
		return osh_cli_misuse(command, "%s is missing", values.cgroup ? "--policy" : "--cgroup");
	status = osh_policy_file_load(values.policy, &policy);
	if (status == OSH_EXIT_OK)
		status = osh_client_open(cli, true, &client);
	if (status == OSH_EXIT_OK)
		status = attach(&client, &values, &policy);
	osh_policy_file_done(&policy);
	return status;
}

const struct osh_command osh_command_sandbox_attach = {
	"sandbox attach", "", "Put rules on the network of a cgroup that exists", options, run_attach,
};
