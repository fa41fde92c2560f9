/* From the changed tree back to text: lines of entries that did not change are taken over
 * as they are. Private to agent/policy. */
#ifndef OSH_POLICY_EDIT_TEXT_H
#define OSH_POLICY_EDIT_TEXT_H

#include "policy/yaml.h"

/* The lines of one entry of network_policies: [first, end) of the text, from 0. */
struct osh_edit_piece {
	const struct osh_yaml_node *entry;
	size_t first, end;
	bool is_touched, is_gone;
};

struct osh_edit_pieces {
	struct osh_edit_piece *items; /* owned; NULL: the text cannot be cut into lines */
	size_t count;
	bool lacks_section; /* there is no network_policies yet */
	unsigned indent;    /* blanks before an entry's key */
	size_t *lines;	    /* owned: where each line begins, and the end of the text */
	size_t line_count;
};

/* Where the entries stand. Returns 0 or -ENOMEM. */
int osh_edit_pieces_find(struct osh_edit_pieces *pieces, struct osh_str text,
			 const struct osh_yaml_node *root);
void osh_edit_pieces_done(struct osh_edit_pieces *pieces);

void osh_edit_pieces_touch(struct osh_edit_pieces *pieces, const struct osh_yaml_node *entry);
void osh_edit_pieces_gone(struct osh_edit_pieces *pieces, const struct osh_yaml_node *entry);

/* The text of the changed tree. Where lines cannot be kept the whole is written anew. The
 * caller frees *ret_text. Returns 0, -EFBIG or -ENOMEM. */
int osh_edit_pieces_write(const struct osh_edit_pieces *pieces, struct osh_str text,
			  const struct osh_yaml_node *root, char **ret_text, size_t *ret_len);

#endif
