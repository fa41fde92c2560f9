/* Heads of HTTP/2 as HTTP/1.1 text: what the strict parser makes of each. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/http2_message.h"

#define FIELDS_MAX 12

struct request_case {
	const char *name;
	const char *fields[FIELDS_MAX][2];
	bool ended;
	unsigned status;  /* the parser refuses with it; 0: it is read */
	const char *text; /* part of what is written */
};

#define BASE { ":method", "GET" }, { ":scheme", "https" }

static const struct request_case cases[] = {
	{ "plain", { BASE, { ":authority", "ok.test" }, { ":path", "/a" }, { "x", "1" } }, true, 0,
	  "GET /a HTTP/1.1\r\nHost: ok.test\r\nx: 1\r\nConnection: close\r\n\r\n" },
	{ "host alone", { BASE, { ":path", "/a" }, { "host", "ok.test" } }, true, 0,
	  "GET /a HTTP/1.1\r\nhost: ok.test\r\n" },
	{ "host repeated", { BASE, { ":authority", "ok.test" }, { ":path", "/a" }, { "host", "OK.test" } }, true, 0,
	  "Host: ok.test\r\nConnection" },
	{ "two hosts", { BASE, { ":authority", "ok.test" }, { ":path", "/a" }, { "host", "no.test" } }, true, 400, NULL },
	{ "no host", { BASE, { ":path", "/a" } }, true, 400, NULL },
	{ "crumbs", { BASE, { ":authority", "ok.test" }, { ":path", "/a" }, { "cookie", "a=1" }, { "cookie", "b=2" } },
	  true, 0, "cookie: a=1; b=2\r\n" },
	{ "length", { BASE, { ":authority", "ok.test" }, { ":path", "/a" }, { "content-length", "5" } }, false, 0,
	  "Content-Length: 5\r\n" },
	{ "no length", { BASE, { ":authority", "ok.test" }, { ":path", "/a" } }, false, 0,
	  "Transfer-Encoding: chunked\r\n" },
	{ "length that is none", { BASE, { ":authority", "ok.test" }, { ":path", "/a" }, { "content-length", "-1" } },
	  false, 400, NULL },
	{ "other scheme", { { ":method", "GET" }, { ":scheme", "http" }, { ":authority", "ok.test" }, { ":path", "/a" } },
	  true, 0, "GET http://ok.test/a HTTP/1.1\r\n" },
	{ "websocket", { { ":method", "CONNECT" }, { ":scheme", "https" }, { ":authority", "ok.test" },
			 { ":path", "/a" }, { ":protocol", "websocket" }, { "sec-websocket-key", "theirs" } },
	  false, 0, "Upgrade: websocket\r\nSec-WebSocket-Key: ours\r\n" },
	{ "connect", { { ":method", "CONNECT" }, { ":authority", "ok.test:443" } }, false, 0,
	  "CONNECT ok.test:443 HTTP/1.1\r\n" },
	{ "connect-udp", { { ":method", "CONNECT" }, { ":scheme", "https" }, { ":authority", "ok.test:443" },
			   { ":path", "/udp/" }, { ":protocol", "connect-udp" } },
	  false, 0, "CONNECT ok.test:443 HTTP/1.1\r\n" },
	/* nghttp2 lets none of these through; if it did, the parser would not. */
	{ "line break in a value", { BASE, { ":authority", "ok.test" }, { ":path", "/a" }, { "x", "1\rHost: no.test" } },
	  true, 400, NULL },
	{ "space in a path", { BASE, { ":authority", "ok.test" }, { ":path", "/a HTTP/1.1" } }, true, 400, NULL },
	{ "colon in a name", { BASE, { ":authority", "ok.test" }, { ":path", "/a" }, { "x y", "1" } }, true, 400, NULL },
	{ "transfer-encoding", { BASE, { ":authority", "ok.test" }, { ":path", "/a" }, { "transfer-encoding", "chunked" } },
	  false, 400, NULL },
};

Test(http2_message, requests)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct request_case *c = &cases[i];
		struct osh_http2_block block;
		struct osh_http_scan scan = { 0 };
		struct osh_http_head head;
		struct osh_http_error error = { 0 };
		enum osh_http_framing framing;
		enum osh_http_result result;
		struct osh_buf out;

		osh_http2_block_init(&block, OSH_HTTP_REQUEST_HEAD_MAX);
		osh_buf_init(&out, 64 << 10);
		for (size_t f = 0; f < FIELDS_MAX && c->fields[f][0]; f++)
			cr_assert(osh_http2_block_add(&block, osh_str(c->fields[f][0]), osh_str(c->fields[f][1])) == 0);
		cr_assert(osh_http2_write_request(&out, &block, c->ended, "ours", &framing) == 0, "%s", c->name);
		result = osh_http_parse_request(osh_buf_str(&out), &scan, &head, &error);
		cr_expect(result == (c->status ? OSH_HTTP_BAD : OSH_HTTP_DONE), "%s: %s", c->name,
			  error.reason ? error.reason : "read");
		cr_expect(error.status == c->status, "%s: %u", c->name, error.status);
		cr_assert(osh_buf_append(&out, "", 1) == 0);
		cr_expect(!c->text || strstr(osh_buf_bytes(&out), c->text), "%s: %s", c->name, osh_buf_bytes(&out));
		osh_buf_done(&out);
		osh_http2_block_done(&block);
	}
}

Test(http2_message, too_large_is_said)
{
	struct osh_http2_block block;
	enum osh_http_framing framing;
	struct osh_buf out;

	osh_http2_block_init(&block, 100);
	osh_buf_init(&out, 1000);
	cr_assert(osh_http2_block_add(&block, osh_str(":method"), osh_str("GET")) == 0);
	for (int i = 0; i < 20; i++)
		cr_assert(osh_http2_block_add(&block, osh_str("name"), osh_str("value")) == 0);
	cr_expect(block.lines.len <= 100);
	cr_expect(osh_http2_write_request(&out, &block, true, "", &framing) == -EMSGSIZE);
	osh_http2_block_clear(&block);
	cr_expect(!block.too_large);
	osh_http2_block_done(&block);
	osh_buf_done(&out);
}

Test(http2_message, responses)
{
	static const struct { const char *status, *length; bool ended, to_head; const char *text; } table[] = {
		{ "200", NULL, false, false, "Transfer-Encoding: chunked" },
		{ "200", "7", false, false, "Content-Length: 7" },
		{ "200", NULL, true, false, "Content-Length: 0" },
		{ "200", "7", true, true, "Content-Length: 7" },
		{ "204", NULL, true, false, "204 \r\n\r\n" },
		{ "103", NULL, false, false, "103 \r\n\r\n" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct osh_http2_block block;
		enum osh_http_framing framing;
		struct osh_buf out;

		osh_http2_block_init(&block, 1000);
		osh_buf_init(&out, 1000);
		cr_assert(osh_http2_block_add(&block, osh_str(":status"), osh_str(table[i].status)) == 0);
		if (table[i].length)
			cr_assert(osh_http2_block_add(&block, osh_str("content-length"), osh_str(table[i].length)) == 0);
		cr_assert(osh_http2_write_response(&out, &block, table[i].ended, table[i].to_head, &framing) == 0);
		cr_assert(osh_buf_append(&out, "", 1) == 0);
		cr_expect(strstr(osh_buf_bytes(&out), table[i].text), "%zu: %s", i, osh_buf_bytes(&out));
		osh_buf_done(&out);
		osh_http2_block_done(&block);
	}
}

Test(http2_message, a_secret_enters_no_table)
{
	static const char text[] = "GET /a HTTP/1.1\r\nHost: ok.test\r\nAuthorization: Bearer s\r\n\r\n";
	struct osh_http_scan scan = { 0 };
	struct osh_http_head head;
	struct osh_http_error error;
	struct osh_http2_fields fields;

	cr_assert(osh_http_parse_request(osh_str(text), &scan, &head, &error) == OSH_HTTP_DONE);
	osh_http2_request_fields(&head, true, &fields);
	for (size_t i = 0; i < fields.count; i++) {
		bool is_it = fields.items[i].namelen == 13 && memcmp(fields.items[i].name, "Authorization", 13) == 0;

		cr_expect(!is_it || fields.items[i].flags & NGHTTP2_NV_FLAG_NO_INDEX);
	}
	osh_http2_request_fields(&head, false, &fields);
	for (size_t i = 0; i < fields.count; i++)
		cr_expect(!(fields.items[i].flags & NGHTTP2_NV_FLAG_NO_INDEX));
}
