/* Names made up for sandboxes: "calm-otter". */
#ifndef OSH_CONTROL_NAMES_H
#define OSH_CONTROL_NAMES_H

#include <stdbool.h>

#include "openshell/limits.h"

/* Write a name that `is_taken` denies. Returns 0 or -EEXIST when none was found. */
int osh_name_make(bool (*is_taken)(void *context, const char *name), void *context,
		  char ret_name[static OSH_NAME_MAX]);

#endif
