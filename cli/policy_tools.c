#include "policy_tools.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "openshell/limits.h"
#include "out.h"
#include "policy_file.h"

/* ---- Options ---------------------------------------- */

#define WAIT_SECONDS_DEFAULT 60
#define WAIT_SECONDS_MAX 3600
/* How much longer than the agent's own deadline its answer is waited for. */
#define ANSWER_GRACE_MS 5000

bool osh_policy_output(const struct osh_command *command, const char *output,
		       enum osh_policy_output *ret_output, int *ret_status)
{
	static const char *const names[OSH_POLICY_OUTPUT_COUNT] = { "text", "json", "yaml" };

	for (int i = 0; i < OSH_POLICY_OUTPUT_COUNT; i++) {
		if (!output || strcmp(output, names[i]) == 0) {
			*ret_output = (enum osh_policy_output)i;
			return true;
		}
	}
	*ret_status =
		osh_cli_misuse(command, "unknown output format '%s': text, json or yaml", output);
	return false;
}

bool osh_policy_timeout(const struct osh_command *command, bool wait, const char *timeout,
			int *ret_timeout_ms, int *ret_status)
{
	uint64_t seconds = WAIT_SECONDS_DEFAULT;

	if (timeout && !wait) {
		*ret_status = osh_cli_misuse(command, "--timeout needs --wait");
		return false;
	}
	if (timeout &&
	    (osh_str_parse_u64(osh_str(timeout), WAIT_SECONDS_MAX, &seconds) < 0 || seconds == 0)) {
		*ret_status =
			osh_cli_misuse(command, "--timeout needs seconds from 1 to %d, not '%s'",
				       WAIT_SECONDS_MAX, timeout);
		return false;
	}
	*ret_timeout_ms = wait ? (int)seconds * 1000 : 0;
	return true;
}

bool osh_policy_revision_option(const struct osh_command *command, const char *text,
				uint64_t *ret_revision, int *ret_status)
{
	uint64_t revision;

	if (!text)
		return true;
	if (osh_str_parse_u64(osh_str(text), UINT32_MAX, &revision) < 0 || revision == 0) {
		*ret_status =
			osh_cli_misuse(command, "--rev needs a number from 1, not '%s'", text);
		return false;
	}
	*ret_revision = revision;
	return true;
}

int osh_policy_print(const json_t *json, enum osh_policy_output output)
{
	return output == OSH_POLICY_OUTPUT_YAML ? osh_out_yaml(json) : osh_out_json(json);
}

/* ---- Policies from files ---------------------------------------- */

static void add_plain_error(struct osh_diags *diags, const char *what, const char *why)
{
	struct osh_diag *diag = &diags->items[diags->count++];

	*diag = (struct osh_diag){ .level = OSH_DIAG_ERROR };
	snprintf(diag->message, sizeof(diag->message), "%s%s", what, why);
	diags->errors++;
}

int osh_policy_source_take(const char *name, char *text, size_t len,
			   struct osh_policy_source *ret_source)
{
	*ret_source = (struct osh_policy_source){ .name = name, .text = text, .len = len };
	return osh_policy_parse(osh_str_n(text, len), &ret_source->diags, &ret_source->doc);
}

int osh_policy_source_load(const char *path, struct osh_policy_source *ret_source)
{
	char *text = NULL;
	size_t len = 0;
	bool is_stdin = strcmp(path, "-") == 0;
	int r;

	if (is_stdin)
		r = osh_read_fd(STDIN_FILENO, OSH_POLICY_BYTES_MAX, &text, &len);
	else
		r = osh_read_file(path, OSH_POLICY_BYTES_MAX, &text, &len);
	if (r == 0)
		return osh_policy_source_take(is_stdin ? "<stdin>" : path, text, len, ret_source);
	*ret_source = (struct osh_policy_source){ .name = is_stdin ? "<stdin>" : path };
	if (r == -EFBIG)
		add_plain_error(&ret_source->diags,
				"the policy is larger than 1 MiB, the most one may have", "");
	else
		add_plain_error(&ret_source->diags, "cannot read the policy: ",
				r == -EINVAL ? "not a regular file" : strerror(-r));
	return -EINVAL;
}

void osh_policy_source_report(const struct osh_policy_source *source, bool errors_only)
{
	const struct osh_diags *diags = &source->diags;
	size_t shown = 0;

	(void)fflush(stdout); /* in the order in which it was said, when both go to one file */
	for (size_t i = 0; i < diags->count; i++) {
		const struct osh_diag *diag = &diags->items[i];
		char line[2048];

		shown += diag->level == OSH_DIAG_ERROR;
		if (errors_only && diag->level != OSH_DIAG_ERROR)
			continue;
		if (diag->line == 0) {
			osh_cli_error("%s: %s", source->name, diag->message);
			continue;
		}
		osh_diag_format(diag, source->name, line, sizeof(line));
		fprintf(stderr, "%s\n", line);
	}
	if (diags->errors > shown)
		osh_cli_error("%s: %zu more errors are not shown", source->name,
			      diags->errors - shown);
}

void osh_policy_source_done(struct osh_policy_source *source)
{
	osh_policy_doc_free(source->doc);
	free(source->text);
	source->doc = NULL;
	source->text = NULL;
}

/* ---- The agent ---------------------------------------- */

int osh_policy_fetch(struct osh_client *client, const char *name, uint64_t revision,
		     char **ret_text, size_t *ret_len, uint64_t *ret_revision)
{
	json_t *parameters = json_pack("{s:s}", "name", name);
	struct osh_wire_reply reply;
	const json_t *policy;
	int status;

	if (parameters && revision)
		json_object_set_new(parameters, "revision", json_integer((json_int_t)revision));
	status = osh_client_call(client, "PolicyGet", parameters, &reply);
	if (status == OSH_EXIT_OK) {
		policy = json_object_get(reply.parameters, "policy");
		*ret_len = json_string_length(policy);
		*ret_text =
			strndup(json_is_string(policy) ? json_string_value(policy) : "", *ret_len);
		*ret_revision = (uint64_t)osh_json_int(reply.parameters, "revision");
		if (!*ret_text)
			status = osh_cli_no_memory();
	}
	osh_wire_reply_done(&reply);
	return status;
}

int osh_policy_change(struct osh_client *client, const char *method, json_t *parameters,
		      int fd, int timeout_ms, const char *what, struct osh_wire_reply *ret_reply)
{
	struct osh_err err = { 0 };
	const json_t *diagnostics;
	int r;

	if (parameters && timeout_ms)
		json_object_set_new(parameters, "timeout_ms", json_integer(timeout_ms));
	r = osh_client_ask(client, method, parameters, &fd, fd >= 0,
			   timeout_ms ? timeout_ms + ANSWER_GRACE_MS : OSH_CLIENT_TIMEOUT_MS,
			   ret_reply, &err);
	if (r == 0) {
		osh_policy_file_report(what, json_object_get(ret_reply->parameters, "warnings"));
		return OSH_EXIT_OK;
	}
	diagnostics = json_object_get(ret_reply->parameters, "diagnostics");
	osh_policy_file_report(what, diagnostics);
	if (json_array_size(diagnostics) > 0)
		osh_cli_error("%s; the policy in force stays", err.message);
	else
		osh_cli_error("%s", err.message);
	return osh_client_exit(r, ret_reply);
}
