#include "proxy/override.h"

#include <stddef.h>
#include <string.h>

#include "base/mem.h"

void osh_override_init(struct osh_override *o, enum osh_form form)
{
	memset(o, 0, offsetof(struct osh_override, text)); /* of which len bytes count */
	o->form = form;
}

enum osh_form osh_form_of(struct osh_str type)
{
	size_t len = 0;

	while (len < type.len && type.data[len] && !strchr("; \t", type.data[len]))
		len++;
	type.len = len;
	if (osh_str_caseeq_c(type, "application/x-www-form-urlencoded"))
		return OSH_FORM_PAIRS;
	return osh_str_caseeq_c(type, "multipart/form-data") ? OSH_FORM_PARTS : OSH_FORM_NONE;
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
	char name[32];
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

/* ---- Both --------------------------------------------------------------------------------- */

bool osh_override_next(struct osh_override *o, struct osh_str *bytes)
{
	if (o->form == OSH_FORM_NONE)
		return false;
	while (bytes->len) {
		char c = *bytes->data;

		bytes->data++;
		bytes->len--;
		if (o->form == OSH_FORM_PAIRS ? take_in_pairs(o, c) : take_in_parts(o, c))
			return true;
	}
	return false;
}

bool osh_override_end(struct osh_override *o)
{
	return o->form == OSH_FORM_PAIRS && end_pair(o);
}
