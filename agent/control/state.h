/* What the agent keeps of one sandbox on disk, in its state directory (0700,
 * osh_sandbox_dir): policy revisions, the CA, the placeholders. Every file is 0600
 * and replaced whole. Nothing here is ever mounted inside.
 *   policy/N.yaml     the text of revision N
 *   policy/index.json the revisions, and which one is in force
 *   ca.json           the sandbox's CA: certificate and key, PEM
 *   credentials.json  providers and their placeholders; never a secret; absent without */
#ifndef OSH_CONTROL_STATE_H
#define OSH_CONTROL_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "openshell/limits.h"
#include "policy/policy.h"

#define OSH_SHA256_HEX 65 /* NUL included */

/* The SHA-256 of these bytes in lower-case hex. Returns 0 or -EIO. */
int osh_state_sha256(struct osh_str bytes, char ret_hex[static OSH_SHA256_HEX]);

/* ---- Policy revisions ---------------------------------------- */

/* The oldest goes when one more comes. */
#define OSH_REVISIONS_MAX 64

enum osh_revision_status {
	OSH_REVISION_PENDING = 0, /* stored; not yet confirmed by every worker */
	OSH_REVISION_LOADED,
	OSH_REVISION_FAILED,      /* could not be put into force */
	OSH_REVISION_SUPERSEDED,
	OSH_REVISION_STATUS_COUNT,
};
const char *osh_revision_status_name(enum osh_revision_status status);

struct osh_revision {
	uint32_t number;
	enum osh_revision_status status;
	int64_t time; /* Unix seconds */
	char sha256[OSH_SHA256_HEX];
};

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

struct osh_revisions {
	uint32_t current; /* the revision in force; 0 none */
	size_t count;
	struct osh_revision items[OSH_REVISIONS_MAX]; /* oldest first */
	char created_with[OSH_SECTION_COUNT][OSH_SHA256_HEX];
};

/* Digest the static sections of a policy. Returns 0 or -errno. */
int osh_state_digest_static(const struct osh_policy_static *policy,
			    char ret_digests[static OSH_SECTION_COUNT][OSH_SHA256_HEX]);

/* NULL when it is not kept (any more). */
const struct osh_revision *osh_revisions_find(const struct osh_revisions *revisions,
					      uint32_t number);
const struct osh_revision *osh_revisions_current(const struct osh_revisions *revisions);

/* Store a text as the next revision and make it the one in force, on disk before
 * anything enforces it. On failure neither disk nor *revisions has changed. */
int osh_state_policy_add(const char *dir, struct osh_revisions *revisions, struct osh_str text,
			 int64_t now, struct osh_err *err);
/* Every worker enforces it. Not written to disk: a restart has it confirmed again. */
void osh_revisions_loaded(struct osh_revisions *revisions, uint32_t number);
/* It could not be put into force: the one before is current again. */
int osh_state_policy_failed(const char *dir, struct osh_revisions *revisions, uint32_t number,
			    uint32_t previous, struct osh_err *err);
/* Read the index. -ENOENT: none. */
int osh_state_policy_index(const char *dir, struct osh_revisions *ret_revisions,
			   struct osh_err *err);
/* Read one revision's text and check its digest: a torn or changed file is -EBADMSG.
 * The caller frees *ret_text. */
int osh_state_policy_read(const char *dir, const struct osh_revision *revision, char **ret_text,
			  size_t *ret_len, struct osh_err *err);

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
