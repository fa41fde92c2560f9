/* `openshell policy list`, `update` and `rollback`: the revisions of a sandbox's policy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "listing.h"
#include "out.h"
#include "policy/edit.h"
#include "policy_diff.h"

/* ---- list ---------------------------------------- */

struct list_values {
	const char *name, *output;
};

static const struct osh_option list_options[] = {
	OSH_OPTION_NAME(struct list_values),
	OSH_OPTION_POLICY_OUTPUT(struct list_values),
	OSH_OPTIONS_END,
};

static void add_row(struct osh_table *table, const json_t *revision)
{
	char hash[13], time[OSH_TIME_BYTES];

	snprintf(hash, sizeof(hash), "%s", osh_json_text(revision, "policy_hash"));
	osh_table_add_int(table, osh_json_int(revision, "revision"));
	osh_table_add(table, hash);
	osh_table_add(table, osh_out_time(osh_json_int(revision, "time"), time));
	osh_table_add(table, osh_json_text(revision, "status"));
}

static int print_revisions(const json_t *revisions)
{
	static const char *const heading[] = { "REVISION", "HASH", "TIME", "STATUS", NULL };
	static const struct osh_listing listing = { .heading = heading, .add_row = add_row };

	return osh_listing_print(&listing, revisions);
}

static int run_list(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	_cleanup_client_ struct osh_client client;
	struct osh_wire_reply reply = { 0 };
	struct list_values values = { 0 };
	enum osh_policy_output output;
	struct osh_args args;
	const char *name;
	int status;

	osh_client_init(&client);
	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_name(command, values.name, &args, &name, &status) ||
	    !osh_policy_output(command, values.output, &output, &status))
		return status;
	status = osh_client_open(cli, false, &client);
	if (status != OSH_EXIT_OK)
		return status;
	status = osh_client_call(&client, "PolicyList", json_pack("{s:s}", "name", name), &reply);
	if (status == OSH_EXIT_OK && output == OSH_POLICY_OUTPUT_TEXT)
		status = print_revisions(json_object_get(reply.parameters, "revisions"));
	else if (status == OSH_EXIT_OK)
		status = osh_policy_print(reply.parameters, output);
	osh_wire_reply_done(&reply);
	return status;
}

const struct osh_command osh_command_policy_list = {
	"policy list", "NAME", "List the revisions of a sandbox's policy", list_options, run_list,
};

/* ---- What a change did ---------------------------------------- */

static int fetch_source(struct osh_client *client, const char *name, uint64_t revision,
			struct osh_policy_source *ret_source)
{
	char *text = NULL;
	size_t len = 0;
	int status = osh_policy_fetch(client, name, revision, &text, &len, &revision);

	if (status == OSH_EXIT_OK && osh_policy_source_take(name, text, len, ret_source) < 0)
		status = OSH_EXIT_FAILED;
	return status;
}

/* From the revision before to the new one. What cannot be compared is no failure: the
 * change itself is done. */
static void print_effect(struct osh_client *client, const char *name, const json_t *answer)
{
	struct osh_policy_source before = { 0 }, after = { 0 };
	int status =
		fetch_source(client, name, (uint64_t)osh_json_int(answer, "previous"), &before);

	if (status == OSH_EXIT_OK)
		status = fetch_source(client, name, (uint64_t)osh_json_int(answer, "revision"),
				      &after);
	if (status == OSH_EXIT_OK)
		(void)osh_policy_diff_print(&before, &after, OSH_POLICY_OUTPUT_TEXT, "  ");
	osh_policy_source_done(&before);
	osh_policy_source_done(&after);
}

static int print_change(struct osh_client *client, const char *name, const json_t *answer,
			bool waited, enum osh_policy_output output)
{
	if (output != OSH_POLICY_OUTPUT_TEXT)
		return osh_policy_print(answer, output);
	printf("policy revision %lld of sandbox %s %s (sha256 %.12s)\n",
	       (long long)osh_json_int(answer, "revision"), name,
	       waited ? "is enforced" : "is on its way", osh_json_text(answer, "policy_hash"));
	print_effect(client, name, answer);
	return OSH_EXIT_OK;
}

/* Ask for a change and say what it did. `parameters` is taken over. */
static int change(struct osh_cli *cli, const char *method, json_t *parameters, const char *name,
		  int timeout_ms, enum osh_policy_output output)
{
	_cleanup_client_ struct osh_client client;
	struct osh_wire_reply reply = { 0 };
	char what[OSH_NAME_MAX + 32];
	int status;

	osh_client_init(&client);
	status = osh_client_open(cli, false, &client);
	if (status != OSH_EXIT_OK) {
		json_decref(parameters);
		return status;
	}
	snprintf(what, sizeof(what), "policy of %s", name);
	status = osh_policy_change(&client, method, parameters, -1, timeout_ms, what, &reply);
	if (status == OSH_EXIT_OK)
		status = print_change(&client, name, reply.parameters, timeout_ms > 0, output);
	osh_wire_reply_done(&reply);
	return status;
}

/* ---- update ---------------------------------------- */

struct update_values {
	const char *name, *rule_name, *timeout, *output;
	struct osh_list add_endpoints, remove_endpoints, remove_rules, add_allows, add_denies,
		binaries;
	bool dry_run, wait;
};

#define UPDATE_LIST(option, value, help, member)                                                   \
	{                                                                                          \
		option, 0, value, help, OSH_OPTION_LIST, offsetof(struct update_values, member)    \
	}

static const struct osh_option update_options[] = {
	OSH_OPTION_NAME(struct update_values),
	UPDATE_LIST("add-endpoint", "SPEC", "HOST:PORT[:ACCESS[:PROTOCOL[:ENFORCEMENT[:OPTIONS]]]]",
		    add_endpoints),
	UPDATE_LIST("remove-endpoint", "PLACE", "HOST:PORT, in every entry", remove_endpoints),
	UPDATE_LIST("remove-rule", "ENTRY", "an entry of network_policies, whole", remove_rules),
	UPDATE_LIST("add-allow", "RULE", "HOST:PORT:METHOD:PATH_GLOB", add_allows),
	UPDATE_LIST("add-deny", "RULE", "HOST:PORT:METHOD:PATH_GLOB", add_denies),
	UPDATE_LIST("binary", "PATH", "a program that may use each --add-endpoint", binaries),
	{ "rule-name", 0, "ENTRY", "the entry for the one --add-endpoint", OSH_OPTION_TEXT,
	  offsetof(struct update_values, rule_name) },
	{ "dry-run", 0, NULL, "print the changed policy, and change nothing", OSH_OPTION_FLAG,
	  offsetof(struct update_values, dry_run) },
	OSH_OPTION_WAIT(struct update_values),
	OSH_OPTION_POLICY_OUTPUT(struct update_values),
	OSH_OPTIONS_END,
};

static bool check_update(const struct osh_command *command, const struct update_values *v,
			 int *ret_status)
{
	const char *fault = NULL;

	if (v->add_endpoints.count + v->remove_endpoints.count + v->remove_rules.count +
		    v->add_allows.count + v->add_denies.count ==
	    0)
		fault = "nothing to change: give at least one --add-endpoint, --remove-endpoint, "
			"--remove-rule, --add-allow or --add-deny";
	else if (v->dry_run && v->wait)
		fault = "--dry-run changes nothing, so there is nothing to --wait for";
	else if (v->rule_name && v->add_endpoints.count != 1)
		fault = "--rule-name names the entry of exactly one --add-endpoint";
	else if (v->binaries.count && v->add_endpoints.count == 0)
		fault = "--binary says who may use an --add-endpoint, and there is none";
	if (fault)
		*ret_status = osh_cli_misuse(command, "%s", fault);
	return !fault;
}

static json_t *list_json(const struct osh_list *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(array, json_string(list->items[i]));
	return array;
}

static json_t *update_parameters(const struct update_values *v, const char *name)
{
	json_t *edits = json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:o}", "add_endpoints", list_json(&v->add_endpoints),
		"remove_endpoints", list_json(&v->remove_endpoints), "remove_rules",
		list_json(&v->remove_rules), "add_allows", list_json(&v->add_allows), "add_denies",
		list_json(&v->add_denies), "binaries", list_json(&v->binaries));

	if (edits && v->rule_name)
		json_object_set_new(edits, "rule_name", json_string(v->rule_name));
	return json_pack("{s:s, s:o, s:b}", "name", name, "edits", edits, "wait", v->wait);
}

static struct osh_policy_edits update_edits(const struct update_values *v)
{
	return (struct osh_policy_edits){
		.remove_rules = v->remove_rules.items,
		.remove_endpoints = v->remove_endpoints.items,
		.add_endpoints = v->add_endpoints.items,
		.add_allows = v->add_allows.items,
		.add_denies = v->add_denies.items,
		.binaries = v->binaries.items,
		.rule_name = v->rule_name,
	};
}

/* The text as the agent would make it, valid or not. */
static int print_edited(const char *name, char *text, size_t len, uint64_t previous,
			enum osh_policy_output output)
{
	struct osh_policy_source source;
	int r = osh_policy_source_take(name, text, len, &source);
	int status = OSH_EXIT_OK;

	osh_policy_source_report(&source, false);
	if (r < 0) {
		osh_cli_error("the changed policy is invalid: the agent would refuse it");
		status = OSH_EXIT_FAILED;
	}
	if (output == OSH_POLICY_OUTPUT_JSON) {
		json_t *json = json_pack("{s:s%, s:I, s:b}", "policy", text, len, "previous",
					 (json_int_t)previous, "valid", r == 0);
		int printed = osh_policy_print(json, output);

		status = printed == OSH_EXIT_OK ? status : printed;
		json_decref(json);
	} else {
		fwrite(text, 1, len, stdout);
	}
	osh_policy_source_done(&source);
	return status;
}

/* Only asks for the text: what the agent would do to it is done here. */
static int dry_run(struct osh_cli *cli, const struct update_values *v, const char *name,
		   enum osh_policy_output output)
{
	_cleanup_client_ struct osh_client client;
	_cleanup_free_ char *text = NULL;
	struct osh_policy_edits edits = update_edits(v);
	struct osh_err err = { 0 };
	char *edited = NULL;
	size_t len = 0, edited_len = 0;
	uint64_t revision = 0;
	int status;

	osh_client_init(&client);
	status = osh_client_open(cli, false, &client);
	if (status == OSH_EXIT_OK)
		status = osh_policy_fetch(&client, name, 0, &text, &len, &revision);
	if (status != OSH_EXIT_OK)
		return status;
	if (osh_policy_edit(osh_str_n(text, len), &edits, &edited, &edited_len, &err) < 0) {
		osh_cli_error("%s", err.message);
		return OSH_EXIT_FAILED;
	}
	return print_edited(name, edited, edited_len, revision, output);
}

static int run_update(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct update_values values = { 0 };
	enum osh_policy_output output;
	struct osh_args args;
	const char *name;
	int status, timeout_ms;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_name(command, values.name, &args, &name, &status) ||
	    !osh_policy_output(command, values.output, &output, &status) ||
	    !check_update(command, &values, &status) ||
	    !osh_policy_timeout(command, values.wait, values.timeout, &timeout_ms, &status))
		return status;
	if (values.dry_run)
		return dry_run(cli, &values, name, output);
	return change(cli, "PolicyUpdate", update_parameters(&values, name), name, timeout_ms,
		      output);
}

const struct osh_command osh_command_policy_update = {
	"policy update", "NAME",     "Change the policy of a running sandbox in place",
	update_options,	 run_update,
};

/* ---- rollback ---------------------------------------- */

struct rollback_values {
	const char *name, *revision, *timeout, *output;
	bool wait;
};

static const struct osh_option rollback_options[] = {
	OSH_OPTION_NAME(struct rollback_values),
	{ "rev", 0, "N", "the revision to go back to", OSH_OPTION_TEXT,
	  offsetof(struct rollback_values, revision) },
	OSH_OPTION_WAIT(struct rollback_values),
	OSH_OPTION_POLICY_OUTPUT(struct rollback_values),
	OSH_OPTIONS_END,
};

static int run_rollback(struct osh_cli *cli, const struct osh_command *command, int argc,
			char **argv)
{
	struct rollback_values values = { 0 };
	enum osh_policy_output output;
	uint64_t revision = 0;
	struct osh_args args;
	const char *name;
	int status, timeout_ms;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_name(command, values.name, &args, &name, &status) ||
	    !osh_policy_output(command, values.output, &output, &status) ||
	    !osh_policy_revision_option(command, values.revision, &revision, &status) ||
	    !osh_policy_timeout(command, values.wait, values.timeout, &timeout_ms, &status))
		return status;
	if (!values.revision)
		return osh_cli_misuse(command, "no revision given: --rev N");
	return change(cli, "PolicyRollback",
		      json_pack("{s:s, s:I, s:b}", "name", name, "revision", (json_int_t)revision,
				"wait", values.wait),
		      name, timeout_ms, output);
}

const struct osh_command osh_command_policy_rollback = {
	"policy rollback", "NAME --rev N", "Put an earlier revision into force again",
	rollback_options,  run_rollback,
};
