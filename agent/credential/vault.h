/* What the proxy knows of credentials: for each sandbox, placeholders, their
 * secrets and where they may go. Handed over by the agent as one sealed memfd
 * (encode, decode). Rewrites requests and finds placeholders that are where they
 * do not belong. No I/O. */
#ifndef OSH_CREDENTIAL_VAULT_H
#define OSH_CREDENTIAL_VAULT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/secret.h"
#include "base/str.h"

struct osh_vault;

struct osh_vault *osh_vault_new(void);
void osh_vault_free(struct osh_vault *vault);
/* Copies all. `hosts` is NULL-terminated. Returns 0, -ENOMEM, -EINVAL (placeholder not
 * 16 to 160 of [A-Za-z0-9._~-], secret empty or with CR, LF, NUL), -E2BIG (full). */
int osh_vault_add(struct osh_vault *vault, const char *provider, const char *placeholder,
		  const struct osh_secret *secret, const char *const *hosts);
bool osh_vault_is_empty(const struct osh_vault *vault);

/* Byte form, for the memfd between agent and proxy. decode returns 0, -EBADMSG, -ENOMEM. */
int osh_vault_encode(const struct osh_vault *vault, struct osh_buf *buf);
int osh_vault_decode(struct osh_str data, struct osh_vault **ret_vault);

enum osh_vault_result {
	OSH_VAULT_NONE,     /* no placeholder in it */
	OSH_VAULT_REPLACED, /* the rewritten value is in `out` */
	OSH_VAULT_MISMATCH, /* a placeholder where its secret must not go: refuse the request */
};

/* An Authorization header's value on its way to `host`: Bearer and token schemes
 * carry the placeholder as the whole credential, Basic (RFC 7617) as user or
 * password inside the base64. Replaced only when `host` is one of the provider's
 * and `verified_tls`; else MISMATCH. `out` is cleared first and holds a secret
 * afterwards: the caller wipes it. */
enum osh_vault_result osh_vault_authorization(const struct osh_vault *vault, struct osh_str host,
					      bool verified_tls, struct osh_str value,
					      struct osh_buf *out);

/* Does any other part (target, header value, also percent-encoded or inside a
 * Basic value) carry a placeholder? */
bool osh_vault_contains(const struct osh_vault *vault, struct osh_str bytes);

/* The same over a body that arrives in pieces: the last bytes are carried over,
 * so a placeholder split between two pieces is found. */
struct osh_vault_scan {
	char tail[512];
	size_t tail_len;
};
bool osh_vault_scan(const struct osh_vault *vault, struct osh_vault_scan *scan, struct osh_str piece);

#endif
