#include "policy/edit_tree.h"

#include <errno.h>
#include <string.h>

struct osh_yaml_node *osh_tree_find(const struct osh_yaml_node *map, const char *key)
{
	struct osh_yaml_node *child = map && map->kind == OSH_YAML_MAPPING ? map->first : NULL;

	while (child && !osh_str_eq_c(child->key, key))
		child = child->next;
	return child;
}

struct osh_str osh_tree_text(const struct osh_yaml_node *map, const char *key)
{
	const struct osh_yaml_node *child = osh_tree_find(map, key);

	return child && child->kind == OSH_YAML_SCALAR ? child->text : osh_str("");
}

struct osh_yaml_node *osh_tree_new(struct osh_arena *arena, enum osh_yaml_kind kind)
{
	struct osh_yaml_node *node = osh_arena_alloc(arena, sizeof(*node));

	if (node)
		node->kind = kind;
	return node;
}

struct osh_yaml_node *osh_tree_scalar(struct osh_arena *arena, struct osh_str text, bool is_literal)
{
	struct osh_yaml_node *node = osh_tree_new(arena, OSH_YAML_SCALAR);

	if (!node)
		return NULL;
	node->text = osh_str_n(osh_arena_copy(arena, text), text.len);
	if (!node->text.data)
		return NULL;
	node->plain = true;
	if (!is_literal && osh_yaml_type(node) != OSH_YAML_STRING)
		node->plain = false;
	return node;
}

struct osh_yaml_node *osh_tree_copy(struct osh_arena *arena, const struct osh_yaml_node *node)
{
	struct osh_yaml_node *copy = osh_tree_new(arena, node->kind);

	if (!copy)
		return NULL;
	*copy = *node;
	copy->next = copy->first = NULL;
	copy->count = 0;
	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		struct osh_yaml_node *child_copy = osh_tree_copy(arena, child);

		if (!child_copy)
			return NULL;
		osh_tree_append(copy, child_copy);
	}
	return copy;
}

void osh_tree_append(struct osh_yaml_node *parent, struct osh_yaml_node *child)
{
	struct osh_yaml_node **tail = &parent->first;

	while (*tail)
		tail = &(*tail)->next;
	child->next = NULL;
	*tail = child;
	parent->count++;
}

void osh_tree_insert_after(struct osh_yaml_node *parent, struct osh_yaml_node *place,
			   struct osh_yaml_node *child)
{
	child->next = place->next;
	place->next = child;
	parent->count++;
}

void osh_tree_remove(struct osh_yaml_node *parent, const struct osh_yaml_node *child)
{
	struct osh_yaml_node **link = &parent->first;

	while (*link && *link != child)
		link = &(*link)->next;
	if (!*link)
		return;
	*link = child->next;
	parent->count--;
}

int osh_tree_set(struct osh_arena *arena, struct osh_yaml_node *map, const char *key,
		 struct osh_yaml_node *value)
{
	struct osh_yaml_node *old = osh_tree_find(map, key);

	if (!value)
		return -ENOMEM;
	value->key = osh_str_n(osh_arena_copy(arena, osh_str(key)), strlen(key));
	if (!value->key.data)
		return -ENOMEM;
	if (!old) {
		osh_tree_append(map, value);
		return 0;
	}
	osh_tree_insert_after(map, old, value);
	osh_tree_remove(map, old);
	return 0;
}

int osh_tree_set_text(struct osh_arena *arena, struct osh_yaml_node *map, const char *key,
		      struct osh_str text)
{
	return osh_tree_set(arena, map, key, osh_tree_scalar(arena, text, false));
}

struct osh_yaml_node *osh_tree_ensure(struct osh_arena *arena, struct osh_yaml_node *map,
				      const char *key, enum osh_yaml_kind kind)
{
	struct osh_yaml_node *node = osh_tree_find(map, key);

	if (node && node->kind == kind)
		return node;
	node = osh_tree_new(arena, kind);
	return osh_tree_set(arena, map, key, node) == 0 ? node : NULL;
}
