/* Verdicts as a reader wants them: what the journal holds, then what happens,
 * each once, in order, and what was missed is counted. */
#ifndef OSH_CLI_FEED_H
#define OSH_CLI_FEED_H

#include <stdint.h>

#include "base/err.h"
#include "client.h"
#include "openshell/verdict.h"
#include "verdict/ring.h"

struct osh_feed {
	const char *sandbox;          /* borrowed; NULL: all */
	struct osh_ring_reader *ring; /* NULL: not open */
	uint64_t last_id;             /* of the newest verdict given out, 0: none */
	uint64_t newest_ns;           /* the latest time among those */
	char room[OSH_VERDICT_BYTES_MAX];
};

/* With `sandbox` most of what is about others is left out early; `each` and the
 * caller of osh_feed_next still see some of it. */
void osh_feed_init(struct osh_feed *feed, const char *sandbox);
void osh_feed_close(struct osh_feed *feed);

/* Open the agent's ring, then give out what its journal holds: of the newest
 * `bytes_max` bytes the verdicts not older than since_ns. Opening in this order
 * leaves no gap, and osh_feed_next leaves out what both have. After the agent was
 * restarted the same feed is opened again on a new client, and goes on where it
 * was. A verdict's strings are borrowed for the call of `each`. Returns 0 or -errno
 * with err. */
int osh_feed_open(struct osh_feed *feed, struct osh_client *client, uint64_t bytes_max,
		  uint64_t since_ns,
		  void (*each)(void *context, const struct osh_verdict *verdict), void *context,
		  struct osh_err *err);

/* The next live verdict: 1 and *ret_verdict (strings live until the next call), 0
 * when there is none now. *ret_lost: verdicts that happened before it and are gone,
 * because this reader was too slow. */
int osh_feed_next(struct osh_feed *feed, struct osh_verdict *ret_verdict, uint64_t *ret_lost);
/* Wait for one, at most timeout_ms. */
void osh_feed_wait(struct osh_feed *feed, int timeout_ms);

#endif
