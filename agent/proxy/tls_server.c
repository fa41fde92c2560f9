/* TLS with the sandboxes: leaves of their own authorities, and sessions they may resume. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/tls.h"

/* Minted leaves, oldest first in their hash's order of insertion. */
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

/* Refused hosts are answered, too, but any number of them pushes out none that is in use. */
struct cache {
	struct osh_leaf **leaves;
	unsigned max;
};

static struct cache cache_of(struct osh_worker *worker, bool refused)
{
	return refused ? (struct cache){ &worker->refused_leaves, OSH_REFUSED_LEAVES_MAX } :
			 (struct cache){ &worker->leaves, OSH_LEAVES_MAX };
}

static void drop_leaf(const struct cache *cache, struct osh_leaf *leaf)
{
	HASH_DEL(*cache->leaves, leaf);
	X509_free(leaf->cert);
	free(leaf);
}

/* Not once half of its life is over, nor when the clock was set back behind its beginning. */
static bool is_fresh(const struct osh_leaf *leaf)
{
	time_t age = time(NULL) - leaf->minted;

	return age >= 0 && age < OSH_LEAF_DAYS * 86400 / 2;
}

/* Borrowed from the cache. */
static X509 *leaf_for(struct osh_view *view, const char *host, bool refused)
{
	struct cache cache = cache_of(view->worker, refused);
	struct leaf_key key = { .tenant = view->tenant->id };
	struct osh_leaf *leaf;

	/* The whole key is hashed: no stray bytes behind the name. */
	strncpy(key.host, host, sizeof(key.host) - 1);
	HASH_FIND(hh, *cache.leaves, &key, sizeof(key), leaf);
	if (leaf && is_fresh(leaf))
		return leaf->cert;
	if (leaf)
		drop_leaf(&cache, leaf);
	leaf = calloc(1, sizeof(*leaf));
	if (!leaf)
		return NULL;
	leaf->key = key;
	leaf->minted = time(NULL);
	leaf->cert = osh_ca_mint(&view->tenant->ca, view->worker->leaf_key, host);
	if (!leaf->cert) {
		free(leaf);
		return NULL;
	}
	if (HASH_COUNT(*cache.leaves) >= cache.max)
		drop_leaf(&cache, *cache.leaves);
	HASH_ADD(hh, *cache.leaves, key, sizeof(leaf->key), leaf);
	return leaf->cert;
}

static void forget_leaves(const struct cache *cache, uint64_t tenant)
{
	struct osh_leaf *leaf, *next;

	HASH_ITER(hh, *cache->leaves, leaf, next) {
		if (leaf->key.tenant == tenant)
			drop_leaf(cache, leaf);
	}
}

void osh_tls_forget_leaves(struct osh_worker *worker, uint64_t tenant)
{
	struct cache in_use = cache_of(worker, false), refused = cache_of(worker, true);

	forget_leaves(&in_use, tenant);
	forget_leaves(&refused, tenant);
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

SSL *osh_tls_accept_new(struct osh_view *view, const char *host, bool refused)
{
	SSL *ssl = SSL_new(view->worker->server_ctx);
	X509 *leaf = ssl ? leaf_for(view, host, refused) : NULL;

	if (leaf && SSL_use_certificate(ssl, leaf) == 1 &&
	    SSL_use_PrivateKey(ssl, view->worker->leaf_key) == 1 &&
	    bind_session(ssl, view->tenant->id, host)) {
		SSL_set_accept_state(ssl);
		return ssl;
	}
	SSL_free(ssl);
	return NULL;
}
