#include "base/str.h"

#include <errno.h>
#include <string.h>

bool osh_str_same_letters(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (osh_ascii_lower(a[i]) != osh_ascii_lower(b[i]))
			return false;
	}
	return true;
}

struct osh_str osh_str_until(struct osh_str s, const char *stops)
{
	size_t len = 0;

	while (len < s.len && !strchr(stops, s.data[len]))
		len++;
	return osh_str_n(s.data, len);
}

bool osh_str_has_prefix(struct osh_str s, const char *prefix)
{
	size_t len = strlen(prefix);

	return s.len >= len && memcmp(s.data, prefix, len) == 0;
}

bool osh_str_has_suffix(struct osh_str s, const char *suffix)
{
	size_t len = strlen(suffix);

	return s.len >= len && memcmp(s.data + s.len - len, suffix, len) == 0;
}

bool osh_path_is_below(const char *path, const char *directory)
{
	size_t len = strlen(directory);

	return strncmp(path, directory, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

int osh_str_copy(struct osh_str s, char *buf, size_t size)
{
	buf[0] = '\0';
	if (s.len >= size)
		return -ENAMETOOLONG;
	if (osh_str_chr(s, '\0'))
		return -EINVAL;
	if (s.len)
		memcpy(buf, s.data, s.len);
	buf[s.len] = '\0';
	return 0;
}

int osh_str_parse_u64(struct osh_str s, uint64_t max, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (s.len == 0)
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		uint64_t digit;

		if (!osh_ascii_is_digit(s.data[i]))
			return -EINVAL;
		digit = (uint64_t)(s.data[i] - '0');
		if (digit > max || value > (max - digit) / 10)
			return -EINVAL;
		value = value * 10 + digit;
	}
	*ret_value = value;
	return 0;
}

/* Decode one UTF-8 character (RFC 3629: shortest form, no surrogates). Returns
 * its length, 0 when the bytes are not one. */
static size_t utf8_decode(const unsigned char *p, size_t left, uint32_t *ret_char)
{
	static const uint32_t shortest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t value;
	size_t len;

	if (p[0] < 0x80) {
		*ret_char = p[0];
		return 1;
	}
	if ((p[0] & 0xe0) == 0xc0)
		len = 2, value = p[0] & 0x1f;
	else if ((p[0] & 0xf0) == 0xe0)
		len = 3, value = p[0] & 0x0f;
	else if ((p[0] & 0xf8) == 0xf0)
		len = 4, value = p[0] & 0x07;
	else
		return 0;
	if (len > left)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (p[i] & 0x3f);
	}
	if (value < shortest[len] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
		return 0;
	*ret_char = value;
	return len;
}

bool osh_str_is_utf8(struct osh_str s)
{
	uint32_t c;

	for (size_t at = 0, len; at < s.len; at += len) {
		len = utf8_decode((const unsigned char *)s.data + at, s.len - at, &c);
		if (len == 0)
			return false;
	}
	return true;
}

static bool is_deceptive(uint32_t c)
{
	return c < 0x20 || c == '\\' || (c >= 0x7f && c < 0xa0) || /* controls, C1 */
	       c == 0xad ||                        /* soft hyphen */
	       c == 0x61c ||                       /* Arabic letter mark */
	       (c >= 0x200b && c <= 0x200f) ||     /* zero width, direction marks */
	       (c >= 0x2028 && c <= 0x202e) ||     /* separators, bidi embedding */
	       (c >= 0x2060 && c <= 0x206f) ||     /* invisible operators, bidi isolates */
	       c == 0xfeff || (c >= 0xfff0 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff);
}

size_t osh_str_escape(struct osh_str s, char *buf, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	size_t in = 0, out = 0;

	while (in < s.len) {
		const unsigned char *p = (const unsigned char *)s.data + in;
		uint32_t c = 0;
		size_t len = utf8_decode(p, s.len - in, &c);

		if (len && !is_deceptive(c)) {
			if (out + len >= size)
				break;
			memcpy(buf + out, p, len);
			out += len;
			in += len;
			continue;
		}
		if (!len)
			len = 1;
		if (out + 4 * len >= size)
			break;
		for (size_t i = 0; i < len; i++) {
			buf[out++] = '\\';
			buf[out++] = 'x';
			buf[out++] = hex[p[i] >> 4];
			buf[out++] = hex[p[i] & 15];
		}
		in += len;
	}
	buf[out] = '\0';
	return out;
}
