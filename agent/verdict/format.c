#include "verdict/format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"

#define NS_PER_SECOND 1000000000u
#define TIME_BYTES 64

static const char *const decision_names[OSH_VERDICT_DECISION_COUNT] = {
	[OSH_VERDICT_DENY] = "deny",
	[OSH_VERDICT_ALLOW] = "allow",
	[OSH_VERDICT_AUDIT] = "audit",
};

static const char *const engine_names[OSH_ENGINE_COUNT] = {
	[OSH_ENGINE_KERNEL] = "kernel",
	[OSH_ENGINE_POLICY] = "policy",
	[OSH_ENGINE_L7] = "l7",
	[OSH_ENGINE_TLS] = "tls",
	[OSH_ENGINE_HTTP] = "http",
	[OSH_ENGINE_DNS] = "dns",
	[OSH_ENGINE_SSRF] = "ssrf",
	[OSH_ENGINE_CREDENTIAL] = "credential",
	[OSH_ENGINE_AUTHORITY] = "authority",
	[OSH_ENGINE_UPSTREAM] = "upstream",
	[OSH_ENGINE_BYPASS] = "bypass",
};

const char *osh_verdict_decision_name(enum osh_verdict_decision decision)
{
	if ((unsigned)decision >= OSH_VERDICT_DECISION_COUNT)
		return "unknown";
	return decision_names[decision];
}

const char *osh_verdict_engine_name(enum osh_verdict_engine engine)
{
	return (unsigned)engine < OSH_ENGINE_COUNT ? engine_names[engine] : "unknown";
}

static bool is_set(const char *text)
{
	return text && *text;
}

/* ---- Time ------------------------------------------------------------------------ */

static char *put_digits(char *at, uint32_t value, int digits)
{
	for (int i = digits - 1; i >= 0; i--, value /= 10)
		at[i] = (char)('0' + value % 10);
	return at + digits;
}

/* RFC 3339 in UTC with `digits` (3 or 9) of the fraction. By hand, because every verdict
 * passes here twice: days to date after H. Hinnant, "chrono-compatible low-level date
 * algorithms" (years run from March). 64 bits of nanoseconds end in 2554. */
static void format_time(uint64_t time_ns, int digits, char buf[TIME_BYTES])
{
	uint32_t fraction = (uint32_t)(time_ns % NS_PER_SECOND);
	uint32_t second = (uint32_t)(time_ns / NS_PER_SECOND % 86400);
	uint32_t days = (uint32_t)(time_ns / NS_PER_SECOND / 86400) + 719468; /* from 0000-03-01 */
	uint32_t era = days / 146097, day = days % 146097;
	uint32_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	uint32_t month;
	char *at = buf;

	day -= 365 * year + year / 4 - year / 100;
	month = (5 * day + 2) / 153;
	day -= (153 * month + 2) / 5;
	at = put_digits(at, era * 400 + year + (month >= 10), 4);
	*at++ = '-';
	at = put_digits(at, month < 10 ? month + 3 : month - 9, 2);
	*at++ = '-';
	at = put_digits(at, day + 1, 2);
	*at++ = 'T';
	at = put_digits(at, second / 3600, 2);
	*at++ = ':';
	at = put_digits(at, second / 60 % 60, 2);
	*at++ = ':';
	at = put_digits(at, second % 60, 2);
	*at++ = '.';
	at = put_digits(at, digits == 3 ? fraction / 1000000 : fraction, digits);
	*at++ = 'Z';
	*at = '\0';
}

static bool take_number(const char **at, size_t digits, char end, int *ret_value)
{
	uint64_t value;

	if (osh_str_parse_u64(osh_str_n(*at, strnlen(*at, digits)), NS_PER_SECOND, &value) < 0)
		return false;
	if ((*at)[digits] != end)
		return false;
	*at += digits + 1;
	*ret_value = (int)value;
	return true;
}

/* Exactly what format_time writes with nine digits. */
static int parse_time(const char *text, uint64_t *ret_ns)
{
	const char *start = text;
	struct tm tm = { 0 };
	char again[TIME_BYTES];
	uint64_t time_ns;
	int fraction;
	time_t seconds;

	if (!take_number(&text, 4, '-', &tm.tm_year) || !take_number(&text, 2, '-', &tm.tm_mon) ||
	    !take_number(&text, 2, 'T', &tm.tm_mday) || !take_number(&text, 2, ':', &tm.tm_hour) ||
	    !take_number(&text, 2, ':', &tm.tm_min) || !take_number(&text, 2, '.', &tm.tm_sec) ||
	    !take_number(&text, 9, 'Z', &fraction) || *text || tm.tm_year < 1970 ||
	    tm.tm_year > 2553)
		return -EBADMSG;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	seconds = timegm(&tm);
	time_ns = (uint64_t)seconds * NS_PER_SECOND + (uint64_t)fraction;
	/* timegm takes the 31st of February: compare what came of it. */
	format_time(time_ns, 9, again);
	if (strcmp(again, start) != 0)
		return -EBADMSG;
	*ret_ns = time_ns;
	return 0;
}

/* ---- The shorthand line ------------------------------------------------------------ */

struct line {
	char *buf;
	size_t size, used;
	bool cut;
};

static void add_n(struct line *line, const char *bytes, size_t len)
{
	size_t room = line->size - line->used - 1;

	if (len > room) {
		len = room;
		line->cut = true;
	}
	memcpy(line->buf + line->used, bytes, len);
	line->used += len;
	line->buf[line->used] = '\0';
}

static void add(struct line *line, const char *text)
{
	add_n(line, text, strlen(text));
}

static void add_number(struct line *line, uint64_t number)
{
	char digits[24], *at = digits + sizeof(digits);

	do
		*--at = (char)('0' + number % 10);
	while (number /= 10);
	add_n(line, at, (size_t)(digits + sizeof(digits) - at));
}

/* Free text: only ever the last thing of a line. */
static void add_text(struct line *line, const char *text)
{
	line->used += osh_str_escape(osh_str(text), line->buf + line->used,
				     line->size - line->used);
}

/* A value among others: blanks and the line's own punctuation are escaped too, so that
 * a hostile file name cannot look like the fields behind it. */
static void add_word(struct line *line, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	while (*text) {
		size_t plain = strcspn(text, " []()");

		line->used += osh_str_escape(osh_str_n(text, plain), line->buf + line->used,
					     line->size - line->used);
		text += plain;
		if (!*text)
			break;
		add(line, "\\x");
		add_n(line, hex + ((unsigned char)*text >> 4), 1);
		add_n(line, hex + (*text & 15), 1);
		text++;
	}
}

/* A record does not say whether TLS was spoken. On the two ports where custom does, the
 * scheme is written; elsewhere a network-path reference (RFC 3986, 4.2). */
static void add_url(struct line *line, const struct osh_verdict *verdict)
{
	bool is_v6 = strchr(verdict->host, ':') != NULL;

	if (verdict->dst_port_host == 443)
		add(line, "https:");
	else if (verdict->dst_port_host == 80)
		add(line, "http:");
	add(line, is_v6 ? "//[" : "//");
	add_word(line, verdict->host);
	if (is_v6)
		add(line, "]");
	if (verdict->dst_port_host != 443 && verdict->dst_port_host != 80) {
		add(line, ":");
		add_number(line, verdict->dst_port_host);
	}
	if (is_set(verdict->target))
		add_word(line, verdict->target);
}

static void add_binary(struct line *line, const struct osh_verdict *verdict)
{
	add_word(line, is_set(verdict->binary) ? verdict->binary : "-");
	if (verdict->pid) {
		add(line, "(");
		add_number(line, verdict->pid);
		add(line, ")");
	}
}

static void add_destination(struct line *line, const struct osh_verdict *verdict)
{
	if (!is_set(verdict->host)) {
		add(line, "-");
	} else if (strchr(verdict->host, ':')) {
		add(line, "[");
		add_word(line, verdict->host);
		add(line, "]");
	} else {
		add_word(line, verdict->host);
	}
	if (verdict->dst_port_host) {
		add(line, ":");
		add_number(line, verdict->dst_port_host);
	}
}

static void add_event(struct line *line, const struct osh_verdict *verdict)
{
	bool denied = verdict->decision == OSH_VERDICT_DENY;
	const char *outcome = denied ? " [MED] DENIED " : " [INFO] ALLOWED ";

	if (is_set(verdict->method) && is_set(verdict->host)) {
		add(line, "HTTP:");
		add_word(line, verdict->method);
		add(line, outcome);
		add_word(line, verdict->method);
		add(line, " ");
		add_url(line, verdict);
		if (is_set(verdict->message)) {
			add(line, " [message:");
			add_word(line, verdict->message);
			add(line, "]");
		}
		add(line, " [binary:");
		add_binary(line, verdict);
		add(line, "]");
		return;
	}
	add(line, verdict->engine == OSH_ENGINE_DNS ? "DNS:QUERY" : "NET:OPEN");
	add(line, outcome);
	add_binary(line, verdict);
	add(line, " -> ");
	add_destination(line, verdict);
}

/* The agent's own notes about a sandbox (made, policy replaced, ended) decide nothing. */
static bool is_note(const struct osh_verdict *verdict)
{
	return verdict->decision == OSH_VERDICT_ALLOW && is_set(verdict->protocol) &&
	       strcmp(verdict->protocol, OSH_VERDICT_PROTOCOL_NOTE) == 0;
}

static void add_mode(struct line *line, const struct osh_verdict *verdict)
{
	if (verdict->permissive)
		add(line, " [mode:permissive]");
}

size_t osh_verdict_line(const struct osh_verdict *verdict, char *buf, size_t size)
{
	struct line line = { .buf = buf, .size = size };
	char time[TIME_BYTES];

	buf[0] = '\0';
	format_time(verdict->time_ns, 3, time);
	add(&line, time);
	add(&line, " ");
	if (is_note(verdict)) {
		add(&line, "SANDBOX:NOTE [INFO] ");
		if (verdict->permissive)
			add(&line, "[mode:permissive] ");
		add_text(&line, is_set(verdict->reason) ? verdict->reason : "-");
		return line.used;
	}
	add_event(&line, verdict);
	add(&line, " [policy:");
	add_word(&line, is_set(verdict->policy) ? verdict->policy : "-");
	add(&line, " engine:");
	add(&line, osh_verdict_engine_name(verdict->engine));
	add(&line, "]");
	/* ALLOWED as in the reference; without this nobody could tell it from an allow. */
	if (verdict->decision == OSH_VERDICT_AUDIT)
		add(&line, " [enforcement:audit]");
	add_mode(&line, verdict);
	if (verdict->id) {
		add(&line, " [id:");
		add_number(&line, verdict->id);
		add(&line, "]");
	}
	if (is_set(verdict->reason)) {
		add(&line, " [reason:");
		add_text(&line, verdict->reason);
		add(&line, "]");
	}
	return line.used;
}

/* ---- Names and places of the fields -------------------------------------------------- */

/* One row per text of a verdict, in the order of the detail view. */
static const struct {
	const char *name;
	size_t offset;
} text_fields[] = {
	{ "l7_action", offsetof(struct osh_verdict, method) },
	{ "l7_target", offsetof(struct osh_verdict, target) },
	{ "l7_message", offsetof(struct osh_verdict, message) },
	{ "dst_host", offsetof(struct osh_verdict, host) },
	{ "l7_protocol", offsetof(struct osh_verdict, protocol) },
	{ "policy", offsetof(struct osh_verdict, policy) },
	{ "l7_deny_reason", offsetof(struct osh_verdict, reason) },
	{ "binary", offsetof(struct osh_verdict, binary) },
	{ "lineage", offsetof(struct osh_verdict, lineage) },
	{ "sandbox", offsetof(struct osh_verdict, sandbox) },
};

static const char **text_at(struct osh_verdict *verdict, size_t offset)
{
	return (const char **)(void *)((char *)verdict + offset);
}

static const struct {
	const char *name;
	size_t offset;
} number_fields[] = {
	{ "pid", offsetof(struct osh_verdict, pid) },
	{ "revision", offsetof(struct osh_verdict, revision) },
	{ "rule_line", offsetof(struct osh_verdict, rule_line) },
	{ "status", offsetof(struct osh_verdict, status) },
};

static uint32_t *number_at(struct osh_verdict *verdict, size_t offset)
{
	return (uint32_t *)(void *)((char *)verdict + offset);
}

/* ---- JSON ------------------------------------------------------------------------ */

/* jansson takes UTF-8 only. What is not keeps its bytes in sight as \xHH. */
static json_t *json_text(const char *text)
{
	char escaped[4 * OSH_VERDICT_BYTES_MAX + 1];
	json_t *json = json_string(text);

	if (json)
		return json;
	osh_str_escape(osh_str(text), escaped, sizeof(escaped));
	return json_string(escaped);
}

static bool put_texts(json_t *json, struct osh_verdict *verdict)
{
	for (size_t i = 0; i < OSH_COUNT_OF(text_fields); i++) {
		const char *text = *text_at(verdict, text_fields[i].offset);

		if (is_set(text) &&
		    json_object_set_new(json, text_fields[i].name, json_text(text)) < 0)
			return false;
	}
	return true;
}

static bool put_numbers(json_t *json, struct osh_verdict *verdict)
{
	for (size_t i = 0; i < OSH_COUNT_OF(number_fields); i++) {
		uint32_t number = *number_at(verdict, number_fields[i].offset);

		if (number &&
		    json_object_set_new(json, number_fields[i].name, json_integer(number)) < 0)
			return false;
	}
	return !verdict->dst_port_host ||
	       json_object_set_new(json, "dst_port", json_integer(verdict->dst_port_host)) == 0;
}

/* Left out where nothing is special about it. */
static bool put_mode(json_t *json, const struct osh_verdict *verdict)
{
	return !verdict->permissive || json_object_set_new(json, "mode", json_string("permissive")) == 0;
}

json_t *osh_verdict_json(const struct osh_verdict *verdict)
{
	struct osh_verdict copy = *verdict;
	char time[TIME_BYTES];
	json_t *json;

	format_time(verdict->time_ns, 9, time);
	/* The id comes first: it survives in a line that was torn. */
	json = json_pack("{s:I, s:s, s:s, s:s, s:I}", "id", (json_int_t)(verdict->id & INT64_MAX),
			 "time", time, "l7_decision", osh_verdict_decision_name(verdict->decision),
			 "engine", osh_verdict_engine_name(verdict->engine), "sandbox_id",
			 (json_int_t)(verdict->sandbox_id & INT64_MAX));
	if (json && (!put_texts(json, &copy) || !put_numbers(json, &copy) || !put_mode(json, verdict))) {
		json_decref(json);
		return NULL;
	}
	return json;
}

/* ASCII that JSON takes as it is. */
static bool is_plain(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((signed char)text[i] < 0x20 || text[i] == '"' || text[i] == '\\')
			return false;
	}
	return true;
}

/* A string value; what is not plain takes the long way through jansson. */
static void add_json_string(struct line *line, const char *text)
{
	size_t len = strlen(text);
	json_t *json;
	char *dump;

	if (is_plain(text, len)) {
		add(line, "\"");
		add_n(line, text, len);
		add(line, "\"");
		return;
	}
	json = json_text(text);
	dump = json ? json_dumps(json, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;
	json_decref(json);
	add(line, dump ? dump : "\"\"");
	free(dump);
}

static void add_json_name(struct line *line, const char *name)
{
	add(line, ",\"");
	add(line, name);
	add(line, "\":");
}

static void add_json_number(struct line *line, const char *name, uint64_t number)
{
	add_json_name(line, name);
	add_number(line, number);
}

size_t osh_verdict_json_text(const struct osh_verdict *verdict, char *buf, size_t size)
{
	struct line line = { .buf = buf, .size = size };
	struct osh_verdict copy = *verdict;
	char time[TIME_BYTES];

	buf[0] = '\0';
	format_time(verdict->time_ns, 9, time);
	add(&line, "{\"id\":");
	add_number(&line, verdict->id & INT64_MAX);
	add(&line, ",\"time\":\"");
	add(&line, time);
	add(&line, "\",\"l7_decision\":\"");
	add(&line, osh_verdict_decision_name(verdict->decision));
	add(&line, "\",\"engine\":\"");
	add(&line, osh_verdict_engine_name(verdict->engine));
	add(&line, "\"");
	add_json_number(&line, "sandbox_id", verdict->sandbox_id & INT64_MAX);
	for (size_t i = 0; i < OSH_COUNT_OF(text_fields); i++) {
		const char *text = *text_at(&copy, text_fields[i].offset);

		if (is_set(text)) {
			add_json_name(&line, text_fields[i].name);
			add_json_string(&line, text);
		}
	}
	for (size_t i = 0; i < OSH_COUNT_OF(number_fields); i++) {
		uint32_t number = *number_at(&copy, number_fields[i].offset);

		if (number)
			add_json_number(&line, number_fields[i].name, number);
	}
	if (verdict->dst_port_host)
		add_json_number(&line, "dst_port", verdict->dst_port_host);
	if (verdict->permissive)
		add(&line, ",\"mode\":\"permissive\"");
	add(&line, "}");
	return line.cut ? 0 : line.used;
}

static int find_name(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; name && i < count; i++) {
		if (strcmp(names[i], name) == 0)
			return (int)i;
	}
	return -1;
}

/* An absent member is 0; any other type than integer, or out of range, is an error. */
static bool get_number(const json_t *json, const char *name, uint64_t max, uint64_t *ret)
{
	const json_t *value = json_object_get(json, name);

	*ret = 0;
	if (!value)
		return true;
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    (uint64_t)json_integer_value(value) > max)
		return false;
	*ret = (uint64_t)json_integer_value(value);
	return true;
}

static bool get_texts(const json_t *json, struct osh_verdict *verdict)
{
	for (size_t i = 0; i < OSH_COUNT_OF(text_fields); i++) {
		const json_t *value = json_object_get(json, text_fields[i].name);

		if (value && !json_is_string(value))
			return false;
		*text_at(verdict, text_fields[i].offset) = value ? json_string_value(value) : "";
	}
	return true;
}

static bool get_numbers(const json_t *json, struct osh_verdict *verdict)
{
	uint64_t number;

	for (size_t i = 0; i < OSH_COUNT_OF(number_fields); i++) {
		if (!get_number(json, number_fields[i].name, UINT32_MAX, &number))
			return false;
		*number_at(verdict, number_fields[i].offset) = (uint32_t)number;
	}
	if (!get_number(json, "dst_port", UINT16_MAX, &number))
		return false;
	verdict->dst_port_host = (uint16_t)number;
	return get_number(json, "id", INT64_MAX, &verdict->id) && verdict->id > 0 &&
	       get_number(json, "sandbox_id", INT64_MAX, &verdict->sandbox_id);
}

int osh_verdict_from_json(const json_t *json, struct osh_verdict *ret_verdict)
{
	struct osh_verdict verdict = { 0 };
	const char *time = json_string_value(json_object_get(json, "time"));
	const json_t *mode = json_object_get(json, "mode");
	int decision = find_name(decision_names, OSH_VERDICT_DECISION_COUNT,
				 json_string_value(json_object_get(json, "l7_decision")));
	int engine = find_name(engine_names, OSH_ENGINE_COUNT,
			       json_string_value(json_object_get(json, "engine")));

	if (mode && (!json_is_string(mode) || strcmp(json_string_value(mode), "permissive") != 0))
		return -EBADMSG;
	if (decision < 0 || engine < 0 || !time || parse_time(time, &verdict.time_ns) < 0 ||
	    !get_texts(json, &verdict) || !get_numbers(json, &verdict))
		return -EBADMSG;
	verdict.decision = (enum osh_verdict_decision)decision;
	verdict.engine = (enum osh_verdict_engine)engine;
	verdict.permissive = mode != NULL;
	*ret_verdict = verdict;
	return 0;
}

/* ---- The detail view --------------------------------------------------------------- */

struct fields {
	void (*each)(void *context, const char *name, const char *value);
	void *context;
};

static void give_text(const struct fields *fields, const char *name, const char *text)
{
	char escaped[4 * OSH_VERDICT_BYTES_MAX + 1];

	if (!is_set(text))
		return;
	osh_str_escape(osh_str(text), escaped, sizeof(escaped));
	fields->each(fields->context, name, escaped);
}

static void give_number(const struct fields *fields, const char *name, uint64_t number)
{
	char text[32];

	if (!number)
		return;
	snprintf(text, sizeof(text), "%" PRIu64, number);
	fields->each(fields->context, name, text);
}

void osh_verdict_fields(const struct osh_verdict *verdict,
			void (*each)(void *context, const char *name, const char *value),
			void *context)
{
	const struct fields fields = { .each = each, .context = context };
	char time[TIME_BYTES];

	format_time(verdict->time_ns, 3, time);
	/* The first eight are what the dashboard has always shown, in its order. */
	give_text(&fields, "l7_action", verdict->method);
	give_text(&fields, "l7_target", verdict->target);
	give_text(&fields, "l7_decision", osh_verdict_decision_name(verdict->decision));
	give_text(&fields, "dst_host", verdict->host);
	give_number(&fields, "dst_port", verdict->dst_port_host);
	give_text(&fields, "l7_protocol", verdict->protocol);
	give_text(&fields, "policy", verdict->policy);
	give_text(&fields, "l7_deny_reason", verdict->reason);
	give_text(&fields, "l7_message", verdict->message);
	give_text(&fields, "mode", verdict->permissive ? "permissive" : "");
	give_text(&fields, "binary", verdict->binary);
	give_number(&fields, "pid", verdict->pid);
	give_text(&fields, "lineage", verdict->lineage);
	give_text(&fields, "time", time);
	give_text(&fields, "sandbox", verdict->sandbox);
	give_text(&fields, "engine", osh_verdict_engine_name(verdict->engine));
	give_number(&fields, "revision", verdict->revision);
	give_number(&fields, "rule_line", verdict->rule_line);
	give_number(&fields, "status", verdict->status);
	give_number(&fields, "id", verdict->id);
}
