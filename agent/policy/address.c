/* The address guard: which resolved addresses may be dialled, whatever a name says. */
#include <string.h>

#include "base/mem.h"
#include "policy/document.h"
#include "policy/evaluate.h"
#include "policy/host.h"

struct range {
	unsigned char addr[16];
	unsigned bits;
};

#define V4(a, b, c, d) \
	{ \
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d \
	}

/* Never, whatever the policy says. */
static const struct range blocked[] = {
	{ V4(127, 0, 0, 0), 96 + 8 },
	{ V4(169, 254, 0, 0), 96 + 16 },
	{ V4(0, 0, 0, 0), 96 + 32 },
	{ { [15] = 1 }, 128 }, /* ::1 */
	{ { 0 }, 128 },        /* :: */
	{ { 0xfe, 0x80 }, 10 },
};

/* Only for a host that the policy writes out, or by allowed_ips. */
static const struct range internal[] = {
	{ V4(10, 0, 0, 0), 96 + 8 },
	{ V4(172, 16, 0, 0), 96 + 12 },
	{ V4(192, 168, 0, 0), 96 + 16 },
	{ V4(100, 64, 0, 0), 96 + 10 },
	{ V4(192, 0, 0, 0), 96 + 24 },
	{ V4(192, 0, 2, 0), 96 + 24 },
	{ V4(198, 18, 0, 0), 96 + 15 },
	{ V4(198, 51, 100, 0), 96 + 24 },
	{ V4(203, 0, 113, 0), 96 + 24 },
	{ { 0xfc }, 7 },
	/* Beyond the reference: "this network", multicast, reserved, site-local. */
	{ V4(0, 0, 0, 0), 96 + 8 },
	{ V4(224, 0, 0, 0), 96 + 4 },
	{ V4(240, 0, 0, 0), 96 + 4 },
	{ { 0xff }, 8 },
	{ { 0xfe, 0xc0 }, 10 },
};

static bool is_in(const struct range *ranges, size_t count, const struct in6_addr *addr)
{
	for (size_t i = 0; i < count; i++) {
		struct osh_cidr cidr = { .bits = ranges[i].bits };

		memcpy(&cidr.addr, ranges[i].addr, sizeof(cidr.addr));
		if (osh_cidr_holds(&cidr, addr))
			return true;
	}
	return false;
}

/* IPv6 forms that lead to an IPv4 address: ::a.b.c.d (RFC 4291), 64:ff9b::/96 (RFC 6052),
 * 2002::/16 (RFC 3056). */
static bool find_embedded(const struct in6_addr *addr, struct in6_addr *ret_mapped)
{
	static const unsigned char nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
	static const unsigned char compatible[12] = { 0 };
	const unsigned char *v4 = NULL;

	if (memcmp(addr, nat64, 12) == 0 || memcmp(addr, compatible, 12) == 0)
		v4 = &addr->s6_addr[12];
	else if (addr->s6_addr[0] == 0x20 && addr->s6_addr[1] == 0x02)
		v4 = &addr->s6_addr[2];
	if (!v4)
		return false;
	*ret_mapped = (struct in6_addr){ 0 };
	ret_mapped->s6_addr[10] = ret_mapped->s6_addr[11] = 0xff;
	memcpy(&ret_mapped->s6_addr[12], v4, 4);
	return true;
}

static bool is_blocked(const struct in6_addr *addr)
{
	struct in6_addr mapped;

	return is_in(blocked, OSH_COUNT_OF(blocked), addr) ||
	       (find_embedded(addr, &mapped) && is_in(blocked, OSH_COUNT_OF(blocked), &mapped));
}

/* 169.254/16, but for what clouds hand credentials out at. No fe80::/10: it means nothing
 * without an interface. */
static bool is_gateway_address(const struct in6_addr *addr)
{
	static const struct range link_local = { V4(169, 254, 0, 0), 96 + 16 };
	static const struct range metadata[] = {
		{ V4(169, 254, 169, 254), 128 },
		{ V4(169, 254, 170, 2), 128 },
		{ V4(169, 254, 170, 23), 128 },
	};

	return is_in(&link_local, 1, addr) && !is_in(metadata, OSH_COUNT_OF(metadata), addr);
}

static bool is_internal(const struct in6_addr *addr)
{
	struct in6_addr mapped;

	return is_in(internal, OSH_COUNT_OF(internal), addr) ||
	       (find_embedded(addr, &mapped) && is_in(internal, OSH_COUNT_OF(internal), &mapped));
}

/* etcd, the Kubernetes API and kubelet: open only to hosts that are public anyway. */
static bool is_control_plane(uint16_t port_host)
{
	static const uint16_t ports[] = { 2379, 2380, 6443, 10250, 10255 };

	for (size_t i = 0; i < OSH_COUNT_OF(ports); i++) {
		if (ports[i] == port_host)
			return true;
	}
	return false;
}

static bool is_listed(const struct osh_policy *policy, struct osh_image_list list,
		      const struct in6_addr *addr)
{
	const struct osh_image_cidr *ips = osh_image_at(policy, list.offset);

	for (uint32_t i = 0; i < list.count; i++) {
		struct osh_cidr cidr = { .addr = ips[i].addr, .bits = ips[i].bits };

		if (osh_cidr_holds(&cidr, addr))
			return true;
	}
	return false;
}

/* The first granted endpoint with allowed_ips supplies them (overlap checks made sure that
 * the others agree). */
static const struct osh_image_endpoint *find_listed_endpoint(const struct osh_match *match)
{
	const struct osh_image_endpoint *first = NULL;

	for (size_t i = 0; i < match->granted; i++) {
		const struct osh_image_endpoint *e =
			osh_image_endpoint(match->policy, match->ids[i]);

		if ((e->flags & OSH_IMAGE_HAS_IPS) && (!first || e < first))
			first = e;
	}
	return first;
}

static bool is_declared_exactly(const struct osh_match *match)
{
	for (size_t i = 0; i < match->granted; i++) {
		if (osh_image_endpoint(match->policy, match->ids[i])->flags & OSH_IMAGE_HOST_EXACT)
			return true;
	}
	return false;
}

static enum osh_address_verdict allow_but_for_control_plane(const struct osh_connect_query *query)
{
	return is_control_plane(query->port_host) ? OSH_ADDRESS_DENY_PORT : OSH_ADDRESS_ALLOW;
}

enum osh_address_verdict osh_policy_address(const struct osh_policy *policy,
					    const struct osh_connect_query *query,
					    const struct in6_addr *addr)
{
	const struct osh_image_endpoint *listed;
	struct osh_match match;
	struct osh_host host;
	bool permissive = osh_policy_is_permissive(policy);

	osh_match_connect(policy, query, &match);
	if ((match.granted == 0 && !permissive) || match.overflow)
		return OSH_ADDRESS_DENY_INTERNAL;
	/* The one way to a link-local address, before every other; elsewhere /etc/hosts may
	 * point the name where any name may. */
	if (match.granted && osh_host_is_gateway(query->host) && is_blocked(addr)) {
		if (!is_gateway_address(addr))
			return OSH_ADDRESS_DENY_GATEWAY;
		return allow_but_for_control_plane(query);
	}
	if (query->host_net && osh_host_is_localhost(query->host) && is_declared_exactly(&match) && osh_host_is_loopback(addr))
		return allow_but_for_control_plane(query);
	if (is_blocked(addr))
		return OSH_ADDRESS_DENY_INTERNAL;
	listed = find_listed_endpoint(&match);
	if (listed) {
		if (!is_listed(policy, osh_image_extras(policy, listed)->ips, addr))
			return OSH_ADDRESS_DENY_ALLOWED_IPS;
		return allow_but_for_control_plane(query);
	}
	if (osh_host_parse(query->host, &host) == 0 && host.kind != OSH_HOST_NAME) {
		if (memcmp(&host.addr, addr, sizeof(*addr)) != 0 ||
		    (match.granted == 0 && is_internal(addr)))
			return OSH_ADDRESS_DENY_INTERNAL;
		return allow_but_for_control_plane(query);
	}
	if (is_declared_exactly(&match))
		return allow_but_for_control_plane(query);
	return is_internal(addr) ? OSH_ADDRESS_DENY_INTERNAL : OSH_ADDRESS_ALLOW;
}

const char *osh_address_verdict_detail(enum osh_address_verdict verdict)
{
	switch (verdict) {
	case OSH_ADDRESS_DENY_INTERNAL:
		return "internal address";
	case OSH_ADDRESS_DENY_ALLOWED_IPS:
		return "allowed_ips check failed";
	case OSH_ADDRESS_DENY_GATEWAY:
		return "trusted-gateway check failed";
	case OSH_ADDRESS_DENY_PORT:
		return "control-plane port";
	case OSH_ADDRESS_ALLOW:
		break;
	}
	return "allowed";
}
