/* A small certificate authority for tests: certificates with one fault each, stapled answers,
 * and contexts that serve them, however bad they are. */
#ifndef OSH_TESTS_TLS_CERTS_H
#define OSH_TESTS_TLS_CERTS_H

#include <criterion/criterion.h>
#include <openssl/ec.h>
#include <openssl/ocsp.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdbool.h>

/* Not every test needs all of it. */
#pragma GCC diagnostic ignored "-Wunused-function"

#define DAY 86400L

struct certified {
	X509 *cert;
	EVP_PKEY *key;
};

/* What a test makes lives as long as it does, and is not taken for a leak. */
static void *keep(void *made)
{
	static void *kept[64];
	static size_t count;

	cr_assert(made && count < sizeof(kept) / sizeof(kept[0]));
	return kept[count++] = made;
}

/* All zeros: a good leaf of `issuer`, valid from yesterday until tomorrow. */
struct wanted_cert {
	const struct certified *issuer; /* NULL: itself */
	const char *name;               /* common name; "test" when NULL */
	const char *alternative;        /* subjectAltName in OpenSSL's words; NULL: none */
	const char *constraints;        /* "CA:FALSE" when NULL */
	const char *usage;              /* extended; "serverAuth" when NULL, "" none */
	const char *feature;            /* TLS feature (RFC 7633) */
	const EVP_MD *digest;           /* SHA-256 when NULL */
	unsigned rsa_bits;              /* 0: P-256 */
	long from_s, until_s;           /* from now */
};

static void extend(X509 *cert, const X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX context;

	if (!value || !*value)
		return;
	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, (X509 *)issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	cr_assert(extension && X509_add_ext(cert, extension, -1) == 1, "%s", value);
	X509_EXTENSION_free(extension);
}

static struct certified certify(const struct wanted_cert *wanted)
{
	static long serial;
	struct certified made = { .cert = X509_new() };
	const struct certified *issuer = wanted->issuer ? wanted->issuer : &made;
	const char *name = wanted->name ? wanted->name : "test";

	made.key = wanted->rsa_bits ? EVP_RSA_gen(wanted->rsa_bits) : EVP_EC_gen("P-256");
	cr_assert(made.cert && made.key);
	X509_set_version(made.cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(made.cert), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(made.cert), wanted->from_s ? wanted->from_s : -DAY);
	X509_gmtime_adj(X509_getm_notAfter(made.cert), wanted->until_s ? wanted->until_s : DAY);
	X509_set_pubkey(made.cert, made.key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(made.cert), "CN", MBSTRING_ASC,
				   (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(made.cert, X509_get_subject_name(issuer->cert));
	extend(made.cert, issuer->cert, NID_basic_constraints,
	       wanted->constraints ? wanted->constraints : "CA:FALSE");
	extend(made.cert, issuer->cert, NID_ext_key_usage, wanted->usage ? wanted->usage : "serverAuth");
	extend(made.cert, issuer->cert, NID_subject_alt_name, wanted->alternative);
	extend(made.cert, issuer->cert, NID_tlsfeature, wanted->feature);
	cr_assert(X509_sign(made.cert, issuer->key, wanted->digest ? wanted->digest : EVP_sha256()));
	keep(made.cert);
	keep(made.key);
	return made;
}

static struct certified certify_ca(const char *name, const struct certified *issuer)
{
	return certify(&(struct wanted_cert){
		.name = name, .issuer = issuer, .constraints = "critical,CA:TRUE", .usage = "" });
}

/* A server's context that minds nothing: what is wrong is the client's to find. */
static SSL_CTX *context_with(const struct certified *leaf, const struct certified *intermediate)
{
	SSL_CTX *ctx = keep(SSL_CTX_new(TLS_server_method()));

	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
	cr_assert(SSL_CTX_set_cipher_list(ctx, "ALL:COMPLEMENTOFALL") == 1);
	cr_assert(SSL_CTX_use_certificate(ctx, leaf->cert) == 1);
	cr_assert(SSL_CTX_use_PrivateKey(ctx, leaf->key) == 1);
	if (intermediate)
		cr_assert(SSL_CTX_add1_chain_cert(ctx, intermediate->cert) == 1);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"test", 4);
	return ctx;
}

/* ---- Stapled answers --------------------------------------------------------------------------- */

static int give_staple(SSL *ssl, void *response)
{
	unsigned char *bytes = NULL;
	int len = i2d_OCSP_RESPONSE(response, &bytes);

	SSL_set_tlsext_status_ocsp_resp(ssl, bytes, len);
	return SSL_TLSEXT_ERR_OK;
}

/* Have `ctx` staple what `signer` says of `cert`, a certificate of `issuer`: good or revoked, as
 * of `from_s`, for `until_s`. */
static void staple(SSL_CTX *ctx, const struct certified *cert, const struct certified *issuer,
		   const struct certified *signer, int status, long from_s, long until_s)
{
	OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
	OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), cert->cert, issuer->cert);
	ASN1_TIME *from = X509_gmtime_adj(NULL, from_s), *until = X509_gmtime_adj(NULL, until_s);

	cr_assert(OCSP_basic_add1_status(basic, id, status, OCSP_REVOKED_STATUS_KEYCOMPROMISE, from, from,
					 until));
	cr_assert(OCSP_basic_sign(basic, signer->cert, signer->key, EVP_sha256(), NULL, 0) == 1);
	SSL_CTX_set_tlsext_status_cb(ctx, give_staple);
	SSL_CTX_set_tlsext_status_arg(ctx, OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic));
	ASN1_TIME_free(from);
	ASN1_TIME_free(until);
	OCSP_CERTID_free(id);
	OCSP_BASICRESP_free(basic);
}

#endif
