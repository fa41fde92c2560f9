#include "proxy/http2_message.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "proxy/text_writer.h"

/* ---- A block as it comes ------------------------------------------------------------- */

static const char *const pseudo_names[OSH_HTTP2_PSEUDO_COUNT] = {
	[OSH_HTTP2_METHOD] = ":method",	  [OSH_HTTP2_SCHEME] = ":scheme",
	[OSH_HTTP2_AUTHORITY] = ":authority", [OSH_HTTP2_PATH] = ":path",
	[OSH_HTTP2_PROTOCOL] = ":protocol",   [OSH_HTTP2_STATUS] = ":status",
};

void osh_http2_block_init(struct osh_http2_block *b, size_t max)
{
	memset(b, 0, sizeof(*b));
	osh_buf_init(&b->pseudo_text, max);
	osh_buf_init(&b->lines, max);
	osh_buf_init(&b->cookies, max);
}

void osh_http2_block_done(struct osh_http2_block *b)
{
	osh_buf_done(&b->pseudo_text);
	osh_buf_done(&b->lines);
	osh_buf_done(&b->cookies);
}

void osh_http2_block_clear(struct osh_http2_block *b)
{
	memset(b->pseudo, 0, sizeof(b->pseudo));
	osh_buf_clear(&b->pseudo_text);
	osh_buf_clear(&b->lines);
	osh_buf_clear(&b->cookies);
	b->has_length = b->too_large = false;
	b->length = 0;
}

struct osh_str osh_http2_block_pseudo(const struct osh_http2_block *b, enum osh_http2_pseudo which)
{
	if (!b->pseudo[which].is_set)
		return osh_str_n(NULL, 0);
	if (!b->pseudo[which].len)
		return osh_str("");
	return osh_str_n(osh_buf_bytes(&b->pseudo_text) + b->pseudo[which].at, b->pseudo[which].len);
}

static int add_pseudo(struct osh_http2_block *b, struct osh_str name, struct osh_str value)
{
	for (size_t i = 0; i < OSH_HTTP2_PSEUDO_COUNT; i++) {
		if (!osh_str_eq_c(name, pseudo_names[i]))
			continue;
		b->pseudo[i].at = b->pseudo_text.len;
		b->pseudo[i].len = value.len;
		b->pseudo[i].is_set = true;
		return osh_buf_append_str(&b->pseudo_text, value);
	}
	return 0;
}

static int add_line(struct osh_buf *lines, struct osh_str name, struct osh_str value)
{
	int r = osh_buf_append_str(lines, name);

	if (r == 0)
		r = osh_buf_append_c(lines, ": ");
	if (r == 0)
		r = osh_buf_append_str(lines, value);
	return r == 0 ? osh_buf_append_c(lines, "\r\n") : r;
}

static int add_cookie(struct osh_http2_block *b, struct osh_str value)
{
	int r = b->cookies.len ? osh_buf_append_c(&b->cookies, "; ") : 0;

	return r == 0 ? osh_buf_append_str(&b->cookies, value) : r;
}

/* Said twice in the same words (RFC 9113 8.3.1). In other words it stays, and two Host
 * lines are refused. */
static bool repeats_authority(const struct osh_http2_block *b, struct osh_str name, struct osh_str value)
{
	return osh_str_eq_c(name, "host") && b->pseudo[OSH_HTTP2_AUTHORITY].is_set &&
	       osh_str_caseeq(value, osh_http2_block_pseudo(b, OSH_HTTP2_AUTHORITY));
}

static int add(struct osh_http2_block *b, struct osh_str name, struct osh_str value)
{
	if (name.len && name.data[0] == ':')
		return add_pseudo(b, name, value);
	if (osh_str_eq_c(name, "cookie"))
		return add_cookie(b, value);
	if (osh_str_eq_c(name, "content-length") &&
	    osh_str_parse_u64(value, OSH_HTTP_LENGTH_MAX, &b->length) == 0) {
		b->has_length = true;
		return 0;
	}
	/* RFC 8441 has no key: the one of our handshake is ours. */
	if (repeats_authority(b, name, value) ||
	    (b->pseudo[OSH_HTTP2_PROTOCOL].is_set && osh_str_eq_c(name, "sec-websocket-key")))
		return 0;
	return add_line(&b->lines, name, value);
}

int osh_http2_block_add(struct osh_http2_block *b, struct osh_str name, struct osh_str value)
{
	int r = b->too_large ? 0 : add(b, name, value);

	b->too_large |= r == -ENOBUFS;
	return r == -ENOMEM ? r : 0;
}

/* ---- As text ------------------------------------------------------------------------- */

static void put_length(struct osh_text_writer *w, uint64_t length)
{
	osh_text_put_c(w, "Content-Length: ");
	osh_text_put_u64(w, length);
	osh_text_put_c(w, "\r\n");
}

bool osh_http2_is_websocket(const struct osh_http2_block *b)
{
	return osh_str_eq_c(osh_http2_block_pseudo(b, OSH_HTTP2_METHOD), "CONNECT") &&
	       osh_str_eq_c(osh_http2_block_pseudo(b, OSH_HTTP2_PROTOCOL), "websocket");
}

/* Every request here came over TLS; another scheme is left for the judge to refuse. What a
 * CONNECT would tunnel is of no interest: none opens. */
static void put_target(struct osh_text_writer *w, const struct osh_http2_block *b, bool tunnel)
{
	struct osh_str scheme = osh_http2_block_pseudo(b, OSH_HTTP2_SCHEME);
	struct osh_str path = osh_http2_block_pseudo(b, OSH_HTTP2_PATH);

	if (tunnel) {
		osh_text_put(w, osh_http2_block_pseudo(b, OSH_HTTP2_AUTHORITY));
		return;
	}
	if (path.data && osh_str_caseeq_c(scheme, "https")) {
		osh_text_put(w, path);
		return;
	}
	if (scheme.data) {
		osh_text_put(w, scheme);
		osh_text_put_c(w, "://");
	}
	osh_text_put(w, osh_http2_block_pseudo(b, OSH_HTTP2_AUTHORITY));
	osh_text_put(w, path);
}

static enum osh_http_framing framing_of(const struct osh_http2_block *b, bool ended)
{
	if (b->has_length)
		return OSH_HTTP_BODY_LENGTH;
	return ended ? OSH_HTTP_BODY_NONE : OSH_HTTP_BODY_CHUNKED;
}

static void put_framing(struct osh_text_writer *w, const struct osh_http2_block *b, enum osh_http_framing framing)
{
	if (framing == OSH_HTTP_BODY_LENGTH)
		put_length(w, b->length);
	if (framing == OSH_HTTP_BODY_CHUNKED)
		osh_text_put_c(w, "Transfer-Encoding: chunked\r\n");
}

static void put_fields(struct osh_text_writer *w, const struct osh_http2_block *b)
{
	osh_text_put(w, osh_buf_str(&b->lines));
	if (b->cookies.len) {
		osh_text_put_c(w, "cookie: ");
		osh_text_put(w, osh_buf_str(&b->cookies));
		osh_text_put_c(w, "\r\n");
	}
}

/* RFC 8441 5.1: the handshake that the CONNECT stands for. */
static void put_upgrade(struct osh_text_writer *w, const char *key)
{
	osh_text_put_c(w, "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ");
	osh_text_put_c(w, key);
	osh_text_put_c(w, "\r\n");
}

int osh_http2_write_request(struct osh_buf *out, const struct osh_http2_block *b, bool ended,
			    const char *websocket_key, enum osh_http_framing *ret_framing)
{
	bool websocket = osh_http2_is_websocket(b);
	struct osh_str method = websocket ? osh_str("GET") : osh_http2_block_pseudo(b, OSH_HTTP2_METHOD);
	struct osh_str authority = osh_http2_block_pseudo(b, OSH_HTTP2_AUTHORITY);
	struct osh_text_writer w = { .out = out };

	if (b->too_large)
		return -EMSGSIZE;
	*ret_framing = websocket ? OSH_HTTP_BODY_NONE : framing_of(b, ended);
	osh_text_put(&w, method);
	osh_text_put_c(&w, " ");
	put_target(&w, b, osh_str_eq_c(method, "CONNECT"));
	osh_text_put_c(&w, " HTTP/1.1\r\n");
	if (authority.data) {
		osh_text_put_c(&w, "Host: ");
		osh_text_put(&w, authority);
		osh_text_put_c(&w, "\r\n");
	}
	put_fields(&w, b);
	put_framing(&w, b, *ret_framing);
	if (websocket)
		put_upgrade(&w, websocket_key);
	else
		osh_text_put_c(&w, "Connection: close\r\n"); /* a stream carries one request */
	osh_text_put_c(&w, "\r\n");
	return w.error;
}

/* An answer that ends with its head says so; its trailers, if they are all there is, are
 * fields of this head. */
static enum osh_http_framing response_framing(const struct osh_http2_block *b, bool ended, bool to_head)
{
	struct osh_str status = osh_http2_block_pseudo(b, OSH_HTTP2_STATUS);

	if (osh_str_has_prefix(status, "1") || osh_str_eq_c(status, "204"))
		return OSH_HTTP_BODY_NONE;
	if ((to_head || osh_str_eq_c(status, "304")) && !b->has_length)
		return OSH_HTTP_BODY_NONE;
	return ended ? OSH_HTTP_BODY_LENGTH : framing_of(b, false);
}

int osh_http2_write_response(struct osh_buf *out, const struct osh_http2_block *b, bool ended,
			     bool to_head, enum osh_http_framing *ret_framing)
{
	struct osh_text_writer w = { .out = out };

	if (b->too_large)
		return -EMSGSIZE;
	*ret_framing = response_framing(b, ended, to_head);
	osh_text_put_c(&w, "HTTP/1.1 ");
	osh_text_put(&w, osh_http2_block_pseudo(b, OSH_HTTP2_STATUS));
	osh_text_put_c(&w, " \r\n");
	put_fields(&w, b);
	put_framing(&w, b, *ret_framing);
	osh_text_put_c(&w, "\r\n");
	if (to_head) /* the length is told, and nothing comes */
		*ret_framing = OSH_HTTP_BODY_NONE;
	return w.error;
}

/* ---- As fields ------------------------------------------------------------------------- */

/* nghttp2 copies both, the name in lower case. */
static void push(struct osh_http2_fields *f, struct osh_str name, struct osh_str value, bool secret)
{
	if (f->count == OSH_HTTP2_FIELDS_MAX)
		return;
	f->items[f->count++] = (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name.data,
		.namelen = name.len,
		.value = (uint8_t *)(uintptr_t)(value.data ? value.data : ""),
		.valuelen = value.len,
		.flags = secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE,
	};
}

/* What our writer said about an HTTP/1.1 connection. */
static bool is_of_http1(enum osh_http_name name)
{
	return name == OSH_HTTP_HOST || name == OSH_HTTP_CONNECTION || name == OSH_HTTP_TRANSFER_ENCODING ||
	       name == OSH_HTTP_UPGRADE || name == OSH_HTTP_SEC_WEBSOCKET_ACCEPT;
}

static void push_head(struct osh_http2_fields *f, const struct osh_http_head *head, bool secret)
{
	for (size_t i = 0; i < head->field_count; i++) {
		if (!is_of_http1(head->fields[i].known))
			push(f, head->fields[i].name, head->fields[i].value, secret);
	}
}

void osh_http2_request_fields(const struct osh_http_head *head, bool secret, struct osh_http2_fields *ret)
{
	ret->count = 0;
	push(ret, osh_str(":method"), head->method, false);
	push(ret, osh_str(":scheme"), osh_str("https"), false);
	push(ret, osh_str(":authority"), head->host, false);
	push(ret, osh_str(":path"), head->target, secret);
	push_head(ret, head, secret);
	/* Trailers reach the sandbox, and gRPC servers insist on being told. */
	push(ret, osh_str("te"), osh_str("trailers"), false);
}

void osh_http2_response_fields(const struct osh_http_head *head, struct osh_http2_fields *ret)
{
	unsigned status = head->status == 101 ? 200 : head->status;

	ret->count = 0;
	for (size_t i = sizeof(ret->status); i-- > 0; status /= 10)
		ret->status[i] = (char)('0' + status % 10);
	push(ret, osh_str(":status"), osh_str_n(ret->status, sizeof(ret->status)), false);
	push_head(ret, head, false);
}

void osh_http2_trailer_fields(struct osh_str lines, struct osh_http2_fields *ret)
{
	struct osh_http_field fields[OSH_HTTP_FIELDS_MAX];
	size_t count = 0;

	ret->count = 0;
	if (osh_http_parse_trailers(lines, fields, OSH_HTTP_FIELDS_MAX, &count) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		push(ret, fields[i].name, fields[i].value, false);
}
