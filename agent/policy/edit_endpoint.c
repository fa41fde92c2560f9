/* Edits that remove and add whole endpoints and entries. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "policy/edit_form.h"
#include "policy/edit_ops.h"
#include "policy/edit_tree.h"

/* ---- Removing ---------------------------------------- */

static void remove_entry(struct osh_editor *e, struct osh_yaml_node *entry)
{
	osh_edit_pieces_gone(&e->pieces, entry);
	osh_tree_remove(osh_edit_network(e), entry);
}

int osh_edit_remove_rule(struct osh_editor *e)
{
	struct osh_yaml_node *entry = osh_tree_find(osh_edit_network(e), e->text);

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
	osh_tree_remove(ports, osh_edit_find_port(ports, port_host));
	/* Beside `ports` it says nothing; it must not begin to. */
	osh_tree_remove(endpoint, osh_tree_find(endpoint, "port"));
}

int osh_edit_remove_endpoint(struct osh_editor *e)
{
	struct osh_endpoint_form form;
	struct osh_yaml_node *next_entry;
	size_t removed = 0;
	int r = osh_place_form_parse(e->flag, e->text, &form, e->err);

	for (struct osh_yaml_node *entry = osh_edit_first_entry(e); r == 0 && entry;
	     entry = next_entry) {
		struct osh_yaml_node *endpoints = osh_tree_find(entry, "endpoints"), *next;

		next_entry = entry->next;
		if (!osh_edit_covers(entry, form.host, form.port_host))
			continue;
		for (struct osh_yaml_node *p = endpoints->first; p; p = next) {
			next = p->next;
			if (osh_edit_is_at(p, form.host, form.port_host))
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

static int add_binaries(struct osh_editor *e, struct osh_yaml_node *entry, const char *const *paths)
{
	struct osh_yaml_node *list, *binary;

	for (; paths && *paths; paths++) {
		if (has_binary(entry, *paths))
			continue;
		list = osh_tree_ensure(&e->arena, entry, "binaries", OSH_YAML_SEQUENCE);
		binary = osh_tree_new(&e->arena, OSH_YAML_MAPPING);
		if (!list || !binary ||
		    osh_tree_set_text(&e->arena, binary, "path", osh_str(*paths)) < 0)
			return osh_edit_no_memory(e);
		osh_tree_append(list, binary);
	}
	return 0;
}

/* "allow_api_github_com_443"; a number behind it when that is another entry's. */
static void make_name(const struct osh_editor *e, const struct osh_endpoint_form *form, char *buf,
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
	for (unsigned n = 2; osh_tree_find(osh_edit_network(e), buf); n++)
		snprintf(buf, size, "allow_%s_%u_%u", host, form->port_host, n);
}

static struct osh_yaml_node *new_entry(struct osh_editor *e, const char *name)
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
static struct osh_yaml_node *choose_entry(struct osh_editor *e,
					  const struct osh_endpoint_form *form,
					  const struct osh_policy_edits *edits)
{
	struct osh_yaml_node *found = NULL;
	char name[OSH_HOST_MAX + 32];

	if (edits->rule_name) {
		found = osh_tree_find(osh_edit_network(e), edits->rule_name);
		return found ? found : new_entry(e, edits->rule_name);
	}
	for (struct osh_yaml_node *entry = osh_edit_first_entry(e); entry; entry = entry->next) {
		if (!osh_edit_covers(entry, form->host, form->port_host))
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

static int refuse_setting(struct osh_editor *e, const char *name, const char *what)
{
	return osh_err_set(e->err, EINVAL, "%s %.200s: the endpoint in '%.100s' %s", e->flag,
			   e->text, name, what);
}

/* An endpoint that is there already keeps what it has: only what agrees is added. */
static int check_settings(struct osh_editor *e, const struct osh_yaml_node *entry,
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

static int apply_settings(struct osh_editor *e, struct osh_yaml_node *endpoint,
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
			return osh_edit_no_memory(e);
	}
	for (int i = 0; i < OSH_EDIT_OPTION_COUNT; i++) {
		if (form->options[i] &&
		    osh_tree_set(&e->arena, endpoint, osh_edit_option_key((enum osh_edit_option)i),
				 osh_tree_scalar(&e->arena, osh_str("true"), true)) < 0)
			return osh_edit_no_memory(e);
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

	for (struct osh_yaml_node *p = osh_edit_first_endpoint(entry); p; p = p->next) {
		if (!osh_edit_is_at(p, form->host, form->port_host))
			continue;
		if (!osh_tree_find(p, "path"))
			return p;
		found = found ? found : p;
	}
	return found;
}

static int new_endpoint(struct osh_editor *e, struct osh_yaml_node *entry,
			const struct osh_endpoint_form *form)
{
	struct osh_yaml_node *list =
		osh_tree_ensure(&e->arena, entry, "endpoints", OSH_YAML_SEQUENCE);
	struct osh_yaml_node *endpoint = osh_tree_new(&e->arena, OSH_YAML_MAPPING);

	if (!list || !endpoint || osh_tree_set_text(&e->arena, endpoint, "host", form->host) < 0 ||
	    osh_edit_set_port(e, endpoint, form->port_host) < 0)
		return osh_edit_no_memory(e);
	osh_tree_append(list, endpoint);
	return apply_settings(e, endpoint, form);
}

static int merge_endpoint(struct osh_editor *e, struct osh_yaml_node *entry,
			  struct osh_yaml_node *endpoint, const struct osh_endpoint_form *form)
{
	int r = check_settings(e, entry, endpoint, form);

	if (r == 0 && has_settings(form))
		r = osh_edit_split_port(e, entry, &endpoint, form->port_host);
	return r == 0 ? apply_settings(e, endpoint, form) : r;
}

int osh_edit_add_endpoint(struct osh_editor *e, const struct osh_policy_edits *edits)
{
	struct osh_endpoint_form form;
	struct osh_yaml_node *entry, *endpoint;
	int r = osh_endpoint_form_parse(e->flag, e->text, &form, e->err);

	if (r < 0)
		return r;
	entry = choose_entry(e, &form, edits);
	if (!entry)
		return osh_edit_no_memory(e);
	osh_edit_pieces_touch(&e->pieces, entry);
	endpoint = find_endpoint(entry, &form);
	r = endpoint ? merge_endpoint(e, entry, endpoint, &form) : new_endpoint(e, entry, &form);
	return r == 0 ? add_binaries(e, entry, edits->binaries) : r;
}
