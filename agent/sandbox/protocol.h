/* What the agent and a sandbox's openshell-init say to each other: SOCK_SEQPACKET
 * messages of one fixed struct over RUN_DIR/init/NAME.sock. Both come from one build
 * or, after an upgrade, from two: the hello carries the version.
 *
 * Neither side trusts the other with more than its task: init obeys only a peer that
 * is root outside its own pid namespace, the agent checks every field it gets back. */
#ifndef OSH_SANDBOX_PROTOCOL_H
#define OSH_SANDBOX_PROTOCOL_H

#include <stdint.h>

#define OSH_INIT_VERSION 2

/* Where init finds its listening socket; 0, 1 and 2 are /dev/null. */
#define OSH_INIT_LISTENER_FD 3

/* Programs that one init runs at once for the agent (their children do not count);
 * when full, a spawn is refused. */
#define OSH_COMMANDS_MAX 256
/* What is kept of the first command's output, for who attaches later; of others' only what
 * their reader is behind. */
#define OSH_REPLAY_BYTES (1u << 20)
#define OSH_BACKLOG_BYTES (1u << 16)
/* argv, environment and directory of one command together. */
#define OSH_COMMAND_BYTES_MAX (2u << 20)
#define OSH_COMMAND_STRINGS_MAX 65536

enum osh_init_type {
	/* init -> agent, first on every connection: value = OSH_INIT_VERSION */
	OSH_INIT_HELLO = 1,
	/* agent -> init: a memfd with a struct osh_init_command and its strings; without
	 * tty three more descriptors: stdin, stdout, stderr */
	OSH_INIT_SPAWN,
	/* agent -> init: value = signal number, to the command's process group */
	OSH_INIT_SIGNAL,
	/* init -> agent: value = pid (inside). With tty two descriptors ride along: a pipe with
	 * what the program writes, and, unless it has ended, the pty's master, to write to */
	OSH_INIT_STARTED,
	/* init -> agent: value = errno, text = what could not be done */
	OSH_INIT_FAILED,
	/* init -> agent: value = 0..255 (128 + signal) */
	OSH_INIT_EXITED,
	/* agent -> init: join the first command, under a new id: its terminal, also when it has
	 * ended, and its end, as if it had been started */
	OSH_INIT_ATTACH,
	/* agent -> init: the command goes on when nobody reads its terminal any more */
	OSH_INIT_RETAIN,
	OSH_INIT_TYPE_COUNT,
};

struct osh_init_message {
	uint32_t type;
	int32_t value;
	uint64_t id;      /* the command; chosen by the agent, per connection */
	char text[240];
};
_Static_assert(sizeof(struct osh_init_message) == 256, "both sides agree on the length");

/* The head of the memfd of a spawn. Behind it NUL-terminated strings: the directory,
 * then argv, then the environment's additions. */
struct osh_init_command {
	uint32_t argc, envc;
	uint32_t tty;
	uint32_t first;   /* its terminal is retained from the start, and its status */
	uint16_t rows, columns;
};

#endif
