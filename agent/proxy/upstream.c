#include "proxy/upstream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/block.h"
#include "base/knockout.h"
#include "policy/host.h"
#include "proxy/dial.h"
#include "proxy/http2_client.h"
#include "proxy/tls.h"
#include "proxy/upstream_pool.h"

struct osh_upstream_deadlines osh_upstream_deadlines = { .handshake_ms = 10000, .tunnel_ms = 30000 };

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

static bool is_settled(const struct osh_upstream *up)
{
	return up->state == OSH_UPSTREAM_READY || up->state == OSH_UPSTREAM_BROKEN;
}

/* ---- Securing ------------------------------------------------------------------- */

static void on_conn_event(struct osh_conn *conn);
static void settled(struct osh_upstream *up);
static void dial(struct osh_upstream *up);

static void secure(struct osh_upstream *up)
{
	SSL *ssl = osh_tls_connect_new(up->worker, &up->key, up->offers_http2);

	if (!ssl || osh_conn_start_tls(&up->conn, ssl) < 0) {
		break_off(up, OSH_ENGINE_TLS, "cannot start TLS to %s: out of memory", up->key.host);
		return;
	}
	up->state = OSH_UPSTREAM_SECURING;
	osh_loop_timer_set(up->worker->loop, &up->timer, osh_upstream_deadlines.handshake_ms);
}

/* The connection is for all requests of its key, and this one's is a stream on it. */
static void become_shared(struct osh_upstream *up)
{
	struct osh_http2_client *client = osh_http2_client_new(up->worker, &up->conn);

	if (!client) {
		break_off(up, OSH_ENGINE_UPSTREAM, "no memory for HTTP/2 with %s", up->key.host);
		return;
	}
	(void)osh_upstream_pool_offer(up->worker->pool, client, &up->key); /* else nobody shares it */
	if (osh_http2_client_attach(client, &up->conn, on_conn_event) < 0)
		break_off(up, OSH_ENGINE_UPSTREAM, "no memory for HTTP/2 with %s", up->key.host);
}

static void become_ready(struct osh_upstream *up)
{
	up->state = OSH_UPSTREAM_READY;
	osh_loop_timer_cancel(up->worker->loop, &up->timer);
	if (up->conn.ssl && osh_tls_speaks_http2(up->conn.ssl))
		become_shared(up);
}

/* A server that knows HTTP/2 alone gets it, whatever the client speaks. */
static bool offer_http2(struct osh_upstream *up)
{
	if (up->offers_http2 || up->use == OSH_UPSTREAM_ALONE || !osh_tls_refused_protocol(&up->conn))
		return false;
	up->offers_http2 = true;
	osh_conn_close(&up->conn);
	dial(up); /* the address that answered */
	return true;
}

static void look_at_handshake(struct osh_upstream *up)
{
	char why[256];

	if (osh_conn_is_open(&up->conn))
		become_ready(up);
	else if (up->conn.state == OSH_CONN_FAILED && !offer_http2(up))
		break_off(up, OSH_ENGINE_TLS, "TLS to %s:%u failed: %s", up->key.host, up->key.port_host,
			  osh_tls_failure(&up->conn, why, sizeof(why)));
}

static void begin_talk(struct osh_upstream *up)
{
	if (up->key.tls)
		secure(up);
	else
		become_ready(up);
}

/* ---- Through the proxy before the internet ---------------------------------------- */

__attribute__((format(printf, 2, 3))) static void
no_tunnel(struct osh_upstream *up, const char *format, ...)
{
	const struct osh_via *via = &up->worker->proxy->via;
	char why[256];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	break_off(up, OSH_ENGINE_UPSTREAM, "no way to %.100s:%u: the upstream proxy %.100s:%u %s", up->key.host,
		  up->key.port_host, via->host.text, via->port_host, why);
}

static void ask_for_tunnel(struct osh_upstream *up)
{
	struct osh_conn *conn = &up->conn;
	struct osh_host host;
	int r = osh_host_parse(osh_str(up->key.host), &host);

	conn->out.secret = true; /* the proxy's credential, in case there is one */
	if (r == 0)
		r = osh_via_write_connect(&up->worker->proxy->via, &host, up->key.port_host, &conn->out);
	if (r < 0) {
		no_tunnel(up, "could not be asked: %s", strerror(-r));
		return;
	}
	conn->want_read = true;
	up->scan = (struct osh_http_scan){ 0 };
	up->state = OSH_UPSTREAM_TUNNELLING;
	osh_loop_timer_set(up->worker->loop, &up->timer, osh_upstream_deadlines.tunnel_ms);
}

static void look_at_tunnel(struct osh_upstream *up)
{
	struct osh_conn *conn = &up->conn;
	char why[192];
	size_t len = 0;

	switch (osh_via_read_answer(&up->worker->proxy->via, osh_buf_str(&conn->in), &up->scan, &len, why,
				    sizeof(why))) {
	case OSH_HTTP_NEED_MORE:
		if (conn->state == OSH_CONN_FAILED || conn->eof)
			no_tunnel(up, "ended the connection instead of an answer");
		return;
	case OSH_HTTP_BAD:
		no_tunnel(up, "%s%s", why, up->key.port_host == 443 ? "" : " (does it allow CONNECT to this port?)");
		return;
	case OSH_HTTP_DONE:
		break;
	}
	osh_buf_consume(&conn->in, len);
	conn->want_read = false; /* until the owner is ready */
	if (up->key.tls && conn->in.len) /* a server waits for the client's hello */
		no_tunnel(up, "sent bytes of its own into the tunnel");
	else
		begin_talk(up);
}

static void advance(struct osh_upstream *up)
{
	if (up->state == OSH_UPSTREAM_TUNNELLING) {
		osh_conn_pump(&up->conn);
		look_at_tunnel(up);
	}
	if (up->state == OSH_UPSTREAM_SECURING) {
		osh_conn_pump(&up->conn);
		look_at_handshake(up);
	}
	osh_conn_update(&up->conn);
}

/* ---- Dialling ------------------------------------------------------------------ */

static void cannot_connect(struct osh_upstream *up, int error)
{
	const struct osh_via *via = &up->worker->proxy->via;

	up->timed_out = error == ETIMEDOUT;
	if (up->is_via)
		break_off(up, OSH_ENGINE_UPSTREAM, "cannot connect to the upstream proxy %s:%u: %s",
			  via->host.text, via->port_host, strerror(error));
	else
		break_off(up, OSH_ENGINE_UPSTREAM, "cannot connect to %s:%u: %s", up->key.host,
			  up->key.port_host, strerror(error));
}

static void on_dialled(void *context, int fd, const struct in6_addr *address)
{
	struct osh_upstream *up = context;
	bool later = up->dial != NULL;

	up->dial = NULL;
	if (fd < 0) {
		cannot_connect(up, -fd);
	} else {
		up->addresses = (struct osh_addresses){ .count = 1, .items = { *address } };
		osh_conn_init(&up->conn, up->worker->loop, fd, on_conn_event);
		if (up->is_via)
			ask_for_tunnel(up);
		else
			begin_talk(up);
		advance(up);
	}
	/* Within open the caller looks at the state itself. */
	if (later && is_settled(up))
		settled(up);
}

static void dial(struct osh_upstream *up)
{
	up->state = OSH_UPSTREAM_DIALLING;
	up->dial = osh_dial_start(up->worker->loop, &up->addresses,
				  up->is_via ? up->worker->proxy->via.port_host : up->key.port_host,
				  on_dialled, up);
}

static void on_conn_event(struct osh_conn *conn)
{
	struct osh_upstream *up = osh_container_of(conn, struct osh_upstream, conn);

	if (!is_settled(up))
		advance(up);
	if (is_settled(up))
		settled(up);
}

static void on_timeout(struct osh_timer *timer)
{
	struct osh_upstream *up = osh_container_of(timer, struct osh_upstream, timer);

	up->timed_out = true;
	if (up->state == OSH_UPSTREAM_TUNNELLING)
		no_tunnel(up, "did not answer in time");
	else /* nothing was found wrong with its certificate */
		break_off(up, OSH_ENGINE_UPSTREAM, "TLS to %s:%u: handshake timed out", up->key.host,
			  up->key.port_host);
	settled(up);
}

/* ---- Resolving and guarding ------------------------------------------------------ */

/* One bad address condemns the answer: a resolver that mixes them is not to be trusted. */
static bool guard(struct osh_upstream *up)
{
	for (size_t i = 0; i < up->addresses.count; i++) {
		enum osh_address_verdict verdict = up->check_address(up->owner, &up->addresses.items[i]);

		if (verdict != OSH_ADDRESS_ALLOW && !osh_layer_off("guard")) {
			break_off(up, OSH_ENGINE_SSRF, "%s:%u blocked: %s", up->key.host,
				  up->key.port_host, osh_address_verdict_detail(verdict));
			return false;
		}
	}
	return true;
}

/* That of the sandbox; NULL: it is being removed. */
static struct osh_meter *meter_of(const struct osh_upstream *up)
{
	const struct osh_view *view = osh_worker_view(up->worker, up->key.tenant);

	return view && view->snapshot ? view->snapshot->meters.sandbox : NULL;
}

/* The addresses of a host; a literal has its own. `payer`: osh_resolver_ask. */
static void find(struct osh_upstream *up, const struct osh_host *host, struct osh_meter *payer,
		 void (*done)(void *context, const struct osh_addresses *addresses, const char *error))
{
	struct osh_addresses literal = { .count = 1, .items = { host->addr } };

	if (host->kind == OSH_HOST_NAME)
		up->lookup = osh_resolver_ask(up->worker->resolver, payer, host->text, done, up);
	else
		done(up, &literal, NULL);
}

/* Where the connection goes first is known. */
static void on_way(struct osh_upstream *up, const struct osh_addresses *addresses, const char *error)
{
	if (error) {
		up->timed_out = addresses->timed_out;
		break_off(up, OSH_ENGINE_UPSTREAM, "cannot resolve %s: %s",
			  up->is_via ? up->worker->proxy->via.host.text : up->key.host, error);
		return;
	}
	up->addresses = *addresses;
	dial(up);
}

static void on_via_resolved(void *context, const struct osh_addresses *addresses, const char *error)
{
	struct osh_upstream *up = context;
	bool later = up->lookup != NULL;

	up->lookup = NULL;
	on_way(up, addresses, error);
	if (later && is_settled(up))
		settled(up);
}

/* The guard has had its say about the addresses that are known here. Where none is, since
 * only the proxy resolves, TLS must be what tells who answers. */
static void choose_way(struct osh_upstream *up, const struct osh_addresses *addresses, const char *error)
{
	const struct osh_via *via = &up->worker->proxy->via;
	struct osh_host host;

	up->is_via = osh_host_parse(osh_str(up->key.host), &host) == 0 &&
		     osh_via_serves(via, &host, addresses) && (!error || up->key.tls);
	if (up->is_via)
		find(up, &via->host, NULL, on_via_resolved);
	else
		on_way(up, addresses, error);
}

static void on_resolved(void *context, const struct osh_addresses *addresses, const char *error)
{
	struct osh_upstream *up = context;
	bool later = up->lookup != NULL;

	up->lookup = NULL;
	up->addresses = *addresses;
	if (guard(up))
		choose_way(up, addresses, error);
	/* Within open the caller looks at the state itself. */
	if (later && is_settled(up))
		settled(up);
}

static void start(struct osh_upstream *up)
{
	struct osh_host host;

	if (osh_host_parse(osh_str(up->key.host), &host) < 0)
		break_off(up, OSH_ENGINE_UPSTREAM, "%s is no name of a host", up->key.host);
	else
		find(up, &host, meter_of(up), on_resolved);
}

/* ---- Waiting for another ----------------------------------------------------------------- */

static bool share(struct osh_upstream *up)
{
	struct osh_http2_client *client = osh_upstream_pool_share(up->worker->pool, &up->key);

	if (!client || osh_http2_client_attach(client, &up->conn, on_conn_event) < 0)
		return false;
	up->state = OSH_UPSTREAM_READY;
	return true;
}

static void lead(struct osh_upstream *up)
{
	up->leads = true;
	osh_upstream_pool_lead(up->worker->pool, up);
	start(up);
}

static void follow(struct osh_upstream *up, struct osh_upstream *leader)
{
	up->leader = leader;
	DL_APPEND(leader->followers, up);
}

static void stop_leading(struct osh_upstream *up)
{
	if (!up->leads)
		return;
	up->leads = false;
	osh_upstream_pool_unlead(up->worker->pool, up);
}

/* What the leader found out goes for its followers, too. */
static void release(struct osh_upstream *up, const struct osh_upstream *leader)
{
	DL_DELETE(up->leader->followers, up);
	up->leader = NULL;
	up->timed_out = leader->timed_out;
	if (leader->state == OSH_UPSTREAM_BROKEN)
		break_off(up, leader->failure_engine, "%s", leader->failure);
	else if (!share(up))
		start(up);
	if (is_settled(up))
		up->on_event(up);
}

/* Ready or broken: tell the owner, and those who wait. */
static void settled(struct osh_upstream *up)
{
	stop_leading(up);
	while (up->followers)
		release(up->followers, up);
	up->on_event(up);
}

/* Its owner gave up before anything came of it: another one dials. */
static void hand_over(struct osh_upstream *up)
{
	struct osh_upstream *heir = up->followers, *follower;

	stop_leading(up);
	if (!heir)
		return;
	DL_DELETE(up->followers, heir);
	heir->leader = NULL;
	while ((follower = up->followers)) {
		DL_DELETE(up->followers, follower);
		follow(follower, heir);
	}
	lead(heir);
	if (heir->state == OSH_UPSTREAM_BROKEN)
		settled(heir);
}

/* ---- Life ------------------------------------------------------------------------------ */

static bool may_share(enum osh_upstream_use use)
{
	return use == OSH_UPSTREAM_SHARED || use == OSH_UPSTREAM_SURE;
}

static void obtain(struct osh_upstream *up)
{
	struct osh_upstream *leader;

	if (!may_share(up->use)) {
		start(up);
		return;
	}
	up->reused = share(up);
	if (up->reused)
		return;
	leader = up->offers_http2 ? osh_upstream_pool_leader(up->worker->pool, &up->key) : NULL;
	if (leader)
		follow(up, leader);
	else if (up->offers_http2)
		lead(up);
	else
		start(up);
}

struct osh_upstream *osh_upstream_open(struct osh_worker *worker, const struct osh_upstream_key *key,
				       enum osh_address_verdict (*check_address)(
					       void *owner, const struct in6_addr *addr),
				       void (*on_event)(struct osh_upstream *upstream), void *owner,
				       enum osh_upstream_use use)
{
	struct osh_upstream *up = may_share(use) ? osh_upstream_pool_take(worker->pool, key, use) : NULL;

	if (up) {
		up->reused = true;
	} else {
		up = osh_block_zalloc(sizeof(*up));
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
	up->use = use;
	up->offers_http2 = key->http2;
	if (!up->reused)
		obtain(up);
	return up;
}

void osh_upstream_leave_address(struct osh_upstream *up, const struct in6_addr *address)
{
	if (up->dial)
		osh_dial_leave_address(up->dial, address);
	osh_conn_leave_address(&up->conn, address);
}

static void reap(struct osh_deferred *deferred)
{
	osh_block_free(osh_container_of(deferred, struct osh_upstream, reap), sizeof(struct osh_upstream));
}

void osh_upstream_free(struct osh_upstream *up)
{
	if (!up || up->reap.queued)
		return;
	osh_lookup_cancel(up->lookup);
	up->lookup = NULL;
	osh_dial_cancel(up->dial);
	up->dial = NULL;
	osh_loop_timer_cancel(up->worker->loop, &up->timer);
	osh_conn_close(&up->conn);
	up->reap.run = reap;
	osh_loop_defer(up->worker->loop, &up->reap);
	if (up->leader)
		DL_DELETE(up->leader->followers, up);
	hand_over(up);
}
