#include <errno.h>
#include <string.h>

#include "proxy/http1_exchange.h"
#include "proxy/http_write.h"
#include "proxy/tls.h"
#include "proxy/websocket_relay.h"

#define INTERIM_MAX 16
#define PIECE_MAX (16u << 10)
#define END_OVERHEAD 128 /* last chunk, and what rewriting adds to trailers */

/* ---- Failing ------------------------------------------------------------------------ */

bool osh_exchange_is_safe(const struct osh_exchange *ex)
{
	return (ex->is_head || strcmp(ex->method, "GET") == 0 || strcmp(ex->method, "OPTIONS") == 0) &&
	       ex->request.framing == OSH_HTTP_BODY_NONE;
}

/* An HTTP/2 server has said that it did not look at the request (RFC 9113 8.7). */
static bool is_unseen(const struct osh_upstream *up)
{
	return up->conn.error == EAGAIN;
}

/* Is all of the body still here, sent or not? */
static bool has_body(const struct osh_exchange *ex)
{
	return ex->request.framing == OSH_HTTP_BODY_NONE || (ex->inspection && !ex->inspection->too_large);
}

/* A kept connection may have been closed by the server just now. A safe request is then
 * sent once more on a fresh one (RFC 9110 9.2.2), unless the server had begun to answer; so is
 * any that the server has not looked at, as long as nothing of its body is gone. */
static bool may_retry(const struct osh_session *s)
{
	const struct osh_exchange *ex = s->exchange;
	const struct osh_upstream *up = s->upstream;
	bool begun = ex->interim || up->conn.in.len;

	return !ex->retried && !begun &&
	       ((is_unseen(up) && has_body(ex)) || (up->reused && osh_exchange_is_safe(ex)));
}

static bool retry(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;

	if (!may_retry(s))
		return false;
	ex->retried = true;
	ex->request_ended = false;
	ex->held_sent = 0;
	memset(&ex->response_scan, 0, sizeof(ex->response_scan));
	osh_upstream_free(s->upstream);
	s->upstream = NULL;
	ex->state = OSH_EXCHANGE_DIAL;
	if (osh_session_dial(s, s->tls, OSH_UPSTREAM_FRESH) < 0)
		osh_session_end(s, true);
	else
		osh_exchange_await(s);
	return true;
}

/* An answer that two readers could understand differently reaches nobody (RFC 9112 11.1),
 * and its connection is never used again. */
static bool refuse_response(struct osh_session *s, const char *reason)
{
	if (s->exchange->answered) {
		osh_exchange_record(s, OSH_ENGINE_HTTP, OSH_VERDICT_DENY, reason, 0);
		osh_session_end(s, true);
		return false;
	}
	osh_exchange_fail(s, 502, "invalid_http_response", OSH_ENGINE_HTTP, reason, true);
	return true;
}

/* What an HTTP/2 stream was given up for; NULL: nothing was wrong with its frames. */
static const char *breach_of(const struct osh_conn *up)
{
	switch (up->carrier ? up->error : 0) {
	case EPROTO:
		return "the server broke the rules of HTTP/2";
	case EMSGSIZE:
	case ENOBUFS:
		return "the server's headers are too large";
	default:
		return NULL;
	}
}

/* Why there is no answer. */
static const char *loss_of(const struct osh_session *s)
{
	if (!is_unseen(s->upstream))
		return "the server closed the connection before it answered";
	return s->exchange->retried ? "the server refused the request twice without looking at it" :
				      "the server refused the request without looking at it, and its body "
				      "is not kept: send it again";
}

/* The server is gone before its answer was complete. */
static bool lose_upstream(struct osh_session *s)
{
	const char *breach = breach_of(&s->upstream->conn);
	char why[256];

	if (breach)
		return refuse_response(s, breach);
	if (s->exchange->answered) {
		osh_session_end(s, true); /* the sandbox must not take the part for the whole */
		return false;
	}
	if (osh_tls_wants_certificate(&s->upstream->conn)) {
		osh_exchange_fail(s, 502, "upstream_tls_failed", OSH_ENGINE_TLS,
				  osh_tls_failure(&s->upstream->conn, why, sizeof(why)), true);
		return true;
	}
	if (retry(s))
		return !s->reap.queued;
	osh_exchange_fail(s, 502, "upstream_failed", OSH_ENGINE_UPSTREAM, loss_of(s), false);
	return true;
}

/* ---- Dialling ------------------------------------------------------------------------- */

static void fail_dial(struct osh_session *s)
{
	const struct osh_upstream *up = s->upstream;
	const char *error = "upstream_failed";
	unsigned status = 502;

	if (up->failure_engine == OSH_ENGINE_SSRF) {
		error = "ssrf_denied";
		status = 403;
	} else if (up->timed_out) { /* RFC 9110 15.6.5 */
		error = "upstream_timeout";
		status = 504;
	} else if (up->failure_engine == OSH_ENGINE_TLS) {
		error = "upstream_tls_failed";
	}
	osh_exchange_fail(s, status, error, up->failure_engine, up->failure, true);
}

/* All that was to be asked has been: name, rules, address, certificate. Now the verdict is
 * written, and then the first byte may leave. */
static void open_gate(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_conn *up = &s->upstream->conn;

	osh_exchange_record_passed(s, ex->reason);
	up->want_read = true;
	up->out.secret |= ex->holds_secret;
	if (osh_buf_append_str(&up->out, osh_buf_str(&ex->head)) < 0) {
		osh_session_end(s, true);
		return;
	}
	ex->state = OSH_EXCHANGE_FORWARD;
	ex->request_ended = osh_http_body_is_over(&ex->request) && !ex->inspection;
	if (ex->request_ended)
		osh_loop_expect(s->view->worker->loop);
	osh_exchange_await(s);
}

bool osh_exchange_step_dial(struct osh_session *s)
{
	if (s->upstream->state == OSH_UPSTREAM_BROKEN) {
		fail_dial(s);
		return true;
	}
	if (s->upstream->state != OSH_UPSTREAM_READY)
		return false;
	open_gate(s);
	return !s->reap.queued;
}

/* ---- The request's body ------------------------------------------------------------------ */

static bool end_request(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;

	if (osh_vault_contains(osh_session_vault(s), osh_buf_str(&ex->request.trailers))) {
		osh_exchange_refuse_credential(s, &osh_credential_invalid);
		return true;
	}
	if (osh_http_write_end(&s->upstream->conn.out, ex->request.framing,
			       osh_buf_str(&ex->request.trailers)) < 0) {
		osh_session_end(s, true);
		return false;
	}
	ex->request_ended = true;
	osh_exchange_forget_large(ex);
	return true;
}

/* A body that was held goes on as it was received, or with its credentials in place. */
static bool move_held(struct osh_session *s, size_t room)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_str held = osh_inspection_sent(ex->inspection);
	size_t len = held.len - ex->held_sent;

	if (len > room)
		len = room;
	if (len > PIECE_MAX)
		len = PIECE_MAX;
	if (osh_http_write_data(&s->upstream->conn.out, ex->request.framing,
				osh_str_n(held.data + ex->held_sent, len)) < 0) {
		osh_session_end(s, true);
		return false;
	}
	ex->held_sent += len;
	ex->progress += len;
	return true;
}

static bool refuse_body(struct osh_session *s, const char *reason)
{
	/* The server has a part of it already; closing tells it that there is no more. */
	s->exchange->close = true;
	osh_exchange_fail(s, 400, "invalid_http_request", OSH_ENGINE_HTTP, reason, true);
	return true;
}

static bool move_request(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_buf *out = &s->upstream->conn.out;
	const char *reason;
	struct osh_str data;
	size_t used, room = osh_buf_free_bytes(out);

	if (ex->request_ended || room <= OSH_HTTP_TRAILERS_MAX + END_OVERHEAD)
		return false;
	room -= OSH_HTTP_CHUNK_OVERHEAD;
	if (ex->inspection && ex->held_sent < osh_inspection_sent(ex->inspection).len)
		return move_held(s, room);
	if (osh_http_body_is_over(&ex->request))
		return end_request(s);
	switch (osh_http_body_take(&ex->request, osh_buf_str(&s->conn.in),
				   room < PIECE_MAX ? room : PIECE_MAX, &used, &data, &reason)) {
	case OSH_HTTP_NEED_MORE:
		if (!s->conn.eof)
			return false;
		osh_session_end(s, true); /* the request will never be whole */
		return false;
	case OSH_HTTP_BAD:
		return ex->answered ? (osh_session_end(s, true), false) : refuse_body(s, reason);
	case OSH_HTTP_DONE:
		break;
	}
	/* Before anything can refuse it: what was taken is never read as the next request. The
	 * bytes stay where they are until more are read. */
	osh_buf_consume(&s->conn.in, used);
	ex->progress += used;
	if (!osh_exchange_check_piece(s, data, osh_http_body_is_over(&ex->request)))
		return !s->reap.queued;
	if (osh_http_write_data(out, ex->request.framing, data) < 0) {
		osh_session_end(s, true);
		return false;
	}
	return true;
}

/* ---- The response's head ------------------------------------------------------------------- */

/* Nobody will ask for it again. */
static void forget_head(struct osh_exchange *ex)
{
	osh_buf_clear(&ex->head);
	osh_buf_trim(&ex->head);
	ex->holds_secret = false;
}

/* The server accepted the upgrade: from here on frames are relayed. The request stays with
 * the session, so that a new policy is put to it too. */
static bool upgrade(struct osh_session *s, const struct osh_http_head *head)
{
	struct osh_exchange *ex = s->exchange;
	const struct osh_http_field *accept = osh_http_find(head, OSH_HTTP_SEC_WEBSOCKET_ACCEPT);
	bool extended = osh_http_find(head, OSH_HTTP_SEC_WEBSOCKET_EXTENSIONS) != NULL;
	struct osh_http_response_out how = { .client_minor = ex->minor, .websocket = true };

	if (!ex->websocket || !osh_str_caseeq_c(head->upgrade, "websocket") || !accept ||
	    !osh_str_eq_c(accept->value, ex->accept_key))
		return refuse_response(s, "the server switched protocols without being asked to");
	if (ex->inspects_text && extended)
		return refuse_response(s, "the server uses WebSocket extensions that were not asked for");
	if (osh_http_write_response(&s->conn.out, head, &how) < 0) {
		osh_session_end(s, true);
		return false;
	}
	ex->answered = true;
	forget_head(ex);
	osh_buf_consume(&s->upstream->conn.in, head->len);
	if (osh_websocket_begin(s, extended) < 0)
		osh_session_end(s, true);
	return !s->reap.queued;
}

/* 1xx: passed on to who can understand it. */
static bool pass_interim(struct osh_session *s, const struct osh_http_head *head)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_http_response_out how = { .client_minor = 1 };
	bool wanted = ex->minor == 1 && (head->status != 100 || ex->expects_continue);

	if (++ex->interim > INTERIM_MAX)
		return refuse_response(s, "too many interim responses");
	if (wanted && osh_http_write_response(&s->conn.out, head, &how) < 0) {
		osh_session_end(s, true);
		return false;
	}
	osh_buf_consume(&s->upstream->conn.in, head->len);
	memset(&ex->response_scan, 0, sizeof(ex->response_scan));
	return true;
}

/* How the body goes on to the sandbox: as chunks where its end would otherwise be told
 * only by the end of the connection, unless the client is too old for chunks. */
static enum osh_http_framing choose_framing(const struct osh_exchange *ex,
					    const struct osh_http_head *head)
{
	switch (head->framing) {
	case OSH_HTTP_BODY_CHUNKED:
	case OSH_HTTP_BODY_UNTIL_CLOSE:
		return ex->minor == 0 ? OSH_HTTP_BODY_UNTIL_CLOSE : OSH_HTTP_BODY_CHUNKED;
	case OSH_HTTP_BODY_NONE:
	case OSH_HTTP_BODY_LENGTH:
		break;
	}
	return head->framing;
}

static bool pass_final(struct osh_session *s, const struct osh_http_head *head)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_http_response_out how = { .client_minor = ex->minor };

	ex->framing_out = choose_framing(ex, head);
	ex->upstream_closes = head->close;
	if (ex->framing_out == OSH_HTTP_BODY_UNTIL_CLOSE) {
		ex->close = true;
		osh_conn_end_by_reset(&s->conn);
	}
	how.framing = ex->framing_out;
	how.close = ex->close;
	if (osh_http_write_response(&s->conn.out, head, &how) < 0) {
		osh_session_end(s, true);
		return false;
	}
	osh_http_body_init(&ex->response, head->framing, head->length);
	osh_buf_consume(&s->upstream->conn.in, head->len);
	ex->answered = true;
	forget_head(ex);
	return true;
}

static bool upstream_is_gone(const struct osh_upstream *up)
{
	return up->conn.eof || up->conn.state == OSH_CONN_FAILED;
}

static bool step_response_head(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_upstream *up = s->upstream;
	struct osh_http_head head;
	struct osh_http_error error;

	/* Written anew, a head is at most a little longer than it was. */
	if (osh_conn_out_room(&s->conn) < OSH_HTTP_RESPONSE_HEAD_MAX + 256)
		return false;
	switch (osh_http_parse_response(osh_buf_str(&up->conn.in), ex->is_head, &ex->response_scan,
					&head, &error)) {
	case OSH_HTTP_NEED_MORE:
		return upstream_is_gone(up) ? lose_upstream(s) : false;
	case OSH_HTTP_BAD:
		return refuse_response(s, error.reason);
	case OSH_HTTP_DONE:
		break;
	}
	if (head.status == 101)
		return upgrade(s, &head);
	return head.status < 200 ? pass_interim(s, &head) : pass_final(s, &head);
}

/* ---- The response's body ------------------------------------------------------------------- */

/* Both messages are complete; the connection may serve another request when nothing on it
 * is left open. */
static bool finish(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_upstream *up = s->upstream;

	if (osh_conn_out_room(&s->conn) < ex->response.trailers.len + END_OVERHEAD)
		return false;
	if (osh_http_write_end(&s->conn.out, ex->framing_out, osh_buf_str(&ex->response.trailers)) < 0) {
		osh_session_end(s, true);
		return false;
	}
	if (!ex->request_ended) {
		ex->close = true; /* answered before the whole request was there */
	} else if (!ex->upstream_closes && ex->response.framing != OSH_HTTP_BODY_UNTIL_CLOSE) {
		s->upstream = NULL;
		osh_upstream_keep(up);
		osh_loop_expect(s->view->worker->loop);
	}
	osh_exchange_over(s);
	return true;
}

/* Nothing waits before the body, and nothing is written around its pieces: a whole buffer of it
 * may change places. */
static bool may_hand_over(const struct osh_session *s)
{
	return !s->conn.out.len && s->exchange->framing_out != OSH_HTTP_BODY_CHUNKED;
}

/* Bytes of a body that may go on at once. */
static size_t piece_max(const struct osh_session *s)
{
	size_t room = osh_conn_out_room(&s->conn);

	if (may_hand_over(s))
		return room;
	if (room <= OSH_HTTP_CHUNK_OVERHEAD)
		return 0;
	room -= OSH_HTTP_CHUNK_OVERHEAD;
	return room < PIECE_MAX ? room : PIECE_MAX;
}

static int pass_data(struct osh_session *s, struct osh_str data, size_t used)
{
	struct osh_buf *in = &s->upstream->conn.in, *out = &s->conn.out;
	int r;

	if (may_hand_over(s) && data.len == in->len) {
		osh_buf_hand_over(in, out);
		return 0;
	}
	r = osh_http_write_data(out, s->exchange->framing_out, data);
	osh_buf_consume(in, used);
	return r;
}

static bool step_response_body(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_upstream *up = s->upstream;
	size_t used, max = piece_max(s);
	const char *reason;
	struct osh_str data;

	if (osh_http_body_is_over(&ex->response))
		return finish(s);
	if (max == 0)
		return false;
	switch (osh_http_body_take(&ex->response, osh_buf_str(&up->conn.in), max, &used, &data, &reason)) {
	case OSH_HTTP_NEED_MORE:
		if (!upstream_is_gone(up))
			return false;
		/* Only a clean end may stand for the end of a message. */
		if (ex->response.framing == OSH_HTTP_BODY_UNTIL_CLOSE && up->conn.eof_clean)
			return finish(s);
		return lose_upstream(s);
	case OSH_HTTP_BAD:
		return refuse_response(s, reason);
	case OSH_HTTP_DONE:
		break;
	}
	ex->progress += used;
	if (pass_data(s, data, used) < 0) {
		osh_session_end(s, true);
		return false;
	}
	return true;
}

bool osh_exchange_step_forward(struct osh_session *s)
{
	bool moved;

	/* A TLS client that closes is gone; a plain one may only have finished asking. */
	if (s->tls && s->conn.eof && !s->conn.in.len) {
		osh_session_end(s, false);
		return false;
	}
	moved = move_request(s);

	/* The request may have ended the exchange, or been refused. */
	if (s->reap.queued)
		return false;
	if (!s->exchange || s->exchange->state != OSH_EXCHANGE_FORWARD)
		return true;
	moved |= s->exchange->answered ? step_response_body(s) : step_response_head(s);
	if (s->reap.queued)
		return false;
	if (moved && s->exchange)
		osh_exchange_await(s);
	return moved;
}
