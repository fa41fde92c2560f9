#include "args.h"

#include <string.h>

#include "base/str.h"

/* Understood by every command, so that `openshell status --socket X` works too. */
static const struct osh_option common_options[] = {
	{ "socket", 0, "PATH", "the agent's socket", OSH_OPTION_TEXT, 0 },
	{ "help", 'h', NULL, "this text", OSH_OPTION_FLAG, 0 },
	OSH_OPTIONS_END,
};

struct parser {
	struct osh_cli *cli;
	const struct osh_command *command;
	char *values;
	int argc, next;
	char **argv;
	int status; /* how the command ends when parsing stops */
};

/* Does `word` (behind the dashes) name this option? *ret_value is set to what
 * follows '=' or the letter, NULL when nothing does. */
static bool is_option(const struct osh_option *option, const char *word, bool is_long,
		      const char **ret_value)
{
	size_t len = strlen(option->name);

	if (!is_long) {
		if (!option->letter || word[0] != option->letter)
			return false;
		*ret_value = word[1] ? word + 1 : NULL;
		return true;
	}
	if (strncmp(word, option->name, len) != 0 || (word[len] && word[len] != '='))
		return false;
	*ret_value = word[len] ? word + len + 1 : NULL;
	return true;
}

static const struct osh_option *find_option(const struct osh_option *options, const char *word,
					    bool is_long, const char **ret_value)
{
	for (const struct osh_option *option = options; option->name; option++) {
		if (is_option(option, word, is_long, ret_value))
			return option;
	}
	return NULL;
}

/* A word that looks like an option is no value: `--name --no-keep` forgot one. */
static const char *take_value(struct parser *parser, const char *attached)
{
	const char *word;

	if (attached)
		return attached;
	if (parser->next == parser->argc)
		return NULL;
	word = parser->argv[parser->next];
	if (word[0] == '-' && word[1] != '\0')
		return NULL;
	parser->next++;
	return word;
}

static bool store_value(struct parser *parser, const struct osh_option *option, const char *value)
{
	char *target = parser->values + option->offset;
	struct osh_list *list;

	switch (option->kind) {
	case OSH_OPTION_FLAG:
		*(bool *)target = true;
		return true;
	case OSH_OPTION_TEXT:
		if (*(const char **)target) {
			parser->status = osh_cli_misuse(parser->command,
							"option --%s is given twice", option->name);
			return false;
		}
		*(const char **)target = value;
		return true;
	case OSH_OPTION_LIST:
		list = (struct osh_list *)target;
		if (list->count == OSH_LIST_MAX) {
			parser->status = osh_cli_misuse(parser->command,
							"option --%s is given more than %d times",
							option->name, OSH_LIST_MAX);
			return false;
		}
		list->items[list->count++] = value;
		return true;
	case OSH_OPTION_KIND_COUNT:
		break;
	}
	return false;
}

static bool apply_common(struct parser *parser, const struct osh_option *option, const char *value)
{
	if (option == &common_options[0]) {
		parser->cli->socket = value;
		parser->cli->socket_is_default = false;
		return true;
	}
	osh_args_help(stdout, parser->command);
	parser->status = OSH_EXIT_OK;
	return false;
}

static bool parse_option(struct parser *parser, const char *word)
{
	bool is_long = word[1] == '-';
	const char *name = word + (is_long ? 2 : 1), *value = NULL;
	const struct osh_option *option =
		find_option(parser->command->options, name, is_long, &value);
	bool common = !option;

	if (common)
		option = find_option(common_options, name, is_long, &value);
	if (!option) {
		parser->status = osh_cli_misuse(parser->command, "unknown option '%s'", word);
		return false;
	}
	if (!option->value && value) {
		parser->status = osh_cli_misuse(parser->command, "option --%s takes no value: '%s'",
						option->name, word);
		return false;
	}
	if (option->value) {
		value = take_value(parser, value);
		if (!value || !value[0]) {
			parser->status =
				osh_cli_misuse(parser->command, "option '%s' needs a value: %s",
					       word, option->value);
			return false;
		}
	}
	return common ? apply_common(parser, option, value) : store_value(parser, option, value);
}

bool osh_args_parse(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv,
		    void *values, struct osh_args *ret_args, int *ret_status)
{
	struct parser parser = {
		.cli = cli, .command = command, .values = values, .argc = argc, .argv = argv,
	};
	struct osh_args args = { .words = argv };

	while (parser.next < argc) {
		char *word = argv[parser.next++];

		if (strcmp(word, "--") == 0) {
			args.rest = argv + parser.next;
			args.rest_count = argc - parser.next;
			break;
		}
		if (word[0] != '-' || word[1] == '\0') {
			argv[args.count++] = word; /* at or before the place it came from */
			continue;
		}
		if (!parse_option(&parser, word)) {
			*ret_status = parser.status;
			return false;
		}
	}
	*ret_args = args;
	return true;
}

bool osh_args_name(const struct osh_command *command, const char *option,
		   const struct osh_args *args, const char **ret_name, int *ret_status)
{
	int extra = option ? 0 : 1;

	if (!option && args->count == 0) {
		*ret_status = osh_cli_misuse(command, "NAME is missing");
		return false;
	}
	if (args->count > extra) {
		*ret_status =
			osh_cli_misuse(command, "unexpected argument '%s'", args->words[extra]);
		return false;
	}
	if (args->rest) {
		*ret_status = osh_cli_misuse(command, "unexpected argument '--'");
		return false;
	}
	*ret_name = option ? option : args->words[0];
	return true;
}

bool osh_args_env(const struct osh_command *command, const struct osh_list *env, int *ret_status)
{
	for (size_t i = 0; i < env->count; i++) {
		const char *equals = strchr(env->items[i], '=');

		if (!equals || equals == env->items[i]) {
			*ret_status = osh_cli_misuse(command, "--env needs KEY=VALUE, not '%s'",
						     env->items[i]);
			return false;
		}
	}
	return true;
}

bool osh_args_none(const struct osh_command *command, const struct osh_args *args, int *ret_status)
{
	const char *word = args->count ? args->words[0] : args->rest_count ? args->rest[0] : NULL;

	if (word)
		*ret_status = osh_cli_misuse(command, "unexpected argument '%s'", word);
	return !word;
}

bool osh_args_output(const struct osh_command *command, const char *output, enum osh_outputs known,
		     enum osh_output *ret_output, int *ret_status)
{
	static const char *const names[OSH_OUTPUT_COUNT] = { "text", "json", "yaml", "name" };
	const char *list = known == OSH_OUTPUTS_LIST ? "text, json, yaml or name" :
			   known == OSH_OUTPUTS_ONE  ? "text, json or yaml" :
						       "text or json";

	for (int i = 0; i < (int)known; i++) {
		if (!output || strcmp(output, names[i]) == 0) {
			*ret_output = (enum osh_output)i;
			return true;
		}
	}
	*ret_status = osh_cli_misuse(command, "unknown output format '%s': %s", output, list);
	return false;
}

void osh_args_usage(FILE *stream, const struct osh_command *command)
{
	fprintf(stream, "usage: openshell %s%s%s%s\n", command->name,
		command->options->name ? " [OPTION...]" : "", command->arguments[0] ? " " : "",
		command->arguments);
}

static void print_option(FILE *stream, const struct osh_option *option)
{
	char head[64], letter[8] = "    ";

	if (option->letter)
		snprintf(letter, sizeof(letter), "-%c, ", option->letter);
	snprintf(head, sizeof(head), "%s--%s%s%s", letter, option->name, option->value ? " " : "",
		 option->value ? option->value : "");
	fprintf(stream, "  %-24s %s\n", head, option->help);
}

void osh_args_help(FILE *stream, const struct osh_command *command)
{
	osh_args_usage(stream, command);
	fprintf(stream, "\n%s.\n\noptions:\n", command->summary);
	for (const struct osh_option *option = command->options; option->name; option++)
		print_option(stream, option);
	for (const struct osh_option *option = common_options; option->name; option++)
		print_option(stream, option);
	fputs("\nSee openshell(1).\n", stream);
}
