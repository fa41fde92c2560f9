/* HTTP/1.1 messages, written anew from parsed ones. Pure. All return 0, -ENOBUFS or
 * -ENOMEM of the buffer. */
#ifndef OSH_PROXY_HTTP_WRITE_H
#define OSH_PROXY_HTTP_WRITE_H

#include "base/buf.h"
#include "proxy/http_head.h"

/* Bytes that framing adds to one piece of payload, at most. */
#define OSH_HTTP_CHUNK_OVERHEAD 24

struct osh_http_request_out {
	struct osh_str path;          /* canonical */
	struct osh_str query;         /* without '?' */
	bool has_query;
	struct osh_str host;          /* Host, as dialled */
	bool length_later;            /* stop before the framing: osh_http_write_request_end */
	bool websocket;               /* pass the upgrade on */
	bool no_extensions;           /* ... without the WebSocket extensions that were offered */
};
/* The head as it goes to the real server. */
int osh_http_write_request(struct osh_buf *out, const struct osh_http_head *head,
			   const struct osh_http_request_out *how);
/* The end of a head whose length came later. */
int osh_http_write_request_end(struct osh_buf *out, enum osh_http_framing framing, uint64_t length);

struct osh_http_response_out {
	unsigned client_minor;
	enum osh_http_framing framing; /* towards the client */
	bool close;
	bool websocket;                /* 101 */
};
/* The head as it goes to the sandbox. */
int osh_http_write_response(struct osh_buf *out, const struct osh_http_head *head,
			    const struct osh_http_response_out *how);

/* A piece of payload under this framing. */
int osh_http_write_data(struct osh_buf *out, enum osh_http_framing framing, struct osh_str data);
/* The end of a chunked message, with those of the received trailers that may pass. */
int osh_http_write_end(struct osh_buf *out, enum osh_http_framing framing, struct osh_str trailers);

const char *osh_http_phrase(unsigned status);

#endif
