/* The streams of an HTTP/2 connection, each a connection to its exchange. */
#include "proxy/http2.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "base/block.h"
#include "proxy/http_write.h"

#define PIECE_MAX (16u << 10)
/* A frame fills a TLS record, and leaves no few bytes for one more. */
#define FRAME_PAYLOAD_MAX (SSL3_RT_MAX_PLAIN_LENGTH - OSH_HTTP2_FRAME_HEADER)
#define GROWTH_MAX (8u << 20) /* of all windows on a connection together */
#define END_OVERHEAD 128 /* last chunk, and what rewriting adds to trailers */
/* Kept free behind payload: nghttp2 sends trailers, or a reset, in the same breath. */
#define LAST_WORDS_ROOM (OSH_HTTP_TRAILERS_MAX + 1024)

/* ---- Streams ----------------------------------------------------------------------------- */

struct osh_http2_stream *osh_http2_stream_new(struct osh_http2 *mux, struct osh_conn *conn)
{
	struct osh_http2_stream *st = osh_block_zalloc(sizeof(*st));

	if (!st)
		return NULL;
	st->mux = mux;
	st->conn = conn;
	st->window = mux->role->window;
	osh_buf_init(&st->payload, st->window);
	osh_buf_init(&st->trailers, OSH_HTTP_TRAILERS_MAX);
	osh_http_body_init(&st->body_out, OSH_HTTP_BODY_NONE, 0);
	DL_APPEND(mux->streams, st);
	mux->stream_count++;
	return st;
}

void osh_http2_set_ready(struct osh_http2_stream *st)
{
	if (st->is_ready)
		return;
	st->is_ready = true;
	DL_APPEND2(st->mux->ready, st, ready_prev, ready_next);
}

void osh_http2_unset_ready(struct osh_http2_stream *st)
{
	if (!st->is_ready)
		return;
	st->is_ready = false;
	DL_DELETE2(st->mux->ready, st, ready_prev, ready_next);
}

void osh_http2_free_stream(struct osh_http2_stream *st)
{
	osh_http2_unset_ready(st);
	DL_DELETE(st->mux->streams, st);
	st->mux->stream_count--;
	st->mux->grown -= st->window - st->mux->role->window;
	osh_buf_done(&st->payload);
	osh_buf_done(&st->trailers);
	osh_http_body_done(&st->body_out);
	osh_block_free(st, sizeof(*st));
}

void osh_http2_fail(struct osh_http2_stream *st, int error)
{
	if (!st->conn || st->conn->state == OSH_CONN_FAILED)
		return; /* the first reason stands */
	st->conn->state = OSH_CONN_FAILED;
	st->conn->error = error;
	osh_http2_set_ready(st);
}

void osh_http2_reset(struct osh_http2_stream *st, uint32_t code)
{
	if (st->id && !st->closed)
		(void)nghttp2_submit_rst_stream(st->mux->session, NGHTTP2_FLAG_NONE, st->id, code);
	osh_http2_schedule(st->mux);
}

void osh_http2_close_stream(struct osh_http2_stream *st, int error)
{
	st->closed = true;
	if (!st->conn) {
		osh_http2_free_stream(st);
		return;
	}
	if (st->mux->role->is_server ? !st->end_sent : !st->ended_in)
		osh_http2_fail(st, error);
	osh_http2_set_ready(st);
}

/* ---- From frames to the exchange -------------------------------------------------------------- */

static int give_end(struct osh_http2_stream *st)
{
	struct osh_conn *conn = st->conn;
	int r = 0;

	if (!st->raw)
		r = osh_http_write_end(&conn->in, st->framing_in, osh_buf_str(&st->trailers));
	st->end_given = true;
	/* A request says itself where it ends, and its sender still listens. */
	if (st->raw || st->end_sent || !st->mux->role->is_server)
		conn->eof = conn->eof_clean = true;
	return r;
}

/* Does the exchange take a piece now, and has it room for the end behind it? */
static bool takes(const struct osh_http2_stream *st)
{
	const struct osh_conn *conn = st->conn;

	return conn->state == OSH_CONN_OPEN && conn->want_read && !conn->hold_read &&
	       (!st->raw || st->head_out) &&
	       osh_buf_free_bytes(&conn->in) > OSH_HTTP_TRAILERS_MAX + END_OVERHEAD;
}

/* As much of it as the exchange has room for. */
static struct osh_str piece_of(const struct osh_http2_stream *st, struct osh_str payload)
{
	size_t room = osh_buf_free_bytes(&st->conn->in) - OSH_HTTP_CHUNK_OVERHEAD;

	room = room < PIECE_MAX ? room : PIECE_MAX;
	return osh_str_n(payload.data, payload.len < room ? payload.len : room);
}

/* Twice the window for who has taken as much as one, and leaves nothing lying. */
static void grow_window(struct osh_http2_stream *st)
{
	struct osh_http2 *mux = st->mux;
	uint32_t twice = 2 * st->window;

	if (st->given < st->window || st->payload.len || twice > mux->role->window_max ||
	    mux->grown + st->window > GROWTH_MAX ||
	    nghttp2_session_set_local_window_size(mux->session, NGHTTP2_FLAG_NONE, st->id, (int32_t)twice) < 0)
		return;
	mux->grown += st->window;
	st->window = twice;
	st->payload.max = twice;
	st->given = 0;
}

static int give_piece(struct osh_http2_stream *st, struct osh_str piece)
{
	enum osh_http_framing framing = st->raw ? OSH_HTTP_BODY_UNTIL_CLOSE : st->framing_in;
	int r = osh_http_write_data(&st->conn->in, framing, piece);

	if (st->closed)
		return r;
	st->given += piece.len;
	grow_window(st);
	if (nghttp2_session_consume_stream(st->mux->session, st->id, piece.len) == 0)
		osh_http2_schedule(st->mux); /* the window may open */
	return r;
}

int osh_http2_take_payload(struct osh_http2_stream *st, struct osh_str payload)
{
	size_t given = 0;
	int r = 0;

	if (!st->payload.len && takes(st)) {
		struct osh_str piece = piece_of(st, payload);

		r = give_piece(st, piece);
		given = piece.len;
	}
	osh_http2_set_ready(st);
	return r < 0 ? r : osh_buf_append(&st->payload, payload.data + given, payload.len - given);
}

static int give_payload(struct osh_http2_stream *st)
{
	struct osh_str piece = piece_of(st, osh_buf_str(&st->payload));
	int r = give_piece(st, piece);

	osh_buf_consume(&st->payload, piece.len);
	return r;
}

/* As much as the exchange has room for. */
static void give(struct osh_http2_stream *st)
{
	int r = 0;

	while (r == 0 && !st->end_given && takes(st)) {
		if (st->payload.len)
			r = give_payload(st);
		else if (st->ended_in)
			r = give_end(st);
		else
			return;
	}
	if (r < 0) {
		osh_http2_reset(st, NGHTTP2_INTERNAL_ERROR);
		osh_http2_fail(st, ENOMEM);
	}
}

/* ---- From the exchange to frames ---------------------------------------------------------------- */

static ssize_t end_body(struct osh_http2_stream *st, uint32_t *flags)
{
	struct osh_http2_fields trailers;

	*flags |= NGHTTP2_DATA_FLAG_EOF;
	osh_http2_trailer_fields(osh_buf_str(&st->body_out.trailers), &trailers);
	if (trailers.count) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (nghttp2_submit_trailer(st->mux->session, st->id, trailers.items, trailers.count) < 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	return 0;
}

static size_t copy_raw(struct osh_conn *conn, uint8_t *room, size_t size)
{
	size_t len = conn->out.len < size ? conn->out.len : size;

	if (len)
		memcpy(room, osh_buf_bytes(&conn->out), len);
	osh_buf_consume(&conn->out, len);
	return len;
}

/* Payload out of the exchange's framing. -EBADMSG when there is none to be seen. */
static ssize_t copy_payload(struct osh_http2_stream *st, uint8_t *room, size_t size)
{
	struct osh_conn *conn = st->conn;
	size_t len = 0, used;
	const char *reason;
	struct osh_str data;

	while (len < size) {
		switch (osh_http_body_take(&st->body_out, osh_buf_str(&conn->out), size - len, &used, &data,
					   &reason)) {
		case OSH_HTTP_NEED_MORE:
			return (ssize_t)len;
		case OSH_HTTP_BAD:
			return -EBADMSG;
		case OSH_HTTP_DONE:
			break;
		}
		if (data.len)
			memcpy(room + len, data.data, data.len);
		len += data.len;
		osh_buf_consume(&conn->out, used);
	}
	return (ssize_t)len;
}

/* nghttp2 wants payload for a DATA frame. It goes to where the frame will be sent from, and
 * not by way of nghttp2's own buffer; osh_http2_send_data writes the frame's header before it. */
static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size,
			 uint32_t *flags, nghttp2_data_source *source, void *context)
{
	struct osh_http2_stream *st = source->ptr;
	struct osh_buf *link = &st->mux->conn->out;
	struct osh_conn *conn = st->conn;
	uint8_t *room;
	ssize_t len;
	bool over;

	(void)session;
	(void)id;
	(void)buf;
	(void)context;
	if (!conn)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* its reset is on the way */
	size = size < FRAME_PAYLOAD_MAX ? size : FRAME_PAYLOAD_MAX;
	if (osh_buf_free_bytes(link) < OSH_HTTP2_FRAME_HEADER + size + LAST_WORDS_ROOM)
		return NGHTTP2_ERR_PAUSE;
	link->secret |= conn->out.secret;
	if (osh_buf_reserve(link, OSH_HTTP2_FRAME_HEADER + size) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	room = (uint8_t *)osh_buf_tail(link) + OSH_HTTP2_FRAME_HEADER;
	len = st->raw ? (ssize_t)copy_raw(conn, room, size) : copy_payload(st, room, size);
	over = st->raw ? conn->finish && !conn->out.len : osh_http_body_is_over(&st->body_out);
	osh_conn_wipe_sent(conn);
	if (len < 0 || (over && end_body(st, flags) < 0)) {
		osh_http2_fail(st, EPROTO);
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	if (len == 0 && !over)
		return NGHTTP2_ERR_DEFERRED;
	osh_http2_set_ready(st); /* there is room for more */
	return len;
}

int osh_http2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *header, size_t len,
			nghttp2_data_source *source, void *context)
{
	struct osh_http2_stream *st = source->ptr;
	struct osh_buf *link = &st->mux->conn->out;

	(void)session;
	(void)frame;
	(void)context;
	memcpy(osh_buf_tail(link), header, OSH_HTTP2_FRAME_HEADER);
	osh_buf_grew(link, OSH_HTTP2_FRAME_HEADER + len);
	return 0;
}

nghttp2_data_provider osh_http2_body_of(struct osh_http2_stream *st)
{
	return (nghttp2_data_provider){ .source = { .ptr = st }, .read_callback = read_body };
}

static void take(struct osh_http2_stream *st)
{
	while (!st->head_out && st->conn->out.len) {
		switch (st->mux->role->send_head(st)) {
		case OSH_HTTP_NEED_MORE:
			return;
		case OSH_HTTP_BAD:
			osh_http2_reset(st, NGHTTP2_INTERNAL_ERROR);
			osh_http2_fail(st, st->conn->error ? st->conn->error : EPROTO);
			return;
		case OSH_HTTP_DONE:
			osh_conn_wipe_sent(st->conn);
			osh_http2_schedule(st->mux);
			break;
		}
	}
	if (st->head_out && !st->end_sent && (st->conn->out.len || st->conn->finish) &&
	    nghttp2_session_resume_data(st->mux->session, st->id) == 0)
		osh_http2_schedule(st->mux);
}

/* ---- The stream as a connection -------------------------------------------------------------------- */

static void pump(struct osh_conn *conn)
{
	struct osh_http2_stream *st = conn->stream;

	if (!st || conn->state != OSH_CONN_OPEN)
		return;
	give(st);
	if (!st->closed && conn->state == OSH_CONN_OPEN)
		take(st);
}

static void leave(struct osh_conn *conn, bool reset)
{
	struct osh_http2_stream *st = conn->stream;
	uint32_t code = NGHTTP2_CANCEL;
	struct osh_http2 *mux;

	if (!st)
		return;
	mux = st->mux;
	if (mux->role->is_server)
		code = st->end_sent && !reset ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR;
	conn->stream = NULL;
	st->conn = NULL;
	osh_http2_unset_ready(st);
	if (!st->id || st->closed || mux->dropped)
		osh_http2_free_stream(st);
	else
		osh_http2_reset(st, code);
	osh_http2_schedule(mux);
}

const struct osh_carrier osh_http2_carrier = { .pump = pump, .close = leave };

/* ---- The connection is gone ------------------------------------------------------------- */

void osh_http2_drop_stream(struct osh_http2_stream *st)
{
	struct osh_conn *conn = st->conn;
	unsigned long tls_error = st->mux->tls_error;
	int error = st->mux->error;

	st->closed = true;
	if (conn && !st->mux->role->is_server && st->ended_in)
		return; /* the exchange takes what is there, then lets go */
	osh_http2_free_stream(st);
	if (!conn)
		return;
	conn->stream = NULL;
	conn->state = OSH_CONN_FAILED;
	conn->error = error;
	conn->tls_error = tls_error;
	conn->on_event(conn);
}
