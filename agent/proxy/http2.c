#include "proxy/http2.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/mem.h"

#define CONNECTION_WINDOW (16 << 20) /* never what is waited for: the streams' windows bound memory */
#define FRAME_ROOM (18u << 10) /* the longest piece that nghttp2 sends at once */
#define OUTBOUND_ACKS_MAX 64
#define SETTINGS_MAX 16        /* entries of one frame */
#define BLOCK_MAX (2 * OSH_HTTP_OWN_HEAD_MAX) /* sent, by nghttp2's estimate of the worst */

/* ---- Life ---------------------------------------------------------------------------------------------- */

static nghttp2_option *make_options(void)
{
	nghttp2_option *option;

	if (nghttp2_option_new(&option) < 0)
		return NULL;
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_no_closed_streams(option, 1);
	nghttp2_option_set_max_outbound_ack(option, OUTBOUND_ACKS_MAX);
	nghttp2_option_set_max_settings(option, SETTINGS_MAX);
	nghttp2_option_set_max_send_header_block_length(option, BLOCK_MAX);
	/* Until the server says how many it takes, the others wait here. */
	nghttp2_option_set_peer_max_concurrent_streams(option, 1);
	return option;
}

static int open_session(struct osh_http2 *mux)
{
	nghttp2_session_callbacks *cb = osh_http2_callbacks();
	nghttp2_option *option = make_options();
	nghttp2_mem memory = osh_http2_memory_functions(&mux->memory);
	int r = -ENOMEM;

	if (cb && option && mux->role->is_server)
		r = nghttp2_session_server_new3(&mux->session, cb, mux, option, &memory);
	else if (cb && option)
		r = nghttp2_session_client_new3(&mux->session, cb, mux, option, &memory);
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(option);
	return r;
}

static int submit_settings(struct osh_http2 *mux)
{
	nghttp2_settings_entry common[] = {
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, mux->role->window },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)mux->role->head_max },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, OSH_HTTP2_STREAMS_MAX },
		/* The last is each side's own. */
		{ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
	};
	size_t count = sizeof(common) / sizeof(common[0]);

	if (!mux->role->is_server)
		common[count - 1] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 };
	if (nghttp2_submit_settings(mux->session, NGHTTP2_FLAG_NONE, common, count) < 0)
		return -ENOMEM;
	return nghttp2_session_set_local_window_size(mux->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
}

static void free_mux(struct osh_http2 *mux)
{
	struct osh_http2_stream *st, *next;

	nghttp2_session_del(mux->session);
	osh_http2_memory_done(&mux->memory);
	DL_FOREACH_SAFE(mux->streams, st, next)
		osh_http2_free_stream(st);
	osh_http2_block_done(&mux->block);
	free(mux);
}

static void work(struct osh_deferred *deferred)
{
	struct osh_http2 *mux = osh_container_of(deferred, struct osh_http2, work);

	if (!mux->dropped)
		mux->role->on_work(mux);
	else if (!mux->streams)
		free_mux(mux);
}

struct osh_http2 *osh_http2_new(const struct osh_http2_role *role, void *owner, struct osh_conn *conn)
{
	struct osh_http2 *mux = calloc(1, sizeof(*mux));

	if (!mux)
		return NULL;
	mux->role = role;
	mux->owner = owner;
	mux->loop = conn->loop;
	mux->conn = conn;
	mux->work.run = work;
	mux->error = ECONNRESET;
	mux->passing = role->is_server ? NGHTTP2_CLIENT_MAGIC_LEN : 0;
	osh_http2_block_init(&mux->block, role->head_max);
	if (open_session(mux) < 0 || submit_settings(mux) < 0) {
		free_mux(mux);
		return NULL;
	}
	return mux;
}

void osh_http2_schedule(struct osh_http2 *mux)
{
	if (!mux->running)
		osh_loop_defer(mux->loop, &mux->work);
}

void osh_http2_drop(struct osh_http2 *mux)
{
	struct osh_http2_stream *st, *next;

	if (!mux || mux->dropped)
		return;
	mux->dropped = true;
	mux->running = false;
	mux->tls_error = mux->conn->tls_error;
	mux->conn = NULL;
	DL_FOREACH_SAFE(mux->streams, st, next)
		osh_http2_drop_stream(st);
	osh_http2_schedule(mux);
}

void osh_http2_terminate(struct osh_http2 *mux, uint32_t code)
{
	mux->terminated = true;
	if (nghttp2_session_terminate_session(mux->session, code) < 0)
		mux->failed = true;
	osh_http2_schedule(mux);
}

bool osh_http2_is_over(const struct osh_http2 *mux)
{
	return !nghttp2_session_want_read(mux->session) && !nghttp2_session_want_write(mux->session);
}

/* ---- Moving ---------------------------------------------------------------------------------------------- */

/* Not while our answers do not leave: they would pile up. */
static bool feed(struct osh_http2 *mux)
{
	struct osh_buf *in = &mux->conn->in;
	size_t len;
	ssize_t n;

	if (!in->len || osh_conn_out_room(mux->conn) < FRAME_ROOM)
		return false;
	len = osh_http2_look_ahead(mux, osh_buf_bytes(in), in->len);
	if (len == 0)
		return false;
	n = nghttp2_session_mem_recv(mux->session, (const uint8_t *)osh_buf_bytes(in), len);
	if (n < 0) {
		osh_http2_report(mux, nghttp2_strerror((int)n));
		mux->failed = true;
		mux->error = EPROTO;
		return false;
	}
	osh_buf_consume(in, len); /* no callback of ours pauses: it took all */
	return true;
}

static bool notify(struct osh_http2 *mux)
{
	struct osh_http2_stream *st;
	bool any = false;

	while (!mux->dropped && (st = mux->ready)) {
		osh_http2_unset_ready(st);
		any = true;
		if (st->conn)
			st->conn->on_event(st->conn);
	}
	return any;
}

static bool send_frames(struct osh_http2 *mux)
{
	struct osh_buf *out = &mux->conn->out;
	size_t before = out->len;

	while (osh_buf_free_bytes(out) >= FRAME_ROOM) {
		const uint8_t *data; /* DATA frames are in `out` already */
		ssize_t n = nghttp2_session_mem_send(mux->session, &data);

		if (n == 0)
			break;
		if (n < 0 || osh_buf_append(out, data, (size_t)n) < 0) {
			mux->failed = true;
			return false;
		}
	}
	return out->len > before;
}

bool osh_http2_run(struct osh_http2 *mux)
{
	bool moved;

	mux->running = true; /* what is submitted meanwhile is sent below */
	moved = feed(mux);
	moved |= notify(mux);
	if (!mux->dropped && !mux->failed)
		moved |= send_frames(mux);
	mux->failed |= mux->memory.starved;
	mux->running = false;
	return moved && !mux->dropped && !mux->failed;
}
