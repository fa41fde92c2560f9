/* Changing the tree of a policy. Nodes live in the arena; what is cut out stays there,
 * unreached. Private to agent/policy. */
#ifndef OSH_POLICY_EDIT_TREE_H
#define OSH_POLICY_EDIT_TREE_H

#include "policy/yaml.h"

/* The member of a mapping, NULL when there is none (or `map` is NULL). */
struct osh_yaml_node *osh_tree_find(const struct osh_yaml_node *map, const char *key);
/* The text of a scalar member, empty when there is none. */
struct osh_str osh_tree_text(const struct osh_yaml_node *map, const char *key);

/* New nodes, NULL when memory is out. A scalar is a string unless `is_literal`: then it
 * is what YAML takes the bare text for. */
struct osh_yaml_node *osh_tree_new(struct osh_arena *arena, enum osh_yaml_kind kind);
struct osh_yaml_node *osh_tree_scalar(struct osh_arena *arena, struct osh_str text,
				      bool is_literal);
struct osh_yaml_node *osh_tree_copy(struct osh_arena *arena, const struct osh_yaml_node *node);

void osh_tree_append(struct osh_yaml_node *parent, struct osh_yaml_node *child);
void osh_tree_insert_after(struct osh_yaml_node *parent, struct osh_yaml_node *place,
			   struct osh_yaml_node *child);
void osh_tree_remove(struct osh_yaml_node *parent, const struct osh_yaml_node *child);

/* Set a member; one of that key is replaced where it stands. Returns 0 or -ENOMEM (also
 * for a `value` that is NULL). */
int osh_tree_set(struct osh_arena *arena, struct osh_yaml_node *map, const char *key,
		 struct osh_yaml_node *value);
int osh_tree_set_text(struct osh_arena *arena, struct osh_yaml_node *map, const char *key,
		      struct osh_str text);
/* The member of that key, made as an empty collection when it is absent or null. */
struct osh_yaml_node *osh_tree_ensure(struct osh_arena *arena, struct osh_yaml_node *map,
				      const char *key, enum osh_yaml_kind kind);

#endif
