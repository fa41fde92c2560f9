/* F11: servers that fall silent, at each step, and for how long that is borne. What the program gets is
 * an answer that says so or a broken connection, never an end; no descriptor stays behind. */
#include "proxy_world.h"

#include <dirent.h>
#include <linux/filter.h>

#include "proxy/dial.h"
#include "proxy/http1.h"
#include "proxy/upstream.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  all:\n"
	"    endpoints:\n"
	"      - { host: ok.test, ports: [443, 80, 8443, 8444], protocol: rest, access: full, enforcement: enforce }\n"
	"      - { host: l4.test, ports: [5432, 8444] }\n"
	"      - { host: mute.test, port: 80, protocol: rest, access: full, enforcement: enforce }\n"
	"    binaries: [{ path: /usr/bin/curl }]\n";

static char answer[1 << 16];
static sem_t may_go_on, has_vanished;

#define PATIENCE_MS 1000
#define NAME_SERVER_PORT 5300u
#define PIECES 10
#define PAUSE_MS (2 * PATIENCE_MS / PIECES)
#define EXPECT_HAS(text, part) cr_expect(strstr(text, part), "no %s in: %.1500s", part, text)

/* ---- Servers --------------------------------------------------------------------------------------- */

/* Takes the connection and nothing of what comes on it. */
static void take_hello(uint16_t port_host) { (void)listen_at(WORLD_SERVER, port_host, SOCK_STREAM, NULL); }

/* A socket whose queue is full answers no SYN, as a packet filter that drops it. */
static void take_nothing(uint16_t port_host)
{
	struct sockaddr_in at;
	int fd = listen_at(WORLD_SERVER, port_host, SOCK_STREAM, &at);

	cr_assert(listen(fd, 0) == 0);
	for (int i = 0; i < 4; i++) {
		int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		(void)connect(client, (struct sockaddr *)&at, sizeof(at));
	}
}

/* As after the loss of its power: nothing that is sent to it is acknowledged any more. */
static void vanish(struct peer *p)
{
	struct sock_filter drop[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	const struct sock_fprog program = { 1, drop };

	cr_assert(setsockopt(p->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0);
	sem_post(&has_vanished);
}

static void send_slowly(struct peer *p)
{
	peer_say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < PIECES; i++) {
		(void)poll(NULL, 0, PAUSE_MS);
		peer_say(p, "4\r\nslow\r\n");
	}
	peer_say(p, "0\r\n\r\n");
}

/* By path: /head hears all and says nothing, the others end in the middle of their answers, /gone and
 * bytes on 5432 with their machine; those that may go on do, to their end. */
static void serve(struct peer *p, uint16_t port_host)
{
	for (;;) {
		ssize_t end = port_host == 5432 ? 0 : peer_await(p, "\r\n\r\n");
		bool gone = port_host == 5432;

		if (end < 0)
			return;
		if (strstr(p->bytes, "/slow")) {
			send_slowly(p);
		} else if (strstr(p->bytes, "/whole")) {
			peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfull");
		} else {
			gone |= strstr(p->bytes, "/gone") != NULL;
			if (port_host == 5432)
				peer_say(p, "half");
			else if (strstr(p->bytes, "/chunk"))
				peer_say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
			else if (!strstr(p->bytes, "/head"))
				peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
			if (gone)
				vanish(p);
			sem_wait(&may_go_on);
			if (gone || strstr(p->bytes, "/head"))
				return;
			peer_say(p, "half");
		}
		peer_consume(p, (size_t)end);
	}
}

static void begin(void)
{
	sem_init(&may_go_on, 0, 0);
	sem_init(&has_vanished, 0, 0);
	world.script = serve;
	world_begin();
	set_policy(policy);
}

static void begin_impatient(void)
{
	osh_dial_deadlines.connect_ms = osh_upstream_deadlines.handshake_ms = PATIENCE_MS;
	osh_http1_deadlines.response = osh_http1_deadlines.stream = osh_http1_deadlines.reader = PATIENCE_MS;
	osh_resolver_pace.query_ms = PATIENCE_MS / 10; /* thrice, and longer each time */
	snprintf(world.proxy.dns_servers, sizeof(world.proxy.dns_servers), "127.0.0.1:%u", NAME_SERVER_PORT);
	begin();
}

TestSuite(proxy_silence, .init = begin_impatient, .timeout = 60);

/* ---- What it leaves behind --------------------------------------------------------------------------- */

static unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static struct peer *dial(uint16_t port_host)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", port_host);

	return port_host == 80 ? p : start_tls(p, "ok.test", NULL);
}

static const char *ask(struct peer *p, uint16_t port_host, const char *path)
{
	char request[128];

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: ok.test:%u\r\n\r\n", path, port_host);
	cr_assert(peer_say(p, request));
	return peer_response(p, answer, sizeof(answer));
}

/* How many there are once a connection to the server is kept, and one to its resolver. */
static unsigned base(uint16_t port_host)
{
	struct peer *p = dial(port_host);
	unsigned count;

	EXPECT_HAS(ask(p, port_host, "/whole"), "200 OK");
	count = descriptors() - 2; /* both ends of the program's own go */
	hang_up(p);
	return count;
}

static void expect_as_before(unsigned before)
{
	for (int tries = 0; descriptors() > before && tries < 1000; tries++)
		(void)poll(NULL, 0, 10);
	cr_expect(descriptors() <= before, "%u descriptors, %u before", descriptors(), before);
}

/* Not ended, nor given up by ourselves (EAGAIN). */
static void expect_reset(struct peer *p)
{
	int r = peer_end(p), error = errno;

	cr_expect(r < 0 && error == ECONNRESET, "%d, %s", r, strerror(error));
}

/* All that is open was so before, and the same program is served. */
static void expect_served(uint16_t port_host, unsigned before)
{
	struct peer *p;

	expect_as_before(before);
	p = dial(port_host);
	EXPECT_HAS(ask(p, port_host, "/whole"), "200 OK");
	hang_up(p);
}

/* ---- At each step ---------------------------------------------------------------------------------- */

static void expect_504(uint16_t port_host, const char *path, const char *reason)
{
	unsigned before = base(port_host == 80 ? 80 : 443);
	struct peer *p = dial(port_host);

	EXPECT_HAS(ask(p, port_host, path), "HTTP/1.1 504");
	EXPECT_HAS(answer, "\"error\":\"upstream_timeout\"");
	EXPECT_HAS(answer, reason);
	hang_up(p);
	sem_post(&may_go_on);
	expect_served(port_host == 80 ? 80 : 443, before);
}

/* Asked for a name that is not in the hosts file. */
Test(proxy_silence, of_the_name_server)
{
	struct peer *p = dial_plain(WORLD_CURL, "mute.test", 80);
	unsigned before = base(443);

	(void)listen_at("127.0.0.1", NAME_SERVER_PORT, SOCK_DGRAM, NULL);
	peer_say(p, "GET / HTTP/1.1\r\nHost: mute.test\r\n\r\n");
	peer_response(p, answer, sizeof(answer));
	EXPECT_HAS(answer, "HTTP/1.1 504");
	EXPECT_HAS(answer, "\"error\":\"upstream_timeout\"");
	EXPECT_HAS(answer, "cannot resolve mute.test");
	hang_up(p);
	expect_served(443, before);
}

Test(proxy_silence, at_its_syn)
{
	take_nothing(8444);
	expect_504(8444, "/whole", "cannot connect to ok.test:8444: Connection timed out");
}

/* Of bytes: reset, as by a server's machine that gives up. */
Test(proxy_silence, at_its_syn_without_words)
{
	unsigned before;
	struct peer *p;

	take_nothing(8444);
	before = base(443);
	p = dial_plain(WORLD_CURL, "l4.test", 8444);
	expect_reset(p);
	hang_up(p);
	expect_served(443, before);
}

Test(proxy_silence, at_its_hello)
{
	take_hello(8443);
	expect_504(8443, "/whole", "TLS to ok.test:8443: handshake timed out");
}

Test(proxy_silence, at_its_head)
{
	expect_504(80, "/head", "did not answer in time");
	expect_504(443, "/head", "did not answer in time");
}

static void expect_broken_off(uint16_t port_host, const char *path)
{
	unsigned before = base(port_host);
	struct peer *p = dial(port_host);
	char request[128];

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: ok.test\r\n\r\n", path);
	cr_assert(peer_say(p, request));
	cr_expect(peer_await(p, "half") > 0);
	p->len = 0;
	expect_reset(p);
	hang_up(p);
	sem_post(&may_go_on);
	expect_served(port_host, before);
}

Test(proxy_silence, in_its_body)
{
	expect_broken_off(80, "/half");
	expect_broken_off(80, "/chunk");
	expect_broken_off(443, "/half");
	expect_broken_off(443, "/chunk");
}

/* The twin: who moves may take longer than that. */
Test(proxy_silence, not_while_it_moves)
{
	static const uint16_t ports[] = { 80, 443 };

	for (size_t i = 0; i < 2; i++) {
		struct peer *p = dial(ports[i]);

		peer_say(p, "GET /slow HTTP/1.1\r\nHost: ok.test\r\n\r\n");
		cr_expect(peer_await(p, "\r\n0\r\n\r\n") > 0, "%s", p->bytes);
		hang_up(p);
	}
}

/* ---- Gone without a word ------------------------------------------------------------------------------ */

static void begin_watchful(void)
{
	osh_dial_deadlines.idle_s = osh_dial_deadlines.probe_s = 1;
	osh_dial_deadlines.unacked_ms = 1000;
	begin();
}

TestSuite(proxy_vanished, .init = begin_watchful, .timeout = 60);

/* Two hours of silence are a server's right in the middle of an answer: it is the machine that is asked. */
static void expect_noticed(uint16_t port_host)
{
	unsigned before = base(443); /* with the connection that the twin will take */
	struct peer *twin = dial(443), *p;

	peer_say(twin, "GET /half HTTP/1.1\r\nHost: ok.test\r\n\r\n");
	cr_assert(peer_await(twin, "half") > 0);
	p = port_host == 5432 ? dial_plain(WORLD_CURL, "l4.test", 5432) : dial(port_host);
	if (port_host != 5432)
		peer_say(p, "GET /gone HTTP/1.1\r\nHost: ok.test\r\n\r\n");
	cr_assert(peer_await(p, "half") > 0);
	sem_wait(&has_vanished);
	p->len = 0;
	expect_reset(p);
	hang_up(p);
	sem_post(&may_go_on);
	sem_post(&may_go_on);
	cr_expect(peer_await(twin, "halfhalf") > 0, "the other one is there, and silent as long");
	hang_up(twin);
	expect_as_before(before);
}

Test(proxy_vanished, in_the_middle_of_an_answer)
{
	expect_noticed(80);
	expect_noticed(443);
}

Test(proxy_vanished, in_a_relay)
{
	expect_noticed(5432);
}
