/* Creating a sandbox: one function with an undo for each step. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/knockout.h"
#include "base/log.h"
#include "control/agent.h"
#include "control/credentials.h"
#include "control/lifecycle_parts.h"
#include "control/names.h"
#include "control/publish.h"
#include "control/recorder.h"
#include "proxy/ca.h"
#include "sandbox/sandbox.h"

#define UPSTREAM_CA_BYTES_MAX (4u << 20)

void osh_creation_finish(struct osh_agent_sandbox *sandbox, const struct osh_err *err)
{
	osh_created_fn *created = sandbox->created;

	sandbox->created = NULL;
	if (created)
		created(sandbox->created_context, sandbox, err);
}

void osh_creation_fail(struct osh_agent_sandbox *sandbox, const struct osh_err *err)
{
	struct osh_err undo = { 0 };

	osh_warning("%s: does not run: %s", sandbox->name, err->message);
	osh_creation_finish(sandbox, err);
	if (sandbox->state == OSH_AGENT_SANDBOX_STARTING) {
		if (osh_lifecycle_stop(sandbox, &undo) < 0)
			osh_error("%s", undo.message);
		return;
	}
	if (osh_lifecycle_unmake(sandbox, &undo) < 0)
		osh_error("%s", undo.message);
}

/* Its policy is in force; what is to be kept is on disk before anybody hears of it. */
static void come_up(struct osh_agent_sandbox *sandbox)
{
	bool is_new = sandbox->state == OSH_AGENT_SANDBOX_CREATING;
	struct osh_err err = { 0 };

	if ((sandbox->keep && osh_state_sync(osh_sandbox_dir(sandbox->instance), &err) < 0) ||
	    (osh_lifecycle_is_attached(sandbox) && osh_attachment_enforce(sandbox, &err) < 0)) {
		osh_creation_fail(sandbox, &err);
		return;
	}
	osh_crash_point();
	sandbox->state = OSH_AGENT_SANDBOX_RUNNING;
	osh_recorder_event(sandbox->agent->recorder, sandbox, "sandbox %s",
			   osh_lifecycle_is_attached(sandbox) ? "attached" : is_new ? "created" : "started");
	osh_creation_finish(sandbox, NULL);
}

void osh_creation_in_force(void *context, int result)
{
	struct osh_agent_sandbox *sandbox = context;
	struct osh_err err = { 0 };

	if (sandbox->state != OSH_AGENT_SANDBOX_CREATING && sandbox->state != OSH_AGENT_SANDBOX_STARTING)
		return;
	if (result == 0) {
		come_up(sandbox);
		return;
	}
	if (result == -ECANCELED)
		return; /* whoever takes it apart answers */
	osh_err_sys(&err, -result, "the proxy does not take the policy of %s", sandbox->name);
	osh_creation_fail(sandbox, &err);
}

static int make_ca(struct osh_agent_sandbox *sandbox, char **ret_cert, char **ret_key,
		   struct osh_err *err)
{
	int r = osh_ca_new(sandbox->name, ret_cert, ret_key);

	if (r < 0)
		return osh_err_sys(err, -r, "cannot make a certificate authority");
	return osh_state_ca_save(osh_sandbox_dir(sandbox->instance), *ret_cert, *ret_key, err);
}

int osh_creation_store(struct osh_agent_sandbox *sandbox, char **ret_cert, char **ret_key, struct osh_err *err)
{
	const char *dir = osh_sandbox_dir(sandbox->instance);
	int r = make_ca(sandbox, ret_cert, ret_key, err);

	if (r == 0)
		r = osh_state_credentials_save(dir, &sandbox->credentials, err);
	return r < 0 ? r : osh_recipe_save(dir, &sandbox->recipe, err);
}

void osh_creation_undo(struct osh_agent_sandbox *sandbox)
{
	struct osh_err err = { 0 };

	sandbox->created = NULL;
	if (osh_lifecycle_unmake(sandbox, &err) < 0)
		osh_error("%s", err.message);
}

static void list_providers(const struct osh_credentials *credentials,
			   const char *names[static OSH_CREDENTIALS_MAX + 1])
{
	for (size_t i = 0; i < credentials->count; i++)
		names[i] = credentials->items[i].provider;
	names[credentials->count] = NULL;
}

/* What programs inside have to trust beside the host's bundle: the sandbox's own CA, and
 * the anchors that the agent was given, since uninspected endpoints show the real server's
 * certificate. malloc'ed, the caller frees. */
static int list_trusted(const struct osh_config *config, const char *ca_pem, char **ret_pem,
			struct osh_err *err)
{
	_cleanup_free_ char *anchors = NULL;
	size_t len;
	int r = *config->upstream_ca ?
			osh_read_file(config->upstream_ca, UPSTREAM_CA_BYTES_MAX, &anchors, &len) : 0;

	if (r < 0)
		return osh_err_sys(err, -r, "cannot read the upstream CA file %s", config->upstream_ca);
	if (asprintf(ret_pem, "%s%s%s", ca_pem, anchors ? "\n" : "", anchors ? anchors : "") < 0)
		return osh_err_sys(err, ENOMEM, "cannot list what to trust");
	return 0;
}

/* The sandbox's variables: its providers', then its own, which win. */
static int list_environment(struct osh_agent_sandbox *sandbox, struct osh_environment *environment,
			    struct osh_err *err)
{
	const json_t *own = sandbox->recipe.env;
	int r = osh_credentials_environment(sandbox->agent, &sandbox->credentials, environment, err);

	for (size_t i = 0; r == 0 && i < json_array_size(own); i++) {
		r = osh_environment_add(environment, json_string_value(json_array_get(own, i)), NULL);
		if (r < 0)
			osh_err_sys(err, -r, "cannot set the environment");
	}
	return r;
}

static int launch(struct osh_agent_sandbox *sandbox, const struct osh_policy_doc *policy,
		  const char *ca_pem, char **ret_warnings, struct osh_err *err)
{
	const char *providers[OSH_CREDENTIALS_MAX + 1];
	struct osh_environment environment = { 0 };
	struct osh_sandbox_spec spec = {
		.name = sandbox->name,
		.policy = osh_policy_doc_static(policy),
		.ca_pem = ca_pem,
		.keep = sandbox->keep,
		.providers = providers,
		.limits = sandbox->recipe.limits,
	};
	int r = list_environment(sandbox, &environment, err);

	list_providers(&sandbox->credentials, providers);
	if (r == 0) {
		spec.env = (const char *const *)environment.items;
		r = osh_sandbox_launch(sandbox->instance, &spec, ret_warnings, err);
	}
	osh_environment_done(&environment);
	return r;
}

int osh_lifecycle_save_origin(struct osh_agent_sandbox *sandbox, const struct osh_policy_doc *policy,
			      struct osh_err *err)
{
	if (osh_state_digest_static(osh_policy_doc_static(policy), sandbox->origin.sections) < 0)
		return osh_err_sys(err, ENOMEM, "cannot digest the policy");
	return osh_state_origin_save(osh_sandbox_dir(sandbox->instance), &sandbox->origin, err);
}

/* In the order of sandbox.h: nothing of the user's runs before the policy is in force. */
int osh_lifecycle_bring_up(struct osh_agent_sandbox *sandbox, const struct osh_policy_doc *policy,
			   const char *ca_pem, const char *ca_key_pem, char **ret_warnings,
			   struct osh_err *err)
{
	_cleanup_free_ char *trusted = NULL;
	int r = osh_lifecycle_save_origin(sandbox, policy, err);

	if (r == 0 && !sandbox->log)
		r = osh_lifecycle_open_log(sandbox, err);
	if (r == 0)
		r = osh_lifecycle_enter_kernel(
			sandbox, osh_policy_writes_system(osh_policy_doc_static(policy)), err);
	if (r == 0)
		r = list_trusted(sandbox->agent->config, ca_pem, &trusted, err);
	if (r == 0)
		r = launch(sandbox, policy, trusted, ret_warnings, err);
	if (r < 0)
		return r;
	osh_lifecycle_watch(sandbox);
	return osh_lifecycle_enter_proxy(sandbox, ca_pem, ca_key_pem, err);
}

static int build(struct osh_agent_sandbox *sandbox, const struct osh_creation *creation,
		 char **ret_warnings, struct osh_err *err)
{
	_cleanup_free_ char *cert = NULL;
	char *key = NULL;
	int r = osh_creation_store(sandbox, &cert, &key, err);

	if (r == 0)
		r = osh_lifecycle_bring_up(sandbox, creation->policy, cert, key, ret_warnings, err);
	if (r == 0)
		r = osh_publish_new(sandbox, creation->policy, creation->policy_text,
				    OSH_CREATION_TIMEOUT_MS, osh_creation_in_force, sandbox, err);
	osh_lifecycle_forget_key(key);
	return r;
}

static bool is_taken(void *context, const char *name)
{
	return osh_lifecycle_find(context, name) != NULL;
}

int osh_creation_choose_name(struct osh_agent *agent, const char *wanted, char name[static OSH_NAME_MAX],
			     struct osh_err *err)
{
	if (!wanted) {
		if (osh_name_make(is_taken, agent, name) < 0)
			return osh_err_set(err, EEXIST,
					   "no free name was found: give one with --name");
		return 0;
	}
	if (!osh_sandbox_name_is_valid(wanted))
		return osh_err_set(
			err, EINVAL,
			"\"%.64s\" is not a sandbox's name: use [a-z0-9][a-z0-9-]*, at most 63",
			wanted);
	if (is_taken(agent, wanted))
		return osh_err_set(err, EEXIST,
				   "a sandbox named %s exists: delete it or choose another name",
				   wanted);
	snprintf(name, OSH_NAME_MAX, "%s", wanted);
	return 0;
}

static int begin(struct osh_agent *agent, const char *name, struct osh_agent_sandbox **ret_sandbox,
		 struct osh_err *err)
{
	struct osh_sandbox_instance *instance = NULL;
	int r = osh_sandbox_cgroup_make(agent->host, name, &instance, err);

	if (r < 0)
		return r;
	*ret_sandbox = osh_lifecycle_enlist(agent, instance);
	if (!*ret_sandbox) {
		(void)osh_sandbox_destroy(instance, NULL);
		return osh_err_sys(err, ENOMEM, "cannot create %s", name);
	}
	return 0;
}

int osh_lifecycle_create(struct osh_agent *agent, const struct osh_creation *creation,
			 struct osh_agent_sandbox **ret_sandbox, char **ret_warnings,
			 struct osh_err *err)
{
	struct osh_credentials credentials = { 0 };
	struct osh_agent_sandbox *sandbox = NULL;
	char name[OSH_NAME_MAX];
	int r = osh_creation_choose_name(agent, creation->name, name, err);

	if (r < 0)
		return r;
	if (agent->sandbox_count >= OSH_SANDBOXES_MAX)
		return osh_err_set(err, ENOSPC, "%d sandboxes exist already: delete one",
				   OSH_SANDBOXES_MAX);
	r = osh_credentials_new(agent, creation->providers, &credentials, err);
	if (r == 0)
		r = begin(agent, name, &sandbox, err);
	if (r < 0) {
		osh_credentials_done(&credentials);
		return r;
	}
	sandbox->credentials = credentials;
	sandbox->recipe = *creation->recipe;
	*creation->recipe = (struct osh_recipe){ 0 };
	sandbox->origin.owner = creation->owner;
	sandbox->keep = creation->keep;
	sandbox->ends_with = creation->keep ? NULL : creation->client;
	sandbox->created = creation->created;
	sandbox->created_context = creation->context;
	r = build(sandbox, creation, ret_warnings, err);
	if (r < 0) {
		osh_creation_undo(sandbox);
		return r;
	}
	*ret_sandbox = sandbox;
	return 0;
}

void osh_lifecycle_abandon(struct osh_agent *agent, void *context)
{
	struct osh_agent_sandbox *sandbox, *next;

	HASH_ITER(hh, agent->sandboxes, sandbox, next) {
		if (sandbox->created && sandbox->created_context == context)
			sandbox->created = NULL;
	}
}

