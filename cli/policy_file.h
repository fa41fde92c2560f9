/* A policy file on its way to the agent: read within the bound, with its digest,
 * and what the agent found in it on the way back. */
#ifndef OSH_CLI_POLICY_FILE_H
#define OSH_CLI_POLICY_FILE_H

#include <jansson.h>
#include <stddef.h>

#include "sha256.h"

struct osh_policy_file {
	const char *path; /* borrowed; "-": standard input */
	char *text;       /* owned */
	size_t len;
	char sha256[OSH_SHA256_HEX_BYTES];
};

/* Read it. What keeps it from being sent (missing, too large, not UTF-8) is
 * reported. Returns the exit status; _done is safe in any case. */
int osh_policy_file_load(const char *path, struct osh_policy_file *ret_file);
void osh_policy_file_done(struct osh_policy_file *file);

/* Add "policy" and "policy_sha256" to a call's parameters, which are taken over
 * and returned; NULL when memory ran out. */
json_t *osh_policy_file_attach(const struct osh_policy_file *file, json_t *parameters);

/* Print an array of the interface's Diagnostic, one "FILE:LINE:COLUMN: message" a
 * line, to standard error. `path` NULL: they are about no file. */
void osh_policy_file_report(const char *path, const json_t *diagnostics);

#endif
