/* Reach one of several addresses of a host ("happy eyeballs", RFC 8305): they are tried in
 * turn, IPv6 and IPv4 by turns, the next a quarter of a second after the last or as soon as
 * that fails. The first that answers is kept, the others are let go. */
#ifndef OSH_PROXY_DIAL_H
#define OSH_PROXY_DIAL_H

#include <stdint.h>

#include "base/loop.h"
#include "proxy/resolver.h"

struct osh_dial;

/* How long a server may be silent. For tests to shorten. */
extern struct osh_dial_deadlines {
	unsigned connect_ms; /* the last address, and so at least that for each */
	int idle_s, probe_s; /* TCP keepalive: to the first of three probes, and between two */
	unsigned unacked_ms; /* what was sent and not acknowledged */
} osh_dial_deadlines;

/* `done` is called exactly once unless cancelled, possibly before this returns: with a
 * connected socket, the receiver's from then on, and the address behind it; or with -errno of
 * the last failure and NULL. Returns a handle to cancel with, NULL when `done` was already
 * called. Nothing but these addresses is dialled. */
struct osh_dial *osh_dial_start(struct osh_loop *loop, const struct osh_addresses *addresses,
				uint16_t port_host,
				void (*done)(void *context, int fd, const struct in6_addr *address),
				void *context);
/* `address` is this host's no more: attempts from it fail now, not at their deadline, which their next events
 * tell; one that was connected meanwhile as well. */
void osh_dial_leave_address(struct osh_dial *dial, const struct in6_addr *address);
/* NULL is fine. */
void osh_dial_cancel(struct osh_dial *dial);

#endif
