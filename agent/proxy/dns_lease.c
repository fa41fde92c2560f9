#include "proxy/dns_lease.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "policy/host.h"

/* One name. The address is never given to another name while the sandbox lives, so a
 * program that keeps it too long still means the same host. */
struct lease {
	char host[OSH_HOST_MAX];
	uint32_t addr_host;
	UT_hash_handle hh;
};

/* A reachable destination. */
struct reach {
	struct osh_reach_key key;
	bool is_there;  /* in the kernel's map */
	bool is_wanted; /* by the policy in force */
	UT_hash_handle hh;
};

/* What the kernel's maps hold of this sandbox is known here, too: to look for it there takes a
 * walk over what all sandboxes have. */
struct osh_leases {
	struct osh_view *view;
	struct lease *by_host;
	struct reach *reachable;
	uint32_t next_addr_host;
	bool reported_full;
};

static const struct osh_maps *maps_of(const struct osh_leases *leases)
{
	return &leases->view->worker->proxy->maps;
}

/* ---- Leases ------------------------------------------------------------------------ */

static struct lease *remember(struct osh_leases *leases, const char *host, uint32_t addr_host)
{
	struct lease *lease = calloc(1, sizeof(*lease));

	if (!lease)
		return NULL;
	(void)osh_str_copy(osh_str(host), lease->host, sizeof(lease->host));
	lease->addr_host = addr_host;
	HASH_ADD_STR(leases->by_host, host, lease);
	return lease;
}

static void adopt(void *context, uint32_t addr_host, const struct osh_lease *entry)
{
	struct osh_leases *leases = context;
	char host[OSH_HOST_MAX];
	struct lease *known;

	if (osh_str_copy(osh_str_n(entry->host, strnlen(entry->host, sizeof(entry->host))), host,
			 sizeof(host)) < 0)
		return;
	HASH_FIND_STR(leases->by_host, host, known);
	if (!known)
		(void)remember(leases, host, addr_host);
	/* Also when it was not remembered: the address is taken. */
	if (addr_host >= leases->next_addr_host)
		leases->next_addr_host = addr_host + 1;
}

/* ---- Reachable destinations ---------------------------------------------------------- */

/* On these two the kernel lets every address through to us: a denial is explained there. */
static bool needs_entry(uint16_t port_host)
{
	return port_host != 80 && port_host != 443;
}

static void report_full(struct osh_leases *leases, int error)
{
	if (!leases->reported_full)
		osh_error("%s: the kernel's table of reachable destinations takes no more (%s): some hosts "
			  "fail at connect; name fewer ports in the policies",
			  leases->view->tenant->name, strerror(error));
	leases->reported_full = true;
}

static struct reach *get_reach(struct osh_leases *leases, const struct osh_reach_key *key)
{
	struct reach *reach;

	HASH_FIND(hh, leases->reachable, key, sizeof(*key), reach);
	if (reach)
		return reach;
	reach = calloc(1, sizeof(*reach));
	if (!reach)
		return NULL;
	reach->key = *key;
	HASH_ADD(hh, leases->reachable, key, sizeof(reach->key), reach);
	return reach;
}

static void drop_reach(struct osh_leases *leases, struct reach *reach)
{
	HASH_DEL(leases->reachable, reach);
	free(reach);
}

static void note_existing(void *context, const struct osh_reach_key *key)
{
	struct reach *reach = get_reach(context, key);

	if (reach) /* else it stays reachable: it leads to us, and we ask the policy */
		reach->is_there = true;
}

static struct osh_reach_key key_of(const struct osh_leases *leases, uint16_t port_host)
{
	return (struct osh_reach_key){
		.sandbox = leases->view->tenant->id,
		.dst_port_host = port_host,
	};
}

/* A name is dialled by its IPv4 address or by that address's IPv6 twin. */
static void synthetic_addresses(uint32_t addr_host, struct osh_addr ret[static 2])
{
	ret[0] = (struct osh_addr){ .word_be = { 0, 0, htonl(0xffff), htonl(addr_host) } };
	ret[1] = (struct osh_addr){ .word_be = { htonl(OSH_SYNTH6_WORD0), 0, 0, htonl(addr_host) } };
}

static void bring_in(struct osh_leases *leases, struct reach *reach)
{
	int r = reach->is_there ? 0 : osh_maps_reachable_add(maps_of(leases), &reach->key);

	if (r < 0)
		report_full(leases, -r);
	else
		reach->is_there = true;
}

/* What the policy wants for a name, or for none. */
struct wish {
	struct osh_leases *leases;
	uint32_t addr_host;
	bool at_once;
};

static void want(struct wish *wish, const struct osh_reach_key *key)
{
	struct reach *reach = get_reach(wish->leases, key);

	if (!reach)
		return; /* out of reach: closed, not open */
	reach->is_wanted = true;
	if (wish->at_once)
		bring_in(wish->leases, reach);
}

static void want_both(struct wish *wish, const struct osh_addr both[static 2], uint16_t port_host)
{
	struct osh_reach_key key = key_of(wish->leases, port_host);

	for (size_t i = 0; i < 2; i++) {
		key.dst = both[i];
		want(wish, &key);
	}
}

static void wish_port(void *context, uint16_t port_host)
{
	struct wish *wish = context;
	struct osh_addr both[2];

	if (!needs_entry(port_host))
		return;
	synthetic_addresses(wish->addr_host, both);
	want_both(wish, both, port_host);
}

/* Denials there are not explained, so that each of its ports has an entry. */
static void wish_local_port(void *context, uint16_t port_host)
{
	struct osh_addr both[2];

	memcpy(both, osh_host_loopbacks, sizeof(both));
	want_both(context, both, port_host);
}

static void wish_hostless_port(void *context, uint16_t port_host)
{
	struct wish *wish = context;
	struct osh_reach_key key = key_of(wish->leases, port_host);

	if (needs_entry(port_host))
		want(wish, &key);
}

static void wish_literal(void *context, struct osh_str host, uint16_t port_host)
{
	struct wish *wish = context;
	struct osh_reach_key key = key_of(wish->leases, port_host);
	struct osh_host literal;

	if (!needs_entry(port_host) || osh_host_parse(host, &literal) < 0 ||
	    literal.kind == OSH_HOST_NAME)
		return;
	memcpy(&key.dst, &literal.addr, sizeof(key.dst));
	want(wish, &key);
}

static void collect_wishes(struct wish *wish)
{
	const struct osh_snapshot *snapshot = wish->leases->view->snapshot;
	struct lease *lease, *next;

	if (!snapshot)
		return;
	HASH_ITER(hh, wish->leases->by_host, lease, next) {
		wish->addr_host = lease->addr_host;
		osh_policy_ports(&snapshot->policy, osh_str(lease->host), wish_port, wish);
	}
	if (wish->leases->view->tenant->host_net)
		osh_policy_ports(&snapshot->policy, osh_str("localhost"), wish_local_port, wish);
	osh_policy_hostless_ports(&snapshot->policy, wish_hostless_port, wish);
	osh_policy_literal_hosts(&snapshot->policy, wish_literal, wish);
}

void osh_leases_sync(struct osh_leases *leases)
{
	struct wish wish = { .leases = leases };
	struct reach *reach, *next;

	leases->reported_full = false;
	HASH_ITER(hh, leases->reachable, reach, next)
		reach->is_wanted = false;
	collect_wishes(&wish);
	HASH_ITER(hh, leases->reachable, reach, next) {
		if (reach->is_wanted)
			continue;
		if (reach->is_there)
			(void)osh_maps_reachable_remove(maps_of(leases), &reach->key);
		drop_reach(leases, reach);
	}
	HASH_ITER(hh, leases->reachable, reach, next)
		bring_in(leases, reach);
}

/* ---- Open, close ------------------------------------------------------------------------- */

struct osh_leases *osh_leases_new(struct osh_view *view)
{
	struct osh_leases *leases = calloc(1, sizeof(*leases));

	if (!leases)
		return NULL;
	leases->view = view;
	leases->next_addr_host = OSH_SYNTH_FIRST;
	if (view->tenant->is_new)
		return leases;
	(void)osh_maps_lease_each(maps_of(leases), view->tenant->id, adopt, leases);
	(void)osh_maps_reachable_each(maps_of(leases), view->tenant->id, note_existing, leases);
	return leases;
}

void osh_leases_free(struct osh_leases *leases)
{
	struct lease *lease, *next;
	struct reach *reach, *next_reach;

	if (!leases)
		return;
	HASH_ITER(hh, leases->reachable, reach, next_reach)
		drop_reach(leases, reach);
	HASH_ITER(hh, leases->by_host, lease, next) {
		HASH_DEL(leases->by_host, lease);
		free(lease);
	}
	free(leases);
}

/* ---- Giving out ------------------------------------------------------------------------ */

int osh_leases_get(struct osh_leases *leases, const char *host, uint32_t *ret_addr_host)
{
	const struct osh_snapshot *snapshot = leases->view->snapshot;
	struct osh_lease_key key = { .sandbox = leases->view->tenant->id };
	struct wish wish = { .leases = leases, .at_once = true };
	struct osh_lease entry = { 0 };
	struct lease *lease;
	int r;

	HASH_FIND_STR(leases->by_host, host, lease);
	if (lease) {
		*ret_addr_host = lease->addr_host;
		return 0;
	}
	if (HASH_COUNT(leases->by_host) >= OSH_LEASES_PER_SANDBOX_MAX ||
	    leases->next_addr_host > OSH_SYNTH_LAST)
		return -EDQUOT;
	r = osh_str_copy(osh_str(host), entry.host, sizeof(entry.host));
	if (r < 0)
		return r;
	key.addr_host = leases->next_addr_host;
	/* In the kernel's map before it is known to anybody. */
	r = osh_maps_lease_set(maps_of(leases), &key, &entry);
	if (r < 0)
		return r;
	leases->next_addr_host++;
	if (!remember(leases, host, key.addr_host))
		return -ENOMEM;
	wish.addr_host = key.addr_host;
	if (snapshot)
		osh_policy_ports(&snapshot->policy, osh_str(host), wish_port, &wish);
	*ret_addr_host = key.addr_host;
	return 0;
}
