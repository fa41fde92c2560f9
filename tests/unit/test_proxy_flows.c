/* Flows as such, whatever they carry: how their sockets are set, how a denied one ends. */
#include <netinet/tcp.h>

#include "proxy_world.h"

static const char policy[] =
	"version: 1\nnetwork_policies:\n"
	"  web:\n    endpoints:\n"
	"      - { host: ok.test, ports: [80, 443], protocol: rest, enforcement: enforce, access: full }\n"
	"    binaries: [{ path: /usr/bin/curl }]\n"
	"  raw:\n    endpoints: [{ host: l4.test, port: 5432 }]\n"
	"    binaries: [{ path: /usr/bin/curl }]\n";

/* A raw client hears a banner; others are answered 200 as long as they ask. */
static void serve(struct peer *p, uint16_t port_host)
{
	ssize_t head;

	if (port_host == 5432) {
		peer_say(p, "banner\n");
		while (peer_read(p) > 0)
			peer_consume(p, p->len);
		return;
	}
	while ((head = peer_await(p, "\r\n\r\n")) > 0) {
		peer_consume(p, (size_t)head);
		peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	}
}

static void begin(void)
{
	world.script = serve;
	world_begin();
	set_policy(policy);
}

TestSuite(proxy_flows, .init = begin, .timeout = 60);

/* Of every socket of the worker's: those that it accepted, and those that it dialled. */
static void count_undelayed(unsigned *ret_accepted, unsigned *ret_dialled)
{
	struct sockaddr_in own, peer;

	*ret_accepted = *ret_dialled = 0;
	for (int fd = 3; fd < 256; fd++) {
		socklen_t own_len = sizeof(own), peer_len = sizeof(peer), len = sizeof(int);
		int on = 0;

		if (getsockname(fd, (struct sockaddr *)&own, &own_len) < 0 || own.sin_family != AF_INET ||
		    getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0 ||
		    getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len) < 0 || !on)
			continue;
		*ret_accepted += own.sin_port == world.listener.sin_port;
		*ret_dialled += peer.sin_addr.s_addr == inet_addr(WORLD_SERVER);
	}
}

/* Small pieces must not wait for acknowledgements, on either side. */
Test(proxy_flows, no_delay_on_either_side)
{
	struct peer *a = dial_tls(WORLD_CURL, "ok.test"), *b;
	unsigned accepted, dialled;

	peer_say(a, "GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n");
	cr_assert(peer_await(a, "ok") > 0);
	count_undelayed(&accepted, &dialled);
	cr_expect(accepted == 1 && dialled == 1, "%u %u", accepted, dialled);
	b = dial_plain(WORLD_CURL, "l4.test", 5432);
	cr_assert(peer_await(b, "banner\n") > 0);
	count_undelayed(&accepted, &dialled);
	cr_expect(accepted == 2 && dialled == 2, "%u %u", accepted, dialled);
	hang_up(a);
	hang_up(b);
}

/* In one piece or byte by byte; and then the end, cleanly. */
Test(proxy_flows, denied_in_its_own_language)
{
	static const char asks[] = "\0\0\0\x08\x04\xd2\x16\x2f", starts[] = "\0\0\0\x10\0\x03\0\0user\0me\0";
	struct peer *p = dial_plain(WORLD_EVIL, "l4.test", 5432);

	for (size_t i = 0; i < sizeof(asks) - 1; i++)
		peer_write(p, asks + i, 1);
	cr_expect(peer_await(p, "N") == 1, "no encryption");
	peer_write(p, starts, sizeof(starts) - 1);
	cr_expect(peer_await(p, "SFATAL") > 0 && peer_await(p, "/usr/bin/evil") > 0);
	while (peer_read(p) > 0)
		;
	cr_expect(peer_read(p) == 0, "a clean end");
	hang_up(p);
	p = dial_plain(WORLD_EVIL, "l4.test", 5432);
	peer_say(p, "SSH-2.0-x\r\n");
	cr_expect(peer_await(p, "SSH-2.0-openshell\r\n") > 0 && peer_await(p, "/usr/bin/evil") > 0);
	hang_up(p);
	p = dial_plain(WORLD_EVIL, "l4.test", 5432);
	peer_say(p, "\x16\x03\x01\x01");
	cr_expect(peer_await(p, "\x15\x03\x01") > 0, "an alert");
	hang_up(p);
	for (int i = 0; i < 3; i++)
		cr_expect(next_verdict()->decision == OSH_VERDICT_DENY);
	expect_no_verdict();
	p = dial_plain(WORLD_CURL, "ok.test", 80);
	peer_say(p, "SSH-2.0-x\r\n");
	cr_expect(peer_await(p, "HTTP alone may be spoken") > 0);
	cr_expect(next_verdict()->engine == OSH_ENGINE_HTTP);
	cr_expect(world.accepted == 0, "no byte reached a server");
	hang_up(p);
}
