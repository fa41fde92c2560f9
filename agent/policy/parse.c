/* The grammar of a policy file, as tables: which keys a mapping may have and what reads
 * each. Shapes and types only; what values mean is check.c's work. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "policy/document.h"
#include "policy/yaml.h"

struct reader {
	struct osh_arena *arena;
	struct osh_diags *diags;
	bool no_memory;
	size_t wrong; /* values of a wrong type: what depends on them is not checked further */
};

typedef void read_fn(struct reader *r, const struct osh_yaml_node *node, void *out);

struct field {
	const char *name;
	read_fn *read;
	size_t offset;
};

#define FIELDS_MAX 40
#define END_OF_FIELDS { NULL, NULL, 0 }

/* ---- Shapes ---------------------------------------------------------------------- */

static const char *kind_name(const struct osh_yaml_node *node)
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

static void report_type(struct reader *r, const struct osh_yaml_node *node, const char *want)
{
	struct osh_str name = node->key.len ? node->key : osh_str("value");

	r->wrong++;
	if (node->kind == OSH_YAML_SCALAR && osh_yaml_type(node) != OSH_YAML_NULL)
		osh_diag_error(r->diags, node->mark, "%.*s must be %s, not %s: %.*s", OSH_DIAG_VALUE(name), want,
			       kind_name(node), OSH_DIAG_VALUE(node->text));
	else
		osh_diag_error(r->diags, node->mark, "%.*s must be %s, not %s", OSH_DIAG_VALUE(name), want,
			       kind_name(node));
}

static void report_unknown_key(struct reader *r, const struct osh_yaml_node *node,
			       const struct field *fields, const char *what)
{
	const char *names[FIELDS_MAX], *nearest;
	char list[200] = "";
	size_t count = 0, len = 0;

	for (const struct field *f = fields; f->name; f++) {
		int n = snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "", f->name);

		if (n > 0 && len + (size_t)n < sizeof(list))
			len += (size_t)n;
		else
			list[len] = '\0';
		names[count++] = f->name;
	}
	names[count] = NULL;
	nearest = osh_nearest_name(node->key, names);
	if (nearest)
		osh_diag_error(r->diags, node->key_mark, "unknown field '%.*s' in %s: did you mean %s?",
			       OSH_DIAG_VALUE(node->key), what, nearest);
	else
		osh_diag_error(r->diags, node->key_mark, "unknown field '%.*s' in %s (allowed: %s)",
			       OSH_DIAG_VALUE(node->key), what, list);
}

static bool expect_mapping(struct reader *r, const struct osh_yaml_node *node)
{
	if (node->kind == OSH_YAML_MAPPING)
		return true;
	report_type(r, node, "a mapping");
	return false;
}

static void read_fields(struct reader *r, const struct osh_yaml_node *node, const struct field *fields,
			const char *what, void *out)
{
	if (!expect_mapping(r, node))
		return;
	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		const struct field *f = fields;

		while (f->name && !osh_str_eq_c(child->key, f->name))
			f++;
		if (f->name)
			f->read(r, child, (char *)out + f->offset);
		else
			report_unknown_key(r, child, fields, what);
	}
}

/* Room for the children of `node`, NULL when there are none or memory is out. */
static void *new_items(struct reader *r, const struct osh_yaml_node *node, size_t size)
{
	void *items = NULL;

	if (node->count) {
		items = osh_arena_alloc(r->arena, node->count * size);
		r->no_memory |= !items;
	}
	return items;
}

/* Read a list: `read` fills one item. Returns the items; NULL for a wrong shape too. */
static void *read_list(struct reader *r, const struct osh_yaml_node *node, const char *want, size_t size,
		       read_fn *read, size_t *ret_count)
{
	size_t count = 0;
	char *items;

	*ret_count = 0;
	if (node->kind != OSH_YAML_SEQUENCE) {
		report_type(r, node, want);
		return NULL;
	}
	items = new_items(r, node, size);
	for (const struct osh_yaml_node *child = node->first; items && child; child = child->next)
		read(r, child, items + size * count++);
	*ret_count = count;
	return items;
}

/* Read a mapping with free keys, each value by `read`. */
static void *read_map(struct reader *r, const struct osh_yaml_node *node, size_t size, read_fn *read,
		      size_t *ret_count)
{
	size_t count = 0;
	char *items;

	*ret_count = 0;
	if (!expect_mapping(r, node))
		return NULL;
	items = new_items(r, node, size);
	for (const struct osh_yaml_node *child = node->first; items && child; child = child->next)
		read(r, child, items + size * count++);
	*ret_count = count;
	return items;
}

/* ---- Scalars ---------------------------------------------------------------------- */

static void read_text(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_text *text = out;

	if (node->kind != OSH_YAML_SCALAR || osh_yaml_type(node) != OSH_YAML_STRING) {
		report_type(r, node, "a string (put it in quotes)");
		return;
	}
	*text = (struct osh_text){ .set = true, .mark = node->mark, .text = node->text };
}

static struct osh_text key_text(const struct osh_yaml_node *node)
{
	return (struct osh_text){ .set = true, .mark = node->key_mark, .text = node->key };
}

static void read_flag(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_flag *flag = out;

	if (osh_yaml_type(node) != OSH_YAML_BOOL) {
		report_type(r, node, "a boolean (true or false)");
		return;
	}
	*flag = (struct osh_flag){ .set = true, .mark = node->mark,
				   .value = osh_ascii_lower(node->text.data[0]) == 't' };
}

/* Plain decimal, without sign, leading zero or another base: 0x1bb and 08 mean different
 * things to different readers. */
static void read_number(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_number *number = out;
	uint64_t value;

	if (node->kind == OSH_YAML_SCALAR && osh_yaml_type(node) == OSH_YAML_INT && node->text.data[0] == '-') {
		r->wrong++;
		osh_diag_error(r->diags, node->mark, "%.*s must not be negative: %.*s", OSH_DIAG_VALUE(node->key),
			       OSH_DIAG_VALUE(node->text));
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

static void read_texts(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_texts *texts = out;

	texts->mark = node->mark;
	texts->items = read_list(r, node, "a list of strings", sizeof(struct osh_text), read_text,
				 &texts->count);
	texts->set = node->kind == OSH_YAML_SEQUENCE;
}

/* A port inside a list: kept as text, so that the message can show what was written. */
static void read_port_item(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_text *text = out;

	if (osh_yaml_type(node) != OSH_YAML_INT) {
		report_type(r, node, "an integer from 1 to 65535");
		return;
	}
	*text = (struct osh_text){ .set = true, .mark = node->mark, .text = node->text };
}

static void read_ports(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_texts *texts = out;

	texts->mark = node->mark;
	texts->items = read_list(r, node, "a list of integers", sizeof(struct osh_text), read_port_item,
				 &texts->count);
	texts->set = node->kind == OSH_YAML_SEQUENCE;
}

/* ---- Matchers ----------------------------------------------------------------------- */

static const struct field any_fields[] = {
	{ "any", read_texts, 0 },
	END_OF_FIELDS,
};

/* A string, or {any: [...]}. */
static void read_matcher_value(struct reader *r, const struct osh_yaml_node *node, struct osh_texts *any)
{
	any->mark = node->mark;
	if (node->kind == OSH_YAML_MAPPING) {
		read_fields(r, node, any_fields, "a matcher (a string or {any: [...]})", any);
		if (any->set && any->count == 0)
			osh_diag_error(r->diags, node->mark, "matcher any must not be empty");
		if (node->count == 0)
			osh_diag_error(r->diags, node->mark, "matcher must be a string or {any: [...]}");
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
	read_text(r, node, any->items);
	any->count = 1;
	any->set = true;
}

static void read_matcher(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_matcher *matcher = out;

	matcher->key = key_text(node);
	read_matcher_value(r, node, &matcher->any);
}

static void read_matchers(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_matchers *matchers = out;

	matchers->mark = node->mark;
	matchers->items = read_map(r, node, sizeof(struct osh_matcher), read_matcher, &matchers->count);
	matchers->set = node->kind == OSH_YAML_MAPPING;
}

/* ---- Rules ---------------------------------------------------------------------------- */

static void read_params_arguments(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	(void)out;
	osh_diag_error(r->diags, node->key_mark, "argument matching is not supported in this form: write "
		       "params.arguments.<key>: \"pattern\" beside method and tool");
}

static const struct field params_fields[] = {
	{ "name", read_matcher, 0 },
	{ "arguments", read_params_arguments, 0 },
	END_OF_FIELDS,
};

static void read_tool(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_matcher *tool = out;

	if (tool->key.set) {
		osh_diag_error(r->diags, node->key_mark, "tool and params.name say the same thing: keep one");
		return;
	}
	read_matcher(r, node, tool);
}

static void read_params(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_matcher name = { 0 }, *tool = out;

	if (node->kind == OSH_YAML_MAPPING && node->count == 0)
		osh_diag_error(r->diags, node->mark, "params must not be empty (allowed: name)");
	read_fields(r, node, params_fields, "params", &name);
	if (!name.key.set)
		return;
	if (tool->key.set)
		osh_diag_error(r->diags, node->key_mark, "tool and params.name say the same thing: keep one");
	else
		*tool = name;
}

static const struct field rule_fields[] = {
	{ "method", read_text, offsetof(struct osh_rule, method) },
	{ "path", read_text, offsetof(struct osh_rule, path) },
	{ "query", read_matchers, offsetof(struct osh_rule, query) },
	{ "operation_type", read_text, offsetof(struct osh_rule, operation_type) },
	{ "operation_name", read_text, offsetof(struct osh_rule, operation_name) },
	{ "fields", read_texts, offsetof(struct osh_rule, fields) },
	{ "tool", read_tool, offsetof(struct osh_rule, tool) },
	{ "params", read_params, offsetof(struct osh_rule, tool) },
	END_OF_FIELDS,
};

#define ARGUMENT_PREFIX "params.arguments."

static bool is_argument_key(const struct osh_yaml_node *node)
{
	return osh_str_has_prefix(node->key, ARGUMENT_PREFIX) && node->key.len > strlen(ARGUMENT_PREFIX);
}

static void read_arguments(struct reader *r, const struct osh_yaml_node *node, struct osh_matchers *out)
{
	out->items = new_items(r, node, sizeof(struct osh_matcher));
	for (const struct osh_yaml_node *child = node->first; out->items && child; child = child->next) {
		struct osh_matcher *matcher = &out->items[out->count];

		if (!is_argument_key(child))
			continue;
		read_matcher(r, child, matcher);
		matcher->key.text.data += strlen(ARGUMENT_PREFIX);
		matcher->key.text.len -= strlen(ARGUMENT_PREFIX);
		out->count++;
		out->set = true;
		out->mark = child->mark;
	}
}

/* The fields of a rule, with our params.arguments.<key> among them. */
static void read_rule_body(struct reader *r, const struct osh_yaml_node *node, struct osh_rule *rule,
			   const char *what)
{
	rule->mark = node->mark;
	if (!expect_mapping(r, node))
		return;
	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		const struct field *f = rule_fields;

		if (is_argument_key(child))
			continue;
		while (f->name && !osh_str_eq_c(child->key, f->name))
			f++;
		if (f->name)
			f->read(r, child, (char *)rule + f->offset);
		else
			report_unknown_key(r, child, rule_fields, what);
	}
	read_arguments(r, node, &rule->arguments);
}

static void read_deny_rule(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	read_rule_body(r, node, out, "a deny rule");
}

static void read_allow_rule(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_rule *rule = out;

	rule->mark = node->mark;
	if (!expect_mapping(r, node))
		return;
	if (node->count == 0)
		osh_diag_error(r->diags, node->mark, "rule entry lacks allow: write - allow: { ... }");
	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		if (osh_str_eq_c(child->key, "allow"))
			read_rule_body(r, child, rule, "an allow rule");
		else if (osh_str_eq_c(child->key, "deny"))
			osh_diag_error(r->diags, child->key_mark, "rules may not contain deny entries: put this "
				       "one under deny_rules");
		else
			osh_diag_error(r->diags, child->key_mark, "rule entry must be wrapped in allow: '%.*s' "
				       "stands outside; write - allow: { %.*s: ... }",
				       OSH_DIAG_VALUE(child->key), OSH_DIAG_VALUE(child->key));
	}
}

static void read_rule_list(struct reader *r, const struct osh_yaml_node *node, struct osh_rules *rules,
			   read_fn *read)
{
	rules->mark = node->mark;
	rules->items = read_list(r, node, "a list of rules", sizeof(struct osh_rule), read, &rules->count);
	rules->set = node->kind == OSH_YAML_SEQUENCE;
	if (rules->set && rules->count == 0)
		osh_diag_error(r->diags, node->mark, "%.*s: [] is refused: an empty list of rules says nothing; "
			       "leave the key out", OSH_DIAG_VALUE(node->key));
}

static void read_rules(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	read_rule_list(r, node, out, read_allow_rule);
}

static void read_deny_rules(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	read_rule_list(r, node, out, read_deny_rule);
}

/* ---- Endpoints --------------------------------------------------------------------------- */

static const struct field registry_fields[] = {
	{ "operation_type", read_text, offsetof(struct osh_registry_entry, operation_type) },
	{ "operation_name", read_text, offsetof(struct osh_registry_entry, operation_name) },
	{ "fields", read_texts, offsetof(struct osh_registry_entry, fields) },
	END_OF_FIELDS,
};

static void read_registry_entry(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_registry_entry *entry = out;

	entry->key = key_text(node);
	read_fields(r, node, registry_fields, "a registry entry", entry);
}

static void read_registry(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_registry *registry = out;

	registry->mark = node->mark;
	registry->items = read_map(r, node, sizeof(struct osh_registry_entry), read_registry_entry,
				   &registry->count);
	registry->set = node->kind == OSH_YAML_MAPPING;
}

static const struct field mcp_fields[] = {
	{ "max_body_bytes", read_number, offsetof(struct osh_mcp_options, max_body_bytes) },
	{ "strict_tool_names", read_flag, offsetof(struct osh_mcp_options, strict_tool_names) },
	{ "allow_all_known_mcp_methods", read_flag,
	  offsetof(struct osh_mcp_options, allow_all_known_mcp_methods) },
	END_OF_FIELDS,
};

static void read_mcp(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_mcp_options *mcp = out;

	mcp->set = true;
	mcp->mark = node->key_mark;
	read_fields(r, node, mcp_fields, "the mcp stanza", mcp);
}

static const struct field json_rpc_fields[] = {
	{ "max_body_bytes", read_number, offsetof(struct osh_json_rpc_options, max_body_bytes) },
	END_OF_FIELDS,
};

static void read_json_rpc(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_json_rpc_options *json_rpc = out;

	json_rpc->set = true;
	json_rpc->mark = node->key_mark;
	read_fields(r, node, json_rpc_fields, "the json_rpc stanza", json_rpc);
}

static const struct field binding_fields[] = {
	{ "provider", read_text, offsetof(struct osh_binding, provider) },
	END_OF_FIELDS,
};

static void read_binding(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_binding *binding = out;

	binding->set = true;
	binding->mark = node->key_mark;
	read_fields(r, node, binding_fields, "credential_binding", binding);
}

#define ENDPOINT(name, read, member) { name, read, offsetof(struct osh_endpoint, member) }
static const struct field endpoint_fields[] = {
	ENDPOINT("host", read_text, host),
	ENDPOINT("port", read_number, port),
	ENDPOINT("ports", read_ports, ports),
	ENDPOINT("path", read_text, path),
	ENDPOINT("protocol", read_text, protocol),
	ENDPOINT("access", read_text, access),
	ENDPOINT("enforcement", read_text, enforcement),
	ENDPOINT("tls", read_text, tls),
	ENDPOINT("rules", read_rules, rules),
	ENDPOINT("deny_rules", read_deny_rules, deny_rules),
	ENDPOINT("allowed_ips", read_texts, allowed_ips),
	ENDPOINT("allow_encoded_slash", read_flag, allow_encoded_slash),
	ENDPOINT("websocket_credential_rewrite", read_flag, websocket_credential_rewrite),
	ENDPOINT("request_body_credential_rewrite", read_flag, request_body_credential_rewrite),
	ENDPOINT("allow_uninspected_credentials", read_flag, allow_uninspected_credentials),
	ENDPOINT("credential_signing", read_text, credential_signing),
	ENDPOINT("signing_service", read_text, signing_service),
	ENDPOINT("signing_region", read_text, signing_region),
	ENDPOINT("credential_binding", read_binding, credential_binding),
	ENDPOINT("persisted_queries", read_text, persisted_queries),
	ENDPOINT("graphql_persisted_queries", read_registry, registry),
	ENDPOINT("graphql_max_body_bytes", read_number, graphql_max_body_bytes),
	ENDPOINT("mcp", read_mcp, mcp),
	ENDPOINT("json_rpc", read_json_rpc, json_rpc),
	END_OF_FIELDS,
};

/* Set by the reference's own machinery, never by an author. */
static bool is_internal_key(struct osh_str key)
{
	return osh_str_eq_c(key, "provider_credentialed") || osh_str_eq_c(key, "advisor_proposed");
}

static void read_endpoint(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_endpoint *endpoint = out;
	size_t wrong = r->wrong;

	endpoint->mark = node->mark;
	endpoint->broken = true;
	if (!expect_mapping(r, node))
		return;
	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		const struct field *f = endpoint_fields;

		while (f->name && !osh_str_eq_c(child->key, f->name))
			f++;
		if (f->name)
			f->read(r, child, (char *)endpoint + f->offset);
		else if (is_internal_key(child->key))
			osh_diag_error(r->diags, child->key_mark, "internal field cannot be authored: %.*s",
				       OSH_DIAG_VALUE(child->key));
		else if (osh_str_has_prefix(child->key, "mcp_"))
			osh_diag_error(r->diags, child->key_mark, "'%.*s' is the runtime-only spelling of an MCP "
				       "option: write mcp: { %.*s: ... }", OSH_DIAG_VALUE(child->key),
				       (int)child->key.len - 4, child->key.data + 4);
		else
			report_unknown_key(r, child, endpoint_fields, "an endpoint");
	}
	endpoint->broken = r->wrong != wrong;
}

/* ---- Entries -------------------------------------------------------------------------------- */

static const struct field binary_fields[] = {
	{ "path", read_text, offsetof(struct osh_binary, path) },
	{ "harness", read_flag, offsetof(struct osh_binary, harness) },
	{ "sha256", read_text, offsetof(struct osh_binary, sha256) },
	{ "clean", read_flag, offsetof(struct osh_binary, clean) },
	END_OF_FIELDS,
};

static void read_binary(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_binary *binary = out;

	binary->mark = node->mark;
	read_fields(r, node, binary_fields, "a binary entry", binary);
	if (node->kind == OSH_YAML_MAPPING && !binary->path.set)
		osh_diag_error(r->diags, node->mark, "binary entry lacks path");
}

static void read_endpoints(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_entry *entry = out;

	entry->has_endpoints = true;
	entry->endpoints = read_list(r, node, "a list of endpoints", sizeof(struct osh_endpoint), read_endpoint,
				     &entry->endpoint_count);
}

static void read_binaries(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_entry *entry = out;

	entry->has_binaries = true;
	entry->binaries = read_list(r, node, "a list of binaries", sizeof(struct osh_binary), read_binary,
				    &entry->binary_count);
}

static const struct field limit_fields[] = {
	{ "flows", read_number, offsetof(struct osh_limits, flows) },
	{ "flows_per_second", read_number, offsetof(struct osh_limits, flows_per_second) },
	{ "bytes_per_second", read_number, offsetof(struct osh_limits, bytes_per_second) },
	END_OF_FIELDS,
};

static void read_limits(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_limits *limits = out;

	limits->set = true;
	limits->mark = node->key_mark;
	read_fields(r, node, limit_fields, "limits", limits);
}

static const struct field entry_fields[] = {
	{ "name", read_text, offsetof(struct osh_entry, name) },
	{ "endpoints", read_endpoints, 0 },
	{ "binaries", read_binaries, 0 },
	{ "limits", read_limits, offsetof(struct osh_entry, limits) },
	{ "unix_sockets", read_texts, offsetof(struct osh_entry, unix_sockets) },
	END_OF_FIELDS,
};

static void read_entry(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_entry *entry = out;

	entry->key = key_text(node);
	read_fields(r, node, entry_fields, "a network policy", entry);
}

static void read_network(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_policy_doc *doc = out;

	doc->entries = read_map(r, node, sizeof(struct osh_entry), read_entry, &doc->entry_count);
}

/* ---- Middlewares ----------------------------------------------------------------------------- */

static const struct field selector_fields[] = {
	{ "include", read_texts, offsetof(struct osh_middleware, include) },
	{ "exclude", read_texts, offsetof(struct osh_middleware, exclude) },
	END_OF_FIELDS,
};

static void read_selector(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_middleware *middleware = out;

	middleware->has_selector = true;
	read_fields(r, node, selector_fields, "a middleware selector", middleware);
}

/* Belongs to the middleware itself: any mapping. */
static void read_config(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	(void)out;
	(void)expect_mapping(r, node);
}

static const struct field middleware_fields[] = {
	{ "name", read_text, offsetof(struct osh_middleware, name) },
	{ "middleware", read_text, offsetof(struct osh_middleware, middleware) },
	{ "order", read_number, offsetof(struct osh_middleware, order) },
	{ "config", read_config, 0 },
	{ "on_error", read_text, offsetof(struct osh_middleware, on_error) },
	{ "endpoints", read_selector, 0 },
	END_OF_FIELDS,
};

static void read_middleware(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_middleware *middleware = out;

	middleware->key = key_text(node);
	read_fields(r, node, middleware_fields, "a middleware entry", middleware);
}

static void read_middlewares(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_policy_doc *doc = out;

	doc->middlewares = read_map(r, node, sizeof(struct osh_middleware), read_middleware,
				    &doc->middleware_count);
}

/* ---- The file ---------------------------------------------------------------------------------- */

#define DOC(name, read, member) { name, read, offsetof(struct osh_policy_doc, member) }
static const struct field filesystem_fields[] = {
	DOC("include_workdir", read_flag, filesystem.include_workdir),
	DOC("read_only", read_texts, filesystem.read_only),
	DOC("read_write", read_texts, filesystem.read_write),
	END_OF_FIELDS,
};

static void read_filesystem(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_policy_doc *doc = out;

	doc->filesystem.set = true;
	read_fields(r, node, filesystem_fields, "filesystem_policy", doc);
}

static const struct field landlock_fields[] = {
	DOC("compatibility", read_text, landlock),
	END_OF_FIELDS,
};

static void read_landlock(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	read_fields(r, node, landlock_fields, "landlock", out);
}

static const struct field process_fields[] = {
	DOC("run_as_user", read_text, run_as_user),
	DOC("run_as_group", read_text, run_as_group),
	END_OF_FIELDS,
};

static void read_process(struct reader *r, const struct osh_yaml_node *node, void *out)
{
	read_fields(r, node, process_fields, "process", out);
}

static const struct field top_fields[] = {
	DOC("version", read_number, version),
	DOC("mode", read_text, mode),
	{ "filesystem_policy", read_filesystem, 0 },
	{ "landlock", read_landlock, 0 },
	{ "process", read_process, 0 },
	{ "network_policies", read_network, 0 },
	{ "network_middlewares", read_middlewares, 0 },
	END_OF_FIELDS,
};

int osh_policy_read(const struct osh_yaml_node *root, struct osh_policy_doc *doc, struct osh_diags *diags)
{
	struct reader r = { .arena = &doc->arena, .diags = diags };

	if (root->kind != OSH_YAML_MAPPING) {
		osh_diag_error(diags, root->mark, "the document must be a mapping that starts with 'version: 1', "
			       "not %s", kind_name(root));
		return -EINVAL;
	}
	read_fields(&r, root, top_fields, "the policy", doc);
	if (!doc->version.set && diags->errors == 0)
		osh_diag_error(diags, root->mark, "version is required: write 'version: 1' at the top");
	return r.no_memory ? -ENOMEM : 0;
}
