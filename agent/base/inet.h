/* Internet addresses of sockets. Those of IPv4 are written as IPv6's (RFC 4291 2.5.5.2). */
#ifndef OSH_BASE_INET_H
#define OSH_BASE_INET_H

#include <netinet/in.h>
#include <stdbool.h>

struct in6_addr osh_inet_map(struct in_addr v4);
/* Both false for a name of another family. */
bool osh_inet_of(const struct sockaddr *name, struct in6_addr *ret_address);
bool osh_inet_is(const struct sockaddr *name, const struct in6_addr *address);
/* Dissolve a TCP connection, or the beginning of one, if `address` is its end here. Its next event tells:
 * ECONNRESET. */
void osh_inet_leave(int fd, const struct in6_addr *address);

#endif
