/* All that a policy says, one grant for each binary, host, port and rule. Private to
 * agent/policy. */
#ifndef OSH_POLICY_GRANTS_H
#define OSH_POLICY_GRANTS_H

#include "policy/diff.h"
#include "policy/document.h"

struct osh_grants {
	struct osh_grant *items; /* owned */
	size_t count, room, detail_bytes;
	struct osh_arena *arena; /* borrowed: holds what is put together here */
	int error;		 /* 0, -E2BIG or -ENOMEM; sticky */
};

/* Returns grants->error. */
int osh_grants_collect(const struct osh_policy_doc *doc, struct osh_grants *grants);

#endif
