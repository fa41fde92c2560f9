/* What the life-cycle commands read from their options: selectors, limits. */
#include "../../cli/limits.c"
#include "../../cli/out.c"
#include "../../cli/selector.c"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

static const struct osh_command command;

/* main.c prints usage; here the status is enough. */
int osh_cli_misuse(const struct osh_command *misused, const char *format, ...)
{
	(void)misused;
	(void)format;
	return OSH_EXIT_USAGE;
}

/* ---- Selectors ---------------------------------------- */

Test(selector, terms)
{
	static const struct {
		const char *terms;
		bool matches;
	} cases[] = {
		{ "tier", true },        { "!tier", false },        { "tier=web", true },
		{ "tier==web", true },   { "tier!=web", false },    { "tier=db", false },
		{ "tier!=db", true },    { "zone", false },         { "!zone", true },
		{ "zone!=x", true },     { "empty=", true },        { "empty!=", false },
		{ "tier=web,zone", false }, { "tier=web,!zone,empty", true },
	};
	json_t *labels = json_pack("{s:s, s:s}", "tier", "web", "empty", "");

	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++) {
		struct osh_selector selector;
		int status;

		cr_assert(osh_selector_parse(&command, cases[i].terms, &selector, &status));
		cr_expect(eq(int, osh_selector_matches(&selector, labels), cases[i].matches), "%s", cases[i].terms);
	}
	json_decref(labels);
}

Test(selector, mistakes)
{
	static const char *const cases[] = { "", ",", "a,", "=x", "!", "!=x", "a,,b" };

	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++) {
		struct osh_selector selector;
		int status = 0;

		cr_expect(not(osh_selector_parse(&command, cases[i], &selector, &status)), "%s", cases[i]);
		cr_expect(eq(int, status, OSH_EXIT_USAGE));
	}
}

Test(selector, has_a_bound)
{
	struct osh_selector selector;
	char many[64] = "a";
	int status;

	for (int i = 1; i < OSH_SELECTOR_TERMS_MAX; i++)
		strncat(many, ",b", sizeof(many) - strlen(many) - 1);
	cr_assert(osh_selector_parse(&command, many, &selector, &status));
	cr_expect(eq(sz, selector.count, OSH_SELECTOR_TERMS_MAX));
	strncat(many, ",b", sizeof(many) - strlen(many) - 1);
	cr_expect(not(osh_selector_parse(&command, many, &selector, &status)), "one too many");
}

Test(selector, without_terms_everything_matches)
{
	struct osh_selector selector;
	int status;
	json_t *list = json_pack("[{s:s}, {s:s, s:{s:s}}]", "name", "a", "name", "b", "labels", "k", "v");

	cr_assert(osh_selector_parse(&command, NULL, &selector, &status));
	osh_selector_filter(&selector, list);
	cr_expect(eq(sz, json_array_size(list), 2));
	cr_assert(osh_selector_parse(&command, "k", &selector, &status));
	osh_selector_filter(&selector, list);
	cr_assert(eq(sz, json_array_size(list), 1));
	cr_expect_str_eq(json_string_value(json_object_get(json_array_get(list, 0), "name")), "b");
	json_decref(list);
}

/* ---- Limits ---------------------------------------- */

static json_int_t read_limit(const char *key, const char *cpu, const char *memory, const char *pids)
{
	int status = 0;
	json_t *limits = osh_limits_options(&command, cpu, memory, pids, &status);
	json_int_t value = limits ? json_integer_value(json_object_get(limits, key)) : -status;

	json_decref(limits);
	return value;
}

Test(limits, cpu)
{
	static const struct {
		const char *text;
		json_int_t milli;
	} cases[] = {
		{ "1", 1000 },  { "2.5", 2500 }, { "0.001", 1 },  { "0.25", 250 }, { "4096", 4096000 },
		{ "0", -2 },    { "0.0", -2 },   { "0.0001", -2 }, { "-1", -2 },   { "", -2 },
		{ "1.", -2 },   { ".5", -2 },    { "4097", -2 },   { "1e3", -2 },  { " 1", -2 },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++)
		cr_expect(eq(i64, read_limit("cpu_milli", cases[i].text, NULL, NULL), cases[i].milli), "%s",
			  cases[i].text);
}

Test(limits, memory)
{
	static const struct {
		const char *text;
		json_int_t bytes;
	} cases[] = {
		{ "4096", 4096 },       { "1K", 1024 },   { "512M", 536870912 }, { "2G", 2147483648 },
		{ "1T", 1099511627776 }, { "0", -2 },     { "M", -2 },           { "1k", -2 },
		{ "1KB", -2 },          { "-1", -2 },     { "9223372036854775807", INT64_MAX },
		{ "9223372036854775808", -2 },            { "8388608T", -2 },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++)
		cr_expect(eq(i64, read_limit("memory", NULL, cases[i].text, NULL), cases[i].bytes), "%s",
			  cases[i].text);
}

Test(limits, pids)
{
	cr_expect(eq(i64, read_limit("pids", NULL, NULL, "100"), 100));
	cr_expect(eq(i64, read_limit("pids", NULL, NULL, "0"), -2));
	cr_expect(eq(i64, read_limit("pids", NULL, NULL, "4194305"), -2));
	cr_expect(eq(i64, read_limit("pids", NULL, NULL, NULL), 0));
}

Test(limits, shown)
{
	json_t *sandbox = json_pack("{s:{s:I, s:I, s:I}, s:[s]}", "limits", "cpu_milli", (json_int_t)1500,
				    "memory", (json_int_t)(3 << 20), "pids", (json_int_t)0, "unenforced",
				    "memory");
	char buf[OSH_LIMITS_BYTES];

	cr_expect_str_eq(osh_limits_text(sandbox, buf),
			 "cpu 1.5, memory 3M (not enforced: no memory controller in cgroup2)");
	json_decref(sandbox);
	sandbox = json_object();
	cr_expect_str_eq(osh_limits_text(sandbox, buf), "");
	json_decref(sandbox);
}
