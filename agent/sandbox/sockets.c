/* The agent's sockets in a sandbox's network namespace. They are made by the agent, so
 * they belong to its cgroup and no hook of a sandbox applies to them. */
#include "sandbox/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

#define BACKLOG 4096
/* After a crash of the agent its proxy dies a moment later, and its listeners with it. */
#define BIND_TRIES 200
#define BIND_PAUSE_NS 10000000

struct wanted_socket {
	int family, type;
	uint16_t port;
};

/* In the order of struct osh_sandbox_sockets. */
static const struct wanted_socket wanted[OSH_SANDBOX_SOCKETS_COUNT] = {
	{ AF_INET, SOCK_STREAM, OSH_REDIRECT_PORT }, { AF_INET6, SOCK_STREAM, OSH_REDIRECT_PORT },
	{ AF_INET, SOCK_DGRAM, OSH_DNS_PORT },       { AF_INET6, SOCK_DGRAM, OSH_DNS_PORT },
	{ AF_INET, SOCK_STREAM, OSH_DNS_PORT },      { AF_INET6, SOCK_STREAM, OSH_DNS_PORT },
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t gateway_address(const struct wanted_socket *want, uint32_t gateway, union address *addr)
{
	uint32_t gateway_be = htonl(gateway);

	memset(addr, 0, sizeof(*addr));
	if (want->family == AF_INET) {
		addr->v4.sin_family = AF_INET;
		addr->v4.sin_port = htons(want->port);
		addr->v4.sin_addr.s_addr = gateway_be;
		return sizeof(addr->v4);
	}
	addr->v6.sin6_family = AF_INET6;
	addr->v6.sin6_port = htons(want->port);
	inet_pton(AF_INET6, "fd6f:7368::", &addr->v6.sin6_addr);
	memcpy(&addr->v6.sin6_addr.s6_addr[12], &gateway_be, sizeof(gateway_be));
	return sizeof(addr->v6);
}

static int bind_patiently(int fd, const union address *addr, socklen_t len)
{
	const struct timespec pause = { .tv_nsec = BIND_PAUSE_NS };

	for (int i = 0; i < BIND_TRIES; i++) {
		if (bind(fd, &addr->any, len) == 0)
			return 0;
		if (errno != EADDRINUSE)
			return -errno;
		(void)nanosleep(&pause, NULL);
	}
	return -EADDRINUSE;
}

/* What the sandbox's connections inherit. Inside one machine there is no congestion to be
 * found out, and a host that paces (BBR) would pay a timer for each burst. */
static void suit_loopback(int fd)
{
	static const char control[] = "reno"; /* built into every kernel */
	int one = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, control, sizeof(control) - 1);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static int open_socket(const struct wanted_socket *want, uint32_t gateway)
{
	_cleanup_fd_ int fd = socket(want->family, want->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	union address addr;
	socklen_t len = gateway_address(want, gateway, &addr);
	int one = 1, r;

	if (fd < 0)
		return -errno;
	if (want->type == SOCK_STREAM &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	if (want->family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
		return -errno;
	r = bind_patiently(fd, &addr, len);
	if (r < 0)
		return r;
	if (want->type == SOCK_STREAM) {
		suit_loopback(fd);
		if (listen(fd, BACKLOG) < 0)
			return -errno;
	}
	return osh_take_fd(&fd);
}

static void close_all(int fds[static OSH_SANDBOX_SOCKETS_COUNT])
{
	for (int i = 0; i < OSH_SANDBOX_SOCKETS_COUNT; i++)
		fds[i] = osh_close(fds[i]);
}

static int open_all(uint32_t gateway, int fds[static OSH_SANDBOX_SOCKETS_COUNT])
{
	for (int i = 0; i < OSH_SANDBOX_SOCKETS_COUNT; i++)
		fds[i] = -1;
	for (int i = 0; i < OSH_SANDBOX_SOCKETS_COUNT; i++) {
		fds[i] = open_socket(&wanted[i], gateway);
		if (fds[i] < 0) {
			int r = fds[i];

			close_all(fds);
			return r;
		}
	}
	return 0;
}

int sandbox_enter_network(const struct osh_sandbox_instance *instance, struct osh_err *err)
{
	_cleanup_fd_ int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int there = sandbox_is_attached(instance) ? instance->net_fd : instance->pid_io.fd;

	if (home < 0)
		return osh_err_sys(err, errno, "/proc/thread-self/ns/net");
	if (there < 0)
		return osh_err_set(err, ESRCH, "sandbox %s is not running", instance->record.name);
	if (setns(there, CLONE_NEWNET) < 0)
		return osh_err_sys(err, errno, "cannot enter the network of sandbox %s",
				   instance->record.name);
	return osh_take_fd(&home);
}

/* An agent in a sandbox's network would dial and listen in the wrong place from now on: there
 * is nothing to go on with. */
void sandbox_leave_network(const struct osh_sandbox_instance *instance, int home)
{
	if (setns(home, CLONE_NEWNET) < 0) {
		osh_error("cannot return from the network of sandbox %s", instance->record.name);
		abort();
	}
	osh_close(home);
}

int osh_sandbox_sockets_open(struct osh_sandbox_instance *instance,
			     struct osh_sandbox_sockets *ret_sockets, struct osh_err *err)
{
	int fds[OSH_SANDBOX_SOCKETS_COUNT], r, home = sandbox_enter_network(instance, err);

	if (home < 0)
		return home;
	r = open_all(instance->record.gateway, fds);
	sandbox_leave_network(instance, home);
	if (r < 0)
		return osh_err_sys(err, -r, "cannot listen in sandbox %s", instance->record.name);
	*ret_sockets = (struct osh_sandbox_sockets){
		.tcp4 = fds[0], .tcp6 = fds[1], .dns_udp4 = fds[2],
		.dns_udp6 = fds[3], .dns_tcp4 = fds[4], .dns_tcp6 = fds[5],
	};
	return 0;
}

/* ---- Into it ---------------------------------------------------------------------- */

static int dial_loopback(uint16_t port, bool ipv6)
{
	_cleanup_fd_ int fd = socket(ipv6 ? AF_INET6 : AF_INET,
				     SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	union address addr = { 0 };

	if (fd < 0)
		return -errno;
	if (ipv6)
		addr.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port),
						 .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	else
		addr.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
						.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (connect(fd, &addr.any, ipv6 ? sizeof(addr.v6) : sizeof(addr.v4)) < 0 && errno != EINPROGRESS)
		return -errno;
	return osh_take_fd(&fd);
}

int osh_sandbox_dial(struct osh_sandbox_instance *instance, uint16_t port, bool ipv6, int *ret_fd,
		     struct osh_err *err)
{
	int fd, home = sandbox_enter_network(instance, err);

	if (home < 0)
		return home;
	fd = dial_loopback(port, ipv6);
	sandbox_leave_network(instance, home);
	if (fd < 0)
		return osh_err_sys(err, -fd, "port %u of sandbox %s", port, instance->record.name);
	*ret_fd = fd;
	return 0;
}
