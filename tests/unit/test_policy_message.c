/* Bodies: JSON, GraphQL documents, JSON-RPC and MCP frames (threats C29, C30). */
#include <criterion/criterion.h>

#include "base/mem.h"
#include "policy/graphql.h"
#include "policy/json.h"
#include "policy_cases.h"

/* ---- JSON ---------------------------------------------------------------- */

Test(json, checks)
{
	static const char *const good[] = {
		"{}",
		"[]",
		" [ ] ",
		"0",
		"-0.5e+3",
		"\"\"",
		"null",
		"true",
		"{\"a\":[1,{\"b\":null}]}",
		"\"\\u00e9\\n\\\\\"",
		"\"\xc3\xa9\"",
		"[1 , 2]",
		"{\"a\" : 1 , \"b\" : 2}\n",
	};
	static const char *const bad[] = {
		"",
		" ",
		"{",
		"[",
		"[1",
		"[1,",
		"[1,]",
		"{\"a\"}",
		"{\"a\":}",
		"{\"a\":1,}",
		"{a:1}",
		"{'a':1}",
		"01",
		"1.",
		".5",
		"-",
		"1e",
		"+1",
		"tru",
		"nul",
		"\"",
		"\"\\x\"",
		"\"\\u12\"",
		"\"a\nb\"",
		"\"\t\"",
		"[1 2]",
		"{} {}",
		"[]]",
		"{\"a\":1 \"b\":2}",
		"\xef\xbb\xbf{}",
		"\"\xff\"",
		"// c\n1",
		"NaN",
		"]",
		"}",
		",",
	};

	for (size_t i = 0; i < OSH_COUNT_OF(good); i++)
		cr_expect_null(osh_json_check(osh_str(good[i])), "%s: %s", good[i],
			       osh_json_check(osh_str(good[i])));
	for (size_t i = 0; i < OSH_COUNT_OF(bad); i++)
		cr_expect_not_null(osh_json_check(osh_str(bad[i])), "%s", bad[i]);
	cr_expect_not_null(osh_json_check(osh_str_n("1\0", 2)));
	cr_expect_not_null(osh_json_check(osh_str_n("\"\0\"", 3)));
}

Test(json, depth)
{
	char text[200];

	memset(text, '[', 100);
	memset(text + 64, ']', 64);
	cr_expect_null(osh_json_check(osh_str_n(text, 128)));
	memset(text, '[', 100);
	memset(text + 65, ']', 65);
	text[65] = '1';
	cr_expect_not_null(osh_json_check(osh_str_n(text, 131)));
}

Test(json, reads)
{
	struct osh_str object = osh_str(
		"{\"a\": \"x\\\"}\", \"b\" : [1,\"]\",{}], \"c\\u0064\": true, \"e\":-1.5}");
	struct osh_str value, rest;
	char buf[16];
	size_t count = 0;

	cr_assert_null(osh_json_check(object));
	cr_assert(osh_json_get(object, osh_str("a"), &value));
	cr_assert(osh_json_decode(osh_json_raw(value), buf, sizeof(buf), &value));
	cr_expect(osh_str_eq_c(value, "x\"}"));
	cr_assert(osh_json_get(object, osh_str("b"), &rest));
	while (osh_json_next_item(&rest, &value))
		count++;
	cr_expect_eq(count, 3);
	cr_assert(osh_json_get(object, osh_str("cd"), &value));
	cr_expect_eq(osh_json_type(value), OSH_JSON_BOOL);
	cr_assert(osh_json_get(object, osh_str("e"), &value));
	cr_expect(osh_str_eq_c(value, "-1.5"));
	cr_assert(osh_json_get(object, osh_str("f"), &value));
	cr_expect_eq(osh_json_type(value), OSH_JSON_NONE);
	object = osh_str("{\"a\":1,\"\\u0061\":2}");
	cr_assert_null(osh_json_check(object));
	cr_expect_not(osh_json_get(object, osh_str("a"), &value),
		      "the same key in another spelling");
}

Test(json, decodes)
{
	char buf[8];
	struct osh_str text;

	cr_assert(osh_json_decode(osh_str("\\ud83d\\ude00\\u00e9"), buf, sizeof(buf), &text));
	cr_expect(osh_str_eq_c(text, "\xf0\x9f\x98\x80\xc3\xa9"));
	cr_expect_not(osh_json_decode(osh_str("\\ud83d"), buf, sizeof(buf), &text));
	cr_expect_not(osh_json_decode(osh_str("\\ude00\\ud83d"), buf, sizeof(buf), &text));
	cr_expect_not(osh_json_decode(osh_str("\\u0000"), buf, sizeof(buf), &text));
	cr_expect_not(osh_json_decode(osh_str("123456789"), buf, sizeof(buf), &text));
	cr_assert(osh_json_decode(osh_str("12345678"), buf, sizeof(buf), &text));
}

/* ---- GraphQL documents --------------------------------------------------- */

/* "type name: field field", or the reason of a refusal. */
static const char *read_document(const char *document, const char *operation, bool escaped)
{
	static const char *const types[] = { "none", "query", "mutation", "subscription" };
	static struct osh_graphql_operation op;
	static char text[1024];
	const char *fault = osh_graphql_read(osh_str(document), escaped, osh_str(operation), &op);
	int len;

	if (fault)
		return fault;
	len = snprintf(text, sizeof(text), "%s %.*s:", types[op.type], (int)op.name.len,
		       op.name.data ? op.name.data : "");
	for (size_t i = 0; i < op.field_count; i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len, " %.*s",
				(int)op.fields[i].len, op.fields[i].data);
	return text;
}

Test(graphql, reads)
{
	static const struct {
		const char *document, *operation, *want;
	} rows[] = {
		{ "{ a }", "", "query : a" },
		{ "query { a b }", "", "query : a b" },
		{ "mutation M($x: [Int!]! = [1] @d) @e(f: 1) { x: a(b: {c: $x}) @skip(if: true) { d } }",
		  "", "mutation M: a" },
		{ "subscription { a { b c { d } } __typename }", "",
		  "subscription : a __typename" },
		{ "query A { a } query B { b }", "B", "query B: b" },
		{ "{ ...F } fragment F on Q { a ...G } fragment G on Q { b }", "", "query : a b" },
		{ "fragment F on Q { a } { ...F ...F }", "", "query : a" },
		{ "{ ...F } fragment F on Q { a ...F }", "", "query : a" },
		{ "{ ... on Q { a ... { b } } ... @include(if: true) { c } }", "",
		  "query : a b c" },
		{ "{ a(s: \"} evil {\", t: \"\"\"} x \\\"\"\" {\"\"\") b }", "", "query : a b" },
		{ "{ a # } evil {\n b }", "", "query : a b" },
		{ "{ a, b,,c }", "", "query : a b c" },
		{ "{ query mutation fragment on }", "", "query : query mutation fragment on" },
		{ "{ on: a fragment: b }", "", "query : a b" },
		{ "{ a(x: -1.5e3, y: $v, z: ENUM, n: null, l: [1 2], o: {}) }", "", "query : a" },
		{ "{ a(s: \"\\u{1F600} \\u00e9\") }", "", "query : a" },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++)
		cr_expect_str_eq(read_document(rows[i].document, rows[i].operation, false),
				 rows[i].want, "%s", rows[i].document);
}

Test(graphql, refuses)
{
	static const struct {
		const char *document, *operation;
	} rows[] = {
		{ "", "" },
		{ " ", "" },
		{ "a", "" },
		{ "{ }", "" },
		{ "{ a", "" },
		{ "{ a } }", "" },
		{ "query", "" },
		{ "query A { a } query B { b }", "" },
		{ "query A { a }", "B" },
		{ "query A { a } query A { b }", "A" },
		{ "{ a } { b }", "" },
		{ "fragment F on Q { a }", "" },
		{ "{ ...F }", "" },
		{ "{ ...F } fragment F on Q { a } fragment F on Q { b }", "" },
		{ "{ ...on }", "" },
		{ "type T { a: Int }", "" },
		{ "schema { query: Q }", "" },
		{ "extend type T { a: Int }", "" },
		{ "{ a() }", "" },
		{ "{ a(b) }", "" },
		{ "{ a(b:) }", "" },
		{ "query() { a }", "" },
		{ "query($a) { a }", "" },
		{ "{ a @ }", "" },
		{ "{ a(b: \"x) }", "" },
		{ "{ a(b: \"\"\"x) }", "" },
		{ "{ a(b: \"\n\") }", "" },
		{ "{ a(b: 01) }", "" },
		{ "{ a(b: 1x) }", "" },
		{ "{ a . b }", "" },
		{ "{ \xc3\xa9 }", "" },
		{ "{ a \x01 }", "" },
		{ "{ a: }", "" },
		{ "{ a: b: c }", "" },
		{ "{ a(b: \"\\q\") }", "" },
		{ "fragment on on Q { a } { b }", "" },
		{ "{ a ... }", "" },
	};
	struct osh_graphql_operation op;

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++)
		cr_expect_not_null(osh_graphql_read(osh_str(rows[i].document), false,
						    osh_str(rows[i].operation), &op),
				   "%s", rows[i].document);
}

/* Read through JSON escapes without a copy. */
Test(graphql, escaped)
{
	cr_expect_str_eq(read_document("query Q {\\n\\ta(s: \\\"}\\\\\\\" {\\\") b\\r}", "", true),
			 "query Q: a b");
	cr_expect_str_eq(read_document("{ a(s: \\\"\\u003c\\u0022\\\") }", "", true),
			 "a string without end", "an escaped quote ends the string");
	cr_expect_str_eq(read_document("{ \\u0061 }", "", true), "an unexpected character",
			 "a name must be written out");
	cr_expect_str_eq(read_document("{ a \\u007d", "", true), "an unexpected character");
	cr_expect_str_eq(read_document("{ a # \\u000a b }", "", true), "query : a b",
			 "a line feed ends a comment, however it is spelt");
}

Test(graphql, bounds)
{
	static char text[200000];
	struct osh_graphql_operation op;
	struct case_writer w;

	for (int depth = 127; depth <= 129; depth++) {
		w = (struct case_writer){ .buf = text, .size = sizeof(text) };
		for (int i = 0; i < depth; i++)
			case_put(&w, "{a");
		for (int i = 0; i < depth; i++)
			case_put(&w, "}");
		cr_expect_eq(!osh_graphql_read(osh_str_n(text, w.len), false, osh_str(""), &op),
			     depth <= 128, "%d", depth);
	}
	w = (struct case_writer){ .buf = text, .size = sizeof(text) };
	case_put(&w, "{a(x:[");
	for (int i = 0; i < 20000; i++)
		case_put(&w, "1 ");
	case_put(&w, "])}");
	cr_expect_str_eq(osh_graphql_read(osh_str(text), false, osh_str(""), &op),
			 "more than 20000 tokens");
	w = (struct case_writer){ .buf = text, .size = sizeof(text) };
	case_put(&w, "{");
	for (int i = 0; i < 513; i++)
		case_put(&w, "f%d ", i);
	case_put(&w, "}");
	cr_expect_str_eq(osh_graphql_read(osh_str(text), false, osh_str(""), &op),
			 "more than 512 root fields");
	w = (struct case_writer){ .buf = text, .size = sizeof(text) };
	case_put(&w, "{a}");
	for (int i = 0; i < 257; i++)
		case_put(&w, "fragment f%d on T{a}", i);
	cr_expect_str_eq(osh_graphql_read(osh_str(text), false, osh_str(""), &op),
			 "more than 256 fragments");
}

/* ---- Requests ------------------------------------------------------------ */

static struct osh_decision ask(struct case_policy *p, const char *host, const char *path,
			       const char *method, const char *query, struct osh_message message)
{
	struct osh_request_query q = {
		.connect = { .subject = { .binary = osh_str("/usr/bin/node") },
			     .host = osh_str(host),
			     .port_host = 443 },
		.method = osh_str(method),
		.path = osh_str(path),
		.query = osh_str(query),
		.message = &message,
	};
	struct osh_decision decision;

	osh_policy_request(&p->policy, &q, &decision);
	return decision;
}

static const char policy_text[] =
	"version: 1\n"
	"network_policies:\n"
	"  p:\n"
	"    endpoints:\n"
	"      - host: gql.test\n"
	"        port: 443\n"
	"        protocol: graphql\n"
	"        enforcement: enforce\n"
	"        rules: [{ allow: { operation_type: query, fields: [viewer] } }]\n"
	"      - host: audit.test\n"
	"        port: 443\n"
	"        protocol: graphql\n"
	"        enforcement: audit\n"
	"        rules: [{ allow: { operation_type: query, fields: [viewer] } }]\n"
	"      - host: rpc.test\n"
	"        port: 443\n"
	"        protocol: json-rpc\n"
	"        enforcement: enforce\n"
	"        json_rpc: { max_body_bytes: 100 }\n"
	"        rules: [{ allow: { method: ping } }]\n"
	"      - host: mcp.test\n"
	"        port: 443\n"
	"        protocol: mcp\n"
	"        enforcement: enforce\n"
	"        rules:\n"
	"          - allow: { method: initialize }\n"
	"          - allow: { method: tools/call, tool: read, params.arguments.repo: \"acme/*\" }\n"
	"          - allow: { method: tools/call, tool: list }\n"
	"        deny_rules:\n"
	"          - { method: tools/call, params.arguments.branch: { any: [main, \"release-*\"] } }\n"
	"      - host: veto.test\n"
	"        port: 443\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        access: full\n"
	"        deny_rules: [{ method: POST, path: \"/api/**\" }]\n"
	"      - host: veto.test\n"
	"        port: 443\n"
	"        path: /api/graphql\n"
	"        protocol: graphql\n"
	"        enforcement: enforce\n"
	"        access: full\n"
	"    binaries: [{ path: /usr/bin/node }]\n";

struct row {
	const char *host, *path, *method, *query, *body;
	enum osh_effect effect;
	enum osh_stage stage;
};

static void check_rows(const struct row *rows, size_t count)
{
	struct case_policy p;

	case_compile(osh_str(policy_text), &p);
	for (size_t i = 0; i < count; i++) {
		struct osh_message message = { .body = osh_str(rows[i].body) };
		struct osh_decision d =
			ask(&p, rows[i].host, rows[i].path, rows[i].method, rows[i].query, message);

		cr_expect_eq(d.effect, rows[i].effect, "%s %s %s: %s", rows[i].method,
			     rows[i].query, rows[i].body, d.reason);
		cr_expect_eq(d.stage, rows[i].stage, "%s %s: at %s: %s", rows[i].query,
			     rows[i].body, osh_stage_name(d.stage), d.reason);
	}
	free(p.image);
}

#define ALLOW OSH_EFFECT_ALLOW, OSH_STAGE_NONE
#define RULES OSH_EFFECT_DENY, OSH_STAGE_RULES
#define MESSAGE OSH_EFFECT_DENY, OSH_STAGE_MESSAGE

Test(message, graphql)
{
	static const struct row rows[] = {
		{ "gql.test", "/g", "POST", "", "{\"query\":\"{viewer}\"}", ALLOW },
		{ "gql.test", "/g", "POST", "", "{\"query\":\"{other}\"}", RULES },
		{ "gql.test", "/g", "POST", "", "{\"query\":\"{viewer}\",\"query\":\"{other}\"}",
		  MESSAGE },
		{ "gql.test", "/g", "POST", "",
		  "{\"query\":\"{viewer}\",\"\\u0071uery\":\"{other}\"}", MESSAGE },
		{ "gql.test", "/g", "POST", "",
		  "[{\"query\":\"{viewer}\"},{\"query\":\"{viewer}\"}]", ALLOW },
		{ "gql.test", "/g", "POST", "",
		  "[{\"query\":\"{viewer}\"},{\"query\":\"{other}\"}]", RULES },
		{ "gql.test", "/g", "POST", "", "[{\"query\":\"{other}\"},{\"query\":\"{\"}]",
		  MESSAGE },
		{ "gql.test", "/g", "POST", "", "{\"query\":7}", MESSAGE },
		{ "gql.test", "/g", "POST", "", "{\"query\":null,\"id\":\"x\"}", RULES },
		{ "gql.test", "/g", "POST", "", "{\"id\":\"x\",\"queryId\":\"y\"}", MESSAGE },
		{ "gql.test", "/g", "POST", "", "{\"query\":\"{viewer}\",\"extensions\":[]}",
		  MESSAGE },
		{ "gql.test", "/g", "POST", "", "{\"query\":\"{viewer}\",\"operationName\":{}}",
		  MESSAGE },
		{ "gql.test", "/g", "POST", "", "{\"query\":\"{viewer}\",\"operationName\":null}",
		  ALLOW },
		{ "gql.test", "/g", "GET", "query=%7Bviewer%7D", "", ALLOW },
		{ "gql.test", "/g", "GET", "query=%7Bother%7D", "", RULES },
		{ "gql.test", "/g", "GET", "query=%7Bviewer%7D&query=%7Bother%7D", "", MESSAGE },
		{ "gql.test", "/g", "GET", "query=%7Bviewer%7D", "{}", MESSAGE },
		{ "gql.test", "/g", "GET",
		  "query=query+A%7Bviewer%7D+query+B%7Bother%7D&operationName=A", "", ALLOW },
		{ "gql.test", "/g", "GET",
		  "query=query+A%7Bviewer%7D+query+B%7Bother%7D&operationName=B", "", RULES },
		{ "gql.test", "/g", "GET", "extensions=%7B", "", MESSAGE },
		{ "gql.test", "/g", "post", "", "{\"query\":\"{viewer}\"}", MESSAGE },
		{ "audit.test", "/g", "POST", "", "[{\"query\":\"{other}\"},{\"query\":\"{\"}]",
		  MESSAGE },
		{ "audit.test", "/g", "POST", "",
		  "[{\"query\":\"{viewer}\"},{\"query\":\"{other}\"}]", OSH_EFFECT_AUDIT,
		  OSH_STAGE_RULES },
		{ "veto.test", "/api/graphql", "POST", "", "{\"query\":\"{viewer}\"}", RULES },
		{ "veto.test", "/api/graphql", "GET", "query=%7Bviewer%7D", "", ALLOW },
	};

	check_rows(rows, OSH_COUNT_OF(rows));
}

#define CALL(name, arguments) \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"" name \
	"\",\"arguments\":" arguments "}}"

Test(message, rpc)
{
	static const struct row rows[] = {
		{ "rpc.test", "/", "POST", "", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
		  ALLOW },
		{ "rpc.test", "/", "POST", "",
		  "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", ALLOW },
		{ "rpc.test", "/", "POST", "",
		  "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}", MESSAGE },
		{ "rpc.test", "/", "POST", "", "{\"jsonrpc\":2.0,\"id\":1,\"method\":\"ping\"}",
		  MESSAGE },
		{ "rpc.test", "/", "POST", "",
		  "{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"method\":\"pong\"}", MESSAGE },
		{ "rpc.test", "/", "POST", "",
		  "{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"result\":1}", MESSAGE },
		{ "rpc.test", "/", "POST", "", "{\"jsonrpc\":\"2.0\",\"method\":\"\\u0070ing\"}",
		  ALLOW },
		{ "rpc.test", "/", "POST", "", "{\"jsonrpc\":\"2.0\",\"method\":\"ping\\u0000\"}",
		  MESSAGE },
		{ "rpc.test", "/", "POST", "",
		  "{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"params\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}",
		  MESSAGE },
		{ "mcp.test", "/", "POST", "",
		  "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}", MESSAGE },
		{ "mcp.test", "/", "POST", "", CALL("list", "{}"), ALLOW },
		{ "mcp.test", "/", "POST", "", CALL("list", "[]"), MESSAGE },
		{ "mcp.test", "/", "POST", "", CALL("read", "{}"), RULES },
		{ "mcp.test", "/", "POST", "", CALL("read", "{\"repo\":\"acme/x\"}"), ALLOW },
		{ "mcp.test", "/", "POST", "", CALL("read", "{\"repo\":\"other/x\"}"), RULES },
		{ "mcp.test", "/", "POST", "", CALL("read", "{\"repo\":[\"acme/x\"]}"), RULES },
		{ "mcp.test", "/", "POST", "",
		  CALL("read", "{\"repo\":\"acme/x\",\"repo\":\"other/x\"}"), RULES },
		{ "mcp.test", "/", "POST", "", CALL("list", "{\"branch\":\"main\"}"), RULES },
		{ "mcp.test", "/", "POST", "", CALL("list", "{\"branch\":\"release-1\"}"), RULES },
		{ "mcp.test", "/", "POST", "", CALL("list", "{\"branch\":[\"main\"]}"), RULES },
		{ "mcp.test", "/", "POST", "", CALL("list", "{\"branch\":\"dev\"}"), ALLOW },
	};

	check_rows(rows, OSH_COUNT_OF(rows));
}

Test(message, denial_names_the_nearest_rule)
{
	struct osh_message gql = { .body = osh_str("{\"query\":\"{other}\"}") };
	struct osh_message call = { .body = osh_str(CALL("read", "{}")) };
	struct osh_message unknown = { .body = osh_str("{\"jsonrpc\":\"2.0\",\"method\":\"x\"}") };
	struct case_policy p;

	case_compile(osh_str(policy_text), &p);
	cr_expect_eq(ask(&p, "gql.test", "/g", "POST", "", gql).nearest_line, 9);
	cr_expect_eq(ask(&p, "mcp.test", "/", "POST", "", call).nearest_line, 27);
	cr_expect_eq(ask(&p, "mcp.test", "/", "POST", "", unknown).nearest_line, 0);
	free(p.image);
}

Test(message, has_to_be_asked_for)
{
	struct osh_request_query q = {
		.connect = { .subject = { .binary = osh_str("/usr/bin/node") },
			     .host = osh_str("rpc.test"),
			     .port_host = 443 },
		.method = osh_str("POST"),
		.path = osh_str("/"),
	};
	struct osh_message message = { .body = osh_str(
					       "{\"jsonrpc\":\"2.0\",\"method\":\"ping\"}") };
	struct case_policy p;
	struct osh_decision d;

	case_compile(osh_str(policy_text), &p);
	osh_policy_request(&p.policy, &q, &d);
	cr_expect_eq(d.effect, OSH_EFFECT_DENY, "nothing passes unread");
	cr_expect_eq(d.body_limit, 100);
	q.message = &message;
	osh_policy_request(&p.policy, &q, &d);
	cr_expect_eq(d.effect, OSH_EFFECT_ALLOW);
	message.too_large = true;
	osh_policy_request(&p.policy, &q, &d);
	cr_expect_eq(d.effect, OSH_EFFECT_DENY);
	message.too_large = false;
	message.content_encoding = osh_str("br");
	osh_policy_request(&p.policy, &q, &d);
	cr_expect_eq(d.effect, OSH_EFFECT_DENY);
	message.content_encoding = osh_str("Identity");
	osh_policy_request(&p.policy, &q, &d);
	cr_expect_eq(d.effect, OSH_EFFECT_ALLOW);
	free(p.image);
}

Test(message, websocket_texts_are_asked_about)
{
	struct osh_str text = case_read("policies/ws.yaml");
	struct osh_request_query q = {
		.connect = { .subject = { .binary = osh_str("/usr/bin/node") },
			     .host = osh_str("ro.ws.test"),
			     .port_host = 443 },
		.method = osh_str("GET"),
		.path = osh_str("/x"),
		.websocket_upgrade = true,
	};
	struct case_policy p;
	struct osh_decision d;

	case_compile(text, &p);
	osh_policy_request(&p.policy, &q, &d);
	cr_expect_eq(d.effect, OSH_EFFECT_ALLOW);
	cr_expect(d.text_inspected);
	q.connect.host = osh_str("rest.ws.test");
	osh_policy_request(&p.policy, &q, &d);
	cr_expect_eq(d.effect, OSH_EFFECT_ALLOW);
	cr_expect_not(d.text_inspected, "frames behind a REST endpoint are relayed");
	free(p.image);
	free((char *)text.data);
}
