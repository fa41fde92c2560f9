/* What the policy commands share: output formats, waiting, policies from files. */
#ifndef OSH_CLI_POLICY_TOOLS_H
#define OSH_CLI_POLICY_TOOLS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "args.h"
#include "client.h"
#include "policy/policy.h"

enum osh_policy_output {
	OSH_POLICY_OUTPUT_TEXT,
	OSH_POLICY_OUTPUT_JSON,
	OSH_POLICY_OUTPUT_YAML,
	OSH_POLICY_OUTPUT_COUNT,
};

#define OSH_OPTION_POLICY_OUTPUT(type)                                                             \
	{                                                                                          \
		"output", 'o', "FORMAT", "text (the default), json or yaml", OSH_OPTION_TEXT,      \
			offsetof(type, output)                                                     \
	}
#define OSH_OPTION_WAIT(type)                                                                      \
	{ "wait",                                                                                  \
	  0,                                                                                       \
	  NULL,                                                                                    \
	  "return when it is enforced everywhere",                                                 \
	  OSH_OPTION_FLAG,                                                                         \
	  offsetof(type, wait) },                                                                  \
	{                                                                                          \
		"timeout", 0, "SECONDS", "with --wait: give up after that long (60)",              \
			OSH_OPTION_TEXT, offsetof(type, timeout)                                   \
	}

/* -o (NULL: not given). False: the mistake was reported. */
bool osh_policy_output(const struct osh_command *command, const char *output,
		       enum osh_policy_output *ret_output, int *ret_status);
/* --wait and --timeout to milliseconds; 0 without --wait. False: the mistake was reported. */
bool osh_policy_timeout(const struct osh_command *command, bool wait, const char *timeout,
			int *ret_timeout_ms, int *ret_status);
/* --rev; *ret_revision stays as it is without. False: the mistake was reported. */
bool osh_policy_revision_option(const struct osh_command *command, const char *text,
				uint64_t *ret_revision, int *ret_status);

/* Print an object as JSON or YAML. Returns the exit status. */
int osh_policy_print(const json_t *json, enum osh_policy_output output);

/* A policy file, or a revision of a sandbox: its text, and what was found in it. */
struct osh_policy_source {
	const char *name; /* borrowed: as it was given */
	char *text;	  /* owned; NULL: it could not be read */
	size_t len;
	struct osh_diags diags;
	struct osh_policy_doc *doc; /* owned; NULL: it is invalid */
};

/* Read and parse a file ("-": standard input). A file that cannot be read is a finding
 * too, without a place. Returns 0, or -EINVAL with an error in diags. */
int osh_policy_source_load(const char *path, struct osh_policy_source *ret_source);
/* Parse a text that is owned from now on. */
int osh_policy_source_take(const char *name, char *text, size_t len,
			   struct osh_policy_source *ret_source);
/* Print what was found, one a line, to standard error; `errors_only`: no warning. */
void osh_policy_source_report(const struct osh_policy_source *source, bool errors_only);
void osh_policy_source_done(struct osh_policy_source *source);

/* The text of a revision (0: the one in force), from the agent. The caller frees
 * *ret_text. Returns the exit status; a failure is reported. */
int osh_policy_fetch(struct osh_client *client, const char *name, uint64_t revision,
		     char **ret_text, size_t *ret_len, uint64_t *ret_revision);

/* Ask for something that may wait to be enforced (`fd`: attached, -1 none); report a refusal, with what is wrong in
 * the text that would have been in force (`what`: its name in these lines). Returns the
 * exit status; *ret_reply needs osh_wire_reply_done in any case. */
int osh_policy_change(struct osh_client *client, const char *method, json_t *parameters,
		      int fd, int timeout_ms, const char *what, struct osh_wire_reply *ret_reply);

#endif
