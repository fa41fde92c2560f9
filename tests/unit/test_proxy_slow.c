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

#define TAIL (512u << 10) /* of an answer that the connection's end delimits */

static void say_tail(struct peer *p)
{
	static char tail[TAIL];

	peer_say(p, "HTTP/1.1 200 OK\r\n\r\n");
	peer_write(p, tail, sizeof(tail));
}

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
		if (memmem(p->bytes, (size_t)head, "/tail", 5)) {
			say_tail(p);
			return;
		}
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

/* ---- The end of an answer that nothing but the connection's end delimits -------------------------------- */

static struct peer *ask_for_tail(void)
{
	struct peer *p;
	ssize_t head;

	world_limit_sockets(64u << 10); /* what is not taken stays with the proxy */
	p = dial_plain(WORLD_CURL, "ok.test", 80);
	peer_say(p, "GET /tail HTTP/1.0\r\nHost: ok.test\r\n\r\n");
	head = peer_await(p, "\r\n\r\n");
	cr_assert(head > 0);
	peer_consume(p, (size_t)head);
	return p;
}

/* Up to `want`, each piece after `wait_ms`. What the last read gave: 0 or -1 at the end. */
static ssize_t take(struct peer *p, size_t want, int wait_ms, size_t *taken)
{
	char piece[8u << 10];
	ssize_t n = 1;

	while (n > 0 && *taken < want) {
		(void)poll(NULL, 0, wait_ms);
		n = recv(p->fd, piece, sizeof(piece), 0);
		*taken += n > 0 ? (size_t)n : 0;
	}
	return n;
}

/* Wherever it stops: in the proxy's buffer, in the kernel's, or before. */
Test(proxy_slow, a_tail_that_nobody_takes_is_no_end)
{
	for (size_t left = 64u << 10; left <= 192u << 10; left += 32u << 10) {
		struct peer *p = ask_for_tail();
		struct pollfd cut = { .fd = p->fd };
		size_t taken = p->len;
		ssize_t end;

		cr_assert(take(p, TAIL - left, 0, &taken) > 0);
		(void)poll(&cut, 1, 2 * DEADLINE_MS);
		end = take(p, SIZE_MAX, 0, &taken);
		cr_expect(end == 0 ? taken == TAIL : taken < TAIL, "%zu bytes left: %zu of %u, then %zd", left, taken, TAIL,
			  end);
		hang_up(p);
	}
}

Test(proxy_slow, a_tail_that_is_taken_slowly_comes_whole)
{
	struct peer *p;
	size_t taken;

	osh_session_deadlines_ms[OSH_SESSION_CLOSING] = DEADLINE_MS / 12;
	p = ask_for_tail();
	taken = p->len;
	cr_assert(take(p, TAIL - (192u << 10), 0, &taken) > 0);
	cr_expect(take(p, SIZE_MAX, DEADLINE_MS / 12, &taken) == 0);
	cr_expect(taken == TAIL, "%zu of %u", taken, TAIL);
	hang_up(p);
}
