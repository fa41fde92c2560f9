/* One control connection: shared by the server (sockets) and the calls (answers). */
#ifndef OSH_CONTROL_CLIENT_H
#define OSH_CONTROL_CLIENT_H

#include <stdbool.h>

#include "base/loop.h"
#include "control/call.h"
#include "control/peer.h"
#include "control/wire.h"

struct osh_server;

struct osh_client {
	struct osh_client *prev, *next;
	struct osh_server *server;
	struct osh_agent *agent;
	struct osh_peer peer;
	struct osh_wire wire;
	struct osh_io io;
	struct osh_call call; /* valid while is_busy */
	bool is_busy;         /* a call is not answered yet */
	bool is_closed;       /* about to be freed */
	struct osh_deferred later; /* proceed, or free it when closed */
};

/* call.c: start the call in a message; it may be answered before this returns. */
void osh_client_dispatch(struct osh_client *client, struct osh_wire_message *message);
/* call.c: the connection closes: the call in progress ends without an answer. */
void osh_client_cancel(struct osh_client *client);
/* server.c: send what is queued, handle what has come. */
void osh_client_proceed(struct osh_client *client);
/* server.c: something was queued outside of osh_client_dispatch: proceed soon. */
void osh_client_answered(struct osh_client *client);

#endif
