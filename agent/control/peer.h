/* Who is at the other end of a control connection. */
#ifndef OSH_CONTROL_PEER_H
#define OSH_CONTROL_PEER_H

#include <sys/types.h>

#include "base/err.h"

struct osh_peer {
	pid_t pid;
	uid_t uid;
};

/* Identify the peer of a connected Unix socket and refuse one that lives in a sandbox: in or
 * below one of `cgroups` (absolute paths on cgroup2, NULL-terminated), or with a sandbox's uid.
 * What cannot be told is refused. Returns 0 or -EPERM with a reason. */
int osh_peer_check(int sock, const char *const *cgroups, struct osh_peer *ret_peer, struct osh_err *err);

#endif
