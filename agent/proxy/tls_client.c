/* TLS with the world: whom we speak to is verified, by chain, name and stapled answer. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/knockout.h"
#include "proxy/tls.h"
#include "proxy/upstream.h"

/* A resumed session was verified when it began, which must not be long ago. */
#define RESUME_SECONDS_MAX 3600
#define CLOCK_SKEW_SECONDS 300    /* of an OCSP responder */
#define FEATURE_STATUS_REQUEST 5  /* TLS feature, RFC 7633 */

/* With whom a client-side SSL speaks; freed with it. */
struct peer {
	struct osh_worker *worker;
	struct osh_upstream_key key;
	bool asked_for_certificate;
};

/* What a server gave to begin the next connection with. */
struct osh_tls_session {
	struct osh_upstream_key key;
	SSL_SESSION *session;
	UT_hash_handle hh;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int peer_index = -1;

static void free_peer(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
	(void)parent, (void)ad, (void)index, (void)argl, (void)argp;
	free(ptr);
}

static void make_index(void)
{
	peer_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_peer);
}

static struct peer *peer_of(const SSL *ssl)
{
	return SSL_get_ex_data(ssl, peer_index);
}

/* ---- Sessions ------------------------------------------------------------------------------ */

static void drop_session(struct osh_worker *worker, struct osh_tls_session *kept)
{
	HASH_DEL(worker->tls_sessions, kept);
	SSL_SESSION_free(kept->session);
	free(kept);
}

static struct osh_tls_session *find_session(struct osh_worker *worker, const struct osh_upstream_key *key)
{
	struct osh_tls_session *kept;

	HASH_FIND(hh, worker->tls_sessions, key, sizeof(*key), kept);
	return kept;
}

/* OpenSSL has one for us, maybe long after the handshake. Returns 1 when it was taken over. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
	struct peer *peer = peer_of(ssl);
	struct osh_tls_session *kept = find_session(peer->worker, &peer->key);

	if (kept)
		drop_session(peer->worker, kept);
	kept = calloc(1, sizeof(*kept));
	if (!kept)
		return 0;
	kept->key = peer->key;
	kept->session = session;
	if (HASH_COUNT(peer->worker->tls_sessions) >= OSH_TLS_SESSIONS_MAX)
		drop_session(peer->worker, peer->worker->tls_sessions);
	HASH_ADD(hh, peer->worker->tls_sessions, key, sizeof(kept->key), kept);
	return 1;
}

/* Nothing is verified again when it is resumed: the certificate must still be good. */
static bool is_usable(SSL_SESSION *session)
{
	const X509 *cert = SSL_SESSION_get0_peer(session);
	long age = (long)time(NULL) - SSL_SESSION_get_time(session);

	return SSL_SESSION_is_resumable(session) && age >= 0 && age < RESUME_SECONDS_MAX &&
	       age < SSL_SESSION_get_timeout(session) && cert &&
	       X509_cmp_current_time(X509_get0_notAfter(cert)) > 0;
}

static void offer_session(SSL *ssl, const struct peer *peer)
{
	struct osh_tls_session *kept = find_session(peer->worker, &peer->key);
	bool usable = kept && is_usable(kept->session);

	if (usable)
		(void)SSL_set_session(ssl, kept->session);
	/* A ticket of TLS 1.3 is shown once (RFC 8446 C.4). */
	if (kept && (!usable || SSL_SESSION_get_protocol_version(kept->session) == TLS1_3_VERSION))
		drop_session(peer->worker, kept);
}

void osh_tls_forget_sessions(struct osh_worker *worker, uint64_t tenant)
{
	struct osh_tls_session *kept, *next;

	HASH_ITER(hh, worker->tls_sessions, kept, next) {
		if (kept->key.tenant == tenant)
			drop_session(worker, kept);
	}
}

/* ---- Stapled answers (RFC 6066 8, RFC 6960) --------------------------------------------------- */

static bool must_staple(const X509 *cert)
{
	TLS_FEATURE *features = X509_get_ext_d2i(cert, NID_tlsfeature, NULL, NULL);
	bool found = false;

	for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++)
		found |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == FEATURE_STATUS_REQUEST;
	TLS_FEATURE_free(features);
	return found;
}

/* What the answer says of `cert`; V_OCSP_CERTSTATUS_UNKNOWN when nothing that counts now. The
 * responder chose with which digest it names certificates. */
static int status_in(OCSP_BASICRESP *answer, const X509 *cert, const X509 *issuer)
{
	const EVP_MD *const digests[] = { EVP_sha1(), EVP_sha256() };
	ASN1_GENERALIZEDTIME *from, *until;

	for (size_t i = 0; i < OSH_COUNT_OF(digests); i++) {
		OCSP_CERTID *id = OCSP_cert_to_id(digests[i], cert, issuer);
		int status, found = id && OCSP_resp_find_status(answer, id, &status, NULL, NULL, &from,
								&until) == 1;

		OCSP_CERTID_free(id);
		if (found && (status == V_OCSP_CERTSTATUS_REVOKED ||
			      OCSP_check_validity(from, until, CLOCK_SKEW_SECONDS, -1) == 1))
			return status;
	}
	return V_OCSP_CERTSTATUS_UNKNOWN;
}

static int stapled_status(SSL *ssl, STACK_OF(X509) *chain)
{
	const unsigned char *bytes = NULL;
	long len = SSL_get_tlsext_status_ocsp_resp(ssl, &bytes);
	OCSP_RESPONSE *response = bytes && len > 0 ? d2i_OCSP_RESPONSE(NULL, &bytes, len) : NULL;
	OCSP_BASICRESP *answer = response ? OCSP_response_get1_basic(response) : NULL;
	int status = V_OCSP_CERTSTATUS_UNKNOWN;

	if (answer && sk_X509_num(chain) > 1 &&
	    OCSP_basic_verify(answer, chain, peer_of(ssl)->worker->proxy->trust, 0) == 1)
		status = status_in(answer, sk_X509_value(chain, 0), sk_X509_value(chain, 1));
	OCSP_BASICRESP_free(answer);
	OCSP_RESPONSE_free(response);
	ERR_clear_error();
	return status;
}

/* After the chain was verified. An answer that does not count, or does not say that the
 * certificate is good, is as good as none: who has something to hide sends none. */
static int on_staple(SSL *ssl, void *unused)
{
	STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
	int status;

	(void)unused;
	if (SSL_session_reused(ssl) || !chain)
		return 1;
	status = stapled_status(ssl, chain);
	if (status == V_OCSP_CERTSTATUS_REVOKED)
		SSL_set_verify_result(ssl, X509_V_ERR_CERT_REVOKED);
	else if (status != V_OCSP_CERTSTATUS_GOOD && must_staple(sk_X509_value(chain, 0)))
		SSL_set_verify_result(ssl, X509_V_ERR_OCSP_VERIFY_NEEDED);
	else
		return 1;
	return osh_layer_off("verify");
}

/* ---- Connections ------------------------------------------------------------------------------ */

/* We have none: the server decides whether to go on without. */
static int on_certificate_request(SSL *ssl, X509 **cert, EVP_PKEY **key)
{
	(void)cert, (void)key;
	peer_of(ssl)->asked_for_certificate = true;
	return 0;
}

bool osh_tls_was_asked_for_certificate(const SSL *ssl)
{
	const struct peer *peer = peer_of(ssl);

	return peer && peer->asked_for_certificate;
}

int osh_tls_client_init(struct osh_worker *worker)
{
	SSL_CTX *ctx = osh_tls_context_new(TLS_client_method());

	pthread_once(&once, make_index);
	worker->client_ctx = ctx;
	if (!ctx || peer_index < 0)
		return -EIO;
	/* Some servers end without close_notify; each reader decides what that means. */
	SSL_CTX_set_verify(ctx, osh_layer_off("verify") ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	SSL_CTX_set1_cert_store(ctx, worker->proxy->trust);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_session);
	SSL_CTX_set_client_cert_cb(ctx, on_certificate_request);
	SSL_CTX_set_tlsext_status_type(ctx, TLSEXT_STATUSTYPE_ocsp);
	SSL_CTX_set_tlsext_status_cb(ctx, on_staple);
	return 0;
}

static int expect_name(SSL *ssl, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	struct in6_addr addr;

	if (inet_pton(AF_INET, host, &addr) == 1 || inet_pton(AF_INET6, host, &addr) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(param, host);
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
						       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return SSL_set_tlsext_host_name(ssl, host) == 1 && X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
}

/* Returns whether it succeeded; SSL_set_alpn_protos says 0 then. */
static bool offer_protocols(SSL *ssl, bool http2)
{
	size_t skipped = http2 ? 0 : OSH_TLS_ALPN_HTTP1;

	return SSL_set_alpn_protos(ssl, osh_tls_alpn + skipped,
				   (unsigned)(sizeof(osh_tls_alpn) - skipped)) == 0;
}

static struct peer *remember_peer(SSL *ssl, struct osh_worker *worker, const struct osh_upstream_key *key)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	peer->worker = worker;
	peer->key = *key;
	if (SSL_set_ex_data(ssl, peer_index, peer) == 1)
		return peer;
	free(peer);
	return NULL;
}

SSL *osh_tls_connect_new(struct osh_worker *worker, const struct osh_upstream_key *key, bool http2)
{
	SSL *ssl = SSL_new(worker->client_ctx);
	struct peer *peer = ssl ? remember_peer(ssl, worker, key) : NULL;

	if (!peer || !expect_name(ssl, key->host) || !offer_protocols(ssl, http2)) {
		SSL_free(ssl);
		return NULL;
	}
	offer_session(ssl, peer);
	SSL_set_connect_state(ssl);
	return ssl;
}
