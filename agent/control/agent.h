/* The agent: what every part of the control folder works on. One thread, one loop. */
#ifndef OSH_CONTROL_AGENT_H
#define OSH_CONTROL_AGENT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "control/config.h"
#include "control/uplink.h"

struct osh_agent_sandbox;
struct osh_kernel;
struct osh_recorder;
struct osh_refusals;
struct osh_sandbox_host;
struct osh_server;
struct osh_supervisor;
struct osh_notary;

struct osh_agent {
	const struct osh_config *config;
	char provider_dir[PATH_MAX]; /* STATE_DIR/providers */
	char pin_dir[PATH_MAX];      /* what the kernel keeps for the next agent */
	int64_t started;             /* Unix seconds */
	int state_lock_fd, run_lock_fd;
	bool follows_crash;          /* the agent before did not stop in order */
	bool is_adopted;             /* the list of sandboxes is complete */
	bool is_stopping;            /* connections end because the agent does, not their callers */
	struct osh_loop *loop;
	struct osh_io signal_io;
	struct osh_timer watch_timer; /* control/watch.c */
	struct osh_uplink uplink;
	bool pins_lost;               /* told once: they cannot be put back */
	bool hooks_lost;              /* the same of all sandboxes' hooks */
	struct osh_sandbox_host *host;
	struct osh_kernel *kernel;
	struct osh_supervisor *supervisor;
	struct osh_notary *notary;
	struct osh_recorder *recorder;
	struct osh_refusals *refusals;
	struct osh_server *server;
	struct osh_agent_sandbox *sandboxes; /* control/lifecycle.h */
	size_t sandbox_count;
};

/* Start, serve until SIGTERM or SIGINT, stop. Sandboxes keep running; without one,
 * nothing of the agent is left on the host but its state directory. Returns 0 or
 * -errno with a message when it could not start or the loop failed. */
int osh_agent_run(const struct osh_config *config, struct osh_err *err);

/* Instead of running: end what an agent that is no more left running, and remove what it left in
 * the kernel, in cgroups and in the run directory. Kept sandboxes are stopped then, on disk. What is
 * done is told in the log. Attached cgroups in which processes run keep their rules, for the next agent to
 * take over. Returns 0 or -errno: -EBUSY while an agent runs, -EINPROGRESS when such cgroups are left. */
int osh_agent_sweep(const struct osh_config *config, struct osh_err *err);

#endif
