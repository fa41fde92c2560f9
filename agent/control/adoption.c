/* Taking over the sandboxes of an earlier agent. */
#include <errno.h>
#include <stdlib.h>

#include "base/knockout.h"
#include "base/log.h"
#include "base/mem.h"
#include "control/agent.h"
#include "control/lifecycle_parts.h"
#include "control/publish.h"
#include "control/recorder.h"
#include "kernel/kernel.h"
#include "sandbox/sandbox.h"

static int adopt_into_proxy(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	_cleanup_free_ char *cert = NULL;
	char *key = NULL;
	int r = osh_state_ca_load(osh_sandbox_dir(sandbox->instance), &cert, &key, err);

	if (r == 0)
		r = osh_lifecycle_enter_proxy(sandbox, cert, key, err);
	osh_lifecycle_forget_key(key);
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

static bool may_miss_verdicts(const struct osh_agent *agent)
{
	return agent->follows_crash && !osh_recorder_is_complete(agent->recorder);
}

static void tell_adoption(const struct osh_agent_sandbox *sandbox)
{
	struct osh_recorder *recorder = sandbox->agent->recorder;
	/* Nothing else was counted for it so far. */
	uint64_t recovered = sandbox->allowed + sandbox->audited + sandbox->denied;

	if (!sandbox->agent->follows_crash)
		osh_recorder_event(recorder, sandbox, "sandbox adopted");
	else if (may_miss_verdicts(sandbox->agent))
		osh_recorder_event(recorder, sandbox,
				   "sandbox adopted: the agent before did not stop in order, its last verdicts may be missing");
	else
		osh_recorder_event(recorder, sandbox,
				   "sandbox adopted: the agent before did not stop in order, %llu of its verdicts recovered",
				   (unsigned long long)recovered);
}

static void join_data_plane(struct osh_agent_sandbox *sandbox)
{
	struct osh_err err = { 0 };
	int r = adopt_into_proxy(sandbox, &err);

	if (r == 0)
		r = osh_publish_stored(sandbox, 0, NULL, NULL, &err);
	if (r < 0)
		fence(sandbox, &err);
	else
		tell_adoption(sandbox);
}

/* What is damaged on disk costs the sandbox its network, never the agent its start. What is whole and
 * cannot be read just now does: later it would be written over. */
static int allow_damage(const struct osh_agent_sandbox *sandbox, const char *consequence, int r,
			const struct osh_err *err)
{
	if (osh_is_shortage(r))
		return r;
	if (r < 0)
		osh_error("%s: %s%s", sandbox->name, consequence, err->message);
	return 0;
}

static int load_state(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	const char *dir = osh_sandbox_dir(sandbox->instance);
	int r = allow_damage(sandbox, "only root may use it: ",
			     osh_state_origin_load(dir, &sandbox->origin, err), err);

	if (r == 0)
		r = allow_damage(sandbox, "", osh_revisions_load(dir, &sandbox->revisions, err), err);
	if (r == 0)
		r = allow_damage(sandbox, "", osh_state_credentials_load(dir, &sandbox->credentials, err), err);
	if (r == 0)
		r = allow_damage(sandbox, "", osh_first_uses_load(&sandbox->first_uses, dir, err), err);
	if (r == 0)
		r = allow_damage(sandbox, "its first command and labels are not known: ",
				 osh_recipe_load(dir, &sandbox->recipe, err), err);
	if (r == 0)
		r = allow_damage(sandbox, "", osh_lifecycle_open_log(sandbox, err), err);
	return r;
}

struct known {
	struct osh_agent *agent;
	struct osh_err *err; /* set by the first that cannot be adopted just now */
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
	struct osh_agent_sandbox *sandbox = osh_lifecycle_enlist(known->agent, instance);
	struct osh_err err = { 0 };

	if (!sandbox) {
		osh_err_sys(known->err, ENOMEM, "cannot adopt %s", osh_sandbox_name(instance));
		osh_sandbox_release(instance);
		return;
	}
	sandbox->keep = osh_sandbox_keep(instance);
	if (load_state(sandbox, &err) < 0) {
		*known->err = err;
		return;
	}
	if (osh_lifecycle_is_attached(sandbox)) {
		sandbox->state = OSH_AGENT_SANDBOX_RUNNING;
		if (osh_attachment_adopt(sandbox, &err) < 0)
			fence(sandbox, &err);
		return;
	}
	if (!osh_sandbox_init_pid(instance)) {
		sandbox->state = osh_sandbox_is_damaged(instance) ? OSH_AGENT_SANDBOX_DAMAGED
								  : OSH_AGENT_SANDBOX_STOPPED;
		/* Of an agent that was killed while it stopped it, or it ended later. */
		if (is_known(known, sandbox->id))
			osh_kernel_sandbox_remove(known->agent->kernel, sandbox->id);
		return;
	}
	sandbox->state = OSH_AGENT_SANDBOX_RUNNING;
	osh_lifecycle_watch(sandbox);
	sandbox->in_kernel = is_known(known, sandbox->id);
	/* What it was created with is not known any more. */
	if (!sandbox->in_kernel && osh_lifecycle_enter_kernel(sandbox, true, &err) < 0)
		fence(sandbox, &err);
}

/* An entry in the kernel of a sandbox that is no more, or of what is attached and has lost all that was
 * known of it. The latter's programs are not ours to end: nobody listens to them any more, and so it stays. */
static void forget_stranger(struct osh_kernel *kernel, uint64_t id)
{
	if (osh_kernel_has_all_hooks(kernel, id)) {
		osh_error("the sandbox that is attached to the cgroup with inode %llu is not known any more: what runs "
			  "there reaches nothing until you attach it anew, or let it go by openshelld --sweep",
			  (unsigned long long)id);
		(void)osh_kernel_unix_sockets_set(kernel, id, NULL, 0);
		return;
	}
	osh_kernel_detach(kernel, id);
	osh_kernel_sandbox_remove(kernel, id);
}

static void forget_strangers(const struct known *known)
{
	for (size_t i = 0; i < known->count; i++) {
		if (!osh_lifecycle_find_id(known->agent, known->ids[i]))
			forget_stranger(known->agent->kernel, known->ids[i]);
	}
}

int osh_lifecycle_adopt(struct osh_agent *agent, struct osh_err *err)
{
	_cleanup_free_ struct known *known = calloc(1, sizeof(*known));
	int r;

	if (!known)
		return osh_err_sys(err, ENOMEM, "cannot adopt sandboxes");
	known->agent = agent;
	known->err = err;
	osh_crash_point();
	osh_kernel_sandbox_each(agent->kernel, note_known, known);
	r = osh_sandbox_adopt_all(agent->host, adopt_one, known, err);
	if (r < 0 || err->code)
		return -err->code;
	osh_crash_point();
	forget_strangers(known);
	return 0;
}

void osh_lifecycle_join(struct osh_agent *agent)
{
	struct osh_agent_sandbox *sandbox, *next;

	if (may_miss_verdicts(agent))
		osh_recorder_event(agent->recorder, NULL,
				   "the agent before did not stop in order, and what it left in the kernel is gone (did "
				   "the host go down?): its last verdicts may be missing");
	HASH_ITER(hh, agent->sandboxes, sandbox, next) {
		/* The connection that it was to end with is gone with the agent before us; or that one
		 * died before the rules held for all in a cgroup, and nobody was told that they do. */
		if (!sandbox->keep)
			osh_lifecycle_delete_unasked(sandbox);
		else if (sandbox->in_kernel)
			join_data_plane(sandbox);
	}
}
