/* A program that does to the network what its command line says: the kernel tests are their
 * own probes. Run as "NAME probe WORDS...", a test binary is one (main, below); what came of
 * it goes to standard output, one line. */
#ifndef OSH_TEST_KERNEL_PROBE_H
#define OSH_TEST_KERNEL_PROBE_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define WAIT_MS 30000 /* no test waits this long but to fail */

static inline int number(const char *text)
{
	uint64_t value = 0;

	if (osh_str_parse_u64(osh_str(text), 100000, &value) < 0)
		abort();
	return (int)value;
}

static inline socklen_t parse_address(const char *text, const char *port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (void *)ret;
	struct sockaddr_in6 *v6 = (void *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)number(port));
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
		return 0;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)number(port));
	return sizeof(*v6);
}

static inline void print_address(const char *what, const struct sockaddr_storage *address)
{
	const struct sockaddr_in *v4 = (const void *)address;
	const struct sockaddr_in6 *v6 = (const void *)address;
	char text[INET6_ADDRSTRLEN];

	if (address->ss_family == AF_INET)
		printf(" %s=%s:%u", what, inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text)),
		       ntohs(v4->sin_port));
	else
		printf(" %s=[%s]:%u", what, inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text)),
		       ntohs(v6->sin6_port));
}

static inline int fail_with(const char *call)
{
	printf("%s=%s\n", call, strerrorname_np(errno));
	return 1;
}

static inline void print_peer(int fd)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
		print_address("peer", &peer);
}

/* tcp, tfo, tcp6: connect ("tfo": by a send with MSG_FASTOPEN), say who the peer is. */
static inline int probe_tcp(const char *how, const char *host, const char *port)
{
	struct sockaddr_storage to;
	socklen_t len = parse_address(host, port, &to);
	int fd = socket(to.ss_family, SOCK_STREAM, 0);

	if (fd < 0)
		return fail_with("socket");
	if (strcmp(how, "tfo") == 0) {
		if (sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&to, len) < 0)
			return fail_with("sendto");
	} else if (connect(fd, (struct sockaddr *)&to, len) < 0) {
		return fail_with("connect");
	}
	printf("ok");
	print_peer(fd);
	printf("\n");
	return 0;
}

/* udp: a datagram to an address; udpconn: connect first; unspec: an IPv4 address that says
 * AF_UNSPEC; v4on6: an IPv4 address on an IPv6 socket. Then the answer and its source. */
static inline int probe_udp(const char *how, const char *host, const char *port)
{
	struct sockaddr_storage to, from;
	socklen_t len = parse_address(host, port, &to), from_len = sizeof(from);
	int fd = socket(strcmp(how, "v4on6") == 0 ? AF_INET6 : to.ss_family, SOCK_DGRAM, 0);
	bool connected = strcmp(how, "udpconn") == 0;
	char answer[16];

	if (fd < 0)
		return fail_with("socket");
	if (strcmp(how, "unspec") == 0)
		to.ss_family = AF_UNSPEC;
	if (connected && connect(fd, (struct sockaddr *)&to, len) < 0)
		return fail_with("connect");
	if (sendto(fd, "q", 1, 0, connected ? NULL : (struct sockaddr *)&to, connected ? 0 : len) < 0)
		return fail_with("sendto");
	if (recvfrom(fd, answer, sizeof(answer), 0, (struct sockaddr *)&from, &from_len) < 0)
		return fail_with("recvfrom");
	printf("ok");
	print_address("source", &from);
	if (connected)
		print_peer(fd);
	printf("\n");
	return 0;
}

/* One socket, first to the resolver, then elsewhere. */
static inline int probe_stray(const char *host, const char *port)
{
	struct sockaddr_storage resolver, to;
	socklen_t resolver_len = parse_address("8.8.8.8", "53", &resolver);
	socklen_t len = parse_address(host, port, &to);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (connect(fd, (struct sockaddr *)&resolver, resolver_len) < 0)
		return fail_with("connect");
	if (sendto(fd, "q", 1, 0, (struct sockaddr *)&to, len) < 0)
		return fail_with("sendto");
	printf("ok\n");
	return 0;
}

/* A server and its client, both here, on loopback. */
static inline int probe_local(const char *host, const char *port)
{
	struct sockaddr_storage to, at = { 0 };
	socklen_t len = parse_address(host, port, &to), at_len = sizeof(at);
	int server = socket(to.ss_family, SOCK_STREAM, 0), client = socket(to.ss_family, SOCK_STREAM, 0);

	if (bind(server, (struct sockaddr *)&to, len) < 0)
		return fail_with("bind");
	if (listen(server, 1) < 0 || getsockname(server, (struct sockaddr *)&at, &at_len) < 0)
		return fail_with("listen");
	if (connect(client, (struct sockaddr *)&at, at_len) < 0)
		return fail_with("connect");
	printf("ok\n");
	return 0;
}

static inline int probe_socket(char **args)
{
	int fd = socket(number(args[0]), number(args[1]), number(args[2]));

	if (fd < 0)
		return fail_with("socket");
	printf("ok\n");
	return 0;
}

static inline int probe_bind(const char *host, const char *port)
{
	struct sockaddr_storage at;
	socklen_t len = parse_address(host, port, &at);
	int fd = socket(at.ss_family, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&at, len) < 0)
		return fail_with("bind");
	printf("ok\n");
	return 0;
}

/* A routing header can take the packet where no hook was asked about. Here it goes only to
 * lo and back, or there would be no route and no packet to stop. */
static inline int probe_rthdr(const char *host, const char *port)
{
	unsigned char header[40] = { 0, 4, 4, 1, 1 };
	struct sockaddr_storage to;
	socklen_t len = parse_address(host, port, &to);
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	inet_pton(AF_INET6, host, header + 8);
	inet_pton(AF_INET6, host, header + 24);
	if (setsockopt(fd, IPPROTO_IPV6, IPV6_RTHDR, header, sizeof(header)) < 0)
		return fail_with("setsockopt");
	if (sendto(fd, "x", 1, 0, (struct sockaddr *)&to, len) < 0)
		return fail_with("sendto");
	printf("ok\n");
	return 0;
}

/* A connect that a kernel worker makes on the process's behalf. */
static inline int probe_uring(const char *host, const char *port)
{
	struct io_uring_params params = { 0 };
	int ring = (int)syscall(SYS_io_uring_setup, 4, &params), fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_storage to;
	socklen_t len = parse_address(host, port, &to);
	struct io_uring_sqe *entries;
	struct io_uring_cqe *done;
	char *sq, *cq;

	if (ring < 0)
		return fail_with("io_uring_setup");
	sq = mmap(NULL, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED,
		  ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(*done), PROT_READ | PROT_WRITE,
		  MAP_SHARED, ring, IORING_OFF_CQ_RING);
	entries = mmap(NULL, params.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		       IORING_OFF_SQES);
	entries[0] = (struct io_uring_sqe){
		.opcode = IORING_OP_CONNECT, .flags = IOSQE_ASYNC, .fd = fd,
		.addr = (uintptr_t)&to, .off = len,
	};
	*(uint32_t *)(sq + params.sq_off.array) = 0;
	__atomic_store_n((uint32_t *)(sq + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return fail_with("io_uring_enter");
	done = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
	errno = -done->res;
	if (done->res < 0)
		return fail_with("connect");
	printf("ok");
	print_peer(fd);
	printf("\n");
	return 0;
}

/* Refused over and over: as many records as that. */
static inline int probe_flood(const char *host, const char *port, int times)
{
	struct sockaddr_storage to;
	socklen_t len = parse_address(host, port, &to);
	int fd = socket(to.ss_family, SOCK_STREAM, 0), refused = 0;

	for (int i = 0; i < times; i++)
		refused += connect(fd, (struct sockaddr *)&to, len) < 0 && errno == EPERM;
	printf("refused=%d\n", refused);
	return 0;
}

static inline int exec_now(char **args)
{
	fflush(stdout);
	execv(args[0], args);
	return fail_with("exec");
}

static inline int probe_fork(char **args, bool twice)
{
	pid_t child = fork();

	if (child == 0) {
		if (twice) {
			setsid();
			if (fork() != 0)
				_exit(0);
		}
		_exit(exec_now(args));
	}
	return waitpid(child, NULL, 0) < 0;
}

/* The last of so many generations, each of which ends before the next goes on, stops and executes. */
static inline int probe_orphan(char **args)
{
	for (int left = number(args[0]); left > 0; left--) {
		pid_t parent = getpid();

		if (fork() != 0)
			_exit(0);
		while (getppid() == parent)
			poll(NULL, 0, 1);
	}
	raise(SIGSTOP);
	return exec_now(args + 1);
}

static inline void *exec_in_thread(void *args)
{
	exec_now(args);
	return NULL;
}

static inline int probe_thread(char **args)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, exec_in_thread, args) != 0)
		return 1;
	pthread_join(thread, NULL);
	return 1;
}

/* A child that has executed nothing yet is still its parent's program. */
static inline int probe_vfork(char **args)
{
	pid_t child = vfork();

	if (child == 0) {
		probe_tcp("tcp", args[0], args[1]);
		fflush(stdout);
		_exit(0);
	}
	return waitpid(child, NULL, 0) < 0;
}

static inline int copy_self(int to)
{
	_cleanup_fd_ int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char bytes[65536];
	ssize_t n;

	while ((n = read(from, bytes, sizeof(bytes))) > 0) {
		if (osh_write_full(to, bytes, (size_t)n) < 0)
			return -1;
	}
	return (int)n;
}

static inline int probe_memfd(char **args)
{
	static char name[] = "net-ok";
	char *argv[] = { name, (char *)"probe", (char *)"tcp", args[0], args[1], NULL };
	char *env[] = { NULL };
	int fd = memfd_create("net-ok", MFD_CLOEXEC);

	if (copy_self(fd) < 0)
		return fail_with("copy");
	fflush(stdout);
	fexecve(fd, argv, env);
	return fail_with("exec");
}

/* A Unix socket of its own, reached by connect and by a datagram. */
static inline int probe_unix(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int server = socket(AF_UNIX, SOCK_DGRAM, 0), fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	const struct sockaddr *to = (const struct sockaddr *)&at;

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	if (bind(server, to, sizeof(at)) < 0)
		return fail_with("bind");
	printf("sendto=%s ", sendto(fd, "x", 1, 0, to, sizeof(at)) < 0 ? strerrorname_np(errno) : "ok");
	printf("connect=%s\n", connect(fd, to, sizeof(at)) < 0 ? strerrorname_np(errno) : "ok");
	unlink(path);
	return 0;
}

/* Executes itself n times, then the rest. */
static inline int probe_chain(char **args)
{
	char left[16];
	char *again[] = { (char *)"/proc/self/exe", (char *)"probe", (char *)"chain", left,
			  args[1], args[2], NULL };

	if (number(args[0]) == 0)
		return probe_tcp("tcp", args[1], args[2]);
	snprintf(left, sizeof(left), "%d", number(args[0]) - 1);
	return exec_now(again);
}

static inline int run_as_probe(char **args)
{
	const char *how = args[0];

	alarm(WAIT_MS / 1000);
	if (strcmp(how, "tcp") == 0 || strcmp(how, "tfo") == 0)
		return probe_tcp(how, args[1], args[2]);
	if (strcmp(how, "udp") == 0 || strcmp(how, "udpconn") == 0 || strcmp(how, "unspec") == 0 ||
	    strcmp(how, "v4on6") == 0)
		return probe_udp(how, args[1], args[2]);
	if (strcmp(how, "stray") == 0)
		return probe_stray(args[1], args[2]);
	if (strcmp(how, "uring") == 0)
		return probe_uring(args[1], args[2]);
	if (strcmp(how, "local") == 0)
		return probe_local(args[1], args[2]);
	if (strcmp(how, "socket") == 0)
		return probe_socket(args + 1);
	if (strcmp(how, "unix") == 0)
		return probe_unix(args[1]);
	if (strcmp(how, "bind") == 0)
		return probe_bind(args[1], args[2]);
	if (strcmp(how, "rthdr") == 0)
		return probe_rthdr(args[1], args[2]);
	if (strcmp(how, "flood") == 0)
		return probe_flood(args[1], args[2], number(args[3]));
	if (strcmp(how, "stop") == 0)
		raise(SIGSTOP);
	if (strcmp(how, "exec") == 0 || strcmp(how, "stop") == 0)
		return exec_now(args + 1);
	if (strcmp(how, "fork") == 0 || strcmp(how, "daemon") == 0)
		return probe_fork(args + 1, strcmp(how, "daemon") == 0);
	if (strcmp(how, "orphan") == 0)
		return probe_orphan(args + 1);
	if (strcmp(how, "thread") == 0)
		return probe_thread(args + 1);
	if (strcmp(how, "vfork") == 0)
		return probe_vfork(args + 1);
	if (strcmp(how, "memfd") == 0)
		return probe_memfd(args + 1);
	if (strcmp(how, "chain") == 0)
		return probe_chain(args + 1);
	printf("no such probe: %s\n", how);
	return 2;
}

int main(int argc, char **argv)
{
	struct criterion_test_set *tests;
	int result = 0;

	if (argc > 2 && strcmp(argv[1], "probe") == 0)
		return run_as_probe(argv + 2);
	tests = criterion_initialize();
	if (criterion_handle_args(argc, argv, true))
		result = !criterion_run_all_tests(tests);
	criterion_finalize(tests);
	return result;
}

#endif
