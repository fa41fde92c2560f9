#include "proxy/meter.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "openshell/limits.h"

#define SECOND_NS 1000000000u
#define BURST_NS (SECOND_NS / 10) /* of bytes: what an idle meter lets through at once */
#define PIECES_PER_SECOND 8       /* at least, even where a second has few bytes */
#define PIECE_MAX (16u << 10)

/* A rate is kept as the time at which all that was let through would be paid for: one word,
 * changed by compare and swap (the "generic cell rate algorithm", ITU-T I.371 A). */
struct osh_meter {
	atomic_uint refs;
	struct osh_meter *parent; /* counted; of the sandbox; NULL: this is it */
	atomic_uint flows;
	atomic_uint flows_max, flows_per_second, bytes_per_second; /* 0: no limit */
	_Atomic uint64_t flows_due_ns, bytes_due_ns, names_due_ns;
	_Atomic uint64_t tell_next_ns; /* not before it is told again that bytes wait */
	size_t name_len;
	char name[]; /* the entry's key */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* ---- Making them ------------------------------------------------------------------- */

static struct osh_meter *ref(struct osh_meter *meter)
{
	if (meter)
		atomic_fetch_add(&meter->refs, 1);
	return meter;
}

static void unref(struct osh_meter *meter)
{
	if (!meter || atomic_fetch_sub(&meter->refs, 1) != 1)
		return;
	unref(meter->parent);
	free(meter);
}

static struct osh_meter *new_meter(struct osh_str name)
{
	struct osh_meter *meter = calloc(1, sizeof(*meter) + name.len);

	if (!meter)
		return NULL;
	meter->refs = 1;
	meter->name_len = name.len;
	if (name.len)
		memcpy(meter->name, name.data, name.len);
	return meter;
}

static bool limits_anything(const struct osh_policy_limits *limits)
{
	return limits->flows || limits->flows_per_second || limits->bytes_per_second;
}

/* The one of before under its new limits, or a new one; NULL when memory is out. */
static struct osh_meter *take_on(struct osh_meter *before, struct osh_str name,
				 const struct osh_policy_limits *limits)
{
	struct osh_meter *meter = before ? ref(before) : new_meter(name);

	if (!meter)
		return NULL;
	meter->flows_max = limits->flows;
	meter->flows_per_second = limits->flows_per_second;
	meter->bytes_per_second = limits->bytes_per_second;
	return meter;
}

/* Order of keys, as the policy numbers them. */
static int compare_names(const struct osh_meter *meter, struct osh_str name)
{
	size_t len = meter->name_len < name.len ? meter->name_len : name.len;
	int order = len ? memcmp(meter->name, name.data, len) : 0;

	return order ? order : (meter->name_len > name.len) - (meter->name_len < name.len);
}

/* Both lists are in order: *at never goes back. */
static struct osh_meter *find_before(const struct osh_meters *before, uint32_t *at, struct osh_str name)
{
	for (; before && *at < before->count; (*at)++) {
		struct osh_meter *meter = before->entries[*at];
		int order = meter ? compare_names(meter, name) : -1;

		if (order == 0)
			return meter;
		if (order > 0)
			break;
	}
	return NULL;
}

static uint32_t count_entries(const struct osh_policy *policy)
{
	struct osh_str key;
	uint32_t count = 0;

	while (osh_policy_entry_limits(policy, count, &key))
		count++;
	return count;
}

static int take_on_entries(struct osh_meters *meters, const struct osh_policy *policy,
			   const struct osh_meters *before)
{
	struct osh_str key;
	uint32_t at = 0;

	for (uint32_t i = 0; i < meters->count; i++) {
		const struct osh_policy_limits *limits = osh_policy_entry_limits(policy, i, &key);
		struct osh_meter *meter;

		if (!limits_anything(limits))
			continue;
		meter = take_on(find_before(before, &at, key), key, limits);
		if (!meter)
			return -ENOMEM;
		meters->entries[i] = meter;
		if (!meter->parent)
			meter->parent = ref(meters->sandbox);
	}
	return 0;
}

int osh_meters_init(struct osh_meters *meters, const struct osh_policy *policy,
		    const struct osh_meters *before)
{
	*meters = (struct osh_meters){ .count = count_entries(policy) };
	/* Always there: an entry's meter keeps its parent, whichever policy gives it limits. */
	meters->sandbox = take_on(before ? before->sandbox : NULL, osh_str(""), osh_policy_limits(policy));
	meters->entries = calloc(meters->count + 1, sizeof(struct osh_meter *));
	if (meters->sandbox && meters->entries && take_on_entries(meters, policy, before) == 0)
		return 0;
	osh_meters_done(meters);
	return -ENOMEM;
}

void osh_meters_done(struct osh_meters *meters)
{
	for (uint32_t i = 0; meters->entries && i < meters->count; i++)
		unref(meters->entries[i]);
	free(meters->entries);
	unref(meters->sandbox);
	*meters = (struct osh_meters){ 0 };
}

struct osh_meter *osh_meters_of(const struct osh_meters *meters, const struct osh_decision *decision)
{
	/* What mode: permissive lets through belongs to no entry. */
	struct osh_meter *own = decision->policy.len && decision->entry < meters->count ?
					meters->entries[decision->entry] : NULL;

	return own ? own : meters->sandbox;
}

/* ---- Flows ---------------------------------------------------------------------------- */

/* One more of what is allowed `rate` times a second, `burst` of them at once. */
static bool take_turn(_Atomic uint64_t *due_ns, uint64_t rate, uint64_t burst)
{
	uint64_t due = *due_ns, now = now_ns(), next;

	do {
		next = (due > now ? due : now) + SECOND_NS / rate;
		if (next - now > burst * (SECOND_NS / rate))
			return false;
	} while (!atomic_compare_exchange_weak(due_ns, &due, next));
	return true;
}

static bool start_one(struct osh_meter *meter)
{
	uint64_t rate = meter->flows_per_second;

	/* A second's worth at once, then one by one. */
	return rate == 0 || take_turn(&meter->flows_due_ns, rate, rate);
}

static const char *enter_one(struct osh_meter *meter)
{
	unsigned max = meter->flows_max;
	unsigned before = atomic_fetch_add(&meter->flows, 1);
	const char *why = NULL;

	if (max && before >= max)
		why = meter->parent ? "the limit of this policy entry on flows at once is reached" :
				      "the limit of this sandbox on flows at once is reached";
	else if (!start_one(meter))
		why = meter->parent ? "the limit of this policy entry on new flows a second is reached" :
				      "the limit of this sandbox on new flows a second is reached";
	if (why)
		atomic_fetch_sub(&meter->flows, 1);
	return why;
}

const char *osh_meter_enter(struct osh_meter *meter)
{
	const char *why = enter_one(meter);

	if (!why && meter->parent && (why = enter_one(meter->parent)))
		atomic_fetch_sub(&meter->flows, 1);
	if (!why)
		ref(meter);
	return why;
}

void osh_meter_join(struct osh_meter *meter)
{
	for (struct osh_meter *m = ref(meter); m; m = m->parent)
		atomic_fetch_add(&m->flows, 1);
}

void osh_meter_leave(struct osh_meter *meter)
{
	for (struct osh_meter *m = meter; m; m = m->parent)
		atomic_fetch_sub(&m->flows, 1);
	unref(meter);
}

/* ---- Names ---------------------------------------------------------------------------- */

const char *osh_meter_ask(struct osh_meter *meter)
{
	while (meter->parent)
		meter = meter->parent;
	return take_turn(&meter->names_due_ns, OSH_NEW_NAMES_PER_SECOND, OSH_NEW_NAMES_BURST) ?
		       NULL :
		       "this sandbox asks for too many different names: the limit on new ones a second is reached";
}

/* ---- Bytes ---------------------------------------------------------------------------- */

uint64_t osh_meter_wait_ms(const struct osh_meter *meter)
{
	uint64_t latest = 0, now;

	for (; meter; meter = meter->parent) {
		uint64_t due = meter->bytes_per_second ? meter->bytes_due_ns : 0;

		latest = due > latest ? due : latest;
	}
	if (latest == 0)
		return 0;
	now = now_ns() + BURST_NS;
	return latest > now ? (latest - now) / 1000000 + 1 : 0;
}

size_t osh_meter_piece(const struct osh_meter *meter)
{
	size_t least = SIZE_MAX;

	for (; meter; meter = meter->parent) {
		size_t rate = meter->bytes_per_second;
		size_t piece = rate < PIECES_PER_SECOND ? 1 : rate / PIECES_PER_SECOND;

		if (rate && piece > PIECE_MAX)
			piece = PIECE_MAX;
		if (rate && piece < least)
			least = piece;
	}
	return least;
}

static struct osh_meter *slower(struct osh_meter *own)
{
	struct osh_meter *parent = own->parent;
	bool parent_waits = parent && parent->bytes_per_second &&
			    (!own->bytes_per_second || parent->bytes_due_ns > own->bytes_due_ns);

	return parent_waits ? parent : own;
}

const char *osh_meter_tell(struct osh_meter *meter)
{
	struct osh_meter *waited_for = slower(meter);
	uint64_t next = waited_for->tell_next_ns, now = now_ns();

	if (now < next || !atomic_compare_exchange_strong(&waited_for->tell_next_ns, &next, now + SECOND_NS))
		return NULL;
	return waited_for->parent ? "the limit of this policy entry on bytes a second is reached: they wait" :
				    "the limit of this sandbox on bytes a second is reached: they wait";
}

static void pay(struct osh_meter *meter, size_t bytes)
{
	uint64_t rate = meter->bytes_per_second;
	uint64_t due = meter->bytes_due_ns, now, next;

	if (rate == 0)
		return;
	now = now_ns();
	do {
		next = (due > now ? due : now) + bytes * (uint64_t)SECOND_NS / rate;
	} while (!atomic_compare_exchange_weak(&meter->bytes_due_ns, &due, next));
}

void osh_meter_moved(struct osh_meter *meter, size_t bytes)
{
	for (; meter; meter = meter->parent)
		pay(meter, bytes);
}
