/* TLS through the proxy, both sides of it: what a server or a program may do in it, and what is
 * said when it fails. */
#include <netinet/tcp.h>

#include "proxy_world.h"
#include "tls_certs.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  all:\n"
	"    endpoints:\n"
	"      - { host: ok.test, port: 443, protocol: rest, access: full, enforcement: enforce }\n"
	"      - { host: no.test, port: 443, protocol: rest, access: full, enforcement: enforce }\n"
	"    binaries: [{ path: /usr/bin/curl }]\n";

static char answer[1 << 16];
static struct certified world_root;
static atomic_uint requests;

#define REQUEST "GET /x HTTP/1.1\r\nHost: ok.test\r\n\r\n"
#define EXPECT_STATUS(text, status) \
	cr_expect(strncmp(text, "HTTP/1.1 " status, 12) == 0, "wanted %s, got: %.300s", status, text)
#define EXPECT_HAS(text, part) cr_expect(strstr(text, part), "no %s in: %.1500s", part, text)

static bool take_request(struct peer *p)
{
	ssize_t end = peer_await(p, "\r\n\r\n");

	if (end < 0)
		return false;
	atomic_fetch_add(&requests, 1);
	peer_consume(p, (size_t)end);
	return true;
}

static void serve(struct peer *p, uint16_t port_host)
{
	(void)port_host;
	while (take_request(p) && peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
		;
}

static void begin(void)
{
	world.script = serve;
	world_begin();
	set_policy(policy);
	keep(world.server_ctx);
	world_root = (struct certified){ world.world_ca.ca.cert, world.world_ca.ca.key };
}

TestSuite(proxy_tls, .init = begin, .timeout = 60);

/* The world's server, of one version of TLS. */
static SSL_CTX *server_of(int version)
{
	struct certified leaf = certify(&(struct wanted_cert){ .issuer = &world_root,
							       .alternative = "DNS:ok.test,DNS:no.test" });
	SSL_CTX *ctx = context_with(&leaf, NULL);

	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	return ctx;
}

static const char *ask(struct peer *p)
{
	cr_assert(peer_say(p, REQUEST));
	return peer_response(p, answer, sizeof(answer));
}

/* One request on a connection of its own, that leaves nothing in the pool. */
static const char *ask_once(void)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	cr_assert(p->ssl);
	ask(p);
	hang_up(p);
	return answer;
}

/* ---- Servers ----------------------------------------------------------------------------------- */

/* E05 */
Test(proxy_tls, client_certificate)
{
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		const struct osh_verdict *v;

		world.server_ctx = server_of(version);
		SSL_CTX_set_verify(world.server_ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		ask_once();
		EXPECT_STATUS(answer, "502");
		EXPECT_HAS(answer, "upstream_tls_failed");
		EXPECT_HAS(answer, "wants a client certificate");
		v = next_verdict();
		if (v->decision == OSH_VERDICT_ALLOW) /* TLS 1.3: the server says so behind the handshake */
			v = next_verdict();
		cr_expect(v->engine == OSH_ENGINE_TLS && v->decision == OSH_VERDICT_DENY && v->status == 502);
		EXPECT_HAS(v->reason, "tls: skip");
		cr_expect(requests == 0);
	}
	world.server_ctx = server_of(TLS1_3_VERSION);
	SSL_CTX_set_verify(world.server_ctx, SSL_VERIFY_PEER, NULL);
	ask_once();
	EXPECT_STATUS(answer, "200");
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
}

/* The alert comes when the first stream is under way already. */
Test(proxy_tls, client_certificate_for_http2)
{
	world.server_ctx = server_of(TLS1_3_VERSION);
	serve_protocol("\x02h2");
	SSL_CTX_set_verify(world.server_ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	ask_once();
	EXPECT_STATUS(answer, "502");
	EXPECT_HAS(answer, "wants a client certificate");
}

/* A body that ends with the connection: cut off, and ended as TLS wants it. */
static bool cuts_off;

static void serve_until_close(struct peer *p, uint16_t port_host)
{
	(void)port_host;
	if (!take_request(p))
		return;
	peer_say(p, "HTTP/1.1 200 OK\r\n\r\nhalf");
	if (cuts_off)
		SSL_set_quiet_shutdown(p->ssl, 1);
}

/* E09 */
Test(proxy_tls, an_end_without_close_notify_is_none)
{
	struct peer *p;

	world.script = serve_until_close;
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		world.server_ctx = server_of(version);
		for (cuts_off = false;; cuts_off = true) {
			p = dial_tls(WORLD_CURL, "ok.test");
			peer_say(p, REQUEST);
			cr_expect((peer_await(p, "4\r\nhalf\r\n0\r\n\r\n") > 0) == !cuts_off);
			hang_up(p);
			if (cuts_off)
				break;
		}
	}
}

static int refusal; /* what the server hears when it asks to begin anew */
static sem_t refused;

static void serve_and_renegotiate(struct peer *p, uint16_t port_host)
{
	(void)port_host;
	if (!take_request(p))
		return;
	SSL_renegotiate(p->ssl);
	SSL_do_handshake(p->ssl); /* asks for it */
	peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	ERR_clear_error();
	(void)peer_read(p);
	refusal = ERR_GET_REASON(ERR_peek_error());
	sem_post(&refused);
}

/* E09 */
Test(proxy_tls, a_server_cannot_renegotiate)
{
	sem_init(&refused, 0, 0);
	world.script = serve_and_renegotiate;
	world.server_ctx = server_of(TLS1_2_VERSION);
	EXPECT_STATUS(ask_once(), "200");
	sem_wait(&refused);
	cr_expect(refusal == SSL_R_NO_RENEGOTIATION);
}

static void serve_and_update_keys(struct peer *p, uint16_t port_host)
{
	(void)port_host;
	while (take_request(p)) {
		SSL_key_update(p->ssl, SSL_KEY_UPDATE_REQUESTED);
		if (!peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
			return;
	}
}

Test(proxy_tls, keys_may_be_updated)
{
	struct peer *p;

	world.script = serve_and_update_keys;
	world.server_ctx = server_of(TLS1_3_VERSION);
	p = dial_tls(WORLD_CURL, "ok.test");
	for (int i = 0; i < 3; i++) {
		EXPECT_STATUS(ask(p), "200");
		cr_expect(SSL_key_update(p->ssl, SSL_KEY_UPDATE_REQUESTED) == 1);
	}
	cr_expect(world.accepted == 1);
	hang_up(p);
}

static void serve_and_say_whether_resumed(struct peer *p, uint16_t port_host)
{
	(void)port_host;
	if (!take_request(p))
		return;
	peer_say(p, SSL_session_reused(p->ssl) ?
		 "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\nresumed" :
		 "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nnew");
}

/* E08 */
Test(proxy_tls, the_next_connection_resumes)
{
	world.script = serve_and_say_whether_resumed;
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		world.server_ctx = server_of(version);
		EXPECT_HAS(ask_once(), "\r\n\r\nnew");
		EXPECT_HAS(ask_once(), "\r\n\r\nresumed");
		EXPECT_HAS(ask_once(), "\r\n\r\nresumed");
	}
	/* It had to be verified once: a server that only claims to know us is not believed. */
	world.server_ctx = keep(server_context(&world.sandbox_ca.ca, "ok.test"));
	EXPECT_STATUS(ask_once(), "502");
	EXPECT_HAS(answer, "certificate");
}

/* ---- Programs ------------------------------------------------------------------------------------ */

/* A client of ours to be, with no handshake yet; it trusts the sandbox's authority. */
static struct peer *make_client(const char *host)
{
	struct peer *p = dial_plain(WORLD_CURL, host, 443);
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), world.sandbox_ca.ca.cert);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	p->ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	SSL_set_tlsext_host_name(p->ssl, host);
	SSL_set1_host(p->ssl, host);
	SSL_set_fd(p->ssl, p->fd);
	return p;
}

/* E11 */
Test(proxy_tls, a_program_that_pins)
{
	const struct osh_verdict *v;
	struct peer *p = make_client("ok.test");

	SSL_set0_verify_cert_store(p->ssl, X509_STORE_new()); /* trusts nobody */
	cr_expect(SSL_connect(p->ssl) != 1);
	v = next_verdict();
	cr_expect(v->engine == OSH_ENGINE_TLS && v->decision == OSH_VERDICT_DENY);
	EXPECT_HAS(v->reason, "does not accept the sandbox's authority");
	EXPECT_HAS(v->reason, "tls: skip");
	hang_up(p);
	p = make_client("ok.test");
	cr_expect(SSL_connect(p->ssl) == 1);
	EXPECT_STATUS(ask(p), "200");
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	hang_up(p);
	expect_no_verdict();
}

/* The first flight, before a byte of it is sent. */
static size_t make_hello(struct peer *p, unsigned char *room, size_t size)
{
	BIO *out = BIO_new(BIO_s_mem()), *in = BIO_new(BIO_s_mem());
	int len;

	BIO_set_mem_eof_return(in, -1);
	SSL_set_bio(p->ssl, in, out);
	cr_assert(SSL_connect(p->ssl) == -1 && SSL_get_error(p->ssl, -1) == SSL_ERROR_WANT_READ);
	len = BIO_read(out, room, (int)size);
	cr_assert(len > 0);
	return (size_t)len;
}

static void finish_handshake(struct peer *p)
{
	SSL_set_fd(p->ssl, p->fd);
	cr_assert(SSL_connect(p->ssl) == 1);
	EXPECT_STATUS(ask(p), "200");
	hang_up(p);
}

/* Each piece is a segment of its own. */
static void send_in_pieces(int fd, const unsigned char *bytes, size_t len, size_t piece)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	for (size_t at = 0; at < len; at += piece)
		cr_assert(send(fd, bytes + at, len - at < piece ? len - at : piece, MSG_NOSIGNAL) > 0);
}

/* Some say nothing when they do not like the certificate. */
Test(proxy_tls, a_program_that_leaves_with_the_certificate)
{
	struct peer *p = make_client("ok.test");
	unsigned char hello[2048];
	size_t len = make_hello(p, hello, sizeof(hello));
	const struct osh_verdict *v;

	send_in_pieces(p->fd, hello, len, len);
	cr_assert(recv(p->fd, hello, 1, 0) == 1);
	SSL_free(p->ssl);
	p->ssl = NULL;
	hang_up(p);
	v = next_verdict();
	cr_expect(v->engine == OSH_ENGINE_TLS && v->decision == OSH_VERDICT_DENY);
	EXPECT_HAS(v->reason, "tls: skip");
	/* One that left before it could see one. */
	p = make_client("ok.test");
	len = make_hello(p, hello, sizeof(hello));
	send_in_pieces(p->fd, hello, len / 2, len);
	SSL_free(p->ssl);
	p->ssl = NULL;
	hang_up(p);
	cr_expect(!strstr(next_verdict()->reason, "tls: skip"));
}

/* C36 */
Test(proxy_tls, hello_by_single_bytes)
{
	struct peer *p = make_client("ok.test");
	unsigned char hello[2048];
	size_t len = make_hello(p, hello, sizeof(hello));

	send_in_pieces(p->fd, hello, len, 1);
	finish_handshake(p);
}

/* C36 */
Test(proxy_tls, hello_split_into_records)
{
	enum { HEADER = 5, PIECE = 7 };
	struct peer *p = make_client("ok.test");
	unsigned char hello[2048], split[4 * sizeof(hello)];
	size_t len = make_hello(p, hello, sizeof(hello)), at = 0;

	for (size_t i = HEADER; i < len; i += PIECE) {
		size_t piece = len - i < PIECE ? len - i : PIECE;

		memcpy(split + at, hello, 3);
		split[at + 3] = 0;
		split[at + 4] = (unsigned char)piece;
		memcpy(split + at + HEADER, hello + i, piece);
		at += HEADER + piece;
	}
	send_in_pieces(p->fd, split, at, at);
	finish_handshake(p);
}

/* C36 */
Test(proxy_tls, versions_of_programs)
{
	static const struct { int version; bool fits; } rows[] = {
		{ TLS1_VERSION, false }, { TLS1_1_VERSION, false },
		{ TLS1_2_VERSION, true }, { TLS1_3_VERSION, true },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer *p = make_client("ok.test");

		SSL_set_security_level(p->ssl, 0);
		SSL_set_min_proto_version(p->ssl, rows[i].version);
		SSL_set_max_proto_version(p->ssl, rows[i].version);
		ERR_clear_error();
		cr_expect((SSL_connect(p->ssl) == 1) == rows[i].fits, "%x", (unsigned)rows[i].version);
		if (rows[i].fits) {
			EXPECT_STATUS(ask(p), "200");
			cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
		} else {
			cr_expect(ERR_GET_REASON(ERR_peek_error()) == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
			EXPECT_HAS(next_verdict()->reason, "unsupported protocol");
		}
		hang_up(p);
	}
}

Test(proxy_tls, unknown_protocols_are_not_agreed_upon)
{
	static const unsigned char odd[] = "\x06spdy/9", both[] = "\x06spdy/9\x08http/1.1";
	const unsigned char *chosen;
	unsigned len;
	struct peer *p = make_client("ok.test");

	SSL_set_alpn_protos(p->ssl, odd, sizeof(odd) - 1);
	cr_assert(SSL_connect(p->ssl) == 1);
	SSL_get0_alpn_selected(p->ssl, &chosen, &len);
	cr_expect(len == 0);
	EXPECT_STATUS(ask(p), "200");
	hang_up(p);
	p = make_client("ok.test");
	SSL_set_alpn_protos(p->ssl, both, sizeof(both) - 1);
	cr_assert(SSL_connect(p->ssl) == 1);
	SSL_get0_alpn_selected(p->ssl, &chosen, &len);
	cr_expect(len == 8 && memcmp(chosen, "http/1.1", 8) == 0);
	hang_up(p);
}

/* A session of a first connection; the caller frees it. */
static SSL_SESSION *first_session(const char *host)
{
	struct peer *p = make_client(host);
	SSL_SESSION *session;

	cr_assert(SSL_connect(p->ssl) == 1);
	ask(p);
	session = SSL_get1_session(p->ssl);
	cr_assert(SSL_SESSION_is_resumable(session));
	hang_up(p);
	return session;
}

static bool resumes(const char *host, SSL_SESSION *session)
{
	struct peer *p = make_client(host);
	bool resumed;

	SSL_set_session(p->ssl, session);
	cr_assert(SSL_connect(p->ssl) == 1);
	resumed = SSL_session_reused(p->ssl) == 1;
	cr_assert(peer_say(p, "GET /x HTTP/1.1\r\nHost: "));
	cr_assert(peer_say(p, host) && peer_say(p, "\r\n\r\n"));
	EXPECT_STATUS(peer_response(p, answer, sizeof(answer)), "200");
	hang_up(p);
	return resumed;
}

Test(proxy_tls, a_program_resumes_with_the_same_host)
{
	SSL_SESSION *session;

	world.server_ctx = server_of(TLS1_3_VERSION);
	session = first_session("ok.test");
	cr_expect(resumes("ok.test", session));
	cr_expect(!resumes("no.test", session), "a ticket of another host is nothing");
	SSL_SESSION_free(session);
}

/* Early data could be sent again by anybody (RFC 8446 8): none is taken, whatever a client hopes. */
/* C36 */
Test(proxy_tls, early_data_is_not_taken)
{
	static const char early[] = "POST /early HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 0\r\n\r\n";
	SSL_SESSION *session = first_session("ok.test"), *hopeful;
	unsigned before = requests;
	struct peer *p = make_client("ok.test");
	size_t sent;

	cr_expect(SSL_SESSION_get_max_early_data(session) == 0);
	hopeful = SSL_SESSION_dup(session);
	SSL_SESSION_set_max_early_data(hopeful, 1000);
	SSL_set_session(p->ssl, hopeful);
	cr_assert(SSL_write_early_data(p->ssl, early, sizeof(early) - 1, &sent) == 1);
	cr_assert(SSL_connect(p->ssl) == 1);
	cr_expect(SSL_get_early_data_status(p->ssl) == SSL_EARLY_DATA_REJECTED);
	EXPECT_STATUS(ask(p), "200");
	cr_expect(requests == before + 1, "only the one behind the handshake");
	hang_up(p);
	SSL_SESSION_free(hopeful);
	SSL_SESSION_free(session);
}

Test(proxy_tls, a_program_cannot_renegotiate)
{
	struct peer *p = make_client("ok.test");

	SSL_set_max_proto_version(p->ssl, TLS1_2_VERSION);
	cr_assert(SSL_connect(p->ssl) == 1);
	EXPECT_STATUS(ask(p), "200");
	cr_expect(SSL_renegotiate(p->ssl) == 1 && SSL_do_handshake(p->ssl) != 1);
	hang_up(p);
}
