/* The grammar of a policy file, as tables: which keys a mapping may have and what reads
 * each. Shapes and types only; what values mean is check.c's work. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "policy/read.h"

/* ---- Rules --------------------------------------------------------------- */

static void read_params_arguments(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	(void)out;
	osh_diag_error(r->diags, node->key_mark,
		       "argument matching is not supported in this form: write "
		       "params.arguments.<key>: \"pattern\" beside method and tool");
}

static const struct osh_field params_fields[] = {
	{ "name", osh_read_matcher, 0 },
	{ "arguments", read_params_arguments, 0 },
	OSH_END_OF_FIELDS,
};

static void read_tool(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_matcher *tool = out;

	if (tool->key.set) {
		osh_diag_error(r->diags, node->key_mark,
			       "tool and params.name say the same thing: keep one");
		return;
	}
	osh_read_matcher(r, node, tool);
}

static void read_params(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_matcher name = { 0 }, *tool = out;

	if (node->kind == OSH_YAML_MAPPING && node->count == 0)
		osh_diag_error(r->diags, node->mark, "params must not be empty (allowed: name)");
	osh_read_fields(r, node, params_fields, "params", &name);
	if (!name.key.set)
		return;
	if (tool->key.set)
		osh_diag_error(r->diags, node->key_mark,
			       "tool and params.name say the same thing: keep one");
	else
		*tool = name;
}

static const struct osh_field rule_fields[] = {
	{ "method", osh_read_text, offsetof(struct osh_rule, method) },
	{ "path", osh_read_text, offsetof(struct osh_rule, path) },
	{ "query", osh_read_matchers, offsetof(struct osh_rule, query) },
	{ "operation_type", osh_read_text, offsetof(struct osh_rule, operation_type) },
	{ "operation_name", osh_read_text, offsetof(struct osh_rule, operation_name) },
	{ "fields", osh_read_texts, offsetof(struct osh_rule, fields) },
	{ "tool", read_tool, offsetof(struct osh_rule, tool) },
	{ "params", read_params, offsetof(struct osh_rule, tool) },
	OSH_END_OF_FIELDS,
};

#define ARGUMENT_PREFIX "params.arguments."

static bool is_argument_key(const struct osh_yaml_node *node)
{
	return osh_str_has_prefix(node->key, ARGUMENT_PREFIX) &&
	       node->key.len > strlen(ARGUMENT_PREFIX);
}

static void read_arguments(struct osh_reader *r, const struct osh_yaml_node *node,
			   struct osh_matchers *out)
{
	out->items = osh_read_new_items(r, node, sizeof(struct osh_matcher));
	for (const struct osh_yaml_node *child = node->first; out->items && child;
	     child = child->next) {
		struct osh_matcher *matcher = &out->items[out->count];

		if (!is_argument_key(child))
			continue;
		osh_read_matcher(r, child, matcher);
		matcher->key.text.data += strlen(ARGUMENT_PREFIX);
		matcher->key.text.len -= strlen(ARGUMENT_PREFIX);
		out->count++;
		out->set = true;
		out->mark = child->mark;
	}
}

/* The fields of a rule, with our params.arguments.<key> among them. */
static void read_rule_body(struct osh_reader *r, const struct osh_yaml_node *node,
			   struct osh_rule *rule, const char *what)
{
	rule->mark = node->mark;
	if (!osh_read_expect_mapping(r, node))
		return;
	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		const struct osh_field *f = osh_read_find_field(rule_fields, child->key);

		if (is_argument_key(child))
			continue;
		if (f)
			f->read(r, child, (char *)rule + f->offset);
		else
			osh_read_unknown_key(r, child, rule_fields, what);
	}
	read_arguments(r, node, &rule->arguments);
}

static void read_deny_rule(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	read_rule_body(r, node, out, "a deny rule");
}

static void read_allow_rule(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_rule *rule = out;

	rule->mark = node->mark;
	if (!osh_read_expect_mapping(r, node))
		return;
	if (node->count == 0)
		osh_diag_error(r->diags, node->mark,
			       "rule entry lacks allow: write - allow: { ... }");
	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		if (osh_str_eq_c(child->key, "allow"))
			read_rule_body(r, child, rule, "an allow rule");
		else if (osh_str_eq_c(child->key, "deny"))
			osh_diag_error(r->diags, child->key_mark,
				       "rules may not contain deny entries: put this "
				       "one under deny_rules");
		else
			osh_diag_error(r->diags, child->key_mark,
				       "rule entry must be wrapped in allow: '%.*s' "
				       "stands outside; write - allow: { %.*s: ... }",
				       OSH_DIAG_VALUE(child->key), OSH_DIAG_VALUE(child->key));
	}
}

#define RULES_MAX 65536 /* a rule takes more memory than it takes to write */

static void read_rule_list(struct osh_reader *r, const struct osh_yaml_node *node,
			   struct osh_rules *rules, osh_read_fn *read)
{
	r->rules += node->count;
	if (r->rules > RULES_MAX) {
		osh_diag_error(r->diags, node->mark, "more than %d rules in one policy", RULES_MAX);
		return;
	}
	rules->mark = node->mark;
	rules->items = osh_read_list(r, node, "a list of rules", sizeof(struct osh_rule), read,
				     &rules->count);
	rules->set = node->kind == OSH_YAML_SEQUENCE;
	if (rules->set && rules->count == 0)
		osh_diag_error(r->diags, node->mark,
			       "%.*s: [] is refused: an empty list of rules says nothing; "
			       "leave the key out",
			       OSH_DIAG_VALUE(node->key));
}

static void read_rules(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	read_rule_list(r, node, out, read_allow_rule);
}

static void read_deny_rules(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	read_rule_list(r, node, out, read_deny_rule);
}

/* ---- Endpoints ----------------------------------------------------------- */

static const struct osh_field registry_fields[] = {
	{ "operation_type", osh_read_text, offsetof(struct osh_registry_entry, operation_type) },
	{ "operation_name", osh_read_text, offsetof(struct osh_registry_entry, operation_name) },
	{ "fields", osh_read_texts, offsetof(struct osh_registry_entry, fields) },
	OSH_END_OF_FIELDS,
};

static void read_registry_entry(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_registry_entry *entry = out;

	entry->key = osh_read_key(node);
	osh_read_fields(r, node, registry_fields, "a registry entry", entry);
}

static void read_registry(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_registry *registry = out;

	registry->mark = node->mark;
	registry->items = osh_read_map(r, node, sizeof(struct osh_registry_entry),
				       read_registry_entry, &registry->count);
	registry->set = node->kind == OSH_YAML_MAPPING;
}

static const struct osh_field mcp_fields[] = {
	{ "max_body_bytes", osh_read_number, offsetof(struct osh_mcp_options, max_body_bytes) },
	{ "strict_tool_names", osh_read_flag, offsetof(struct osh_mcp_options, strict_tool_names) },
	{ "allow_all_known_mcp_methods", osh_read_flag,
	  offsetof(struct osh_mcp_options, allow_all_known_mcp_methods) },
	OSH_END_OF_FIELDS,
};

static void read_mcp(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_mcp_options *mcp = out;

	mcp->set = true;
	mcp->mark = node->key_mark;
	osh_read_fields(r, node, mcp_fields, "the mcp stanza", mcp);
}

static const struct osh_field json_rpc_fields[] = {
	{ "max_body_bytes", osh_read_number,
	  offsetof(struct osh_json_rpc_options, max_body_bytes) },
	OSH_END_OF_FIELDS,
};

static void read_json_rpc(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_json_rpc_options *json_rpc = out;

	json_rpc->set = true;
	json_rpc->mark = node->key_mark;
	osh_read_fields(r, node, json_rpc_fields, "the json_rpc stanza", json_rpc);
}

static const struct osh_field binding_fields[] = {
	{ "provider", osh_read_text, offsetof(struct osh_binding, provider) },
	OSH_END_OF_FIELDS,
};

static void read_binding(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_binding *binding = out;

	binding->set = true;
	binding->mark = node->key_mark;
	osh_read_fields(r, node, binding_fields, "credential_binding", binding);
}

#define ENDPOINT(name, read, member) \
	{ \
		name, read, offsetof(struct osh_endpoint, member) \
	}
static const struct osh_field endpoint_fields[] = {
	ENDPOINT("host", osh_read_text, host),
	ENDPOINT("port", osh_read_number, port),
	ENDPOINT("ports", osh_read_ports, ports),
	ENDPOINT("path", osh_read_text, path),
	ENDPOINT("protocol", osh_read_text, protocol),
	ENDPOINT("access", osh_read_text, access),
	ENDPOINT("enforcement", osh_read_text, enforcement),
	ENDPOINT("tls", osh_read_text, tls),
	ENDPOINT("rules", read_rules, rules),
	ENDPOINT("deny_rules", read_deny_rules, deny_rules),
	ENDPOINT("allowed_ips", osh_read_texts, allowed_ips),
	ENDPOINT("allow_encoded_slash", osh_read_flag, allow_encoded_slash),
	ENDPOINT("websocket_credential_rewrite", osh_read_flag, websocket_credential_rewrite),
	ENDPOINT("request_body_credential_rewrite", osh_read_flag, request_body_credential_rewrite),
	ENDPOINT("allow_uninspected_credentials", osh_read_flag, allow_uninspected_credentials),
	ENDPOINT("credential_signing", osh_read_text, credential_signing),
	ENDPOINT("signing_service", osh_read_text, signing_service),
	ENDPOINT("signing_region", osh_read_text, signing_region),
	ENDPOINT("credential_binding", read_binding, credential_binding),
	ENDPOINT("persisted_queries", osh_read_text, persisted_queries),
	ENDPOINT("graphql_persisted_queries", read_registry, registry),
	ENDPOINT("graphql_max_body_bytes", osh_read_number, graphql_max_body_bytes),
	ENDPOINT("mcp", read_mcp, mcp),
	ENDPOINT("json_rpc", read_json_rpc, json_rpc),
	OSH_END_OF_FIELDS,
};

/* Set by the reference's own machinery, never by an author. */
static bool is_internal_key(struct osh_str key)
{
	return osh_str_eq_c(key, "provider_credentialed") || osh_str_eq_c(key, "advisor_proposed");
}

static void read_endpoint(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_endpoint *endpoint = out;
	size_t wrong = r->wrong;

	endpoint->mark = node->mark;
	endpoint->broken = true;
	if (!osh_read_expect_mapping(r, node))
		return;
	for (const struct osh_yaml_node *child = node->first; child; child = child->next) {
		const struct osh_field *f = osh_read_find_field(endpoint_fields, child->key);

		if (f)
			f->read(r, child, (char *)endpoint + f->offset);
		else if (is_internal_key(child->key))
			osh_diag_error(r->diags, child->key_mark,
				       "internal field cannot be authored: %.*s",
				       OSH_DIAG_VALUE(child->key));
		else if (osh_str_has_prefix(child->key, "mcp_"))
			osh_diag_error(r->diags, child->key_mark,
				       "'%.*s' is the runtime-only spelling of an MCP "
				       "option: write mcp: { %.*s: ... }",
				       OSH_DIAG_VALUE(child->key), (int)child->key.len - 4,
				       child->key.data + 4);
		else
			osh_read_unknown_key(r, child, endpoint_fields, "an endpoint");
	}
	endpoint->broken = r->wrong != wrong;
}

/* ---- Entries ------------------------------------------------------------- */

static const struct osh_field binary_fields[] = {
	{ "path", osh_read_text, offsetof(struct osh_binary, path) },
	{ "harness", osh_read_flag, offsetof(struct osh_binary, harness) },
	{ "sha256", osh_read_text, offsetof(struct osh_binary, sha256) },
	{ "clean", osh_read_flag, offsetof(struct osh_binary, clean) },
	OSH_END_OF_FIELDS,
};

static void read_binary(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_binary *binary = out;

	binary->mark = node->mark;
	osh_read_fields(r, node, binary_fields, "a binary entry", binary);
	if (node->kind == OSH_YAML_MAPPING && !binary->path.set)
		osh_diag_error(r->diags, node->mark, "binary entry lacks path");
}


#define ENDPOINTS_MAX 32768 /* as RULES_MAX */

static void read_endpoints(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_entry *entry = out;

	r->endpoints += node->count;
	if (r->endpoints > ENDPOINTS_MAX) {
		osh_diag_error(r->diags, node->mark, "more than %d endpoints in one policy",
			       ENDPOINTS_MAX);
		return;
	}
	entry->has_endpoints = true;
	entry->endpoints =
		osh_read_list(r, node, "a list of endpoints", sizeof(struct osh_endpoint),
			      read_endpoint, &entry->endpoint_count);
}

static void read_binaries(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_entry *entry = out;

	entry->has_binaries = true;
	entry->binaries = osh_read_list(r, node, "a list of binaries", sizeof(struct osh_binary),
					read_binary, &entry->binary_count);
}

static const struct osh_field limit_fields[] = {
	{ "flows", osh_read_number, offsetof(struct osh_limits, flows) },
	{ "flows_per_second", osh_read_number, offsetof(struct osh_limits, flows_per_second) },
	{ "bytes_per_second", osh_read_number, offsetof(struct osh_limits, bytes_per_second) },
	OSH_END_OF_FIELDS,
};

static void read_limits(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_limits *limits = out;

	limits->set = true;
	limits->mark = node->key_mark;
	osh_read_fields(r, node, limit_fields, "limits", limits);
}

static const struct osh_field entry_fields[] = {
	{ "name", osh_read_text, offsetof(struct osh_entry, name) },
	{ "endpoints", read_endpoints, 0 },
	{ "binaries", read_binaries, 0 },
	{ "limits", read_limits, offsetof(struct osh_entry, limits) },
	{ "unix_sockets", osh_read_texts, offsetof(struct osh_entry, unix_sockets) },
	OSH_END_OF_FIELDS,
};

static void read_entry(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_entry *entry = out;

	entry->key = osh_read_key(node);
	osh_read_fields(r, node, entry_fields, "a network policy", entry);
}

static void read_network(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_policy_doc *doc = out;

	doc->entries =
		osh_read_map(r, node, sizeof(struct osh_entry), read_entry, &doc->entry_count);
}

/* ---- Middlewares --------------------------------------------------------- */

static const struct osh_field selector_fields[] = {
	{ "include", osh_read_texts, offsetof(struct osh_middleware, include) },
	{ "exclude", osh_read_texts, offsetof(struct osh_middleware, exclude) },
	OSH_END_OF_FIELDS,
};

static void read_selector(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_middleware *middleware = out;

	middleware->has_selector = true;
	osh_read_fields(r, node, selector_fields, "a middleware selector", middleware);
}

/* Belongs to the middleware itself: any mapping. */
static void read_config(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	(void)out;
	(void)osh_read_expect_mapping(r, node);
}

static const struct osh_field middleware_fields[] = {
	{ "name", osh_read_text, offsetof(struct osh_middleware, name) },
	{ "middleware", osh_read_text, offsetof(struct osh_middleware, middleware) },
	{ "order", osh_read_number, offsetof(struct osh_middleware, order) },
	{ "config", read_config, 0 },
	{ "on_error", osh_read_text, offsetof(struct osh_middleware, on_error) },
	{ "endpoints", read_selector, 0 },
	OSH_END_OF_FIELDS,
};

static void read_middleware(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_middleware *middleware = out;

	middleware->key = osh_read_key(node);
	osh_read_fields(r, node, middleware_fields, "a middleware entry", middleware);
}

static void read_middlewares(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_policy_doc *doc = out;

	doc->middlewares = osh_read_map(r, node, sizeof(struct osh_middleware), read_middleware,
					&doc->middleware_count);
}

/* ---- The file ------------------------------------------------------------ */

#define DOC(name, read, member) \
	{ \
		name, read, offsetof(struct osh_policy_doc, member) \
	}
static const struct osh_field filesystem_fields[] = {
	DOC("include_workdir", osh_read_flag, filesystem.include_workdir),
	DOC("read_only", osh_read_texts, filesystem.read_only),
	DOC("read_write", osh_read_texts, filesystem.read_write),
	OSH_END_OF_FIELDS,
};

static void read_filesystem(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	struct osh_policy_doc *doc = out;

	doc->filesystem.set = true;
	osh_read_fields(r, node, filesystem_fields, "filesystem_policy", doc);
}

static const struct osh_field landlock_fields[] = {
	DOC("compatibility", osh_read_text, landlock),
	OSH_END_OF_FIELDS,
};

static void read_landlock(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	osh_read_fields(r, node, landlock_fields, "landlock", out);
}

static const struct osh_field process_fields[] = {
	DOC("run_as_user", osh_read_text, run_as_user),
	DOC("run_as_group", osh_read_text, run_as_group),
	OSH_END_OF_FIELDS,
};

static void read_process(struct osh_reader *r, const struct osh_yaml_node *node, void *out)
{
	osh_read_fields(r, node, process_fields, "process", out);
}

static const struct osh_field top_fields[] = {
	DOC("version", osh_read_number, version),
	DOC("mode", osh_read_text, mode),
	DOC("limits", read_limits, limits),
	{ "filesystem_policy", read_filesystem, 0 },
	{ "landlock", read_landlock, 0 },
	{ "process", read_process, 0 },
	{ "network_policies", read_network, 0 },
	{ "network_middlewares", read_middlewares, 0 },
	OSH_END_OF_FIELDS,
};

int osh_policy_read(const struct osh_yaml_node *root, struct osh_policy_doc *doc,
		    struct osh_diags *diags)
{
	struct osh_reader r = { .arena = &doc->arena, .diags = diags };
	bool has_version = false;

	if (root->kind != OSH_YAML_MAPPING) {
		osh_diag_error(diags, root->mark,
			       "the document must be a mapping that starts with 'version: 1', "
			       "not %s",
			       osh_read_kind_name(root));
		return -EINVAL;
	}
	osh_read_fields(&r, root, top_fields, "the policy", doc);
	for (const struct osh_yaml_node *child = root->first; child; child = child->next)
		has_version |= osh_str_eq_c(child->key, "version");
	if (!has_version)
		osh_diag_error(diags, root->mark,
			       "version is required: write 'version: 1' at the top");
	return r.no_memory ? -ENOMEM : 0;
}
