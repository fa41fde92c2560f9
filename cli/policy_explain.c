/* `openshell policy explain`: the rule behind a verdict, and the smallest change that would
 * have it allowed. A change is only named after it was made to the policy's text here and
 * the engine, asked again, allowed the same thing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "feed.h"
#include "out.h"
#include "policy_amend.h"
#include "policy/question.h"
#include "policy_tools.h"
#include "policy_way.h"
#include "verdict/format.h"

#define LABEL_WIDTH 10
#define LINE_BYTES (8u << 10)

struct values {
	const char *output;
};

static const struct osh_option options[] = {
	OSH_OPTION_POLICY_OUTPUT(struct values),
	OSH_OPTIONS_END,
};

struct explanation {
	json_t *verdict_json; /* owned; `verdict` borrows from it */
	struct osh_verdict verdict;
	char *text; /* owned: the policy that decided; NULL: it is not kept */
	size_t len;
	char *current_text; /* owned: the policy in force; NULL: there is none */
	size_t current_len;
	uint64_t current; /* its revision */
	struct osh_question question;
	struct osh_question_result result; /* of the policy in force */
	uint32_t nearest_line;		   /* in `text`: the rule that came closest, 0 none */
	struct osh_policy_said said; /* of the message; the question points into it */
	struct osh_policy_way way;
	struct osh_policy_amendment amendment; /* where no way is possible */
	const char *advice; /* in place of either */
};

static const char *text_of(const char *text)
{
	return text ? text : "";
}

/* ---- The verdict ---------------------------------------- */

struct search {
	uint64_t id;
	json_t *found;
};

/* An agent that was killed may give an id a second time: the last one is meant. */
static void on_verdict(void *context, const struct osh_verdict *verdict)
{
	struct search *search = context;

	if (verdict->id != search->id)
		return;
	json_decref(search->found);
	search->found = osh_verdict_json(verdict);
}

static int find_verdict(struct osh_client *client, uint64_t id, struct explanation *e)
{
	struct search search = { .id = id };
	struct osh_verdict live;
	struct osh_err err = { 0 };
	struct osh_feed feed;
	uint64_t lost;
	int r;

	osh_feed_init(&feed, NULL);
	r = osh_feed_open(&feed, client, UINT64_MAX, 0, on_verdict, &search, &err);
	while (r == 0 && osh_feed_next(&feed, &live, &lost) > 0)
		on_verdict(&search, &live); /* what is not on disk yet */
	osh_feed_close(&feed);
	if (r < 0) {
		osh_cli_error("%s", err.message);
		return OSH_EXIT_FAILED;
	}
	e->verdict_json = search.found;
	if (search.found && osh_verdict_from_json(search.found, &e->verdict) == 0)
		return OSH_EXIT_OK;
	osh_cli_error("no verdict %llu: 'openshell logs NAME -o json' shows the ids of those that "
		      "are kept",
		      (unsigned long long)id);
	return OSH_EXIT_FAILED;
}

/* ---- Asking again ---------------------------------------- */

static void split_lineage(const char *lineage, struct osh_question *q)
{
	while (lineage[0] && q->ancestor_count < OSH_LINEAGE_MAX) {
		const char *end = strstr(lineage, " <- ");

		q->ancestors[q->ancestor_count++] =
			osh_str_n(lineage, end ? (size_t)(end - lineage) : strlen(lineage));
		lineage = end ? end + 4 : "";
	}
}

/* What was asked, as far as the verdict says it: queries, headers and params are not kept. */
static bool make_question(struct explanation *e)
{
	const struct osh_verdict *v = &e->verdict;
	struct osh_question *q = &e->question;
	bool is_websocket = strcmp(text_of(v->protocol), "websocket") == 0;

	*q = (struct osh_question){
		.binary = osh_str(v->binary),
		.port_host = v->dst_port_host,
		.method = osh_str(v->method),
		.target = osh_str(v->target),
		.websocket_upgrade = is_websocket,
	};
	split_lineage(text_of(v->lineage), q);
	q->has_request = q->method.len && osh_str_has_prefix(q->target, "/");
	if (is_websocket && osh_str_eq_c(q->method, "WEBSOCKET_TEXT")) {
		q->method = osh_str("GET");
		q->message.is_text = true;
	}
	osh_policy_said_read(v, &e->said);
	q->message.body = osh_str(e->said.body);
	return q->binary.len && q->port_host &&
	       osh_str_copy(osh_str(v->host), q->host, sizeof(q->host)) == 0 && q->host[0];
}

/* ---- What to do ---------------------------------------- */

static const char *advice_for(enum osh_verdict_engine engine)
{
	switch (engine) {
	case OSH_ENGINE_TLS:
	case OSH_ENGINE_UPSTREAM:
		return "the policy permits it; the server could not be reached or verified, which "
		       "no policy "
		       "change will mend";
	case OSH_ENGINE_HTTP:
		return "the message itself was refused, as malformed or ambiguous: no policy "
		       "change will "
		       "permit it";
	case OSH_ENGINE_AUTHORITY:
		return "the request names another host than the connection is to: no policy change "
		       "will "
		       "permit it";
	case OSH_ENGINE_CREDENTIAL:
		return "a credential was sent where it does not belong: send it to its own "
		       "provider only";
	case OSH_ENGINE_SSRF:
		return "the name leads to an address that is refused: name the host in full, or "
		       "list the "
		       "address under allowed_ips of its endpoint (openshell-policy(5))";
	case OSH_ENGINE_BYPASS:
		return "the connection came around the hooks that know who asks: no policy change "
		       "will "
		       "permit it";
	case OSH_ENGINE_LIMIT:
		return "the policy permits it, but not so many at once: try again when others have "
		       "ended, or "
		       "raise what the reason names (limits in openshell-policy(5))";
	case OSH_ENGINE_KERNEL:
	case OSH_ENGINE_POLICY:
	case OSH_ENGINE_L7:
	case OSH_ENGINE_DNS:
	case OSH_ENGINE_COUNT:
		break;
	}
	return NULL;
}

/* The rule that came closest, in the policy that decided. */
static void find_nearest(struct explanation *e)
{
	_cleanup_free_ struct osh_question_result *result = calloc(1, sizeof(*result));

	if (result && e->text && e->verdict.decision != OSH_VERDICT_ALLOW &&
	    make_question(e) &&
	    osh_policy_way_ask(osh_str_n(e->text, e->len), &e->question, result, NULL))
		e->nearest_line = result->decision.nearest_line;
}

/* A command where one can say it; else the text to change. */
static void find_change(struct explanation *e, const struct osh_policy_doc *before)
{
	struct osh_str text = osh_str_n(e->current_text, e->current_len);

	osh_policy_way_find(text, before, &e->question, text_of(e->verdict.binary),
			    text_of(e->verdict.method), &e->way);
	if (e->way.is_possible)
		return;
	osh_policy_amend_find(text, before, &e->question, &e->result, &e->said,
			      text_of(e->verdict.protocol), &e->amendment);
	if (e->amendment.kind == OSH_AMEND_NONE)
		e->advice = "no change of one rule allows it: edit the policy with policy get and "
			    "policy set";
}

static void consider(struct explanation *e)
{
	struct osh_policy_doc *before = NULL;

	if (strcmp(text_of(e->verdict.protocol), OSH_VERDICT_PROTOCOL_NOTE) == 0)
		e->advice = "this is a note of the agent: nothing was decided";
	else if (e->verdict.decision == OSH_VERDICT_ALLOW)
		e->advice = "it was allowed";
	if (e->advice)
		return;
	e->advice = advice_for(e->verdict.engine);
	if (e->advice)
		return;
	if (!e->current_text) {
		e->advice = "the sandbox is gone, and its policy with it";
		return;
	}
	if (!make_question(e) ||
	    !osh_policy_way_ask(osh_str_n(e->current_text, e->current_len), &e->question,
				&e->result, &before)) {
		e->advice =
			"the verdict does not say enough to ask the policy again: see its reason";
		return;
	}
	if (e->result.decision.effect == OSH_EFFECT_ALLOW)
		e->advice = "the policy that is in force now allows it";
	else
		find_change(e, before);
	osh_policy_doc_free(before);
}

/* ---- Printing ---------------------------------------- */

/* A line of the text without its indentation; false when there is none. */
static bool find_line(const char *text, size_t len, uint32_t number, struct osh_str *ret_line)
{
	const char *p = text, *limit = text + len, *end;

	for (uint32_t line = 1; p && p < limit; line++) {
		end = memchr(p, '\n', (size_t)(limit - p));
		if (line == number) {
			end = end ? end : limit;
			while (p < end && *p == ' ')
				p++;
			*ret_line = osh_str_n(p, (size_t)(end - p));
			return true;
		}
		p = end ? end + 1 : NULL;
	}
	return false;
}

/* A word as a shell takes it. */
static void put_word(struct osh_buf *buf, const char *word)
{
	static const char safe[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+,=";

	if (word[0] && strspn(word, safe) == strlen(word)) {
		(void)osh_buf_append_c(buf, word);
		return;
	}
	(void)osh_buf_append_c(buf, "'");
	for (; *word; word++)
		(void)osh_buf_append_c(buf,
				       *word == '\'' ? "'\\''" : (const char[]){ *word, '\0' });
	(void)osh_buf_append_c(buf, "'");
}

static size_t way_words(const struct explanation *e, const char *words[12])
{
	const struct osh_policy_way *way = &e->way;
	size_t count = 0;

	words[count++] = "openshell";
	words[count++] = "policy";
	words[count++] = "update";
	words[count++] = text_of(e->verdict.sandbox);
	if (way->endpoint[0]) {
		words[count++] = "--add-endpoint";
		words[count++] = way->endpoint;
	}
	if (way->allow[0]) {
		words[count++] = "--add-allow";
		words[count++] = way->allow;
	}
	return count;
}

static size_t way_more_words(const struct explanation *e, const char *words[8])
{
	size_t count = 0;

	if (e->way.names_binary) {
		words[count++] = "--binary";
		words[count++] = text_of(e->verdict.binary);
	}
	if (e->way.rule_name[0]) {
		words[count++] = "--rule-name";
		words[count++] = e->way.rule_name;
	}
	words[count++] = "--wait";
	return count;
}

static json_t *describe_command(const struct explanation *e)
{
	const char *words[20];
	size_t count;
	json_t *list;

	if (!e->way.is_possible)
		return json_null();
	count = way_words(e, words);
	count += way_more_words(e, words + count);
	list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_string(words[i]));
	return list;
}

static void print_command(const struct explanation *e)
{
	json_t *words = describe_command(e), *word;
	struct osh_buf buf;
	char *line;
	size_t i;

	osh_buf_init(&buf, 64u << 10);
	json_array_foreach(words, i, word)
	{
		(void)osh_buf_append_c(&buf, i ? " " : "");
		put_word(&buf, text_of(json_string_value(word)));
	}
	line = strndup(buf.len ? osh_buf_bytes(&buf) : "", buf.len);
	/* Nothing in it needs an escape, unless somebody put it there to steer a terminal. */
	osh_out_field("to allow", LABEL_WIDTH, text_of(line));
	free(line);
	osh_buf_done(&buf);
	json_decref(words);
}

/* What to edit, what follows from it, and how. */
static void print_amendment(const struct explanation *e)
{
	const struct osh_policy_amendment *amendment = &e->amendment;
	bool removes = amendment->kind == OSH_AMEND_REMOVE;
	struct osh_str rule = { 0 };
	char text[1024];

	(void)find_line(e->current_text, e->current_len, amendment->place.line, &rule);
	snprintf(text, sizeof(text), "%s line %u of revision %llu, in %s:",
		 removes ? "remove the deny rule at" : "add a rule after", amendment->place.line,
		 (unsigned long long)e->current, amendment->place.entry);
	/* An empty list is an error, and so are rules beside a preset. */
	if (amendment->place.empties || amendment->place.spells_preset)
		snprintf(text + strlen(text) - 1, sizeof(text) - strlen(text), "%s",
			 removes ? ", and the key deny_rules with its last rule:"
				 : ", under rules: in place of access, with those that it stands for:");
	osh_out_field("to allow", LABEL_WIDTH, text);
	if (removes)
		snprintf(text, sizeof(text), "%.*s", (int)(rule.len < 800 ? rule.len : 800), rule.data);
	osh_out_field("", LABEL_WIDTH, removes ? text : amendment->rule);
	for (size_t i = 0; i < amendment->effect_count; i++)
		osh_out_field(i ? "" : "grants", LABEL_WIDTH, amendment->effects[i]);
	if (amendment->more_effects) {
		snprintf(text, sizeof(text), "and %zu more", amendment->more_effects);
		osh_out_field("", LABEL_WIDTH, text);
	}
	if (removes && !amendment->is_enough)
		osh_out_field("but", LABEL_WIDTH, "that alone is not enough: the rest of the policy "
			      "does not allow it either");
	snprintf(text, sizeof(text),
		 "openshell policy get %s >policy.yaml; edit it; openshell policy set %s --policy "
		 "policy.yaml --wait",
		 text_of(e->verdict.sandbox), text_of(e->verdict.sandbox));
	osh_out_field("by", LABEL_WIDTH, text);
}

static json_t *describe_amendment(const struct explanation *e)
{
	const struct osh_policy_amendment *amendment = &e->amendment;
	bool removes = amendment->kind == OSH_AMEND_REMOVE;
	struct osh_str rule = osh_str(amendment->rule);
	json_t *effects;

	if (amendment->kind == OSH_AMEND_NONE)
		return json_null();
	if (removes)
		(void)find_line(e->current_text, e->current_len, amendment->place.line, &rule);
	effects = json_array();
	for (size_t i = 0; i < amendment->effect_count; i++)
		json_array_append_new(effects, json_string(amendment->effects[i]));
	return json_pack("{s:s, s:s, s:I, s:I, s:s%, s:b, s:b, s:o, s:I, s:b}", "kind",
			 removes ? "remove" : "add", "policy", amendment->place.entry, "line",
			 (json_int_t)amendment->place.line, "revision", (json_int_t)e->current,
			 "text", rule.data, rule.len, "empties", amendment->place.empties,
			 "spells_preset", amendment->place.spells_preset, "grants", effects, "more",
			 (json_int_t)amendment->more_effects, "enough",
			 !removes || amendment->is_enough);
}

static void print_line(const struct explanation *e, const char *label, uint32_t number)
{
	uint32_t revision = e->verdict.revision;
	struct osh_str line;
	char text[1024];

	if (e->text && find_line(e->text, e->len, number, &line))
		snprintf(text, sizeof(text), "line %u of revision %u: %.*s", number, revision,
			 (int)(line.len < 800 ? line.len : 800), line.data);
	else
		snprintf(text, sizeof(text), "line %u of revision %u, which is not kept any more",
			 number, revision);
	osh_out_field(label, LABEL_WIDTH, text);
}

static void print_text(const struct explanation *e)
{
	const struct osh_verdict *v = &e->verdict;
	char line[LINE_BYTES];

	osh_verdict_line(v, line, sizeof(line));
	puts(line);
	osh_out_field("sandbox", LABEL_WIDTH, v->sandbox);
	osh_out_field("policy", LABEL_WIDTH, v->policy);
	if (v->rule_line)
		print_line(e, "rule", v->rule_line);
	else
		osh_out_field("rule", LABEL_WIDTH, "none speaks for it");
	if (e->nearest_line && e->nearest_line != v->rule_line)
		print_line(e, "nearest", e->nearest_line);
	osh_out_field("reason", LABEL_WIDTH, v->reason);
	if (e->advice)
		osh_out_field("to allow", LABEL_WIDTH, e->advice);
	else if (e->way.is_possible)
		print_command(e);
	else
		print_amendment(e);
}

static json_t *line_json(uint32_t line)
{
	return line ? json_integer(line) : json_null();
}

static int print_json(const struct explanation *e, enum osh_policy_output output)
{
	const struct osh_verdict *v = &e->verdict;
	struct osh_str line = { 0 };
	json_t *json;
	int status;

	if (e->text)
		(void)find_line(e->text, e->len, v->rule_line, &line);
	json = json_pack("{s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "verdict", osh_verdict_json(&e->verdict),
			 "revision", (json_int_t)v->revision, "rule_line", line_json(v->rule_line),
			 "rule_text", line.len ? json_stringn(line.data, line.len) : json_null(),
			 "nearest_line", line_json(e->nearest_line), "command", describe_command(e),
			 "change", describe_amendment(e), "advice", e->advice ? json_string(e->advice) : json_null(), "allowed_now",
			 e->result.decision.effect == OSH_EFFECT_ALLOW);
	status = osh_policy_print(json, output);
	json_decref(json);
	return status;
}

/* ---- The command ---------------------------------------- */

/* A text of the sandbox's, quietly: both may be gone. */
static void fetch(struct osh_client *client, const char *name, uint32_t revision, char **ret_text,
		  size_t *ret_len, uint64_t *ret_revision)
{
	json_t *parameters = json_pack("{s:s}", "name", name);
	struct osh_wire_reply reply = { 0 };
	struct osh_err err = { 0 };

	if (parameters && revision)
		json_object_set_new(parameters, "revision", json_integer(revision));
	if (osh_client_ask(client, "PolicyGet", parameters, NULL, 0, OSH_CLIENT_TIMEOUT_MS, &reply,
			   &err) == 0) {
		const json_t *policy = json_object_get(reply.parameters, "policy");

		*ret_len = json_string_length(policy);
		*ret_text = json_is_string(policy) ? strndup(json_string_value(policy), *ret_len)
						   : NULL;
		*ret_revision = (uint64_t)osh_json_int(reply.parameters, "revision");
	}
	osh_wire_reply_done(&reply);
}

static int explain(struct osh_cli *cli, uint64_t id, enum osh_policy_output output)
{
	_cleanup_free_ struct explanation *e = calloc(1, sizeof(*e));
	_cleanup_client_ struct osh_client client;
	uint64_t revision;
	int status;

	osh_client_init(&client);
	if (!e)
		return osh_cli_no_memory();
	status = osh_client_open(cli, false, &client);
	if (status == OSH_EXIT_OK)
		status = find_verdict(&client, id, e);
	if (status == OSH_EXIT_OK) {
		const char *name = text_of(e->verdict.sandbox);

		if (e->verdict.revision)
			fetch(&client, name, e->verdict.revision, &e->text, &e->len, &revision);
		fetch(&client, name, 0, &e->current_text, &e->current_len, &e->current);
		find_nearest(e);
		consider(e);
		if (output == OSH_POLICY_OUTPUT_TEXT)
			print_text(e);
		else
			status = print_json(e, output);
	}
	json_decref(e->verdict_json);
	free(e->text);
	free(e->current_text);
	return status;
}

static int run_explain(struct osh_cli *cli, const struct osh_command *command, int argc,
		       char **argv)
{
	struct values values = { 0 };
	enum osh_policy_output output;
	struct osh_args args;
	uint64_t id;
	int status;

	if (!osh_args_parse(cli, command, argc, argv, &values, &args, &status) ||
	    !osh_policy_output(command, values.output, &output, &status))
		return status;
	if (args.rest || args.count != 1)
		return osh_cli_misuse(command, "one VERDICT is needed: the id of a verdict");
	if (osh_str_parse_u64(osh_str(args.words[0]), INT64_MAX, &id) < 0)
		return osh_cli_misuse(command, "VERDICT must be a number, not '%s'", args.words[0]);
	return explain(cli, id, output);
}

const struct osh_command osh_command_policy_explain = {
	"policy explain", "VERDICT",   "Explain a verdict and what would have it allowed",
	options,	  run_explain,
};
