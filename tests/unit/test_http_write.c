/* Messages written anew: what goes out is what was judged, framed once. */
#include "proxy/http_write.h"

#include <criterion/criterion.h>
#include <string.h>

static void parse(const char *text, struct osh_http_head *head)
{
	struct osh_http_scan scan = { 0 };
	struct osh_http_error error;

	cr_assert(osh_http_parse_request(osh_str(text), &scan, head, &error) == OSH_HTTP_DONE);
}

static void parse_response(const char *text, bool to_head, struct osh_http_head *head)
{
	struct osh_http_scan scan = { 0 };
	struct osh_http_error error;

	cr_assert(osh_http_parse_response(osh_str(text), to_head, &scan, head, &error) == OSH_HTTP_DONE);
}

static void expect_text(struct osh_buf *buf, const char *want)
{
	cr_expect(osh_str_eq_c(osh_buf_str(buf), want), "got:\n%.*s\nwant:\n%s", (int)buf->len,
		  osh_buf_bytes(buf), want);
	osh_buf_clear(buf);
}

Test(http_write, request)
{
	struct osh_http_request_out how = {
		.path = osh_str("/b"),
		.query = osh_str("q=%2F"),
		.has_query = true,
		.host = osh_str("ok.test"),
	};
	struct osh_http_head head;
	struct osh_buf out;

	osh_buf_init(&out, 4096);
	parse("POST http://ok.test/a/../b?q=%2F HTTP/1.1\r\nHost: OK.TEST:443\r\nAccept: a\r\n"
	      "Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nX-Forwarded-For: 1.2.3.4\r\n"
	      "AUTHORIZATION: Bearer placeholder\r\nContent-Length: 5\r\nUpgrade: TLS/1.0\r\n\r\n",
	      &head);
	cr_assert(osh_http_write_request(&out, &head, &how) == 0);
	expect_text(&out, "POST /b?q=%2F HTTP/1.1\r\nHost: ok.test\r\nAccept: a\r\n"
			  "AUTHORIZATION: Bearer placeholder\r\nContent-Length: 5\r\n\r\n");
	/* The length may become known later. */
	how.has_query = false;
	how.length_later = true;
	cr_assert(osh_http_write_request(&out, &head, &how) == 0);
	cr_assert(osh_http_write_request_end(&out, OSH_HTTP_BODY_LENGTH, 17) == 0);
	expect_text(&out, "POST /b HTTP/1.1\r\nHost: ok.test\r\nAccept: a\r\n"
			  "AUTHORIZATION: Bearer placeholder\r\nContent-Length: 17\r\n\r\n");
	how.length_later = false;
	parse("GET / HTTP/1.1\r\nHost: ok.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", &head);
	how.websocket = true;
	cr_assert(osh_http_write_request(&out, &head, &how) == 0);
	expect_text(&out, "GET /b HTTP/1.1\r\nHost: ok.test\r\nConnection: Upgrade\r\n"
			  "Upgrade: websocket\r\n\r\n");
	osh_buf_done(&out);
}

Test(http_write, response)
{
	struct osh_http_response_out how = { .client_minor = 1 };
	struct osh_http_head head;
	struct osh_buf out;

	osh_buf_init(&out, 4096);
	parse_response("HTTP/1.1 200 Fine\r\nA: b\r\nAlt-Svc: h3=\":443\"\r\nConnection: close\r\n\r\n",
		       false, &head);
	how.framing = OSH_HTTP_BODY_CHUNKED;
	cr_assert(osh_http_write_response(&out, &head, &how) == 0);
	expect_text(&out, "HTTP/1.1 200 Fine\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n");
	how = (struct osh_http_response_out){ .framing = OSH_HTTP_BODY_UNTIL_CLOSE, .close = true };
	cr_assert(osh_http_write_response(&out, &head, &how) == 0);
	expect_text(&out, "HTTP/1.1 200 Fine\r\nA: b\r\nConnection: close\r\n\r\n");
	/* The length of what HEAD does not send is passed on. */
	parse_response("HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n", true, &head);
	how = (struct osh_http_response_out){ .framing = OSH_HTTP_BODY_NONE };
	cr_assert(osh_http_write_response(&out, &head, &how) == 0);
	expect_text(&out, "HTTP/1.1 200 OK\r\nContent-Length: 42\r\nConnection: keep-alive\r\n\r\n");
	osh_buf_done(&out);
}

Test(http_write, body)
{
	struct osh_buf out;

	osh_buf_init(&out, 4096);
	cr_assert(osh_http_write_data(&out, OSH_HTTP_BODY_LENGTH, osh_str("raw")) == 0);
	cr_assert(osh_http_write_data(&out, OSH_HTTP_BODY_CHUNKED, osh_str("")) == 0);
	cr_assert(osh_http_write_data(&out, OSH_HTTP_BODY_CHUNKED, osh_str("seventeen bytes!!")) == 0);
	cr_assert(osh_http_write_end(&out, OSH_HTTP_BODY_LENGTH, osh_str("")) == 0);
	cr_assert(osh_http_write_end(&out, OSH_HTTP_BODY_CHUNKED,
				     osh_str("Host: no.test\r\nGrpc-Status: 0\r\n")) == 0);
	expect_text(&out, "raw11\r\nseventeen bytes!!\r\n0\r\nGrpc-Status: 0\r\n\r\n");
	osh_buf_done(&out);
}

/* A buffer that is too small is told, not overrun. */
Test(http_write, no_room)
{
	struct osh_http_response_out how = { .client_minor = 1 };
	struct osh_http_head head;
	struct osh_buf out;

	osh_buf_init(&out, 30);
	parse_response("HTTP/1.1 200 OK\r\nLong-Field: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n", false, &head);
	cr_expect(osh_http_write_response(&out, &head, &how) < 0);
	osh_buf_done(&out);
}
