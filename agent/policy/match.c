/* Which endpoints a connection meets: host and port through the trie, then the subject. */
#include <string.h>

#include "policy/evaluate.h"
#include "policy/glob.h"

/* ---- Host and port ------------------------------------------------------- */

#define LABELS_MAX 129

struct walk {
	struct osh_match *match;
	uint32_t port_host;                /* 0: any */
	struct osh_str labels[LABELS_MAX]; /* from the right */
	size_t label_count;
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

static void add_list(struct walk *walk, struct osh_image_list list)
{
	struct osh_match *m = walk->match;
	const uint32_t *ids = osh_image_at(m->policy, list.offset);

	for (uint32_t i = 0; i < list.count; i++) {
		if (!has_port(m->policy, osh_image_endpoint(m->policy, ids[i]), walk->port_host))
			continue;
		if (m->count == OSH_MATCH_MAX) {
			m->overflow = true;
			return;
		}
		m->ids[m->count++] = ids[i];
	}
}

static uint32_t find_child(const struct osh_policy *policy, uint32_t parent, struct osh_str label)
{
	const struct osh_image_header *header = osh_image_header(policy);
	const struct osh_image_slot *slots = osh_image_at(policy, header->slots.offset);
	uint32_t mask = header->slots.count - 1;
	uint32_t hash = osh_image_hash(label) ^ parent * 2654435761u;

	for (uint32_t i = hash & mask; slots[i].child; i = (i + 1) & mask) {
		if (slots[i].parent == parent && slots[i].hash == hash &&
		    osh_str_eq(osh_image_text(policy, slots[i].label), label))
			return slots[i].child;
	}
	return 0;
}

/* Each node is met at most once: it sits at one depth of the tree. */
static void walk_node(struct walk *walk, uint32_t number, size_t depth)
{
	const struct osh_policy *policy = walk->match->policy;
	const struct osh_image_node *nodes =
		osh_image_at(policy, osh_image_header(policy)->nodes.offset);
	const struct osh_image_node *node = &nodes[number];
	const struct osh_image_glob_child *globs = osh_image_at(policy, node->globs.offset);
	struct osh_str label;
	uint32_t child;

	if (depth == walk->label_count) {
		add_list(walk, node->exact);
		return;
	}
	add_list(walk, node->deep);
	label = walk->labels[depth];
	child = find_child(policy, number, label);
	if (child)
		walk_node(walk, child, depth + 1);
	if (node->star)
		walk_node(walk, node->star, depth + 1);
	for (uint32_t i = 0; i < node->globs.count; i++) {
		if (osh_glob_match(osh_image_at(policy, globs[i].glob), label))
			walk_node(walk, globs[i].child, depth + 1);
	}
}

/* Returns false when the host has more labels than any name may have. */
static bool split_labels(struct walk *walk, struct osh_str host)
{
	size_t end = host.len;

	for (size_t i = host.len; i > 0; i--) {
		if (host.data[i - 1] != '.')
			continue;
		if (walk->label_count == LABELS_MAX - 1)
			return false;
		walk->labels[walk->label_count++] = osh_str_n(host.data + i, end - i);
		end = i - 1;
	}
	walk->labels[walk->label_count++] = osh_str_n(host.data, end);
	return true;
}

static void walk_host(struct walk *walk, struct osh_str host)
{
	char lower[OSH_HOST_MAX];

	if (host.len == 0 || host.len >= sizeof(lower))
		return;
	for (size_t i = 0; i < host.len; i++)
		lower[i] = osh_ascii_lower(host.data[i]);
	if (split_labels(walk, osh_str_n(lower, host.len)))
		walk_node(walk, 0, 0);
}

void osh_match_host(const struct osh_policy *policy, struct osh_str host, uint16_t port_host,
		    struct osh_match *match)
{
	struct walk walk; /* its labels need no zeroing */

	walk.match = match;
	walk.port_host = port_host;
	walk.label_count = 0;
	match->policy = policy;
	match->count = match->granted = 0;
	match->overflow = false;
	match->entry = UINT32_MAX;
	match->wanted = (struct osh_wanted){ 0 };
	walk_host(&walk, host);
	if (port_host)
		add_list(&walk, osh_image_header(policy)->hostless);
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
		hashed->hashes[i] = osh_image_hash(path);
		hashed->count++;
	}
}

static enum fault check_facts(const struct osh_image_binary *binary,
			      const struct osh_exe_facts *facts, struct osh_wanted *wanted)
{
	if (!facts)
		return binary->has_digest || binary->clean ? FAULT_UNKNOWN : FAULT_NONE;
	wanted->clean = false;
	switch (facts->trust) {
	case OSH_TRUST_UNASKED:
		return FAULT_WANTED;
	case OSH_TRUST_SAME:
		break;
	case OSH_TRUST_CHANGED:
		return FAULT_CHANGED;
	case OSH_TRUST_UNTOLD:
		return FAULT_UNTOLD;
	}
	if (binary->has_digest && memcmp(binary->digest, facts->digest, sizeof(facts->digest)) != 0)
		return FAULT_DIGEST;
	if (!binary->clean || facts->clean == OSH_CLEAN_YES)
		return FAULT_NONE;
	wanted->clean = true;
	return facts->clean == OSH_CLEAN_UNASKED ? FAULT_WANTED : FAULT_UNCLEAN;
}

/* Is the executable behind the path that matched the one that is meant? */
static bool facts_hold(const struct osh_image_binary *binary, struct hashed_subject *s, size_t i)
{
	const struct osh_exe_facts *facts = s->subject->facts ? &s->subject->facts[i] : NULL;
	struct osh_wanted wanted = { .subject = (uint32_t)i + 1 };
	enum fault fault = check_facts(binary, facts, &wanted);

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
	       facts_hold(binary, s, i);
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
			    facts_hold(&globs[j], s, i))
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

void osh_match_subject(struct osh_match *match, const struct osh_subject *subject)
{
	struct hashed_subject hashed;
	uint32_t last = UINT32_MAX;
	bool last_named = false;

	hash_subject(subject, &hashed);
	for (size_t i = 0; i < match->count; i++) {
		uint32_t id = match->ids[i];
		uint32_t entry = osh_image_endpoint(match->policy, id)->entry;

		if (entry != last) {
			last = entry;
			last_named = entry_names(match->policy,
						 osh_image_entry(match->policy, entry), &hashed);
			if (!last_named && !match->wanted.subject)
				match->wanted = hashed.wanted;
		}
		if (!last_named)
			continue;
		match->ids[i] = match->ids[match->granted];
		match->ids[match->granted++] = id;
		if (entry < match->entry)
			match->entry = entry;
	}
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

	osh_match_host(policy, host, 0, &match);
	report_ports(&match, each, context);
}

void osh_policy_hostless_ports(const struct osh_policy *policy,
			       void (*each)(void *context, uint16_t port_host), void *context)
{
	struct osh_match match = { .policy = policy };
	struct walk walk = { .match = &match };

	add_list(&walk, osh_image_header(policy)->hostless);
	report_ports(&match, each, context);
}

void osh_policy_literal_hosts(const struct osh_policy *policy,
			      void (*each)(void *context, struct osh_str host, uint16_t port_host),
			      void *context)
{
	uint32_t count = osh_image_header(policy)->endpoints.count;

	for (uint32_t i = 0; i < count; i++) {
		const struct osh_image_endpoint *e = osh_image_endpoint(policy, i);
		const uint16_t *ports = osh_image_at(policy, e->ports.offset);

		for (uint32_t j = 0; (e->flags & OSH_IMAGE_HOST_ADDRESS) && j < e->ports.count; j++)
			each(context, osh_image_text(policy, e->host), ports[j]);
	}
}
