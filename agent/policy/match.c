/* Which endpoints a connection meets: host and port through the trie, then the subject.
 * Whatever memory a step will want is fetched while an earlier one computes. */
#include <string.h>

#include "base/knockout.h"
#include "policy/evaluate.h"
#include "policy/glob.h"

/* ---- Host and port ------------------------------------------------------- */

#define LABELS_MAX 128

struct walk {
	struct osh_match *match;
	uint32_t port_host; /* 0: any */
	char host[OSH_HOST_MAX];
	size_t host_len;
	size_t label_count;
	/* From the right; [0] is the empty name behind the last one. */
	uint16_t starts[LABELS_MAX + 1];
	uint64_t label_hashes[LABELS_MAX + 1];
	uint64_t way; /* of the whole host */
};

static bool has_port(const struct osh_policy *policy, const struct osh_image_endpoint *e,
		     uint32_t port_host)
{
	const uint16_t *ports = osh_image_at(policy, e->ports.offset);

	for (uint32_t i = 0; i < e->ports.count; i++) {
		if (ports[i] == port_host)
			return true;
	}
	return port_host == 0;
}

static void add_endpoint(const struct walk *walk, uint32_t id)
{
	struct osh_match *m = walk->match;
	const struct osh_image_endpoint *e = osh_image_endpoint(m->policy, id);

	if (!has_port(m->policy, e, walk->port_host))
		return;
	if (m->count == OSH_MATCH_MAX) {
		m->overflow = true;
		return;
	}
	m->ids[m->count++] = id;
	/* Asked after the subject: on their way meanwhile. */
	__builtin_prefetch(osh_image_at(m->policy, e->allows.offset));
	__builtin_prefetch(osh_image_entry(m->policy, e->entry));
}

static void add_hostless(const struct walk *walk)
{
	struct osh_image_list list = osh_image_header(walk->match->policy)->hostless;
	const uint32_t *ids = osh_image_at(walk->match->policy, list.offset);

	for (uint32_t i = 0; i < list.count; i++)
		add_endpoint(walk, ids[i]);
}

/* The last `depth` labels. */
static struct osh_str suffix(const struct walk *walk, size_t depth)
{
	return osh_str_n(walk->host + walk->starts[depth], walk->host_len - walk->starts[depth]);
}

/* What stands left of them, without the dot between. */
static struct osh_str left_of(const struct walk *walk, size_t depth)
{
	return osh_str_n(walk->host, walk->starts[depth] - (depth > 0));
}

static const struct osh_image_slot *slot_of(const struct osh_policy *policy, uint64_t way)
{
	struct osh_image_list list = osh_image_header(policy)->slots;
	const struct osh_image_slot *slots = osh_image_at(policy, list.offset);

	return slots + (way & (list.count - 1));
}

static bool is_node(const struct walk *walk, const struct osh_image_node *node, size_t depth)
{
	const struct osh_policy *policy = walk->match->policy;

	if (node->glob)
		return osh_glob_match(osh_image_at(policy, node->glob), suffix(walk, depth));
	return osh_str_eq(osh_image_text(policy, node->name), suffix(walk, depth));
}

/* The node at the end of `way`, NULL when nothing ends or branches there. */
static const struct osh_image_node *find_node(const struct walk *walk, uint64_t way, size_t depth)
{
	const struct osh_policy *policy = walk->match->policy;
	struct osh_image_list list = osh_image_header(policy)->slots;
	const struct osh_image_slot *slots = osh_image_at(policy, list.offset);
	uint32_t mask = list.count - 1;

	for (uint32_t i = (uint32_t)way & mask; slots[i].node; i = (i + 1) & mask) {
		const struct osh_image_node *node = osh_image_at(policy, slots[i].node);

		if (slots[i].hash != (uint32_t)(way >> 32))
			continue;
		__builtin_prefetch(osh_image_endpoint(policy, slots[i].endpoint));
		if (is_node(walk, node, depth))
			return node;
	}
	return NULL;
}

/* Does what stands left of the node's labels make the host the endpoint's? */
static bool is_host(const struct walk *walk, const struct osh_image_host *host, size_t depth)
{
	size_t labels = walk->label_count - depth;

	switch (host->left) {
	case OSH_HOST_NOTHING:
		return labels == 0;
	case OSH_HOST_ONE_LABEL:
		return labels == 1;
	case OSH_HOST_LABELS:
		return labels >= 1;
	default:
		return labels >= 1 && osh_glob_match(osh_image_at(walk->match->policy, host->left),
						     left_of(walk, depth));
	}
}

static void add_node(const struct walk *walk, const struct osh_image_node *node, size_t depth)
{
	const struct osh_image_host *hosts = osh_image_at(walk->match->policy, node->hosts.offset);

	for (uint32_t i = 0; i < node->hosts.count; i++) {
		if (is_host(walk, &hosts[i], depth))
			add_endpoint(walk, hosts[i].endpoint);
	}
}

/* On from where `depth` labels led. Only patterns have nodes before the host's end. */
static void walk_on(const struct walk *walk, uint64_t way, size_t depth)
{
	uint64_t pattern_depths = osh_image_header(walk->match->policy)->pattern_depths;

	for (;; way = osh_image_step(way, walk->label_hashes[++depth])) {
		bool end = depth == walk->label_count;
		const struct osh_image_node *node = NULL;

		if (end || (pattern_depths & osh_image_depth(depth)))
			node = find_node(walk, way, depth);
		if (node)
			add_node(walk, node, depth);
		if (end)
			return;
		if (node && node->branches)
			walk_on(walk, osh_image_step_star(way), depth + 1);
	}
}

/* Returns false when the host has more labels than any name may have. */
static bool split_labels(struct walk *walk)
{
	size_t end = walk->host_len;

	walk->label_count = 0;
	walk->starts[0] = (uint16_t)end;
	walk->way = 0;
	for (size_t i = end;; i--) {
		uint64_t hash;

		if (i > 0 && walk->host[i - 1] != '.')
			continue;
		if (walk->label_count == LABELS_MAX)
			return false;
		hash = osh_image_hash(osh_str_n(walk->host + i, end - i));
		walk->starts[++walk->label_count] = (uint16_t)i;
		walk->label_hashes[walk->label_count] = hash;
		walk->way = osh_image_step(walk->way, hash);
		if (i == 0)
			return true;
		end = i - 1;
	}
}

/* Lower case, in labels; then the place of the whole host is known, and fetched. */
static bool read_host(struct walk *walk, struct osh_str host)
{
	if (host.len == 0 || host.len >= sizeof(walk->host))
		return false;
	for (size_t i = 0; i < host.len; i++)
		walk->host[i] = osh_ascii_lower(host.data[i]);
	walk->host_len = host.len;
	if (!split_labels(walk))
		return false;
	__builtin_prefetch(slot_of(walk->match->policy, walk->way));
	return true;
}

/* ---- Subject ------------------------------------------------------------- */

#define SUBJECT_MAX (1 + OSH_LINEAGE_MAX)

/* What an entry finds wrong with an executable whose path it names. */
enum fault {
	FAULT_NONE = 0,
	FAULT_UNKNOWN, /* no facts at all */
	FAULT_WANTED,  /* not asked yet */
	FAULT_CHANGED,
	FAULT_UNTOLD,
	FAULT_DIGEST,
	FAULT_UNCLEAN,
	FAULT_COUNT,
};

struct hashed_subject {
	const struct osh_subject *subject;
	size_t count;
	struct osh_str paths[SUBJECT_MAX];
	uint32_t hashes[SUBJECT_MAX];
	/* The first one found by the entry at hand, and about whom. */
	enum fault fault;
	size_t fault_at;
	struct osh_wanted wanted;
};

static void hash_subject(const struct osh_subject *subject, struct hashed_subject *hashed)
{
	hashed->subject = subject;
	hashed->count = 0;
	for (size_t i = 0; i <= subject->ancestor_count && i < SUBJECT_MAX; i++) {
		struct osh_str path = i == 0 ? subject->binary : subject->ancestors[i - 1];

		hashed->paths[i] = path;
		hashed->hashes[i] = (uint32_t)osh_image_hash(path);
		hashed->count++;
	}
}

static enum fault check_facts(const struct osh_policy *policy, const struct osh_image_binary *binary,
			      const struct osh_exe_facts *facts, struct osh_wanted *wanted)
{
	if (!facts)
		return binary->digest || binary->clean ? FAULT_UNKNOWN : FAULT_NONE;
	wanted->clean = false;
	switch (facts->trust) {
	case OSH_TRUST_UNASKED:
		return FAULT_WANTED;
	case OSH_TRUST_SAME:
		break;
	case OSH_TRUST_CHANGED:
		if (osh_layer_off("trust"))
			break;
		return FAULT_CHANGED;
	case OSH_TRUST_UNTOLD:
		return FAULT_UNTOLD;
	}
	if (binary->digest && memcmp(osh_image_at(policy, binary->digest), facts->digest,
				     sizeof(facts->digest)) != 0)
		return FAULT_DIGEST;
	if (!binary->clean || facts->clean == OSH_CLEAN_YES || osh_layer_off("clean"))
		return FAULT_NONE;
	wanted->clean = true;
	return facts->clean == OSH_CLEAN_UNASKED ? FAULT_WANTED : FAULT_UNCLEAN;
}

/* Is the executable behind the path that matched the one that is meant? */
static bool facts_hold(const struct osh_policy *policy, const struct osh_image_binary *binary,
		       struct hashed_subject *s, size_t i)
{
	const struct osh_exe_facts *facts = s->subject->facts ? &s->subject->facts[i] : NULL;
	struct osh_wanted wanted = { .subject = (uint32_t)i + 1 };
	enum fault fault = check_facts(policy, binary, facts, &wanted);

	if (fault == FAULT_WANTED && !s->wanted.subject)
		s->wanted = wanted;
	if (fault && !s->fault) {
		s->fault = fault;
		s->fault_at = i;
	}
	return fault == FAULT_NONE;
}

static bool exact_matches(const struct osh_policy *policy, const struct osh_image_binary *binary,
			  struct hashed_subject *s, size_t i)
{
	return binary->hash == s->hashes[i] && s->paths[i].len &&
	       osh_str_eq(osh_image_text(policy, binary->path), s->paths[i]) &&
	       facts_hold(policy, binary, s, i);
}

/* First item whose hash is not below. */
static uint32_t lower_bound(const struct osh_image_binary *items, uint32_t count, uint32_t hash)
{
	uint32_t low = 0, high = count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (items[middle].hash < hash)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool entry_names(const struct osh_policy *policy, const struct osh_image_entry *entry,
			struct hashed_subject *s)
{
	const struct osh_image_binary *exact = osh_image_at(policy, entry->exact.offset);
	const struct osh_image_binary *globs = osh_image_at(policy, entry->globs.offset);

	s->fault = FAULT_NONE;
	s->wanted = (struct osh_wanted){ 0 };
	if (osh_layer_off("binary"))
		return true;
	for (size_t i = 0; i < s->count; i++) {
		for (uint32_t j = lower_bound(exact, entry->exact.count, s->hashes[i]);
		     j < entry->exact.count && exact[j].hash == s->hashes[i]; j++) {
			if (exact_matches(policy, &exact[j], s, i))
				return true;
		}
	}
	for (uint32_t j = 0; j < entry->globs.count; j++) {
		for (size_t i = 0; i < s->count; i++) {
			if (s->paths[i].len &&
			    osh_glob_match(osh_image_at(policy, globs[j].glob), s->paths[i]) &&
			    facts_hold(policy, &globs[j], s, i))
				return true;
		}
	}
	return false;
}

const char *osh_entry_fault(const struct osh_policy *policy, uint32_t entry,
			    const struct osh_subject *subject, struct osh_str *ret_path)
{
	static const char *const words[FAULT_COUNT] = {
		[FAULT_NONE] = "not allowed in",
		[FAULT_UNKNOWN] = "does not meet the sha256 or clean condition of",
		[FAULT_WANTED] = "is not known yet to",
		[FAULT_CHANGED] = "changed since its first use (set the policy again to accept it): "
				  "not allowed in",
		[FAULT_UNTOLD] = "is not the file any more that was started, or cannot be read (start it "
				 "again): not allowed in",
		[FAULT_DIGEST] = "does not have the sha256 asked for in",
		[FAULT_UNCLEAN] = "was not started clean, as is asked for in",
	};
	struct hashed_subject hashed;

	hash_subject(subject, &hashed);
	(void)entry_names(policy, osh_image_entry(policy, entry), &hashed);
	*ret_path = hashed.fault ? hashed.paths[hashed.fault_at] : subject->binary;
	return words[hashed.fault];
}

/* Sort the endpoints whose entry names the subject to the front. */
static void grant(struct osh_match *match, struct hashed_subject *subject)
{
	uint32_t last = UINT32_MAX;
	bool last_named = false;

	for (size_t i = 0; i < match->count; i++) {
		uint32_t id = match->ids[i];
		uint32_t entry = osh_image_endpoint(match->policy, id)->entry;

		if (entry != last) {
			last = entry;
			last_named = entry_names(match->policy,
						 osh_image_entry(match->policy, entry), subject);
			if (!last_named && !match->wanted.subject)
				match->wanted = subject->wanted;
		}
		if (!last_named)
			continue;
		match->ids[i] = match->ids[match->granted];
		match->ids[match->granted++] = id;
		if (entry < match->entry)
			match->entry = entry;
	}
}

/* ---- Both ---------------------------------------------------------------- */

static void match_init(struct osh_match *match, const struct osh_policy *policy)
{
	match->policy = policy;
	match->count = match->granted = 0;
	match->overflow = false;
	match->entry = UINT32_MAX;
	match->wanted = (struct osh_wanted){ 0 };
}

void osh_match_connect(const struct osh_policy *policy, const struct osh_connect_query *query,
		       struct osh_match *match)
{
	struct hashed_subject subject;
	struct walk walk; /* needs no zeroing */
	bool is_name;

	match_init(match, policy);
	walk.match = match;
	walk.port_host = query->port_host;
	is_name = read_host(&walk, query->host);
	hash_subject(&query->subject, &subject);
	if (is_name)
		walk_on(&walk, 0, 0);
	add_hostless(&walk);
	grant(match, &subject);
}

/* ---- Which ports and literals there are ---------------------------------- */

static void report_ports(const struct osh_match *match,
			 void (*each)(void *context, uint16_t port_host), void *context)
{
	uint64_t seen[65536 / 64] = { 0 };

	for (size_t i = 0; i < match->count; i++) {
		const struct osh_image_endpoint *e =
			osh_image_endpoint(match->policy, match->ids[i]);
		const uint16_t *ports = osh_image_at(match->policy, e->ports.offset);

		for (uint32_t j = 0; j < e->ports.count; j++) {
			uint64_t bit = 1ULL << (ports[j] % 64);

			if (seen[ports[j] / 64] & bit)
				continue;
			seen[ports[j] / 64] |= bit;
			each(context, ports[j]);
		}
	}
}

void osh_policy_ports(const struct osh_policy *policy, struct osh_str host,
		      void (*each)(void *context, uint16_t port_host), void *context)
{
	struct osh_match match;
	struct walk walk = { .match = &match };

	match_init(&match, policy);
	if (read_host(&walk, host))
		walk_on(&walk, 0, 0);
	report_ports(&match, each, context);
}

void osh_policy_hostless_ports(const struct osh_policy *policy,
			       void (*each)(void *context, uint16_t port_host), void *context)
{
	struct osh_match match;
	struct walk walk = { .match = &match };

	match_init(&match, policy);
	add_hostless(&walk);
	report_ports(&match, each, context);
}

void osh_policy_literal_hosts(const struct osh_policy *policy,
			      void (*each)(void *context, struct osh_str host, uint16_t port_host),
			      void *context)
{
	struct osh_image_list list = osh_image_header(policy)->literals;
	const struct osh_image_literal *literals = osh_image_at(policy, list.offset);

	for (uint32_t i = 0; i < list.count; i++) {
		const uint16_t *ports = osh_image_at(policy, literals[i].ports.offset);

		for (uint32_t j = 0; j < literals[i].ports.count; j++)
			each(context, osh_image_text(policy, literals[i].host), ports[j]);
	}
}
