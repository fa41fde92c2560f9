/* Bodies under inspection: what is held, what it inflates to, what nobody can read. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"
#include "proxy/inspect.h"

static struct osh_view view;
static struct osh_inspection *inspection;

#define LIMIT 1000

static void init(void)
{
	inspection = osh_inspection_new(&view, LIMIT);
	cr_assert(inspection);
}

static void fini(void)
{
	osh_inspection_free(inspection);
}

TestSuite(inspect, .init = init, .fini = fini);

static void header(const char *name, const char *value)
{
	osh_inspection_header(inspection, osh_str(name), osh_str(value));
}

/* Compress `plain`; window bits as of zlib: 31 gzip, 15 zlib, -15 raw. */
static struct osh_str squeeze(const char *plain, size_t len, int bits)
{
	static char out[1 << 16];
	z_stream z = { .next_in = (unsigned char *)(uintptr_t)plain, .avail_in = (unsigned)len,
		       .next_out = (unsigned char *)out, .avail_out = sizeof(out) };

	cr_assert(deflateInit2(&z, 9, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	cr_assert(deflate(&z, Z_FINISH) == Z_STREAM_END);
	deflateEnd(&z);
	return osh_str_n(out, sizeof(out) - z.avail_out);
}

static const char *read_as(const char *coding, struct osh_str body, struct osh_message *message)
{
	static struct osh_buf inflated;
	const char *fault;

	fini();
	init();
	if (coding)
		header("Content-Encoding", coding);
	cr_assert(osh_inspection_add(inspection, body) == 0);
	osh_buf_done(&inflated);
	fault = osh_inspection_read(inspection, &inflated, message);
	return fault;
}

Test(inspect, a_body_is_held_up_to_its_limit_and_given_back)
{
	char bytes[LIMIT + 1];
	struct osh_message message;
	struct osh_buf inflated;

	memset(bytes, 'x', sizeof(bytes));
	cr_expect_eq(osh_inspection_add(inspection, osh_str_n(bytes, 400)), 0);
	cr_expect_eq(osh_inspection_add(inspection, osh_str_n(bytes, 600)), 0);
	cr_expect(!inspection->too_large);
	cr_expect_eq(view.held_bytes, LIMIT);
	cr_expect(osh_inspection_read(inspection, &inflated, &message) == NULL);
	cr_expect_eq(message.body.len, LIMIT);
	cr_expect_eq(osh_inspection_add(inspection, osh_str_n(bytes, 1)), 0);
	cr_expect(inspection->too_large);
	cr_expect(osh_inspection_read(inspection, &inflated, &message) == NULL && message.too_large);
	cr_expect_eq(view.held_bytes, LIMIT, "what is beyond is not kept");
	osh_inspection_free(inspection);
	inspection = NULL;
	cr_expect_eq(view.held_bytes, 0);
}

Test(inspect, a_sandbox_has_one_share)
{
	cr_assert(osh_held_take(&view, OSH_HELD_BYTES_MAX - 1));
	cr_expect_eq(osh_inspection_add(inspection, osh_str("ab")), -EDQUOT);
	cr_expect_eq(osh_inspection_add(inspection, osh_str("a")), 0);
	cr_expect(!osh_held_take(&view, 1));
	osh_held_give_back(&view, 1);
	cr_expect(osh_held_take(&view, 1));
}

Test(inspect, gzip_and_deflate)
{
	static const char plain[] = "{\"query\":\"{viewer}\"}";
	static const struct { const char *coding; int bits; } good[] = {
		{ "gzip", 31 }, { "GZIP", 31 }, { "x-gzip", 31 }, { "deflate", 15 }, { "deflate", -15 },
		{ "Deflate", 9 },
	};
	struct osh_message message;

	for (size_t i = 0; i < OSH_COUNT_OF(good); i++) {
		const char *fault = read_as(good[i].coding, squeeze(plain, sizeof(plain) - 1, good[i].bits), &message);

		cr_expect(!fault, "%s %d: %s", good[i].coding, good[i].bits, fault);
		cr_expect(osh_str_eq_c(message.body, plain));
		cr_expect_eq(message.content_encoding.len, 0);
	}
	cr_expect(read_as(NULL, osh_str(plain), &message) == NULL);
	cr_expect(osh_str_eq_c(message.body, plain));
	cr_expect(read_as("identity", osh_str(plain), &message) == NULL);
	cr_expect(osh_str_eq_c(message.body, plain));
	/* The policy says no to these: it is told their names. */
	cr_expect(read_as("br", osh_str(plain), &message) == NULL);
	cr_expect(osh_str_eq_c(message.content_encoding, "br"));
	cr_expect(read_as("zstd", osh_str(plain), &message) == NULL);
	cr_expect(osh_str_eq_c(message.content_encoding, "zstd"));
	cr_expect(read_as("gzip, gzip", osh_str(plain), &message) == NULL);
	cr_expect(osh_str_eq_c(message.content_encoding, "gzip, gzip"));
}

Test(inspect, damaged_bodies)
{
	static const char plain[] = "{\"query\":\"{viewer}\"}";
	char bytes[256];
	struct osh_str good = squeeze(plain, sizeof(plain) - 1, 31);
	struct osh_message message;

	memcpy(bytes, good.data, good.len);
	for (size_t cut = 0; cut < good.len; cut++)
		cr_expect(read_as("gzip", osh_str_n(bytes, cut), &message), "cut at %zu", cut);
	bytes[good.len] = 'x';
	cr_expect(read_as("gzip", osh_str_n(bytes, good.len + 1), &message), "bytes behind the end");
	memcpy(bytes + good.len, bytes, good.len);
	cr_expect(read_as("gzip", osh_str_n(bytes, 2 * good.len), &message), "a second member");
	bytes[good.len - 6] ^= 1;
	cr_expect(read_as("gzip", osh_str_n(bytes, good.len), &message), "a wrong checksum");
	cr_expect(read_as("gzip", osh_str(plain), &message), "not compressed at all");
	good = squeeze(plain, sizeof(plain) - 1, 15);
	cr_expect(read_as("gzip", good, &message), "zlib under the name of gzip");
}

/* A bomb is found when it crosses the limit, and never takes more memory than that. */
Test(inspect, inflating_has_the_same_limit)
{
	static char plain[1 << 20];
	struct osh_message message;
	struct osh_buf out;

	memset(plain, ' ', sizeof(plain));
	cr_expect(read_as("gzip", squeeze(plain, LIMIT, 31), &message) == NULL && !message.too_large);
	cr_expect_eq(message.body.len, LIMIT);
	cr_expect(read_as("gzip", squeeze(plain, LIMIT + 1, 31), &message) == NULL && message.too_large);
	osh_buf_init(&out, LIMIT);
	cr_expect_eq(osh_inflate(OSH_CODING_GZIP, squeeze(plain, 1 << 19, 31), &out), OSH_INFLATE_TOO_LARGE);
	cr_expect(out.room <= LIMIT && out.len <= LIMIT);
	osh_buf_done(&out);
}

Test(inspect, headers_that_two_readers_could_read_in_two_ways)
{
	static const struct { const char *type, *body; bool good; } types[] = {
		{ "application/json", "{}", true },
		{ "application/json; charset=utf-8", "{}", true },
		{ "application/json; charset=\"UTF-8\"", "{}", true },
		{ "application/json;charset=utf-7", "{}", false },
		{ "application/json; charset=utf-16le", "{}", false },
		{ "application/json; charset=utf-8; charset=utf-7", "{}", false },
		{ "application/json; charset = utf-7", "{}", false },
		{ "application/x-www-form-urlencoded", "{\"query\":\"{a}\"}", true },
		{ "application/x-www-form-urlencoded", "{\"a\":\"&query=mutation{x}&b=\"}", false },
		{ "application/json", "{\"a\":\"&query=mutation{x}&b=\"}", true },
	};
	struct osh_message message;
	struct osh_buf inflated;

	for (size_t i = 0; i < OSH_COUNT_OF(types); i++) {
		fini();
		init();
		header("content-type", types[i].type);
		cr_assert(osh_inspection_add(inspection, osh_str(types[i].body)) == 0);
		cr_expect_eq(osh_inspection_read(inspection, &inflated, &message) == NULL, types[i].good, "%s %s",
			     types[i].type, types[i].body);
	}
	fini();
	init();
	header("Content-Type", "application/json");
	cr_expect(osh_inspection_read(inspection, &inflated, &message) == NULL);
	header("Content_Type", "multipart/form-data");
	cr_expect(osh_inspection_read(inspection, &inflated, &message) != NULL);
	fini();
	init();
	header("Content-Encoding", "identity");
	cr_expect(osh_inspection_read(inspection, &inflated, &message) == NULL);
	header("content-encoding", "identity");
	cr_expect(osh_inspection_read(inspection, &inflated, &message) != NULL);
}

Test(inspect, other_headers_do_not_matter)
{
	struct osh_message message;
	struct osh_buf inflated;

	header("Accept", "text/event-stream");
	header("X-Content-Type", "x");
	header("Accept-Encoding", "br");
	cr_expect(osh_inspection_read(inspection, &inflated, &message) == NULL);
	cr_expect(osh_str_eq_c(message.accept, "text/event-stream"));
	cr_expect_eq(message.content_type.len, 0);
}
