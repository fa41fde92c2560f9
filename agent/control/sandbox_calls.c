/* Creating, listing and deleting sandboxes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "control/agent.h"
#include "control/call.h"
#include "control/client.h"
#include "control/embed.h"
#include "control/lifecycle_parts.h"
#include "control/policy_calls.h"
#include "sandbox/sandbox.h"

#define ENVIRONMENT_MAX 256

/* ---- SandboxCreate ---------------------------------------- */

struct create_parameters {
	const char *name, *sha256, *workdir;
	json_t *providers, *env, *labels, *limits;
	int keep;
};

static void on_created(void *context, struct osh_agent_sandbox *sandbox, const struct osh_err *err)
{
	struct osh_call *call = context;
	json_t *warnings = call->context;

	call->context = NULL;
	call->on_cancel = NULL;
	if (err) {
		json_decref(warnings);
		osh_call_fail(call, err);
		return;
	}
	osh_call_reply(call,
		       json_pack("{s:o, s:o}", "sandbox", osh_lifecycle_json(sandbox), "warnings",
				 warnings),
		       NULL, 0);
}

/* The creation goes on; one that is not kept ends with the connection. */
static void on_create_cancel(struct osh_call *call)
{
	osh_lifecycle_abandon(call->agent, call);
	json_decref(call->context);
}

static bool is_assignment(const char *item)
{
	size_t i = 0;

	for (; item[i] && item[i] != '='; i++) {
		bool is_letter = osh_ascii_is_alpha(item[i]) || item[i] == '_';

		if (!is_letter && (i == 0 || !osh_ascii_is_digit(item[i])))
			return false;
	}
	return i > 0 && item[i] == '=';
}

static bool is_environment(struct osh_call *call, const char *const *env)
{
	for (; *env; env++) {
		if (!is_assignment(*env)) {
			osh_call_error(call, "Invalid", "env: \"%.64s\" is not NAME=VALUE", *env);
			return false;
		}
	}
	return true;
}

/* One warning per line, as the sandbox folder gives them. */
static void add_warning_lines(json_t *warnings, char *lines)
{
	char *rest = lines;
	char *line;

	while ((line = strsep(&rest, "\n"))) {
		if (*line)
			osh_call_add_warning(warnings, line);
	}
}

/* What is to be said of a policy is for who wrote it: of the default one, nobody here. */
static bool is_default(struct osh_str policy_text)
{
	return policy_text.data == osh_embed_default_policy().data;
}

static void begin_creation(struct osh_call *call, const struct osh_creation *creation,
			   json_t *warnings)
{
	_cleanup_free_ char *lines = NULL;
	struct osh_agent_sandbox *sandbox = NULL;
	struct osh_err err = { 0 };
	int r = osh_lifecycle_create(call->agent, creation, &sandbox, &lines, &err);

	if (r < 0) {
		json_decref(warnings);
		/* What is missing or taken is the caller's to know; the rest failed here. */
		osh_call_fail(call, &err);
		return;
	}
	add_warning_lines(warnings, lines);
	if (!is_default(creation->policy_text))
		osh_policy_warn_of_writable(sandbox, creation->policy, warnings);
	call->context = warnings;
	call->on_cancel = on_create_cancel;
}

/* What cannot be in a recipe is the caller's mistake. */
static bool make_recipe(struct osh_call *call, const struct create_parameters *parameters,
			struct osh_recipe *ret_recipe)
{
	struct osh_recipe recipe = { 0 };
	struct osh_err err = { 0 };
	int r = osh_recipe_check_labels(parameters->labels, &err);

	if (r == 0)
		r = osh_recipe_limits(parameters->limits, &recipe.limits, &err);
	if (r == 0 && parameters->workdir && parameters->workdir[0] != '/')
		r = osh_err_set(&err, EINVAL, "workdir must be an absolute path");
	if (r < 0) {
		osh_call_fail(call, &err);
		return false;
	}
	recipe.env = json_incref(parameters->env);
	recipe.labels = json_incref(parameters->labels);
	recipe.workdir = parameters->workdir ? json_string(parameters->workdir) : NULL;
	*ret_recipe = recipe;
	return true;
}

static void create_with(struct osh_call *call, const struct create_parameters *parameters,
			const char *const *providers, struct osh_recipe *recipe)
{
	struct osh_str text = osh_embed_default_policy();
	_cleanup_free_ char *attached = NULL;
	struct osh_policy_doc *policy = NULL;
	json_t *warnings = NULL;
	struct osh_creation creation = {
		.name = parameters->name,
		.providers = providers,
		.recipe = recipe,
		.keep = parameters->keep,
		.client = call->client,
		.owner = call->client->peer.uid,
		.created = on_created,
		.context = call,
	};

	if (parameters->sha256) {
		if (!osh_call_policy_text(call, &attached, &text.len))
			return;
		text.data = attached;
	}
	if (!osh_call_policy(call, text.data, text.len, parameters->sha256, &policy, &warnings))
		return;
	if (is_default(text))
		json_array_clear(warnings);
	creation.policy = policy;
	creation.policy_text = text;
	begin_creation(call, &creation, warnings);
	osh_policy_doc_free(policy);
}

static void create_sandbox(struct osh_call *call)
{
	struct create_parameters parameters = { 0 };
	_cleanup_free_ const char **providers = NULL;
	_cleanup_free_ const char **env = NULL;
	struct osh_recipe recipe = { 0 };

	if (!osh_call_unpack(call, "s?s, s?s, s?o, s?o, s?o, s?o, s?s, s:b", "name", &parameters.name,
			     "policy_sha256", &parameters.sha256, "providers",
			     &parameters.providers, "env", &parameters.env, "labels",
			     &parameters.labels, "limits", &parameters.limits, "workdir",
			     &parameters.workdir, "keep", &parameters.keep))
		return;
	providers = osh_call_strings(call, "providers", parameters.providers, OSH_CREDENTIALS_MAX);
	if (!providers)
		return;
	env = osh_call_strings(call, "env", parameters.env, ENVIRONMENT_MAX);
	if (!env || !is_environment(call, env) || !make_recipe(call, &parameters, &recipe))
		return;
	create_with(call, &parameters, providers, &recipe);
	osh_recipe_done(&recipe);
}

/* ---- SandboxAttachCgroup ---------------------------------------- */

static void fail_attach(struct osh_call *call, struct osh_attachment *attachment, const struct osh_err *err)
{
	if (!attachment->degraded)
		osh_call_fail(call, err);
	else
		osh_call_error_object(call, OSH_WIRE_INTERFACE ".Degraded",
				      json_pack("{s:s, s:o}", "message", err->message, "degraded",
						attachment->degraded));
}

static void attach_with(struct osh_call *call, struct osh_attachment *attachment, const char *sha256)
{
	struct osh_agent_sandbox *sandbox = NULL;
	_cleanup_free_ char *text = NULL;
	struct osh_policy_doc *policy = NULL;
	json_t *warnings = NULL;
	struct osh_err err = { 0 };

	if (!osh_call_policy_text(call, &text, &attachment->policy_text.len) ||
	    !osh_call_policy(call, text, attachment->policy_text.len, sha256, &policy, &warnings))
		return;
	attachment->policy = policy;
	attachment->policy_text.data = text;
	if (osh_lifecycle_attach(call->agent, attachment, &sandbox, &err) < 0) {
		json_decref(warnings);
		fail_attach(call, attachment, &err);
	} else {
		call->context = warnings;
		call->on_cancel = on_create_cancel;
	}
	osh_policy_doc_free(policy);
}

static void attach_cgroup(struct osh_call *call)
{
	struct osh_attachment attachment = { .created = on_created, .context = call, .owner = call->client->peer.uid };
	int allow_degraded = 0, keep_established = 0;
	const char *sha256;

	if (!osh_call_unpack(call, "s?s, s:s, s:s, s?b, s?b", "name", &attachment.name, "cgroup", &attachment.cgroup,
			     "policy_sha256", &sha256, "allow_degraded", &allow_degraded, "keep_established",
			     &keep_established))
		return;
	/* It takes what runs in there off the network: nobody else's to decide. */
	if (attachment.owner != 0) {
		osh_call_error(call, "PermissionDenied", "only root may attach to a cgroup");
		return;
	}
	attachment.allow_degraded = allow_degraded;
	attachment.keep_established = keep_established;
	attach_with(call, &attachment, sha256);
}

/* ---- SandboxStop, SandboxStart ---------------------------------------- */

static void stop_sandbox(struct osh_call *call)
{
	struct osh_agent_sandbox *sandbox;
	struct osh_err err = { 0 };
	const char *name;

	if (!osh_call_unpack(call, "s:s", "name", &name))
		return;
	sandbox = osh_call_sandbox(call, name, false);
	if (!sandbox)
		return;
	if (sandbox->state == OSH_AGENT_SANDBOX_STOPPED || osh_lifecycle_stop(sandbox, &err) == 0)
		osh_call_reply(call, json_object(), NULL, 0);
	else
		osh_call_fail(call, &err);
}

static void start_sandbox(struct osh_call *call)
{
	_cleanup_free_ char *lines = NULL;
	struct osh_agent_sandbox *sandbox;
	struct osh_err err = { 0 };
	const char *name;

	if (!osh_call_unpack(call, "s:s", "name", &name))
		return;
	sandbox = osh_call_sandbox(call, name, false);
	if (!sandbox)
		return;
	if (osh_lifecycle_start(sandbox, on_created, call, &lines, &err) < 0) {
		osh_call_fail(call, &err);
		return;
	}
	call->context = json_array();
	add_warning_lines(call->context, lines);
	call->on_cancel = on_create_cancel;
}

/* ---- The others ---------------------------------------- */

static void list_sandboxes(struct osh_call *call)
{
	struct osh_agent_sandbox *sandbox, *next;
	json_t *list;

	if (!osh_call_unpack(call, ""))
		return;
	list = json_array();
	HASH_ITER(hh, call->agent->sandboxes, sandbox, next) {
		if (osh_lifecycle_is_for(sandbox, call->client->peer.uid))
			json_array_append_new(list, osh_lifecycle_json(sandbox));
	}
	osh_call_reply(call, json_pack("{s:o}", "sandboxes", list), NULL, 0);
}

/* NULL when it cannot be read. */
static json_t *certificate_of(const struct osh_agent_sandbox *sandbox)
{
	_cleanup_free_ char *cert = NULL;
	struct osh_err ignored = { 0 };
	char *key = NULL;
	int r = osh_state_ca_load(osh_sandbox_dir(sandbox->instance), &cert, &key, &ignored);

	osh_lifecycle_forget_key(key);
	return r < 0 ? NULL : json_string(cert);
}

static void get_sandbox(struct osh_call *call)
{
	struct osh_agent_sandbox *sandbox;
	const char *name;
	int ca = 0;

	if (!osh_call_unpack(call, "s:s, s?b", "name", &name, "ca", &ca))
		return;
	sandbox = osh_call_sandbox(call, name, false);
	if (sandbox)
		osh_call_reply(call, json_pack("{s:o, s:o*}", "sandbox", osh_lifecycle_json(sandbox), "ca",
					       ca ? certificate_of(sandbox) : NULL), NULL, 0);
}

/* Who deletes ends what runs, who detaches leaves it: neither is what the other was asked for. */
static void end_sandbox(struct osh_call *call, bool attached)
{
	struct osh_agent_sandbox *sandbox;
	struct osh_err err = { 0 };
	const char *name;

	if (!osh_call_unpack(call, "s:s", "name", &name))
		return;
	sandbox = osh_call_sandbox(call, name, false);
	if (!sandbox)
		return;
	if (osh_lifecycle_is_attached(sandbox) != attached)
		osh_call_error(call, "Invalid", attached ? "sandbox %s is not attached to a cgroup: 'openshell sandbox "
							   "delete %s' ends it"
							 : "sandbox %s is attached to a cgroup: 'openshell sandbox detach "
							   "%s' takes the rules away", name, name);
	else if (osh_lifecycle_delete(sandbox, &err) < 0)
		osh_call_error(call, "Failed", "%s", err.message);
	else
		osh_call_reply(call, json_object(), NULL, 0);
}

static void delete_sandbox(struct osh_call *call)
{
	end_sandbox(call, false);
}

static void detach_sandbox(struct osh_call *call)
{
	end_sandbox(call, true);
}

const struct osh_method osh_sandbox_methods[] = {
	{ "SandboxCreate", create_sandbox },
	{ "SandboxAttachCgroup", attach_cgroup },
	{ "SandboxList", list_sandboxes },
	{ "SandboxGet", get_sandbox },
	{ "SandboxStop", stop_sandbox },
	{ "SandboxStart", start_sandbox },
	{ "SandboxDelete", delete_sandbox },
	{ "SandboxDetachCgroup", detach_sandbox },
	{ 0 },
};
