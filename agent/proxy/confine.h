/* The proxy takes away its own powers before it sees a byte that it did not write. */
#ifndef OSH_PROXY_CONFINE_H
#define OSH_PROXY_CONFINE_H

#include "base/err.h"

/* Own user, no groups, no capability, no new privileges, no core dump, no ptrace by its
 * own user, death with its parent, Landlock (may read the files of /etc, the trust
 * bundle and the directory of resolv.conf, nothing else) and a seccomp list of what a proxy does; one table in
 * confine.c. Irreversible. Returns 0 or -errno; the caller must then not go on. */
int osh_confine(struct osh_err *err);

#endif
