/* The sandbox's resolver: over UDP and TCP, leases, quotas, and the reachable map that
 * follows policy and leases. */
#include "proxy_world.h"

#include "proxy/dns_message.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  db:\n"
	"    name: db\n"
	"    endpoints:\n"
	"      - {host: db.test, ports: [5432, 443]}\n"
	"      - {host: \"*.wild.test\", port: 9000}\n"
	"      - {host: 203.0.113.10, port: 7000}\n"
	"      - {allowed_ips: [203.0.113.0/24], port: 8000}\n"
	"    binaries:\n"
	"      - {path: /usr/bin/curl}\n";

static const char other_policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  db:\n"
	"    name: db\n"
	"    endpoints:\n"
	"      - {host: db.test, port: 5433}\n"
	"    binaries:\n"
	"      - {path: /usr/bin/curl}\n";

static void begin(void)
{
	world_begin();
	set_policy(policy);
}

TestSuite(proxy_dns, .init = begin, .timeout = 60);

/* ---- A stub resolver -------------------------------------------------------------------- */

static size_t question(unsigned char *buf, const char *name, uint16_t type)
{
	static const unsigned char head[] = { 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0 };
	size_t len = sizeof(head);

	memcpy(buf, head, sizeof(head));
	while (*name) {
		size_t label = strcspn(name, ".");

		buf[len++] = (unsigned char)label;
		memcpy(buf + len, name, label);
		len += label;
		name += label + (name[label] == '.');
	}
	buf[len++] = 0;
	buf[len++] = (unsigned char)(type >> 8);
	buf[len++] = (unsigned char)type;
	buf[len++] = 0;
	buf[len++] = 1;
	return len;
}

static int udp_socket(void)
{
	struct timeval patience = { .tv_sec = WORLD_PATIENCE_MS / 1000 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	cr_assert(connect(fd, (struct sockaddr *)&world.dns, sizeof(world.dns)) == 0);
	return fd;
}

struct reply {
	unsigned rcode, answers;
	char address[INET6_ADDRSTRLEN]; /* of the only answer */
};

static struct reply read_reply(const unsigned char *buf, size_t len)
{
	struct reply reply = { .rcode = buf[3] & 15, .answers = buf[7] };

	cr_assert(len >= 12 && buf[0] == 0x12 && buf[1] == 0x34 && (buf[2] & 0x80));
	if (reply.answers) {
		size_t data_len = buf[len - 5] == 4 ? 4 : 16;

		inet_ntop(data_len == 4 ? AF_INET : AF_INET6, buf + len - data_len, reply.address,
			  sizeof(reply.address));
	}
	return reply;
}

static struct reply resolve(const char *name, uint16_t type)
{
	unsigned char buf[600];
	size_t len = question(buf, name, type);
	int fd = udp_socket();
	ssize_t n;

	cr_assert(send(fd, buf, len, 0) == (ssize_t)len);
	n = recv(fd, buf, sizeof(buf), 0);
	cr_assert(n > 0, "no answer for %s", name);
	close(fd);
	return read_reply(buf, (size_t)n);
}

/* ---- Names -------------------------------------------------------------------------------- */

Test(proxy_dns, names)
{
	static const struct {
		const char *name;
		uint16_t type;
		unsigned rcode;
		const char *address; /* NULL: no record */
	} table[] = {
		{ "ok.test", 1, 0, "198.18.0.16" },
		{ "ok.test", 28, 0, "fd6f:7368::c612:10" },
		{ "OK.Test", 1, 0, "198.18.0.16" },
		{ "canary-1.no.test", 1, 0, "198.18.0.17" },
		{ "single", 1, 0, "198.18.0.18" },
		{ "_svc.ok.test", 1, 0, "198.18.0.19" },
		{ "ok.test", 16, 0, NULL },
		{ "ok.test", 65, 0, NULL },
		{ "ok.test", 255, 0, NULL },
		{ "4.3.2.1.in-addr.arpa", 12, 0, NULL },
		{ "localhost", 1, 0, "127.0.0.1" },
		{ "a.localhost", 28, 0, "::1" },
		{ "localhost", 16, 0, NULL },
		{ "1.2.3.4", 1, 3, NULL },
		{ "127.1", 1, 3, NULL },
		{ "0x7f.1", 1, 3, NULL },
		{ "2130706433", 1, 3, NULL },
		{ "nothing.invalid", 1, 3, NULL },
		{ "-leading.test", 1, 3, NULL },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct reply reply = resolve(table[i].name, table[i].type);

		cr_expect(reply.rcode == table[i].rcode, "%s: rcode %u", table[i].name, reply.rcode);
		cr_expect(reply.answers == (table[i].address != NULL), "%s %u", table[i].name, table[i].type);
		if (table[i].address)
			cr_expect_str_eq(reply.address, table[i].address, "%s: %s", table[i].name, reply.address);
	}
	cr_expect(kernel->lease_count == 4, "only names with an address are leased: %zu", kernel->lease_count);
	expect_no_verdict();
}

Test(proxy_dns, malformed)
{
	unsigned char buf[600];
	size_t len = question(buf, "ok.test", 1);
	int fd = udp_socket();
	struct reply reply;
	ssize_t n;

	buf[5] = 2; /* questions */
	cr_assert(send(fd, buf, len, 0) > 0);
	n = recv(fd, buf, sizeof(buf), 0);
	cr_assert(n > 0);
	reply = read_reply(buf, (size_t)n);
	cr_expect(reply.rcode == 1);
	cr_expect(next_verdict()->engine == OSH_ENGINE_DNS);
	/* Not even a question: no answer, and the next one on the socket is served. */
	cr_assert(send(fd, "x", 1, 0) == 1);
	len = question(buf, "ok.test", 1);
	cr_assert(send(fd, buf, len, 0) > 0);
	n = recv(fd, buf, sizeof(buf), 0);
	cr_assert(n > 0 && read_reply(buf, (size_t)n).answers == 1);
	cr_expect(next_verdict()->engine == OSH_ENGINE_DNS);
	close(fd);
}

/* Refusals are recorded, a flood of them is counted. */
Test(proxy_dns, records_are_limited)
{
	int fd = udp_socket();
	char room[OSH_VERDICT_BYTES_MAX];
	struct osh_verdict verdict;
	size_t records = 0;

	for (int i = 0; i < 100; i++) /* more would not fit the socket */
		cr_assert(send(fd, "x", 1, 0) == 1);
	/* Answered after all of them. */
	cr_expect(resolve("ok.test", 1).answers == 1);
	while (osh_ring_read(world.reader, room, &verdict, NULL) == 1)
		records++;
	cr_expect(records >= 1 && records <= 25, "%zu records", records);
	close(fd);
}

/* ---- TCP ------------------------------------------------------------------------------------ */

static struct peer *dial_dns(void)
{
	struct peer *p = calloc(1, sizeof(*p));
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(connect(fd, (struct sockaddr *)&world.dns, sizeof(world.dns)) == 0);
	peer_init(p, fd);
	return p;
}

static size_t framed_question(unsigned char *buf, const char *name)
{
	size_t len = question(buf + 2, name, 1);

	buf[0] = (unsigned char)(len >> 8);
	buf[1] = (unsigned char)len;
	return len + 2;
}

static struct reply next_reply(struct peer *p)
{
	struct reply reply;
	size_t len;

	while (p->len < 2 || p->len < 2 + ((size_t)(unsigned char)p->bytes[0] << 8 | (unsigned char)p->bytes[1]))
		cr_assert(peer_read(p) > 0);
	len = (size_t)(unsigned char)p->bytes[0] << 8 | (unsigned char)p->bytes[1];
	reply = read_reply((unsigned char *)p->bytes + 2, len);
	peer_consume(p, 2 + len);
	return reply;
}

Test(proxy_dns, tcp)
{
	unsigned char buf[4096];
	struct peer *p = dial_dns();
	size_t len = framed_question(buf, "ok.test");

	/* Byte by byte, then three at once. */
	for (size_t i = 0; i < len; i++)
		peer_write(p, (char *)buf + i, 1);
	cr_expect_str_eq(next_reply(p).address, "198.18.0.16");
	len += framed_question(buf + len, "two.test");
	len += framed_question(buf + len, "three.test");
	peer_write(p, (char *)buf, len);
	cr_expect_str_eq(next_reply(p).address, "198.18.0.16");
	cr_expect_str_eq(next_reply(p).address, "198.18.0.17");
	cr_expect_str_eq(next_reply(p).address, "198.18.0.18");
	cr_expect_str_eq(resolve("two.test", 1).address, "198.18.0.17", "UDP says the same");
	hang_up(p);
	p = dial_dns();
	peer_write(p, "\xff\xff", 2);
	cr_expect(peer_read(p) <= 0, "a length of 65535 ends it");
	cr_expect(next_verdict()->engine == OSH_ENGINE_DNS);
	hang_up(p);
}

/* ---- Quota ------------------------------------------------------------------------------------- */

Test(proxy_dns, quota)
{
	/* As if all but one had been given out before a restart. */
	struct osh_lease lease = { 0 };
	struct osh_lease_key key = { .sandbox = WORLD_SANDBOX };
	struct osh_letter remove = { .type = OSH_LETTER_REMOVE, .sandbox = WORLD_SANDBOX };

	post(remove);
	for (uint32_t i = 0; i < OSH_LEASES_PER_SANDBOX_MAX - 1; i++) {
		key.addr_host = OSH_SYNTH_FIRST + i;
		snprintf(lease.host, sizeof(lease.host), "n%u.test", i);
		osh_maps_lease_set(&world.proxy.maps, &key, &lease);
	}
	add_sandbox();
	set_policy(policy);
	cr_expect_str_eq(resolve("last.test", 1).address, "198.18.32.15");
	cr_expect(resolve("one-more.test", 1).rcode == 2, "SERVFAIL");
	cr_expect(next_verdict()->engine == OSH_ENGINE_DNS);
	/* Live names stay. */
	cr_expect_str_eq(resolve("last.test", 1).address, "198.18.32.15");
	cr_expect_str_eq(resolve("n7.test", 1).address, "198.18.0.23");
}

/* ---- Reachable destinations ------------------------------------------------------------------------ */

static bool is_reachable(const char *address, uint16_t port_host)
{
	struct osh_reach_key key = { .sandbox = WORLD_SANDBOX, .dst_port_host = port_host };
	struct in_addr v4;
	bool found;

	if (inet_pton(AF_INET, address, &v4) == 1) {
		key.dst.word_be[2] = htonl(0xffff);
		key.dst.word_be[3] = v4.s_addr;
	} else {
		cr_assert(inet_pton(AF_INET6, address, &key.dst) == 1);
	}
	pthread_mutex_lock(&kernel->lock);
	found = find_reachable(&key) >= 0;
	pthread_mutex_unlock(&kernel->lock);
	return found;
}

Test(proxy_dns, reachable_follows_leases_and_policy)
{
	cr_expect(is_reachable("203.0.113.10", 7000), "literal");
	cr_expect(is_reachable("::", 8000), "hostless: any address on that port");
	cr_expect(kernel->reachable_count == 2, "%zu", kernel->reachable_count);
	cr_expect_str_eq(resolve("db.test", 1).address, "198.18.0.16");
	cr_expect_str_eq(resolve("a.wild.test", 1).address, "198.18.0.17");
	cr_expect_str_eq(resolve("no.test", 1).address, "198.18.0.18");
	cr_expect(is_reachable("198.18.0.16", 5432) && is_reachable("fd6f:7368::c612:10", 5432));
	cr_expect(is_reachable("198.18.0.17", 9000));
	cr_expect(!is_reachable("198.18.0.16", 443), "443 needs none");
	cr_expect(!is_reachable("198.18.0.18", 5432) && !is_reachable("198.18.0.16", 9000));
	cr_expect(kernel->reachable_count == 6, "%zu", kernel->reachable_count);
	set_policy(other_policy);
	cr_expect(is_reachable("198.18.0.16", 5433) && is_reachable("fd6f:7368::c612:10", 5433));
	cr_expect(kernel->reachable_count == 2, "what is no longer named is gone: %zu", kernel->reachable_count);
	set_policy(policy);
	cr_expect(kernel->reachable_count == 6, "%zu", kernel->reachable_count);
}
