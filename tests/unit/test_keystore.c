/* The Java keystore, read back entry by entry as Java would. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "proxy/ca.h"
#include "sandbox/internal.h"

#define DIGEST_BYTES 20

static char bundle[] = "/tmp/osh-keystore.XXXXXX";

static void make_bundle(void)
{
	int fd = mkstemp(bundle);

	cr_assert(ge(int, fd, 0));
	close(fd);
}

static void remove_bundle(void) { unlink(bundle); }

TestSuite(keystore, .init = make_bundle, .fini = remove_bundle, .timeout = 20);

static char *new_ca(const char *name)
{
	char *cert, *key;

	cr_assert(zero(int, osh_ca_new(name, &cert, &key)));
	free(key);
	return cert;
}

static void write_bundle(const char *a, const char *b)
{
	char *text;

	cr_assert(ge(int, asprintf(&text, "# first\n%s\n%s", a, b), 0));
	cr_assert(zero(int, osh_replace_file(bundle, text, strlen(text), 0644)));
	free(text);
}

static size_t write_keystore(const struct keystore *host, const char *pem, unsigned char **ret_bytes)
{
	char *bytes = NULL;
	size_t len;
	FILE *out = open_memstream(&bytes, &len);

	cr_assert(zero(int, keystore_write(out, host, pem)));
	fclose(out);
	*ret_bytes = (unsigned char *)bytes;
	return len;
}

static uint32_t take_u32(const unsigned char **at)
{
	uint32_t value_be;

	memcpy(&value_be, *at, sizeof(value_be));
	*at += sizeof(value_be);
	return ntohl(value_be);
}

static void take_text(const unsigned char **at, char *buf, size_t size)
{
	unsigned len = (unsigned)(*at)[0] << 8 | (*at)[1];

	cr_assert(lt(uint, len, (unsigned)size));
	memcpy(buf, *at + 2, len);
	buf[len] = '\0';
	*at += 2 + len;
}

static void expect_entry(const unsigned char **at, const char *alias, const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *want = PEM_read_bio_X509(bio, NULL, NULL, NULL), *got;
	char text[64];
	uint32_t len;

	cr_expect(eq(u32, take_u32(at), 2));
	take_text(at, text, sizeof(text));
	cr_expect(eq(str, text, (char *)alias));
	*at += 8; /* the date */
	take_text(at, text, sizeof(text));
	cr_expect(eq(str, text, "X.509"));
	len = take_u32(at);
	got = d2i_X509(NULL, at, len); /* moves *at */
	cr_assert(ne(ptr, got, NULL));
	cr_expect(zero(int, X509_cmp(want, got)));
	X509_free(want);
	X509_free(got);
	BIO_free(bio);
}

static void expect_digest(const unsigned char *bytes, size_t len)
{
	static const char password[] = "changeit";
	unsigned char salted[1 << 16], digest[DIGEST_BYTES];
	size_t n = 0;

	for (size_t i = 0; i < strlen(password); i++) {
		salted[n++] = 0;
		salted[n++] = (unsigned char)password[i];
	}
	memcpy(salted + n, "Mighty Aphrodite", 16);
	n += 16;
	cr_assert(lt(sz, n + len, sizeof(salted)));
	memcpy(salted + n, bytes, len);
	cr_assert(EVP_Digest(salted, n + len, digest, NULL, EVP_sha1(), NULL) == 1);
	cr_expect(zero(int, memcmp(digest, bytes + len, sizeof(digest))));
}

Test(keystore, holds_the_hosts_certificates_and_the_given_ones)
{
	char *a = new_ca("a"), *b = new_ca("b"), *own = new_ca("own");
	struct keystore host = { 0 };
	unsigned char *bytes;
	const unsigned char *at;
	size_t len;

	write_bundle(a, b);
	cr_assert(zero(int, keystore_load(&host, bundle)));
	len = write_keystore(&host, own, &bytes);
	at = bytes;
	cr_expect(eq(u32, take_u32(&at), 0xfeedfeed));
	cr_expect(eq(u32, take_u32(&at), 2));
	cr_expect(eq(u32, take_u32(&at), 3));
	expect_entry(&at, "ca-0", a);
	expect_entry(&at, "ca-1", b);
	expect_entry(&at, "ca-2", own);
	cr_assert(eq(sz, (size_t)(at - bytes), len - DIGEST_BYTES));
	expect_digest(bytes, len - DIGEST_BYTES);
	free(bytes);
	keystore_done(&host);
	free(a);
	free(b);
	free(own);
}

Test(keystore, follows_the_hosts_file)
{
	char *a = new_ca("a"), *b = new_ca("b");
	struct keystore host = { 0 };

	cr_assert(zero(int, keystore_load(&host, bundle)));
	cr_expect(zero(uint, host.count));
	write_bundle(a, "");
	cr_assert(zero(int, keystore_load(&host, bundle)));
	cr_expect(eq(uint, host.count, 1));
	write_bundle(a, b);
	cr_assert(zero(int, keystore_load(&host, bundle)));
	cr_expect(eq(uint, host.count, 2));
	unlink(bundle);
	cr_expect(eq(int, keystore_load(&host, bundle), -ENOENT));
	cr_expect(zero(uint, host.count)); /* what the host trusts no more is not kept */
	keystore_done(&host);
	free(a);
	free(b);
}

Test(keystore, without_a_host_there_is_still_a_whole_one)
{
	const struct keystore none = { 0 };
	unsigned char *bytes;
	size_t len = write_keystore(&none, "no certificate\n", &bytes);

	cr_assert(eq(sz, len, 12 + DIGEST_BYTES));
	expect_digest(bytes, 12);
	free(bytes);
}
