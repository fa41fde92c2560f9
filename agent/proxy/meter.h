/* The policy's `limits`: how many flows, how many new ones a second, how many bytes a second.
 * One meter for the sandbox as a whole, one for each entry that has limits of its own; all
 * workers count on the same ones, by atomics alone.
 *
 * The main thread makes the meters of a policy (osh_meters_init) before any worker sees it.
 * Those that the policy before had, too, go on counting under the new limits. */
#ifndef OSH_PROXY_METER_H
#define OSH_PROXY_METER_H

#include <stdint.h>

#include "policy/policy.h"

struct osh_meter;

struct osh_meters {
	struct osh_meter *sandbox;   /* counted; NULL: no limits on the whole */
	struct osh_meter **entries;  /* owned, each counted: by osh_decision.entry; NULL: without */
	uint32_t count;
};

/* Make those of `policy`; `before` are those of the policy that it follows, NULL when it is the
 * first. Returns 0 or -ENOMEM, with nothing to free then. */
int osh_meters_init(struct osh_meters *meters, const struct osh_policy *policy,
		    const struct osh_meters *before);
void osh_meters_done(struct osh_meters *meters);
/* The one to count a flow on that this decision allowed; NULL: no limit is for it. Borrowed. */
struct osh_meter *osh_meters_of(const struct osh_meters *meters, const struct osh_decision *decision);

/* Count a new flow. NULL: it is counted and holds the meter until osh_meter_leave. Else it
 * must not be, and this says why (static text). */
const char *osh_meter_enter(struct osh_meter *meter);
/* Count one that lives already: it came from another meter, and no limit ends what was let in. */
void osh_meter_join(struct osh_meter *meter);
void osh_meter_leave(struct osh_meter *meter);

/* Count a name that is to be asked of the host's DNS servers and was not of late, on the sandbox as a whole
 * (limits.h). NULL: it may be; else why not (static text). */
const char *osh_meter_ask(struct osh_meter *meter);

/* Bytes of both directions, each counted once, between sandbox and proxy. Beyond the limit
 * they wait where they are: this is back pressure, and nothing is lost or cut. All take NULL.
 *
 * Milliseconds until some may move, 0: now. */
uint64_t osh_meter_wait_ms(const struct osh_meter *meter);
/* The most to move at once, so that flows take turns. */
size_t osh_meter_piece(const struct osh_meter *meter);
/* Which limit it is that makes bytes wait now (static text), for a record. NULL: that of this
 * limit was asked for within the last second. */
const char *osh_meter_tell(struct osh_meter *meter);
void osh_meter_moved(struct osh_meter *meter, size_t bytes);

#endif
