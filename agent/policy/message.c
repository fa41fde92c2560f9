/* Messages: which judge a body or a WebSocket text goes to, and the checks that all share. */
#include "policy/message.h"

#include "policy/json.h"
#include "policy/text.h"

const struct osh_image_endpoint *osh_inquiry_next(const struct osh_inquiry *inquiry, size_t *i)
{
	const struct osh_match *match = inquiry->match;

	while (*i < match->granted) {
		const struct osh_image_endpoint *e =
			osh_image_endpoint(match->policy, match->ids[(*i)++]);

		if (e->l7 == inquiry->selected->l7 &&
		    osh_path_selected(match->policy, e, inquiry->query->path))
			return e;
	}
	return NULL;
}

static const struct osh_image_rule *find_rule(const struct osh_inquiry *inquiry,
					      const struct osh_image_endpoint *e,
					      struct osh_image_list list, const void *what,
					      bool deny)
{
	const struct osh_policy *policy = inquiry->match->policy;
	const struct osh_image_rule *rules = osh_image_at(policy, list.offset);

	for (uint32_t i = 0; i < list.count; i++) {
		if (inquiry->dialect->matches(policy, e, &rules[i], what, deny))
			return &rules[i];
	}
	return NULL;
}

/* Rules of a preset have no line of their own. */
static uint32_t line_of(const struct osh_image_rule *rule, const struct osh_image_endpoint *e)
{
	return rule && rule->line ? rule->line : e->line;
}

static bool is_granted(const struct osh_inquiry *inquiry, const struct osh_image_endpoint *e,
		       const void *what)
{
	return inquiry->dialect->grants &&
	       inquiry->dialect->grants(inquiry->match->policy, e, what);
}

enum osh_answer osh_inquiry_answer(const struct osh_inquiry *inquiry, const void *what,
				   uint32_t *ret_line)
{
	enum osh_answer answer = OSH_ANSWER_NONE;
	const struct osh_image_endpoint *e;
	size_t i = 0;

	while ((e = osh_inquiry_next(inquiry, &i))) {
		const struct osh_image_rule *rule = find_rule(inquiry, e, e->denies, what, true);

		if (rule) {
			*ret_line = line_of(rule, e);
			return OSH_ANSWER_BLOCKED;
		}
		if (answer == OSH_ANSWER_ALLOWED)
			continue;
		rule = find_rule(inquiry, e, e->allows, what, false);
		if (rule || is_granted(inquiry, e, what)) {
			*ret_line = line_of(rule, e);
			answer = OSH_ANSWER_ALLOWED;
		}
	}
	return answer;
}

void osh_inquiry_find_nearest(const struct osh_inquiry *inquiry, const void *what)
{
	const struct osh_policy *policy = inquiry->match->policy;
	const struct osh_image_endpoint *e;
	size_t i = 0;

	while ((e = osh_inquiry_next(inquiry, &i))) {
		const struct osh_image_rule *rules = osh_image_at(policy, e->allows.offset);

		for (uint32_t j = 0; j < e->allows.count; j++) {
			if (!inquiry->dialect->is_near(policy, &rules[j], what))
				continue;
			inquiry->decision->nearest_line = line_of(&rules[j], e);
			return;
		}
	}
}

/* ---- JSON bodies --------------------------------------------------------- */

bool osh_inquiry_reject(const struct osh_inquiry *inquiry, const char *why)
{
	osh_decision_deny(inquiry->decision, OSH_STAGE_MESSAGE, "%s request rejected: %s",
			  inquiry->dialect->name, why);
	return false;
}

/* What cannot be read is found first: it is refused even where the rules only audit. */
static void judge_batch(const struct osh_inquiry *inquiry, struct osh_str array)
{
	struct osh_str rest = array, item;
	size_t count = 0;

	for (; osh_json_next_item(&rest, &item); count++) {
		if (!inquiry->dialect->check(inquiry, item))
			return;
	}
	if (count == 0) {
		(void)osh_inquiry_reject(inquiry, "the batch is empty");
		return;
	}
	rest = array;
	while (osh_json_next_item(&rest, &item)) {
		if (!inquiry->dialect->judge(inquiry, item))
			return;
	}
}

void osh_inquiry_judge_json(const struct osh_inquiry *inquiry)
{
	struct osh_str body = inquiry->query->message->body;
	const char *fault = osh_json_check(body);

	if (fault) {
		(void)osh_inquiry_reject(inquiry, fault);
		return;
	}
	body = osh_json_root(body);
	if (osh_json_type(body) == OSH_JSON_ARRAY)
		judge_batch(inquiry, body);
	else if (inquiry->dialect->check(inquiry, body))
		(void)inquiry->dialect->judge(inquiry, body);
}

/* ---- WebSocket texts ----------------------------------------------------- */

/* Raw texts are judged by the path they were upgraded on. */
static void judge_plain_text(const struct osh_inquiry *inquiry)
{
	uint32_t line = 0;
	enum osh_answer answer = osh_answer_http(inquiry->match, osh_str("WEBSOCKET_TEXT"),
						 inquiry->query, true, &line);

	if (answer == OSH_ANSWER_ALLOWED)
		osh_decision_allow(inquiry->decision, line);
	else
		osh_decision_deny(inquiry->decision, OSH_STAGE_RULES, "WEBSOCKET_TEXT %.*s %s",
				  OSH_STR_ARGS(inquiry->query->path),
				  answer == OSH_ANSWER_BLOCKED ? "blocked by deny rule" :
								 "not permitted by policy");
	if (answer == OSH_ANSWER_BLOCKED)
		inquiry->decision->rule_line = line;
}

static bool speaks_graphql(const struct osh_inquiry *inquiry)
{
	const struct osh_image_endpoint *e;
	size_t i = 0;

	while ((e = osh_inquiry_next(inquiry, &i))) {
		if (e->flags & OSH_IMAGE_GRAPHQL_TEXT)
			return true;
	}
	return false;
}

static void reject_text(const struct osh_inquiry *inquiry, const char *why)
{
	osh_decision_deny(inquiry->decision, OSH_STAGE_MESSAGE, "GraphQL message rejected: %s",
			  why);
}

static bool is_control_type(struct osh_str raw)
{
	static const char *const types[] = {
		"connection_init", "connection_terminate", "ping", "pong", "complete", "stop", NULL
	};

	for (int i = 0; types[i]; i++) {
		if (osh_json_raw_eq(raw, osh_str(types[i])))
			return true;
	}
	return false;
}

/* graphql-transport-ws `subscribe`, or `start` of the older protocol. */
static void judge_subscribe(const struct osh_inquiry *inquiry, struct osh_str object)
{
	struct osh_str id, payload;

	if (!osh_json_get(object, osh_str("id"), &id) ||
	    !osh_json_get(object, osh_str("payload"), &payload))
		reject_text(inquiry, "a key is given twice, or in another case");
	else if (osh_json_type(id) != OSH_JSON_STRING || osh_json_raw(id).len == 0)
		reject_text(inquiry, "id must be a non-empty string");
	else if (osh_json_type(payload) != OSH_JSON_OBJECT)
		reject_text(inquiry, "payload must be an object");
	else
		osh_judge_graphql_payload(inquiry, payload);
}

static void judge_graphql_text(const struct osh_inquiry *inquiry)
{
	struct osh_str body = inquiry->query->message->body, text, type, raw;
	const char *fault = osh_json_check(body);
	uint32_t line = 0;

	if (!fault)
		text = osh_json_root(body);
	if (fault || osh_json_type(text) != OSH_JSON_OBJECT) {
		reject_text(inquiry, fault ? fault : "it is not an object");
		return;
	}
	if (!osh_json_get(text, osh_str("type"), &type) || osh_json_type(type) != OSH_JSON_STRING) {
		reject_text(inquiry, "type must be given once, as a string");
		return;
	}
	raw = osh_json_raw(type);
	if (osh_answer_http(inquiry->match, osh_str("WEBSOCKET_TEXT"), inquiry->query, false,
			    &line) == OSH_ANSWER_BLOCKED)
		osh_decision_deny(inquiry->decision, OSH_STAGE_RULES,
				  "WEBSOCKET_TEXT %.*s blocked by deny rule",
				  OSH_STR_ARGS(inquiry->query->path));
	else if (is_control_type(raw))
		osh_decision_allow(inquiry->decision, 0);
	else if (osh_json_raw_eq(raw, osh_str("subscribe")) ||
		 osh_json_raw_eq(raw, osh_str("start")))
		judge_subscribe(inquiry, text);
	else
		reject_text(inquiry, "a client does not send messages of this type");
}

static void judge_text(const struct osh_inquiry *inquiry)
{
	if (inquiry->query->message->too_large)
		osh_decision_deny(inquiry->decision, OSH_STAGE_MESSAGE,
				  "the message is too large to inspect");
	else if (!osh_is_utf8(inquiry->query->message->body))
		osh_decision_deny(inquiry->decision, OSH_STAGE_MESSAGE, "the message is not UTF-8");
	else if (speaks_graphql(inquiry))
		judge_graphql_text(inquiry);
	else
		judge_plain_text(inquiry);
}

/* ---- Bodies -------------------------------------------------------------- */

/* What no protocol would read: refused before any rule. */
static bool check_body(const struct osh_inquiry *inquiry)
{
	const struct osh_message *message = inquiry->query->message;
	uint32_t limit = inquiry->selected->body_limit;
	struct osh_str coding;

	if (!message) {
		inquiry->decision->body_limit = limit;
		osh_decision_deny(inquiry->decision, OSH_STAGE_MESSAGE,
				  "the body has to be inspected first");
		return false;
	}
	coding = message->content_encoding;
	if (message->too_large || message->body.len > limit)
		osh_decision_deny(inquiry->decision, OSH_STAGE_MESSAGE,
				  "the body is larger than the %u bytes that "
				  "this endpoint inspects",
				  limit);
	else if (coding.len && !osh_str_caseeq_c(coding, "identity"))
		osh_decision_deny(inquiry->decision, OSH_STAGE_MESSAGE,
				  "a body with Content-Encoding %.*s cannot "
				  "be inspected",
				  OSH_STR_ARGS(coding));
	else if (message->is_text)
		osh_decision_deny(inquiry->decision, OSH_STAGE_MESSAGE,
				  "a WebSocket text on a %s endpoint",
				  osh_l7_name((enum osh_l7)inquiry->selected->l7));
	else
		return true;
	return false;
}

/* Rules by method and path can forbid what a body's rules would allow, never the reverse. */
static bool is_blocked_by_path(const struct osh_inquiry *inquiry)
{
	const struct osh_request_query *query = inquiry->query;
	uint32_t line = 0;
	char buf[OSH_METHOD_MAX];

	if (osh_answer_http(inquiry->match, osh_upper_method(query->method, buf), query, false,
			    &line) != OSH_ANSWER_BLOCKED)
		return false;
	osh_decision_deny(inquiry->decision, OSH_STAGE_RULES, "%.*s %.*s blocked by deny rule",
			  OSH_STR_ARGS(query->method), OSH_STR_ARGS(query->path));
	inquiry->decision->rule_line = line;
	return true;
}

void osh_judge_message(const struct osh_match *match, const struct osh_image_endpoint *selected,
		       const struct osh_request_query *query, struct osh_decision *decision)
{
	bool graphql = selected->l7 == OSH_L7_GRAPHQL || selected->l7 == OSH_L7_WEBSOCKET;
	const struct osh_inquiry inquiry = {
		.match = match,
		.selected = selected,
		.query = query,
		.dialect = graphql ? &osh_graphql_dialect : &osh_rpc_dialect,
		.decision = decision,
	};

	if (selected->l7 == OSH_L7_WEBSOCKET) {
		judge_text(&inquiry);
		return;
	}
	if (!check_body(&inquiry))
		return;
	if (selected->l7 == OSH_L7_GRAPHQL)
		osh_judge_graphql(&inquiry);
	else
		osh_judge_rpc(&inquiry);
	if (decision->effect == OSH_EFFECT_ALLOW)
		(void)is_blocked_by_path(&inquiry);
}
