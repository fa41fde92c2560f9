#include "policy/evaluate.h"

void osh_judge_message(const struct osh_match *match, const struct osh_image_endpoint *selected,
		       const struct osh_request_query *query, struct osh_decision *decision)
{
	(void)selected;
	if (query->message && query->message->is_text) {
		enum osh_answer a = osh_answer_http(match, osh_str("WEBSOCKET_TEXT"), query, true, &decision->rule_line);
		decision->effect = a == OSH_ANSWER_ALLOWED ? OSH_EFFECT_ALLOW : OSH_EFFECT_DENY;
		decision->stage = OSH_STAGE_NONE;
		decision->reason[0] = 0;
		if (a == OSH_ANSWER_ALLOWED)
			return;
		osh_decision_deny(decision, OSH_STAGE_RULES, a == OSH_ANSWER_BLOCKED ? "WEBSOCKET_TEXT %.*s blocked by deny rule" : "WEBSOCKET_TEXT %.*s not permitted by policy", OSH_STR_ARGS(query->path));
		return;
	}
	osh_decision_deny(decision, OSH_STAGE_MESSAGE, "bodies of this protocol are not inspected yet");
}
