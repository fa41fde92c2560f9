/* Reading a YAML tree by tables: what a mapping may hold and what reads each value. Wrong
 * shapes and types become findings; reading goes on. Private to agent/policy. */
#ifndef OSH_POLICY_READ_H
#define OSH_POLICY_READ_H

#include "policy/document.h"
#include "policy/yaml.h"

struct osh_reader {
	struct osh_arena *arena;
	struct osh_diags *diags;
	bool no_memory;
	size_t endpoints, rules; /* so far, in the whole file */
	size_t wrong; /* values of a wrong type: what depends on them is not checked further */
};

/* Reads one value into what `out` points to. */
typedef void osh_read_fn(struct osh_reader *r, const struct osh_yaml_node *node, void *out);

/* One key that a mapping may have. */
struct osh_field {
	const char *name;
	osh_read_fn *read;
	size_t offset;
};

#define OSH_FIELDS_MAX 40
#define OSH_END_OF_FIELDS \
	{ \
		NULL, NULL, 0 \
	}

/* "a list", "a quoted string", ... */
const char *osh_read_kind_name(const struct osh_yaml_node *node);
void osh_read_unknown_key(struct osh_reader *r, const struct osh_yaml_node *node,
			  const struct osh_field *fields, const char *what);
bool osh_read_expect_mapping(struct osh_reader *r, const struct osh_yaml_node *node);

/* The key's row in a table, NULL when there is none. */
const struct osh_field *osh_read_find_field(const struct osh_field *fields, struct osh_str key);
/* A mapping with the keys of a table; `what` names it in findings. */
void osh_read_fields(struct osh_reader *r, const struct osh_yaml_node *node,
		     const struct osh_field *fields, const char *what, void *out);
/* Room for the children of `node`, NULL when there are none or memory is out. */
void *osh_read_new_items(struct osh_reader *r, const struct osh_yaml_node *node, size_t size);
/* A list: `read` fills one item. Returns the items; NULL for a wrong shape, too. */
void *osh_read_list(struct osh_reader *r, const struct osh_yaml_node *node, const char *want,
		    size_t size, osh_read_fn *read, size_t *ret_count);
/* A mapping with free keys, each value by `read`. */
void *osh_read_map(struct osh_reader *r, const struct osh_yaml_node *node, size_t size,
		   osh_read_fn *read, size_t *ret_count);

struct osh_text osh_read_key(const struct osh_yaml_node *node);

/* Into struct osh_text, osh_flag, osh_number, osh_texts, osh_texts, osh_matcher and
 * osh_matchers. */
osh_read_fn osh_read_text, osh_read_flag, osh_read_number, osh_read_texts, osh_read_ports,
	osh_read_matcher, osh_read_matchers;

#endif
