/* The heads of HTTP/2 messages (RFC 9113 8) as HTTP/1.1 text, and back. Within the proxy an
 * exchange is HTTP/1.1 whatever the two sides speak: one strict parser reads what is judged,
 * and nothing reaches the other side that it did not read. Pure over bytes.
 *
 * nghttp2 has refused before what no HTTP/2 message may hold: upper case, control bytes,
 * fields of one connection, pseudo-header fields that are unknown, late or there twice, a
 * length that the DATA frames do not keep. */
#ifndef OSH_PROXY_HTTP2_MESSAGE_H
#define OSH_PROXY_HTTP2_MESSAGE_H

#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "proxy/http_head.h"

enum osh_http2_pseudo {
	OSH_HTTP2_METHOD,
	OSH_HTTP2_SCHEME,
	OSH_HTTP2_AUTHORITY,
	OSH_HTTP2_PATH,
	OSH_HTTP2_PROTOCOL, /* RFC 8441 */
	OSH_HTTP2_STATUS,
	OSH_HTTP2_PSEUDO_COUNT,
};

/* One block of header fields, as it comes. A connection has one at a time. */
struct osh_http2_block {
	struct { size_t at, len; bool is_set; } pseudo[OSH_HTTP2_PSEUDO_COUNT]; /* in pseudo_text */
	struct osh_buf pseudo_text;
	struct osh_buf lines;   /* the other fields: "name: value\r\n" */
	struct osh_buf cookies; /* crumbs put together again (RFC 9113 8.2.3) */
	uint64_t length;        /* Content-Length */
	bool has_length;
	bool too_large;         /* more than `max` bytes: the rest is not kept */
};

/* `max` bounds each of the three texts. */
void osh_http2_block_init(struct osh_http2_block *block, size_t max);
void osh_http2_block_done(struct osh_http2_block *block);
/* The next block; memory is kept. */
void osh_http2_block_clear(struct osh_http2_block *block);
/* Returns 0 or -ENOMEM. */
int osh_http2_block_add(struct osh_http2_block *block, struct osh_str name, struct osh_str value);
/* data NULL when it is not there. */
struct osh_str osh_http2_block_pseudo(const struct osh_http2_block *block, enum osh_http2_pseudo which);

/* CONNECT with :protocol websocket (RFC 8441 5). */
bool osh_http2_is_websocket(const struct osh_http2_block *block);

/* The request's head as text. `ended`: no DATA follows. `websocket_key`: 24 characters for
 * the handshake that stands for RFC 8441's CONNECT. What contradicts itself (two hosts,
 * another scheme) is written so that the parser or the judge refuses it. Returns 0,
 * -EMSGSIZE when the block was too large, -ENOBUFS or -ENOMEM. */
int osh_http2_write_request(struct osh_buf *out, const struct osh_http2_block *block, bool ended,
			    const char *websocket_key, enum osh_http_framing *ret_framing);
/* The same for a response; `to_head`: the request was HEAD. */
int osh_http2_write_response(struct osh_buf *out, const struct osh_http2_block *block, bool ended,
			     bool to_head, enum osh_http_framing *ret_framing);

/* ---- The other way: fields for nghttp2, pointing into what `head` points to ------------- */

#define OSH_HTTP2_FIELDS_MAX (OSH_HTTP_FIELDS_MAX + 8)

struct osh_http2_fields {
	nghttp2_nv items[OSH_HTTP2_FIELDS_MAX];
	size_t count;
	char status[3]; /* digits */
};

/* `secret`: no field may enter a compression table (RFC 7541 7.1.3). */
void osh_http2_request_fields(const struct osh_http_head *head, bool secret,
			      struct osh_http2_fields *ret);
/* 101 becomes the 200 of RFC 8441. */
void osh_http2_response_fields(const struct osh_http_head *head, struct osh_http2_fields *ret);
/* Trailer lines as osh_http_write_end wrote them; none when they are malformed. */
void osh_http2_trailer_fields(struct osh_str lines, struct osh_http2_fields *ret);

#endif
