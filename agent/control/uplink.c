#include "control/uplink.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/inet.h"
#include "base/log.h"
#include "base/mem.h"
#include "control/agent.h"
#include "proxy/supervisor.h"

#define RENEWAL_MS 1000 /* whoever renews an address may remove it first */

static bool read_address(struct nlmsghdr *head, struct in6_addr *ret_address)
{
	const int header = sizeof(struct ifaddrmsg);
	struct nlattr *local = nlmsg_find_attr(head, header, IFA_LOCAL);

	if (!local) /* but for a peer's they are the same */
		local = nlmsg_find_attr(head, header, IFA_ADDRESS);
	if (local && nla_len(local) == sizeof(*ret_address)) {
		memcpy(ret_address, nla_data(local), sizeof(*ret_address));
		return true;
	}
	if (!local || nla_len(local) != sizeof(struct in_addr))
		return false;
	*ret_address = osh_inet_map(*(const struct in_addr *)nla_data(local));
	return true;
}

static bool is_among(const struct ifaddrs *here, const struct in6_addr *address)
{
	while (here && !(here->ifa_addr && osh_inet_is(here->ifa_addr, address)))
		here = here->ifa_next;
	return here != NULL;
}

/* Tell of those that nobody has put back. */
static void judge(struct osh_agent *agent)
{
	struct osh_uplink *uplink = &agent->uplink;
	struct ifaddrs *here = NULL;
	bool known = getifaddrs(&here) == 0;

	if (!known) /* nothing is ended for that */
		osh_warning("addresses that are gone may have been missed: %s", strerror(errno));
	for (size_t i = 0; known && i < uplink->removed_count; i++) {
		if (!is_among(here, &uplink->removed[i]))
			osh_supervisor_address_gone(agent->supervisor, &uplink->removed[i]);
	}
	freeifaddrs(here);
	uplink->removed_count = 0;
	osh_loop_timer_cancel(agent->loop, &uplink->renewal);
}

static void on_renewal(struct osh_timer *timer)
{
	judge(osh_container_of(timer, struct osh_agent, uplink.renewal));
}

static void note_removal(struct osh_agent *agent, const struct in6_addr *address)
{
	struct osh_uplink *uplink = &agent->uplink;

	if (uplink->removed_count == OSH_COUNT_OF(uplink->removed))
		judge(agent);
	uplink->removed[uplink->removed_count++] = *address;
	if (osh_loop_timer_set(agent->loop, &uplink->renewal, RENEWAL_MS) < 0)
		judge(agent);
}

/* IPv6's link-local ones are left out: another link may have the same, and no server is dialled by one. */
static int on_message(struct nl_msg *msg, void *context)
{
	struct nlmsghdr *head = nlmsg_hdr(msg);
	struct in6_addr address;

	if (head->nlmsg_type == RTM_DELADDR && read_address(head, &address) && !IN6_IS_ADDR_LINKLOCAL(&address))
		note_removal(context, &address);
	return NL_OK;
}

static void on_ready(struct osh_io *io, uint32_t events)
{
	struct osh_agent *agent = osh_container_of(io, struct osh_agent, uplink.io);
	int r;

	(void)events;
	do
		r = nl_recvmsgs_default(agent->uplink.socket);
	while (r >= 0 || r == -NLE_INTR);
	if (r != -NLE_AGAIN)
		osh_warning("addresses that are gone may have been missed: %s", nl_geterror(r));
}

static int open_socket(struct osh_agent *agent)
{
	struct nl_sock *socket = nl_socket_alloc();
	int r;

	agent->uplink.socket = socket;
	if (!socket)
		return -NLE_NOMEM;
	nl_socket_disable_seq_check(socket); /* nobody asked */
	r = nl_connect(socket, NETLINK_ROUTE);
	if (r == 0)
		r = nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, on_message, agent);
	if (r == 0)
		r = nl_socket_set_nonblocking(socket);
	return r < 0 ? r : nl_socket_add_memberships(socket, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, 0);
}

void osh_uplink_open(struct osh_agent *agent)
{
	struct osh_uplink *uplink = &agent->uplink;
	int r = open_socket(agent);

	if (r == 0) {
		uplink->renewal.on_expire = on_renewal;
		uplink->io = (struct osh_io){ .fd = nl_socket_get_fd(uplink->socket), .on_ready = on_ready };
		if (osh_loop_set(agent->loop, &uplink->io, EPOLLIN) < 0)
			r = -NLE_NOMEM;
	}
	if (r == 0)
		return;
	osh_warning("nobody watches whether this host loses an address: %s", nl_geterror(r));
	nl_socket_free(osh_take(uplink->socket));
}

void osh_uplink_close(struct osh_agent *agent)
{
	if (!agent->uplink.socket)
		return;
	osh_loop_timer_cancel(agent->loop, &agent->uplink.renewal);
	osh_loop_remove(agent->loop, &agent->uplink.io);
	nl_socket_free(osh_take(agent->uplink.socket));
}
