/* Taking a request in: its head is parsed and judged, then refused, held for its body, or
 * written anew for the server. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/knockout.h"
#include "base/mem.h"
#include "proxy/grpc.h"
#include "proxy/http1_exchange.h"
#include "proxy/http_write.h"

#define DRAIN_BYTES_MAX (64u << 10) /* rest of a refused request worth keeping the connection for */
#define WEBSOCKET_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455 1.3 */

/* ---- What is kept of it ---------------------------------------------------------------- */

static char *duplicate(struct osh_str s)
{
	return strndup(s.data ? s.data : "", s.len);
}

/* Of HTTP/2 alone. */
static bool is_grpc(const struct osh_session *s, const struct osh_http_head *head)
{
	const struct osh_http_field *type = osh_http_find(head, OSH_HTTP_CONTENT_TYPE);

	return s->conn.carrier && type && osh_grpc_is_call(type->value);
}

static bool keep_facts(struct osh_exchange *ex, const struct osh_http_head *head)
{
	(void)osh_str_copy(head->method, ex->method, sizeof(ex->method));
	(void)osh_str_copy(head->host, ex->authority, sizeof(ex->authority));
	ex->target = duplicate(head->target);
	ex->minor = head->minor;
	/* Behind a CONNECT may be bytes for the tunnel that it does not get (RFC 9110 9.3.6). */
	ex->close = head->close || osh_str_eq_c(head->method, "CONNECT");
	ex->is_head = osh_str_eq_c(head->method, "HEAD");
	ex->expects_continue = head->expect_continue;
	return ex->target != NULL;
}

/* ---- Refusing ------------------------------------------------------------------------- */

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

	osh_exchange_describe(s, &j, status, error, engine, OSH_STAGE_PARSE, reason);
	refuse(s, head, &j);
}

void osh_exchange_refuse_malformed(struct osh_session *s, const struct osh_http_error *error)
{
	const struct osh_http_head nothing = { .framing = OSH_HTTP_BODY_NONE };
	struct osh_exchange *ex = s->exchange;

	ex->close = true;
	(void)osh_str_copy(s->decision.policy, ex->policy, sizeof(ex->policy));
	ex->l7 = s->decision.l7;
	ex->path = strdup("");
	refuse_for(s, &nothing, error->status, "invalid_http_request", OSH_ENGINE_HTTP, error->reason);
}

/* No rule can permit it here. An upgrade to anything but WebSocket is let be (RFC 9110 7.8): its header goes
 * nowhere, and the request is served as it is. */
static bool refuse_connect(struct osh_session *s, const struct osh_http_head *head)
{
	if (!osh_str_eq_c(head->method, "CONNECT"))
		return false;
	refuse_for(s, head, 405, "method_not_allowed", OSH_ENGINE_HTTP,
		   "CONNECT inside a connection: dial the host itself");
	return true;
}

/* ---- Writing it for the server --------------------------------------------------------- */

/* In `buf` unless the name is all of it. */
static struct osh_str host_header(const struct osh_session *s, char *buf, size_t size)
{
	bool brackets = s->host.kind == OSH_HOST_IPV6, port = s->port_host != (s->tls ? 443 : 80);
	int len;

	if (!brackets && !port)
		return osh_str(s->host.text);
	len = snprintf(buf, size, "%s%s%s", brackets ? "[" : "", s->host.text, brackets ? "]" : "");
	if (port)
		snprintf(buf + len, size - (size_t)len, ":%u", s->port_host);
	return osh_str(buf);
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

	how.host = host_header(s, host, sizeof(host));
	if (ex->holds_secret)
		osh_buf_init_secret(&ex->head, OSH_HTTP_OWN_HEAD_MAX);
	else
		osh_buf_init(&ex->head, OSH_HTTP_OWN_HEAD_MAX);
	return osh_http_write_request(&ex->head, head, &how);
}

/* Write what goes to the server first. False: refused, or the session ended. */
static bool prepare(struct osh_session *s, const struct osh_http_head *head, const struct osh_judgement *j)
{
	struct osh_buf rewritten OSH_CLEANUP(osh_buf_done) = { .max = OSH_REWRITE_HEAD_MAX, .secret = true };
	struct osh_exchange *ex = s->exchange;
	struct osh_path path = j->sent;
	struct osh_http_head resolved;
	const struct osh_credential_fault *fault;

	osh_http_head_copy(&resolved, head);
	fault = osh_rewrite_head(s, &j->decision, head->method, &path, resolved.fields, resolved.field_count,
				 &rewritten);
	if (fault) {
		refuse_for(s, head, fault->status, fault->error, OSH_ENGINE_CREDENTIAL, fault->reason);
		return false;
	}
	ex->holds_secret = rewritten.len > 0;
	switch (write_upstream_head(s, &resolved, &path)) {
	case 0:
		break;
	case -ENOBUFS:
		refuse_for(s, head, 431, "invalid_http_request", OSH_ENGINE_CREDENTIAL,
			   "with their credentials in place, the headers are too large");
		return false;
	default:
		osh_session_end(s, true);
		return false;
	}
	osh_http_body_init(&ex->request, head->framing, head->length);
	return true;
}

/* ---- Letting it go on ------------------------------------------------------------------ */

static enum osh_upstream_use use_of(const struct osh_exchange *ex)
{
	if (ex->websocket) /* never comes back to the pool, and should not empty it */
		return OSH_UPSTREAM_ALONE;
	return osh_exchange_is_safe(ex) ? OSH_UPSTREAM_SHARED : OSH_UPSTREAM_SURE;
}

void osh_exchange_dial(struct osh_session *s)
{
	struct osh_exchange *ex = s->exchange;

	ex->state = OSH_EXCHANGE_DIAL;
	if (osh_session_dial(s, s->tls, use_of(ex)) < 0)
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

/* ---- Judging -------------------------------------------------------------------------- */

/* RFC 6455 4.1: what a client must send. Everything else is no WebSocket to us, and its
 * Upgrade is not passed on. Java's client says that there are no bytes of a body. */
static bool is_websocket_handshake(const struct osh_http_head *head)
{
	const struct osh_http_field *version = osh_http_find(head, OSH_HTTP_SEC_WEBSOCKET_VERSION);
	const struct osh_http_field *key = osh_http_find(head, OSH_HTTP_SEC_WEBSOCKET_KEY);

	return osh_str_caseeq_c(head->upgrade, "websocket") && head->minor == 1 &&
	       osh_str_eq_c(head->method, "GET") && head->framing != OSH_HTTP_BODY_CHUNKED && !head->length && version &&
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

static struct osh_str value_of(const struct osh_http_field *field)
{
	return field ? field->value : osh_str("");
}

/* What its body will be looked at for. */
static void expect_body(struct osh_session *s, const struct osh_http_head *head,
			const struct osh_decision *decision)
{
	const struct osh_http_field *type = osh_http_find(head, OSH_HTTP_CONTENT_TYPE);
	const struct osh_http_field *coding = osh_http_find(head, OSH_HTTP_CONTENT_ENCODING);
	uint64_t length = head->framing == OSH_HTTP_BODY_CHUNKED ? UINT64_MAX : head->length;
	struct osh_exchange *ex = s->exchange;

	ex->passes_placeholders = decision->uninspected_credentials &&
				  osh_rewrite_refusal(s) == &osh_credential_uninspected;
	if (head->framing == OSH_HTTP_BODY_NONE)
		return;
	if (type)
		ex->rewrites_body = osh_rewrite_wants_body(decision, type->value, length);
	if (decision->l7 == OSH_L7_REST && (type || osh_str_eq_c(head->method, "POST")))
		osh_override_init(&ex->form, osh_form_in(value_of(type), value_of(coding)));
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
		expect_accept_key(ex, osh_http_find(head, OSH_HTTP_SEC_WEBSOCKET_KEY)->value);
	osh_judge_request(s, &facts, &j);
	ex->path = duplicate(j.path.path);
	osh_exchange_keep_decision(ex, &j);
	ex->inspects_text = ex->websocket && (j.decision.text_inspected || j.decision.rewrite_text);
	expect_body(s, head, &j.decision);
	if (!ex->path)
		osh_session_end(s, true);
	else if (j.effect == OSH_EFFECT_DENY && !osh_judge_wants_body(&j))
		refuse(s, head, &j);
	else if (refuse_connect(s, head))
		return;
	else if (osh_judge_wants_body(&j))
		hold(s, head, &j, j.decision.body_limit);
	else if (ex->rewrites_body)
		hold(s, head, &j, OSH_REWRITE_BODY_MAX);
	else
		forward(s, head, &j);
}

bool osh_exchange_step_head(struct osh_session *s)
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
		osh_exchange_refuse_malformed(s, &error);
		return true;
	case OSH_HTTP_DONE:
		break;
	}
	if (!keep_facts(ex, &head)) {
		osh_session_end(s, true);
		return false;
	}
	ex->grpc = is_grpc(s, &head);
	judge(s, &head);
	if (!s->reap.queued)
		osh_buf_consume(&s->conn.in, head.len);
	return true;
}

/* ---- Its body --------------------------------------------------------------------------- */

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
	osh_exchange_cut_off(s, j.status, j.error, j.engine, j.decision.reason);
	return false;
}
