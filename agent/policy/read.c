#include "policy/read.h"

#include <stdio.h>
#include <string.h>

/* ---- Shapes -------------------------------------------------------------- */

const char *osh_read_kind_name(const struct osh_yaml_node *node)
{
	if (node->kind == OSH_YAML_MAPPING)
		return "a mapping";
	if (node->kind == OSH_YAML_SEQUENCE)
		return "a list";
	switch (osh_yaml_type(node)) {
	case OSH_YAML_STRING:
		return node->plain ? "a string" : "a quoted string";
	case OSH_YAML_NULL:
		return "nothing";
	case OSH_YAML_BOOL:
		return "a boolean";
	case OSH_YAML_INT:
	case OSH_YAML_FLOAT:
		return "a number";
	}
	return "unknown";
}

static void report_type(struct osh_reader *r, const struct osh_yaml_node *node, const char *want)
{
	struct osh_str name = node->key.len ? node->key : osh_str("value");

	r->wrong++;
	if (node->kind == OSH_YAML_SCALAR && osh_yaml_type(node) != OSH_YAML_NULL)
		osh_diag_error(r->diags, node->mark, "%.*s must be %s, not %s: %.*s",
			       OSH_DIAG_VALUE(name), want, osh_read_kind_name(node),
			       OSH_DIAG_VALUE(node->text));
	else
		osh_diag_error(r->diags, node->mark, "%.*s must be %s, not %s",
			       OSH_DIAG_VALUE(name), want, osh_read_kind_name(node));
}

void osh_read_unknown_key(struct osh_reader *r, const struct osh_yaml_node *node,
			  const struct osh_field *fields, const char *what)
{
	const char *names[OSH_FIELDS_MAX], *nearest;
	char list[480] = ""; /* the longest table, an endpoint's, takes 420 */
	size_t count = 0, len = 0;

	for (const struct osh_field *f = fields; f->name; f++) {
		int n = snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "", f->name);

		if (n > 0)
			len = len + (size_t)n < sizeof(list) ? len + (size_t)n : sizeof(list) - 1;
		names[count++] = f->name;
	}
	names[count] = NULL;
	nearest = osh_nearest_name(node->key, names);
	if (nearest)
		osh_diag_error(r->diags, node->key_mark,
			       "unknown field '%.*s' in %s: did you mean %s?",
			       OSH_DIAG_VALUE(node->key), what, nearest);
	else
		osh_diag_error(r->diags, node->key_mark, "unknown field '%.*s' in %s (allowed: %s)",
			       OSH_DIAG_VALUE(node->key), what, list);
}

bool osh_read_expect_mapping(struct osh_reader *r, const struct osh_yaml_node *node)
{
	if (node->kind == OSH_YAML_MAPPING)
		return true;
	report_type(r, node, "a mapping");
	return false;
}

const struct osh_field *osh_read_find_field(const struct osh_field *fields, struct osh_str key)
{
	for (; fields->name; fields++) {
		if (fields->name[0] == key.data[0] && osh_str_eq_c(key, fields->name))
			return fields;
	}
	return NULL;
}

void osh_read_fields(struct osh_reader *r, const struct osh_yaml_node *node,
		     const struct osh_field *fields, const char *what, void *out)
{
	if (!osh_read_expect_mapping(r, node))
		return;
	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		const struct osh_field *f = osh_read_find_field(fields, child->key);

		if (f)
			f->read(r, child, (char *)out + f->offset);
		else
			osh_read_unknown_key(r, child, fields, what);
	}
}

/* Room for the children of `node`, NULL when there are none or memory is out. */
void *osh_read_new_items(struct osh_reader *r, const struct osh_yaml_node *node, size_t size)
{
	void *items = NULL;

	if (node->count) {
		items = osh_arena_alloc(r->arena, node->count * size);
		r->no_memory |= !items;
	}
	return items;
}

/* Read a list: `read` fills one item. Returns the items; NULL for a wrong shape too. */
void *osh_read_list(struct osh_reader *r, const struct osh_yaml_node *node, const char *want,
		    size_t size, osh_read_fn *read, size_t *ret_count)
{
	size_t count = 0;
	char *items;

	*ret_count = 0;
	if (node->kind != OSH_YAML_SEQUENCE) {
		report_type(r, node, want);
		return NULL;
	}
	items = osh_read_new_items(r, node, size);
	for (const struct osh_yaml_node *child = node->first; items && child; child = child->next)
		read(r, child, items + size * count++);
	*ret_count = count;
	return items;
}

/* Read a mapping with free keys, each value by `read`. */
void *osh_read_map(struct osh_reader *r, const struct osh_yaml_node *node, size_t size,
		   osh_read_fn *read, size_t *ret_count)
{
	size_t count = 0;
	char *items;

	*ret_count = 0;
	if (!osh_read_expect_mapping(r, node))
		return NULL;
	items = osh_read_new_items(r, node, size);
	for (const struct osh_yaml_node *child = node->first; items && child; child = child->next)
		read(r, child, items + size * count++);
	*ret_count = count;
	return items;
}

/* ---- Scalars ------------------------------------------------------------- */

void osh_read_text(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_text *text = out;

	if (node->kind != OSH_YAML_SCALAR || osh_yaml_type(node) != OSH_YAML_STRING) {
		report_type(r, node, "a string (put it in quotes)");
		return;
	}
	*text = (struct osh_text){ .set = true, .mark = node->mark, .text = node->text };
}

struct osh_text osh_read_key(const struct osh_yaml_node *node)
{
	return (struct osh_text){ .set = true, .mark = node->key_mark, .text = node->key };
}

void osh_read_flag(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_flag *flag = out;

	if (osh_yaml_type(node) != OSH_YAML_BOOL) {
		report_type(r, node, "a boolean (true or false)");
		return;
	}
	*flag = (struct osh_flag){ .set = true,
				   .mark = node->mark,
				   .value = osh_ascii_lower(node->text.data[0]) == 't' };
}

/* Plain decimal, without sign, leading zero or another base: 0x1bb and 08 mean different
 * things to different readers. */
void osh_read_number(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_number *number = out;
	uint64_t value;

	if (node->kind == OSH_YAML_SCALAR && osh_yaml_type(node) == OSH_YAML_INT &&
	    node->text.data[0] == '-') {
		r->wrong++;
		osh_diag_error(r->diags, node->mark, "%.*s must not be negative: %.*s",
			       OSH_DIAG_VALUE(node->key), OSH_DIAG_VALUE(node->text));
		return;
	}
	if (osh_yaml_type(node) != OSH_YAML_INT) {
		report_type(r, node, "an integer");
		return;
	}
	if ((node->text.data[0] == '0' && node->text.len > 1) ||
	    osh_str_parse_u64(node->text, UINT64_MAX, &value) < 0) {
		r->wrong++;
		osh_diag_error(r->diags, node->mark, "%.*s must be a decimal integer: %.*s",
			       OSH_DIAG_VALUE(node->key), OSH_DIAG_VALUE(node->text));
		return;
	}
	*number = (struct osh_number){ .set = true, .mark = node->mark, .value = value };
}

void osh_read_texts(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_texts *texts = out;

	texts->mark = node->mark;
	texts->items = osh_read_list(r, node, "a list of strings", sizeof(struct osh_text),
				     osh_read_text, &texts->count);
	texts->set = node->kind == OSH_YAML_SEQUENCE;
}

/* A port inside a list: kept as text, so that the message can show what was written. */
static void read_port_item(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_text *text = out;

	if (osh_yaml_type(node) != OSH_YAML_INT) {
		report_type(r, node, "an integer from 1 to 65535");
		return;
	}
	*text = (struct osh_text){ .set = true, .mark = node->mark, .text = node->text };
}

void osh_read_ports(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_texts *texts = out;

	texts->mark = node->mark;
	texts->items = osh_read_list(r, node, "a list of integers", sizeof(struct osh_text),
				     read_port_item, &texts->count);
	texts->set = node->kind == OSH_YAML_SEQUENCE;
}

/* ---- Matchers ------------------------------------------------------------ */

static const struct osh_field any_fields[] = {
	{ "any", osh_read_texts, 0 },
	OSH_END_OF_FIELDS,
};

/* A string, or {any: [...]}. */
static void read_matcher_value(struct osh_reader *r, const struct osh_yaml_node *node,
			       struct osh_texts *any)
{
	any->mark = node->mark;
	if (node->kind == OSH_YAML_MAPPING) {
		osh_read_fields(r, node, any_fields, "a matcher (a string or {any: [...]})", any);
		if (any->set && any->count == 0)
			osh_diag_error(r->diags, node->mark, "matcher any must not be empty");
		if (node->count == 0)
			osh_diag_error(r->diags, node->mark,
				       "matcher must be a string or {any: [...]}");
		return;
	}
	if (node->kind != OSH_YAML_SCALAR || osh_yaml_type(node) != OSH_YAML_STRING) {
		report_type(r, node, "a matcher: a quoted string or {any: [...]}");
		return;
	}
	any->items = osh_arena_alloc(r->arena, sizeof(*any->items));
	r->no_memory |= !any->items;
	if (!any->items)
		return;
	osh_read_text(r, node, any->items);
	any->count = 1;
	any->set = true;
}

void osh_read_matcher(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_matcher *matcher = out;

	matcher->key = osh_read_key(node);
	read_matcher_value(r, node, &matcher->any);
}

void osh_read_matchers(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_matchers *matchers = out;

	matchers->mark = node->mark;
	matchers->items = osh_read_map(r, node, sizeof(struct osh_matcher), osh_read_matcher,
				       &matchers->count);
	matchers->set = node->kind == OSH_YAML_MAPPING;
}
