/* Putting a policy into force on a running sandbox. */
#ifndef OSH_CONTROL_PUBLISH_H
#define OSH_CONTROL_PUBLISH_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "policy/policy.h"

struct osh_agent_sandbox;

/* 0: every worker enforces it; -ECANCELED: the sandbox is going; -ETIMEDOUT: not
 * confirmed in time (it stays in force and may yet be confirmed). */
typedef void osh_published_fn(void *context, int result);

/* Compile, store as the next revision, then hand over. `done` (may be NULL) runs once,
 * later. On failure the policy in force is the one before, whole. */
int osh_publish_new(struct osh_agent_sandbox *sandbox, const struct osh_policy_doc *policy,
		    struct osh_str text, uint64_t timeout_ms, osh_published_fn *done, void *context,
		    struct osh_err *err);
/* Hand the revision in force, as stored, to a proxy that does not know it (adoption, a
 * start). timeout_ms 0: none. `done` (may be NULL) as above. */
int osh_publish_stored(struct osh_agent_sandbox *sandbox, uint64_t timeout_ms, osh_published_fn *done,
		       void *context, struct osh_err *err);
/* Read it, for osh_policy_doc_free. */
int osh_publish_load(struct osh_agent_sandbox *sandbox, struct osh_policy_doc **ret_policy,
		     struct osh_err *err);
/* Without a policy that can be trusted: grant nothing, so that what waits at the listeners
 * is refused and told so. It is no revision. */
int osh_publish_nothing(struct osh_agent_sandbox *sandbox, struct osh_err *err);
/* The caller went away: `done` with this context will not run. */
void osh_publish_abandon(struct osh_agent_sandbox *sandbox, void *context);
/* The sandbox goes: every `done` gets -ECANCELED. */
void osh_publish_drop(struct osh_agent_sandbox *sandbox);

#endif
