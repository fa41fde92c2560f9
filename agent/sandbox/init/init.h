/* openshell-init, pid 1 of a sandbox: starts programs for the agent, reaps, and
 * outlives a restart of the agent. It is confined like everything it starts, and holds
 * nothing that they could not have: see confine.c for what was taken away before. */
#ifndef OSH_SANDBOX_INIT_H
#define OSH_SANDBOX_INIT_H

#include <sys/types.h>

#include "sandbox/protocol.h"

/* ---- spawn.c ---- */

struct init_command {
	struct osh_init_command head;
	char *bytes;  /* owned */
	char *cwd;    /* these point into bytes */
	char **argv;  /* owned array, NULL-terminated */
	char **env;   /* owned array: init's own environment with the additions */
};

/* Read and check the memfd of a spawn. Returns 0 or -errno. */
int init_command_read(int fd, struct init_command *ret_command);
void init_command_done(struct init_command *command);

/* The pty of a program: both ends owned by the caller, -1 without tty. */
struct init_pty {
	int master, slave;
};

/* Start it. stdio: three descriptors, unused with tty. On failure text says what could not
 * be done. */
int init_spawn(const struct init_command *command, const int stdio[static 3], pid_t *ret_pid,
	       struct init_pty *ret_pty, char *text, size_t size);

#endif
