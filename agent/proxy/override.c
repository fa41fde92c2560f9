#include "proxy/override.h"

#include <stddef.h>
#include <string.h>

#include "base/mem.h"

#define NAME_MAX_LEN 32 /* of those that count, and more */

void osh_override_init(struct osh_override *o, enum osh_form form)
{
	memset(o, 0, offsetof(struct osh_override, text)); /* of which len bytes count */
	o->form = form;
}

static bool says(struct osh_str type, const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i + len <= type.len; i++) {
		if (osh_str_caseeq_c(osh_str_n(type.data + i, len), word))
			return true;
	}
	return false;
}

static enum osh_form form_named(struct osh_str type)
{
	if (says(type, "urlencoded"))
		return OSH_FORM_PAIRS;
	if (says(type, "multipart"))
		return OSH_FORM_PARTS;
	return says(type, "json") ? OSH_FORM_JSON : OSH_FORM_NONE;
}

enum osh_form osh_form_of(struct osh_str type)
{
	struct osh_str first = osh_str_until(type, ",; \t");
	enum osh_form form;

	if (first.len == 0)
		return OSH_FORM_PAIRS;
	form = form_named(first);
	return form == OSH_FORM_NONE ? form_named(type) : form;
}

enum osh_form osh_form_in(struct osh_str type, struct osh_str coding)
{
	enum osh_form form = osh_form_of(type);
	bool coded = type.len && coding.len && !osh_str_caseeq_c(coding, "identity");

	return coded && (form == OSH_FORM_PAIRS || form == OSH_FORM_PARTS) ? OSH_FORM_CODED : form;
}

static void put(struct osh_override *o, char c)
{
	if (o->len < sizeof(o->text))
		o->text[o->len++] = c;
	else
		o->cut = true;
}

static void restart(struct osh_override *o)
{
	o->len = 0;
	o->cut = false;
}

/* ---- Pairs --------------------------------------------------------------------------- */

/* PHP reads '.' and '[' in a name as '_', and drops blanks in front. */
static bool is_override_name(const struct osh_override *o)
{
	static const char *const names[] = { "_method", "x-http-method-override", "x-method-override" };
	char name[NAME_MAX_LEN];
	size_t len = 0, at = 0;

	while (at < o->len && o->text[at] == ' ')
		at++;
	for (; at < o->len && len < sizeof(name); at++)
		name[len++] = o->text[at] == '.' || o->text[at] == '[' ? '_' : o->text[at];
	for (size_t i = 0; at == o->len && i < OSH_COUNT_OF(names); i++) {
		if (osh_str_caseeq_c(osh_str_n(name, len), names[i]))
			return true;
	}
	return false;
}

/* A method that is too long for its buffer is none that a rule names: its beginning will do. */
static bool end_pair(struct osh_override *o)
{
	bool found = o->in_value && o->is_override && o->len > 0;

	if (found) {
		size_t len = o->len < OSH_HTTP_METHOD_MAX ? o->len : OSH_HTTP_METHOD_MAX;

		memcpy(o->method, o->text, len);
		o->method[len] = '\0';
	}
	o->in_value = o->is_override = false;
	o->escape = 0;
	restart(o);
	return found;
}

static int hex_value(char c)
{
	if (osh_ascii_is_digit(c))
		return c - '0';
	c = osh_ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* True when an escape goes on with this character. One that is malformed stands for nothing. */
static bool take_escape(struct osh_override *o, char c)
{
	if (o->escape == 0) {
		o->escape = c == '%';
		return o->escape;
	}
	if (hex_value(c) < 0) {
		o->escape = 0;
		return false;
	}
	if (o->escape++ == 1) {
		o->high = c;
		return true;
	}
	o->escape = 0;
	put(o, (char)(hex_value(o->high) << 4 | hex_value(c)));
	return true;
}

static bool take_in_pairs(struct osh_override *o, char c)
{
	if (take_escape(o, c))
		return false;
	if (c == '&' || c == ';')
		return end_pair(o);
	if (c == '=' && !o->in_value) {
		o->in_value = true;
		o->is_override = !o->cut && is_override_name(o);
		restart(o);
	} else {
		put(o, c == '+' ? ' ' : c);
	}
	return false;
}

/* ---- Parts ----------------------------------------------------------------------------- */

static bool starts_with(const struct osh_override *o, const char *prefix)
{
	size_t len = strlen(prefix);

	return o->len >= len && osh_str_caseeq_c(osh_str_n(o->text, len), prefix);
}

/* name=_method or name="_method", whatever stands behind it. */
static bool names_method(const struct osh_override *o)
{
	static const char wanted[] = "name=_method";

	for (size_t i = 0; i < o->len; i++) {
		size_t matched = 0;

		for (size_t at = i; at < o->len && wanted[matched]; at++) {
			if (strchr("\"\\ \t", o->text[at]) && matched)
				continue;
			if (osh_ascii_lower(o->text[at]) != wanted[matched])
				break;
			matched++;
		}
		if (!wanted[matched])
			return true;
	}
	return false;
}

/* A header's line that goes on in the next one (RFC 5322 2.2.3) is read together with it. */
static bool end_line(struct osh_override *o)
{
	bool folded = o->in_disposition && o->len && (o->text[0] == ' ' || o->text[0] == '\t');
	bool found;

	o->in_disposition = folded || starts_with(o, "content-disposition:");
	found = o->in_disposition && (o->cut || names_method(o));
	o->method[0] = '\0';
	restart(o);
	return found;
}

static bool take_in_parts(struct osh_override *o, char c)
{
	if (c == '\n')
		return end_line(o);
	put(o, c);
	return false;
}

/* ---- JSON ---------------------------------------------------------------------------------- */

/* RFC 8259 7. What cannot be in a name that counts may stand for anything. */
static void take_in_escape(struct osh_override *o, char c)
{
	if (o->escape == 1 && c == 'u') {
		o->escape = 2;
		o->unit = 0;
		return;
	}
	if (o->escape > 1 && hex_value(c) >= 0) {
		o->unit = o->unit << 4 | (unsigned)hex_value(c);
		if (++o->escape < 6)
			return;
		c = o->unit < 0x80 ? (char)o->unit : '?';
	}
	o->escape = 0;
	put(o, c);
}

static void take_in_string(struct osh_override *o, char c)
{
	if (o->escape) {
		take_in_escape(o, c);
	} else if (c == '\\') {
		o->escape = 1;
	} else if (c == '"') {
		o->is_override = !o->cut && is_override_name(o);
		o->in_value = false;
		restart(o);
	} else {
		put(o, c);
	}
}

static bool is_json_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Most of a body is text that is too long for a name: to its end, or to its next escape, at once. */
static void skip_text(struct osh_override *o, struct osh_str *bytes)
{
	size_t len = 0;

	if (o->form != OSH_FORM_JSON || !o->in_value || o->escape || o->len <= NAME_MAX_LEN)
		return;
	o->cut = true;
	while (len < bytes->len && bytes->data[len] != '"' && bytes->data[len] != '\\')
		len++;
	bytes->data += len;
	bytes->len -= len;
}

/* A member's name is a string before a colon. */
static bool take_in_json(struct osh_override *o, char c)
{
	bool found = false;

	if (o->in_value) {
		take_in_string(o, c);
	} else if (!is_json_blank(c)) {
		found = o->is_override && c == ':';
		o->is_override = false;
		o->in_value = c == '"';
	}
	return found;
}

/* ---- Coded --------------------------------------------------------------------------------- */

static bool take_coded(struct osh_override *o)
{
	bool found = !o->in_value;

	o->in_value = true;
	return found;
}

/* ---- All ---------------------------------------------------------------------------------- */

static bool take(struct osh_override *o, char c)
{
	switch (o->form) {
	case OSH_FORM_PAIRS:
		return take_in_pairs(o, c);
	case OSH_FORM_PARTS:
		return take_in_parts(o, c);
	case OSH_FORM_JSON:
		return take_in_json(o, c);
	case OSH_FORM_CODED:
		return take_coded(o);
	case OSH_FORM_NONE:
		break;
	}
	return false;
}

bool osh_override_next(struct osh_override *o, struct osh_str *bytes)
{
	while (o->form != OSH_FORM_NONE) {
		skip_text(o, bytes);
		if (!bytes->len)
			return false;
		bytes->data++;
		bytes->len--;
		if (take(o, bytes->data[-1]))
			return true;
	}
	return false;
}

bool osh_override_end(struct osh_override *o)
{
	return o->form == OSH_FORM_PAIRS && end_pair(o);
}
