#include "proxy/http1.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/knockout.h"
#include "base/mem.h"
#include "proxy/http1_exchange.h"
#include "proxy/http_write.h"
#include "proxy/websocket_relay.h"

#define DRAIN_BYTES_MAX (64u << 10) /* rest of a refused request worth keeping the connection for */
#define ANSWER_ROOM (24u << 10)     /* the longest answer of our own */
#define IDLE_BUFFER_MAX (16u << 10) /* memory a buffer may keep between requests */

#define WEBSOCKET_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455 1.3 */

struct osh_http1_deadlines osh_http1_deadlines = {
	.head = 30000,
	.dial = 60000,
	.body = 60000,
	.reader = 120000,
	.response = 600000, /* a model may think for minutes before its first byte */
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
	free(ex);
}

void osh_http1_drop(struct osh_session *s)
{
	if (!s->exchange)
		return;
	free_exchange(s->exchange);
	s->exchange = NULL;
}

static void start_closing(struct osh_session *s)
{
	s->conn.finish = true;
	osh_session_set_state(s, OSH_SESSION_CLOSING);
}

/* Idle until the next request: what a large one needed is given back. */
static void rest(struct osh_session *s)
{
	if (s->conn.in.room > IDLE_BUFFER_MAX)
		osh_buf_trim(&s->conn.in);
	if (s->conn.out.room > IDLE_BUFFER_MAX)
		osh_buf_trim(&s->conn.out);
	osh_session_touch(s);
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
		rest(s);
}

void osh_exchange_await(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;

	ex->awaits_reader = ex->state == OSH_EXCHANGE_FORWARD && s->conn.out.len > 0;
	if (ex->state == OSH_EXCHANGE_DIAL)
		osh_session_set_deadline(s, osh_http1_deadlines.dial);
	else if (ex->awaits_reader)
		osh_session_set_deadline(s, osh_http1_deadlines.reader);
	else if (ex->state == OSH_EXCHANGE_DRAIN || !osh_http_body_is_over(&ex->request))
		osh_session_set_deadline(s, osh_http1_deadlines.body);
	else
		osh_session_set_deadline(s, osh_http1_deadlines.response);
}

/* ---- Records and answers ------------------------------------------------------------- */

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

static void write_answer(struct osh_session *s, const struct osh_judgement *j, const char *body,
			 size_t len)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_buf *out = &s->conn.out;
	char policy[4 * OSH_HOST_MAX];
	int r;

	osh_str_escape(j->decision.policy, policy, sizeof(policy));
	r = osh_buf_printf(out,
			   "HTTP/1.1 %u %s\r\n"
			   "Content-Type: application/json\r\n"
			   "X-Content-Type-Options: nosniff\r\n"
			   "Cache-Control: no-store\r\n"
			   "Content-Length: %zu\r\n",
			   j->status, osh_http_phrase(j->status), len);
	if (r == 0 && *policy)
		r = osh_buf_printf(out, "X-OpenShell-Policy: %s\r\n", policy);
	if (r == 0 && j->status == 429) /* RFC 6585 4 */
		r = osh_buf_append_c(out, "Retry-After: 1\r\n");
	if (r == 0 && (ex->close || ex->minor == 0))
		r = osh_buf_append_c(out, ex->close ? "Connection: close\r\n" : "Connection: keep-alive\r\n");
	if (r == 0)
		r = osh_buf_append_c(out, "\r\n");
	if (r == 0 && !ex->is_head)
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

/* Fills what an answer needs from what is known of the request. */
static void describe(struct osh_session *s, struct osh_judgement *j, unsigned status,
		     const char *error, enum osh_verdict_engine engine, enum osh_stage stage,
		     const char *reason)
{
	const struct osh_exchange *ex = s->exchange;

	memset(j, 0, offsetof(struct osh_judgement, path_bytes));
	j->status = status;
	j->error = error;
	j->engine = engine;
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
	describe(s, &j, status, error, engine, OSH_STAGE_NONE, copy);
	osh_exchange_answer(s, &j, osh_http_body_is_over(&s->exchange->request));
}

/* ---- Taking a request in ---------------------------------------------------------------- */

void osh_exchange_keep_decision(struct osh_exchange *ex, const struct osh_judgement *j)
{
	ex->effect = j->effect;
	ex->l7 = j->decision.l7;
	ex->rule_line = j->decision.rule_line;
	if (j->decision.policy.data != ex->policy)
		(void)osh_str_copy(j->decision.policy, ex->policy, sizeof(ex->policy));
	snprintf(ex->reason, sizeof(ex->reason), "%s", j->decision.reason);
	snprintf(ex->message, sizeof(ex->message), "%s", j->decision.message);
}

static char *duplicate(struct osh_str s)
{
	return strndup(s.data ? s.data : "", s.len);
}

static bool keep_facts(struct osh_exchange *ex, const struct osh_http_head *head)
{
	(void)osh_str_copy(head->method, ex->method, sizeof(ex->method));
	(void)osh_str_copy(head->host, ex->authority, sizeof(ex->authority));
	ex->target = duplicate(head->target);
	ex->minor = head->minor;
	ex->close = head->close;
	ex->is_head = osh_str_eq_c(head->method, "HEAD");
	ex->expects_continue = head->expect_continue;
	return ex->target != NULL;
}

/* What the client will have to do with its connection when it is refused: a body that is
 * short and surely on its way is swallowed, otherwise the connection ends. */
static bool can_keep_open(const struct osh_session *s, const struct osh_http_head *head)
{
	if (s->denied || head->expect_continue)
		return false;
	return head->framing == OSH_HTTP_BODY_NONE ||
	       (head->framing == OSH_HTTP_BODY_LENGTH && head->length <= DRAIN_BYTES_MAX);
}

static void refuse(struct osh_session *s, const struct osh_http_head *head, struct osh_judgement *j)
{
	struct osh_exchange *ex = s->exchange;

	j->path.path = osh_str(ex->path);
	osh_exchange_keep_decision(ex, j);
	if (!s->denied) /* its verdict was given when it connected */
		osh_exchange_record(s, j->engine, OSH_VERDICT_DENY, j->decision.reason, j->status);
	osh_http_body_init(&ex->request, head->framing, head->length);
	osh_exchange_answer(s, j, can_keep_open(s, head));
}

static void refuse_for(struct osh_session *s, const struct osh_http_head *head, unsigned status,
		       const char *error, enum osh_verdict_engine engine, const char *reason)
{
	struct osh_judgement j;

	describe(s, &j, status, error, engine, OSH_STAGE_PARSE, reason);
	refuse(s, head, &j);
}

static void refuse_malformed(struct osh_session *s, const struct osh_http_error *error)
{
	const struct osh_http_head nothing = { .framing = OSH_HTTP_BODY_NONE };
	struct osh_exchange *ex = s->exchange;

	ex->close = true;
	(void)osh_str_copy(s->decision.policy, ex->policy, sizeof(ex->policy));
	ex->l7 = s->decision.l7;
	ex->path = strdup("");
	refuse_for(s, &nothing, error->status, "invalid_http_request", OSH_ENGINE_HTTP, error->reason);
}

/* Found in the body: the server may have a part of it, so there is no way to go on. */
static void cut_off(struct osh_session *s, unsigned status, const char *error,
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
	cut_off(s, fault->status, fault->error, OSH_ENGINE_CREDENTIAL, fault->reason);
}

bool osh_exchange_check_piece(struct osh_session *s, struct osh_str piece, bool last)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_request_facts facts = osh_exchange_facts(ex);
	struct osh_judgement j;

	if (!ex->rewrites_body && !ex->passes_placeholders &&
	    osh_vault_scan(osh_session_vault(s), &ex->scan, piece)) {
		osh_exchange_refuse_credential(s, osh_rewrite_refusal(s));
		return false;
	}
	if (osh_judge_form(s, &facts, &ex->form, piece, last, &j))
		return true;
	cut_off(s, j.status, j.error, j.engine, j.decision.reason);
	return false;
}

/* RFC 6455 4.1: what a client must send. Everything else is no WebSocket to us, and its
 * Upgrade is not passed on. */
static bool is_websocket_handshake(const struct osh_http_head *head)
{
	const struct osh_http_field *version = osh_http_find(head, "sec-websocket-version");
	const struct osh_http_field *key = osh_http_find(head, "sec-websocket-key");

	return osh_str_caseeq_c(head->upgrade, "websocket") && head->minor == 1 &&
	       osh_str_eq_c(head->method, "GET") && head->framing == OSH_HTTP_BODY_NONE && version &&
	       osh_str_eq_c(version->value, "13") && key && key->value.len == 24;
}

static void expect_accept_key(struct osh_exchange *ex, struct osh_str key)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	char joined[64];

	snprintf(joined, sizeof(joined), "%.24s" WEBSOCKET_GUID, key.data);
	if (EVP_Digest(joined, strlen(joined), digest, &len, EVP_sha1(), NULL) == 1)
		EVP_EncodeBlock((unsigned char *)ex->accept_key, digest, (int)len);
}

/* Requests that no rule can permit here. */
static bool refuse_unspeakable(struct osh_session *s, const struct osh_http_head *head)
{
	if (osh_str_eq_c(head->method, "CONNECT")) {
		refuse_for(s, head, 405, "method_not_allowed", OSH_ENGINE_HTTP,
			   "CONNECT inside a connection: dial the host itself");
		return true;
	}
	if (osh_http_list_has(head->upgrade, "h2c") && !osh_layer_off("upgrade")) {
		refuse_for(s, head, 403, "unsupported_l7_protocol", OSH_ENGINE_HTTP,
			   "upgrading to h2c would leave the inspected protocol");
		return true;
	}
	return false;
}

static void host_header(const struct osh_session *s, char *buf, size_t size)
{
	bool brackets = s->host.kind == OSH_HOST_IPV6;
	int len = snprintf(buf, size, "%s%s%s", brackets ? "[" : "", s->host.text, brackets ? "]" : "");

	if (s->port_host != (s->tls ? 443 : 80))
		snprintf(buf + len, size - (size_t)len, ":%u", s->port_host);
}

/* `head` and `path` have their credentials in place. */
static int write_upstream_head(struct osh_session *s, const struct osh_http_head *head,
			       const struct osh_path *path)
{
	struct osh_exchange *ex = s->exchange;
	char host[OSH_HOST_MAX + 16];
	struct osh_http_request_out how = {
		.path = path->path,
		.query = path->query,
		.has_query = path->has_query,
		.websocket = ex->websocket,
		.no_extensions = ex->inspects_text,
		.length_later = ex->length_later,
	};

	host_header(s, host, sizeof(host));
	how.host = osh_str(host);
	if (ex->holds_secret)
		osh_buf_init_secret(&ex->head, OSH_CONN_BUF_MAX);
	else
		osh_buf_init(&ex->head, OSH_CONN_BUF_MAX);
	return osh_http_write_request(&ex->head, head, &how);
}

/* Write what goes to the server first. False: refused, or the session ended. */
static bool prepare(struct osh_session *s, const struct osh_http_head *head, const struct osh_judgement *j)
{
	struct osh_buf rewritten OSH_CLEANUP(osh_buf_done) = { .max = OSH_REWRITE_HEAD_MAX, .secret = true };
	struct osh_exchange *ex = s->exchange;
	struct osh_http_head resolved = *head;
	struct osh_path path = j->sent;
	const struct osh_credential_fault *fault =
		osh_rewrite_head(s, &j->decision, head->method, &path, resolved.fields,
				 resolved.field_count, &rewritten);

	if (fault) {
		refuse_for(s, head, fault->status, fault->error, OSH_ENGINE_CREDENTIAL, fault->reason);
		return false;
	}
	ex->holds_secret = rewritten.len > 0;
	if (write_upstream_head(s, &resolved, &path) < 0) {
		osh_session_end(s, true);
		return false;
	}
	osh_http_body_init(&ex->request, head->framing, head->length);
	return true;
}

void osh_exchange_dial(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;

	ex->state = OSH_EXCHANGE_DIAL;
	/* An upgraded connection never comes back to the pool, and should not empty it. */
	if (osh_session_dial(s, s->tls, ex->websocket ? OSH_UPSTREAM_ALONE : OSH_UPSTREAM_SHARED) < 0)
		osh_session_end(s, true);
	else
		osh_exchange_await(s);
}

static void forward(struct osh_session *s, const struct osh_http_head *head,
		    const struct osh_judgement *j)
{
	if (prepare(s, head, j))
		osh_exchange_dial(s);
}

static void hold(struct osh_session *s, const struct osh_http_head *head,
		 const struct osh_judgement *j, uint32_t limit)
{
	struct osh_exchange *ex = s->exchange;

	ex->length_later = ex->rewrites_body && head->framing == OSH_HTTP_BODY_LENGTH;
	if (prepare(s, head, j))
		osh_exchange_hold(s, head, limit);
}

/* What its body will be looked at for. */
static void expect_body(struct osh_session *s, const struct osh_http_head *head,
			const struct osh_decision *decision)
{
	const struct osh_http_field *type = osh_http_find(head, "content-type");
	uint64_t length = head->framing == OSH_HTTP_BODY_CHUNKED ? UINT64_MAX : head->length;
	struct osh_exchange *ex = s->exchange;

	ex->passes_placeholders = decision->uninspected_credentials &&
				  osh_rewrite_refusal(s) == &osh_credential_uninspected;
	if (head->framing == OSH_HTTP_BODY_NONE || !type)
		return;
	ex->rewrites_body = osh_rewrite_wants_body(decision, type->value, length);
	if (decision->l7 == OSH_L7_REST)
		osh_override_init(&ex->form, osh_form_of(type->value));
}

static void judge(struct osh_session *s, const struct osh_http_head *head)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_request_facts facts = {
		.method = head->method,
		.target = head->target,
		.authority = head->host,
		.websocket_upgrade = is_websocket_handshake(head),
	};
	struct osh_judgement j;

	ex->websocket = facts.websocket_upgrade;
	if (ex->websocket)
		expect_accept_key(ex, osh_http_find(head, "sec-websocket-key")->value);
	osh_judge_request(s, &facts, &j);
	ex->path = duplicate(j.path.path);
	osh_exchange_keep_decision(ex, &j);
	ex->inspects_text = ex->websocket && (j.decision.text_inspected || j.decision.rewrite_text);
	expect_body(s, head, &j.decision);
	if (!ex->path)
		osh_session_end(s, true);
	else if (j.effect == OSH_EFFECT_DENY && !osh_judge_wants_body(&j))
		refuse(s, head, &j);
	else if (refuse_unspeakable(s, head))
		return;
	else if (osh_judge_wants_body(&j))
		hold(s, head, &j, j.decision.body_limit);
	else if (ex->rewrites_body)
		hold(s, head, &j, OSH_REWRITE_BODY_MAX);
	else
		forward(s, head, &j);
}

static bool step_head(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;
	struct osh_http_head head;
	struct osh_http_error error;

	switch (osh_http_parse_request(osh_buf_str(&s->conn.in), &ex->request_scan, &head, &error)) {
	case OSH_HTTP_NEED_MORE:
		if (!s->conn.eof)
			return false;
		osh_session_end(s, true); /* gone in the middle: nothing was asked */
		return false;
	case OSH_HTTP_BAD:
		refuse_malformed(s, &error);
		return true;
	case OSH_HTTP_DONE:
		break;
	}
	if (!keep_facts(ex, &head)) {
		osh_session_end(s, true);
		return false;
	}
	judge(s, &head);
	if (!s->reap.queued)
		osh_buf_consume(&s->conn.in, head.len);
	return true;
}

/* Swallow the rest of a request that was answered here. */
static bool step_drain(struct osh_session *s)
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
	s->exchange = calloc(1, sizeof(*s->exchange));
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
		return step_head(s);
	case OSH_EXCHANGE_HOLD:
		return osh_exchange_step_hold(s);
	case OSH_EXCHANGE_DIAL:
		return osh_exchange_step_dial(s);
	case OSH_EXCHANGE_FORWARD:
		return osh_exchange_step_forward(s);
	case OSH_EXCHANGE_DRAIN:
		return step_drain(s);
	}
	return false;
}

/* ---- Time and policy --------------------------------------------------------------------- */

static bool forward_timed_out(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;

	/* What it did not take at the last step has gone out since: now it is the server
	 * that is waited for. */
	if (ex->awaits_reader && !s->conn.out.len) {
		osh_exchange_await(s);
		return true;
	}
	if (ex->answered)
		return false; /* too late for words */
	if (!osh_http_body_is_over(&ex->request))
		osh_exchange_fail(s, 408, "request_timeout", OSH_ENGINE_HTTP,
				  "the rest of the request did not come", false);
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
		refuse_malformed(s, &slow);
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
