#include "proxy/http_pass.h"

#include "base/mem.h"

static bool is_named_by_connection(const struct osh_http_head *head, struct osh_str name)
{
	for (size_t i = 0; head->connection_names && i < head->field_count; i++) {
		if (head->fields[i].known == OSH_HTTP_CONNECTION && osh_http_list_has(head->fields[i].value, name))
			return true;
	}
	return false;
}

bool osh_http_passes(const struct osh_http_head *head, const struct osh_http_field *field)
{
	/* HTTP/1.0 knows no interim response that Expect could ask for. */
	if (head->minor == 0 && field->known == OSH_HTTP_EXPECT)
		return false;
	return !field->stays && !is_named_by_connection(head, field->name);
}

#define S OSH_STR

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
		if (osh_http_name_begins(field->name, head_only_families[i]))
			return false;
	}
	for (size_t i = 0; i < OSH_COUNT_OF(head_only); i++) {
		if (field->name.len == head_only[i].len && osh_http_name_begins(field->name, head_only[i]))
			return false;
	}
	return !field->stays;
}
