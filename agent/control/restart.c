/* Stopping a sandbox, and starting it again: its files, policy revisions, CA, placeholders
 * and recipe stay in its state directory meanwhile. */
#include <errno.h>

#include "base/log.h"
#include "base/mem.h"
#include "control/agent.h"
#include "control/lifecycle_parts.h"
#include "control/publish.h"
#include "control/recorder.h"
#include "sandbox/sandbox.h"

int osh_lifecycle_stop(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	struct osh_err stopped = { 0 };
	int r;

	if (sandbox->state == OSH_AGENT_SANDBOX_DAMAGED)
		return osh_err_set(err, EINVAL,
				   "sandbox %s is damaged, nothing of it runs: delete it", sandbox->name);
	if (osh_lifecycle_is_attached(sandbox))
		return osh_err_set(err, EINVAL, "sandbox %s is attached to %s, whose programs are not ours to "
						"stop: 'openshell sandbox detach %s' takes the rules away",
				   sandbox->name, osh_sandbox_attached(sandbox->instance), sandbox->name);
	if (!sandbox->keep)
		return osh_err_set(err, EINVAL,
				   "sandbox %s is not kept: it ends with the command that made it",
				   sandbox->name);
	r = osh_state_sync(osh_sandbox_dir(sandbox->instance), err);
	if (r < 0)
		return r;
	osh_err_set(&stopped, ECANCELED, "%s was stopped before it was ready", sandbox->name);
	osh_creation_finish(sandbox, &stopped);
	r = osh_sandbox_stop(sandbox->instance, err);
	if (r < 0 && osh_sandbox_init_pid(sandbox->instance))
		return r; /* nothing was ended */
	osh_lifecycle_take_down(sandbox);
	/* Until what does not end has ended it cannot be started, but deleted. */
	sandbox->state = r < 0 ? OSH_AGENT_SANDBOX_DEAD : OSH_AGENT_SANDBOX_STOPPED;
	osh_recorder_event(sandbox->agent->recorder, sandbox, "sandbox stopped");
	return r;
}

/* From disk: what is damaged there must not start as if nothing had been asked for. */
static int read_recipe(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	struct osh_recipe recipe;
	int r = osh_recipe_load(osh_sandbox_dir(sandbox->instance), &recipe, err);

	if (r < 0)
		return r;
	osh_recipe_done(&sandbox->recipe);
	sandbox->recipe = recipe;
	return 0;
}

static int build_again(struct osh_agent_sandbox *sandbox, char **ret_warnings, struct osh_err *err)
{
	struct osh_policy_doc *policy = NULL;
	_cleanup_free_ char *cert = NULL;
	char *key = NULL;
	int r = read_recipe(sandbox, err);

	if (r == 0)
		r = osh_publish_load(sandbox, &policy, err);
	if (r == 0)
		r = osh_state_ca_load(osh_sandbox_dir(sandbox->instance), &cert, &key, err);
	if (r == 0)
		r = osh_lifecycle_bring_up(sandbox, policy, cert, key, ret_warnings, err);
	if (r == 0)
		r = osh_publish_stored(sandbox, OSH_CREATION_TIMEOUT_MS, osh_creation_in_force, sandbox,
				       err);
	osh_policy_doc_free(policy);
	osh_lifecycle_forget_key(key);
	return r;
}

int osh_lifecycle_start(struct osh_agent_sandbox *sandbox, osh_created_fn *created, void *context,
			char **ret_warnings, struct osh_err *err)
{
	struct osh_err undo = { 0 };
	int r = sandbox->state == OSH_AGENT_SANDBOX_DEAD ? osh_lifecycle_stop(sandbox, err) : 0;

	if (r < 0)
		return r;
	if (sandbox->state == OSH_AGENT_SANDBOX_DAMAGED)
		return osh_err_set(err, EINVAL, "sandbox %s is damaged and cannot be started: take its files "
						"from %s/sandbox, then delete it",
				   sandbox->name, osh_sandbox_dir(sandbox->instance));
	if (sandbox->state != OSH_AGENT_SANDBOX_STOPPED)
		return osh_err_set(err, EBUSY, "sandbox %s is %s: only a stopped one can be started",
				   sandbox->name, osh_lifecycle_state_name(sandbox->state));
	sandbox->state = OSH_AGENT_SANDBOX_STARTING;
	r = build_again(sandbox, ret_warnings, err);
	if (r < 0) {
		if (osh_lifecycle_stop(sandbox, &undo) < 0)
			osh_error("%s: %s", sandbox->name, undo.message);
		return r;
	}
	sandbox->created = created;
	sandbox->created_context = context;
	return 0;
}
