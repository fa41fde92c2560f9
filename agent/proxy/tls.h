/* TLS on both sides: leaves for the sandboxes, verified connections to the world. */
#ifndef OSH_PROXY_TLS_H
#define OSH_PROXY_TLS_H

#include <openssl/ssl.h>

#include "proxy/worker.h"

#define OSH_LEAVES_MAX 1024 /* per worker; the oldest goes when full */

/* The system's trust anchors plus those in `extra_pem`. NULL when there is no memory
 * or extra_pem holds no certificate though not empty. */
X509_STORE *osh_tls_trust_new(struct osh_str extra_pem);

/* Make the worker's contexts and leaf key. Returns 0 or -EIO. */
int osh_tls_worker_init(struct osh_worker *worker);

/* A server-side SSL that answers as `host` with a leaf of the tenant's CA; by ALPN it
 * takes h2, else http/1.1. The caller owns it. NULL when OpenSSL fails. */
SSL *osh_tls_accept_new(struct osh_view *view, const char *host);

/* A client-side SSL for `host` (name or IP literal): SNI for names (RFC 6066), chain
 * and name verified (RFC 6125), TLS 1.2 or newer. Offers http/1.1 by ALPN, and h2 before
 * it when `http2`. The caller owns it. */
SSL *osh_tls_connect_new(struct osh_worker *worker, const char *host, bool http2);

/* After the handshake: did both agree on h2? */
bool osh_tls_speaks_http2(const SSL *ssl);
/* After a failed one: did the server know no protocol that was offered (RFC 7301 3.2)? */
bool osh_tls_refused_protocol(void);

/* Why a client-side handshake failed, in words: the verification error if there is
 * one, else OpenSSL's. */
const char *osh_tls_failure(const SSL *ssl, char *buf, size_t size);

/* Drop the leaves of a tenant that is gone. */
void osh_tls_forget(struct osh_worker *worker, uint64_t tenant);

#endif
