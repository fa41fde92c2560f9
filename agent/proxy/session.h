/* One flow: a connection that a sandbox opened and the kernel sent here. This file
 * identifies it, asks the connect-time question and hands the bytes to what speaks
 * their language: relay (L4), http1, or the explanation of a denial.
 *
 *   ACCEPTED -> [ASKING ->] SNIFF -> { HANDSHAKE -> { HTTP | HTTP2 } | HTTP | RELAY } -> CLOSING
 *   HTTP -> { RELAY | WEBSOCKET }, when an upgrade was allowed
 *   { ACCEPTED | SNIFF | RELAY } -> FAREWELL -> CLOSING, when it is denied and speaks no HTTP
 *
 * A stream of an HTTP2 session is a session, too: it begins in HTTP, with its request in
 * the buffer (http2_server.c).
 *
 * Each state has one deadline; osh_session_set_state is its only writer. */
#ifndef OSH_PROXY_SESSION_H
#define OSH_PROXY_SESSION_H

#include "policy/host.h"
#include "proxy/conn.h"
#include "proxy/upstream.h"
#include "proxy/worker.h"

struct osh_credential_fault;
struct osh_exchange;
struct osh_http2;
struct osh_websocket;

enum osh_session_state {
	OSH_SESSION_SNIFF,     /* waiting for the first bytes, still in the socket */
	OSH_SESSION_HANDSHAKE, /* TLS with the sandbox */
	OSH_SESSION_HTTP,
	OSH_SESSION_HTTP2,     /* frames; each stream is a session in HTTP */
	OSH_SESSION_RELAY,     /* bytes both ways, unseen */
	OSH_SESSION_WEBSOCKET, /* frames both ways, the client's texts judged */
	OSH_SESSION_CLOSING,   /* last bytes on their way out */
	OSH_SESSION_ASKING,    /* before all of them: the agent is asked about the program's file */
	OSH_SESSION_FAREWELL,  /* denied, and what it speaks is not known yet */
	OSH_SESSION_STATE_COUNT,
};

/* How long a flow may stay in each state without progress; http1.h says more of HTTP. Only tests
 * change them, before a worker starts. */
extern uint64_t osh_session_deadlines_ms[OSH_SESSION_STATE_COUNT];

struct osh_session {
	struct osh_view *view;
	enum osh_session_state state;
	struct osh_conn conn;      /* downstream: the sandboxed side */
	struct osh_flow flow;      /* what the kernel saw */
	struct osh_host host;      /* the name behind the address, or the literal */
	uint16_t port_host;
	bool tls;                  /* the sandbox speaks TLS to us */
	bool denied;               /* refused at connect time: explain, never forward */
	const struct osh_credential_fault *fault; /* ... for this, when the policy allowed it */
	bool over_limit;           /* ... because the policy's limits are reached */
	struct osh_meter *meter;   /* that it is counted on; NULL: on none (denied, or a stream) */
	bool told_to_wait;         /* it is on record that its bytes wait for the meter */
	bool admitted;             /* the connect-time question was answered */
	bool asking;               /* for an answer, or for room to ask (awaits is 0) */
	uint32_t awaits;           /* the identity asked about */
	enum osh_cleanness clean;  /* of what the process runs, asked when a policy wants it */
	bool clean_asked;
	struct osh_decision decision; /* connect-time; refreshed when the policy changes */
	size_t sniffed;            /* bytes of an unfinished ClientHello seen so far */
	struct osh_upstream *upstream;
	struct osh_exchange *exchange; /* the request in progress, http1.c */
	struct osh_websocket *websocket; /* websocket_relay.c */
	struct osh_http2 *http2;   /* http2_server.c */
	bool skipped_line;         /* an empty line before the request, http1.c */
	size_t swallowed;          /* bytes thrown away while closing */
	size_t last_left;          /* of conn.out, when the deadline was set */
	struct osh_timer timer;    /* deadline of the state */
	uint64_t rest_ms;          /* of it, after the timer's next end */
	struct osh_timer pace;     /* goes on with a flow that gave way to others */
	struct osh_session *prev, *next; /* in view->sessions */
	struct osh_deferred reap;
};

/* Accept everything that waits on a tenant's listener. */
void osh_session_on_listener(struct osh_io *io, uint32_t events);

/* Serve a flow that was accepted, `fd` is taken over; refused, with a record, when the sandbox
 * has too many. */
void osh_session_admit(struct osh_view *view, int fd, const struct osh_flow *flow);

/* Begin a flow that the kernel sent here, `fd` is taken over: osh_session_begin decides on it.
 * NULL, with `fd` untouched, when the sandbox has too many or memory is out. */
struct osh_session *osh_session_new(struct osh_view *view, int fd, const struct osh_flow *flow);

/* Judge every live flow of the view again under its new snapshot: those still allowed
 * go on, those now denied end. */
void osh_session_judge_all(struct osh_view *view);
void osh_session_end_all(struct osh_view *view);
/* Those that still wait for their server, which puts them on record. */
void osh_session_end_unreached(struct osh_view *view);
/* The connection with this cookie (struct osh_flow), and what it carries. */
void osh_session_end_flow(struct osh_view *view, uint64_t cookie);
/* The agent answered: whoever waited for this, or for room to ask, goes on. `view` is NULL
 * when its sandbox is gone. */
void osh_session_on_answer(struct osh_worker *worker, struct osh_view *view,
			   const struct osh_question_about *about, const struct osh_exe_facts *facts);

/* ---- For the files that speak a protocol ---------------------------------------- */

/* Also arms the state's deadline. */
void osh_session_set_state(struct osh_session *session, enum osh_session_state state);
/* Push the deadline of the state out again: bytes moved. */
void osh_session_touch(struct osh_session *session);
void osh_session_set_deadline(struct osh_session *session, uint64_t in_ms);
/* Move what can be moved, step the protocol, arm events. Call after any change. */
void osh_session_step(struct osh_session *session);
/* End at once; `reset`: both peers see RST instead of FIN. Freed after the batch. */
void osh_session_end(struct osh_session *session, bool reset);

/* The connect-time question about this flow under the current snapshot. The strings
 * of the query are borrowed for the current batch. False: the identity is unknown. */
bool osh_session_query(struct osh_session *session, struct osh_connect_query *ret_query);
/* A session for a stream that `parent` carries: the same program, the same host. NULL when
 * the sandbox has too many flows or memory is out. */
struct osh_session *osh_session_new_stream(struct osh_session *parent, const struct osh_carrier *carrier,
					   void *stream);
/* Start a verdict with what is known of the flow. */
struct osh_verdict osh_session_verdict(struct osh_session *session, enum osh_verdict_engine engine,
				       enum osh_verdict_decision decision, const char *reason);
/* The reason of what was let go on, and then ended before its server was reached: `why` it was let
 * go on, and that. */
#define OSH_UNREACHED_MAX 64 /* bytes added */
void osh_session_say_unreached(const char *why, char *buf, size_t size);
/* What refused it when it connected. */
static inline enum osh_verdict_engine osh_session_refused_by(const struct osh_session *session)
{
	if (session->over_limit)
		return OSH_ENGINE_LIMIT;
	return session->fault ? OSH_ENGINE_CREDENTIAL : OSH_ENGINE_POLICY;
}
/* The credentials of its sandbox; NULL: none. */
static inline const struct osh_vault *osh_session_vault(const struct osh_session *session)
{
	return session->view->vault ? session->view->vault->vault : NULL;
}
/* Open a connection to the real server; events step the session. */
int osh_session_dial(struct osh_session *session, bool tls, enum osh_upstream_use use);

#endif
