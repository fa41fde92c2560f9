#include "proxy/http2_server.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>

#include "proxy/http1.h"
#include "proxy/http2.h"

#define WINDOW (64u << 10) /* per stream; the other side of the cable is this host */
#define KEY_BYTES 16       /* RFC 6455 4.1 */

/* ---- Records -------------------------------------------------------------------------- */

static void record(struct osh_session *s, const char *reason, unsigned status)
{
	struct osh_verdict verdict = osh_session_verdict(s, OSH_ENGINE_HTTP, OSH_VERDICT_DENY, reason);
	char policy[OSH_HOST_MAX];

	if (s->decision.policy.len && osh_str_copy(s->decision.policy, policy, sizeof(policy)) == 0)
		verdict.policy = policy;
	verdict.status = status;
	osh_worker_record(s->view, &verdict);
}

static void on_fault(struct osh_http2 *mux, const char *reason)
{
	char text[256];

	snprintf(text, sizeof(text), "HTTP/2: %s", reason);
	record(mux->owner, text, 0);
}

/* ---- A request ----------------------------------------------------------------------------- */

/* The handshake that an RFC 8441 CONNECT stands for needs a key of ours. */
static int make_key(char key[4 * (KEY_BYTES + 2) / 3 + 1])
{
	unsigned char bytes[KEY_BYTES];

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return -EIO;
	EVP_EncodeBlock((unsigned char *)key, bytes, sizeof(bytes));
	return 0;
}

static int write_request(struct osh_http2_stream *st, bool ended)
{
	struct osh_http2_block *block = &st->mux->block;
	char key[4 * (KEY_BYTES + 2) / 3 + 1] = "";

	st->raw = osh_http2_is_websocket(block);
	st->is_head = osh_str_eq_c(osh_http2_block_pseudo(block, OSH_HTTP2_METHOD), "HEAD");
	if (st->raw && make_key(key) < 0)
		return -EIO;
	return osh_http2_write_request(&st->conn->in, block, ended, key, &st->framing_in);
}

/* Nobody reads further than the limit: the answer needs no exchange. */
static int refuse_too_large(struct osh_http2_stream *st)
{
	struct osh_http_head head = { .status = 431 };
	struct osh_http2_fields fields;

	record(st->mux->owner, "the headers are too large", head.status);
	osh_http2_response_fields(&head, &fields);
	return nghttp2_submit_response(st->mux->session, st->id, fields.items, fields.count, NULL);
}

static int take_head(struct osh_http2_stream *st, bool ended)
{
	struct osh_session *child;

	st->head_in = true;
	if (st->mux->block.too_large)
		return refuse_too_large(st);
	child = osh_session_new_stream(st->mux->owner, &osh_http2_carrier, st);
	if (!child) /* too many: it may come again later */
		return nghttp2_submit_rst_stream(st->mux->session, NGHTTP2_FLAG_NONE, st->id,
						 NGHTTP2_REFUSED_STREAM);
	st->conn = &child->conn;
	osh_session_touch(st->mux->owner);
	osh_http2_set_ready(st); /* it may have to be answered before its body begins */
	return write_request(st, ended);
}

/* ---- Its answer -------------------------------------------------------------------------------- */

static int submit_response(struct osh_http2_stream *st, const struct osh_http_head *head)
{
	nghttp2_session *session = st->mux->session;
	nghttp2_data_provider body = osh_http2_body_of(st);
	struct osh_http2_fields fields;

	osh_http2_response_fields(head, &fields);
	if (head->status < 200 && head->status != 101)
		return nghttp2_submit_headers(session, NGHTTP2_FLAG_NONE, st->id, NULL, fields.items,
					      fields.count, NULL);
	st->head_out = true;
	st->raw &= head->status == 101;
	osh_http_body_done(&st->body_out);
	osh_http_body_init(&st->body_out, head->framing, head->length);
	if (!st->raw && osh_http_body_is_over(&st->body_out))
		return nghttp2_submit_response(session, st->id, fields.items, fields.count, NULL);
	return nghttp2_submit_response(session, st->id, fields.items, fields.count, &body);
}

static enum osh_http_result send_head(struct osh_http2_stream *st)
{
	struct osh_buf *out = &st->conn->out;
	struct osh_http_head head;
	struct osh_http_error error;
	enum osh_http_result result =
		osh_http_parse_response(osh_buf_str(out), st->is_head, &st->scan, &head, &error);

	if (result != OSH_HTTP_DONE)
		return result;
	if (submit_response(st, &head) < 0)
		return OSH_HTTP_BAD;
	osh_buf_consume(out, head.len);
	st->scan = (struct osh_http_scan){ 0 };
	return OSH_HTTP_DONE;
}

/* ---- The connection -------------------------------------------------------------------------------- */

static void on_work(struct osh_http2 *mux)
{
	osh_session_step(mux->owner);
}

static const struct osh_http2_role server = {
	.is_server = true,
	.window = WINDOW,
	.window_max = WINDOW,
	.head_max = OSH_HTTP_REQUEST_HEAD_MAX,
	.take_head = take_head,
	.send_head = send_head,
	.on_fault = on_fault,
	.on_work = on_work,
};

int osh_http2_begin(struct osh_session *s)
{
	s->http2 = osh_http2_new(&server, s, &s->conn);
	if (!s->http2)
		return -ENOMEM;
	s->conn.want_read = true;
	osh_session_set_state(s, OSH_SESSION_HTTP2);
	return 0;
}

void osh_http2_end(struct osh_session *s)
{
	struct osh_http2 *mux = s->http2;

	s->http2 = NULL;
	osh_http2_drop(mux);
}

/* A stream has deadlines of its own only once its head is there. Bytes that drip do not put this one off;
 * what is whole before the next step needs none. */
static void time_head(struct osh_session *s)
{
	s->http2->head_timed = s->http2->head_open;
	if (s->http2->head_open)
		osh_session_set_deadline(s, osh_http1_deadlines.head);
	else
		osh_session_touch(s);
}

bool osh_http2_step(struct osh_session *s)
{
	bool moved;

	if (s->conn.state == OSH_CONN_FAILED) {
		osh_session_end(s, true);
		return false;
	}
	moved = osh_http2_run(s->http2);
	if (s->reap.queued)
		return false;
	if (s->http2->failed || (s->conn.eof && !moved)) {
		osh_session_end(s, s->http2->failed);
		return false;
	}
	if (s->http2->head_open != s->http2->head_timed)
		time_head(s);
	if (moved || !osh_http2_is_over(s->http2))
		return moved;
	osh_http2_end(s);
	s->conn.finish = true;
	osh_session_set_state(s, OSH_SESSION_CLOSING);
	return true;
}

/* Twice (RFC 9113 6.8): a request that was on its way when the first was said is still served. */
static void say_farewell(struct osh_http2 *mux)
{
	if (mux->warned || nghttp2_submit_shutdown_notice(mux->session) < 0)
		osh_http2_terminate(mux, NGHTTP2_NO_ERROR);
	mux->warned = true;
	osh_http2_schedule(mux);
}

/* In the middle of it nothing else can be said by the client, so all of the connection ends. */
static void give_up_head(struct osh_session *s)
{
	if (!s->denied) /* its verdict was given when it connected */
		on_fault(s->http2, "the head of a request, or its trailers, did not come in time");
	osh_http2_terminate(s->http2, NGHTTP2_PROTOCOL_ERROR);
}

void osh_http2_on_deadline(struct osh_session *s)
{
	if (s->http2->terminated) {
		osh_session_end(s, true);
		return;
	}
	osh_session_touch(s);
	if (s->http2->head_open)
		give_up_head(s);
	else if (!s->http2->stream_count) /* the streams have deadlines of their own */
		say_farewell(s->http2);
	osh_session_step(s);
}
