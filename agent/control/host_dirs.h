/* The agent's directories on the host, and the lock that keeps a second agent out. */
#ifndef OSH_CONTROL_HOST_DIRS_H
#define OSH_CONTROL_HOST_DIRS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* Make a directory and those above it. An existing one must be ours and nobody else's to
 * write in. */
int osh_host_dir_make(const char *path, mode_t mode, struct osh_err *err);

/* Take DIR/openshelld.lock, which holds the pid of its owner. Returns the descriptor that
 * keeps it (close to let go), or -EBUSY with who holds it, or -errno. Waits for the child that
 * an owner was killed in the middle of starting, which has it until it executes. */
int osh_host_dir_lock(const char *dir, struct osh_err *err);
/* The pid of the process that holds it and lives; 0: none does. */
pid_t osh_host_dir_owner(const char *dir);
/* Is it there and nobody's? Then its last owner was killed, or the host went down under it. */
bool osh_host_dir_was_left(const char *dir);
/* Remove the lock's file, while it is held. */
void osh_host_dir_unlock(const char *dir);

#endif
