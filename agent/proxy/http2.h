/* One HTTP/2 connection (RFC 9113, by nghttp2), to a sandbox or to a server. Each stream
 * carries one exchange, and to the exchange it is a connection like any other: an osh_conn
 * whose bytes are HTTP/1.1 text. Frames are turned into that text and back here; what is
 * allowed, rewritten and answered is decided where it is for HTTP/1.1.
 *
 *   frames -> head, payload -> conn.in  -> the exchange
 *   frames <- head, body    <- conn.out <- the exchange
 *
 * Back pressure: a stream's window opens as the exchange takes its bytes, and conn.out
 * empties as the peer's windows let it. Nothing is read from a peer that does not read. A window
 * that the exchange empties grows: it bounds what a far server sends in a round trip. */
#ifndef OSH_PROXY_HTTP2_H
#define OSH_PROXY_HTTP2_H

#include "proxy/conn.h"
#include "proxy/http2_memory.h"
#include "proxy/http2_message.h"
#include "proxy/http_body.h"

#define OSH_HTTP2_STREAMS_MAX 100
#define OSH_HTTP2_FRAME_HEADER 9 /* RFC 9113 4.1 */

struct osh_http2;

struct osh_http2_stream {
	struct osh_http2 *mux;
	int32_t id;                 /* 0: not opened yet */
	struct osh_conn *conn;      /* the exchange's; NULL once it has let go */
	bool closed;                /* no frame of it will come or go */
	bool is_ready;              /* the exchange is to be stepped */
	bool raw;                   /* a WebSocket: bytes without framing, once it is accepted */
	bool is_head;
	/* From the peer. */
	bool head_in, ended_in, end_given;
	enum osh_http_framing framing_in;
	uint32_t window;            /* that the peer may fill */
	size_t given;               /* to the exchange, since the window grew */
	struct osh_buf payload;     /* received, not yet given to the exchange; at most a window */
	struct osh_buf trailers;
	/* To the peer. */
	bool head_out, end_sent;
	struct osh_http_scan scan;
	struct osh_http_body body_out;
	struct osh_http2_stream *prev, *next;             /* in mux->streams */
	struct osh_http2_stream *ready_prev, *ready_next; /* in mux->ready */
};

/* What the two ends of a connection do differently. */
struct osh_http2_role {
	bool is_server;
	uint32_t window;            /* of a stream at first */
	uint32_t window_max;        /* ... and where the exchange keeps up */
	size_t head_max;            /* bytes of header fields taken */
	/* mux->block holds a head: write it to the exchange. 0, or -errno: reset the stream. */
	int (*take_head)(struct osh_http2_stream *stream, bool ended);
	/* The head at the front of conn->out, if it is whole: submit it, consume it. */
	enum osh_http_result (*send_head)(struct osh_http2_stream *stream);
	/* The peer broke the rules. NULL: what suffers from it says so. */
	void (*on_fault)(struct osh_http2 *mux, const char *reason);
	/* The peer will take no new streams. NULL: none are offered to it. */
	void (*on_goaway)(struct osh_http2 *mux);
	/* Something waits to be sent or stepped; called after the batch of events. */
	void (*on_work)(struct osh_http2 *mux);
};

struct osh_http2 {
	const struct osh_http2_role *role;
	void *owner;
	struct osh_loop *loop;
	struct osh_conn *conn;      /* the owner's */
	nghttp2_session *session;
	struct osh_http2_memory memory; /* the session's */
	struct osh_http2_block block;
	struct osh_http2_stream *streams, *ready;
	unsigned stream_count;
	uint32_t grown;             /* what windows of streams have grown by */
	bool failed;                /* the connection is of no use any more */
	int error;                  /* what its streams fail with: EPROTO, the peer broke the rules */
	unsigned long tls_error;    /* the connection's, when it is gone */
	bool greeted;               /* the peer's settings are there */
	size_t passing;             /* bytes of the preface, or of a frame, that are still to come */
	uint32_t last_opened;       /* the client's highest stream */
	bool head_open;             /* header fields are on their way, which no other frame may interrupt */
	bool ends_head;             /* ... and end with the frame that passes now */
	bool head_timed;            /* ... and the owner's deadline is about them */
	bool warned;                /* the client was asked to make no new streams */
	bool terminated;            /* our GOAWAY is the last word */
	uint64_t nuisances, nuisances_since_ms;
	unsigned credit;            /* for frames about frames */
	struct osh_deferred work;
	bool running;
	bool dropped;
};

/* ---- http2.c ------------------------------------------------------------------------------ */

/* Start on an open connection: settings are queued. NULL when memory is out. */
struct osh_http2 *osh_http2_new(const struct osh_http2_role *role, void *owner, struct osh_conn *conn);
/* The owner forgets it. Streams fail, but for what was received whole: the last exchange
 * that takes it frees the rest. NULL is fine. */
void osh_http2_drop(struct osh_http2 *mux);

/* Read frames, step exchanges, write frames. True when something moved. */
bool osh_http2_run(struct osh_http2 *mux);
/* Neither side has anything to say. */
bool osh_http2_is_over(const struct osh_http2 *mux);
/* Call on_work soon. */
void osh_http2_schedule(struct osh_http2 *mux);
/* GOAWAY, then nothing: `code` of RFC 9113 7. */
void osh_http2_terminate(struct osh_http2 *mux, uint32_t code);

/* ---- http2_frames.c ---------------------------------------------------------------------- */

/* What is told to whom: for a session whose user data is the osh_http2. NULL when memory is
 * out; the caller deletes them once the session has them. */
nghttp2_session_callbacks *osh_http2_callbacks(void);
/* Look at what a client sent before nghttp2 does: returns how much of it nghttp2 shall have now. All
 * but the head of a frame that is not whole yet. */
size_t osh_http2_look_ahead(struct osh_http2 *mux, char *bytes, size_t len);
/* The peer broke the rules: tell the owner. */
void osh_http2_report(struct osh_http2 *mux, const char *reason);

/* ---- http2_stream.c ---------------------------------------------------------------------- */

/* A stream for an exchange: `conn` is one that osh_http2_carrier carries, or set later. */
struct osh_http2_stream *osh_http2_stream_new(struct osh_http2 *mux, struct osh_conn *conn);
/* Where its body comes from: give it along when a head with a body is submitted. */
nghttp2_data_provider osh_http2_body_of(struct osh_http2_stream *stream);
/* Payload came, at most a frame's: to the exchange as far as it has room, else it waits here.
 * 0 or -errno. */
int osh_http2_take_payload(struct osh_http2_stream *stream, struct osh_str payload);
/* nghttp2_send_data_callback: the payload that was read just now stands behind the bytes that
 * wait to be sent, with room for the frame's header before it. */
int osh_http2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *header, size_t len,
			nghttp2_data_source *source, void *context);

extern const struct osh_carrier osh_http2_carrier;

/* For http2.c and http2_frames.c. The exchange is to be stepped, or not any more. */
void osh_http2_set_ready(struct osh_http2_stream *stream);
void osh_http2_unset_ready(struct osh_http2_stream *stream);
/* The exchange sees a broken connection (errno). */
void osh_http2_fail(struct osh_http2_stream *stream, int error);
/* RST_STREAM. */
void osh_http2_reset(struct osh_http2_stream *stream, uint32_t code);
/* No frame of it comes or goes any more. What was received whole is still given. */
void osh_http2_close_stream(struct osh_http2_stream *stream, int error);
/* The connection is gone. */
void osh_http2_drop_stream(struct osh_http2_stream *stream);
void osh_http2_free_stream(struct osh_http2_stream *stream);

#endif
