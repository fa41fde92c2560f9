/* Back pressure: of what one side does not take the proxy holds a bounded part, and the other side cannot
 * send more; what was held back comes whole once it is taken. test_proxy_streams.c has for how long that is
 * borne, and tests/e2e/h2_hostile.bats the same of HTTP/2. */
#include "proxy_world.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  all:\n"
	"    endpoints:\n"
	"      - { host: ok.test, port: 80, protocol: rest, access: full, enforcement: enforce }\n"
	"      - { host: l4.test, port: 5432, protocol: tcp }\n"
	"    binaries: [{ path: /usr/bin/curl }]\n";

#define OFFERED (16u << 20)
#define SOCKET_MAX (64u << 10)
/* Four sockets' buffers, two of which the listeners made before they were to be small, and four of 64 KiB
 * of the proxy's. */
#define HELD_MAX (1u << 20)
#define QUIET_MS 300

static bool holds; /* the reader waits until the sender was stopped */
static sem_t may_read, has_begun;
static size_t taken;

/* ---- Both sides ----------------------------------------------------------------------------------------- */

/* A period that is no divisor of any buffer's length: a byte too few or too many is seen. */
static char byte_at(size_t i) { return (char)(i % 251); }

static const char *offered(void)
{
	static char bytes[OFFERED];

	for (size_t i = 0; i < OFFERED; i++)
		bytes[i] = byte_at(i);
	return bytes;
}

/* How many bytes go before nobody takes any. A slow machine may take it for stopped too early, never
 * too late. */
static size_t offer(int fd, const char *bytes)
{
	struct pollfd room = { .fd = fd, .events = POLLOUT };
	size_t sent = 0;

	while (sent < OFFERED && poll(&room, 1, QUIET_MS) == 1) {
		ssize_t n = send(fd, bytes + sent, OFFERED - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			break;
		sent += n > 0 ? (size_t)n : 0;
	}
	return sent;
}

/* As far as it goes, where the reader waits for that. */
static void begin_sending(struct peer *p) { taken = holds ? offer(p->fd, offered()) : 0; }

static bool send_rest(struct peer *p) { return peer_write(p, offered() + taken, OFFERED - taken); }

static bool take_all(struct peer *p)
{
	size_t got = 0;

	while (got < OFFERED) {
		if (!p->len && peer_read(p) <= 0)
			return false;
		for (size_t i = 0; i < p->len; i++) {
			if (got + i >= OFFERED || p->bytes[i] != byte_at(got + i))
				return false;
		}
		got += p->len;
		peer_consume(p, p->len);
	}
	return true;
}

/* ---- The server ------------------------------------------------------------------------------------------- */

static bool take_request(struct peer *p, bool is_http, bool *ret_down)
{
	ssize_t head = peer_await(p, is_http ? "\r\n\r\n" : "\n");

	if (head < 0)
		return false;
	*ret_down = memmem(p->bytes, (size_t)head, "/down", 5) != NULL;
	peer_consume(p, (size_t)head);
	return true;
}

static bool give(struct peer *p, bool is_http)
{
	if (is_http)
		peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 16777216\r\n\r\n");
	begin_sending(p);
	sem_post(&has_begun);
	return send_rest(p);
}

static bool take(struct peer *p, bool is_http)
{
	sem_wait(&may_read);
	return take_all(p) && peer_say(p, is_http ? "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nwhole\n" : "whole\n");
}

/* "/up" takes, "/down" gives; as the first line on 5432. A connection of HTTP stays for the next request: one that
 * ends just when it is used again is another test's matter. */
static void serve(struct peer *p, uint16_t port_host)
{
	bool is_http = port_host == 80, down;

	while (take_request(p, is_http, &down) && (down ? give(p, is_http) : take(p, is_http)) && is_http)
		;
}

/* Of this namespace alone. */
static void begin(void)
{
	sem_init(&may_read, 0, 0);
	sem_init(&has_begun, 0, 0);
	world.script = serve;
	world_begin();
	world_limit_sockets(SOCKET_MAX);
	set_policy(policy);
}

TestSuite(proxy_pressure, .init = begin, .timeout = 60);

/* ---- The program ------------------------------------------------------------------------------------------ */

struct way {
	const char *host;
	uint16_t port_host;
	const char *up, *down;
};

static const struct way http1 = { "ok.test", 80,
				  "POST /up HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 16777216\r\n\r\n",
				  "GET /down HTTP/1.1\r\nHost: ok.test\r\n\r\n" };
static const struct way relay = { "l4.test", 5432, "/up\n", "/down\n" };

static void expect_stopped(void)
{
	cr_expect(!holds || (taken > 0 && taken <= HELD_MAX), "%zu bytes were taken, at most %u may be held", taken,
		  HELD_MAX);
}

static void upload(const struct way *way)
{
	struct peer *p = dial_plain(WORLD_CURL, way->host, way->port_host);

	cr_assert(peer_say(p, way->up));
	begin_sending(p);
	expect_stopped();
	sem_post(&may_read);
	cr_expect(send_rest(p));
	cr_expect(peer_await(p, "whole\n") > 0, "%s", p->bytes);
	hang_up(p);
}

static void download(const struct way *way)
{
	struct peer *p = dial_plain(WORLD_CURL, way->host, way->port_host);

	cr_assert(peer_say(p, way->down));
	sem_wait(&has_begun);
	expect_stopped();
	if (way->port_host == 80) {
		ssize_t head = peer_await(p, "\r\n\r\n");

		cr_assert(head > 0);
		peer_consume(p, (size_t)head);
	}
	cr_expect(take_all(p), "it comes whole");
	hang_up(p);
}

/* Each is stopped where the reader waits for that, and its twin, whose reader takes all from the start, need not be. */
static void expect_back_pressure(void (*move)(const struct way *way), const struct way *way)
{
	holds = true;
	move(way);
	holds = false;
	move(way);
}

Test(proxy_pressure, of_a_request) { expect_back_pressure(upload, &http1); }

Test(proxy_pressure, of_a_response) { expect_back_pressure(download, &http1); }

Test(proxy_pressure, of_a_relay_to_the_server) { expect_back_pressure(upload, &relay); }

Test(proxy_pressure, of_a_relay_to_the_program) { expect_back_pressure(download, &relay); }
