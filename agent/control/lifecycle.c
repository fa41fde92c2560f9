#include "control/lifecycle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/secret.h"
#include "control/agent.h"
#include "control/credentials.h"
#include "control/exec.h"
#include "control/names.h"
#include "control/publish.h"
#include "control/recorder.h"
#include "control/refusals.h"
#include "control/notary.h"
#include "kernel/kernel.h"
#include "proxy/ca.h"
#include "proxy/supervisor.h"
#include "sandbox/sandbox.h"
#include "verdict/journal.h"

#define UPSTREAM_CA_BYTES_MAX (4u << 20)

#define CREATION_TIMEOUT_MS 30000

static void run_later(struct osh_deferred *deferred);

/* ---- Finding ---------------------------------------- */

struct osh_agent_sandbox *osh_lifecycle_find_id(const struct osh_agent *agent, uint64_t id)
{
	struct osh_agent_sandbox *sandbox;

	HASH_FIND(hh, agent->sandboxes, &id, sizeof(id), sandbox);
	return sandbox;
}

struct osh_agent_sandbox *osh_lifecycle_find(const struct osh_agent *agent, const char *name)
{
	struct osh_agent_sandbox *sandbox, *next;

	HASH_ITER(hh, agent->sandboxes, sandbox, next) {
		if (strcmp(sandbox->name, name) == 0)
			return sandbox;
	}
	return NULL;
}

static json_t *provider_names(const struct osh_agent_sandbox *sandbox)
{
	json_t *list = json_array();

	for (size_t i = 0; i < sandbox->credentials.count; i++)
		json_array_append_new(list, json_string(sandbox->credentials.items[i].provider));
	return list;
}

json_t *osh_lifecycle_json(const struct osh_agent_sandbox *sandbox)
{
	static const char *const states[OSH_AGENT_SANDBOX_STATE_COUNT] = {
		[OSH_AGENT_SANDBOX_CREATING] = "creating",
		[OSH_AGENT_SANDBOX_RUNNING] = "running",
		[OSH_AGENT_SANDBOX_DEAD] = "dead",
	};
	const struct osh_revision *revision = osh_revisions_current(&sandbox->revisions);

	return json_pack(
		"{s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:o, s:I, s:s, s:b, s:I, s:I, s:I}", "name",
		sandbox->name, "state", states[sandbox->state], "created",
		(json_int_t)osh_sandbox_created(sandbox->instance), "id", (json_int_t)sandbox->id,
		"uid", (json_int_t)osh_sandbox_uid(sandbox->instance), "pid",
		(json_int_t)osh_sandbox_init_pid(sandbox->instance), "keep", sandbox->keep,
		"providers", provider_names(sandbox), "revision",
		(json_int_t)sandbox->revisions.current, "policy_hash",
		revision ? revision->sha256 : "", "permissive", sandbox->permissive, "allowed", (json_int_t)sandbox->allowed,
		"audited", (json_int_t)sandbox->audited, "denied", (json_int_t)sandbox->denied);
}

/* ---- Pieces of a sandbox ---------------------------------------- */

static struct osh_agent_sandbox *enlist(struct osh_agent *agent,
					struct osh_sandbox_instance *instance)
{
	struct osh_agent_sandbox *sandbox = calloc(1, sizeof(*sandbox));

	if (!sandbox)
		return NULL;
	sandbox->agent = agent;
	sandbox->instance = instance;
	sandbox->id = osh_sandbox_id(instance);
	sandbox->later.run = run_later;
	snprintf(sandbox->name, sizeof(sandbox->name), "%s", osh_sandbox_name(instance));
	HASH_ADD(hh, agent->sandboxes, id, sizeof(sandbox->id), sandbox);
	agent->sandbox_count++;
	return sandbox;
}

static int enter_kernel(struct osh_agent_sandbox *sandbox, bool writes_system, struct osh_err *err)
{
	int r = osh_kernel_sandbox_add(sandbox->agent->kernel, sandbox->id, writes_system);

	if (r < 0)
		return osh_err_sys(err, -r, "the kernel half does not take the sandbox");
	sandbox->in_kernel = true;
	return 0;
}

static void close_sockets(struct osh_sandbox_sockets *sockets)
{
	osh_close(sockets->tcp4);
	osh_close(sockets->tcp6);
	osh_close(sockets->dns_udp4);
	osh_close(sockets->dns_udp6);
	osh_close(sockets->dns_tcp4);
	osh_close(sockets->dns_tcp6);
}

/* The proxy gets the sandbox's listeners, its CA and its secrets. Without a policy it
 * refuses everything. */
static int enter_proxy(struct osh_agent_sandbox *sandbox, const char *ca_pem,
		       const char *ca_key_pem, struct osh_err *err)
{
	struct osh_supervised_sandbox supervised = {
		.id = sandbox->id,
		.name = sandbox->name,
		.ca_pem = ca_pem,
		.ca_key_pem = ca_key_pem,
	};
	int r = osh_sandbox_sockets_open(sandbox->instance, &supervised.sockets, err);

	if (r < 0)
		return r;
	r = osh_supervisor_sandbox_add(sandbox->agent->supervisor, &supervised, err);
	if (r < 0) {
		close_sockets(&supervised.sockets);
		return r;
	}
	sandbox->in_proxy = true;
	return osh_credentials_hand_over(sandbox, err);
}

static void leave_proxy(struct osh_agent_sandbox *sandbox)
{
	osh_publish_drop(sandbox);
	if (sandbox->in_proxy)
		osh_supervisor_sandbox_remove(sandbox->agent->supervisor, sandbox->id);
	sandbox->in_proxy = false;
}

static void leave_kernel(struct osh_agent_sandbox *sandbox)
{
	/* Its refusals name executables by entries that go now. */
	osh_refusals_flush(sandbox->agent->refusals);
	if (sandbox->in_kernel)
		osh_kernel_sandbox_remove(sandbox->agent->kernel, sandbox->id);
	sandbox->in_kernel = false;
}

/* Take the object out of the list and empty it. */
static void delist(struct osh_agent_sandbox *sandbox)
{
	struct osh_agent *agent = sandbox->agent;

	osh_sandbox_log_close(osh_take(sandbox->log));
	osh_credentials_done(&sandbox->credentials);
	osh_notary_forget(sandbox);
	HASH_DEL(agent->sandboxes, sandbox);
	agent->sandbox_count--;
	sandbox->instance = NULL;
}

/* Take everything apart, whatever of it there is, last step first. */
static int unmake(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	int r;

	osh_exec_drop(sandbox);
	leave_proxy(sandbox);
	leave_kernel(sandbox); /* from here on all its tasks try is refused */
	osh_sandbox_log_close(osh_take(sandbox->log));
	r = osh_sandbox_destroy(sandbox->instance, err);
	delist(sandbox);
	/* Its memory goes after the batch: a callback of it may be running. */
	osh_loop_defer(sandbox->agent->loop, &sandbox->later);
	return r;
}

/* ---- Creating ---------------------------------------- */

static void finish_creation(struct osh_agent_sandbox *sandbox, const struct osh_err *err)
{
	osh_created_fn *created = sandbox->created;

	sandbox->created = NULL;
	if (created)
		created(sandbox->created_context, sandbox, err);
}

static void fail_creation(struct osh_agent_sandbox *sandbox, const struct osh_err *err)
{
	struct osh_err undo = { 0 };

	osh_warning("%s: not created: %s", sandbox->name, err->message);
	finish_creation(sandbox, err);
	if (unmake(sandbox, &undo) < 0)
		osh_error("%s", undo.message);
}

static void on_policy_in_force(void *context, int result)
{
	struct osh_agent_sandbox *sandbox = context;
	struct osh_err err = { 0 };

	if (sandbox->state != OSH_AGENT_SANDBOX_CREATING)
		return;
	if (result == 0) {
		sandbox->state = OSH_AGENT_SANDBOX_RUNNING;
		osh_recorder_event(sandbox->agent->recorder, sandbox, "sandbox created");
		finish_creation(sandbox, NULL);
		return;
	}
	if (result == -ECANCELED)
		return; /* whoever takes it apart answers */
	osh_err_sys(&err, -result, "the proxy does not take the policy of %s", sandbox->name);
	fail_creation(sandbox, &err);
}

static void on_death(void *context, struct osh_sandbox_instance *instance)
{
	struct osh_agent_sandbox *sandbox = context;

	(void)instance;
	osh_loop_defer(sandbox->agent->loop, &sandbox->later);
}

static int make_ca(struct osh_agent_sandbox *sandbox, char **ret_cert, char **ret_key,
		   struct osh_err *err)
{
	int r = osh_ca_new(sandbox->name, ret_cert, ret_key);

	if (r < 0)
		return osh_err_sys(err, -r, "cannot make a certificate authority");
	return osh_state_ca_save(osh_sandbox_dir(sandbox->instance), *ret_cert, *ret_key, err);
}

static void forget_key(char *key_pem)
{
	if (key_pem)
		osh_wipe(key_pem, strlen(key_pem));
	free(key_pem);
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

static int launch(struct osh_agent_sandbox *sandbox, const struct osh_creation *creation,
		  const char *ca_pem, char **ret_warnings, struct osh_err *err)
{
	const char *providers[OSH_CREDENTIALS_MAX + 1];
	struct osh_environment environment = { 0 };
	struct osh_sandbox_spec spec = {
		.name = sandbox->name,
		.policy = osh_policy_doc_static(creation->policy),
		.ca_pem = ca_pem,
		.keep = creation->keep,
		.providers = providers,
	};
	int r = osh_credentials_environment(sandbox->agent, &sandbox->credentials, &environment,
					    err);

	list_providers(&sandbox->credentials, providers);
	for (const char *const *item = creation->env; r == 0 && item && *item; item++) {
		r = osh_environment_add(&environment, *item, NULL);
		if (r < 0)
			osh_err_sys(err, -r, "cannot set the environment");
	}
	if (r == 0) {
		spec.env = (const char *const *)environment.items;
		r = osh_sandbox_launch(sandbox->instance, &spec, ret_warnings, err);
	}
	osh_environment_done(&environment);
	return r;
}

static int open_log(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	const char *path = osh_sandbox_log_path(sandbox->instance);
	int r = osh_sandbox_log_open(path, &sandbox->log);

	return r < 0 ? osh_err_sys(err, -r, "cannot open %s", path) : 0;
}

/* In the order of sandbox.h: nothing of the user's runs before the last step is answered. */
static int build(struct osh_agent_sandbox *sandbox, const struct osh_creation *creation,
		 char **ret_warnings, struct osh_err *err)
{
	const char *dir = osh_sandbox_dir(sandbox->instance);
	_cleanup_free_ char *cert = NULL, *trusted = NULL;
	char *key = NULL;
	int r = make_ca(sandbox, &cert, &key, err);

	if (r == 0)
		r = osh_state_credentials_save(dir, &sandbox->credentials, err);
	if (r == 0 && osh_state_digest_static(osh_policy_doc_static(creation->policy),
					      sandbox->revisions.created_with) < 0)
		r = osh_err_sys(err, ENOMEM, "cannot digest the policy");
	if (r == 0)
		r = open_log(sandbox, err);
	if (r == 0)
		r = enter_kernel(sandbox, osh_policy_writes_system(osh_policy_doc_static(creation->policy)),
				 err);
	if (r == 0)
		r = list_trusted(sandbox->agent->config, cert, &trusted, err);
	if (r == 0)
		r = launch(sandbox, creation, trusted, ret_warnings, err);
	if (r == 0) {
		osh_sandbox_on_death(sandbox->instance, on_death, sandbox);
		r = enter_proxy(sandbox, cert, key, err);
	}
	if (r == 0)
		r = osh_publish_new(sandbox, creation->policy, creation->policy_text,
				    CREATION_TIMEOUT_MS, on_policy_in_force, sandbox, err);
	forget_key(key);
	return r;
}

static bool is_taken(void *context, const char *name)
{
	return osh_lifecycle_find(context, name) != NULL;
}

static int choose_name(struct osh_agent *agent, const char *wanted, char name[static OSH_NAME_MAX],
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
	*ret_sandbox = enlist(agent, instance);
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
	struct osh_err undo = { 0 };
	char name[OSH_NAME_MAX];
	int r = choose_name(agent, creation->name, name, err);

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
	sandbox->keep = creation->keep;
	sandbox->owner = creation->keep ? NULL : creation->owner;
	sandbox->created = creation->created;
	sandbox->created_context = creation->context;
	r = build(sandbox, creation, ret_warnings, err);
	if (r < 0) {
		sandbox->created = NULL;
		if (unmake(sandbox, &undo) < 0)
			osh_error("%s", undo.message);
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

/* ---- Ending ---------------------------------------- */

int osh_lifecycle_delete(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	struct osh_agent *agent = sandbox->agent;
	struct osh_err gone = { 0 };
	char name[OSH_NAME_MAX];
	int r;

	osh_err_set(&gone, ECANCELED, "%s was deleted before it was ready", sandbox->name);
	finish_creation(sandbox, &gone);
	memcpy(name, sandbox->name, sizeof(name));
	osh_recorder_event(agent->recorder, sandbox, "sandbox deleted");
	r = unmake(sandbox, err);
	if (r < 0)
		osh_err_wrap(err, "%s is not wholly removed", name);
	return r;
}

static void delete_unasked(struct osh_agent_sandbox *sandbox)
{
	struct osh_err err = { 0 };

	if (osh_lifecycle_delete(sandbox, &err) < 0)
		osh_error("%s", err.message);
}

void osh_lifecycle_owner_gone(struct osh_agent *agent, const void *owner)
{
	struct osh_agent_sandbox *sandbox, *next;

	HASH_ITER(hh, agent->sandboxes, sandbox, next) {
		if (sandbox->owner == owner)
			delete_unasked(sandbox);
	}
}

/* Its init ended: nothing runs in it any more. It is shown until it is deleted, unless
 * it was not meant to be kept. */
static void bury(struct osh_agent_sandbox *sandbox)
{
	struct osh_err err = { 0 };

	if (sandbox->state == OSH_AGENT_SANDBOX_DEAD)
		return;
	if (sandbox->state == OSH_AGENT_SANDBOX_CREATING) {
		osh_err_set(&err, ECHILD, "the sandbox's init ended while it was created");
		fail_creation(sandbox, &err);
		return;
	}
	sandbox->state = OSH_AGENT_SANDBOX_DEAD;
	osh_recorder_event(sandbox->agent->recorder, sandbox, "sandbox died: its init ended");
	osh_exec_drop(sandbox);
	leave_proxy(sandbox);
	leave_kernel(sandbox);
	if (!sandbox->keep)
		delete_unasked(sandbox);
}

static void run_later(struct osh_deferred *deferred)
{
	struct osh_agent_sandbox *sandbox =
		osh_container_of(deferred, struct osh_agent_sandbox, later);

	if (!sandbox->instance)
		free(sandbox);
	else
		bury(sandbox);
}

/* ---- Adopting ---------------------------------------- */

static int adopt_into_proxy(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	_cleanup_free_ char *cert = NULL;
	char *key = NULL;
	int r = osh_state_ca_load(osh_sandbox_dir(sandbox->instance), &cert, &key, err);

	if (r == 0)
		r = enter_proxy(sandbox, cert, key, err);
	forget_key(key);
	return r;
}

/* Fenced: it runs on, and everything it tries to reach is refused. */
static void fence(struct osh_agent_sandbox *sandbox, const struct osh_err *err)
{
	struct osh_err ignored = { 0 };

	osh_error("%s: adopted, but everything it tries is refused: %s", sandbox->name,
		  err->message);
	osh_recorder_event(sandbox->agent->recorder, sandbox,
			   "sandbox adopted, everything it tries is refused: %s", err->message);
	if (osh_publish_nothing(sandbox, &ignored) < 0)
		osh_error("%s: its connections wait unanswered: %s", sandbox->name, ignored.message);
}

static void join_data_plane(struct osh_agent_sandbox *sandbox)
{
	struct osh_err err = { 0 };
	int r = adopt_into_proxy(sandbox, &err);

	if (r == 0)
		r = osh_publish_stored(sandbox, &err);
	if (r < 0)
		fence(sandbox, &err);
	else
		osh_recorder_event(sandbox->agent->recorder, sandbox, "sandbox adopted");
}

/* What is damaged on disk costs the sandbox its network, never the agent its start. */
static void load_state(struct osh_agent_sandbox *sandbox)
{
	const char *dir = osh_sandbox_dir(sandbox->instance);
	struct osh_err err = { 0 };

	if (osh_state_policy_index(dir, &sandbox->revisions, &err) < 0)
		osh_error("%s: %s", sandbox->name, err.message);
	if (osh_state_credentials_load(dir, &sandbox->credentials, &err) < 0)
		osh_error("%s: %s", sandbox->name, err.message);
	if (open_log(sandbox, &err) < 0)
		osh_error("%s: %s", sandbox->name, err.message);
}

struct known {
	struct osh_agent *agent;
	uint64_t ids[OSH_SANDBOXES_MAX];
	size_t count;
};

static void note_known(void *context, uint64_t id)
{
	struct known *known = context;

	if (known->count < OSH_COUNT_OF(known->ids))
		known->ids[known->count++] = id;
}

static bool is_known(const struct known *known, uint64_t id)
{
	for (size_t i = 0; i < known->count; i++) {
		if (known->ids[i] == id)
			return true;
	}
	return false;
}

static void adopt_one(void *context, struct osh_sandbox_instance *instance)
{
	struct known *known = context;
	struct osh_agent_sandbox *sandbox = enlist(known->agent, instance);
	struct osh_err err = { 0 };

	if (!sandbox) {
		osh_error("%s: not adopted: out of memory", osh_sandbox_name(instance));
		osh_sandbox_release(instance);
		return;
	}
	sandbox->state = OSH_AGENT_SANDBOX_RUNNING;
	sandbox->keep = osh_sandbox_keep(instance);
	load_state(sandbox);
	osh_sandbox_on_death(instance, on_death, sandbox);
	sandbox->in_kernel = is_known(known, sandbox->id);
	/* What it was created with is not known any more. */
	if (!sandbox->in_kernel && enter_kernel(sandbox, true, &err) < 0)
		fence(sandbox, &err);
}

/* Entries in the kernel of sandboxes that are no more. */
static void forget_strangers(const struct known *known)
{
	for (size_t i = 0; i < known->count; i++) {
		if (!osh_lifecycle_find_id(known->agent, known->ids[i]))
			osh_kernel_sandbox_remove(known->agent->kernel, known->ids[i]);
	}
}

int osh_lifecycle_adopt(struct osh_agent *agent, struct osh_err *err)
{
	struct osh_agent_sandbox *sandbox, *next;
	_cleanup_free_ struct known *known = calloc(1, sizeof(*known));
	int r;

	if (!known)
		return osh_err_sys(err, ENOMEM, "cannot adopt sandboxes");
	known->agent = agent;
	osh_kernel_sandbox_each(agent->kernel, note_known, known);
	r = osh_sandbox_adopt_all(agent->host, adopt_one, known, err);
	if (r < 0)
		return r;
	forget_strangers(known);
	HASH_ITER(hh, agent->sandboxes, sandbox, next) {
		/* The connection that it was to end with is gone with the agent before us. */
		if (!sandbox->keep)
			delete_unasked(sandbox);
		else if (sandbox->in_kernel)
			join_data_plane(sandbox);
	}
	return 0;
}

void osh_lifecycle_release(struct osh_agent *agent)
{
	struct osh_agent_sandbox *sandbox, *next;

	HASH_ITER(hh, agent->sandboxes, sandbox, next) {
		struct osh_sandbox_instance *instance = sandbox->instance;

		osh_exec_drop(sandbox);
		osh_publish_drop(sandbox);
		delist(sandbox);
		osh_sandbox_release(instance);
		free(sandbox); /* the loop has stopped: nothing runs later */
	}
}
