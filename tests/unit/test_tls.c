/* Whom the proxy takes for a server, and what it resumes: handshakes in memory, with the
 * certificates of a small authority. Every refusal stands beside its twin that is accepted. */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/conn.h"
#include "proxy/tls.h"
#include "proxy/upstream.h"
#include "tls_certs.h"

static struct osh_proxy proxy;
static struct osh_worker worker = { .proxy = &proxy };
static struct certified root, between, stranger;

static char *pem_of(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;

	PEM_write_bio_X509(bio, cert);
	BIO_write(bio, "", 1);
	BIO_get_mem_data(keep(bio), &text);
	return text;
}

static void begin(void)
{
	root = certify_ca("root", NULL);
	between = certify_ca("between", &root);
	stranger = certify_ca("stranger", NULL);
	cr_assert(osh_tls_proxy_init(&proxy, osh_str(pem_of(root.cert))) == 0);
	cr_assert(osh_tls_worker_init(&worker) == 0);
}

TestSuite(tls, .init = begin, .timeout = 60);

/* ---- A handshake ------------------------------------------------------------------------------- */

struct pair {
	SSL *client, *server;
	struct osh_conn conn; /* as the client's would be */
};

static struct osh_upstream_key key_for(uint64_t tenant, uint32_t identity, const char *host)
{
	struct osh_upstream_key key = { .tenant = tenant, .identity = identity, .port_host = 443, .tls = 1 };

	strcpy(key.host, host);
	return key;
}

/* False: the client is not satisfied, and conn says why. */
static bool shake(struct pair *pair, SSL_CTX *ctx, const struct osh_upstream_key *key)
{
	BIO *client_end, *server_end;

	*pair = (struct pair){ .client = osh_tls_connect_new(&worker, key, false), .server = SSL_new(ctx) };
	cr_assert(pair->client && pair->server && BIO_new_bio_pair(&client_end, 0, &server_end, 0) == 1);
	SSL_set_bio(pair->client, client_end, client_end);
	SSL_set_bio(pair->server, server_end, server_end);
	SSL_set_accept_state(pair->server);
	pair->conn.ssl = pair->client;
	for (int i = 0; i < 10 && !(SSL_is_init_finished(pair->client) && SSL_is_init_finished(pair->server));
	     i++) {
		int r;

		ERR_clear_error();
		r = SSL_do_handshake(pair->client);
		if (r != 1 && SSL_get_error(pair->client, r) == SSL_ERROR_SSL) {
			pair->conn.tls_error = ERR_peek_last_error();
			return false;
		}
		(void)SSL_do_handshake(pair->server);
	}
	ERR_clear_error();
	return SSL_is_init_finished(pair->client);
}

/* The server says a byte, behind its session tickets; the client reads it. */
static void talk(struct pair *pair)
{
	char byte = 0;

	cr_expect(SSL_write(pair->server, "x", 1) == 1);
	cr_expect(SSL_read(pair->client, &byte, 1) == 1 && byte == 'x');
}

static void part(struct pair *pair)
{
	SSL_set_shutdown(pair->client, SSL_SENT_SHUTDOWN); /* as conn.c does */
	SSL_free(pair->client);
	SSL_free(pair->server);
}

static void expect_accepted_as(const char *host, SSL_CTX *ctx, const char *what)
{
	struct osh_upstream_key key = key_for(1, 1, host);
	struct pair pair;
	char why[256];

	cr_expect(shake(&pair, ctx, &key), "%s: %s", what, osh_tls_failure(&pair.conn, why, sizeof(why)));
	part(&pair);
}

static void expect_refused_as(const char *host, SSL_CTX *ctx, const char *what, const char *word)
{
	struct osh_upstream_key key = key_for(1, 1, host);
	struct pair pair;
	char why[256];

	cr_expect(!shake(&pair, ctx, &key), "%s was accepted", what);
	osh_tls_failure(&pair.conn, why, sizeof(why));
	cr_expect(strstr(why, word), "%s: %s", what, why);
	part(&pair);
}

/* A leaf, served alone. */
static SSL_CTX *leaf_with(struct wanted_cert wanted)
{
	struct certified leaf;

	if (!wanted.issuer)
		wanted.issuer = &root;
	leaf = certify(&wanted);
	return context_with(&leaf, NULL);
}

static void expect_refused(struct wanted_cert wanted, const char *what, const char *word)
{
	if (!wanted.alternative)
		wanted.alternative = "DNS:ok.test";
	expect_refused_as("ok.test", leaf_with(wanted), what, word);
}

static void expect_accepted(struct wanted_cert wanted, const char *what)
{
	if (!wanted.alternative)
		wanted.alternative = "DNS:ok.test";
	expect_accepted_as("ok.test", leaf_with(wanted), what);
}

/* ---- Certificates ---------------------------------------------------------------------------- */

/* E01 */
Test(tls, dates)
{
	expect_refused((struct wanted_cert){ .from_s = -2 * DAY, .until_s = -60 }, "expired", "expired");
	expect_refused((struct wanted_cert){ .from_s = 60, .until_s = DAY }, "from tomorrow", "not yet valid");
	expect_accepted((struct wanted_cert){ .from_s = -60, .until_s = 60 }, "of this minute");
}

/* E02 */
Test(tls, chains)
{
	struct certified self = certify(&(struct wanted_cert){ .alternative = "DNS:ok.test" });
	struct certified no_ca = certify(&(struct wanted_cert){ .issuer = &root, .name = "no authority" });
	struct certified leaf = certify(&(struct wanted_cert){ .issuer = &between, .alternative = "DNS:ok.test" });
	struct certified forged = certify(&(struct wanted_cert){ .issuer = &no_ca, .alternative = "DNS:ok.test" });

	expect_refused_as("ok.test", context_with(&self, NULL), "self-signed", "self-signed");
	expect_refused((struct wanted_cert){ .issuer = &stranger }, "of an unknown authority",
		       "unable to get local issuer");
	expect_refused_as("ok.test", context_with(&forged, &no_ca), "of an issuer that is none", "certificate: ");
	expect_refused_as("ok.test", context_with(&leaf, NULL), "without its intermediate",
			  "unable to get local issuer");
	expect_accepted_as("ok.test", context_with(&leaf, &between), "with its intermediate");
	expect_refused((struct wanted_cert){ .usage = "clientAuth" }, "for clients", "purpose");
	expect_accepted((struct wanted_cert){ .usage = "clientAuth,serverAuth" }, "for both");
}

/* E03 */
Test(tls, names)
{
	static const struct { const char *host, *alternative; bool fits; } rows[] = {
		{ "ok.test", "DNS:ok.test", true },
		{ "ok.test", "DNS:no.test", false },
		{ "ok.test", "DNS:no.test,DNS:OK.test", true },
		{ "a.ok.test", "DNS:*.ok.test", true },
		{ "ok.test", "DNS:*.ok.test", false },
		{ "a.b.ok.test", "DNS:*.ok.test", false },
		{ "abc.ok.test", "DNS:a*.ok.test", false },
		{ "203.0.113.10", "IP:203.0.113.10", true },
		{ "203.0.113.10", "IP:203.0.113.11", false },
		{ "203.0.113.10", "DNS:203.0.113.10", false },
		{ "2001:db8::1", "IP:2001:db8::1", true },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		SSL_CTX *ctx = leaf_with((struct wanted_cert){ .alternative = rows[i].alternative });

		if (rows[i].fits)
			expect_accepted_as(rows[i].host, ctx, rows[i].alternative);
		else
			expect_refused_as(rows[i].host, ctx, rows[i].alternative, "mismatch");
	}
	/* The common name is no name of a host, with or without others beside it. */
	expect_refused((struct wanted_cert){ .name = "ok.test", .alternative = "DNS:no.test" },
		       "common name", "mismatch");
	expect_refused((struct wanted_cert){ .name = "ok.test", .alternative = "email:a@ok.test" },
		       "common name alone", "mismatch");
}

/* A name that ends early for one reader and not for another. */
/* E03 */
Test(tls, name_with_a_nul)
{
	static const char text[] = "ok.test\0.evil.test";
	struct certified leaf = certify(&(struct wanted_cert){ .issuer = &root, .alternative = "DNS:other.test" });
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf.cert, NID_subject_alt_name, NULL, NULL);

	ASN1_STRING_set(sk_GENERAL_NAME_value(names, 0)->d.dNSName, text, sizeof(text) - 1);
	cr_assert(X509_add1_ext_i2d(leaf.cert, NID_subject_alt_name, names, 0, X509V3_ADD_REPLACE) == 1);
	cr_assert(X509_sign(leaf.cert, root.key, EVP_sha256()));
	expect_refused_as("ok.test", context_with(&leaf, NULL), "NUL in its name", "mismatch");
	ASN1_STRING_set(sk_GENERAL_NAME_value(names, 0)->d.dNSName, "ok.test", 7);
	X509_add1_ext_i2d(leaf.cert, NID_subject_alt_name, names, 0, X509V3_ADD_REPLACE);
	X509_sign(leaf.cert, root.key, EVP_sha256());
	expect_accepted_as("ok.test", context_with(&leaf, NULL), "the same without");
	GENERAL_NAMES_free(names);
}

/* E04 */
Test(tls, weak_keys_and_digests)
{
	expect_refused((struct wanted_cert){ .rsa_bits = 1024 }, "RSA 1024", "key too weak");
	expect_accepted((struct wanted_cert){ .rsa_bits = 2048 }, "RSA 2048");
	expect_refused((struct wanted_cert){ .digest = EVP_sha1() }, "SHA-1", "too weak");
	expect_accepted((struct wanted_cert){ .digest = EVP_sha384() }, "SHA-384");
}

/* E04 */
Test(tls, old_versions_and_suites)
{
	static const struct { int version; const char *suites; bool fits; } rows[] = {
		{ TLS1_VERSION, "ALL:@SECLEVEL=0", false },
		{ TLS1_1_VERSION, "ALL:@SECLEVEL=0", false },
		{ TLS1_2_VERSION, "NULL:@SECLEVEL=0", false },
		{ TLS1_2_VERSION, "aNULL:@SECLEVEL=0", false },
		{ TLS1_2_VERSION, "RC4:3DES:@SECLEVEL=0", false },
		{ TLS1_2_VERSION, "ECDHE+AESGCM", true },
		{ TLS1_3_VERSION, "ALL", true },
	};
	struct certified leaf = certify(&(struct wanted_cert){ .issuer = &root, .alternative = "DNS:ok.test",
							       .rsa_bits = 2048 });

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		SSL_CTX *ctx = context_with(&leaf, NULL);
		char what[64];

		snprintf(what, sizeof(what), "%x %s", (unsigned)rows[i].version, rows[i].suites);
		SSL_CTX_set_max_proto_version(ctx, rows[i].version);
		if (SSL_CTX_set_cipher_list(ctx, rows[i].suites) != 1)
			continue; /* unknown even to this server */
		if (rows[i].fits)
			expect_accepted_as("ok.test", ctx, what);
		else
			expect_refused_as("ok.test", ctx, what, "alert");
	}
}

/* What became of the export suites: no server of ours can be made to go below 1024 bits. */
Test(tls, small_groups)
{
	struct certified leaf = certify(&(struct wanted_cert){ .issuer = &root, .alternative = "DNS:ok.test",
							       .rsa_bits = 2048 });
	SSL_CTX *ctx = context_with(&leaf, NULL);

	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	cr_assert(SSL_CTX_set_cipher_list(ctx, "DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0") == 1);
	SSL_CTX_set_dh_auto(ctx, 2); /* 1024 bits */
	expect_refused_as("ok.test", ctx, "DH 1024", "dh key too small");
	ctx = context_with(&leaf, NULL);
	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	cr_assert(SSL_CTX_set_cipher_list(ctx, "DHE-RSA-AES256-GCM-SHA384") == 1);
	SSL_CTX_set_dh_auto(ctx, 1);
	expect_accepted_as("ok.test", ctx, "DH 2048");
}

/* ---- Stapled answers --------------------------------------------------------------------------- */

struct staple_case {
	const char *what, *feature;
	int status;
	const struct certified *signer;
	long from_s, until_s;
	const char *word; /* NULL: accepted */
};

Test(tls, stapled_answers)
{
	const struct certified delegate = certify(&(struct wanted_cert){
		.issuer = &root, .name = "delegate", .usage = "OCSPSigning" });
	const struct staple_case rows[] = {
		{ "good", NULL, V_OCSP_CERTSTATUS_GOOD, &root, -60, 3600, NULL },
		{ "revoked", NULL, V_OCSP_CERTSTATUS_REVOKED, &root, -60, 3600, "revoked" },
		{ "revoked, says a delegate", NULL, V_OCSP_CERTSTATUS_REVOKED, &delegate, -60, 3600, "revoked" },
		{ "revoked, long ago", NULL, V_OCSP_CERTSTATUS_REVOKED, &root, -2 * DAY, -DAY, "revoked" },
		{ "revoked, says a stranger", NULL, V_OCSP_CERTSTATUS_REVOKED, &stranger, -60, 3600, NULL },
		{ "must staple, good", "status_request", V_OCSP_CERTSTATUS_GOOD, &root, -60, 3600, NULL },
		{ "must staple, unknown", "status_request", V_OCSP_CERTSTATUS_UNKNOWN, &root, -60, 3600, "OCSP" },
		{ "must staple, out of date", "status_request", V_OCSP_CERTSTATUS_GOOD, &root, -2 * DAY, -DAY,
		  "OCSP" },
		{ "must staple, says a stranger", "status_request", V_OCSP_CERTSTATUS_GOOD, &stranger, -60, 3600,
		  "OCSP" },
		{ "must staple, says a sibling", "status_request", V_OCSP_CERTSTATUS_GOOD, &between, -60, 3600,
		  "OCSP" },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		const struct staple_case *row = &rows[i];
		struct certified leaf = certify(&(struct wanted_cert){
			.issuer = &root, .alternative = "DNS:ok.test", .feature = row->feature });
		SSL_CTX *ctx = context_with(&leaf, NULL);

		staple(ctx, &leaf, &root, row->signer, row->status, row->from_s, row->until_s);
		for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
			SSL_CTX_set_max_proto_version(ctx, version);
			if (row->word)
				expect_refused_as("ok.test", ctx, row->what, row->word);
			else
				expect_accepted_as("ok.test", ctx, row->what);
		}
	}
	expect_refused((struct wanted_cert){ .feature = "status_request" }, "must staple, and does not", "OCSP");
	expect_accepted((struct wanted_cert){ .feature = NULL }, "nothing stapled");
}

/* ---- Sessions ---------------------------------------------------------------------------------- */

static unsigned offered; /* hellos with a ticket in them */

static int look_at_hello(SSL *ssl, int *alert, void *unused)
{
	const unsigned char *bytes;
	size_t len;

	(void)alert;
	(void)unused;
	offered += SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_psk, &bytes, &len) == 1 ||
		   (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_session_ticket, &bytes, &len) == 1 && len > 0);
	return SSL_CLIENT_HELLO_SUCCESS;
}

/* Is a ticket offered, and taken? */
static bool resumes(SSL_CTX *ctx, const struct osh_upstream_key *key)
{
	struct pair pair;
	unsigned before = offered;
	bool resumed;

	cr_assert(shake(&pair, ctx, key));
	talk(&pair);
	resumed = SSL_session_reused(pair.client) == 1;
	cr_expect(resumed == (offered > before), "offered without being taken");
	part(&pair);
	return resumed;
}

static void expect_sessions_of_one_key(int version)
{
	struct certified leaf = certify(&(struct wanted_cert){ .issuer = &root,
							       .alternative = "DNS:ok.test,DNS:no.test" });
	struct osh_upstream_key ok = key_for(1, 1, "ok.test"), others[] = {
		key_for(2, 1, "ok.test"), key_for(1, 2, "ok.test"), key_for(1, 1, "no.test"), ok };
	SSL_CTX *ctx = context_with(&leaf, NULL);

	others[3].port_host = 8443;
	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set_client_hello_cb(ctx, look_at_hello, NULL);
	cr_expect(!resumes(ctx, &ok));
	cr_expect(resumes(ctx, &ok) && resumes(ctx, &ok), "the same sandbox, program, host and port");
	for (size_t i = 0; i < OSH_COUNT_OF(others); i++)
		cr_expect(!resumes(ctx, &others[i]), "%zu", i);
	/* A sandbox that is gone leaves nothing behind, another one's stays. */
	osh_tls_forget(&worker, 1);
	cr_expect(!resumes(ctx, &ok));
	cr_expect(resumes(ctx, &others[0]));
}

/* E08 */
Test(tls, a_session_is_resumed_for_its_key_alone)
{
	expect_sessions_of_one_key(TLS1_3_VERSION);
	osh_tls_forget(&worker, 1);
	osh_tls_forget(&worker, 2);
	expect_sessions_of_one_key(TLS1_2_VERSION);
}

/* What was verified when it began must still hold. */
Test(tls, a_session_outlives_no_certificate)
{
	struct osh_upstream_key ok = key_for(1, 1, "ok.test");
	SSL_CTX *ctx = leaf_with((struct wanted_cert){ .alternative = "DNS:ok.test", .until_s = 2 });
	const ASN1_TIME *until = X509_get0_notAfter(SSL_CTX_get0_certificate(ctx));
	unsigned before;

	SSL_CTX_set_client_hello_cb(ctx, look_at_hello, NULL);
	cr_expect(!resumes(ctx, &ok));
	before = offered;
	while (X509_cmp_current_time(until) > 0)
		(void)poll(NULL, 0, 20);
	expect_refused_as("ok.test", ctx, "expired meanwhile", "expired");
	cr_expect(offered == before, "its ticket was offered");
}

Test(tls, sessions_are_bounded)
{
	SSL_CTX *ctx = leaf_with((struct wanted_cert){ .alternative = "DNS:ok.test" });
	struct osh_upstream_key key = key_for(1, 0, "ok.test");

	SSL_CTX_set_client_hello_cb(ctx, look_at_hello, NULL);
	for (key.identity = 0; key.identity < OSH_TLS_SESSIONS_MAX + 8; key.identity++)
		cr_assert(!resumes(ctx, &key));
	for (key.identity = OSH_TLS_SESSIONS_MAX + 7; key.identity >= 8; key.identity--)
		cr_expect(resumes(ctx, &key), "the newest are kept: %u", key.identity);
	cr_expect(!resumes(ctx, &key), "the oldest went");
}

/* ---- Client certificates ------------------------------------------------------------------------- */

Test(tls, client_certificates)
{
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		SSL_CTX *ctx = leaf_with((struct wanted_cert){ .alternative = "DNS:ok.test" });

		SSL_CTX_set_max_proto_version(ctx, version);
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
		expect_accepted_as("ok.test", ctx, "asked for, not required");
		osh_tls_forget(&worker, 1); /* it would not be asked again */
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		if (version == TLS1_2_VERSION)
			expect_refused_as("ok.test", ctx, "required", "wants a client certificate");
		else
			expect_accepted_as("ok.test", ctx, "required: told after the handshake");
	}
}

/* ---- Sandboxes ------------------------------------------------------------------------------------- */

/* A sandbox as one worker sees it. */
static struct osh_view view_of(struct osh_worker *of, uint64_t tenant)
{
	struct osh_tenant *made = keep(calloc(1, sizeof(*made)));
	char *cert, *key;

	made->id = tenant;
	cr_assert(osh_ca_new("box", &cert, &key) == 0 && osh_ca_load(cert, key, &made->ca) == 0);
	free(cert);
	free(key);
	return (struct osh_view){ .worker = of, .tenant = made };
}

/* A program's handshake with the proxy; the session it has afterwards, or NULL: `old` was resumed. */
static SSL_SESSION *visit(struct osh_view *view, const char *host, SSL_SESSION *old)
{
	struct pair pair = { .server = osh_tls_accept_new(view, host, false) };
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	BIO *client_end, *server_end;
	SSL_SESSION *session = NULL;

	pair.client = SSL_new(ctx);
	cr_assert(pair.server && BIO_new_bio_pair(&client_end, 0, &server_end, 0) == 1);
	SSL_set_bio(pair.client, client_end, client_end);
	SSL_set_bio(pair.server, server_end, server_end);
	SSL_set_connect_state(pair.client);
	if (old)
		SSL_set_session(pair.client, old);
	for (int i = 0; i < 10; i++) {
		(void)SSL_do_handshake(pair.client);
		(void)SSL_do_handshake(pair.server);
	}
	cr_assert(SSL_is_init_finished(pair.client) && SSL_is_init_finished(pair.server));
	talk(&pair);
	if (!SSL_session_reused(pair.client))
		session = keep(SSL_get1_session(pair.client));
	part(&pair);
	SSL_CTX_free(ctx);
	return session;
}

/* By any worker, since the next connection may come to another one. */
Test(tls, a_sandbox_resumes_what_is_its_own)
{
	static struct osh_worker second = { .proxy = &proxy };
	struct osh_view one = view_of(&worker, 1), one_elsewhere, two = view_of(&worker, 2);
	SSL_SESSION *session;

	cr_assert(osh_tls_worker_init(&second) == 0);
	one_elsewhere = (struct osh_view){ .worker = &second, .tenant = one.tenant };
	session = visit(&one, "ok.test", NULL);
	cr_expect(!visit(&one, "ok.test", session), "resumed");
	cr_expect(!visit(&one_elsewhere, "ok.test", session), "resumed with another worker");
	cr_expect(visit(&one, "no.test", session), "a ticket of another host");
	cr_expect(visit(&two, "ok.test", session), "a ticket of another sandbox");
}

static X509 *leaf_of(struct osh_view *view, const char *host, bool refused)
{
	SSL *ssl = osh_tls_accept_new(view, host, refused);
	X509 *leaf = SSL_get_certificate(ssl);

	X509_up_ref(leaf);
	SSL_free(ssl);
	return leaf;
}

static void expect_p256_and_sha256(const X509 *cert, const char *what)
{
	EVP_PKEY *key = X509_get0_pubkey((X509 *)cert);
	char group[32] = "";

	EVP_PKEY_get_group_name(key, group, sizeof(group), NULL);
	cr_expect(EVP_PKEY_is_a(key, "EC") && strcmp(group, SN_X9_62_prime256v1) == 0, "%s: a key of %s %s", what,
		  EVP_PKEY_get0_type_name(key), group);
	cr_expect(X509_get_signature_nid(cert) == NID_ecdsa_with_SHA256, "%s: signed by %s", what,
		  OBJ_nid2sn(X509_get_signature_nid(cert)));
}

/* P-256 throughout, as ca.h says: an RSA key would cost each new host a long time. */
Test(tls, a_sandbox_is_shown_ecdsa_alone)
{
	struct osh_view view = view_of(&worker, 1);
	const struct osh_ca *ca = &view.tenant->ca;
	static const char *const hosts[] = { "ok.test", "203.0.113.10", "2001:db8::10" };

	expect_p256_and_sha256(ca->cert, "the authority");
	for (size_t i = 0; i < 3; i++) {
		X509 *leaf = leaf_of(&view, hosts[i], i == 0);

		expect_p256_and_sha256(leaf, hosts[i]);
		cr_expect(X509_verify(leaf, ca->key) == 1, "%s: by the authority", hosts[i]);
		X509_free(leaf);
	}
}

/* Is the host answered with this very certificate again? */
static bool is_leaf_of(struct osh_view *view, const char *host, bool refused, const X509 *leaf)
{
	X509 *now = leaf_of(view, host, refused);

	X509_free(now);
	return now == leaf;
}

static void visit_many(struct osh_view *view, bool refused, unsigned count)
{
	char host[64];

	for (unsigned i = 0; i < count; i++) {
		snprintf(host, sizeof(host), "host%u.test", i);
		X509_free(leaf_of(view, host, refused));
	}
}

/* Thousands of names push out the leaves of one another, and those of refused hosts none else. */
/* E07 */
Test(tls, leaves_are_bounded)
{
	struct osh_view view = view_of(&worker, 1);
	X509 *used = keep(leaf_of(&view, "ok.test", false)), *refused = keep(leaf_of(&view, "no.test", true));

	cr_expect(is_leaf_of(&view, "no.test", true, refused), "from the cache");
	visit_many(&view, true, 2 * OSH_LEAVES_MAX);
	cr_expect(!is_leaf_of(&view, "no.test", true, refused), "minted anew");
	cr_expect(is_leaf_of(&view, "ok.test", false, used), "from the cache");
	visit_many(&view, false, OSH_LEAVES_MAX);
	cr_expect(!is_leaf_of(&view, "ok.test", false, used), "minted anew");
}

/* A leaf is for the name dialled alone, also where a wildcard of the policy allows it: a browser
 * that shares connections among names of one certificate (RFC 9113 9.1.1) finds none to share. */
Test(tls, a_leaf_names_its_host_alone)
{
	struct osh_view view = view_of(&worker, 1);
	X509 *leaf = keep(leaf_of(&view, "a.ok.test", false));
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);

	cr_expect(sk_GENERAL_NAME_num(names) == 1);
	cr_expect(X509_check_host(leaf, "a.ok.test", 0, 0, NULL) == 1);
	cr_expect(X509_check_host(leaf, "b.ok.test", 0, 0, NULL) == 0);
	cr_expect(X509_check_host(leaf, "ok.test", 0, 0, NULL) == 0);
	GENERAL_NAMES_free(names);
}
