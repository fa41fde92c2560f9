/* Taking an agent's place. */
#ifndef OSH_CONTROL_TAKEOVER_H
#define OSH_CONTROL_TAKEOVER_H

#include "base/err.h"

/* Have the agent that holds the lock of `dir` (osh_host_dir_lock) end: it is asked to (SIGTERM), and
 * killed when it has not within seconds. What it left is adopted by whoever locks the directory
 * next; meanwhile nothing is let through. `signal_fd` (signalfd(2), non-blocking) calls that off: SIGHUP apart,
 * whatever comes there. Returns 0 when it is gone, also by itself, -ECANCELED, or -errno. */
int osh_take_over(const char *dir, int signal_fd, struct osh_err *err);

#endif
