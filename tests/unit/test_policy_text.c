/* Policy texts that are broken, and what is said about them (threats G04, G05, B22). */
#include <criterion/criterion.h>
#include <time.h>

#include "base/mem.h"
#include "policy_cases.h"

/* The first error of a text that must not load. */
static struct osh_diag first_error(struct osh_str text)
{
	struct osh_diags diags;

	cr_assert_not(case_loads(text, &diags), "loads: %.*s", (int)text.len, text.data);
	for (size_t i = 0; i < diags.count; i++) {
		if (diags.items[i].level == OSH_DIAG_ERROR)
			return diags.items[i];
	}
	cr_assert_fail("no error kept");
	return diags.items[0];
}

/* ---- YAML ---------------------------------------------------------------- */

Test(text, broken_yaml)
{
	static const struct {
		const char *yaml, *about;
		unsigned line, column;
	} rows[] = {
		{ "", "empty", 1, 1 },
		{ "# nothing\n", "empty", 2, 1 },
		{ "--- {version: 1}\n--- {version: 1}\n", "one YAML document", 2, 1 },
		{ "version: &a 1\n", "anchors", 1, 10 },
		{ "version: *a\n", "aliases", 1, 10 },
		{ "version: !!int 1\n", "tags", 1, 10 },
		{ "!x {version: 1}\n", "tags", 1, 1 },
		{ "%YAML 1.1\n---\nversion: 1\n", "directives", 1, 1 },
		{ "version: 1\nversion: 1\n", "duplicate key 'version' (first at line 1)", 2, 1 },
		{ "version: 1\n\"version\": 1\n", "duplicate key 'version'", 2, 1 },
		{ "version: 1\n? [a]\n: b\n", "a key must be", 2, 3 },
		{ "version: 1\n  bad: indent\n", "YAML syntax", 2, 6 },
		{ "{version: 1", "YAML syntax", 2, 1 },
		{ "version: \"1\n", "YAML syntax", 2, 1 },
		{ "version: 1\nx: \x01\n", "control byte 0x01", 2, 4 },
		{ "version: 1\nx: \xc3\xa9\x7f\n", "control byte 0x7f", 2, 5 },
		{ "version: 1\nx: \xff\n", "0xff is not valid UTF-8", 2, 4 },
		{ "version: 1\nx: \xc0\xaf\n", "0xc0 is not valid UTF-8", 2, 4 },
		{ "version: 1\nx: \xed\xa0\x80\n", "0xed is not valid UTF-8", 2, 4 },
		{ "[]\n", "must be a mapping", 1, 1 },
		{ "42\n", "must be a mapping", 1, 1 },
		{ "network_policies: {}\n", "version is required", 1, 1 },
		{ "version: 0x1\n", "must be a decimal integer", 1, 10 },
		{ "version: 01\n", "must be a decimal integer", 1, 10 },
		{ "version: 1.0\n", "must be an integer", 1, 10 },
		{ "version: ~\n", "must be an integer", 1, 10 },
		{ "version: 1\nmode: lax\n", "mode: 'lax' is unknown", 2, 7 },
		{ "version: 1\nnetwork_policies:\n", "must be a mapping, not nothing", 2, 18 },
		{ "version: 1\nnetwork_policies: []\n", "must be a mapping, not a list", 2, 19 },
		{ "version: 1\nnetwork_policies: {\"\": {}}\n", "name must have 1 to 256 bytes", 2,
		  20 },
		{ "version: 1\nfilesystem_policy: {include_workdir: yes}\n", "true or false", 2,
		  38 },
		{ "version: 1\nprocess: {run_as_user: 1000}\n", "put it in quotes", 2, 24 },
		{ "version: 1\nlandlock: {compatibility: strict}\n",
		  "best_effort, hard_requirement", 2, 27 },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct osh_diag diag = first_error(osh_str(rows[i].yaml));

		cr_expect_not_null(strstr(diag.message, rows[i].about), "%s: %s", rows[i].yaml,
				   diag.message);
		cr_expect_eq(diag.line, rows[i].line, "%s: line %u: %s", rows[i].yaml, diag.line,
			     diag.message);
		cr_expect_eq(diag.column, rows[i].column, "%s: column %u: %s", rows[i].yaml,
			     diag.column, diag.message);
	}
}

/* However many keys there are, and wherever the second one stands. */
Test(text, duplicate_keys)
{
	for (int keys = 2; keys <= 40; keys += 2) {
		char text[2048];
		struct case_writer w = { .buf = text, .size = sizeof(text) };
		struct osh_diag diag;

		case_put(&w, "version: 1\nnetwork_policies:\n");
		for (int i = 0; i < keys; i++)
			case_put(&w, "  p%d: {}\n", i);
		cr_assert(case_loads(osh_str(text), &(struct osh_diags){ 0 }), "%d keys", keys);
		case_put(&w, "  p%d: {}\n", keys / 2);
		diag = first_error(osh_str(text));
		snprintf(text, sizeof(text), "duplicate key 'p%d' (first at line %d)", keys / 2,
			 keys / 2 + 3);
		cr_expect_str_eq(diag.message, text);
		cr_expect_eq(diag.line, (uint32_t)keys + 3);
	}
}

Test(text, nul_is_not_the_end)
{
	static const char text[] = "version: 1\n\0garbage: [";
	struct osh_diag diag = first_error(osh_str_n(text, sizeof(text) - 1));

	cr_expect_not_null(strstr(diag.message, "control byte 0x00"), "%s", diag.message);
	cr_expect_eq(diag.line, 2);
	diag = first_error(osh_str("version: 1\nnetwork_policies: {\"a\\0b\": {}}\n"));
	cr_expect_not_null(strstr(diag.message, "NUL"), "%s", diag.message);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Bombs are refused in bounded time. */
Test(text, bombs, .timeout = 20)
{
	static char text[2 << 20];
	double start = seconds();
	struct osh_diag diag;
	struct case_writer w = { .buf = text, .size = sizeof(text) };

	memset(text, '[', 100000);
	diag = first_error(osh_str_n(text, 100000));
	cr_expect_not_null(strstr(diag.message, "nested deeper than 32"), "%s", diag.message);
	memset(text, ',', 1 << 20);
	memcpy(text, "version: 1\nx: [a", 16);
	(void)first_error(osh_str_n(text, 1 << 20));
	for (size_t i = 16; i + 1 < (1 << 20); i += 2)
		memcpy(text + i, ",a", 2);
	memcpy(text + (1 << 20) - 2, "]\n", 2);
	diag = first_error(osh_str_n(text, 1 << 20));
	cr_expect_not_null(strstr(diag.message, "more than 131072 values"), "%s", diag.message);
	memset(text, ' ', sizeof(text));
	diag = first_error(osh_str_n(text, (1 << 20) + 1));
	cr_expect_not_null(strstr(diag.message, "at most 1048576"), "%s", diag.message);
	diag = first_error(osh_str("a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n"));
	cr_expect_not_null(strstr(diag.message, "anchors"), "%s", diag.message);
	case_put(&w, "version: 1\nnetwork_policies: {p: {endpoints: [{}");
	for (int i = 0; i < 32768; i++)
		case_put(&w, ",{}");
	case_put(&w, "]}}\n");
	diag = first_error(osh_str(text));
	cr_expect_not_null(strstr(diag.message, "more than 32768 endpoints"), "%s", diag.message);
	cr_expect_lt(seconds() - start, 5.0);
}

Test(text, depth_bound)
{
	char text[512] =
		"version: 1\nnetwork_middlewares: {m: {middleware: x, endpoints: {include: [a.b.c]}, config: ";
	char good[512], bad[512];
	struct osh_diags diags;

	/* The document and four mappings are open already. */
	snprintf(good, sizeof(good), "%s{a: %.*s%.*s}}}\n", text, 28,
		 "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 28, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
	snprintf(bad, sizeof(bad), "%s{a: %.*s%.*s}}}\n", text, 29,
		 "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 29, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
	cr_expect(case_loads(osh_str(good), &diags), "%s", diags.items[0].message);
	cr_expect_not_null(strstr(first_error(osh_str(bad)).message, "nested deeper"));
}

/* Every prefix of a good policy loads or is refused with a place; none crashes. */
Test(text, every_prefix)
{
	struct osh_str text = case_read("policies/graphql.yaml");
	size_t loads = 0;

	for (size_t i = 0; i <= text.len; i++) {
		struct osh_diags diags;
		char *copy = malloc(i + 1);

		cr_assert_not_null(copy);
		memcpy(copy, text.data, i);
		loads += case_loads(osh_str_n(copy, i), &diags);
		free(copy);
	}
	cr_expect_gt(loads, 1);
	cr_expect_lt(loads, text.len / 2);
	free((char *)text.data);
}

/* ---- Findings ------------------------------------------------------------ */

Test(text, all_errors_of_a_file)
{
	static const char text[] =
		"version: 1\n"
		"filesytem_policy: {}\n"
		"network_policies:\n"
		"  a:\n"
		"    endpoints:\n"
		"      - { host: \"*.com\", port: 70000, protocol: rset, access: full }\n"
		"      - { host: a.test, prot: 443 }\n"
		"    binaries: [{ paht: /usr/bin/curl }]\n";
	static const struct {
		unsigned line, column;
		const char *about;
	} want[] = {
		{ 2, 1,
		  "unknown field 'filesytem_policy' in the policy: did you mean filesystem_policy?" },
		{ 6, 17, "host '*.com' is a wildcard directly under a TLD" },
		{ 6, 32, "port 70000 is out of range (1 to 65535)" },
		{ 6, 49, "protocol: 'rset' is unknown, did you mean rest? (allowed: tcp, rest" },
		{ 7, 9, "neither port nor ports" },
		{ 7, 25, "unknown field 'prot' in an endpoint: did you mean port?" },
		{ 8, 16, "binary entry lacks path" },
		{ 8, 18, "unknown field 'paht' in a binary entry: did you mean path?" },
	};
	struct osh_diags diags;

	cr_assert_not(case_loads(osh_str(text), &diags));
	cr_expect_eq(diags.errors, OSH_COUNT_OF(want));
	for (size_t i = 0, at = 0; i < OSH_COUNT_OF(want); i++) {
		while (at < diags.count && diags.items[at].level != OSH_DIAG_ERROR)
			at++;
		cr_assert_lt(at, diags.count, "only %zu errors", i);
		cr_expect_eq(diags.items[at].line, want[i].line, "%s", diags.items[at].message);
		cr_expect_eq(diags.items[at].column, want[i].column, "%u: %s",
			     diags.items[at].column, diags.items[at].message);
		cr_expect_not_null(strstr(diags.items[at].message, want[i].about), "%s",
				   diags.items[at].message);
		at++;
	}
}

/* Where no known key is near, all of them are named, to the last. */
Test(text, unknown_key_lists_the_known_ones)
{
	struct osh_diag diag = first_error(osh_str("version: 1\nnetwork_policies: {p: {endpoints: "
						   "[{host: a.test, port: 1, zzzzzzzz: 1}]}}\n"));

	cr_expect_not_null(strstr(diag.message, "(allowed: host, port, "), "%s", diag.message);
	cr_expect_not_null(strstr(diag.message, ", mcp, json_rpc)"), "%s", diag.message);
}

Test(text, errors_are_counted_beyond_the_bound)
{
	static char text[20000];
	struct case_writer w = { .buf = text, .size = sizeof(text) };
	struct osh_diags diags;
	size_t kept = 0;

	case_put(&w, "version: 1\n");
	for (int i = 0; i < 100; i++)
		case_put(&w, "bad%d: 1\n", i);
	cr_assert_not(case_loads(osh_str(text), &diags));
	cr_expect_eq(diags.errors, 100);
	for (size_t i = 0; i < diags.count; i++)
		kept += diags.items[i].level == OSH_DIAG_ERROR;
	cr_expect_eq(kept, OSH_POLICY_ERRORS_MAX);
	cr_expect_eq(diags.items[0].line, 2);
}

Test(text, formatting_escapes)
{
	struct osh_diag diag = first_error(osh_str("version: 1\n\"a\\e]52;c\\a\\u202e\": 1\n"));
	char line[1024];
	size_t len = osh_diag_format(&diag, "my\npolicy.yaml", line, sizeof(line));

	cr_expect_eq(len, strlen(line));
	cr_expect_eq(
		strncmp(line,
			"my\\x0apolicy.yaml:2:1: unknown field 'a\\x1b]52;c\\x07\\xe2\\x80\\xae'",
			50),
		0, "%s", line);
	for (size_t i = 0; i < len; i++)
		cr_expect(line[i] >= 0x20 && line[i] < 0x7f);
	cr_expect_eq(osh_diag_format(&diag, "x", line, 8), 7);
	cr_expect_str_eq(line, "x:2:1: ");
}

/* ---- Warnings ------------------------------------------------------------ */

#define REST(rules) \
	"version: 1\nnetwork_policies:\n  p:\n    endpoints:\n      - host: a.test\n        port: 443\n" \
	"        protocol: rest\n        enforcement: enforce\n" rules \
	"    binaries: [{ path: /usr/bin/curl }]\n"

Test(text, warnings)
{
	static const struct {
		const char *yaml, *about; /* NULL: none */
	} rows[] = {
		{ REST("        access: full\n"), NULL },
		{ REST("        rules: [{allow: {method: GET, path: \"/x/**\"}}]\n"),
		  "leaves out '/x' itself" },
		{ REST("        rules: [{allow: {method: GET, path: \"/x/**\"}}, {allow: {method: GET, path: /x}}]\n"),
		  NULL },
		{ REST("        rules: [{allow: {method: GET, path: \"*\"}}, {allow: {method: GET, path: /x}}]\n"),
		  "write ** or /**" },
		{ REST("        rules: [{allow: {method: GET, path: \"/a%2fb\"}}]\n"),
		  "lower-case escape" },
		{ REST("        rules: [{allow: {method: GET, path: \"/a%2Fb\"}}]\n"), NULL },
		{ REST("        rules: [{allow: {method: GET, path: \"/a;b\"}}]\n"), "holds ';'" },
		{ REST("        rules: [{allow: {method: GET, path: a}}]\n"),
		  "does not start with /" },
		{ REST("        rules: [{allow: {method: GET}}, {allow: {method: GET, path: /x}}]\n"),
		  "lacks path" },
		{ REST("        rules: [{allow: {method: GTE, path: /x}}]\n"),
		  "unknown HTTP method 'GTE'" },
		{ REST("        access: full\n        deny_rules: [{method: GET, path: /x}]\n"),
		  "escaped by a trailing slash" },
		{ REST("        access: full\n        deny_rules: [{method: GET, path: \"/x/**\"}]\n"),
		  NULL },
		{ REST("        access: full\n        ports: [80]\n"), "port is ignored" },
		{ REST("        access: full\n        allowed_ips: [10.0.0.0/8]\n"),
		  "fewer than 16 bits" },
		{ REST("        access: full\n        allowed_ips: [10.1.0.0/16]\n"), NULL },
		{ "version: 1\nnetwork_policies: {p: {endpoints: [{host: a.test, port: 443, protocol: rest, access: full}],"
		  " binaries: [{path: /x}]}}\n",
		  "only audited" },
		{ "version: 1\nnetwork_policies: {p: {endpoints: [{host: a.test, port: 443}]}}\n",
		  "matches nobody" },
		{ "version: 1\nnetwork_policies: {p: {endpoints: [{host: a.test, port: 443}], binaries: []}}\n",
		  "matches nobody" },
		{ "version: 1\nnetwork_policies: {p: {endpoints: [{host: a.test., port: 443}], binaries: [{path: /x}]}}\n",
		  "ends in a dot" },
		{ "version: 1\nnetwork_policies: {p: {endpoints: [{host: \"127.1\", port: 443}], binaries: [{path: /x}]}}\n",
		  "not a valid name" },
		{ "version: 1\nnetwork_policies: {p: {endpoints: [{host: a.test, port: 443}], binaries: [{path: /usr//bin/x}]}}\n",
		  "empty, '.' or '..'" },
		{ "version: 1\nnetwork_policies: {p: {endpoints: [{host: a.test, port: 443}], binaries: [{path: /usr/../x}]}}\n",
		  "empty, '.' or '..'" },
		{ "version: 1\nnetwork_policies: {p: {endpoints: [{host: a.test, port: 443}], binaries: [{path: /usr/bin/}]}}\n",
		  "empty, '.' or '..'" },
		{ "version: 1\nnetwork_policies: {p: {endpoints: [{host: a.test, port: 443}], binaries: [{path: curl}]}}\n",
		  "does not start with /" },
		{ "version: 1\nnetwork_policies: {p: {endpoints: [{host: a.test, port: 443}], binaries: [{path: /lib64/ld-linux-x86-64.so.2}]}}\n",
		  "dynamic loader" },
		{ "version: 1\nnetwork_policies: {p: {endpoints: [{host: a.test, port: 443}], binaries: [{path: /usr/bin/node}]}}\n",
		  "'/usr/bin/node' runs any script" },
		{ "version: 1\nnetwork_policies: {p: {endpoints: [{host: a.test, port: 443}], binaries: [{path: /usr/bin/node/x}]}}\n",
		  NULL },
		{ "version: 1\nnetwork_policies: {p: {endpoints: [{host: a.test, port: 443}], binaries: [{path: \"/usr/*/x\"}]}}\n",
		  NULL },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct osh_diags diags;
		bool found = false;

		cr_assert(case_loads(osh_str(rows[i].yaml), &diags), "%s: %s", rows[i].yaml,
			  diags.items[0].message);
		for (size_t j = 0; j < diags.count && rows[i].about; j++)
			found |= strstr(diags.items[j].message, rows[i].about) != NULL;
		if (rows[i].about)
			cr_expect(found, "no warning '%s' for\n%s", rows[i].about, rows[i].yaml);
		else
			cr_expect_eq(diags.count, 0, "%s: %s", rows[i].yaml,
				     diags.items[0].message);
	}
}

/* ---- Our own keys -------------------------------------------------------- */

Test(text, own_keys)
{
	static const struct {
		const char *entry, *about; /* NULL: loads */
	} rows[] = {
		{ "limits: {flows: 10, flows_per_second: 5, bytes_per_second: 100000}", NULL },
		{ "limits: {flows: 0}", "limits: flows" },
		{ "limits: {flow: 1}", "did you mean flows?" },
		{ "unix_sockets: [/run/x.sock]", NULL },
		{ "unix_sockets: [run/x.sock]", "absolute, normalised" },
		{ "unix_sockets: [/run/../x.sock]", "absolute, normalised" },
		{ "binaries: [{path: /x, clean: true}]", NULL },
		{ "binaries: [{path: /x, clean: 1}]", "must be a boolean" },
		{ "binaries: [{path: \"/x/*\", sha256: \"0000000000000000000000000000000000000000000000000000000000000000\"}]",
		  "without wildcard" },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		char text[512];
		struct osh_diags diags;

		snprintf(
			text, sizeof(text),
			"version: 1\nnetwork_policies:\n  p:\n    endpoints: [{host: a.test, port: 1}]\n    %s\n",
			rows[i].entry);
		if (rows[i].about)
			cr_expect_not_null(
				strstr(first_error(osh_str(text)).message, rows[i].about), "%s: %s",
				rows[i].entry, first_error(osh_str(text)).message);
		else
			cr_expect(case_loads(osh_str(text), &diags), "%s: %s", rows[i].entry,
				  diags.items[0].message);
	}
}

/* ---- Static sections ----------------------------------------------------- */

static struct osh_policy_doc *load(const char *text)
{
	struct osh_diags diags = { 0 };
	struct osh_policy_doc *doc = NULL;

	cr_assert_eq(osh_policy_parse(osh_str(text), &diags, &doc), 0, "%s",
		     diags.items[0].message);
	return doc;
}

Test(statics, defaults)
{
	struct osh_policy_doc *doc = load("version: 1\n");
	const struct osh_policy_static *s = osh_policy_doc_static(doc);

	cr_expect(s->include_workdir && !s->has_filesystem);
	cr_expect_eq(s->read_only_count, 7);
	cr_expect_str_eq(s->read_only[0], "/usr");
	cr_expect_str_eq(s->read_only[6], "/var/log");
	cr_expect_eq(s->read_write_count, 2);
	cr_expect_str_eq(s->read_write[1], "/dev/null");
	cr_expect_eq(s->landlock, OSH_LANDLOCK_BEST_EFFORT);
	cr_expect(s->uid == 0 && s->gid == 0);
	osh_policy_doc_free(doc);
}

Test(statics, values)
{
	struct osh_policy_doc *doc = load(
		"version: 1\n"
		"filesystem_policy: {read_only: [/usr//lib/, /opt/./x, /], read_write: [/tmp/]}\n"
		"landlock: {compatibility: hard_requirement}\n"
		"process: {run_as_user: \"4294967294\", run_as_group: sandbox}\n");
	const struct osh_policy_static *s = osh_policy_doc_static(doc);

	cr_expect(s->has_filesystem && !s->include_workdir);
	cr_assert_eq(s->read_only_count, 3);
	cr_expect_str_eq(s->read_only[0], "/usr/lib");
	cr_expect_str_eq(s->read_only[1], "/opt/x");
	cr_expect_str_eq(s->read_only[2], "/");
	cr_expect_str_eq(s->read_write[0], "/tmp");
	cr_expect_eq(s->landlock, OSH_LANDLOCK_HARD_REQUIREMENT);
	cr_expect_eq(s->uid, 4294967294u);
	cr_expect_eq(s->gid, 0);
	osh_policy_doc_free(doc);
}
