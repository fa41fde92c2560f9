/* What differs between two policies, in what they let through: not text, but which program
 * gains or loses which host, method and path. Pure. */
#ifndef OSH_POLICY_DIFF_H
#define OSH_POLICY_DIFF_H

#include "base/err.h"
#include "policy/arena.h"
#include "policy/policy.h"

enum osh_grant_kind {
	OSH_GRANT_BYTES,   /* the connection, whatever is said on it */
	OSH_GRANT_REQUEST, /* requests of this method and path */
	OSH_GRANT_REFUSAL, /* a deny rule: takes away */
	OSH_GRANT_AUDIT,   /* what no rule allows is let through and recorded */
	OSH_GRANT_LIMIT,   /* of an entry, or a middleware that is not run here: takes away */
	OSH_GRANT_SETTING, /* of the endpoint, or of the whole policy (no binary) */
	OSH_GRANT_KIND_COUNT,
};
const char *osh_grant_kind_name(enum osh_grant_kind kind); /* bytes, request, refusal, ... */

/* One thing that a policy says, for one binary, host and port. Strings are borrowed from
 * the document, or from the changes. */
struct osh_grant {
	enum osh_grant_kind kind;
	enum osh_l7 l7;
	uint16_t port_host;
	struct osh_str binary, host;
	struct osh_str method, path; /* GraphQL: type and name; MCP, JSON-RPC: method and tool */
	struct osh_str detail;	     /* further conditions; what the setting is */
};

struct osh_change {
	bool is_gain; /* may do more than before */
	struct osh_grant grant;
};

struct osh_changes {
	struct osh_change *items; /* owned; sorted by binary, host, port, path, method */
	size_t count;
	/* So many differences that it was not looked whether one glob holds another. */
	bool is_coarse;
	struct osh_arena arena;
};

/* More than this in one policy: -E2BIG. */
#define OSH_GRANTS_MAX 524288

/* Both documents have to outlive *ret_changes. Returns 0, -E2BIG or -ENOMEM. */
int osh_policy_diff(const struct osh_policy_doc *before, const struct osh_policy_doc *after,
		    struct osh_changes *ret_changes);
void osh_changes_done(struct osh_changes *changes);

/* "+ /usr/bin/curl api.github.com:443 POST /repos/x", unescaped. Returns the length, cut
 * at size - 1. */
size_t osh_change_format(const struct osh_change *change, char *buf, size_t size);

#endif
