/* The terminals of programs. Init holds each pty itself, so that a program outlives whoever
 * looks at it: what it writes goes into a ring, and from there to everybody who is attached,
 * each by a pipe of their own. A pipe begins with what the ring still holds.
 *
 * As on any terminal, a program waits for a reader that is slower than it; without a reader
 * it never waits. */
#ifndef OSH_SANDBOX_INIT_TERMINAL_H
#define OSH_SANDBOX_INIT_TERMINAL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OSH_ATTACHED_MAX 8 /* readers of one terminal; one more is refused */
#define OSH_TERMINAL_POLLS (1 + OSH_ATTACHED_MAX)

struct terminal {
	int master, slave;  /* both kept open: without a slave the master would only say EIO.
			     * -1: closed, nothing more comes */
	char *ring;         /* owned */
	size_t size;
	uint64_t written;   /* bytes that ever went into the ring */
	struct {
		int fd;      /* the pipe's end, -1: free */
		uint64_t at; /* the next byte for it, as counted by `written` */
	} attached[OSH_ATTACHED_MAX];
	bool is_retained;   /* goes on without a reader; else it is hung up then */
	uint64_t last;      /* where `written` ends at the latest, once the program has ended: jobs
			     * that it left could write for ever. Before: UINT64_MAX */
};

/* Takes both descriptors over. NULL: no memory, and they are still the caller's. */
struct terminal *terminal_new(int master, int slave, size_t size);
void terminal_free(struct terminal *terminal);

/* One more reader: *ret_reader is the end of its pipe, non-blocking, owned by the caller.
 * Returns 0, -EBUSY (as many as there may be) or -errno. */
int terminal_attach(struct terminal *terminal, int *ret_reader);
bool terminal_is_full(const struct terminal *terminal);
/* Its program has ended: what it wrote before still comes, then the pty is closed. */
void terminal_end(struct terminal *terminal);
/* Close the pty: the kernel hangs its session up. */
void terminal_hang_up(struct terminal *terminal);
/* Nothing comes any more, and nobody waits for what came. */
bool terminal_is_over(const struct terminal *terminal);

/* What to wait for (fd -1: nothing), and what to do when it came. */
void terminal_prepare(const struct terminal *terminal, struct pollfd ret_polls[OSH_TERMINAL_POLLS]);
void terminal_serve(struct terminal *terminal, const struct pollfd polls[OSH_TERMINAL_POLLS]);

#endif
