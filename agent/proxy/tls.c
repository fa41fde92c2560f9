#include "proxy/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/block.h"
#include "proxy/conn.h"

/* RSA of 2048 bits, SHA-2, no RC4, no export, no anonymous suites (SSL_CTX_set_security_level(3)):
 * said here, since a host may have lowered its default. */
#define SECURITY_LEVEL 2

/* RFC 8446 6.2 */
#define ALERT_HANDSHAKE_FAILURE 40
#define ALERT_BAD_CERTIFICATE 42
#define ALERT_CERTIFICATE_UNKNOWN 46
#define ALERT_UNKNOWN_CA 48
#define ALERT_ACCESS_DENIED 49
#define ALERT_CERTIFICATE_REQUIRED 116
#define ALERT_NO_APPLICATION_PROTOCOL 120

const unsigned char osh_tls_alpn[12] = "\x02h2\x08http/1.1";

/* ---- Trust ------------------------------------------------------------------------------ */

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

static void load_system(X509_STORE *store)
{
	bool loaded = false;

	for (size_t i = 0; i < OSH_COUNT_OF(system_bundles) && !loaded; i++) {
		if (access(system_bundles[i], R_OK) == 0)
			loaded = X509_STORE_load_file(store, system_bundles[i]) == 1;
	}
	if (!loaded)
		(void)X509_STORE_set_default_paths(store);
}

static void *tls_alloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return osh_block_alloc(size);
}

static void *tls_realloc(void *memory, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return realloc(memory, size);
}

static void tls_free(void *memory, const char *file, int line)
{
	(void)file;
	(void)line;
	osh_block_free_any(memory);
}

int osh_tls_use_blocks(void)
{
	return CRYPTO_set_mem_functions(tls_alloc, tls_realloc, tls_free) == 1 ? 0 : -EBUSY;
}

int osh_tls_proxy_init(struct osh_proxy *proxy, struct osh_str extra_pem)
{
	proxy->trust = X509_STORE_new();
	if (!proxy->trust || RAND_priv_bytes(proxy->ticket_keys, sizeof(proxy->ticket_keys)) != 1)
		return -ENOMEM;
	load_system(proxy->trust);
	return extra_pem.len && add_extra(proxy->trust, extra_pem) == 0 ? -EINVAL : 0;
}

/* ---- Contexts ---------------------------------------------------------------------------- */

/* 128 bits first, as browsers ask: each byte costs a fifth less than with 256, and nobody can
 * try either. What else OpenSSL takes for safe stays on offer; the word DEFAULT would say that
 * only in the first place (openssl-ciphers(1)). */
static const char suites_13[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char suites_12[] = "ECDHE+AESGCM+AES128:ALL:!COMPLEMENTOFDEFAULT:!eNULL";

/* Without SSL_OP_ENABLE_KTLS: OpenSSL 3.0 does not tell the kernel of a new key, so that a
 * KeyUpdate (RFC 8446 4.6.3) ends the connection; and what is inspected passes here anyway. */
SSL_CTX *osh_tls_context_new(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx)
		return NULL;
	if (SSL_CTX_set_ciphersuites(ctx, suites_13) != 1 || SSL_CTX_set_cipher_list(ctx, suites_12) != 1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	/* One read for the records that came together, not two for each. */
	SSL_CTX_set_read_ahead(ctx, 1);
	return ctx;
}

int osh_tls_worker_init(struct osh_worker *worker)
{
	return osh_tls_server_init(worker) == 0 && osh_tls_client_init(worker) == 0 ? 0 : -EIO;
}

void osh_tls_forget(struct osh_worker *worker, uint64_t tenant)
{
	osh_tls_forget_leaves(worker, tenant);
	osh_tls_forget_sessions(worker, tenant);
}

bool osh_tls_speaks_http2(const SSL *ssl)
{
	const unsigned char *name = NULL;
	unsigned len = 0;

	SSL_get0_alpn_selected(ssl, &name, &len);
	return osh_str_eq_c(osh_str_n((const char *)name, len), "h2");
}

/* ---- Why it failed ------------------------------------------------------------------------- */

/* The alert that ended the connection, 0 when none did: OpenSSL makes a reason of it. */
static int received_alert(const struct osh_conn *conn)
{
	int reason = ERR_GET_REASON(conn->tls_error);

	return ERR_GET_LIB(conn->tls_error) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET ?
		       reason - SSL_AD_REASON_OFFSET : 0;
}

bool osh_tls_refused_protocol(const struct osh_conn *conn)
{
	return received_alert(conn) == ALERT_NO_APPLICATION_PROTOCOL;
}

bool osh_tls_wants_certificate(const struct osh_conn *conn)
{
	bool was_asked = conn->ssl && osh_tls_was_asked_for_certificate(conn->ssl);

	switch (received_alert(conn)) {
	case ALERT_CERTIFICATE_REQUIRED:
		return true;
	case 0: /* a reset may overtake its alert */
		return was_asked && conn->state == OSH_CONN_FAILED;
	case ALERT_HANDSHAKE_FAILURE:
	case ALERT_BAD_CERTIFICATE:
	case ALERT_CERTIFICATE_UNKNOWN:
	case ALERT_ACCESS_DENIED:
		return was_asked; /* before TLS 1.3 there was no word for it */
	}
	return false;
}

bool osh_tls_distrusted(const struct osh_conn *conn)
{
	int alert = received_alert(conn);
	bool said_nothing = !conn->tls_error ||
			    ERR_GET_REASON(conn->tls_error) == SSL_R_UNEXPECTED_EOF_WHILE_READING;

	if (said_nothing) /* gone when it had our certificate: Node does so */
		return conn->ssl && SSL_get_current_cipher(conn->ssl);
	return alert == ALERT_UNKNOWN_CA ||
	       (alert >= ALERT_BAD_CERTIFICATE && alert <= ALERT_CERTIFICATE_UNKNOWN);
}

const char *osh_tls_failure(const struct osh_conn *conn, char *buf, size_t size)
{
	long verify = conn->ssl ? SSL_get_verify_result(conn->ssl) : X509_V_OK;
	const char *reason = conn->tls_error ? ERR_reason_error_string(conn->tls_error) : NULL;

	if (verify != X509_V_OK)
		snprintf(buf, size, "certificate: %s", X509_verify_cert_error_string(verify));
	else if (osh_tls_wants_certificate(conn))
		snprintf(buf, size, "the server wants a client certificate, which only the program "
				    "itself can have: give this endpoint tls: skip");
	else
		snprintf(buf, size, "%s", reason ? reason : "connection closed in the handshake");
	return buf;
}
