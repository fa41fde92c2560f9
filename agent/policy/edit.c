/* What each edit does to the tree of a policy. */
#include "policy/edit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "policy/document.h"
#include "policy/edit_form.h"
#include "policy/edit_text.h"
#include "policy/edit_tree.h"
#include "policy/host.h"
#include "policy/yaml_write.h"

struct editor {
	struct osh_arena arena;
	struct osh_yaml_node *root;
	struct osh_edit_pieces pieces; /* where the entries stand in the text */
	struct osh_err *err;
	const char *flag, *text; /* the edit under way, for messages */
};

static int no_memory(struct editor *e)
{
	return osh_err_set(e->err, ENOMEM, "out of memory");
}

static struct osh_yaml_node *network_of(const struct editor *e)
{
	struct osh_yaml_node *network = osh_tree_find(e->root, "network_policies");

	return network && network->kind == OSH_YAML_MAPPING ? network : NULL;
}

static struct osh_yaml_node *first_entry(const struct editor *e)
{
	struct osh_yaml_node *network = network_of(e);

	return network ? network->first : NULL;
}

static struct osh_yaml_node *first_endpoint(const struct osh_yaml_node *entry)
{
	struct osh_yaml_node *endpoints = osh_tree_find(entry, "endpoints");

	return endpoints ? endpoints->first : NULL;
}

/* ---- Hosts and ports ---------------------------------------- */

/* Patterns are compared as they are written, but for case; addresses by what they mean. */
static bool same_host(struct osh_str a, struct osh_str b)
{
	struct osh_host x, y;

	if (osh_str_caseeq(a, b))
		return true;
	return osh_host_parse(a, &x) == 0 && osh_host_parse(b, &y) == 0 &&
	       x.kind != OSH_HOST_NAME && strcmp(x.text, y.text) == 0;
}

static bool is_port(const struct osh_yaml_node *node, uint16_t port_host)
{
	uint64_t value;

	return node && osh_str_parse_u64(node->text, UINT16_MAX, &value) == 0 && value == port_host;
}

static struct osh_yaml_node *find_port(const struct osh_yaml_node *ports, uint16_t port_host)
{
	struct osh_yaml_node *port = ports ? ports->first : NULL;

	while (port && !is_port(port, port_host))
		port = port->next;
	return port;
}

/* `ports` wins where both are written. */
static bool is_at(const struct osh_yaml_node *endpoint, struct osh_str host, uint16_t port_host)
{
	const struct osh_yaml_node *ports = osh_tree_find(endpoint, "ports");

	if (!same_host(osh_tree_text(endpoint, "host"), host))
		return false;
	return ports ? find_port(ports, port_host) != NULL
		     : is_port(osh_tree_find(endpoint, "port"), port_host);
}

static bool covers(const struct osh_yaml_node *entry, struct osh_str host, uint16_t port_host)
{
	for (const struct osh_yaml_node *p = first_endpoint(entry); p; p = p->next) {
		if (is_at(p, host, port_host))
			return true;
	}
	return false;
}

static int set_port(struct editor *e, struct osh_yaml_node *endpoint, uint16_t port_host)
{
	char text[8];

	snprintf(text, sizeof(text), "%u", port_host);
	return osh_tree_set(&e->arena, endpoint, "port",
			    osh_tree_scalar(&e->arena, osh_str(text), true));
}

/* Of several ports only one is meant: it becomes an endpoint of its own, behind the one
 * that keeps the others. *endpoint is it then. */
static int split_port(struct editor *e, struct osh_yaml_node *entry,
		      struct osh_yaml_node **endpoint, uint16_t port_host)
{
	struct osh_yaml_node *endpoints = osh_tree_find(entry, "endpoints");
	struct osh_yaml_node *ports = osh_tree_find(*endpoint, "ports"), *copy;

	if (!ports || ports->count < 2)
		return 0;
	copy = osh_tree_copy(&e->arena, *endpoint);
	if (!copy)
		return no_memory(e);
	osh_tree_remove(copy, osh_tree_find(copy, "ports"));
	if (set_port(e, copy, port_host) < 0)
		return no_memory(e);
	osh_tree_remove(ports, find_port(ports, port_host));
	osh_tree_insert_after(endpoints, *endpoint, copy);
	*endpoint = copy;
	return 0;
}

/* ---- Removing ---------------------------------------- */

static void remove_entry(struct editor *e, struct osh_yaml_node *entry)
{
	osh_edit_pieces_gone(&e->pieces, entry);
	osh_tree_remove(network_of(e), entry);
}

static int remove_rule(struct editor *e)
{
	struct osh_yaml_node *entry = osh_tree_find(network_of(e), e->text);

	if (!entry)
		return osh_err_set(e->err, ENOENT,
				   "%s %.200s: the policy has no entry of that name", e->flag,
				   e->text);
	remove_entry(e, entry);
	return 0;
}

/* Take the port away; the last one takes the endpoint along. */
static void remove_place(struct osh_yaml_node *endpoints, struct osh_yaml_node *endpoint,
			 uint16_t port_host)
{
	struct osh_yaml_node *ports = osh_tree_find(endpoint, "ports");

	if (!ports || ports->count < 2) {
		osh_tree_remove(endpoints, endpoint);
		return;
	}
	osh_tree_remove(ports, find_port(ports, port_host));
	/* Beside `ports` it says nothing; it must not begin to. */
	osh_tree_remove(endpoint, osh_tree_find(endpoint, "port"));
}

static int remove_endpoint(struct editor *e)
{
	struct osh_endpoint_form form;
	struct osh_yaml_node *next_entry;
	size_t removed = 0;
	int r = osh_place_form_parse(e->flag, e->text, &form, e->err);

	for (struct osh_yaml_node *entry = first_entry(e); r == 0 && entry; entry = next_entry) {
		struct osh_yaml_node *endpoints = osh_tree_find(entry, "endpoints"), *next;

		next_entry = entry->next;
		if (!covers(entry, form.host, form.port_host))
			continue;
		for (struct osh_yaml_node *p = endpoints->first; p; p = next) {
			next = p->next;
			if (is_at(p, form.host, form.port_host))
				remove_place(endpoints, p, form.port_host);
		}
		removed++;
		osh_edit_pieces_touch(&e->pieces, entry);
		if (endpoints->count == 0)
			remove_entry(e, entry);
	}
	if (r == 0 && !removed)
		r = osh_err_set(e->err, ENOENT, "%s %.200s: the policy has no such endpoint",
				e->flag, e->text);
	return r;
}

/* ---- Adding an endpoint ---------------------------------------- */

static bool has_binary(const struct osh_yaml_node *entry, const char *path)
{
	const struct osh_yaml_node *binaries = osh_tree_find(entry, "binaries");

	for (const struct osh_yaml_node *b = binaries ? binaries->first : NULL; b; b = b->next) {
		if (osh_str_eq_c(osh_tree_text(b, "path"), path))
			return true;
	}
	return false;
}

static bool has_binaries(const struct osh_yaml_node *entry, const char *const *paths)
{
	for (; paths && *paths; paths++) {
		if (!has_binary(entry, *paths))
			return false;
	}
	return true;
}

static int add_binaries(struct editor *e, struct osh_yaml_node *entry, const char *const *paths)
{
	struct osh_yaml_node *list, *binary;

	for (; paths && *paths; paths++) {
		if (has_binary(entry, *paths))
			continue;
		list = osh_tree_ensure(&e->arena, entry, "binaries", OSH_YAML_SEQUENCE);
		binary = osh_tree_new(&e->arena, OSH_YAML_MAPPING);
		if (!list || !binary ||
		    osh_tree_set_text(&e->arena, binary, "path", osh_str(*paths)) < 0)
			return no_memory(e);
		osh_tree_append(list, binary);
	}
	return 0;
}

/* "allow_api_github_com_443"; a number behind it when that is another entry's. */
static void make_name(const struct editor *e, const struct osh_endpoint_form *form, char *buf,
		      size_t size)
{
	char host[OSH_HOST_MAX];

	(void)osh_str_copy(form->host, host, sizeof(host));
	for (char *p = host; *p; p++) {
		if (!osh_ascii_is_alpha(*p) && !osh_ascii_is_digit(*p))
			*p = '_';
		*p = osh_ascii_lower(*p);
	}
	snprintf(buf, size, "allow_%s_%u", host, form->port_host);
	for (unsigned n = 2; osh_tree_find(network_of(e), buf); n++)
		snprintf(buf, size, "allow_%s_%u_%u", host, form->port_host, n);
}

static struct osh_yaml_node *new_entry(struct editor *e, const char *name)
{
	struct osh_yaml_node *network =
		osh_tree_ensure(&e->arena, e->root, "network_policies", OSH_YAML_MAPPING);
	struct osh_yaml_node *entry = osh_tree_new(&e->arena, OSH_YAML_MAPPING);

	if (!network || !entry || osh_tree_set(&e->arena, network, name, entry) < 0 ||
	    !osh_tree_ensure(&e->arena, entry, "endpoints", OSH_YAML_SEQUENCE))
		return NULL;
	return entry;
}

/* The entry that an endpoint belongs into: the one that was named; else one that covers
 * the place already, best one that names the programs, too; else a new one. */
static struct osh_yaml_node *choose_entry(struct editor *e, const struct osh_endpoint_form *form,
					  const struct osh_policy_edits *edits)
{
	struct osh_yaml_node *found = NULL;
	char name[OSH_HOST_MAX + 32];

	if (edits->rule_name) {
		found = osh_tree_find(network_of(e), edits->rule_name);
		return found ? found : new_entry(e, edits->rule_name);
	}
	for (struct osh_yaml_node *entry = first_entry(e); entry; entry = entry->next) {
		if (!covers(entry, form->host, form->port_host))
			continue;
		if (has_binaries(entry, edits->binaries))
			return entry;
		found = found ? found : entry;
	}
	if (found)
		return found;
	make_name(e, form, name, sizeof(name));
	return new_entry(e, name);
}

static int refuse_setting(struct editor *e, const char *name, const char *what)
{
	return osh_err_set(e->err, EINVAL, "%s %.200s: the endpoint in '%.100s' %s", e->flag,
			   e->text, name, what);
}

/* An endpoint that is there already keeps what it has: only what agrees is added. */
static int check_settings(struct editor *e, const struct osh_yaml_node *entry,
			  const struct osh_yaml_node *endpoint,
			  const struct osh_endpoint_form *form)
{
	struct osh_str protocol = osh_tree_text(endpoint, "protocol");

	if (form->protocol.len && protocol.len && !osh_str_eq(form->protocol, protocol))
		return refuse_setting(e, entry->key.data,
				      "has another protocol: remove it first "
				      "(--remove-endpoint in the same call)");
	if (form->access.len && osh_tree_find(endpoint, "rules"))
		return refuse_setting(e, entry->key.data,
				      "has rules of its own: add to them with --add-allow, "
				      "or remove it first (--remove-endpoint in the same call)");
	return 0;
}

static int apply_settings(struct editor *e, struct osh_yaml_node *endpoint,
			  const struct osh_endpoint_form *form)
{
	const struct {
		const char *key;
		struct osh_str value;
	} settings[] = {
		{ "protocol", form->protocol },
		{ "enforcement", form->enforcement },
		{ "access", form->access },
	};

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		if (settings[i].value.len &&
		    osh_tree_set_text(&e->arena, endpoint, settings[i].key, settings[i].value) < 0)
			return no_memory(e);
	}
	for (int i = 0; i < OSH_EDIT_OPTION_COUNT; i++) {
		if (form->options[i] &&
		    osh_tree_set(&e->arena, endpoint, osh_edit_option_key((enum osh_edit_option)i),
				 osh_tree_scalar(&e->arena, osh_str("true"), true)) < 0)
			return no_memory(e);
	}
	return 0;
}

static bool has_settings(const struct osh_endpoint_form *form)
{
	bool any = form->access.len || form->protocol.len || form->enforcement.len;

	for (int i = 0; i < OSH_EDIT_OPTION_COUNT; i++)
		any |= form->options[i];
	return any;
}

/* Of several on one place (they differ in `path`) the one for all paths is meant. */
static struct osh_yaml_node *find_endpoint(const struct osh_yaml_node *entry,
					   const struct osh_endpoint_form *form)
{
	struct osh_yaml_node *found = NULL;

	for (struct osh_yaml_node *p = first_endpoint(entry); p; p = p->next) {
		if (!is_at(p, form->host, form->port_host))
			continue;
		if (!osh_tree_find(p, "path"))
			return p;
		found = found ? found : p;
	}
	return found;
}

static int new_endpoint(struct editor *e, struct osh_yaml_node *entry,
			const struct osh_endpoint_form *form)
{
	struct osh_yaml_node *list =
		osh_tree_ensure(&e->arena, entry, "endpoints", OSH_YAML_SEQUENCE);
	struct osh_yaml_node *endpoint = osh_tree_new(&e->arena, OSH_YAML_MAPPING);

	if (!list || !endpoint || osh_tree_set_text(&e->arena, endpoint, "host", form->host) < 0 ||
	    set_port(e, endpoint, form->port_host) < 0)
		return no_memory(e);
	osh_tree_append(list, endpoint);
	return apply_settings(e, endpoint, form);
}

static int merge_endpoint(struct editor *e, struct osh_yaml_node *entry,
			  struct osh_yaml_node *endpoint, const struct osh_endpoint_form *form)
{
	int r = check_settings(e, entry, endpoint, form);

	if (r == 0 && has_settings(form))
		r = split_port(e, entry, &endpoint, form->port_host);
	return r == 0 ? apply_settings(e, endpoint, form) : r;
}

static int add_endpoint(struct editor *e, const struct osh_policy_edits *edits)
{
	struct osh_endpoint_form form;
	struct osh_yaml_node *entry, *endpoint;
	int r = osh_endpoint_form_parse(e->flag, e->text, &form, e->err);

	if (r < 0)
		return r;
	entry = choose_entry(e, &form, edits);
	if (!entry)
		return no_memory(e);
	osh_edit_pieces_touch(&e->pieces, entry);
	endpoint = find_endpoint(entry, &form);
	r = endpoint ? merge_endpoint(e, entry, endpoint, &form) : new_endpoint(e, entry, &form);
	return r == 0 ? add_binaries(e, entry, edits->binaries) : r;
}

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

	return is_at(endpoint, form->host, form->port_host) &&
	       protocol_of(endpoint) != OSH_L7_NONE &&
	       (selector.len == 0 || osh_globs_overlap(selector, form->path));
}

/* The endpoint of an entry that would judge the path; NULL when none would. */
static struct osh_yaml_node *find_rule_place(const struct osh_yaml_node *entry,
					     const struct osh_rule_form *form)
{
	struct osh_yaml_node *best = NULL;

	for (struct osh_yaml_node *p = first_endpoint(entry); p; p = p->next) {
		if (takes_rule(p, form) &&
		    (!best || osh_path_specificity(osh_tree_text(p, "path")) >
				      osh_path_specificity(osh_tree_text(best, "path"))))
			best = p;
	}
	return best;
}

static struct osh_yaml_node *new_rule(struct editor *e, const char *method, struct osh_str path,
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

static int append_rule(struct editor *e, struct osh_yaml_node *endpoint, const char *method,
		       struct osh_str path, bool deny)
{
	struct osh_yaml_node *rule = new_rule(e, method, path, deny);
	struct osh_yaml_node *list = osh_tree_ensure(
		&e->arena, endpoint, deny ? "deny_rules" : "rules", OSH_YAML_SEQUENCE);

	if (!rule || !list)
		return no_memory(e);
	for (const struct osh_yaml_node *old = list->first; old; old = old->next) {
		if (osh_yaml_same(old, rule))
			return 0;
	}
	osh_tree_append(list, rule);
	return 0;
}

/* access and rules exclude each other: the preset is written out. */
static int expand_preset(struct editor *e, struct osh_yaml_node *endpoint)
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

static int add_to_endpoint(struct editor *e, struct osh_yaml_node *entry,
			   struct osh_yaml_node *endpoint, const struct osh_rule_form *form,
			   bool deny)
{
	int r;

	if (deny && !osh_tree_find(endpoint, "access") && !osh_tree_find(endpoint, "rules"))
		return osh_err_set(e->err, EINVAL,
				   "%s %.200s: a deny rule takes away from what is allowed, and "
				   "the endpoint in '%.100s' allows nothing yet",
				   e->flag, e->text, entry->key.data);
	r = split_port(e, entry, &endpoint, form->port_host);
	if (r == 0 && !deny)
		r = expand_preset(e, endpoint);
	if (r == 0)
		r = append_rule(e, endpoint, form->method, form->path, deny);
	osh_edit_pieces_touch(&e->pieces, entry);
	return r;
}

static int no_place(struct editor *e, const struct osh_rule_form *form)
{
	for (const struct osh_yaml_node *entry = first_entry(e); entry; entry = entry->next) {
		if (covers(entry, form->host, form->port_host))
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

static int ambiguous(struct editor *e, const struct osh_yaml_node *first,
		     const struct osh_yaml_node *second)
{
	return osh_err_set(e->err, EINVAL,
			   "%s %.200s: both '%.80s' and '%.80s' have that endpoint, for different "
			   "programs: edit the one that is meant with policy get and policy set",
			   e->flag, e->text, first->key.data, second->key.data);
}

/* In a call that names an entry the rule is meant for its endpoint, if it has one. */
static bool is_in_named(const struct editor *e, const struct osh_rule_form *form, const char *name,
			const struct osh_yaml_node *entry)
{
	const struct osh_yaml_node *named = name ? osh_tree_find(network_of(e), name) : NULL;

	return !named || !find_rule_place(named, form) || named == entry;
}

/* An allow goes to one entry: in two it would grant to programs that nobody spoke of. A
 * deny goes to all of them: it takes away from whoever asks. */
static int add_rule(struct editor *e, const char *rule_name, bool deny)
{
	struct osh_yaml_node *chosen = NULL;
	struct osh_rule_form form;
	int r = osh_rule_form_parse(e->flag, e->text, &form, e->err);

	for (struct osh_yaml_node *entry = r == 0 ? first_entry(e) : NULL; entry;
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

/* ---- All of them ---------------------------------------- */

static int check_counts(const struct osh_policy_edits *edits, struct osh_err *err)
{
	const char *const *const lists[] = { edits->remove_rules,  edits->remove_endpoints,
					     edits->add_endpoints, edits->add_allows,
					     edits->add_denies,	   edits->binaries };
	size_t adds = 0, all = 0;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		size_t count = 0;

		while (lists[i] && lists[i][count])
			count++;
		if (count > OSH_EDITS_MAX)
			return osh_err_set(err, EINVAL, "more than %d edits of one kind in a call",
					   OSH_EDITS_MAX);
		all += lists[i] == edits->binaries ? 0 : count;
		adds += lists[i] == edits->add_endpoints ? count : 0;
	}
	if (all == 0)
		return osh_err_set(err, EINVAL, "nothing to change: give at least one edit");
	if (edits->rule_name && (adds != 1 || !edits->rule_name[0]))
		return osh_err_set(err, EINVAL,
				   "--rule-name names the entry of exactly one --add-endpoint");
	if (edits->binaries && edits->binaries[0] && adds == 0)
		return osh_err_set(
			err, EINVAL,
			"--binary says who may use an --add-endpoint, and there is none");
	return 0;
}

enum kind { REMOVE_RULE, REMOVE_ENDPOINT, ADD_ENDPOINT, ADD_ALLOW, ADD_DENY };

static int apply_one(struct editor *e, enum kind kind, const struct osh_policy_edits *edits)
{
	switch (kind) {
	case REMOVE_RULE:
		return remove_rule(e);
	case REMOVE_ENDPOINT:
		return remove_endpoint(e);
	case ADD_ENDPOINT:
		return add_endpoint(e, edits);
	case ADD_ALLOW:
		return add_rule(e, edits->rule_name, false);
	case ADD_DENY:
		return add_rule(e, edits->rule_name, true);
	}
	return -EINVAL;
}

static int apply_all(struct editor *e, const struct osh_policy_edits *edits)
{
	const struct {
		enum kind kind;
		const char *flag;
		const char *const *texts;
	} steps[] = {
		{ REMOVE_RULE, "--remove-rule", edits->remove_rules },
		{ REMOVE_ENDPOINT, "--remove-endpoint", edits->remove_endpoints },
		{ ADD_ENDPOINT, "--add-endpoint", edits->add_endpoints },
		{ ADD_ALLOW, "--add-allow", edits->add_allows },
		{ ADD_DENY, "--add-deny", edits->add_denies },
	};
	int r = 0;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		for (const char *const *text = steps[i].texts; r == 0 && text && *text; text++) {
			e->flag = steps[i].flag;
			e->text = *text;
			r = apply_one(e, steps[i].kind, edits);
		}
	}
	return r;
}

int osh_policy_edit(struct osh_str text, const struct osh_policy_edits *edits, char **ret_text,
		    size_t *ret_len, struct osh_err *err)
{
	struct editor e = { .err = err };
	struct osh_diags diags = { 0 };
	int r = check_counts(edits, err);

	if (r < 0)
		return r;
	r = osh_yaml_parse(text, &e.arena, &diags, &e.root);
	if (r < 0 || e.root->kind != OSH_YAML_MAPPING)
		r = osh_err_set(err, r == -ENOMEM ? ENOMEM : EINVAL,
				"the policy cannot be read: %s",
				diags.count ? diags.items[0].message : "it is no mapping");
	if (r == 0)
		r = osh_edit_pieces_find(&e.pieces, text, e.root);
	if (r == 0)
		r = apply_all(&e, edits);
	if (r == 0) {
		r = osh_edit_pieces_write(&e.pieces, text, e.root, ret_text, ret_len);
		if (r < 0)
			osh_err_set(err, -r, "the changed policy is larger than a policy may be");
	} else if (r == -ENOMEM) {
		(void)no_memory(&e);
	}
	osh_edit_pieces_done(&e.pieces);
	osh_arena_done(&e.arena);
	return r;
}
