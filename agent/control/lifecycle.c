#include "control/lifecycle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/knockout.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/secret.h"
#include "control/agent.h"
#include "control/credentials.h"
#include "control/exec.h"
#include "control/forward.h"
#include "control/lifecycle_parts.h"
#include "control/publish.h"
#include "control/recorder.h"
#include "control/refusals.h"
#include "kernel/kernel.h"
#include "proxy/supervisor.h"
#include "sandbox/sandbox.h"
#include "verdict/journal.h"

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

bool osh_lifecycle_is_for(const struct osh_agent_sandbox *sandbox, uid_t uid)
{
	return uid == 0 || uid == sandbox->origin.owner;
}

static json_t *provider_names(const struct osh_agent_sandbox *sandbox)
{
	json_t *list = json_array();

	for (size_t i = 0; i < sandbox->credentials.count; i++)
		json_array_append_new(list, json_string(sandbox->credentials.items[i].provider));
	return list;
}

const char *osh_lifecycle_state_name(enum osh_agent_sandbox_state state)
{
	static const char *const names[OSH_AGENT_SANDBOX_STATE_COUNT] = {
		[OSH_AGENT_SANDBOX_CREATING] = "creating",
		[OSH_AGENT_SANDBOX_RUNNING] = "running",
		[OSH_AGENT_SANDBOX_DEAD] = "dead",
		[OSH_AGENT_SANDBOX_STOPPED] = "stopped",
		[OSH_AGENT_SANDBOX_STARTING] = "starting",
		[OSH_AGENT_SANDBOX_DAMAGED] = "damaged",
	};

	return names[state];
}

/* The limits that were asked for and are not enforced. */
static json_t *unenforced_limits(const struct osh_agent_sandbox *sandbox)
{
	json_t *list = json_array();

	for (int i = 0; i < OSH_LIMIT_COUNT; i++) {
		if (sandbox->recipe.limits.of[i] &&
		    !osh_sandbox_has_controller(sandbox->agent->host, (enum osh_limit)i))
			json_array_append_new(list, json_string(osh_limit_name((enum osh_limit)i)));
	}
	return list;
}

json_t *osh_lifecycle_json(const struct osh_agent_sandbox *sandbox)
{
	const struct osh_revision *revision = osh_revisions_current(&sandbox->revisions);
	bool is_attached = osh_lifecycle_is_attached(sandbox) && sandbox->state == OSH_AGENT_SANDBOX_RUNNING;
	json_t *json = json_pack(
		"{s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:o, s:I, s:s, s:b, s:I, s:I, s:I}", "name",
		sandbox->name, "state", is_attached ? "attached" : osh_lifecycle_state_name(sandbox->state), "created",
		(json_int_t)osh_sandbox_created(sandbox->instance), "id", (json_int_t)sandbox->id,
		"uid", (json_int_t)osh_sandbox_uid(sandbox->instance), "pid",
		(json_int_t)osh_sandbox_init_pid(sandbox->instance), "keep", sandbox->keep,
		"providers", provider_names(sandbox), "revision",
		(json_int_t)sandbox->revisions.current, "policy_hash",
		revision ? revision->sha256 : "", "permissive", sandbox->permissive, "allowed", (json_int_t)sandbox->allowed,
		"audited", (json_int_t)sandbox->audited, "denied", (json_int_t)sandbox->denied);
	json_t *recipe = osh_recipe_json(&sandbox->recipe);

	if (json && recipe && json_object_update(json, recipe) == 0)
		(void)json_object_set_new(json, "unenforced", unenforced_limits(sandbox));
	if (json && osh_lifecycle_is_attached(sandbox)) {
		(void)json_object_set_new(json, "attached", json_string(osh_sandbox_attached(sandbox->instance)));
		(void)json_object_set(json, "degraded", sandbox->degraded);
	}
	json_decref(recipe);
	return json;
}

/* ---- Pieces of a sandbox ---------------------------------------- */

struct osh_agent_sandbox *osh_lifecycle_enlist(struct osh_agent *agent,
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

int osh_lifecycle_enter_kernel(struct osh_agent_sandbox *sandbox, bool writes_system,
			       struct osh_err *err)
{
	int r = osh_kernel_sandbox_add(sandbox->agent->kernel, sandbox->id, writes_system);

	if (r < 0)
		return osh_err_sys(err, -r, "the kernel half does not take the sandbox");
	osh_crash_point();
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
int osh_lifecycle_enter_proxy(struct osh_agent_sandbox *sandbox, const char *ca_pem,
		       const char *ca_key_pem, struct osh_err *err)
{
	struct osh_supervised_sandbox supervised = {
		.id = sandbox->id,
		.name = sandbox->name,
		.ca_pem = ca_pem,
		.ca_key_pem = ca_key_pem,
		.is_new = sandbox->state != OSH_AGENT_SANDBOX_RUNNING, /* not adopted */
		.host_net = osh_sandbox_is_in_host_net(sandbox->instance),
	};
	int r = osh_sandbox_sockets_open(sandbox->instance, &supervised.sockets, err);

	if (r < 0)
		return r;
	osh_crash_point();
	r = osh_supervisor_sandbox_add(sandbox->agent->supervisor, &supervised, err);
	if (r < 0) {
		close_sockets(&supervised.sockets);
		return r;
	}
	sandbox->in_proxy = true;
	return osh_credentials_hand_over(sandbox, err);
}

void osh_lifecycle_forget_key(char *key_pem)
{
	if (key_pem)
		osh_wipe(key_pem, strlen(key_pem));
	free(key_pem);
}

int osh_lifecycle_open_log(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	const char *path = osh_sandbox_log_path(sandbox->instance);
	int r = osh_sandbox_log_open(path, &sandbox->log);

	return r < 0 ? osh_err_sys(err, -r, "cannot open %s", path) : 0;
}

static void on_death(void *context, struct osh_sandbox_instance *instance)
{
	struct osh_agent_sandbox *sandbox = context;

	(void)instance;
	osh_loop_defer(sandbox->agent->loop, &sandbox->later);
}

void osh_lifecycle_watch(struct osh_agent_sandbox *sandbox)
{
	osh_sandbox_on_death(sandbox->instance, on_death, sandbox);
}

static void leave_proxy(struct osh_agent_sandbox *sandbox)
{
	osh_publish_drop(sandbox);
	if (sandbox->in_proxy)
		osh_supervisor_sandbox_remove(sandbox->agent->supervisor, sandbox->id);
	osh_crash_point();
	sandbox->in_proxy = false;
}

static void leave_kernel(struct osh_agent_sandbox *sandbox)
{
	/* Its refusals name executables by entries that go now. */
	osh_refusals_flush(sandbox->agent->refusals);
	if (sandbox->in_kernel && osh_lifecycle_is_attached(sandbox))
		osh_kernel_detach(sandbox->agent->kernel, sandbox->id); /* before its programs are nobody */
	if (sandbox->in_kernel)
		osh_kernel_sandbox_remove(sandbox->agent->kernel, sandbox->id);
	osh_crash_point();
	sandbox->in_kernel = false;
}

void osh_lifecycle_take_down(struct osh_agent_sandbox *sandbox)
{
	osh_exec_drop(sandbox);
	osh_forward_drop(sandbox);
	leave_proxy(sandbox);
	leave_kernel(sandbox); /* from here on all its tasks try is refused */
}

/* Take the object out of the list and empty it. */
static void delist(struct osh_agent_sandbox *sandbox)
{
	struct osh_agent *agent = sandbox->agent;

	osh_sandbox_log_close(osh_take(sandbox->log));
	osh_credentials_done(&sandbox->credentials);
	osh_recipe_done(&sandbox->recipe);
	json_decref(osh_take(sandbox->degraded));
	osh_first_uses_done(&sandbox->first_uses);
	HASH_DEL(agent->sandboxes, sandbox);
	agent->sandbox_count--;
	sandbox->instance = NULL;
}

/* Take everything apart, whatever of it there is, last step first. */
int osh_lifecycle_unmake(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	int r;

	osh_lifecycle_take_down(sandbox);
	osh_sandbox_log_close(osh_take(sandbox->log));
	r = osh_sandbox_destroy(sandbox->instance, err);
	delist(sandbox);
	/* Its memory goes after the batch: a callback of it may be running. */
	osh_loop_defer(sandbox->agent->loop, &sandbox->later);
	return r;
}

/* ---- Ending ---------------------------------------- */

int osh_lifecycle_delete(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	struct osh_agent *agent = sandbox->agent;
	struct osh_err gone = { 0 };
	char name[OSH_NAME_MAX];
	int r;

	osh_err_set(&gone, ECANCELED, "%s was deleted before it was ready", sandbox->name);
	osh_creation_finish(sandbox, &gone);
	memcpy(name, sandbox->name, sizeof(name));
	osh_recorder_event(agent->recorder, sandbox, "sandbox %s",
			   osh_lifecycle_is_attached(sandbox) ? "detached" : "deleted");
	r = osh_lifecycle_unmake(sandbox, err);
	if (r < 0)
		osh_err_wrap(err, "%s is not wholly removed", name);
	return r;
}

void osh_lifecycle_delete_unasked(struct osh_agent_sandbox *sandbox)
{
	struct osh_err err = { 0 };

	if (osh_lifecycle_delete(sandbox, &err) < 0)
		osh_error("%s", err.message);
}

void osh_lifecycle_client_gone(struct osh_agent *agent, const void *client)
{
	struct osh_agent_sandbox *sandbox, *next;

	HASH_ITER(hh, agent->sandboxes, sandbox, next) {
		if (sandbox->ends_with == client)
			osh_lifecycle_delete_unasked(sandbox);
	}
}

/* Its init ended: nothing runs in it any more. It is shown until it is deleted, unless
 * it was not meant to be kept. */
static void bury(struct osh_agent_sandbox *sandbox)
{
	struct osh_err err = { 0 };

	if (sandbox->state == OSH_AGENT_SANDBOX_DEAD || sandbox->state == OSH_AGENT_SANDBOX_STOPPED)
		return;
	if (sandbox->state != OSH_AGENT_SANDBOX_RUNNING) {
		osh_err_set(&err, ECHILD, "the sandbox's init ended while it was being made");
		osh_creation_fail(sandbox, &err);
		return;
	}
	sandbox->state = OSH_AGENT_SANDBOX_DEAD;
	osh_recorder_event(sandbox->agent->recorder, sandbox, "sandbox died: its %s",
			   osh_lifecycle_is_attached(sandbox) ? "cgroup is gone" : "init ended");
	osh_lifecycle_take_down(sandbox);
	if (!sandbox->keep || osh_lifecycle_is_attached(sandbox))
		osh_lifecycle_delete_unasked(sandbox);
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

void osh_lifecycle_release(struct osh_agent *agent)
{
	struct osh_agent_sandbox *sandbox, *next;

	HASH_ITER(hh, agent->sandboxes, sandbox, next) {
		struct osh_sandbox_instance *instance = sandbox->instance;

		osh_exec_drop(sandbox);
		osh_forward_drop(sandbox);
		osh_publish_drop(sandbox);
		delist(sandbox);
		osh_sandbox_release(instance);
		free(sandbox); /* the loop has stopped: nothing runs later */
	}
}
