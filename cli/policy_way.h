/* The smallest `policy update` that would have something allowed. Nothing here talks to an
 * agent: a way is only given out after it was made to the policy's text and the engine,
 * asked again, allowed the same thing. */
#ifndef OSH_CLI_POLICY_WAY_H
#define OSH_CLI_POLICY_WAY_H

#include <stdbool.h>

#include "policy/question.h"

/* Arguments of the command; empty ones are left out. */
struct osh_policy_way {
	bool is_possible;
	char endpoint[OSH_HOST_MAX + 64]; /* of --add-endpoint */
	/* Of --add-allow: a pattern of thrice a path's length, and host, port and method. */
	char allow[3 * OSH_PATH_TARGET_MAX + OSH_HOST_MAX + 64];
	char rule_name[OSH_HOST_MAX + 320];
	bool names_binary;
};

/* Ask a policy text; the names of policies and rules in the result are left out. False
 * when it is no policy. ret_doc may be NULL. */
bool osh_policy_way_ask(struct osh_str text, const struct osh_question *question,
			struct osh_question_result *ret_result, struct osh_policy_doc **ret_doc);

/* `before` is what `text` says. `method` is the verdict's, which the question may have put
 * in other terms. Ways that grant less are preferred; *ret_way may stay impossible. */
void osh_policy_way_find(struct osh_str text, const struct osh_policy_doc *before,
			 const struct osh_question *question, const char *binary,
			 const char *method, struct osh_policy_way *ret_way);

#endif
