/* What the agent keeps of one sandbox on disk, in its state directory (0700,
 * osh_sandbox_dir): policy revisions, the CA, the placeholders. Every file is 0600
 * and replaced whole, but for the first, which grows. Nothing here is ever mounted inside.
 *   first_uses        what its executables held then (first_uses.h)
 *   policy/           the revisions of its policy (revisions.h)
 *   origin.json       whose it is, and what it was created with
 *   ca.json           the sandbox's CA: certificate and key, PEM
 *   credentials.json  providers and their placeholders; never a secret; absent without
 *   recipe.json       how to start it again (recipe.h) */
#ifndef OSH_CONTROL_STATE_H
#define OSH_CONTROL_STATE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"
#include "openshell/limits.h"
#include "policy/policy.h"

#define OSH_SHA256_HEX 65 /* NUL included */

/* The SHA-256 of these bytes in lower-case hex. Returns 0 or -EIO. */
int osh_state_sha256(struct osh_str bytes, char ret_hex[static OSH_SHA256_HEX]);

/* ---- Files ---------------------------------------- */

/* Replace DIR/NAME, whole, by this value (taken over; NULL: memory ran out). */
int osh_state_save_json(const char *dir, const char *name, json_t *json, struct osh_err *err);
/* Returns 0, -ENOENT, -EBADMSG (damaged) or another -errno. */
int osh_state_load_json(const char *dir, const char *name, json_t **ret_json, struct osh_err *err);
/* Have all of DIR on disk, with its name: what a sandbox that is kept needs when the host is
 * started again. Returns 0 or -errno. */
int osh_state_sync(const char *dir, struct osh_err *err);

/* ---- Origin ---------------------------------------- */

/* The static sections of the policy that a sandbox was created with, each as a
 * digest: they apply at creation only, and a later difference is worth a warning. */
enum osh_section {
	OSH_SECTION_FILESYSTEM,
	OSH_SECTION_LANDLOCK,
	OSH_SECTION_PROCESS,
	OSH_SECTION_UNIX_SOCKETS,
	OSH_SECTION_COUNT
};
const char *osh_section_name(enum osh_section section); /* its key in a policy file */

struct osh_origin {
	uid_t owner; /* the user who asked for it: it is theirs and root's */
	char sections[OSH_SECTION_COUNT][OSH_SHA256_HEX];
};

/* Digest the static sections of a policy. Returns 0 or -errno. */
int osh_state_digest_static(const struct osh_policy_static *policy,
			    char ret_digests[static OSH_SECTION_COUNT][OSH_SHA256_HEX]);

int osh_state_origin_save(const char *dir, const struct osh_origin *origin, struct osh_err *err);
/* On failure (-EBADMSG: damaged) the sandbox is nobody's but root's. */
int osh_state_origin_load(const char *dir, struct osh_origin *ret_origin, struct osh_err *err);

/* ---- CA ---------------------------------------- */

int osh_state_ca_save(const char *dir, const char *cert_pem, const char *key_pem,
		      struct osh_err *err);
/* Both are malloc'ed; the caller wipes and frees the key. */
int osh_state_ca_load(const char *dir, char **ret_cert_pem, char **ret_key_pem,
		      struct osh_err *err);

/* ---- Placeholders ---------------------------------------- */

#define OSH_CREDENTIALS_MAX 16

struct osh_credential {
	char provider[OSH_NAME_MAX];
	char *placeholder; /* owned */
};

struct osh_credentials {
	size_t count;
	struct osh_credential items[OSH_CREDENTIALS_MAX];
};

void osh_credentials_done(struct osh_credentials *credentials);
int osh_state_credentials_save(const char *dir, const struct osh_credentials *credentials,
			       struct osh_err *err);
/* An absent file gives none. */
int osh_state_credentials_load(const char *dir, struct osh_credentials *ret_credentials,
			       struct osh_err *err);

#endif
