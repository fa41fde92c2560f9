/* A verdict as a JSON object, and back. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/mem.h"
#include "base/str.h"
#include "verdict/format.h"
#include "verdict/format_parts.h"

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

/* JSON holds UTF-8 only. A text that is not is escaped, and its name listed under this one, so that
 * it is escaped once, also on its way through a file. */
#define ESCAPED "escaped"

static json_t *json_text(const char *text, bool *ret_is_escaped)
{
	char escaped[4 * OSH_VERDICT_BYTES_MAX + 1];
	json_t *json = json_string(text);

	*ret_is_escaped = !json;
	if (json)
		return json;
	osh_str_escape(osh_str(text), escaped, sizeof(escaped));
	return json_string(escaped);
}

#define TEXTS OSH_COUNT_OF(text_fields)

static bool put_texts(json_t *json, struct osh_verdict *verdict, bool ret_is_escaped[static TEXTS])
{
	for (size_t i = 0; i < TEXTS; i++) {
		const char *text = *text_at(verdict, text_fields[i].offset);

		if (is_set(text) &&
		    json_object_set_new(json, text_fields[i].name, json_text(text, &ret_is_escaped[i])) < 0)
			return false;
	}
	return true;
}

static bool put_escaped(json_t *json, const bool is_escaped[static TEXTS])
{
	json_t *list = json_array();

	for (size_t i = 0; i < TEXTS; i++) {
		if (is_escaped[i])
			json_array_append_new(list, json_string(text_fields[i].name));
	}
	if (json_array_size(list))
		return json_object_set_new(json, ESCAPED, list) == 0;
	json_decref(list);
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
	bool is_escaped[TEXTS] = { false };
	struct osh_verdict copy = *verdict;
	char time[TIME_BYTES];
	json_t *json;

	format_time(verdict->time_ns, 9, time);
	/* The id comes first: it survives in a line that was torn. */
	json = json_pack("{s:I, s:s, s:s, s:s, s:I}", "id", (json_int_t)(verdict->id & INT64_MAX),
			 "time", time, "l7_decision", osh_verdict_decision_name(verdict->decision),
			 "engine", osh_verdict_engine_name(verdict->engine), "sandbox_id",
			 (json_int_t)(verdict->sandbox_id & INT64_MAX));
	if (json && (!put_texts(json, &copy, is_escaped) || !put_numbers(json, &copy) ||
		     !put_mode(json, verdict) || !put_escaped(json, is_escaped))) {
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

/* A string value; what is not plain takes the long way through jansson. Returns whether it had to
 * be escaped. */
static bool add_json_string(struct line *line, const char *text)
{
	size_t len = strlen(text);
	bool is_escaped;
	json_t *json;
	char *dump;

	if (is_plain(text, len)) {
		line_add(line, "\"");
		line_add_n(line, text, len);
		line_add(line, "\"");
		return false;
	}
	json = json_text(text, &is_escaped);
	dump = json ? json_dumps(json, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;
	json_decref(json);
	line_add(line, dump ? dump : "\"\"");
	free(dump);
	return is_escaped;
}

static void add_escaped_list(struct line *line, const bool is_escaped[static TEXTS])
{
	const char *before = ",\"" ESCAPED "\":[\"";

	for (size_t i = 0; i < TEXTS; i++) {
		if (!is_escaped[i])
			continue;
		line_add(line, before);
		line_add(line, text_fields[i].name);
		before = "\",\"";
	}
	if (*before == '"')
		line_add(line, "\"]");
}

static void add_json_name(struct line *line, const char *name)
{
	line_add(line, ",\"");
	line_add(line, name);
	line_add(line, "\":");
}

static void add_json_number(struct line *line, const char *name, uint64_t number)
{
	add_json_name(line, name);
	line_add_number(line, number);
}

size_t osh_verdict_json_text(const struct osh_verdict *verdict, char *buf, size_t size)
{
	struct line line = { .buf = buf, .size = size };
	struct osh_verdict copy = *verdict;
	bool is_escaped[TEXTS] = { false };
	char time[TIME_BYTES];

	buf[0] = '\0';
	format_time(verdict->time_ns, 9, time);
	line_add(&line, "{\"id\":");
	line_add_number(&line, verdict->id & INT64_MAX);
	line_add(&line, ",\"time\":\"");
	line_add(&line, time);
	line_add(&line, "\",\"l7_decision\":\"");
	line_add(&line, osh_verdict_decision_name(verdict->decision));
	line_add(&line, "\",\"engine\":\"");
	line_add(&line, osh_verdict_engine_name(verdict->engine));
	line_add(&line, "\"");
	add_json_number(&line, "sandbox_id", verdict->sandbox_id & INT64_MAX);
	for (size_t i = 0; i < TEXTS; i++) {
		const char *text = *text_at(&copy, text_fields[i].offset);

		if (is_set(text)) {
			add_json_name(&line, text_fields[i].name);
			is_escaped[i] = add_json_string(&line, text);
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
		line_add(&line, ",\"mode\":\"permissive\"");
	add_escaped_list(&line, is_escaped);
	line_add(&line, "}");
	return line.cut ? 0 : line.used;
}

static int find_decision(const char *name)
{
	for (int i = 0; name && i < OSH_VERDICT_DECISION_COUNT; i++) {
		if (strcmp(osh_verdict_decision_name((enum osh_verdict_decision)i), name) == 0)
			return i;
	}
	return -1;
}

static int find_engine(const char *name)
{
	for (int i = 0; name && i < OSH_ENGINE_COUNT; i++) {
		if (strcmp(osh_verdict_engine_name((enum osh_verdict_engine)i), name) == 0)
			return i;
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

static int hex_value(char c)
{
	return osh_ascii_is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The reverse of osh_str_escape. Returns the length, or -1 for what it does not write. */
static ssize_t unescape(const char *text, size_t len, char *buf)
{
	size_t used = 0;

	for (size_t i = 0; i < len; i++, used++) {
		int high, low;

		buf[used] = text[i];
		if (text[i] != '\\')
			continue;
		high = i + 3 < len && text[i + 1] == 'x' ? hex_value(text[i + 2]) : -1;
		low = high < 0 ? -1 : hex_value(text[i + 3]);
		if (low < 0 || high * 16 + low == 0)
			return -1;
		buf[used] = (char)(high * 16 + low);
		i += 3;
	}
	return (ssize_t)used;
}

static bool unescape_text(json_t *text)
{
	char buf[4 * OSH_VERDICT_BYTES_MAX + 1];
	size_t len = json_is_string(text) ? json_string_length(text) : sizeof(buf);
	ssize_t used = len < sizeof(buf) ? unescape(json_string_value(text), len, buf) : -1;

	return used >= 0 && json_string_setn_nocheck(text, buf, (size_t)used) == 0;
}

/* In place, once: the list is taken out. */
static bool unescape_texts(json_t *json)
{
	json_t *list = json_object_get(json, ESCAPED);
	bool good = !list || (json_is_array(list) && json_array_size(list) <= TEXTS);

	for (size_t i = 0; good && i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));

		good = name && unescape_text(json_object_get(json, name));
	}
	if (list)
		json_object_del(json, ESCAPED);
	return good;
}

static bool get_texts(json_t *json, struct osh_verdict *verdict)
{
	for (size_t i = 0; i < TEXTS; i++) {
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

int osh_verdict_from_json(json_t *json, struct osh_verdict *ret_verdict)
{
	struct osh_verdict verdict = { 0 };
	const char *time = json_string_value(json_object_get(json, "time"));
	const json_t *mode = json_object_get(json, "mode");
	int decision = find_decision(json_string_value(json_object_get(json, "l7_decision")));
	int engine = find_engine(json_string_value(json_object_get(json, "engine")));

	if (mode && (!json_is_string(mode) || strcmp(json_string_value(mode), "permissive") != 0))
		return -EBADMSG;
	if (decision < 0 || engine < 0 || !time || parse_time(time, &verdict.time_ns) < 0 ||
	    !unescape_texts(json) || !get_texts(json, &verdict) || !get_numbers(json, &verdict))
		return -EBADMSG;
	verdict.decision = (enum osh_verdict_decision)decision;
	verdict.engine = (enum osh_verdict_engine)engine;
	verdict.permissive = mode != NULL;
	*ret_verdict = verdict;
	return 0;
}
