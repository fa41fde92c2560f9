/* What the edits share: the tree under change, and finding places in it. Private to
 * agent/policy. */
#ifndef OSH_POLICY_EDIT_OPS_H
#define OSH_POLICY_EDIT_OPS_H

#include "policy/edit.h"
#include "policy/edit_text.h"

struct osh_editor {
	struct osh_arena arena;
	struct osh_yaml_node *root;
	struct osh_edit_pieces pieces; /* where the entries stand in the text */
	struct osh_err *err;
	const char *flag, *text; /* the edit under way, for messages */
};

/* One edit each: e->flag and e->text say which. Return 0 or -errno with a message
 * (edit_endpoint.c, edit_rule.c). */
int osh_edit_remove_rule(struct osh_editor *e);
int osh_edit_remove_endpoint(struct osh_editor *e);
int osh_edit_add_endpoint(struct osh_editor *e, const struct osh_policy_edits *edits);
int osh_edit_add_rule(struct osh_editor *e, const char *rule_name, bool deny);

/* Places (edit_place.c). NULL where there is none. */
struct osh_yaml_node *osh_edit_network(const struct osh_editor *e);
struct osh_yaml_node *osh_edit_first_entry(const struct osh_editor *e);
struct osh_yaml_node *osh_edit_first_endpoint(const struct osh_yaml_node *entry);
/* Is the endpoint, or one of an entry's, for this host (as it is written) and port? */
bool osh_edit_is_at(const struct osh_yaml_node *endpoint, struct osh_str host, uint16_t port_host);
bool osh_edit_covers(const struct osh_yaml_node *entry, struct osh_str host, uint16_t port_host);
struct osh_yaml_node *osh_edit_find_port(const struct osh_yaml_node *ports, uint16_t port_host);

int osh_edit_set_port(struct osh_editor *e, struct osh_yaml_node *endpoint, uint16_t port_host);
/* Of several ports only one is meant: it becomes an endpoint of its own, behind the one
 * that keeps the others. *endpoint is it then. */
int osh_edit_split_port(struct osh_editor *e, struct osh_yaml_node *entry,
			struct osh_yaml_node **endpoint, uint16_t port_host);
/* Returns -ENOMEM, with the message set. */
int osh_edit_no_memory(struct osh_editor *e);

#endif
