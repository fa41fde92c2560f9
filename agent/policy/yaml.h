/* YAML text to a tree whose every node knows its line and column. Strict: one document,
 * no anchors, aliases or tags, no duplicate keys, bounded in depth and number. */
#ifndef OSH_POLICY_YAML_H
#define OSH_POLICY_YAML_H

#include <stdbool.h>

#include "policy/arena.h"
#include "policy/diag.h"

enum osh_yaml_kind { OSH_YAML_SCALAR, OSH_YAML_SEQUENCE, OSH_YAML_MAPPING };

struct osh_yaml_node {
	enum osh_yaml_kind kind;
	bool plain;                   /* scalar without quotes: may be a number, bool or null */
	uint32_t count;               /* children */
	struct osh_mark mark;
	struct osh_mark key_mark;
	struct osh_str text;          /* scalar, NUL terminated */
	struct osh_str key;           /* when the parent is a mapping, NUL terminated */
	struct osh_yaml_node *first;  /* children in order */
	struct osh_yaml_node *next;
};

/* What a plain scalar means (YAML 1.2 core schema, read strictly). */
enum osh_yaml_type {
	OSH_YAML_STRING,
	OSH_YAML_NULL,
	OSH_YAML_BOOL,
	OSH_YAML_INT,
	OSH_YAML_FLOAT,
};
enum osh_yaml_type osh_yaml_type(const struct osh_yaml_node *node);

/* Nodes and strings live in `arena`. Returns 0, -EINVAL with errors in diags, or
 * -ENOMEM. */
int osh_yaml_parse(struct osh_str text, struct osh_arena *arena, struct osh_diags *diags,
		   struct osh_yaml_node **ret_root);

#endif
