/* Changing a policy text by the one-line forms of `policy update` (policy-semantics): text
 * in, text out. Entries that do not change keep their lines, comments and all; one that
 * does is written anew. Pure. */
#ifndef OSH_POLICY_EDIT_H
#define OSH_POLICY_EDIT_H

#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

/* How often one kind of edit may be given in a call. */
#define OSH_EDITS_MAX 64

/* NULL-terminated lists; NULL: none. Applied in this order, all or none. */
struct osh_policy_edits {
	const char *const *remove_rules;     /* names of entries */
	const char *const *remove_endpoints; /* host:port */
	const char *const
		*add_endpoints;	       /* host:port[:access[:protocol[:enforcement[:options]]]] */
	const char *const *add_allows; /* host:port:METHOD:path_glob */
	const char *const *add_denies;
	const char *const *binaries; /* paths that each of add_endpoints is granted to */
	const char *rule_name;	     /* the entry for the one of add_endpoints, or NULL */
};

/* `text` is a valid policy. The result is not validated: parse it before it is used. The
 * caller frees *ret_text. Returns 0, or -errno with a message (-EINVAL: an edit cannot be
 * done as it is written; -ENOENT: it is about something that is not there). */
int osh_policy_edit(struct osh_str text, const struct osh_policy_edits *edits, char **ret_text,
		    size_t *ret_len, struct osh_err *err);

#endif
