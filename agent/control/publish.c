#include "control/publish.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <utlist.h>

#include "base/knockout.h"
#include "base/log.h"
#include "base/mem.h"
#include "control/agent.h"
#include "control/lifecycle_parts.h"
#include "control/recorder.h"
#include "kernel/kernel.h"
#include "proxy/supervisor.h"
#include "sandbox/sandbox.h"

/* A revision on its way into force. */
struct osh_publication {
	struct osh_publication *next;
	struct osh_agent_sandbox *sandbox;
	uint32_t revision;
	bool is_adopted; /* in force before; nothing new to tell */
	struct osh_timer deadline;
	osh_published_fn *done;
	void *context;
};

static void answer(struct osh_publication *publication, int result)
{
	osh_published_fn *done = publication->done;

	publication->done = NULL;
	osh_loop_timer_cancel(publication->sandbox->agent->loop, &publication->deadline);
	if (done)
		done(publication->context, result);
}

static void remove_publication(struct osh_publication *publication)
{
	LL_DELETE(publication->sandbox->publications, publication);
	free(publication);
}

/* Every worker enforces it. */
static void on_done(void *context, int result)
{
	struct osh_publication *publication = context;
	struct osh_agent_sandbox *sandbox = publication->sandbox;

	if (result == 0) {
		osh_revisions_loaded(&sandbox->revisions, publication->revision);
		if (!publication->is_adopted)
			osh_recorder_event(sandbox->agent->recorder, sandbox,
					   "policy revision %u in force", publication->revision);
	}
	LL_DELETE(sandbox->publications, publication);
	answer(publication, result);
	free(publication);
}

/* The revision stays in force and may yet be confirmed; the caller waits no longer. */
static void on_deadline(struct osh_timer *timer)
{
	answer(osh_container_of(timer, struct osh_publication, deadline), -ETIMEDOUT);
}

static int resolve_binary(void *context, const char *path, char *buf, size_t size)
{
	int r = osh_sandbox_resolve(context, path, buf, size);

	return r == 0 && osh_sandbox_may_write(context, path) ? 1 : r;
}

static int compile(struct osh_agent_sandbox *sandbox, const struct osh_policy_doc *policy,
		   uint32_t revision, void **ret_image, size_t *ret_len, struct osh_err *err)
{
	struct osh_policy_compile_options options = {
		.revision = revision,
		.resolve_binary = resolve_binary,
		.context = sandbox->instance,
	};
	int r = osh_policy_compile(policy, &options, ret_image, ret_len);

	if (r == -E2BIG)
		return osh_err_set(err, E2BIG,
				   "the policy is too large to be compiled: name fewer endpoints");
	return r < 0 ? osh_err_sys(err, -r, "cannot compile the policy") : 0;
}

/* The kernel forgets what it was told to deny before the proxy judges by the new policy;
 * the proxy tags what it tells the kernel with the generation it got with the policy. */
static int hand_over(struct osh_publication *publication, const void *image, size_t len,
		     struct osh_err *err)
{
	struct osh_agent_sandbox *sandbox = publication->sandbox;
	struct osh_agent *agent = sandbox->agent;
	uint32_t generation = 0;
	struct osh_policy policy;
	bool permissive = osh_policy_open(image, len, &policy) == 0 && osh_policy_is_permissive(&policy);
	int r = osh_kernel_generation_bump(agent->kernel, sandbox->id, permissive, &generation);

	if (r < 0)
		return osh_err_sys(err, -r, "the kernel half does not take the policy of %s",
				   sandbox->name);
	osh_crash_point();
	r = osh_supervisor_policy_set(agent->supervisor, sandbox->id, generation, image, len, on_done,
				      publication, err);
	if (r < 0)
		return r; /* whatever the kernel lets through now, the proxy judges by the old one */
	osh_crash_point();
	/* What it asks from here on comes behind the policy. */
	if (!publication->is_adopted)
		osh_first_uses_reset(&sandbox->first_uses, osh_sandbox_dir(sandbox->instance));
	if (permissive && !sandbox->permissive)
		osh_warning("%s: mode: permissive: what its policy denies is let through and recorded",
			    sandbox->name);
	sandbox->permissive = permissive;
	return 0;
}

static struct osh_publication *new_publication(struct osh_agent_sandbox *sandbox, uint32_t revision)
{
	struct osh_publication *publication = calloc(1, sizeof(*publication));

	if (!publication)
		return NULL;
	publication->sandbox = sandbox;
	publication->revision = revision;
	publication->deadline.on_expire = on_deadline;
	LL_PREPEND(sandbox->publications, publication);
	return publication;
}

static int publish(struct osh_publication *publication, const struct osh_policy_doc *policy, const void *image,
		   size_t len, uint64_t timeout_ms, struct osh_err *err)
{
	struct osh_agent_sandbox *sandbox = publication->sandbox;
	struct osh_loop *loop = sandbox->agent->loop;
	int r = 0;

	if (timeout_ms && osh_loop_timer_set(loop, &publication->deadline, timeout_ms) < 0)
		r = osh_err_sys(err, ENOMEM, "cannot set a deadline");
	if (r == 0)
		r = hand_over(publication, image, len, err);
	if (r < 0) {
		osh_loop_timer_cancel(loop, &publication->deadline);
		remove_publication(publication);
	} else if (osh_lifecycle_is_attached(sandbox)) {
		osh_attachment_name_sockets(sandbox, policy);
	}
	return r;
}

int osh_publish_new(struct osh_agent_sandbox *sandbox, const struct osh_policy_doc *policy,
		    struct osh_str text, uint64_t timeout_ms, osh_published_fn *done, void *context,
		    struct osh_err *err)
{
	const char *dir = osh_sandbox_dir(sandbox->instance);
	uint32_t revision = osh_revisions_next(&sandbox->revisions);
	struct osh_publication *publication;
	_cleanup_free_ void *image = NULL;
	size_t len = 0;
	int r = compile(sandbox, policy, revision, &image, &len, err);

	if (r < 0)
		return r;
	/* The first one is synced with all else of a new sandbox, if it is to be kept. */
	r = osh_revisions_add(dir, &sandbox->revisions, text, time(NULL),
			      sandbox->keep && sandbox->state == OSH_AGENT_SANDBOX_RUNNING, err);
	if (r < 0)
		return r;
	publication = new_publication(sandbox, revision);
	r = publication ? publish(publication, policy, image, len, timeout_ms, err)
			: osh_err_sys(err, ENOMEM, "cannot publish the policy");
	if (r < 0) {
		struct osh_err ignored = { 0 };

		if (osh_revisions_failed(dir, &sandbox->revisions, &ignored) < 0)
			osh_error("%s: %s", sandbox->name, ignored.message);
		return r;
	}
	publication->done = done;
	publication->context = context;
	return 0;
}

/* Parse the stored text again: what a start finds on disk is checked like a new one. */
int osh_publish_load(struct osh_agent_sandbox *sandbox, struct osh_policy_doc **ret_policy,
		     struct osh_err *err)
{
	const struct osh_revision *revision = osh_revisions_current(&sandbox->revisions);
	_cleanup_free_ struct osh_diags *diags = calloc(1, sizeof(*diags));
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r;

	if (!revision || !diags)
		return osh_err_set(err, diags ? ENOENT : ENOMEM, "no policy revision is in force");
	r = osh_revision_read(osh_sandbox_dir(sandbox->instance), revision, &text, &len, err);
	if (r < 0)
		return r;
	r = osh_policy_parse(osh_str_n(text, len), diags, ret_policy);
	if (r < 0)
		return osh_err_set(err, -r, "stored policy revision %u: %s", revision->number,
				   diags->count ? diags->items[0].message : "cannot be read");
	return 0;
}

static int publish_adopted(struct osh_agent_sandbox *sandbox, struct osh_policy_doc *policy,
			   uint32_t revision, uint64_t timeout_ms, osh_published_fn *done,
			   void *context, struct osh_err *err)
{
	struct osh_publication *publication;
	_cleanup_free_ void *image = NULL;
	size_t len = 0;
	int r = compile(sandbox, policy, revision, &image, &len, err);

	if (r < 0)
		return r;
	publication = new_publication(sandbox, revision);
	if (!publication)
		return osh_err_sys(err, ENOMEM, "cannot publish the policy");
	publication->is_adopted = true;
	r = publish(publication, policy, image, len, timeout_ms, err);
	if (r < 0)
		return r;
	publication->done = done;
	publication->context = context;
	return 0;
}

int osh_publish_stored(struct osh_agent_sandbox *sandbox, uint64_t timeout_ms, osh_published_fn *done,
		       void *context, struct osh_err *err)
{
	struct osh_policy_doc *policy = NULL;
	int r = osh_publish_load(sandbox, &policy, err);

	if (r < 0)
		return r;
	r = publish_adopted(sandbox, policy, sandbox->revisions.current, timeout_ms, done, context, err);
	osh_policy_doc_free(policy);
	return r;
}

int osh_publish_nothing(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	_cleanup_free_ struct osh_diags *diags = calloc(1, sizeof(*diags));
	struct osh_policy_doc *policy = NULL;
	int r;

	if (!diags || osh_policy_parse(osh_str("version: 1\n"), diags, &policy) < 0)
		return osh_err_sys(err, ENOMEM, "cannot publish the empty policy");
	r = publish_adopted(sandbox, policy, 0, 0, NULL, NULL, err);
	osh_policy_doc_free(policy);
	return r;
}

void osh_publish_abandon(struct osh_agent_sandbox *sandbox, void *context)
{
	struct osh_publication *publication;

	LL_FOREACH(sandbox->publications, publication) {
		if (publication->done && publication->context == context) {
			publication->done = NULL;
			osh_loop_timer_cancel(sandbox->agent->loop, &publication->deadline);
		}
	}
}

void osh_publish_drop(struct osh_agent_sandbox *sandbox)
{
	while (sandbox->publications) {
		struct osh_publication *publication = sandbox->publications;

		if (sandbox->agent->supervisor)
			osh_supervisor_abandon(sandbox->agent->supervisor, publication);
		LL_DELETE(sandbox->publications, publication);
		answer(publication, -ECANCELED);
		free(publication);
	}
}
