/* Refusals by the kernel, put into words and given to the recorder. A flood of equal
 * ones becomes one record a second with a count, so that it can neither drown other
 * records nor go unseen. What an agent has in hand when it is killed its successor tells as a
 * number. */
#ifndef OSH_CONTROL_REFUSALS_H
#define OSH_CONTROL_REFUSALS_H

#include "base/err.h"

struct osh_agent;
struct osh_refusals;

int osh_refusals_open(struct osh_agent *agent, struct osh_refusals **ret_refusals,
		      struct osh_err *err);
/* Record now what was held back (before a sandbox's entries go, for one). */
void osh_refusals_flush(struct osh_refusals *refusals);
/* The recorder was flushed: only what is held back would be lost by our death. */
void osh_refusals_written(struct osh_refusals *refusals);
/* Flushes first. */
void osh_refusals_close(struct osh_refusals *refusals);

#endif
