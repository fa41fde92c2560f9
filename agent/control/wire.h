/* One end of a control connection: Varlink (https://varlink.org) over a Unix
 * stream socket, one JSON object and a NUL per message, with descriptors riding
 * along (SCM_RIGHTS, unix(7)).
 *
 * One struct serves both ends. Its socket never blocks: the agent fills and
 * flushes it from its loop; the CLI uses the calls of the second part, which
 * wait with poll(2).
 *
 * Descriptors belong to the message that holds the last byte of the piece they
 * arrived with: a sender attaches them to its message's first bytes and sends
 * nothing else in that piece, and the kernel ends a piece where descriptors do. */
#ifndef OSH_CONTROL_WIRE_H
#define OSH_CONTROL_WIRE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "openshell/limits.h"

#define OSH_WIRE_INTERFACE "io.openshell"
#define OSH_WIRE_SOCKET "openshell.sock" /* in the agent's run directory */

/* The largest message holds a policy text; JSON spells one byte with six at most
 * (\u0001). */
#define OSH_WIRE_BYTES_MAX (6u * OSH_POLICY_BYTES_MAX + (64u << 10))
/* Values in one message and their depth, counted before anything is parsed: empty
 * objects cost a hundred times their text. The largest real one lists
 * OSH_SANDBOXES_MAX sandboxes. */
#define OSH_WIRE_VALUES_MAX 65536
#define OSH_WIRE_DEPTH_MAX 16

struct osh_wire_fd {
	int fd;
	uint64_t from, to; /* stream positions of the piece it belongs to */
};

struct osh_wire {
	int fd; /* owned; -1 when closed */
	struct osh_buf in, out;
	uint64_t in_taken, out_sent; /* stream position of the first byte of in and out */
	size_t in_scanned;           /* bytes of `in` known to hold no NUL */
	struct osh_wire_fd in_fds[OSH_FDS_MAX], out_fds[OSH_FDS_MAX];
	size_t in_fd_count, out_fd_count;
};

struct osh_wire_message {
	json_t *json; /* owned; an object */
	int fds[OSH_FDS_MAX]; /* owned */
	size_t fd_count;
};
void osh_wire_message_done(struct osh_wire_message *message);

/* ---- Both ends ---------------------------------------- */

/* Takes over `fd` and makes it non-blocking. */
void osh_wire_init(struct osh_wire *wire, int fd);
/* Close the socket and every descriptor that still waits in it. Safe twice. */
void osh_wire_done(struct osh_wire *wire);

/* Read what has arrived, one piece. Returns 0, -EAGAIN (nothing now), -ECONNRESET
 * (the peer closed), -EMSGSIZE (message or descriptors over the bounds) or -errno:
 * all but the first two end the connection. */
int osh_wire_fill(struct osh_wire *wire);
/* Take the next whole message. Returns 1, 0 (none whole yet) or -EBADMSG (not an
 * object, duplicate keys, over the bounds). */
int osh_wire_take(struct osh_wire *wire, struct osh_wire_message *ret_message);
/* Is a whole message waiting? */
bool osh_wire_has_message(struct osh_wire *wire);

/* Queue one message; the descriptors are borrowed (duplicated). Returns 0,
 * -ENOBUFS (the reader is too slow), -EMSGSIZE (too many descriptors wait) or
 * -errno; nothing is queued then. */
int osh_wire_queue(struct osh_wire *wire, const json_t *json, const int *fds, size_t fd_count);
/* Send what the socket takes. Returns 0 (all sent), -EAGAIN (a rest waits) or
 * -errno. */
int osh_wire_flush(struct osh_wire *wire);
bool osh_wire_is_flushed(const struct osh_wire *wire);

/* Parse and check one message's text, without the NUL. NULL when it is none. */
json_t *osh_wire_parse(const char *text, size_t len);

/* ---- The caller's end (CLI) ---------------------------------------- */

/* Connect to the agent's socket. Returns 0 or -errno (-ENOENT, -ECONNREFUSED: no
 * agent; -EACCES: not allowed). */
int osh_wire_connect(const char *path, struct osh_wire *ret_wire, struct osh_err *err);

struct osh_wire_reply {
	json_t *parameters;   /* owned; an object, maybe empty */
	char error[64];       /* "" or the error's name: "NotFound" for io.openshell.NotFound */
	bool continues;       /* more replies follow (a call with `more`) */
	int fds[OSH_FDS_MAX]; /* owned; take one with osh_take_fd() */
	size_t fd_count;
};
void osh_wire_reply_done(struct osh_wire_reply *reply);

/* Send a call: `method` without the interface ("SandboxList"), `parameters` an
 * object (its reference is taken over; NULL: none), descriptors borrowed. Waits
 * until it is sent. Returns 0 or -errno. */
int osh_wire_send_call(struct osh_wire *wire, const char *method, json_t *parameters, bool more,
		       const int *fds, size_t fd_count, struct osh_err *err);
/* Wait for the next reply. Returns 0; -EREMOTEIO when the agent answered with an
 * error (*ret_reply holds it, err its message); or another -errno with err (the
 * connection is of no more use). *ret_reply needs _done in the first two cases. */
int osh_wire_next(struct osh_wire *wire, struct osh_wire_reply *ret_reply, struct osh_err *err);
/* The same without waiting, for callers that poll wire->fd: -EAGAIN when no whole
 * reply is there. Call until it says so. */
int osh_wire_try_next(struct osh_wire *wire, struct osh_wire_reply *ret_reply, struct osh_err *err);
/* A call with one reply: osh_wire_send_call, then osh_wire_next. */
int osh_wire_call(struct osh_wire *wire, const char *method, json_t *parameters, const int *fds,
		  size_t fd_count, struct osh_wire_reply *ret_reply, struct osh_err *err);

#endif
