/* Servers that hang, break off or speak another protocol: what the program gets, and that
 * nothing of it is used again. */
#include "proxy_world.h"

#include "proxy/upstream.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  all:\n"
	"    endpoints:\n"
	"      - { host: ok.test, ports: [443, 80], protocol: rest, access: full, enforcement: enforce }\n"
	"    binaries: [{ path: /usr/bin/curl }]\n";

static char answer[1 << 16];
static atomic_uint requests;
static sem_t may_break, gone; /* a server may go on; it has seen the end */

#define HOST "Host: ok.test\r\n"
#define EXPECT_STATUS(text, status) \
	cr_expect(strncmp(text, "HTTP/1.1 " status, 12) == 0, "wanted %s, got: %.300s", status, text)
#define EXPECT_HAS(text, part) cr_expect(strstr(text, part), "no %s in: %.1500s", part, text)

/* By path: /whole, /short and /chunk are cut off by a reset in their middle, /upload reads. */
static void serve(struct peer *p, uint16_t port_host)
{
	(void)port_host;
	for (;;) {
		ssize_t end = peer_await(p, "\r\n\r\n");
		bool is_short, is_chunked, is_upload;

		if (end < 0)
			return;
		atomic_fetch_add(&requests, 1);
		is_short = strstr(p->bytes, "/short");
		is_chunked = strstr(p->bytes, "/chunk");
		is_upload = strstr(p->bytes, "/upload");
		peer_consume(p, (size_t)end);
		if (is_upload) {
			while (peer_read(p) > 0)
				p->len = 0;
			sem_post(&gone);
			return;
		}
		if (is_short || is_chunked) {
			peer_say(p, is_short ? "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" :
					       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf");
			sem_wait(&may_break);
			peer_reset(p);
			return;
		}
		if (!peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfull"))
			return;
	}
}

static void begin(void)
{
	sem_init(&may_break, 0, 0);
	sem_init(&gone, 0, 0);
	world.script = serve;
	world_begin();
	set_policy(policy);
}

static void begin_impatient(void)
{
	osh_upstream_deadlines.handshake_ms = 2000;
	begin();
}

TestSuite(proxy_upstream, .init = begin, .timeout = 60);
TestSuite(proxy_upstream_slow, .init = begin_impatient, .timeout = 60);

static const char *ask(struct peer *p, const char *request)
{
	cr_assert(peer_say(p, request));
	return peer_response(p, answer, sizeof(answer));
}

/* ---- Breaking off --------------------------------------------------------------------------------- */

static struct peer *dial(uint16_t port_host)
{
	return port_host == 443 ? dial_tls(WORLD_CURL, "ok.test") : dial_plain(WORLD_CURL, "ok.test", port_host);
}

/* The next request is answered, on a connection of its own. */
static void expect_fresh_connection(uint16_t port_host, unsigned accepted_before)
{
	struct peer *p = dial(port_host);

	EXPECT_STATUS(ask(p, "GET /whole HTTP/1.1\r\n" HOST "\r\n"), "200");
	cr_expect(world.accepted == accepted_before + 1, "not on the broken one");
	EXPECT_STATUS(ask(p, "GET /whole HTTP/1.1\r\n" HOST "\r\n"), "200");
	cr_expect(world.accepted == accepted_before + 1, "a whole one is kept");
	hang_up(p);
}

/* What came is passed on as it comes; what follows is an error, never an end. */
static void expect_broken_off(uint16_t port_host, const char *request)
{
	struct peer *p = dial(port_host);
	unsigned accepted;

	cr_assert(peer_say(p, request));
	cr_expect(peer_await(p, "half") > 0);
	accepted = world.accepted;
	p->len = 0;
	sem_post(&may_break);
	cr_expect(peer_end(p) < 0 && errno == ECONNRESET);
	hang_up(p);
	expect_fresh_connection(port_host, accepted);
}

/* F12 */
Test(proxy_upstream, a_server_that_resets_in_the_middle)
{
	static const uint16_t ports[] = { 80, 443 };

	for (size_t i = 0; i < 2; i++) {
		expect_broken_off(ports[i], "GET /short HTTP/1.1\r\n" HOST "\r\n");
		expect_broken_off(ports[i], "GET /chunk HTTP/1.1\r\n" HOST "\r\n");
	}
}

/* F12 */
Test(proxy_upstream, a_program_that_resets_in_the_middle)
{
	struct peer *p = dial(80);

	cr_assert(peer_say(p, "POST /upload HTTP/1.1\r\n" HOST "Content-Length: 99\r\n\r\nhalf"));
	while (requests == 0)
		(void)poll(NULL, 0, 5);
	peer_reset(p);
	hang_up(p);
	sem_wait(&gone);
	expect_fresh_connection(80, world.accepted);
}

/* ---- Another protocol --------------------------------------------------------------------------------- */

static int refuse_protocols(SSL *ssl, const unsigned char **out, unsigned char *out_len,
			    const unsigned char *in, unsigned in_len, void *arg)
{
	(void)ssl, (void)out, (void)out_len, (void)in, (void)in_len, (void)arg;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* It is offered both, and never tried without TLS. */
/* E12 */
Test(proxy_upstream, a_server_that_takes_no_protocol)
{
	struct peer *p = dial(443);

	SSL_CTX_set_alpn_select_cb(world.server_ctx, refuse_protocols, NULL);
	EXPECT_STATUS(ask(p, "GET /whole HTTP/1.1\r\n" HOST "\r\n"), "502");
	EXPECT_HAS(answer, "no application protocol");
	cr_expect(world.accepted == 2 && requests == 0);
	serve_protocol("\x08http/1.1");
	EXPECT_STATUS(ask(p, "GET /whole HTTP/1.1\r\n" HOST "\r\n"), "200");
	cr_expect(world.accepted == 3);
	hang_up(p);
}

/* ---- Silence -------------------------------------------------------------------------------------------- */

/* F11 (test_proxy_silence.c has the others). Plain TCP where TLS is awaited: it takes the hello and says nothing. */
Test(proxy_upstream_slow, a_server_that_says_no_hello)
{
	int silent = listen_at("203.0.113.10", 8443, SOCK_STREAM, NULL);
	struct peer *p;

	(void)silent;
	set_policy("version: 1\n"
		   "network_policies:\n"
		   "  all:\n"
		   "    endpoints: [{ host: ok.test, ports: [443, 8443], protocol: rest, access: full }]\n"
		   "    binaries: [{ path: /usr/bin/curl }]\n");
	p = start_tls(dial_plain(WORLD_CURL, "ok.test", 8443), "ok.test", NULL);
	cr_assert(p->ssl);
	EXPECT_STATUS(ask(p, "GET /whole HTTP/1.1\r\nHost: ok.test:8443\r\n\r\n"), "504");
	EXPECT_HAS(answer, "handshake timed out");
	hang_up(p);
	p = dial(443);
	EXPECT_STATUS(ask(p, "GET /whole HTTP/1.1\r\n" HOST "\r\n"), "200");
	hang_up(p);
}
