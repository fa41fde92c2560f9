/* The wall clock jumps a year either way: what the sandbox is shown stays valid, deadlines run on. */
#include <time.h>

#include "proxy_world.h"

#include "proxy/http1.h"

static atomic_long jump_s;

/* In place of the C library's, for this program and the libraries that it loads. */
time_t time(time_t *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	now.tv_sec += jump_s;
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}

static const char policy[] =
	"version: 1\nnetwork_policies:\n"
	"  web:\n    endpoints:\n"
	"      - { host: ok.test, ports: [80, 443], protocol: rest, enforcement: enforce, access: read-only }\n"
	"    binaries: [{ path: /usr/bin/curl }]\n";

static void serve(struct peer *p, uint16_t port_host)
{
	(void)port_host;
	while (peer_read(p) > 0)
		peer_consume(p, p->len);
}

static void begin(void)
{
	osh_http1_deadlines.head = 300;
	world.script = serve;
	world_begin();
	set_policy(policy);
}

TestSuite(proxy_clock, .init = begin, .timeout = 60);

#define YEAR_S (365L * 86400)

Test(proxy_clock, leaves_are_valid_whenever)
{
	static const long jumps[] = { 0, YEAR_S, 0, -YEAR_S, 20L * 86400, 40L * 86400 };

	for (size_t i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
		struct peer *p;
		X509 *leaf;

		jump_s = jumps[i];
		p = dial_tls(WORLD_CURL, "ok.test");
		cr_assert(p->ssl, "%ld days from now the leaf is refused", jumps[i] / 86400);
		leaf = SSL_get_peer_certificate(p->ssl);
		cr_expect(X509_cmp_current_time(X509_get0_notBefore(leaf)) < 0);
		cr_expect(X509_cmp_current_time(X509_get0_notAfter(leaf)) > 0);
		X509_free(leaf);
		hang_up(p);
	}
}

/* The twin: while it is fresh, one leaf serves all. */
Test(proxy_clock, a_leaf_is_kept)
{
	X509 *leaves[2];

	for (size_t i = 0; i < 2; i++) {
		struct peer *p = dial_tls(WORLD_CURL, "ok.test");

		jump_s = 86400;
		cr_assert(p->ssl);
		leaves[i] = SSL_get_peer_certificate(p->ssl);
		hang_up(p);
	}
	cr_expect(X509_cmp(leaves[0], leaves[1]) == 0);
	X509_free(leaves[0]);
	X509_free(leaves[1]);
}

Test(proxy_clock, deadlines_run_on)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	peer_say(p, "GET / HTTP/1.1\r\n");
	jump_s = -YEAR_S;
	cr_expect(peer_await(p, "HTTP/1.1 408 ") > 0);
	hang_up(p);
}
