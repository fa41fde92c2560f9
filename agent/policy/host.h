/* Host names from any source (DNS question, SNI, Host, :authority, policy): one
 * parser for all, so that no two of them can disagree. Pure. */
#ifndef OSH_POLICY_HOST_H
#define OSH_POLICY_HOST_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "openshell/limits.h"

enum osh_host_kind { OSH_HOST_NAME, OSH_HOST_IPV4, OSH_HOST_IPV6 };

struct osh_host {
	enum osh_host_kind kind;
	char text[OSH_HOST_MAX]; /* lower case, no trailing dot, IPv6 without brackets (RFC 5952) */
	struct in6_addr addr;    /* IPv4-mapped for IPv4; only for literals */
};

/* LDH labels plus '_' of 1 to 63 bytes, at most 253 in all, one trailing dot
 * dropped (RFC 1123, RFC 3696). What only an old resolver would take for an
 * address (127.1, 0x7f.1, 2130706433, zone ids) is refused: the last label of a
 * name must not be a number. "[v6]" and bare v6 are accepted. Returns 0 or -EINVAL. */
int osh_host_parse(struct osh_str text, struct osh_host *ret_host);

/* One of the names under which container tools know their own host (host.docker.internal and
 * its like). The proxy asks no DNS for it: /etc/hosts alone says where it is. */
bool osh_host_is_gateway(struct osh_str host);
/* localhost (RFC 6761 6.3), and nothing below it. */
bool osh_host_is_localhost(struct osh_str host);
/* What it stands for, whatever a name server says: 127.0.0.1, IPv4-mapped, and ::1. */
extern const struct in6_addr osh_host_loopbacks[2];
bool osh_host_is_loopback(const struct in6_addr *addr);

/* "host", "host:port", "[v6]:port" (RFC 9110 7.2; no userinfo, port 1..65535
 * without leading zero). *ret_port_host is default_port when absent. Returns 0
 * or -EINVAL. */
int osh_authority_parse(struct osh_str text, uint16_t default_port_host, struct osh_host *ret_host,
			uint16_t *ret_port_host);

#endif
