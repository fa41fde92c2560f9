#include "policy/edit_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/edit_tree.h"
#include "policy/yaml_write.h"

/* ---- Lines ---------------------------------------- */

static int find_lines(struct osh_edit_pieces *pieces, struct osh_str text)
{
	size_t count = 1, line = 1;

	for (size_t i = 0; i < text.len; i++)
		count += text.data[i] == '\n';
	pieces->lines = calloc(count + 1, sizeof(*pieces->lines));
	if (!pieces->lines)
		return -ENOMEM;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] == '\n')
			pieces->lines[line++] = i + 1;
	}
	/* No line begins behind the last newline. */
	pieces->line_count = text.len && text.data[text.len - 1] == '\n' ? count - 1 : count;
	pieces->lines[pieces->line_count] = text.len;
	return 0;
}

static struct osh_str line_text(const struct osh_edit_pieces *pieces, struct osh_str text,
				size_t line)
{
	return osh_str_n(text.data + pieces->lines[line],
			 pieces->lines[line + 1] - pieces->lines[line]);
}

/* Blank, or a comment that is not indented deeper than the keys of entries. */
static bool is_between(const struct osh_edit_pieces *pieces, struct osh_str line)
{
	size_t i = 0;

	while (i < line.len && (line.data[i] == ' ' || line.data[i] == '\n'))
		i++;
	return i == line.len || (line.data[i] == '#' && i <= pieces->indent);
}

/* Does the key that is said to stand there begin its line? */
static bool begins_line(const struct osh_edit_pieces *pieces, struct osh_str text,
			struct osh_mark mark)
{
	struct osh_str line;

	if (mark.line == 0 || mark.line > pieces->line_count)
		return false;
	line = line_text(pieces, text, mark.line - 1);
	for (size_t i = 0; i + 1 < mark.column; i++) {
		if (i >= line.len || line.data[i] != ' ')
			return false;
	}
	return true;
}

/* ---- Where the entries stand ---------------------------------------- */

/* A mapping in block style begins with its first key, and each key with a line of its own. */
static bool is_block(const struct osh_edit_pieces *pieces, struct osh_str text,
		     const struct osh_yaml_node *map)
{
	uint32_t line = 0;

	if (!map->first || map->mark.line != map->first->key_mark.line ||
	    map->mark.column != map->first->key_mark.column)
		return false;
	for (const struct osh_yaml_node *child = map->first; child; child = child->next) {
		if (child->key_mark.line <= line || child->key_mark.column != map->mark.column ||
		    !begins_line(pieces, text, child->key_mark))
			return false;
		line = child->key_mark.line;
	}
	return true;
}

/* Comments before the next key belong to that one. */
static size_t trim_end(const struct osh_edit_pieces *pieces, struct osh_str text, size_t first,
		       size_t end)
{
	while (end > first + 1 && is_between(pieces, line_text(pieces, text, end - 1)))
		end--;
	return end;
}

static int find_entries(struct osh_edit_pieces *pieces, struct osh_str text,
			const struct osh_yaml_node *network)
{
	size_t end = network->next ? network->next->key_mark.line - 1 : pieces->line_count;

	pieces->items = calloc(network->count, sizeof(*pieces->items));
	if (!pieces->items)
		return -ENOMEM;
	pieces->indent = network->mark.column - 1;
	for (const struct osh_yaml_node *entry = network->first; entry; entry = entry->next) {
		struct osh_edit_piece *piece = &pieces->items[pieces->count++];
		size_t next = entry->next ? entry->next->key_mark.line - 1 : end;

		piece->entry = entry;
		piece->first = entry->key_mark.line - 1;
		piece->end = trim_end(pieces, text, piece->first, next);
	}
	return 0;
}

/* A section is added behind all that there is. */
static int find_no_entries(struct osh_edit_pieces *pieces)
{
	pieces->items = calloc(1, sizeof(*pieces->items));
	pieces->lacks_section = true;
	pieces->indent = 2;
	return pieces->items ? 0 : -ENOMEM;
}

int osh_edit_pieces_find(struct osh_edit_pieces *pieces, struct osh_str text,
			 const struct osh_yaml_node *root)
{
	const struct osh_yaml_node *network = osh_tree_find(root, "network_policies");

	*pieces = (struct osh_edit_pieces){ 0 };
	if (text.len == 0 || osh_str_chr(text, '\r'))
		return 0;
	if (find_lines(pieces, text) < 0)
		return -ENOMEM;
	if (!is_block(pieces, text, root) || (network && !is_block(pieces, text, network)))
		return 0;
	return network ? find_entries(pieces, text, network) : find_no_entries(pieces);
}

void osh_edit_pieces_done(struct osh_edit_pieces *pieces)
{
	free(pieces->items);
	free(pieces->lines);
	*pieces = (struct osh_edit_pieces){ 0 };
}

static struct osh_edit_piece *find_piece(struct osh_edit_pieces *pieces,
					 const struct osh_yaml_node *entry)
{
	for (size_t i = 0; i < pieces->count; i++) {
		if (pieces->items[i].entry == entry)
			return &pieces->items[i];
	}
	return NULL; /* a new one */
}

void osh_edit_pieces_touch(struct osh_edit_pieces *pieces, const struct osh_yaml_node *entry)
{
	struct osh_edit_piece *piece = find_piece(pieces, entry);

	if (piece)
		piece->is_touched = true;
}

void osh_edit_pieces_gone(struct osh_edit_pieces *pieces, const struct osh_yaml_node *entry)
{
	struct osh_edit_piece *piece = find_piece(pieces, entry);

	if (piece)
		piece->is_gone = true;
}

/* ---- Writing ---------------------------------------- */

static int copy_lines(const struct osh_edit_pieces *pieces, struct osh_str text, size_t first,
		      size_t end, struct osh_buf *out)
{
	return osh_buf_append(out, text.data + pieces->lines[first],
			      pieces->lines[end] - pieces->lines[first]);
}

static bool is_old(const struct osh_edit_pieces *pieces, const struct osh_yaml_node *entry)
{
	for (size_t i = 0; i < pieces->count; i++) {
		if (pieces->items[i].entry == entry)
			return true;
	}
	return false;
}

/* The last line of a text may lack its newline. */
static int end_line(struct osh_buf *out)
{
	return out->len && osh_buf_bytes(out)[out->len - 1] != '\n' ? osh_buf_append(out, "\n", 1)
								    : 0;
}

static int write_new(const struct osh_edit_pieces *pieces, const struct osh_yaml_node *network,
		     struct osh_buf *out)
{
	int r = end_line(out);

	if (r == 0 && pieces->lacks_section)
		r = osh_buf_append_c(out, "network_policies:\n");
	for (const struct osh_yaml_node *entry = network->first; r == 0 && entry;
	     entry = entry->next) {
		if (!is_old(pieces, entry))
			r = osh_yaml_write_member(entry, pieces->indent, out);
	}
	return r;
}

static int write_pieces(const struct osh_edit_pieces *pieces, struct osh_str text,
			const struct osh_yaml_node *root, struct osh_buf *out)
{
	size_t line = pieces->lacks_section ? pieces->line_count : 0;
	int r = copy_lines(pieces, text, 0, line, out);

	for (size_t i = 0; r == 0 && i < pieces->count; i++) {
		const struct osh_edit_piece *piece = &pieces->items[i];

		r = copy_lines(pieces, text, line, piece->first, out);
		if (r == 0 && !piece->is_gone && piece->is_touched)
			r = osh_yaml_write_member(piece->entry, pieces->indent, out);
		else if (r == 0 && !piece->is_gone)
			r = copy_lines(pieces, text, piece->first, piece->end, out);
		line = piece->end;
	}
	if (r == 0)
		r = write_new(pieces, osh_tree_find(root, "network_policies"), out);
	return r == 0 ? copy_lines(pieces, text, line, pieces->line_count, out) : r;
}

/* Lines were put together by their places: does what came out say what it should? */
static bool reads_as(struct osh_str text, const struct osh_yaml_node *root)
{
	struct osh_diags *diags = calloc(1, sizeof(*diags));
	struct osh_yaml_node *again = NULL;
	struct osh_arena arena = { 0 };
	bool same = diags && osh_yaml_parse(text, &arena, diags, &again) == 0 &&
		    osh_yaml_same(again, root);

	osh_arena_done(&arena);
	free(diags);
	return same;
}

static int take_text(const struct osh_buf *buf, char **ret_text, size_t *ret_len)
{
	char *copy = malloc(buf->len + 1);

	if (!copy)
		return -ENOMEM;
	if (buf->len)
		memcpy(copy, osh_buf_bytes(buf), buf->len);
	copy[buf->len] = '\0';
	*ret_text = copy;
	*ret_len = buf->len;
	return 0;
}

int osh_edit_pieces_write(const struct osh_edit_pieces *pieces, struct osh_str text,
			  const struct osh_yaml_node *root, char **ret_text, size_t *ret_len)
{
	struct osh_buf buf;
	bool kept = false;
	int r = 0;

	osh_buf_init(&buf, OSH_POLICY_BYTES_MAX);
	if (pieces->items)
		kept = write_pieces(pieces, text, root, &buf) == 0 &&
		       reads_as(osh_buf_str(&buf), root);
	if (!kept) {
		osh_buf_clear(&buf);
		r = osh_yaml_write(root, &buf);
		if (r == 0 && !reads_as(osh_buf_str(&buf), root))
			r = -EFBIG; /* only a key that is too long for YAML's short form is left */
	}
	if (r == 0)
		r = take_text(&buf, ret_text, ret_len);
	osh_buf_done(&buf);
	return r == -ENOBUFS ? -EFBIG : r;
}
