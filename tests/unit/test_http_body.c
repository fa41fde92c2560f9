/* Bodies (RFC 9112 7): payload out of framing, whichever way the bytes are cut. */
#include "proxy/http_body.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* Feed `text` in pieces of `piece` bytes. Returns the last result that is not progress;
 * the payload is in `out`, *ret_used bytes were consumed. */
static enum osh_http_result feed(struct osh_http_body *body, const char *text, size_t len, size_t piece,
				 struct osh_buf *out, size_t *ret_used)
{
	struct osh_buf in;
	enum osh_http_result result = OSH_HTTP_NEED_MORE;
	size_t at = 0;

	osh_buf_init(&in, 1 << 21);
	*ret_used = 0;
	while (at < len && result == OSH_HTTP_NEED_MORE) {
		size_t part = len - at < piece ? len - at : piece;

		osh_buf_append(&in, text + at, part);
		at += part;
		for (;;) {
			const char *reason;
			struct osh_str data;
			size_t used;

			result = osh_http_body_take(body, osh_buf_str(&in), 5, &used, &data, &reason);
			if (result != OSH_HTTP_DONE)
				break;
			cr_assert(used > 0 && data.len <= 5);
			osh_buf_append_str(out, data);
			osh_buf_consume(&in, used);
			*ret_used += used;
		}
	}
	osh_buf_done(&in);
	return result;
}

static const struct {
	const char *name, *text;
	bool good;
	const char *payload;
	size_t rest; /* bytes behind the message */
} chunked[] = {
	{ "plain", "5\r\nhello\r\n0\r\n\r\n", true, "hello", 0 },
	{ "two chunks, then the next message", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET", true,
	  "hello world", 3 },
	{ "hex, both cases", "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", true,
	  "01234567890123456789", 0 },
	{ "leading zeros", "0005\r\nhello\r\n000\r\n\r\n", true, "hello", 0 },
	{ "extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", true, "hello", 0 },
	{ "extensions", "5;a;b=c;d=\"e f\\\"g\"\r\nhello\r\n0\r\n\r\n", true, "hello", 0 },
	{ "trailers", "5\r\nhello\r\n0\r\nGrpc-Status: 0\r\nX: y\r\n\r\n", true, "hello", 0 },
	{ "empty", "0\r\n\r\n", true, "", 0 },
	{ "15 digits", "00000000000000f\r\n0123456789abcde\r\n0\r\n\r\n", true, "0123456789abcde", 0 },
	{ "16 digits", "000000000000000f\r\n0123456789abcde\r\n0\r\n\r\n", false, NULL, 0 },
	{ "17 digits", "10000000000000000\r\n", false, NULL, 0 },
	{ "no digit", "\r\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "0x", "0x5\r\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "plus", "+5\r\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "minus", "-5\r\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "blank before the size", " 5\r\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "blank behind the size", "5 \r\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "bare LF behind the size", "5\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "bare LF behind the data", "5\r\nhello\n0\r\n\r\n", false, NULL, 0 },
	{ "no CRLF behind the data", "5\r\nhello0\r\n\r\n", false, NULL, 0 },
	{ "data longer than said", "4\r\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "extension without a name", "5;\r\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "extension without a value", "5;a=\r\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "blank before an extension", "5; a=b\r\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "blank in an extension", "5;a b\r\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "extension that stays open", "5;a=\"b\r\nhello\r\n0\r\n\r\n", false, NULL, 0 },
	{ "length in a trailer", "0\r\nContent-Length: 5\r\n\r\n", false, NULL, 0 },
	{ "coding in a trailer", "0\r\ntransfer-encoding: chunked\r\n\r\n", false, NULL, 0 },
	{ "Connection in a trailer", "0\r\nConnection: close\r\n\r\n", false, NULL, 0 },
	{ "bare LF ends the trailers", "0\r\n\n", false, NULL, 0 },
	{ "folded trailer", "0\r\nA: b\r\n c\r\n\r\n", false, NULL, 0 },
	{ "trailer without colon", "0\r\nnonsense\r\n\r\n", false, NULL, 0 },
};

Test(http_body, chunked)
{
	for (size_t i = 0; i < COUNT(chunked); i++) {
		size_t len = strlen(chunked[i].text);

		for (size_t piece = 1; piece <= len; piece++) {
			struct osh_http_body body;
			struct osh_buf out;
			enum osh_http_result got;
			size_t used;

			osh_http_body_init(&body, OSH_HTTP_BODY_CHUNKED, 0);
			osh_buf_init(&out, 4096);
			got = feed(&body, chunked[i].text, len, piece, &out, &used);
			if (!chunked[i].good) {
				cr_expect(got == OSH_HTTP_BAD, "%s by %zu: %d", chunked[i].name, piece, got);
			} else {
				cr_expect(got == OSH_HTTP_NEED_MORE && osh_http_body_is_over(&body),
					  "%s by %zu", chunked[i].name, piece);
				cr_expect(osh_str_eq_c(osh_buf_str(&out), chunked[i].payload),
					  "%s by %zu: %.*s", chunked[i].name, piece, (int)out.len,
					  osh_buf_bytes(&out));
				/* Not a byte of what follows is touched. */
				cr_expect(used == len - chunked[i].rest, "%s by %zu", chunked[i].name, piece);
			}
			osh_http_body_done(&body);
			osh_buf_done(&out);
		}
	}
}

Test(http_body, length)
{
	struct osh_http_body body;
	struct osh_buf out;
	size_t used;

	osh_http_body_init(&body, OSH_HTTP_BODY_LENGTH, 7);
	osh_buf_init(&out, 64);
	cr_expect(!osh_http_body_is_over(&body));
	(void)feed(&body, "payloadGET", 10, 3, &out, &used);
	cr_expect(osh_http_body_is_over(&body));
	cr_expect(osh_str_eq_c(osh_buf_str(&out), "payload"));
	cr_expect(used == 7);
	osh_buf_done(&out);
}

Test(http_body, none_and_until_close)
{
	struct osh_http_body body;
	struct osh_buf out;
	size_t used;

	osh_http_body_init(&body, OSH_HTTP_BODY_NONE, 0);
	cr_expect(osh_http_body_is_over(&body));
	osh_buf_init(&out, 64);
	osh_http_body_init(&body, OSH_HTTP_BODY_UNTIL_CLOSE, 0);
	(void)feed(&body, "everything", 10, 4, &out, &used);
	cr_expect(used == 10 && !osh_http_body_is_over(&body));
	osh_buf_done(&out);
}

static enum osh_http_result feed_filler(const char *before, size_t count, const char *after)
{
	size_t head = strlen(before), tail = strlen(after);
	char *text = malloc(head + count + tail + 1);
	struct osh_http_body body;
	enum osh_http_result got;
	struct osh_buf out;
	size_t used;

	memcpy(text, before, head);
	memset(text + head, 'a', count);
	memcpy(text + head + count, after, tail + 1);
	osh_http_body_init(&body, OSH_HTTP_BODY_CHUNKED, 0);
	osh_buf_init(&out, 4096);
	got = feed(&body, text, head + count + tail, 4096, &out, &used);
	osh_http_body_done(&body);
	osh_buf_done(&out);
	free(text);
	return got;
}

Test(http_body, bounds)
{
	cr_expect(feed_filler("5;", 200, "\r\nhello\r\n0\r\n\r\n") == OSH_HTTP_NEED_MORE);
	cr_expect(feed_filler("5;", 1 << 20, "\r\nhello\r\n0\r\n\r\n") == OSH_HTTP_BAD);
	cr_expect(feed_filler("0\r\nX: ", 4000, "\r\n\r\n") == OSH_HTTP_NEED_MORE);
	cr_expect(feed_filler("0\r\nX: ", 9000, "\r\n\r\n") == OSH_HTTP_BAD);
}

/* Many small trailers are bounded like one large. */
Test(http_body, trailer_flood)
{
	struct osh_http_body body;
	enum osh_http_result got = OSH_HTTP_DONE;
	size_t lines = 0;

	osh_http_body_init(&body, OSH_HTTP_BODY_CHUNKED, 0);
	body.state = OSH_HTTP_CHUNK_TRAILERS;
	while (got == OSH_HTTP_DONE && lines < 100000) {
		const char *reason;
		struct osh_str data;
		size_t used;

		got = osh_http_body_take(&body, osh_str("a: b\r\n"), 100, &used, &data, &reason);
		lines++;
	}
	cr_expect(got == OSH_HTTP_BAD && lines <= OSH_HTTP_TRAILERS_MAX / 6 + 1);
	osh_http_body_done(&body);
}
