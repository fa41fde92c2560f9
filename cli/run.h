/* Running a program inside a sandbox from here: its input and output are ours,
 * its exit status becomes ours. */
#ifndef OSH_CLI_RUN_H
#define OSH_CLI_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "client.h"

/* What Ctrl-P Ctrl-Q does on a terminal. */
enum osh_run_detach {
	OSH_RUN_DETACH_NEVER, /* it is for the program */
	OSH_RUN_DETACH_LEAVE, /* the program goes on anyway */
	OSH_RUN_DETACH_ASK,   /* the agent is asked to let it go on */
};

struct osh_run {
	const struct osh_cli *cli;
	const char *sandbox;
	char *const *argv;       /* NULL-terminated; NULL: a login shell */
	const char *const *env;  /* NULL-terminated KEY=VALUE; NULL: none */
	const char *cwd;         /* NULL: the sandbox's own */
	bool tty;                /* a pty inside, our terminal raw */
	bool is_first;           /* the sandbox's first command: for attach-main, and start */
	bool is_kept;            /* that one again: argv and env are the agent's */
	bool leaves;             /* return when it runs */
	bool joins;              /* set by osh_run_attach: others type to it too */
	enum osh_run_detach detach;
	int64_t timeout_ms;      /* 0: none */
	const char *doing;       /* without tty: said when it takes longer than a second; NULL: nothing */
	const int *ends;         /* without tty: its standard input and output, taken over; NULL: ours */
};

struct osh_run_result {
	bool started;     /* the program ran */
	bool is_detached; /* and goes on: status is 0 */
	int status;       /* exit status: the program's, or ours when it did not start or was lost */
};

/* Runs until the program ends. What goes wrong is reported. */
struct osh_run_result osh_run(struct osh_client *client, const struct osh_run *run);
/* The same for the first command, which runs or has ended: of *run, sandbox and detach. */
struct osh_run_result osh_run_attach(struct osh_client *client, const struct osh_run *run);

/* --tty, --no-tty or neither: then a pty exactly when both ends are terminals. */
bool osh_run_wants_tty(bool tty, bool no_tty);

#endif
