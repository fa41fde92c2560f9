/* Work on held map descriptors: no capability, and only the five bpf(2) commands that the
 * proxy's seccomp filter lets through (lookup, update, delete, next key, take). */
#include "kernel/kernel.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "kernel/install.h"

#define KEY_MAX sizeof(struct osh_identity)
#define VALUE_MAX sizeof(struct osh_identity)

/* ---- Single entries ------------------------------------------------------------------ */

int osh_maps_flow_take(const struct osh_maps *maps, const struct osh_flow_key *key,
		       struct osh_flow *ret_flow)
{
	struct osh_flow flow;
	int r = bpf_map_lookup_and_delete_elem(maps->flows, key, &flow);

	if (r == 0)
		*ret_flow = flow;
	return r;
}

int osh_maps_identity(const struct osh_maps *maps, uint32_t id, struct osh_identity *ret_identity)
{
	struct osh_identity identity;
	int r = bpf_map_lookup_elem(maps->identities, &id, &identity);

	if (r == 0)
		*ret_identity = identity;
	return r;
}

int osh_maps_generation(const struct osh_maps *maps, uint64_t sandbox, uint32_t *ret_generation)
{
	struct osh_sandbox value;
	int r = bpf_map_lookup_elem(maps->sandboxes, &sandbox, &value);

	if (r == 0)
		*ret_generation = value.generation;
	return r;
}

int osh_maps_lease_get(const struct osh_maps *maps, const struct osh_lease_key *key,
		       struct osh_lease *ret_lease)
{
	struct osh_lease lease;
	int r = bpf_map_lookup_elem(maps->leases, key, &lease);

	if (r == 0)
		*ret_lease = lease;
	return r;
}

int osh_maps_lease_set(const struct osh_maps *maps, const struct osh_lease_key *key,
		       const struct osh_lease *lease)
{
	return bpf_map_update_elem(maps->leases, key, lease, BPF_ANY);
}

int osh_maps_reachable_add(const struct osh_maps *maps, const struct osh_reach_key *key)
{
	uint8_t present = 1;

	return bpf_map_update_elem(maps->reachable, key, &present, BPF_ANY);
}

int osh_maps_reachable_remove(const struct osh_maps *maps, const struct osh_reach_key *key)
{
	return bpf_map_delete_elem(maps->reachable, key);
}

int osh_maps_denial_add(const struct osh_maps *maps, const struct osh_denial_key *key)
{
	uint8_t present = 1;

	return bpf_map_update_elem(maps->denials, key, &present, BPF_ANY);
}

/* ---- Walking ---------------------------------------------------------------------------- */

/* Calls `each` with every key, and stops when it returns not 0. The next key is found
 * before `each` runs, so that it may delete the one it is given. The kernel starts over when
 * the key to go on from has been deleted meanwhile: `steps` ends a walk that others keep
 * sending back; it may then have shown some keys twice. */
static int walk(int map_fd, size_t steps, int (*each)(void *context, const void *key),
		void *context)
{
	_Alignas(8) char now[KEY_MAX], next[KEY_MAX];
	int r = bpf_map_get_next_key(map_fd, NULL, now);

	while (r == 0 && steps-- > 0) {
		int more = bpf_map_get_next_key(map_fd, now, next);

		r = each(context, now);
		if (r == 0)
			r = more;
		memcpy(now, next, sizeof(now));
	}
	return r == -ENOENT ? 0 : r;
}

struct lease_walk {
	const struct osh_maps *maps;
	uint64_t sandbox;
	void (*each)(void *context, uint32_t addr_host, const struct osh_lease *lease);
	void *context;
};

static int on_lease(void *context, const void *key_bytes)
{
	const struct osh_lease_key *key = key_bytes;
	struct lease_walk *lease_walk = context;
	struct osh_lease lease;

	if (key->sandbox == lease_walk->sandbox &&
	    osh_maps_lease_get(lease_walk->maps, key, &lease) == 0)
		lease_walk->each(lease_walk->context, key->addr_host, &lease);
	return 0;
}

int osh_maps_lease_each(const struct osh_maps *maps, uint64_t sandbox,
			void (*each)(void *context, uint32_t addr_host, const struct osh_lease *lease),
			void *context)
{
	struct lease_walk lease_walk = { maps, sandbox, each, context };

	return walk(maps->leases, 2 * OSH_LEASES_MAX, on_lease, &lease_walk);
}

struct reach_walk {
	uint64_t sandbox;
	void (*each)(void *context, const struct osh_reach_key *key);
	void *context;
};

static int on_reachable(void *context, const void *key_bytes)
{
	const struct osh_reach_key *key = key_bytes;
	struct reach_walk *reach_walk = context;

	if (key->sandbox == reach_walk->sandbox)
		reach_walk->each(reach_walk->context, key);
	return 0;
}

int osh_maps_reachable_each(const struct osh_maps *maps, uint64_t sandbox,
			    void (*each)(void *context, const struct osh_reach_key *key), void *context)
{
	struct reach_walk reach_walk = { sandbox, each, context };

	return walk(maps->reachable, 2 * OSH_REACHABLE_MAX, on_reachable, &reach_walk);
}

/* ---- Purging ------------------------------------------------------------------------------ */

struct purge {
	int map_fd;
	uint64_t sandbox;
	bool in_value;
};

static int on_purge(void *context, const void *key)
{
	_Alignas(8) char value[VALUE_MAX];
	const struct purge *purge = context;
	uint64_t owner;

	if (purge->in_value && bpf_map_lookup_elem(purge->map_fd, key, value) < 0)
		return 0;
	memcpy(&owner, purge->in_value ? value : key, sizeof(owner));
	if (purge->sandbox && owner != purge->sandbox)
		return 0;
	(void)bpf_map_delete_elem(purge->map_fd, key); /* gone already is as good */
	return 0;
}

int osh_maps_purge(int map_fd, uint64_t sandbox, bool in_value)
{
	struct purge purge = { map_fd, sandbox, in_value };

	return walk(map_fd, 2 * OSH_REACHABLE_MAX, on_purge, &purge);
}
