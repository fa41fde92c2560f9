#include "proxy/dial.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/inet.h"
#include "base/mem.h"

#define STAGGER_MS 250   /* RFC 8305 5, "Connection Attempt Delay" */
#define KEEP_PROBES 3

/* A server that is gone without a word is noticed within two minutes (tcp(7)). */
struct osh_dial_deadlines osh_dial_deadlines = {
	.connect_ms = 5000, .idle_s = 60, .probe_s = 20, .unacked_ms = 120000
};

struct attempt {
	struct osh_io io; /* fd -1: not under way */
	struct osh_dial *dial;
	struct in6_addr address;
};

struct osh_dial {
	struct osh_loop *loop;
	struct attempt attempts[OSH_ADDRESSES_MAX];
	size_t count, next; /* those before `next` were begun */
	size_t open;        /* ... and of these so many are under way */
	uint16_t port_host;
	int error;          /* of the last that failed */
	struct osh_timer timer;
	void (*done)(void *context, int fd, const struct in6_addr *address);
	void *context;
};

/* ---- One address ----------------------------------------------------------------------- */

static void watch_peer(int fd)
{
	const struct osh_dial_deadlines *until = &osh_dial_deadlines;
	int on = 1, probes = KEEP_PROBES;

	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &until->idle_s, sizeof(until->idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &until->probe_s, sizeof(until->probe_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &until->unacked_ms, sizeof(until->unacked_ms));
}

/* A socket whose connect(2) is under way, or -errno. */
static int connect_to(const struct in6_addr *addr, uint16_t port_host)
{
	struct sockaddr_in6 v6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(port_host), .sin6_addr = *addr
	};
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port_host) };
	bool is_v4 = IN6_IS_ADDR_V4MAPPED(addr);
	_cleanup_fd_ int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	watch_peer(fd);
	memcpy(&v4.sin_addr, &addr->s6_addr[12], 4);
	r = is_v4 ? connect(fd, (struct sockaddr *)&v4, sizeof(v4)) :
		    connect(fd, (struct sockaddr *)&v6, sizeof(v6));
	if (r < 0 && errno != EINPROGRESS)
		return -errno;
	return osh_take_fd(&fd);
}

static int result_of(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? -errno : -error;
}

/* Stop watching; the socket is the caller's. */
static int take_socket(struct attempt *attempt)
{
	int fd = attempt->io.fd;

	osh_loop_remove(attempt->dial->loop, &attempt->io);
	attempt->io.fd = -1;
	attempt->dial->open--;
	return fd;
}

/* ---- All of them ------------------------------------------------------------------------ */

void osh_dial_cancel(struct osh_dial *dial)
{
	if (!dial)
		return;
	for (size_t i = 0; i < dial->next; i++) {
		if (dial->attempts[i].io.fd >= 0)
			osh_close(take_socket(&dial->attempts[i]));
	}
	osh_loop_timer_cancel(dial->loop, &dial->timer);
	free(dial);
}

void osh_dial_leave_address(struct osh_dial *dial, const struct in6_addr *address)
{
	for (size_t i = 0; i < dial->next; i++) {
		if (dial->attempts[i].io.fd >= 0)
			osh_inet_leave(dial->attempts[i].io.fd, address);
	}
}

static void settle(struct osh_dial *dial, int fd, const struct in6_addr *address)
{
	void (*done)(void *context, int fd, const struct in6_addr *address) = dial->done;
	struct in6_addr copy = address ? *address : in6addr_any;
	void *context = dial->context;

	osh_dial_cancel(dial);
	done(context, fd, address ? &copy : NULL);
}

static void on_connected(struct osh_io *io, uint32_t events);

static int begin(struct osh_dial *dial, struct attempt *attempt)
{
	int fd = connect_to(&attempt->address, dial->port_host);
	int r;

	if (fd < 0)
		return fd;
	attempt->dial = dial;
	attempt->io = (struct osh_io){ .fd = fd, .on_ready = on_connected };
	r = osh_loop_set(dial->loop, &attempt->io, EPOLLOUT);
	if (r < 0) {
		attempt->io.fd = osh_close(fd);
		return r;
	}
	dial->open++;
	return 0;
}

/* Begin with the next address that can be begun with, if there is one. False: none is under
 * way any more. */
static bool go_on(struct osh_dial *dial)
{
	int r = -EADDRNOTAVAIL;

	while (r < 0 && dial->next < dial->count) {
		r = begin(dial, &dial->attempts[dial->next++]);
		if (r < 0)
			dial->error = r;
	}
	(void)osh_loop_timer_set(dial->loop, &dial->timer,
				 dial->next < dial->count ? STAGGER_MS : osh_dial_deadlines.connect_ms);
	return dial->open > 0;
}

static void on_connected(struct osh_io *io, uint32_t events)
{
	struct attempt *attempt = osh_container_of(io, struct attempt, io);
	struct osh_dial *dial = attempt->dial;
	int fd, r = result_of(io->fd);

	(void)events;
	fd = take_socket(attempt);
	if (r == 0) {
		settle(dial, fd, &attempt->address);
		return;
	}
	osh_close(fd);
	dial->error = r;
	if (!go_on(dial))
		settle(dial, dial->error, NULL);
}

static void on_timer(struct osh_timer *timer)
{
	struct osh_dial *dial = osh_container_of(timer, struct osh_dial, timer);

	if (dial->next == dial->count)
		settle(dial, -ETIMEDOUT, NULL);
	else if (!go_on(dial))
		settle(dial, dial->error, NULL);
}

/* The first of a family that is not in use yet; count: none. */
static size_t find_unused(const struct osh_addresses *addresses, const bool *used, bool is_v4)
{
	size_t i = 0;

	while (i < addresses->count && (used[i] || IN6_IS_ADDR_V4MAPPED(&addresses->items[i]) != is_v4))
		i++;
	return i;
}

/* The families by turns, IPv6 first, so that one that is broken costs one delay (RFC 8305 4);
 * within each the resolver's order (RFC 6724). */
static void interleave(struct osh_dial *dial, const struct osh_addresses *addresses)
{
	bool used[OSH_ADDRESSES_MAX] = { false };
	bool is_v4 = false;

	for (; dial->count < addresses->count; is_v4 = !is_v4) {
		size_t i = find_unused(addresses, used, is_v4);

		if (i == addresses->count)
			i = find_unused(addresses, used, !is_v4);
		used[i] = true;
		dial->attempts[dial->count].io.fd = -1;
		dial->attempts[dial->count++].address = addresses->items[i];
	}
}

struct osh_dial *osh_dial_start(struct osh_loop *loop, const struct osh_addresses *addresses,
				uint16_t port_host,
				void (*done)(void *context, int fd, const struct in6_addr *address),
				void *context)
{
	struct osh_dial *dial = calloc(1, sizeof(*dial));

	if (!dial) {
		done(context, -ENOMEM, NULL);
		return NULL;
	}
	dial->loop = loop;
	dial->port_host = port_host;
	dial->error = -EADDRNOTAVAIL;
	dial->timer.on_expire = on_timer;
	dial->done = done;
	dial->context = context;
	interleave(dial, addresses);
	if (go_on(dial))
		return dial;
	settle(dial, dial->error, NULL);
	return NULL;
}
