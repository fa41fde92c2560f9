#include "proxy/upstream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/fd.h"
#include "policy/host.h"
#include "proxy/tls.h"

#define DIAL_TIMEOUT_MS 5000 /* per address */
#define HANDSHAKE_TIMEOUT_MS 10000
#define IDLE_TIMEOUT_MS 30000
#define IDLE_MAX 512 /* per worker; beyond it a connection is closed after use */
#define IDLE_PER_KEY_MAX 16

/* Idle connections of one key. */
struct shelf {
	struct osh_upstream_key key;
	struct osh_upstream *idle; /* newest first */
	unsigned count;
	UT_hash_handle hh;
};

struct osh_upstream_pool {
	struct osh_worker *worker;
	struct shelf *shelves;
	unsigned count;
};

struct osh_upstream_pool *osh_upstream_pool_new(struct osh_worker *worker)
{
	struct osh_upstream_pool *pool = calloc(1, sizeof(*pool));

	if (pool)
		pool->worker = worker;
	return pool;
}

/* ---- Failing ----------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void
break_off(struct osh_upstream *up, enum osh_verdict_engine engine, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(up->failure, sizeof(up->failure), format, args);
	va_end(args);
	up->failure_engine = engine;
	up->state = OSH_UPSTREAM_BROKEN;
	osh_loop_timer_cancel(up->worker->loop, &up->timer);
}

/* ---- Dialling ------------------------------------------------------------------ */

static void on_conn_event(struct osh_conn *conn);

static int dial_socket(const struct in6_addr *addr, uint16_t port_host)
{
	struct sockaddr_in6 v6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(port_host), .sin6_addr = *addr
	};
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port_host) };
	bool is_v4 = IN6_IS_ADDR_V4MAPPED(addr);
	_cleanup_fd_ int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	memcpy(&v4.sin_addr, &addr->s6_addr[12], 4);
	r = is_v4 ? connect(fd, (struct sockaddr *)&v4, sizeof(v4)) :
		    connect(fd, (struct sockaddr *)&v6, sizeof(v6));
	if (r < 0 && errno != EINPROGRESS)
		return -errno;
	return osh_take_fd(&fd);
}

/* Try the addresses in their order until one takes the connection. */
static void dial_next(struct osh_upstream *up, int last_error)
{
	osh_conn_close(&up->conn);
	while (up->next_address < up->addresses.count) {
		int fd = dial_socket(&up->addresses.items[up->next_address++], up->key.port_host);

		if (fd < 0) {
			last_error = -fd;
			continue;
		}
		osh_conn_init(&up->conn, up->worker->loop, fd, OSH_CONN_CONNECTING, on_conn_event);
		up->state = OSH_UPSTREAM_DIALLING;
		osh_loop_timer_set(up->worker->loop, &up->timer, DIAL_TIMEOUT_MS);
		osh_conn_update(&up->conn);
		return;
	}
	break_off(up, OSH_ENGINE_UPSTREAM, "cannot connect to %s:%u: %s", up->key.host, up->key.port_host,
		  strerror(last_error));
}

static void secure(struct osh_upstream *up)
{
	SSL *ssl = osh_tls_connect_new(up->worker, up->key.host, false);

	if (!ssl || osh_conn_start_tls(&up->conn, ssl) < 0) {
		break_off(up, OSH_ENGINE_TLS, "cannot start TLS to %s: out of memory", up->key.host);
		return;
	}
	up->state = OSH_UPSTREAM_SECURING;
	osh_loop_timer_set(up->worker->loop, &up->timer, HANDSHAKE_TIMEOUT_MS);
	osh_conn_pump(&up->conn);
}

static void become_ready(struct osh_upstream *up)
{
	up->state = OSH_UPSTREAM_READY;
	osh_loop_timer_cancel(up->worker->loop, &up->timer);
}

static void advance(struct osh_upstream *up)
{
	if (up->state == OSH_UPSTREAM_DIALLING) {
		osh_conn_pump(&up->conn);
		if (up->conn.state == OSH_CONN_FAILED)
			dial_next(up, up->conn.error);
		else if (osh_conn_is_open(&up->conn) && up->key.tls)
			secure(up);
		else if (osh_conn_is_open(&up->conn))
			become_ready(up);
	} else if (up->state == OSH_UPSTREAM_SECURING) {
		osh_conn_pump(&up->conn);
	}
	if (up->state == OSH_UPSTREAM_SECURING && up->conn.state == OSH_CONN_FAILED) {
		char why[256];

		break_off(up, OSH_ENGINE_TLS, "TLS to %s:%u failed: %s", up->key.host, up->key.port_host,
			  osh_tls_failure(up->conn.ssl, why, sizeof(why)));
	} else if (up->state == OSH_UPSTREAM_SECURING && osh_conn_is_open(&up->conn)) {
		become_ready(up);
	}
}

static void on_conn_event(struct osh_conn *conn)
{
	struct osh_upstream *up = osh_container_of(conn, struct osh_upstream, conn);

	if (up->state != OSH_UPSTREAM_READY) {
		advance(up);
		osh_conn_update(&up->conn);
		if (up->state != OSH_UPSTREAM_READY && up->state != OSH_UPSTREAM_BROKEN)
			return;
	}
	up->on_event(up);
}

static void on_timeout(struct osh_timer *timer)
{
	struct osh_upstream *up = osh_container_of(timer, struct osh_upstream, timer);

	if (up->state == OSH_UPSTREAM_DIALLING)
		dial_next(up, ETIMEDOUT);
	else
		break_off(up, OSH_ENGINE_TLS, "TLS to %s:%u: handshake timed out", up->key.host,
			  up->key.port_host);
	if (up->state == OSH_UPSTREAM_BROKEN)
		up->on_event(up);
}

/* ---- Resolving and guarding ------------------------------------------------------ */

/* One bad address condemns the answer: a resolver that mixes them is not to be trusted. */
static bool guard(struct osh_upstream *up)
{
	for (size_t i = 0; i < up->addresses.count; i++) {
		enum osh_address_verdict verdict = up->check_address(up->owner, &up->addresses.items[i]);

		if (verdict != OSH_ADDRESS_ALLOW) {
			break_off(up, OSH_ENGINE_SSRF, "%s:%u blocked: %s", up->key.host,
				  up->key.port_host, osh_address_verdict_detail(verdict));
			return false;
		}
	}
	return true;
}

static void on_resolved(void *context, const struct osh_addresses *addresses, const char *error)
{
	struct osh_upstream *up = context;
	bool later = up->lookup != NULL;

	up->lookup = NULL;
	if (error) {
		break_off(up, OSH_ENGINE_UPSTREAM, "cannot resolve %s: %s", up->key.host, error);
	} else {
		up->addresses = *addresses;
		if (guard(up))
			dial_next(up, ECONNREFUSED);
	}
	/* Within open the caller looks at the state itself. */
	if (later && up->state == OSH_UPSTREAM_BROKEN)
		up->on_event(up);
}

static void start(struct osh_upstream *up)
{
	struct osh_host host;

	if (osh_host_parse(osh_str(up->key.host), &host) == 0 && host.kind != OSH_HOST_NAME) {
		struct osh_addresses literal = { .count = 1, .items = { host.addr } };

		on_resolved(up, &literal, NULL);
		return;
	}
	up->lookup = osh_resolver_ask(up->worker->resolver, up->key.host, on_resolved, up);
}

/* ---- The pool ---------------------------------------------------------------------- */

static struct shelf *find_shelf(struct osh_upstream_pool *pool, const struct osh_upstream_key *key)
{
	struct shelf *shelf;

	HASH_FIND(hh, pool->shelves, key, sizeof(*key), shelf);
	return shelf;
}

static void take_from_shelf(struct osh_upstream_pool *pool, struct osh_upstream *up)
{
	struct shelf *shelf = find_shelf(pool, &up->key);

	DL_DELETE(shelf->idle, up);
	pool->count--;
	if (--shelf->count == 0) {
		HASH_DEL(pool->shelves, shelf);
		free(shelf);
	}
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
static void on_idle_event(struct osh_upstream *up)
{
	osh_conn_pump(&up->conn);
	if (!osh_conn_is_open(&up->conn) || up->conn.eof || up->conn.in.len)
		discard_idle(up);
	else
		osh_conn_update(&up->conn);
}

static void on_idle_timeout(struct osh_timer *timer)
{
	discard_idle(osh_container_of(timer, struct osh_upstream, timer));
}

void osh_upstream_keep(struct osh_upstream *up)
{
	struct osh_upstream_pool *pool = up->worker->pool;
	struct shelf *shelf = find_shelf(pool, &up->key);

	if (up->conn.in.len || up->conn.out.len || up->conn.eof || !osh_conn_is_open(&up->conn) ||
	    pool->count >= IDLE_MAX || (shelf && shelf->count >= IDLE_PER_KEY_MAX)) {
		osh_upstream_free(up);
		return;
	}
	if (!shelf) {
		shelf = calloc(1, sizeof(*shelf));
		if (!shelf) {
			osh_upstream_free(up);
			return;
		}
		shelf->key = up->key;
		HASH_ADD(hh, pool->shelves, key, sizeof(shelf->key), shelf);
	}
	DL_PREPEND(shelf->idle, up);
	shelf->count++;
	pool->count++;
	up->owner = NULL;
	up->on_event = on_idle_event;
	up->timer.on_expire = on_idle_timeout;
	up->conn.want_read = true;
	osh_buf_trim(&up->conn.in);
	osh_buf_trim(&up->conn.out);
	osh_loop_timer_set(pool->worker->loop, &up->timer, IDLE_TIMEOUT_MS);
	osh_conn_update(&up->conn);
}

void osh_upstream_pool_drop(struct osh_upstream_pool *pool, uint64_t tenant)
{
	struct shelf *shelf, *next;

	HASH_ITER(hh, pool->shelves, shelf, next) {
		if (shelf->key.tenant != tenant)
			continue;
		/* Discarding the last one frees the shelf. */
		for (unsigned left = shelf->count; left > 0; left--)
			discard_idle(shelf->idle);
	}
}

/* Has the server ended it, or said something unasked, without our having been told yet? */
static bool is_stale(const struct osh_upstream *up)
{
	char byte;
	ssize_t n = recv(up->conn.io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	/* Under TLS the byte may belong to a session ticket. */
	return n == 0 || (n > 0 && !up->key.tls) || (n < 0 && errno != EAGAIN);
}

/* The most recently used connection of this key that still lives. */
static struct osh_upstream *take_idle(struct osh_upstream_pool *pool, const struct osh_upstream_key *key)
{
	struct shelf *shelf;

	while ((shelf = find_shelf(pool, key))) {
		struct osh_upstream *up = shelf->idle;

		take_from_shelf(pool, up);
		if (!is_stale(up))
			return up;
		osh_upstream_free(up);
	}
	return NULL;
}

struct osh_upstream *osh_upstream_open(struct osh_worker *worker, const struct osh_upstream_key *key,
				       enum osh_address_verdict (*check_address)(
					       void *owner, const struct in6_addr *addr),
				       void (*on_event)(struct osh_upstream *upstream), void *owner,
				       bool allow_reuse)
{
	struct osh_upstream *up = allow_reuse ? take_idle(worker->pool, key) : NULL;

	if (up) {
		up->reused = true;
	} else {
		up = calloc(1, sizeof(*up));
		if (!up)
			return NULL;
		up->worker = worker;
		up->key = *key;
		up->conn.io.fd = -1;
	}
	up->timer.on_expire = on_timeout;
	up->on_event = on_event;
	up->check_address = check_address;
	up->owner = owner;
	if (!up->reused)
		start(up);
	return up;
}

static void reap(struct osh_deferred *deferred)
{
	free(osh_container_of(deferred, struct osh_upstream, reap));
}

void osh_upstream_free(struct osh_upstream *up)
{
	if (!up || up->reap.queued)
		return;
	osh_lookup_cancel(up->lookup);
	up->lookup = NULL;
	osh_loop_timer_cancel(up->worker->loop, &up->timer);
	osh_conn_close(&up->conn);
	up->reap.run = reap;
	osh_loop_defer(up->worker->loop, &up->reap);
}
