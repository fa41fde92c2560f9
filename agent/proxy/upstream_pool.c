#include "proxy/upstream_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "proxy/http2_client.h"

struct osh_upstream_idle osh_upstream_idle = { .timeout_ms = 30000, .max = 512, .per_key_max = 128 };

struct shelf {
	struct osh_upstream_key key;
	struct osh_upstream *idle; /* newest first */
	unsigned count;
	struct osh_http2_client *shared;
	UT_hash_handle hh;
};

struct osh_upstream_pool {
	struct osh_worker *worker;
	struct shelf *shelves;
	struct osh_upstream *leaders;
	unsigned count; /* of the idle */
};

struct osh_upstream_pool *osh_upstream_pool_new(struct osh_worker *worker)
{
	struct osh_upstream_pool *pool = calloc(1, sizeof(*pool));

	if (pool)
		pool->worker = worker;
	return pool;
}

/* ---- Shelves ------------------------------------------------------------------------- */

/* What tells keys apart: nothing behind the name. */
static size_t key_len(const struct osh_upstream_key *key)
{
	return offsetof(struct osh_upstream_key, host) + strlen(key->host);
}

static struct shelf *find_shelf(struct osh_upstream_pool *pool, const struct osh_upstream_key *key)
{
	struct shelf *shelf;

	HASH_FIND(hh, pool->shelves, key, key_len(key), shelf);
	return shelf;
}

static struct shelf *get_shelf(struct osh_upstream_pool *pool, const struct osh_upstream_key *key)
{
	struct shelf *shelf = find_shelf(pool, key);

	if (shelf)
		return shelf;
	shelf = calloc(1, sizeof(*shelf));
	if (!shelf)
		return NULL;
	shelf->key = *key;
	HASH_ADD_KEYPTR(hh, pool->shelves, &shelf->key, key_len(&shelf->key), shelf);
	return shelf;
}

static void free_if_empty(struct osh_upstream_pool *pool, struct shelf *shelf)
{
	if (shelf->idle || shelf->shared)
		return;
	HASH_DEL(pool->shelves, shelf);
	free(shelf);
}

/* ---- Idle connections ---------------------------------------------------------------------- */

static void take_from_shelf(struct osh_upstream_pool *pool, struct osh_upstream *up)
{
	struct shelf *shelf = up->shelf;

	DL_DELETE(shelf->idle, up);
	up->shelf = NULL;
	pool->count--;
	shelf->count--;
	free_if_empty(pool, shelf);
	osh_loop_timer_cancel(pool->worker->loop, &up->timer);
}

static void discard_idle(struct osh_upstream *up)
{
	take_from_shelf(up->worker->pool, up);
	osh_upstream_free(up);
}

/* An idle server has nothing to say: whatever comes ends the connection (an unasked
 * response would otherwise answer somebody's next request). TLS session tickets may
 * still arrive: they are no application bytes. */
static bool is_silent(struct osh_upstream *up)
{
	osh_conn_pump(&up->conn);
	return osh_conn_is_open(&up->conn) && !up->conn.eof && !up->conn.in.len;
}

static void on_idle_event(struct osh_upstream *up)
{
	if (is_silent(up))
		osh_conn_update(&up->conn);
	else
		discard_idle(up);
}

static void on_idle_timeout(struct osh_timer *timer)
{
	discard_idle(osh_container_of(timer, struct osh_upstream, timer));
}

static bool may_be_kept(const struct osh_upstream_pool *pool, const struct osh_upstream *up)
{
	const struct osh_conn *conn = &up->conn;

	return !conn->carrier && !conn->in.len && !conn->out.len && !conn->eof &&
	       !(conn->ssl && SSL_has_pending(conn->ssl)) && osh_conn_is_open(conn) &&
	       pool->count < osh_upstream_idle.max;
}

void osh_upstream_keep(struct osh_upstream *up)
{
	struct osh_upstream_pool *pool = up->worker->pool;
	struct shelf *shelf = may_be_kept(pool, up) ? get_shelf(pool, &up->key) : NULL;

	if (!shelf || shelf->count >= osh_upstream_idle.per_key_max) {
		osh_upstream_free(up);
		return;
	}
	DL_PREPEND(shelf->idle, up);
	up->shelf = shelf;
	shelf->count++;
	pool->count++;
	up->owner = NULL;
	up->on_event = on_idle_event;
	up->timer.on_expire = on_idle_timeout;
	up->conn.want_read = true;
	osh_loop_timer_set(pool->worker->loop, &up->timer, osh_upstream_idle.timeout_ms);
	osh_conn_update(&up->conn);
}

/* Has the server ended it, or said something unasked? To look costs a system call. A request that
 * can be sent again finds out an end by itself, and epoll has told of all bytes that were there
 * when this batch of events was fetched, if only to those whose turn is still to come. */
static bool is_stale(struct osh_upstream *up, enum osh_upstream_use use)
{
	if (use == OSH_UPSTREAM_SHARED && !up->conn.readable &&
	    !osh_loop_has_news(up->worker->loop, &up->conn.io))
		return false;
	up->conn.readable = true;
	return !is_silent(up);
}

struct osh_upstream *osh_upstream_pool_take(struct osh_upstream_pool *pool,
					    const struct osh_upstream_key *key,
					    enum osh_upstream_use use)
{
	struct shelf *shelf;

	while ((shelf = find_shelf(pool, key)) && shelf->idle) {
		struct osh_upstream *up = shelf->idle;

		take_from_shelf(pool, up);
		if (!is_stale(up, use))
			return up;
		osh_upstream_free(up);
	}
	return NULL;
}

/* ---- Shared connections ------------------------------------------------------------------------ */

struct osh_http2_client *osh_upstream_pool_share(struct osh_upstream_pool *pool,
						 const struct osh_upstream_key *key)
{
	struct shelf *shelf = find_shelf(pool, key);
	struct osh_http2_client *client;

	if (!shelf)
		return NULL;
	DL_FOREACH(shelf->shared, client) {
		if (osh_http2_client_has_room(client))
			return client;
	}
	return NULL;
}

int osh_upstream_pool_offer(struct osh_upstream_pool *pool, struct osh_http2_client *client,
			    const struct osh_upstream_key *key)
{
	struct shelf *shelf = get_shelf(pool, key);

	if (!shelf)
		return -ENOMEM;
	client->shelf = shelf;
	DL_PREPEND(shelf->shared, client);
	return 0;
}

void osh_upstream_pool_withdraw(struct osh_upstream_pool *pool, struct osh_http2_client *client)
{
	if (!client->shelf)
		return;
	DL_DELETE(client->shelf->shared, client);
	free_if_empty(pool, client->shelf);
	client->shelf = NULL;
}

/* ---- Those who dial ------------------------------------------------------------------------------ */

void osh_upstream_pool_lead(struct osh_upstream_pool *pool, struct osh_upstream *leader)
{
	DL_APPEND(pool->leaders, leader);
}

void osh_upstream_pool_unlead(struct osh_upstream_pool *pool, struct osh_upstream *leader)
{
	DL_DELETE(pool->leaders, leader);
}

struct osh_upstream *osh_upstream_pool_leader(struct osh_upstream_pool *pool,
					      const struct osh_upstream_key *key)
{
	struct osh_upstream *leader;

	DL_FOREACH(pool->leaders, leader) {
		if (memcmp(&leader->key, key, sizeof(*key)) == 0)
			return leader;
	}
	return NULL;
}

/* ---- An address that is gone ------------------------------------------------------------------------- */

void osh_upstream_pool_leave_address(struct osh_upstream_pool *pool, const struct in6_addr *address)
{
	struct shelf *shelf, *next;
	struct osh_upstream *up;
	struct osh_http2_client *client;

	HASH_ITER(hh, pool->shelves, shelf, next) {
		DL_FOREACH(shelf->idle, up)
			osh_conn_leave_address(&up->conn, address);
	}
	DL_FOREACH2(pool->worker->http2_clients, client, newer)
		osh_conn_leave_address(&client->conn, address);
}

/* ---- A sandbox that is gone ------------------------------------------------------------------------ */

/* Taking the last one off frees the shelf. */
static void drop_shelf(struct shelf *shelf)
{
	unsigned left = shelf->count;
	struct osh_http2_client *client, *next;

	DL_FOREACH_SAFE(shelf->shared, client, next) {
		bool is_last = !next && !left;

		osh_http2_client_end(client);
		if (is_last)
			return;
	}
	for (; left > 0; left--)
		discard_idle(shelf->idle);
}

void osh_upstream_pool_drop(struct osh_upstream_pool *pool, uint64_t tenant)
{
	struct shelf *shelf, *next;

	HASH_ITER(hh, pool->shelves, shelf, next) {
		if (shelf->key.tenant != tenant)
			continue;
		drop_shelf(shelf);
	}
}
