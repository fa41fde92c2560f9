/* Options and arguments of one command, read by its table. Long names are never
 * abbreviated, a value is `--name VALUE`, `--name=VALUE` or `-n VALUE`, and what
 * follows `--` is left alone. */
#ifndef OSH_CLI_ARGS_H
#define OSH_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "cli.h"

#define OSH_LIST_MAX 64 /* how often one repeatable option may be given */

/* The values of a repeatable option: borrowed from argv, NULL-terminated. */
struct osh_list {
	const char *items[OSH_LIST_MAX + 1];
	size_t count;
};

enum osh_option_kind {
	OSH_OPTION_FLAG, /* bool */
	OSH_OPTION_TEXT, /* const char *, at most once */
	OSH_OPTION_LIST, /* struct osh_list */
	OSH_OPTION_KIND_COUNT,
};

struct osh_option {
	const char *name; /* long form, without "--" */
	char letter;      /* short form, 0: none */
	const char *value; /* what the help calls it, NULL for a flag */
	const char *help;
	enum osh_option_kind kind;
	size_t offset;     /* of the variable in the command's struct of values */
};

#define OSH_OPTIONS_END { .name = NULL }
/* The row every command about one sandbox has: `-n NAME` for the first argument. */
#define OSH_OPTION_NAME(type) \
	{ "name", 'n', "NAME", "the sandbox, in place of the first argument", OSH_OPTION_TEXT, \
	  offsetof(type, name) }
/* For records that come one after the other. */
#define OSH_OPTION_OUTPUT_STREAM(type) \
	{ "output", 'o', "FORMAT", "text (the default) or json", OSH_OPTION_TEXT, \
	  offsetof(type, output) }
#define OSH_OPTION_OUTPUT(type) \
	{ "output", 'o', "FORMAT", "text (the default), json or yaml", OSH_OPTION_TEXT, \
	  offsetof(type, output) }
/* The same for a list. */
#define OSH_OPTION_OUTPUT_LIST(type) \
	{ "output", 'o', "FORMAT", "text (the default), json, yaml, or name: one name a line", \
	  OSH_OPTION_TEXT, offsetof(type, output) }

struct osh_args {
	char **words; /* arguments before "--", in argv */
	int count;
	char **rest;  /* what follows "--", NULL-terminated; NULL: there was no "--" */
	int rest_count;
};

/* Fill `values` (zeroed by the caller) and *ret_args. False: the command is over,
 * with *ret_status (--help was answered, or a mistake was reported). */
bool osh_args_parse(struct osh_cli *cli, const struct osh_command *command, int argc, char **argv,
		    void *values, struct osh_args *ret_args, int *ret_status);

/* The sandbox that a command is about: its -n value or its only word. False: the
 * mistake was reported, *ret_status says how the command ends. */
bool osh_args_name(const struct osh_command *command, const char *option,
		   const struct osh_args *args, const char **ret_name, int *ret_status);
/* Every --env value is KEY=VALUE with a KEY. */
bool osh_args_env(const struct osh_command *command, const struct osh_list *env, int *ret_status);
/* No words, no "--". */
bool osh_args_none(const struct osh_command *command, const struct osh_args *args, int *ret_status);
enum osh_output {
	OSH_OUTPUT_TEXT,
	OSH_OUTPUT_JSON,
	OSH_OUTPUT_YAML,
	OSH_OUTPUT_NAME,
	OSH_OUTPUT_COUNT,
};
/* How many of these a command knows. */
enum osh_outputs {
	OSH_OUTPUTS_STREAM = OSH_OUTPUT_YAML,
	OSH_OUTPUTS_ONE = OSH_OUTPUT_NAME,
	OSH_OUTPUTS_LIST = OSH_OUTPUT_COUNT,
};
/* -o (NULL: not given). */
bool osh_args_output(const struct osh_command *command, const char *output, enum osh_outputs known,
		     enum osh_output *ret_output, int *ret_status);

/* The usage line, and the whole help with a line per option. */
void osh_args_usage(FILE *stream, const struct osh_command *command);
void osh_args_help(FILE *stream, const struct osh_command *command);

#endif
