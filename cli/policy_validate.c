/* `openshell policy validate`: what an agent would say about policy files, without one. */
#include <stdio.h>
#include <stdlib.h>

#include "policy_tools.h"

struct values {
	const char *output;
};

static const struct osh_option options[] = {
	OSH_OPTION_POLICY_OUTPUT(struct values),
	OSH_OPTIONS_END,
};

static json_t *describe_diag(const struct osh_diag *diag)
{
	return json_pack("{s:s, s:I, s:I, s:s}", "level",
			 diag->level == OSH_DIAG_ERROR ? "error" : "warning", "line",
			 (json_int_t)diag->line, "column", (json_int_t)diag->column, "message",
			 diag->message);
}

static json_t *describe_source(const struct osh_policy_source *source)
{
	json_t *list = json_array();

	for (size_t i = 0; i < source->diags.count; i++)
		json_array_append_new(list, describe_diag(&source->diags.items[i]));
	return json_pack("{s:s, s:b, s:I, s:I, s:o}", "file", source->name, "valid",
			 source->doc != NULL, "errors", (json_int_t)source->diags.errors,
			 "warnings", (json_int_t)source->diags.warnings, "diagnostics", list);
}

/* Errors and warnings go where a compiler's go; the sum of it to standard output. */
static void say(const struct osh_policy_source *source)
{
	osh_policy_source_report(source, false);
	if (source->doc)
		printf("%s: valid, %zu warning%s\n", source->name, source->diags.warnings,
		       source->diags.warnings == 1 ? "" : "s");
	else
		printf("%s: invalid, %zu error%s\n", source->name, source->diags.errors,
		       source->diags.errors == 1 ? "" : "s");
}

static int run_validate(struct osh_cli *cli, const struct osh_command *command, int argc,
			char **argv)
{
	struct values values = { 0 };
	enum osh_policy_output output;
	int status, result = OSH_EXIT_OK;
	struct osh_args args;
	json_t *files;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_policy_output(command, values.output, &output, &status))
		return status;
	if (args.rest)
		return osh_cli_misuse(command, "unexpected argument '--'");
	if (args.count == 0)
		return osh_cli_misuse(command, "FILE is missing");
	files = json_array();
	for (int i = 0; i < args.count; i++) {
		struct osh_policy_source source;

		if (osh_policy_source_load(args.words[i], &source) < 0)
			result = OSH_EXIT_FAILED;
		if (output == OSH_POLICY_OUTPUT_TEXT)
			say(&source);
		else
			json_array_append_new(files, describe_source(&source));
		osh_policy_source_done(&source);
	}
	if (output != OSH_POLICY_OUTPUT_TEXT) {
		json_t *all =
			json_pack("{s:b, s:O}", "valid", result == OSH_EXIT_OK, "files", files);

		status = osh_policy_print(all, output);
		result = status == OSH_EXIT_OK ? result : status;
		json_decref(all);
	}
	json_decref(files);
	return result;
}

const struct osh_command osh_command_policy_validate = {
	"policy validate", "FILE...", "Check policy files, without an agent", options, run_validate,
};
