/* The policy revisions of one sandbox, as files in its state directory's policy/ (0700).
 * The directory is the index: each text is one file, named
 *   NUMBER.TIME.SHA256.yaml     or, when it could not be put into force, ….failed
 * with the Unix time and the digest of its bytes. The highest number that has not failed is
 * in force, so storing a text and pointing at it is one rename; a file whose bytes are not
 * the digest's grants nothing. */
#ifndef OSH_CONTROL_REVISIONS_H
#define OSH_CONTROL_REVISIONS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "control/state.h"

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

struct osh_revisions {
	uint32_t current; /* the revision in force; 0 none */
	size_t count;
	struct osh_revision items[OSH_REVISIONS_MAX]; /* oldest first */
};

/* NULL when it is not kept (any more). */
const struct osh_revision *osh_revisions_find(const struct osh_revisions *revisions,
					      uint32_t number);
const struct osh_revision *osh_revisions_current(const struct osh_revisions *revisions);
/* The number that osh_revisions_add() would give. */
uint32_t osh_revisions_next(const struct osh_revisions *revisions);

/* Store a text as the next revision and make it the one in force, on disk before
 * anything enforces it; with `sync` also through a crash of the host. `dir` is the sandbox's state
 * directory, here and below. On failure neither disk nor *revisions has changed. */
int osh_revisions_add(const char *dir, struct osh_revisions *revisions, struct osh_str text,
		      int64_t now, bool sync, struct osh_err *err);
/* Every worker enforces it. Not written to disk: a restart has it confirmed again. */
void osh_revisions_loaded(struct osh_revisions *revisions, uint32_t number);
/* The one in force could not be put into force: the one before is again. */
int osh_revisions_failed(const char *dir, struct osh_revisions *revisions, struct osh_err *err);
/* Find what is stored. Returns 0, -ENOENT (nothing), -EBADMSG (a file that does not belong
 * there) or another -errno. */
int osh_revisions_load(const char *dir, struct osh_revisions *ret_revisions, struct osh_err *err);
/* Read one revision's text and check its digest: a torn or changed file is -EBADMSG.
 * The caller frees *ret_text. */
int osh_revision_read(const char *dir, const struct osh_revision *revision, char **ret_text,
		      size_t *ret_len, struct osh_err *err);

#endif
