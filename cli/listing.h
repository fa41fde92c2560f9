/* What the list commands share: one call, and its array in the form that was asked for. */
#ifndef OSH_CLI_LISTING_H
#define OSH_CLI_LISTING_H

#include "args.h"
#include "cli.h"
#include "out.h"

struct osh_selector;

struct osh_listing {
	const char *method, *array; /* the call, and the field of its reply */
	const char *const *heading; /* NULL-terminated */
	/* Adds one item's cells, as many as the heading has. */
	void (*add_row)(struct osh_table *table, const json_t *item);
};

/* The table of an array. Returns the exit status. */
int osh_listing_print(const struct osh_listing *listing, const json_t *array);

/* Ask the agent and print what `selector` (NULL: everything) chooses, as `output`. Returns the
 * exit status. */
int osh_listing_run(struct osh_cli *cli, const struct osh_listing *listing,
		    const struct osh_selector *selector, enum osh_output output);

#endif
