/* `openshell policy diff`: which program gains or loses what, from one policy to another. */
#include "policy_diff.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "out.h"
#include "policy/diff.h"

#define LINE_BYTES 8192

/* ---- Printing ---------------------------------------- */

static json_t *text_json(struct osh_str text)
{
	return text.len ? json_stringn(text.data, text.len) : json_null();
}

static json_t *describe_change(const struct osh_change *change)
{
	const struct osh_grant *grant = &change->grant;

	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:s, s:o, s:o, s:o}", "change",
			 change->is_gain ? "gained" : "lost", "kind",
			 osh_grant_kind_name(grant->kind), "binary", text_json(grant->binary),
			 "host", text_json(grant->host), "port",
			 grant->port_host ? json_integer(grant->port_host) : json_null(),
			 "protocol", osh_l7_name(grant->l7), "method", text_json(grant->method),
			 "path", text_json(grant->path), "detail", text_json(grant->detail));
}

static int print_json(const struct osh_changes *changes, enum osh_policy_output output)
{
	json_t *list = json_array();
	int status;

	for (size_t i = 0; i < changes->count; i++)
		json_array_append_new(list, describe_change(&changes->items[i]));
	list = json_pack("{s:o}", "changes", list);
	status = osh_policy_print(list, output);
	json_decref(list);
	return status;
}

static void print_text(const struct osh_changes *changes, const char *prefix)
{
	char line[LINE_BYTES], escaped[LINE_BYTES];

	for (size_t i = 0; i < changes->count; i++) {
		osh_change_format(&changes->items[i], line, sizeof(line));
		osh_str_escape(osh_str(line), escaped, sizeof(escaped));
		printf("%s%s\n", prefix, escaped);
	}
	if (changes->is_coarse)
		osh_cli_note(
			"so much differs that it was not looked whether one pattern holds another");
}

int osh_policy_diff_print(const struct osh_policy_source *before,
			  const struct osh_policy_source *after, enum osh_policy_output output,
			  const char *prefix)
{
	struct osh_changes changes;
	int status = OSH_EXIT_OK;
	int r = osh_policy_diff(before->doc, after->doc, &changes);

	if (r == -E2BIG) {
		osh_cli_error("the policies say more than can be compared: compare parts of them");
		return OSH_EXIT_FAILED;
	}
	if (r < 0)
		return osh_cli_no_memory();
	if (output == OSH_POLICY_OUTPUT_TEXT)
		print_text(&changes, prefix);
	else
		status = print_json(&changes, output);
	osh_changes_done(&changes);
	return status;
}

/* ---- The command ---------------------------------------- */

struct values {
	const char *output;
};

static const struct osh_option options[] = {
	OSH_OPTION_POLICY_OUTPUT(struct values),
	OSH_OPTIONS_END,
};

/* "NAME@3": a revision of a sandbox, unless a file has that name. */
static bool is_revision(const char *word, char *name, size_t size, uint64_t *ret_revision)
{
	const char *at = strrchr(word, '@');

	return at && at != word && access(word, F_OK) < 0 &&
	       osh_str_parse_u64(osh_str(at + 1), UINT32_MAX, ret_revision) == 0 &&
	       *ret_revision > 0 &&
	       osh_str_copy(osh_str_n(word, (size_t)(at - word)), name, size) == 0;
}

static int load_revision(struct osh_cli *cli, const char *word, const char *name, uint64_t revision,
			 struct osh_policy_source *ret_source)
{
	_cleanup_client_ struct osh_client client;
	char *text = NULL;
	size_t len = 0;
	int status;

	osh_client_init(&client);
	status = osh_client_open(cli, false, &client);
	if (status == OSH_EXIT_OK)
		status = osh_policy_fetch(&client, name, revision, &text, &len, &revision);
	if (status == OSH_EXIT_OK && osh_policy_source_take(word, text, len, ret_source) < 0) {
		osh_policy_source_report(ret_source, true);
		status = OSH_EXIT_FAILED;
	}
	return status;
}

static int load(struct osh_cli *cli, const char *word, struct osh_policy_source *ret_source)
{
	char name[OSH_NAME_MAX];
	uint64_t revision;

	if (is_revision(word, name, sizeof(name), &revision))
		return load_revision(cli, word, name, revision, ret_source);
	if (osh_policy_source_load(word, ret_source) == 0)
		return OSH_EXIT_OK;
	osh_policy_source_report(ret_source, true);
	return OSH_EXIT_FAILED;
}

static int run_diff(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv)
{
	struct osh_policy_source before = { 0 }, after = { 0 };
	struct values values = { 0 };
	enum osh_policy_output output;
	struct osh_args args;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_policy_output(command, values.output, &output, &status))
		return status;
	if (args.rest || args.count != 2)
		return osh_cli_misuse(command,
				      "two policies are needed: each a FILE or NAME@REVISION");
	status = load(cli, args.words[0], &before);
	if (status == OSH_EXIT_OK)
		status = load(cli, args.words[1], &after);
	if (status == OSH_EXIT_OK)
		status = osh_policy_diff_print(&before, &after, output, "");
	osh_policy_source_done(&before);
	osh_policy_source_done(&after);
	return status;
}

const struct osh_command osh_command_policy_diff = {
	"policy diff", "A B",	 "Show which program gains or loses what between two policies",
	options,       run_diff,
};
