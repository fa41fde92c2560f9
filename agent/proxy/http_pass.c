#include "proxy/http_pass.h"

#include "base/mem.h"

/* Of one connection only, or written anew by us. */
static const char *const hop_by_hop[] = {
	"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization",
	"te", "trailer", "transfer-encoding", "content-length", "upgrade", "http2-settings", "host",
	"alt-svc", /* leads to ports that no policy was asked about */
};

/* Would make some server see another method, path, host or client than we judged. */
static const char *const overriding[] = {
	"forwarded", "x-http-method-override", "x-http-method", "x-method-override",
	"x-original-url", "x-original-uri", "x-original-host", "x-original-method", "x-rewrite-url",
	"x-rewrite-uri", "x-host", "x-real-ip", "x-client-ip", "x-cluster-client-ip",
	"true-client-ip", "proxy", "base-url",
};

/* How much of `wanted` the name begins with. CGI and its heirs read '_' as '-' (RFC 3875
 * 4.1.18): so do we. */
static size_t name_in_common(struct osh_str name, const char *wanted)
{
	size_t len;

	for (len = 0; len < name.len && wanted[len]; len++) {
		char c = osh_ascii_lower(name.data[len]);

		if ((c == '_' ? '-' : c) != wanted[len])
			break;
	}
	return len;
}

static bool same_name(struct osh_str name, const char *wanted)
{
	size_t len = name_in_common(name, wanted);

	return len == name.len && !wanted[len];
}

static bool has_name_prefix(struct osh_str name, const char *prefix)
{
	return !prefix[name_in_common(name, prefix)];
}

static bool is_listed(struct osh_str name, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (same_name(name, list[i]))
			return true;
	}
	return false;
}

static bool is_named_by_connection(const struct osh_http_head *head, struct osh_str name)
{
	for (size_t i = 0; i < head->field_count; i++) {
		if (osh_str_caseeq_c(head->fields[i].name, "connection") &&
		    osh_http_list_has(head->fields[i].value, name))
			return true;
	}
	return false;
}

static bool may_travel(struct osh_str name)
{
	return !is_listed(name, hop_by_hop, OSH_COUNT_OF(hop_by_hop)) &&
	       !is_listed(name, overriding, OSH_COUNT_OF(overriding)) && !has_name_prefix(name, "x-forwarded-");
}

bool osh_http_passes(const struct osh_http_head *head, const struct osh_http_field *field)
{
	/* HTTP/1.0 knows no interim response that Expect could ask for. */
	if (head->minor == 0 && same_name(field->name, "expect"))
		return false;
	return may_travel(field->name) && !is_named_by_connection(head, field->name);
}

/* Must be known before the body is read (RFC 9110 6.5.1): a server that merges trailers into
 * the head would route, authenticate, decode or cache by something that came too late. */
static const char *const head_only[] = {
	"authorization", "www-authenticate", "authentication-info", "cookie", "set-cookie",
	"expect", "max-forwards", "range", "cache-control", "pragma", "age", "expires", "date",
	"location", "retry-after", "vary", "warning", "allow", "server", "origin", "refresh",
	"strict-transport-security", "clear-site-data",
};
static const char *const head_only_families[] = {
	"content-encoding", "content-type", "content-range", "content-location", "content-disposition",
	"content-security-policy", "if-", "sec-", "accept", "access-control-", "cross-origin-",
};

bool osh_http_trailer_passes(const struct osh_http_field *field)
{
	for (size_t i = 0; i < OSH_COUNT_OF(head_only_families); i++) {
		if (has_name_prefix(field->name, head_only_families[i]))
			return false;
	}
	return may_travel(field->name) && !is_listed(field->name, head_only, OSH_COUNT_OF(head_only));
}
