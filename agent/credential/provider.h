/* Providers: named sets of credentials, kept by the agent on disk (0600) and
 * given to the proxy; a sandbox sees placeholders only.
 *
 * A provider type is a row of one table: which variables it reads on the user's
 * side, which variables it sets inside, to which hosts its secrets may go. */
#ifndef OSH_CREDENTIAL_PROVIDER_H
#define OSH_CREDENTIAL_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/secret.h"
#include "openshell/limits.h"

struct osh_provider_type {
	const char *name;               /* "github" */
	const char *const *variables;   /* NULL-terminated: tried in this order by --from-existing;
	                                 * all of them are set inside a sandbox */
	const char *const *hosts;       /* NULL-terminated, exact: where the secret may go; git's
					 * comes first */
	const char *git_username;       /* for git's credential helper inside; NULL none */
};

/* NULL when there is no such type. */
const struct osh_provider_type *osh_provider_type_find(const char *name);
/* Row i, NULL behind the last: for usage texts. */
const struct osh_provider_type *osh_provider_type_at(size_t i);

struct osh_provider {
	char name[OSH_NAME_MAX];
	const struct osh_provider_type *type;
	int64_t created; /* seconds; set by load: the revision of the secret */
	struct osh_secret secret;
};

void osh_provider_done(struct osh_provider *provider);
/* DIR/NAME.json, 0600. A secret with CR, LF or NUL, empty or over 4096 bytes is refused;
 * -EEXIST when the name is taken. */
int osh_provider_save(const char *dir, const struct osh_provider *provider, struct osh_err *err);
/* -ENOENT, -EPERM (not a 0600 file of this user), -EBADMSG (damaged). */
int osh_provider_load(const char *dir, const char *name, struct osh_provider *ret_provider,
		      struct osh_err *err);
int osh_provider_delete(const char *dir, const char *name, struct osh_err *err);
/* Calls `each` for every stored provider (name, type name, time of creation in
 * seconds), by name; the secret is not read. A file that cannot be used is listed with
 * the type "damaged", so that it can be deleted. */
int osh_provider_list(const char *dir,
		      void (*each)(void *context, const char *name, const char *type, int64_t created),
		      void *context, struct osh_err *err);

/* What a sandbox with this provider sees in its environment: every variable of the
 * type, set to the placeholder, and with git_username the configuration that makes git
 * offer it (GIT_CONFIG_KEY_n, GIT_CONFIG_VALUE_n, git-config(1)). *git_configs numbers
 * those over several providers; the caller adds GIT_CONFIG_COUNT. git's helper is bound to
 * the type's first host. */
void osh_provider_environment(const struct osh_provider_type *type, const char *placeholder,
			      unsigned *git_configs,
			      void (*each)(void *context, const char *key, const char *value),
			      void *context);

/* A placeholder with the shape of `secret`: same length and prefix ("ghp_"),
 * every other letter and digit replaced by a random one of its class
 * (getrandom(2)); at least 20 random characters, if need be longer than the
 * secret, and at most 160 in all. Only prefixes known to be public are kept. malloc'ed,
 * the caller frees. NULL when out of memory. */
char *osh_placeholder_new(const struct osh_secret *secret);

#endif
