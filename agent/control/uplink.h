/* Addresses that the host loses while flows run: DHCP, roaming, a link that is down. */
#ifndef OSH_CONTROL_UPLINK_H
#define OSH_CONTROL_UPLINK_H

#include <netinet/in.h>
#include <stddef.h>

#include "base/loop.h"

struct nl_sock;
struct osh_agent;

struct osh_uplink {
	struct nl_sock *socket;        /* NULL: nobody watches */
	struct osh_io io;
	struct osh_timer renewal;      /* from the last that was removed; then it is seen which are back */
	struct in6_addr removed[64];   /* full: all of them are looked at before the next is added */
	size_t removed_count;
};

/* From now on until close the proxy hears of each address that is gone, and not soon back: what was sent
 * from it would otherwise be waited for until some deadline. Without it (logged) it comes to that. */
void osh_uplink_open(struct osh_agent *agent);
void osh_uplink_close(struct osh_agent *agent);

#endif
