/* What creation.c, restart.c, adoption.c and lifecycle.c share: the steps that a sandbox is made of,
 * each with its undo in osh_lifecycle_unmake(). */
#ifndef OSH_CONTROL_LIFECYCLE_PARTS_H
#define OSH_CONTROL_LIFECYCLE_PARTS_H

#include "control/lifecycle.h"

/* Put an instance into the agent's list; it is the list's from now on. NULL: no memory,
 * and it is still the caller's. */
struct osh_agent_sandbox *osh_lifecycle_enlist(struct osh_agent *agent,
					       struct osh_sandbox_instance *instance);
/* The kernel half judges its sockets; all are refused until the proxy has a policy. */
int osh_lifecycle_enter_kernel(struct osh_agent_sandbox *sandbox, bool writes_system,
			       struct osh_err *err);
/* The proxy gets the sandbox's listeners, its CA and its secrets. Without a policy it
 * refuses everything. */
int osh_lifecycle_enter_proxy(struct osh_agent_sandbox *sandbox, const char *ca_pem,
			      const char *ca_key_pem, struct osh_err *err);
/* The log that programs inside can read. */
int osh_lifecycle_open_log(struct osh_agent_sandbox *sandbox, struct osh_err *err);
/* Learn of its init's end. */
void osh_lifecycle_watch(struct osh_agent_sandbox *sandbox);
/* From the kernel half to the proxy, by what its recipe and the policy's static sections
 * say. The policy in force is to follow. */
int osh_lifecycle_bring_up(struct osh_agent_sandbox *sandbox, const struct osh_policy_doc *policy,
			   const char *ca_pem, const char *ca_key_pem, char **ret_warnings,
			   struct osh_err *err);
/* Let kernel and proxy forget it. */
void osh_lifecycle_take_down(struct osh_agent_sandbox *sandbox);
/* Remember what it was created with, or is started with. */
int osh_lifecycle_save_origin(struct osh_agent_sandbox *sandbox, const struct osh_policy_doc *policy,
			      struct osh_err *err);
/* Wipe and free. NULL is fine. */
void osh_lifecycle_forget_key(char *key_pem);

/* Take everything apart, whatever of it there is, last step first. *sandbox must not be
 * used afterwards. */
int osh_lifecycle_unmake(struct osh_agent_sandbox *sandbox, struct osh_err *err);
/* Delete what nobody asked to be deleted: a failure is logged. */
void osh_lifecycle_delete_unasked(struct osh_agent_sandbox *sandbox);

/* Attached: what enforces its rules, once they are known to kernel and proxy. */
int osh_attachment_enforce(struct osh_agent_sandbox *sandbox, struct osh_err *err);
/* The same when another agent made it. */
int osh_attachment_adopt(struct osh_agent_sandbox *sandbox, struct osh_err *err);
/* Attached: put back the hooks that somebody detached; where that fails, stop its processes. */
void osh_attachment_mend(struct osh_agent_sandbox *sandbox);
/* Attached: let it reach the Unix sockets that the policy names, as they are now. What is not there is
 * left out, and told. */
void osh_attachment_name_sockets(struct osh_agent_sandbox *sandbox, const struct osh_policy_doc *policy);
/* Attached: what this one, older than the rules, holds beyond our reach, or may hold: "files ..."; or NULL. */
const char *osh_attachment_parked(const struct osh_sandbox_socket *found);
/* Attached: does this Unix socket, older than the rules, lead to the outside past them? */
bool osh_attachment_escapes(const struct osh_agent_sandbox *sandbox, const struct osh_sandbox_socket *found,
			    bool made_inside);
/* Attached: what this kernel cannot enforce there, a sentence each; the caller frees. */
json_t *osh_preflight(const struct osh_agent_sandbox *sandbox);

/* The name that was asked for, if it is one and free, or one that is made up. */
int osh_creation_choose_name(struct osh_agent *agent, const char *wanted, char name[static OSH_NAME_MAX],
			     struct osh_err *err);
/* A certificate authority of its own, which the caller frees, and all else that is known of a new
 * sandbox: on disk. */
int osh_creation_store(struct osh_agent_sandbox *sandbox, char **ret_cert, char **ret_key, struct osh_err *err);
/* It failed while its creator was still here: take it apart without a word to anybody. */
void osh_creation_undo(struct osh_agent_sandbox *sandbox);
#define OSH_CREATION_TIMEOUT_MS 30000
/* An osh_published_fn: the last step of a creation or a start. */
void osh_creation_in_force(void *context, int result);
/* Answer whoever waits for the creation, once; `err` NULL: it runs. */
void osh_creation_finish(struct osh_agent_sandbox *sandbox, const struct osh_err *err);
/* The same with an error, and undo it: a new sandbox goes, another one is stopped. */
void osh_creation_fail(struct osh_agent_sandbox *sandbox, const struct osh_err *err);

#endif
