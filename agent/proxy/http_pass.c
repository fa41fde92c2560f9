#include "proxy/http_pass.h"

#include "base/mem.h"

#define S OSH_STR /* with their lengths: the lists are gone through for each field */

/* Of one connection only, or written anew by us. */
static const struct osh_str hop_by_hop[] = {
	S("connection"), S("keep-alive"), S("proxy-connection"), S("proxy-authenticate"),
	S("proxy-authorization"), S("te"), S("trailer"), S("transfer-encoding"),
	S("content-length"), S("upgrade"), S("http2-settings"), S("host"),
	S("alt-svc"), /* leads to ports that no policy was asked about */
};

/* Would make some server see another method, path, host or client than we judged. */
static const struct osh_str overriding[] = {
	S("forwarded"), S("x-http-method-override"), S("x-http-method"), S("x-method-override"),
	S("x-original-url"), S("x-original-uri"), S("x-original-host"), S("x-original-method"),
	S("x-rewrite-url"), S("x-rewrite-uri"), S("x-host"), S("x-real-ip"), S("x-client-ip"),
	S("x-cluster-client-ip"), S("true-client-ip"), S("proxy"), S("base-url"),
};

/* Does the name begin so? CGI and its heirs read '_' as '-' (RFC 3875 4.1.18): so do we. */
static bool has_name_prefix(struct osh_str name, struct osh_str prefix)
{
	if (name.len < prefix.len)
		return false;
	for (size_t i = 0; i < prefix.len; i++) {
		char c = osh_ascii_lower(name.data[i]);

		if ((c == '_' ? '-' : c) != prefix.data[i])
			return false;
	}
	return true;
}

static bool same_name(struct osh_str name, struct osh_str wanted)
{
	return name.len == wanted.len && has_name_prefix(name, wanted);
}

static bool is_listed(struct osh_str name, const struct osh_str *list, size_t count)
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
	       !is_listed(name, overriding, OSH_COUNT_OF(overriding)) &&
	       !has_name_prefix(name, osh_str("x-forwarded-"));
}

bool osh_http_passes(const struct osh_http_head *head, const struct osh_http_field *field)
{
	/* HTTP/1.0 knows no interim response that Expect could ask for. */
	if (head->minor == 0 && same_name(field->name, osh_str("expect")))
		return false;
	return may_travel(field->name) && !is_named_by_connection(head, field->name);
}

/* Must be known before the body is read (RFC 9110 6.5.1): a server that merges trailers into
 * the head would route, authenticate, decode or cache by something that came too late. */
static const struct osh_str head_only[] = {
	S("authorization"), S("www-authenticate"), S("authentication-info"), S("cookie"),
	S("set-cookie"), S("expect"), S("max-forwards"), S("range"), S("cache-control"),
	S("pragma"), S("age"), S("expires"), S("date"), S("location"), S("retry-after"), S("vary"),
	S("warning"), S("allow"), S("server"), S("origin"), S("refresh"),
	S("strict-transport-security"), S("clear-site-data"),
};
static const struct osh_str head_only_families[] = {
	S("content-encoding"), S("content-type"), S("content-range"), S("content-location"),
	S("content-disposition"), S("content-security-policy"), S("if-"), S("sec-"), S("accept"),
	S("access-control-"), S("cross-origin-"),
};

bool osh_http_trailer_passes(const struct osh_http_field *field)
{
	for (size_t i = 0; i < OSH_COUNT_OF(head_only_families); i++) {
		if (has_name_prefix(field->name, head_only_families[i]))
			return false;
	}
	return may_travel(field->name) && !is_listed(field->name, head_only, OSH_COUNT_OF(head_only));
}
