/* The second question: may it make this request? */
#include <string.h>

#include "policy/evaluate.h"
#include "policy/glob.h"
#include "policy/path.h"

/* ---- HTTP rules ---------------------------------------------------------- */

bool osh_globs_match_any(const struct osh_policy *policy, struct osh_image_list list,
			 struct osh_str text)
{
	const uint32_t *globs = osh_image_at(policy, list.offset);

	for (uint32_t i = 0; i < list.count; i++) {
		if (globs[i] && osh_glob_match(osh_image_at(policy, globs[i]), text))
			return true;
	}
	return false;
}

/* Allow: the key is present and all its values match. Deny: at least one does. Not inlined:
 * its buffers are pages of stack that each call touches. */
static __attribute__((noinline)) bool
matcher_holds(const struct osh_policy *policy, const struct osh_image_matcher *matcher,
			  struct osh_str query, bool deny)
{
	char key_buf[OSH_QUERY_MAX], value_buf[OSH_QUERY_MAX];
	struct osh_str wanted = osh_image_text(policy, matcher->key), key, value;
	bool present = false;

	while (osh_query_next(&query, key_buf, value_buf, &key, &value)) {
		bool matches;

		if (!osh_str_eq(key, wanted))
			continue;
		present = true;
		matches = osh_globs_match_any(policy, matcher->globs, value);
		if (deny && matches)
			return true;
		if (!deny && !matches)
			return false;
	}
	return present && !deny;
}

/* GET covers HEAD, in allow and deny rules alike. */
static bool method_matches(const struct osh_policy *policy, const struct osh_image_rule *rule,
			   struct osh_str method)
{
	struct osh_str wanted = osh_image_text(policy, rule->http.method);

	if (rule->flags & OSH_RULE_ANY_METHOD)
		return true;
	return osh_str_eq(wanted, method) ||
	       (osh_str_eq_c(method, "HEAD") && osh_str_eq_c(wanted, "GET"));
}

bool osh_http_rule_matches(const struct osh_policy *policy, const struct osh_image_rule *rule,
			   struct osh_str method, struct osh_str path, struct osh_str query,
			   bool deny)
{
	const struct osh_image_matcher *matchers = osh_image_at(policy, rule->http.query.offset);

	if (rule->kind != OSH_RULE_HTTP || (rule->flags & OSH_RULE_NEVER))
		return false;
	if (!method_matches(policy, rule, method))
		return false;
	if (rule->http.path && !osh_glob_match(osh_image_at(policy, rule->http.path), path))
		return false;
	for (uint32_t i = 0; i < rule->http.query.count; i++) {
		if (!matcher_holds(policy, &matchers[i], query, deny))
			return false;
	}
	return true;
}

bool osh_path_selected(const struct osh_policy *policy, const struct osh_image_endpoint *endpoint,
		       struct osh_str path)
{
	return endpoint->path_strict == 0 ||
	       osh_glob_match(osh_image_at(policy, endpoint->path_strict), path);
}

/* Rules of a preset have no line of their own: then `line` is reported. */
static bool list_matches(const struct osh_match *match, struct osh_image_list list,
			 struct osh_str method, const struct osh_request_query *query, bool deny,
			 uint32_t line, uint32_t *ret_line)
{
	const struct osh_image_rule *rules = osh_image_at(match->policy, list.offset);

	for (uint32_t i = 0; i < list.count; i++) {
		if (osh_http_rule_matches(match->policy, &rules[i], method, query->path,
					  query->query, deny)) {
			*ret_line = rules[i].line ? rules[i].line : line;
			return true;
		}
	}
	return false;
}

enum osh_answer osh_answer_http(const struct osh_match *match, struct osh_str method,
				const struct osh_request_query *query, bool with_allows,
				uint32_t *ret_line)
{
	enum osh_answer answer = OSH_ANSWER_NONE;

	for (size_t i = 0; i < match->granted; i++) {
		const struct osh_image_endpoint *e =
			osh_image_endpoint(match->policy, match->ids[i]);
		bool plain = e->l7 == OSH_L7_REST || e->l7 == OSH_L7_WEBSOCKET;

		if (!plain || !osh_path_selected(match->policy, e, query->path))
			continue;
		if (list_matches(match, e->denies, method, query, true, e->line, ret_line))
			return OSH_ANSWER_BLOCKED;
		if (with_allows && answer == OSH_ANSWER_NONE &&
		    list_matches(match, e->allows, method, query, false, e->line, ret_line))
			answer = OSH_ANSWER_ALLOWED;
	}
	return answer;
}

/* ---- The nearest rule ---------------------------------------------------- */

/* How close an allow rule comes: both path and method right but not the query, then the
 * path, then the method. */
static int rule_closeness(const struct osh_match *match, const struct osh_image_rule *rule,
			  struct osh_str method, struct osh_str path)
{
	bool path_fits, method_fits;

	if (rule->kind != OSH_RULE_HTTP || (rule->flags & OSH_RULE_NEVER))
		return 0;
	path_fits = rule->http.path && osh_glob_match(osh_image_at(match->policy, rule->http.path), path);
	method_fits = method_matches(match->policy, rule, method);
	return (path_fits ? 2 : 0) + (method_fits ? 1 : 0);
}

static void find_nearest(const struct osh_match *match, struct osh_str method,
			 const struct osh_request_query *query, struct osh_decision *decision)
{
	int best = 0;

	for (size_t i = 0; i < match->granted; i++) {
		const struct osh_image_endpoint *e =
			osh_image_endpoint(match->policy, match->ids[i]);
		const struct osh_image_rule *rules = osh_image_at(match->policy, e->allows.offset);

		for (uint32_t j = 0; j < e->allows.count; j++) {
			int closeness = rule_closeness(match, &rules[j], method, query->path);

			if (closeness <= best)
				continue;
			best = closeness;
			decision->nearest_line = rules[j].line ? rules[j].line : e->line;
			decision->nearest = osh_image_text(match->policy, rules[j].http.path_text);
		}
	}
}

/* ---- Requests ------------------------------------------------------------ */

/* Which endpoint picks parser and enforcement: the most specific whose selector matches,
 * the first of equals. A lone inspected endpoint is always it. */
static const struct osh_image_endpoint *select_endpoint(const struct osh_match *match,
							struct osh_str path, size_t *ret_inspected)
{
	const struct osh_image_endpoint *best = NULL, *lone = NULL;
	uint32_t best_id = 0;
	size_t inspected = 0;

	for (size_t i = 0; i < match->granted; i++) {
		const struct osh_image_endpoint *e =
			osh_image_endpoint(match->policy, match->ids[i]);

		if (e->l7 == OSH_L7_NONE)
			continue;
		inspected++;
		lone = e;
		if (e->path_loose &&
		    !osh_glob_match(osh_image_at(match->policy, e->path_loose), path))
			continue;
		if (!best || e->specificity > best->specificity ||
		    (e->specificity == best->specificity && match->ids[i] < best_id)) {
			best = e;
			best_id = match->ids[i];
		}
	}
	*ret_inspected = inspected;
	return inspected == 1 ? lone : best;
}

static bool holds_encoded_slash(struct osh_str path)
{
	return osh_str_chr(path, '%') && memmem(path.data, path.len, "%2F", 3);
}

static bool any_allows_encoded_slash(const struct osh_match *match)
{
	for (size_t i = 0; i < match->granted; i++) {
		const struct osh_image_endpoint *e =
			osh_image_endpoint(match->policy, match->ids[i]);

		if (e->l7 != OSH_L7_NONE && (e->flags & OSH_IMAGE_ENCODED_SLASH))
			return true;
	}
	return false;
}

static bool check_shape(const struct osh_match *match, const struct osh_request_query *query,
			bool inspected, struct osh_decision *decision)
{
	const char *fault = inspected ? osh_query_check(query->query) : NULL;

	if (holds_encoded_slash(query->path) && !any_allows_encoded_slash(match)) {
		osh_decision_deny(decision, OSH_STAGE_PARSE, "%s",
				  osh_path_error_text(OSH_PATH_ENCODED_SLASH));
		return false;
	}
	if (fault)
		osh_decision_deny(decision, OSH_STAGE_PARSE, "%s", fault);
	return !fault;
}

struct osh_str osh_upper_method(struct osh_str method, char *buf)
{
	if (method.len > OSH_METHOD_MAX)
		return method;
	for (size_t i = 0; i < method.len; i++)
		buf[i] = osh_ascii_is_alpha(method.data[i]) ? (char)(method.data[i] & 0xdf) :
							      method.data[i];
	return osh_str_n(buf, method.len);
}

static void finish_http(const struct osh_match *match, enum osh_answer answer,
			struct osh_str method, struct osh_str shown,
			const struct osh_request_query *query, struct osh_decision *decision)
{
	if (answer == OSH_ANSWER_ALLOWED) {
		osh_decision_allow(decision, decision->rule_line);
		return;
	}
	if (answer == OSH_ANSWER_BLOCKED) {
		osh_decision_deny(decision, OSH_STAGE_RULES, "%.*s %.*s blocked by deny rule",
				  OSH_STR_ARGS(shown), OSH_STR_ARGS(query->path));
		return;
	}
	osh_decision_deny(decision, OSH_STAGE_RULES, "%.*s %.*s not permitted by policy",
			  OSH_STR_ARGS(shown), OSH_STR_ARGS(query->path));
	find_nearest(match, method, query, decision);
}

static void judge_http(const struct osh_match *match, const struct osh_request_query *query,
		       struct osh_decision *decision)
{
	char buf[OSH_METHOD_MAX];
	struct osh_str method = osh_upper_method(query->method, buf);
	enum osh_answer answer = osh_answer_http(match, method, query, true, &decision->rule_line);

	finish_http(match, answer, method, query->method, query, decision);
}

static void judge_websocket(const struct osh_match *match,
			    const struct osh_image_endpoint *selected,
			    const struct osh_request_query *query, struct osh_decision *decision)
{
	if (!query->websocket_upgrade) {
		osh_decision_deny(decision, OSH_STAGE_MESSAGE,
				  "websocket endpoint requires a valid WebSocket upgrade request");
		return;
	}
	decision->text_inspected = true;
	judge_http(match, query, decision);
	if (decision->effect == OSH_EFFECT_DENY && (selected->flags & OSH_IMAGE_ENFORCE))
		return;
	if (!query->message || !query->message->is_text)
		return;
	/* An audited handshake went through: its texts are judged by themselves. */
	osh_judge_message(match, selected, query, decision);
}

static void judge_selected(const struct osh_match *match, const struct osh_image_endpoint *selected,
			   const struct osh_request_query *query, struct osh_decision *decision)
{
	decision->l7 = (enum osh_l7)selected->l7;
	decision->rule_line = selected->line;
	decision->allow_encoded_slash = selected->flags & OSH_IMAGE_ENCODED_SLASH;
	decision->rewrite_body = selected->flags & OSH_IMAGE_REWRITE_BODY;
	decision->rewrite_text = selected->flags & OSH_IMAGE_REWRITE_TEXT;
	decision->uninspected_credentials = selected->flags & OSH_IMAGE_UNINSPECTED_CREDENTIALS;
	decision->signing = selected->flags & OSH_IMAGE_SIGNED;
	decision->credential_provider = osh_image_text(match->policy,
						       osh_image_extras(match->policy, selected)->provider);
	switch (decision->l7) {
	case OSH_L7_REST:
		judge_http(match, query, decision);
		break;
	case OSH_L7_WEBSOCKET:
		judge_websocket(match, selected, query, decision);
		break;
	case OSH_L7_GRAPHQL:
	case OSH_L7_JSON_RPC:
	case OSH_L7_MCP:
		osh_judge_message(match, selected, query, decision);
		break;
	case OSH_L7_NONE:
	case OSH_L7_COUNT:
		break;
	}
	if (decision->effect == OSH_EFFECT_DENY && decision->stage == OSH_STAGE_RULES &&
	    !(selected->flags & OSH_IMAGE_ENFORCE))
		decision->effect = OSH_EFFECT_AUDIT;
}

static void judge_request(const struct osh_match *match, const struct osh_request_query *query,
			  struct osh_decision *decision)
{
	size_t inspected;
	const struct osh_image_endpoint *selected = select_endpoint(match, query->path, &inspected);

	if (!check_shape(match, query, inspected > 0, decision))
		return;
	if (inspected == 0) {
		osh_decision_allow(decision, decision->rule_line);
		return;
	}
	if (!selected) {
		osh_decision_deny(decision, OSH_STAGE_ROUTE, "no L7 endpoint path matched request");
		return;
	}
	if (holds_encoded_slash(query->path) && !(selected->flags & OSH_IMAGE_ENCODED_SLASH)) {
		osh_decision_deny(decision, OSH_STAGE_ROUTE, "%s",
				  osh_path_error_text(OSH_PATH_ENCODED_SLASH));
		return;
	}
	judge_selected(match, selected, query, decision);
}

void osh_policy_request(const struct osh_policy *policy, const struct osh_request_query *query,
			struct osh_decision *ret_decision)
{
	struct osh_match match;

	if (osh_decide_connect(policy, &query->connect, &match, ret_decision))
		judge_request(&match, query, ret_decision);
	osh_decision_soften(policy, ret_decision);
}
