/* Taking an agent's place. */
#ifndef OSH_CONTROL_TAKEOVER_H
#define OSH_CONTROL_TAKEOVER_H

#include "base/err.h"

/* Have the agent that holds the lock of `dir` (osh_host_dir_lock) end: it is asked to (SIGTERM), and
 * killed when it has not within seconds. What it left is adopted by whoever locks the directory
 * next; meanwhile nothing is let through. Returns 0 when it is gone, also by itself, or -errno. */
int osh_take_over(const char *dir, struct osh_err *err);

#endif
