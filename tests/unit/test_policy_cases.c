/* The cases of tests/policy/cases, row by row. */
#include <arpa/inet.h>
#include <criterion/criterion.h>

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

static struct in6_addr parse_address(const char *text)
{
	struct in6_addr addr = { 0 };

	addr.s6_addr[10] = addr.s6_addr[11] = 0xff;
	if (inet_pton(AF_INET, text, &addr.s6_addr[12]) != 1)
		cr_assert_eq(inet_pton(AF_INET6, text, &addr), 1, "%s", text);
	return addr;
}

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
	struct osh_connect_query query = {
		.subject = { .binary = osh_str("/usr/bin/curl") },
		.host = case_str(row, "host"),
		.port_host = (uint16_t)json_integer_value(json_object_get(row, "port")),
	};
	json_t *resolved = json_object_get(row, "resolved");
	struct case_policy p;
	bool allowed = true;
	char text[1024];

	write_policy(row, text, sizeof(text));
	case_compile(osh_str(text), &p);
	cr_assert_gt(json_array_size(resolved), 0);
	for (size_t i = 0; i < json_array_size(resolved); i++) {
		struct in6_addr addr =
			parse_address(json_string_value(json_array_get(resolved, i)));

		allowed &= osh_policy_address(&p.policy, &query, &addr) == OSH_ADDRESS_ALLOW;
	}
	cr_expect_eq(allowed, strcmp(case_text(row, "expect"), "allow") == 0, "%s: %s",
		     case_text(row, "id"), case_text(row, "why"));
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

static const char *effect_name(enum osh_effect effect)
{
	return effect == OSH_EFFECT_ALLOW ? "allow" : effect == OSH_EFFECT_AUDIT ? "audit" : "deny";
}

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

static const char *header(json_t *row, const char *name)
{
	const char *key;
	json_t *value;

	json_object_foreach(json_object_get(row, "headers"), key, value)
	{
		if (strcasecmp(key, name) == 0)
			return json_string_value(value);
	}
	return "";
}

static bool deny(struct osh_decision *decision, enum osh_stage stage, const char *reason)
{
	decision->effect = OSH_EFFECT_DENY;
	decision->stage = stage;
	snprintf(decision->reason, sizeof(decision->reason), "%s", reason);
	return false;
}

static struct osh_str target_authority(struct osh_str target)
{
	const char *start = memmem(target.data, target.len, "://", 3);
	const char *end;

	if (!start || target.data[0] == '/')
		return osh_str("");
	start += 3;
	end = memchr(start, '/', target.len - (size_t)(start - target.data));
	return osh_str_n(start,
			 end ? (size_t)(end - start) : target.len - (size_t)(start - target.data));
}

static bool names_host(struct osh_str authority, const struct osh_request_query *query,
		       uint16_t default_port)
{
	struct osh_host host;
	uint16_t port;

	return osh_authority_parse(authority, default_port, &host, &port) == 0 &&
	       osh_str_eq(query->connect.host, osh_str(host.text)) &&
	       port == query->connect.port_host;
}

/* As the proxy does: authority, then the target, twice when it holds an encoded slash. */
static bool prepare(json_t *row, struct osh_request_query *query, char *buf, size_t size,
		    struct osh_decision *decision)
{
	uint16_t default_port = strcmp(case_text(row, "scheme"), "http") == 0 ? 80 : 443;
	struct osh_str target = case_str(row, "path"), absolute = target_authority(target);
	const char *host = header(row, "Host");
	enum osh_path_error error;
	struct osh_path path;

	if ((*host && !names_host(osh_str(host), query, default_port)) ||
	    (absolute.len && !names_host(absolute, query, default_port)))
		return deny(decision, OSH_STAGE_AUTHORITY, "authority");
	error = osh_path_canonicalise(target, false, buf, size, &path);
	if (error == OSH_PATH_ENCODED_SLASH)
		error = osh_path_canonicalise(target, true, buf, size, &path);
	if (error)
		return deny(decision, OSH_STAGE_PARSE, osh_path_error_text(error));
	query->path = path.path;
	query->query = path.query;
	return true;
}

static void ask(json_t *row, const struct osh_policy *policy,
		const struct osh_connect_query *connect, struct osh_decision *decision)
{
	static char buf[3 * OSH_PATH_TARGET_MAX + 1];
	struct osh_request_query query = {
		.connect = *connect,
		.method = case_str(row, "method"),
		.websocket_upgrade = json_is_true(json_object_get(row, "ws_upgrade")),
	};
	bool is_text = json_is_string(json_object_get(row, "ws_text"));
	struct osh_message message = {
		.body = case_str(row, is_text ? "ws_text" : "body"),
		.is_text = is_text,
		.content_type = osh_str(header(row, "Content-Type")),
		.content_encoding = osh_str(header(row, "Content-Encoding")),
		.accept = osh_str(header(row, "Accept")),
	};

	osh_policy_connect(policy, connect, decision);
	if (!query.method.len || decision->effect == OSH_EFFECT_DENY)
		return;
	if (!prepare(row, &query, buf, sizeof(buf), decision))
		return;
	osh_policy_request(policy, &query, decision);
	if (decision->effect == OSH_EFFECT_DENY && decision->body_limit)
		message.too_large = message.body.len > decision->body_limit;
	query.message = &message;
	osh_policy_request(policy, &query, decision);
}

static void check_row(json_t *row, const struct osh_policy *policy)
{
	const char *id = case_text(row, "id"), *stage = case_text(row, "stage");
	const char *reason = case_text(row, "reason_contains"),
		   *matched = case_text(row, "matched_policy");
	json_t *ancestors = json_object_get(row, "ancestors");
	struct osh_str lineage[OSH_LINEAGE_MAX];
	struct osh_connect_query connect = {
		.subject = { .binary = case_str(row, "binary"),
			     .ancestors = lineage,
			     .ancestor_count = json_array_size(ancestors) },
		.host = case_str(row, "host"),
		.port_host = (uint16_t)json_integer_value(json_object_get(row, "port")),
	};
	struct osh_decision decision;

	for (size_t i = 0; i < connect.subject.ancestor_count; i++)
		lineage[i] = osh_str(json_string_value(json_array_get(ancestors, i)));
	ask(row, policy, &connect, &decision);
	cr_expect_str_eq(effect_name(decision.effect), case_text(row, "expect"),
			 "%s: got %s at %s (%s): %s", id, effect_name(decision.effect),
			 osh_stage_name(decision.stage), decision.reason, case_text(row, "why"));
	cr_expect(osh_str_eq_c(decision.policy, matched), "%s: matched %.*s, not %s", id,
		  (int)decision.policy.len, decision.policy.data ? decision.policy.data : "",
		  matched);
	if (decision.effect == OSH_EFFECT_ALLOW)
		return;
	if (*stage)
		cr_expect_str_eq(osh_stage_name(decision.stage), stage, "%s (%s)", id,
				 decision.reason);
	if (*reason)
		cr_expect_not_null(strstr(decision.reason, reason), "%s: \"%s\" lacks \"%s\"", id,
				   decision.reason, reason);
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
