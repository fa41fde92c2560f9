/* Connections to the real servers: resolve, guard, dial, verify, and keep for reuse.
 * A kept connection is used again only for the same sandbox, identity, host, port and
 * TLS, so that nothing of one program's session can meet another's. The server chooses by
 * ALPN; on HTTP/2 many requests share a connection, and each sees a stream as its own. */
#ifndef OSH_PROXY_UPSTREAM_H
#define OSH_PROXY_UPSTREAM_H

#include "openshell/verdict.h"
#include "proxy/conn.h"
#include "proxy/resolver.h"
#include "proxy/worker.h"

enum osh_upstream_state {
	OSH_UPSTREAM_RESOLVING,
	OSH_UPSTREAM_DIALLING,
	OSH_UPSTREAM_TUNNELLING, /* the proxy before the internet was asked for a way (via.h) */
	OSH_UPSTREAM_SECURING, /* TLS handshake */
	OSH_UPSTREAM_READY,
	OSH_UPSTREAM_BROKEN,   /* failure and failure_engine say why */
};

struct osh_upstream_key {
	uint64_t tenant;
	uint32_t identity;
	uint16_t port_host;
	uint8_t tls;
	uint8_t http2; /* h2 is offered first; requests that came by it */
	char host[OSH_HOST_MAX];
};

/* What a connection is wanted for. */
enum osh_upstream_use {
	OSH_UPSTREAM_ALONE,  /* L4, WebSocket: bytes of one flow; HTTP/1.1 if anything */
	OSH_UPSTREAM_FRESH,  /* one request, on a connection that served none before */
	OSH_UPSTREAM_SHARED, /* one request, on a kept or shared connection if there is one */
	OSH_UPSTREAM_SURE,   /* the same; it cannot be sent again, so a kept one is looked at first */
};

struct osh_upstream {
	struct osh_worker *worker;
	struct osh_upstream_key key;
	struct osh_conn conn;
	enum osh_upstream_state state;
	enum osh_upstream_use use;
	bool reused;                   /* came from the pool: the server may have closed it */
	bool offers_http2;
	bool is_via;                   /* goes through the proxy before the internet */
	struct osh_http_scan scan;     /* of its answer */
	struct osh_addresses addresses; /* that passed the guard; then the one that answered */
	struct osh_lookup *lookup;
	struct osh_dial *dial;
	struct osh_timer timer;
	enum osh_verdict_engine failure_engine;
	char failure[384];
	bool timed_out;                /* BROKEN because nobody answered in time */
	/* The owner's: called after any progress or failure, never from within open. */
	void (*on_event)(struct osh_upstream *upstream);
	enum osh_address_verdict (*check_address)(void *owner, const struct in6_addr *addr);
	void *owner;
	/* While one dials for h2, others of its key wait: they may share what it gets. */
	struct osh_upstream *leader, *followers;
	bool leads;
	struct osh_upstream *prev, *next; /* idle, leading or following */
	struct shelf *shelf;           /* upstream_pool.c, while it is idle */
	struct osh_deferred reap;
};

/* How long a server, and the proxy before the internet, which dials meanwhile, may take for
 * their part of the beginning. For tests to shorten. */
extern struct osh_upstream_deadlines {
	unsigned handshake_ms, tunnel_ms;
} osh_upstream_deadlines;

/* How long a connection that nobody uses is kept (an HTTP/2 one, too), and, of HTTP/1.1, how many
 * by a worker and for one key; beyond them it is closed after use. For tests to lower. */
extern struct osh_upstream_idle {
	unsigned timeout_ms, max, per_key_max;
} osh_upstream_idle;

struct osh_upstream_pool *osh_upstream_pool_new(struct osh_worker *worker);
/* Close the idle connections of a tenant that is gone. */
void osh_upstream_pool_drop(struct osh_upstream_pool *pool, uint64_t tenant);
/* osh_conn_leave_address, for all that are idle and all of HTTP/2. */
void osh_upstream_pool_leave_address(struct osh_upstream_pool *pool, const struct in6_addr *address);

/* Get a connection: a kept one (state READY at once), or a new one on its way. Each
 * resolved address is put to check_address, and exactly the checked ones are dialled.
 * NULL when memory is out. */
struct osh_upstream *osh_upstream_open(struct osh_worker *worker, const struct osh_upstream_key *key,
				       enum osh_address_verdict (*check_address)(
					       void *owner, const struct in6_addr *addr),
				       void (*on_event)(struct osh_upstream *upstream), void *owner,
				       enum osh_upstream_use use);
/* The same for one that has an owner, also while it is dialled. */
void osh_upstream_leave_address(struct osh_upstream *upstream, const struct in6_addr *address);
/* Give it back for reuse: only when a response ended cleanly and nothing is buffered. */
void osh_upstream_keep(struct osh_upstream *upstream);
/* Close and free (after the current batch). NULL is fine. */
void osh_upstream_free(struct osh_upstream *upstream);

#endif
