/* The ClientHello reader: what clients send is read, however it is cut; what two readers
 * could understand differently is refused. */
#include "proxy/hello.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <openssl/ssl.h>
#include <string.h>

#include "base/buf.h"

/* ---- A hand-made hello --------------------------------------------------------------- */

struct recipe {
	unsigned char major, minor;
	size_t session_id_len;
	size_t ciphers_len;
	size_t compressions_len;
	const char *extensions; /* raw bytes of all extensions */
	size_t extensions_len;
	bool no_extensions;     /* not even their length */
	size_t surplus;         /* bytes behind the extensions, inside the message */
};

static void put_u8(struct osh_buf *buf, unsigned value)
{
	unsigned char byte = (unsigned char)value;

	osh_buf_append(buf, &byte, 1);
}

static void put_u16(struct osh_buf *buf, size_t value)
{
	put_u8(buf, (unsigned)(value >> 8));
	put_u8(buf, (unsigned)value & 255);
}

static void put_zeros(struct osh_buf *buf, size_t count)
{
	for (size_t i = 0; i < count; i++)
		put_u8(buf, 0);
}

static void put_body(struct osh_buf *buf, const struct recipe *r)
{
	put_u8(buf, r->major);
	put_u8(buf, r->minor);
	put_zeros(buf, 32);
	put_u8(buf, (unsigned)r->session_id_len);
	put_zeros(buf, r->session_id_len);
	put_u16(buf, r->ciphers_len);
	put_zeros(buf, r->ciphers_len);
	put_u8(buf, (unsigned)r->compressions_len);
	put_zeros(buf, r->compressions_len);
	if (!r->no_extensions) {
		put_u16(buf, r->extensions_len);
		osh_buf_append(buf, r->extensions, r->extensions_len);
	}
	put_zeros(buf, r->surplus);
}

/* The message, cut into records of at most `record_max` bytes. */
static void cook(const struct recipe *r, size_t record_max, struct osh_buf *out)
{
	struct osh_buf body, message;

	osh_buf_init(&body, 1 << 20);
	osh_buf_init(&message, 1 << 20);
	put_body(&body, r);
	put_u8(&message, 1);
	put_u8(&message, (unsigned)(body.len >> 16));
	put_u16(&message, body.len & 0xffff);
	osh_buf_append_str(&message, osh_buf_str(&body));
	while (message.len) {
		size_t len = message.len < record_max ? message.len : record_max;

		put_u8(out, 22);
		put_u16(out, 0x0301);
		put_u16(out, len);
		osh_buf_append(out, osh_buf_bytes(&message), len);
		osh_buf_consume(&message, len);
	}
	osh_buf_done(&body);
	osh_buf_done(&message);
}

#define SNI_OK "\0\0\0\x0c\0\x0a\0\0\x07ok.test"
#define GREASE "\x0a\x0a\0\0"
#define ECH_GREASE "\xfe\x0d\0\x04\0\0\0\0"
#define BYTES(text) .extensions = (text), .extensions_len = sizeof(text) - 1

struct hello_case {
	const char *name;
	struct recipe recipe;
	enum osh_hello_result want;
	const char *sni;
};

#define GOOD .major = 3, .minor = 3, .session_id_len = 32, .ciphers_len = 4, .compressions_len = 1

static struct hello_case cases[] = {
	{ "plain", { GOOD, BYTES(SNI_OK) }, OSH_HELLO_DONE, "ok.test" },
	{ "GREASE around", { GOOD, BYTES(GREASE SNI_OK "\x1a\x1a\0\1\0") }, OSH_HELLO_DONE, "ok.test" },
	{ "GREASE ECH", { GOOD, BYTES(SNI_OK ECH_GREASE) }, OSH_HELLO_DONE, "ok.test" },
	{ "no server name", { GOOD, BYTES(GREASE) }, OSH_HELLO_DONE, "" },
	{ "no extensions at all", { GOOD, .no_extensions = true }, OSH_HELLO_DONE, "" },
	{ "TLS 1.0 hello", { .major = 3, .minor = 1, .ciphers_len = 2, .compressions_len = 1,
			     BYTES(SNI_OK) }, OSH_HELLO_DONE, "ok.test" },
	{ "SSL 2 version", { .major = 2, .minor = 0, .ciphers_len = 2, .compressions_len = 1,
			     BYTES(SNI_OK) }, OSH_HELLO_BAD, NULL },
	{ "extension twice", { GOOD, BYTES(SNI_OK SNI_OK) }, OSH_HELLO_BAD, NULL },
	{ "other extension twice", { GOOD, BYTES(GREASE GREASE) }, OSH_HELLO_BAD, NULL },
	{ "two names", { GOOD, BYTES("\0\0\0\x16\0\x14\0\0\x07ok.test\0\0\x07no.test") },
	  OSH_HELLO_BAD, NULL },
	{ "empty list", { GOOD, BYTES("\0\0\0\2\0\0") }, OSH_HELLO_BAD, NULL },
	{ "empty name", { GOOD, BYTES("\0\0\0\5\0\3\0\0\0") }, OSH_HELLO_BAD, NULL },
	{ "name of another type", { GOOD, BYTES("\0\0\0\x0c\0\x0a\1\0\x07ok.test") },
	  OSH_HELLO_BAD, NULL },
	{ "NUL in the name", { GOOD, BYTES("\0\0\0\x0c\0\x0a\0\0\x07ok\0test") }, OSH_HELLO_BAD, NULL },
	{ "space in the name", { GOOD, BYTES("\0\0\0\x0c\0\x0a\0\0\x07ok test") }, OSH_HELLO_BAD, NULL },
	{ "8-bit name", { GOOD, BYTES("\0\0\0\x0c\0\x0a\0\0\x07ok\xc3\xa9st") }, OSH_HELLO_BAD, NULL },
	{ "name longer than its list", { GOOD, BYTES("\0\0\0\x0c\0\x0a\0\0\x08ok.test") },
	  OSH_HELLO_BAD, NULL },
	{ "bytes behind the list", { GOOD, BYTES("\0\0\0\x0d\0\x0a\0\0\x07ok.test!") },
	  OSH_HELLO_BAD, NULL },
	{ "extension cut off", { GOOD, BYTES(SNI_OK "\0\x2b\0\xff") }, OSH_HELLO_BAD, NULL },
	{ "bytes behind the extensions", { GOOD, BYTES(SNI_OK), .surplus = 1 }, OSH_HELLO_BAD, NULL },
	{ "session id too long", { .major = 3, .minor = 3, .session_id_len = 33, .ciphers_len = 2,
				   .compressions_len = 1, BYTES(SNI_OK) }, OSH_HELLO_BAD, NULL },
	{ "odd ciphers", { .major = 3, .minor = 3, .ciphers_len = 3, .compressions_len = 1,
			   BYTES(SNI_OK) }, OSH_HELLO_BAD, NULL },
	{ "no ciphers", { .major = 3, .minor = 3, .compressions_len = 1, BYTES(SNI_OK) },
	  OSH_HELLO_BAD, NULL },
	{ "no compression", { .major = 3, .minor = 3, .ciphers_len = 2, BYTES(SNI_OK) },
	  OSH_HELLO_BAD, NULL },
};

Test(hello, messages)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static const size_t record_sizes[] = { 16384, 100, 7, 1 };

		for (size_t j = 0; j < 4; j++) {
			struct osh_hello hello = { 0 };
			struct osh_buf bytes;
			enum osh_hello_result got;

			osh_buf_init(&bytes, 1 << 20);
			cook(&cases[i].recipe, record_sizes[j], &bytes);
			got = osh_hello_parse(osh_buf_str(&bytes), &hello);
			cr_expect(got == cases[i].want, "%s in records of %zu: %d", cases[i].name,
				  record_sizes[j], got);
			if (got == OSH_HELLO_DONE)
				cr_expect(osh_str_eq_c(hello.sni, cases[i].sni), "%s: %.*s",
					  cases[i].name, (int)hello.sni.len, hello.sni.data);
			osh_buf_done(&bytes);
		}
	}
}

/* Every proper prefix asks for more; nothing is decided on a part. */
Test(hello, every_prefix_needs_more)
{
	struct recipe recipe = { GOOD, BYTES(GREASE SNI_OK) };
	struct osh_hello hello;
	struct osh_buf bytes;

	osh_buf_init(&bytes, 1 << 20);
	cook(&recipe, 20, &bytes);
	for (size_t len = 0; len < bytes.len; len++)
		cr_expect(osh_hello_parse(osh_str_n(bytes.data, len), &hello) == OSH_HELLO_NEED_MORE,
			  "prefix of %zu", len);
	/* What follows the hello does not matter. */
	osh_buf_append(&bytes, "\x17\3\3garbage", 10);
	cr_expect(osh_hello_parse(osh_buf_str(&bytes), &hello) == OSH_HELLO_DONE);
	osh_buf_done(&bytes);
}

Test(hello, what_is_no_hello_is_told_at_once)
{
	static const struct {
		const char *name, *bytes;
		size_t len;
	} table[] = {
		{ "HTTP", "GET / HTTP/1.1", 14 },
		{ "SSL 2", "\x80\x2e\1\3\1", 5 },
		{ "alert record", "\x15\3\1\0\2", 5 },
		{ "empty record", "\x16\3\1\0\0", 5 },
		{ "record over 16 KiB", "\x16\3\1\x40\1", 5 },
		{ "other version", "\x16\4", 2 },
		{ "ServerHello", "\x16\3\3\0\x10\2", 6 },
		{ "message over the bound", "\x16\3\3\0\x10\1\x01\0\0", 9 },
	};
	struct osh_hello hello;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		cr_expect(osh_hello_parse(osh_str_n(table[i].bytes, table[i].len), &hello) ==
			  OSH_HELLO_BAD, "%s", table[i].name);
}

/* As many bytes as fit, and still no end: it would never fit. */
Test(hello, endless_is_bad)
{
	static char bytes[OSH_HELLO_BYTES_MAX];
	struct osh_hello hello;

	for (size_t i = 0; i + 6 <= sizeof(bytes); i += 6)
		memcpy(bytes + i, i ? "\x16\3\1\0\1\0" : "\x16\3\1\0\1\1", 6);
	/* A length of 3,000 bytes, announced one byte a record. */
	bytes[17] = 0x0b;
	bytes[23] = (char)0xb8;
	cr_expect(osh_hello_parse(osh_str_n(bytes, 1200), &hello) == OSH_HELLO_NEED_MORE);
	cr_expect(osh_hello_parse(osh_str_n(bytes, sizeof(bytes)), &hello) == OSH_HELLO_BAD);
}

/* A real one. */
Test(hello, openssl)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	struct osh_hello hello;
	char *data;
	long len;

	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	cr_assert(SSL_set_tlsext_host_name(ssl, "api.github.com") == 1);
	cr_assert(SSL_do_handshake(ssl) < 0);
	len = BIO_get_mem_data(out, &data);
	cr_assert(len > 0 && data[0] == OSH_HELLO_FIRST_BYTE);
	cr_assert(osh_hello_parse(osh_str_n(data, (size_t)len), &hello) == OSH_HELLO_DONE);
	cr_expect(osh_str_eq_c(hello.sni, "api.github.com"));
	SSL_free(ssl);
	SSL_CTX_free(ctx);
}
