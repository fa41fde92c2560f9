#include "policy/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/mem.h"
#include "policy/text.h"

#define NODES_MAX 131072 /* 1 MiB of text holds fewer that mean anything */

struct builder {
	yaml_parser_t parser;
	struct osh_arena *arena;
	struct osh_diags *diags;
	size_t nodes;
};

static struct osh_mark mark_of(yaml_mark_t mark)
{
	return (struct osh_mark){ (uint32_t)mark.line + 1, (uint32_t)mark.column + 1 };
}

/* ---- Bytes --------------------------------------------------------------- */

/* Bytes up to the first that no policy holds: a control byte, or what is not UTF-8. */
static size_t count_good_bytes(struct osh_str text)
{
	const unsigned char *p = (const unsigned char *)text.data;
	size_t i = 0, len = 1;

	for (; i < text.len && len; i += len) {
		if ((p[i] >= 0x20 && p[i] < 0x7f) || p[i] == '\n' || p[i] == '\r' || p[i] == '\t')
			len = 1;
		else
			len = p[i] >= 0x80 ? osh_utf8_length(p + i, text.len - i) : 0;
	}
	return i;
}

/* Where the byte at `offset` stands; all before it are UTF-8. */
static struct osh_mark mark_at(struct osh_str text, size_t offset)
{
	struct osh_mark mark = { 1, 1 };

	for (size_t i = 0; i < offset; i++) {
		mark.column += ((unsigned char)text.data[i] & 0xc0) != 0x80;
		if (text.data[i] == '\n')
			mark = (struct osh_mark){ mark.line + 1, 1 };
	}
	return mark;
}

static int check_bytes(struct osh_str text, struct osh_diags *diags)
{
	size_t good;
	unsigned char bad;

	if (text.len > OSH_POLICY_BYTES_MAX) {
		osh_diag_error(diags, (struct osh_mark){ 1, 1 },
			       "the policy is %zu bytes long; at most %u are allowed", text.len,
			       OSH_POLICY_BYTES_MAX);
		return -EINVAL;
	}
	good = count_good_bytes(text);
	if (good == text.len)
		return 0;
	bad = (unsigned char)text.data[good];
	osh_diag_error(diags, mark_at(text, good),
		       bad < 0x80 ? "control byte 0x%02x is not allowed" :
				    "byte 0x%02x is not valid UTF-8",
		       bad);
	return -EINVAL;
}

/* ---- Scalars ------------------------------------------------------------- */

static bool is_one_of(struct osh_str text, const char *const *words)
{
	for (; *words; words++) {
		if (osh_str_eq_c(text, *words))
			return true;
	}
	return false;
}

/* Digits with an optional fraction and exponent; "0x1f" and "0o17" count as integers. */
static enum osh_yaml_type number_type(struct osh_str text)
{
	size_t i = 0, digits = 0;
	bool is_float = false;

	if (i < text.len && (text.data[i] == '-' || text.data[i] == '+'))
		i++;
	if (text.len - i > 2 && text.data[i] == '0' &&
	    strchr("xob", osh_ascii_lower(text.data[i + 1]))) {
		for (i += 2; i < text.len; i++) {
			if (!strchr("0123456789abcdef", osh_ascii_lower(text.data[i])))
				return OSH_YAML_STRING;
		}
		return OSH_YAML_INT;
	}
	for (; i < text.len && osh_ascii_is_digit(text.data[i]); i++)
		digits++;
	if (i < text.len && text.data[i] == '.') {
		is_float = true;
		for (i++; i < text.len && osh_ascii_is_digit(text.data[i]); i++)
			digits++;
	}
	if (digits && i < text.len && osh_ascii_lower(text.data[i]) == 'e') {
		is_float = true;
		i++;
		if (i < text.len && (text.data[i] == '-' || text.data[i] == '+'))
			i++;
		if (i == text.len)
			return OSH_YAML_STRING;
		for (; i < text.len && osh_ascii_is_digit(text.data[i]); i++)
			;
	}
	if (digits == 0 || i < text.len)
		return OSH_YAML_STRING;
	return is_float ? OSH_YAML_FLOAT : OSH_YAML_INT;
}

enum osh_yaml_type osh_yaml_type(const struct osh_yaml_node *node)
{
	static const char *const nulls[] = { "~", "null", "Null", "NULL", NULL };
	static const char *const bools[] = {
		"true", "True", "TRUE", "false", "False", "FALSE", NULL
	};
	static const char *const floats[] = { ".inf",  ".Inf", ".INF", "-.inf", "-.Inf", "-.INF",
					      "+.inf", ".nan", ".NaN", ".NAN",  NULL };

	if (node->kind != OSH_YAML_SCALAR || !node->plain)
		return OSH_YAML_STRING;
	if (node->text.len == 0)
		return OSH_YAML_NULL;
	/* Most values are words, and most words are told from these by their first byte. */
	if (!strchr("~nNtTfF.+-0123456789", node->text.data[0]))
		return OSH_YAML_STRING;
	if (is_one_of(node->text, nulls))
		return OSH_YAML_NULL;
	if (is_one_of(node->text, bools))
		return OSH_YAML_BOOL;
	if (is_one_of(node->text, floats))
		return OSH_YAML_FLOAT;
	return number_type(node->text);
}

/* ---- Events -------------------------------------------------------------- */

static int report_syntax(struct builder *b)
{
	const yaml_parser_t *p = &b->parser;
	const char *problem = p->problem ? p->problem : "unreadable";

	if (p->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	if (p->context && p->context[0])
		osh_diag_error(b->diags, mark_of(p->problem_mark),
			       "YAML syntax: %s (%s that starts at line %zu)", problem, p->context,
			       p->context_mark.line + 1);
	else
		osh_diag_error(b->diags, mark_of(p->problem_mark), "YAML syntax: %s", problem);
	return -EINVAL;
}

static int next_event(struct builder *b, yaml_event_t *event)
{
	return yaml_parser_parse(&b->parser, event) ? 0 : report_syntax(b);
}

static struct osh_yaml_node *new_node(struct builder *b, const yaml_event_t *event,
				      enum osh_yaml_kind kind)
{
	struct osh_yaml_node *node = osh_arena_alloc(b->arena, sizeof(*node));

	if (!node)
		return NULL;
	node->kind = kind;
	node->mark = mark_of(event->start_mark);
	return node;
}

static int refuse(struct builder *b, const yaml_event_t *event, const char *what)
{
	osh_diag_error(b->diags, mark_of(event->start_mark),
		       "YAML %s are not allowed in a policy: write the "
		       "value out",
		       what);
	return -EINVAL;
}

static int check_decorations(struct builder *b, const yaml_event_t *event)
{
	if (event->type == YAML_ALIAS_EVENT)
		return refuse(b, event, "aliases");
	if (event->type == YAML_SCALAR_EVENT) {
		if (event->data.scalar.anchor)
			return refuse(b, event, "anchors");
		return event->data.scalar.tag ? refuse(b, event, "tags") : 0;
	}
	if (event->type == YAML_SEQUENCE_START_EVENT) {
		if (event->data.sequence_start.anchor)
			return refuse(b, event, "anchors");
		return event->data.sequence_start.tag ? refuse(b, event, "tags") : 0;
	}
	if (event->type == YAML_MAPPING_START_EVENT) {
		if (event->data.mapping_start.anchor)
			return refuse(b, event, "anchors");
		return event->data.mapping_start.tag ? refuse(b, event, "tags") : 0;
	}
	return 0;
}

static int copy_scalar(struct builder *b, const yaml_event_t *event, struct osh_str *ret_text)
{
	struct osh_str text =
		osh_str_n((const char *)event->data.scalar.value, event->data.scalar.length);

	if (osh_str_chr(text, '\0')) {
		osh_diag_error(b->diags, mark_of(event->start_mark),
			       "a value must not hold a NUL byte");
		return -EINVAL;
	}
	text.data = osh_arena_copy(b->arena, text);
	if (!text.data)
		return -ENOMEM;
	*ret_text = text;
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	const struct osh_yaml_node *x = *(struct osh_yaml_node *const *)a;
	const struct osh_yaml_node *y = *(struct osh_yaml_node *const *)b;
	int order = strcmp(x->key.data, y->key.data);

	if (order)
		return order;
	return x->key_mark.line != y->key_mark.line ?
		       (x->key_mark.line < y->key_mark.line ? -1 : 1) :
		       (int)x->key_mark.column - (int)y->key_mark.column;
}

static void report_duplicate(struct builder *b, const struct osh_yaml_node *node,
			     const struct osh_yaml_node *earlier)
{
	osh_diag_error(b->diags, node->key_mark, "duplicate key '%.*s' (first at line %u)",
		       OSH_DIAG_VALUE(node->key), earlier->key_mark.line);
}

#define FEW_KEYS 16

/* Few keys are compared each with each. */
static void compare_few(struct builder *b, const struct osh_yaml_node *map)
{
	for (const struct osh_yaml_node *child = map->first; child; child = child->next) {
		const struct osh_yaml_node *earlier = NULL;

		for (const struct osh_yaml_node *n = map->first; n != child; n = n->next) {
			if (osh_str_eq(n->key, child->key))
				earlier = n;
		}
		if (earlier)
			report_duplicate(b, child, earlier);
	}
}

static int check_duplicates(struct builder *b, const struct osh_yaml_node *map)
{
	_cleanup_free_ struct osh_yaml_node **sorted = NULL;
	size_t count = 0;

	if (map->count <= FEW_KEYS) {
		compare_few(b, map);
		return 0;
	}
	sorted = calloc(map->count, sizeof(struct osh_yaml_node *));
	if (!sorted)
		return -ENOMEM;
	for (struct osh_yaml_node *child = map->first; child; child = child->next)
		sorted[count++] = child;
	qsort(sorted, count, sizeof(struct osh_yaml_node *), compare_keys);
	for (size_t i = 1; i < count; i++) {
		if (osh_str_eq(sorted[i]->key, sorted[i - 1]->key))
			report_duplicate(b, sorted[i], sorted[i - 1]);
	}
	return 0;
}

static int build_node(struct builder *b, const yaml_event_t *event, unsigned depth,
		      struct osh_yaml_node **ret_node);

static int build_next(struct builder *b, unsigned depth, struct osh_yaml_node **ret_node)
{
	yaml_event_t event;
	int r = next_event(b, &event);

	if (r < 0)
		return r;
	r = build_node(b, &event, depth, ret_node);
	yaml_event_delete(&event);
	return r;
}

static int build_key(struct builder *b, const yaml_event_t *event, struct osh_str *ret_key)
{
	int r = check_decorations(b, event);

	if (r < 0)
		return r;
	if (event->type != YAML_SCALAR_EVENT) {
		osh_diag_error(b->diags, mark_of(event->start_mark),
			       "a key must be a plain word or string");
		return -EINVAL;
	}
	return copy_scalar(b, event, ret_key);
}

/* The children of a collection, up to its end event. */
static int build_children(struct builder *b, struct osh_yaml_node *parent, unsigned depth)
{
	struct osh_yaml_node **tail = &parent->first;

	for (;;) {
		struct osh_yaml_node *child = NULL;
		struct osh_mark key_mark = { 0 };
		struct osh_str key = { 0 };
		yaml_event_t event;
		int r = next_event(b, &event);
		bool end;

		if (r < 0)
			return r;
		end = event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
		if (!end && parent->kind == OSH_YAML_SEQUENCE)
			r = build_node(b, &event, depth, &child);
		if (!end && parent->kind == OSH_YAML_MAPPING) {
			key_mark = mark_of(event.start_mark);
			r = build_key(b, &event, &key);
			if (r == 0)
				r = build_next(b, depth, &child);
		}
		yaml_event_delete(&event);
		if (r < 0 || end)
			return r;
		child->key = key;
		child->key_mark = key_mark;
		parent->count++;
		*tail = child;
		tail = &child->next;
	}
}

static int build_node(struct builder *b, const yaml_event_t *event, unsigned depth,
		      struct osh_yaml_node **ret_node)
{
	bool scalar = event->type == YAML_SCALAR_EVENT;
	bool sequence = event->type == YAML_SEQUENCE_START_EVENT;
	struct osh_yaml_node *node;
	int r = check_decorations(b, event);

	if (r < 0)
		return r;
	if (!scalar && depth >= OSH_POLICY_DEPTH_MAX) {
		osh_diag_error(b->diags, mark_of(event->start_mark), "nested deeper than %d levels",
			       OSH_POLICY_DEPTH_MAX);
		return -EINVAL;
	}
	if (++b->nodes > NODES_MAX) {
		osh_diag_error(b->diags, mark_of(event->start_mark), "more than %d values",
			       NODES_MAX);
		return -EINVAL;
	}
	node = new_node(b, event,
			scalar   ? OSH_YAML_SCALAR :
			sequence ? OSH_YAML_SEQUENCE :
				   OSH_YAML_MAPPING);
	if (!node)
		return -ENOMEM;
	if (scalar) {
		node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
		r = copy_scalar(b, event, &node->text);
	} else {
		r = build_children(b, node, depth + 1);
		if (r == 0 && node->kind == OSH_YAML_MAPPING)
			r = check_duplicates(b, node);
	}
	*ret_node = node;
	return r;
}

/* Expect one event and drop it. */
static int skip_event(struct builder *b, yaml_event_type_t want, const char *otherwise)
{
	yaml_event_t event;
	int r = next_event(b, &event);

	if (r < 0)
		return r;
	if (event.type != want) {
		osh_diag_error(b->diags, mark_of(event.start_mark), "%s", otherwise);
		r = -EINVAL;
	} else if (want == YAML_DOCUMENT_START_EVENT &&
		   (event.data.document_start.version_directive ||
		    event.data.document_start.tag_directives.start !=
			    event.data.document_start.tag_directives.end)) {
		osh_diag_error(b->diags, mark_of(event.start_mark),
			       "YAML directives are not allowed in a policy");
		r = -EINVAL;
	}
	yaml_event_delete(&event);
	return r;
}

static int build_document(struct builder *b, struct osh_yaml_node **ret_root)
{
	static const char empty[] = "the policy is empty: it needs at least 'version: 1'";
	struct osh_yaml_node *root = NULL;
	int r = skip_event(b, YAML_STREAM_START_EVENT, "not a YAML stream");

	if (r == 0)
		r = skip_event(b, YAML_DOCUMENT_START_EVENT, empty);
	if (r == 0)
		r = build_next(b, 0, &root);
	if (r == 0)
		r = skip_event(b, YAML_DOCUMENT_END_EVENT, "unexpected text behind the document");
	if (r == 0)
		r = skip_event(b, YAML_STREAM_END_EVENT,
			       "a policy is one YAML document: a second one is not "
			       "allowed");
	if (r == 0)
		*ret_root = root;
	return r;
}

int osh_yaml_parse(struct osh_str text, struct osh_arena *arena, struct osh_diags *diags,
		   struct osh_yaml_node **ret_root)
{
	struct builder b = { .arena = arena, .diags = diags };
	int r = check_bytes(text, diags);

	if (r < 0)
		return r;
	if (!yaml_parser_initialize(&b.parser))
		return -ENOMEM;
	yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)(text.data ? text.data : ""),
				     text.len);
	r = build_document(&b, ret_root);
	yaml_parser_delete(&b.parser);
	return r;
}
