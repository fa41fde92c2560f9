/* --cpu, --memory, --pids: how they are written, and how they are shown. */
#ifndef OSH_CLI_LIMITS_H
#define OSH_CLI_LIMITS_H

#include <jansson.h>
#include <stdbool.h>

#include "args.h"

#define OSH_LIMITS_BYTES 512

/* The interface's Limits; NULL options are none. NULL: a mistake was reported. */
json_t *osh_limits_options(const struct osh_command *command, const char *cpu, const char *memory,
			   const char *pids, int *ret_status);
/* "cpu 1.5, memory 512M (not enforced: ...)" of the interface's Sandbox; "" without limits. */
const char *osh_limits_text(const json_t *sandbox, char buf[OSH_LIMITS_BYTES]);

#endif
