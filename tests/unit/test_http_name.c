/* Header fields by number: each name that is acted on, and its neighbours, which are not. */
#include "proxy/http_name.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct {
	const char *name;
	enum osh_http_name number;
	bool stays;
} known[] = {
	{ "authorization", OSH_HTTP_AUTHORIZATION, false },
	{ "content-type", OSH_HTTP_CONTENT_TYPE, false },
	{ "content-encoding", OSH_HTTP_CONTENT_ENCODING, false },
	{ "expect", OSH_HTTP_EXPECT, false },
	{ "sec-websocket-accept", OSH_HTTP_SEC_WEBSOCKET_ACCEPT, false },
	{ "sec-websocket-extensions", OSH_HTTP_SEC_WEBSOCKET_EXTENSIONS, false },
	{ "sec-websocket-key", OSH_HTTP_SEC_WEBSOCKET_KEY, false },
	{ "sec-websocket-version", OSH_HTTP_SEC_WEBSOCKET_VERSION, false },
	{ "connection", OSH_HTTP_CONNECTION, true },
	{ "content-length", OSH_HTTP_CONTENT_LENGTH, true },
	{ "host", OSH_HTTP_HOST, true },
	{ "proxy-connection", OSH_HTTP_PROXY_CONNECTION, true },
	{ "transfer-encoding", OSH_HTTP_TRANSFER_ENCODING, true },
	{ "upgrade", OSH_HTTP_UPGRADE, true },
	{ "keep-alive", OSH_HTTP_OTHER, true },
	{ "close", OSH_HTTP_OTHER, true },
	{ "proxy-authenticate", OSH_HTTP_OTHER, true },
	{ "proxy-authorization", OSH_HTTP_OTHER, true },
	{ "te", OSH_HTTP_OTHER, true },
	{ "trailer", OSH_HTTP_OTHER, true },
	{ "http2-settings", OSH_HTTP_OTHER, true },
	{ "alt-svc", OSH_HTTP_OTHER, true },
	{ "forwarded", OSH_HTTP_OTHER, true },
	{ "x-http-method-override", OSH_HTTP_OTHER, true },
	{ "x-http-method", OSH_HTTP_OTHER, true },
	{ "x-method-override", OSH_HTTP_OTHER, true },
	{ "x-original-url", OSH_HTTP_OTHER, true },
	{ "x-original-uri", OSH_HTTP_OTHER, true },
	{ "x-original-host", OSH_HTTP_OTHER, true },
	{ "x-original-method", OSH_HTTP_OTHER, true },
	{ "x-rewrite-url", OSH_HTTP_OTHER, true },
	{ "x-rewrite-uri", OSH_HTTP_OTHER, true },
	{ "x-host", OSH_HTTP_OTHER, true },
	{ "x-real-ip", OSH_HTTP_OTHER, true },
	{ "x-client-ip", OSH_HTTP_OTHER, true },
	{ "x-cluster-client-ip", OSH_HTTP_OTHER, true },
	{ "true-client-ip", OSH_HTTP_OTHER, true },
	{ "proxy", OSH_HTTP_OTHER, true },
	{ "base-url", OSH_HTTP_OTHER, true },
};

static void expect(struct osh_str name, enum osh_http_name number, bool stays)
{
	bool found = !stays;

	cr_expect(eq(int, osh_http_name_of(name, &found), number), "%.*s", (int)name.len, name.data);
	cr_expect(found == stays, "%.*s stays: %d", (int)name.len, name.data, found);
}

Test(http_name, case_does_not_matter)
{
	char upper[64];

	for (size_t i = 0; i < COUNT(known); i++) {
		size_t len = strlen(known[i].name);

		for (size_t k = 0; k < len; k++)
			upper[k] = known[i].name[k] >= 'a' && known[i].name[k] <= 'z' ?
					   (char)(known[i].name[k] - 32) : known[i].name[k];
		expect(osh_str(known[i].name), known[i].number, known[i].stays);
		expect(osh_str_n(upper, len), known[i].number, known[i].stays);
	}
}

/* To CGI the same field; to whoever frames a message another one. */
Test(http_name, an_underscore_is_read_as_a_hyphen_by_some)
{
	char copy[64];

	for (size_t i = 0; i < COUNT(known); i++) {
		size_t len = strlen(known[i].name);
		char *hyphen;

		memcpy(copy, known[i].name, len + 1);
		hyphen = strrchr(copy, '-');
		if (!hyphen)
			continue;
		*hyphen = '_';
		expect(osh_str(copy), OSH_HTTP_OTHER, true);
	}
	expect(osh_str("x-a_field_of_nobody"), OSH_HTTP_OTHER, false);
}

Test(http_name, neighbours_pass)
{
	char longer[64];

	for (size_t i = 0; i < COUNT(known); i++) {
		size_t len = strlen(known[i].name);

		memcpy(longer, known[i].name, len);
		longer[len] = 'z';
		expect(osh_str_n(longer, len + 1), OSH_HTTP_OTHER, false);
		longer[len - 1] = 'z'; /* of the same length */
		expect(osh_str_n(longer, len), OSH_HTTP_OTHER, false);
	}
	expect(osh_str(""), OSH_HTTP_OTHER, false);
	expect(osh_str("a-name-that-is-longer-than-all-that-are-known"), OSH_HTTP_OTHER, false);
}

Test(http_name, the_family_of_forwarded)
{
	expect(osh_str("X-Forwarded-For"), OSH_HTTP_OTHER, true);
	expect(osh_str("x_forwarded_anything-at-all-of-this-length"), OSH_HTTP_OTHER, true);
	expect(osh_str("x-forwarded"), OSH_HTTP_OTHER, false);
	expect(osh_str("x-forwarder-for"), OSH_HTTP_OTHER, false);
}
