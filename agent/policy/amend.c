#include "policy/amend.h"

#include <errno.h>
#include <string.h>

#include "policy/document.h"
#include "policy/edit_ops.h"
#include "policy/edit_tree.h"

/* ---- The tree around a change ---------------------------------------- */

static int open_text(struct osh_editor *e, struct osh_str text)
{
	struct osh_diags diags = { 0 };
	int r = osh_yaml_parse(text, &e->arena, &diags, &e->root);

	if (r < 0 || e->root->kind != OSH_YAML_MAPPING)
		return osh_err_set(e->err, r == -ENOMEM ? ENOMEM : EINVAL,
				   "the policy cannot be read: %s",
				   diags.count ? diags.items[0].message : "it is no mapping");
	return osh_edit_pieces_find(&e->pieces, text, e->root);
}

/* Write what the change made of it; `r` is its result. */
static int close_text(struct osh_editor *e, int r, struct osh_str text, char **ret_text,
		      size_t *ret_len)
{
	if (r == 0) {
		r = osh_edit_pieces_write(&e->pieces, text, e->root, ret_text, ret_len);
		if (r < 0)
			osh_err_set(e->err, -r,
				    "the changed policy is larger than a policy may be");
	} else if (r == -ENOMEM) {
		(void)osh_edit_no_memory(e);
	}
	osh_edit_pieces_done(&e->pieces);
	osh_arena_done(&e->arena);
	return r;
}

static void note_place(struct osh_editor *e, const struct osh_yaml_node *entry, uint32_t line,
		       struct osh_amend_place *ret_place)
{
	*ret_place = (struct osh_amend_place){ .line = line };
	osh_str_escape(entry->key, ret_place->entry, sizeof(ret_place->entry));
	osh_edit_pieces_touch(&e->pieces, entry);
}

/* ---- One more rule ---------------------------------------- */

static bool has_port(const struct osh_yaml_node *endpoint, uint16_t port_host)
{
	const struct osh_yaml_node *ports = osh_tree_find(endpoint, "ports");
	uint64_t port;

	if (ports) /* it wins where both are written */
		return osh_edit_find_port(ports, port_host) != NULL;
	return osh_str_parse_u64(osh_tree_text(endpoint, "port"), UINT16_MAX, &port) == 0 &&
	       port == port_host;
}

static bool takes_request(const struct osh_yaml_node *endpoint, const struct osh_amend_where *where)
{
	struct osh_str pattern = osh_tree_text(endpoint, "host");
	struct osh_str selector = osh_tree_text(endpoint, "path");
	char host[OSH_HOST_MAX];

	if (osh_str_copy(pattern, host, sizeof(host)) < 0)
		return false;
	for (char *p = host; *p; p++)
		*p = osh_ascii_lower(*p);
	return osh_str_eq(osh_tree_text(endpoint, "protocol"), where->protocol) &&
	       has_port(endpoint, where->port_host) &&
	       (pattern.len == 0 || osh_hosts_overlap(osh_str(host), where->host)) &&
	       (selector.len == 0 || osh_globs_overlap(selector, where->path));
}

static struct osh_yaml_node *find_nth(const struct osh_editor *e,
				      const struct osh_amend_where *where, size_t nth,
				      struct osh_yaml_node **ret_entry)
{
	for (struct osh_yaml_node *entry = osh_edit_first_entry(e); entry; entry = entry->next) {
		for (struct osh_yaml_node *p = osh_edit_first_endpoint(entry); p; p = p->next) {
			if (!takes_request(p, where) || nth-- > 0)
				continue;
			*ret_entry = entry;
			return p;
		}
	}
	return NULL;
}

static int append_allow(struct osh_editor *e, struct osh_yaml_node *rules,
			struct osh_yaml_node *rule)
{
	struct osh_yaml_node *item = osh_tree_new(&e->arena, OSH_YAML_MAPPING);

	if (!rules || !item || osh_tree_set(&e->arena, item, "allow", rule) < 0)
		return osh_edit_no_memory(e);
	osh_tree_append(rules, item);
	return 0;
}

/* access and rules exclude each other: only GraphQL's presets meet rules about messages. */
static int spell_preset(struct osh_editor *e, struct osh_yaml_node *endpoint)
{
	struct osh_yaml_node *access = osh_tree_find(endpoint, "access"), *rules;
	const char *const *words =
		access ? osh_preset_words(OSH_L7_GRAPHQL, access->text) : NULL;
	int r = 0;

	osh_tree_remove(endpoint, access);
	for (; r == 0 && words && *words; words++) {
		struct osh_yaml_node *rule = osh_tree_new(&e->arena, OSH_YAML_MAPPING);

		if (!rule ||
		    osh_tree_set_text(&e->arena, rule, "operation_type", osh_str(*words)) < 0)
			return osh_edit_no_memory(e);
		rules = osh_tree_ensure(&e->arena, endpoint, "rules", OSH_YAML_SEQUENCE);
		r = append_allow(e, rules, rule);
	}
	return r;
}

static uint32_t last_line(const struct osh_yaml_node *endpoint)
{
	const struct osh_yaml_node *rules = osh_tree_find(endpoint, "rules");
	uint32_t line = endpoint->mark.line;

	for (const struct osh_yaml_node *p = rules ? rules->first : NULL; p; p = p->next)
		line = p->mark.line;
	return line;
}

static int add_allow(struct osh_editor *e, const struct osh_amend_where *where, size_t nth,
		     struct osh_str rule_text, struct osh_amend_place *ret_place)
{
	struct osh_yaml_node *entry = NULL, *rule = NULL;
	struct osh_yaml_node *endpoint = find_nth(e, where, nth, &entry);
	struct osh_diags diags = { 0 };
	int r;

	if (!endpoint)
		return -ENOENT;
	r = osh_yaml_parse(rule_text, &e->arena, &diags, &rule);
	if (r < 0)
		return osh_err_set(e->err, -r, "the rule cannot be read");
	note_place(e, entry, last_line(endpoint), ret_place);
	ret_place->spells_preset = osh_tree_find(endpoint, "access") != NULL;
	r = spell_preset(e, endpoint);
	return r < 0 ? r
		     : append_allow(e,
				    osh_tree_ensure(&e->arena, endpoint, "rules", OSH_YAML_SEQUENCE),
				    rule);
}

int osh_policy_amend_allow(struct osh_str text, const struct osh_amend_where *where, size_t nth,
			   struct osh_str rule, char **ret_text, size_t *ret_len,
			   struct osh_amend_place *ret_place, struct osh_err *err)
{
	struct osh_editor e = { .err = err };
	int r = open_text(&e, text);

	if (r == 0)
		r = add_allow(&e, where, nth, rule, ret_place);
	return close_text(&e, r, text, ret_text, ret_len);
}

/* ---- One deny rule less ---------------------------------------- */

/* An empty list is an error in a policy, so the last one takes the key along. */
static bool drop_from(struct osh_yaml_node *endpoint, uint32_t line, bool *ret_empties)
{
	struct osh_yaml_node *denies = osh_tree_find(endpoint, "deny_rules");
	struct osh_yaml_node *next, *rule = denies ? denies->first : NULL;
	bool found = false;

	for (; rule; rule = next) {
		next = rule->next;
		if (rule->mark.line != line)
			continue;
		osh_tree_remove(denies, rule);
		found = true;
	}
	*ret_empties = found && denies->count == 0;
	if (*ret_empties)
		osh_tree_remove(endpoint, denies);
	return found;
}

static int drop(struct osh_editor *e, uint32_t line, struct osh_amend_place *ret_place)
{
	bool empties;

	for (struct osh_yaml_node *entry = osh_edit_first_entry(e); entry; entry = entry->next) {
		for (struct osh_yaml_node *p = osh_edit_first_endpoint(entry); p; p = p->next) {
			if (!drop_from(p, line, &empties))
				continue;
			note_place(e, entry, line, ret_place);
			ret_place->empties = empties;
			return 0;
		}
	}
	return -ENOENT;
}

int osh_policy_amend_drop(struct osh_str text, uint32_t line, char **ret_text, size_t *ret_len,
			  struct osh_amend_place *ret_place, struct osh_err *err)
{
	struct osh_editor e = { .err = err };
	int r = open_text(&e, text);

	if (r == 0)
		r = drop(&e, line, ret_place);
	return close_text(&e, r, text, ret_text, ret_len);
}
