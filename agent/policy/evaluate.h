/* What the questions share. Private to agent/policy. */
#ifndef OSH_POLICY_EVALUATE_H
#define OSH_POLICY_EVALUATE_H

#include "policy/image.h"

/* More endpoints than this for one host and port: denied, with that reason. */
#define OSH_MATCH_MAX 4096

/* The endpoints for a host and port; the first `granted` of them also for the subject. */
struct osh_match {
	const struct osh_policy *policy;
	size_t granted, count;
	bool overflow;
	uint32_t entry; /* the smallest entry among the granted */
	struct osh_wanted wanted; /* some entry may yet grant, once this is known */
	uint32_t ids[OSH_MATCH_MAX];
};

/* Find the endpoints for host and port, those whose entry names the subject first. */
void osh_match_connect(const struct osh_policy *policy, const struct osh_connect_query *query,
		       struct osh_match *match);

/* Why an entry does not grant to a subject, in words that go before "policy 'KEY'", and whom
 * it would be about. */
const char *osh_entry_fault(const struct osh_policy *policy, uint32_t entry,
			    const struct osh_subject *subject, struct osh_str *ret_path);

void osh_decision_init(struct osh_decision *decision);
void osh_decision_deny(struct osh_decision *decision, enum osh_stage stage, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void osh_decision_allow(struct osh_decision *decision, uint32_t line);
/* Under mode: permissive, what the rules refused is audited. */
void osh_decision_soften(const struct osh_policy *policy, struct osh_decision *decision);
/* Fill `match` and what the decision says about the connection. True: it is allowed, the
 * effect is still open; false: it is denied. */
bool osh_decide_connect(const struct osh_policy *policy, const struct osh_connect_query *query,
			struct osh_match *match, struct osh_decision *decision);

#define OSH_STR_ARGS(s) (int)(s).len, ((s).data ? (s).data : "")

/* Note what the message asks for; a batch notes one item after the other. */
void osh_decision_note(struct osh_decision *decision, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* How the rules of the matching endpoints answer one question. */
enum osh_answer {
	OSH_ANSWER_NONE, /* no rule speaks for it */
	OSH_ANSWER_ALLOWED,
	OSH_ANSWER_BLOCKED, /* a deny rule speaks against it */
};

bool osh_globs_match_any(const struct osh_policy *policy, struct osh_image_list globs,
			 struct osh_str text);
/* The method in upper case, in a buffer of OSH_METHOD_MAX bytes; a longer one is known to no
 * rule and stays as it is. */
#define OSH_METHOD_MAX 32
struct osh_str osh_upper_method(struct osh_str method, char *buf);
/* Does a rule match method, path and query? `method` is upper case. */
bool osh_http_rule_matches(const struct osh_policy *policy, const struct osh_image_rule *rule,
			   struct osh_str method, struct osh_str path, struct osh_str query,
			   bool deny);
/* The answer of all granted endpoints of HTTP shape, to a method on this path. */
enum osh_answer osh_answer_http(const struct osh_match *match, struct osh_str method,
				const struct osh_request_query *query, bool with_allows,
				uint32_t *ret_line);
bool osh_path_selected(const struct osh_policy *policy, const struct osh_image_endpoint *endpoint,
		       struct osh_str path);

/* Judge what GraphQL, JSON-RPC and MCP bodies and WebSocket texts say (message.c). Fills
 * effect, stage, reason. */
void osh_judge_message(const struct osh_match *match, const struct osh_image_endpoint *selected,
		       const struct osh_request_query *query, struct osh_decision *decision);

/* Query strings (query.c): percent and '+' decoding; NULL when it is well formed, else why
 * not. */
const char *osh_query_check(struct osh_str query);
#define OSH_QUERY_MAX 16384
/* Step through the pairs: false at the end. Buffers of OSH_QUERY_MAX bytes. */
bool osh_query_next(struct osh_str *rest, char *key_buf, char *value_buf, struct osh_str *ret_key,
		    struct osh_str *ret_value);

#endif
