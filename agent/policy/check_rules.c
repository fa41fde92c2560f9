/* The rules of one endpoint: each protocol has its own fields. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/document.h"
#include "policy/glob.h"

/* ---- Globs --------------------------------------------------------------- */

static void check_glob(const struct osh_text *text, char delimiter, const char *what,
		       struct osh_diags *diags)
{
	unsigned char *code = NULL;
	size_t len;
	enum osh_glob_error error;

	if (!text->set)
		return;
	error = osh_glob_compile(text->text, delimiter, &code, &len);
	free(code);
	if (error)
		osh_diag_warning(diags, text->mark,
				 "%s: glob syntax: %s in '%.*s': an allow rule with it "
				 "matches nothing, a deny rule everything",
				 what, osh_glob_error_text(error), OSH_DIAG_VALUE(text->text));
}

static void check_globs(const struct osh_texts *texts, const char *what, struct osh_diags *diags)
{
	for (size_t i = 0; i < texts->count; i++)
		check_glob(&texts->items[i], '.', what, diags);
}

static bool has_glob(struct osh_str s)
{
	return !osh_glob_is_literal(s);
}

/* ---- REST and WebSocket: method, path, query ----------------------------- */

static bool is_known_method(const struct osh_endpoint *e, struct osh_str method)
{
	static const char *const http[] = { "GET",     "HEAD",  "POST",    "PUT", "PATCH", "DELETE",
					    "OPTIONS", "TRACE", "CONNECT", "*",   NULL };
	static const char *const websocket[] = { "GET", "WEBSOCKET_TEXT", "*", NULL };
	const char *const *names = e->l7 == OSH_L7_WEBSOCKET ? websocket : http;

	for (; *names; names++) {
		if (osh_str_caseeq_c(method, *names))
			return true;
	}
	return false;
}

static bool has_lower_hex(struct osh_str path)
{
	for (size_t i = 0; i + 2 < path.len; i++) {
		if (path.data[i] != '%')
			continue;
		if ((path.data[i + 1] >= 'a' && path.data[i + 1] <= 'f') ||
		    (path.data[i + 2] >= 'a' && path.data[i + 2] <= 'f'))
			return true;
	}
	return false;
}

static void check_path_pattern(const struct osh_rule *rule, struct osh_diags *diags)
{
	struct osh_str path = rule->path.text;

	check_glob(&rule->path, '/', "path", diags);
	if (osh_str_eq_c(path, "*"))
		osh_diag_warning(diags, rule->path.mark,
				 "path '*' matches nothing, because * never crosses a "
				 "slash: write ** or /**");
	else if (path.len && path.data[0] != '/' && path.data[0] != '*')
		osh_diag_warning(diags, rule->path.mark,
				 "path '%.*s' does not start with /: it matches nothing",
				 OSH_DIAG_VALUE(path));
	if (has_lower_hex(path))
		osh_diag_warning(diags, rule->path.mark,
				 "path '%.*s' has a lower-case escape: requests are "
				 "compared with upper-case ones (%%2F), so it matches nothing",
				 OSH_DIAG_VALUE(path));
	if (osh_str_chr(path, ';'))
		osh_diag_warning(diags, rule->path.mark,
				 "path '%.*s' holds ';': requests lose parameters before "
				 "they are compared, so it matches nothing",
				 OSH_DIAG_VALUE(path));
}

/* An allow of "/x" with two stars behind it leaves out "/x" itself: that surprises, unless
 * another rule covers it. */
static void check_allow_edge(const struct osh_endpoint *e, const struct osh_rule *rule,
			     struct osh_diags *diags)
{
	struct osh_str path = rule->path.text;
	struct osh_str base = osh_str_n(path.data, path.len > 3 ? path.len - 3 : 0);

	if (base.len == 0 || !osh_str_has_suffix(path, "/**") || has_glob(base))
		return;
	for (size_t i = 0; i < e->rules.count; i++) {
		unsigned char *code = NULL;
		size_t len;
		bool covers;

		if (osh_glob_compile(e->rules.items[i].path.text, '/', &code, &len) != OSH_GLOB_OK)
			continue;
		covers = osh_glob_match(code, base);
		free(code);
		if (covers)
			return;
	}
	osh_diag_warning(diags, rule->path.mark,
			 "path '%.*s' leaves out '%.*s' itself: add a rule for it if it "
			 "is meant",
			 OSH_DIAG_VALUE(path), OSH_DIAG_VALUE(base));
}

/* A deny that a trailing slash or a deeper path escapes. */
static void check_deny_edge(const struct osh_rule *rule, struct osh_diags *diags)
{
	struct osh_str path = rule->path.text;

	if (path.len == 0 || osh_str_has_suffix(path, "**"))
		return;
	osh_diag_warning(diags, rule->path.mark,
			 "deny path '%.*s' is escaped by a trailing slash or a deeper "
			 "path: add a rule for '%.*s/**'",
			 OSH_DIAG_VALUE(path), OSH_DIAG_VALUE(path));
}

static void refuse_field(bool set, struct osh_mark mark, const char *field, const char *only,
			 struct osh_diags *diags)
{
	if (set)
		osh_diag_error(diags, mark, "%s is only for protocol %s", field, only);
}

static bool is_graphql_rule(const struct osh_rule *rule)
{
	return rule->operation_type.set || rule->operation_name.set || rule->fields.set;
}

static bool is_http_rule(const struct osh_rule *rule)
{
	return rule->method.set || rule->path.set || rule->query.set;
}

static void check_query(const struct osh_rule *rule, struct osh_diags *diags)
{
	for (size_t i = 0; i < rule->query.count; i++)
		check_globs(&rule->query.items[i].any, "query", diags);
}

static void check_http_rule(const struct osh_endpoint *e, const struct osh_rule *rule, bool deny,
			    struct osh_diags *diags)
{
	refuse_field(rule->tool.key.set, rule->mark, "tool matcher", "mcp", diags);
	refuse_field(rule->arguments.set, rule->mark, "params.arguments", "mcp", diags);
	if (e->l7 == OSH_L7_REST)
		refuse_field(is_graphql_rule(rule), rule->mark,
			     "operation_type, operation_name or fields", "graphql", diags);
	if (rule->method.text.len && !is_known_method(e, rule->method.text))
		osh_diag_warning(diags, rule->method.mark, "unknown HTTP method '%.*s'",
				 OSH_DIAG_VALUE(rule->method.text));
	if (deny && !is_http_rule(rule))
		osh_diag_error(diags, rule->mark,
			       "the deny rule is empty: give it a method and a path");
	else if (!rule->method.text.len || !rule->path.text.len)
		osh_diag_warning(diags, rule->mark, "the rule lacks %s: it matches nothing",
				 rule->method.text.len ? "path" :
				 rule->path.text.len   ? "method" :
							 "method and path");
	check_path_pattern(rule, diags);
	check_query(rule, diags);
	if (deny)
		check_deny_edge(rule, diags);
	else
		check_allow_edge(e, rule, diags);
}

/* ---- GraphQL ------------------------------------------------------------- */

static void check_operation_type(const struct osh_text *type, struct osh_diags *diags)
{
	static const char *const types[] = { "query", "mutation", "subscription", "*" };

	for (size_t i = 0; i < OSH_COUNT_OF(types); i++) {
		if (osh_str_eq_c(type->text, types[i]))
			return;
	}
	osh_diag_error(diags, type->mark,
		       "operation_type: '%.*s' is unknown (allowed: query, mutation, "
		       "subscription, *)",
		       OSH_DIAG_VALUE(type->text));
}

static void check_graphql_rule(const struct osh_rule *rule, bool deny, struct osh_diags *diags)
{
	refuse_field(rule->tool.key.set, rule->mark, "tool matcher", "mcp", diags);
	refuse_field(rule->arguments.set, rule->mark, "params.arguments", "mcp", diags);
	if (!rule->operation_type.set)
		osh_diag_error(diags, rule->mark, "%s rule lacks operation_type",
			       deny ? "deny" : "allow");
	else
		check_operation_type(&rule->operation_type, diags);
	if (rule->fields.set && rule->fields.count == 0)
		osh_diag_error(diags, rule->fields.mark,
			       "fields must not be empty: leave the key out for any "
			       "field");
	check_glob(&rule->operation_name, '.', "operation_name", diags);
	check_globs(&rule->fields, "fields", diags);
}

static void check_graphql(const struct osh_rule *rule, bool deny, struct osh_diags *diags)
{
	if (is_http_rule(rule))
		osh_diag_error(diags, rule->mark,
			       "REST-shaped rule on a GraphQL endpoint: method, path and query "
			       "do not apply; write operation_type");
	else
		check_graphql_rule(rule, deny, diags);
}

static void check_registry(const struct osh_endpoint *e, struct osh_diags *diags)
{
	for (size_t i = 0; i < e->registry.count; i++) {
		const struct osh_registry_entry *entry = &e->registry.items[i];

		if (!entry->operation_type.set)
			osh_diag_error(diags, entry->key.mark,
				       "registry entry '%.*s' lacks operation_type",
				       OSH_DIAG_VALUE(entry->key.text));
		else
			check_operation_type(&entry->operation_type, diags);
	}
	if (e->persisted_queries.set &&
	    osh_str_eq_c(e->persisted_queries.text, "allow_registered") && e->registry.count == 0)
		osh_diag_warning(diags, e->persisted_queries.mark,
				 "persisted_queries: allow_registered with an "
				 "empty registry allows none");
}

static void check_websocket(const struct osh_endpoint *e, const struct osh_rule *rule, bool deny,
			    struct osh_diags *diags)
{
	if (is_graphql_rule(rule) && is_http_rule(rule))
		osh_diag_error(diags, rule->mark,
			       "GraphQL %srule mixed with method/path: write two rules",
			       deny ? "deny " : "");
	else if (is_graphql_rule(rule))
		check_graphql_rule(rule, deny, diags);
	else
		check_http_rule(e, rule, deny, diags);
}

/* ---- JSON-RPC and MCP ---------------------------------------------------- */

static void check_json_rpc(const struct osh_rule *rule, bool deny, struct osh_diags *diags)
{
	const char *where = deny ? " in deny rules" : " in rules";

	refuse_field(is_graphql_rule(rule), rule->mark, "operation_type, operation_name or fields",
		     "graphql", diags);
	if (rule->path.set || rule->query.set)
		osh_diag_error(diags, rule->mark, "path/query are refused%s with protocol json-rpc",
			       where);
	if (rule->tool.key.set || rule->arguments.set)
		osh_diag_error(diags, rule->mark,
			       "tool matchers are refused%s with protocol json-rpc", where);
	if (rule->method.text.len == 0)
		osh_diag_error(diags, rule->mark, "%s rule lacks method", deny ? "deny" : "allow");
	else if (has_glob(rule->method.text) && !osh_str_eq_c(rule->method.text, "*"))
		osh_diag_error(diags, rule->method.mark,
			       "method globs are refused%s: '%.*s' (write the method, or "
			       "* for all)",
			       where, OSH_DIAG_VALUE(rule->method.text));
}

static bool method_covers_tools_call(struct osh_str method)
{
	unsigned char *code = NULL;
	size_t len;
	bool covers;

	if (osh_glob_compile(method, '.', &code, &len) != OSH_GLOB_OK)
		return false;
	covers = osh_glob_match(code, osh_str("tools/call"));
	free(code);
	return covers;
}

static void check_mcp_tool(const struct osh_endpoint *e, const struct osh_rule *rule,
			   struct osh_diags *diags)
{
	bool strict = !e->mcp.strict_tool_names.set || e->mcp.strict_tool_names.value;

	if (rule->method.set && !osh_str_eq_c(rule->method.text, "tools/call"))
		osh_diag_error(diags, rule->mark,
			       "tool selector needs method tools/call, not '%.*s'",
			       OSH_DIAG_VALUE(rule->method.text));
	for (size_t i = 0; i < rule->tool.any.count && !strict; i++) {
		if (has_glob(rule->tool.any.items[i].text))
			osh_diag_error(diags, rule->tool.any.items[i].mark,
				       "wildcard tool '%.*s' needs strict "
				       "names (mcp.strict_tool_names)",
				       OSH_DIAG_VALUE(rule->tool.any.items[i].text));
	}
	check_globs(&rule->tool.any, "tool", diags);
}

static void check_mcp(const struct osh_endpoint *e, const struct osh_rule *rule, bool deny,
		      struct osh_diags *diags)
{
	const char *where = deny ? " in deny rules" : " in rules";
	bool profile = e->mcp.allow_all_known_mcp_methods.value;

	refuse_field(is_graphql_rule(rule), rule->mark, "operation_type, operation_name or fields",
		     "graphql", diags);
	if (rule->path.set || rule->query.set)
		osh_diag_error(diags, rule->mark, "path/query are refused%s with protocol mcp",
			       where);
	if (rule->method.text.len == 0 && !profile)
		osh_diag_error(diags, rule->mark,
			       "%s rule needs method while the profile is off "
			       "(mcp.allow_all_known_mcp_methods)",
			       deny ? "deny" : "allow");
	if (has_glob(rule->method.text) && !osh_str_has_prefix(rule->method.text, "tools/") &&
	    !(profile && osh_str_eq_c(rule->method.text, "*")))
		osh_diag_error(diags, rule->method.mark, "method glob outside tools/: '%.*s'",
			       OSH_DIAG_VALUE(rule->method.text));
	check_glob(&rule->method, '.', "method", diags);
	if (rule->arguments.set && !rule->tool.key.set &&
	    !osh_str_eq_c(rule->method.text, "tools/call"))
		osh_diag_error(diags, rule->mark, "params.arguments needs method tools/call");
	for (size_t i = 0; i < rule->arguments.count; i++)
		check_globs(&rule->arguments.items[i].any, "params.arguments", diags);
	if (rule->tool.key.set)
		check_mcp_tool(e, rule, diags);
}

/* A rule for one tool says nothing beside a rule that allows them all. */
static void check_mcp_breadth(const struct osh_endpoint *e, struct osh_diags *diags)
{
	bool has_tool = false;

	for (size_t i = 0; i < e->rules.count; i++)
		has_tool |= e->rules.items[i].tool.key.set || e->rules.items[i].arguments.set;
	for (size_t i = 0; has_tool && i < e->rules.count; i++) {
		const struct osh_rule *rule = &e->rules.items[i];

		if (rule->tool.key.set || rule->arguments.set)
			continue;
		if (!rule->method.set)
			osh_diag_error(diags, rule->mark,
				       "empty allow under the profile beside a tool rule: it "
				       "allows every tool");
		else if (method_covers_tools_call(rule->method.text))
			osh_diag_error(diags, rule->mark,
				       "broad tools/call beside a tool rule: '%.*s' allows every "
				       "tool",
				       OSH_DIAG_VALUE(rule->method.text));
	}
}

/* ---- All ----------------------------------------------------------------- */

static void check_rule(const struct osh_endpoint *e, const struct osh_rule *rule, bool deny,
		       struct osh_diags *diags)
{
	switch (e->l7) {
	case OSH_L7_REST:
		check_http_rule(e, rule, deny, diags);
		break;
	case OSH_L7_WEBSOCKET:
		check_websocket(e, rule, deny, diags);
		break;
	case OSH_L7_GRAPHQL:
		check_graphql(rule, deny, diags);
		break;
	case OSH_L7_JSON_RPC:
		check_json_rpc(rule, deny, diags);
		break;
	case OSH_L7_MCP:
		check_mcp(e, rule, deny, diags);
		break;
	case OSH_L7_NONE:
	case OSH_L7_COUNT:
		break;
	}
}

static bool can_ever_match(const struct osh_endpoint *e, const struct osh_rule *rule)
{
	if (e->l7 == OSH_L7_WEBSOCKET && is_graphql_rule(rule))
		return true;
	return rule->method.text.len && rule->path.text.len;
}

void osh_check_rules(const struct osh_endpoint *e, struct osh_diags *diags)
{
	size_t alive = 0;

	for (size_t i = 0; i < e->rules.count; i++)
		check_rule(e, &e->rules.items[i], false, diags);
	for (size_t i = 0; i < e->deny_rules.count; i++)
		check_rule(e, &e->deny_rules.items[i], true, diags);
	check_registry(e, diags);
	if (e->l7 == OSH_L7_MCP)
		check_mcp_breadth(e, diags);
	if ((e->l7 != OSH_L7_REST && e->l7 != OSH_L7_WEBSOCKET) || e->rules.count == 0)
		return;
	for (size_t i = 0; i < e->rules.count; i++)
		alive += can_ever_match(e, &e->rules.items[i]);
	if (alive == 0)
		osh_diag_error(diags, e->rules.mark,
			       "every rule is empty, all traffic would be denied: give each "
			       "a method and a path");
}
