/* `openshell status`: what the agent runs, what the kernel offers and what stands
 * in where it does not. */
#include <stdio.h>
#include <string.h>

#include "args.h"
#include "client.h"
#include "listing.h"
#include "out.h"

struct values {
	const char *output;
};

static const struct osh_option options[] = {
	OSH_OPTION_OUTPUT(struct values),
	OSH_OPTIONS_END,
};

static void print_agent(const json_t *status)
{
	enum { WIDTH = 18 };
	char age[OSH_AGE_BYTES], text[128];

	snprintf(text, sizeof(text), "%s, pid %lld, up %s", osh_json_text(status, "version"),
		 (long long)osh_json_int(status, "pid"),
		 osh_out_age(osh_json_int(status, "started"), age));
	osh_out_field("openshelld", WIDTH, text);
	snprintf(text, sizeof(text), "pid %lld, %lld workers, %lld restarts",
		 (long long)osh_json_int(status, "proxy_pid"),
		 (long long)osh_json_int(status, "workers"),
		 (long long)osh_json_int(status, "proxy_restarts"));
	osh_out_field("proxy", WIDTH, text);
	osh_out_field("state directory", WIDTH, osh_json_text(status, "state_dir"));
	osh_out_field("run directory", WIDTH, osh_json_text(status, "run_dir"));
	osh_out_field_int("sandboxes", WIDTH, osh_json_int(status, "sandboxes"));
	osh_json_join(json_object_get(status, "permissive"), text, sizeof(text));
	if (*text)
		osh_out_field("permissive", WIDTH, text);
	osh_out_field_int("verdicts lost", WIDTH, osh_json_int(status, "verdicts_lost"));
	osh_out_field_int("not in journal", WIDTH, osh_json_int(status, "journal_dropped"));
	osh_out_field_int("oldest verdict", WIDTH, osh_json_int(status, "journal_first"));
}

static void add_feature(struct osh_table *table, const json_t *feature)
{
	bool present = json_is_true(json_object_get(feature, "present"));

	osh_table_add(table, osh_json_text(feature, "name"));
	osh_table_add(table, present ? "yes" : "no");
	osh_table_add(table, present ? NULL : osh_json_text(feature, "fallback"));
}

static int print_features(const json_t *features)
{
	static const char *const heading[] = { "KERNEL FEATURE", "FOUND", "FALLBACK IN USE", NULL };
	static const struct osh_listing listing = { .heading = heading, .add_row = add_feature };

	if (json_array_size(features) == 0)
		return OSH_EXIT_OK;
	putchar('\n');
	return osh_listing_print(&listing, features);
}

static int print_counters(json_t *counters)
{
	struct osh_table table;
	const char *name;
	json_t *value;
	int status;

	if (json_object_size(counters) == 0)
		return OSH_EXIT_OK;
	osh_table_init(&table, 2);
	osh_table_add(&table, "COUNTER");
	osh_table_add(&table, "VALUE");
	json_object_foreach(counters, name, value) {
		osh_table_add(&table, name);
		osh_table_add_int(&table, json_integer_value(value));
	}
	putchar('\n');
	status = osh_table_print(&table, stdout);
	osh_table_done(&table);
	return status;
}

static int print_status(const json_t *status)
{
	int result;

	print_agent(status);
	result = print_features(json_object_get(status, "features"));
	return result == OSH_EXIT_OK ? print_counters(json_object_get(status, "counters")) : result;
}

static int run_status(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct values values = { 0 };
	_cleanup_client_ struct osh_client client;
	struct osh_wire_reply reply = { 0 };
	enum osh_output output;
	struct osh_args args;
	int status;

	osh_client_init(&client);
	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_none(command, &args, &status) ||
	    !osh_args_output(command, values.output, OSH_OUTPUTS_ONE, &output, &status))
		return status;
	status = osh_client_open(cli, false, &client);
	if (status == OSH_EXIT_OK)
		status = osh_client_call(&client, "Status", json_object(), &reply);
	if (status == OSH_EXIT_OK)
		status = output == OSH_OUTPUT_JSON ? osh_out_json(reply.parameters) :
			 output == OSH_OUTPUT_YAML ? osh_out_yaml(reply.parameters) :
						     print_status(reply.parameters);
	osh_wire_reply_done(&reply);
	return status;
}

const struct osh_command osh_command_status = {
	"status", "",	      "Show the agent, the kernel features found and the counters",
	options,  run_status,
};
