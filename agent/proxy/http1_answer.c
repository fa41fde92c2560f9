/* What openshell itself says about a request: its verdicts, and answers instead of the
 * server's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/grpc.h"
#include "proxy/http1_exchange.h"
#include "proxy/http_write.h"

/* ---- Verdicts ------------------------------------------------------------------------- */

/* As much as fits. */
static void keep_text(char *buf, size_t size, const char *text)
{
	size_t len = strnlen(text, size - 1);

	memcpy(buf, text, len);
	buf[len] = '\0';
}

void osh_exchange_keep_decision(struct osh_exchange *ex, const struct osh_judgement *j)
{
	ex->effect = j->effect;
	ex->l7 = j->decision.l7;
	ex->rule_line = j->decision.rule_line;
	if (j->decision.policy.data != ex->policy)
		(void)osh_str_copy(j->decision.policy, ex->policy, sizeof(ex->policy));
	keep_text(ex->reason, sizeof(ex->reason), j->decision.reason);
	keep_text(ex->message, sizeof(ex->message), j->decision.message);
}

void osh_exchange_record(struct osh_session *s, enum osh_verdict_engine engine,
			 enum osh_verdict_decision decision, const char *reason, unsigned status)
{
	osh_exchange_record_as(s, s->exchange->method, engine, decision, reason, status);
}

void osh_exchange_record_as(struct osh_session *s, const char *method, enum osh_verdict_engine engine,
			    enum osh_verdict_decision decision, const char *reason, unsigned status)
{
	const struct osh_exchange *ex = s->exchange;
	struct osh_verdict verdict = osh_session_verdict(s, engine, decision, reason);

	verdict.method = method;
	verdict.target = ex->path;
	verdict.message = ex->message;
	verdict.policy = ex->policy;
	verdict.rule_line = ex->rule_line;
	verdict.protocol = osh_l7_name(ex->l7);
	verdict.status = status;
	osh_worker_record(s->view, &verdict);
}

void osh_exchange_record_passed(struct osh_session *s, const char *reason)
{
	struct osh_exchange *ex = s->exchange;

	if (ex->passed)
		return;
	ex->passed = true;
	osh_exchange_record(s, OSH_ENGINE_L7,
			    ex->effect == OSH_EFFECT_AUDIT ? OSH_VERDICT_AUDIT : OSH_VERDICT_ALLOW, reason, 0);
}

/* ---- Answers -------------------------------------------------------------------------- */

static int write_explanation_head(struct osh_buf *out, const struct osh_judgement *j, size_t len)
{
	return osh_buf_printf(out,
			      "HTTP/1.1 %u %s\r\n"
			      "Content-Type: application/json\r\n"
			      "X-Content-Type-Options: nosniff\r\n"
			      "Cache-Control: no-store\r\n"
			      "Content-Length: %zu\r\n",
			      j->status, osh_http_phrase(j->status), len);
}

/* Its clients look for their status in the head of an answer without a body, and only there. */
static int write_grpc_head(struct osh_buf *out, const struct osh_judgement *j)
{
	int r = osh_buf_append_c(out, "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n");

	return r == 0 ? osh_grpc_write_status(out, j->status, osh_str(j->decision.reason)) : r;
}

static void write_answer(struct osh_session *s, const struct osh_judgement *j, const char *body,
			 size_t len)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_buf *out = &s->conn.out;
	char policy[4 * OSH_HOST_MAX];
	int r = ex->grpc ? write_grpc_head(out, j) : write_explanation_head(out, j, len);

	osh_str_escape(j->decision.policy, policy, sizeof(policy));
	if (r == 0 && *policy)
		r = osh_buf_printf(out, "X-OpenShell-Policy: %s\r\n", policy);
	if (r == 0 && j->status == 429) /* RFC 6585 4 */
		r = osh_buf_append_c(out, "Retry-After: 1\r\n");
	if (r == 0 && (ex->close || ex->minor == 0))
		r = osh_buf_append_c(out, ex->close ? "Connection: close\r\n" : "Connection: keep-alive\r\n");
	if (r == 0)
		r = osh_buf_append_c(out, "\r\n");
	if (r == 0 && !ex->is_head && !ex->grpc)
		r = osh_buf_append(out, body, len);
	if (r < 0) /* no memory: a torn answer is worse than none */
		osh_session_end(s, true);
}

void osh_exchange_answer(struct osh_session *s, const struct osh_judgement *j, bool keep_open)
{
	struct osh_exchange *ex = s->exchange;
	size_t len = 0;
	char *body = osh_judge_explain(s, j, osh_str(ex->method), &len);

	ex->close = ex->close || !keep_open;
	ex->answered = true;
	ex->state = OSH_EXCHANGE_DRAIN;
	osh_inspection_free(ex->inspection);
	ex->inspection = NULL;
	osh_upstream_free(s->upstream);
	s->upstream = NULL;
	if (body)
		write_answer(s, j, body, len);
	else
		osh_session_end(s, true);
	free(body);
	if (s->exchange)
		osh_exchange_await(s);
}

void osh_exchange_describe(const struct osh_session *s, struct osh_judgement *j, unsigned status,
			   const char *error, enum osh_verdict_engine engine, enum osh_stage stage,
			   const char *reason)
{
	const struct osh_exchange *ex = s->exchange;

	*j = (struct osh_judgement){ .status = status, .error = error, .engine = engine };
	j->decision.stage = stage;
	j->decision.l7 = ex->l7;
	j->decision.policy = osh_str(ex->policy);
	snprintf(j->decision.reason, sizeof(j->decision.reason), "%s", reason);
	j->path.path = osh_str(ex->path);
}

void osh_exchange_fail(struct osh_session *s, unsigned status, const char *error,
		       enum osh_verdict_engine engine, const char *reason, bool record)
{
	struct osh_judgement j;
	char copy[sizeof(j.decision.reason)];

	/* The reason may live in the upstream, which the answer frees. */
	snprintf(copy, sizeof(copy), "%s", reason);
	if (record)
		osh_exchange_record(s, engine, OSH_VERDICT_DENY, copy, status);
	osh_exchange_describe(s, &j, status, error, engine, OSH_STAGE_NONE, copy);
	osh_exchange_answer(s, &j, osh_http_body_is_over(&s->exchange->request));
}

void osh_exchange_cut_off(struct osh_session *s, unsigned status, const char *error,
			  enum osh_verdict_engine engine, const char *reason)
{
	if (s->exchange->answered) {
		osh_exchange_record(s, engine, OSH_VERDICT_DENY, reason, 0);
		osh_session_end(s, true);
		return;
	}
	s->exchange->close = true;
	osh_exchange_fail(s, status, error, engine, reason, true);
}

void osh_exchange_refuse_credential(struct osh_session *s, const struct osh_credential_fault *fault)
{
	osh_exchange_cut_off(s, fault->status, fault->error, OSH_ENGINE_CREDENTIAL, fault->reason);
}

/* ---- The rest of an answered request ---------------------------------------------------- */

bool osh_exchange_step_drain(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;
	const char *reason;
	struct osh_str data;
	size_t used;

	if (ex->close || osh_http_body_is_over(&ex->request)) {
		osh_exchange_over(s);
		return true;
	}
	if (osh_http_body_take(&ex->request, osh_buf_str(&s->conn.in), SIZE_MAX, &used, &data, &reason) ==
	    OSH_HTTP_DONE) {
		osh_buf_consume(&s->conn.in, used);
		return true;
	}
	if (s->conn.eof)
		osh_session_end(s, false);
	return false;
}
