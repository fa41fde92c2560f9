/* A sandbox's certificate authority: made once by the agent, used by the proxy to
 * mint a leaf for each host that the sandbox dials. ECDSA P-256 throughout. */
#ifndef OSH_PROXY_CA_H
#define OSH_PROXY_CA_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/secret.h"

#define OSH_LEAF_DAYS 30

/* Make a CA named after the sandbox (CA:TRUE, pathlen 0, ten years, valid from
 * two years ago so that a clock set back does not break it). Both texts are malloc'ed PEM;
 * the caller wipes and frees the key. Returns 0 or -ENOMEM, -EIO (OpenSSL failed). */
int osh_ca_new(const char *sandbox_name, char **ret_cert_pem, char **ret_key_pem);

struct osh_ca {
	X509 *cert;
	EVP_PKEY *key;
};

/* Parse what osh_ca_new made. Returns 0 or -EBADMSG. */
int osh_ca_load(const char *cert_pem, const char *key_pem, struct osh_ca *ret_ca);
void osh_ca_done(struct osh_ca *ca);

/* A key for leaves; one per worker serves all its leaves. NULL when OpenSSL fails. */
EVP_PKEY *osh_ca_leaf_key(void);

/* A leaf for `host` (a DNS name or an IP literal, put into subjectAltName, RFC 6125)
 * valid from a day ago for OSH_LEAF_DAYS from now, signed by the CA. The caller frees it. NULL when OpenSSL fails. */
X509 *osh_ca_mint(const struct osh_ca *ca, EVP_PKEY *leaf_key, const char *host);

#endif
