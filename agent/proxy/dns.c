#include "proxy/dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/fd.h"
#include "base/log.h"
#include "policy/host.h"
#include "proxy/accept.h"
#include "proxy/conn.h"
#include "proxy/dns_lease.h"
#include "proxy/dns_message.h"

#define UDP_BATCH 64
#define ACCEPT_BATCH 16
#define ACCEPT_PAUSE_MS 200
#define STREAMS_MAX 64              /* TCP connections of one sandbox; beyond it: closed */
#define STREAM_IDLE_MS 10000
#define QUERIES_PER_S 2000          /* of one sandbox; beyond it: dropped, stubs ask again */
#define QUERIES_BURST 4000
#define RECORDS_PER_S 2             /* verdicts about refused questions */
#define RECORDS_BURST 20

/* So many at once, so many a second. */
struct bucket {
	uint64_t filled_ms;
	double tokens;
};

struct dns_stream {
	struct osh_dns *dns;
	struct osh_conn conn;
	struct osh_timer timer;
	struct osh_deferred reap;
	struct dns_stream *prev, *next;
};

struct dns_socket {
	struct osh_io io;
	struct osh_timer retry; /* listens again after a pause */
	struct osh_dns *dns;
};

struct osh_dns {
	struct osh_view *view;
	struct osh_leases *leases;
	struct dns_socket udp4, udp6, tcp4, tcp6;
	struct dns_stream *streams;
	unsigned stream_count;
	struct bucket queries, records;
	uint64_t suppressed; /* records not written since the last one */
};

/* ---- Bounds and records --------------------------------------------------------------- */

static bool spend(struct bucket *bucket, const struct osh_loop *loop, double per_s, double burst)
{
	uint64_t now_ms = osh_loop_now_ms(loop);

	if (!bucket->filled_ms) {
		bucket->tokens = burst;
	} else {
		bucket->tokens += (double)(now_ms - bucket->filled_ms) * per_s / 1000.0;
		if (bucket->tokens > burst)
			bucket->tokens = burst;
	}
	bucket->filled_ms = now_ms;
	if (bucket->tokens < 1)
		return false;
	bucket->tokens -= 1;
	return true;
}

static void record(struct osh_dns *dns, const char *host, const char *reason)
{
	char text[320];
	struct osh_verdict verdict = {
		.engine = OSH_ENGINE_DNS,
		.decision = OSH_VERDICT_DENY,
		.protocol = "dns",
		.dst_port_host = OSH_DNS_PORT,
		.host = host,
		.reason = reason,
	};

	if (!spend(&dns->records, dns->view->worker->loop, RECORDS_PER_S, RECORDS_BURST)) {
		dns->suppressed++;
		return;
	}
	if (dns->suppressed) {
		snprintf(text, sizeof(text), "%s (%llu more like this were not recorded)", reason,
			 (unsigned long long)dns->suppressed);
		verdict.reason = text;
		dns->suppressed = 0;
	}
	osh_worker_record(dns->view, &verdict);
}

/* ---- Names ------------------------------------------------------------------------------ */

static bool is_localhost(const char *name)
{
	return strcmp(name, "localhost") == 0 || osh_str_has_suffix(osh_str(name), ".localhost");
}

/* RFC 6761: always the loopback of who asks. */
static struct in6_addr loopback_of(const struct osh_dns_query *query)
{
	struct in6_addr v4_mapped = { .s6_addr = { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 } };
	struct in6_addr v6 = IN6ADDR_LOOPBACK_INIT;

	return query->type == OSH_DNS_TYPE_A ? v4_mapped : v6;
}

static struct in6_addr synthetic(const struct osh_dns_query *query, uint32_t addr_host)
{
	uint32_t addr_be = htonl(addr_host), prefix_be = htonl(OSH_SYNTH6_WORD0);
	struct in6_addr addr = { 0 };

	if (query->type == OSH_DNS_TYPE_A)
		addr.s6_addr[10] = addr.s6_addr[11] = 0xff;
	else
		memcpy(addr.s6_addr, &prefix_be, sizeof(prefix_be));
	memcpy(&addr.s6_addr[12], &addr_be, sizeof(addr_be));
	return addr;
}

/* Is there an address of this type to give? Other types (TXT, HTTPS, PTR ...) carry
 * nothing here: the name exists, the data does not. */
static bool is_address_type(const struct osh_dns *dns, uint16_t type)
{
	return type == OSH_DNS_TYPE_A ||
	       (type == OSH_DNS_TYPE_AAAA && dns->view->tenant->sockets.tcp6 >= 0);
}

static enum osh_dns_rcode lease(struct osh_dns *dns, const struct osh_dns_query *query,
				struct in6_addr *ret_addr)
{
	uint32_t addr_host;
	int r = osh_leases_get(dns->leases, query->name, &addr_host);

	if (r == 0) {
		*ret_addr = synthetic(query, addr_host);
		return OSH_DNS_NOERROR;
	}
	record(dns, query->name,
	       r == -EDQUOT ? "too many different names were asked for in this sandbox" :
			      "the table of names is full");
	return OSH_DNS_SERVFAIL;
}

static enum osh_dns_rcode resolve(struct osh_dns *dns, const struct osh_dns_query *query,
				  struct in6_addr *ret_addr, bool *ret_found)
{
	struct osh_host host;
	enum osh_dns_rcode rcode;

	*ret_found = false;
	if (is_localhost(query->name)) {
		*ret_found = query->type == OSH_DNS_TYPE_A || query->type == OSH_DNS_TYPE_AAAA;
		*ret_addr = loopback_of(query);
		return OSH_DNS_NOERROR;
	}
	if (!*query->name)
		return OSH_DNS_NOERROR; /* the root */
	/* What looks like an address is no name, and no host that a policy could mean. */
	if (osh_host_parse(osh_str(query->name), &host) < 0 || host.kind != OSH_HOST_NAME ||
	    osh_str_has_suffix(osh_str(query->name), ".invalid"))
		return OSH_DNS_NXDOMAIN;
	if (!is_address_type(dns, query->type))
		return OSH_DNS_NOERROR;
	rcode = lease(dns, query, ret_addr);
	*ret_found = rcode == OSH_DNS_NOERROR;
	return rcode;
}

/* Answer one message. Returns the answer's length, 0: none is due. */
static size_t answer(struct osh_dns *dns, struct osh_str bytes,
		     unsigned char buf[static OSH_DNS_ANSWER_MAX])
{
	struct osh_dns_query query;
	enum osh_dns_rcode rcode;
	struct in6_addr addr;
	bool found = false;

	if (!spend(&dns->queries, dns->view->worker->loop, QUERIES_PER_S, QUERIES_BURST)) {
		record(dns, NULL, "too many DNS questions a second");
		return 0;
	}
	if (osh_dns_parse(bytes, &query, &rcode) == OSH_DNS_DROP) {
		record(dns, NULL, "a DNS message that is no question");
		return 0;
	}
	if (rcode == OSH_DNS_FORMERR)
		record(dns, NULL, "malformed DNS question");
	if (rcode == OSH_DNS_NOERROR)
		rcode = resolve(dns, &query, &addr, &found);
	return osh_dns_answer(&query, rcode, found ? &addr : NULL, buf);
}

/* ---- UDP -------------------------------------------------------------------------------- */

static void on_udp(struct osh_io *io, uint32_t events)
{
	struct dns_socket *socket = osh_container_of(io, struct dns_socket, io);
	unsigned char reply[OSH_DNS_ANSWER_MAX];
	char bytes[OSH_DNS_QUERY_MAX + 1]; /* one more: too long shows */

	(void)events;
	for (int i = 0; i < UDP_BATCH; i++) {
		struct sockaddr_storage peer;
		socklen_t peer_len = sizeof(peer);
		ssize_t n = recvfrom(io->fd, bytes, sizeof(bytes), MSG_DONTWAIT,
				     (struct sockaddr *)&peer, &peer_len);
		size_t len;

		if (n < 0)
			return;
		len = answer(socket->dns, osh_str_n(bytes, (size_t)n), reply);
		/* A full socket buffer loses the answer: the stub asks again. */
		if (len)
			(void)!sendto(io->fd, reply, len, MSG_DONTWAIT | MSG_NOSIGNAL,
				      (struct sockaddr *)&peer, peer_len);
	}
}

/* ---- TCP (RFC 7766): two bytes of length before each message --------------------------------- */

static void reap_stream(struct osh_deferred *deferred)
{
	free(osh_container_of(deferred, struct dns_stream, reap));
}

static void end_stream(struct dns_stream *stream)
{
	struct osh_dns *dns = stream->dns;

	if (stream->reap.queued)
		return;
	osh_loop_timer_cancel(dns->view->worker->loop, &stream->timer);
	osh_conn_close(&stream->conn);
	DL_DELETE(dns->streams, stream);
	dns->stream_count--;
	stream->reap.run = reap_stream;
	osh_loop_defer(dns->view->worker->loop, &stream->reap);
}

/* Returns 1 when a message was answered, 0 when there is no whole one yet, -1 to end. */
static int answer_one(struct dns_stream *stream)
{
	struct osh_buf *in = &stream->conn.in, *out = &stream->conn.out;
	const unsigned char *p = (const unsigned char *)osh_buf_bytes(in);
	unsigned char reply[2 + OSH_DNS_ANSWER_MAX];
	size_t len, reply_len;

	if (osh_buf_free_bytes(out) < sizeof(reply))
		return 0; /* it does not read its answers: neither do we its questions */
	if (in->len < 2)
		return 0;
	len = (size_t)p[0] << 8 | p[1];
	if (len == 0 || len > OSH_DNS_QUERY_MAX) {
		record(stream->dns, NULL, "a DNS message over TCP of impossible length");
		return -1;
	}
	if (in->len < 2 + len)
		return 0;
	reply_len = answer(stream->dns, osh_str_n(osh_buf_bytes(in) + 2, len), reply + 2);
	if (reply_len == 0)
		return -1;
	reply[0] = (unsigned char)(reply_len >> 8);
	reply[1] = (unsigned char)reply_len;
	osh_buf_consume(in, 2 + len);
	return osh_buf_append(out, reply, 2 + reply_len) < 0 ? -1 : 1;
}

static void on_stream_event(struct osh_conn *conn)
{
	struct dns_stream *stream = osh_container_of(conn, struct dns_stream, conn);
	int r;

	if (stream->reap.queued)
		return;
	osh_conn_pump(conn);
	while ((r = answer_one(stream)) > 0)
		;
	osh_conn_pump(conn);
	if (r < 0 || conn->state == OSH_CONN_FAILED || (conn->eof && !conn->out.len)) {
		end_stream(stream);
		return;
	}
	osh_conn_update(conn);
}

static void on_stream_idle(struct osh_timer *timer)
{
	end_stream(osh_container_of(timer, struct dns_stream, timer));
}

static void admit_stream(struct osh_dns *dns, int fd)
{
	struct dns_stream *stream = dns->stream_count < STREAMS_MAX ? calloc(1, sizeof(*stream)) : NULL;

	if (!stream) {
		osh_close(fd);
		return;
	}
	stream->dns = dns;
	stream->timer.on_expire = on_stream_idle;
	osh_conn_init(&stream->conn, dns->view->worker->loop, fd, on_stream_event);
	stream->conn.want_read = true;
	DL_APPEND(dns->streams, stream);
	dns->stream_count++;
	/* Armed once: however it behaves, a stub is done by then. */
	(void)osh_loop_timer_set(dns->view->worker->loop, &stream->timer, STREAM_IDLE_MS);
	osh_conn_update(&stream->conn);
}

static void pause_listening(struct dns_socket *socket)
{
	struct osh_loop *loop = socket->dns->view->worker->loop;

	osh_loop_remove(loop, &socket->io);
	(void)osh_loop_timer_set(loop, &socket->retry, ACCEPT_PAUSE_MS);
}

static void on_tcp(struct osh_io *io, uint32_t events)
{
	struct dns_socket *socket = osh_container_of(io, struct dns_socket, io);

	(void)events;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage peer;
		int fd = osh_accept(socket->dns->view->worker, io->fd, &peer);

		if (fd >= 0)
			admit_stream(socket->dns, fd);
		else if (fd == -EAGAIN)
			return;
		else if (fd != -EMFILE) {
			pause_listening(socket);
			return;
		}
	}
}

/* ---- Life ------------------------------------------------------------------------------------- */

static void listen_on(struct dns_socket *socket)
{
	const struct osh_view *view = socket->dns->view;

	if (socket->io.fd >= 0 && osh_loop_set(view->worker->loop, &socket->io, EPOLLIN) < 0)
		osh_error("cannot answer DNS for %s", view->tenant->name);
}

static void on_retry(struct osh_timer *timer)
{
	listen_on(osh_container_of(timer, struct dns_socket, retry));
}

static void open_socket(struct osh_dns *dns, struct dns_socket *socket, int fd,
			void (*on_ready)(struct osh_io *io, uint32_t events))
{
	socket->dns = dns;
	socket->io = (struct osh_io){ .fd = fd, .on_ready = on_ready };
	socket->retry.on_expire = on_retry;
	listen_on(socket);
}

static void close_socket(struct osh_dns *dns, struct dns_socket *socket)
{
	osh_loop_remove(dns->view->worker->loop, &socket->io);
	osh_loop_timer_cancel(dns->view->worker->loop, &socket->retry);
}

struct osh_dns *osh_dns_new(struct osh_view *view)
{
	const struct osh_sandbox_sockets *sockets = &view->tenant->sockets;
	struct osh_dns *dns = calloc(1, sizeof(*dns));

	if (dns)
		dns->leases = osh_leases_new(view);
	if (!dns || !dns->leases) {
		free(dns);
		osh_error("cannot answer DNS for %s: out of memory", view->tenant->name);
		return NULL;
	}
	dns->view = view;
	open_socket(dns, &dns->udp4, sockets->dns_udp4, on_udp);
	open_socket(dns, &dns->udp6, sockets->dns_udp6, on_udp);
	open_socket(dns, &dns->tcp4, sockets->dns_tcp4, on_tcp);
	open_socket(dns, &dns->tcp6, sockets->dns_tcp6, on_tcp);
	return dns;
}

void osh_dns_free(struct osh_dns *dns)
{
	struct dns_stream *stream, *next;

	if (!dns)
		return;
	close_socket(dns, &dns->udp4);
	close_socket(dns, &dns->udp6);
	close_socket(dns, &dns->tcp4);
	close_socket(dns, &dns->tcp6);
	DL_FOREACH_SAFE(dns->streams, stream, next)
		end_stream(stream);
	osh_leases_free(dns->leases);
	free(dns);
}

void osh_dns_policy_changed(struct osh_dns *dns)
{
	osh_leases_sync(dns->leases);
}
