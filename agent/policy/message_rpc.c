/* JSON-RPC 2.0 and MCP: each call of a body is judged by its method, and for MCP by tool
 * and arguments. */
#include <string.h>

#include "base/mem.h"
#include "policy/glob.h"
#include "policy/json.h"
#include "policy/message.h"

#define METHOD_MAX 256
#define ARGUMENT_MAX 4096

static bool is_mcp(const struct osh_inquiry *inquiry)
{
	return inquiry->selected->l7 == OSH_L7_MCP;
}

static bool reject(const struct osh_inquiry *inquiry, const char *why)
{
	osh_decision_deny(inquiry->decision, OSH_STAGE_MESSAGE, "JSON-RPC request rejected: %s",
			  why);
	return false;
}

/* ---- Frames -------------------------------------------------------------- */

struct frame {
	bool is_response;
	struct osh_str method; /* points into method_buf */
	struct osh_str params;
	struct osh_str tool; /* points into tool_buf; for tools/call */
	struct osh_str arguments;
	char method_buf[METHOD_MAX], tool_buf[METHOD_MAX];
};

static bool is_id(struct osh_str id)
{
	enum osh_json_type type = osh_json_type(id);

	return type == OSH_JSON_STRING || type == OSH_JSON_NUMBER || type == OSH_JSON_NULL;
}

/* The envelope (JSON-RPC 2.0, sections 4 and 5). Returns NULL or the fault. */
static const char *read_envelope(struct osh_str object, struct frame *frame)
{
	struct osh_str version, method, id, result, error;

	if (osh_json_type(object) != OSH_JSON_OBJECT)
		return "a frame is not an object";
	if (!osh_json_get(object, osh_str("jsonrpc"), &version) ||
	    !osh_json_get(object, osh_str("method"), &method) ||
	    !osh_json_get(object, osh_str("id"), &id) ||
	    !osh_json_get(object, osh_str("params"), &frame->params) ||
	    !osh_json_get(object, osh_str("result"), &result) ||
	    !osh_json_get(object, osh_str("error"), &error))
		return "a key is given twice";
	if (osh_json_type(version) != OSH_JSON_STRING ||
	    !osh_json_raw_eq(osh_json_raw(version), osh_str("2.0")))
		return "jsonrpc must be \"2.0\"";
	if (id.len && !is_id(id))
		return "id must be a string or a number";
	if (result.len && error.len)
		return "a frame holds result and error";
	frame->is_response = result.len || error.len;
	if (frame->is_response)
		return method.len ? "a frame holds method and result" :
		       id.len     ? NULL :
				    "a response lacks its id";
	if (osh_json_type(method) != OSH_JSON_STRING)
		return "method must be a string";
	if (!osh_json_decode(osh_json_raw(method), frame->method_buf, METHOD_MAX, &frame->method) ||
	    frame->method.len == 0)
		return "method is empty, too long or malformed";
	return NULL;
}

/* ---- What MCP says about params ------------------------------------------ */

enum shape { SHAPE_STRING, SHAPE_OBJECT };

struct member {
	const char *method, *key;
	enum shape shape;
	bool required;
};

/* Requests that a client sends, by the MCP schema (2025-06-18). */
static const struct member members[] = {
	{ "initialize", "protocolVersion", SHAPE_STRING, true },
	{ "initialize", "capabilities", SHAPE_OBJECT, true },
	{ "initialize", "clientInfo", SHAPE_OBJECT, true },
	{ "tools/list", "cursor", SHAPE_STRING, false },
	{ "tools/call", "name", SHAPE_STRING, true },
	{ "tools/call", "arguments", SHAPE_OBJECT, false },
	{ "resources/list", "cursor", SHAPE_STRING, false },
	{ "resources/templates/list", "cursor", SHAPE_STRING, false },
	{ "resources/read", "uri", SHAPE_STRING, true },
	{ "resources/subscribe", "uri", SHAPE_STRING, true },
	{ "resources/unsubscribe", "uri", SHAPE_STRING, true },
	{ "prompts/list", "cursor", SHAPE_STRING, false },
	{ "prompts/get", "name", SHAPE_STRING, true },
	{ "prompts/get", "arguments", SHAPE_OBJECT, false },
	{ "completion/complete", "ref", SHAPE_OBJECT, true },
	{ "completion/complete", "argument", SHAPE_OBJECT, true },
	{ "logging/setLevel", "level", SHAPE_STRING, true },
};

static const char *check_member(const struct member *member, struct osh_str params)
{
	struct osh_str value = { 0 };
	enum osh_json_type type;

	if (params.len && !osh_json_get(params, osh_str(member->key), &value))
		return "a key of params is given twice";
	type = osh_json_type(value);
	if (type == OSH_JSON_NONE)
		return member->required ? "params lack what the method needs" : NULL;
	if (type != (member->shape == SHAPE_STRING ? OSH_JSON_STRING : OSH_JSON_OBJECT))
		return "params hold a value of a wrong type";
	return NULL;
}

static const char *check_params(const struct frame *frame)
{
	for (size_t i = 0; i < OSH_COUNT_OF(members); i++) {
		const char *fault;

		if (!osh_str_eq_c(frame->method, members[i].method))
			continue;
		if (frame->params.len && osh_json_type(frame->params) != OSH_JSON_OBJECT)
			return "params must be an object";
		fault = check_member(&members[i], frame->params);
		if (fault)
			return fault;
	}
	return NULL;
}

static bool is_strict_name(struct osh_str name)
{
	if (name.len == 0 || name.len > 128)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.data[i];

		if (!osh_ascii_is_alpha(c) && !osh_ascii_is_digit(c) && c != '_' && c != '.' &&
		    c != '-')
			return false;
	}
	return true;
}

static const char *read_tool(const struct osh_inquiry *inquiry, struct frame *frame)
{
	bool loose = inquiry->selected->flags & OSH_IMAGE_LOOSE_TOOLS;
	struct osh_str name;

	if (!osh_json_get(frame->params, osh_str("name"), &name) ||
	    !osh_json_get(frame->params, osh_str("arguments"), &frame->arguments))
		return "a key of params is given twice";
	if (!osh_json_decode(osh_json_raw(name), frame->tool_buf, METHOD_MAX, &frame->tool) ||
	    frame->tool.len == 0)
		return "the tool's name is empty, too long or malformed";
	if (!loose && !is_strict_name(frame->tool))
		return "the tool's name must be 1 to 128 of A-Z a-z 0-9 _ . -";
	return NULL;
}

static const char *read_frame(const struct osh_inquiry *inquiry, struct osh_str object,
			      struct frame *frame)
{
	const char *fault;

	memset(frame, 0, offsetof(struct frame, method_buf));
	fault = read_envelope(object, frame);
	if (fault || frame->is_response || !is_mcp(inquiry))
		return fault;
	fault = check_params(frame);
	if (!fault && osh_str_eq_c(frame->method, "tools/call"))
		fault = read_tool(inquiry, frame);
	return fault;
}

/* ---- Rules --------------------------------------------------------------- */

static bool method_matches(const struct osh_policy *policy, const struct osh_image_rule *rule,
			   const struct frame *frame)
{
	if (rule->flags & OSH_RULE_ANY_METHOD)
		return true;
	if (rule->rpc.method_glob)
		return osh_glob_match(osh_image_at(policy, rule->rpc.method_glob), frame->method);
	return osh_str_eq(osh_image_text(policy, rule->rpc.method), frame->method);
}

static bool tool_matches(const struct osh_policy *policy, const struct osh_image_endpoint *e,
			 const struct osh_image_rule *rule, const struct frame *frame)
{
	const struct osh_image_str *names = osh_image_at(policy, rule->rpc.tools.offset);

	if (!(e->flags & OSH_IMAGE_LOOSE_TOOLS))
		return osh_globs_match_any(policy, rule->rpc.tools, frame->tool);
	for (uint32_t i = 0; i < rule->rpc.tools.count; i++) {
		if (osh_str_eq(osh_image_text(policy, names[i]), frame->tool))
			return true;
	}
	return false;
}

/* A value that is no text cannot be compared: it satisfies no allow rule, and every deny
 * rule. */
static bool argument_holds(const struct osh_policy *policy, const struct osh_image_matcher *matcher,
			   struct osh_str arguments, bool deny)
{
	char buf[ARGUMENT_MAX];
	struct osh_str value = { 0 }, text;

	if (arguments.len && !osh_json_get(arguments, osh_image_text(policy, matcher->key), &value))
		return deny;
	switch (osh_json_type(value)) {
	case OSH_JSON_NONE:
		return false;
	case OSH_JSON_STRING:
		if (!osh_json_decode(osh_json_raw(value), buf, sizeof(buf), &text))
			return deny;
		return osh_globs_match_any(policy, matcher->globs, text);
	case OSH_JSON_BOOL:
	case OSH_JSON_NUMBER:
		return osh_globs_match_any(policy, matcher->globs, value);
	case OSH_JSON_NULL:
	case OSH_JSON_ARRAY:
	case OSH_JSON_OBJECT:
		break;
	}
	return deny;
}

static bool rule_matches(const struct osh_policy *policy, const struct osh_image_endpoint *e,
			 const struct osh_image_rule *rule, const struct frame *frame, bool deny)
{
	const struct osh_image_matcher *arguments = osh_image_at(policy, rule->rpc.arguments.offset);

	if (rule->kind != OSH_RULE_RPC || (rule->flags & OSH_RULE_NEVER) ||
	    !method_matches(policy, rule, frame))
		return false;
	if ((rule->flags & OSH_RULE_HAS_TOOL) && !tool_matches(policy, e, rule, frame))
		return false;
	for (uint32_t i = 0; i < rule->rpc.arguments.count; i++) {
		if (!argument_holds(policy, &arguments[i], frame->arguments, deny))
			return false;
	}
	return true;
}

static const struct osh_image_rule *find_rule(const struct osh_policy *policy,
					      const struct osh_image_endpoint *e,
					      struct osh_image_list list, const struct frame *frame,
					      bool deny)
{
	const struct osh_image_rule *rules = osh_image_at(policy, list.offset);

	for (uint32_t i = 0; i < list.count; i++) {
		if (rule_matches(policy, e, &rules[i], frame, deny))
			return &rules[i];
	}
	return NULL;
}

/* The method profile grants every method; tool rules narrow tools/call alone. */
static bool profile_grants(const struct osh_policy *policy, const struct osh_image_endpoint *e,
			   const struct frame *frame)
{
	const struct osh_image_rule *rules = osh_image_at(policy, e->allows.offset);

	if (!(e->flags & OSH_IMAGE_MCP_PROFILE))
		return false;
	for (uint32_t i = 0; osh_str_eq_c(frame->method, "tools/call") && i < e->allows.count;
	     i++) {
		if ((rules[i].flags & OSH_RULE_HAS_TOOL) || rules[i].rpc.arguments.count)
			return false;
	}
	return true;
}

/* For a denial: the first rule about this method, whatever tool it names. */
static void find_nearest(const struct osh_inquiry *inquiry, const struct frame *frame)
{
	const struct osh_policy *policy = inquiry->match->policy;
	const struct osh_image_endpoint *e;
	size_t i = 0;

	while ((e = osh_inquiry_next(inquiry, &i))) {
		const struct osh_image_rule *rules = osh_image_at(policy, e->allows.offset);

		for (uint32_t j = 0; j < e->allows.count; j++) {
			if (!method_matches(policy, &rules[j], frame))
				continue;
			inquiry->decision->nearest_line = rules[j].line;
			return;
		}
	}
}

/* Method and tool, never what they are called with; what is denied stands alone. */
static void note_frame(const struct osh_inquiry *inquiry, const struct frame *frame, bool denied)
{
	if (denied)
		inquiry->decision->message[0] = '\0';
	if (frame->is_response)
		osh_decision_note(inquiry->decision, "response");
	else
		osh_decision_note(inquiry->decision, "%.*s%s%.*s", OSH_STR_ARGS(frame->method),
				  frame->tool.len ? " " : "", OSH_STR_ARGS(frame->tool));
}

/* True when the frame may pass; else the decision says why not. */
static bool judge_frame(const struct osh_inquiry *inquiry, const struct frame *frame)
{
	const struct osh_request_query *query = inquiry->query;
	const struct osh_policy *policy = inquiry->match->policy;
	const struct osh_image_rule *allowing = NULL, *denying = NULL;
	const struct osh_image_endpoint *e;
	uint32_t line = 0;
	bool granted = false;
	size_t i = 0;

	while (!denying && (e = osh_inquiry_next(inquiry, &i))) {
		denying = frame->is_response ? NULL : find_rule(policy, e, e->denies, frame, true);
		if (granted)
			continue;
		allowing =
			frame->is_response ? NULL : find_rule(policy, e, e->allows, frame, false);
		granted = allowing || frame->is_response || profile_grants(policy, e, frame);
		line = allowing ? allowing->line : e->line;
	}
	if (denying)
		osh_decision_deny(inquiry->decision, OSH_STAGE_RULES,
				  "%.*s %.*s blocked by deny rule", OSH_STR_ARGS(query->method),
				  OSH_STR_ARGS(query->path));
	else if (!granted)
		osh_decision_deny(inquiry->decision, OSH_STAGE_RULES,
				  "%.*s %.*s not permitted by policy (%.*s%s%.*s)",
				  OSH_STR_ARGS(query->method), OSH_STR_ARGS(query->path),
				  OSH_STR_ARGS(frame->method), frame->tool.len ? " " : "",
				  OSH_STR_ARGS(frame->tool));
	else
		osh_decision_allow(inquiry->decision, line);
	if (denying)
		inquiry->decision->rule_line = denying->line;
	else if (!granted)
		find_nearest(inquiry, frame);
	note_frame(inquiry, frame, denying || !granted);
	return granted && !denying;
}

/* ---- Bodies -------------------------------------------------------------- */

/* What cannot be read is refused before any rule is asked, also where rules only audit. */
static bool check_frame(const struct osh_inquiry *inquiry, struct osh_str object)
{
	struct frame frame;
	const char *fault = read_frame(inquiry, object, &frame);

	if (fault)
		return reject(inquiry, fault);
	if (!frame.is_response || is_mcp(inquiry))
		return true;
	osh_decision_deny(inquiry->decision, OSH_STAGE_MESSAGE,
			  "JSON-RPC response frames are not permitted from client to server");
	return false;
}

static bool judge_object(const struct osh_inquiry *inquiry, struct osh_str object)
{
	struct frame frame;

	return !read_frame(inquiry, object, &frame) && judge_frame(inquiry, &frame);
}

static void judge_batch(const struct osh_inquiry *inquiry, struct osh_str array)
{
	struct osh_str rest = array, item;
	size_t count = 0;

	for (; osh_json_next_item(&rest, &item); count++) {
		if (!check_frame(inquiry, item))
			return;
	}
	if (count == 0) {
		(void)reject(inquiry, "the batch is empty");
		return;
	}
	rest = array;
	while (osh_json_next_item(&rest, &item)) {
		if (!judge_object(inquiry, item))
			return;
	}
}

static void judge_post(const struct osh_inquiry *inquiry)
{
	struct osh_str body = inquiry->query->message->body;
	const char *fault = osh_json_check(body);

	if (fault) {
		(void)reject(inquiry, fault);
		return;
	}
	body = osh_json_root(body);
	if (osh_json_type(body) == OSH_JSON_ARRAY)
		judge_batch(inquiry, body);
	else if (check_frame(inquiry, body))
		(void)judge_object(inquiry, body);
}

/* Does Accept list text/event-stream? */
static bool accepts_events(struct osh_str accept)
{
	static const char wanted[] = "text/event-stream";

	for (size_t i = 0; i + sizeof(wanted) - 1 <= accept.len; i++) {
		bool starts = i == 0 || accept.data[i - 1] == ',' || accept.data[i - 1] == ' ';
		size_t end = i + sizeof(wanted) - 1;
		bool ends = end == accept.len || strchr(",; ", accept.data[end]);

		if (starts && ends &&
		    osh_str_caseeq_c(osh_str_n(accept.data + i, sizeof(wanted) - 1), wanted))
			return true;
	}
	return false;
}

/* A body-less GET that opens the server's stream. MCP has it by nature; JSON-RPC has no rule
 * that could allow it. */
static void judge_stream(const struct osh_inquiry *inquiry)
{
	const struct osh_image_endpoint *e;
	size_t i = 0;

	e = is_mcp(inquiry) ? osh_inquiry_next(inquiry, &i) : NULL;
	if (e)
		osh_decision_allow(inquiry->decision, e->line);
	else
		osh_decision_deny(
			inquiry->decision, OSH_STAGE_RULES, "%.*s %.*s not permitted by policy",
			OSH_STR_ARGS(inquiry->query->method), OSH_STR_ARGS(inquiry->query->path));
}

void osh_judge_rpc(const struct osh_inquiry *inquiry)
{
	const struct osh_message *message = inquiry->query->message;

	if (osh_str_eq_c(inquiry->query->method, "POST"))
		judge_post(inquiry);
	else if (osh_str_eq_c(inquiry->query->method, "GET") && message->body.len == 0 &&
		 accepts_events(message->accept))
		judge_stream(inquiry);
	else
		(void)reject(inquiry, "messages are sent by POST");
}
