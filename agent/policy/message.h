/* One judge per kind of message. Private to agent/policy. */
#ifndef OSH_POLICY_MESSAGE_H
#define OSH_POLICY_MESSAGE_H

#include "policy/evaluate.h"

struct osh_dialect;

/* A question about a body or text: what it asks, whom it asks. */
struct osh_inquiry {
	const struct osh_match *match;
	const struct osh_image_endpoint *selected;
	const struct osh_request_query *query;
	const struct osh_dialect *dialect;
	struct osh_decision *decision;
};

/* What a protocol brings: how its objects are read, and what its rules say of them. `what`
 * is an object as it was read. */
struct osh_dialect {
	const char *name;
	/* Can it be read? False: the decision says why not. */
	bool (*check)(const struct osh_inquiry *inquiry, struct osh_str object);
	/* One that can be read: may it pass? False: the decision says why not. */
	bool (*judge)(const struct osh_inquiry *inquiry, struct osh_str object);
	bool (*matches)(const struct osh_policy *policy, const struct osh_image_endpoint *endpoint,
			const struct osh_image_rule *rule, const void *what, bool deny);
	/* Does an endpoint grant it beside its rules? NULL: none does. */
	bool (*grants)(const struct osh_policy *policy, const struct osh_image_endpoint *endpoint,
		       const void *what);
	/* Is the rule about this kind of thing, so that a denial may name it? */
	bool (*is_near)(const struct osh_policy *policy, const struct osh_image_rule *rule,
			const void *what);
};

/* Deny for a body that cannot be read; always false. */
bool osh_inquiry_reject(const struct osh_inquiry *inquiry, const char *why);
/* What the endpoints on the path say of `what`; the deciding rule's line, or else the
 * endpoint's. */
enum osh_answer osh_inquiry_answer(const struct osh_inquiry *inquiry, const void *what,
				   uint32_t *ret_line);
/* For a denial: the first rule about this kind of thing. */
void osh_inquiry_find_nearest(const struct osh_inquiry *inquiry, const void *what);
/* A JSON body: one object, or a batch of which every one has to pass. */
void osh_inquiry_judge_json(const struct osh_inquiry *inquiry);

/* Endpoints whose rules count: of the selected protocol, on this path. Start with *i = 0;
 * NULL at the end. */
const struct osh_image_endpoint *osh_inquiry_next(const struct osh_inquiry *inquiry, size_t *i);

/* GraphQL (message_graphql.c): over HTTP, and the payload object of a WebSocket operation. */
extern const struct osh_dialect osh_graphql_dialect;
void osh_judge_graphql(const struct osh_inquiry *inquiry);
void osh_judge_graphql_payload(const struct osh_inquiry *inquiry, struct osh_str payload);
/* JSON-RPC and MCP over HTTP (message_rpc.c). */
extern const struct osh_dialect osh_rpc_dialect;
void osh_judge_rpc(const struct osh_inquiry *inquiry);

#endif
