#include "proxy/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/block.h"
#include "base/fd.h"
#include "base/knockout.h"
#include "proxy/farewell.h"
#include "proxy/hello.h"
#include "proxy/http1.h"
#include "proxy/http2_server.h"
#include "proxy/relay.h"
#include "proxy/rewrite.h"
#include "proxy/session_decide.h"
#include "proxy/tls.h"
#include "proxy/websocket_relay.h"

#define SESSIONS_PER_VIEW_MAX 8192 /* beyond it: refused, so that one sandbox cannot starve others */
#define QUIET_MS 1000
#define STEPS_MAX 256             /* before other flows have their turn */
#define SWALLOW_BYTES_MAX (256u << 20)
#define IDLE_ROOM_MAX (4u << 10) /* memory for answers that a flow keeps between requests */
#define CROWDED (OSH_CONN_BUF_MAX - OSH_HTTP_RESPONSE_HEAD_MAX - 256u) /* the longest head finds no room */

static const uint64_t deadlines_ms[OSH_SESSION_STATE_COUNT] = {
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

void osh_session_set_state(struct osh_session *s, enum osh_session_state state)
{
	s->state = state;
	osh_session_set_deadline(s, deadlines_ms[state]);
}

void osh_session_touch(struct osh_session *s)
{
	osh_session_set_deadline(s, deadlines_ms[s->state]);
}

static void reap(struct osh_deferred *deferred)
{
	osh_block_free(osh_container_of(deferred, struct osh_session, reap));
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

void osh_session_end_all(struct osh_view *view)
{
	struct osh_session *s, *next;

	DL_FOREACH_SAFE(view->sessions, s, next)
		osh_session_end(s, true);
}

/* The policy's limit on bytes makes it wait: that is nobody's slowness. */
static bool is_held_back(const struct osh_session *s)
{
	const struct osh_snapshot *snapshot = s->view->snapshot;

	return snapshot && !s->denied && osh_meter_wait_ms(osh_meters_of(&snapshot->meters, &s->decision)) > 0;
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
	osh_session_end(s, s->state != OSH_SESSION_CLOSING);
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

/* ---- Sniffing -------------------------------------------------------------------------- */

enum sniffed { SNIFF_MORE, SNIFF_TLS, SNIFF_PLAIN, SNIFF_FOREIGN, SNIFF_EMPTY, SNIFF_BAD };

/* Plain, or of a protocol that has words of its own for a refusal? */
static enum sniffed sniff_plain(struct osh_str bytes)
{
	switch (osh_tongue_of(bytes)) {
	case OSH_TONGUE_SSH:
	case OSH_TONGUE_POSTGRES:
	case OSH_TONGUE_POSTGRES_ASKS:
		return SNIFF_FOREIGN;
	case OSH_TONGUE_UNKNOWN:
	case OSH_TONGUE_MORE:
	case OSH_TONGUE_TLS:
		break;
	}
	return SNIFF_PLAIN;
}

/* Look at the first bytes without taking them: OpenSSL or the relay will read them
 * from the socket. */
static enum sniffed sniff(struct osh_session *s, char name[OSH_HOST_MAX])
{
	char bytes[OSH_HELLO_BYTES_MAX];
	struct osh_hello hello;
	int low_water;
	ssize_t n;

	name[0] = '\0';
	if (!s->conn.readable)
		return SNIFF_MORE; /* stepped for another reason */
	n = recv(s->conn.io.fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		s->conn.readable = false;
		return SNIFF_MORE;
	}
	if (n <= 0)
		return SNIFF_EMPTY;
	if ((size_t)n == s->sniffed)
		return SNIFF_BAD; /* ended in the middle: the low-water mark was not reached */
	if (bytes[0] != OSH_HELLO_FIRST_BYTE)
		return sniff_plain(osh_str_n(bytes, (size_t)n));
	switch (osh_hello_parse(osh_str_n(bytes, (size_t)n), &hello)) {
	case OSH_HELLO_DONE:
		return osh_str_copy(hello.sni, name, OSH_HOST_MAX) == 0 ? SNIFF_TLS : SNIFF_BAD;
	case OSH_HELLO_BAD:
		return SNIFF_BAD;
	case OSH_HELLO_NEED_MORE:
		break;
	}
	/* Sleep until there is more than what was looked at. */
	s->sniffed = (size_t)n;
	s->conn.readable = false;
	low_water = (int)n + 1;
	(void)setsockopt(s->conn.io.fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof(low_water));
	return SNIFF_MORE;
}

static void stop_sniffing(struct osh_session *s)
{
	int low_water = 1;

	if (s->sniffed)
		(void)setsockopt(s->conn.io.fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof(low_water));
	s->conn.hold_read = false;
	s->conn.readable = true;
}

/* A fatal alert before any handshake (RFC 8446 6.2), then the end. */
static void end_with_alert(struct osh_session *s, unsigned char description)
{
	const unsigned char alert[] = { 21, 3, 1, 0, 2, 2, description };
	char waste[OSH_HELLO_BYTES_MAX];

	/* Unread bytes would turn the close into a reset and the alert would be lost. */
	while (recv(s->conn.io.fd, waste, sizeof(waste), MSG_DONTWAIT) > 0)
		;
	(void)!send(s->conn.io.fd, alert, sizeof(alert), MSG_NOSIGNAL | MSG_DONTWAIT);
	osh_session_end(s, false);
}

#define ALERT_ACCESS_DENIED 49
#define ALERT_DECODE_ERROR 50
#define ALERT_INTERNAL_ERROR 80
#define ALERT_UNRECOGNIZED_NAME 112

static bool sni_matches(struct osh_session *s, const char *sni)
{
	struct osh_host named;

	return osh_layer_off("sni") || !*sni || (osh_host_parse(osh_str(sni), &named) == 0 &&
			 strcmp(named.text, s->host.text) == 0);
}

static void refuse_sni(struct osh_session *s, const char *sni)
{
	char reason[OSH_HOST_MAX + 300];

	snprintf(reason, sizeof(reason), "TLS server name %.255s is not the host dialled (%.255s)", sni,
		 s->host.text);
	osh_session_record(s, OSH_ENGINE_TLS, OSH_VERDICT_DENY, reason);
	end_with_alert(s, ALERT_UNRECOGNIZED_NAME);
}

static void start_handshake(struct osh_session *s, const char *sni)
{
	struct osh_host named;
	const char *as = s->host.text;
	SSL *ssl;

	/* An explanation is given under the name that the client expects. */
	if (s->denied && osh_host_parse(osh_str(sni), &named) == 0)
		as = named.text;
	ssl = osh_tls_accept_new(s->view, as, !s->denied);
	if (!ssl || osh_conn_start_tls(&s->conn, ssl) < 0) {
		end_with_alert(s, ALERT_INTERNAL_ERROR);
		return;
	}
	s->tls = true;
	osh_session_set_state(s, OSH_SESSION_HANDSHAKE);
}

static void start_http(struct osh_session *s)
{
	if (s->tls && osh_tls_speaks_http2(s->conn.ssl)) {
		if (osh_http2_begin(s) < 0)
			osh_session_end(s, true);
		return;
	}
	s->conn.want_read = true;
	osh_session_set_state(s, OSH_SESSION_HTTP);
}

static void record_bad_start(struct osh_session *s)
{
	if (!s->denied)
		osh_session_record(s, OSH_ENGINE_TLS, OSH_VERDICT_DENY, "malformed TLS ClientHello");
}

/* Neither TLS nor HTTP, where a policy inspects requests or a denial is explained. */
static void refuse_foreign(struct osh_session *s)
{
	static const char reason[] = "this endpoint is inspected: HTTP alone may be spoken to it";

	if (!s->denied)
		osh_session_record(s, OSH_ENGINE_HTTP, OSH_VERDICT_DENY, reason);
	osh_session_take_leave(s, s->denied ? s->decision.reason : reason);
}

static bool step_sniff(struct osh_session *s)
{
	char sni[OSH_HOST_MAX];

	switch (sniff(s, sni)) {
	case SNIFF_MORE:
		return false;
	case SNIFF_EMPTY: /* it asked for nothing */
		osh_session_end(s, false);
		return false;
	case SNIFF_BAD:
		record_bad_start(s);
		end_with_alert(s, ALERT_DECODE_ERROR);
		return false;
	case SNIFF_PLAIN:
		stop_sniffing(s);
		start_http(s);
		return true;
	case SNIFF_FOREIGN:
		stop_sniffing(s);
		refuse_foreign(s);
		return true;
	case SNIFF_TLS:
		if (!s->denied && !sni_matches(s, sni)) {
			refuse_sni(s, sni);
			return false;
		}
		stop_sniffing(s);
		start_handshake(s, sni);
		return !s->reap.queued;
	}
	return false;
}

/* L4: the client's first bytes are looked at only to hold TLS to its name; the server
 * may speak first meanwhile. */
static bool step_relay(struct osh_session *s)
{
	bool let_go = false;
	char sni[OSH_HOST_MAX];

	if (s->conn.hold_read) {
		switch (sniff(s, sni)) {
		case SNIFF_MORE:
			break;
		case SNIFF_BAD:
			record_bad_start(s);
			osh_session_end(s, true);
			return false;
		case SNIFF_TLS:
			if (!sni_matches(s, sni)) {
				refuse_sni(s, sni);
				return false;
			}
			if (osh_session_guards_credential(s)) {
				osh_session_record(s, OSH_ENGINE_CREDENTIAL, OSH_VERDICT_DENY,
					       osh_credential_opaque.reason);
				end_with_alert(s, ALERT_ACCESS_DENIED);
				return false;
			}
			let_go = true;
			break;
		case SNIFF_PLAIN:
		case SNIFF_FOREIGN:
		case SNIFF_EMPTY:
			let_go = true;
			break;
		}
	}
	if (let_go)
		stop_sniffing(s);
	/* What was held can be read only now: step again for it. */
	return osh_relay_step(s) || (let_go && !s->reap.queued);
}

static void record_failed_handshake(struct osh_session *s)
{
	char why[256], reason[400];

	if (s->denied)
		return; /* it has its verdict */
	osh_tls_failure(&s->conn, why, sizeof(why));
	if (osh_tls_distrusted(&s->conn))
		snprintf(reason, sizeof(reason),
			 "the program refused the sandbox's authority (%s): if it trusts only a certificate "
			 "of its own, give this endpoint tls: skip", why);
	else
		snprintf(reason, sizeof(reason), "the TLS handshake with the program failed: %s", why);
	osh_session_record(s, OSH_ENGINE_TLS, OSH_VERDICT_DENY, reason);
}

static bool step_handshake(struct osh_session *s)
{
	if (s->conn.state == OSH_CONN_HANDSHAKE)
		return false;
	if (s->conn.state == OSH_CONN_FAILED) {
		record_failed_handshake(s);
		osh_session_end(s, false);
		return false;
	}
	start_http(s);
	return !s->reap.queued;
}

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
	if (len)
		osh_session_touch(s); /* an upload that has not seen the answer yet */
	return len > 0;
}

static bool step_state(struct osh_session *s)
{
	switch (s->state) {
	case OSH_SESSION_ASKING:
		return false;
	case OSH_SESSION_SNIFF:
		return step_sniff(s);
	case OSH_SESSION_HANDSHAKE:
		return step_handshake(s);
	case OSH_SESSION_HTTP:
		return osh_http1_step(s);
	case OSH_SESSION_HTTP2:
		return osh_http2_step(s);
	case OSH_SESSION_RELAY:
		return step_relay(s);
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

static unsigned ends_of(const struct osh_conn *conn)
{
	return conn->finished + 2u * (conn->state == OSH_CONN_FAILED);
}

/* The last step may have left bytes to send. True: a connection came to its end by that, which
 * no event will tell. */
static bool pump_and_wait(const struct osh_session *s, struct osh_conn *conn)
{
	unsigned ends = ends_of(conn);
	bool is_answering = s->exchange && s->state != OSH_SESSION_RELAY;

	osh_conn_pump(conn);
	osh_conn_update(conn);
	if (!is_answering && conn->out.room > IDLE_ROOM_MAX)
		osh_buf_trim(&conn->out);
	return ends_of(conn) != ends;
}

/* A step that found no room behind what is kept back for a burst finds it now, or the end of
 * the connection. */
static bool make_room(struct osh_session *s)
{
	size_t before = s->conn.out.len;
	unsigned ends = ends_of(&s->conn);

	if (before < CROWDED)
		return false;
	osh_conn_pump(&s->conn);
	return s->conn.out.len < before || ends_of(&s->conn) != ends;
}

void osh_session_step(struct osh_session *s)
{
	unsigned steps = 0;
	bool again;

	if (s->reap.queued)
		return;
	do {
		osh_conn_pump_corked(&s->conn);
		if (s->upstream && s->upstream->state == OSH_UPSTREAM_READY)
			osh_conn_pump_corked(&s->upstream->conn);
		again = step_state(s);
		if (s->reap.queued)
			return;
		again = again || make_room(s);
	} while (again && ++steps < STEPS_MAX);
	/* If `again`, bytes may wait inside OpenSSL, of which epoll knows nothing. */
	again |= pump_and_wait(s, &s->conn);
	if (s->upstream && s->upstream->state == OSH_UPSTREAM_READY)
		again |= pump_and_wait(s, &s->upstream->conn);
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
	s->decision = parent->decision;
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
