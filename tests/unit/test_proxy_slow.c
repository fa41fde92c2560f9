/* Clients that do not go on: each state has its deadline, and who moves outlives it. */
#include "proxy_world.h"

#include "proxy/session.h"

static const char policy[] =
	"version: 1\nnetwork_policies:\n"
	"  web:\n    endpoints:\n"
	"      - { host: ok.test, ports: [80, 443], protocol: rest, enforcement: enforce, access: full }\n"
	"    binaries: [{ path: /usr/bin/curl }]\n"
	"  raw:\n    endpoints: [{ host: l4.test, port: 5432 }]\n"
	"    binaries: [{ path: /usr/bin/curl }]\n";

/* A raw client gets back what it sends. */
static void serve(struct peer *p, uint16_t port_host)
{
	ssize_t head;

	if (port_host == 5432) {
		while (peer_read(p) > 0) {
			peer_write(p, p->bytes, p->len);
			peer_consume(p, p->len);
		}
		return;
	}
	while ((head = peer_await(p, "\r\n\r\n")) > 0) {
		peer_consume(p, (size_t)head);
		peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	}
}

#define DEADLINE_MS 1200

static void begin(void)
{
	for (size_t i = 0; i < OSH_SESSION_STATE_COUNT; i++)
		osh_session_deadlines_ms[i] = DEADLINE_MS;
	world.script = serve;
	world_begin();
	set_policy(policy);
}

TestSuite(proxy_slow, .init = begin, .timeout = 60);

static void ask(struct peer *p)
{
	char answer[1024];

	peer_say(p, "GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n");
	peer_response(p, answer, sizeof(answer));
	cr_expect(strncmp(answer, "HTTP/1.1 200 ", 13) == 0, "%s", answer);
}

/* Nothing is to be read for `ms`. */
static bool is_quiet(const struct peer *p, int ms)
{
	struct pollfd wait = { .fd = p->fd, .events = POLLIN };

	return poll(&wait, 1, ms) == 0;
}

Test(proxy_slow, idle)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	/* Longer than the deadline, request by request. */
	for (int i = 0; i < 5; i++) {
		ask(p);
		cr_expect(is_quiet(p, DEADLINE_MS / 3));
	}
	cr_expect(peer_end(p) == 0, "a clean end");
	hang_up(p);
}

Test(proxy_slow, silent)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 443);

	cr_expect(peer_read(p) < 0 && errno == ECONNRESET);
	hang_up(p);
}

/* A ClientHello of 512 bytes, of which one comes now and then: the deadline is for all of it. */
Test(proxy_slow, hello_that_never_ends)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 443);
	int steps = 0;

	peer_write(p, "\x16\x03\x01\x02\0\1\0\1\xfc", 9);
	while (is_quiet(p, DEADLINE_MS / 8) && steps++ < 100)
		send(p->fd, "", 1, MSG_NOSIGNAL);
	cr_expect(steps >= 2 && steps < 100, "%d", steps);
	cr_expect(peer_read(p) <= 0);
	hang_up(p);
}

/* The client's first flight, and nothing more. */
Test(proxy_slow, handshake)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 443);
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	char *hello;
	long len;

	SSL_set_bio(ssl, in, out);
	SSL_set_tlsext_host_name(ssl, "ok.test");
	cr_assert(SSL_connect(ssl) < 0);
	len = BIO_get_mem_data(out, &hello);
	peer_write(p, hello, (size_t)len);
	cr_expect(peer_read(p) > 0, "the server's flight");
	while (peer_read(p) > 0)
		peer_consume(p, p->len);
	cr_expect(is_quiet(p, 0) == false, "it ended");
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	hang_up(p);
}

Test(proxy_slow, relay)
{
	struct peer *p = dial_plain(WORLD_CURL, "l4.test", 5432);

	for (int i = 0; i < 5; i++) {
		peer_say(p, "x");
		cr_assert(peer_await(p, "x") > 0, "who moves stays");
		peer_consume(p, p->len);
		cr_expect(is_quiet(p, DEADLINE_MS / 3));
	}
	cr_expect(peer_read(p) < 0 && errno == ECONNRESET);
	hang_up(p);
}
