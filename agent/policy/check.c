/* What the values of one endpoint mean, alone. Its rules are check_rules.c's, endpoints
 * against each other overlap.c's. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "policy/document.h"
#include "policy/glob.h"
#include "policy/host.h"

#define BODY_LIMIT_MAX (1u << 20)

/* ---- Words with a closed set of values ----------------------------------- */

/* Index of the word in `words` (NULL-terminated), or -1 with an error. */
static int choose(const struct osh_text *text, const char *key, const char *const *words,
		  struct osh_diags *diags)
{
	char list[160] = "";
	size_t len = 0;
	const char *nearest;

	for (int i = 0; words[i]; i++) {
		if (osh_str_eq_c(text->text, words[i]))
			return i;
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "",
					words[i]);
	}
	nearest = osh_nearest_name(text->text, words);
	osh_diag_error(diags, text->mark, "%s: '%.*s' is unknown%s%s%s (allowed: %s)", key,
		       OSH_DIAG_VALUE(text->text), nearest ? ", did you mean " : "",
		       nearest ? nearest : "", nearest ? "?" : "", list);
	return -1;
}

static void check_protocol(struct osh_endpoint *e, struct osh_diags *diags)
{
	static const char *const words[] = { "tcp",      "rest", "websocket", "graphql",
					     "json-rpc", "mcp",  NULL };
	static const enum osh_l7 l7[] = { OSH_L7_NONE,    OSH_L7_REST,     OSH_L7_WEBSOCKET,
					  OSH_L7_GRAPHQL, OSH_L7_JSON_RPC, OSH_L7_MCP };
	int i;

	e->l7 = OSH_L7_NONE;
	if (!e->protocol.set)
		return;
	if (osh_str_eq_c(e->protocol.text, "sql")) {
		osh_diag_error(diags, e->protocol.mark,
			       "protocol sql needs access or rules and SQL can only be "
			       "audited in the reference; here it is not supported: use tcp");
		e->broken = true;
		return;
	}
	i = choose(&e->protocol, "protocol", words, diags);
	if (i < 0) {
		e->broken = true;
		return;
	}
	e->l7 = l7[i];
	e->is_tcp = i == 0;
}

static void check_tls(struct osh_endpoint *e, struct osh_diags *diags)
{
	static const char *const words[] = { "auto", "skip", NULL };

	if (!e->tls.set)
		return;
	if (osh_str_eq_c(e->tls.text, "terminate") || osh_str_eq_c(e->tls.text, "passthrough")) {
		osh_diag_warning(diags, e->tls.mark,
				 "tls: %.*s is deprecated and does nothing: leave it out",
				 OSH_DIAG_VALUE(e->tls.text));
		return;
	}
	e->tls_skip = choose(&e->tls, "tls", words, diags) == 1;
}

static void check_words(struct osh_endpoint *e, struct osh_diags *diags)
{
	static const char *const enforcement[] = { "enforce", "audit", NULL };
	static const char *const access[] = { "read-only", "read-write", "full", NULL };
	static const char *const persisted[] = { "deny", "allow_registered", NULL };
	static const char *const signing[] = { "sigv4", "sigv4:body", "sigv4:no_body", NULL };

	check_protocol(e, diags);
	check_tls(e, diags);
	if (e->enforcement.set)
		e->enforce = choose(&e->enforcement, "enforcement", enforcement, diags) == 0;
	if (e->access.set)
		(void)choose(&e->access, "access", access, diags);
	if (e->persisted_queries.set)
		(void)choose(&e->persisted_queries, "persisted_queries", persisted, diags);
	if (e->credential_signing.set)
		(void)choose(&e->credential_signing, "credential_signing", signing, diags);
}

/* ---- Ports --------------------------------------------------------------- */

static int check_ports(struct osh_policy_doc *doc, struct osh_endpoint *e, struct osh_diags *diags)
{
	size_t count = e->ports.set ? e->ports.count : 1;

	e->port_list = osh_arena_alloc(&doc->arena, (count + 1) * sizeof(*e->port_list));
	if (!e->port_list)
		return -ENOMEM;
	if (e->port.set && e->ports.set)
		osh_diag_warning(diags, e->port.mark,
				 "port is ignored because ports is given, too");
	if (e->port.set && (e->port.value == 0 || e->port.value > 65535))
		osh_diag_error(diags, e->port.mark, "port %llu is out of range (1 to 65535)",
			       (unsigned long long)e->port.value);
	else if (e->port.set && !e->ports.set)
		e->port_list[e->port_count++] = (uint16_t)e->port.value;
	for (size_t i = 0; e->ports.set && i < e->ports.count; i++) {
		const struct osh_text *text = &e->ports.items[i];
		uint64_t port;

		if (!text->set)
			continue;
		if (text->text.data[0] == '0' || osh_str_parse_u64(text->text, 65535, &port) < 0)
			osh_diag_error(diags, text->mark,
				       "ports list contains %.*s (allowed: 1 to 65535)",
				       OSH_DIAG_VALUE(text->text));
		else
			e->port_list[e->port_count++] = (uint16_t)port;
	}
	if (e->ports.set && e->ports.count == 0)
		osh_diag_error(diags, e->ports.mark, "ports must not be empty");
	if (!e->port.set && !e->ports.set && !(e->is_tcp && e->hostless))
		osh_diag_error(diags, e->mark, "the endpoint has neither port nor ports");
	return 0;
}

/* ---- Addresses ----------------------------------------------------------- */

static bool prefixes_overlap(const struct osh_cidr *a, const struct osh_cidr *b)
{
	return osh_cidr_holds(a->bits < b->bits ? a : b, &(a->bits < b->bits ? b : a)->addr);
}

static const char *find_blocked_kind(const struct osh_cidr *cidr)
{
	static const struct {
		const char *prefix, *kind;
	} blocked[] = {
		{ "127.0.0.0/8", "loopback" },   { "169.254.0.0/16", "link-local" },
		{ "0.0.0.0/32", "unspecified" }, { "::1/128", "IPv6 loopback" },
		{ "::/128", "unspecified" },     { "fe80::/10", "IPv6 link-local" },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(blocked); i++) {
		struct osh_cidr other;

		if (osh_cidr_parse(osh_str(blocked[i].prefix), &other) == 0 &&
		    prefixes_overlap(cidr, &other))
			return blocked[i].kind;
	}
	return NULL;
}

static void check_cidr(const struct osh_text *text, struct osh_cidr *cidr, struct osh_diags *diags)
{
	const char *kind, *slash = osh_str_chr(text->text, '/');
	bool v4 = !osh_str_chr(text->text, ':');

	if (osh_cidr_parse(text->text, cidr) < 0) {
		osh_diag_error(diags, text->mark,
			       "allowed_ips: '%.*s' is not an address or prefix%s",
			       OSH_DIAG_VALUE(text->text),
			       slash ? " (or its prefix length is out of range)" : "");
		return;
	}
	kind = find_blocked_kind(cidr);
	if (kind)
		osh_diag_error(diags, text->mark, "allowed_ips: %s %s can never be allowed: %.*s",
			       kind, slash ? "range" : "address", OSH_DIAG_VALUE(text->text));
	else if (v4 && cidr->bits < 96 + 16)
		osh_diag_warning(diags, text->mark,
				 "allowed_ips: '%.*s' is wide: fewer than 16 bits of prefix",
				 OSH_DIAG_VALUE(text->text));
}

static int check_allowed_ips(struct osh_policy_doc *doc, struct osh_endpoint *e,
			     struct osh_diags *diags)
{
	if (!e->allowed_ips.set || e->allowed_ips.count == 0)
		return 0;
	e->cidrs = osh_arena_alloc(&doc->arena, e->allowed_ips.count * sizeof(*e->cidrs));
	if (!e->cidrs)
		return -ENOMEM;
	for (size_t i = 0; i < e->allowed_ips.count; i++) {
		if (e->allowed_ips.items[i].set)
			check_cidr(&e->allowed_ips.items[i], &e->cidrs[e->cidr_count++], diags);
	}
	return 0;
}

/* ---- What a protocol allows and needs ------------------------------------ */

static void refuse_with(const struct osh_endpoint *e, bool set, struct osh_mark mark,
			const char *key, struct osh_diags *diags)
{
	if (set)
		osh_diag_error(diags, mark, "protocol %.*s refuses %s",
			       OSH_DIAG_VALUE(e->protocol.text), key);
}

static void check_tcp(const struct osh_endpoint *e, struct osh_diags *diags)
{
	refuse_with(e, e->access.set, e->access.mark, "access", diags);
	refuse_with(e, e->rules.set, e->rules.mark, "rules", diags);
	refuse_with(e, e->deny_rules.set, e->deny_rules.mark, "deny_rules", diags);
	refuse_with(e, e->enforcement.set, e->enforcement.mark, "enforcement", diags);
	refuse_with(e, e->path.set, e->path.mark, "path", diags);
	refuse_with(e, e->allow_encoded_slash.set, e->allow_encoded_slash.mark,
		    "allow_encoded_slash", diags);
	refuse_with(e, e->websocket_credential_rewrite.set, e->websocket_credential_rewrite.mark,
		    "websocket_credential_rewrite", diags);
	refuse_with(e, e->request_body_credential_rewrite.set,
		    e->request_body_credential_rewrite.mark, "request_body_credential_rewrite",
		    diags);
	refuse_with(e, e->persisted_queries.set, e->persisted_queries.mark, "persisted_queries",
		    diags);
	refuse_with(e, e->registry.set, e->registry.mark, "graphql_persisted_queries", diags);
	refuse_with(e, e->graphql_max_body_bytes.set, e->graphql_max_body_bytes.mark,
		    "graphql_max_body_bytes", diags);
	refuse_with(e, e->credential_signing.set, e->credential_signing.mark, "credential signing",
		    diags);
	refuse_with(e, e->credential_binding.set, e->credential_binding.mark, "credential_binding",
		    diags);
	refuse_with(e, e->mcp.set, e->mcp.mark, "mcp options", diags);
	refuse_with(e, e->json_rpc.set, e->json_rpc.mark, "json_rpc options", diags);
	if (e->host_is_address)
		osh_diag_error(diags, e->host.mark,
			       "protocol tcp refuses IPv%s literals: '%.*s' (name the host)",
			       osh_str_chr(e->host_text, ':') ? "6" : "4",
			       OSH_DIAG_VALUE(e->host_text));
	else if (!e->hostless && e->host_text.data[e->host_text.len - 1] == '.')
		osh_diag_error(diags, e->host.mark,
			       "protocol tcp refuses a trailing root dot: '%.*s'",
			       OSH_DIAG_VALUE(e->host_text));
	else if (!e->hostless && memmem(e->host_text.data, e->host_text.len, "..", 2))
		osh_diag_error(diags, e->host.mark, "protocol tcp refuses empty labels: '%.*s'",
			       OSH_DIAG_VALUE(e->host_text));
}

/* Every L7 protocol must say what it permits. */
static void check_grants(const struct osh_endpoint *e, struct osh_diags *diags)
{
	bool rpc = e->l7 == OSH_L7_MCP || e->l7 == OSH_L7_JSON_RPC;
	bool profile = e->l7 == OSH_L7_MCP && e->mcp.allow_all_known_mcp_methods.value;

	if (e->l7 == OSH_L7_NONE) {
		if (e->deny_rules.set)
			osh_diag_error(diags, e->deny_rules.mark,
				       "deny_rules need a protocol to inspect "
				       "(rest, websocket, graphql, json-rpc, mcp)");
		else if (e->rules.set && !e->is_tcp)
			osh_diag_warning(diags, e->rules.mark,
					 "rules without a protocol are not enforced: all "
					 "traffic to this endpoint passes");
		else if (e->access.set)
			osh_diag_warning(diags, e->access.mark,
					 "access without a protocol is not enforced: all "
					 "traffic to this endpoint passes");
		return;
	}
	if (rpc && e->access.set)
		osh_diag_error(diags, e->access.mark,
			       "protocol %s: access presets are refused; write rules",
			       osh_l7_name(e->l7));
	else if (e->access.set && e->rules.set)
		osh_diag_error(diags, e->rules.mark,
			       "access and rules exclude each other: keep one");
	else if (rpc && !e->rules.set && !profile)
		osh_diag_error(diags, e->protocol.mark, "protocol %s: rules are required%s",
			       osh_l7_name(e->l7),
			       e->l7 == OSH_L7_MCP ?
				       " unless mcp.allow_all_known_mcp_methods (the method "
				       "profile) is on" :
				       "");
	else if (!rpc && !e->rules.set && !e->access.set)
		osh_diag_error(diags, e->protocol.mark, "protocol %s needs access or rules",
			       osh_l7_name(e->l7));
	if (!e->enforcement.set)
		osh_diag_warning(diags, e->protocol.mark,
				 "no enforcement given: this endpoint is only audited; "
				 "write enforcement: enforce to deny");
}

static void check_options(const struct osh_endpoint *e, struct osh_diags *diags)
{
	bool graphql = e->l7 == OSH_L7_GRAPHQL || e->l7 == OSH_L7_WEBSOCKET;
	const char *name = e->protocol.set ? osh_l7_name(e->l7) : "none";

	if (e->mcp.set && e->l7 != OSH_L7_MCP)
		osh_diag_error(diags, e->mcp.mark, "mcp options are refused with protocol %s",
			       name);
	if (e->json_rpc.set && e->l7 != OSH_L7_JSON_RPC)
		osh_diag_error(diags, e->json_rpc.mark,
			       "json_rpc options are refused with protocol %s", name);
	if (graphql)
		return;
	if (e->persisted_queries.set)
		osh_diag_error(diags, e->persisted_queries.mark,
			       "persisted_queries needs protocol graphql");
	if (e->registry.set)
		osh_diag_error(diags, e->registry.mark,
			       "graphql_persisted_queries needs protocol graphql");
	if (e->graphql_max_body_bytes.set)
		osh_diag_error(diags, e->graphql_max_body_bytes.mark,
			       "graphql_max_body_bytes needs protocol graphql");
}

static void check_path_selector(const struct osh_endpoint *e, struct osh_diags *diags)
{
	unsigned char *code = NULL;
	size_t len;
	enum osh_glob_error error;

	if (!e->path.set || e->is_tcp)
		return;
	if (e->path.text.len && e->path.text.data[0] != '/' && !osh_str_eq_c(e->path.text, "**")) {
		osh_diag_error(diags, e->path.mark,
			       "endpoint path must start with / or be **: '%.*s'",
			       OSH_DIAG_VALUE(e->path.text));
		return;
	}
	error = osh_glob_compile(e->path.text, '/', &code, &len);
	free(code);
	if (error)
		osh_diag_error(diags, e->path.mark, "endpoint path: glob syntax: %s in '%.*s'",
			       osh_glob_error_text(error), OSH_DIAG_VALUE(e->path.text));
	if (e->l7 == OSH_L7_NONE)
		osh_diag_warning(diags, e->path.mark,
				 "path without a protocol has no effect: the endpoint is "
				 "not inspected");
}

static void check_credentials(const struct osh_endpoint *e, struct osh_diags *diags)
{
	if (e->credential_signing.set)
		osh_diag_warning(
			diags, e->credential_signing.mark,
			"credential_signing is not performed by this agent: requests to this "
			"endpoint are refused");
	if (e->credential_signing.set && !e->signing_service.set)
		osh_diag_error(diags, e->credential_signing.mark,
			       "credential_signing needs signing_service");
	if (e->credential_signing.set && e->request_body_credential_rewrite.value)
		osh_diag_error(diags, e->credential_signing.mark,
			       "credential_signing excludes request_body_credential_rewrite");
	if (e->credential_binding.set && !e->credential_binding.provider.text.len)
		osh_diag_error(diags, e->credential_binding.mark,
			       "credential_binding needs provider");
}

static void check_body_limit(struct osh_endpoint *e, struct osh_diags *diags)
{
	const struct osh_number *limit = e->l7 == OSH_L7_MCP      ? &e->mcp.max_body_bytes :
					 e->l7 == OSH_L7_JSON_RPC ? &e->json_rpc.max_body_bytes :
								    &e->graphql_max_body_bytes;

	e->body_limit = OSH_BODY_LIMIT_DEFAULT;
	if (!limit->set)
		return;
	if (limit->value == 0 || limit->value > BODY_LIMIT_MAX)
		osh_diag_error(diags, limit->mark,
			       "body limit %llu is out of range (1 to %u bytes)",
			       (unsigned long long)limit->value, BODY_LIMIT_MAX);
	else
		e->body_limit = (uint32_t)limit->value;
}

static void check_skip(const struct osh_endpoint *e, struct osh_diags *diags)
{
	if (!e->tls_skip || e->l7 == OSH_L7_NONE)
		return;
	for (size_t i = 0; i < e->port_count; i++) {
		if (e->port_list[i] == 443) {
			osh_diag_warning(diags, e->tls.mark,
					 "tls: skip with L7 rules on port 443: encrypted "
					 "requests cannot be inspected");
			return;
		}
	}
}

int osh_check_endpoint(struct osh_policy_doc *doc, struct osh_endpoint *e, struct osh_diags *diags)
{
	int r;

	if (e->broken)
		return 0;
	check_words(e, diags);
	r = osh_check_host(doc, e, diags);
	if (r == 0)
		r = check_ports(doc, e, diags);
	if (r == 0)
		r = check_allowed_ips(doc, e, diags);
	if (r < 0 || e->broken)
		return r;
	if (e->is_tcp) {
		check_tcp(e, diags);
		return 0;
	}
	check_path_selector(e, diags);
	check_grants(e, diags);
	check_options(e, diags);
	check_body_limit(e, diags);
	check_credentials(e, diags);
	check_skip(e, diags);
	osh_check_rules(e, diags);
	return 0;
}
