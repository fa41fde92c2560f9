/* The way to the agent: connect (and start one where that is allowed), ask,
 * turn what comes back into a message and an exit status. */
#ifndef OSH_CLI_CLIENT_H
#define OSH_CLI_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cli.h"
#include "control/wire.h"

/* How long an agent may take over an ordinary call before it counts as hung. */
#define OSH_CLIENT_TIMEOUT_MS 60000

struct osh_client {
	struct osh_wire wire;
	const char *doing; /* said while an answer takes longer than a second; NULL: nothing is */
};

/* Start one that closes safely. */
void osh_client_init(struct osh_client *client);
void osh_client_close(struct osh_client *client);
#define _cleanup_client_ OSH_CLEANUP(osh_client_close)

/* Connect. Returns 0 or -errno with err; prints nothing (the dashboard draws). */
int osh_client_connect(const struct osh_cli *cli, struct osh_client *client, struct osh_err *err);
/* Connect or say why not and what to do. With `may_start` an agent is started when
 * none runs, the caller is root and the socket is the default one. From here on what
 * takes long says so. Returns the exit status. */
int osh_client_open(const struct osh_cli *cli, bool may_start, struct osh_client *client);

/* Ask and wait for one reply. `parameters` is taken over; NULL means that memory
 * or UTF-8 failed while it was made (json_pack), and is an error. timeout_ms < 0:
 * for ever. Returns 0; -EREMOTEIO (the agent refused: *ret_reply and err are
 * filled); -ETIMEDOUT or another -errno (only err is). *ret_reply may be passed to
 * osh_wire_reply_done in any case. */
int osh_client_ask(struct osh_client *client, const char *method, json_t *parameters,
		   const int *fds, size_t fd_count, int timeout_ms,
		   struct osh_wire_reply *ret_reply, struct osh_err *err);
/* The same call with `more`, without waiting for a reply. */
int osh_client_send_more(struct osh_client *client, const char *method, json_t *parameters,
			 const int *fds, size_t fd_count, struct osh_err *err);
/* Wait for the next reply of it, as long as it takes. */
int osh_client_next(struct osh_client *client, struct osh_wire_reply *ret_reply, struct osh_err *err);

/* The exit status that belongs to a result of osh_client_ask. */
enum osh_exit osh_client_exit(int result, const struct osh_wire_reply *reply);
/* Print err, return that exit status. */
int osh_client_report(int result, const struct osh_wire_reply *reply, const struct osh_err *err);

/* An ordinary call: ask, and report a failure. Returns the exit status; *ret_reply
 * needs osh_wire_reply_done in any case. */
int osh_client_call(struct osh_client *client, const char *method, json_t *parameters,
		    struct osh_wire_reply *ret_reply);

#endif
