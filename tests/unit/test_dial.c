/* Several addresses of one host: which is kept, and what a broken one costs. In a network
 * namespace of its own, on loopback alone. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <limits.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/ipv6.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "proxy/dial.h"

#define PORT 4000
#define SILENT "203.0.113.1"  /* takes no connection and says nothing */
#define REFUSING "127.0.0.99" /* nobody listens */

static struct osh_loop *loop;
static struct outcome {
	bool is_over;
	int fd;
	struct in6_addr address;
} outcome;

/* ::1 is there already; more of its kind. Until the kernel's worker has looked at one (addrconf_dad_work), it is
 * tentative and cannot be bound. */
static void add_address(unsigned char last)
{
	struct in6_ifreq req = { .ifr6_addr.s6_addr = { [15] = last }, .ifr6_prefixlen = 128, .ifr6_ifindex = 1 };
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = req.ifr6_addr };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert(ioctl(fd, SIOCSIFADDR, &req) == 0, "%s", strerror(errno));
	while (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		cr_assert(errno == EADDRNOTAVAIL, "%s", strerror(errno));
		(void)poll(NULL, 0, 1);
	}
	close(fd);
}

static void begin(void)
{
	struct ifreq req = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (geteuid() != 0)
		cr_skip_test("needs root: makes its own network namespace");
	cr_assert(unshare(CLONE_NEWNET) == 0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert(ioctl(fd, SIOCSIFFLAGS, &req) == 0);
	close(fd);
	for (unsigned char last = 2; last <= 4; last++)
		add_address(last);
	loop = osh_loop_new();
	cr_assert(loop);
}

TestSuite(dial, .init = begin, .timeout = 60);

static struct in6_addr address(const char *text)
{
	struct in6_addr addr;
	char mapped[64];

	snprintf(mapped, sizeof(mapped), strchr(text, ':') ? "%s" : "::ffff:%s", text);
	cr_assert(inet_pton(AF_INET6, mapped, &addr) == 1, "%s", text);
	return addr;
}

static int bind_at(const char *text)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_port = htons(PORT), .sin6_addr = address(text) };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0, "%s: %s", text, strerror(errno));
	return fd;
}

static int listen_at(const char *text)
{
	int fd = bind_at(text);

	cr_assert(listen(fd, 8) == 0);
	return fd;
}

/* A socket whose queue is full answers no SYN: silence, without a packet filter. */
static void be_silent_at(const char *text)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_port = htons(PORT), .sin6_addr = address(text) };
	int fd = bind_at(text);

	cr_assert(listen(fd, 0) == 0);
	for (int i = 0; i < 4; i++) {
		int client = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		(void)connect(client, (struct sockaddr *)&at, sizeof(at));
	}
}

static void on_done(void *context, int fd, const struct in6_addr *addr)
{
	(void)context;
	cr_assert(!outcome.is_over, "told twice");
	outcome = (struct outcome){ .is_over = true, .fd = fd };
	if (addr)
		outcome.address = *addr;
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Dial a list that NULL ends; how long it took. */
static long dial(const char *const *texts)
{
	struct osh_addresses addresses = { .count = 0 };
	long start = now_ms();
	struct osh_dial *handle;

	for (; *texts; texts++)
		addresses.items[addresses.count++] = address(*texts);
	outcome = (struct outcome){ .is_over = false };
	handle = osh_dial_start(loop, &addresses, PORT, on_done, NULL);
	cr_assert(!handle == outcome.is_over);
	while (!outcome.is_over)
		osh_loop_run_once(loop, 1000);
	return now_ms() - start;
}

static bool reached(const char *text)
{
	struct in6_addr wanted = address(text);
	bool same = outcome.fd >= 0 && memcmp(&outcome.address, &wanted, sizeof(wanted)) == 0;

	if (outcome.fd >= 0)
		close(outcome.fd);
	return same;
}

#define DIAL(...) dial((const char *const[]){ __VA_ARGS__, NULL })

Test(dial, the_first_that_answers)
{
	listen_at("127.0.0.1");
	listen_at("::1");
	listen_at("127.0.0.2");
	DIAL("127.0.0.1", "127.0.0.2");
	cr_expect(reached("127.0.0.1"));
	DIAL("127.0.0.2", "127.0.0.1");
	cr_expect(reached("127.0.0.2"));
	DIAL("127.0.0.1", "::1");
	cr_expect(reached("::1"), "IPv6 first");
}

/* At once, not after the delay: it was told. */
Test(dial, one_that_refuses_costs_nothing)
{
	listen_at("::1");
	DIAL(REFUSING, "127.0.0.98", "127.0.0.97", "::1");
	cr_expect(reached("::1"));
	DIAL(REFUSING);
	cr_expect(outcome.fd == -ECONNREFUSED);
	DIAL(REFUSING, "127.0.0.98");
	cr_expect(outcome.fd == -ECONNREFUSED);
}

/* There is no route to it: connect(2) fails before anything is under way. */
Test(dial, one_that_cannot_be_begun_with)
{
	listen_at("127.0.0.1");
	DIAL("2001:db8::1", SILENT, "127.0.0.1");
	cr_expect(reached("127.0.0.1"));
	DIAL("2001:db8::1", SILENT);
	cr_expect(outcome.fd == -ENETUNREACH);
}

Test(dial, a_silent_one_costs_a_quarter_of_a_second)
{
	long took;

	be_silent_at("::1");
	listen_at("127.0.0.1");
	took = DIAL("::1", "127.0.0.1");
	cr_expect(reached("127.0.0.1"));
	cr_expect(took >= 245 && took < 5000, "%ld ms", took);
}

/* The families by turns: one that is broken costs one delay, however many addresses it has. */
Test(dial, families_by_turns)
{
	long took;

	be_silent_at("::1");
	be_silent_at("::2");
	be_silent_at("::3");
	listen_at("::4");
	listen_at("127.0.0.1");
	took = DIAL("::1", "::2", "::3", "::4", "127.0.0.1");
	cr_expect(reached("127.0.0.1"), "not ::4, which comes later");
	cr_expect(took >= 245);
}

/* Whoever answers late still wins over those that never do. */
Test(dial, all_silent)
{
	long took;

	be_silent_at("127.0.0.2");
	be_silent_at("127.0.0.3");
	took = DIAL("127.0.0.2", "127.0.0.3");
	cr_expect(outcome.fd == -ETIMEDOUT);
	cr_expect(took >= 5245, "%ld ms", took);
}

/* Begin, lose the address that it is made from, and go on: what became of it, and how long that took. */
static long dial_and_lose(const struct osh_addresses *addresses, const char *own)
{
	struct in6_addr gone = address(own);
	long start = now_ms();
	struct osh_dial *handle;

	outcome = (struct outcome){ .is_over = false };
	handle = osh_dial_start(loop, addresses, PORT, on_done, NULL);
	cr_assert(handle);
	osh_dial_leave_address(handle, &gone);
	cr_expect(!outcome.is_over, "the caller may be going through a list of them");
	while (!outcome.is_over)
		osh_loop_run_once(loop, 1000);
	return now_ms() - start;
}

/* F23. Whatever it was about to become, also a connection that only the kernel knows of yet. */
Test(dial, one_from_an_address_that_is_gone)
{
	struct osh_addresses addresses = { .count = 2, .items = { address("::1"), address("127.0.0.1") } };
	long took = LONG_MAX;

	be_silent_at("::1");
	listen_at("127.0.0.1");
	for (int i = 0; i < 5 && took >= 240; i++) { /* unless somebody else has the processor */
		took = dial_and_lose(&addresses, "::1");
		cr_expect(reached("127.0.0.1"));
	}
	cr_expect_lt(took, 240, "the next at once");
	cr_expect_geq(dial_and_lose(&addresses, "127.0.0.1"), 245);
	cr_expect(reached("127.0.0.1"), "it was not the address of any");
	addresses = (struct osh_addresses){ .count = 1, .items = { address("127.0.0.1") } };
	dial_and_lose(&addresses, "127.0.0.1");
	cr_expect(outcome.fd == -ECONNRESET);
}

/* No descriptor stays behind, of those that lost or of one given up. */
Test(dial, what_loses_is_closed)
{
	struct osh_addresses addresses = { .count = 2 };
	int before, after;

	be_silent_at("::1");
	listen_at("127.0.0.1");
	before = dup(0);
	close(before);
	for (int i = 0; i < 3; i++) {
		DIAL("::1", "127.0.0.1");
		cr_expect(reached("127.0.0.1"));
		outcome.is_over = false;
		addresses.items[0] = address("::1");
		addresses.items[1] = address("127.0.0.1");
		osh_dial_cancel(osh_dial_start(loop, &addresses, PORT, on_done, NULL));
		osh_loop_run_once(loop, 0);
		cr_expect(!outcome.is_over);
	}
	after = dup(0);
	cr_expect(after == before);
}

static int option(int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	cr_expect_eq(getsockopt(outcome.fd, level, name, &value, &len), 0);
	return value;
}

/* F11, in two minutes; test_proxy_silence.c does not wait that long. */
Test(dial, a_peer_that_vanishes_is_noticed)
{
	listen_at("::1");
	DIAL("::1");
	cr_expect_eq(option(SOL_SOCKET, SO_KEEPALIVE), 1);
	cr_expect_leq(option(IPPROTO_TCP, TCP_KEEPIDLE) +
			      option(IPPROTO_TCP, TCP_KEEPCNT) * option(IPPROTO_TCP, TCP_KEEPINTVL), 120);
	cr_expect_eq(option(IPPROTO_TCP, TCP_USER_TIMEOUT), 120000);
	cr_expect(reached("::1"));
}
