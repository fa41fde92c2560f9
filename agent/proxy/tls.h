/* TLS on both sides: leaves for the sandboxes (tls_server.c), verified connections to the
 * world (tls_client.c), and what both share. */
#ifndef OSH_PROXY_TLS_H
#define OSH_PROXY_TLS_H

#include <openssl/ssl.h>

#include "proxy/worker.h"

#define OSH_LEAVES_MAX 1024       /* per worker; the oldest goes when full */
#define OSH_REFUSED_LEAVES_MAX 64 /* the same, of hosts to which only a refusal is said */
#define OSH_TLS_SESSIONS_MAX 1024 /* per worker, of servers; the oldest goes when full */

struct osh_conn;
struct osh_upstream_key;

/* Let OpenSSL take its memory from base/block.h: it asks for a record's worth with each. To be
 * called before anything else of OpenSSL. Returns 0, or -EBUSY: it has memory of malloc's. */
int osh_tls_use_blocks(void);

/* Fill in what the workers share: the system's trust anchors plus those in `extra_pem`, and
 * the keys of session tickets. Returns 0, -ENOMEM, or -EINVAL: extra_pem holds no certificate
 * though not empty. */
int osh_tls_proxy_init(struct osh_proxy *proxy, struct osh_str extra_pem);

/* Then make the worker's contexts and leaf key. Returns 0 or -EIO. */
int osh_tls_worker_init(struct osh_worker *worker);

/* A server-side SSL that answers as `host` with a leaf of the tenant's CA; by ALPN it
 * takes h2, else http/1.1. A session is resumed (RFC 8446 2.2) for the same sandbox and
 * host alone. `refused`: the policy has denied the host, and it is only to be explained. The
 * caller owns it. NULL when OpenSSL fails. */
SSL *osh_tls_accept_new(struct osh_view *view, const char *host, bool refused);

/* A client-side SSL for key->host (name or IP literal): SNI for names (RFC 6066), chain
 * and name verified (RFC 6125), a stapled answer heard (RFC 6961, 7633), TLS 1.2 or newer.
 * Resumes a session of exactly this key if there is one, so never one of another sandbox,
 * program or host. Offers http/1.1 by ALPN, and h2 before it when `http2`. The caller owns
 * it. NULL when memory is out. */
SSL *osh_tls_connect_new(struct osh_worker *worker, const struct osh_upstream_key *key, bool http2);

/* After the handshake: did both agree on h2? */
bool osh_tls_speaks_http2(const SSL *ssl);

/* ---- After a failure ------------------------------------------------------------------- */

/* Did the server know no protocol that was offered (RFC 7301 3.2)? */
bool osh_tls_refused_protocol(const struct osh_conn *conn);
/* Did the server go away for want of a client certificate? In TLS 1.3 it says so only after
 * the handshake (RFC 8446 4.4.2.4). */
bool osh_tls_wants_certificate(const struct osh_conn *conn);
/* Did the client say that it does not trust our certificate, or leave when it had seen it? */
bool osh_tls_distrusted(const struct osh_conn *conn);

/* Why TLS on this connection failed, in words: the verification error if there is one,
 * else what the other side lacks or OpenSSL says. */
const char *osh_tls_failure(const struct osh_conn *conn, char *buf, size_t size);

/* Drop the leaves and sessions of a tenant that is gone. */
void osh_tls_forget(struct osh_worker *worker, uint64_t tenant);

/* ---- Between the two files -------------------------------------------------------------- */

/* Both return a context with everything that is not about one side, or NULL. */
SSL_CTX *osh_tls_context_new(const SSL_METHOD *method);
int osh_tls_server_init(struct osh_worker *worker);
int osh_tls_client_init(struct osh_worker *worker);
void osh_tls_forget_leaves(struct osh_worker *worker, uint64_t tenant);
void osh_tls_forget_sessions(struct osh_worker *worker, uint64_t tenant);
/* Did the server of this client-side SSL ask for a certificate? */
bool osh_tls_was_asked_for_certificate(const SSL *ssl);

/* The protocols of RFC 7301 that both sides know, the better first. */
extern const unsigned char osh_tls_alpn[12];
#define OSH_TLS_ALPN_HTTP1 3 /* where http/1.1 begins in it */

#endif
