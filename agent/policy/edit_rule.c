/* Edits that add rules to an endpoint. */
#include <errno.h>
#include <string.h>

#include "policy/document.h"
#include "policy/edit_form.h"
#include "policy/edit_ops.h"
#include "policy/edit_tree.h"
#include "policy/yaml_write.h"

/* ---- Adding rules ---------------------------------------- */

static enum osh_l7 protocol_of(const struct osh_yaml_node *endpoint)
{
	struct osh_str protocol = osh_tree_text(endpoint, "protocol");

	return osh_str_eq_c(protocol, "rest")	     ? OSH_L7_REST
	       : osh_str_eq_c(protocol, "websocket") ? OSH_L7_WEBSOCKET
						     : OSH_L7_NONE;
}

/* Could a request on this path come to this endpoint? */
static bool takes_rule(const struct osh_yaml_node *endpoint, const struct osh_rule_form *form)
{
	struct osh_str selector = osh_tree_text(endpoint, "path");

	return osh_edit_is_at(endpoint, form->host, form->port_host) &&
	       protocol_of(endpoint) != OSH_L7_NONE &&
	       (selector.len == 0 || osh_globs_overlap(selector, form->path));
}

/* The endpoint of an entry that would judge the path; NULL when none would. */
static struct osh_yaml_node *find_rule_place(const struct osh_yaml_node *entry,
					     const struct osh_rule_form *form)
{
	struct osh_yaml_node *best = NULL;

	for (struct osh_yaml_node *p = osh_edit_first_endpoint(entry); p; p = p->next) {
		if (takes_rule(p, form) &&
		    (!best || osh_path_specificity(osh_tree_text(p, "path")) >
				      osh_path_specificity(osh_tree_text(best, "path"))))
			best = p;
	}
	return best;
}

static struct osh_yaml_node *new_rule(struct osh_editor *e, const char *method, struct osh_str path,
				      bool deny)
{
	struct osh_yaml_node *rule = osh_tree_new(&e->arena, OSH_YAML_MAPPING);
	struct osh_yaml_node *item = deny ? rule : osh_tree_new(&e->arena, OSH_YAML_MAPPING);

	if (!rule || !item || osh_tree_set_text(&e->arena, rule, "method", osh_str(method)) < 0 ||
	    osh_tree_set_text(&e->arena, rule, "path", path) < 0)
		return NULL;
	/* rules: a list of {allow: RULE}; deny_rules: a list of RULE. */
	if (!deny && osh_tree_set(&e->arena, item, "allow", rule) < 0)
		return NULL;
	return item;
}

static int append_rule(struct osh_editor *e, struct osh_yaml_node *endpoint, const char *method,
		       struct osh_str path, bool deny)
{
	struct osh_yaml_node *rule = new_rule(e, method, path, deny);
	struct osh_yaml_node *list = osh_tree_ensure(
		&e->arena, endpoint, deny ? "deny_rules" : "rules", OSH_YAML_SEQUENCE);

	if (!rule || !list)
		return osh_edit_no_memory(e);
	for (const struct osh_yaml_node *old = list->first; old; old = old->next) {
		if (osh_yaml_same(old, rule))
			return 0;
	}
	osh_tree_append(list, rule);
	return 0;
}

/* access and rules exclude each other: the preset is written out. */
static int expand_preset(struct osh_editor *e, struct osh_yaml_node *endpoint)
{
	struct osh_yaml_node *access = osh_tree_find(endpoint, "access");
	const char *const *words =
		access ? osh_preset_words(protocol_of(endpoint), access->text) : NULL;
	int r = 0;

	for (; r == 0 && words && *words; words++)
		r = append_rule(e, endpoint, *words, osh_str("**"), false);
	osh_tree_remove(endpoint, access);
	return r;
}

static int add_to_endpoint(struct osh_editor *e, struct osh_yaml_node *entry,
			   struct osh_yaml_node *endpoint, const struct osh_rule_form *form,
			   bool deny)
{
	int r;

	if (deny && !osh_tree_find(endpoint, "access") && !osh_tree_find(endpoint, "rules"))
		return osh_err_set(e->err, EINVAL,
				   "%s %.200s: a deny rule takes away from what is allowed, and "
				   "the endpoint in '%.100s' allows nothing yet",
				   e->flag, e->text, entry->key.data);
	r = osh_edit_split_port(e, entry, &endpoint, form->port_host);
	if (r == 0 && !deny)
		r = expand_preset(e, endpoint);
	if (r == 0)
		r = append_rule(e, endpoint, form->method, form->path, deny);
	osh_edit_pieces_touch(&e->pieces, entry);
	return r;
}

static int no_place(struct osh_editor *e, const struct osh_rule_form *form)
{
	for (const struct osh_yaml_node *entry = osh_edit_first_entry(e); entry;
	     entry = entry->next) {
		if (osh_edit_covers(entry, form->host, form->port_host))
			return osh_err_set(e->err, EINVAL,
					   "%s %.200s: the endpoint in '%.100s' is not inspected "
					   "as rest or websocket there, so it takes no such rule",
					   e->flag, e->text, entry->key.data);
	}
	return osh_err_set(e->err, ENOENT,
			   "%s %.200s: the policy has no such endpoint: add it with "
			   "--add-endpoint",
			   e->flag, e->text);
}

static int ambiguous(struct osh_editor *e, const struct osh_yaml_node *first,
		     const struct osh_yaml_node *second)
{
	return osh_err_set(e->err, EINVAL,
			   "%s %.200s: both '%.80s' and '%.80s' have that endpoint, for different "
			   "programs: edit the one that is meant with policy get and policy set",
			   e->flag, e->text, first->key.data, second->key.data);
}

/* In a call that names an entry the rule is meant for its endpoint, if it has one. */
static bool is_in_named(const struct osh_editor *e, const struct osh_rule_form *form,
			const char *name, const struct osh_yaml_node *entry)
{
	const struct osh_yaml_node *named = name ? osh_tree_find(osh_edit_network(e), name) : NULL;

	return !named || !find_rule_place(named, form) || named == entry;
}

/* An allow goes to one entry: in two it would grant to programs that nobody spoke of. A
 * deny goes to all of them: it takes away from whoever asks. */
int osh_edit_add_rule(struct osh_editor *e, const char *rule_name, bool deny)
{
	struct osh_yaml_node *chosen = NULL;
	struct osh_rule_form form;
	int r = osh_rule_form_parse(e->flag, e->text, &form, e->err);

	for (struct osh_yaml_node *entry = r == 0 ? osh_edit_first_entry(e) : NULL; entry;
	     entry = entry->next) {
		if (!find_rule_place(entry, &form) || !is_in_named(e, &form, rule_name, entry))
			continue;
		if (chosen && !deny)
			return ambiguous(e, chosen, entry);
		chosen = entry;
		if (deny)
			r = add_to_endpoint(e, entry, find_rule_place(entry, &form), &form, true);
		if (r < 0)
			return r;
	}
	if (r == 0 && !chosen)
		return no_place(e, &form);
	return r == 0 && !deny
		       ? add_to_endpoint(e, chosen, find_rule_place(chosen, &form), &form, false)
		       : r;
}
