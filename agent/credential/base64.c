#include "credential/base64.h"

#include <errno.h>
#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void osh_base64_encode(struct osh_str data, char *out)
{
	for (size_t i = 0; i < data.len; i += 3) {
		size_t left = data.len - i;
		uint32_t bits = (uint32_t)(unsigned char)data.data[i] << 16;

		if (left > 1)
			bits |= (uint32_t)(unsigned char)data.data[i + 1] << 8;
		if (left > 2)
			bits |= (unsigned char)data.data[i + 2];
		*out++ = alphabet[bits >> 18];
		*out++ = alphabet[bits >> 12 & 63];
		*out++ = left > 1 ? alphabet[bits >> 6 & 63] : '=';
		*out++ = left > 2 ? alphabet[bits & 63] : '=';
	}
}

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int osh_base64_decode(struct osh_str text, char *out, size_t *ret_len)
{
	uint32_t bits = 0;
	unsigned count = 0; /* bits held */
	size_t len = 0;

	for (int pad = 0; pad < 2 && text.len && text.data[text.len - 1] == '='; pad++)
		text.len--;
	if (text.len % 4 == 1)
		return -EINVAL;
	for (size_t i = 0; i < text.len; i++) {
		int value = value_of(text.data[i]);

		if (value < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)value;
		count += 6;
		if (count >= 8) {
			count -= 8;
			out[len++] = (char)(bits >> count);
		}
	}
	*ret_len = len;
	return 0;
}
