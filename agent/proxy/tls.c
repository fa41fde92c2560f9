#include "proxy/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/knockout.h"

/* Minted leaves, oldest first in the hash's order of insertion. */
struct leaf_key {
	uint64_t tenant;
	char host[OSH_HOST_MAX];
};

struct osh_leaf {
	struct leaf_key key;
	X509 *cert;
	UT_hash_handle hh;
};

static const char *const system_bundles[] = {
	"/etc/ssl/certs/ca-certificates.crt", /* Debian */
	"/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora */
	"/etc/ssl/cert.pem",                  /* Alpine */
};

static int add_extra(X509_STORE *store, struct osh_str pem)
{
	BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	int count = 0;
	X509 *cert;

	if (!bio)
		return 0;
	while ((cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		count += X509_STORE_add_cert(store, cert);
		X509_free(cert);
	}
	ERR_clear_error(); /* the end of the text is an error to PEM_read */
	BIO_free(bio);
	return count;
}

X509_STORE *osh_tls_trust_new(struct osh_str extra_pem)
{
	X509_STORE *store = X509_STORE_new();
	bool loaded = false;

	if (!store)
		return NULL;
	for (size_t i = 0; i < OSH_COUNT_OF(system_bundles) && !loaded; i++) {
		if (access(system_bundles[i], R_OK) == 0)
			loaded = X509_STORE_load_file(store, system_bundles[i]) == 1;
	}
	if (!loaded)
		(void)X509_STORE_set_default_paths(store);
	if (extra_pem.len && add_extra(store, extra_pem) == 0) {
		X509_STORE_free(store);
		return NULL;
	}
	return store;
}

static const unsigned char alpn_both[] = "\x02h2\x08http/1.1";
static const unsigned char alpn_http1[] = "\x08http/1.1";

/* A client that offers nothing we know goes on without ALPN, as RFC 7301 3.2 allows a
 * server to ignore the extension. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		       const unsigned char *in, unsigned in_len, void *arg)
{
	unsigned char *selected;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&selected, out_len, alpn_both, sizeof(alpn_both) - 1, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = selected;
	return SSL_TLSEXT_ERR_OK;
}

/* 128 bits first, as browsers ask: each byte costs a fifth less than with 256, and nobody can
 * try either. What else OpenSSL takes for safe stays on offer. */
static const char suites_13[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char suites_12[] = "ECDHE+AESGCM+AES128:DEFAULT";

static bool set_common(SSL_CTX *ctx)
{
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	/* One read for the records that came together, not two for each. */
	SSL_CTX_set_read_ahead(ctx, 1);
	return SSL_CTX_set_ciphersuites(ctx, suites_13) == 1 && SSL_CTX_set_cipher_list(ctx, suites_12) == 1;
}

int osh_tls_worker_init(struct osh_worker *worker)
{
	worker->leaf_key = osh_ca_leaf_key();
	worker->server_ctx = SSL_CTX_new(TLS_server_method());
	worker->client_ctx = SSL_CTX_new(TLS_client_method());
	if (!worker->leaf_key || !worker->server_ctx || !worker->client_ctx)
		return -EIO;
	if (!set_common(worker->server_ctx) || !set_common(worker->client_ctx))
		return -EIO;
	SSL_CTX_set_alpn_select_cb(worker->server_ctx, select_alpn, NULL);
	/* Some servers end without close_notify; each reader decides what that means. */
	SSL_CTX_set_verify(worker->client_ctx, osh_layer_off("verify") ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	SSL_CTX_set1_cert_store(worker->client_ctx, worker->proxy->trust);
	SSL_CTX_set_session_cache_mode(worker->client_ctx, SSL_SESS_CACHE_OFF);
	return SSL_CTX_set_alpn_protos(worker->client_ctx, alpn_http1, sizeof(alpn_http1) - 1) == 0 ? 0 : -EIO;
}

static void drop_leaf(struct osh_worker *worker, struct osh_leaf *leaf)
{
	HASH_DEL(worker->leaves, leaf);
	X509_free(leaf->cert);
	free(leaf);
}

static X509 *leaf_for(struct osh_view *view, const char *host)
{
	struct osh_worker *worker = view->worker;
	struct leaf_key key = { .tenant = view->tenant->id };
	struct osh_leaf *leaf;

	/* The whole key is hashed: no stray bytes behind the name. */
	strncpy(key.host, host, sizeof(key.host) - 1);
	HASH_FIND(hh, worker->leaves, &key, sizeof(key), leaf);
	if (leaf)
		return leaf->cert;
	leaf = calloc(1, sizeof(*leaf));
	if (!leaf)
		return NULL;
	leaf->key = key;
	leaf->cert = osh_ca_mint(&view->tenant->ca, worker->leaf_key, host);
	if (!leaf->cert) {
		free(leaf);
		return NULL;
	}
	if (HASH_COUNT(worker->leaves) >= OSH_LEAVES_MAX)
		drop_leaf(worker, worker->leaves);
	HASH_ADD(hh, worker->leaves, key, sizeof(leaf->key), leaf);
	return leaf->cert;
}

void osh_tls_forget(struct osh_worker *worker, uint64_t tenant)
{
	struct osh_leaf *leaf, *next;

	HASH_ITER(hh, worker->leaves, leaf, next) {
		if (leaf->key.tenant == tenant)
			drop_leaf(worker, leaf);
	}
}

SSL *osh_tls_accept_new(struct osh_view *view, const char *host)
{
	SSL *ssl = SSL_new(view->worker->server_ctx);
	X509 *leaf = ssl ? leaf_for(view, host) : NULL;

	/* A session may be resumed only by the sandbox that made it. */
	if (leaf && SSL_use_certificate(ssl, leaf) == 1 &&
	    SSL_use_PrivateKey(ssl, view->worker->leaf_key) == 1 &&
	    SSL_set_session_id_context(ssl, (const unsigned char *)&view->tenant->id,
				       sizeof(view->tenant->id)) == 1) {
		SSL_set_accept_state(ssl);
		return ssl;
	}
	SSL_free(ssl);
	return NULL;
}

SSL *osh_tls_connect_new(struct osh_worker *worker, const char *host, bool http2)
{
	SSL *ssl = SSL_new(worker->client_ctx);
	X509_VERIFY_PARAM *param;
	struct in6_addr addr;
	int ok;

	if (!ssl)
		return NULL;
	param = SSL_get0_param(ssl);
	if (inet_pton(AF_INET, host, &addr) == 1 || inet_pton(AF_INET6, host, &addr) == 1) {
		ok = X509_VERIFY_PARAM_set1_ip_asc(param, host);
	} else {
		X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
							       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
		ok = SSL_set_tlsext_host_name(ssl, host) == 1 &&
		     X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
	}
	if (http2) /* 0 is success here */
		ok &= SSL_set_alpn_protos(ssl, alpn_both, sizeof(alpn_both) - 1) == 0;
	if (!ok) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_connect_state(ssl);
	return ssl;
}

bool osh_tls_speaks_http2(const SSL *ssl)
{
	const unsigned char *name = NULL;
	unsigned len = 0;

	SSL_get0_alpn_selected(ssl, &name, &len);
	return osh_str_eq_c(osh_str_n((const char *)name, len), "h2");
}

bool osh_tls_refused_protocol(void)
{
	return ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL;
}

const char *osh_tls_failure(const SSL *ssl, char *buf, size_t size)
{
	long verify = SSL_get_verify_result(ssl);
	unsigned long code = ERR_peek_last_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	if (verify != X509_V_OK)
		snprintf(buf, size, "certificate: %s", X509_verify_cert_error_string(verify));
	else
		snprintf(buf, size, "%s", reason ? reason : "connection closed in the handshake");
	return buf;
}
