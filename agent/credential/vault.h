/* What the proxy knows of credentials: for each sandbox, placeholders, their
 * secrets and where they may go. Handed over by the agent as one sealed memfd
 * (encode, decode). No I/O.
 *
 * A secret is asked for by any of these placeholders:
 *   ghp_x8Kq...                        the one made for this sandbox, of the secret's shape
 *   openshell:resolve:env:KEY          KEY: a variable that the provider sets inside
 *   openshell:resolve:env:vN_KEY       N: the revision of the secret (it was stored at N)
 *   openshell:resolve:env:s<hex>_KEY   hex: osh_vault_handle, stable when the secret changes
 *   <prefix>OPENSHELL-RESOLVE-ENV-KEY  a whole token of [A-Za-z0-9._~-], where the others'
 *                                      colons are not welcome
 * Any of their bytes may be percent-encoded (RFC 3986 2.1).
 *
 * vault.c keeps them, placeholder.c finds placeholders, resolve.c puts secrets in their
 * place. Every function takes a NULL vault for one that holds nothing. */
#ifndef OSH_CREDENTIAL_VAULT_H
#define OSH_CREDENTIAL_VAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/secret.h"
#include "base/str.h"

struct osh_vault;

struct osh_vault *osh_vault_new(void);
void osh_vault_free(struct osh_vault *vault);

struct osh_vault_item {
	const char *provider;           /* its name */
	const char *placeholder;        /* 16 to 160 of [A-Za-z0-9._~-] */
	uint64_t revision;
	const char *const *variables;   /* NULL-terminated, each 1 to 64 of [A-Za-z0-9_] */
	const char *const *hosts;       /* NULL-terminated: where the secret may go */
	const struct osh_secret *secret; /* NULL: it is gone, its placeholder is refused */
};
/* Copies all. Returns 0, -ENOMEM, -EINVAL (a text that is not as above, a secret empty or
 * with CR, LF, NUL), -E2BIG (full). */
int osh_vault_add(struct osh_vault *vault, const struct osh_vault_item *item);
bool osh_vault_is_empty(const struct osh_vault *vault);
/* May any of its secrets go to this host? */
bool osh_vault_serves(const struct osh_vault *vault, struct osh_str host);

#define OSH_VAULT_HANDLE_HEX 65 /* NUL included */
/* The stable handle of a provider's variable: SHA-256 over "provider:KEY" in lower-case
 * hex. 0 or -EIO. */
int osh_vault_handle(struct osh_str provider, struct osh_str variable,
		     char ret_hex[static OSH_VAULT_HANDLE_HEX]);

/* Byte form, for the memfd between agent and proxy. decode returns 0, -EBADMSG, -ENOMEM. */
int osh_vault_encode(const struct osh_vault *vault, struct osh_buf *buf);
int osh_vault_decode(struct osh_str data, struct osh_vault **ret_vault);

/* ---- placeholder.c: finding ------------------------------------------------------ */

/* In one text; more are refused, so that looking stays cheap. */
#define OSH_PLACEHOLDERS_MAX 32

/* Does this text (target, header value; also inside a Basic value) hold anything of a
 * placeholder's form, whether or not it names a secret here? */
bool osh_vault_marks(const struct osh_vault *vault, struct osh_str text);
/* ... one that names a secret of this vault? The question for texts that are nobody's to
 * rewrite: there, a form that names nothing is just text. */
bool osh_vault_contains(const struct osh_vault *vault, struct osh_str text);

/* The same over a body that arrives in pieces: the last bytes are carried over,
 * so a placeholder split between two pieces is found. */
struct osh_vault_scan {
	size_t tail_len;
	char tail[512];
};
bool osh_vault_scan(const struct osh_vault *vault, struct osh_vault_scan *scan, struct osh_str piece);

#define OSH_CREDENTIAL_SHOWN "[CREDENTIAL]"
/* The text with `shown` in place of every placeholder that names a secret, for rules and
 * records. Never longer than the text when `shown` is at most 16 bytes. Returns 0, -E2BIG (more than
 * OSH_PLACEHOLDERS_MAX), -ENOBUFS. */
int osh_vault_redact(const struct osh_vault *vault, struct osh_str text, const char *shown,
		     char *buf, size_t size, struct osh_str *ret_text);

/* ---- resolve.c: rewriting --------------------------------------------------------- */

enum osh_vault_result {
	OSH_VAULT_NONE,        /* no placeholder in it */
	OSH_VAULT_REPLACED,    /* `out` holds the text with its secrets */
	OSH_VAULT_INVALID,     /* a placeholder that names nothing here, or where none may be */
	OSH_VAULT_MISMATCH,    /* its secret must not go to this host, or not this way */
	OSH_VAULT_UNAVAILABLE, /* its secret is gone, cannot stand here, or memory is out */
};

/* Where a request goes. */
struct osh_vault_way {
	struct osh_str host;
	bool verified_tls;      /* without it no secret goes anywhere */
	struct osh_str provider; /* the only one whose secrets may go; empty: any */
};

/* What a text is decides how a secret is written into it: percent-encoded into paths,
 * queries and forms, escaped into JSON, as it is elsewhere. A placeholder that was itself
 * percent-encoded is followed in that. */
enum osh_vault_text {
	OSH_VAULT_HEADER,
	OSH_VAULT_PATH,  /* no secret with '/', '\', '?', '#', "..", or of dots alone */
	OSH_VAULT_QUERY, /* pairs, in URL or form: only values are rewritten */
	OSH_VAULT_PLAIN,
	OSH_VAULT_JSON,  /* only secrets in UTF-8 */
};

/* Append to `out`, which was made by osh_buf_init_secret, the text with all its placeholders
 * resolved. A header's Basic credentials (RFC 7617) are opened and closed again. On anything
 * but REPLACED `out` holds what it held. */
enum osh_vault_result osh_vault_resolve(const struct osh_vault *vault, const struct osh_vault_way *way,
					enum osh_vault_text kind, struct osh_str text,
					struct osh_buf *out);

#endif
