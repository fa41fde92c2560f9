/* One HTTP request, judged: whatever codec it came by. */
#ifndef OSH_PROXY_JUDGE_H
#define OSH_PROXY_JUDGE_H

#include "policy/path.h"
#include "proxy/http_head.h"
#include "proxy/override.h"
#include "proxy/session.h"

struct osh_request_facts {
	struct osh_str method;
	struct osh_str target;    /* raw: origin-form, absolute-form or "*" */
	struct osh_str authority; /* Host or :authority */
	bool websocket_upgrade;
	const struct osh_message *message; /* NULL: only the head is known */
};

struct osh_judgement {
	enum osh_effect effect;
	unsigned status;                  /* to answer with when denied */
	const char *error;                /* "policy_denied", ... */
	enum osh_verdict_engine engine;
	/* The two point into the target, or into memory of this thread's that the next question
	 * about a request takes again. */
	struct osh_path path;             /* canonical, as judged and shown: without placeholders */
	struct osh_path sent;             /* the same with them, to be resolved (rewrite.h) */
	struct osh_decision decision;
};

/* Asks, in this order: does the authority name the host that was dialled (RFC 9110
 * 7.4: else 421), is the target well formed, does the policy permit it. Fills all of
 * *ret; decision.reason says why for people. */
void osh_judge_request(struct osh_session *session, const struct osh_request_facts *facts,
		       struct osh_judgement *ret);

/* The policy cannot answer before it has seen the body: decision.body_limit bytes of it. */
static inline bool osh_judge_wants_body(const struct osh_judgement *judgement)
{
	return judgement->effect == OSH_EFFECT_DENY && judgement->decision.body_limit > 0;
}

struct osh_inspection;

/* The same question once the body is held; facts->message is filled in here. A body that
 * cannot be read is refused. */
void osh_judge_body(struct osh_session *session, const struct osh_request_facts *facts,
		    const struct osh_inspection *inspection, struct osh_judgement *ret);

/* And about a text of the client on a WebSocket; `facts` are those of its handshake. */
void osh_judge_text(struct osh_session *session, const struct osh_request_facts *facts,
		    struct osh_str text, struct osh_judgement *ret);

/* The same question about the methods that a form asks to be taken for, as its bytes arrive;
 * `last`: it ends with these. False: *ret says why it is refused. */
bool osh_judge_form(struct osh_session *session, const struct osh_request_facts *facts,
		    struct osh_override *form, struct osh_str bytes, bool last,
		    struct osh_judgement *ret);

/* The body of a refusal: a JSON object for the program inside (policy-semantics "Deny
 * bodies"), malloc'ed, the caller frees; NULL when memory is out. */
char *osh_judge_explain(struct osh_session *session, const struct osh_judgement *judgement,
			struct osh_str method, size_t *ret_len);

#endif
