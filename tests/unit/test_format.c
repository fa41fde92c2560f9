/* Verdicts as text: the shorthand line, JSON, the detail view. */
#include "verdict/format.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct osh_verdict put = {
	.id = 7,
	.time_ns = 1767323045678901234u, /* 2026-01-02T03:04:05.678901234Z */
	.sandbox_id = 4242,
	.decision = OSH_VERDICT_DENY,
	.engine = OSH_ENGINE_L7,
	.revision = 3,
	.pid = 123,
	.rule_line = 45,
	.status = 403,
	.dst_port_host = 443,
	.sandbox = "demo",
	.binary = "/usr/bin/curl",
	.lineage = "/bin/bash",
	.host = "api.github.com",
	.protocol = "rest",
	.method = "PUT",
	.target = "/x",
	.policy = "github_rest_api",
	.reason = "PUT /x not permitted by policy",
};

/* ---- The line --------------------------------------------------------------------- */

static const char *line_of(const struct osh_verdict *verdict)
{
	static char line[8192];

	cr_assert_eq(osh_verdict_line(verdict, line, sizeof(line)), strlen(line));
	return line;
}

Test(line, http_denied)
{
	cr_expect_str_eq(line_of(&put),
			 "2026-01-02T03:04:05.678Z HTTP:PUT [MED] DENIED PUT https://api.github.com/x "
			 "[binary:/usr/bin/curl(123)] [policy:github_rest_api engine:l7] [id:7] "
			 "[reason:PUT /x not permitted by policy]");
}

Test(line, message_and_mode_are_said)
{
	struct osh_verdict verdict = put;

	verdict.decision = OSH_VERDICT_AUDIT;
	verdict.message = "mutation [x] {createIssue}";
	verdict.permissive = true;
	cr_expect_str_eq(line_of(&verdict),
			 "2026-01-02T03:04:05.678Z HTTP:PUT [INFO] ALLOWED PUT https://api.github.com/x "
			 "[message:mutation\\x20\\x5bx\\x5d\\x20{createIssue}] "
			 "[binary:/usr/bin/curl(123)] [policy:github_rest_api engine:l7] "
			 "[enforcement:audit] [mode:permissive] [id:7] [reason:PUT /x not permitted by policy]");
	verdict = (struct osh_verdict){ .decision = OSH_VERDICT_ALLOW, .protocol = OSH_VERDICT_PROTOCOL_NOTE,
					.permissive = true, .reason = "sandbox started" };
	cr_expect_str_eq(line_of(&verdict),
			 "1970-01-01T00:00:00.000Z SANDBOX:NOTE [INFO] [mode:permissive] sandbox started");
}

Test(json, message_and_mode_come_back)
{
	struct osh_verdict verdict = put, back;
	char text[4096];
	json_t *json;

	verdict.message = "tools/call read_status";
	verdict.permissive = true;
	cr_assert(osh_verdict_json_text(&verdict, text, sizeof(text)) > 0);
	json = json_loads(text, 0, NULL);
	cr_assert_eq(osh_verdict_from_json(json, &back), 0);
	cr_expect(back.permissive);
	cr_expect_str_eq(back.message, "tools/call read_status");
	json_object_set_new(json, "mode", json_string("other"));
	cr_expect_eq(osh_verdict_from_json(json, &back), -EBADMSG);
	json_decref(json);
	json = osh_verdict_json(&verdict);
	cr_expect_str_eq(json_string_value(json_object_get(json, "mode")), "permissive");
	json_decref(json);
}

Test(line, http_allowed_has_no_reason)
{
	struct osh_verdict verdict = put;

	verdict.decision = OSH_VERDICT_ALLOW;
	verdict.reason = NULL;
	verdict.dst_port_host = 8443;
	cr_expect_str_eq(line_of(&verdict),
			 "2026-01-02T03:04:05.678Z HTTP:PUT [INFO] ALLOWED PUT //api.github.com:8443/x "
			 "[binary:/usr/bin/curl(123)] [policy:github_rest_api engine:l7] [id:7]");
}

Test(line, audit_is_allowed_but_told_apart)
{
	struct osh_verdict verdict = put;

	verdict.decision = OSH_VERDICT_AUDIT;
	verdict.dst_port_host = 80;
	cr_expect_str_eq(line_of(&verdict),
			 "2026-01-02T03:04:05.678Z HTTP:PUT [INFO] ALLOWED PUT http://api.github.com/x "
			 "[binary:/usr/bin/curl(123)] [policy:github_rest_api engine:l7] "
			 "[enforcement:audit] [id:7] [reason:PUT /x not permitted by policy]");
}

Test(line, connection_denied_by_no_policy)
{
	const struct osh_verdict verdict = {
		.time_ns = put.time_ns,
		.engine = OSH_ENGINE_KERNEL,
		.pid = 9,
		.binary = "/usr/bin/nc",
		.host = "2001:db8::10",
		.dst_port_host = 5432,
		.reason = "no policy names this address and port",
	};

	cr_expect_str_eq(line_of(&verdict),
			 "2026-01-02T03:04:05.678Z NET:OPEN [MED] DENIED /usr/bin/nc(9) -> "
			 "[2001:db8::10]:5432 [policy:- engine:kernel] "
			 "[reason:no policy names this address and port]");
}

Test(line, a_verdict_of_nothing_is_a_denial)
{
	const struct osh_verdict none = { 0 };

	cr_expect_str_eq(line_of(&none),
			 "1970-01-01T00:00:00.000Z NET:OPEN [MED] DENIED - -> - [policy:- engine:kernel]");
}

Test(line, dns_question)
{
	const struct osh_verdict verdict = {
		.time_ns = put.time_ns,
		.engine = OSH_ENGINE_DNS,
		.host = "no.test",
		.reason = "too many names",
	};

	cr_expect_str_eq(line_of(&verdict),
			 "2026-01-02T03:04:05.678Z DNS:QUERY [MED] DENIED - -> no.test [policy:- engine:dns] "
			 "[reason:too many names]");
}

Test(line, a_note_of_the_agent_is_no_connection)
{
	struct osh_verdict verdict = {
		.time_ns = put.time_ns,
		.decision = OSH_VERDICT_ALLOW,
		.engine = OSH_ENGINE_POLICY,
		.protocol = "sandbox",
		.reason = "policy revision 2 is in force",
	};

	cr_expect_str_eq(line_of(&verdict),
			 "2026-01-02T03:04:05.678Z SANDBOX:NOTE [INFO] policy revision 2 is in force");
	/* A denial is never shown as a note. */
	verdict.decision = OSH_VERDICT_DENY;
	cr_expect_not_null(strstr(line_of(&verdict), "[MED] DENIED"));
}

static void expect_clean(const char *line)
{
	for (const char *p = line; *p; p++)
		cr_expect((unsigned char)*p >= 0x20 && *p != 0x7f, "control byte %02x", (unsigned char)*p);
}

Test(line, hostile_bytes_are_escaped)
{
	struct osh_verdict verdict = put;
	const char *line;

	verdict.target = "/\x1b]52;c;AAAA\a\r\n2026 HTTP:GET";
	verdict.binary = "/tmp/\xff\xe2\x80\xae/x";
	verdict.reason = "a\nb\xc2\x9b";
	line = line_of(&verdict);
	expect_clean(line);
	cr_expect_not_null(strstr(line, "/\\x1b\\x5d52;c;AAAA\\x07\\x0d\\x0a2026\\x20HTTP:GET"));
	cr_expect_not_null(strstr(line, "/tmp/\\xff\\xe2\\x80\\xae/x(123)"));
	cr_expect_not_null(strstr(line, "[reason:a\\x0ab\\xc2\\x9b]"));
	/* The twin: readable text beyond ASCII stays readable. */
	verdict.binary = "/tmp/caf\xc3\xa9";
	cr_expect_not_null(strstr(line_of(&verdict), "[binary:/tmp/caf\xc3\xa9(123)]"));
}

/* A file name that plays the rest of the line. */
Test(line, a_name_cannot_forge_fields)
{
	struct osh_verdict verdict = put;
	const char *line, *first;

	verdict.method = NULL;
	verdict.binary = "/tmp/a(1) -> github.com:443 [policy:good engine:l7]";
	line = line_of(&verdict);
	first = strstr(line, " -> ");
	cr_assert_not_null(first);
	cr_expect(strncmp(first, " -> api.github.com:443 [policy:github_rest_api", 44) == 0, "%s", line);
}

Test(line, a_small_buffer_is_cut_with_its_nul)
{
	char whole[1024], part[1024];
	size_t len = osh_verdict_line(&put, whole, sizeof(whole));

	for (size_t size = 1; size <= len + 1; size++) {
		memset(part, '#', sizeof(part));
		cr_assert_lt(osh_verdict_line(&put, part, size), size);
		cr_assert_lt(strlen(part), size);
		cr_assert_eq(part[size], '#');
	}
	cr_expect_str_eq(part, whole);
}

/* ---- JSON ------------------------------------------------------------------------- */

Test(json, round_trip)
{
	json_t *json = osh_verdict_json(&put);
	struct osh_verdict back;
	char *again, *text = json_dumps(json, JSON_COMPACT);
	json_t *second;

	cr_assert_str_eq(text,
			 "{\"id\":7,\"time\":\"2026-01-02T03:04:05.678901234Z\",\"l7_decision\":\"deny\","
			 "\"engine\":\"l7\",\"sandbox_id\":4242,\"l7_action\":\"PUT\",\"l7_target\":\"/x\","
			 "\"dst_host\":\"api.github.com\",\"l7_protocol\":\"rest\","
			 "\"policy\":\"github_rest_api\","
			 "\"l7_deny_reason\":\"PUT /x not permitted by policy\","
			 "\"binary\":\"/usr/bin/curl\",\"lineage\":\"/bin/bash\",\"sandbox\":\"demo\","
			 "\"pid\":123,\"revision\":3,\"rule_line\":45,\"status\":403,\"dst_port\":443}");
	cr_assert_eq(osh_verdict_from_json(json, &back), 0);
	second = osh_verdict_json(&back);
	again = json_dumps(second, JSON_COMPACT);
	cr_expect_str_eq(again, text);
	free(text);
	free(again);
	json_decref(second);
	json_decref(json);
}

static void expect_same_text(const struct osh_verdict *verdict)
{
	json_t *json = osh_verdict_json(verdict);
	char *want = json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII);
	char text[8192];
	size_t len = osh_verdict_json_text(verdict, text, sizeof(text));

	cr_expect_str_eq(text, want);
	cr_expect_eq(len, strlen(want));
	for (size_t size = 1; size <= len; size++)
		cr_assert_eq(osh_verdict_json_text(verdict, text, size), 0, "no room in %zu", size);
	free(want);
	json_decref(json);
}

Test(json, the_text_is_what_jansson_writes)
{
	const struct osh_verdict none = { .id = 1 };
	struct osh_verdict verdict = put;

	expect_same_text(&put);
	expect_same_text(&none);
	verdict.binary = "/tmp/\xff\xfe";
	verdict.target = "/caf\xc3\xa9/\xf0\x9f\x90\x9a/\x1b\t\"\\/\x7f";
	verdict.reason = "\xe2\x80\xae";
	verdict.id = UINT64_MAX;
	verdict.sandbox_id = UINT64_MAX;
	verdict.pid = UINT32_MAX;
	expect_same_text(&verdict);
}

/* Days that calendars get wrong; the answers are those of date(1). */
Test(json, dates)
{
	static const struct { uint64_t seconds; const char *text; } rows[] = {
		{ 0, "1970-01-01T00:00:00.000000000Z" },
		{ 951782399, "2000-02-28T23:59:59.000000000Z" },
		{ 951782400, "2000-02-29T00:00:00.000000000Z" },
		{ 951868800, "2000-03-01T00:00:00.000000000Z" },
		{ 1709164800, "2024-02-29T00:00:00.000000000Z" },
		{ 1767225599, "2025-12-31T23:59:59.000000000Z" },
		{ 4107542400, "2100-03-01T00:00:00.000000000Z" },
		{ 18446744073, "2554-07-21T23:34:33.000000000Z" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct osh_verdict verdict = { .id = 1, .time_ns = rows[i].seconds * 1000000000u };
		json_t *json = osh_verdict_json(&verdict);

		cr_expect_str_eq(json_string_value(json_object_get(json, "time")), rows[i].text);
		json_decref(json);
	}
}

Test(json, absent_fields_are_left_out)
{
	const struct osh_verdict none = { .id = 1, .decision = OSH_VERDICT_ALLOW };
	json_t *json = osh_verdict_json(&none);
	struct osh_verdict back;

	cr_expect_null(json_object_get(json, "policy"));
	cr_expect_null(json_object_get(json, "dst_port"));
	cr_assert_eq(osh_verdict_from_json(json, &back), 0);
	cr_expect_str_eq(back.policy, "");
	json_decref(json);
}

/* Whatever a path holds, it is escaped once, by whoever shows it, also when it went through a file. */
Test(json, bytes_that_are_not_utf8_stay_in_sight_and_come_back)
{
	static const char *const odd[] = { "/tmp/\xff", "/tmp/\x1b]\xff\\x41\\", "\xc3", "/\xf0\x9f\x90\x9a\xfe\"\n" };

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct osh_verdict verdict = put, back;
		char text[4096], before[4096], after[4096];
		json_t *json;

		verdict.binary = odd[i];
		verdict.lineage = odd[i];
		cr_assert(osh_verdict_json_text(&verdict, text, sizeof(text)) > 0);
		json = json_loads(text, 0, NULL);
		cr_assert_not_null(json, "%s", text);
		cr_expect_not_null(strstr(json_string_value(json_object_get(json, "binary")), "\\x"));
		cr_expect_eq(json_array_size(json_object_get(json, "escaped")), 2);
		cr_assert_eq(osh_verdict_from_json(json, &back), 0);
		cr_expect_str_eq(back.binary, odd[i]);
		cr_expect_str_eq(back.lineage, odd[i]);
		cr_expect_str_eq(back.host, put.host);
		osh_verdict_line(&verdict, before, sizeof(before));
		osh_verdict_line(&back, after, sizeof(after));
		cr_expect_str_eq(after, before);
		json_decref(json);
	}
}

Test(json, what_is_utf8_is_as_it_is)
{
	struct osh_verdict verdict = put, back;
	json_t *json;

	verdict.binary = "/tmp/\x1b\\xff";
	json = osh_verdict_json(&verdict);
	cr_expect_str_eq(json_string_value(json_object_get(json, "binary")), "/tmp/\x1b\\xff");
	cr_expect_null(json_object_get(json, "escaped"));
	cr_assert_eq(osh_verdict_from_json(json, &back), 0);
	cr_expect_str_eq(back.binary, "/tmp/\x1b\\xff");
	json_decref(json);
}

static int read_back(const char *text)
{
	json_t *json = json_loads(text, 0, NULL);
	struct osh_verdict verdict;
	int r;

	cr_assert_not_null(json, "%s", text);
	r = osh_verdict_from_json(json, &verdict);
	json_decref(json);
	return r;
}

#define TIME "\"time\":\"2026-01-02T03:04:05.678901234Z\""
#define ENDS "\"l7_decision\":\"allow\",\"engine\":\"l7\"}"

Test(json, what_is_no_verdict_is_refused)
{
	static const char *const bad[] = {
		"{}", "[]", "{\"id\":1}",
		"{\"id\":1," TIME ",\"escaped\":{}," ENDS,
		"{\"id\":1," TIME ",\"escaped\":[1]," ENDS,
		"{\"id\":1," TIME ",\"escaped\":[\"binary\"]," ENDS,
		"{\"id\":1," TIME ",\"escaped\":[\"binary\"],\"binary\":1," ENDS,
		"{\"id\":1," TIME ",\"escaped\":[\"binary\"],\"binary\":\"\\\\\"," ENDS,
		"{\"id\":1," TIME ",\"escaped\":[\"binary\"],\"binary\":\"\\\\x1\"," ENDS,
		"{\"id\":1," TIME ",\"escaped\":[\"binary\"],\"binary\":\"\\\\x00\"," ENDS,
		"{\"id\":0," TIME "," ENDS,
		"{\"id\":-1," TIME "," ENDS,
		"{\"id\":\"1\"," TIME "," ENDS,
		"{\"id\":1," ENDS,
		"{\"id\":1,\"time\":5," ENDS,
		"{\"id\":1,\"time\":\"2026-02-31T03:04:05.678901234Z\"," ENDS,
		"{\"id\":1,\"time\":\"2026-01-02T03:04:05.678Z\"," ENDS,
		"{\"id\":1,\"time\":\"2026-01-02T03:04:05.678901234Zx\"," ENDS,
		"{\"id\":1,\"time\":\"2026-01-02T03:04:99.678901234Z\"," ENDS,
		"{\"id\":1,\"time\":\"\"," ENDS,
		"{\"id\":1," TIME ",\"l7_decision\":\"maybe\",\"engine\":\"l7\"}",
		"{\"id\":1," TIME ",\"l7_decision\":\"allow\",\"engine\":\"opa\"}",
		"{\"id\":1," TIME ",\"dst_port\":65536," ENDS,
		"{\"id\":1," TIME ",\"pid\":4294967296," ENDS,
		"{\"id\":1," TIME ",\"pid\":1.5," ENDS,
		"{\"id\":1," TIME ",\"policy\":7," ENDS,
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(read_back(bad[i]), -EBADMSG, "%s", bad[i]);
	cr_expect_eq(read_back("{\"id\":1," TIME ",\"dst_port\":65535,\"pid\":4294967295," ENDS), 0);
}

/* ---- Fields ------------------------------------------------------------------------ */

static void collect(void *context, const char *name, const char *value)
{
	char *all = context;
	size_t used = strlen(all);

	snprintf(all + used, 4096 - used, "%s=%s\n", name, value);
}

Test(fields, the_dashboards_order_and_names)
{
	char all[4096] = "";

	osh_verdict_fields(&put, collect, all);
	cr_expect_str_eq(all, "l7_action=PUT\nl7_target=/x\nl7_decision=deny\ndst_host=api.github.com\n"
			      "dst_port=443\nl7_protocol=rest\npolicy=github_rest_api\n"
			      "l7_deny_reason=PUT /x not permitted by policy\nbinary=/usr/bin/curl\npid=123\n"
			      "lineage=/bin/bash\ntime=2026-01-02T03:04:05.678Z\nsandbox=demo\nengine=l7\n"
			      "revision=3\nrule_line=45\nstatus=403\nid=7\n");
}

Test(fields, absent_ones_are_skipped_and_hostile_ones_escaped)
{
	const struct osh_verdict verdict = { .host = "a\x1b[2J", .decision = OSH_VERDICT_AUDIT };
	char all[4096] = "";

	osh_verdict_fields(&verdict, collect, all);
	cr_expect_str_eq(all, "l7_decision=audit\ndst_host=a\\x1b[2J\ntime=1970-01-01T00:00:00.000Z\n"
			      "engine=kernel\n");
}

Test(names, every_engine_has_its_own)
{
	for (int a = 0; a < OSH_ENGINE_COUNT; a++) {
		cr_expect_str_neq(osh_verdict_engine_name(a), "unknown");
		for (int b = 0; b < a; b++)
			cr_expect_str_neq(osh_verdict_engine_name(a), osh_verdict_engine_name(b));
	}
	cr_expect_str_eq(osh_verdict_engine_name(OSH_ENGINE_COUNT), "unknown");
	cr_expect_str_eq(osh_verdict_decision_name(OSH_VERDICT_DECISION_COUNT), "unknown");
}
