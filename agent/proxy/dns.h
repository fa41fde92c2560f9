/* The resolver that a sandbox sees. No question leaves the host: every well-formed name
 * gets one synthetic address per sandbox (a lease), and only when a program connects to it
 * and a policy permits that, the real name is resolved (resolver.h). One worker owns a
 * sandbox's names, so that none has two addresses.
 *
 * It also keeps the kernel's reachable map of the sandbox in step with leases and policy. */
#ifndef OSH_PROXY_DNS_H
#define OSH_PROXY_DNS_H

#include "proxy/worker.h"

struct osh_dns;

/* Listen on the tenant's DNS sockets, with the leases that an earlier proxy gave out. NULL
 * when memory is out: the sandbox then resolves nothing. */
struct osh_dns *osh_dns_new(struct osh_view *view);
void osh_dns_free(struct osh_dns *dns);
/* The view's snapshot changed: bring the reachable map in step. */
void osh_dns_policy_changed(struct osh_dns *dns);

#endif
