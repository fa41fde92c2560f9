/* Java trusts what stands in one file of its own format, and reads no PEM. The format is
 * JKS (sun.security.provider.JavaKeyStore says so; every Java reads it, whatever its
 * default): magic, version, count; an entry per certificate; a digest of it all. */
#include "sandbox/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"

#define JKS_MAGIC 0xfeedfeedu
#define JKS_VERSION 2u
#define JKS_TRUSTED_CERTIFICATE 2u

/* SHA-1 is the format's own. It detects damage; who may write the file is decided by its
 * mount. The password is the one that every Java installation uses: "changeit" as UTF-16. */
static const unsigned char digest_salt[] = "\0c\0h\0a\0n\0g\0e\0i\0tMighty Aphrodite";

static int put_u32(struct osh_buf *buf, uint32_t value)
{
	uint32_t value_be = htonl(value);

	return osh_buf_append(buf, &value_be, sizeof(value_be));
}

/* A length of two bytes, then ASCII. */
static int put_text(struct osh_buf *buf, const char *text)
{
	uint16_t len_be = htons((uint16_t)strlen(text));
	int r = osh_buf_append(buf, &len_be, sizeof(len_be));

	return r < 0 ? r : osh_buf_append(buf, text, strlen(text));
}

static int put_certificate(struct osh_buf *buf, unsigned number, const void *der, size_t len)
{
	const uint64_t no_date = 0;
	char alias[16];
	int r = put_u32(buf, JKS_TRUSTED_CERTIFICATE);

	snprintf(alias, sizeof(alias), "ca-%u", number);
	if (r == 0)
		r = put_text(buf, alias);
	if (r == 0)
		r = osh_buf_append(buf, &no_date, sizeof(no_date));
	if (r == 0)
		r = put_text(buf, "X.509");
	if (r == 0)
		r = put_u32(buf, (uint32_t)len);
	return r < 0 ? r : osh_buf_append(buf, der, len);
}

/* Adds to *count. */
static int put_certificates(struct osh_buf *buf, const char *pem, unsigned *count)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	char *name, *header;
	unsigned char *der;
	int r = bio ? 0 : -ENOMEM;
	long len;

	while (r == 0 && PEM_read_bio(bio, &name, &header, &der, &len)) {
		if (strcmp(name, PEM_STRING_X509) == 0)
			r = put_certificate(buf, (*count)++, der, (size_t)len);
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_free(der);
	}
	ERR_clear_error(); /* the end of the text is one */
	BIO_free(bio);
	return r;
}

static int put_digest(struct osh_buf *buf)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len;
	bool ok = context && EVP_DigestInit_ex(context, EVP_sha1(), NULL) &&
		  EVP_DigestUpdate(context, digest_salt, sizeof(digest_salt) - 1) &&
		  EVP_DigestUpdate(context, osh_buf_bytes(buf), buf->len) &&
		  EVP_DigestFinal_ex(context, digest, &len);

	EVP_MD_CTX_free(context);
	return ok ? osh_buf_append(buf, digest, len) : -EIO;
}

/* ---- The host's share ------------------------------------------------------------ */

void keystore_done(struct keystore *keystore)
{
	osh_buf_done(&keystore->entries);
	*keystore = (struct keystore){ 0 };
}

static bool is_of(const struct keystore *keystore, const struct stat *st)
{
	return keystore->inode == st->st_ino && keystore->changed.tv_sec == st->st_ctim.tv_sec &&
	       keystore->changed.tv_nsec == st->st_ctim.tv_nsec;
}

int keystore_load(struct keystore *keystore, const char *path)
{
	_cleanup_free_ char *pem = NULL;
	struct stat st;
	size_t len;
	int r;

	if (stat(path, &st) == 0 && is_of(keystore, &st))
		return 0;
	keystore_done(keystore);
	if (stat(path, &st) < 0)
		return -errno;
	r = osh_read_file(path, OSH_SANDBOX_CA_BYTES_MAX, &pem, &len);
	if (r < 0)
		return r;
	osh_buf_init(&keystore->entries, OSH_SANDBOX_CA_BYTES_MAX);
	r = put_certificates(&keystore->entries, pem, &keystore->count);
	if (r < 0) {
		keystore_done(keystore);
		return r;
	}
	keystore->inode = st.st_ino;
	keystore->changed = st.st_ctim;
	return 0;
}

/* ---- The whole ------------------------------------------------------------------- */

static int put_all(struct osh_buf *buf, const struct keystore *host, const char *pem)
{
	unsigned count = host->count;
	uint32_t count_be;
	int r = put_u32(buf, JKS_MAGIC);

	if (r == 0)
		r = put_u32(buf, JKS_VERSION);
	if (r == 0)
		r = put_u32(buf, 0);
	if (r == 0 && host->count)
		r = osh_buf_append(buf, osh_buf_bytes(&host->entries), host->entries.len);
	if (r == 0)
		r = put_certificates(buf, pem, &count);
	if (r < 0)
		return r;
	count_be = htonl(count);
	memcpy(osh_buf_bytes(buf) + 2 * sizeof(uint32_t), &count_be, sizeof(count_be));
	return put_digest(buf);
}

int keystore_write(FILE *out, const struct keystore *host, const char *pem)
{
	struct osh_buf buf;
	int r;

	osh_buf_init(&buf, 2 * OSH_SANDBOX_CA_BYTES_MAX);
	r = put_all(&buf, host, pem);
	if (r == 0 && fwrite(osh_buf_bytes(&buf), 1, buf.len, out) != buf.len)
		r = -EIO;
	osh_buf_done(&buf);
	return r;
}
