/* The smallest change to a policy's text that would have something allowed where no
 * `policy update` can say it: a rule about a message, or one deny rule less. Like a way
 * (policy_way.h) it is only given out after it was made and the engine was asked again. */
#ifndef OSH_CLI_POLICY_AMEND_H
#define OSH_CLI_POLICY_AMEND_H

#include <stdbool.h>

#include "openshell/verdict.h"
#include "policy/amend.h"
#include "policy/question.h"

#define OSH_AMEND_EFFECTS_MAX 6

struct osh_policy_amendment {
	enum { OSH_AMEND_NONE = 0, OSH_AMEND_ADD, OSH_AMEND_REMOVE } kind;
	struct osh_amend_place place; /* in the text that was asked */
	char rule[640];               /* ADD: the line to add */
	bool is_enough;               /* REMOVE: nothing else refuses it */
	/* What more would be let through, one a line as `policy diff` prints it. */
	char effects[OSH_AMEND_EFFECTS_MAX][640];
	size_t effect_count, more_effects;
};

/* The message that a verdict tells of (l7_message), as a body or text that asks for the same;
 * and a rule for just that. */
struct osh_policy_said {
	char body[1024];
	char rule[600]; /* "{ method: tools/list }"; empty: there is no message, or it was cut */
};
void osh_policy_said_read(const struct osh_verdict *verdict, struct osh_policy_said *ret_said);

/* `text` denies the question with this result; `before` is what it says. `said` as above,
 * `protocol` the verdict's. */
void osh_policy_amend_find(struct osh_str text, const struct osh_policy_doc *before,
			   const struct osh_question *question,
			   const struct osh_question_result *result,
			   const struct osh_policy_said *said, const char *protocol,
			   struct osh_policy_amendment *ret_amendment);

#endif
