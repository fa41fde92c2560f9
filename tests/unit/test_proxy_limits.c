/* The policy's `limits`: counted, answered, lifted and lowered while flows live. */
#include "proxy_world.h"

#include "proxy/http1.h"

#define ENTRY(limits) \
	"network_policies:\n" \
	"  web:\n    endpoints:\n" \
	"      - { host: ok.test, port: 443, protocol: rest, enforcement: enforce, access: full }\n" \
	"      - { host: ok.test, port: 80, protocol: rest, enforcement: enforce, access: full }\n" \
	"    binaries: [{ path: /usr/bin/curl }]\n" \
	"  raw:\n    endpoints: [{ host: l4.test, port: 5432 }]\n" \
	"    binaries: [{ path: /usr/bin/curl }]\n" limits
#define POLICY(limits) "version: 1\n" limits ENTRY("")
#define REQUEST "GET /pub/x HTTP/1.1\r\nHost: ok.test\r\n\r\n"
#define BIG (256u << 10)

static char answer[1 << 16];

/* "/big" is 256 KiB; the raw port counts what it gets and says so at the end. */
static void serve(struct peer *p, uint16_t port_host)
{
	static const char big[BIG];
	ssize_t head;

	if (port_host == 5432) {
		char line[32];
		size_t got = 0;

		while (peer_read(p) > 0) {
			got += p->len;
			peer_consume(p, p->len);
		}
		snprintf(line, sizeof(line), "%zu bytes\n", got);
		peer_say(p, line);
		return;
	}
	while ((head = peer_await(p, "\r\n\r\n")) > 0) {
		bool is_big = memmem(p->bytes, (size_t)head, "/big", 4) != NULL;

		peer_consume(p, (size_t)head);
		if (!is_big) {
			peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		} else {
			peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n");
			peer_write(p, big, sizeof(big));
		}
	}
}

static void begin(void)
{
	world.script = serve;
	world_begin();
	set_policy(POLICY(""));
}

TestSuite(proxy_limits, .init = begin, .timeout = 60);

static const char *get(struct peer *p)
{
	peer_say(p, REQUEST);
	return peer_response(p, answer, sizeof(answer));
}

static bool is_status(const char *response, const char *status)
{
	return strlen(response) > 12 && strncmp(response + 9, status, 3) == 0;
}

/* The next verdict about a flow that was refused for a limit. */
static void expect_refused(const char *reason)
{
	const struct osh_verdict *v = next_verdict();

	while (v->decision == OSH_VERDICT_ALLOW)
		v = next_verdict();
	cr_expect(v->engine == OSH_ENGINE_LIMIT && strcmp(v->reason, reason) == 0, "%s", v->reason);
}

/* Each was on record before its client was answered. */
static void forget_verdicts(void)
{
	static char room[OSH_VERDICT_BYTES_MAX];
	struct osh_verdict v;

	while (osh_ring_read(world.reader, room, &v, NULL) == 1)
		;
}

/* A flow is counted until the worker has seen its end: ask until there is room. */
static void expect_room(uint32_t identity, const char *host)
{
	for (int i = 0; i < WORLD_PATIENCE_MS / 10; i++) {
		struct peer *p = dial_plain(identity, host, 80);
		bool served = is_status(get(p), "200");

		hang_up(p);
		if (served)
			return;
		usleep(10000);
	}
	cr_assert(false, "there is never room again");
}

Test(proxy_limits, flows_at_once)
{
	struct peer *a, *b, *c;

	set_policy(POLICY("limits: { flows: 2 }\n"));
	a = dial_tls(WORLD_CURL, "ok.test");
	b = dial_plain(WORLD_CURL, "l4.test", 5432);
	cr_expect(is_status(get(a), "200"));
	c = dial_tls(WORLD_CURL, "ok.test");
	cr_assert(c->ssl, "an HTTP client is answered");
	cr_expect(is_status(get(c), "429"), "%s", answer);
	cr_expect(strstr(answer, "\"error\":\"limit_exceeded\"") && strstr(answer, "Retry-After: 1\r\n"), "%s",
		  answer);
	cr_expect(peer_end(c) == 0, "and closed");
	hang_up(c);
	expect_refused("the limit of this sandbox on flows at once is reached");
	cr_expect(is_status(get(a), "200"), "live ones go on");
	c = dial_plain(WORLD_CURL, "l4.test", 5432);
	peer_say(c, "\1");
	cr_expect(peer_read(c) <= 0, "another protocol gets no bytes");
	expect_refused("the limit of this sandbox on flows at once is reached");
	cr_expect(kernel->denials == 0, "the kernel must not remember it");
	hang_up(c);
	hang_up(b);
	expect_room(WORLD_CURL, "ok.test");
	hang_up(a);
}

/* One entry's limit is not another's, and denied flows cost nothing. */
Test(proxy_limits, of_an_entry)
{
	struct peer *a, *b;

	set_policy("version: 1\n" ENTRY("    limits: { flows: 1 }\n"));
	for (int i = 0; i < 3; i++) {
		a = dial_plain(WORLD_EVIL, "ok.test", 80);
		cr_expect(is_status(get(a), "403"));
		hang_up(a);
	}
	a = dial_plain(WORLD_CURL, "l4.test", 5432);
	b = dial_plain(WORLD_CURL, "l4.test", 5432);
	peer_say(b, "\1");
	cr_expect(peer_read(b) <= 0);
	hang_up(b);
	expect_room(WORLD_CURL, "ok.test");
	peer_say(a, "12345");
	shutdown(a->fd, SHUT_WR);
	cr_expect(peer_await(a, "5 bytes\n") > 0);
	hang_up(a);
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#define NEW_FLOWS 30
#define RATE 5

/* One after the other, each with one request; returns how many were served. */
static unsigned come_anew(void)
{
	unsigned served = 0, refused = 0;

	for (int i = 0; i < NEW_FLOWS; i++) {
		struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

		get(p);
		served += is_status(answer, "200");
		refused += is_status(answer, "429");
		hang_up(p);
	}
	cr_expect(served + refused == NEW_FLOWS, "%u %u", served, refused);
	return served;
}

/* A second's worth at once, then what the time gives: more than that is refused, however long it took. */
static void expect_the_rate(const char *yaml, const char *reason)
{
	double start;
	unsigned served;

	forget_verdicts();
	set_policy(yaml);
	start = now_s();
	served = come_anew();
	cr_expect(served >= RATE && served <= RATE * (1 + now_s() - start) + 1, "%u in %f s", served,
		  now_s() - start);
	cr_assert(served < NEW_FLOWS, "none is refused");
	expect_refused(reason);
	expect_room(WORLD_CURL, "ok.test");
}

Test(proxy_limits, new_flows_a_second)
{
	cr_expect(come_anew() == NEW_FLOWS, "the twin: without the limit all are served");
	expect_the_rate(POLICY("limits: { flows_per_second: 5 }\n"),
			"the limit of this sandbox on new flows a second is reached");
	set_policy(POLICY(""));
	cr_expect(come_anew() == NEW_FLOWS, "and once it is lifted");
	expect_the_rate("version: 1\nnetwork_policies:\n  web:\n    limits: { flows_per_second: 5 }\n"
			"    endpoints: [{ host: ok.test, port: 80, protocol: rest, enforcement: enforce, access: full }]\n"
			"    binaries: [{ path: /usr/bin/curl }]\n",
			"the limit of this policy entry on new flows a second is reached");
	set_policy("version: 1\n" ENTRY("    limits: { flows_per_second: 1 }\n"));
	cr_expect(come_anew() == NEW_FLOWS, "another entry's limit is not its own");
}

/* Live: a new policy lifts the limit or sets a lower one; who is in stays in. */
Test(proxy_limits, a_new_policy)
{
	struct peer *p[4];

	for (int i = 0; i < 3; i++) {
		p[i] = dial_plain(WORLD_CURL, "ok.test", 80);
		cr_expect(is_status(get(p[i]), "200"));
	}
	set_policy(POLICY("limits: { flows: 2 }\n"));
	for (int i = 0; i < 3; i++)
		cr_expect(is_status(get(p[i]), "200"));
	p[3] = dial_plain(WORLD_CURL, "ok.test", 80);
	cr_expect(is_status(get(p[3]), "429"), "flows of before are counted");
	hang_up(p[3]);
	/* To an entry's meter and back: still three of them. */
	set_policy("version: 1\nlimits: { flows: 4 }\n"
		   "network_policies:\n  web:\n    limits: { flows: 3 }\n"
		   "    endpoints: [{ host: ok.test, port: 80, protocol: rest, enforcement: enforce, access: full }]\n"
		   "    binaries: [{ path: /usr/bin/curl }]\n");
	p[3] = dial_plain(WORLD_CURL, "ok.test", 80);
	cr_expect(is_status(get(p[3]), "429"));
	cr_expect(strstr(answer, "of this policy entry"), "%s", answer);
	hang_up(p[3]);
	set_policy(POLICY("limits: { flows: 4 }\n"));
	p[3] = dial_plain(WORLD_CURL, "ok.test", 80);
	cr_expect(is_status(get(p[3]), "200"));
	for (int i = 0; i < 4; i++)
		hang_up(p[i]);
	expect_room(WORLD_CURL, "ok.test");
}

/* Seconds that 256 KiB take, by TLS. */
static double download(void)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	double start = now_s();
	size_t got = 0;

	peer_say(p, "GET /big HTTP/1.1\r\nHost: ok.test\r\n\r\n");
	cr_assert(peer_await(p, "\r\n\r\n") > 0);
	while (got < BIG) {
		got += p->len;
		p->len = 0;
		if (got < BIG)
			cr_assert(peer_read(p) > 0, "cut off after %zu bytes", got);
	}
	hang_up(p);
	return now_s() - start;
}

static double upload(void)
{
	static const char bytes[BIG];
	struct peer *p = dial_plain(WORLD_CURL, "l4.test", 5432);
	double start = now_s();

	cr_assert(peer_write(p, bytes, sizeof(bytes)));
	shutdown(p->fd, SHUT_WR);
	cr_expect(peer_await(p, "262144 bytes\n") > 0, "all of it arrives");
	hang_up(p);
	return now_s() - start;
}

/* Slower, and whole: 256 KiB at 128 KiB/s, of which a tenth of a second may be at once. */
Test(proxy_limits, bytes_a_second)
{
	double took;

	set_policy(POLICY("limits: { bytes_per_second: 131072 }\n"));
	took = download();
	cr_expect(took > 1.5, "%f s", took);
	took = upload();
	cr_expect(took > 1.5, "%f s", took);
	set_policy(POLICY("limits: { bytes_per_second: 1000000000 }\n"));
	took = download();
	cr_expect(took < 1.5, "%f s", took);
}

/* Verdicts since it was last asked, all of them there: that bytes wait for the sandbox's limit. */
static size_t count_waits(void)
{
	static char room[OSH_VERDICT_BYTES_MAX];
	struct osh_verdict v;
	size_t count = 0;

	while (osh_ring_read(world.reader, room, &v, NULL) == 1) {
		if (v.engine != OSH_ENGINE_LIMIT)
			continue;
		cr_expect(v.decision == OSH_VERDICT_AUDIT);
		cr_expect_str_eq(v.reason, "the limit of this sandbox on bytes a second is reached: they wait");
		count++;
	}
	return count;
}

/* The log says why it is slow, once for a flow and however many wait. */
Test(proxy_limits, bytes_that_wait_are_on_record)
{
	set_policy(POLICY("limits: { bytes_per_second: 131072 }\n"));
	download();
	cr_expect(count_waits() == 1);
	upload();
	cr_expect(count_waits() == 1, "another flow, a second later");
	set_policy(POLICY("limits: { bytes_per_second: 1000000000 }\n"));
	download();
	cr_expect(count_waits() == 0, "the twin does not wait");
}

/* Both flows together keep to it; deadlines are for those who are slow themselves. */
Test(proxy_limits, bytes_of_two_flows)
{
	static const char bytes[BIG / 4];
	struct peer *a, *b;
	double start, took;

	osh_http1_deadlines.reader = osh_http1_deadlines.body = 50;
	set_policy(POLICY("limits: { bytes_per_second: 131072 }\n"));
	start = now_s();
	a = dial_plain(WORLD_CURL, "l4.test", 5432);
	b = dial_plain(WORLD_CURL, "ok.test", 80);
	peer_write(a, bytes, sizeof(bytes));
	shutdown(a->fd, SHUT_WR);
	peer_say(b, "POST /up HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 65536\r\n\r\n");
	peer_write(b, bytes, sizeof(bytes));
	cr_expect(peer_await(a, "65536 bytes\n") > 0);
	cr_expect(is_status(peer_response(b, answer, sizeof(answer)), "200"), "%s", answer);
	took = now_s() - start;
	cr_expect(took > 0.7, "%f s", took);
	hang_up(a);
	hang_up(b);
}
