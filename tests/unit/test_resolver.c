/* The proxy's own resolver beside a scripted name server on loopback: how long an answer
 * holds, what an answer that is odd, long or not from the server comes to, how often is asked,
 * and of whom when the host's settings change. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "openshell/limits.h"
#include "policy/policy.h"
#include "proxy/meter.h"
#include "proxy/resolver.h"

#define HEADER 12
#define TYPE_A 1
#define TYPE_CNAME 5
#define MANY 1000
#define SERVER "127.0.0.3" /* not the one that is asked where none is named */
#define SILENT "127.0.0.2" /* hears, and says nothing by itself */

/* ---- A name server -------------------------------------------------------------------------- */

struct record {
	const char *owner; /* NULL: the name asked for */
	uint32_t ttl;
	const char *target; /* a CNAME's, else an address */
};

static struct zone {
	const char *name;
	struct record records[5];
	atomic_uint asked; /* for addresses of IPv4 */
	/* Sent before the answer: the same, but wrong in one way, and for another address. */
	enum { HONEST, WRONG_ID, WRONG_NAME, WRONG_SOURCE } forgery;
	bool is_long;     /* MANY addresses, by TCP */
	bool is_half;     /* says nothing of IPv6 */
	unsigned rcode;   /* and no record */
} zones[] = {
	{ .name = "ttl0.test", .records = { { NULL, 0, "203.0.113.10" } } },
	{ .name = "ttl60.test", .records = { { NULL, 60, "203.0.113.10" } } },
	{ .name = "huge.test", .records = { { NULL, UINT32_C(1) << 31, "203.0.113.10" } } },
	{ .name = "brief.test", .records = { { NULL, 0, "target.test" }, { "target.test", 60, "203.0.113.10" } } },
	{ .name = "chain.test", .records = { { NULL, 60, "a.test" }, { "a.test", 60, "b.test" },
						  { "b.test", 60, "c.test" }, { "c.test", 60, "203.0.113.10" } } },
	{ .name = "private.test", .records = { { NULL, 60, "inner.test" }, { "inner.test", 60, "10.9.0.5" } } },
	{ .name = "loop.test", .records = { { NULL, 60, "back.test" }, { "back.test", 60, "loop.test" } } },
	{ .name = "empty.test", .records = { { NULL, 0, NULL } } },
	{ .name = "id.test", .records = { { NULL, 60, "203.0.113.10" } }, .forgery = WRONG_ID },
	{ .name = "name.test", .records = { { NULL, 60, "203.0.113.10" } }, .forgery = WRONG_NAME },
	{ .name = "source.test", .records = { { NULL, 60, "203.0.113.10" } }, .forgery = WRONG_SOURCE },
	{ .name = "half.test", .records = { { NULL, 60, "203.0.113.10" } }, .is_half = true },
	{ .name = "missing.test", .rcode = 3 },
	{ .name = "missing.test.search.test", .records = { { NULL, 60, "198.51.100.66" } } },
	{ .name = "broken.test", .rcode = 2 },
	{ .name = "many.test", .records = { { NULL, 60, NULL } }, .is_long = true },
};

static int udp, tcp, stranger;
static atomic_uint asked_of_unknown;
static in_port_t port_be;

struct message {
	unsigned char bytes[32 * MANY];
	size_t len;
};

static void put(struct message *m, size_t width, uint32_t value)
{
	while (width--)
		m->bytes[m->len++] = (unsigned char)(value >> 8 * width);
}

static void put_name(struct message *m, const char *name)
{
	while (*name) {
		size_t label = strcspn(name, ".");

		put(m, 1, (uint32_t)label);
		memcpy(m->bytes + m->len, name, label);
		m->len += label;
		name += label + (name[label] == '.');
	}
	put(m, 1, 0);
}

static void put_record(struct message *m, const struct record *record)
{
	struct in_addr addr;
	bool is_address = inet_pton(AF_INET, record->target, &addr) == 1;
	size_t at;

	if (record->owner)
		put_name(m, record->owner);
	else
		put(m, 2, 0xc000 | HEADER);
	put(m, 2, is_address ? TYPE_A : TYPE_CNAME);
	put(m, 2, 1);
	put(m, 4, record->ttl);
	at = m->len;
	put(m, 2, 4);
	if (is_address) {
		put(m, 4, ntohl(addr.s_addr));
		return;
	}
	put_name(m, record->target);
	m->bytes[at + 1] = (unsigned char)(m->len - at - 2);
}

static struct zone *find_zone(const unsigned char *query, size_t *ret_end)
{
	char name[256] = "";
	size_t at = HEADER, len = 0;

	while (query[at]) {
		len += (size_t)snprintf(name + len, sizeof(name) - len, "%s%.*s", len ? "." : "", query[at],
					(const char *)query + at + 1);
		at += 1u + query[at];
	}
	*ret_end = at + 1;
	for (size_t i = 0; i < OSH_COUNT_OF(zones); i++) {
		if (strcmp(zones[i].name, name) == 0)
			return &zones[i];
	}
	return NULL;
}

static bool is_for_v4(const unsigned char *query)
{
	size_t end;

	(void)find_zone(query, &end);
	return query[end + 1] == TYPE_A;
}

static size_t count_records(const struct zone *zone)
{
	size_t count = 0;

	while (count < OSH_COUNT_OF(zone->records) && zone->records[count].target)
		count++;
	return count;
}

static struct zone *answer(const unsigned char *query, bool by_tcp, struct message *m)
{
	size_t end, count = 0;
	struct zone *zone = find_zone(query, &end);
	bool for_v4 = is_for_v4(query), truncated = zone && zone->is_long && for_v4 && !by_tcp;

	m->len = 0;
	if (zone && for_v4 && !truncated)
		count = zone->is_long ? MANY : count_records(zone);
	if (for_v4)
		(*(zone ? &zone->asked : &asked_of_unknown))++;
	put(m, 2, (uint32_t)query[0] << 8 | query[1]);
	put(m, 2, 0x8180 | (truncated ? 0x200 : 0) | (zone ? zone->rcode : 3));
	put(m, 2, 1);
	put(m, 2, (uint32_t)count);
	put(m, 4, 0);
	memcpy(m->bytes + m->len, query + HEADER, end + 4 - HEADER);
	m->len += end + 4 - HEADER;
	for (size_t i = 0; i < count; i++) {
		static const struct record one_of_many = { NULL, 60, "203.0.113.10" };

		put_record(m, zone->is_long ? &one_of_many : &zone->records[i]);
	}
	return zone;
}

/* The last four bytes are the address. */
static void forge(const struct zone *zone, const struct message *honest, const struct sockaddr_in *to)
{
	struct message m = *honest;

	inet_pton(AF_INET, "198.51.100.66", m.bytes + m.len - 4);
	if (zone->forgery == WRONG_ID)
		m.bytes[1] ^= 1;
	if (zone->forgery == WRONG_NAME)
		m.bytes[HEADER + 1] ^= 1;
	(void)sendto(zone->forgery == WRONG_SOURCE ? stranger : udp, m.bytes, m.len, 0,
		     (const struct sockaddr *)to, sizeof(*to));
}

static void *serve_udp(void *unused)
{
	static struct message m;
	unsigned char query[512];
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);

	while (recvfrom(udp, query, sizeof(query), 0, (struct sockaddr *)&from, &from_len) > HEADER) {
		const struct zone *zone = answer(query, false, &m);

		if (zone && zone->is_half && !is_for_v4(query))
			continue;
		if (zone && zone->forgery && is_for_v4(query))
			forge(zone, &m, &from);
		(void)sendto(udp, m.bytes, m.len, 0, (struct sockaddr *)&from, sizeof(from));
	}
	return unused;
}

static void *serve_tcp(void *unused)
{
	static struct message m;
	unsigned char query[512];
	int fd;

	while ((fd = accept(tcp, NULL, NULL)) >= 0) {
		while (recv(fd, query, 2, MSG_WAITALL) == 2 &&
		       recv(fd, query, (size_t)query[0] << 8 | query[1], MSG_WAITALL) > HEADER) {
			unsigned char len[2];

			answer(query, true, &m);
			len[0] = (unsigned char)(m.len >> 8);
			len[1] = (unsigned char)m.len;
			(void)send(fd, len, 2, MSG_NOSIGNAL);
			(void)send(fd, m.bytes, m.len, MSG_NOSIGNAL);
		}
		close(fd);
	}
	return unused;
}

/* ---- The resolver ------------------------------------------------------------------------------ */

static struct osh_loop *loop;
static struct osh_resolver *resolver;
static struct osh_addresses got;
static char problem[128];
static bool is_over;

/* -1: somebody has the port. */
static int bind_socket(int type, const char *address, in_port_t *ret_port_be)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(address),
				  .sin_port = *ret_port_be };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		close(fd);
		return -1;
	}
	cr_assert(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
	*ret_port_be = at.sin_port;
	return fd;
}

/* All at one port, which has to be free for each. */
static bool bind_all(void)
{
	port_be = 0;
	tcp = bind_socket(SOCK_STREAM, SERVER, &port_be);
	udp = bind_socket(SOCK_DGRAM, SERVER, &port_be);
	stranger = bind_socket(SOCK_DGRAM, SILENT, &port_be);
	if (tcp >= 0 && udp >= 0 && stranger >= 0)
		return true;
	osh_close(tcp);
	osh_close(udp);
	osh_close(stranger);
	return false;
}

static void begin_server(void)
{
	pthread_t thread;

	while (!bind_all())
		;
	cr_assert(listen(tcp, 8) == 0);
	pthread_create(&thread, NULL, serve_udp, NULL);
	pthread_create(&thread, NULL, serve_tcp, NULL);
	loop = osh_loop_new();
	cr_assert(loop);
}

static void begin(void)
{
	char servers[64];

	begin_server();
	snprintf(servers, sizeof(servers), SERVER ":%u", ntohs(port_be));
	resolver = osh_resolver_new(loop, servers);
	cr_assert(resolver);
}

TestSuite(resolver, .init = begin, .timeout = 60);

static void on_done(void *context, const struct osh_addresses *addresses, const char *error)
{
	unsigned *times = context;

	if (times)
		(*times)++;
	is_over = true;
	got = *addresses;
	snprintf(problem, sizeof(problem), "%s", error ? error : "");
}

/* Ask and wait. */
static void ask_for(struct osh_meter *payer, const char *host)
{
	is_over = false;
	(void)osh_resolver_ask(resolver, payer, host, on_done, NULL);
	while (!is_over)
		osh_loop_run_once(loop, 1000);
}

static void ask(const char *host)
{
	ask_for(NULL, host);
}

static unsigned times_asked(const char *host)
{
	for (size_t i = 0; i < OSH_COUNT_OF(zones); i++) {
		if (strcmp(zones[i].name, host) == 0)
			return zones[i].asked;
	}
	return 0;
}

static bool is_at(const char *text)
{
	char seen[INET6_ADDRSTRLEN];

	inet_ntop(AF_INET6, &got.items[0], seen, sizeof(seen));
	return got.count == 1 && strcmp(seen + strlen("::ffff:"), text) == 0;
}

/* A name with a TTL of 0 works as often as one likes, and is asked for each time. */
Test(resolver, how_long_an_answer_holds)
{
	static const struct { const char *host; unsigned asked; } rows[] = {
		{ "ttl0.test", 100 }, { "ttl60.test", 1 }, { "huge.test", 100 },
		{ "brief.test", 100 }, { "chain.test", 1 },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		for (int n = 0; n < 100; n++) {
			ask(rows[i].host);
			cr_expect(is_at("203.0.113.10"), "%s: %s", rows[i].host, problem);
		}
		cr_expect(times_asked(rows[i].host) == rows[i].asked, "%s: %u", rows[i].host,
			  times_asked(rows[i].host));
	}
}

/* Where an alias leads is what the guard gets to see. */
/* D10 */
Test(resolver, aliases)
{
	ask("chain.test");
	cr_expect(is_at("203.0.113.10"));
	ask("private.test");
	cr_expect(is_at("10.9.0.5"));
	ask("loop.test");
	cr_expect(got.count == 0 && *problem);
}

Test(resolver, no_address)
{
	ask("empty.test");
	cr_expect(got.count == 0 && *problem);
	ask("nowhere.test");
	cr_expect(got.count == 0 && strstr(problem, "not found"), "%s", problem);
	ask("ttl0.test");
	cr_expect(is_at("203.0.113.10"));
}

/* D10 */
Test(resolver, forged_answers)
{
	static const char *const hosts[] = { "id.test", "name.test", "source.test" };

	for (size_t i = 0; i < OSH_COUNT_OF(hosts); i++) {
		ask(hosts[i]);
		cr_expect(is_at("203.0.113.10"), "%s: %s", hosts[i], problem);
	}
}

/* Cut off in a datagram, whole by TCP; the first of them suffice. */
/* D10 */
Test(resolver, a_thousand_addresses)
{
	ask("many.test");
	cr_expect(got.count == OSH_ADDRESSES_MAX, "%zu %s", got.count, problem);
	cr_expect(times_asked("many.test") == 2);
}

/* A server that is silent about IPv6 costs a moment, not a timeout of seconds; and as it may
 * have been a lost packet, the half is not believed for longer. */
Test(resolver, half_an_answer)
{
	uint64_t start_ms;

	osh_loop_run_once(loop, 0);
	start_ms = osh_loop_now_ms(loop);
	ask("half.test");
	cr_expect(is_at("203.0.113.10"), "%s", problem);
	cr_expect(osh_loop_now_ms(loop) - start_ms < 10000);
	ask("half.test");
	cr_expect(is_at("203.0.113.10"));
	cr_expect(times_asked("half.test") == 2);
}

Test(resolver, given_up)
{
	struct osh_lookup *lookup;

	is_over = false;
	lookup = osh_resolver_ask(resolver, NULL, "ttl0.test", on_done, NULL);
	cr_assert(lookup);
	osh_lookup_cancel(lookup);
	got.count = 0;
	ask("ttl60.test");
	cr_expect(is_at("203.0.113.10"));
}

/* ---- How often is asked --------------------------------------------------------------------------- */

/* A name that is not there is asked for once in a while, however often somebody wants it; and no other name is
 * made of it. */
Test(resolver, how_long_a_failure_holds)
{
	static const char *const hosts[] = { "missing.test", "broken.test", "empty.test" };

	osh_resolver_pace.failed_ms = 60000;
	for (size_t i = 0; i < OSH_COUNT_OF(hosts); i++) {
		unsigned asked;

		ask(hosts[i]);
		cr_expect(got.count == 0 && *problem);
		asked = times_asked(hosts[i]); /* a server that fails is asked again */
		for (int n = 0; n < 100; n++) {
			ask(hosts[i]);
			cr_expect(got.count == 0 && *problem);
		}
		cr_expect(times_asked(hosts[i]) == asked, "%s: %u", hosts[i], times_asked(hosts[i]));
	}
	osh_resolver_pace.failed_ms = 0;
	ask("nowhere.test");
	ask("nowhere.test");
	cr_expect(asked_of_unknown == 2, "%u", asked_of_unknown);
}

Test(resolver, many_who_want_the_same_at_once)
{
	struct osh_lookup *lookups[100];
	unsigned times = 0;

	for (size_t i = 0; i < OSH_COUNT_OF(lookups); i++) {
		lookups[i] = osh_resolver_ask(resolver, NULL, "ttl0.test", on_done, &times);
		cr_assert(lookups[i]);
	}
	for (size_t i = 0; i < OSH_COUNT_OF(lookups); i += 2)
		osh_lookup_cancel(lookups[i]);
	while (times < OSH_COUNT_OF(lookups) / 2)
		osh_loop_run_once(loop, 1000);
	cr_expect(is_at("203.0.113.10"));
	cr_expect(times_asked("ttl0.test") == 1, "%u", times_asked("ttl0.test"));
	ask("ttl0.test");
	cr_expect(times_asked("ttl0.test") == 2 && times == OSH_COUNT_OF(lookups) / 2);
}

/* Those of an empty policy. */
static void make_meters(struct osh_meters *meters)
{
	static struct osh_diags diags;
	struct osh_policy_doc *doc;
	struct osh_policy policy;
	void *image;
	size_t len;

	cr_assert(osh_policy_parse(osh_str("version: 1\n"), &diags, &doc) == 0, "%s", diags.items[0].message);
	cr_assert(osh_policy_compile(doc, NULL, &image, &len) == 0);
	cr_assert(osh_policy_open(image, len, &policy) == 0);
	cr_assert(osh_meters_init(meters, &policy, NULL) == 0);
	free(image);
	osh_policy_doc_free(doc);
}

/* A sandbox that makes up names tells few of them; one that it knows is not among them, nor another sandbox. */
Test(resolver, too_many_different_names)
{
	struct osh_meters greedy, modest;
	unsigned asked = 0;
	char host[32];

	make_meters(&greedy);
	make_meters(&modest);
	ask_for(greedy.sandbox, "ttl0.test");
	do {
		snprintf(host, sizeof(host), "n%u.test", asked);
		ask_for(greedy.sandbox, host);
	} while (!strstr(problem, "too many different names") && ++asked < 20 * OSH_NEW_NAMES_BURST);
	cr_expect(asked >= OSH_NEW_NAMES_BURST - 1 && asked < 20 * OSH_NEW_NAMES_BURST, "%u: %s", asked, problem);
	cr_expect(asked_of_unknown == asked, "%u of %u", asked_of_unknown, asked);
	for (int i = 0; i < 1000; i++) {
		ask_for(greedy.sandbox, "ttl0.test");
		cr_expect(is_at("203.0.113.10"), "%s", problem);
	}
	ask_for(modest.sandbox, "ttl60.test");
	cr_expect(is_at("203.0.113.10"), "%s", problem);
	ask_for(greedy.sandbox, "ttl60.test");
	cr_expect(is_at("203.0.113.10"), "%s", problem);
	osh_meters_done(&greedy);
	osh_meters_done(&modest);
}

/* ---- The host's settings --------------------------------------------------------------------------- */

static char conf[64];

/* As most do: a new file in the old one's place. */
static void write_conf(const char *server)
{
	char fresh[80];
	FILE *file;

	snprintf(fresh, sizeof(fresh), "%s.new", conf);
	file = fopen(fresh, "w");
	cr_assert(file);
	fprintf(file, "nameserver %s\nsearch search.test\n", server);
	fclose(file);
	cr_assert(rename(fresh, conf) == 0);
}

static void begin_with_conf(const char *server)
{
	snprintf(conf, sizeof(conf), "/tmp/osh-resolver-%d.conf", getpid());
	osh_resolver_system.conf = conf;
	osh_resolver_system.port_host = ntohs(port_be);
	osh_resolver_pace.look_ms = 1;
	write_conf(server);
	resolver = osh_resolver_new(loop, "");
	cr_assert(resolver);
}

static void end_conf(void)
{
	(void)remove(conf);
}

TestSuite(resolver_conf, .init = begin_server, .fini = end_conf, .timeout = 60);

/* What the old servers were asked meanwhile, the new ones are; and what the old ones said is no more. */
Test(resolver_conf, servers_that_are_replaced)
{
	unsigned times = 0;

	osh_resolver_pace.query_ms = 60000;
	begin_with_conf(SILENT);
	cr_assert(osh_resolver_ask(resolver, NULL, "ttl0.test", on_done, &times));
	osh_lookup_cancel(osh_resolver_ask(resolver, NULL, "chain.test", on_done, &times));
	osh_loop_run_once(loop, 0);
	cr_assert(times == 0);
	write_conf(SERVER);
	ask("ttl60.test");
	cr_expect(is_at("203.0.113.10"), "%s", problem);
	while (times == 0)
		osh_loop_run_once(loop, 1000);
	cr_expect(is_at("203.0.113.10") && times == 1);
	write_conf(SERVER);
	while (times_asked("ttl60.test") == 1) { /* until it was looked at */
		ask("ttl60.test");
		osh_loop_run_once(loop, 0);
	}
	ask("ttl60.test");
	cr_expect(times_asked("ttl60.test") == 2, "%u", times_asked("ttl60.test"));
}

/* Those of before are better than none, until there are others. */
Test(resolver_conf, servers_that_nothing_names_any_more)
{
	begin_with_conf(SERVER);
	ask("ttl0.test");
	cr_assert(remove(conf) == 0);
	for (int i = 0; i < 10; i++) {
		osh_loop_run_once(loop, 1000); /* that it be looked at */
		ask("ttl0.test");
		cr_expect(is_at("203.0.113.10"), "%s", problem);
	}
	osh_resolver_pace.query_ms = 10;
	write_conf(SILENT);
	while (got.count)
		ask("ttl0.test");
	cr_expect(got.timed_out, "%s", problem);
}

/* A name that is not there is not looked for below the host's own domain, where somebody else answers. */
Test(resolver_conf, a_search_list_is_not_for_sandboxes)
{
	begin_with_conf(SERVER);
	ask("missing.test");
	cr_expect(got.count == 0 && strstr(problem, "not found"), "%s", problem);
	cr_expect(times_asked("missing.test") == 1 && times_asked("missing.test.search.test") == 0);
	ask("missing.test.search.test");
	cr_expect(is_at("198.51.100.66"));
}
