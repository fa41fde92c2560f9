/* An agent for a host where none runs. */
#ifndef OSH_CLI_START_H
#define OSH_CLI_START_H

#include "base/err.h"

/* Start openshelld in the background (found beside this program, in ../sbin or in
 * PATH), wait until it says that it is ready, and say so on standard error. It
 * outlives the caller. Returns 0 or -errno with err: also when it ended at once
 * because another agent was quicker, so try to connect all the same. */
int osh_start_agent(struct osh_err *err);

#endif
