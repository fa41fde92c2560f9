/* The verdict rings of the workers as the agent sees them: it reads them, and keeps them over the
 * death of whoever wrote there, proxy or agent. Private to the supervisor. */
#ifndef OSH_PROXY_RINGS_H
#define OSH_PROXY_RINGS_H

#include <stdbool.h>

#include "base/err.h"
#include "proxy/supervisor.h"

struct osh_rings;

/* Open those of `workers` workers, and whatever others there are of an agent before (may_make false:
 * only those). Waits until the proxy before has ended, and keeps the next agent waiting for ours.
 * The hook and its context are borrowed. Returns 0 or -errno with a message. */
int osh_rings_open(const char *pin_dir, unsigned workers, const struct osh_verdict_hook *hook,
		   struct osh_rings **ret_rings, struct osh_err *err);
void osh_rings_close(struct osh_rings *rings);

/* The memory of a worker's ring, and the lock that the writer holds as long as it lives; borrowed. */
int osh_rings_fd(const struct osh_rings *rings, unsigned worker);
int osh_rings_lock_fd(const struct osh_rings *rings);

/* Take what there is now. */
void osh_rings_drain(struct osh_rings *rings);
/* Nobody writes any more: take all there is, count what is not, and begin anew. */
void osh_rings_finish(struct osh_rings *rings);

#endif
