/* The order of an exchange's phases, and how long each may last. */
#include "proxy/http1.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/block.h"
#include "proxy/http1_exchange.h"
#include "proxy/websocket_relay.h"

#define ANSWER_ROOM (24u << 10)     /* the longest answer of our own */
#define PROGRESS_MIN 1024           /* bytes that a body has to move by before its deadline */

struct osh_http1_deadlines osh_http1_deadlines = {
	.head = 30000,
	.dial = 60000,
	.body = 60000,
	.reader = 120000,
	.response = 600000, /* a model may think for minutes before its first byte */
	.stream = 7200000,  /* as a relayed connection */
};

/* ---- Life ------------------------------------------------------------------------- */

static void free_exchange(struct osh_exchange *ex)
{
	osh_buf_done(&ex->head);
	osh_inspection_free(ex->inspection);
	osh_http_body_done(&ex->request);
	osh_http_body_done(&ex->response);
	free(ex->target);
	free(ex->path);
	osh_block_free(ex, sizeof(*ex));
}

/* Its server was asked for already, by name and perhaps by address: what allowed that is on record,
 * whoever ends it now. */
static void record_unreached(struct osh_session *s)
{
	char reason[sizeof(s->exchange->reason) + OSH_UNREACHED_MAX];

	osh_session_say_unreached(s->exchange->reason, reason, sizeof(reason));
	osh_exchange_record_passed(s, reason);
}

void osh_http1_drop(struct osh_session *s)
{
	if (!s->exchange)
		return;
	if (s->exchange->state == OSH_EXCHANGE_DIAL)
		record_unreached(s);
	free_exchange(s->exchange);
	s->exchange = NULL;
}

static void start_closing(struct osh_session *s)
{
	s->conn.finish = true;
	osh_session_set_state(s, OSH_SESSION_CLOSING);
}

void osh_exchange_over(struct osh_session *s)
{
	bool close = s->exchange->close;

	osh_upstream_free(s->upstream);
	s->upstream = NULL;
	osh_http1_drop(s);
	if (close)
		start_closing(s);
	else
		osh_session_touch(s); /* idle until the next request */
}

/* Is it a stream, in which either side may be silent? What has its answer begun, and a call of
 * gRPC from the start. */
static bool is_stream(const struct osh_exchange *ex)
{
	return ex->state == OSH_EXCHANGE_FORWARD && (ex->answered || ex->grpc);
}

static enum osh_exchange_wait waits_for(const struct osh_session *s)
{
	const struct osh_exchange *ex = s->exchange;

	if (ex->state == OSH_EXCHANGE_DIAL)
		return OSH_WAIT_DIAL;
	if (ex->state == OSH_EXCHANGE_FORWARD && s->conn.out.len > 0)
		return OSH_WAIT_READER;
	if (is_stream(ex))
		return OSH_WAIT_STREAM;
	if (ex->state == OSH_EXCHANGE_DRAIN || !osh_http_body_is_over(&ex->request))
		return OSH_WAIT_BODY;
	return OSH_WAIT_RESPONSE;
}

static uint64_t patience_ms(enum osh_exchange_wait wait)
{
	switch (wait) {
	case OSH_WAIT_DIAL:
		return osh_http1_deadlines.dial;
	case OSH_WAIT_READER:
		return osh_http1_deadlines.reader;
	case OSH_WAIT_STREAM:
		return osh_http1_deadlines.stream;
	case OSH_WAIT_BODY:
		return osh_http1_deadlines.body;
	case OSH_WAIT_RESPONSE:
	case OSH_WAIT_NOTHING:
		break;
	}
	return osh_http1_deadlines.response;
}

/* A body that drips, or drips out, does not put its deadline off: before it has to move by
 * PROGRESS_MIN (as Apache's RequestReadTimeout and IIS's minBytesPerSecond want it). One that has
 * passed was forgiven. */
static bool is_dripping(const struct osh_exchange *ex, enum osh_exchange_wait wait, uint64_t now_ms)
{
	return wait == ex->wait && (wait == OSH_WAIT_READER || wait == OSH_WAIT_BODY) &&
	       ex->progress < PROGRESS_MIN && ex->due_ms > now_ms;
}

void osh_exchange_await(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;
	enum osh_exchange_wait wait = waits_for(s);
	uint64_t now_ms = osh_loop_now_ms(s->view->worker->loop);

	if (!is_dripping(ex, wait, now_ms)) {
		ex->wait = wait;
		ex->progress = 0;
		ex->due_ms = now_ms + patience_ms(wait);
	}
	osh_session_set_deadline(s, ex->due_ms - now_ms);
}

/* ---- Steps ---------------------------------------------------------------------------- */

static struct osh_exchange *new_exchange(void)
{
	struct osh_exchange *ex = osh_block_alloc(sizeof(*ex));

	if (!ex)
		return NULL;
	memset(ex, 0, offsetof(struct osh_exchange, method));
	ex->method[0] = ex->authority[0] = ex->accept_key[0] = '\0';
	ex->policy[0] = ex->reason[0] = ex->message[0] = '\0';
	ex->scan.tail_len = 0;
	osh_override_init(&ex->form, OSH_FORM_NONE);
	return ex;
}

/* Between requests. A single empty line there is ignored (RFC 9112 2.2). */
static bool begin(struct osh_session *s)
{
	struct osh_buf *in = &s->conn.in;

	if (in->len == 0) {
		if (!s->conn.eof)
			return false;
		start_closing(s);
		return true;
	}
	/* An answer of ours must fit behind what is still to be sent. */
	if (osh_conn_out_room(&s->conn) < ANSWER_ROOM)
		return false;
	if (osh_buf_bytes(in)[0] == '\r' && !s->skipped_line) {
		if (in->len >= 2 && osh_buf_bytes(in)[1] == '\n') {
			osh_buf_consume(in, 2);
			s->skipped_line = true;
			return true;
		}
		if (in->len < 2 && !s->conn.eof)
			return false;
	}
	s->skipped_line = false;
	s->exchange = new_exchange();
	if (!s->exchange) {
		osh_session_end(s, true);
		return false;
	}
	osh_session_set_deadline(s, osh_http1_deadlines.head);
	return true;
}

bool osh_http1_step(struct osh_session *s)
{
	if (s->conn.state == OSH_CONN_FAILED) {
		osh_session_end(s, true);
		return false;
	}
	if (!s->exchange)
		return begin(s);
	switch (s->exchange->state) {
	case OSH_EXCHANGE_HEAD:
		return osh_exchange_step_head(s);
	case OSH_EXCHANGE_HOLD:
		return osh_exchange_step_hold(s);
	case OSH_EXCHANGE_DIAL:
		return osh_exchange_step_dial(s);
	case OSH_EXCHANGE_FORWARD:
		return osh_exchange_step_forward(s);
	case OSH_EXCHANGE_DRAIN:
		return osh_exchange_step_drain(s);
	}
	return false;
}

/* ---- Time -------------------------------------------------------------------------------- */

static bool forward_timed_out(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;

	/* What it did not take at the last step has gone out since: now it is the server
	 * that is waited for. */
	if (ex->wait == OSH_WAIT_READER && !s->conn.out.len) {
		osh_exchange_await(s);
		return true;
	}
	if (ex->answered)
		return false; /* too late for words */
	if (s->upstream->conn.out.len)
		osh_exchange_fail(s, 504, "upstream_timeout", OSH_ENGINE_UPSTREAM,
				  "the server takes no more of the request", false);
	else if (!osh_http_body_is_over(&ex->request))
		osh_exchange_fail(s, 408, "request_timeout", OSH_ENGINE_HTTP,
				  "the rest of the request came too slowly, or not at all", false);
	else
		osh_exchange_fail(s, 504, "upstream_timeout", OSH_ENGINE_UPSTREAM,
				  "the server did not answer in time", false);
	return true;
}

bool osh_http1_on_deadline(struct osh_session *s)
{
	static const struct osh_http_error slow = { "the request head did not come in time", 408 };

	if (!s->exchange) {
		start_closing(s); /* idle */
		return true;
	}
	switch (s->exchange->state) {
	case OSH_EXCHANGE_HEAD:
		osh_exchange_refuse_malformed(s, &slow);
		return true;
	case OSH_EXCHANGE_HOLD:
		osh_exchange_fail(s, 408, "request_timeout", OSH_ENGINE_HTTP,
				  "the request's body, which has to be inspected, did not come in time", true);
		return true;
	case OSH_EXCHANGE_DIAL:
		osh_exchange_fail(s, 504, "upstream_timeout", OSH_ENGINE_UPSTREAM,
				  "no connection to the server in time", true);
		return true;
	case OSH_EXCHANGE_FORWARD:
		return forward_timed_out(s);
	case OSH_EXCHANGE_DRAIN:
		break;
	}
	return false;
}

/* ---- A new policy ------------------------------------------------------------------------ */

/* Extensions may have been agreed upon when nobody had to read the texts. */
static void demand_inspection(const struct osh_exchange *ex, struct osh_judgement *j)
{
	static const char reason[] = "the policy now inspects the texts of this WebSocket: reconnect";

	if (j->effect == OSH_EFFECT_DENY || !j->decision.text_inspected || ex->inspects_text)
		return;
	j->effect = OSH_EFFECT_DENY;
	j->status = 403;
	snprintf(j->decision.reason, sizeof(j->decision.reason), "%s", reason);
}

void osh_http1_judge_again(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_judgement j;

	if (!ex || ex->state == OSH_EXCHANGE_HEAD || ex->state == OSH_EXCHANGE_HOLD ||
	    ex->state == OSH_EXCHANGE_DRAIN)
		return; /* judged when it is whole, or answered already */
	osh_exchange_judge(s, &j);
	osh_exchange_keep_decision(ex, &j);
	demand_inspection(ex, &j);
	if (j.effect != OSH_EFFECT_DENY)
		return;
	osh_exchange_record(s, j.engine, OSH_VERDICT_DENY, j.decision.reason,
			    ex->answered ? 0 : j.status);
	if (s->state == OSH_SESSION_WEBSOCKET) {
		osh_websocket_reload(s, j.decision.reason);
		osh_session_step(s);
		return;
	}
	if (ex->answered) {
		osh_session_end(s, true);
		return;
	}
	j.path.path = osh_str(ex->path);
	osh_exchange_answer(s, &j, osh_http_body_is_over(&ex->request));
	osh_session_step(s);
}
