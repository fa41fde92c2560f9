/* The engine beyond the case files: binaries and hosts that must not mix, ports, images,
 * permissive mode, pins, the address guard's own additions, the shipped default. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>

#include "base/mem.h"
#include "policy/document.h"
#include "policy/image.h"
#include "policy_cases.h"

static struct osh_connect_query from(const char *binary, const char *host, uint16_t port)
{
	return (struct osh_connect_query){
		.subject = { .binary = osh_str(binary) },
		.host = osh_str(host),
		.port_host = port,
	};
}

static enum osh_effect connects(const struct case_policy *p, const char *binary, const char *host,
				uint16_t port)
{
	struct osh_connect_query query = from(binary, host, port);
	struct osh_decision decision;

	osh_policy_connect(&p->policy, &query, &decision);
	return decision.effect;
}

static struct osh_decision requests(const struct case_policy *p, const char *host,
				    const char *method, const char *path)
{
	struct osh_request_query query = {
		.connect = from("/usr/bin/curl", host, 443),
		.method = osh_str(method),
		.path = osh_str(path),
	};
	struct osh_decision decision;

	osh_policy_request(&p->policy, &query, &decision);
	return decision;
}

/* ---- Threat B25: binary a with host 1, b with host 2, never a with host 2 ---- */

struct random_entry {
	bool hosts[6], binaries[4];
};

static const char *const host_patterns[6] = { "a.one.test",  "b.one.test", "*.one.test",
					      "**.one.test", "a.two.test", "a*.two.test" };
static const char *const hosts[] = { "a.one.test",  "b.one.test",   "c.one.test", "a.two.test",
				     "ab.two.test", "x.a.one.test", "one.test",   "test" };
/* Which pattern matches which host, by the language's rules. */
static const bool host_matches[6][8] = {
	{ 1, 0, 0, 0, 0, 0, 0, 0 }, { 0, 1, 0, 0, 0, 0, 0, 0 }, { 1, 1, 1, 0, 0, 0, 0, 0 },
	{ 1, 1, 1, 0, 0, 1, 0, 0 }, { 0, 0, 0, 1, 0, 0, 0, 0 }, { 0, 0, 0, 1, 1, 0, 0, 0 },
};
static const char *const binary_patterns[4] = { "/usr/bin/git", "/usr/bin/*", "/opt/**",
						"/usr/bin/curl" };
static const char *const binaries[] = { "/usr/bin/git", "/usr/bin/curl", "/opt/a/b", "/bin/sh" };
static const bool binary_matches[4][4] = {
	{ 1, 0, 0, 0 },
	{ 1, 1, 0, 0 },
	{ 0, 0, 1, 0 },
	{ 0, 1, 0, 0 },
};

static void write_random(struct random_entry *entries, size_t count, char *text, size_t size)
{
	struct case_writer w = { .buf = text, .size = size };

	case_put(&w, "version: 1\nnetwork_policies:\n");
	for (size_t i = 0; i < count; i++) {
		case_put(&w, "  p%zu:\n    endpoints: [", i);
		for (size_t h = 0; h < 6; h++) {
			entries[i].hosts[h] = rand() % 3 == 0;
			if (entries[i].hosts[h])
				case_put(&w, "{host: \"%s\", port: 443},", host_patterns[h]);
		}
		case_put(&w, "]\n    binaries: [");
		for (size_t b = 0; b < 4; b++) {
			entries[i].binaries[b] = rand() % 3 == 0;
			if (entries[i].binaries[b])
				case_put(&w, "{path: \"%s\"},", binary_patterns[b]);
		}
		case_put(&w, "]\n");
	}
}

static bool model_allows(const struct random_entry *entries, size_t count, size_t host,
			 size_t binary)
{
	for (size_t i = 0; i < count; i++) {
		bool host_ok = false, binary_ok = false;

		for (size_t h = 0; h < 6; h++)
			host_ok |= entries[i].hosts[h] && host_matches[h][host];
		for (size_t b = 0; b < 4; b++)
			binary_ok |= entries[i].binaries[b] && binary_matches[b][binary];
		if (host_ok && binary_ok)
			return true;
	}
	return false;
}

Test(policy, grants_never_mix)
{
	size_t allowed = 0;

	srand(25);
	for (int round = 0; round < 2000; round++) {
		struct random_entry entries[4];
		char text[4096];
		struct case_policy p;

		write_random(entries, 4, text, sizeof(text));
		case_compile(osh_str(text), &p);
		for (size_t h = 0; h < OSH_COUNT_OF(hosts); h++) {
			for (size_t b = 0; b < OSH_COUNT_OF(binaries); b++) {
				bool want = model_allows(entries, 4, h, b);

				allowed += want;
				cr_assert_eq(connects(&p, binaries[b], hosts[h], 443) ==
						     OSH_EFFECT_ALLOW,
					     want, "%s to %s under\n%s", binaries[b], hosts[h],
					     text);
			}
		}
		free(p.image);
	}
	cr_assert_gt(allowed, 1000);
}

/* ---- Threat C41: wildcards and ports ------------------------------------- */

Test(policy, wildcard_hosts)
{
	static const char text[] =
		"version: 1\nnetwork_policies:\n  p:\n    endpoints: [{host: \"*.ok.test\", port: 443}]\n"
		"    binaries: [{path: /usr/bin/curl}]\n";
	struct case_policy p;

	case_compile(osh_str(text), &p);
	cr_expect_eq(connects(&p, "/usr/bin/curl", "a.ok.test", 443), OSH_EFFECT_ALLOW);
	cr_expect_eq(connects(&p, "/usr/bin/curl", "ok.test", 443), OSH_EFFECT_DENY);
	cr_expect_eq(connects(&p, "/usr/bin/curl", "a.b.ok.test", 443), OSH_EFFECT_DENY);
	cr_expect_eq(connects(&p, "/usr/bin/curl", "xok.test", 443), OSH_EFFECT_DENY);
	cr_expect_eq(connects(&p, "/usr/bin/curl", "a.ok.test", 8443), OSH_EFFECT_DENY);
	cr_expect_eq(connects(&p, "", "a.ok.test", 443), OSH_EFFECT_DENY);
	free(p.image);
}

/* A program without a path is nobody, whatever a glob would match. */
Test(policy, no_path_matches_nothing)
{
	static const char text[] =
		"version: 1\nnetwork_policies:\n  p:\n    endpoints: [{host: ok.test, port: 443}]\n"
		"    binaries: [{path: \"/**\"}, {path: \"**\"}]\n";
	struct case_policy p;

	case_compile(osh_str(text), &p);
	cr_expect_eq(connects(&p, "/bin/x", "ok.test", 443), OSH_EFFECT_ALLOW);
	cr_expect_eq(connects(&p, "", "ok.test", 443), OSH_EFFECT_DENY);
	free(p.image);
}

/* ---- Pins ---------------------------------------------------------------- */

Test(policy, pinned_binaries)
{
	char text[512];
	struct case_policy p;
	struct osh_exe_facts facts = { .trust = OSH_TRUST_SAME };
	struct osh_connect_query query = from("/usr/bin/curl", "ok.test", 443);
	struct osh_decision decision;

	snprintf(
		text, sizeof(text),
		"version: 1\nnetwork_policies:\n  p:\n    endpoints: [{host: ok.test, port: 443}]\n"
		"    binaries: [{path: /usr/bin/curl, sha256: \"%064d\", clean: true}]\n",
		1);
	case_compile(osh_str(text), &p);
	facts.digest[31] = 0x01;
	facts.clean = OSH_CLEAN_YES;
	osh_policy_connect(&p.policy, &query, &decision);
	cr_expect_eq(decision.effect, OSH_EFFECT_DENY, "nothing is known of the binary");
	cr_expect_not_null(strstr(decision.reason, "sha256 or clean condition of policy 'p'"), "%s",
			   decision.reason);
	query.subject.facts = &facts;
	osh_policy_connect(&p.policy, &query, &decision);
	cr_expect_eq(decision.effect, OSH_EFFECT_ALLOW);
	facts.clean = OSH_CLEAN_NO;
	osh_policy_connect(&p.policy, &query, &decision);
	cr_expect_eq(decision.effect, OSH_EFFECT_DENY, "not clean");
	facts.clean = OSH_CLEAN_YES;
	facts.digest[0] = 1;
	osh_policy_connect(&p.policy, &query, &decision);
	cr_expect_eq(decision.effect, OSH_EFFECT_DENY, "another digest");
	free(p.image);
}

/* Facts are asked for one by one, and only about whom an entry for this host names. */
Test(policy, facts_are_wanted)
{
	static const char text[] =
		"version: 1\nnetwork_policies:\n"
		"  child: {endpoints: [{host: ok.test, port: 443}], binaries: [{path: /b/child}]}\n"
		"  top: {endpoints: [{host: ok.test, port: 443}], binaries: [{path: /b/top, clean: true}]}\n";
	struct osh_str ancestors[] = { osh_str("/b/middle"), osh_str("/b/top") };
	struct osh_exe_facts facts[3] = { 0 };
	struct osh_connect_query query = from("/b/child", "ok.test", 443);
	struct osh_decision decision;
	struct case_policy p;

	case_compile(osh_str(text), &p);
	query.subject.ancestors = ancestors;
	query.subject.ancestor_count = 2;
	query.subject.facts = facts;
	osh_policy_connect(&p.policy, &query, &decision);
	cr_expect_eq(decision.effect, OSH_EFFECT_DENY);
	cr_expect_eq(decision.wanted.subject, 1);
	cr_expect_not(decision.wanted.clean);
	facts[0].trust = OSH_TRUST_SAME;
	osh_policy_connect(&p.policy, &query, &decision);
	cr_expect_eq(decision.effect, OSH_EFFECT_DENY, "the other entry may yet count");
	cr_expect_eq(decision.wanted.subject, 3);
	cr_expect_not(decision.wanted.clean);
	facts[2].trust = OSH_TRUST_SAME;
	osh_policy_connect(&p.policy, &query, &decision);
	cr_expect_eq(decision.wanted.subject, 3);
	cr_expect(decision.wanted.clean);
	facts[2].clean = OSH_CLEAN_NO;
	osh_policy_connect(&p.policy, &query, &decision);
	cr_expect_eq(decision.effect, OSH_EFFECT_ALLOW);
	cr_expect_eq(decision.wanted.subject, 0);
	cr_expect(osh_str_eq_c(decision.policy, "child"));
	/* Neither: each says why. */
	facts[0].trust = OSH_TRUST_CHANGED;
	osh_policy_connect(&p.policy, &query, &decision);
	cr_expect_eq(decision.effect, OSH_EFFECT_DENY);
	cr_expect_eq(decision.wanted.subject, 0);
	cr_expect_not_null(strstr(decision.reason, "'/b/child' changed since its first use"), "%s",
			   decision.reason);
	cr_expect_not_null(strstr(decision.reason, "'/b/top' was not started clean"), "%s",
			   decision.reason);
	facts[0].trust = OSH_TRUST_UNTOLD;
	facts[2].clean = OSH_CLEAN_YES;
	osh_policy_connect(&p.policy, &query, &decision);
	cr_expect_eq(decision.effect, OSH_EFFECT_ALLOW);
	cr_expect(osh_str_eq_c(decision.policy, "top"));
	query.host = osh_str("no.test");
	memset(facts, 0, sizeof(facts));
	osh_policy_connect(&p.policy, &query, &decision);
	cr_expect_eq(decision.wanted.subject, 0, "nobody may go there anyway");
	free(p.image);
}

/* What is not known is not let through, whatever the mode. */
Test(policy, permissive_waits_for_facts)
{
	static const char text[] =
		"version: 1\nmode: permissive\nnetwork_policies:\n"
		"  p: {endpoints: [{host: ok.test, port: 443}], binaries: [{path: /b/x}]}\n";
	struct osh_exe_facts facts = { 0 };
	struct osh_connect_query query = from("/b/x", "ok.test", 443);
	struct osh_decision decision;
	struct case_policy p;

	case_compile(osh_str(text), &p);
	query.subject.facts = &facts;
	osh_policy_connect(&p.policy, &query, &decision);
	cr_expect_eq(decision.effect, OSH_EFFECT_DENY);
	cr_expect_eq(decision.wanted.subject, 1);
	facts.trust = OSH_TRUST_CHANGED;
	osh_policy_connect(&p.policy, &query, &decision);
	cr_expect_eq(decision.effect, OSH_EFFECT_AUDIT);
	free(p.image);
}

/* What the proxy and the launcher need to know beyond allow and deny. */
Test(policy, hands_on_the_optional_keys)
{
	static const char text[] =
		"version: 1\nlimits: {flows_per_second: 5}\nnetwork_policies:\n"
		"  p:\n    limits: {flows: 7, bytes_per_second: 9}\n"
		"    unix_sockets: [/run/x.sock, /run/y.sock, /run/x.sock]\n    endpoints:\n"
		"      - { host: ok.test, port: 443, protocol: rest, enforcement: enforce, access: full,"
		" request_body_credential_rewrite: true, credential_binding: { provider: gcp } }\n"
		"      - { host: raw.test, port: 443, tls: skip, allow_uninspected_credentials: true }\n"
		"    binaries: [{path: /usr/bin/curl}]\n";
	struct osh_connect_query raw = from("/usr/bin/curl", "raw.test", 443);
	struct osh_diags diags = { 0 };
	struct osh_policy_doc *doc;
	struct osh_decision d;
	struct case_policy p;
	const struct osh_policy_static *statics;
	const struct osh_policy_limits *limits;
	struct osh_str key;

	cr_assert_eq(osh_policy_parse(osh_str(text), &diags, &doc), 0);
	statics = osh_policy_doc_static(doc);
	cr_assert_eq(statics->unix_socket_count, 2);
	cr_expect_str_eq(statics->unix_sockets[0], "/run/x.sock");
	cr_expect_str_eq(statics->unix_sockets[1], "/run/y.sock");
	osh_policy_doc_free(doc);
	case_compile(osh_str(text), &p);
	d = requests(&p, "ok.test", "GET", "/");
	cr_expect(d.rewrite_body && !d.rewrite_text && !d.uninspected_credentials);
	cr_expect(osh_str_eq_c(d.credential_provider, "gcp"));
	limits = osh_policy_entry_limits(&p.policy, d.entry, &key);
	cr_assert(limits && osh_str_eq_c(key, "p"));
	cr_expect(limits->flows == 7 && limits->flows_per_second == 0 && limits->bytes_per_second == 9);
	cr_expect_null(osh_policy_entry_limits(&p.policy, 1, &key));
	limits = osh_policy_limits(&p.policy);
	cr_expect(limits->flows == 0 && limits->flows_per_second == 5 && limits->bytes_per_second == 0);
	osh_policy_connect(&p.policy, &raw, &d);
	cr_expect(d.uninspected_credentials && d.tls == OSH_TLS_SKIP &&
		  d.credential_provider.len == 0);
	free(p.image);
}

static int resolve(void *context, const char *path, char *buf, size_t size)
{
	(void)context;
	if (strcmp(path, "/usr/bin/python3") != 0)
		return -ENOENT;
	snprintf(buf, size, "/usr/bin/python3.11");
	return 0;
}

Test(policy, symbolic_links_bring_their_target)
{
	static const char text[] =
		"version: 1\nnetwork_policies:\n  p:\n    endpoints: [{host: ok.test, port: 443}]\n"
		"    binaries: [{path: /usr/bin/python3}, {path: /usr/bin/git}]\n";
	struct osh_policy_compile_options options = { .revision = 42, .resolve_binary = resolve };
	struct osh_diags diags = { 0 };
	struct osh_policy_doc *doc;
	struct case_policy p;
	size_t len;

	cr_assert_eq(osh_policy_parse(osh_str(text), &diags, &doc), 0);
	cr_assert_eq(osh_policy_compile(doc, &options, &p.image, &len), 0);
	cr_assert_eq(osh_policy_open(p.image, len, &p.policy), 0);
	cr_expect_eq(osh_policy_revision(&p.policy), 42);
	cr_expect_eq(connects(&p, "/usr/bin/python3", "ok.test", 443), OSH_EFFECT_ALLOW);
	cr_expect_eq(connects(&p, "/usr/bin/python3.11", "ok.test", 443), OSH_EFFECT_ALLOW);
	cr_expect_eq(connects(&p, "/usr/bin/python3.12", "ok.test", 443), OSH_EFFECT_DENY);
	osh_policy_doc_free(doc);
	free(p.image);
}

/* ---- Images -------------------------------------------------------------- */

Test(image, can_be_moved)
{
	struct osh_str text = case_read("policies/seed_github_push.yaml");
	struct osh_diags diags = { 0 };
	struct osh_policy_doc *doc;
	struct case_policy p;
	void *image, *copy;
	size_t len;

	cr_assert_eq(osh_policy_parse(text, &diags, &doc), 0);
	cr_assert_eq(osh_policy_compile(doc, NULL, &image, &len), 0);
	osh_policy_doc_free(doc);
	copy = aligned_alloc(4096, (len + 4095) / 4096 * 4096);
	cr_assert_not_null(copy);
	memcpy(copy, image, len);
	memset(image, 0xff, len);
	free(image);
	cr_assert_eq(osh_policy_open(copy, len, &p.policy), 0);
	cr_expect_eq(connects(&p, "/usr/bin/git", "github.com", 443), OSH_EFFECT_ALLOW);
	cr_expect_eq(connects(&p, "/usr/bin/git", "api.github.com", 443), OSH_EFFECT_DENY);
	free(copy);
	free((char *)text.data);
}

Test(image, refuses_what_is_none)
{
	static const size_t lists[] = {
		offsetof(struct osh_image_header, entries),
		offsetof(struct osh_image_header, endpoints),
		offsetof(struct osh_image_header, slots),
		offsetof(struct osh_image_header, hostless),
		offsetof(struct osh_image_header, literals),
		offsetof(struct osh_image_header, middlewares),
	};
	struct case_policy p;
	struct osh_policy policy;
	unsigned char *image;
	size_t len;

	case_compile(osh_str("version: 1\n"), &p);
	image = p.image;
	len = p.policy.len;
	cr_expect_eq(osh_policy_open(image, len, &policy), 0);
	cr_expect_eq(osh_policy_open(NULL, 0, &policy), -EBADMSG);
	cr_expect_eq(osh_policy_open(image, len - 1, &policy), -EBADMSG);
	cr_expect_eq(osh_policy_open(image, 16, &policy), -EBADMSG);
	cr_expect_eq(osh_policy_open(image + 1, len - 1, &policy), -EBADMSG);
	image[0] ^= 1;
	cr_expect_eq(osh_policy_open(image, len, &policy), -EBADMSG, "magic");
	image[0] ^= 1;
	image[8] ^= 1;
	cr_expect_eq(osh_policy_open(image, len, &policy), -EBADMSG, "version");
	image[8] ^= 1;
	for (size_t i = 0; i < OSH_COUNT_OF(lists); i++) {
		struct osh_image_list *list = (void *)(image + lists[i]), kept = *list;

		list->count = (uint32_t)len;
		cr_expect_eq(osh_policy_open(image, len, &policy), -EBADMSG, "list %zu", i);
		*list = (struct osh_image_list){ (uint32_t)len + 1, 0 };
		cr_expect_eq(osh_policy_open(image, len, &policy), -EBADMSG, "list %zu", i);
		*list = kept;
	}
	((struct osh_image_header *)(void *)image)->slots.count--;
	cr_expect_eq(osh_policy_open(image, len, &policy), -EBADMSG, "no power of two");
	free(image);
}

/* Compiling the same text twice gives the same bytes: revisions can be compared. */
Test(image, is_deterministic)
{
	struct osh_str text = case_read("policies/mcp.yaml");
	struct case_policy a, b;

	case_compile(text, &a);
	case_compile(text, &b);
	cr_assert_eq(a.policy.len, b.policy.len);
	cr_expect_eq(memcmp(a.image, b.image, a.policy.len), 0);
	free(a.image);
	free(b.image);
	free((char *)text.data);
}

/* ---- Lists for the kernel's map ------------------------------------------ */

static void count_port(void *context, uint16_t port)
{
	unsigned *sum = context;

	*sum = *sum * 100000 + port;
}

Test(policy, lists_ports)
{
	struct osh_str text = case_read("policies/hostless.yaml");
	struct case_policy p, q;
	unsigned sum = 0;

	case_compile(text, &p);
	osh_policy_ports(&p.policy, osh_str("my-service.corp.test"), count_port, &sum);
	cr_expect_eq(sum, 8080);
	sum = 0;
	osh_policy_ports(&p.policy, osh_str("other.test"), count_port, &sum);
	cr_expect_eq(sum, 0);
	osh_policy_hostless_ports(&p.policy, count_port, &sum);
	cr_expect_neq(sum, 0);
	free(p.image);
	free((char *)text.data);
	text = case_read("policies/ports.yaml");
	case_compile(text, &q);
	sum = 0;
	osh_policy_ports(&q.policy, osh_str("x.wild.test"), count_port, &sum);
	cr_expect_eq(sum, 443u * 100000 + 9443);
	free(q.image);
	free((char *)text.data);
}

static void check_literal(void *context, struct osh_str host, uint16_t port)
{
	unsigned *seen = context;

	cr_expect(osh_str_eq_c(host, "203.0.114.7"));
	cr_expect_eq(port, 5432);
	(*seen)++;
}

Test(policy, lists_literal_hosts)
{
	struct osh_str text = case_read("policies/l4_basic.yaml");
	struct case_policy p;
	unsigned seen = 0;

	case_compile(text, &p);
	osh_policy_literal_hosts(&p.policy, check_literal, &seen);
	cr_expect_eq(seen, 1);
	free(p.image);
	free((char *)text.data);
}

/* ---- What a denial says -------------------------------------------------- */

Test(policy, denial_names_the_nearest_rule)
{
	static const char text[] =
		"version: 1\nnetwork_policies:\n  p:\n    endpoints:\n"
		"      - host: ok.test\n        port: 443\n        protocol: rest\n        enforcement: enforce\n"
		"        rules:\n"
		"          - allow: { method: POST, path: /other }\n"
		"          - allow: { method: GET, path: \"/pub/*\" }\n"
		"    binaries: [{path: /usr/bin/curl}]\n";
	struct case_policy p;
	struct osh_decision d;

	case_compile(osh_str(text), &p);
	d = requests(&p, "ok.test", "PUT", "/pub/x");
	cr_expect_eq(d.effect, OSH_EFFECT_DENY);
	cr_expect_str_eq(d.reason, "PUT /pub/x not permitted by policy");
	cr_expect_eq(d.nearest_line, 11);
	cr_expect(osh_str_eq_c(d.nearest, "/pub/*"));
	d = requests(&p, "ok.test", "GET", "/pub/x");
	cr_expect_eq(d.effect, OSH_EFFECT_ALLOW);
	cr_expect_eq(d.rule_line, 11);
	cr_expect_str_empty(d.reason);
	free(p.image);
}

Test(policy, malformed_queries_are_refused)
{
	struct osh_str text = case_read("policies/audit.yaml");
	struct osh_request_query query = {
		.connect = from("/usr/bin/curl", "a.test", 443),
		.method = osh_str("GET"),
		.path = osh_str("/x"),
	};
	static const struct {
		const char *query;
		enum osh_effect effect;
	} rows[] = {
		{ "a=%41&b=%C3%A9", OSH_EFFECT_ALLOW },
		{ "a=%zz", OSH_EFFECT_DENY },
		{ "a=%4", OSH_EFFECT_DENY },
		{ "a=%", OSH_EFFECT_DENY },
		{ "a=%FF", OSH_EFFECT_DENY },
		{ "%C3=%A9", OSH_EFFECT_DENY },
	};
	struct case_policy p;

	case_compile(text, &p);
	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct osh_decision d;

		query.query = osh_str(rows[i].query);
		osh_policy_request(&p.policy, &query, &d);
		cr_expect_eq(d.effect, rows[i].effect, "%s", rows[i].query);
		cr_expect_eq(d.stage,
			     rows[i].effect == OSH_EFFECT_ALLOW ? OSH_STAGE_NONE : OSH_STAGE_PARSE);
	}
	free(p.image);
	free((char *)text.data);
}

/* ---- Permissive ---------------------------------------------------------- */

Test(policy, permissive_audits)
{
	static const char text[] =
		"version: 1\nmode: permissive\nnetwork_policies:\n  p:\n    endpoints:\n"
		"      - { host: ok.test, port: 443, protocol: rest, enforcement: enforce, access: read-only }\n"
		"    binaries: [{path: /usr/bin/curl}]\n";
	struct osh_connect_query query = from("/usr/bin/curl", "no.test", 443);
	struct in6_addr internal = { .s6_addr = { [10] = 0xff, [11] = 0xff, [12] = 10, 0, 0, 1 } };
	struct osh_diags diags;
	struct case_policy p;
	struct osh_decision d;

	cr_assert(case_loads(osh_str(text), &diags));
	cr_expect_eq(diags.warnings, 1, "permissive is not silent");
	case_compile(osh_str(text), &p);
	cr_expect(osh_policy_is_permissive(&p.policy));
	cr_expect_eq(connects(&p, "/bin/sh", "no.test", 443), OSH_EFFECT_AUDIT);
	cr_expect_eq(connects(&p, "/usr/bin/curl", "ok.test", 443), OSH_EFFECT_ALLOW);
	d = requests(&p, "ok.test", "POST", "/x");
	cr_expect_eq(d.effect, OSH_EFFECT_AUDIT);
	cr_expect_str_eq(d.reason, "POST /x not permitted by policy");
	d = requests(&p, "ok.test", "GET", "/a%2Fb");
	cr_expect_eq(d.effect, OSH_EFFECT_DENY, "what is malformed stays denied");
	cr_expect_eq(osh_policy_address(&p.policy, &query, &internal), OSH_ADDRESS_DENY_INTERNAL);
	free(p.image);
}

/* ---- Addresses beyond the case file -------------------------------------- */

Test(policy, address_forms)
{
	static const char text[] =
		"version: 1\nnetwork_policies:\n  p:\n    endpoints: [{host: \"*.w.test\", port: 443},"
		" {host: e.test, port: 443}]\n    binaries: [{path: /usr/bin/curl}]\n";
	static const struct {
		const char *addr;
		bool wild, exact;
	} rows[] = {
		{ "2606:4700::1", true, true },
		{ "64:ff9b::808:808", true, true },     /* NAT64 of 8.8.8.8 */
		{ "64:ff9b::a00:1", false, true },      /* of 10.0.0.1 */
		{ "64:ff9b::7f00:1", false, false },    /* of 127.0.0.1 */
		{ "64:ff9b::a9fe:a9fe", false, false }, /* of 169.254.169.254 */
		{ "2002:7f00:1::1", false, false },     /* 6to4 of 127.0.0.1 */
		{ "2002:808:808::1", true, true },
		{ "::7f00:1", false, false }, /* IPv4-compatible */
		{ "::ffff:224.0.0.1", false, true },
		{ "::ffff:240.0.0.1", false, true },
		{ "::ffff:0.1.2.3", false, true },
		{ "ff02::fb", false, true },
		{ "fd00:ec2::254", false, true },
		{ "::ffff:169.254.169.254", false, false },
	};
	struct osh_connect_query wild = from("/usr/bin/curl", "a.w.test", 443);
	struct osh_connect_query exact = from("/usr/bin/curl", "e.test", 443);
	struct osh_connect_query nobody = from("/bin/sh", "e.test", 443);
	struct case_policy p;

	case_compile(osh_str(text), &p);
	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct in6_addr addr;

		cr_assert_eq(inet_pton(AF_INET6, rows[i].addr, &addr), 1);
		cr_expect_eq(osh_policy_address(&p.policy, &wild, &addr) == OSH_ADDRESS_ALLOW,
			     rows[i].wild, "%s by wildcard", rows[i].addr);
		cr_expect_eq(osh_policy_address(&p.policy, &exact, &addr) == OSH_ADDRESS_ALLOW,
			     rows[i].exact, "%s by exact name", rows[i].addr);
		cr_expect_neq(osh_policy_address(&p.policy, &nobody, &addr), OSH_ADDRESS_ALLOW);
	}
	free(p.image);
}

struct address_row {
	const char *host;
	uint16_t port;
	const char *addr;
	enum osh_address_verdict want;
};

/* What curl gets, which the policy names; a shell never gets there. */
static void expect_addresses(const struct osh_policy *policy, const struct address_row *rows, size_t count, bool host_net)
{
	for (size_t i = 0; i < count; i++) {
		struct osh_connect_query curl = from("/usr/bin/curl", rows[i].host, rows[i].port);
		struct osh_connect_query other = from("/bin/sh", rows[i].host, rows[i].port);
		struct in6_addr addr;

		curl.host_net = other.host_net = host_net;
		cr_assert_eq(inet_pton(AF_INET6, rows[i].addr, &addr), 1);
		cr_expect_eq(osh_policy_address(policy, &curl, &addr), rows[i].want, "%s at %s: %d",
			     rows[i].host, rows[i].addr, osh_policy_address(policy, &curl, &addr));
		cr_expect_neq(osh_policy_address(policy, &other, &addr), OSH_ADDRESS_ALLOW);
	}
}

/* The names of one's own host: a link-local address is theirs alone. */
Test(policy, gateway_addresses)
{
	static const char text[] =
		"version: 1\nnetwork_policies:\n  p:\n    endpoints:\n"
		"      - {host: host.openshell.internal, ports: [80, 6443]}\n"
		"      - {host: host.docker.internal, port: 80, allowed_ips: [10.0.0.0/8]}\n"
		"      - {host: \"*.containers.internal\", port: 80}\n      - {host: e.test, port: 80}\n"
		"    binaries: [{path: /usr/bin/curl}]\n";
	static const struct address_row rows[] = {
		{ "host.openshell.internal", 80, "::ffff:169.254.1.2", OSH_ADDRESS_ALLOW },
		{ "host.docker.internal", 80, "::ffff:169.254.1.2", OSH_ADDRESS_ALLOW },
		{ "host.containers.internal", 80, "::ffff:169.254.1.2", OSH_ADDRESS_ALLOW },
		{ "e.test", 80, "::ffff:169.254.1.2", OSH_ADDRESS_DENY_INTERNAL },
		{ "x.containers.internal", 80, "::ffff:169.254.1.2", OSH_ADDRESS_DENY_INTERNAL },
		{ "host.openshell.internal", 6443, "::ffff:169.254.1.2", OSH_ADDRESS_DENY_PORT },
		{ "host.openshell.internal", 80, "::ffff:169.254.169.254", OSH_ADDRESS_DENY_GATEWAY },
		{ "host.openshell.internal", 80, "::ffff:169.254.170.2", OSH_ADDRESS_DENY_GATEWAY },
		{ "host.openshell.internal", 80, "::ffff:169.254.170.23", OSH_ADDRESS_DENY_GATEWAY },
		{ "host.openshell.internal", 80, "64:ff9b::a9fe:102", OSH_ADDRESS_DENY_GATEWAY },
		{ "host.openshell.internal", 80, "::ffff:127.0.0.1", OSH_ADDRESS_DENY_GATEWAY },
		{ "host.openshell.internal", 80, "fe80::1", OSH_ADDRESS_DENY_GATEWAY },
		/* Elsewhere as any name. */
		{ "host.openshell.internal", 80, "::ffff:10.0.0.1", OSH_ADDRESS_ALLOW },
		{ "host.docker.internal", 80, "::ffff:10.0.0.1", OSH_ADDRESS_ALLOW },
		{ "host.docker.internal", 80, "::ffff:8.8.8.8", OSH_ADDRESS_DENY_ALLOWED_IPS },
		{ "host.containers.internal", 80, "::ffff:10.0.0.1", OSH_ADDRESS_DENY_INTERNAL },
	};
	struct case_policy p;

	case_compile(osh_str(text), &p);
	expect_addresses(&p.policy, rows, OSH_COUNT_OF(rows), false);
	free(p.image);
}

/* Where loopback is the host's: by its name alone. */
Test(policy, localhost)
{
	static const char text[] =
		"version: 1\nnetwork_policies:\n  p:\n    endpoints: [{host: localhost, port: 80},"
		" {host: localhost, port: 6443}, {host: \"*.w.test\", port: 80}, {host: e.test, port: 80}]\n"
		"    binaries: [{path: /usr/bin/curl}]\n";
	static const struct address_row rows[] = {
		{ "localhost", 80, "::ffff:127.0.0.1", OSH_ADDRESS_ALLOW },
		{ "localhost", 80, "::1", OSH_ADDRESS_ALLOW },
		{ "localhost", 80, "::ffff:127.0.0.2", OSH_ADDRESS_DENY_INTERNAL },
		{ "localhost", 80, "::", OSH_ADDRESS_DENY_INTERNAL },
		{ "localhost", 80, "64:ff9b::7f00:1", OSH_ADDRESS_DENY_INTERNAL },
		{ "localhost", 6443, "::1", OSH_ADDRESS_DENY_PORT },
		{ "localhost", 81, "::1", OSH_ADDRESS_DENY_INTERNAL },
		{ "e.test", 80, "::1", OSH_ADDRESS_DENY_INTERNAL },
		{ "localhost.w.test", 80, "::1", OSH_ADDRESS_DENY_INTERNAL },
	};
	struct case_policy p;

	case_compile(osh_str(text), &p);
	expect_addresses(&p.policy, rows, OSH_COUNT_OF(rows), true);
	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct osh_connect_query curl = from("/usr/bin/curl", rows[i].host, rows[i].port);
		struct in6_addr addr;

		cr_assert_eq(inet_pton(AF_INET6, rows[i].addr, &addr), 1);
		cr_expect_neq(osh_policy_address(&p.policy, &curl, &addr), OSH_ADDRESS_ALLOW, "not elsewhere: row %zu", i);
	}
	free(p.image);
}

Test(policy, who_names_no_host_does_not_name_localhost)
{
	struct osh_connect_query curl = from("/usr/bin/curl", "localhost", 80);
	struct in6_addr addr = in6addr_loopback;
	struct case_policy p;

	curl.host_net = true;
	case_compile(osh_str("version: 1\nnetwork_policies:\n  p:\n    endpoints: [{port: 80, allowed_ips: [10.0.0.0/8]}]\n"
			     "    binaries: [{path: /usr/bin/curl}]\n"), &p);
	cr_expect_neq(osh_policy_address(&p.policy, &curl, &addr), OSH_ADDRESS_ALLOW);
	free(p.image);
}

/* ---- Middleware ---------------------------------------------------------- */

Test(policy, fail_closed_middleware_denies_its_hosts)
{
	static const char text[] =
		"version: 1\nnetwork_middlewares:\n"
		"  a: { middleware: x, endpoints: { include: [\"*.ok.test\"], exclude: [free.ok.test] } }\n"
		"  b: { middleware: x, order: 1, on_error: fail_open, endpoints: { include: [\"*.open.test\"] } }\n"
		"network_policies:\n  p:\n    endpoints: [{host: \"**.ok.test\", port: 443}, {host: a.open.test, port: 443}]\n"
		"    binaries: [{path: /usr/bin/curl}]\n";
	struct case_policy p;

	case_compile(osh_str(text), &p);
	cr_expect_eq(connects(&p, "/usr/bin/curl", "a.ok.test", 443), OSH_EFFECT_DENY);
	cr_expect_eq(connects(&p, "/usr/bin/curl", "A.OK.test", 443), OSH_EFFECT_DENY);
	cr_expect_eq(connects(&p, "/usr/bin/curl", "free.ok.test", 443), OSH_EFFECT_ALLOW);
	cr_expect_eq(connects(&p, "/usr/bin/curl", "a.open.test", 443), OSH_EFFECT_ALLOW);
	free(p.image);
}

/* ---- Many endpoints for one host ----------------------------------------- */

Test(policy, many_paths_of_one_host)
{
	char *text = malloc(1 << 20);
	struct case_writer w = { .buf = text, .size = 1 << 20 };
	struct case_policy p;

	cr_assert_not_null(text);
	case_put(
		&w,
		"version: 1\nnetwork_policies:\n  p:\n    binaries: [{path: /usr/bin/curl}]\n    endpoints:\n");
	for (int i = 0; i < 2000; i++)
		case_put(
			&w,
			"      - {host: a.test, port: 443, path: \"/p%d/**\", protocol: rest, enforcement: enforce, access: read-only}\n",
			i);
	case_compile(osh_str(text), &p);
	cr_expect_eq(requests(&p, "a.test", "GET", "/p1999/x").effect, OSH_EFFECT_ALLOW);
	cr_expect_eq(requests(&p, "a.test", "POST", "/p1999/x").effect, OSH_EFFECT_DENY);
	cr_expect_eq(requests(&p, "a.test", "GET", "/p2000/x").effect, OSH_EFFECT_DENY);
	free(p.image);
	free(text);
}

/* ---- The shipped default ------------------------------------------------- */

static void compile_default(struct case_policy *p, struct osh_diags *diags)
{
	const char *dir = getenv("OSH_SOURCE_DIR");
	char path[512], *data;
	size_t len;

	snprintf(path, sizeof(path), "%s/share/default-policy.yaml", dir ? dir : ".");
	cr_assert_eq(osh_read_file(path, 1 << 20, &data, &len), 0, "%s", path);
	cr_assert(case_loads(osh_str_n(data, len), diags));
	case_compile(osh_str_n(data, len), p);
	free(data);
}

Test(default_policy, github_is_read_only)
{
	static const struct {
		const char *binary, *host, *method, *path;
		enum osh_effect effect;
		const char *policy;
	} rows[] = {
		{ "/usr/bin/git", "github.com", "GET", "/acme/widgets.git/info/refs",
		  OSH_EFFECT_ALLOW, "github_ssh_over_https" },
		{ "/usr/bin/git", "github.com", "POST", "/acme/widgets.git/git-upload-pack",
		  OSH_EFFECT_ALLOW, "github_ssh_over_https" },
		{ "/usr/bin/git", "github.com", "POST", "/acme/widgets.git/git-receive-pack",
		  OSH_EFFECT_DENY, "github_ssh_over_https" },
		{ "/usr/bin/git", "api.github.com", "GET", "/zen", OSH_EFFECT_DENY, "" },
		{ "/usr/bin/curl", "api.github.com", "GET", "/zen", OSH_EFFECT_ALLOW,
		  "github_rest_api" },
		{ "/usr/bin/gh", "api.github.com", "HEAD", "/zen", OSH_EFFECT_ALLOW,
		  "github_rest_api" },
		{ "/usr/local/bin/opencode", "api.github.com", "OPTIONS", "/zen", OSH_EFFECT_ALLOW,
		  "github_rest_api" },
		{ "/usr/local/bin/claude", "api.github.com", "PUT",
		  "/repos/acme/widgets/contents/hello_world.py", OSH_EFFECT_DENY,
		  "github_rest_api" },
		{ "/usr/bin/curl", "api.github.com", "DELETE", "/repos/acme/widgets",
		  OSH_EFFECT_DENY, "github_rest_api" },
		{ "/usr/bin/python3", "api.github.com", "GET", "/zen", OSH_EFFECT_DENY, "" },
		{ "/usr/local/bin/claude", "api.anthropic.com", "POST", "/v1/messages",
		  OSH_EFFECT_ALLOW, "claude_code" },
		{ "/usr/local/bin/claude", "example.com", "GET", "/", OSH_EFFECT_DENY, "" },
	};
	struct osh_diags diags;
	struct case_policy p;

	compile_default(&p, &diags);
	/* Claude Code is a script of Node, so the default names Node, and says what that means. */
	cr_expect_eq(diags.count, 1);
	cr_expect(strstr(diags.items[0].message, "'/usr/bin/node' runs any script"), "%s",
		  diags.items[0].message);
	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct osh_request_query query = {
			.connect = from(rows[i].binary, rows[i].host, 443),
			.method = osh_str(rows[i].method),
			.path = osh_str(rows[i].path),
		};
		struct osh_decision d;

		osh_policy_request(&p.policy, &query, &d);
		cr_expect_eq(d.effect, rows[i].effect, "%s %s %s%s: %s", rows[i].binary,
			     rows[i].method, rows[i].host, rows[i].path, d.reason);
		cr_expect(osh_str_eq_c(d.policy, rows[i].policy), "%zu: %.*s", i, (int)d.policy.len,
			  d.policy.data);
	}
	free(p.image);
}

/* ---- No allocation in a question ----------------------------------------------- */

#ifndef OSH_SANITIZED /* whose malloc it is then */
static size_t allocations;

extern void *__libc_malloc(size_t size);

void *malloc(size_t size)
{
	allocations++;
	return __libc_malloc(size);
}

static void count_allocations(const char *file, const char *host, const char *path,
			      const char *body)
{
	struct osh_str text = case_read(file), ancestor = osh_str("/usr/bin/node");
	struct osh_message message = { .body = osh_str(body) };
	struct osh_request_query query = {
		.connect = from("/usr/bin/gh", host, 443),
		.method = osh_str(*body ? "POST" : "GET"),
		.path = osh_str(path),
		.query = osh_str("tag=foo-%41"),
		.message = &message,
	};
	struct osh_decision decision;
	struct in6_addr addr = { 0 };
	struct case_policy p;
	size_t before;

	query.connect.subject.ancestors = &ancestor;
	query.connect.subject.ancestor_count = 1;
	case_compile(text, &p);
	before = allocations;
	cr_assert_gt(before, 0, "nothing is counted");
	for (int i = 0; i < 3; i++) {
		osh_policy_request(&p.policy, &query, &decision);
		osh_policy_connect(&p.policy, &query.connect, &decision);
		(void)osh_policy_address(&p.policy, &query.connect, &addr);
		query.method = osh_str("PUT");
		query.connect.host = i ? osh_str("no.test") : query.connect.host;
	}
	cr_expect_eq(allocations, before, "%s", file);
	free(p.image);
	free((char *)text.data);
}

Test(policy, questions_do_not_allocate)
{
	count_allocations("policies/graphql.yaml", "gql.test", "/graphql",
			  "[{\"query\":\"{ viewer ...F } fragment F on Q { a }\"},{\"id\":\"x\"}]");
	count_allocations(
		"policies/mcp.yaml", "mcp.test", "/mcp",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"x\"}}");
	count_allocations("policies/query.yaml", "q.test", "/search", "");
	count_allocations("policies/seed_github_push.yaml", "github.com", "/x", "");
}
#endif

/* ---- Overlaps ------------------------------------------------------------------ */

static bool star_matches(const char *p, const char *t)
{
	if (*p == '*')
		return star_matches(p + 1, t) || (*t && star_matches(p, t + 1));
	return *p ? *t && (*p == '?' || *p == *t) && star_matches(p + 1, t + 1) : !*t;
}

static bool some_text_matches_both(const char *a, const char *b)
{
	char text[8];

	for (int len = 0; len <= 6; len++) {
		for (int bits = 0; bits < 1 << len; bits++) {
			for (int i = 0; i < len; i++)
				text[i] = bits >> i & 1 ? 'a' : 'b';
			text[len] = '\0';
			if (star_matches(a, text) && star_matches(b, text))
				return true;
		}
	}
	return false;
}

Test(overlap, agrees_with_trying)
{
	size_t met = 0;

	srand(3);
	for (int round = 0; round < 3000; round++) {
		char a[4], b[4];
		bool want;

		for (int i = 0; i < 3; i++) {
			a[i] = "ab*?"[rand() % 4];
			b[i] = "ab*?"[rand() % 4];
		}
		a[rand() % 4] = a[3] = '\0';
		b[rand() % 4] = b[3] = '\0';
		want = some_text_matches_both(a, b);
		met += want;
		cr_assert_eq(osh_globs_overlap(osh_str(a), osh_str(b)), want, "%s and %s", a, b);
	}
	cr_assert(met > 300 && met < 2700);
}

Test(overlap, hosts)
{
	static const struct {
		const char *a, *b;
		bool meet;
	} rows[] = {
		{ "a.x.test", "a.x.test", true },
		{ "a.x.test", "b.x.test", false },
		{ "*.x.test", "a.x.test", true },
		{ "*.x.test", "a.b.x.test", false },
		{ "**.x.test", "a.b.x.test", true },
		{ "**.x.test", "x.test", false },
		{ "*.x.test", "**.x.test", true },
		{ "a-*.x.test", "b-*.x.test", false },
		{ "a-*.x.test", "*-b.x.test", true },
		{ "*.s3.*.x.test", "a.s3.eu.x.test", true },
		{ "*.s3.*.x.test", "a.s4.eu.x.test", false },
		{ "*.x.test", "*.y.test", false },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		cr_expect_eq(osh_hosts_overlap(osh_str(rows[i].a), osh_str(rows[i].b)),
			     rows[i].meet, "%s and %s", rows[i].a, rows[i].b);
		cr_expect_eq(osh_hosts_overlap(osh_str(rows[i].b), osh_str(rows[i].a)),
			     rows[i].meet);
	}
}
