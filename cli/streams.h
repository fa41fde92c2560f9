/* Pairs of connected sockets, and bytes copied between the two of each, both ways, until both
 * sides have ended. One that is slow holds up its own pair alone. */
#ifndef OSH_CLI_STREAMS_H
#define OSH_CLI_STREAMS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#define OSH_STREAMS_MAX 64
#define OSH_STREAMS_POLLS (2 * OSH_STREAMS_MAX)

struct osh_stream;

struct osh_streams {
	struct osh_stream *items[OSH_STREAMS_MAX]; /* owned; NULL: free */
	size_t count;
};

/* Takes both over, and makes them non-blocking; on failure they are closed. Returns 0,
 * -ENOBUFS (as many as there may be) or -ENOMEM. */
int osh_streams_add(struct osh_streams *streams, int one, int other);
void osh_streams_done(struct osh_streams *streams);

/* What to wait for (fd -1: nothing), and what to do when it came. */
void osh_streams_prepare(const struct osh_streams *streams, struct pollfd ret_polls[OSH_STREAMS_POLLS]);
void osh_streams_serve(struct osh_streams *streams, const struct pollfd polls[OSH_STREAMS_POLLS]);

#endif
