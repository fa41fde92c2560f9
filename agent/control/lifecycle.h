/* Sandboxes as the agent sees them: made in the order that sandbox.h asks for, with
 * every step undone when a later one fails; adopted at start; ended.
 *
 * CREATING -> RUNNING (every worker enforces its policy) -> DEAD (its init ended), or
 * -> STOPPED (ended on request, kept on disk) -> STARTING -> RUNNING. DAMAGED: adopted without a
 * usable record, to be deleted.
 * A sandbox that is not RUNNING runs nothing of a user's. */
#ifndef OSH_CONTROL_LIFECYCLE_H
#define OSH_CONTROL_LIFECYCLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/str.h"
#include "base/table.h"
#include "control/recipe.h"
#include "control/revisions.h"
#include "control/state.h"
#include "control/first_uses.h"
#include "openshell/limits.h"
#include "policy/policy.h"

struct osh_agent;
struct osh_agent_sandbox;
struct osh_forward;
struct osh_publication;
struct osh_sandbox_instance;
struct osh_sandbox_log;
struct osh_session;

enum osh_agent_sandbox_state {
	OSH_AGENT_SANDBOX_CREATING,
	OSH_AGENT_SANDBOX_RUNNING,
	OSH_AGENT_SANDBOX_DEAD,
	OSH_AGENT_SANDBOX_STOPPED,
	OSH_AGENT_SANDBOX_STARTING,
	OSH_AGENT_SANDBOX_DAMAGED,
	OSH_AGENT_SANDBOX_STATE_COUNT,
};

/* The outcome of a creation or a start. `err` NULL: it runs. Else everything was undone:
 * a new sandbox is about to go, one that was started is stopped again. */
typedef void osh_created_fn(void *context, struct osh_agent_sandbox *sandbox,
			    const struct osh_err *err);

struct osh_agent_sandbox {
	UT_hash_handle hh; /* by id, in order of creation */
	struct osh_agent *agent;
	struct osh_sandbox_instance *instance; /* NULL: gone, about to be freed */
	enum osh_agent_sandbox_state state;
	char name[OSH_NAME_MAX];
	uint64_t id; /* cgroup id */
	bool keep;
	bool in_kernel, in_proxy;
	struct osh_sandbox_log *log;
	bool log_is_dirty;
	struct osh_origin origin;
	struct osh_revisions revisions;
	struct osh_credentials credentials;
	struct osh_recipe recipe;
	bool keep_established;                 /* attached: older sockets are recorded, not ended */
	json_t *degraded;                      /* attached: what is not enforced there; else NULL */
	uint64_t allowed, audited, denied;
	bool permissive;                       /* mode of the policy in force */
	const void *ends_with;                 /* the connection whose end deletes it; NULL none */
	osh_created_fn *created;               /* while CREATING or STARTING on request */
	void *created_context;
	struct osh_session *sessions;          /* control/exec_calls.c */
	struct osh_forward *forwards;          /* control/forward_calls.c */
	struct osh_publication *publications;  /* control/publish.c */
	struct osh_first_uses first_uses;              /* control/notary.c */
	struct osh_deferred later;
};

struct osh_creation {
	const char *name; /* valid, or NULL: one is made up */
	const struct osh_policy_doc *policy;
	struct osh_str policy_text;
	const char *const *providers; /* NULL-terminated names */
	struct osh_recipe *recipe;    /* taken over when the creation begins */
	bool keep;
	const void *client; /* the connection that asks */
	uid_t owner;        /* its user */
	osh_created_fn *created;
	void *context;
};

/* Begin a creation; `created` runs once, later. *ret_warnings (malloc'ed, NULL when
 * there are none) has one per line. On failure nothing is left. */
int osh_lifecycle_create(struct osh_agent *agent, const struct osh_creation *creation,
			 struct osh_agent_sandbox **ret_sandbox, char **ret_warnings,
			 struct osh_err *err);
struct osh_attachment {
	const char *name;   /* valid, or NULL: one is made up */
	const char *cgroup; /* its directory */
	const struct osh_policy_doc *policy;
	struct osh_str policy_text;
	bool allow_degraded, keep_established;
	uid_t owner;
	osh_created_fn *created;
	void *context;
	json_t *degraded;   /* set where it is refused for these, a string each; the caller's */
};

/* Put network rules on a cgroup that exists; otherwise as osh_lifecycle_create. Without
 * allow_degraded it is refused where the kernel cannot enforce all of them (`degraded`). Ending it
 * (osh_lifecycle_delete) takes the rules away and leaves the processes. */
int osh_lifecycle_attach(struct osh_agent *agent, struct osh_attachment *attachment,
			 struct osh_agent_sandbox **ret_sandbox, struct osh_err *err);
bool osh_lifecycle_is_attached(const struct osh_agent_sandbox *sandbox);

/* The requester went away: `created` will not run. */
void osh_lifecycle_abandon(struct osh_agent *agent, void *context);
/* End all that runs in it, keep the rest, also through a crash of the host. On failure it
 * runs on, or is dead. */
int osh_lifecycle_stop(struct osh_agent_sandbox *sandbox, struct osh_err *err);
/* Start one that was stopped, or is dead, with the policy in force, whose static sections
 * apply now. `created` and *ret_warnings as of a creation; on failure it is stopped. */
int osh_lifecycle_start(struct osh_agent_sandbox *sandbox, osh_created_fn *created, void *context,
			char **ret_warnings, struct osh_err *err);
/* End it and remove everything of it. *sandbox must not be used afterwards. */
int osh_lifecycle_delete(struct osh_agent_sandbox *sandbox, struct osh_err *err);
/* A connection closed: delete what was to end with it. */
void osh_lifecycle_client_gone(struct osh_agent *agent, const void *client);

/* Take the sandboxes of an earlier agent over: first all of them are known, then, once there is a
 * proxy, they are brought to it. */
int osh_lifecycle_adopt(struct osh_agent *agent, struct osh_err *err);
void osh_lifecycle_join(struct osh_agent *agent);
/* The agent stops: let go of all, leaving them running. */
void osh_lifecycle_release(struct osh_agent *agent);

/* NULL: none of that name or cgroup id. */
struct osh_agent_sandbox *osh_lifecycle_find(const struct osh_agent *agent, const char *name);
struct osh_agent_sandbox *osh_lifecycle_find_id(const struct osh_agent *agent, uint64_t id);

/* May this user see and change it? Its owner and root may. */
bool osh_lifecycle_is_for(const struct osh_agent_sandbox *sandbox, uid_t uid);

/* "running" */
const char *osh_lifecycle_state_name(enum osh_agent_sandbox_state state);
/* The Sandbox type of the interface. */
json_t *osh_lifecycle_json(const struct osh_agent_sandbox *sandbox);

#endif
