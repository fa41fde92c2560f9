#include "proxy/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/inet.h"
#include "base/secret.h"
#include "proxy/tls_socket.h"

#define READ_CHUNK (16u << 10) /* OpenSSL gives one record at a time */
#define BURST (3u * SSL3_RT_MAX_PLAIN_LENGTH) /* leaves room for what one more step may add */

static void on_ready(struct osh_io *io, uint32_t events)
{
	struct osh_conn *conn = osh_container_of(io, struct osh_conn, io);

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		conn->readable = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		conn->writable = true;
	conn->on_event(conn);
}

void osh_conn_init(struct osh_conn *conn, struct osh_loop *loop, int fd,
		   void (*on_event)(struct osh_conn *conn))
{
	int on = 1;

	*conn = (struct osh_conn){
		.loop = loop,
		.io = { .fd = fd, .on_ready = on_ready },
		.state = OSH_CONN_OPEN,
		.writable = true,
		.on_event = on_event,
	};
	osh_buf_init(&conn->in, OSH_CONN_BUF_MAX);
	osh_buf_init(&conn->out, OSH_CONN_BUF_MAX);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void osh_conn_init_carried(struct osh_conn *conn, struct osh_loop *loop,
			   const struct osh_carrier *carrier, void *stream,
			   void (*on_event)(struct osh_conn *conn))
{
	*conn = (struct osh_conn){
		.loop = loop,
		.io = { .fd = -1 },
		.carrier = carrier,
		.stream = stream,
		.state = OSH_CONN_OPEN,
		.on_event = on_event,
	};
	osh_buf_init(&conn->in, OSH_CONN_BUF_MAX);
	osh_buf_init(&conn->out, OSH_CONN_BUF_MAX);
}

void osh_conn_move(struct osh_conn *to, struct osh_conn *from, void (*on_event)(struct osh_conn *conn))
{
	osh_loop_remove(from->loop, &from->io);
	*to = *from;
	to->on_event = on_event;
	*from = (struct osh_conn){ .loop = to->loop, .io = { .fd = -1 }, .state = OSH_CONN_FAILED };
}

static void wipe_out(struct osh_conn *conn)
{
	if (conn->out.secret)
		osh_wipe(conn->out.data, conn->out.room);
	conn->out.secret = false;
}

void osh_conn_wipe_sent(struct osh_conn *conn)
{
	if (conn->out.len == 0)
		wipe_out(conn);
}

static void let_go(struct osh_conn *conn)
{
	wipe_out(conn);
	osh_buf_done(&conn->in);
	osh_buf_done(&conn->out);
	conn->state = OSH_CONN_FAILED;
}

static void leave_carrier(struct osh_conn *conn, bool reset)
{
	conn->carrier->close(conn, reset);
	conn->carrier = NULL;
	let_go(conn);
}

static void set_reset(struct osh_conn *conn, bool on)
{
	struct linger linger = { .l_onoff = on, .l_linger = 0 };

	conn->ends_by_reset = on;
	if (conn->io.fd >= 0)
		(void)setsockopt(conn->io.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

void osh_conn_end_by_reset(struct osh_conn *conn)
{
	set_reset(conn, true);
}

static void close_socket(struct osh_conn *conn)
{
	if (conn->io.fd < 0)
		return;
	osh_loop_remove(conn->loop, &conn->io);
	if (conn->ssl) /* or else OpenSSL would not resume its session (RFC 5246 7.2.1 allows it) */
		SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN);
	SSL_free(conn->ssl);
	conn->ssl = NULL;
	conn->io.fd = osh_close(conn->io.fd);
	let_go(conn);
}

void osh_conn_close(struct osh_conn *conn)
{
	if (conn->carrier) {
		leave_carrier(conn, false);
		return;
	}
	if (conn->ends_by_reset)
		set_reset(conn, false);
	close_socket(conn);
}

void osh_conn_reset(struct osh_conn *conn)
{
	if (conn->carrier) {
		leave_carrier(conn, true);
		return;
	}
	if (!conn->ends_by_reset)
		set_reset(conn, true);
	close_socket(conn);
}

void osh_conn_leave_address(struct osh_conn *conn, const struct in6_addr *address)
{
	if (conn->io.fd >= 0)
		osh_inet_leave(conn->io.fd, address);
}

static void fail(struct osh_conn *conn, int error)
{
	conn->state = OSH_CONN_FAILED;
	if (!conn->error)
		conn->error = error ? error : EPROTO;
}

int osh_conn_start_tls(struct osh_conn *conn, SSL *ssl)
{
	conn->ssl = ssl;
	if (osh_tls_socket_set(ssl, conn->io.fd) < 0)
		return -ENOMEM;
	conn->state = OSH_CONN_HANDSHAKE;
	conn->readable = true;
	return 0;
}

/* What to make of an OpenSSL call that did not succeed. Returns true when it is
 * worth trying again after an event. */
static bool ssl_would_block(struct osh_conn *conn, int result)
{
	int saved = errno;

	switch (SSL_get_error(conn->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		conn->readable = false;
		return true;
	case SSL_ERROR_WANT_WRITE:
		conn->writable = false;
		conn->ssl_wants_write = true;
		return true;
	case SSL_ERROR_ZERO_RETURN:
		conn->eof = true;
		conn->eof_clean = true;
		return true;
	case SSL_ERROR_SYSCALL:
		fail(conn, saved ? saved : ECONNRESET);
		return false;
	default:
		conn->tls_error = ERR_peek_last_error();
		fail(conn, EPROTO);
		return false;
	}
}

static void handshake(struct osh_conn *conn)
{
	int r;

	ERR_clear_error();
	errno = 0;
	conn->ssl_wants_write = false;
	r = SSL_do_handshake(conn->ssl);
	if (r == 1) {
		conn->state = OSH_CONN_OPEN;
		conn->readable = true; /* what came along may wait inside OpenSSL */
	} else {
		(void)ssl_would_block(conn, r);
	}
	if (conn->eof && conn->state == OSH_CONN_HANDSHAKE)
		fail(conn, ECONNRESET);
}

/* The most that may move now; 0: what waits, waits for the meter. */
static size_t allowance(struct osh_conn *conn)
{
	if (!conn->meter)
		return SIZE_MAX;
	conn->wait_ms = osh_meter_wait_ms(conn->meter);
	return conn->wait_ms ? 0 : osh_meter_piece(conn->meter);
}

/* What others left would be taken for a failure of the next call. */
static void forget_errors(void)
{
	if (ERR_peek_error()) /* the cheaper question, asked with every record */
		ERR_clear_error();
}

/* One read into the tail of `in`. Returns bytes, 0 when nothing more can be had now. */
static size_t read_some(struct osh_conn *conn, size_t want)
{
	ssize_t n;

	errno = 0;
	if (conn->ssl) {
		forget_errors();
		n = SSL_read(conn->ssl, osh_buf_tail(&conn->in), (int)want);
		if (n > 0)
			return (size_t)n;
		(void)ssl_would_block(conn, (int)n);
		return 0;
	}
	n = recv(conn->io.fd, osh_buf_tail(&conn->in), want, 0);
	if (n > 0)
		return (size_t)n;
	if (n == 0) {
		conn->eof = true;
		conn->eof_clean = true;
	} else if (errno == EAGAIN || errno == EINTR) {
		conn->readable = false;
	} else {
		fail(conn, errno);
	}
	return 0;
}

static void fill(struct osh_conn *conn)
{
	while (conn->want_read && !conn->hold_read && conn->readable && !conn->eof &&
	       conn->state == OSH_CONN_OPEN) {
		size_t room = osh_buf_free_bytes(&conn->in);
		size_t chunk = conn->ssl ? READ_CHUNK : OSH_CONN_BUF_MAX;
		size_t want = room < chunk ? room : chunk;
		size_t may = want ? allowance(conn) : 0;
		size_t got;

		if (may == 0)
			return;
		want = want < may ? want : may;
		if (osh_buf_reserve(&conn->in, want) < 0) {
			fail(conn, ENOMEM);
			return;
		}
		got = read_some(conn, want);
		osh_buf_grew(&conn->in, got);
		osh_meter_moved(conn->meter, got);
		/* A short read emptied the socket: save the EAGAIN call. */
		if (got && got < want && !(conn->ssl && SSL_has_pending(conn->ssl)))
			conn->readable = false;
		if (got == 0)
			return;
	}
}

/* A peer that takes no more may have said why (413 and the like): read that first. */
static void hear_last_words(struct osh_conn *conn)
{
	if (conn->state != OSH_CONN_FAILED)
		return;
	conn->state = OSH_CONN_OPEN;
	conn->readable = true;
	fill(conn);
	conn->state = OSH_CONN_FAILED;
}

/* What did not fit must be offered again with as many bytes (SSL_write(3)). */
static ssize_t write_tls(struct osh_conn *conn, size_t len)
{
	int n;

	len = len > conn->unfinished ? len : conn->unfinished;
	forget_errors();
	osh_tls_socket_more(conn->ssl, len > SSL3_RT_MAX_PLAIN_LENGTH);
	n = SSL_write(conn->ssl, osh_buf_bytes(&conn->out), (int)len);
	conn->unfinished = n <= 0 ? len : 0;
	if (n <= 0)
		(void)ssl_would_block(conn, n);
	return n;
}

static ssize_t write_plain(struct osh_conn *conn, size_t len)
{
	ssize_t n = send(conn->io.fd, osh_buf_bytes(&conn->out), len, MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		conn->writable = false;
	else if (n < 0)
		fail(conn, errno);
	return n;
}

static void send_out(struct osh_conn *conn)
{
	while (conn->out.len && conn->writable && conn->state == OSH_CONN_OPEN) {
		size_t len = allowance(conn);
		ssize_t n;

		if (len == 0)
			return;
		len = len < conn->out.len ? len : conn->out.len;
		errno = 0;
		n = conn->ssl ? write_tls(conn, len) : write_plain(conn, len);
		if (n <= 0) {
			hear_last_words(conn);
			return;
		}
		osh_buf_consume(&conn->out, (size_t)n);
		osh_meter_moved(conn->meter, (size_t)n);
	}
}

static void flush(struct osh_conn *conn)
{
	send_out(conn);
	osh_conn_wipe_sent(conn);
	if (conn->finish && !conn->finished && !conn->out.len && conn->state == OSH_CONN_OPEN) {
		conn->finished = true;
		if (conn->ssl)
			(void)SSL_shutdown(conn->ssl);
		(void)shutdown(conn->io.fd, SHUT_WR);
	}
}

void osh_conn_pump_corked(struct osh_conn *conn)
{
	conn->wait_ms = 0;
	if (conn->carrier) {
		conn->carrier->pump(conn);
		return;
	}
	if (conn->state == OSH_CONN_HANDSHAKE)
		handshake(conn);
	if (conn->state != OSH_CONN_OPEN)
		return;
	fill(conn);
	if (conn->out.len >= BURST)
		flush(conn);
}

void osh_conn_pump(struct osh_conn *conn)
{
	osh_conn_pump_corked(conn);
	if (conn->state == OSH_CONN_OPEN)
		flush(conn);
}

void osh_conn_update(struct osh_conn *conn)
{
	uint32_t events = 0;

	if (conn->io.fd < 0)
		return;
	osh_buf_trim(&conn->in); /* who waits holds no memory */
	switch (conn->state) {
	case OSH_CONN_HANDSHAKE:
		events = conn->ssl_wants_write ? EPOLLOUT : EPOLLIN;
		break;
	case OSH_CONN_OPEN:
		if (conn->want_read && !conn->eof && !conn->wait_ms && osh_buf_free_bytes(&conn->in) > 0)
			events |= EPOLLIN;
		if (conn->out.len && !conn->writable)
			events |= EPOLLOUT;
		break;
	case OSH_CONN_FAILED:
		break;
	}
	(void)osh_loop_set(conn->loop, &conn->io, events);
}
