/* How a sandbox was asked for, as far as it is needed to start it again or to find it: kept
 * in its state directory as recipe.json (0600), beside what state.h lists. */
#ifndef OSH_CONTROL_RECIPE_H
#define OSH_CONTROL_RECIPE_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "sandbox/sandbox.h"

#define OSH_LABELS_MAX 8 /* a list of all sandboxes is one message */
#define OSH_LABEL_BYTES_MAX 63 /* of a key, and of a value */

/* All of it owned. Zeroed: nothing was asked for. */
struct osh_recipe {
	json_t *env;     /* strings KEY=VALUE for everything inside; NULL none */
	json_t *labels;  /* object of strings; NULL none */
	json_t *command; /* the first command: argv; NULL none yet */
	json_t *command_env; /* what it was given beside env; NULL nothing */
	json_t *workdir; /* string: where programs start; NULL: the sandbox's home */
	struct osh_sandbox_limits limits;
};

void osh_recipe_done(struct osh_recipe *recipe);

/* Are these labels: at most OSH_LABELS_MAX, keys and values of [A-Za-z0-9._/-], keys not
 * empty? Returns 0 or -EINVAL with a message. */
int osh_recipe_check_labels(const json_t *labels, struct osh_err *err);

/* The interface's Limits (NULL: none). Returns 0 or -EINVAL with a message. */
int osh_recipe_limits(const json_t *json, struct osh_sandbox_limits *ret_limits, struct osh_err *err);

int osh_recipe_save(const char *dir, const struct osh_recipe *recipe, struct osh_err *err);
/* Returns 0, -ENOENT or -EBADMSG (damaged); *ret_recipe is untouched then. */
int osh_recipe_load(const char *dir, struct osh_recipe *ret_recipe, struct osh_err *err);

/* The interface's Recipe: what is shown of it (never the variables: they may be secret). */
json_t *osh_recipe_json(const struct osh_recipe *recipe);

#endif
