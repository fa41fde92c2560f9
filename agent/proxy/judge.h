/* One HTTP request, judged: whatever codec it came by. */
#ifndef OSH_PROXY_JUDGE_H
#define OSH_PROXY_JUDGE_H

#include "policy/path.h"
#include "proxy/session.h"

struct osh_request_facts {
	struct osh_str method;
	struct osh_str target;    /* raw: origin-form, absolute-form or "*" */
	struct osh_str authority; /* Host or :authority */
	bool websocket_upgrade;
};

struct osh_judgement {
	enum osh_effect effect;
	unsigned status;                  /* to answer with when denied */
	const char *error;                /* "policy_denied", ... */
	enum osh_verdict_engine engine;
	struct osh_decision decision;
	struct osh_path path;             /* canonical; points into path_bytes */
	char path_bytes[3 * OSH_PATH_TARGET_MAX + 1];
};

/* Asks, in this order: does the authority name the host that was dialled (RFC 9110
 * 7.4: else 421), is the target well formed, does the policy permit it. Fills all of
 * *ret; decision.reason says why for people. */
void osh_judge_request(struct osh_session *session, const struct osh_request_facts *facts,
		       struct osh_judgement *ret);

/* The body of a refusal: a JSON object for the program inside (policy-semantics "Deny
 * bodies"), malloc'ed, the caller frees; NULL when memory is out. */
char *osh_judge_explain(struct osh_session *session, const struct osh_judgement *judgement,
			struct osh_str method, size_t *ret_len);

#endif
