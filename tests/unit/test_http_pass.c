/* Which fields go on to the other side: each refusal beside fields that pass. */
#include "proxy/http_pass.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

Test(http_pass, fields)
{
	static const struct {
		const char *field;
		bool passes;
	} table[] = {
		{ "X-Request-Id: 1", true },	     { "Accept: */*", true },
		{ "Authorization: x", true },	     { "Cookie: a=b", true },
		{ "Sec-WebSocket-Key: x", true },    { "X-HTTP-Method-Override: DELETE", false },
		{ "X-HTTP-Method: DELETE", false },  { "X-Method-Override: DELETE", false },
		{ "X_HTTP_Method_Override: DELETE", false },
		{ "X-Original-URL: /admin", false }, { "X-Rewrite-URL: /admin", false },
		{ "X-Forwarded-For: 10.0.0.1", false }, { "x-forwarded-host: no.test", false },
		{ "X_Forwarded_Host: no.test", false }, { "X-Forwarder: a", true },
		{ "Forwarded: for=10.0.0.1", false }, { "Proxy-Authorization: x", false },
		{ "Keep-Alive: 5", false },	     { "TE: trailers", false },
		{ "Content_Length: 5", false },	     { "Transfer_Encoding: chunked", false },
		{ "X-Named: 1", false },	     { "Trailer: x", false },
		{ "HTTP2-Settings: AAMA", false },   { "Proxy-Connection: keep-alive", false },
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		char text[256];
		struct osh_http_scan scan = { 0 };
		struct osh_http_head head;
		struct osh_http_error error;

		snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: ok.test\r\nConnection: x-named\r\n%s\r\n\r\n",
			 table[i].field);
		cr_assert(osh_http_parse_request(osh_str(text), &scan, &head, &error) == OSH_HTTP_DONE);
		cr_expect(osh_http_passes(&head, &head.fields[2]) == table[i].passes, "%s", table[i].field);
	}
}

Test(http_pass, trailers)
{
	static const struct {
		const char *field;
		bool passes;
	} table[] = {
		{ "Grpc-Status: 0\r\n", true },	       { "grpc-message: ok\r\n", true },
		{ "x-amz-checksum-crc32: a\r\n", true }, { "Host: no.test\r\n", false },
		{ "Content-Length: 5\r\n", false },      { "Transfer-Encoding: chunked\r\n", false },
		{ "Authorization: x\r\n", false },       { "X-Other: a\r\n", true },
		{ "Content-Digest: x\r\n", true },       { "Server-Timing: a\r\n", true },
		{ "Trace-Proto-Bin: AA==\r\n", true },   { "TE: trailers\r\n", false },
		{ "Set-Cookie: a=b\r\n", false },        { "Cookie: a=b\r\n", false },
		{ "Content_Length: 5\r\n", false },      { "Content-Type: text/html\r\n", false },
		{ "Content-Encoding: br\r\n", false },   { "If-Match: *\r\n", false },
		{ "X-HTTP-Method-Override: DELETE\r\n", false }, { "X-Forwarded-Host: a\r\n", false },
		{ "Trailer: x\r\n", false },             { "Proxy-Authorization: x\r\n", false },
		{ "Sec-WebSocket-Protocol: x\r\n", false }, { "Location: /\r\n", false },
		{ "Access-Control-Allow-Origin: *\r\n", false },
	};
	struct osh_http_field field;
	size_t count;

	for (size_t i = 0; i < COUNT(table); i++) {
		cr_assert(osh_http_parse_trailers(osh_str(table[i].field), &field, 1, &count) == 0);
		cr_expect(osh_http_trailer_passes(&field) == table[i].passes, "%s", table[i].field);
	}
}
