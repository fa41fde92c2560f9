/* A policy file on its way to the agent: read within the bound, sealed and digested,
 * and what the agent found in it on the way back. */
#ifndef OSH_CLI_POLICY_FILE_H
#define OSH_CLI_POLICY_FILE_H

#include <jansson.h>
#include <stddef.h>

#define OSH_SHA256_HEX_BYTES 65 /* with the NUL */

struct osh_policy_file {
	const char *path; /* borrowed; "-": standard input */
	int fd;           /* owned: its text in a sealed memfd; -1: none */
	char sha256[OSH_SHA256_HEX_BYTES];
};
#define OSH_POLICY_FILE_NONE ((struct osh_policy_file){ .fd = -1 })

/* Read it. What keeps it from being sent (missing, too large) is reported. Returns the
 * exit status; _done is safe in any case. */
int osh_policy_file_load(const char *path, struct osh_policy_file *ret_file);
void osh_policy_file_done(struct osh_policy_file *file);

/* Add its digest to the parameters of a call that it is attached to. They are taken over
 * and returned; NULL when memory ran out. */
json_t *osh_policy_file_describe(const struct osh_policy_file *file, json_t *parameters);

/* Print an array of the interface's Diagnostic, one "FILE:LINE:COLUMN: message" a
 * line, to standard error. `path` NULL: they are about no file. */
void osh_policy_file_report(const char *path, const json_t *diagnostics);

#endif
