#include "proxy/ca.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define DAY_SECONDS 86400L
#define CA_DAYS 3650
#define CA_DAYS_BEFORE 730 /* clocks are set back, too */

/* Random 127-bit serial: two leaves of one host must differ (RFC 5280 4.1.2.2). */
static int set_serial(X509 *cert)
{
	unsigned char bytes[16];
	BIGNUM *number;
	int ok;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return 0;
	bytes[0] &= 0x7f;
	bytes[0] |= 0x40;
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
	BN_free(number);
	return ok;
}

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	int ok;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	if (!extension)
		return 0;
	ok = X509_add_ext(cert, extension, -1);
	X509_EXTENSION_free(extension);
	return ok;
}

static int set_name(X509_NAME *name, const char *organisation, const char *common_name)
{
	return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC,
					  (const unsigned char *)organisation, -1, -1, 0) &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					  (const unsigned char *)common_name, -1, -1, 0);
}

/* The part that CA and leaf share. */
static X509 *new_cert(EVP_PKEY *key, long days_before, long days)
{
	X509 *cert = X509_new();

	if (cert && X509_set_version(cert, X509_VERSION_3) && set_serial(cert) &&
	    X509_gmtime_adj(X509_getm_notBefore(cert), -days_before * DAY_SECONDS) &&
	    X509_gmtime_adj(X509_getm_notAfter(cert), days * DAY_SECONDS) &&
	    X509_set_pubkey(cert, key))
		return cert;
	X509_free(cert);
	return NULL;
}

static X509 *make_ca_cert(EVP_PKEY *key, const char *sandbox_name)
{
	X509 *cert = new_cert(key, CA_DAYS_BEFORE, CA_DAYS);

	/* A sandbox's name fits the 64 characters of a common name (RFC 5280 A.1); the
	 * organisation keeps it apart from a leaf for a host of that name. */
	if (cert && set_name(X509_get_subject_name(cert), "openshell sandbox CA", sandbox_name) &&
	    X509_set_issuer_name(cert, X509_get_subject_name(cert)) &&
	    add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	    add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	    add_extension(cert, cert, NID_subject_key_identifier, "hash") &&
	    X509_sign(cert, key, EVP_sha256()))
		return cert;
	X509_free(cert);
	return NULL;
}

/* Take what a memory BIO holds as malloc'ed text. */
static char *bio_text(BIO *bio)
{
	char *data, *text;
	long len = BIO_get_mem_data(bio, &data);

	text = len > 0 ? malloc((size_t)len + 1) : NULL;
	if (text) {
		memcpy(text, data, (size_t)len);
		text[len] = '\0';
	}
	return text;
}

static char *cert_to_pem(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = bio && PEM_write_bio_X509(bio, cert) ? bio_text(bio) : NULL;

	BIO_free(bio);
	return text;
}

static char *key_to_pem(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *text = bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) ?
			     bio_text(bio) : NULL;

	BIO_free(bio);
	return text;
}

/* Written while memory was short, a text may be a part of itself. */
static bool is_whole(const char *cert_pem, const char *key_pem)
{
	struct osh_ca ca = { 0 };
	bool whole = osh_ca_load(cert_pem, key_pem, &ca) == 0;

	osh_ca_done(&ca);
	return whole;
}

int osh_ca_new(const char *sandbox_name, char **ret_cert_pem, char **ret_key_pem)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = key ? make_ca_cert(key, sandbox_name) : NULL;
	char *cert_pem = cert ? cert_to_pem(cert) : NULL;
	char *key_pem = cert ? key_to_pem(key) : NULL;

	X509_free(cert);
	EVP_PKEY_free(key);
	if (!cert_pem || !key_pem || !is_whole(cert_pem, key_pem)) {
		free(cert_pem);
		free(key_pem);
		return -EIO;
	}
	*ret_cert_pem = cert_pem;
	*ret_key_pem = key_pem;
	return 0;
}

int osh_ca_load(const char *cert_pem, const char *key_pem, struct osh_ca *ret_ca)
{
	BIO *cert_bio = BIO_new_mem_buf(cert_pem, -1);
	BIO *key_bio = BIO_new_mem_buf(key_pem, -1);
	struct osh_ca ca = { 0 };

	if (cert_bio && key_bio) {
		ca.cert = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
		ca.key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
	}
	BIO_free(cert_bio);
	BIO_free(key_bio);
	if (!ca.cert || !ca.key || X509_check_private_key(ca.cert, ca.key) != 1) {
		osh_ca_done(&ca);
		return -EBADMSG;
	}
	*ret_ca = ca;
	return 0;
}

void osh_ca_done(struct osh_ca *ca)
{
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
	*ca = (struct osh_ca){ 0 };
}

EVP_PKEY *osh_ca_leaf_key(void)
{
	return EVP_EC_gen("P-256");
}

static int set_alternative_name(X509 *cert, X509 *issuer, const char *host)
{
	struct in6_addr addr;
	char value[300];
	int is_literal = inet_pton(AF_INET, host, &addr) == 1 || inet_pton(AF_INET6, host, &addr) == 1;

	/* Hosts are LDH names or literals by the time they get here (policy/host.h), so
	 * the comma and colon syntax of this string cannot be abused. */
	snprintf(value, sizeof(value), "%s:%s", is_literal ? "IP" : "DNS", host);
	return add_extension(cert, issuer, NID_subject_alt_name, value);
}

X509 *osh_ca_mint(const struct osh_ca *ca, EVP_PKEY *leaf_key, const char *host)
{
	X509 *cert = new_cert(leaf_key, 1, OSH_LEAF_DAYS);
	/* RFC 5280 limits a common name to 64 characters; the name that counts is the SAN. */
	const char *common_name = strlen(host) <= 64 ? host : "openshell leaf";

	if (cert && set_name(X509_get_subject_name(cert), "openshell", common_name) &&
	    X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) &&
	    add_extension(cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE") &&
	    add_extension(cert, ca->cert, NID_key_usage, "critical,digitalSignature") &&
	    add_extension(cert, ca->cert, NID_ext_key_usage, "serverAuth") &&
	    add_extension(cert, ca->cert, NID_subject_key_identifier, "hash") &&
	    add_extension(cert, ca->cert, NID_authority_key_identifier, "keyid:always") &&
	    set_alternative_name(cert, ca->cert, host) && X509_sign(cert, ca->key, EVP_sha256()))
		return cert;
	X509_free(cert);
	return NULL;
}
