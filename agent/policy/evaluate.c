/* The questions: may this program connect, may it make this request? */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "policy/evaluate.h"
#include "policy/glob.h"
#include "policy/path.h"

/* ---- Opening an image ---------------------------------------------------- */

int osh_policy_open(const void *image, size_t len, struct osh_policy *ret_policy)
{
	const struct osh_image_header *header = image;

	if (!image || len < sizeof(*header) || (uintptr_t)image % 8)
		return -EBADMSG;
	if (header->magic != OSH_IMAGE_MAGIC || header->version != OSH_IMAGE_VERSION ||
	    header->len != len)
		return -EBADMSG;
	if (header->nodes.count == 0 || header->slots.count == 0)
		return -EBADMSG;
	*ret_policy = (struct osh_policy){ .image = image, .len = len };
	return 0;
}

uint32_t osh_policy_revision(const struct osh_policy *policy)
{
	return osh_image_header(policy)->revision;
}

bool osh_policy_is_permissive(const struct osh_policy *policy)
{
	return osh_image_header(policy)->permissive;
}

const char *osh_stage_name(enum osh_stage stage)
{
	switch (stage) {
	case OSH_STAGE_NONE:
		return "";
	case OSH_STAGE_CONNECT:
		return "connect";
	case OSH_STAGE_AUTHORITY:
		return "authority";
	case OSH_STAGE_PARSE:
		return "parse";
	case OSH_STAGE_ROUTE:
		return "route";
	case OSH_STAGE_MESSAGE:
		return "message";
	case OSH_STAGE_RULES:
		return "rules";
	case OSH_STAGE_COUNT:
		break;
	}
	return "unknown";
}

const char *osh_l7_name(enum osh_l7 l7)
{
	switch (l7) {
	case OSH_L7_NONE:
		return "l4";
	case OSH_L7_REST:
		return "rest";
	case OSH_L7_WEBSOCKET:
		return "websocket";
	case OSH_L7_GRAPHQL:
		return "graphql";
	case OSH_L7_JSON_RPC:
		return "json-rpc";
	case OSH_L7_MCP:
		return "mcp";
	case OSH_L7_COUNT:
		break;
	}
	return "unknown";
}

/* ---- Decisions ----------------------------------------------------------- */

void osh_decision_init(struct osh_decision *decision)
{
	/* Everything but the tails of the strings at its end. */
	memset(decision, 0, offsetof(struct osh_decision, message) + 1);
	decision->reason[0] = '\0';
}

void osh_decision_deny(struct osh_decision *decision, enum osh_stage stage, const char *format, ...)
{
	va_list args;

	decision->effect = OSH_EFFECT_DENY;
	decision->stage = stage;
	va_start(args, format);
	vsnprintf(decision->reason, sizeof(decision->reason), format, args);
	va_end(args);
}

void osh_decision_note(struct osh_decision *decision, const char *format, ...)
{
	size_t len = strlen(decision->message), size = sizeof(decision->message);
	va_list args;

	if (len && len + 2 < size)
		len += (size_t)snprintf(decision->message + len, size - len, ", ");
	va_start(args, format);
	vsnprintf(decision->message + len, size - len, format, args);
	va_end(args);
}

static void allow(struct osh_decision *decision)
{
	decision->effect = OSH_EFFECT_ALLOW;
	decision->stage = OSH_STAGE_NONE;
	decision->reason[0] = '\0';
}

/* Only what the rules refused can be softened, never what could not be understood. */
static void soften(const struct osh_policy *policy, struct osh_decision *decision)
{
	bool by_policy = decision->stage == OSH_STAGE_CONNECT ||
			 decision->stage == OSH_STAGE_ROUTE || decision->stage == OSH_STAGE_RULES;

	if (decision->effect == OSH_EFFECT_DENY && by_policy && !decision->wanted.subject &&
	    osh_policy_is_permissive(policy))
		decision->effect = OSH_EFFECT_AUDIT;
}

/* ---- Connecting ---------------------------------------------------------- */

struct text {
	char *buf;
	size_t size, len;
};

static void add_text(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_text(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->buf + t->len, t->size - t->len, format, args);
	va_end(args);
	if (n > 0)
		t->len = t->len + (size_t)n < t->size ? t->len + (size_t)n : t->size - 1;
}

static void add_binary_reason(struct text *t, const struct osh_match *match,
			      const struct osh_subject *subject, uint32_t entry)
{
	struct osh_str key =
		osh_image_text(match->policy, osh_image_entry(match->policy, entry)->key);
	struct osh_str path;
	const char *fault = osh_entry_fault(match->policy, entry, subject, &path);

	add_text(t, "%sbinary '%.*s' %s policy '%.*s'", t->len ? "; " : "", OSH_STR_ARGS(path), fault,
		 OSH_STR_ARGS(key));
	if (subject->ancestor_count == 0 || t->len > t->size / 2)
		return;
	add_text(t, " (ancestors: [");
	for (size_t i = 0; i < subject->ancestor_count && i < 8; i++)
		add_text(t, "%s%.*s", i ? " -> " : "", OSH_STR_ARGS(subject->ancestors[i]));
	add_text(t, "%s])", subject->ancestor_count > 8 ? " -> ..." : "");
}

/* The smallest entry above `above` among those whose endpoint matched. */
static uint32_t next_entry(const struct osh_match *match, int64_t above)
{
	uint32_t best = UINT32_MAX;

	for (size_t i = 0; i < match->count; i++) {
		uint32_t entry = osh_image_endpoint(match->policy, match->ids[i])->entry;

		if ((int64_t)entry > above && entry < best)
			best = entry;
	}
	return best;
}

#define REASON_ENTRIES_MAX 4

static void explain_binaries(const struct osh_match *match, const struct osh_subject *subject,
			     struct osh_decision *decision)
{
	struct text text = { .buf = decision->reason, .size = sizeof(decision->reason) };
	uint32_t entry = next_entry(match, -1);

	decision->stage = OSH_STAGE_CONNECT;
	decision->wanted = match->wanted;
	decision->nearest_line = osh_image_entry(match->policy, entry)->line;
	for (int i = 0; i < REASON_ENTRIES_MAX && entry != UINT32_MAX; i++) {
		add_binary_reason(&text, match, subject, entry);
		entry = next_entry(match, entry);
	}
	if (entry != UINT32_MAX)
		add_text(&text, "; and others");
}

/* A fail-closed middleware that this agent cannot run takes its hosts with it. */
static bool is_covered(const struct osh_policy *policy, const struct osh_image_middleware *m,
		       struct osh_str host)
{
	const uint32_t *include = osh_image_at(policy, m->include.offset);
	const uint32_t *exclude = osh_image_at(policy, m->exclude.offset);

	for (uint32_t i = 0; i < m->exclude.count; i++) {
		if (osh_glob_match(osh_image_at(policy, exclude[i]), host))
			return false;
	}
	for (uint32_t i = 0; i < m->include.count; i++) {
		if (osh_glob_match(osh_image_at(policy, include[i]), host))
			return true;
	}
	return false;
}

static bool refuse_for_middleware(const struct osh_policy *policy, struct osh_str host,
				  struct osh_decision *decision)
{
	struct osh_image_list list = osh_image_header(policy)->middlewares;
	const struct osh_image_middleware *items = osh_image_at(policy, list.offset);
	char lower[OSH_HOST_MAX];

	if (list.count == 0 || host.len >= sizeof(lower))
		return false;
	for (size_t i = 0; i < host.len; i++)
		lower[i] = osh_ascii_lower(host.data[i]);
	for (uint32_t i = 0; i < list.count; i++) {
		struct osh_str key = osh_image_text(policy, items[i].key);

		if (!is_covered(policy, &items[i], osh_str_n(lower, host.len)))
			continue;
		osh_decision_deny(decision, OSH_STAGE_CONNECT,
				  "middleware '%.*s' is required for this host, but "
				  "this agent runs none",
				  OSH_STR_ARGS(key));
		return true;
	}
	return false;
}

/* Fill `match` and the connect-time part of the decision. True: allowed. */
static bool decide_connect(const struct osh_policy *policy, const struct osh_connect_query *query,
			   struct osh_match *match, struct osh_decision *decision)
{
	osh_decision_init(decision);
	osh_match_host(policy, query->host, query->port_host, match);
	osh_match_subject(match, &query->subject);
	if (osh_image_header(policy)->entries.count == 0)
		osh_decision_deny(decision, OSH_STAGE_CONNECT,
				  "network connections not allowed by policy");
	else if (match->overflow)
		osh_decision_deny(decision, OSH_STAGE_CONNECT,
				  "more than %d endpoints match %.*s:%u", OSH_MATCH_MAX,
				  OSH_STR_ARGS(query->host), query->port_host);
	else if (match->count == 0)
		osh_decision_deny(decision, OSH_STAGE_CONNECT,
				  "endpoint %.*s:%u is not allowed by any policy",
				  OSH_STR_ARGS(query->host), query->port_host);
	else if (match->granted == 0 || match->wanted.subject)
		explain_binaries(match, &query->subject, decision);
	else if (!refuse_for_middleware(policy, query->host, decision))
		return true;
	return false;
}

/* What the granted endpoints say about the connection as a whole. */
static void describe_connection(const struct osh_match *match, struct osh_decision *decision)
{
	const struct osh_image_entry *entry = osh_image_entry(match->policy, match->entry);
	uint32_t l7_id = UINT32_MAX, line_id = UINT32_MAX;

	decision->policy = osh_image_text(match->policy, entry->key);
	decision->entry = match->entry;
	decision->limits = entry->limits;
	for (size_t i = 0; i < match->granted; i++) {
		const struct osh_image_endpoint *e =
			osh_image_endpoint(match->policy, match->ids[i]);

		if (e->flags & OSH_IMAGE_TLS_SKIP)
			decision->tls = OSH_TLS_SKIP;
		if (e->flags & OSH_IMAGE_UNINSPECTED_CREDENTIALS)
			decision->uninspected_credentials = true;
		if (match->ids[i] < line_id) {
			line_id = match->ids[i];
			decision->rule_line = e->line;
		}
		if (e->l7 != OSH_L7_NONE && match->ids[i] < l7_id) {
			l7_id = match->ids[i];
			decision->l7 = (enum osh_l7)e->l7;
		}
	}
}

void osh_policy_connect(const struct osh_policy *policy, const struct osh_connect_query *query,
			struct osh_decision *ret_decision)
{
	struct osh_match match;

	if (decide_connect(policy, query, &match, ret_decision)) {
		describe_connection(&match, ret_decision);
		allow(ret_decision);
	}
	soften(policy, ret_decision);
}

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

/* Allow: the key is present and all its values match. Deny: at least one does. */
static bool matcher_holds(const struct osh_policy *policy, const struct osh_image_matcher *matcher,
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
	struct osh_str wanted = osh_image_text(policy, rule->method);

	if (rule->flags & OSH_RULE_ANY_METHOD)
		return true;
	return osh_str_eq(wanted, method) ||
	       (osh_str_eq_c(method, "HEAD") && osh_str_eq_c(wanted, "GET"));
}

bool osh_http_rule_matches(const struct osh_policy *policy, const struct osh_image_rule *rule,
			   struct osh_str method, struct osh_str path, struct osh_str query,
			   bool deny)
{
	const struct osh_image_matcher *matchers = osh_image_at(policy, rule->query.offset);

	if (rule->kind != OSH_RULE_HTTP || (rule->flags & OSH_RULE_NEVER))
		return false;
	if (!method_matches(policy, rule, method))
		return false;
	if (rule->path && !osh_glob_match(osh_image_at(policy, rule->path), path))
		return false;
	for (uint32_t i = 0; i < rule->query.count; i++) {
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
	path_fits = rule->path && osh_glob_match(osh_image_at(match->policy, rule->path), path);
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
			decision->nearest = osh_image_text(match->policy, rules[j].path_text);
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
	return path.len && memchr(path.data, '%', path.len) &&
	       memmem(path.data, path.len, "%2F", 3);
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
		allow(decision);
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
	decision->credential_provider = osh_image_text(match->policy, selected->provider);
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
		allow(decision);
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

	if (decide_connect(policy, &query->connect, &match, ret_decision)) {
		describe_connection(&match, ret_decision);
		judge_request(&match, query, ret_decision);
	}
	soften(policy, ret_decision);
}
