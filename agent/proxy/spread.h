/* Which worker serves a new connection. Few flows cost least together: their events come in one
 * epoll_wait(2), their upstream connections and names from one cache, and no second thread wants
 * a processor. So the first worker takes them all until it is busy, then the second as well. */
#ifndef OSH_PROXY_SPREAD_H
#define OSH_PROXY_SPREAD_H

#include "proxy/worker.h"

/* The worker that shall serve what `view`'s worker accepted: the first that is not busy, or that
 * one itself. Counted as taken by it. Only a worker that has this sandbox's policy is named. */
struct osh_worker *osh_spread_choose(struct osh_view *view);

/* At the end of a batch of events: what part of a processor this worker took of late. */
void osh_spread_measure(struct osh_worker *worker);

#endif
