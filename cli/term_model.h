/* What the dashboard shows, without a terminal: the newest verdicts, the filters
 * and the selection. */
#ifndef OSH_CLI_TERM_MODEL_H
#define OSH_CLI_TERM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openshell/limits.h"
#include "openshell/verdict.h"

/* Kept in memory; the oldest go first. At most 4 KiB each, some 400 bytes as a rule. */
#define OSH_TERM_ENTRIES_MAX 8192
#define OSH_TERM_FIND_BYTES 64

/* One verdict, in the byte form of agent/verdict/ring.h. */
struct osh_term_entry {
	char *bytes; /* owned */
	size_t len;
};

/* Entries are numbered from 0 and never renumbered: entry n is in slot n modulo the
 * maximum as long as first <= n < end. */
struct osh_term_model {
	struct osh_term_entry *entries;
	uint64_t first, end;
	uint64_t *shown;             /* numbers that pass the filters: a ring of its own */
	size_t shown_at, shown_count;
	bool denied_only;
	char sandbox[OSH_NAME_MAX];  /* "": all */
	char find[OSH_TERM_FIND_BYTES]; /* "": everything; matched without case */
	uint64_t selected;           /* number of an entry that is shown, if any is */
	bool follow;                 /* the selection stays on the newest */
	size_t top;                  /* first row of the list on the screen */
	uint64_t lost;               /* verdicts that came too fast to be read */
};

/* Returns 0 or -ENOMEM. */
int osh_term_model_init(struct osh_term_model *model);
void osh_term_model_done(struct osh_term_model *model);

/* A verdict arrived. One that finds no memory counts as lost. */
void osh_term_model_add(struct osh_term_model *model, const struct osh_verdict *verdict);

/* Filters: the selection stays where it is if it can, else goes to its neighbour. */
void osh_term_model_set_denied(struct osh_term_model *model, bool denied_only);
void osh_term_model_set_sandbox(struct osh_term_model *model, const char *sandbox);
void osh_term_model_set_find(struct osh_term_model *model, const char *find);

/* Move the selection by rows, or to an end; reaching the newest row follows. */
void osh_term_model_move(struct osh_term_model *model, long rows);
void osh_term_model_home(struct osh_term_model *model);
void osh_term_model_follow(struct osh_term_model *model);

/* Row of the selection among the shown ones; 0 when nothing is shown. */
size_t osh_term_model_row(const struct osh_term_model *model);
/* Scroll so that the selection is among `height` rows; returns the first one. */
size_t osh_term_model_scroll(struct osh_term_model *model, size_t height);
/* The verdict in a row of the list; its strings live as long as the entry. Returns
 * 0 or -ENOENT. */
int osh_term_model_get(const struct osh_term_model *model, size_t row,
		       struct osh_verdict *ret_verdict);

#endif
