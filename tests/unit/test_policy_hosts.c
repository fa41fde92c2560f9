/* Which endpoints a host meets, against a reader of patterns that shares nothing with the
 * engine's: label by label from the right, each label by fnmatch. */
#include <criterion/criterion.h>
#include <fnmatch.h>

#include "base/mem.h"
#include "policy_cases.h"

#define PATTERNS 60
#define HOSTS 400
#define FIRST_PORT 1000 /* pattern i has port FIRST_PORT + i, so that a port names it */

static size_t split(char *text, char *labels[], size_t max)
{
	size_t count = 0;
	char *rest = text;

	while (rest && count < max)
		labels[count++] = strsep(&rest, ".");
	return count;
}

/* Stars stay within a label; two stars as the first label are one label or more. */
static bool model_matches(const char *pattern, const char *host)
{
	char pattern_text[64], host_text[64], *want[16], *have[16];
	size_t wants, haves, deep;

	cr_assert(osh_str_copy(osh_str(pattern), pattern_text, sizeof(pattern_text)) == 0);
	cr_assert(osh_str_copy(osh_str(host), host_text, sizeof(host_text)) == 0);
	wants = split(pattern_text, want, 16);
	haves = split(host_text, have, 16);
	deep = strcmp(want[0], "**") == 0;
	if (deep ? haves < wants : haves != wants)
		return false;
	for (size_t i = deep; i < wants; i++) {
		if (fnmatch(want[i], have[haves - wants + i], FNM_NOESCAPE) != 0)
			return false;
	}
	return true;
}

static void write_name(const char *const *first, const char *const *other, char *buf, size_t size)
{
	struct case_writer w = { .buf = buf, .size = size };
	int labels = 2 + rand() % 3;

	case_put(&w, "%s", first[rand() % 8]);
	for (int i = 0; i < labels; i++)
		case_put(&w, ".%s", other[rand() % 8]);
}

static void note_port(void *context, uint16_t port)
{
	bool *seen = context;

	cr_assert(port >= FIRST_PORT && port < FIRST_PORT + PATTERNS);
	cr_assert(!seen[port - FIRST_PORT], "port %u is told twice", port);
	seen[port - FIRST_PORT] = true;
}

static void compile_patterns(const char patterns[][64], struct case_policy *p)
{
	static char text[PATTERNS * 128];
	struct case_writer w = { .buf = text, .size = sizeof(text) };

	case_put(&w, "version: 1\nnetwork_policies:\n  p:\n    binaries: [{path: /bin/x}]\n"
		     "    endpoints:\n");
	for (int i = 0; i < PATTERNS; i++)
		case_put(&w, "    - {host: \"%s\", port: %d}\n", patterns[i], FIRST_PORT + i);
	case_compile(osh_str(text), p);
}

Test(policy_hosts, are_met_as_written)
{
	static const char *const first[] = { "*", "**", "a", "b", "a*", "*", "ab", "[ab]?*" };
	static const char *const other[] = { "*", "a", "b", "ab", "a", "b", "c", "*" };
	static const char *const literal[] = { "a", "b", "ab", "c", "a", "b", "ba", "abc" };
	size_t met = 0;

	srand(7);
	for (int round = 0; round < 40; round++) {
		char patterns[PATTERNS][64], host[64];
		struct case_policy p;

		for (int i = 0; i < PATTERNS; i++)
			write_name(first, other, patterns[i], sizeof(patterns[i]));
		compile_patterns(patterns, &p);
		for (int h = 0; h < HOSTS; h++) {
			bool seen[PATTERNS] = { false };

			write_name(literal, literal, host, sizeof(host));
			osh_policy_ports(&p.policy, osh_str(host), note_port, seen);
			for (int i = 0; i < PATTERNS; i++) {
				bool want = model_matches(patterns[i], host);

				met += want;
				cr_assert_eq(seen[i], want, "%s and %s", patterns[i], host);
			}
		}
		free(p.image);
	}
	cr_assert_gt(met, 10000, "the model matched only %zu", met);
}

/* Classes and question marks behind the first label: no way of labels leads over them. */
Test(policy_hosts, with_globs_between_labels)
{
	static const struct {
		const char *pattern, *host;
		bool want;
	} rows[] = {
		{ "*.a?.test.io", "x.ab.test.io", true },
		{ "*.a?.test.io", "x.a.test.io", false },
		{ "*.a?.test.io", "y.x.ab.test.io", false },
		{ "**.a?.test.io", "x.ab.test.io", true },
		{ "**.a?.test.io", "y.x.ab.test.io", true },
		{ "**.a?.test.io", "ab.test.io", false },
		{ "*.[ab].*.io", "x.a.y.io", true },
		{ "*.[ab].*.io", "x.c.y.io", false },
		{ "*.x.i?", "a.x.io", true },
		{ "*.x.i?", "a.x.com", false },
		{ "a.*.*.io", "a.b.c.io", true },
		{ "a.*.*.io", "b.b.c.io", false },
		{ "a.*.*.io", "a.b.io", false },
		{ "*.*.*", "a.b.c", true },
		{ "*.*.*", "a.b", false },
		/* A client that says a star says no more than that label. */
		{ "a.*.c.io", "a.*.c.io", true },
		{ "a.b.c.io", "a.*.c.io", false },
		{ "*.b.c.io", "**.b.c.io", true },
		{ "*.b.c.io", "**.a.b.c.io", false },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		bool seen[PATTERNS] = { false };
		struct case_policy p;
		char text[256];

		snprintf(text, sizeof(text),
			 "version: 1\nnetwork_policies:\n  p:\n    binaries: [{path: /bin/x}]\n"
			 "    endpoints: [{host: \"%s\", port: %d}]\n",
			 rows[i].pattern, FIRST_PORT);
		case_compile(osh_str(text), &p);
		osh_policy_ports(&p.policy, osh_str(rows[i].host), note_port, seen);
		cr_expect_eq(seen[0], rows[i].want, "%s and %s", rows[i].pattern, rows[i].host);
		free(p.image);
	}
}

/* A host may be asked in any case and with more labels than any name has. */
Test(policy_hosts, at_their_bounds)
{
	struct case_policy p;
	bool seen[PATTERNS] = { false };
	char host[OSH_HOST_MAX + 8];

	case_compile(osh_str("version: 1\nnetwork_policies:\n  p:\n    binaries: [{path: /bin/x}]\n"
			     "    endpoints: [{host: \"**.a.io\", port: 1000}]\n"),
		     &p);
	osh_policy_ports(&p.policy, osh_str("X.A.Io"), note_port, seen);
	cr_expect(seen[0]);
	for (size_t len = 6; len <= OSH_HOST_MAX + 2; len += 2) {
		memset(seen, 0, sizeof(seen));
		for (size_t i = 0; i < len; i++)
			host[i] = i % 2 ? '.' : 'a';
		memcpy(host + len - 4, "a.io", 5);
		osh_policy_ports(&p.policy, osh_str(host), note_port, seen);
		cr_expect_eq(seen[0], len < OSH_HOST_MAX, "%zu bytes", len);
	}
	free(p.image);
}
