#include "proxy/http_name.h"

#include "base/mem.h"

enum travel {
	STAYS,     /* of one connection only, or written anew by us */
	OVERRIDES, /* tells some server of another request than the one that was judged */
	PASSES,
};

struct known {
	const char *name;
	enum osh_http_name number;
	enum travel travel;
};

/* By length: few have to be compared. */
static const struct known of_length[][6] = {
	[2] = { { "te", OSH_HTTP_OTHER, STAYS } },
	[4] = { { "host", OSH_HTTP_HOST, STAYS } },
	[5] = { { "close", OSH_HTTP_OTHER, STAYS } /* what Connection lists, and reserved (RFC 9110 16.3.1) */,
		{ "proxy", OSH_HTTP_OTHER, OVERRIDES } },
	[6] = { { "expect", OSH_HTTP_EXPECT, PASSES }, { "x-host", OSH_HTTP_OTHER, OVERRIDES } },
	[7] = { { "upgrade", OSH_HTTP_UPGRADE, STAYS },
		{ "trailer", OSH_HTTP_OTHER, STAYS },
		{ "alt-svc", OSH_HTTP_OTHER, STAYS } /* leads to ports that no policy was asked about */ },
	[8] = { { "base-url", OSH_HTTP_OTHER, OVERRIDES } },
	[9] = { { "forwarded", OSH_HTTP_OTHER, OVERRIDES }, { "x-real-ip", OSH_HTTP_OTHER, OVERRIDES } },
	[10] = { { "connection", OSH_HTTP_CONNECTION, STAYS }, { "keep-alive", OSH_HTTP_OTHER, STAYS } },
	[11] = { { "x-client-ip", OSH_HTTP_OTHER, OVERRIDES } },
	[12] = { { "content-type", OSH_HTTP_CONTENT_TYPE, PASSES } },
	[13] = { { "authorization", OSH_HTTP_AUTHORIZATION, PASSES },
		 { "x-http-method", OSH_HTTP_OTHER, OVERRIDES },
		 { "x-rewrite-url", OSH_HTTP_OTHER, OVERRIDES },
		 { "x-rewrite-uri", OSH_HTTP_OTHER, OVERRIDES } },
	[14] = { { "content-length", OSH_HTTP_CONTENT_LENGTH, STAYS },
		 { "http2-settings", OSH_HTTP_OTHER, STAYS },
		 { "x-original-url", OSH_HTTP_OTHER, OVERRIDES },
		 { "x-original-uri", OSH_HTTP_OTHER, OVERRIDES },
		 { "true-client-ip", OSH_HTTP_OTHER, OVERRIDES } },
	[15] = { { "x-original-host", OSH_HTTP_OTHER, OVERRIDES } },
	[16] = { { "proxy-connection", OSH_HTTP_PROXY_CONNECTION, STAYS },
		 { "content-encoding", OSH_HTTP_CONTENT_ENCODING, PASSES } },
	[17] = { { "transfer-encoding", OSH_HTTP_TRANSFER_ENCODING, STAYS },
		 { "sec-websocket-key", OSH_HTTP_SEC_WEBSOCKET_KEY, PASSES },
		 { "x-method-override", OSH_HTTP_OTHER, OVERRIDES },
		 { "x-original-method", OSH_HTTP_OTHER, OVERRIDES } },
	[18] = { { "proxy-authenticate", OSH_HTTP_OTHER, STAYS } },
	[19] = { { "proxy-authorization", OSH_HTTP_OTHER, STAYS },
		 { "x-cluster-client-ip", OSH_HTTP_OTHER, OVERRIDES } },
	[20] = { { "sec-websocket-accept", OSH_HTTP_SEC_WEBSOCKET_ACCEPT, PASSES } },
	[21] = { { "sec-websocket-version", OSH_HTTP_SEC_WEBSOCKET_VERSION, PASSES } },
	[22] = { { "x-http-method-override", OSH_HTTP_OTHER, OVERRIDES } },
	[24] = { { "sec-websocket-extensions", OSH_HTTP_SEC_WEBSOCKET_EXTENSIONS, PASSES } },
};

static bool reads_as(const char *name, const char *known, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = osh_ascii_lower(name[i]);

		if ((c == '_' ? '-' : c) != known[i])
			return false;
	}
	return true;
}

bool osh_http_name_begins(struct osh_str name, struct osh_str prefix)
{
	return name.len >= prefix.len && reads_as(name.data, prefix.data, prefix.len);
}

enum osh_http_name osh_http_name_of(struct osh_str name, bool *ret_stays)
{
	const struct known *known = name.len < OSH_COUNT_OF(of_length) ? of_length[name.len] : of_length[0];
	bool is_exact;

	for (; known->name; known++) {
		if (!reads_as(name.data, known->name, name.len))
			continue;
		is_exact = osh_str_same_letters(name.data, known->name, name.len);
		*ret_stays = known->travel != PASSES || !is_exact;
		return is_exact ? known->number : OSH_HTTP_OTHER;
	}
	*ret_stays = osh_http_name_begins(name, (struct osh_str)OSH_STR("x-forwarded-"));
	return OSH_HTTP_OTHER;
}
