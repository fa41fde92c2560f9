/* One connection, with or without TLS on it: bytes in, bytes out, and what the event loop
 * must wait for. Knows nothing of HTTP or of the other side. Its bytes travel by a socket,
 * or by a carrier: a stream of an HTTP/2 connection is a connection, too. */
#ifndef OSH_PROXY_CONN_H
#define OSH_PROXY_CONN_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/loop.h"
#include "proxy/meter.h"

#define OSH_CONN_BUF_MAX (64u << 10) /* each direction; back pressure beyond it */

enum osh_conn_state {
	OSH_CONN_HANDSHAKE, /* TLS handshake under way */
	OSH_CONN_OPEN,
	OSH_CONN_FAILED,    /* error set; no more I/O */
};

struct osh_conn;

/* What stands in for the socket. */
struct osh_carrier {
	/* Move bytes to `in` and from `out`, as osh_conn_pump does with a socket. */
	void (*pump)(struct osh_conn *conn);
	/* The owner lets go; called once. `reset`: the peer must not take it for an end. */
	void (*close)(struct osh_conn *conn, bool reset);
};

struct osh_conn {
	struct osh_loop *loop;
	struct osh_io io;
	SSL *ssl; /* owned; NULL: plain */
	const struct osh_carrier *carrier; /* NULL: the socket in io */
	void *stream;                      /* the carrier's */
	enum osh_conn_state state;
	struct osh_buf in, out;
	int error;          /* errno of the failure, 0 none */
	unsigned long tls_error; /* OpenSSL's word for it, 0 none (tls.h reads it) */
	bool want_read;     /* set by the owner: take bytes when there is room */
	bool hold_read;     /* ... but leave them in the socket (somebody peeks) */
	bool eof;           /* the peer will send no more */
	bool eof_clean;     /* ... and said so (TLS close_notify, or plain FIN) */
	bool finish;        /* set by the owner: shut down after `out` is flushed */
	bool finished;      /* that was done */
	bool readable, writable; /* as far as known; cleared by EAGAIN */
	bool ssl_wants_write;    /* the handshake or a read waits for room to write */
	struct osh_meter *meter; /* set by the owner, borrowed: bytes wait for it; NULL: they do not */
	uint64_t wait_ms;        /* ... this long; the owner pumps again then. 0: for the socket alone */
	bool ends_by_reset;      /* osh_conn_end_by_reset */
	size_t unfinished;       /* bytes of a TLS write that has to be repeated with as many */
	/* Called after progress of any kind; may destroy the owner (deferred). */
	void (*on_event)(struct osh_conn *conn);
};

/* Take over a connected socket. */
void osh_conn_init(struct osh_conn *conn, struct osh_loop *loop, int fd,
		   void (*on_event)(struct osh_conn *conn));
/* Begin one that `carrier` carries; it is open at once. */
void osh_conn_init_carried(struct osh_conn *conn, struct osh_loop *loop,
			   const struct osh_carrier *carrier, void *stream,
			   void (*on_event)(struct osh_conn *conn));
/* Hand socket, TLS and buffers of `from` to `to`, which calls its own on_event from now on. */
void osh_conn_move(struct osh_conn *to, struct osh_conn *from, void (*on_event)(struct osh_conn *conn));
/* Close without ceremony; safe on a zeroed struct with io.fd -1, and twice. */
void osh_conn_close(struct osh_conn *conn);
/* As close, but the peer sees a reset (SO_LINGER 0, tcp(7)). */
void osh_conn_reset(struct osh_conn *conn);
/* The peer sees a reset whatever ends this process: only osh_conn_close is an end from now on. For
 * bytes of which nothing else tells whether they are all. */
void osh_conn_end_by_reset(struct osh_conn *conn);
/* `address` is this host's no more: whoever speaks from it is not heard again. Such a connection is ended,
 * which its next event tells. */
void osh_conn_leave_address(struct osh_conn *conn, const struct in6_addr *address);

/* Begin TLS; the conn owns `ssl` from now on, also on failure. Accept or connect state
 * is set on it already. The handshake runs from the loop. Returns 0 or -ENOMEM. */
int osh_conn_start_tls(struct osh_conn *conn, SSL *ssl);

/* Move bytes from the socket to `in` and from `out` to the socket, as far as both go
 * without blocking, and drive the handshake. Failures end in OSH_CONN_FAILED. */
void osh_conn_pump(struct osh_conn *conn);
/* The same, but less than a burst of `out` is kept back: a head and its body share a TLS
 * record, and large bodies leave several at once. The caller pumps before it waits. */
void osh_conn_pump_corked(struct osh_conn *conn);
/* Arm exactly the events that can make progress. The only caller of the loop's set for
 * this descriptor. Call it last in every step. */
void osh_conn_update(struct osh_conn *conn);

/* Nothing is left to send: wipe what was, if it held a credential (the owner set out.secret). */
void osh_conn_wipe_sent(struct osh_conn *conn);

static inline bool osh_conn_is_open(const struct osh_conn *conn)
{
	return conn->state == OSH_CONN_OPEN;
}

/* Room left for what will be sent. */
static inline size_t osh_conn_out_room(const struct osh_conn *conn)
{
	return osh_buf_free_bytes(&conn->out);
}

#endif
