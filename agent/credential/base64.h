/* Base64 (RFC 4648, section 4), strict: this is what stands between a Basic header
 * and the secret put into it. Pure. */
#ifndef OSH_CREDENTIAL_BASE64_H
#define OSH_CREDENTIAL_BASE64_H

#include <stddef.h>

#include "base/str.h"

/* Room that the encoding of `len` bytes needs, without a NUL. */
static inline size_t osh_base64_encoded_len(size_t len)
{
	return (len + 2) / 3 * 4;
}

/* Write osh_base64_encoded_len(data.len) characters. */
void osh_base64_encode(struct osh_str data, char *out);

/* Decode into `out` (3 bytes per 4 characters suffice). Padding may be left out, as
 * some clients do; any other character is an error. Returns 0 or -EINVAL. */
int osh_base64_decode(struct osh_str text, char *out, size_t *ret_len);

#endif
