#include "proxy/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "base/block.h"
#include "proxy/http1.h"
#include "proxy/http2_server.h"
#include "proxy/relay.h"
#include "proxy/session_decide.h"
#include "proxy/session_step.h"
#include "proxy/websocket_relay.h"

#define SESSIONS_PER_VIEW_MAX 8192 /* beyond it: refused, so that one sandbox cannot starve others */
#define QUIET_MS 1000
#define STEPS_MAX 256             /* before other flows have their turn */
#define SWALLOW_BYTES_MAX (256u << 20)
#define SWALLOW_STEP 1024         /* bytes that put its deadline off: who drips is not waited for */
#define IDLE_ROOM_MAX (4u << 10) /* memory for answers that a flow keeps between requests */
#define CROWDED (OSH_CONN_BUF_MAX - OSH_HTTP_RESPONSE_HEAD_MAX - 256u) /* the longest head finds no room */

uint64_t osh_session_deadlines_ms[OSH_SESSION_STATE_COUNT] = {
	[OSH_SESSION_ASKING] = 20000,
	[OSH_SESSION_SNIFF] = 30000,
	[OSH_SESSION_HANDSHAKE] = 10000,
	[OSH_SESSION_HTTP] = 120000,
	[OSH_SESSION_HTTP2] = 120000,
	[OSH_SESSION_RELAY] = 7200000,
	[OSH_SESSION_WEBSOCKET] = 7200000,
	[OSH_SESSION_CLOSING] = 3000,
	[OSH_SESSION_FAREWELL] = 1000, /* a client that waits for its server to speak is reset */
};

/* ---- State ------------------------------------------------------------------------ */

/* In two parts: what is quiet for a moment may stay so for long, and lives on without buffers
 * from then on. */
void osh_session_set_deadline(struct osh_session *s, uint64_t in_ms)
{
	uint64_t first_ms = in_ms < QUIET_MS ? in_ms : QUIET_MS;

	s->rest_ms = in_ms - first_ms;
	(void)osh_loop_timer_set(s->view->worker->loop, &s->timer, first_ms);
}

static void give_buffers_back(struct osh_session *s)
{
	osh_buf_trim(&s->conn.in);
	osh_buf_trim(&s->conn.out);
	if (!s->upstream)
		return;
	osh_buf_trim(&s->upstream->conn.in);
	osh_buf_trim(&s->upstream->conn.out);
}

/* The end of an answer is waited for like its middle. */
void osh_session_touch(struct osh_session *s)
{
	bool is_answering = s->state == OSH_SESSION_CLOSING && s->conn.out.len;

	s->last_left = s->conn.out.len;
	osh_session_set_deadline(s, osh_session_deadlines_ms[is_answering ? OSH_SESSION_HTTP : s->state]);
}

void osh_session_set_state(struct osh_session *s, enum osh_session_state state)
{
	s->state = state;
	osh_session_touch(s);
}

static void reap(struct osh_deferred *deferred)
{
	osh_block_free(osh_container_of(deferred, struct osh_session, reap), sizeof(struct osh_session));
}

void osh_session_end(struct osh_session *s, bool reset)
{
	if (s->reap.queued)
		return;
	osh_loop_timer_cancel(s->view->worker->loop, &s->timer);
	osh_loop_timer_cancel(s->view->worker->loop, &s->pace);
	osh_http2_end(s);
	osh_session_stop_asking(s);
	osh_session_move_meter(s, NULL);
	osh_websocket_drop(s);
	osh_http1_drop(s);
	if (reset && s->upstream) /* the server, too, must not take a part for the whole */
		osh_conn_reset(&s->upstream->conn);
	osh_upstream_free(s->upstream);
	s->upstream = NULL;
	if (reset)
		osh_conn_reset(&s->conn);
	else
		osh_conn_close(&s->conn);
	DL_DELETE(s->view->sessions, s);
	s->view->session_count--;
	s->reap.run = reap;
	osh_loop_defer(s->view->worker->loop, &s->reap);
}

/* Its server was asked for, and is not there yet. */
static bool is_unreached(const struct osh_session *s)
{
	return s->upstream && s->upstream->state != OSH_UPSTREAM_READY;
}

/* Not by its program, nor by its server. */
static void cut_off(struct osh_session *s)
{
	if (s->state == OSH_SESSION_RELAY && is_unreached(s))
		osh_relay_record_cut(s);
	osh_session_end(s, true);
}

void osh_session_end_all(struct osh_view *view)
{
	struct osh_session *s, *next;

	DL_FOREACH_SAFE(view->sessions, s, next)
		cut_off(s);
}

void osh_session_end_unreached(struct osh_view *view)
{
	struct osh_session *s, *next;

	DL_FOREACH_SAFE(view->sessions, s, next) {
		if (is_unreached(s))
			cut_off(s);
	}
}

void osh_session_end_flow(struct osh_view *view, uint64_t cookie)
{
	struct osh_session *s, *next;

	DL_FOREACH_SAFE(view->sessions, s, next) {
		if (s->flow.cookie == cookie)
			cut_off(s);
	}
}

/* The policy's limit on bytes makes it wait: that is nobody's slowness. */
static bool is_held_back(const struct osh_session *s)
{
	const struct osh_snapshot *snapshot = s->view->snapshot;

	return snapshot && !s->denied && osh_meter_wait_ms(osh_meters_of(&snapshot->meters, &s->decision)) > 0;
}

/* Are the last bytes missing, and nothing but the way it ends could tell that? */
static bool seems_whole(const struct osh_session *s)
{
	return s->conn.ends_by_reset && !s->conn.finished;
}

static void on_deadline(struct osh_timer *timer)
{
	struct osh_session *s = osh_container_of(timer, struct osh_session, timer);

	if (s->rest_ms) {
		give_buffers_back(s);
		(void)osh_loop_timer_set(s->view->worker->loop, timer, s->rest_ms);
		s->rest_ms = 0;
		return;
	}
	if (s->admitted && is_held_back(s)) {
		osh_session_touch(s);
		return;
	}
	if (s->state == OSH_SESSION_HTTP2) {
		osh_http2_on_deadline(s);
		return;
	}
	if (s->asking) {
		osh_session_answer_is_late(s);
		return;
	}
	if (s->state == OSH_SESSION_HTTP && osh_http1_on_deadline(s)) {
		osh_session_step(s);
		return;
	}
	osh_session_end(s, s->state != OSH_SESSION_CLOSING || seems_whole(s));
}

/* ---- The other side ------------------------------------------------------------------ */

static enum osh_address_verdict check_address(void *owner, const struct in6_addr *addr)
{
	struct osh_session *s = owner;
	struct osh_connect_query query;

	if (!s->view->snapshot || !osh_session_query(s, &query))
		return OSH_ADDRESS_DENY_INTERNAL;
	return osh_policy_address(&s->view->snapshot->policy, &query, addr);
}

static void on_upstream_event(struct osh_upstream *up)
{
	osh_session_step(up->owner);
}

int osh_session_dial(struct osh_session *s, bool tls, enum osh_upstream_use use)
{
	struct osh_upstream_key key = {
		.tenant = s->view->tenant->id,
		.identity = s->flow.identity,
		.port_host = s->port_host,
		.tls = tls,
		/* Like asks for like; a server that knows only the other gets it. */
		.http2 = tls && s->conn.carrier && use != OSH_UPSTREAM_ALONE,
	};

	/* All of it is hashed: no stray bytes behind the name. */
	memcpy(key.host, s->host.text, strnlen(s->host.text, sizeof(key.host) - 1));
	s->upstream = osh_upstream_open(s->view->worker, &key, check_address, on_upstream_event, s,
					use);
	return s->upstream ? 0 : -ENOMEM;
}

/* ---- Stepping -------------------------------------------------------------------------- */

/* Swallow what still comes, so that the last answer is not lost to a reset. */
static bool step_closing(struct osh_session *s)
{
	size_t len = s->conn.in.len;

	s->conn.want_read = true;
	s->swallowed += len;
	if (s->websocket)
		osh_websocket_await_close(s);
	osh_buf_clear(&s->conn.in);
	if (s->conn.state == OSH_CONN_FAILED || (s->conn.finished && s->conn.eof) ||
	    s->swallowed > SWALLOW_BYTES_MAX) {
		osh_session_end(s, false);
		return false;
	}
	if (len && s->swallowed / SWALLOW_STEP != (s->swallowed - len) / SWALLOW_STEP)
		osh_session_touch(s); /* an upload that has not seen the answer yet */
	return len > 0;
}

static bool step_state(struct osh_session *s)
{
	switch (s->state) {
	case OSH_SESSION_ASKING:
		return false;
	case OSH_SESSION_SNIFF:
		return osh_session_step_sniff(s);
	case OSH_SESSION_HANDSHAKE:
		return osh_session_step_handshake(s);
	case OSH_SESSION_HTTP:
		return osh_http1_step(s);
	case OSH_SESSION_HTTP2:
		return osh_http2_step(s);
	case OSH_SESSION_RELAY:
		return osh_session_step_relay(s);
	case OSH_SESSION_WEBSOCKET:
		return osh_websocket_step(s);
	case OSH_SESSION_CLOSING:
		return step_closing(s);
	case OSH_SESSION_FAREWELL:
		return osh_session_step_farewell(s);
	case OSH_SESSION_STATE_COUNT:
		break;
	}
	return false;
}

/* Move what can be moved outside of a step. True: something that a step looks at came by that
 * (the end of the handshake, bytes, the end of the connection), and no event will tell of it. */
static bool pump(struct osh_conn *conn)
{
	enum osh_conn_state state = conn->state;
	bool eof = conn->eof, finished = conn->finished;
	size_t len = conn->in.len;

	osh_conn_pump(conn);
	return conn->state != state || conn->eof != eof || conn->finished != finished || conn->in.len != len;
}

static struct osh_conn *upstream_of(const struct osh_session *s)
{
	return s->upstream && s->upstream->state == OSH_UPSTREAM_READY ? &s->upstream->conn : NULL;
}

/* No step goes further: what was kept back for a burst is sent. True: there is something for
 * another step, if only the room for it. */
static bool settle(struct osh_session *s)
{
	struct osh_conn *upstream = upstream_of(s);
	size_t before = s->conn.out.len;
	bool news = pump(&s->conn);

	if (upstream)
		news |= pump(upstream);
	return news || (before >= CROWDED && s->conn.out.len < before);
}

/* Once for a flow, and of all that wait for the same limit one a second: who asks why it is slow
 * finds the answer in the log. */
static void record_wait(struct osh_session *s)
{
	const char *why = s->told_to_wait ? NULL : osh_meter_tell(s->conn.meter);

	if (!why)
		return;
	s->told_to_wait = true;
	osh_session_record(s, OSH_ENGINE_LIMIT, OSH_VERDICT_AUDIT, why);
}

static void wait_for(const struct osh_session *s, struct osh_conn *conn)
{
	osh_conn_update(conn);
	if ((!s->exchange || s->state == OSH_SESSION_RELAY) && conn->out.room > IDLE_ROOM_MAX)
		osh_buf_trim(&conn->out);
}

void osh_session_step(struct osh_session *s)
{
	unsigned steps = 0;
	bool again;

	if (s->reap.queued)
		return;
	do {
		osh_conn_pump_corked(&s->conn);
		if (upstream_of(s))
			osh_conn_pump_corked(upstream_of(s));
		again = step_state(s);
		if (s->reap.queued)
			return;
		again = again || settle(s);
	} while (again && ++steps < STEPS_MAX);
	if (again) /* bytes may wait inside OpenSSL, of which epoll knows nothing */
		(void)settle(s);
	if (s->state == OSH_SESSION_CLOSING && s->conn.out.len != s->last_left)
		osh_session_touch(s);
	wait_for(s, &s->conn);
	if (upstream_of(s))
		wait_for(s, upstream_of(s));
	if (s->conn.wait_ms)
		record_wait(s);
	if (again || s->conn.wait_ms)
		(void)osh_loop_timer_set(s->view->worker->loop, &s->pace, again ? 1 : s->conn.wait_ms);
}

static void on_pace(struct osh_timer *timer)
{
	osh_session_step(osh_container_of(timer, struct osh_session, pace));
}

static void on_conn_event(struct osh_conn *conn)
{
	osh_session_step(osh_container_of(conn, struct osh_session, conn));
}

/* ---- Beginning ----------------------------------------------------------------------------- */

static void join(struct osh_session *s, struct osh_view *view)
{
	s->view = view;
	s->timer.on_expire = on_deadline;
	s->pace.on_expire = on_pace;
	DL_APPEND(view->sessions, s);
	view->session_count++;
}

struct osh_session *osh_session_new_stream(struct osh_session *parent, const struct osh_carrier *carrier,
					   void *stream)
{
	struct osh_view *view = parent->view;
	struct osh_session *s = view->session_count < SESSIONS_PER_VIEW_MAX ? osh_block_zalloc(sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	s->flow = parent->flow;
	s->host = parent->host;
	s->port_host = parent->port_host;
	s->tls = parent->tls;
	s->denied = parent->denied;
	s->over_limit = parent->over_limit;
	s->fault = parent->fault;
	s->admitted = parent->admitted;
	s->clean = parent->clean;
	s->clean_asked = parent->clean_asked;
	osh_decision_copy(&s->decision, &parent->decision);
	osh_conn_init_carried(&s->conn, view->worker->loop, carrier, stream, on_conn_event);
	s->conn.want_read = true;
	join(s, view);
	osh_session_set_state(s, OSH_SESSION_HTTP);
	return s;
}

struct osh_session *osh_session_new(struct osh_view *view, int fd, const struct osh_flow *flow)
{
	struct osh_session *s = view->session_count < SESSIONS_PER_VIEW_MAX ? osh_block_zalloc(sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	s->flow = *flow;
	s->port_host = flow->dst_port_host;
	osh_conn_init(&s->conn, view->worker->loop, fd, on_conn_event);
	s->conn.readable = true; /* most programs have spoken already: try before sleeping */
	join(s, view);
	return s;
}
