/* Inside of the HTTP/1.1 codec: one request and its answer, a file for each of their phases.
 *
 *   HEAD -> [HOLD ->] DIAL -> FORWARD -> (freed, or the session relays an upgraded one)
 *      \-> DRAIN (answered by us; the rest of the request is swallowed) -> (freed)
 *
 * http1.c orders them and bounds their time; http1_request.c is HEAD, http1_hold.c is HOLD,
 * http1_forward.c is DIAL and FORWARD, http1_answer.c is DRAIN. A step returns true when
 * something changed. */
#ifndef OSH_PROXY_HTTP1_EXCHANGE_H
#define OSH_PROXY_HTTP1_EXCHANGE_H

#include "credential/vault.h"
#include "proxy/http_body.h"
#include "proxy/http_head.h"
#include "proxy/inspect.h"
#include "proxy/judge.h"
#include "proxy/rewrite.h"
#include "proxy/session.h"

enum osh_exchange_state {
	OSH_EXCHANGE_HEAD,
	OSH_EXCHANGE_HOLD, /* the body is taken in, nothing goes on before it has been judged */
	OSH_EXCHANGE_DIAL,
	OSH_EXCHANGE_FORWARD,
	OSH_EXCHANGE_DRAIN,
};

/* What the deadline is about. */
enum osh_exchange_wait {
	OSH_WAIT_NOTHING,
	OSH_WAIT_DIAL,
	OSH_WAIT_READER,   /* the sandbox takes no more of the answer */
	OSH_WAIT_BODY,     /* the rest of the request does not come */
	OSH_WAIT_RESPONSE,
	OSH_WAIT_STREAM,
};

struct osh_exchange {
	enum osh_exchange_state state;
	struct osh_http_scan request_scan, response_scan;
	/* The request, kept for records and to be judged again. */
	char *target;               /* as received; owned */
	char *path;                 /* canonical, safe to show; owned */
	bool websocket;
	unsigned minor;
	bool is_head, expects_continue;
	bool grpc;                  /* a call of gRPC, which may be silent from its first byte on */
	/* What was decided. */
	enum osh_effect effect;
	enum osh_l7 l7;
	uint32_t rule_line;
	bool passed;                /* it is on record that it may go on */
	/* The body, when rules are about it: kept as long as it may have to be judged again. */
	struct osh_inspection *inspection; /* owned */
	size_t held_sent;           /* bytes of it that went to the server's buffer */
	bool rewrites_body;         /* held for its credentials, too */
	bool length_later;          /* the head in `head` still lacks its end */
	bool passes_placeholders;   /* allow_uninspected_credentials: unresolved, in bodies */
	bool inspects_text;         /* WebSocket: agreed upon without extensions, so that texts can be read */
	/* Upstream. */
	struct osh_buf head;        /* to be sent; kept for a retry, may hold a secret */
	bool holds_secret;
	bool retried;
	struct osh_http_body request, response;
	bool request_ended;         /* its last byte is in the upstream's buffer */
	bool answered;              /* a final response head went to the sandbox */
	bool upstream_closes;
	enum osh_http_framing framing_out; /* of the response, towards the sandbox */
	unsigned interim;           /* 1xx responses so far */
	bool close;                 /* the connection ends after this answer */
	enum osh_exchange_wait wait;
	size_t progress;            /* bytes of bodies moved since `due_ms` was put off */
	uint64_t due_ms;            /* the deadline, on the loop's clock */
	/* Long, seldom filled, and not cleared beyond their beginnings: of the request, ... */
	char method[OSH_HTTP_METHOD_MAX + 1];
	char authority[OSH_HOST_MAX + 8];
	char accept_key[32];        /* what Sec-WebSocket-Accept must be */
	/* ... of the decision, ... */
	char policy[OSH_HOST_MAX];
	char reason[512];
	char message[256];
	/* ... and of a body on its way. */
	struct osh_vault_scan scan;
	struct osh_override form;   /* methods that it may ask to be taken for */
};

/* ---- http1.c ---------------------------------------------------------------------- */

/* The answer is complete: on to the next request, or close. */
void osh_exchange_over(struct osh_session *session);
/* Arm the deadline that fits what is waited for; one that is about bytes stands until enough of
 * them have moved. */
void osh_exchange_await(struct osh_session *session);

/* ---- http1_request.c ---------------------------------------------------------------- */

bool osh_exchange_step_head(struct osh_session *session);
/* Not HTTP that we accept: answer with the error's status, and close. */
void osh_exchange_refuse_malformed(struct osh_session *session, const struct osh_http_error *error);
/* Allowed, and all that goes to the server first is in `head`. */
void osh_exchange_dial(struct osh_session *session);
/* Look at a piece of the body on its way in; `last`: the message ends with it. False: refused. */
bool osh_exchange_check_piece(struct osh_session *session, struct osh_str piece, bool last);

/* ---- http1_hold.c ------------------------------------------------------------------- */

/* The head is judged, the rules want the body. */
void osh_exchange_hold(struct osh_session *session, const struct osh_http_head *head, uint32_t limit);
bool osh_exchange_step_hold(struct osh_session *session);
/* The body went to the server; what is small stays, to be judged again. */
void osh_exchange_forget_large(struct osh_exchange *exchange);
/* The request as it was, to be judged again. */
struct osh_request_facts osh_exchange_facts(const struct osh_exchange *exchange);
/* Put the request to the policy, with its body if that is held. */
void osh_exchange_judge(struct osh_session *session, struct osh_judgement *ret_judgement);

/* ---- http1_forward.c ---------------------------------------------------------------- */

bool osh_exchange_step_dial(struct osh_session *session);
bool osh_exchange_step_forward(struct osh_session *session);
/* May the request be sent to the server once more? */
bool osh_exchange_is_safe(const struct osh_exchange *exchange);

/* ---- http1_answer.c ----------------------------------------------------------------- */

/* Remember what a judgement said, for the record and the answer. */
void osh_exchange_keep_decision(struct osh_exchange *exchange, const struct osh_judgement *judgement);
/* Write the verdict about this request. */
void osh_exchange_record(struct osh_session *session, enum osh_verdict_engine engine,
			 enum osh_verdict_decision decision, const char *reason, unsigned status);
/* The same about a message inside it, by another name than its method. */
void osh_exchange_record_as(struct osh_session *session, const char *method,
			    enum osh_verdict_engine engine, enum osh_verdict_decision decision,
			    const char *reason, unsigned status);
/* Write the verdict that it may go on: once, however often it is sent. */
void osh_exchange_record_passed(struct osh_session *session, const char *reason);
/* Answer instead of the server: queue status and explanation, then DRAIN. The verdict is
 * the caller's. `keep_open`: the rest of the request is short enough to be swallowed. */
void osh_exchange_answer(struct osh_session *session, const struct osh_judgement *judgement,
			 bool keep_open);
/* Fill what an answer needs from what is known of the request. */
void osh_exchange_describe(const struct osh_session *session, struct osh_judgement *ret_judgement,
			   unsigned status, const char *error, enum osh_verdict_engine engine,
			   enum osh_stage stage, const char *reason);
/* Answer what is wrong on the way to the server. `record`: with its verdict. */
void osh_exchange_fail(struct osh_session *session, unsigned status, const char *error,
		       enum osh_verdict_engine engine, const char *reason, bool record);
/* The same for what is found in the body: the server may have a part of it, so there is no
 * way to go on. */
void osh_exchange_cut_off(struct osh_session *session, unsigned status, const char *error,
			  enum osh_verdict_engine engine, const char *reason);
/* The same for a credential's fault. */
void osh_exchange_refuse_credential(struct osh_session *session,
				    const struct osh_credential_fault *fault);
bool osh_exchange_step_drain(struct osh_session *session);

#endif
