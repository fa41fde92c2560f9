/* Query strings as forms read them: '&' separates, percent and '+' are decoded in keys
 * and values. */
#include <string.h>

#include "policy/evaluate.h"
#include "policy/text.h"

static struct osh_str decode(struct osh_str text, char *buf)
{
	size_t out = 0;

	for (size_t i = 0; i < text.len && out < OSH_QUERY_MAX; i++) {
		char c = text.data[i];

		if (c == '+') {
			c = ' ';
		} else if (c == '%' && i + 2 < text.len) {
			c = (char)(osh_hex_value(text.data[i + 1]) << 4 | osh_hex_value(text.data[i + 2]));
			i += 2;
		}
		buf[out++] = c;
	}
	return osh_str_n(buf, out);
}

/* A function of its own: its buffers are pages of stack that each call touches. */
static __attribute__((noinline)) bool decodes_to_utf8(struct osh_str query)
{
	char key_buf[OSH_QUERY_MAX], value_buf[OSH_QUERY_MAX];
	struct osh_str key, value;

	while (osh_query_next(&query, key_buf, value_buf, &key, &value)) {
		if (!osh_is_utf8(key) || !osh_is_utf8(value))
			return false;
	}
	return true;
}

const char *osh_query_check(struct osh_str query)
{
	bool escaped = false;

	if (query.len > OSH_QUERY_MAX)
		return "the query is longer than 16384 bytes";
	for (size_t i = 0; i < query.len; i++) {
		if (query.data[i] != '%')
			continue;
		if (i + 2 >= query.len || osh_hex_value(query.data[i + 1]) < 0 ||
		    osh_hex_value(query.data[i + 2]) < 0)
			return "the query holds a malformed percent escape";
		escaped |= osh_hex_value(query.data[i + 1]) >= 8;
	}
	if (escaped && !decodes_to_utf8(query))
		return "the query holds escapes that are not UTF-8";
	return NULL;
}

bool osh_query_next(struct osh_str *rest, char *key_buf, char *value_buf, struct osh_str *ret_key,
		    struct osh_str *ret_value)
{
	while (rest->len) {
		const char *end = osh_str_chr(*rest, '&');
		struct osh_str pair =
			osh_str_n(rest->data, end ? (size_t)(end - rest->data) : rest->len);
		const char *equals = osh_str_chr(pair, '=');
		size_t used = pair.len + (end ? 1 : 0);
		size_t key_len = equals ? (size_t)(equals - pair.data) : pair.len;

		*rest = osh_str_n(rest->data + used, rest->len - used);
		if (pair.len == 0)
			continue;
		*ret_key = decode(osh_str_n(pair.data, key_len), key_buf);
		*ret_value = decode(osh_str_n(pair.data + key_len + (equals ? 1 : 0),
					      pair.len - key_len - (equals ? 1 : 0)),
				    value_buf);
		return true;
	}
	return false;
}
