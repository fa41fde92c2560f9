/* The body of an HTTP/1.1 message as it arrives (RFC 9112 6, 7): payload out of framing.
 * Pure over bytes; keeps nothing but its position and the trailers. */
#ifndef OSH_PROXY_HTTP_BODY_H
#define OSH_PROXY_HTTP_BODY_H

#include "base/buf.h"
#include "proxy/http_head.h"

#define OSH_HTTP_TRAILERS_MAX (8u << 10)
#define OSH_HTTP_CHUNK_LINE_MAX 256 /* size and extensions */

enum osh_http_chunk_state {
	OSH_HTTP_CHUNK_SIZE,
	OSH_HTTP_CHUNK_DATA,
	OSH_HTTP_CHUNK_DATA_END, /* the CRLF behind the data */
	OSH_HTTP_CHUNK_TRAILERS,
	OSH_HTTP_CHUNK_DONE,
};

struct osh_http_body {
	enum osh_http_framing framing;
	enum osh_http_chunk_state state; /* chunked */
	uint64_t left;                   /* of the message, or of the chunk */
	struct osh_buf trailers;         /* lines, complete once DONE */
};

void osh_http_body_init(struct osh_http_body *body, enum osh_http_framing framing, uint64_t length);
void osh_http_body_done(struct osh_http_body *body);

/* Is the message over? Never so for OSH_HTTP_BODY_UNTIL_CLOSE. */
bool osh_http_body_is_over(const struct osh_http_body *body);

/* Take from the front of `bytes`, at most `max` bytes of payload. *ret_used bytes are to be
 * consumed; *ret_data is payload among them (may be empty). NEED_MORE: nothing can be done
 * with these bytes alone. BAD: ambiguous or malformed framing; `*ret_reason` says why. */
enum osh_http_result osh_http_body_take(struct osh_http_body *body, struct osh_str bytes, size_t max,
					size_t *ret_used, struct osh_str *ret_data,
					const char **ret_reason);

#endif
