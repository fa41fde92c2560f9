#include "control/policy_calls.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/call.h"
#include "control/lifecycle.h"
#include "control/publish.h"
#include "sandbox/sandbox.h"

#define TIMEOUT_MS_MAX (24 * 3600 * 1000)

/* ---- PolicySet ---------------------------------------- */

/* The reply of a call that waits is ready beforehand, in call->context: by the time it is
 * due a later revision may be the current one. */
static json_t *make_reply(const struct osh_agent_sandbox *sandbox, uint32_t previous,
			  json_t *warnings)
{
	const struct osh_revision *revision = osh_revisions_current(&sandbox->revisions);

	return json_pack("{s:I, s:s, s:I, s:o}", "revision", (json_int_t)revision->number,
			 "policy_hash", revision->sha256, "previous", (json_int_t)previous,
			 "warnings", warnings);
}

static void on_published(void *context, int result)
{
	struct osh_call *call = context;
	json_t *reply = call->context;

	call->on_cancel = NULL;
	call->context = NULL;
	if (result == 0) {
		osh_call_reply(call, reply, NULL, 0);
		return;
	}
	json_decref(reply);
	if (result == -ETIMEDOUT)
		osh_call_error(call, "Timeout",
			       "the policy is set, but not every worker has confirmed it in time");
	else
		osh_call_error(call, "Failed", "the sandbox ended while its policy was set");
}

static void on_cancel(struct osh_call *call)
{
	const char *name = json_string_value(json_object_get(call->parameters, "name"));
	struct osh_agent_sandbox *sandbox = osh_lifecycle_find(call->agent, name);

	if (sandbox)
		osh_publish_abandon(sandbox, call);
	json_decref(call->context);
}

/* Static sections apply when a sandbox is made or started: say so where they differ from what
 * was applied. */
static void warn_of_static(const struct osh_agent_sandbox *sandbox,
			   const struct osh_policy_doc *policy, json_t *warnings)
{
	const struct osh_policy_static *statics = osh_policy_doc_static(policy);
	char digests[OSH_SECTION_COUNT][OSH_SHA256_HEX];
	char text[160];

	if (osh_state_digest_static(statics, digests) < 0)
		return;
	for (int i = 0; i < OSH_SECTION_COUNT; i++) {
		if (strcmp(digests[i], sandbox->origin.sections[i]) == 0 ||
		    (i == OSH_SECTION_FILESYSTEM && !statics->has_filesystem) ||
		    (i == OSH_SECTION_UNIX_SOCKETS && osh_lifecycle_is_attached(sandbox)))
			continue;
		/* The user never changes: the files are that user's. */
		snprintf(text, sizeof(text),
			 i == OSH_SECTION_PROCESS
				 ? "%s applies at creation only: this sandbox keeps what it was created with"
				 : "%s applies at creation and start only: until then this sandbox keeps what it has",
			 osh_section_name((enum osh_section)i));
		osh_call_add_warning(warnings, text);
	}
}

/* A binary that the policy names. */
struct named {
	const char *path;
	uint32_t line;
};

struct named_list {
	struct named *items; /* NULL: only counted */
	size_t count;
};

static void add_named(void *context, const char *path, uint32_t line)
{
	struct named_list *list = context;

	if (list->items)
		list->items[list->count] = (struct named){ path, line };
	list->count++;
}

static int compare_named(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = strcmp(x->path, y->path);

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

/* The one that stands first of those that the sandbox may write; NULL: none. Each path is
 * looked at once, however many entries name it. */
static const struct named *find_writable(const struct osh_agent_sandbox *sandbox,
					 struct named_list *list, size_t *ret_count)
{
	const struct named *first = NULL;

	qsort(list->items, list->count, sizeof(*list->items), compare_named);
	*ret_count = 0;
	for (size_t i = 0; i < list->count; i++) {
		const struct named *named = &list->items[i];

		if ((i > 0 && strcmp(named[-1].path, named->path) == 0) ||
		    !osh_sandbox_may_write(sandbox->instance, named->path))
			continue;
		++*ret_count;
		if (!first || named->line < first->line)
			first = named;
	}
	return first;
}

void osh_policy_warn_of_writable(const struct osh_agent_sandbox *sandbox,
				 const struct osh_policy_doc *policy, json_t *warnings)
{
	struct named_list counted = { 0 }, list = { 0 };
	const struct named *first;
	char text[OSH_PATH_MAX + 320];
	size_t count;

	osh_policy_doc_binaries(policy, add_named, &counted);
	list.items = calloc(counted.count + 1, sizeof(*list.items));
	if (!list.items)
		return;
	osh_policy_doc_binaries(policy, add_named, &list);
	first = find_writable(sandbox, &list, &count);
	if (first) {
		snprintf(text, sizeof(text),
			 "line %" PRIu32 ": binary path %.*s: the sandbox itself may put any program there%s; "
			 "what it is at its first use is trusted", first->line, OSH_PATH_MAX, first->path,
			 count > 1 ? ", as at other paths of this policy" : "");
		osh_call_add_warning(warnings, text);
	}
	free(list.items);
}

void osh_policy_publish(struct osh_call *call, struct osh_agent_sandbox *sandbox,
			const struct osh_policy_doc *policy, struct osh_str text, bool wait,
			uint64_t timeout_ms, json_t *warnings)
{
	uint32_t previous = sandbox->revisions.current;
	struct osh_err err = { 0 };
	int r;

	warn_of_static(sandbox, policy, warnings);
	osh_policy_warn_of_writable(sandbox, policy, warnings);
	r = osh_publish_new(sandbox, policy, text, wait ? timeout_ms : 0,
			    wait ? on_published : NULL, call, &err);
	if (r < 0) {
		json_decref(warnings);
		osh_call_fail(call, &err);
		return;
	}
	if (!wait) {
		osh_call_reply(call, make_reply(sandbox, previous, warnings), NULL, 0);
		return;
	}
	call->context = make_reply(sandbox, previous, warnings);
	call->on_cancel = on_cancel;
}

bool osh_policy_check_timeout(struct osh_call *call, json_int_t timeout_ms)
{
	if (timeout_ms >= 1 && timeout_ms <= TIMEOUT_MS_MAX)
		return true;
	osh_call_error(call, "Invalid", "timeout_ms must be 1 to %d", TIMEOUT_MS_MAX);
	return false;
}

static void set_policy(struct osh_call *call)
{
	const char *name, *sha256;
	json_int_t timeout_ms = OSH_POLICY_TIMEOUT_MS;
	struct osh_policy_doc *policy = NULL;
	struct osh_agent_sandbox *sandbox;
	_cleanup_free_ char *text = NULL;
	json_t *warnings = NULL;
	size_t len = 0;
	int wait;

	if (!osh_call_unpack(call, "s:s, s:s, s:b, s?I", "name", &name, "policy_sha256", &sha256,
			     "wait", &wait, "timeout_ms", &timeout_ms) ||
	    !osh_policy_check_timeout(call, timeout_ms))
		return;
	sandbox = osh_call_sandbox(call, name, true);
	if (!sandbox || !osh_call_policy_text(call, &text, &len) ||
	    !osh_call_policy(call, text, len, sha256, &policy, &warnings))
		return;
	osh_policy_publish(call, sandbox, policy, osh_str_n(text, len), wait, (uint64_t)timeout_ms,
			   warnings);
	osh_policy_doc_free(policy);
}

/* ---- PolicyGet ---------------------------------------- */

static void get_policy(struct osh_call *call)
{
	_cleanup_free_ char *text = NULL;
	const struct osh_revision *revision;
	struct osh_agent_sandbox *sandbox;
	struct osh_err err = { 0 };
	json_int_t number = 0;
	const char *name;
	size_t len = 0;

	if (!osh_call_unpack(call, "s:s, s?I", "name", &name, "revision", &number))
		return;
	sandbox = osh_call_sandbox(call, name, false);
	if (!sandbox)
		return;
	if (number < 0 || number > UINT32_MAX) {
		osh_call_error(call, "Invalid", "revision must be a number from 1");
		return;
	}
	if (number == 0)
		number = sandbox->revisions.current;
	revision = osh_revisions_find(&sandbox->revisions, (uint32_t)number);
	if (!revision) {
		osh_call_error(call, "NotFound", "sandbox %s has no policy revision %" PRIu32, name,
			       (uint32_t)number);
		return;
	}
	if (osh_revision_read(osh_sandbox_dir(sandbox->instance), revision, &text, &len, &err) <
	    0) {
		osh_call_error(call, "Failed", "%s", err.message);
		return;
	}
	osh_call_reply(call,
		       json_pack("{s:s%, s:I, s:s}", "policy", text, len, "revision", number,
				 "policy_hash", revision->sha256),
		       NULL, 0);
}

const struct osh_method osh_policy_methods[] = {
	{ "PolicySet", set_policy },
	{ "PolicyGet", get_policy },
	{ 0 },
};
