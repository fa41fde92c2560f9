/* Providers of one sandbox: their placeholders for its environment, their secrets for
 * the proxy. */
#ifndef OSH_CONTROL_CREDENTIALS_H
#define OSH_CONTROL_CREDENTIALS_H

#include "base/err.h"
#include "control/state.h"

struct osh_agent;
struct osh_agent_sandbox;

/* A NULL-terminated list of malloc'ed KEY=VALUE. */
struct osh_environment {
	char **items;
	size_t count;
};
void osh_environment_done(struct osh_environment *environment);
int osh_environment_add(struct osh_environment *environment, const char *key, const char *value);

/* Make a placeholder for each provider. -ENOENT: no such provider. On failure
 * *ret_credentials is untouched. */
int osh_credentials_new(struct osh_agent *agent, const char *const *providers,
			struct osh_credentials *ret_credentials, struct osh_err *err);
/* What these providers set inside. */
int osh_credentials_environment(struct osh_agent *agent, const struct osh_credentials *credentials,
				struct osh_environment *environment, struct osh_err *err);
/* Give the proxy the secrets behind a sandbox's placeholders. A provider that was
 * deleted meanwhile leaves its placeholder, which is then refused everywhere. */
int osh_credentials_hand_over(struct osh_agent_sandbox *sandbox, struct osh_err *err);

#endif
