/* What the calls that change a policy share. */
#ifndef OSH_CONTROL_POLICY_CALLS_H
#define OSH_CONTROL_POLICY_CALLS_H

#include "control/call.h"

/* How long a call with `wait` waits when it does not say. */
#define OSH_POLICY_TIMEOUT_MS 30000

/* Within bounds? When not, the call has been answered. */
bool osh_policy_check_timeout(struct osh_call *call, json_int_t timeout_ms);

/* Warn when the policy names programs that the sandbox itself may put in place. */
void osh_policy_warn_of_writable(const struct osh_agent_sandbox *sandbox,
				 const struct osh_policy_doc *policy, json_t *warnings);

/* Make a valid policy the next revision of a running sandbox and answer the call, with
 * `wait` once it is enforced. `warnings` is taken over. */
void osh_policy_publish(struct osh_call *call, struct osh_agent_sandbox *sandbox,
			const struct osh_policy_doc *policy, struct osh_str text, bool wait,
			uint64_t timeout_ms, json_t *warnings);

#endif
