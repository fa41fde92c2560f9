/* Copying between our terminal and that of a program inside, until the program ends, is
 * lost, or we detach from it. */
#ifndef OSH_CLI_RELAY_H
#define OSH_CLI_RELAY_H

#include <stdbool.h>

#include "control/wire.h"

struct osh_relay_options {
	struct osh_wire *wire; /* where the program's end is told */
	int output;            /* what it writes, a pipe; taken over */
	int master;            /* its pty, -1: it has ended; taken over */
	bool ends_input;       /* the end of a file or pipe is the program's end of input (^D) */
	/* Ctrl-P Ctrl-Q on a terminal. Returns 0, or -errno with err: we stay. NULL: these
	 * are keys like others. */
	int (*detach)(void *context, struct osh_err *err);
	void *context;
};

struct osh_relay_result {
	int status;       /* the program's exit status, or ours when it was lost */
	bool is_detached;
};

/* Whatever happens, the terminal is as it was when this returns. What goes wrong is reported. */
struct osh_relay_result osh_relay(const struct osh_relay_options *options);

#endif
