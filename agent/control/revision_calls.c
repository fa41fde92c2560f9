/* The revisions of a policy: listing them, changing the one in force, going back. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "control/call.h"
#include "control/lifecycle.h"
#include "control/policy_calls.h"
#include "policy/edit.h"
#include "sandbox/sandbox.h"

/* ---- PolicyList ---------------------------------------- */

static json_t *describe(const struct osh_revisions *revisions, const struct osh_revision *revision)
{
	return json_pack("{s:I, s:s, s:I, s:s, s:b}", "revision", (json_int_t)revision->number,
			 "policy_hash", revision->sha256, "time", (json_int_t)revision->time,
			 "status", osh_revision_status_name(revision->status), "current",
			 revision->number == revisions->current);
}

static void list_revisions(struct osh_call *call)
{
	struct osh_agent_sandbox *sandbox;
	const char *name;
	json_t *list;

	if (!osh_call_unpack(call, "s:s", "name", &name))
		return;
	sandbox = osh_call_sandbox(call, name, false);
	if (!sandbox)
		return;
	list = json_array();
	for (size_t i = 0; i < sandbox->revisions.count; i++)
		json_array_append_new(list,
				      describe(&sandbox->revisions, &sandbox->revisions.items[i]));
	osh_call_reply(call, json_pack("{s:o}", "revisions", list), NULL, 0);
}

/* ---- Texts ---------------------------------------- */

/* The text of a revision that is kept; NULL when the call has been answered. */
static char *read_revision(struct osh_call *call, struct osh_agent_sandbox *sandbox,
			   json_int_t number, size_t *ret_len)
{
	const struct osh_revision *revision = NULL;
	struct osh_err err = { 0 };
	char *text = NULL;

	if (number > 0 && number <= UINT32_MAX)
		revision = osh_revisions_find(&sandbox->revisions, (uint32_t)number);
	if (!revision)
		osh_call_error(call, "NotFound",
			       "sandbox %s has no policy revision %lld: 'openshell policy list' "
			       "shows those that are kept",
			       sandbox->name, (long long)number);
	else if (osh_revision_read(osh_sandbox_dir(sandbox->instance), revision, &text, ret_len,
				       &err) < 0)
		osh_call_error(call, "Failed", "%s", err.message);
	return text;
}

/* Check a text like one that came from outside, and publish it. */
static void publish_text(struct osh_call *call, struct osh_agent_sandbox *sandbox, const char *text,
			 size_t len, bool wait, json_int_t timeout_ms)
{
	struct osh_policy_doc *policy = NULL;
	json_t *warnings = NULL;

	if (!osh_call_policy(call, text, len, NULL, &policy, &warnings))
		return;
	osh_policy_publish(call, sandbox, policy, osh_str_n(text, len), wait, (uint64_t)timeout_ms,
			   warnings);
	osh_policy_doc_free(policy);
}

/* ---- PolicyUpdate ---------------------------------------- */

enum { ADD_ENDPOINTS, REMOVE_ENDPOINTS, REMOVE_RULES, ADD_ALLOWS, ADD_DENIES, BINARIES, LISTS };

struct edit_lists {
	const char **lists[LISTS]; /* owned; the strings live as long as the call */
	struct osh_policy_edits edits;
};

static void done_lists(struct edit_lists *lists)
{
	for (int i = 0; i < LISTS; i++)
		free(lists->lists[i]);
}

/* False: the call has been answered. */
static bool read_lists(struct osh_call *call, json_t *edits, struct edit_lists *ret)
{
	static const char *const names[LISTS] = {
		[ADD_ENDPOINTS] = "add_endpoints", [REMOVE_ENDPOINTS] = "remove_endpoints",
		[REMOVE_RULES] = "remove_rules",   [ADD_ALLOWS] = "add_allows",
		[ADD_DENIES] = "add_denies",	   [BINARIES] = "binaries",
	};

	for (int i = 0; i < LISTS; i++) {
		json_t *list = json_object_get(edits, names[i]);

		ret->lists[i] = osh_call_strings(call, names[i], json_is_null(list) ? NULL : list,
						 OSH_EDITS_MAX);
		if (!ret->lists[i])
			return false;
	}
	ret->edits = (struct osh_policy_edits){
		.remove_rules = ret->lists[REMOVE_RULES],
		.remove_endpoints = ret->lists[REMOVE_ENDPOINTS],
		.add_endpoints = ret->lists[ADD_ENDPOINTS],
		.add_allows = ret->lists[ADD_ALLOWS],
		.add_denies = ret->lists[ADD_DENIES],
		.binaries = ret->lists[BINARIES],
		.rule_name = json_string_value(json_object_get(edits, "rule_name")),
	};
	return true;
}

/* One thread serves all calls, so between reading the revision in force and storing the
 * next one nobody else can come in: no update loses another. */
static void edit_policy(struct osh_call *call, struct osh_agent_sandbox *sandbox,
			const struct osh_policy_edits *edits, bool wait, json_int_t timeout_ms)
{
	_cleanup_free_ char *text = NULL, *edited = NULL;
	size_t len = 0, edited_len = 0;
	struct osh_err err = { 0 };
	int r;

	text = read_revision(call, sandbox, sandbox->revisions.current, &len);
	if (!text)
		return;
	r = osh_policy_edit(osh_str_n(text, len), edits, &edited, &edited_len, &err);
	if (r < 0)
		osh_call_error(call, r == -ENOMEM ? "Failed" : "Invalid", "%s", err.message);
	else
		publish_text(call, sandbox, edited, edited_len, wait, timeout_ms);
}

static void update_policy(struct osh_call *call)
{
	json_int_t timeout_ms = OSH_POLICY_TIMEOUT_MS;
	struct osh_agent_sandbox *sandbox;
	struct edit_lists lists = { 0 };
	const char *name;
	json_t *edits;
	int wait;

	if (!osh_call_unpack(call, "s:s, s:o, s:b, s?I", "name", &name, "edits", &edits, "wait",
			     &wait, "timeout_ms", &timeout_ms) ||
	    !osh_policy_check_timeout(call, timeout_ms))
		return;
	if (!json_is_object(edits)) {
		osh_call_error(call, "Invalid", "edits must be an object");
		return;
	}
	sandbox = osh_call_sandbox(call, name, true);
	if (!sandbox)
		return;
	if (read_lists(call, edits, &lists))
		edit_policy(call, sandbox, &lists.edits, wait, timeout_ms);
	done_lists(&lists);
}

/* ---- PolicyRollback ---------------------------------------- */

static void roll_back(struct osh_call *call)
{
	json_int_t timeout_ms = OSH_POLICY_TIMEOUT_MS, number;
	_cleanup_free_ char *text = NULL;
	struct osh_agent_sandbox *sandbox;
	const char *name;
	size_t len = 0;
	int wait;

	if (!osh_call_unpack(call, "s:s, s:I, s:b, s?I", "name", &name, "revision", &number, "wait",
			     &wait, "timeout_ms", &timeout_ms) ||
	    !osh_policy_check_timeout(call, timeout_ms))
		return;
	sandbox = osh_call_sandbox(call, name, true);
	if (sandbox)
		text = read_revision(call, sandbox, number, &len);
	if (text)
		publish_text(call, sandbox, text, len, wait, timeout_ms);
}

const struct osh_method osh_revision_methods[] = {
	{ "PolicyList", list_revisions },
	{ "PolicyUpdate", update_policy },
	{ "PolicyRollback", roll_back },
	{ 0 },
};
