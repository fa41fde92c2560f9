/* Upstream names to addresses: c-ares in one worker's loop (honours /etc/hosts and
 * /etc/resolv.conf as they are now), with a small cache that honours the TTL. Only names that a
 * verdict allowed are ever asked for, and each by one question at a time. */
#ifndef OSH_PROXY_RESOLVER_H
#define OSH_PROXY_RESOLVER_H

#include <netinet/in.h>
#include <stddef.h>

#include "base/loop.h"

#define OSH_ADDRESSES_MAX 16 /* of one answer; the rest is ignored */

struct osh_resolver;
struct osh_lookup;
struct osh_meter;

/* `servers`: comma-separated "addr[:port]", empty: the system's. NULL on failure. */
struct osh_resolver *osh_resolver_new(struct osh_loop *loop, const char *servers);

/* How long a DNS server may be silent, each time that it is asked; how long a failure is an answer for others
 * who ask; and how often the system's servers are looked for at most. For tests to change. */
extern struct osh_resolver_pace {
	unsigned query_ms, failed_ms, look_ms;
} osh_resolver_pace;
/* Where the system's servers stand, and their port. For tests to change. */
extern struct osh_resolver_system {
	char *conf;
	uint16_t port_host;
} osh_resolver_system;

struct osh_addresses {
	struct in6_addr items[OSH_ADDRESSES_MAX]; /* IPv4-mapped for IPv4 */
	size_t count;
	bool timed_out; /* there are none because no server answered in time */
};

/* Ask; a gateway's name (osh_host_is_gateway) is looked for in /etc/hosts alone. IPv6 and IPv4
 * are asked for at once, and one that stays silent holds the other up for a moment only. What was not
 * asked of the servers of late is counted on `payer`, which may refuse it; NULL: on nobody. `done`
 * is called exactly once unless cancelled, possibly before this returns: with addresses, or with
 * error text (not NULL) and none. Returns a handle to cancel with, NULL when `done` was already
 * called. `host` is copied. */
struct osh_lookup *osh_resolver_ask(struct osh_resolver *resolver, struct osh_meter *payer, const char *host,
				    void (*done)(void *context, const struct osh_addresses *addresses,
						 const char *error),
				    void *context);
void osh_lookup_cancel(struct osh_lookup *lookup);

#endif
