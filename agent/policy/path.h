/* Request targets: the one canonical form used for the decision and for the
 * bytes sent upstream (policy-semantics "Path canonicalisation"). Pure. */
#ifndef OSH_POLICY_PATH_H
#define OSH_POLICY_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

#define OSH_PATH_TARGET_MAX 4096

enum osh_path_error {
	OSH_PATH_OK = 0,
	OSH_PATH_BAD_BYTE,       /* control, DEL, non-ASCII, '#' */
	OSH_PATH_BAD_ESCAPE,     /* %zz, or a decoded control byte */
	OSH_PATH_ENCODED_SLASH,
	OSH_PATH_ABOVE_ROOT,
	OSH_PATH_DOT_BESIDE_SLASH, /* '.' or '..' between %2F parts */
	OSH_PATH_NOT_ABSOLUTE,
	OSH_PATH_TOO_LONG,
	OSH_PATH_ERROR_COUNT,
};
/* A phrase for people and logs. */
const char *osh_path_error_text(enum osh_path_error error);

struct osh_path {
	struct osh_str path;   /* canonical, in the caller's buffer */
	struct osh_str query;  /* raw, without '?', points into the target */
	bool has_query;
};

/* `target` is origin-form or absolute-form (its scheme and authority are
 * dropped; comparing them is the HTTP parser's work). `buf` holds the result:
 * 3 * OSH_PATH_TARGET_MAX + 1 bytes always suffice. */
enum osh_path_error osh_path_canonicalise(struct osh_str target, bool allow_encoded_slash, char *buf,
					  size_t size, struct osh_path *ret_path);

#endif
