#include "policy/yaml_write.h"

#include <errno.h>
#include <string.h>

#define INDENT 2
/* A collection of scalars that fits into a line is written on one. */
#define LINE_COLUMNS 100

struct writer {
	struct osh_buf *out;
	int error; /* 0 or -errno; sticky */
};

static void put(struct writer *w, const char *data, size_t len)
{
	int r = w->error ? 0 : osh_buf_append(w->out, data, len);

	if (r < 0)
		w->error = r;
}

static void put_text(struct writer *w, const char *text)
{
	put(w, text, strlen(text));
}

static void put_blanks(struct writer *w, unsigned count)
{
	while (count--)
		put(w, " ", 1);
}

/* ---- Scalars ---------------------------------------- */

/* Bytes that mean nothing to YAML wherever they stand, so that no context matters. */
static bool is_bare(struct osh_str text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		bool always = osh_ascii_is_alpha(c) || osh_ascii_is_digit(c) || c == '_' ||
			      c == '/' || c == '.';

		if (!always && !(i && (c == '-' || c == '+' || c == '@')))
			return false;
	}
	return text.len > 0;
}

static void put_quoted(struct writer *w, struct osh_str text)
{
	static const char hex[] = "0123456789ABCDEF";

	put(w, "\"", 1);
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.data[i];
		char escape[] = { '\\', 'x', hex[c >> 4], hex[c & 15] };

		if (c == '"' || c == '\\')
			put(w, (const char[]){ '\\', (char)c }, 2);
		else if (c == '\n')
			put(w, "\\n", 2);
		else if (c < 0x20 || c == 0x7f)
			put(w, escape, sizeof(escape));
		else if (c == 0xc2 && i + 1 < text.len && (unsigned char)text.data[i + 1] < 0xa0) {
			/* C1 controls, next line among them: YAML's \xHH is a code point. */
			c = (unsigned char)text.data[++i];
			put(w, (const char[]){ '\\', 'x', hex[c >> 4], hex[c & 15] }, 4);
		} else if (c == 0xe2 && i + 2 < text.len &&
			   (unsigned char)text.data[i + 1] == 0x80 &&
			   ((unsigned char)text.data[i + 2] & 0xfe) == 0xa8) {
			put_text(w, (unsigned char)text.data[i + 2] == 0xa8 ? "\\L" : "\\P");
			i += 2;
		} else if (c == 0xef && i + 2 < text.len &&
			   (unsigned char)text.data[i + 1] == 0xbb &&
			   (unsigned char)text.data[i + 2] == 0xbf) {
			put_text(w, "\\uFEFF");
			i += 2;
		} else {
			put(w, (const char *)&text.data[i], 1);
		}
	}
	put(w, "\"", 1);
}

/* A number, boolean or null stays one; a string never becomes one. */
static void put_scalar(struct writer *w, const struct osh_yaml_node *node)
{
	if (osh_yaml_type(node) == OSH_YAML_NULL)
		put_text(w, "null");
	else if (osh_yaml_type(node) != OSH_YAML_STRING || (node->plain && is_bare(node->text)))
		put(w, node->text.data, node->text.len);
	else
		put_quoted(w, node->text);
}

static void put_key(struct writer *w, struct osh_str key)
{
	if (is_bare(key))
		put(w, key.data, key.len);
	else
		put_quoted(w, key);
	put(w, ":", 1);
}

/* ---- Collections ---------------------------------------- */

static bool holds_only_scalars(const struct osh_yaml_node *node)
{
	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		if (child->kind != OSH_YAML_SCALAR)
			return false;
	}
	return true;
}

static size_t text_width(struct osh_str text)
{
	return text.len + (is_bare(text) ? 0 : 2);
}

/* The width of the flow form, but for escapes. */
static size_t flow_width(const struct osh_yaml_node *node)
{
	bool is_mapping = node->kind == OSH_YAML_MAPPING;
	size_t width = is_mapping ? 4 : 2;

	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		width += child == node->first ? 0 : 2;
		width += is_mapping ? text_width(child->key) + 2 : 0;
		width += child->kind == OSH_YAML_SCALAR ? text_width(child->text)
							: flow_width(child);
	}
	return width;
}

/* On one line: scalars, and lists of scalars among them. */
static bool is_flow(const struct osh_yaml_node *node, unsigned indent)
{
	if (node->count == 0)
		return true;
	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		if (child->kind == OSH_YAML_MAPPING ||
		    (child->kind == OSH_YAML_SEQUENCE &&
		     (node->kind == OSH_YAML_SEQUENCE || !holds_only_scalars(child))))
			return false;
	}
	return indent + INDENT + flow_width(node) <= LINE_COLUMNS;
}

static void put_flow(struct writer *w, const struct osh_yaml_node *node)
{
	bool is_mapping = node->kind == OSH_YAML_MAPPING;

	if (node->kind == OSH_YAML_SCALAR) {
		put_scalar(w, node);
		return;
	}
	put_text(w, is_mapping ? "{" : "[");
	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		put_text(w, child == node->first ? (is_mapping ? " " : "") : ", ");
		if (is_mapping) {
			put_key(w, child->key);
			put_blanks(w, 1);
		}
		put_flow(w, child);
	}
	put_text(w, is_mapping && node->first ? " }" : is_mapping ? "}" : "]");
}

static void put_block(struct writer *w, const struct osh_yaml_node *node, unsigned indent,
		      bool is_indented);

/* What stands behind "key:" or "-", up to the end of its last line. Sections (keys at the
 * margin) are spread out, whatever would fit. */
static void put_value(struct writer *w, const struct osh_yaml_node *node, unsigned indent,
		      bool in_sequence)
{
	bool is_section = indent == 0 && node->kind == OSH_YAML_MAPPING && node->count > 1;

	if (node->kind == OSH_YAML_SCALAR || (is_flow(node, indent) && !is_section)) {
		put_blanks(w, 1);
		put_flow(w, node);
		put_text(w, "\n");
	} else if (in_sequence && node->kind == OSH_YAML_MAPPING) {
		put_blanks(w, 1);
		put_block(w, node, indent + INDENT, true);
	} else {
		put_text(w, "\n");
		put_block(w, node, indent + INDENT, false);
	}
}

/* `is_indented`: the first line's blanks are there already ("- key: ..."). */
static void put_block(struct writer *w, const struct osh_yaml_node *node, unsigned indent,
		      bool is_indented)
{
	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		if (child != node->first || !is_indented)
			put_blanks(w, indent);
		if (node->kind == OSH_YAML_MAPPING)
			put_key(w, child->key);
		else
			put_text(w, "-");
		put_value(w, child, indent, node->kind == OSH_YAML_SEQUENCE);
	}
}

int osh_yaml_write(const struct osh_yaml_node *root, struct osh_buf *out)
{
	struct writer w = { .out = out };

	if (root->kind == OSH_YAML_SCALAR || root->count == 0) {
		put_flow(&w, root);
		put_text(&w, "\n");
	} else {
		put_block(&w, root, 0, false);
	}
	return w.error;
}

int osh_yaml_write_member(const struct osh_yaml_node *member, unsigned indent, struct osh_buf *out)
{
	struct writer w = { .out = out };

	put_blanks(&w, indent);
	put_key(&w, member->key);
	put_value(&w, member, indent, false);
	return w.error;
}

bool osh_yaml_same(const struct osh_yaml_node *a, const struct osh_yaml_node *b)
{
	if (a->kind != b->kind || a->count != b->count || !osh_str_eq(a->key, b->key))
		return false;
	if (a->kind == OSH_YAML_SCALAR) {
		enum osh_yaml_type type = osh_yaml_type(a);

		return type == osh_yaml_type(b) &&
		       (type == OSH_YAML_NULL || osh_str_eq(a->text, b->text));
	}
	a = a->first;
	for (b = b->first; a && b; a = a->next, b = b->next) {
		if (!osh_yaml_same(a, b))
			return false;
	}
	return !a && !b;
}
