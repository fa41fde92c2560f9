#include "policy_way.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/diff.h"
#include "policy/edit.h"

struct search {
	struct osh_str text;
	const struct osh_policy_doc *before;
	const struct osh_question *question;
	const char *binary, *method;
	struct osh_policy_way best;
	uint64_t gains; /* of the best */
};

bool osh_policy_way_ask(struct osh_str text, const struct osh_question *q,
			struct osh_question_result *ret_result, struct osh_policy_doc **ret_doc)
{
	_cleanup_free_ struct osh_diags *diags = calloc(1, sizeof(*diags));
	_cleanup_free_ void *image = NULL;
	struct osh_policy_doc *doc = NULL;
	struct osh_policy policy;
	size_t image_len = 0;
	bool asked;

	if (!diags || osh_policy_parse(text, diags, &doc) < 0)
		return false;
	asked = osh_policy_compile(doc, NULL, &image, &image_len) == 0 &&
		osh_policy_open(image, image_len, &policy) == 0;
	if (asked) {
		osh_question_ask(&policy, q, ret_result);
		/* It points into the image, which goes. */
		ret_result->decision.policy = ret_result->decision.nearest = (struct osh_str){ 0 };
	}
	if (asked && ret_doc)
		*ret_doc = doc;
	else
		osh_policy_doc_free(doc);
	return asked;
}

/* ---- Ways ---------------------------------------- */

static struct osh_policy_edits way_edits(const struct osh_policy_way *way, const char *binary,
					 const char *lists[6])
{
	lists[0] = way->endpoint[0] ? way->endpoint : NULL;
	lists[2] = way->allow[0] ? way->allow : NULL;
	lists[4] = way->names_binary ? binary : NULL;
	lists[1] = lists[3] = lists[5] = NULL;
	return (struct osh_policy_edits){
		.add_endpoints = &lists[0],
		.add_allows = &lists[2],
		.binaries = &lists[4],
		.rule_name = way->rule_name[0] ? way->rule_name : NULL,
	};
}

/* How much more the changed policy grants; whole connections count for many requests. */
static uint64_t count_gains(const struct osh_policy_doc *before, const struct osh_policy_doc *after)
{
	struct osh_changes changes;
	uint64_t gains = 0;

	if (osh_policy_diff(before, after, &changes) < 0)
		return UINT64_MAX;
	for (size_t i = 0; i < changes.count; i++) {
		const struct osh_change *change = &changes.items[i];
		bool is_request = change->grant.kind == OSH_GRANT_REQUEST;

		if (change->is_gain)
			gains += is_request ? 1 : 1000;
	}
	osh_changes_done(&changes);
	return gains;
}

/* Make the change, ask again, and keep the way when it grants less than the best so far. */
static void try_way(struct search *s, const struct osh_policy_way *way)
{
	_cleanup_free_ struct osh_question_result *result = calloc(1, sizeof(*result));
	_cleanup_free_ char *edited = NULL;
	struct osh_policy_doc *after = NULL;
	const char *lists[6];
	struct osh_policy_edits edits = way_edits(way, s->binary, lists);
	struct osh_err err;
	uint64_t gains;
	size_t len = 0;

	if (!result || osh_policy_edit(s->text, &edits, &edited, &len, &err) < 0 ||
	    !osh_policy_way_ask(osh_str_n(edited, len), s->question, result, &after))
		return;
	gains = count_gains(s->before, after);
	if (result->decision.effect == OSH_EFFECT_ALLOW &&
	    (!s->best.is_possible || gains < s->gains)) {
		s->best = *way;
		s->best.is_possible = true;
		s->gains = gains;
	}
	osh_policy_doc_free(after);
}

/* "api.github.com:443"; an IPv6 address goes into brackets. */
static void write_place(const struct osh_question *q, char *buf, size_t size)
{
	const char *bracket = strchr(q->host, ':') ? "[" : "";

	snprintf(buf, size, "%s%s%s:%u", bracket, q->host, bracket[0] ? "]" : "", q->port_host);
}

/* The path as a pattern that matches it and nothing else: what a glob would take for more
 * stands in a class of its own. */
static void write_pattern(struct osh_str path, char *buf, size_t size)
{
	size_t len = 0;

	for (size_t i = 0; i < path.len && len + 4 < size; i++) {
		bool is_special = strchr("*?[{", path.data[i]) != NULL;

		len += (size_t)snprintf(buf + len, size - len, is_special ? "[%c]" : "%c",
					path.data[i]);
	}
	buf[len] = '\0';
}

/* "allow_curl_api_github_com_443": an entry of its own, for this program alone. */
static void write_name(const struct osh_question *q, const char *binary, char *buf, size_t size)
{
	const char *slash = strrchr(binary, '/');

	snprintf(buf, size, "allow_%s_%s_%u", slash ? slash + 1 : binary, q->host, q->port_host);
	for (char *p = buf; *p; p++) {
		if (!osh_ascii_is_alpha(*p) && !osh_ascii_is_digit(*p))
			*p = '_';
	}
}

static void try_endpoint(struct search *s, struct osh_policy_way *way, const char *settings)
{
	char place[OSH_HOST_MAX + 16];

	write_place(s->question, place, sizeof(place));
	snprintf(way->endpoint, sizeof(way->endpoint), "%s%s", place, settings);
	way->names_binary = true;
	way->rule_name[0] = '\0';
	try_way(s, way);
	write_name(s->question, s->binary, way->rule_name, sizeof(way->rule_name));
	try_way(s, way);
}

/* From the least to the most; the first kind that helps ends the search. */
static void find_way(struct search *s)
{
	_cleanup_free_ struct osh_policy_way *way = calloc(1, sizeof(*way));
	char place[OSH_HOST_MAX + 16], pattern[3 * OSH_PATH_TARGET_MAX + 8];

	if (!way)
		return;
	if (s->question->has_request) {
		write_place(s->question, place, sizeof(place));
		write_pattern(s->question->target, pattern, sizeof(pattern));
		snprintf(way->allow, sizeof(way->allow), "%s:%s:%s", place, s->method, pattern);
		try_way(s, way);
		if (!s->best.is_possible)
			try_endpoint(s, way, "::rest:enforce");
		return; /* to let all of the connection through would be far more than this */
	}
	/* The ports of the web: looked into, it is less than the whole connection. */
	if (s->question->port_host == 443 || s->question->port_host == 80)
		try_endpoint(s, way, ":read-only:rest:enforce");
	try_endpoint(s, way, "");
}

void osh_policy_way_find(struct osh_str text, const struct osh_policy_doc *before,
			 const struct osh_question *question, const char *binary,
			 const char *method, struct osh_policy_way *ret_way)
{
	struct search search = {
		.text = text,
		.before = before,
		.question = question,
		.binary = binary,
		.method = method,
	};

	find_way(&search);
	*ret_way = search.best;
}
