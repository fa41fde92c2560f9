/* Changes that explain proposes: one more rule about messages, one deny rule less. */
#include "policy/amend.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"

static const char text[] = "version: 1\n"
			   "network_policies:\n"
			   "  calls: # kept\n"
			   "    endpoints:\n"
			   "      - { host: a.apps.test, port: 443, protocol: mcp, enforcement: enforce,\n"
			   "          rules: [{ allow: { method: tools/list } }] }\n"
			   "      - host: '*.Apps.test'\n"
			   "        ports: [443, 8443]\n"
			   "        protocol: mcp\n"
			   "        enforcement: enforce\n"
			   "        rules:\n"
			   "          - allow: { method: ping }\n"
			   "          - allow: { method: tools/list }\n"
			   "        deny_rules:\n"
			   "          - { method: tools/call, tool: x }\n"
			   "          - { method: tools/call, tool: y }\n"
			   "    binaries: [{ path: /bin/x }]\n"
			   "  graph:\n"
			   "    endpoints:\n"
			   "      - host: g.test # kept\n"
			   "        port: 443\n"
			   "        path: /graphql\n"
			   "        protocol: graphql\n"
			   "        access: read-only\n"
			   "    binaries: [{ path: /bin/x }]\n";

static struct osh_amend_place place;
static struct osh_err err;

/* Is it still a policy? */
static void expect_valid(const char *edited, size_t len)
{
	struct osh_diags *diags = calloc(1, sizeof(*diags));
	struct osh_policy_doc *doc = NULL;

	cr_expect_eq(osh_policy_parse(osh_str_n(edited, len), diags, &doc), 0, "%s:\n%.*s",
		     diags->items[0].message, (int)len, edited);
	osh_policy_doc_free(doc);
	free(diags);
}

/* The changed text, NUL terminated; NULL where there is no nth endpoint. */
static char *amend(const char *host, uint16_t port, const char *protocol, const char *path,
		   size_t nth, const char *rule)
{
	const struct osh_amend_where where = {
		.host = osh_str(host),
		.port_host = port,
		.protocol = osh_str(protocol),
		.path = osh_str(path),
	};
	char *edited = NULL, *copy;
	size_t len = 0;
	int r = osh_policy_amend_allow(osh_str(text), &where, nth, osh_str(rule), &edited, &len,
				       &place, &err);

	if (r == -ENOENT)
		return NULL;
	cr_assert_eq(r, 0, "%s", err.message);
	expect_valid(edited, len);
	copy = strndup(edited, len);
	free(edited);
	return copy;
}

Test(amend, the_rule_goes_to_each_endpoint_that_takes_the_request)
{
	char *edited = amend("a.apps.test", 443, "mcp", "/", 0, "{ method: ping }");

	cr_expect_str_eq(place.entry, "calls");
	cr_expect_eq(place.line, 6, "behind the rule that is last");
	cr_expect(strstr(edited, "- host: g.test # kept"));
	cr_expect(strstr(edited, "method: ping"));
	free(edited);
	edited = amend("a.apps.test", 443, "mcp", "/", 1, "{ method: prompts/list }");
	cr_expect_eq(place.line, 13);
	cr_expect(strstr(edited, "method: prompts/list"));
	free(edited);
	cr_expect_null(amend("a.apps.test", 443, "mcp", "/", 2, "{ method: ping }"));
	cr_expect_null(amend("a.apps.test", 443, "json-rpc", "/", 0, "{ method: ping }"), "protocol");
	cr_expect_null(amend("a.apps.test", 80, "mcp", "/", 0, "{ method: ping }"), "port");
	cr_expect_null(amend("b.c.apps.test", 443, "mcp", "/", 0, "{ method: ping }"), "host");
}

Test(amend, one_endpoint_stays_one)
{
	char *edited = amend("b.apps.test", 8443, "mcp", "/", 0, "{ method: on/both }");

	cr_expect(strstr(edited, "ports: [443, 8443]"), "as a person would write it");
	cr_expect_null(strstr(strstr(edited, "on/both") + 1, "on/both"));
	cr_expect_not(place.spells_preset);
	free(edited);
}

Test(amend, a_preset_is_written_out)
{
	char *edited = amend("g.test", 443, "graphql", "/graphql", 0,
			     "{ operation_type: mutation, fields: [x] }");

	cr_expect(place.spells_preset);
	cr_expect_null(strstr(edited, "access:"));
	cr_expect(strstr(edited, "operation_type: query"));
	cr_expect(strstr(edited, "operation_type: mutation"));
	cr_expect_eq(place.line, 20, "the endpoint: it has no rule yet");
	free(edited);
	cr_expect_null(amend("g.test", 443, "graphql", "/other", 0, "{ operation_type: query }"));
}

Test(amend, a_deny_rule_is_dropped_by_its_line)
{
	char *edited = NULL;
	size_t len = 0;

	cr_assert_eq(osh_policy_amend_drop(osh_str(text), 16, &edited, &len, &place, &err), 0);
	expect_valid(edited, len);
	cr_expect(memmem(edited, len, "tool: x", 7));
	cr_expect_not(memmem(edited, len, "tool: y", 7));
	cr_expect_not(place.empties);
	cr_expect_str_eq(place.entry, "calls");
	free(edited);
	cr_expect_eq(osh_policy_amend_drop(osh_str(text), 12, &edited, &len, &place, &err), -ENOENT,
		     "an allow rule");
	cr_expect_eq(osh_policy_amend_drop(osh_str(text), 99, &edited, &len, &place, &err), -ENOENT);
}

Test(amend, the_last_deny_rule_takes_its_key_along)
{
	static const char one[] = "version: 1\nnetwork_policies:\n  a:\n    endpoints:\n"
				  "      - host: a.test\n        port: 443\n        protocol: rest\n"
				  "        enforcement: enforce\n        access: full\n"
				  "        deny_rules: [{ method: GET, path: /x }]\n"
				  "    binaries: [{ path: /bin/x }]\n";
	char *edited = NULL;
	size_t len = 0;

	cr_assert_eq(osh_policy_amend_drop(osh_str(one), 10, &edited, &len, &place, &err), 0);
	expect_valid(edited, len);
	cr_expect(place.empties);
	cr_expect_not(memmem(edited, len, "deny_rules", 10));
	free(edited);
}
