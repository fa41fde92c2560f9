/* The control socket: listens, admits, reads calls, dispatches them. */
#ifndef OSH_CONTROL_SERVER_H
#define OSH_CONTROL_SERVER_H

#include <stdbool.h>

#include "base/err.h"

struct osh_agent;
struct osh_call;
struct osh_server;

/* Listen on RUN_DIR/openshell.sock: 0660 for group openshell where that group exists,
 * else 0600. */
int osh_server_open(struct osh_agent *agent, struct osh_server **ret_server, struct osh_err *err);
/* Is it the caller's end of a connection to this socket? Inside a sandbox it would speak with
 * the rights of whoever opened it. */
bool osh_server_is_connection(const struct osh_server *server, int fd);
/* Close every connection and remove the socket. */
void osh_server_close(struct osh_server *server);

#endif
