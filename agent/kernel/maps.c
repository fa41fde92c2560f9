/* Work on held map descriptors: no capability, and only the five bpf(2) commands that the
 * proxy's seccomp filter lets through (lookup, update, delete, take, lookup in batches); the
 * purges are the agent's. */
#include "kernel/kernel.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "kernel/install.h"

/* Of the maps that are walked. */
#define KEY_MAX sizeof(struct osh_identity)
#define VALUE_MAX sizeof(struct osh_identity)
_Static_assert(sizeof(struct osh_lease) <= VALUE_MAX, "a lease fits");

/* ---- Single entries ------------------------------------------------------------------ */

/* There is no other way to ask than to try. */
static bool has_room(int map_fd, const struct osh_flow_key *key)
{
	static const struct osh_flow none;
	int r = bpf_map_update_elem(map_fd, key, &none, BPF_NOEXIST);

	if (r == 0)
		(void)bpf_map_delete_elem(map_fd, key);
	return r == 0 || r == -EEXIST;
}

int osh_maps_flow_take(const struct osh_maps *maps, const struct osh_flow_key *key,
		       struct osh_flow *ret_flow)
{
	struct osh_flow flow;
	int r = bpf_map_lookup_and_delete_elem(maps->flows, key, &flow);

	if (r == 0)
		*ret_flow = flow;
	else if (r == -ENOENT && !has_room(maps->flows, key))
		r = -ENOSPC;
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

#define BATCH 64

typedef void each_fn(void *context, const void *key, const void *value);

/* Calls `each` with every entry; it may delete the one that it is given, or others. The kernel goes
 * through its buckets, so what is there all the while is shown once. -ENOSPC: more than BATCH in
 * one bucket, of which a table has as many as entries. */
static int walk(int map_fd, size_t key_size, size_t value_size, each_fn *each, void *context)
{
	_Alignas(8) char keys[BATCH * KEY_MAX], values[BATCH * VALUE_MAX];
	uint32_t position, *from = NULL;
	int r;

	do {
		uint32_t count = BATCH;

		r = bpf_map_lookup_batch(map_fd, from, &position, keys, values, &count, NULL);
		if (r < 0 && r != -ENOENT)
			return r;
		for (uint32_t i = 0; i < count; i++)
			each(context, keys + i * key_size, values + i * value_size);
		from = &position;
	} while (r == 0);
	return 0;
}

struct lease_walk {
	uint64_t sandbox;
	void (*each)(void *context, uint32_t addr_host, const struct osh_lease *lease);
	void *context;
};

static void on_lease(void *context, const void *key_bytes, const void *value)
{
	const struct osh_lease_key *key = key_bytes;
	struct lease_walk *lease_walk = context;

	if (key->sandbox == lease_walk->sandbox)
		lease_walk->each(lease_walk->context, key->addr_host, value);
}

int osh_maps_lease_each(const struct osh_maps *maps, uint64_t sandbox,
			void (*each)(void *context, uint32_t addr_host, const struct osh_lease *lease),
			void *context)
{
	struct lease_walk lease_walk = { sandbox, each, context };

	return walk(maps->leases, sizeof(struct osh_lease_key), sizeof(struct osh_lease), on_lease, &lease_walk);
}

struct reach_walk {
	uint64_t sandbox;
	void (*each)(void *context, const struct osh_reach_key *key);
	void *context;
};

static void on_reachable(void *context, const void *key_bytes, const void *value)
{
	const struct osh_reach_key *key = key_bytes;
	struct reach_walk *reach_walk = context;

	(void)value; /* being there is all it says */
	if (key->sandbox == reach_walk->sandbox)
		reach_walk->each(reach_walk->context, key);
}

int osh_maps_reachable_each(const struct osh_maps *maps, uint64_t sandbox,
			    void (*each)(void *context, const struct osh_reach_key *key), void *context)
{
	struct reach_walk reach_walk = { sandbox, each, context };

	return walk(maps->reachable, sizeof(struct osh_reach_key), sizeof(uint8_t), on_reachable, &reach_walk);
}

/* ---- Replacing ---------------------------------------------------------------------------- */

struct unix_walk {
	int map_fd;
	uint64_t sandbox;
	const struct osh_unix_key *keys;
	size_t count;
};

static void remove_unless_among(void *context, const void *key_bytes, const void *value)
{
	const struct unix_walk *unix_walk = context;
	const struct osh_unix_key *key = key_bytes;
	size_t i = 0;

	(void)value; /* being there is all it says */
	while (i < unix_walk->count && memcmp(&unix_walk->keys[i], key, sizeof(*key)) != 0)
		i++;
	if (key->sandbox == unix_walk->sandbox && i == unix_walk->count)
		(void)bpf_map_delete_elem(unix_walk->map_fd, key);
}

int osh_maps_unix_set(int map_fd, uint64_t sandbox, const struct osh_unix_key *keys, size_t count)
{
	struct unix_walk unix_walk = { map_fd, sandbox, keys, count };
	uint8_t present = 1;
	int r = walk(map_fd, sizeof(*keys), sizeof(present), remove_unless_among, &unix_walk);

	for (size_t i = 0; i < count; i++) {
		int added = bpf_map_update_elem(map_fd, &keys[i], &present, BPF_ANY);

		if (added < 0 && r == 0)
			r = added;
	}
	return r;
}

/* ---- Purging ------------------------------------------------------------------------------ */

struct purge {
	int map_fd;
	bool in_value;
	bool (*goes)(const void *context, uint64_t sandbox);
	const void *context;
};

static void on_purge(void *context, const void *key, const void *value)
{
	const struct purge *purge = context;
	uint64_t owner;

	memcpy(&owner, purge->in_value ? value : key, sizeof(owner));
	if (!purge->goes || purge->goes(purge->context, owner))
		(void)bpf_map_delete_elem(purge->map_fd, key); /* gone already is as good */
}

int osh_maps_purge(int map_fd, bool in_value, bool (*goes)(const void *context, uint64_t sandbox),
		   const void *context)
{
	struct purge purge = { map_fd, in_value, goes, context };
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	int r = bpf_obj_get_info_by_fd(map_fd, &info, &len);

	if (r == 0 && (info.key_size > KEY_MAX || info.value_size > VALUE_MAX))
		r = -E2BIG;
	return r < 0 ? r : walk(map_fd, info.key_size, info.value_size, on_purge, &purge);
}
