/* The network of a sandbox: lo and nothing else, so that nothing can leave even if no
 * program of the kernel half runs. lo carries the gateway and a default route for each
 * family, because clients that see no route do not even try. */
#include "sandbox/internal.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <string.h>

#include "openshell/limits.h"

#define LO_IFINDEX 1 /* the first device of every network namespace */

/* libnl's errors as errno values: those that can come from the kernel. */
static int code_of(int nl_error)
{
	switch (-nl_error) {
	case 0:
		return 0;
	case NLE_EXIST:
		return -EEXIST;
	case NLE_PERM:
	case NLE_NOACCESS:
		return -EPERM;
	case NLE_NOMEM:
		return -ENOMEM;
	case NLE_OPNOTSUPP:
	case NLE_AF_NOSUPPORT:
		return -EAFNOSUPPORT;
	case NLE_NODEV:
	case NLE_OBJ_NOTFOUND:
		return -ENODEV;
	default:
		return -EINVAL;
	}
}

static struct nl_addr *gateway4(uint32_t gateway, unsigned prefix_len)
{
	uint32_t address_be = htonl(gateway);
	struct nl_addr *addr = nl_addr_build(AF_INET, &address_be, sizeof(address_be));

	if (addr)
		nl_addr_set_prefixlen(addr, (int)prefix_len);
	return addr;
}

static struct nl_addr *gateway6(uint32_t gateway, unsigned prefix_len)
{
	struct in6_addr address = { .s6_addr = { 0xfd, 0x6f, 0x73, 0x68 } };
	uint32_t low_be = htonl(gateway);
	struct nl_addr *addr;

	memcpy(&address.s6_addr[12], &low_be, sizeof(low_be));
	addr = nl_addr_build(AF_INET6, &address, sizeof(address));
	if (addr)
		nl_addr_set_prefixlen(addr, (int)prefix_len);
	return addr;
}

/* *ret_sock is to be freed in any case; NULL when memory is out. */
static int open_route(struct nl_sock **ret_sock)
{
	*ret_sock = nl_socket_alloc();
	return *ret_sock ? code_of(nl_connect(*ret_sock, NETLINK_ROUTE)) : -ENOMEM;
}

static int raise_lo(struct nl_sock *sock)
{
	struct rtnl_link *lo = rtnl_link_alloc(), *change = rtnl_link_alloc();
	int r = -NLE_NOMEM;

	if (lo && change) {
		rtnl_link_set_ifindex(lo, LO_IFINDEX);
		rtnl_link_set_ifindex(change, LO_IFINDEX);
		rtnl_link_set_flags(change, IFF_UP);
		r = rtnl_link_change(sock, lo, change, 0);
	}
	rtnl_link_put(lo);
	rtnl_link_put(change);
	return code_of(r);
}

typedef int change_fn(struct nl_sock *sock, struct rtnl_addr *addr, int flags);

/* Add it to lo, or delete it there. Takes `local` over. */
static int change_address(struct nl_sock *sock, struct nl_addr *local, change_fn *change)
{
	struct rtnl_addr *addr = rtnl_addr_alloc();
	int r = -NLE_NOMEM;

	if (addr && local) {
		rtnl_addr_set_ifindex(addr, LO_IFINDEX);
		rtnl_addr_set_local(addr, local);
		/* Else an IPv6 address is tentative for a moment: no route and no listener
		 * may use it until a kernel worker has had its turn. */
		if (nl_addr_get_family(local) == AF_INET6)
			rtnl_addr_set_flags(addr, IFA_F_NODAD);
		r = change(sock, addr, 0);
	}
	rtnl_addr_put(addr);
	nl_addr_put(local);
	return code_of(r);
}

/* Everything through lo, with the gateway as source. Takes both addresses over. IPv6 takes
 * a unicast route over lo for a reject route and drops the packet before the guard in the
 * kernel half could refuse and record it; a local route it follows. */
static int add_default_route(struct nl_sock *sock, struct nl_addr *everything, struct nl_addr *source)
{
	struct rtnl_route *route = rtnl_route_alloc();
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
	int r = -NLE_NOMEM;

	if (route && hop && everything && source) {
		rtnl_route_set_family(route, (uint8_t)nl_addr_get_family(everything));
		rtnl_route_set_scope(route, RT_SCOPE_LINK);
		rtnl_route_set_table(route, RT_TABLE_MAIN);
		rtnl_route_set_protocol(route, RTPROT_BOOT);
		rtnl_route_set_type(route, nl_addr_get_family(everything) == AF_INET6 ? RTN_LOCAL : RTN_UNICAST);
		rtnl_route_set_dst(route, everything);
		rtnl_route_set_pref_src(route, source);
		rtnl_route_nh_set_ifindex(hop, LO_IFINDEX);
		rtnl_route_add_nexthop(route, hop); /* the route owns it now */
		hop = NULL;
		r = rtnl_route_add(sock, route, NLM_F_EXCL);
	}
	if (hop)
		rtnl_route_nh_free(hop);
	rtnl_route_put(route);
	nl_addr_put(everything);
	nl_addr_put(source);
	return code_of(r);
}

static struct nl_addr *everywhere(int family)
{
	const unsigned char zeros[16] = { 0 };
	struct nl_addr *addr = nl_addr_build(family, zeros, family == AF_INET ? 4 : 16);

	if (addr)
		nl_addr_set_prefixlen(addr, 0);
	return addr;
}

/* ---- A network that others set up ------------------------------------------------ */

int netns_add_gateway(uint32_t gateway)
{
	struct nl_sock *sock;
	int r = open_route(&sock);

	if (r == 0)
		r = change_address(sock, gateway4(gateway, 32), rtnl_addr_add);
	if (r == 0 || r == -EEXIST)
		r = change_address(sock, gateway6(gateway, 128), rtnl_addr_add);
	nl_socket_free(sock);
	return r == -EEXIST ? 0 : r;
}

void netns_remove_gateway(uint32_t gateway)
{
	struct nl_sock *sock;

	if (open_route(&sock) == 0) {
		(void)change_address(sock, gateway4(gateway, 32), rtnl_addr_delete);
		(void)change_address(sock, gateway6(gateway, 128), rtnl_addr_delete);
	}
	nl_socket_free(sock);
}

/* ---- A sandbox's own ---------------------------------------------------------------- */

int netns_set_up(void)
{
	struct nl_sock *sock;
	int r = open_route(&sock);

	if (r == 0)
		r = raise_lo(sock);
	if (r == 0)
		r = change_address(sock, gateway4(OSH_GATEWAY, 15), rtnl_addr_add);
	if (r == 0)
		r = add_default_route(sock, everywhere(AF_INET), gateway4(OSH_GATEWAY, 32));
	if (r == 0)
		r = change_address(sock, gateway6(OSH_GATEWAY, 96), rtnl_addr_add);
	if (r == 0)
		r = add_default_route(sock, everywhere(AF_INET6), gateway6(OSH_GATEWAY, 128));
	nl_socket_free(sock);
	return r;
}
