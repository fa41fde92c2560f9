/* Query strings as forms read them: '&' separates, percent and '+' are decoded in keys
 * and values. */
#include <string.h>

#include "policy/evaluate.h"

static int hex_value(char c)
{
	c = osh_ascii_lower(c);
	if (osh_ascii_is_digit(c))
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool osh_is_utf8(struct osh_str text)
{
	size_t i = 0;

	while (i < text.len) {
		const unsigned char *p = (const unsigned char *)text.data + i;
		size_t len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

		if ((p[0] >= 0x80 && p[0] < 0xc2) || p[0] > 0xf4 || len > text.len - i)
			return false;
		for (size_t j = 1; j < len; j++) {
			if ((p[j] & 0xc0) != 0x80)
				return false;
		}
		if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
		    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
			return false;
		i += len;
	}
	return true;
}

static struct osh_str decode(struct osh_str text, char *buf)
{
	size_t out = 0;

	for (size_t i = 0; i < text.len && out < OSH_QUERY_MAX; i++) {
		char c = text.data[i];

		if (c == '+') {
			c = ' ';
		} else if (c == '%' && i + 2 < text.len) {
			c = (char)(hex_value(text.data[i + 1]) << 4 | hex_value(text.data[i + 2]));
			i += 2;
		}
		buf[out++] = c;
	}
	return osh_str_n(buf, out);
}

const char *osh_query_check(struct osh_str query)
{
	char key_buf[OSH_QUERY_MAX], value_buf[OSH_QUERY_MAX];
	struct osh_str key, value;
	bool escaped = false;

	if (query.len > OSH_QUERY_MAX)
		return "the query is longer than 16384 bytes";
	for (size_t i = 0; i < query.len; i++) {
		if (query.data[i] != '%')
			continue;
		if (i + 2 >= query.len || hex_value(query.data[i + 1]) < 0 || hex_value(query.data[i + 2]) < 0)
			return "the query holds a malformed percent escape";
		escaped |= hex_value(query.data[i + 1]) >= 8;
	}
	while (escaped && osh_query_next(&query, key_buf, value_buf, &key, &value)) {
		if (!osh_is_utf8(key) || !osh_is_utf8(value))
			return "the query holds escapes that are not UTF-8";
	}
	return NULL;
}

bool osh_query_next(struct osh_str *rest, char *key_buf, char *value_buf, struct osh_str *ret_key,
		    struct osh_str *ret_value)
{
	while (rest->len) {
		const char *end = memchr(rest->data, '&', rest->len);
		struct osh_str pair = osh_str_n(rest->data, end ? (size_t)(end - rest->data) : rest->len);
		const char *equals = pair.len ? memchr(pair.data, '=', pair.len) : NULL;
		size_t used = pair.len + (end ? 1 : 0);
		size_t key_len = equals ? (size_t)(equals - pair.data) : pair.len;

		*rest = osh_str_n(rest->data + used, rest->len - used);
		if (pair.len == 0)
			continue;
		*ret_key = decode(osh_str_n(pair.data, key_len), key_buf);
		*ret_value = decode(osh_str_n(pair.data + key_len + (equals ? 1 : 0),
					      pair.len - key_len - (equals ? 1 : 0)), value_buf);
		return true;
	}
	return false;
}
