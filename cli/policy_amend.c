#include "policy_amend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/diff.h"
#include "policy_way.h"

/* Endpoints that one request may go to; more are not looked at. */
#define PLACES_MAX 16

/* ---- What was said ---------------------------------------- */

/* A word as YAML takes it in a flow mapping: quoted, unless nothing about it is special. */
static void write_word(struct osh_str word, char *buf, size_t size)
{
	static const char safe[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/.";
	json_t *json;
	char *quoted;

	snprintf(buf, size, "%.*s", (int)word.len, word.data);
	if (osh_ascii_is_alpha(buf[0]) && strspn(buf, safe) == word.len && word.len > 5)
		return; /* longer than any of the words that mean a boolean or null */
	json = json_stringn(word.data, word.len);
	quoted = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;
	snprintf(buf, size, "%s", quoted ? quoted : "");
	free(quoted);
	json_decref(json);
}

static void dump_body(json_t *json, struct osh_policy_said *said)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	snprintf(said->body, sizeof(said->body), "%s", text ? text : "");
	free(text);
	json_decref(json);
}

/* "tools/call NAME", "eth_call". Of the params only what the methods of MCP cannot do
 * without: they are in no verdict. */
static void read_call(struct osh_str message, bool is_mcp, struct osh_policy_said *said)
{
	const char *blank = is_mcp ? osh_str_chr(message, ' ') : NULL;
	size_t len = blank ? (size_t)(blank - message.data) : message.len;
	struct osh_str method = osh_str_n(message.data, len);
	struct osh_str tool = blank ? osh_str_n(blank + 1, message.len - len - 1) : osh_str("");
	char method_word[288], tool_word[288];

	write_word(method, method_word, sizeof(method_word));
	write_word(tool, tool_word, sizeof(tool_word));
	snprintf(said->rule, sizeof(said->rule), "{ method: %s%s%s }", method_word,
		 tool.len ? ", tool: " : "", tool.len ? tool_word : "");
	dump_body(json_pack("{s:s, s:i, s:s%, s:{s:s%, s:s, s:{}, s:{}, s:s, s:s, s:{}, s:{}}}",
			    "jsonrpc", "2.0", "id", 1, "method", method.data, method.len, "params",
			    "name", tool.len ? tool.data : "-", tool.len ? tool.len : (size_t)1,
			    "protocolVersion", "-", "capabilities", "clientInfo", "uri", "-",
			    "level", "-", "ref", "argument"),
		  said);
}

/* "mutation CreateIssue{createIssue,viewer}", "query{viewer}". */
static void read_operation(struct osh_str message, bool is_text, struct osh_policy_said *said)
{
	const char *brace = osh_str_chr(message, '{');
	const char *blank = brace ? memchr(message.data, ' ', (size_t)(brace - message.data)) : NULL;
	struct osh_str type, name = { 0 }, fields;
	char document[512], name_word[288] = "";
	json_t *payload;

	if (!brace || message.data[message.len - 1] != '}')
		return;
	type = osh_str_n(message.data, (size_t)((blank ? blank : brace) - message.data));
	if (blank)
		name = osh_str_n(blank + 1, (size_t)(brace - blank) - 1);
	fields = osh_str_n(brace + 1, message.len - (size_t)(brace - message.data) - 2);
	write_word(name, name_word, sizeof(name_word));
	snprintf(said->rule, sizeof(said->rule), "{ operation_type: %.*s%s%s, fields: [%.*s] }",
		 (int)type.len, type.data, name.len ? ", operation_name: " : "",
		 name.len ? name_word : "", (int)fields.len, fields.data);
	snprintf(document, sizeof(document), "%.*s %.*s { %.*s }", (int)type.len, type.data,
		 (int)name.len, name.data ? name.data : "", (int)fields.len, fields.data);
	payload = json_pack("{s:s}", "query", document);
	if (is_text)
		payload = json_pack("{s:s, s:s, s:o}", "id", "1", "type", "subscribe", "payload",
				    payload);
	dump_body(payload, said);
}

void osh_policy_said_read(const struct osh_verdict *verdict, struct osh_policy_said *ret_said)
{
	struct osh_str message = osh_str(verdict->message);
	const char *protocol = verdict->protocol ? verdict->protocol : "";

	*ret_said = (struct osh_policy_said){ 0 };
	/* As long as one can be: it may have been cut. */
	if (message.len == 0 || message.len + 1 >= OSH_DECISION_MESSAGE_MAX)
		return;
	if (strcmp(protocol, "graphql") == 0 || strcmp(protocol, "websocket") == 0)
		read_operation(message, strcmp(protocol, "websocket") == 0, ret_said);
	else if (strcmp(protocol, "mcp") == 0 || strcmp(protocol, "json-rpc") == 0)
		read_call(message, strcmp(protocol, "mcp") == 0, ret_said);
}

/* ---- What it would change ---------------------------------------- */

static void list_effects(const struct osh_changes *changes, struct osh_policy_amendment *amendment)
{
	amendment->effect_count = amendment->more_effects = 0;
	for (size_t i = 0; i < changes->count; i++) {
		if (!changes->items[i].is_gain)
			continue;
		if (amendment->effect_count == OSH_AMEND_EFFECTS_MAX) {
			amendment->more_effects++;
			continue;
		}
		(void)osh_change_format(&changes->items[i],
					amendment->effects[amendment->effect_count++],
					sizeof(amendment->effects[0]));
	}
}

/* Ask the changed text. Fills in the effects; false when it is no policy. */
static bool try_text(struct osh_str edited, const struct osh_policy_doc *before,
		     const struct osh_question *question, struct osh_policy_amendment *amendment,
		     bool *ret_allows)
{
	_cleanup_free_ struct osh_question_result *result = calloc(1, sizeof(*result));
	struct osh_policy_doc *after = NULL;
	struct osh_changes changes;
	bool good = result && osh_policy_way_ask(edited, question, result, &after);

	if (good)
		*ret_allows = result->decision.effect == OSH_EFFECT_ALLOW;
	if (good && osh_policy_diff(before, after, &changes) == 0) {
		list_effects(&changes, amendment);
		osh_changes_done(&changes);
	}
	osh_policy_doc_free(after);
	return good;
}

/* ---- Finding it ---------------------------------------- */

static void find_removal(struct osh_str text, const struct osh_policy_doc *before,
			 const struct osh_question *question, uint32_t line,
			 struct osh_policy_amendment *amendment)
{
	_cleanup_free_ char *edited = NULL;
	size_t len = 0;

	if (osh_policy_amend_drop(text, line, &edited, &len, &amendment->place, NULL) == 0 &&
	    try_text(osh_str_n(edited, len), before, question, amendment, &amendment->is_enough))
		amendment->kind = OSH_AMEND_REMOVE;
}

static size_t count_effects(const struct osh_policy_amendment *amendment)
{
	return amendment->effect_count + amendment->more_effects;
}

/* In the endpoint where it lets the least through. */
static void find_addition(struct osh_str text, const struct osh_policy_doc *before,
			  const struct osh_question *question, const char *rule,
			  const char *protocol, struct osh_policy_amendment *amendment)
{
	_cleanup_free_ struct osh_policy_amendment *tried = calloc(1, sizeof(*tried));
	const struct osh_amend_where where = {
		.host = osh_str(question->host),
		.port_host = question->port_host,
		.protocol = osh_str(protocol),
		.path = question->target,
	};

	for (size_t nth = 0; tried && nth < PLACES_MAX; nth++) {
		_cleanup_free_ char *edited = NULL;
		size_t len = 0;
		bool allows = false;

		if (osh_policy_amend_allow(text, &where, nth, osh_str(rule), &edited, &len,
					   &tried->place, NULL) < 0)
			break;
		if (!try_text(osh_str_n(edited, len), before, question, tried, &allows) || !allows)
			continue;
		if (amendment->kind != OSH_AMEND_NONE &&
		    count_effects(tried) >= count_effects(amendment))
			continue;
		*amendment = *tried;
		amendment->kind = OSH_AMEND_ADD;
		snprintf(amendment->rule, sizeof(amendment->rule), "- allow: %s", rule);
	}
}

void osh_policy_amend_find(struct osh_str text, const struct osh_policy_doc *before,
			   const struct osh_question *question,
			   const struct osh_question_result *result,
			   const struct osh_policy_said *said, const char *protocol,
			   struct osh_policy_amendment *ret_amendment)
{
	*ret_amendment = (struct osh_policy_amendment){ 0 };
	if (result->decision.stage == OSH_STAGE_RULES && result->decision.rule_line)
		find_removal(text, before, question, result->decision.rule_line, ret_amendment);
	/* The line was an endpoint's: nothing in it allows this. */
	if (ret_amendment->kind == OSH_AMEND_NONE && said->rule[0])
		find_addition(text, before, question, said->rule, protocol, ret_amendment);
}
