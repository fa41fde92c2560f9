/* HTTP/2 with a server: one connection, shared by the requests of one key (sandbox,
 * identity, host, port). To each of them its stream is a connection of its own. */
#ifndef OSH_PROXY_HTTP2_CLIENT_H
#define OSH_PROXY_HTTP2_CLIENT_H

#include "proxy/http2.h"
#include "proxy/upstream.h"

struct shelf;

struct osh_http2_client {
	struct osh_worker *worker;
	struct osh_conn conn;
	struct osh_http2 *mux;
	struct osh_timer idle;
	struct shelf *shelf;     /* upstream_pool.c; NULL: takes no new streams */
	struct osh_http2_client *prev, *next; /* on the shelf */
	struct osh_http2_client *older, *newer; /* of the worker's */
	struct osh_deferred reap;
};

/* Take over a connection whose handshake agreed on h2. NULL when memory is out: it stays
 * with the caller. */
struct osh_http2_client *osh_http2_client_new(struct osh_worker *worker, struct osh_conn *conn);
bool osh_http2_client_has_room(const struct osh_http2_client *client);
/* Make `conn`, which must be closed, a stream. It fails with EAGAIN when the server has not
 * looked at the request. 0 or -ENOMEM. */
int osh_http2_client_attach(struct osh_http2_client *client, struct osh_conn *conn,
			    void (*on_event)(struct osh_conn *conn));
/* End it; live streams fail. */
void osh_http2_client_end(struct osh_http2_client *client);

#endif
