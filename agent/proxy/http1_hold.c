/* Requests whose body the rules have to see, or that credentials are put into: nothing of them goes to the server, nobody is
 * even dialled, before the whole body has been held and judged. */
#include <errno.h>

#include "proxy/http1_exchange.h"
#include "proxy/http_write.h"

#define PIECE_MAX (16u << 10)
#define KEPT_BYTES_MAX (16u << 10) /* of a body that has gone on, for a policy that may come */

struct osh_request_facts osh_exchange_facts(const struct osh_exchange *ex)
{
	return (struct osh_request_facts){
		.method = osh_str(ex->method),
		.target = osh_str(ex->target),
		.authority = osh_str(ex->authority),
		.websocket_upgrade = ex->websocket,
	};
}

void osh_exchange_judge(struct osh_session *s, struct osh_judgement *j)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_request_facts facts = osh_exchange_facts(ex);

	if (ex->inspection) {
		osh_judge_body(s, &facts, ex->inspection, j);
		return;
	}
	osh_judge_request(s, &facts, j);
	if (osh_judge_wants_body(j))
		snprintf(j->decision.reason, sizeof(j->decision.reason),
			 "the new policy inspects bodies here, and that of this request is gone: "
			 "send it again");
}

void osh_exchange_forget_large(struct osh_exchange *ex)
{
	if (!ex->inspection || ex->inspection->body.len <= KEPT_BYTES_MAX)
		return;
	osh_inspection_free(ex->inspection);
	ex->inspection = NULL;
}

static bool refuse_for_want_of_room(struct osh_session *s)
{
	s->exchange->close = true;
	osh_exchange_fail(s, 503, "inspection_saturated", OSH_ENGINE_L7,
			  "too many request bodies are under inspection at once in this sandbox", true);
	return !s->reap.queued;
}

/* Put the credentials into a body that was allowed, and then the end to its head. False:
 * refused, or the session ended. */
static bool rewrite_held(struct osh_session *s, const struct osh_decision *decision)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_inspection *inspection = ex->inspection;
	const struct osh_credential_fault *fault = NULL;
	struct osh_str sent;

	osh_buf_init_secret(&inspection->sent, OSH_REWRITE_BODY_OUT_MAX);
	if (ex->rewrites_body)
		fault = osh_rewrite_body(s, decision, inspection, &inspection->sent);
	if (fault) {
		osh_exchange_refuse_credential(s, fault);
		return false;
	}
	if (!osh_held_take(s->view, inspection->sent.len)) {
		osh_buf_done(&inspection->sent);
		refuse_for_want_of_room(s);
		return false;
	}
	ex->holds_secret |= inspection->sent.len > 0;
	sent = osh_inspection_sent(inspection);
	if (!ex->length_later || osh_http_write_request_end(&ex->head, ex->request.framing, sent.len) == 0)
		return true;
	osh_session_end(s, true);
	return false;
}

/* The whole question. */
static void judge_held(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_judgement j;

	osh_exchange_judge(s, &j);
	osh_exchange_keep_decision(ex, &j);
	if (j.effect != OSH_EFFECT_DENY) {
		if (rewrite_held(s, &j.decision))
			osh_exchange_dial(s);
		return;
	}
	osh_exchange_record(s, j.engine, OSH_VERDICT_DENY, j.decision.reason, j.status);
	j.path.path = osh_str(ex->path);
	osh_exchange_answer(s, &j, osh_http_body_is_over(&ex->request));
}

/* A client that asks first gets its answer from us: nobody else knows of the request yet. */
static int invite_body(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;

	if (!ex->expects_continue)
		return 0;
	ex->expects_continue = false; /* the server's own is not passed on */
	return osh_buf_append_c(&s->conn.out, "HTTP/1.1 100 Continue\r\n\r\n");
}

void osh_exchange_hold(struct osh_session *s, const struct osh_http_head *head, uint32_t limit)
{
	struct osh_exchange *ex = s->exchange;

	ex->inspection = osh_inspection_new(s->view, limit);
	if (!ex->inspection) {
		osh_session_end(s, true);
		return;
	}
	for (size_t i = 0; i < head->field_count; i++)
		osh_inspection_header(ex->inspection, head->fields[i].name, head->fields[i].value);
	ex->inspection->too_large = head->framing == OSH_HTTP_BODY_LENGTH && head->length > limit;
	if (ex->inspection->too_large || osh_http_body_is_over(&ex->request)) {
		judge_held(s);
		return;
	}
	ex->state = OSH_EXCHANGE_HOLD;
	if (invite_body(s) < 0)
		osh_session_end(s, true);
	else
		osh_exchange_await(s); /* once: a body that drips is not waited for */
}

static bool keep(struct osh_session *s, struct osh_str data)
{
	struct osh_exchange *ex = s->exchange;

	if (!osh_exchange_check_piece(s, data, osh_http_body_is_over(&ex->request)))
		return !s->reap.queued;
	switch (osh_inspection_add(ex->inspection, data)) {
	case 0:
		break;
	case -EDQUOT:
		return refuse_for_want_of_room(s);
	default:
		osh_session_end(s, true);
		return false;
	}
	if (ex->inspection->too_large || osh_http_body_is_over(&ex->request))
		judge_held(s);
	return !s->reap.queued;
}

bool osh_exchange_step_hold(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;
	const char *reason;
	struct osh_str data;
	size_t used;

	switch (osh_http_body_take(&ex->request, osh_buf_str(&s->conn.in), PIECE_MAX, &used, &data,
				   &reason)) {
	case OSH_HTTP_NEED_MORE:
		if (s->conn.eof)
			osh_session_end(s, true); /* it will never be whole: nothing was asked */
		return false;
	case OSH_HTTP_BAD:
		ex->close = true;
		osh_exchange_fail(s, 400, "invalid_http_request", OSH_ENGINE_HTTP, reason, true);
		return !s->reap.queued;
	case OSH_HTTP_DONE:
		break;
	}
	osh_buf_consume(&s->conn.in, used); /* the bytes stay where they are until more are read */
	return keep(s, data);
}
