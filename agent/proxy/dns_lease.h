/* Names and the synthetic addresses they have in one sandbox; and which of those the
 * kernel lets programs dial. */
#ifndef OSH_PROXY_DNS_LEASE_H
#define OSH_PROXY_DNS_LEASE_H

#include "proxy/worker.h"

struct osh_leases;

/* Takes over the leases in the kernel's map. NULL when memory is out. */
struct osh_leases *osh_leases_new(struct osh_view *view);
void osh_leases_free(struct osh_leases *leases);

/* The address of a name (lower case, no trailing dot), given out now if it has none.
 * Returns 0, -EDQUOT (OSH_LEASES_PER_SANDBOX_MAX names already), or -errno of the map. */
int osh_leases_get(struct osh_leases *leases, const char *host, uint32_t *ret_addr_host);

/* Make the reachable map hold exactly what the view's policy names. New entries first, so
 * that what both policies permit is never out of reach. */
void osh_leases_sync(struct osh_leases *leases);

#endif
