/* Rules of one endpoint to their compiled form; presets become rules. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/builder.h"
#include "policy/glob.h"
#include "policy/graphql.h"

/* A glob that cannot be read must never grant: an allow rule that holds one is dead, and a
 * deny rule loses the condition, so that it denies more. */
struct reading {
	struct osh_builder *builder;
	bool broken;
};

static struct osh_image_list compile_globs(struct reading *r, const struct osh_texts *texts)
{
	_cleanup_free_ uint32_t *globs = calloc(texts->count + 1, sizeof(*globs));

	if (!globs) {
		r->builder->error = -ENOMEM;
		return (struct osh_image_list){ 0 };
	}
	for (size_t i = 0; i < texts->count; i++) {
		globs[i] = osh_builder_glob(r->builder, texts->items[i].text, '.');
		r->broken |= globs[i] == 0;
	}
	return osh_builder_list(r->builder, globs, sizeof(*globs), texts->count);
}

/* In a deny rule a broken matcher is left out. */
static struct osh_image_list compile_matchers(struct reading *r,
					      const struct osh_matchers *matchers, bool deny)
{
	_cleanup_free_ struct osh_image_matcher *out = calloc(matchers->count + 1, sizeof(*out));
	size_t count = 0;

	if (!out) {
		r->builder->error = -ENOMEM;
		return (struct osh_image_list){ 0 };
	}
	for (size_t i = 0; i < matchers->count; i++) {
		struct reading one = { .builder = r->builder };

		out[count].key = osh_builder_str(r->builder, matchers->items[i].key.text);
		out[count].globs = compile_globs(&one, &matchers->items[i].any);
		r->broken |= one.broken;
		count += !(one.broken && deny);
	}
	return osh_builder_list(r->builder, out, sizeof(*out), count);
}

static struct osh_image_str compile_method(struct osh_builder *b, struct osh_str method)
{
	_cleanup_free_ char *upper = malloc(method.len + 1);

	if (!upper) {
		b->error = -ENOMEM;
		return (struct osh_image_str){ 0 };
	}
	for (size_t i = 0; i < method.len; i++)
		upper[i] = osh_ascii_is_alpha(method.data[i]) ? (char)(method.data[i] & 0xdf) :
								method.data[i];
	return osh_builder_str(b, osh_str_n(upper, method.len));
}

static void compile_http(struct reading *r, const struct osh_rule *rule, bool deny,
			 struct osh_image_rule *out)
{
	struct osh_builder *b = r->builder;

	out->kind = OSH_RULE_HTTP;
	if (rule->method.text.len == 0 || rule->path.text.len == 0)
		out->flags |= OSH_RULE_NEVER;
	if (osh_str_eq_c(rule->method.text, "*"))
		out->flags |= OSH_RULE_ANY_METHOD;
	out->http.method = compile_method(b, rule->method.text);
	out->http.path = osh_builder_glob(b, rule->path.text, '/');
	r->broken |= out->http.path == 0;
	out->http.path_text = osh_builder_str(b, rule->path.text);
	out->http.query = compile_matchers(r, &rule->query, deny);
}

static void compile_graphql(struct reading *r, const struct osh_rule *rule, bool deny,
			    struct osh_image_rule *out)
{
	struct reading names = { .builder = r->builder }, fields = { .builder = r->builder };
	struct osh_text name = rule->operation_name;
	struct osh_texts name_list = { .items = &name, .count = rule->operation_name.set };

	out->kind = OSH_RULE_GRAPHQL;
	out->graphql.operation = osh_operation_type_parse(rule->operation_type.text);
	if (osh_str_eq_c(rule->operation_type.text, "*"))
		out->flags |= OSH_RULE_ANY_TYPE;
	out->graphql.names = compile_globs(&names, &name_list);
	out->graphql.fields = compile_globs(&fields, &rule->fields);
	if (rule->operation_name.set && !(names.broken && deny))
		out->flags |= OSH_RULE_HAS_NAME;
	if (rule->fields.set && !(fields.broken && deny))
		out->flags |= OSH_RULE_HAS_FIELDS;
	r->broken |= names.broken || fields.broken;
}

static struct osh_image_list compile_tool_names(struct osh_builder *b,
						const struct osh_texts *texts)
{
	_cleanup_free_ struct osh_image_str *out = calloc(texts->count + 1, sizeof(*out));

	if (!out) {
		b->error = -ENOMEM;
		return (struct osh_image_list){ 0 };
	}
	for (size_t i = 0; i < texts->count; i++)
		out[i] = osh_builder_str(b, texts->items[i].text);
	return osh_builder_list(b, out, sizeof(*out), texts->count);
}

static void compile_tools(struct reading *r, const struct osh_endpoint *e,
			  const struct osh_rule *rule, bool deny, struct osh_image_rule *out)
{
	struct reading tools = { .builder = r->builder };

	if (!rule->tool.key.set)
		return;
	/* Loose names may hold anything, also glob characters: compared as they are. */
	if (e->mcp.strict_tool_names.set && !e->mcp.strict_tool_names.value)
		out->rpc.tools = compile_tool_names(r->builder, &rule->tool.any);
	else
		out->rpc.tools = compile_globs(&tools, &rule->tool.any);
	r->broken |= tools.broken;
	if (!(tools.broken && deny))
		out->flags |= OSH_RULE_HAS_TOOL;
}

static void compile_rpc(struct reading *r, const struct osh_endpoint *e,
			const struct osh_rule *rule, bool deny, struct osh_image_rule *out)
{
	bool about_tool = rule->tool.key.set || rule->arguments.set;
	struct osh_str method = rule->method.text;

	out->kind = OSH_RULE_RPC;
	if (method.len == 0)
		method = osh_str(about_tool ? "tools/call" : "*");
	out->rpc.method = osh_builder_str(r->builder, method);
	if (osh_str_eq_c(method, "*"))
		out->flags |= OSH_RULE_ANY_METHOD;
	if (e->l7 == OSH_L7_MCP && !osh_glob_is_literal(method)) {
		out->rpc.method_glob = osh_builder_glob(r->builder, method, '.');
		if (out->rpc.method_glob == 0) {
			r->broken = true;
			out->flags |= deny ? OSH_RULE_ANY_METHOD : 0;
		}
	}
	compile_tools(r, e, rule, deny, out);
	out->rpc.arguments = compile_matchers(r, &rule->arguments, deny);
}

static bool is_graphql_rule(const struct osh_endpoint *e, const struct osh_rule *rule)
{
	return e->l7 == OSH_L7_GRAPHQL || (e->l7 == OSH_L7_WEBSOCKET && rule->operation_type.set);
}

static void compile_rule(struct osh_builder *b, const struct osh_endpoint *e,
			 const struct osh_rule *rule, bool deny, struct osh_image_rule *out)
{
	struct reading r = { .builder = b };

	out->line = rule->mark.line;
	if (e->l7 == OSH_L7_MCP || e->l7 == OSH_L7_JSON_RPC)
		compile_rpc(&r, e, rule, deny, out);
	else if (is_graphql_rule(e, rule))
		compile_graphql(&r, rule, deny, out);
	else
		compile_http(&r, rule, deny, out);
	if (r.broken && !deny)
		out->flags |= OSH_RULE_NEVER;
}

/* ---- Presets ------------------------------------------------------------- */

struct preset {
	enum osh_l7 l7;
	const char *access;
	const char *words[8]; /* methods, or operation types */
};

static const struct preset presets[OSH_PRESETS_COUNT] = {
	{ OSH_L7_REST, "read-only", { "GET", "HEAD", "OPTIONS" } },
	{ OSH_L7_REST, "read-write", { "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH" } },
	{ OSH_L7_REST, "full", { "*" } },
	{ OSH_L7_WEBSOCKET, "read-only", { "GET" } },
	{ OSH_L7_WEBSOCKET, "read-write", { "GET", "WEBSOCKET_TEXT" } },
	{ OSH_L7_WEBSOCKET, "full", { "*" } },
	{ OSH_L7_GRAPHQL, "read-only", { "query" } },
	{ OSH_L7_GRAPHQL, "read-write", { "query", "mutation" } },
	{ OSH_L7_GRAPHQL, "full", { "*" } },
};

const char *const *osh_preset_words(enum osh_l7 l7, struct osh_str access)
{
	for (size_t i = 0; i < OSH_PRESETS_COUNT; i++) {
		if (presets[i].l7 == l7 && osh_str_eq_c(access, presets[i].access))
			return presets[i].words;
	}
	return NULL;
}

static struct osh_text text_of(const char *word)
{
	return (struct osh_text){ .set = true, .text = osh_str(word) };
}

static size_t expand_preset(const struct osh_endpoint *e, const struct preset *preset,
			    struct osh_rule *rules)
{
	size_t count = 0;

	for (; count < OSH_COUNT_OF(preset->words) && preset->words[count]; count++) {
		/* Shared, so without a line: the endpoint's own counts. */
		rules[count] = (struct osh_rule){ .mark = { 0 } };
		if (e->l7 == OSH_L7_GRAPHQL) {
			rules[count].operation_type = text_of(preset->words[count]);
		} else {
			rules[count].method = text_of(preset->words[count]);
			rules[count].path = text_of("**");
		}
	}
	return count;
}

static void compile_list(struct osh_builder *b, const struct osh_endpoint *e,
			 const struct osh_rule *rules, size_t count, bool deny,
			 struct osh_image_list *ret_list)
{
	_cleanup_free_ struct osh_image_rule *out = count ? calloc(count, sizeof(*out)) : NULL;

	if (count == 0)
		return;
	if (!out) {
		b->error = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < count && !b->error; i++)
		compile_rule(b, e, &rules[i], deny, &out[i]);
	*ret_list = osh_builder_list(b, out, sizeof(*out), count);
}

/* ---- The rest of an endpoint's rules ------------------------------------- */

struct osh_image_list osh_compile_registry(struct osh_builder *b, const struct osh_endpoint *e)
{
	_cleanup_free_ struct osh_image_registered *items =
		calloc(e->registry.count + 1, sizeof(*items));

	if (!items) {
		b->error = -ENOMEM;
		return (struct osh_image_list){ 0 };
	}
	for (size_t i = 0; i < e->registry.count; i++) {
		const struct osh_registry_entry *entry = &e->registry.items[i];

		items[i].key = osh_builder_str(b, entry->key.text);
		items[i].operation = osh_operation_type_parse(entry->operation_type.text);
		items[i].name = osh_builder_str(b, entry->operation_name.text);
		items[i].fields = compile_tool_names(b, &entry->fields);
	}
	return osh_builder_list(b, items, sizeof(*items), e->registry.count);
}

/* The method profile of MCP: every method, but tools/call only as far as tool rules say,
 * when there are any. Its rules then name tools/call; the rest of the methods are granted
 * by the profile itself (evaluate). */
static void compile_profile(struct osh_builder *b, const struct osh_endpoint *e,
			    struct osh_image_endpoint *out)
{
	struct osh_rule any = { .mark = e->mcp.mark, .method = text_of("*") };

	if (e->l7 == OSH_L7_MCP && e->mcp.allow_all_known_mcp_methods.value && e->rules.count == 0)
		compile_list(b, e, &any, 1, false, &out->allows);
}

static void compile_preset(struct osh_builder *b, const struct osh_endpoint *e,
			   struct osh_image_endpoint *out)
{
	struct osh_rule expanded[8];

	for (size_t i = 0; i < OSH_PRESETS_COUNT; i++) {
		if (presets[i].l7 != e->l7 || !osh_str_eq_c(e->access.text, presets[i].access))
			continue;
		if (b->presets[i].count == 0)
			compile_list(b, e, expanded, expand_preset(e, &presets[i], expanded), false,
				     &b->presets[i]);
		out->allows = b->presets[i];
	}
}

void osh_compile_rules(struct osh_builder *b, const struct osh_endpoint *e,
		       struct osh_image_endpoint *out)
{
	if (e->l7 == OSH_L7_NONE)
		return;
	compile_list(b, e, e->rules.items, e->rules.count, false, &out->allows);
	compile_list(b, e, e->deny_rules.items, e->deny_rules.count, true, &out->denies);
	if (e->access.set)
		compile_preset(b, e, out);
	compile_profile(b, e, out);
	if (e->l7 != OSH_L7_WEBSOCKET)
		return;
	if (e->registry.count)
		out->flags |= OSH_IMAGE_GRAPHQL_TEXT;
	for (size_t i = 0; i < e->rules.count; i++)
		out->flags |= e->rules.items[i].operation_type.set ? OSH_IMAGE_GRAPHQL_TEXT : 0;
	for (size_t i = 0; i < e->deny_rules.count; i++)
		out->flags |=
			e->deny_rules.items[i].operation_type.set ? OSH_IMAGE_GRAPHQL_TEXT : 0;
}
