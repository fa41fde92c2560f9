/* Through the proxy before the internet: what it is told and when, and that everything that
 * holds without it holds with it. */
#include "proxy_world.h"

#include "proxy/upstream.h"

#define VIA_PORT 3128

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  all:\n"
	"    endpoints:\n"
	"      - { host: ok.test, ports: [443, 80], protocol: rest, enforcement: enforce,\n"
	"          rules: [{ allow: { method: GET, path: \"/pub/**\" } }] }\n"
	"      - { host: far.test, ports: [443, 80], protocol: rest, access: full, enforcement: enforce }\n"
	"      - { host: rebound.test, port: 443, protocol: rest, access: full, enforcement: enforce }\n"
	"      - { host: host.openshell.internal, port: 80, protocol: rest, access: full, enforcement: enforce }\n"
	"      - { host: l4.test, port: 5432 }\n"
	"    binaries: [{ path: /usr/bin/curl }]\n";

static char answer[1 << 16];

#define EXPECT_STATUS(text, status) \
	cr_expect(strncmp(text, "HTTP/1.1 " status, 12) == 0, "wanted %s, got: %.300s", status, text)
#define EXPECT_HAS(text, part) cr_expect(strstr(text, part), "no %s in: %.1500s", part, text)

/* ---- The proxy before the internet ------------------------------------------------------------------- */

static struct {
	pthread_mutex_t lock;
	char asked[1 << 14];         /* every head that came, one after another */
	size_t len;
	atomic_uint count;
	const char *answer;          /* instead of a tunnel; NULL: tunnels */
	bool speaks_first, hesitates;
} before = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool was_asked(const char *text)
{
	bool found;

	pthread_mutex_lock(&before.lock);
	found = strstr(before.asked, text) != NULL;
	pthread_mutex_unlock(&before.lock);
	return found;
}

static void forget_asked(void)
{
	pthread_mutex_lock(&before.lock);
	before.asked[0] = '\0';
	before.len = 0;
	before.count = 0;
	pthread_mutex_unlock(&before.lock);
}

/* Bytes both ways until either side ends. */
static void tunnel(int a, int b)
{
	struct pollfd both[2] = { { a, POLLIN, 0 }, { b, POLLIN, 0 } };

	while (poll(both, 2, WORLD_PATIENCE_MS) > 0) {
		for (int i = 0; i < 2; i++) {
			char bytes[4096];
			ssize_t n = both[i].revents ? recv(both[i].fd, bytes, sizeof(bytes), 0) : -2;

			if (n == 0 || n == -1 || (n > 0 && send(both[!i].fd, bytes, (size_t)n, MSG_NOSIGNAL) != n))
				return;
		}
	}
}

/* Every name is the world's server to it. */
static int dial_server(const char *head)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	const char *colon = strchr(head, ':');
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, WORLD_SERVER, &to.sin_addr);
	to.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	cr_assert(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	return fd;
}

static void *serve_tunnel(void *context)
{
	struct peer *p = context;

	if (peer_await(p, "\r\n\r\n") > 0) {
		pthread_mutex_lock(&before.lock);
		before.len += (size_t)snprintf(before.asked + before.len, sizeof(before.asked) - before.len, "%s",
					       p->bytes);
		cr_assert(before.len < sizeof(before.asked));
		pthread_mutex_unlock(&before.lock);
		before.count++;
		peer_say(p, before.answer ? before.answer : "HTTP/1.1 200 Connection established\r\n\r\n");
		if (before.speaks_first)
			peer_say(p, "220 welcome\r\n");
		if (before.hesitates)
			(void)peer_read(p);
		if (!before.answer) {
			int fd = dial_server(p->bytes);

			tunnel(p->fd, fd);
			close(fd);
		}
	}
	peer_close(p);
	free(p);
	return NULL;
}

static void *accept_tunnels(void *context)
{
	int listener = *(int *)context, fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct peer *p = calloc(1, sizeof(*p));
		pthread_t thread;

		peer_init(p, fd);
		pthread_create(&thread, NULL, serve_tunnel, p);
		pthread_detach(thread);
	}
	return NULL;
}

/* ---- The world -------------------------------------------------------------------------------------------- */

static void serve(struct peer *p, uint16_t port_host)
{
	if (port_host == 5432) {
		peer_say(p, "server first");
		(void)peer_read(p);
		return;
	}
	for (;;) {
		ssize_t end = peer_await(p, "\r\n\r\n");

		if (end < 0)
			return;
		peer_consume(p, (size_t)end);
		peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
	}
}

static void begin_with(struct osh_str credential)
{
	static const char *const direct[] = { "other.test", NULL };
	struct osh_via_settings settings = { .host = "127.0.0.1", .port_host = VIA_PORT,
					     .credential = credential, .direct = direct };
	struct osh_buf bytes = { .max = OSH_VIA_BYTES_MAX };
	static int listener;
	pthread_t thread;

	cr_assert(osh_via_encode(&settings, &bytes) == 0);
	cr_assert(osh_via_decode(osh_buf_str(&bytes), &world.proxy.via) == 0);
	osh_buf_done(&bytes);
	world.script = serve;
	world_begin();
	listener = listen_at("127.0.0.1", VIA_PORT, SOCK_STREAM, NULL);
	pthread_create(&thread, NULL, accept_tunnels, &listener);
	set_policy(policy);
}

static void begin(void)
{
	begin_with(osh_str("user:word"));
}

static void begin_without_credential(void)
{
	begin_with(osh_str(""));
}

TestSuite(proxy_via, .init = begin, .timeout = 60);
TestSuite(proxy_via_open, .init = begin_without_credential, .timeout = 60);

static const char *fetch(const char *host, uint16_t port_host, const char *path)
{
	struct peer *p = port_host == 443 ? dial_tls(WORLD_CURL, host) : dial_plain(WORLD_CURL, host, port_host);
	char request[256];

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host);
	cr_assert(peer_say(p, request));
	peer_response(p, answer, sizeof(answer));
	hang_up(p);
	return answer;
}

/* ---- What goes through it ----------------------------------------------------------------------------------- */

Test(proxy_via, what_is_allowed_goes_through)
{
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "200");
	cr_expect(was_asked("CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test:443\r\n"
			    "Proxy-Authorization: Basic dXNlcjp3b3Jk\r\n\r\n"));
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	EXPECT_STATUS(fetch("ok.test", 80, "/pub/x"), "200");
	cr_expect(was_asked("CONNECT ok.test:80 "));
	/* Kept, and used again, as without it. */
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/y"), "200");
	cr_expect(before.count == 2);
}

Test(proxy_via, bytes_go_through)
{
	struct peer *p = dial_plain(WORLD_CURL, "l4.test", 5432);

	cr_expect(peer_await(p, "server first") > 0);
	cr_expect(was_asked("CONNECT l4.test:5432 "));
	hang_up(p);
}

Test(proxy_via, what_is_denied_is_not_named)
{
	EXPECT_STATUS(fetch("ok.test", 443, "/secret"), "403");
	EXPECT_STATUS(fetch("no.test", 443, "/pub/x"), "403");
	EXPECT_STATUS(fetch("rebound.test", 443, "/pub/x"), "403");
	EXPECT_HAS(answer, "ssrf_denied");
	cr_expect(before.count == 0);
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "200");
	cr_expect(before.count == 1);
}

/* A proxy that answers as somebody else gets no request. */
Test(proxy_via, the_server_is_verified)
{
	serve_as(&world.world_ca.ca, "no.test");
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "502");
	EXPECT_HAS(answer, "ostname mismatch");
	serve_as(&world.world_ca.ca, "ok.test");
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "200");
}

/* Where names of the internet have no address, the proxy finds it, and TLS tells whether it is
 * the right one. Nothing tells that in clear text. */
Test(proxy_via, names_that_only_it_can_resolve)
{
	serve_as(&world.world_ca.ca, "far.test");
	EXPECT_STATUS(fetch("far.test", 443, "/x"), "200");
	cr_expect(was_asked("CONNECT far.test:443 "));
	forget_asked();
	EXPECT_STATUS(fetch("far.test", 80, "/x"), "502");
	EXPECT_HAS(answer, "cannot resolve far.test");
	cr_expect(before.count == 0);
}

Test(proxy_via, ones_own_host_is_reached_directly)
{
	EXPECT_STATUS(fetch("host.openshell.internal", 80, "/x"), "200");
	cr_expect(before.count == 0);
}

/* ---- When it has no way -------------------------------------------------------------------------------------- */

Test(proxy_via, refusals_are_explained)
{
	before.answer = "HTTP/1.1 403 Not for agents\r\nContent-Length: 0\r\n\r\n";
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "502");
	EXPECT_HAS(answer, "no way to ok.test:443: the upstream proxy 127.0.0.1:3128 refused: 403 Not for agents");
	EXPECT_HAS(next_verdict()->reason, "403 Not for agents");
	EXPECT_STATUS(fetch("ok.test", 80, "/pub/x"), "502");
	EXPECT_HAS(answer, "(does it allow CONNECT to this port?)");
	before.answer = "HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n";
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "502");
	EXPECT_HAS(answer, "does not take the credential in upstream_proxy_credential");
	before.answer = "";
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "502");
	EXPECT_HAS(answer, "ended the connection instead of an answer");
	before.answer = "what?\r\n\r\n";
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "502");
	before.answer = NULL;
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "200");
}

static void begin_impatient(void)
{
	osh_upstream_deadlines.tunnel_ms = 500;
	before.answer = "HTTP/1.1 ";
	before.hesitates = true;
	begin();
}

TestSuite(proxy_via_slow, .init = begin_impatient, .timeout = 60);

Test(proxy_via_slow, silence_ends)
{
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "504");
	EXPECT_HAS(answer, "did not answer in time");
}

Test(proxy_via_open, a_credential_is_missed)
{
	before.answer = "HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n";
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "502");
	EXPECT_HAS(answer, "set upstream_proxy_credential");
	before.answer = NULL;
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "200");
	cr_expect(!was_asked("Proxy-Authorization"));
}

/* Bytes that it puts before the server's are not taken for TLS of the server. */
Test(proxy_via, it_speaks_only_when_asked)
{
	before.speaks_first = true;
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "502");
	before.speaks_first = false;
	EXPECT_STATUS(fetch("ok.test", 443, "/pub/x"), "200");
}
