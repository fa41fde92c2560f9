/* The label trie over the endpoints' hosts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/builder.h"
#include "policy/glob.h"

#define NONE UINT32_MAX

/* An endpoint in a node's list, or a glob child of it: linked by index while the trie
 * grows, written out as arrays at the end. */
struct link {
	uint32_t value, extra, next;
};

struct node {
	uint32_t exact, deep, globs; /* first link, NONE */
	uint32_t star;
};

struct trie {
	struct osh_builder *builder;
	struct node *nodes;
	size_t node_count;
	struct link *links;
	size_t link_count;
	struct osh_image_slot *slots;
	size_t slot_mask;
};

static uint32_t slot_hash(uint32_t parent, struct osh_str label)
{
	return osh_image_hash(label) ^ parent * 2654435761u;
}

static uint32_t new_node(struct trie *t)
{
	t->nodes[t->node_count] = (struct node){ .exact = NONE, .deep = NONE, .globs = NONE };
	return (uint32_t)t->node_count++;
}

static void push_link(struct trie *t, uint32_t *list, uint32_t value, uint32_t extra)
{
	t->links[t->link_count] = (struct link){ .value = value, .extra = extra, .next = *list };
	*list = (uint32_t)t->link_count++;
}

static uint32_t literal_child(struct trie *t, uint32_t parent, struct osh_str label)
{
	uint32_t hash = slot_hash(parent, label);
	size_t i = hash & t->slot_mask;

	for (; t->slots[i].child; i = (i + 1) & t->slot_mask) {
		const struct osh_image_slot *slot = &t->slots[i];

		if (slot->parent == parent && slot->hash == hash && slot->label.len == label.len &&
		    memcmp(t->builder->data + slot->label.offset, label.data, label.len) == 0)
			return slot->child;
	}
	t->slots[i] = (struct osh_image_slot){
		.parent = parent,
		.hash = hash,
		.label = osh_builder_str(t->builder, label),
		.child = new_node(t),
	};
	return t->slots[i].child;
}

static uint32_t child_for(struct trie *t, uint32_t parent, struct osh_str label, bool pattern)
{
	uint32_t child, glob;

	if (!pattern || osh_glob_is_literal(label))
		return literal_child(t, parent, label);
	if (osh_str_eq_c(label, "*")) {
		if (!t->nodes[parent].star) {
			child = new_node(t);
			t->nodes[parent].star = child;
		}
		return t->nodes[parent].star;
	}
	glob = osh_builder_glob(t->builder, label, '.');
	child = new_node(t);
	if (glob)
		push_link(t, &t->nodes[parent].globs, glob, child);
	return child;
}

static void insert(struct trie *t, const struct osh_endpoint *e, uint32_t number)
{
	struct osh_str rest = e->host_text;
	uint32_t node = 0;
	bool more = true;

	while (more && !t->builder->error) {
		size_t i = rest.len;
		struct osh_str label;

		while (i > 0 && rest.data[i - 1] != '.')
			i--;
		label = osh_str_n(rest.data + i, rest.len - i);
		more = i > 0;
		rest.len = more ? i - 1 : 0;
		if (e->host_is_glob && osh_str_eq_c(label, "**")) {
			push_link(t, &t->nodes[node].deep, number, 0);
			return;
		}
		node = child_for(t, node, label, e->host_is_glob);
	}
	push_link(t, &t->nodes[node].exact, number, 0);
}

static size_t count_labels(const struct osh_endpoint *e)
{
	size_t labels = 1;

	for (size_t i = 0; i < e->host_text.len; i++)
		labels += e->host_text.data[i] == '.';
	return labels;
}

static int prepare(struct trie *t, const struct osh_endpoint *const *endpoints, size_t count)
{
	size_t labels = 1, slots = 16;

	for (size_t i = 0; i < count; i++)
		labels += count_labels(endpoints[i]);
	while (slots < 2 * labels)
		slots *= 2;
	t->slot_mask = slots - 1;
	t->nodes = calloc(labels + 1, sizeof(*t->nodes));
	t->links = calloc(labels + count + 1, sizeof(*t->links));
	t->slots = calloc(slots, sizeof(*t->slots));
	if (!t->nodes || !t->links || !t->slots)
		return -ENOMEM;
	new_node(t);
	return 0;
}

/* ---- Writing out --------------------------------------------------------- */

static size_t list_length(const struct trie *t, uint32_t list)
{
	size_t count = 0;

	for (uint32_t i = list; i != NONE; i = t->links[i].next)
		count++;
	return count;
}

/* Links were pushed at the front: fill from the back, so that numbers ascend. */
static struct osh_image_list put_numbers(struct trie *t, uint32_t list, uint32_t *scratch)
{
	size_t count = list_length(t, list), at = count;

	for (uint32_t i = list; i != NONE; i = t->links[i].next)
		scratch[--at] = t->links[i].value;
	return osh_builder_list(t->builder, scratch, sizeof(*scratch), count);
}

static struct osh_image_list put_globs(struct trie *t, uint32_t list,
				       struct osh_image_glob_child *scratch)
{
	size_t count = list_length(t, list), at = count;

	for (uint32_t i = list; i != NONE; i = t->links[i].next)
		scratch[--at] =
			(struct osh_image_glob_child){ t->links[i].value, t->links[i].extra };
	return osh_builder_list(t->builder, scratch, sizeof(*scratch), count);
}

static void write_out(struct trie *t, struct osh_image_header *header)
{
	_cleanup_free_ struct osh_image_node *nodes = calloc(t->node_count, sizeof(*nodes));
	_cleanup_free_ struct osh_image_glob_child *scratch =
		calloc(t->link_count + 1, sizeof(*scratch));

	if (!nodes || !scratch) {
		t->builder->error = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < t->node_count; i++) {
		nodes[i].exact = put_numbers(t, t->nodes[i].exact, (uint32_t *)(void *)scratch);
		nodes[i].deep = put_numbers(t, t->nodes[i].deep, (uint32_t *)(void *)scratch);
		nodes[i].globs = put_globs(t, t->nodes[i].globs, scratch);
		nodes[i].star = t->nodes[i].star;
	}
	header->nodes = osh_builder_list(t->builder, nodes, sizeof(*nodes), t->node_count);
	header->slots = osh_builder_list(t->builder, t->slots, sizeof(*t->slots), t->slot_mask + 1);
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
