/* Running a program inside a sandbox from here: its input and output are ours,
 * its exit status becomes ours. */
#ifndef OSH_CLI_RUN_H
#define OSH_CLI_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "client.h"

struct osh_run {
	const char *sandbox;
	char *const *argv;       /* NULL-terminated; NULL: a login shell */
	const char *const *env;  /* NULL-terminated KEY=VALUE; NULL: none */
	const char *cwd;         /* NULL: the sandbox's own */
	bool tty;                /* a pty inside, our terminal raw */
	int64_t timeout_ms;      /* 0: none */
};

struct osh_run_result {
	bool started; /* the program ran */
	int status;   /* exit status: the program's, or ours when it did not start or was lost */
};

/* Runs until the program ends. What goes wrong is reported. */
struct osh_run_result osh_run(struct osh_client *client, const struct osh_run *run);

/* --tty, --no-tty or neither: then a pty exactly when both ends are terminals. */
bool osh_run_wants_tty(bool tty, bool no_tty);

#endif
