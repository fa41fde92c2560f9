/* SHA-256 (FIPS 180-4) of a policy text. The agent has OpenSSL for that; the CLI
 * does without, because loading libcrypto costs every call 2 ms. */
#ifndef OSH_CLI_SHA256_H
#define OSH_CLI_SHA256_H

#include <stddef.h>

#define OSH_SHA256_HEX_BYTES 65

/* Lower-case hexadecimal digits with a NUL. */
void osh_sha256_hex(const void *data, size_t len, char ret_hex[OSH_SHA256_HEX_BYTES]);

#endif
