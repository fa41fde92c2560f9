/* One question in the words of a case file (policy eval, tests/policy/cases): read from a
 * JSON object, then asked of a policy in the same steps as a live request. Pure. */
#ifndef OSH_POLICY_QUESTION_H
#define OSH_POLICY_QUESTION_H

#include <jansson.h>

#include "policy/path.h"
#include "policy/policy.h"

#define OSH_QUESTION_ADDRESSES_MAX 64

/* Strings are borrowed from the JSON, but for the host. It holds pointers into itself: it
 * must not be copied. */
struct osh_question {
	struct osh_str binary;
	struct osh_str ancestors[OSH_LINEAGE_MAX];
	size_t ancestor_count;
	char host[OSH_HOST_MAX]; /* lower case */
	uint16_t port_host;
	bool is_plaintext; /* scheme http: the authority's default port is 80 */
	bool has_request;  /* false: the connect-time question */
	struct osh_str method, target;
	struct osh_str authority; /* the Host header, empty: none */
	bool websocket_upgrade;
	struct osh_message message;
	struct in6_addr resolved[OSH_QUESTION_ADDRESSES_MAX]; /* what the name leads to */
	size_t resolved_count; /* 0: the address guard is not asked */
};

struct osh_question_result {
	struct osh_decision decision;
	struct osh_str path; /* canonical; empty when there is none */
	char path_bytes[3 * OSH_PATH_TARGET_MAX + 1];
};

/* Keys that are not known are left alone; a known one of a wrong type is an error. Returns
 * 0 or -EINVAL with a message. */
int osh_question_read(const json_t *row, struct osh_question *ret_question, struct osh_err *err);

void osh_question_ask(const struct osh_policy *policy, const struct osh_question *question,
		      struct osh_question_result *ret_result);

const char *osh_effect_name(enum osh_effect effect); /* deny, allow, audit */

#endif
