#include "control/credentials.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "control/agent.h"
#include "control/lifecycle.h"
#include "credential/provider.h"
#include "credential/vault.h"
#include "proxy/supervisor.h"
#include "sandbox/sandbox.h"

#define ENVIRONMENT_MAX 512

void osh_environment_done(struct osh_environment *environment)
{
	for (size_t i = 0; i < environment->count; i++)
		free(environment->items[i]);
	free(environment->items);
	*environment = (struct osh_environment){ 0 };
}

int osh_environment_add(struct osh_environment *environment, const char *key, const char *value)
{
	char **grown;
	char *item;

	if (environment->count == ENVIRONMENT_MAX)
		return -E2BIG;
	/* One more for the NULL behind the last. */
	grown = realloc(environment->items, (environment->count + 2) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	environment->items = grown;
	environment->items[environment->count] = NULL;
	if (asprintf(&item, "%s%s%s", key, value ? "=" : "", value ? value : "") < 0)
		return -ENOMEM;
	environment->items[environment->count++] = item;
	environment->items[environment->count] = NULL;
	return 0;
}

/* ---- Placeholders ---------------------------------------- */

static bool is_listed(const struct osh_credentials *credentials, const char *provider)
{
	for (size_t i = 0; i < credentials->count; i++) {
		if (strcmp(credentials->items[i].provider, provider) == 0)
			return true;
	}
	return false;
}

static int load_provider(struct osh_agent *agent, const char *name,
			 struct osh_provider *ret_provider, struct osh_err *err)
{
	int r;

	/* Before a path is built from it. */
	if (!osh_sandbox_name_is_valid(name))
		return osh_err_set(err, EINVAL,
				   "\"%.64s\" is not a provider's name ([a-z0-9][a-z0-9-]*)", name);
	r = osh_provider_load(agent->provider_dir, name, ret_provider, err);
	if (r == -ENOENT)
		return osh_err_set(
			err, ENOENT,
			"no provider %s: make it with 'openshell provider create --name %s'", name,
			name);
	return r;
}

static int add_credential(struct osh_agent *agent, const char *name,
			  struct osh_credentials *credentials, struct osh_err *err)
{
	struct osh_credential *credential = &credentials->items[credentials->count];
	struct osh_provider provider = { 0 };
	int r;

	if (is_listed(credentials, name))
		return osh_err_set(err, EINVAL, "provider %.64s is named twice", name);
	if (credentials->count == OSH_CREDENTIALS_MAX)
		return osh_err_set(err, E2BIG, "at most %d providers per sandbox",
				   OSH_CREDENTIALS_MAX);
	r = load_provider(agent, name, &provider, err);
	if (r < 0)
		return r;
	credential->placeholder = osh_placeholder_new(&provider.secret);
	osh_provider_done(&provider);
	if (!credential->placeholder)
		return osh_err_sys(err, ENOMEM, "cannot make a placeholder for %s", name);
	snprintf(credential->provider, sizeof(credential->provider), "%s", name);
	credentials->count++;
	return 0;
}

int osh_credentials_new(struct osh_agent *agent, const char *const *providers,
			struct osh_credentials *ret_credentials, struct osh_err *err)
{
	struct osh_credentials credentials = { 0 };
	int r = 0;

	for (const char *const *name = providers; r == 0 && name && *name; name++)
		r = add_credential(agent, *name, &credentials, err);
	if (r < 0) {
		osh_credentials_done(&credentials);
		return r;
	}
	*ret_credentials = credentials;
	return 0;
}

/* ---- Inside ---------------------------------------- */

struct gathering {
	struct osh_environment *environment;
	int result;
};

static void gather(void *context, const char *key, const char *value)
{
	struct gathering *gathering = context;

	if (gathering->result == 0)
		gathering->result = osh_environment_add(gathering->environment, key, value);
}

int osh_credentials_environment(struct osh_agent *agent, const struct osh_credentials *credentials,
				struct osh_environment *environment, struct osh_err *err)
{
	struct gathering gathering = { .environment = environment };
	unsigned git_configs = 0;
	char number[16];

	for (size_t i = 0; i < credentials->count; i++) {
		struct osh_provider provider = { 0 };
		int r = load_provider(agent, credentials->items[i].provider, &provider, err);

		if (r < 0)
			return r;
		osh_provider_environment(provider.type, credentials->items[i].placeholder,
					 &git_configs, gather, &gathering);
		osh_provider_done(&provider);
	}
	snprintf(number, sizeof(number), "%u", git_configs);
	if (git_configs)
		gather(&gathering, "GIT_CONFIG_COUNT", number);
	if (gathering.result < 0)
		return osh_err_sys(err, -gathering.result, "cannot set the providers' variables");
	return 0;
}

/* ---- The proxy ---------------------------------------- */

static int add_to_vault(struct osh_agent_sandbox *sandbox, const struct osh_credential *credential,
			struct osh_vault *vault)
{
	static const char *const none[] = { NULL };
	struct osh_vault_item item = {
		.provider = credential->provider,
		.placeholder = credential->placeholder,
		.variables = none,
		.hosts = none,
	};
	struct osh_provider provider = { 0 };
	struct osh_err err = { 0 };
	int r = load_provider(sandbox->agent, credential->provider, &provider, &err);

	if (r < 0) {
		osh_warning("%s: without the credentials of %s: %s", sandbox->name,
			    credential->provider, err.message);
	} else {
		item.revision = (uint64_t)provider.created;
		item.variables = provider.type->variables;
		item.hosts = provider.type->hosts;
		item.secret = &provider.secret;
	}
	r = osh_vault_add(vault, &item);
	osh_provider_done(&provider);
	return r;
}

int osh_credentials_hand_over(struct osh_agent_sandbox *sandbox, struct osh_err *err)
{
	struct osh_vault *vault = osh_vault_new();
	int r = vault ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < sandbox->credentials.count; i++)
		r = add_to_vault(sandbox, &sandbox->credentials.items[i], vault);
	if (r < 0)
		osh_err_sys(err, -r, "cannot gather the credentials");
	else
		r = osh_supervisor_vault_set(sandbox->agent->supervisor, sandbox->id, vault, err);
	osh_vault_free(vault);
	return r;
}
