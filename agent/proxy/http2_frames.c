/* What nghttp2 tells of the frames that come and go. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "proxy/http2.h"

/* Frames that cost more than they say: resets, settings, empty data, faults. */
#define NUISANCES_MAX 200      /* at once */
#define NUISANCES_PER_S 50
/* Windows, priorities and pings (gRPC and hyper measure by one whenever data comes) go along
 * with the frames of messages, each of which pays for some; without them they are nuisances. */
#define CREDIT_PER_FRAME 16
#define CREDIT_MAX 4096

/* ---- Nuisances and faults --------------------------------------------------------------- */

static struct osh_http2_stream *find_stream(struct osh_http2 *mux, int32_t id)
{
	return nghttp2_session_get_stream_user_data(mux->session, id);
}

void osh_http2_report(struct osh_http2 *mux, const char *reason)
{
	if (mux->role->on_fault)
		mux->role->on_fault(mux, reason);
}

/* A peer that keeps us busy with nothing is sent away (rapid reset, floods of pings). */
static void count_nuisance(struct osh_http2 *mux)
{
	uint64_t now_ms = osh_loop_now_ms(mux->loop);
	uint64_t forgiven = (now_ms - mux->nuisances_since_ms) * NUISANCES_PER_S / 1000;

	if (forgiven) {
		mux->nuisances -= forgiven < mux->nuisances ? forgiven : mux->nuisances;
		mux->nuisances_since_ms = now_ms;
	}
	if (++mux->nuisances <= NUISANCES_MAX || mux->terminated)
		return;
	osh_http2_report(mux, "too many HTTP/2 frames that do nothing: resets, pings, settings or faults");
	osh_http2_terminate(mux, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void earn_credit(struct osh_http2 *mux)
{
	if (mux->credit < CREDIT_MAX)
		mux->credit += CREDIT_PER_FRAME;
}

static void spend_credit(struct osh_http2 *mux)
{
	if (mux->credit)
		mux->credit--;
	else
		count_nuisance(mux);
}

/* ---- Frames before nghttp2 sees them ----------------------------------------------------- */

#define UNKNOWN_TYPE 0xff /* passed over by everybody (RFC 9113 5.5) */

static uint32_t read_u32(const char *bytes)
{
	uint32_t be;

	memcpy(&be, bytes, sizeof(be));
	return ntohl(be);
}

/* gRPC's C core (1.51) takes calls back by a reset when it has not sent their head yet. That is a fault
 * of the connection (RFC 9113 5.1), and by the letter all other calls on it would end: they fail, and
 * the one that this client makes again by itself lacks a message where it was a stream. */
static bool takes_back(const struct osh_http2 *mux, uint8_t type, uint32_t len, uint32_t stream)
{
	return type == NGHTTP2_RST_STREAM && len == 4 && stream % 2 == 1 && stream > mux->last_opened;
}

/* Fields begin in HEADERS and end in that frame, or in a CONTINUATION. */
static void note_head(struct osh_http2 *mux, uint8_t type, uint8_t flags, uint32_t stream)
{
	mux->ends_head = flags & NGHTTP2_FLAG_END_HEADERS;
	if (type != NGHTTP2_HEADERS)
		return;
	mux->head_open = true;
	mux->head_timed = false; /* that was of another */
	if (stream > mux->last_opened)
		mux->last_opened = stream;
}

static void look_at(struct osh_http2 *mux, char head[static OSH_HTTP2_FRAME_HEADER])
{
	uint32_t len = read_u32(head) >> 8, stream = read_u32(head + 5) & INT32_MAX;
	uint8_t type = (uint8_t)head[3];

	mux->passing = OSH_HTTP2_FRAME_HEADER + len;
	mux->ends_head = false;
	if (type == NGHTTP2_HEADERS || type == NGHTTP2_CONTINUATION)
		note_head(mux, type, (uint8_t)head[4], stream);
	if (takes_back(mux, type, len, stream)) {
		head[3] = (char)UNKNOWN_TYPE;
		count_nuisance(mux);
	}
}

size_t osh_http2_look_ahead(struct osh_http2 *mux, char *bytes, size_t len)
{
	size_t at = 0;

	if (!mux->role->is_server)
		return len;
	while (at < len) {
		size_t step;

		if (mux->passing == 0 && len - at < OSH_HTTP2_FRAME_HEADER)
			break;
		if (mux->passing == 0)
			look_at(mux, bytes + at);
		step = mux->passing < len - at ? mux->passing : len - at;
		mux->passing -= step;
		if (mux->passing == 0 && mux->ends_head)
			mux->head_open = false;
		at += step;
	}
	return at;
}

/* ---- Frames that come -------------------------------------------------------------------- */

/* Frames come by here also when nghttp2 then passes them over: priorities, and HEADERS of a
 * stream that is closed (late trailers, or a number used twice). Unknown types do not; they
 * are skipped as they come. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *context)
{
	struct osh_http2 *mux = context;

	switch (hd->type) {
	case NGHTTP2_HEADERS:
		if (hd->stream_id <= nghttp2_session_get_last_proc_stream_id(session) &&
		    !nghttp2_session_find_stream(session, hd->stream_id))
			count_nuisance(mux);
		else
			earn_credit(mux);
		break;
	case NGHTTP2_DATA:
		if (hd->length)
			earn_credit(mux);
		else if (!(hd->flags & NGHTTP2_FLAG_END_STREAM))
			count_nuisance(mux);
		break;
	case NGHTTP2_RST_STREAM:
		/* A server ends what we began, once; a client begins as much as it ends. */
		if (mux->role->is_server || !nghttp2_session_find_stream(session, hd->stream_id))
			count_nuisance(mux);
		break;
	case NGHTTP2_SETTINGS:
		count_nuisance(mux);
		break;
	case NGHTTP2_CONTINUATION:
	case NGHTTP2_GOAWAY:
		break;
	default:
		spend_credit(mux);
		break;
	}
	return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct osh_http2 *mux = context;
	struct osh_http2_stream *st = NULL;

	osh_http2_block_clear(&mux->block);
	if (!mux->role->is_server || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	/* Those that were reset count until their exchange has noticed. */
	if (!mux->terminated && mux->stream_count < 2 * OSH_HTTP2_STREAMS_MAX)
		st = osh_http2_stream_new(mux, NULL);
	if (!st)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	st->id = frame->hd.stream_id;
	return nghttp2_session_set_stream_user_data(session, st->id, st);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *context)
{
	struct osh_http2 *mux = context;

	(void)session;
	(void)frame;
	(void)flags;
	return osh_http2_block_add(&mux->block, osh_str_n((const char *)name, name_len),
				   osh_str_n((const char *)value, value_len)) < 0 ?
		       NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

static int take_trailers(struct osh_http2_stream *st)
{
	return st->raw ? 0 : osh_buf_append_str(&st->trailers, osh_buf_str(&st->mux->block.lines));
}

static void on_headers(struct osh_http2 *mux, struct osh_http2_stream *st, bool ended)
{
	int r = st->head_in ? take_trailers(st) : mux->role->take_head(st, ended);

	if (r < 0) {
		osh_http2_reset(st, NGHTTP2_INTERNAL_ERROR);
		osh_http2_fail(st, -r);
	}
}

static void on_end(struct osh_http2_stream *st)
{
	st->ended_in = true;
	osh_http2_set_ready(st);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct osh_http2 *mux = context;
	struct osh_http2_stream *st = find_stream(mux, frame->hd.stream_id);
	bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	(void)session;
	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		if (st)
			on_headers(mux, st, ended);
		break;
	case NGHTTP2_DATA:
		break;
	case NGHTTP2_SETTINGS:
		mux->greeted = true; /* the peer's are the first frame of all */
		return 0;
	case NGHTTP2_GOAWAY:
		if (mux->role->on_goaway)
			mux->role->on_goaway(mux);
		return 0;
	default:
		return 0;
	}
	if (st && ended)
		on_end(st);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
		   void *context)
{
	struct osh_http2_stream *st = find_stream(context, id);

	(void)flags;
	/* The connection's window is for all: what one stream holds back is bounded by its own. */
	if (nghttp2_session_consume_connection(session, len) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (!st || !st->conn) {
		(void)nghttp2_session_consume_stream(session, id, len);
		return 0;
	}
	if (osh_http2_take_payload(st, osh_str_n((const char *)data, len)) < 0) {
		osh_http2_reset(st, NGHTTP2_INTERNAL_ERROR);
		osh_http2_fail(st, ENOMEM);
	}
	return 0;
}

/* ---- Ends ---------------------------------------------------------------------------------- */

/* EAGAIN: the peer has not looked at it (RFC 9113 8.7). */
static int error_of(uint32_t code)
{
	return code == NGHTTP2_REFUSED_STREAM ? EAGAIN : ECONNRESET;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *context)
{
	struct osh_http2_stream *st = find_stream(context, id);

	(void)session;
	if (st)
		osh_http2_close_stream(st, error_of(code));
	return 0;
}

/* ---- Frames that go --------------------------------------------------------------------- */

static void on_end_sent(struct osh_http2 *mux, struct osh_http2_stream *st)
{
	st->end_sent = true;
	/* Answered. What is left of the request is swallowed for a while: some clients take a
	 * reset while they send for a failure. */
	if (mux->role->is_server && st->conn) {
		st->conn->finished = true;
		st->conn->eof |= st->end_given;
		osh_http2_set_ready(st);
	} else if (mux->role->is_server && !st->ended_in) {
		/* Nobody took the request, so nobody ends it (RFC 9113 8.1). */
		osh_http2_reset(st, NGHTTP2_NO_ERROR);
	}
}

/* Codes that nghttp2 gives to what the peer did; ours are others. */
static bool is_breach(uint32_t code)
{
	return code == NGHTTP2_PROTOCOL_ERROR || code == NGHTTP2_FLOW_CONTROL_ERROR ||
	       code == NGHTTP2_STREAM_CLOSED || code == NGHTTP2_FRAME_SIZE_ERROR;
}

/* EPROTO: what we say when the peer broke the rules, so that the exchange can tell of it. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct osh_http2 *mux = context;
	struct osh_http2_stream *st = find_stream(mux, frame->hd.stream_id);

	(void)session;
	switch (frame->hd.type) {
	case NGHTTP2_GOAWAY:
		if (frame->goaway.error_code != NGHTTP2_NO_ERROR)
			mux->error = EPROTO;
		break;
	case NGHTTP2_RST_STREAM:
		if (st && is_breach(frame->rst_stream.error_code))
			osh_http2_fail(st, EPROTO);
		break;
	case NGHTTP2_HEADERS:
	case NGHTTP2_DATA:
		earn_credit(mux);
		if (st && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
			on_end_sent(mux, st);
		break;
	default:
		break;
	}
	return 0;
}

/* A request that came too late for a connection that is ending, or that was taken back before it
 * was sent. nghttp2 has opened its stream all the same, and closes it next. */
static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error, void *context)
{
	struct osh_http2 *mux = context;
	struct osh_http2_stream *st = find_stream(mux, frame->hd.stream_id);

	(void)session;
	(void)error;
	if (st && !mux->role->is_server && frame->hd.type == NGHTTP2_HEADERS)
		osh_http2_fail(st, EAGAIN);
	return 0;
}

/* ---- What breaks the rules --------------------------------------------------------------- */

/* nghttp2 would leave such a field out; whoever reads the bytes otherwise would not. */
static int refuse_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
			 size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *context)
{
	(void)session;
	(void)frame;
	(void)name;
	(void)name_len;
	(void)value;
	(void)value_len;
	(void)flags;
	(void)context;
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *context)
{
	struct osh_http2 *mux = context;

	(void)session;
	(void)frame;
	osh_http2_report(mux, nghttp2_strerror(error));
	count_nuisance(mux);
	return 0;
}

/* ---- All of them ----------------------------------------------------------------------- */

nghttp2_session_callbacks *osh_http2_callbacks(void)
{
	nghttp2_session_callbacks *cb;

	if (nghttp2_session_callbacks_new(&cb) < 0)
		return NULL;
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(cb, refuse_header);
	nghttp2_session_callbacks_set_send_data_callback(cb, osh_http2_send_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
	return cb;
}
