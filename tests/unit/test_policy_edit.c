/* policy update's edits, text to text. */
#include <criterion/criterion.h>
#include <errno.h>

#include "policy/edit.h"
#include "policy/yaml_write.h"
#include "policy_cases.h"

#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })

static const char base[] = "# who may go where\n"
			   "version: 1\n"
			   "network_policies:\n"
			   "  # the code host\n"
			   "  git:   # odd   spacing stays\n"
			   "    endpoints:\n"
			   "      - { host: git.test, ports: [443, 8443], protocol: rest, "
			   "enforcement: enforce, access: read-only }\n"
			   "    binaries: [{ path: /usr/bin/git }]\n"
			   "\n"
			   "  # plain bytes\n"
			   "  db:\n"
			   "    endpoints:\n"
			   "      - { host: db.test, port: 5432 }\n"
			   "    binaries: [{ path: /usr/bin/psql }]\n"
			   "# the end\n"
			   "landlock: { compatibility: best_effort }\n";

static char *edited;
static struct osh_err error;

static int edit_text(const char *text, struct osh_policy_edits edits)
{
	size_t len = 0;
	int r;

	free(edited);
	edited = NULL;
	error = (struct osh_err){ 0 };
	r = osh_policy_edit(osh_str(text), &edits, &edited, &len, &error);
	cr_assert(r < 0 || strlen(edited) == len);
	cr_assert(r == 0 || error.message[0]);
	return r;
}

static void expect_error(int r, int want, const char *part)
{
	cr_expect_eq(r, want, "%d %s", r, error.message);
	cr_expect_not_null(strstr(error.message, part), "'%s' lacks '%s'", error.message, part);
}

static void expect_part(const char *part)
{
	cr_expect_not_null(strstr(edited, part), "'%s' is not in:\n%s", part, edited);
}

static void expect_no(const char *part)
{
	cr_expect_null(strstr(edited, part), "'%s' is in:\n%s", part, edited);
}

static enum osh_effect ask(const char *binary, const char *host, uint16_t port_host,
			   const char *method, const char *path)
{
	struct osh_request_query query = {
		.connect = { .subject = { .binary = osh_str(binary) },
			     .host = osh_str(host),
			     .port_host = port_host },
		.method = osh_str(method),
		.path = osh_str(path),
	};
	struct osh_decision decision;
	struct case_policy p;

	case_compile(osh_str(edited), &p);
	if (method)
		osh_policy_request(&p.policy, &query, &decision);
	else
		osh_policy_connect(&p.policy, &query.connect, &decision);
	free(p.image);
	return decision.effect;
}

Test(policy_edit, a_new_endpoint_gets_an_entry_of_its_own)
{
	cr_assert_eq(
		edit_text(base,
			  (struct osh_policy_edits){
				  .add_endpoints = LIST("api.new.test:443:read-write:rest:enforce"),
				  .binaries = LIST("/usr/bin/curl", "/usr/bin/wget") }),
		0, "%s", error.message);
	expect_part("  allow_api_new_test_443:\n    endpoints:\n"
		    "      - { host: api.new.test, port: 443, protocol: rest, enforcement: "
		    "enforce, access: read-write }\n"
		    "    binaries:\n      - { path: /usr/bin/curl }\n      - { path: /usr/bin/wget "
		    "}\n");
	cr_expect_eq(ask("/usr/bin/wget", "api.new.test", 443, "POST", "/x"), OSH_EFFECT_ALLOW);
	cr_expect_eq(ask("/usr/bin/wget", "api.new.test", 443, "DELETE", "/x"), OSH_EFFECT_DENY);
	cr_expect_eq(ask("/usr/bin/git", "api.new.test", 443, "POST", "/x"), OSH_EFFECT_DENY);
}

Test(policy_edit, what_does_not_change_keeps_its_lines)
{
	char want[2048];

	cr_assert_eq(edit_text(base, (struct osh_policy_edits){ .add_endpoints = LIST("x.test:1"),
								.binaries = LIST("/bin/x") }),
		     0);
	snprintf(want, sizeof(want),
		 "%.*s  allow_x_test_1:\n    endpoints:\n      - { host: x.test, port: 1 }\n"
		 "    binaries:\n      - { path: /bin/x }\n%s",
		 (int)(strstr(base, "# the end") - base), base, strstr(base, "# the end"));
	cr_expect_str_eq(edited, want);
	cr_assert_eq(edit_text(base, (struct osh_policy_edits){ .remove_rules = LIST("git") }), 0);
	expect_part("# the code host\n\n  # plain bytes\n  db:\n");
	expect_no("git.test");
	cr_assert_eq(edit_text(base, (struct osh_policy_edits){ .remove_rules = LIST("db") }), 0);
	expect_part("  git:   # odd   spacing stays\n");
	expect_part("# the end\nlandlock: { compatibility: best_effort }\n");
	expect_no("db.test");
}

Test(policy_edit, a_text_that_cannot_be_cut_is_written_anew)
{
	cr_assert_eq(
		edit_text(
			"{version: 1, network_policies: {a: {endpoints: [{host: a.test, port: 1}],"
			" binaries: [{path: /bin/a}]},\nb: {endpoints: [{host: b.test, port: "
			"1}]}}}",
			(struct osh_policy_edits){ .remove_rules = LIST("b") }),
		0);
	cr_expect_str_eq(
		edited,
		"version: 1\nnetwork_policies:\n  a:\n    endpoints:\n"
		"      - { host: a.test, port: 1 }\n    binaries:\n      - { path: /bin/a }\n");
	cr_assert_eq(edit_text("version: 1\r\nnetwork_policies: {}\r\n",
			       (struct osh_policy_edits){ .add_endpoints = LIST("a.test:1") }),
		     0);
	expect_part("version: 1\nnetwork_policies:\n  allow_a_test_1:\n");
	cr_assert_eq(edit_text("version: 1 # one",
			       (struct osh_policy_edits){ .add_endpoints = LIST("a.test:1") }),
		     0);
	expect_part("version: 1 # one\nnetwork_policies:\n  allow_a_test_1:\n");
	cr_assert_eq(
		edit_text(base, (struct osh_policy_edits){ .remove_rules = LIST("git", "db") }), 0);
	expect_part("network_policies: {}\n");
}

/* A line that looks like a comment but is text: the cut would go wrong, so there is none. */
Test(policy_edit, block_scalars_survive)
{
	static const char text[] =
		"version: 1\nnetwork_policies:\n  a:\n    endpoints: [{host: a.test, port: 1}]\n"
		"    name: |\n      one\n      # two\n  b:\n    endpoints: [{host: b.test, port: "
		"1}]\n";

	cr_assert_eq(edit_text(text, (struct osh_policy_edits){ .remove_rules = LIST("a") }), 0);
	expect_no("# two");
	cr_assert_eq(edit_text(text, (struct osh_policy_edits){ .remove_rules = LIST("b") }), 0);
	expect_part("# two");
	cr_assert_eq(
		edit_text(text, (struct osh_policy_edits){ .remove_endpoints = LIST("a.test:1"),
							   .add_endpoints = LIST("b.test:2"),
							   .rule_name = "a" }),
		0);
	expect_part("b.test");
}

Test(policy_edit, merges_into_what_covers_the_place)
{
	cr_assert_eq(
		edit_text(base, (struct osh_policy_edits){ .add_endpoints = LIST("DB.test:5432"),
							   .binaries = LIST("/usr/bin/pg_dump") }),
		0);
	expect_no("allow_");
	cr_expect_eq(ask("/usr/bin/pg_dump", "db.test", 5432, NULL, NULL), OSH_EFFECT_ALLOW);
	cr_expect_eq(ask("/usr/bin/psql", "db.test", 5432, NULL, NULL), OSH_EFFECT_ALLOW);
	cr_expect_eq(ask("/usr/bin/git", "db.test", 5432, NULL, NULL), OSH_EFFECT_DENY);
	/* Named: it goes where it was sent, made when it is not there. */
	cr_assert_eq(
		edit_text(base, (struct osh_policy_edits){ .add_endpoints = LIST("db.test:5432"),
							   .binaries = LIST("/usr/bin/pg_dump"),
							   .rule_name = "dumps" }),
		0);
	expect_part("  dumps:\n");
	expect_part("    binaries: [{ path: /usr/bin/psql }]\n");
}

Test(policy_edit, one_port_of_several)
{
	cr_assert_eq(edit_text(base, (struct osh_policy_edits){ .remove_endpoints =
									LIST("git.test:443") }),
		     0);
	cr_expect_eq(ask("/usr/bin/git", "git.test", 443, NULL, NULL), OSH_EFFECT_DENY);
	cr_expect_eq(ask("/usr/bin/git", "git.test", 8443, NULL, NULL), OSH_EFFECT_ALLOW);
	cr_assert_eq(edit_text(base,
			       (struct osh_policy_edits){
				       .remove_endpoints = LIST("git.test:443", "git.test:8443") }),
		     0);
	expect_no("git:");
	/* A rule for one port grants nothing on the other. */
	cr_assert_eq(edit_text(base, (struct osh_policy_edits){ .add_allows = LIST(
									"git.test:443:post:/a") }),
		     0);
	cr_expect_eq(ask("/usr/bin/git", "git.test", 443, "POST", "/a"), OSH_EFFECT_ALLOW);
	cr_expect_eq(ask("/usr/bin/git", "git.test", 443, "POST", "/b"), OSH_EFFECT_DENY);
	cr_expect_eq(ask("/usr/bin/git", "git.test", 8443, "POST", "/a"), OSH_EFFECT_DENY);
	cr_expect_eq(ask("/usr/bin/git", "git.test", 443, "GET", "/b"), OSH_EFFECT_ALLOW);
	cr_expect_eq(ask("/usr/bin/git", "git.test", 8443, "GET", "/b"), OSH_EFFECT_ALLOW);
}

Test(policy_edit, rules)
{
	cr_assert_eq(edit_text(base,
			       (struct osh_policy_edits){
				       .add_denies = LIST("git.test:8443:GET:/secret/**"),
				       .add_allows = LIST("git.test:8443:PUT:/x:y") }),
		     0, "%s", error.message);
	expect_part("- allow: { method: PUT, path: \"/x:y\" }\n");
	expect_part("deny_rules:\n");
	cr_expect_eq(ask("/usr/bin/git", "git.test", 8443, "GET", "/secret/a"), OSH_EFFECT_DENY);
	cr_expect_eq(ask("/usr/bin/git", "git.test", 8443, "GET", "/public"), OSH_EFFECT_ALLOW);
	cr_expect_eq(ask("/usr/bin/git", "git.test", 8443, "PUT", "/x:y"), OSH_EFFECT_ALLOW);
	/* Twice says nothing new. */
	cr_assert_eq(edit_text(base, (struct osh_policy_edits){ .add_denies = LIST(
									"git.test:443:GET:/s",
									"git.test:443:get:/s") }),
		     0);
	cr_expect_null(strstr(strstr(edited, "path: /s") + 1, "path: /s"));
	/* The base of a new endpoint may come in the same call. */
	cr_assert_eq(
		edit_text(base, (struct osh_policy_edits){ .add_endpoints =
								   LIST("a.test:443::rest:enforce"),
							   .add_allows = LIST("a.test:443:GET:**"),
							   .binaries = LIST("/bin/a") }),
		0);
	cr_expect_eq(ask("/bin/a", "a.test", 443, "GET", "/any/where"), OSH_EFFECT_ALLOW);
	cr_expect_eq(ask("/bin/a", "a.test", 443, "POST", "/any/where"), OSH_EFFECT_DENY);
}

Test(policy_edit, options)
{
	cr_assert_eq(
		edit_text(base,
			  (struct osh_policy_edits){
				  .add_endpoints = LIST(
					  "w.test:443:full:websocket:enforce:websocket-credential-"
					  "rewrite",
					  "[2001:db8::1]:443",
					  "u.test:443:full:rest::request-body-credential-rewrite,"
					  "allow-uninspected-credentials"),
				  .binaries = LIST("/bin/a") }),
		0, "%s", error.message);
	expect_part("websocket_credential_rewrite: true");
	expect_part("host: \"2001:db8::1\"");
	expect_part("request_body_credential_rewrite: true");
	expect_part("allow_uninspected_credentials: true");
	cr_expect_eq(ask("/bin/a", "2001:db8::1", 443, NULL, NULL), OSH_EFFECT_ALLOW);
}

Test(policy_edit, refusals)
{
	const struct {
		const char *part;
		struct osh_policy_edits edits;
		int code;
	} cases[] = {
		{ "nothing to change", { 0 }, -EINVAL },
		{ "port must be a number", { .add_endpoints = LIST("a.test") }, -EINVAL },
		{ "port must be a number", { .add_endpoints = LIST("a.test:0") }, -EINVAL },
		{ "port must be a number", { .add_endpoints = LIST("a.test:65536") }, -EINVAL },
		{ "host is missing", { .add_endpoints = LIST(":443") }, -EINVAL },
		{ "access 'all' is unknown", { .add_endpoints = LIST("a.test:443:all") }, -EINVAL },
		{ "protocol 'http' is unknown",
		  { .add_endpoints = LIST("a.test:443::http") },
		  -EINVAL },
		{ "enforcement 'on' is unknown",
		  { .add_endpoints = LIST("a.test:443:full:rest:on") },
		  -EINVAL },
		{ "option 'x' is unknown",
		  { .add_endpoints = LIST("a.test:443:full:rest::x") },
		  -EINVAL },
		{ "too many segments",
		  { .add_endpoints = LIST("a.test:443:full:rest:audit::x") },
		  -EINVAL },
		{ "host:port and nothing",
		  { .remove_endpoints = LIST("git.test:443:full") },
		  -EINVAL },
		{ "no such endpoint", { .remove_endpoints = LIST("git.test:80") }, -ENOENT },
		{ "no entry of that name", { .remove_rules = LIST("gut") }, -ENOENT },
		{ "METHOD:path_glob", { .add_allows = LIST("git.test:443:GET") }, -EINVAL },
		{ "is no method", { .add_allows = LIST("git.test:443:G T:/") }, -EINVAL },
		{ "must start with '/'", { .add_allows = LIST("git.test:443:GET:x/**") }, -EINVAL },
		{ "must start with '/'", { .add_allows = LIST("git.test:443:GET:*") }, -EINVAL },
		{ "no such endpoint", { .add_allows = LIST("new.test:443:GET:/x") }, -ENOENT },
		{ "not inspected", { .add_allows = LIST("db.test:5432:GET:/x") }, -EINVAL },
		{ "another protocol",
		  { .add_endpoints = LIST("git.test:443:full:websocket") },
		  -EINVAL },
		{ "exactly one",
		  { .add_endpoints = LIST("a.test:1", "b.test:1"), .rule_name = "x" },
		  -EINVAL },
		{ "exactly one", { .remove_rules = LIST("git"), .rule_name = "x" }, -EINVAL },
		{ "--binary",
		  { .remove_rules = LIST("git"), .binaries = LIST("/bin/x") },
		  -EINVAL },
		{ "allows nothing yet",
		  { .add_endpoints = LIST("a.test:443::rest"),
		    .add_denies = LIST("a.test:443:GET:/x") },
		  -EINVAL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_error(edit_text(base, cases[i].edits), cases[i].code, cases[i].part);
}

Test(policy_edit, an_allow_for_two_entries_is_ambiguous_a_deny_is_not)
{
	static const char two[] = "version: 1\nnetwork_policies:\n"
				  "  a:\n    endpoints: [{host: x.test, port: 443, protocol: rest, "
				  "enforcement: enforce, access: full}]\n"
				  "    binaries: [{path: /bin/a}]\n"
				  "  b:\n    endpoints: [{host: x.test, port: 443, protocol: rest, "
				  "enforcement: enforce, access: full}]\n"
				  "    binaries: [{path: /bin/b}]\n";

	expect_error(edit_text(two, (struct osh_policy_edits){ .add_allows =
								       LIST("x.test:443:GET:/x") }),
		     -EINVAL, "both 'a' and 'b'");
	cr_assert_eq(edit_text(two, (struct osh_policy_edits){ .add_denies =
								       LIST("x.test:443:GET:/x") }),
		     0);
	cr_expect_eq(ask("/bin/a", "x.test", 443, "GET", "/x"), OSH_EFFECT_DENY);
	cr_expect_eq(ask("/bin/b", "x.test", 443, "GET", "/x"), OSH_EFFECT_DENY);
	cr_expect_eq(ask("/bin/b", "x.test", 443, "GET", "/y"), OSH_EFFECT_ALLOW);
	/* All or none. */
	expect_error(edit_text(two, (struct osh_policy_edits){ .remove_rules = LIST("a", "zz") }),
		     -ENOENT, "zz");
	cr_expect_null(edited);
}

/* Without a protocol's base the policy itself is refused: that is the loader's word. */
Test(policy_edit, a_protocol_without_a_base_does_not_load)
{
	struct osh_diags diags;

	cr_assert_eq(edit_text(base, (struct osh_policy_edits){ .add_endpoints = LIST(
									"api.github.com:443::rest"),
								.binaries = LIST("/bin/a") }),
		     0);
	cr_expect_not(case_loads(osh_str(edited), &diags));
	cr_expect_not_null(strstr(diags.items[0].message, "needs access or rules"));
	cr_assert_eq(edit_text(base, (struct osh_policy_edits){ .add_endpoints = LIST(
									"db.internal:5432::tcp"),
								.binaries = LIST("/bin/a") }),
		     0);
	cr_expect(case_loads(osh_str(edited), &diags));
}

/* ---- The writer ---------------------------------------- */

static void check_written(struct osh_str text)
{
	struct osh_diags *diags = calloc(1, sizeof(*diags));
	struct osh_arena arena = { 0 }, again_arena = { 0 };
	struct osh_yaml_node *root = NULL, *again = NULL;
	struct osh_buf buf;

	osh_buf_init(&buf, 8 << 20);
	if (osh_yaml_parse(text, &arena, diags, &root) == 0) {
		cr_expect_eq(osh_yaml_write(root, &buf), 0);
		cr_expect_eq(osh_yaml_parse(osh_buf_str(&buf), &again_arena, diags, &again), 0,
			     "%.*s\n%s", (int)buf.len, osh_buf_bytes(&buf),
			     diags->items[0].message);
		cr_expect(again && osh_yaml_same(root, again), "%.*s", (int)buf.len,
			  osh_buf_bytes(&buf));
	}
	osh_buf_done(&buf);
	osh_arena_done(&arena);
	osh_arena_done(&again_arena);
	free(diags);
}

static void check_row(json_t *row)
{
	check_written(case_str(row, "yaml"));
}

Test(yaml_write, every_case_reads_the_same_again)
{
	case_each("valid.jsonl", check_row);
	case_each("invalid.jsonl", check_row);
}

Test(yaml_write, odd_scalars)
{
	static const char *const texts[] = {
		"a: 'yes'\nb: \"443\"\nc: 443\nd: null\ne:\nf: ''\ng: .inf\nh: -1.5e3\n",
		("'a b': \"x: y # z\"\n\"\": '*'\n'- x': '-'\n'?': '{'\n\"\\u00e9\": "
		 "\"\\U0001F600\"\n"),
		"a: \"\\x01\\t\\n\\r\\x7f\\x85\\L\\P\\uFEFF\\e\\\\\\\"\"\n",
		"a: |\n  one\n  # two\nb: >\n  x\n  y\n\n  z\nc: plain\n  over lines\n",
		"[[], {}, [[]], [{}], {a: []}, [1, [2]]]",
		"x",
		"- - - a\n    - b\n  - c\n",
		"[{a: {b: [c, {d: e}]}}]",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		check_written(osh_str(texts[i]));
}
