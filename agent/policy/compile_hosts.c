/* The trie over the endpoints' hosts: gathered in a table while it grows, then written out
 * node by node, each with its name and its list behind it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/builder.h"
#include "policy/glob.h"

#define NONE UINT32_MAX

/* A host of a node: linked by index while the trie grows. */
struct link {
	struct osh_image_host host;
	uint32_t next;
};

struct node {
	struct osh_str name; /* in the document */
	uint64_t way;
	uint32_t first, count; /* links, the latest first; NONE at the end */
	bool starred;          /* its name holds a star */
	bool branches;
};

struct trie {
	struct osh_builder *builder;
	struct node *nodes;
	size_t node_count;
	struct link *links;
	size_t link_count;
	struct osh_image_slot *slots; /* 1 + index of the node, until that is written out */
	size_t slot_mask;
};

static bool is_node(const struct node *node, uint64_t way, struct osh_str name)
{
	return node->way == way && osh_str_eq(node->name, name);
}

static struct node *node_for(struct trie *t, uint64_t way, struct osh_str name)
{
	size_t i = way & t->slot_mask;

	for (; t->slots[i].node; i = (i + 1) & t->slot_mask) {
		if (is_node(&t->nodes[t->slots[i].node - 1], way, name))
			return &t->nodes[t->slots[i].node - 1];
	}
	t->nodes[t->node_count] = (struct node){ .name = name, .way = way, .first = NONE };
	t->slots[i] = (struct osh_image_slot){ .hash = (uint32_t)(way >> 32),
					       .node = (uint32_t)++t->node_count };
	return &t->nodes[t->node_count - 1];
}

static void add_host(struct trie *t, struct node *node, uint32_t endpoint, uint32_t left)
{
	t->links[t->link_count] =
		(struct link){ .host = { endpoint, left }, .next = node->first };
	node->first = (uint32_t)t->link_count++;
	node->count++;
}

/* What a pattern says left of its last node. */
static uint32_t compile_left(struct osh_builder *b, struct osh_str pattern)
{
	char text[OSH_HOST_MAX + 2] = "*.";

	if (osh_str_eq_c(pattern, "*"))
		return OSH_HOST_ONE_LABEL;
	if (osh_str_eq_c(pattern, "**"))
		return OSH_HOST_LABELS;
	if (!osh_str_has_prefix(pattern, "**."))
		return osh_builder_glob(b, pattern, '.');
	/* In a glob, leading stars may also stand for no label at all. */
	memcpy(text + 2, pattern.data, pattern.len);
	return osh_builder_glob(b, osh_str_n(text, pattern.len + 2), '.');
}

static struct osh_str last_label(struct osh_str host)
{
	size_t i = host.len;

	while (i > 0 && host.data[i - 1] != '.')
		i--;
	return osh_str_n(host.data + i, host.len - i);
}

/* Steps over a label, as far as the labels of a host decide the way: that is, over what is
 * written out and over stars between other labels. */
static bool step(struct trie *t, const struct osh_endpoint *e, struct osh_str label,
		 struct osh_str name, bool *starred, uint64_t *way)
{
	if (!e->host_is_glob || osh_glob_is_literal(label)) {
		*way = osh_image_step(*way, osh_image_hash(label));
		return true;
	}
	if (!osh_str_eq_c(label, "*") || label.data == e->host_text.data)
		return false;
	node_for(t, *way, name)->branches = true;
	node_for(t, *way, name)->starred = *starred;
	*starred = true;
	*way = osh_image_step_star(*way);
	return true;
}

static void insert(struct trie *t, const struct osh_endpoint *e, uint32_t number)
{
	struct osh_str host = e->host_text, rest = host;
	struct osh_str name = osh_str_n(host.data + host.len, 0);
	uint32_t left = OSH_HOST_NOTHING;
	bool starred = false;
	uint64_t way = 0;
	struct node *node;

	for (;;) {
		struct osh_str label = last_label(rest);

		if (!step(t, e, label, name, &starred, &way)) {
			left = compile_left(t->builder, rest);
			break;
		}
		name = osh_str_n(label.data, (size_t)(host.data + host.len - label.data));
		if (label.data == host.data)
			break;
		rest.len = (size_t)(label.data - host.data) - 1;
	}
	node = node_for(t, way, name);
	node->starred = starred;
	if (left || name.len == host.len) /* a pattern that cannot be read matches nothing */
		add_host(t, node, number, left);
}

/* An endpoint makes one node, and one more for each star that it steps over. */
static size_t count_nodes(const struct osh_endpoint *e)
{
	size_t nodes = 1;

	for (size_t i = 0; e->host_is_glob && i < e->host_text.len; i++)
		nodes += e->host_text.data[i] == '*';
	return nodes;
}

static int prepare(struct trie *t, const struct osh_endpoint *const *endpoints, size_t count)
{
	size_t nodes = 1, slots = 16;

	for (size_t i = 0; i < count; i++)
		nodes += count_nodes(endpoints[i]);
	while (2 * slots < 3 * nodes)
		slots *= 2;
	t->slot_mask = slots - 1;
	t->nodes = calloc(nodes, sizeof(*t->nodes));
	t->links = calloc(count + 1, sizeof(*t->links));
	t->slots = calloc(slots, sizeof(*t->slots));
	return t->nodes && t->links && t->slots ? 0 : -ENOMEM;
}

/* ---- Writing out --------------------------------------------------------- */

/* A pattern's nodes have to be asked at their depth, the others only at the host's end. */
static bool is_of_pattern(const struct trie *t, const struct node *node)
{
	bool is = node->starred || node->branches;

	for (uint32_t i = node->first; i != NONE && !is; i = t->links[i].next)
		is = t->links[i].host.left != OSH_HOST_NOTHING;
	return is;
}

static size_t count_labels(struct osh_str name)
{
	size_t labels = name.len > 0;

	for (size_t i = 0; i < name.len; i++)
		labels += name.data[i] == '.';
	return labels;
}

/* Links were pushed at the front: fill from the back, so that numbers ascend. */
static uint32_t write_node(struct trie *t, const struct node *node, struct osh_image_host *scratch)
{
	struct osh_builder *b = t->builder;
	struct osh_image_node out = { .branches = node->branches };
	uint32_t offset = osh_builder_put(b, NULL, sizeof(out)), at = node->count;

	out.name.len = (uint32_t)node->name.len;
	out.name.offset = osh_builder_put(b, node->name.data, node->name.len);
	for (uint32_t i = node->first; i != NONE; i = t->links[i].next)
		scratch[--at] = t->links[i].host;
	out.hosts.count = node->count;
	out.hosts.offset = osh_builder_put(b, scratch, node->count * sizeof(*scratch));
	if (node->starred)
		out.glob = osh_builder_glob(b, node->name, '.');
	if (!b->error)
		memcpy(b->data + offset, &out, sizeof(out));
	return offset;
}

static void write_out(struct trie *t, struct osh_image_header *header)
{
	_cleanup_free_ struct osh_image_host *scratch = calloc(t->link_count + 1, sizeof(*scratch));

	if (!scratch) {
		t->builder->error = -ENOMEM;
		return;
	}
	for (size_t i = 0; i <= t->slot_mask && !t->builder->error; i++) {
		const struct node *node;

		if (t->slots[i].node == 0)
			continue;
		node = &t->nodes[t->slots[i].node - 1];
		t->slots[i].node = write_node(t, node, scratch);
		t->slots[i].endpoint = node->count ? scratch[0].endpoint : 0;
		if (is_of_pattern(t, node))
			header->pattern_depths |= osh_image_depth(count_labels(node->name));
	}
	header->slots.count = (uint32_t)t->slot_mask + 1;
	header->slots.offset = osh_builder_put_at_line(t->builder, t->slots,
						       header->slots.count * sizeof(*t->slots));
}

void osh_compile_hosts(struct osh_builder *b, const struct osh_endpoint *const *endpoints,
		       size_t count, struct osh_image_header *header)
{
	struct trie t = { .builder = b };
	_cleanup_free_ uint32_t *hostless = calloc(count + 1, sizeof(*hostless));
	size_t hostless_count = 0;

	if (!hostless || prepare(&t, endpoints, count) < 0)
		b->error = -ENOMEM;
	for (size_t i = 0; i < count && !b->error; i++) {
		if (endpoints[i]->hostless)
			hostless[hostless_count++] = (uint32_t)i;
		else
			insert(&t, endpoints[i], (uint32_t)i);
	}
	if (!b->error) {
		header->hostless = osh_builder_list(b, hostless, sizeof(*hostless), hostless_count);
		write_out(&t, header);
	}
	free(t.nodes);
	free(t.links);
	free(t.slots);
}
