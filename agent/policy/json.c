#include "policy/json.h"

#include <string.h>

#include "base/mem.h"
#include "policy/text.h"

/* ---- Checking ------------------------------------------------------------ */

struct cursor {
	const char *at, *end;
	const char *error;
};

/* An absent text has no address to count from. */
static struct cursor cursor_over(struct osh_str text)
{
	const char *at = text.data ? text.data : "";

	return (struct cursor){ .at = at, .end = at + text.len };
}

static bool fail(struct cursor *c, const char *error)
{
	if (!c->error)
		c->error = error;
	return false;
}

static void skip_blanks(struct cursor *c)
{
	while (c->at < c->end && *c->at && strchr(" \t\r\n", *c->at))
		c->at++;
}

static bool check_escape(struct cursor *c)
{
	if (c->end - c->at < 2 || !c->at[1] || !strchr("\"\\/bfnrtu", c->at[1]))
		return fail(c, "a malformed escape in a string");
	if (c->at[1] != 'u') {
		c->at += 2;
		return true;
	}
	for (int i = 2; i < 6; i++) {
		if (c->end - c->at <= i || osh_hex_value(c->at[i]) < 0)
			return fail(c, "a malformed \\u escape");
	}
	c->at += 6;
	return true;
}

static bool check_string(struct cursor *c)
{
	if (c->at == c->end || *c->at != '"')
		return fail(c, "a string is missing");
	c->at++;
	while (c->at < c->end && *c->at != '"') {
		if ((unsigned char)*c->at < 0x20)
			return fail(c, "a control byte in a string");
		if (*c->at != '\\')
			c->at++;
		else if (!check_escape(c))
			return false;
	}
	if (c->at == c->end)
		return fail(c, "a string without end");
	c->at++;
	return true;
}

static size_t skip_digits(struct cursor *c)
{
	const char *start = c->at;

	while (c->at < c->end && osh_ascii_is_digit(*c->at))
		c->at++;
	return (size_t)(c->at - start);
}

static bool check_number(struct cursor *c)
{
	bool zero;

	if (c->at < c->end && *c->at == '-')
		c->at++;
	zero = c->at < c->end && *c->at == '0';
	if (zero)
		c->at++;
	else if (skip_digits(c) == 0)
		return fail(c, "a value is missing or malformed");
	if (c->at < c->end && *c->at == '.') {
		c->at++;
		if (skip_digits(c) == 0)
			return fail(c, "a malformed number");
	}
	if (c->at < c->end && osh_ascii_lower(*c->at) == 'e') {
		c->at++;
		if (c->at < c->end && (*c->at == '+' || *c->at == '-'))
			c->at++;
		if (skip_digits(c) == 0)
			return fail(c, "a malformed number");
	}
	return true;
}

static bool check_word(struct cursor *c, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(c->end - c->at) < len || memcmp(c->at, word, len) != 0)
		return fail(c, "a value is malformed");
	c->at += len;
	return true;
}

static bool check_scalar(struct cursor *c)
{
	switch (*c->at) {
	case '"':
		return check_string(c);
	case 't':
		return check_word(c, "true");
	case 'f':
		return check_word(c, "false");
	case 'n':
		return check_word(c, "null");
	default:
		return check_number(c);
	}
}

static bool check_key(struct cursor *c)
{
	skip_blanks(c);
	if (!check_string(c))
		return false;
	skip_blanks(c);
	if (c->at == c->end || *c->at != ':')
		return fail(c, "':' is missing behind a key");
	c->at++;
	return true;
}

/* Which kind each open collection is; no recursion, so that depth costs no stack. */
struct nesting {
	char open[OSH_JSON_DEPTH_MAX];
	size_t depth;
};

/* Open a collection. *ret_value says whether a value follows (it is not empty). */
static bool enter(struct cursor *c, struct nesting *n, bool *ret_value)
{
	char open = *c->at++, close = open == '{' ? '}' : ']';

	*ret_value = true;
	skip_blanks(c);
	if (c->at < c->end && *c->at == close) {
		c->at++;
		*ret_value = false;
		return true;
	}
	if (n->depth == OSH_JSON_DEPTH_MAX)
		return fail(c, "nested deeper than 64 levels");
	n->open[n->depth++] = open;
	return open == '[' || check_key(c);
}

/* Behind a value: close what closes, up to the next value. False at the end or on error. */
static bool leave(struct cursor *c, struct nesting *n)
{
	while (n->depth) {
		char open = n->open[n->depth - 1];

		skip_blanks(c);
		if (c->at == c->end)
			return fail(c, "a collection without end");
		if (*c->at == ',') {
			c->at++;
			return open == '[' || check_key(c);
		}
		if (*c->at != (open == '{' ? '}' : ']'))
			return fail(c, "',' or a closing bracket is missing");
		c->at++;
		n->depth--;
	}
	return false;
}

const char *osh_json_check(struct osh_str text)
{
	struct cursor c = cursor_over(text);
	struct nesting n = { .depth = 0 };
	bool more = true;

	if (text.len == 0)
		return "it is empty";
	if (!osh_is_utf8(text))
		return "it is not UTF-8";
	while (more && !c.error) {
		skip_blanks(&c);
		if (c.at == c.end)
			return "it ends too early";
		if (*c.at == '{' || *c.at == '[') {
			bool value;

			if (!enter(&c, &n, &value))
				return c.error;
			if (value)
				continue;
		} else if (!check_scalar(&c)) {
			return c.error;
		}
		more = leave(&c, &n);
	}
	skip_blanks(&c);
	return c.error ? c.error : c.at < c.end ? "text follows its end" : NULL;
}

/* ---- Reading what was checked -------------------------------------------- */

static void skip_string(struct cursor *c)
{
	for (c->at++; *c->at != '"'; c->at++)
		c->at += *c->at == '\\';
	c->at++;
}

static struct osh_str take_value(struct cursor *c)
{
	const char *start;
	size_t depth = 0;

	skip_blanks(c);
	start = c->at;
	do {
		if (*c->at == '"') {
			skip_string(c);
			continue;
		}
		if (*c->at == '{' || *c->at == '[')
			depth++;
		if (*c->at == '}' || *c->at == ']')
			depth--;
		c->at++;
		/* A bare word ends at what cannot belong to it. */
		while (depth == 0 && c->at < c->end && *start != '{' && *start != '[' && *c->at &&
		       !strchr(" \t\r\n,]}", *c->at))
			c->at++;
	} while (depth);
	return osh_str_n(start, (size_t)(c->at - start));
}

struct osh_str osh_json_root(struct osh_str text)
{
	struct cursor c = cursor_over(text);

	return take_value(&c);
}

enum osh_json_type osh_json_type(struct osh_str value)
{
	if (value.len == 0)
		return OSH_JSON_NONE;
	switch (value.data[0]) {
	case '{':
		return OSH_JSON_OBJECT;
	case '[':
		return OSH_JSON_ARRAY;
	case '"':
		return OSH_JSON_STRING;
	case 't':
	case 'f':
		return OSH_JSON_BOOL;
	case 'n':
		return OSH_JSON_NULL;
	default:
		return OSH_JSON_NUMBER;
	}
}

/* Behind the opening bracket or a comma; false at the closing bracket. */
static bool at_element(struct cursor *c)
{
	skip_blanks(c);
	if (c->at == c->end || *c->at == '}' || *c->at == ']')
		return false;
	if (*c->at == '{' || *c->at == '[' || *c->at == ',')
		c->at++;
	skip_blanks(c);
	return c->at < c->end && *c->at != '}' && *c->at != ']';
}

bool osh_json_next_item(struct osh_str *rest, struct osh_str *ret_value)
{
	struct cursor c = cursor_over(*rest);

	if (!at_element(&c))
		return false;
	*ret_value = take_value(&c);
	*rest = osh_str_n(c.at, (size_t)(c.end - c.at));
	return true;
}

bool osh_json_next_member(struct osh_str *rest, struct osh_str *ret_key, struct osh_str *ret_value)
{
	struct cursor c = cursor_over(*rest);

	if (!at_element(&c))
		return false;
	*ret_key = osh_json_raw(take_value(&c));
	skip_blanks(&c);
	c.at++; /* ':' */
	*ret_value = take_value(&c);
	*rest = osh_str_n(c.at, (size_t)(c.end - c.at));
	return true;
}

#define FOLDED_KEY_MAX 256

/* The next character of a key without its case, as Unicode folds to ASCII: the long s and
 * the Kelvin sign, too. */
static char fold(struct osh_str name, size_t *pos)
{
	static const struct {
		const char *bytes;
		char letter;
	} others[] = { { "\u017f", 's' }, { "\u212a", 'k' } };

	for (size_t i = 0; i < OSH_COUNT_OF(others); i++) {
		size_t len = strlen(others[i].bytes);

		if (name.len - *pos >= len &&
		    memcmp(name.data + *pos, others[i].bytes, len) == 0) {
			*pos += len;
			return others[i].letter;
		}
	}
	return osh_ascii_lower(name.data[(*pos)++]);
}

/* Is it the key but for the case of letters? */
static bool folds_to(struct osh_str raw, struct osh_str key)
{
	char buf[FOLDED_KEY_MAX];
	struct osh_str name;
	size_t pos = 0, i = 0;

	if (raw.len < key.len || !osh_json_decode(raw, buf, sizeof(buf), &name))
		return false;
	while (pos < name.len && i < key.len) {
		if (fold(name, &pos) != osh_ascii_lower(key.data[i++]))
			return false;
	}
	return pos == name.len && i == key.len;
}

bool osh_json_get(struct osh_str object, struct osh_str key, struct osh_str *ret_value)
{
	struct osh_str name, value, found = { 0 };
	bool seen = false;

	while (osh_json_next_member(&object, &name, &value)) {
		bool same = osh_json_raw_eq(name, key);

		if (!same && !folds_to(name, key))
			continue;
		if (seen || !same)
			return false;
		seen = true;
		found = value;
	}
	*ret_value = found;
	return true;
}

struct osh_str osh_json_raw(struct osh_str value)
{
	return osh_str_n(value.data + 1, value.len - 2);
}

/* ---- Escapes ------------------------------------------------------------- */

static unsigned hex4(const char *p)
{
	unsigned value = 0;

	for (int i = 0; i < 4; i++)
		value = value << 4 | (unsigned)osh_hex_value(p[i]);
	return value;
}

/* Decode one character at raw[*pos]; its UTF-8 bytes go to `out`. Returns their number, 0
 * for what has no character (a lone surrogate). */
static size_t decode_char(struct osh_str raw, size_t *pos, char *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *p = raw.data + *pos;
	unsigned code;

	if (*p != '\\') {
		out[0] = *p;
		(*pos)++;
		return 1;
	}
	if (p[1] != 'u') {
		out[0] = to[strchr(from, p[1]) - from];
		*pos += 2;
		return 1;
	}
	code = hex4(p + 2);
	*pos += 6;
	if (code >= 0xd800 && code < 0xdc00 && *pos + 6 <= raw.len && raw.data[*pos] == '\\' &&
	    raw.data[*pos + 1] == 'u') {
		unsigned low = hex4(raw.data + *pos + 2);

		if (low >= 0xdc00 && low < 0xe000) {
			code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
			*pos += 6;
		}
	}
	if (code == 0 || (code >= 0xd800 && code < 0xe000))
		return 0;
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 63));
		return 2;
	}
	if (code < 0x10000) {
		out[0] = (char)(0xe0 | code >> 12);
		out[1] = (char)(0x80 | (code >> 6 & 63));
		out[2] = (char)(0x80 | (code & 63));
		return 3;
	}
	out[0] = (char)(0xf0 | code >> 18);
	out[1] = (char)(0x80 | (code >> 12 & 63));
	out[2] = (char)(0x80 | (code >> 6 & 63));
	out[3] = (char)(0x80 | (code & 63));
	return 4;
}

bool osh_json_decode(struct osh_str raw, char *buf, size_t size, struct osh_str *ret_text)
{
	size_t len = 0, pos = 0;

	while (pos < raw.len) {
		char bytes[4];
		size_t n = decode_char(raw, &pos, bytes);

		if (n == 0 || len + n > size)
			return false;
		memcpy(buf + len, bytes, n);
		len += n;
	}
	*ret_text = osh_str_n(buf, len);
	return true;
}

bool osh_json_raw_eq(struct osh_str raw, struct osh_str text)
{
	size_t len = 0, pos = 0;

	if (raw.len == 0 || !osh_str_chr(raw, '\\'))
		return osh_str_eq(raw, text);
	while (pos < raw.len) {
		char bytes[4];
		size_t n = decode_char(raw, &pos, bytes);

		if (n == 0 || text.len - len < n || memcmp(text.data + len, bytes, n) != 0)
			return false;
		len += n;
	}
	return len == text.len;
}
