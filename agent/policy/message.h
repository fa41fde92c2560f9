/* One judge per kind of message. Private to agent/policy. */
#ifndef OSH_POLICY_MESSAGE_H
#define OSH_POLICY_MESSAGE_H

#include "policy/evaluate.h"

/* A question about a body or text: what it asks, whom it asks. */
struct osh_inquiry {
	const struct osh_match *match;
	const struct osh_image_endpoint *selected;
	const struct osh_request_query *query;
	struct osh_decision *decision;
};

/* Endpoints whose rules count: of the selected protocol, on this path. Start with *i = 0;
 * NULL at the end. */
const struct osh_image_endpoint *osh_inquiry_next(const struct osh_inquiry *inquiry, size_t *i);

/* GraphQL over HTTP (message_graphql.c). */
void osh_judge_graphql(const struct osh_inquiry *inquiry);
/* One GraphQL operation of a WebSocket: the payload object. */
void osh_judge_graphql_payload(const struct osh_inquiry *inquiry, struct osh_str payload);
/* JSON-RPC and MCP over HTTP (message_rpc.c). */
void osh_judge_rpc(const struct osh_inquiry *inquiry);

#endif
