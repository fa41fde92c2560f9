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
		return "a key is given twice, or in another case";
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

struct member {
	const char *method;
	const char *outer; /* the member of params that holds it; NULL: params itself does */
	const char *key;
	enum osh_json_type type;
	bool required;
};

/* Requests that a client sends, by the MCP schema (2025-06-18). */
static const struct member members[] = {
	{ "initialize", NULL, "protocolVersion", OSH_JSON_STRING, true },
	{ "initialize", NULL, "capabilities", OSH_JSON_OBJECT, true },
	{ "initialize", NULL, "clientInfo", OSH_JSON_OBJECT, true },
	{ "initialize", "clientInfo", "name", OSH_JSON_STRING, true },
	{ "initialize", "clientInfo", "version", OSH_JSON_STRING, true },
	{ "ping", NULL, "_meta", OSH_JSON_OBJECT, false },
	{ "tools/list", NULL, "cursor", OSH_JSON_STRING, false },
	{ "tools/call", NULL, "name", OSH_JSON_STRING, true },
	{ "tools/call", NULL, "arguments", OSH_JSON_OBJECT, false },
	{ "resources/list", NULL, "cursor", OSH_JSON_STRING, false },
	{ "resources/templates/list", NULL, "cursor", OSH_JSON_STRING, false },
	{ "resources/read", NULL, "uri", OSH_JSON_STRING, true },
	{ "resources/subscribe", NULL, "uri", OSH_JSON_STRING, true },
	{ "resources/unsubscribe", NULL, "uri", OSH_JSON_STRING, true },
	{ "prompts/list", NULL, "cursor", OSH_JSON_STRING, false },
	{ "prompts/get", NULL, "name", OSH_JSON_STRING, true },
	{ "prompts/get", NULL, "arguments", OSH_JSON_OBJECT, false },
	{ "completion/complete", NULL, "ref", OSH_JSON_OBJECT, true },
	{ "completion/complete", "ref", "type", OSH_JSON_STRING, true },
	{ "completion/complete", NULL, "argument", OSH_JSON_OBJECT, true },
	{ "completion/complete", "argument", "name", OSH_JSON_STRING, true },
	{ "completion/complete", "argument", "value", OSH_JSON_STRING, true },
	{ "logging/setLevel", NULL, "level", OSH_JSON_STRING, true },
};

static const char *check_member(const struct member *member, struct osh_str params)
{
	struct osh_str value = { 0 }, holder = params;
	enum osh_json_type type;

	if (member->outer && !osh_json_get(params, osh_str(member->outer), &holder))
		return "a key of params is given twice, or in another case";
	if (holder.len && !osh_json_get(holder, osh_str(member->key), &value))
		return "a key of params is given twice, or in another case";
	type = osh_json_type(value);
	if (type == OSH_JSON_NONE || (type == OSH_JSON_NULL && !member->required))
		return member->required ? "params lack what the method needs" : NULL;
	return type == member->type ? NULL : "params hold a value of a wrong type";
}

/* Rows about a member's inside stand behind the row that makes sure of its type. */
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

/* What may be left out may also be null. */
static void drop_null(struct osh_str *value)
{
	if (osh_json_type(*value) == OSH_JSON_NULL)
		*value = (struct osh_str){ 0 };
}

static const char *read_tool(const struct osh_inquiry *inquiry, struct frame *frame)
{
	bool loose = inquiry->selected->flags & OSH_IMAGE_LOOSE_TOOLS;
	struct osh_str name;

	if (!osh_json_get(frame->params, osh_str("name"), &name) ||
	    !osh_json_get(frame->params, osh_str("arguments"), &frame->arguments))
		return "a key of params is given twice, or in another case";
	drop_null(&frame->arguments);
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
	drop_null(&frame->params);
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
			 const struct osh_image_rule *rule, const void *what, bool deny)
{
	const struct osh_image_matcher *arguments = osh_image_at(policy, rule->rpc.arguments.offset);
	const struct frame *frame = what;

	if (rule->kind != OSH_RULE_RPC || (rule->flags & OSH_RULE_NEVER) || frame->is_response ||
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

/* Answers to the server pass. The method profile grants every method; tool rules narrow
 * tools/call alone. */
static bool grants(const struct osh_policy *policy, const struct osh_image_endpoint *e,
		   const void *what)
{
	const struct osh_image_rule *rules = osh_image_at(policy, e->allows.offset);
	const struct frame *frame = what;

	if (frame->is_response)
		return true;
	if (!(e->flags & OSH_IMAGE_MCP_PROFILE))
		return false;
	for (uint32_t i = 0; osh_str_eq_c(frame->method, "tools/call") && i < e->allows.count;
	     i++) {
		if ((rules[i].flags & OSH_RULE_HAS_TOOL) || rules[i].rpc.arguments.count)
			return false;
	}
	return true;
}

/* A denial names the first rule about this method, whatever tool it is about. */
static bool is_near(const struct osh_policy *policy, const struct osh_image_rule *rule,
		    const void *what)
{
	return method_matches(policy, rule, what);
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
	struct osh_decision *decision = inquiry->decision;
	uint32_t line = 0;
	enum osh_answer answer = osh_inquiry_answer(inquiry, frame, &line);

	switch (answer) {
	case OSH_ANSWER_ALLOWED:
		osh_decision_allow(decision, line);
		break;
	case OSH_ANSWER_BLOCKED:
		osh_decision_deny(decision, OSH_STAGE_RULES, "%.*s %.*s blocked by deny rule",
				  OSH_STR_ARGS(query->method), OSH_STR_ARGS(query->path));
		decision->rule_line = line;
		break;
	case OSH_ANSWER_NONE:
		osh_decision_deny(decision, OSH_STAGE_RULES,
				  "%.*s %.*s not permitted by policy (%.*s%s%.*s)",
				  OSH_STR_ARGS(query->method), OSH_STR_ARGS(query->path),
				  OSH_STR_ARGS(frame->method), frame->tool.len ? " " : "",
				  OSH_STR_ARGS(frame->tool));
		osh_inquiry_find_nearest(inquiry, frame);
		break;
	}
	note_frame(inquiry, frame, answer != OSH_ANSWER_ALLOWED);
	return answer == OSH_ANSWER_ALLOWED;
}

/* ---- Bodies -------------------------------------------------------------- */

/* What cannot be read is refused before any rule is asked, also where rules only audit. */
static bool check_frame(const struct osh_inquiry *inquiry, struct osh_str object)
{
	struct frame frame;
	const char *fault = read_frame(inquiry, object, &frame);

	if (fault)
		return osh_inquiry_reject(inquiry, fault);
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
		osh_inquiry_judge_json(inquiry);
	else if (osh_str_eq_c(inquiry->query->method, "GET") && message->body.len == 0 &&
		 accepts_events(message->accept))
		judge_stream(inquiry);
	else
		(void)osh_inquiry_reject(inquiry, "messages are sent by POST");
}

const struct osh_dialect osh_rpc_dialect = {
	.name = "JSON-RPC",
	.check = check_frame,
	.judge = judge_object,
	.matches = rule_matches,
	.grants = grants,
	.is_near = is_near,
};
