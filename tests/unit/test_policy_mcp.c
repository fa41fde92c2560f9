/* MCP: which methods, tools and frames pass, with the method profile and without. */
#include <criterion/criterion.h>

#include "base/mem.h"
#include "policy_cases.h"

#define HOST(name, rest) \
	"      - { host: " name ".test, port: 443, protocol: mcp, enforcement: enforce, " rest " }\n"
#define PROFILE "mcp: { allow_all_known_mcp_methods: true }"

static const char policy_text[] =
	"version: 1\nnetwork_policies:\n  p:\n    binaries: [{ path: /usr/bin/node }]\n"
	"    endpoints:\n"
	HOST("plain", "rules: [{ allow: { method: tools/list } }, { allow: { method: x/y } }]")
	HOST("glob", "rules: [{ allow: { method: 'tools/{list,call}' } }]")
	HOST("family", "rules: [{ allow: { method: 'tools/*' } }], deny_rules: [{ method: 'tools/c?ll' }]")
	HOST("profile", PROFILE)
	HOST("method", PROFILE ", rules: [{ allow: { method: initialize } }]")
	HOST("narrow", PROFILE ", rules: [{ allow: { tool: 'read_*' } }]")
	HOST("both", PROFILE ", rules: [{ allow: { tool: 'read_*' } }, { allow: { method: ping } }]")
	HOST("argued", PROFILE ", rules: [{ allow: { tool: read, params.arguments.repo: 'acme/*' } }]")
	HOST("empty", PROFILE ", rules: [{ allow: {} }], deny_rules: [{ tool: 'send_*' }]")
	HOST("nothing", PROFILE ", deny_rules: [{}]")
	HOST("ban", PROFILE ", deny_rules: [{ method: resources/read }]");

struct row {
	const char *host, *body;
	enum osh_effect effect;
	enum osh_stage stage;
};

static struct osh_decision ask(const struct case_policy *p, const char *host, const char *method,
			       const struct osh_message *message)
{
	char name[64];
	struct osh_request_query q = {
		.connect = { .subject = { .binary = osh_str("/usr/bin/node") }, .port_host = 443 },
		.method = osh_str(method),
		.path = osh_str("/mcp"),
		.message = message,
	};
	struct osh_decision decision;

	snprintf(name, sizeof(name), "%s.test", host);
	q.connect.host = osh_str(name);
	osh_policy_request(&p->policy, &q, &decision);
	return decision;
}

static void check_rows(const struct row *rows, size_t count)
{
	struct case_policy p;

	case_compile(osh_str(policy_text), &p);
	for (size_t i = 0; i < count; i++) {
		struct osh_message message = { .body = osh_str(rows[i].body) };
		struct osh_decision d = ask(&p, rows[i].host, "POST", &message);

		cr_expect_eq(d.effect, rows[i].effect, "%s: %s: %s", rows[i].host, rows[i].body,
			     d.reason);
		cr_expect_eq(d.stage, rows[i].stage, "%s: %s: at %s: %s", rows[i].host,
			     rows[i].body, osh_stage_name(d.stage), d.reason);
	}
	free(p.image);
}

#define ALLOW OSH_EFFECT_ALLOW, OSH_STAGE_NONE
#define RULES OSH_EFFECT_DENY, OSH_STAGE_RULES
#define MESSAGE OSH_EFFECT_DENY, OSH_STAGE_MESSAGE

#define METHOD(method) "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\"}"
#define REQUEST(method, params) \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\",\"params\":" params "}"
#define TOOL(name) REQUEST("tools/call", "{\"name\":\"" name "\"}")

/* A method is what it says, letter by letter; a glob only where it was written as one. */
Test(mcp, methods)
{
	static const struct row rows[] = {
		{ "plain", METHOD("tools/list"), ALLOW },
		{ "plain", METHOD("tools/List"), RULES },
		{ "plain", METHOD("tools/list2"), RULES },
		{ "plain", METHOD("x/y"), ALLOW },
		{ "plain", METHOD("ping"), RULES },
		{ "plain", TOOL("read"), RULES },
		{ "glob", METHOD("tools/list"), ALLOW },
		{ "glob", TOOL("read"), ALLOW },
		{ "glob", METHOD("tools/other"), RULES },
		{ "glob", METHOD("tools/{list,call}"), RULES },
		{ "family", METHOD("tools/list"), ALLOW },
		{ "family", METHOD("tools/a/b"), ALLOW },
		{ "family", TOOL("read"), RULES },
	};

	check_rows(rows, OSH_COUNT_OF(rows));
}

/* All methods, also unknown ones; only rules about tools narrow, and only tools/call. */
Test(mcp, profile)
{
	static const struct row rows[] = {
		{ "profile", METHOD("ping"), ALLOW },
		{ "profile", METHOD("vendor/extension"), ALLOW },
		{ "profile", TOOL("anything"), ALLOW },
		{ "method", METHOD("initialize"), MESSAGE }, /* without what it needs */
		{ "method", METHOD("tools/list"), ALLOW },
		{ "method", TOOL("anything"), ALLOW },
		{ "narrow", TOOL("read_file"), ALLOW },
		{ "narrow", TOOL("write_file"), RULES },
		{ "narrow", METHOD("tools/list"), ALLOW },
		{ "narrow", METHOD("vendor/extension"), ALLOW },
		{ "narrow", "[" TOOL("read_a") "," METHOD("tools/list") "]", ALLOW },
		{ "narrow", "[" METHOD("tools/list") "," TOOL("write_a") "]", RULES },
		{ "both", METHOD("ping"), ALLOW },
		{ "both", METHOD("tools/list"), ALLOW },
		{ "both", TOOL("write_file"), RULES },
		{ "argued", METHOD("tools/list"), ALLOW },
		{ "argued", TOOL("read"), RULES },
		{ "argued", REQUEST("tools/call", "{\"name\":\"read\",\"arguments\":{\"repo\":\"acme/x\"}}"), ALLOW },
		{ "argued", REQUEST("tools/call", "{\"name\":\"read\",\"arguments\":null}"), RULES },
		{ "empty", TOOL("read"), ALLOW },
		{ "empty", METHOD("vendor/extension"), ALLOW },
		{ "empty", TOOL("send_mail"), RULES },
		{ "nothing", METHOD("ping"), RULES },
		{ "nothing", TOOL("read"), RULES },
		{ "ban", REQUEST("resources/read", "{\"uri\":\"file:///x\"}"), RULES },
		{ "ban", METHOD("resources/list"), ALLOW },
	};

	check_rows(rows, OSH_COUNT_OF(rows));
}

/* Known requests say what the schema asks for, also where every method is allowed. */
Test(mcp, params_of_known_requests)
{
	static const struct row rows[] = {
		{ "profile", REQUEST("initialize", "{\"protocolVersion\":\"1\",\"capabilities\":{},"
			"\"clientInfo\":{\"name\":\"n\",\"version\":\"1\"}}"), ALLOW },
		{ "profile", REQUEST("initialize", "{\"protocolVersion\":\"1\",\"capabilities\":{},"
			"\"clientInfo\":{\"name\":\"n\"}}"), MESSAGE },
		{ "profile", REQUEST("initialize", "{\"protocolVersion\":\"1\",\"capabilities\":{},"
			"\"clientInfo\":\"n\"}"), MESSAGE },
		{ "profile", REQUEST("tools/call", "{\"name\":\"t\",\"arguments\":{}}"), ALLOW },
		{ "profile", REQUEST("tools/call", "{\"name\":\"t\",\"arguments\":null}"), ALLOW },
		{ "profile", REQUEST("tools/call", "{\"name\":\"t\",\"arguments\":[]}"), MESSAGE },
		{ "profile", REQUEST("tools/call", "{\"name\":null}"), MESSAGE },
		{ "profile", REQUEST("tools/call", "null"), MESSAGE },
		{ "profile", REQUEST("tools/call", "[\"t\"]"), MESSAGE },
		{ "profile", REQUEST("tools/call", "{\"name\":\"t\",\"name\":\"u\"}"), MESSAGE },
		{ "profile", TOOL("bad name"), MESSAGE },
		{ "profile", REQUEST("tools/list", "null"), ALLOW },
		{ "profile", REQUEST("tools/list", "{\"cursor\":null}"), ALLOW },
		{ "profile", REQUEST("tools/list", "{\"cursor\":7}"), MESSAGE },
		{ "profile", REQUEST("ping", "[]"), MESSAGE },
		{ "profile", REQUEST("completion/complete",
			"{\"ref\":{\"type\":\"ref/prompt\"},\"argument\":{\"name\":\"a\",\"value\":\"b\"}}"), ALLOW },
		{ "profile", REQUEST("completion/complete",
			"{\"ref\":{\"type\":\"ref/prompt\"},\"argument\":{\"name\":\"a\"}}"), MESSAGE },
		{ "profile", REQUEST("vendor/extension", "[1]"), ALLOW },
	};

	check_rows(rows, OSH_COUNT_OF(rows));
}

/* Some servers take a key in another case for the key itself (Go's encoding/json folds as Unicode
 * does): what could be read in two ways is refused. */
Test(mcp, keys_in_another_case)
{
	static const struct row rows[] = {
		{ "argued", REQUEST("tools/call", "{\"name\":\"read\",\"arguments\":{\"repo\":\"acme/a\"}}"), ALLOW },
		{ "argued", REQUEST("tools/call", "{\"name\":\"read\",\"names\":1,\"arguments\":{\"repo\":\"acme/a\"}}"),
		  ALLOW },
		{ "narrow", REQUEST("tools/call", "{\"name\":\"read_x\",\"Name\":\"send\"}"), MESSAGE },
		{ "narrow", REQUEST("tools/call", "{\"name\":\"read_x\",\"argument\\u017f\":{}}"), MESSAGE },
		{ "narrow", REQUEST("tools/call", "{\"name\":\"read_x\",\"argument\u017f\":{}}"), MESSAGE },
		{ "narrow", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"Method\":\"x\"}", MESSAGE },
	};

	check_rows(rows, OSH_COUNT_OF(rows));
}

/* What a client answers, and frames that are neither request nor answer. */
Test(mcp, frames)
{
	static const struct row rows[] = {
		{ "plain", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", ALLOW },
		{ "plain", "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{}}", ALLOW },
		{ "plain", "{\"jsonrpc\":\"2.0\",\"result\":{}}", MESSAGE },
		{ "plain", "{\"jsonrpc\":\"2.0\",\"id\":[],\"result\":{}}", MESSAGE },
		{ "plain", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{},\"error\":{}}", MESSAGE },
		{ "plain", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{},\"method\":\"tools/list\"}", MESSAGE },
		{ "plain", "[]", MESSAGE },
		{ "plain", "", MESSAGE },
		{ "nothing", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", ALLOW },
	};

	check_rows(rows, OSH_COUNT_OF(rows));
}

/* The server's stream is opened by a GET without a body; there is no message in a DELETE. */
Test(mcp, streams)
{
	static const struct {
		const char *method, *accept, *body;
		enum osh_effect effect;
	} rows[] = {
		{ "GET", "text/event-stream", "", OSH_EFFECT_ALLOW },
		{ "GET", "application/json, text/event-stream;q=0.9", "", OSH_EFFECT_ALLOW },
		{ "GET", "Text/Event-Stream", "", OSH_EFFECT_ALLOW },
		{ "GET", "application/json", "", OSH_EFFECT_DENY },
		{ "GET", "text/event-streams", "", OSH_EFFECT_DENY },
		{ "GET", "text/event-stream", METHOD("tools/list"), OSH_EFFECT_DENY },
		{ "get", "text/event-stream", "", OSH_EFFECT_DENY },
		{ "DELETE", "text/event-stream", "", OSH_EFFECT_DENY },
		{ "PUT", "", METHOD("tools/list"), OSH_EFFECT_DENY },
	};
	struct case_policy p;

	case_compile(osh_str(policy_text), &p);
	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct osh_message message = { .body = osh_str(rows[i].body),
					       .accept = osh_str(rows[i].accept) };
		struct osh_decision d = ask(&p, "plain", rows[i].method, &message);

		cr_expect_eq(d.effect, rows[i].effect, "%s %s: %s", rows[i].method, rows[i].accept,
			     d.reason);
	}
	free(p.image);
}
