/* HTTP/1.1 heads (RFC 9112): the ambiguous ones are refused, the ordinary ones read. Each
 * refusal stands beside a twin that differs in one thing and is accepted. */
#include "proxy/http_head.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static enum osh_http_result parse(struct osh_str bytes, struct osh_http_head *head,
				  struct osh_http_error *error)
{
	struct osh_http_scan scan = { 0 };

	return osh_http_parse_request(bytes, &scan, head, error);
}

struct request_case {
	const char *name;
	const char *text;
	size_t len; /* 0: strlen */
	unsigned status; /* 0: accepted */
};

#define H "Host: ok.test\r\n"
#define RAW(text) (text), sizeof(text) - 1

static const struct request_case requests[] = {
	/* request line */
	{ "plain", "GET / HTTP/1.1\r\n" H "\r\n", 0, 0 },
	{ "HTTP/1.0 with Host", "GET / HTTP/1.0\r\n" H "\r\n", 0, 0 },
	{ "custom method", "PROPFIND /x HTTP/1.1\r\n" H "\r\n", 0, 0 },
	{ "OPTIONS *", "OPTIONS * HTTP/1.1\r\n" H "\r\n", 0, 0 },
	{ "absolute form", "GET http://ok.test/x HTTP/1.1\r\n" H "\r\n", 0, 0 },
	{ "lower-case method", "get / HTTP/1.1\r\n" H "\r\n", 0, 400 },
	{ "mixed-case method", "GeT / HTTP/1.1\r\n" H "\r\n", 0, 400 },
	{ "tab after method", "GET\t/ HTTP/1.1\r\n" H "\r\n", 0, 400 },
	{ "two spaces", "GET  / HTTP/1.1\r\n" H "\r\n", 0, 400 },
	{ "space behind version", "GET / HTTP/1.1 \r\n" H "\r\n", 0, 400 },
	{ "space before method", " GET / HTTP/1.1\r\n" H "\r\n", 0, 400 },
	{ "HTTP/0.9", "GET /\r\n", 0, 400 },
	{ "HTTP/1.2", "GET / HTTP/1.2\r\n" H "\r\n", 0, 505 },
	{ "HTTP/2.0 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 505 },
	{ "http/1.1", "GET / http/1.1\r\n" H "\r\n", 0, 400 },
	{ "HTTP/1.10", "GET / HTTP/1.10\r\n" H "\r\n", 0, 400 },
	{ "HTTP/1,1", "GET / HTTP/1,1\r\n" H "\r\n", 0, 400 },
	{ "empty target", "GET HTTP/1.1\r\n" H "\r\n", 0, 400 },
	{ "8-bit target", "GET /caf\xc3\xa9 HTTP/1.1\r\n" H "\r\n", 0, 400 },
	{ "encoded target", "GET /caf%C3%A9 HTTP/1.1\r\n" H "\r\n", 0, 0 },
	{ "tab in target", "GET /a\tb HTTP/1.1\r\n" H "\r\n", 0, 400 },
	{ "NUL in target", RAW("GET /a\0b HTTP/1.1\r\n" H "\r\n"), 400 },
	{ "CR in request line", "GET /\r HTTP/1.1\r\n" H "\r\n", 0, 400 },
	{ "bare LF in request line", "GET / HTTP/1.1\n" H "\r\n", 0, 400 },
	{ "SSH banner", "SSH-2.0-OpenSSH_9.2\r\n", 0, 400 },
	{ "binary", RAW("\x00\x01\x02"), 400 },
	/* Host */
	{ "no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n", 0, 400 },
	{ "two Hosts, equal", "GET / HTTP/1.1\r\n" H H "\r\n", 0, 400 },
	{ "two Hosts", "GET / HTTP/1.1\r\n" H "host: no.test\r\n\r\n", 0, 400 },
	{ "blank before colon", "GET / HTTP/1.1\r\nHost : ok.test\r\n\r\n", 0, 400 },
	/* fields */
	{ "folded", "GET / HTTP/1.1\r\n" H "A: b\r\n c\r\n\r\n", 0, 400 },
	{ "folded first", "GET / HTTP/1.1\r\n A: b\r\n" H "\r\n", 0, 400 },
	{ "bare LF in fields", "GET / HTTP/1.1\r\n" H "A: b\nC: d\r\n\r\n", 0, 400 },
	{ "bare CR in value", "GET / HTTP/1.1\r\n" H "A: b\rC: d\r\n\r\n", 0, 400 },
	{ "CR before CRLF", "GET / HTTP/1.1\r\n" H "A: b\r\r\n\r\n", 0, 400 },
	{ "bare LF at the end", "GET / HTTP/1.1\r\n" H "\n", 0, 400 },
	{ "NUL in value", RAW("GET / HTTP/1.1\r\n" H "A: b\0c\r\n\r\n"), 400 },
	{ "ESC in value", "GET / HTTP/1.1\r\n" H "A: \x1b[2J\r\n\r\n", 0, 400 },
	{ "DEL in value", "GET / HTTP/1.1\r\n" H "A: \x7f\r\n\r\n", 0, 400 },
	{ "tab in value", "GET / HTTP/1.1\r\n" H "A: b\tc\r\n\r\n", 0, 0 },
	{ "UTF-8 value", "GET / HTTP/1.1\r\n" H "A: caf\xc3\xa9\r\n\r\n", 0, 0 },
	{ "invalid UTF-8 value", "GET / HTTP/1.1\r\n" H "A: caf\xe9\r\n\r\n", 0, 400 },
	{ "overlong UTF-8 value", "GET / HTTP/1.1\r\n" H "A: \xc0\xaf\r\n\r\n", 0, 400 },
	{ "space in name", "GET / HTTP/1.1\r\n" H "A b: c\r\n\r\n", 0, 400 },
	{ "no colon", "GET / HTTP/1.1\r\n" H "Ab\r\n\r\n", 0, 400 },
	{ "empty name", "GET / HTTP/1.1\r\n" H ": b\r\n\r\n", 0, 400 },
	{ "empty value", "GET / HTTP/1.1\r\n" H "A:\r\n\r\n", 0, 0 },
	{ "two Authorizations", "GET / HTTP/1.1\r\n" H "Authorization: a\r\nAuthorization: b\r\n\r\n",
	  0, 400 },
	{ "one Authorization", "GET / HTTP/1.1\r\n" H "Authorization: a\r\n\r\n", 0, 0 },
	{ "Connection: host", "GET / HTTP/1.1\r\n" H "Connection: close, Host\r\n\r\n", 0, 400 },
	{ "Connection: content-length", "GET / HTTP/1.1\r\n" H "Connection: content-length\r\n\r\n", 0, 400 },
	{ "Connection: x-a", "GET / HTTP/1.1\r\n" H "Connection: x-a\r\n\r\n", 0, 0 },
	{ "Expect: 100-continue", "PUT / HTTP/1.1\r\n" H "Expect: 100-Continue\r\n\r\n", 0, 0 },
	{ "other Expect", "PUT / HTTP/1.1\r\n" H "Expect: 200-ok\r\n\r\n", 0, 417 },
	/* framing */
	{ "length", "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n", 0, 0 },
	{ "chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n", 0, 0 },
	{ "length and chunked", "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
	  0, 400 },
	{ "two lengths, equal", "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
	  0, 400 },
	{ "length list", "POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n", 0, 400 },
	{ "length +5", "POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n", 0, 400 },
	{ "length -1", "POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n", 0, 400 },
	{ "length 0x5", "POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\n", 0, 400 },
	{ "length 2^64", "POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551616\r\n\r\n", 0, 400 },
	{ "length empty", "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 0, 400 },
	{ "length, blanks around", "POST / HTTP/1.1\r\n" H "Content-Length: \t5 \r\n\r\n", 0, 0 },
	{ "length, tab behind", "POST / HTTP/1.1\r\n" H "Content-Length: 5 \t\r\n\r\n", 0, 400 },
	{ "chunked, tab behind", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\t\r\n\r\n", 0, 400 },
	{ "identity", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", 0, 400 },
	{ "xchunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", 0, 400 },
	{ "gzip, chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 0, 400 },
	{ "chunked with parameter", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked;q=1\r\n\r\n", 0, 400 },
	{ "chunked twice", "POST / HTTP/1.1\r\n" H
	  "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 400 },
	{ "chunked on 1.0", "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 0, 400 },
	{ "VT before chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\x0b" "chunked\r\n\r\n", 0, 400 },
	{ "VT before colon", "POST / HTTP/1.1\r\n" H "Transfer-Encoding\x0b: chunked\r\n\r\n", 0, 400 },
};

/* C11 to C17 */
Test(http_head, requests)
{
	for (size_t i = 0; i < COUNT(requests); i++) {
		const struct request_case *c = &requests[i];
		struct osh_http_head head;
		struct osh_http_error error = { 0 };
		enum osh_http_result got;

		got = parse(osh_str_n(c->text, c->len ? c->len : strlen(c->text)), &head, &error);
		cr_expect(got == (c->status ? OSH_HTTP_BAD : OSH_HTTP_DONE), "%s: %d", c->name, got);
		if (got == OSH_HTTP_BAD)
			cr_expect(error.status == c->status && error.reason, "%s: status %u", c->name,
				  error.status);
	}
}

/* However the bytes are cut, the answer is the same, and no prefix of a good head is one. */
Test(http_head, piece_by_piece)
{
	for (size_t i = 0; i < COUNT(requests); i++) {
		const struct request_case *c = &requests[i];
		size_t len = c->len ? c->len : strlen(c->text);
		struct osh_http_scan scan = { 0 };
		struct osh_http_head head;
		struct osh_http_error error;
		enum osh_http_result got = OSH_HTTP_NEED_MORE;
		size_t at;

		for (at = 1; at <= len && got == OSH_HTTP_NEED_MORE; at++) {
			/* The buffer may move between two calls. */
			char *copy = malloc(at);

			memcpy(copy, c->text, at);
			got = osh_http_parse_request(osh_str_n(copy, at), &scan, &head, &error);
			free(copy);
		}
		cr_expect(got == (c->status ? OSH_HTTP_BAD : OSH_HTTP_DONE), "%s: %d", c->name, got);
		if (!c->status)
			cr_expect(at == len + 1, "%s: done after %zu of %zu", c->name, at - 1, len);
	}
}

Test(http_head, what_is_read)
{
	static const char text[] = "POST /a?b=c HTTP/1.1\r\nhost:  ok.test:443 \r\nX-Empty:\r\n"
				   "Content-Length: 12\r\nConnection: close\r\nExpect: 100-continue\r\n"
				   "\r\nbody";
	struct osh_http_head head;
	struct osh_http_error error;

	cr_assert(parse(osh_str(text), &head, &error) == OSH_HTTP_DONE);
	cr_expect(osh_str_eq_c(head.method, "POST"));
	cr_expect(osh_str_eq_c(head.target, "/a?b=c"));
	cr_expect(osh_str_eq_c(head.host, "ok.test:443"));
	cr_expect(head.minor == 1 && head.field_count == 5 && head.len == sizeof(text) - 5);
	cr_expect(head.framing == OSH_HTTP_BODY_LENGTH && head.length == 12);
	cr_expect(head.close && head.expect_continue);
	cr_expect(osh_http_find(&head, OSH_HTTP_CONTENT_LENGTH) && !osh_http_find(&head, OSH_HTTP_UPGRADE));
}

Test(http_head, keep_alive)
{
	static const struct {
		const char *text;
		bool close;
	} table[] = {
		{ "GET / HTTP/1.1\r\n" H "\r\n", false },
		{ "GET / HTTP/1.1\r\n" H "Connection: x, Close\r\n\r\n", true },
		{ "GET / HTTP/1.1\r\n" H "Proxy-Connection: close\r\n\r\n", true },
		{ "GET / HTTP/1.0\r\n" H "\r\n", true },
		{ "GET / HTTP/1.0\r\n" H "Connection: Keep-Alive\r\n\r\n", false },
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		struct osh_http_head head;
		struct osh_http_error error;

		cr_assert(parse(osh_str(table[i].text), &head, &error) == OSH_HTTP_DONE);
		cr_expect(head.close == table[i].close, "%s", table[i].text);
	}
}

/* ---- Bounds ----------------------------------------------------------------------------- */

static char *with_filler(const char *before, char filler, size_t count, const char *after)
{
	char *text = malloc(strlen(before) + count + strlen(after) + 1);
	size_t at = strlen(before);

	memcpy(text, before, at);
	memset(text + at, filler, count);
	strcpy(text + at + count, after);
	return text;
}

Test(http_head, bounds)
{
	static const struct {
		const char *name, *before, *after;
		size_t count;
		unsigned status;
	} table[] = {
		{ "target of 16 KiB", "GET /", " HTTP/1.1\r\n" H "\r\n", OSH_HTTP_TARGET_MAX - 1, 0 },
		{ "target over 16 KiB", "GET /", " HTTP/1.1\r\n" H "\r\n", OSH_HTTP_TARGET_MAX, 414 },
		{ "endless request line", "GET /", "", 64 << 10, 414 },
		{ "cookie of 15 KiB", "GET / HTTP/1.1\r\n" H "Cookie: ", "\r\n\r\n", 15 << 10, 0 },
		{ "cookie of 40 KiB", "GET / HTTP/1.1\r\n" H "Cookie: ", "\r\n\r\n", 40 << 10, 431 },
		{ "method of 64", "", " / HTTP/1.1\r\n" H "\r\n", 64, 0 },
		{ "method of 65", "", " / HTTP/1.1\r\n" H "\r\n", 65, 400 },
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		char *text = with_filler(table[i].before, 'a', table[i].count, table[i].after);
		struct osh_http_head head;
		struct osh_http_error error = { 0 };
		enum osh_http_result got = parse(osh_str(text), &head, &error);

		cr_expect(got == (table[i].status ? OSH_HTTP_BAD : OSH_HTTP_DONE) &&
				  error.status == table[i].status,
			  "%s: %d, status %u", table[i].name, got, error.status);
		free(text);
	}
}

Test(http_head, number_of_headers)
{
	for (size_t count = OSH_HTTP_FIELDS_MAX - 1; count <= OSH_HTTP_FIELDS_MAX; count++) {
		char text[4096] = "GET / HTTP/1.1\r\n" H;
		struct osh_http_head head;
		struct osh_http_error error = { 0 };
		enum osh_http_result got;

		for (size_t i = 0; i < count; i++)
			strcat(text, "A: b\r\n");
		strcat(text, "\r\n");
		got = parse(osh_str(text), &head, &error);
		/* With Host there is one more. */
		if (count < OSH_HTTP_FIELDS_MAX)
			cr_expect(got == OSH_HTTP_DONE);
		else
			cr_expect(got == OSH_HTTP_BAD && error.status == 431);
	}
}

/* ---- Responses ------------------------------------------------------------------------------ */

static const struct {
	const char *name, *text;
	bool to_head;
	enum osh_http_result want;
	enum osh_http_framing framing;
	uint64_t length;
} responses[] = {
	{ "length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, OSH_HTTP_DONE,
	  OSH_HTTP_BODY_LENGTH, 3 },
	{ "chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, OSH_HTTP_DONE,
	  OSH_HTTP_BODY_CHUNKED, 0 },
	{ "neither", "HTTP/1.1 200 OK\r\n\r\n", false, OSH_HTTP_DONE, OSH_HTTP_BODY_UNTIL_CLOSE, 0 },
	{ "no phrase", "HTTP/1.1 200\r\n\r\n", false, OSH_HTTP_DONE, OSH_HTTP_BODY_UNTIL_CLOSE, 0 },
	{ "empty phrase", "HTTP/1.1 200 \r\n\r\n", false, OSH_HTTP_DONE, OSH_HTTP_BODY_UNTIL_CLOSE, 0 },
	{ "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, OSH_HTTP_DONE, OSH_HTTP_BODY_NONE, 3 },
	{ "304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", false, OSH_HTTP_DONE,
	  OSH_HTTP_BODY_NONE, 3 },
	{ "204", "HTTP/1.1 204 No Content\r\n\r\n", false, OSH_HTTP_DONE, OSH_HTTP_BODY_NONE, 0 },
	{ "204 with body", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", false, OSH_HTTP_BAD, 0, 0 },
	{ "204 chunked", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false,
	  OSH_HTTP_BAD, 0, 0 },
	{ "100", "HTTP/1.1 100 Continue\r\n\r\n", false, OSH_HTTP_DONE, OSH_HTTP_BODY_NONE, 0 },
	{ "103 of HTTP/1.0", "HTTP/1.0 103 Early Hints\r\n\r\n", false, OSH_HTTP_BAD, 0, 0 },
	{ "103 that closes", "HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n", false, OSH_HTTP_BAD, 0, 0 },
	{ "length and chunked", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
	  false, OSH_HTTP_BAD, 0, 0 },
	{ "two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", false,
	  OSH_HTTP_BAD, 0, 0 },
	{ "gzip coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", false, OSH_HTTP_BAD, 0, 0 },
	{ "Latin-1 value", "HTTP/1.1 200 OK\r\nA: caf\xe9\r\n\r\n", false, OSH_HTTP_DONE,
	  OSH_HTTP_BODY_UNTIL_CLOSE, 0 },
	{ "folded", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", false, OSH_HTTP_BAD, 0, 0 },
	{ "bare LF", "HTTP/1.1 200 OK\nA: b\n\n", false, OSH_HTTP_BAD, 0, 0 },
	{ "two digits", "HTTP/1.1 20 OK\r\n\r\n", false, OSH_HTTP_BAD, 0, 0 },
	{ "ESC in the phrase", "HTTP/1.1 200 \x1b[2J\r\n\r\n", false, OSH_HTTP_BAD, 0, 0 },
	{ "tab and Latin-1 in the phrase", "HTTP/1.1 200 a\tb\xe9\r\n\r\n", false, OSH_HTTP_DONE,
	  OSH_HTTP_BODY_UNTIL_CLOSE, 0 },
	{ "status 999", "HTTP/1.1 999 What\r\n\r\n", false, OSH_HTTP_BAD, 0, 0 },
	{ "HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", false, OSH_HTTP_BAD, 0, 0 },
	{ "ICY", "ICY 200 OK\r\n\r\n", false, OSH_HTTP_BAD, 0, 0 },
};

Test(http_head, responses)
{
	for (size_t i = 0; i < COUNT(responses); i++) {
		struct osh_http_scan scan = { 0 };
		struct osh_http_head head;
		struct osh_http_error error = { 0 };
		enum osh_http_result got = osh_http_parse_response(
			osh_str(responses[i].text), responses[i].to_head, &scan, &head, &error);

		cr_expect(got == responses[i].want, "%s: %d", responses[i].name, got);
		if (got == OSH_HTTP_DONE)
			cr_expect(head.framing == responses[i].framing && head.length == responses[i].length,
				  "%s: framing %d, length %lu", responses[i].name, head.framing,
				  (unsigned long)head.length);
		if (got == OSH_HTTP_BAD)
			cr_expect(error.status == 502, "%s: %u", responses[i].name, error.status);
	}
}

/* What credentials made longer is not refused when it is read again for HTTP/2. */
Test(http_head, own_requests_may_be_longer)
{
	static char text[OSH_HTTP_OWN_HEAD_MAX + 100];
	struct osh_http_head head;
	struct osh_http_error error;

	for (int is_own = 0; is_own <= 1; is_own++) {
		struct osh_http_scan scan = { .is_own = is_own };

		snprintf(text, sizeof(text), "GET /%020000d HTTP/1.1\r\n" H "X: %020000d\r\n\r\n", 1, 2);
		cr_expect(osh_http_parse_request(osh_str(text), &scan, &head, &error) ==
			  (is_own ? OSH_HTTP_DONE : OSH_HTTP_BAD));
	}
	memset(text, 'x', sizeof(text));
	memcpy(text, "GET / HTTP/1.1\r\n", 16);
	cr_expect(osh_http_parse_request(osh_str_n(text, sizeof(text)), &(struct osh_http_scan){ .is_own = true },
					 &head, &error) == OSH_HTTP_BAD);
}

/* ---- Trailers --------------------------------------------------------------------------------- */

Test(http_head, trailers)
{
	struct osh_http_field field;
	size_t count;

	cr_expect(osh_http_parse_trailers(osh_str("A: b\r\n"), &field, 1, &count) == 0 && count == 1);
	cr_expect(osh_http_parse_trailers(osh_str("A : b\r\n"), &field, 1, &count) < 0);
	cr_expect(osh_http_parse_trailers(osh_str("A: b\n"), &field, 1, &count) < 0);
	cr_expect(osh_http_parse_trailers(osh_str("A: b\r\nC: d\r\n"), &field, 1, &count) < 0);
}
