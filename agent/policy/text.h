/* Characters that several parsers read. Private to agent/policy. */
#ifndef OSH_POLICY_TEXT_H
#define OSH_POLICY_TEXT_H

#include "base/str.h"

/* The value of a hexadecimal digit, -1 for another byte. */
static inline int osh_hex_value(char c)
{
	c = osh_ascii_lower(c);
	if (osh_ascii_is_digit(c))
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Length of the UTF-8 character at p (RFC 3629: shortest form, no surrogates), 0 when
 * there is none. `left` >= 1 bytes may be read. */
size_t osh_utf8_length(const unsigned char *p, size_t left);
bool osh_is_utf8(struct osh_str text);

#endif
