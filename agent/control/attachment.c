/* Attaching to a cgroup that exists: its rules are a sandbox's, what runs in it is not ours. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/knockout.h"
#include "base/log.h"
#include "base/mem.h"
#include "control/agent.h"
#include "control/lifecycle_parts.h"
#include "control/publish.h"
#include "control/recorder.h"
#include "kernel/kernel.h"
#include "sandbox/sandbox.h"

bool osh_lifecycle_is_attached(const struct osh_agent_sandbox *sandbox)
{
	return *osh_sandbox_attached(sandbox->instance);
}

static struct osh_kernel_attachment describe(const struct osh_agent_sandbox *sandbox)
{
	return (struct osh_kernel_attachment){
		.sandbox = sandbox->id,
		.cgroup_fd = osh_sandbox_cgroup_fd(sandbox->instance),
		.depth = osh_sandbox_cgroup_depth(sandbox->instance),
		.netns = osh_sandbox_netns(sandbox->instance),
		.gateway_host = osh_sandbox_gateway(sandbox->instance),
		.host_net = osh_sandbox_is_in_host_net(sandbox->instance),
	};
}

static int enter_kernel(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	const struct osh_kernel_attachment attachment = describe(sandbox);
	int r = osh_kernel_attachment_add(sandbox->agent->kernel, &attachment);

	if (r == -E2BIG)
		return osh_err_set(err, E2BIG, "%s lies deeper than %d cgroups", osh_sandbox_attached(sandbox->instance),
				   OSH_ATTACH_LEVEL_MAX);
	if (r < 0)
		return osh_err_sys(err, -r, "the kernel half does not take the cgroup");
	sandbox->in_kernel = true;
	r = osh_kernel_late(sandbox->agent->kernel, &attachment);
	if (r < 0)
		osh_warning("%s: who runs already has no identity until its next exec: %s", sandbox->name, strerror(-r));
	return 0;
}

/* ---- Sockets that are older ---------------------------------------- */

struct older {
	struct osh_agent_sandbox *sandbox;
	struct osh_err *err;
	unsigned ended;
};

static bool is_connected(const struct osh_sandbox_socket *found)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	return getpeername(found->fd, (struct sockaddr *)&peer, &len) == 0;
}

static int settle_own(struct older *older, const struct osh_sandbox_socket *found)
{
	struct osh_agent_sandbox *sandbox = older->sandbox;
	int r = osh_kernel_own(sandbox->agent->kernel, sandbox->id, found->fd);

	return r < 0 ? osh_err_sys(older->err, -r, "cannot make a socket of process %d known", (int)found->pid) : 0;
}

static int end_connection(struct older *older, const struct osh_sandbox_socket *found)
{
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

	older->ended++;
	if (connect(found->fd, &nobody, sizeof(nobody)) < 0)
		return osh_err_sys(older->err, errno, "cannot end a connection of process %d", (int)found->pid);
	return settle_own(older, found);
}

/* Ended, or, if that was asked for, let go on and recorded. */
static int settle_connection(struct older *older, const struct osh_sandbox_socket *found)
{
	struct osh_agent_sandbox *sandbox = older->sandbox;
	int r;

	if (!sandbox->keep_established)
		return end_connection(older, found);
	r = osh_kernel_keep(sandbox->agent->kernel, sandbox->id, found->fd);
	if (r < 0)
		return osh_err_sys(older->err, -r, "cannot keep a connection of process %d", (int)found->pid);
	osh_recorder_event(sandbox->agent->recorder, sandbox, "process %d keeps a connection that is older than its rules",
			   (int)found->pid);
	return 0;
}

/* Nothing can be done about it but to have its owner go. */
static int settle_escape(struct older *older, const struct osh_sandbox_socket *found, const char *what)
{
	struct osh_agent_sandbox *sandbox = older->sandbox;

	if (!sandbox->keep_established)
		return osh_err_set(older->err, EBUSY, "process %d holds %s, which no rule can reach: start it anew in "
						      "there, or attach with --keep-established",
				   (int)found->pid, what);
	osh_recorder_event(sandbox->agent->recorder, sandbox, "process %d keeps %s, which no rule can reach",
			   (int)found->pid, what);
	return 0;
}

/* Whatever its protocol: also one that cannot be made any more (raw, UDP-Lite) is held to the packets'
 * guard, if it was made in there. One that listens, or may yet, is then the cgroup's own; one that somebody
 * outside made and may hold, too, is not. */
static int settle_ip(struct older *older, const struct osh_sandbox_socket *found, bool made_inside)
{
	if (!made_inside)
		return settle_escape(older, found, "a socket that was made outside of the cgroup");
	return is_connected(found) ? settle_connection(older, found) : settle_own(older, found);
}

static int settle_other(struct older *older, const struct osh_sandbox_socket *found, bool made_inside)
{
	if (!osh_kernel_guards_attached(older->sandbox->agent->kernel) || found->domain == AF_NETLINK)
		return 0; /* osh_preflight names what is not judged; capabilities count at each use */
	if (found->domain != AF_UNIX)
		return settle_escape(older, found, "a socket of another family than IP");
	return osh_attachment_escapes(older->sandbox, found, made_inside) ?
		       settle_escape(older, found, "a Unix socket that leads outside of the cgroup") : 0;
}

/* Made in the cgroup, it passes the hooks from now on; made elsewhere, it passes none. */
static int settle(void *context, const struct osh_sandbox_socket *found)
{
	struct older *older = context;
	const struct osh_kernel_attachment attachment = describe(older->sandbox);
	const char *parked = osh_attachment_parked(found);
	int made_inside, r = parked ? settle_escape(older, found, parked) : 0;

	if (r < 0 || found->domain == AF_UNSPEC)
		return r;
	made_inside = osh_kernel_made_inside(older->sandbox->agent->kernel, &attachment, found->fd);
	if (made_inside < 0)
		return osh_err_sys(older->err, -made_inside, "cannot tell where a socket of process %d was made",
				   (int)found->pid);
	if (found->domain == AF_INET || found->domain == AF_INET6)
		return settle_ip(older, found, made_inside);
	return settle_other(older, found, made_inside);
}

static int settle_older(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	struct older older = { .sandbox = sandbox, .err = err };
	int r = osh_sandbox_each_socket(sandbox->instance, settle, &older);

	if (r < 0 && !err->code)
		return osh_err_sys(err, -r, "cannot look through the sockets in %s",
				   osh_sandbox_attached(sandbox->instance));
	if (r == 0 && older.ended)
		osh_recorder_event(sandbox->agent->recorder, sandbox, "%u older connections ended", older.ended);
	return r;
}

int osh_attachment_enforce(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	const struct osh_kernel_attachment attachment = describe(sandbox);
	int r = osh_kernel_attach(sandbox->agent->kernel, &attachment, err);

	osh_crash_point();
	if (r >= 0)
		r = osh_layer_off("older") ? 0 : settle_older(sandbox, err);
	osh_crash_point();
	if (r < 0)
		return r;
	r = osh_sandbox_attached_whole(sandbox->instance, sandbox->keep_established);
	return r < 0 ? osh_err_sys(err, -r, "cannot record that %s is attached", sandbox->name) : 0;
}

/* What connected meanwhile is older than the rules, again. */
void osh_attachment_mend(struct osh_agent_sandbox *sandbox)
{
	unsigned dropped = osh_kernel_drop_detached(sandbox->agent->kernel, sandbox->id);
	struct osh_err err = { 0 };

	if (dropped == 0)
		return;
	(void)osh_sandbox_pause(sandbox->instance);
	if (osh_attachment_enforce(sandbox, &err) == 0) {
		osh_sandbox_let_go(sandbox->instance);
		osh_recorder_event(sandbox->agent->recorder, sandbox, "somebody detached %u of its hooks; they are back",
				   dropped);
	} else if (osh_sandbox_hold(sandbox->instance) == 0) /* else the cgroup is gone */
		osh_recorder_event(sandbox->agent->recorder, sandbox,
				   "somebody detached %u of its hooks, and they cannot be put back (%s): its processes are "
				   "frozen until you detach it", dropped, err.message);
}

/* ---- Making, taking over ---------------------------------------- */

static int refuse_degraded(const struct osh_agent_sandbox *sandbox, struct osh_attachment *attachment,
			   struct osh_err *err)
{
	attachment->degraded = json_incref(sandbox->degraded);
	return osh_err_set(err, ENOTSUP, "not all can be enforced in %s (--allow-degraded does without)",
			   attachment->cgroup);
}

static int build(struct osh_agent_sandbox *sandbox, const struct osh_attachment *attachment, struct osh_err *err)
{
	_cleanup_free_ char *cert = NULL;
	char *key = NULL;
	int r = osh_creation_store(sandbox, &cert, &key, err);

	if (r == 0)
		r = osh_lifecycle_save_origin(sandbox, attachment->policy, err);
	if (r == 0)
		r = osh_lifecycle_open_log(sandbox, err);
	if (r == 0)
		r = enter_kernel(sandbox, err);
	if (r == 0)
		r = osh_lifecycle_enter_proxy(sandbox, cert, key, err);
	if (r == 0)
		r = osh_publish_new(sandbox, attachment->policy, attachment->policy_text, OSH_CREATION_TIMEOUT_MS,
				    osh_creation_in_force, sandbox, err);
	osh_lifecycle_forget_key(key);
	return r;
}

static int watch(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	int r = osh_sandbox_watch_cgroup(sandbox->instance);

	osh_lifecycle_watch(sandbox);
	return r < 0 ? osh_err_sys(err, -r, "cannot watch %s", osh_sandbox_attached(sandbox->instance)) : 0;
}

static int begin(struct osh_agent *agent, const struct osh_attachment *attachment,
		 struct osh_agent_sandbox **ret_sandbox, struct osh_err *err)
{
	struct osh_sandbox_instance *instance = NULL;
	struct osh_agent_sandbox *sandbox;
	char name[OSH_NAME_MAX];
	int r = osh_creation_choose_name(agent, attachment->name, name, err);

	if (r == 0)
		r = osh_sandbox_attach_cgroup(agent->host, name, attachment->cgroup, &instance, err);
	if (r < 0)
		return r;
	sandbox = osh_lifecycle_enlist(agent, instance);
	if (!sandbox) {
		(void)osh_sandbox_destroy(instance, NULL);
		return osh_err_sys(err, ENOMEM, "cannot attach %s", name);
	}
	sandbox->keep = true;
	sandbox->keep_established = attachment->keep_established;
	sandbox->origin.owner = attachment->owner;
	sandbox->created = attachment->created;
	sandbox->created_context = attachment->context;
	*ret_sandbox = sandbox;
	return 0;
}

int osh_lifecycle_attach(struct osh_agent *agent, struct osh_attachment *attachment,
			 struct osh_agent_sandbox **ret_sandbox, struct osh_err *err)
{
	struct osh_agent_sandbox *sandbox = NULL;
	int r = begin(agent, attachment, &sandbox, err);

	if (r < 0)
		return r;
	r = watch(sandbox, err);
	sandbox->degraded = osh_preflight(sandbox);
	if (r == 0 && json_array_size(sandbox->degraded) && !attachment->allow_degraded)
		r = refuse_degraded(sandbox, attachment, err);
	if (r == 0)
		r = build(sandbox, attachment, err);
	if (r < 0) {
		osh_creation_undo(sandbox);
		return r;
	}
	*ret_sandbox = sandbox;
	return 0;
}

/* Nobody judged what connected while a hook was missing. One that is held was never looked through to
 * the end: the agent before us died in it, or did not succeed. `made`: as osh_kernel_attach returned it. */
static int settle_unwatched(struct osh_agent_sandbox *sandbox, int made, struct osh_err *err)
{
	int r = made < 0 ? made : 0;

	if (made > 0 || (made == 0 && osh_sandbox_is_held(sandbox->instance)))
		r = settle_older(sandbox, err);
	if (r == 0 && made > 0)
		osh_recorder_event(sandbox->agent->recorder, sandbox,
				   "%d of its hooks were missing when this agent came; they are back", made);
	if (r == 0)
		osh_sandbox_let_go(sandbox->instance);
	else if (osh_sandbox_hold(sandbox->instance) == 0)
		osh_recorder_event(sandbox->agent->recorder, sandbox,
				   "nobody judged what its processes did before this agent came (%s): they are frozen until "
				   "you detach it", err->message);
	return r;
}

int osh_attachment_adopt(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	const struct osh_kernel_attachment attachment = describe(sandbox);
	int made, r = watch(sandbox, err);

	sandbox->keep_established = osh_sandbox_keeps_established(sandbox->instance);
	sandbox->degraded = osh_preflight(sandbox);
	if (r == 0)
		r = enter_kernel(sandbox, err);
	if (r < 0)
		return r;
	/* What is pinned is in force; what somebody removed comes back. What ran without it is looked through
	 * before it goes on, by the next agent if this one dies. */
	if (!osh_kernel_has_all_hooks(sandbox->agent->kernel, sandbox->id))
		(void)osh_sandbox_pause(sandbox->instance);
	osh_crash_point();
	made = osh_kernel_attach(sandbox->agent->kernel, &attachment, err);
	osh_crash_point();
	return made < 0 && !osh_sandbox_is_held(sandbox->instance) ? made : settle_unwatched(sandbox, made, err);
}
