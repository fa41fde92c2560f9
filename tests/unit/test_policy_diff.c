/* policy diff: what one policy grants and another does not. */
#include <criterion/criterion.h>

#include "policy/diff.h"
#include "policy_cases.h"

static char out[65536];

static struct osh_policy_doc *parse(const char *text)
{
	struct osh_diags *diags = calloc(1, sizeof(*diags));
	struct osh_policy_doc *doc = NULL;

	if (osh_policy_parse(osh_str(text), diags, &doc) < 0) {
		case_print(diags);
		cr_assert_fail("policy does not load");
	}
	free(diags);
	return doc;
}

static const char *diff(const char *before, const char *after)
{
	struct osh_policy_doc *a = parse(before), *b = parse(after);
	struct osh_changes changes;
	size_t len = 0;

	cr_assert_eq(osh_policy_diff(a, b, &changes), 0);
	out[0] = '\0';
	for (size_t i = 0; i < changes.count; i++) {
		len += osh_change_format(&changes.items[i], out + len, sizeof(out) - len - 1);
		out[len++] = '\n';
		out[len] = '\0';
	}
	osh_changes_done(&changes);
	osh_policy_doc_free(a);
	osh_policy_doc_free(b);
	return out;
}

/* One entry of one endpoint. */
#define POLICY(endpoint, binary)                                                                   \
	"version: 1\nnetwork_policies:\n  p:\n    endpoints: [" endpoint                           \
	"]\n    binaries: [" binary "]\n"
#define REST(rest) "{ host: a.test, port: 443, protocol: rest, enforcement: enforce, " rest " }"
#define CURL "{ path: /usr/bin/curl }"

static void expect_diff(const char *before, const char *after, const char *want)
{
	cr_expect_str_eq(diff(before, after), want);
}

Test(policy_diff, nothing_differs)
{
	struct osh_str seed = case_read("policies/seed_github_push.yaml");

	expect_diff(seed.data, seed.data, "");
	free((char *)seed.data);
	/* Written in another way. */
	expect_diff(POLICY("{ host: A.test, ports: [443], tls: auto }", CURL),
		    "version: 1\nnetwork_policies:\n  other:\n    binaries:\n    - path: "
		    "/usr/bin/curl\n"
		    "    endpoints:\n    - host: a.test\n      port: 443\n",
		    "");
	expect_diff(POLICY(REST("access: read-only"), CURL),
		    POLICY(REST("rules: [{allow: {method: get, path: '/**'}}, {allow: {method: "
				"OPTIONS, path: '**'}}]"),
			   CURL),
		    "");
}

Test(policy_diff, binaries_hosts_and_ports)
{
	expect_diff(POLICY("{ host: a.test, port: 443 }", CURL),
		    POLICY("{ host: a.test, ports: [443, 80] }, { host: b.test, port: 1 }",
			   "{ path: /usr/bin/wget }"),
		    "- /usr/bin/curl a.test:443 any bytes\n+ /usr/bin/wget a.test:80 any bytes\n"
		    "+ /usr/bin/wget a.test:443 any bytes\n+ /usr/bin/wget b.test:1 any bytes\n");
}

Test(policy_diff, methods_and_paths)
{
	expect_diff(
		POLICY(REST("access: read-only"), CURL),
		POLICY(REST("access: read-only, deny_rules: [{method: GET, path: /secret}]"), CURL),
		"- /usr/bin/curl a.test:443 GET /secret (deny rule)\n");
	expect_diff(
		POLICY(REST("rules: [{allow: {method: GET, path: /a}}]"), CURL),
		POLICY(REST("rules: [{allow: {method: POST, path: /a}}, {allow: {method: GET, "
			    "path: /a, query: {v: '1'}}}]"),
		       CURL),
		"- /usr/bin/curl a.test:443 GET /a\n+ /usr/bin/curl a.test:443 GET /a query.v=1\n"
		"+ /usr/bin/curl a.test:443 POST /a\n");
}

Test(policy_diff, what_a_pattern_holds_is_no_difference)
{
	/* Wider: nothing is lost. */
	expect_diff(POLICY(REST("rules: [{allow: {method: GET, path: /a/b}}]"), CURL),
		    POLICY(REST("rules: [{allow: {method: '*', path: '/a/**'}}]"), CURL),
		    "+ /usr/bin/curl a.test:443 * /a/**\n");
	expect_diff(POLICY("{ host: a.x.test, port: 443 }", "{ path: /usr/bin/python3 }"),
		    POLICY("{ host: '*.x.test', port: 443 }", "{ path: '/usr/bin/python*' }"),
		    "+ /usr/bin/python* *.x.test:443 any bytes\n");
	/* A star stops at a slash: that one is lost. */
	expect_diff(POLICY(REST("rules: [{allow: {method: GET, path: '/a/**'}}]"), CURL),
		    POLICY(REST("rules: [{allow: {method: GET, path: '/a/*'}}]"), CURL),
		    "- /usr/bin/curl a.test:443 GET /a/**\n");
	expect_diff(POLICY(REST("rules: [{allow: {method: GET, path: '/a/?'}}]"), CURL),
		    POLICY(REST("rules: [{allow: {method: GET, path: '/a/*'}}]"), CURL),
		    "+ /usr/bin/curl a.test:443 GET /a/*\n- /usr/bin/curl a.test:443 GET /a/?\n");
}

Test(policy_diff, inspection)
{
	/* All of it could be said before. */
	expect_diff(POLICY("{ host: a.test, port: 443 }", CURL),
		    POLICY(REST("access: read-only"), CURL),
		    "- /usr/bin/curl a.test:443 any bytes\n");
	expect_diff(POLICY(REST("access: full"), CURL),
		    POLICY("{ host: a.test, port: 443, protocol: rest, enforcement: audit, access: "
			   "full, tls: skip }",
			   CURL),
		    "+ /usr/bin/curl a.test:443 everything else, audited\n+ /usr/bin/curl "
		    "a.test:443 tls: skip\n");
	expect_diff(POLICY("{ host: a.test, port: 443 }", CURL),
		    POLICY("{ host: a.test, port: 443, allowed_ips: [10.1.0.0/16] }", CURL),
		    "- /usr/bin/curl a.test:443 any bytes\n+ /usr/bin/curl a.test:443 any bytes "
		    "addresses=10.1.0.0/16\n");
}

Test(policy_diff, other_protocols)
{
	static const char head[] = "{ host: a.test, port: 443, enforcement: enforce, ";
	char before[1024], after[1024];

#define FORM(buf, rest) snprintf(buf, sizeof(buf), POLICY("%s%s }", CURL), head, rest)
	FORM(before, "protocol: graphql, access: read-only");
	FORM(after, "protocol: graphql, rules: [{allow: {operation_type: query, operation_name: "
		    "'Get*', fields: [a, b]}}]");
	expect_diff(before, after,
		    "- /usr/bin/curl a.test:443 graphql query *\n"
		    "+ /usr/bin/curl a.test:443 graphql query Get* fields=a|b\n");
	FORM(before, "protocol: mcp, path: /mcp, rules: [{allow: {method: tools/list}}]");
	FORM(after,
	     "protocol: mcp, path: /mcp, rules: [{allow: {method: tools/call, tool: search}}]");
	expect_diff(before, after,
		    "+ /usr/bin/curl a.test:443 mcp tools/call under=/mcp tool=search\n"
		    "- /usr/bin/curl a.test:443 mcp tools/list under=/mcp\n");
}

Test(policy_diff, the_whole_policy)
{
	diff("version: 1\n",
	     "version: 1\nmode: permissive\nfilesystem_policy: { include_workdir: true,"
	     " read_only: [/usr, /opt], read_write: [/tmp] }\n");
	cr_expect_not_null(strstr(out, "+ mode permissive\n"));
	cr_expect_not_null(strstr(out, "+ read_only /opt\n"));
	cr_expect_null(strstr(out, "/usr\n"));
}

Test(policy_diff, pins_of_a_binary)
{
	static const char digest[] =
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	char after[512], want[512];

	snprintf(after, sizeof(after),
		 POLICY("{ host: a.test, port: 443 }",
			"{ path: /usr/bin/curl, sha256: '%s', clean: true }"),
		 digest);
	snprintf(want, sizeof(want),
		 "- /usr/bin/curl a.test:443 any bytes\n"
		 "+ /usr/bin/curl a.test:443 any bytes sha256=%s clean\n",
		 digest);
	expect_diff(POLICY("{ host: a.test, port: 443 }", CURL), after, want);
}

/* What an entry limits is lost when it comes, gained when it goes. */
Test(policy_diff, limits_sockets_and_middlewares)
{
#define ENTRY(rest) \
	"version: 1\nnetwork_policies:\n  p:\n    endpoints: [{ host: a.x.test, port: 443 }]\n" \
	"    binaries: [{ path: /usr/bin/curl }]\n" rest
#define GUARD(rest) \
	"network_middlewares:\n  guard: { middleware: m, endpoints: { include: ['*.x.test'] }" rest " }\n"
	expect_diff(ENTRY(""), ENTRY("    limits: { flows: 7, bytes_per_second: 100 }\n"),
		    "- limits p bytes_per_second=100 (limit)\n- limits p flows=7 (limit)\n");
	expect_diff(ENTRY("    limits: { flows: 7 }\n"), ENTRY("    limits: { flows: 9 }\n"),
		    "+ limits p flows=7 (limit gone)\n- limits p flows=9 (limit)\n");
	expect_diff(ENTRY("    limits: { flows: 7 }\n"), ENTRY("    limits: { flows: 7 }\n"), "");
	expect_diff(ENTRY(""), ENTRY("") "limits: { flows: 7 }\n", "- limits (sandbox) flows=7 (limit)\n");
	expect_diff(ENTRY(""), ENTRY("    unix_sockets: [/run/a.sock]\n"),
		    "+ unix_sockets /run/a.sock\n");
	expect_diff(ENTRY(""), ENTRY(GUARD("")), "- *.x.test middleware guard (limit)\n");
	expect_diff(ENTRY(GUARD("")), ENTRY(GUARD(", on_error: fail_open")),
		    "+ *.x.test middleware guard (limit gone)\n");
	expect_diff(ENTRY(""), ENTRY(GUARD(", on_error: fail_open")), "");
}

Test(policy_diff, static_sections)
{
	expect_diff("version: 1\n",
		    "version: 1\nlandlock: { compatibility: hard_requirement }\n"
		    "process: { run_as_user: '1000', run_as_group: sandbox }\n",
		    "+ run_as_user 1000\n+ landlock hard_requirement\n");
}

Test(policy_diff, bodies_and_registered_queries)
{
	static const char head[] = "{ host: a.test, port: 443, protocol: graphql, enforcement: "
				   "enforce, access: read-only";
	char before[1024], after[1024];

#define GRAPHQL(buf, rest) snprintf(buf, sizeof(buf), POLICY("%s%s }", CURL), head, rest)
	GRAPHQL(before, "");
	GRAPHQL(after, ", graphql_max_body_bytes: 131072");
	expect_diff(before, after, "+ /usr/bin/curl a.test:443 graphql max_body_bytes: 131072\n");
	GRAPHQL(before, ", persisted_queries: allow_registered, graphql_persisted_queries: "
			"{ k: { operation_type: query, operation_name: A, fields: [x] } }");
	GRAPHQL(after, ", persisted_queries: allow_registered, graphql_persisted_queries: "
		       "{ k: { operation_type: query, operation_name: A, fields: [y] } }");
	expect_diff(before, after,
		    "- /usr/bin/curl a.test:443 graphql query A persisted=k fields=x\n"
		    "+ /usr/bin/curl a.test:443 graphql query A persisted=k fields=y\n");
}

Test(policy_diff, ten_thousand_endpoints)
{
	const size_t room = 2 << 20;
	char *text[2] = { malloc(room), malloc(room) };

	for (int k = 0; k < 2; k++) {
		size_t len = (size_t)snprintf(text[k], room, "version: 1\nnetwork_policies:\n");

		/* Short, to stay within what a policy may have. */
		for (int i = 0; i < 200; i++) {
			len += (size_t)snprintf(
				text[k] + len, room - len,
				"  p%d:\n    binaries: [{path: /b}]\n    endpoints:\n", i);
			for (int j = 0; j < 50; j++)
				len += (size_t)snprintf(text[k] + len, room - len,
							"    - {host: h%d.t%d.test, port: %d}\n", j,
							i, i == 77 && j == 7 ? 1 + k : 443);
		}
	}
	expect_diff(text[0], text[1],
		    "- /b h7.t77.test:1 any bytes\n+ /b h7.t77.test:2 any bytes\n");
	free(text[0]);
	free(text[1]);
}
