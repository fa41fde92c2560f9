/* The commands about providers. The secret goes from this process's environment
 * into a pipe and is overwritten here, before the agent is even asked. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "base/fd.h"
#include "base/secret.h"
#include "client.h"
#include "credential/provider.h"
#include "listing.h"
#include "out.h"

/* ---- create ---------------------------------------------------------------------------- */

/* Fits a pipe (64 KiB) whole, so that writing it waits for nobody. */
#define SECRET_BYTES_MAX 4096

struct create_values {
	const char *name, *type;
	bool from_existing;
};

static const struct osh_option create_options[] = {
	{ "name", 'n', "NAME", "its name ([a-z0-9][a-z0-9-]*, at most 63)", OSH_OPTION_TEXT,
	  offsetof(struct create_values, name) },
	{ "type", 0, "TYPE", "the service: github, ...", OSH_OPTION_TEXT,
	  offsetof(struct create_values, type) },
	{ "from-existing", 0, NULL, "read the secret from the type's environment variable",
	  OSH_OPTION_FLAG, offsetof(struct create_values, from_existing) },
	OSH_OPTIONS_END,
};

/* getenv points into the block that /proc/PID/environ shows: wiping it there takes
 * it out of sight. The name stays, its value becomes empty. */
static void wipe_variables(const struct osh_provider_type *type)
{
	for (size_t i = 0; type->variables[i]; i++) {
		char *value = getenv(type->variables[i]);

		if (value)
			osh_wipe(value, strlen(value));
	}
}

static const char *find_value(const struct osh_provider_type *type)
{
	for (size_t i = 0; type->variables[i]; i++) {
		const char *value = getenv(type->variables[i]);

		if (value && value[0])
			return value;
	}
	return NULL;
}

static int report_no_value(const struct osh_provider_type *type)
{
	char names[256] = "";

	for (size_t i = 0, len = 0; type->variables[i] && len < sizeof(names); i++)
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i ? " or " : "",
					type->variables[i]);
	osh_cli_error(
		"a %s provider takes its secret from %s, which is not set: %s=... openshell"
		" provider create ...",
		type->name, names, type->variables[0]);
	return OSH_EXIT_FAILED;
}

/* Write the secret into a new pipe. Returns the reading end or -1, reported. */
static int pipe_secret(const char *value)
{
	size_t len = strlen(value);
	int ends[2], r;

	if (len > SECRET_BYTES_MAX) {
		osh_cli_error("the secret is longer than %d bytes", SECRET_BYTES_MAX);
		return -1;
	}
	if (pipe2(ends, O_CLOEXEC) < 0) {
		osh_cli_error("cannot make a pipe: %s", strerror(errno));
		return -1;
	}
	r = osh_write_full(ends[1], value, len);
	osh_close(ends[1]);
	if (r < 0) {
		osh_cli_error("cannot write to a pipe: %s", strerror(-r));
		return osh_close(ends[0]);
	}
	return ends[0];
}

static int take_secret(const struct osh_provider_type *type, int *ret_fd)
{
	const char *value = find_value(type);
	int status = OSH_EXIT_FAILED;

	if (!value)
		return report_no_value(type);
	*ret_fd = pipe_secret(value);
	if (*ret_fd >= 0)
		status = OSH_EXIT_OK;
	wipe_variables(type);
	return status;
}

static int report_type(const char *name)
{
	const struct osh_provider_type *type;
	char names[512] = "";

	for (size_t i = 0, len = 0; (type = osh_provider_type_at(i)) && len < sizeof(names); i++)
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i ? ", " : "",
					type->name);
	osh_cli_error("unknown provider type '%s'; there are: %s", name, names);
	return OSH_EXIT_FAILED;
}

static int send_secret(struct osh_cli *cli, const struct create_values *values, int secret_fd)
{
	_cleanup_client_ struct osh_client client;
	struct osh_wire_reply reply;
	struct osh_err err = { 0 };
	int status, r;

	osh_client_init(&client);
	status = osh_client_open(cli, false, &client);
	if (status != OSH_EXIT_OK)
		return status;
	r = osh_client_ask(&client, "ProviderCreate",
			   json_pack("{s:s, s:s}", "name", values->name, "type", values->type),
			   &secret_fd, 1, OSH_CLIENT_TIMEOUT_MS, &reply, &err);
	status = osh_client_report(r, &reply, &err);
	osh_wire_reply_done(&reply);
	if (status == OSH_EXIT_OK)
		printf("provider %s created\n", values->name);
	return status;
}

static int run_create(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct create_values values = { 0 };
	const struct osh_provider_type *type;
	_cleanup_fd_ int secret_fd = -1;
	struct osh_args args;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_none(command, &args, &status))
		return status;
	if (!values.name || !values.type)
		return osh_cli_misuse(command, "%s is missing",
				      values.name ? "--type TYPE" : "--name NAME");
	if (!values.from_existing)
		return osh_cli_misuse(command,
				      "--from-existing is missing: a secret is read from the"
				      " environment, never from an argument");
	type = osh_provider_type_find(values.type);
	if (!type)
		return report_type(values.type);
	status = take_secret(type, &secret_fd);
	return status == OSH_EXIT_OK ? send_secret(cli, &values, secret_fd) : status;
}

const struct osh_command osh_command_provider_create = {
	"provider create", "--name NAME --type TYPE --from-existing",
	"Store the credentials for a service", create_options, run_create,
};

/* ---- list ------------------------------------------------------------------------------ */

struct list_values {
	const char *output;
};

static const struct osh_option list_options[] = {
	OSH_OPTION_OUTPUT_LIST(struct list_values),
	OSH_OPTIONS_END,
};

static void add_row(struct osh_table *table, const json_t *provider)
{
	char age[OSH_AGE_BYTES], variables[512];

	osh_table_add(table, osh_json_text(provider, "name"));
	osh_table_add(table, osh_json_text(provider, "type"));
	osh_table_add(table, osh_out_age(osh_json_int(provider, "created"), age));
	osh_json_join(json_object_get(provider, "variables"), variables, sizeof(variables));
	osh_table_add(table, variables);
}

static int run_list(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	static const char *const heading[] = { "NAME", "TYPE", "AGE", "VARIABLES", NULL };
	static const struct osh_listing listing = { "ProviderList", "providers", heading, add_row };
	struct list_values values = { 0 };
	enum osh_output output;
	struct osh_args args;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_none(command, &args, &status) ||
	    !osh_args_output(command, values.output, OSH_OUTPUTS_LIST, &output, &status))
		return status;
	return osh_listing_run(cli, &listing, NULL, output);
}

const struct osh_command osh_command_provider_list = {
	"provider list", "", "List the providers (never their secrets)", list_options, run_list,
};

/* ---- delete ---------------------------------------------------------------------------- */

struct delete_values {
	const char *name;
};

static const struct osh_option delete_options[] = {
	{ "name", 'n', "NAME", "the provider, in place of the argument", OSH_OPTION_TEXT,
	  offsetof(struct delete_values, name) },
	OSH_OPTIONS_END,
};

static int run_delete(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct delete_values values = { 0 };
	_cleanup_client_ struct osh_client client;
	struct osh_wire_reply reply = { 0 };
	struct osh_args args;
	const char *name;
	int status;

	osh_client_init(&client);
	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_args_name(command, values.name, &args, &name, &status))
		return status;
	status = osh_client_open(cli, false, &client);
	if (status == OSH_EXIT_OK)
		status = osh_client_call(&client, "ProviderDelete",
					 json_pack("{s:s}", "name", name), &reply);
	osh_wire_reply_done(&reply);
	if (status == OSH_EXIT_OK)
		printf("provider %s deleted\n", name);
	return status;
}

const struct osh_command osh_command_provider_delete = {
	"provider delete", "NAME", "Forget a provider and its secret", delete_options, run_delete,
};
