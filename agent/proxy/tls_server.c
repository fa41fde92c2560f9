/* TLS with the sandboxes: leaves of their own authorities, and sessions they may resume. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/tls.h"

/* Minted leaves, oldest first in the hash's order of insertion. */
struct leaf_key {
	uint64_t tenant;
	char host[OSH_HOST_MAX];
};

struct osh_leaf {
	struct leaf_key key;
	X509 *cert;
	time_t minted;
	UT_hash_handle hh;
};

/* A client that offers nothing we know goes on without ALPN, as RFC 7301 3.2 allows a
 * server to ignore the extension. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		       const unsigned char *in, unsigned in_len, void *arg)
{
	unsigned char *selected;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&selected, out_len, osh_tls_alpn, sizeof(osh_tls_alpn), in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = selected;
	return SSL_TLSEXT_ERR_OK;
}

int osh_tls_server_init(struct osh_worker *worker)
{
	SSL_CTX *ctx = osh_tls_context_new(TLS_server_method());

	worker->leaf_key = osh_ca_leaf_key();
	worker->server_ctx = ctx;
	if (!worker->leaf_key || !ctx)
		return -EIO;
	SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
	/* Sessions are the client's to keep, in tickets that any worker can open (RFC 5077). */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	return SSL_CTX_set_tlsext_ticket_keys(ctx, worker->proxy->ticket_keys,
					      sizeof(worker->proxy->ticket_keys)) == 1 ? 0 : -EIO;
}

/* ---- Leaves ------------------------------------------------------------------------------- */

static void drop_leaf(struct osh_worker *worker, struct osh_leaf *leaf)
{
	HASH_DEL(worker->leaves, leaf);
	X509_free(leaf->cert);
	free(leaf);
}

static int keep_leaf(struct osh_worker *worker, const struct leaf_key *key, X509 *cert)
{
	struct osh_leaf *leaf = calloc(1, sizeof(*leaf));

	if (!leaf)
		return -ENOMEM;
	leaf->key = *key;
	leaf->cert = cert;
	leaf->minted = time(NULL);
	X509_up_ref(cert);
	if (HASH_COUNT(worker->leaves) >= OSH_LEAVES_MAX)
		drop_leaf(worker, worker->leaves);
	HASH_ADD(hh, worker->leaves, key, sizeof(leaf->key), leaf);
	return 0;
}

/* Not once half of its life is over, nor when the clock was set back behind its beginning. */
static bool is_fresh(const struct osh_leaf *leaf)
{
	time_t age = time(NULL) - leaf->minted;

	return age >= 0 && age < OSH_LEAF_DAYS * 86400 / 2;
}

/* The caller frees it. */
static X509 *leaf_for(struct osh_view *view, const char *host, bool keep)
{
	struct osh_worker *worker = view->worker;
	struct leaf_key key = { .tenant = view->tenant->id };
	struct osh_leaf *leaf;
	X509 *cert;

	/* The whole key is hashed: no stray bytes behind the name. */
	strncpy(key.host, host, sizeof(key.host) - 1);
	HASH_FIND(hh, worker->leaves, &key, sizeof(key), leaf);
	if (leaf && is_fresh(leaf)) {
		X509_up_ref(leaf->cert);
		return leaf->cert;
	}
	if (leaf)
		drop_leaf(worker, leaf);
	cert = osh_ca_mint(&view->tenant->ca, worker->leaf_key, host);
	if (cert && keep)
		(void)keep_leaf(worker, &key, cert); /* else it is minted again */
	return cert;
}

void osh_tls_forget_leaves(struct osh_worker *worker, uint64_t tenant)
{
	struct osh_leaf *leaf, *next;

	HASH_ITER(hh, worker->leaves, leaf, next) {
		if (leaf->key.tenant == tenant)
			drop_leaf(worker, leaf);
	}
}

/* ---- One connection ------------------------------------------------------------------------ */

/* Where a session may be resumed: by its sandbox, with its host. */
static int bind_session(SSL *ssl, uint64_t tenant, const char *host)
{
	unsigned char digest[SSL_MAX_SID_CTX_LENGTH]; /* as long as a SHA-256 */
	struct leaf_key key = { .tenant = tenant };

	strncpy(key.host, host, sizeof(key.host) - 1);
	return EVP_Digest(&key, sizeof(key), digest, NULL, EVP_sha256(), NULL) == 1 &&
	       SSL_set_session_id_context(ssl, digest, sizeof(digest)) == 1;
}

SSL *osh_tls_accept_new(struct osh_view *view, const char *host, bool keep)
{
	SSL *ssl = SSL_new(view->worker->server_ctx);
	X509 *leaf = ssl ? leaf_for(view, host, keep) : NULL;
	bool ok = leaf && SSL_use_certificate(ssl, leaf) == 1 &&
		  SSL_use_PrivateKey(ssl, view->worker->leaf_key) == 1 &&
		  bind_session(ssl, view->tenant->id, host);

	X509_free(leaf); /* the SSL holds its own reference */
	if (!ok) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_accept_state(ssl);
	return ssl;
}
