/* The cases of tests/policy/cases, row by row. */
#include <criterion/criterion.h>

#include "policy/question.h"
#include "policy_cases.h"

/* ---- Request targets ----------------------------------------------------- */

static enum osh_path_error expected_error(const char *word)
{
	static const struct {
		const char *word;
		enum osh_path_error error;
	} words[] = {
		{ "above-root", OSH_PATH_ABOVE_ROOT },
		{ "encoded-slash", OSH_PATH_ENCODED_SLASH },
		{ "control-byte", OSH_PATH_BAD_ESCAPE },
		{ "fragment", OSH_PATH_BAD_BYTE },
		{ "non-ascii", OSH_PATH_BAD_BYTE },
		{ "bad-percent", OSH_PATH_BAD_ESCAPE },
		{ "not-origin-form", OSH_PATH_NOT_ABSOLUTE },
		{ "too-long", OSH_PATH_TOO_LONG },
		{ "residual-dot-segment", OSH_PATH_DOT_BESIDE_SLASH },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i].word, word) == 0)
			return words[i].error;
	}
	cr_assert_fail("unknown error word %s", word);
	return OSH_PATH_OK;
}

static void check_canon(json_t *row)
{
	static char buf[3 * OSH_PATH_TARGET_MAX + 1];
	const char *id = case_text(row, "id"), *error = case_text(row, "error");
	struct osh_path path;
	enum osh_path_error got = osh_path_canonicalise(
		case_str(row, "in"), json_is_true(json_object_get(row, "allow_encoded_slash")), buf,
		sizeof(buf), &path);

	if (*error) {
		cr_expect_eq(got, expected_error(error), "%s: got %s", id,
			     osh_path_error_text(got));
		return;
	}
	cr_expect_eq(got, OSH_PATH_OK, "%s: %s", id, osh_path_error_text(got));
	if (got == OSH_PATH_OK)
		cr_expect(osh_str_eq(path.path, case_str(row, "out")), "%s: got %.*s", id,
			  (int)path.path.len, path.path.data);
}

Test(policy_cases, canon)
{
	cr_assert_geq(case_each("canon.jsonl", check_canon), 60);
}

/* ---- Addresses ----------------------------------------------------------- */

/* The endpoint that the row describes, as a policy. */
static void write_policy(json_t *row, char *buf, size_t size)
{
	const char *kind = case_text(row, "endpoint_kind"), *host = case_text(row, "host");
	json_t *ips = json_object_get(row, "allowed_ips");
	char *list = json_dumps(ips, JSON_ENSURE_ASCII);
	char host_line[300] = "";

	if (strcmp(kind, "exact") == 0)
		snprintf(host_line, sizeof(host_line), "host: \"%s\", ", host);
	else if (strcmp(kind, "wildcard") == 0)
		snprintf(host_line, sizeof(host_line), "host: \"*%s\", ", strchr(host, '.'));
	snprintf(buf, size,
		 "version: 1\nnetwork_policies:\n  p:\n    endpoints:\n      - { %sport: %d%s%s }\n"
		 "    binaries: [{ path: /usr/bin/curl }]\n",
		 host_line, (int)json_integer_value(json_object_get(row, "port")),
		 json_array_size(ips) ? ", allowed_ips: " : "", json_array_size(ips) ? list : "");
	free(list);
}

static void check_address(json_t *row)
{
	static struct osh_question question;
	static struct osh_question_result result;
	struct osh_err err = { 0 };
	struct case_policy p;
	char text[1024];

	write_policy(row, text, sizeof(text));
	case_compile(osh_str(text), &p);
	json_object_set_new(row, "binary", json_string("/usr/bin/curl"));
	cr_assert_eq(osh_question_read(row, &question, &err), 0, "%s", err.message);
	cr_assert_gt(question.resolved_count, 0);
	osh_question_ask(&p.policy, &question, &result);
	cr_expect_str_eq(osh_effect_name(result.decision.effect), case_text(row, "expect"), "%s: %s (%s)",
			 case_text(row, "id"), case_text(row, "why"), result.decision.reason);
	free(p.image);
}

Test(policy_cases, addresses)
{
	cr_assert_geq(case_each("ssrf.jsonl", check_address), 57);
}

/* ---- Documents ----------------------------------------------------------- */

static bool mentions(const char *message, const char *word, size_t len)
{
	for (; *message; message++) {
		if (strncasecmp(message, word, len) == 0)
			return true;
	}
	return false;
}

/* How many words of `about` some error speaks of, and how many there are. */
static void count_words(const struct osh_diags *diags, const char *about, size_t *ret_found,
			size_t *ret_all)
{
	*ret_found = *ret_all = 0;
	while (*about) {
		size_t len = strcspn(about, " ,:;()");
		bool found = false;

		if (len >= 3) {
			for (size_t i = 0; i < diags->count; i++) {
				if (diags->items[i].level == OSH_DIAG_ERROR)
					found |= mentions(diags->items[i].message, about, len);
			}
			(*ret_all)++;
			*ret_found += found;
		}
		about += len;
		about += strspn(about, " ,:;()");
	}
}

/* Rows whose error_about explains the case instead of naming the fault. */
static const char *reworded(const char *id)
{
	static const char *const words[][2] = {
		{ "bad-unknown-field-07", "unknown field 'endpoint' did you mean endpoints?" },
		{ "bad-unknown-field-18", "binary entry: sha256 must be 64 hexadecimal digits" },
		{ "bad-type-13", "unknown field 'mode' in a matcher" },
		{ "bad-allowed-ips-14", "loopback address 127.0.0.1" },
		{ "bad-overlap-02", "a.example.com:443 overlap with different enforcement" },
		{ "bad-overlap-03", "a.example.com:443 overlap with different protocol" },
		{ "bad-overlap-04", "a.example.com:443 *.example.com overlap with different tls" },
		{ "bad-overlap-05", "a.example.com:443 overlap with different tls" },
		{ "bad-overlap-07", "hostless overlap with different allowed_ips" },
		{ "bad-overlap-09",
		  "a.example.com:443 overlap with different allow_encoded_slash" },
		{ "bad-overlap-10", "a.example.com:443 overlap with different enforcement" },
		{ "bad-overlap-12", "a.example.com:443 overlap with different protocol" },
		{ "bad-overlap-15", "a.example.com:443 overlap with different enforcement" },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i][0], id) == 0)
			return words[i][1];
	}
	return NULL;
}

static void check_invalid(json_t *row)
{
	const char *exact = reworded(case_text(row, "id"));
	struct osh_diags diags;
	size_t found, all;

	if (case_loads(case_str(row, "yaml"), &diags)) {
		cr_expect_fail("%s loads, but: %s", case_text(row, "id"),
			       case_text(row, "error_about"));
		return;
	}
	for (size_t i = 0; i < diags.count; i++)
		cr_expect(diags.items[i].line > 0 && diags.items[i].column > 0, "%s: no place",
			  case_text(row, "id"));
	count_words(&diags, exact ? exact : case_text(row, "error_about"), &found, &all);
	if (exact ? found < all : 2 * found < all) {
		case_print(&diags);
		cr_expect_fail("%s: the error speaks of something else than: %s",
			       case_text(row, "id"), case_text(row, "error_about"));
	}
}

Test(policy_cases, invalid)
{
	cr_assert_geq(case_each("invalid.jsonl", check_invalid), 141);
}

static void check_valid(json_t *row)
{
	const char *about = case_text(row, "warning_about");
	struct osh_diags diags;
	bool found = !*about;

	if (!case_loads(case_str(row, "yaml"), &diags)) {
		case_print(&diags);
		cr_expect_fail("%s does not load: %s", case_text(row, "id"),
			       case_text(row, "note"));
		return;
	}
	for (size_t i = 0; i < diags.count; i++)
		found |= *about && mentions(diags.items[i].message, about, strlen(about));
	if (!found)
		case_print(&diags);
	cr_expect(found, "%s: no warning about %s", case_text(row, "id"), about);
}

Test(policy_cases, valid)
{
	cr_assert_geq(case_each("valid.jsonl", check_valid), 40);
}

/* ---- Verdicts ------------------------------------------------------------ */

/* The last policy file used: rows come in runs. */
static struct case_policy current;
static char current_name[64];

static struct osh_policy *use_policy(const char *name)
{
	char path[128];
	struct osh_str text;

	if (strcmp(name, current_name) == 0)
		return &current.policy;
	snprintf(path, sizeof(path), "policies/%s", name);
	text = case_read(path);
	free(current.image);
	case_compile(text, &current);
	free((char *)text.data);
	snprintf(current_name, sizeof(current_name), "%s", name);
	return &current.policy;
}

static void check_row(json_t *row, const struct osh_policy *policy)
{
	const char *id = case_text(row, "id"), *stage = case_text(row, "stage");
	const char *reason = case_text(row, "reason_contains"), *matched = case_text(row, "matched_policy");
	static struct osh_question question;
	static struct osh_question_result result;
	const struct osh_decision *decision = &result.decision;
	struct osh_err err = { 0 };

	cr_assert_eq(osh_question_read(row, &question, &err), 0, "%s: %s", id, err.message);
	osh_question_ask(policy, &question, &result);
	cr_expect_str_eq(osh_effect_name(decision->effect), case_text(row, "expect"), "%s: got %s at %s (%s): %s",
			 id, osh_effect_name(decision->effect), osh_stage_name(decision->stage),
			 decision->reason, case_text(row, "why"));
	cr_expect(osh_str_eq_c(decision->policy, matched), "%s: matched %.*s, not %s", id,
		  (int)decision->policy.len, decision->policy.data ? decision->policy.data : "", matched);
	if (decision->effect == OSH_EFFECT_ALLOW)
		return;
	if (*stage)
		cr_expect_str_eq(osh_stage_name(decision->stage), stage, "%s (%s)", id, decision->reason);
	if (*reason)
		cr_expect_not_null(strstr(decision->reason, reason), "%s: \"%s\" lacks \"%s\"", id,
				   decision->reason, reason);
}

/* Typos that the reference reads as silent defaults are errors here (cases/README.md). */
#define ODD_RULES "odd_rules.yaml"

static void check_verdict(json_t *row)
{
	const char *name = case_text(row, "policy");

	if (strcmp(name, ODD_RULES) != 0)
		check_row(row, use_policy(name));
}

Test(policy_cases, verdicts)
{
	cr_assert_geq(case_each("verdicts.jsonl", check_verdict), 534);
	free(current.image);
}

static struct case_policy odd;
static size_t odd_rows;

/* Without the three typos the rest of the file means what the reference says. */
static void check_odd_row(json_t *row)
{
	const char *host = case_text(row, "host");

	if (strcmp(case_text(row, "policy"), ODD_RULES) != 0 || strncmp(host, "half", 4) != 0)
		return;
	check_row(row, &odd.policy);
	odd_rows++;
}

Test(policy_cases, odd_rules)
{
	struct osh_str text = case_read("policies/" ODD_RULES);
	char *cut = strstr((char *)text.data, "  preset_typo:");
	struct osh_diags diags;

	cr_assert_not(case_loads(text, &diags));
	cr_assert_eq(diags.errors, 3);
	for (size_t i = 0, error = 0; i < diags.count; i++) {
		static const char *const about[] = { "access: 'readonly'",
						     "enforcement: 'enforced'", "tls: 'Skip-it'" };

		if (diags.items[i].level == OSH_DIAG_ERROR)
			cr_expect_not_null(strstr(diags.items[i].message, about[error++]), "%s",
					   diags.items[i].message);
	}
	cr_assert_not_null(cut);
	case_compile(osh_str_n(text.data, (size_t)(cut - text.data)), &odd);
	case_each("verdicts.jsonl", check_odd_row);
	cr_assert_geq(odd_rows, 3);
	free(odd.image);
	free((char *)text.data);
}
