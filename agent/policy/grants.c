#include "policy/grants.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define DETAIL_MAX (2 * OSH_POLICY_BYTES_MAX)
/* All details together: a long matcher times many binaries is not worth more. */
#define DETAILS_MAX (64u << 20)

/* The grants of one endpoint for one binary, on one port. */
struct scene {
	struct osh_grants *grants;
	const struct osh_endpoint *endpoint;
	struct osh_grant start; /* what they have in common */
};

static void add(struct osh_grants *grants, const struct osh_grant *grant)
{
	if (grants->error)
		return;
	if (grants->count == OSH_GRANTS_MAX) {
		grants->error = -E2BIG;
		return;
	}
	if (grants->count == grants->room) {
		size_t room = grants->room ? 2 * grants->room : 256;
		struct osh_grant *grown = realloc(grants->items, room * sizeof(*grown));

		if (!grown) {
			grants->error = -ENOMEM;
			return;
		}
		grants->items = grown;
		grants->room = room;
	}
	grants->items[grants->count++] = *grant;
}

/* ---- Details ---------------------------------------- */

static void put_texts(struct osh_buf *buf, const char *name, struct osh_str key,
		      const struct osh_texts *texts)
{
	(void)osh_buf_printf(buf, "%s%s%.*s=", buf->len ? " " : "", name, (int)key.len,
			     key.data ? key.data : "");
	for (size_t i = 0; i < texts->count; i++) {
		(void)osh_buf_append_c(buf, i ? "|" : "");
		(void)osh_buf_append_str(buf, texts->items[i].text);
	}
}

static void put_matchers(struct osh_buf *buf, const char *name, const struct osh_matchers *matchers)
{
	for (size_t i = 0; i < matchers->count; i++)
		put_texts(buf, name, matchers->items[i].key.text, &matchers->items[i].any);
}

/* A copy that lives as long as the changes. */
static struct osh_str keep(struct osh_grants *grants, struct osh_buf *buf)
{
	struct osh_str text = osh_buf_str(buf);

	grants->detail_bytes += text.len;
	if (grants->detail_bytes > DETAILS_MAX) {
		grants->error = -E2BIG;
		text = (struct osh_str){ 0 };
	} else if (text.len) {
		text.data = osh_arena_copy(grants->arena, text);
		if (!text.data)
			grants->error = -ENOMEM;
	}
	osh_buf_clear(buf);
	return text.data ? text : osh_str("");
}

static void put_scene(struct osh_buf *buf, const struct scene *scene)
{
	if (scene->start.detail.len)
		(void)osh_buf_printf(buf, "%.*s", (int)scene->start.detail.len,
				     scene->start.detail.data);
	if (scene->endpoint->path.set)
		(void)osh_buf_printf(buf, "%sunder=%.*s", buf->len ? " " : "",
				     (int)scene->endpoint->path.text.len,
				     scene->endpoint->path.text.data);
}

/* ---- Rules ---------------------------------------- */

/* Every path begins with a slash, so both spellings of "everything" are one. */
static struct osh_str plain_path(struct osh_str path)
{
	return osh_str_eq_c(path, "**") ? osh_str("/**") : path;
}

static void describe_http(const struct osh_rule *rule, struct osh_grant *grant,
			  struct osh_buf *detail)
{
	grant->method = rule->method.text;
	grant->path = plain_path(rule->path.text);
	put_matchers(detail, "query.", &rule->query);
}

static void describe_graphql(const struct osh_rule *rule, struct osh_grant *grant,
			     struct osh_buf *detail)
{
	grant->method = rule->operation_type.text;
	grant->path = rule->operation_name.set ? rule->operation_name.text : osh_str("*");
	if (rule->fields.set)
		put_texts(detail, "fields", osh_str(""), &rule->fields);
}

static void describe_rpc(const struct osh_rule *rule, struct osh_grant *grant,
			 struct osh_buf *detail)
{
	bool about_tool = rule->tool.key.set || rule->arguments.set;

	grant->method = rule->method.text.len ? rule->method.text
					      : osh_str(about_tool ? "tools/call" : "*");
	grant->path = osh_str("");
	if (rule->tool.key.set)
		put_texts(detail, "tool", osh_str(""), &rule->tool.any);
	put_matchers(detail, "params.arguments.", &rule->arguments);
}

static void add_rule(struct scene *scene, const struct osh_rule *rule, bool deny,
		     struct osh_buf *detail)
{
	struct osh_grant grant = scene->start;
	enum osh_l7 l7 = scene->endpoint->l7;

	grant.kind = deny ? OSH_GRANT_REFUSAL : OSH_GRANT_REQUEST;
	put_scene(detail, scene);
	if (l7 == OSH_L7_MCP || l7 == OSH_L7_JSON_RPC)
		describe_rpc(rule, &grant, detail);
	else if (l7 == OSH_L7_GRAPHQL || rule->operation_type.set)
		describe_graphql(rule, &grant, detail);
	else
		describe_http(rule, &grant, detail);
	grant.detail = keep(scene->grants, detail);
	/* A rule that lacks a part matches nothing. */
	if (grant.method.len && (grant.path.len || l7 == OSH_L7_MCP || l7 == OSH_L7_JSON_RPC))
		add(scene->grants, &grant);
}

static void add_preset(struct scene *scene, struct osh_buf *detail)
{
	const struct osh_endpoint *e = scene->endpoint;
	const char *const *words = e->access.set ? osh_preset_words(e->l7, e->access.text) : NULL;

	for (; words && *words; words++) {
		struct osh_rule rule = { .method = { .set = true, .text = osh_str(*words) },
					 .path = { .set = true, .text = osh_str("**") } };

		if (e->l7 == OSH_L7_GRAPHQL)
			rule.operation_type = rule.method;
		add_rule(scene, &rule, false, detail);
	}
	if (e->l7 == OSH_L7_MCP && e->mcp.allow_all_known_mcp_methods.value && e->rules.count == 0)
		add_rule(scene,
			 &(struct osh_rule){ .method = { .set = true, .text = osh_str("*") } },
			 false, detail);
}

/* ---- Settings ---------------------------------------- */

static void add_setting(struct scene *scene, const char *text)
{
	struct osh_grant grant = scene->start;
	struct osh_buf detail;

	osh_buf_init(&detail, DETAIL_MAX);
	grant.kind = OSH_GRANT_SETTING;
	put_scene(&detail, scene);
	(void)osh_buf_printf(&detail, "%s%s", detail.len ? " " : "", text);
	grant.detail = keep(scene->grants, &detail);
	osh_buf_done(&detail);
	add(scene->grants, &grant);
}

static void add_flag(struct scene *scene, const struct osh_flag *flag, const char *text)
{
	if (flag->set && flag->value)
		add_setting(scene, text);
}

static void add_text_setting(struct scene *scene, const struct osh_text *value, const char *key)
{
	char text[512];

	if (!value->set)
		return;
	snprintf(text, sizeof(text), "%s: %.*s", key,
		 (int)(value->text.len < 400 ? value->text.len : 400), value->text.data);
	add_setting(scene, text);
}

static void add_body_limit(struct scene *scene)
{
	char text[64];

	snprintf(text, sizeof(text), "max_body_bytes: %u", scene->endpoint->body_limit);
	add_setting(scene, text);
}

/* What a registered key stands for; the rules judge that. */
static void add_registry(struct scene *scene)
{
	const struct osh_registry *registry = &scene->endpoint->registry;

	for (size_t i = 0; i < registry->count; i++) {
		const struct osh_registry_entry *entry = &registry->items[i];
		struct osh_grant grant = scene->start;
		struct osh_buf detail;

		osh_buf_init(&detail, DETAIL_MAX);
		grant.kind = OSH_GRANT_SETTING;
		grant.method = entry->operation_type.text;
		grant.path = entry->operation_name.text;
		put_scene(&detail, scene);
		(void)osh_buf_printf(&detail, "%spersisted=%.*s", detail.len ? " " : "",
				     (int)entry->key.text.len, entry->key.text.data);
		put_texts(&detail, "fields", osh_str(""), &entry->fields);
		grant.detail = keep(scene->grants, &detail);
		osh_buf_done(&detail);
		add(scene->grants, &grant);
	}
}

static void add_settings(struct scene *scene)
{
	const struct osh_endpoint *e = scene->endpoint;

	if (e->tls_skip)
		add_setting(scene, "tls: skip");
	add_flag(scene, &e->allow_encoded_slash, "allow_encoded_slash");
	add_flag(scene, &e->websocket_credential_rewrite, "websocket_credential_rewrite");
	add_flag(scene, &e->request_body_credential_rewrite, "request_body_credential_rewrite");
	add_flag(scene, &e->allow_uninspected_credentials, "allow_uninspected_credentials");
	add_text_setting(scene, &e->credential_signing, "credential_signing");
	add_text_setting(scene, &e->credential_binding.provider, "credential_binding");
	add_text_setting(scene, &e->persisted_queries, "persisted_queries");
	if (e->l7 == OSH_L7_MCP && e->mcp.strict_tool_names.set && !e->mcp.strict_tool_names.value)
		add_setting(scene, "mcp.strict_tool_names: false");
	if (e->l7 != OSH_L7_NONE && e->body_limit != OSH_BODY_LIMIT_DEFAULT)
		add_body_limit(scene);
	add_registry(scene);
}

/* ---- Entries ---------------------------------------- */

static void add_endpoint(struct scene *scene)
{
	const struct osh_endpoint *e = scene->endpoint;
	struct osh_grant grant = scene->start;
	struct osh_buf detail;

	osh_buf_init(&detail, DETAIL_MAX);
	if (e->l7 == OSH_L7_NONE) {
		grant.kind = OSH_GRANT_BYTES;
		add(scene->grants, &grant);
	} else if (!e->enforce) {
		grant.kind = OSH_GRANT_AUDIT;
		put_scene(&detail, scene);
		grant.detail = keep(scene->grants, &detail);
		add(scene->grants, &grant);
	}
	for (size_t i = 0; e->l7 != OSH_L7_NONE && i < e->rules.count; i++)
		add_rule(scene, &e->rules.items[i], false, &detail);
	for (size_t i = 0; e->l7 != OSH_L7_NONE && i < e->deny_rules.count; i++)
		add_rule(scene, &e->deny_rules.items[i], true, &detail);
	add_preset(scene, &detail);
	add_settings(scene);
	osh_buf_done(&detail);
}

/* What narrows the endpoint as a whole: pins of the binary, allowed addresses. */
static struct osh_str common_detail(struct osh_grants *grants, const struct osh_endpoint *e,
				    const struct osh_binary *binary)
{
	struct osh_buf detail;
	struct osh_str text;

	osh_buf_init(&detail, DETAIL_MAX);
	if (binary->sha256.set)
		(void)osh_buf_printf(&detail, "sha256=%.*s", (int)binary->sha256.text.len,
				     binary->sha256.text.data);
	if (binary->clean.value)
		(void)osh_buf_printf(&detail, "%sclean", detail.len ? " " : "");
	if (e->allowed_ips.set)
		put_texts(&detail, "addresses", osh_str(""), &e->allowed_ips);
	text = keep(grants, &detail);
	osh_buf_done(&detail);
	return text;
}

static void collect_endpoint(struct osh_grants *grants, const struct osh_endpoint *e,
			     const struct osh_binary *binary)
{
	struct scene scene = {
		.grants = grants,
		.endpoint = e,
		.start = { .l7 = e->l7,
			   .binary = binary->path.text,
			   .host = e->hostless ? osh_str("*") : e->host_text,
			   .detail = common_detail(grants, e, binary) },
	};

	for (size_t i = 0; i < e->port_count; i++) {
		scene.start.port_host = e->port_list[i];
		add_endpoint(&scene);
	}
}

/* ---- Entries and the whole policy ---------------------------------------- */

static void add_limit(struct osh_grants *grants, struct osh_str of, const char *key,
		      const struct osh_number *limit)
{
	struct osh_grant grant = { .kind = OSH_GRANT_LIMIT,
				   .method = osh_str("limits"),
				   .path = of };
	struct osh_buf detail;

	if (!limit->set)
		return;
	osh_buf_init(&detail, DETAIL_MAX);
	(void)osh_buf_printf(&detail, "%s=%llu", key, (unsigned long long)limit->value);
	grant.detail = keep(grants, &detail);
	osh_buf_done(&detail);
	add(grants, &grant);
}

static void add_limits(struct osh_grants *grants, struct osh_str of, const struct osh_limits *limits)
{
	add_limit(grants, of, "flows", &limits->flows);
	add_limit(grants, of, "flows_per_second", &limits->flows_per_second);
	add_limit(grants, of, "bytes_per_second", &limits->bytes_per_second);
}

static void add_whole(struct osh_grants *grants, const char *what, struct osh_str value)
{
	add(grants, &(struct osh_grant){ .kind = OSH_GRANT_SETTING,
					 .method = osh_str(what),
					 .path = value });
}

static void collect_entry(struct osh_grants *grants, const struct osh_entry *entry)
{
	for (size_t b = 0; b < entry->binary_count; b++) {
		for (size_t i = 0; i < entry->endpoint_count; i++)
			collect_endpoint(grants, &entry->endpoints[i], &entry->binaries[b]);
	}
	add_limits(grants, entry->key.text, &entry->limits);
	/* The sandbox as a whole has them, whichever entry names them. */
	for (size_t i = 0; i < entry->unix_sockets.count; i++)
		add_whole(grants, "unix_sockets", entry->unix_sockets.items[i].text);
}

/* A fail-closed middleware takes its hosts away; one that fails open changes nothing here. */
static void collect_middleware(struct osh_grants *grants, const struct osh_middleware *m)
{
	struct osh_buf detail;

	osh_buf_init(&detail, DETAIL_MAX);
	for (size_t i = 0; i < m->include.count && !m->fail_open; i++) {
		struct osh_grant grant = { .kind = OSH_GRANT_LIMIT,
					   .host = m->include.items[i].text,
					   .method = osh_str("middleware"),
					   .path = m->key.text };

		if (m->exclude.count)
			put_texts(&detail, "exclude", osh_str(""), &m->exclude);
		grant.detail = keep(grants, &detail);
		add(grants, &grant);
	}
	osh_buf_done(&detail);
}

static void collect_statics(struct osh_grants *grants, const struct osh_policy_doc *doc)
{
	const struct osh_policy_static *statics = osh_policy_doc_static(doc);

	for (size_t i = 0; i < statics->read_only_count; i++)
		add_whole(grants, "read_only", osh_str(statics->read_only[i]));
	for (size_t i = 0; i < statics->read_write_count; i++)
		add_whole(grants, "read_write", osh_str(statics->read_write[i]));
	if (statics->include_workdir)
		add_whole(grants, "include_workdir", osh_str("true"));
	if (statics->landlock == OSH_LANDLOCK_HARD_REQUIREMENT)
		add_whole(grants, "landlock", osh_str("hard_requirement"));
	if (statics->uid)
		add_whole(grants, "run_as_user", doc->run_as_user.text);
	if (statics->gid)
		add_whole(grants, "run_as_group", doc->run_as_group.text);
}

int osh_grants_collect(const struct osh_policy_doc *doc, struct osh_grants *grants)
{
	for (size_t i = 0; i < doc->entry_count; i++)
		collect_entry(grants, &doc->entries[i]);
	for (size_t i = 0; i < doc->middleware_count; i++)
		collect_middleware(grants, &doc->middlewares[i]);
	collect_statics(grants, doc);
	add_limits(grants, osh_str("(sandbox)"), &doc->limits);
	if (doc->permissive)
		add_whole(grants, "mode", osh_str("permissive"));
	return grants->error;
}
