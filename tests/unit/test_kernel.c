/* The kernel programs, live: root needed. Each test makes a world of its own, named by its
 * pid: a mount namespace with a BPF file system, a root cgroup, a network namespace with
 * nothing but lo as the sandbox has it, and two copies of this program as two binaries that
 * behave as told on their command line (run as "probe ..."). No packet can leave. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "kernel/kernel.h"

#define WAIT_MS 10000

/* ---- The probe: this program under another name -------------------------------------- */

static socklen_t parse_address(const char *text, const char *port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (void *)ret;
	struct sockaddr_in6 *v6 = (void *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)atoi(port));
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
		return 0;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)atoi(port));
	return sizeof(*v6);
}

static void print_address(const char *what, const struct sockaddr_storage *address)
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

static int fail_with(const char *call)
{
	printf("%s=%s\n", call, strerrorname_np(errno));
	return 1;
}

static void print_peer(int fd)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
		print_address("peer", &peer);
}

/* tcp, tfo, tcp6: connect ("tfo": by a send with MSG_FASTOPEN), say who the peer is. */
static int probe_tcp(const char *how, const char *host, const char *port)
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
static int probe_udp(const char *how, const char *host, const char *port)
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
static int probe_stray(const char *host, const char *port)
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
static int probe_local(const char *host, const char *port)
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

static int probe_socket(char **args)
{
	int fd = socket(atoi(args[0]), atoi(args[1]), atoi(args[2]));

	if (fd < 0)
		return fail_with("socket");
	printf("ok\n");
	return 0;
}

static int probe_bind(const char *host, const char *port)
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
static int probe_rthdr(const char *host, const char *port)
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
static int probe_uring(const char *host, const char *port)
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

static int exec_now(char **args)
{
	fflush(stdout);
	execv(args[0], args);
	return fail_with("exec");
}

static int probe_fork(char **args, bool twice)
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

static void *exec_in_thread(void *args)
{
	exec_now(args);
	return NULL;
}

static int probe_thread(char **args)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, exec_in_thread, args) != 0)
		return 1;
	pthread_join(thread, NULL);
	return 1;
}

/* A child that has executed nothing yet is still its parent's program. */
static int probe_vfork(char **args)
{
	pid_t child = vfork();

	if (child == 0) {
		probe_tcp("tcp", args[0], args[1]);
		fflush(stdout);
		_exit(0);
	}
	return waitpid(child, NULL, 0) < 0;
}

static int copy_self(int to)
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

static int probe_memfd(char **args)
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

/* Executes itself n times, then the rest. */
static int probe_chain(char **args)
{
	char left[16];
	char *again[] = { (char *)"/proc/self/exe", (char *)"probe", (char *)"chain", left,
			  args[1], args[2], NULL };

	if (atoi(args[0]) == 0)
		return probe_tcp("tcp", args[1], args[2]);
	snprintf(left, sizeof(left), "%d", atoi(args[0]) - 1);
	return exec_now(again);
}

static int run_as_probe(char **args)
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
	if (strcmp(how, "bind") == 0)
		return probe_bind(args[1], args[2]);
	if (strcmp(how, "rthdr") == 0)
		return probe_rthdr(args[1], args[2]);
	if (strcmp(how, "exec") == 0)
		return exec_now(args + 1);
	if (strcmp(how, "fork") == 0 || strcmp(how, "daemon") == 0)
		return probe_fork(args + 1, strcmp(how, "daemon") == 0);
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

/* ---- The world --------------------------------------------------------------------------- */

#define EVENTS_MAX 64

static struct {
	char dir[64];      /* /tmp/oshk-PID */
	char pins[128];
	char ok[128], no[128]; /* two binaries */
	char cgroup[256];  /* the agent's root */
	uint64_t sandbox;  /* cgroup id of its child "s" */
	const char *root;  /* where probes are locked in; NULL: not */
	int netns;
	int tcp4, tcp6, udp4, udp6, dns_tcp4;
	struct osh_kernel *kernel;
	struct osh_loop *loop;
	struct osh_event events[EVENTS_MAX];
	size_t event_count;
} w;

static void format(char *buf, size_t size, const char *text, ...)
	__attribute__((format(printf, 3, 4)));

static void format(char *buf, size_t size, const char *text, ...)
{
	va_list args;
	int n;

	va_start(args, text);
	n = vsnprintf(buf, size, text, args);
	va_end(args);
	cr_assert(n >= 0 && (size_t)n < size);
}

static void write_text(const char *path, const char *text)
{
	_cleanup_fd_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
}

/* The mount point of cgroup v2, from /proc/self/mountinfo. */
static void find_cgroup2(char *buf, size_t size)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[1024], point[512], type[64];

	buf[0] = '\0';
	while (file && fgets(line, sizeof(line), file)) {
		const char *dash = strstr(line, " - ");

		if (dash && sscanf(line, "%*s %*s %*s %*s %511s", point) == 1 &&
		    sscanf(dash, " - %63s", type) == 1 && strcmp(type, "cgroup2") == 0)
			(void)osh_str_copy(osh_str(point), buf, size);
	}
	if (file)
		fclose(file);
}

static uint64_t inode_of(const char *path)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0, "%s", path);
	return st.st_ino;
}

static void lo_up(void)
{
	struct in6_ifreq_ {
		struct in6_addr addr;
		uint32_t prefix;
		int ifindex;
	} v6 = { .prefix = 128, .ifindex = 1 };
	struct ifreq request = { .ifr_name = "lo" };
	struct sockaddr_in *address = (void *)&request.ifr_addr;
	int s4 = socket(AF_INET, SOCK_DGRAM, 0), s6 = socket(AF_INET6, SOCK_DGRAM, 0);

	request.ifr_flags = IFF_UP;
	cr_assert_eq(ioctl(s4, SIOCSIFFLAGS, &request), 0);
	strcpy(request.ifr_name, "lo:0");
	*address = (struct sockaddr_in){ .sin_family = AF_INET };
	inet_pton(AF_INET, "198.18.0.1", &address->sin_addr);
	cr_assert_eq(ioctl(s4, SIOCSIFADDR, &request), 0);
	address->sin_addr.s_addr = INADDR_BROADCAST;
	cr_assert_eq(ioctl(s4, SIOCSIFNETMASK, &request), 0);
	inet_pton(AF_INET6, "fd6f:7368::c612:1", &v6.addr);
	cr_assert_eq(ioctl(s6, SIOCSIFADDR, &v6), 0);
	osh_close(s4);
	osh_close(s6);
}

static int open_socket(const char *host, const char *port, int type)
{
	struct sockaddr_storage at;
	socklen_t len = parse_address(host, port, &at);
	int fd = socket(at.ss_family, type | SOCK_CLOEXEC, 0), r;

	/* An IPv6 address is tentative for a moment, even on lo. */
	for (int tries = 0; (r = bind(fd, (struct sockaddr *)&at, len)) < 0 &&
			    errno == EADDRNOTAVAIL && tries < WAIT_MS; tries++)
		poll(NULL, 0, 1);
	cr_assert_eq(r, 0, "bind %s: %s", host, strerror(errno));
	if (type == SOCK_STREAM)
		cr_assert_eq(listen(fd, 128), 0);
	return fd;
}

/* What the agent does in a sandbox's namespace: go in, open its sockets, come back. */
static void make_netns(void)
{
	_cleanup_fd_ int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	cr_assert_eq(unshare(CLONE_NEWNET), 0);
	w.netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	lo_up();
	w.tcp4 = open_socket("198.18.0.1", "1", SOCK_STREAM);
	w.tcp6 = open_socket("fd6f:7368::c612:1", "1", SOCK_STREAM);
	w.udp4 = open_socket("198.18.0.1", "53", SOCK_DGRAM);
	w.udp6 = open_socket("fd6f:7368::c612:1", "53", SOCK_DGRAM);
	w.dns_tcp4 = open_socket("198.18.0.1", "53", SOCK_STREAM);
	cr_assert_eq(setns(home, CLONE_NEWNET), 0);
}

static void make_binary(const char *path)
{
	_cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(copy_self(fd), 0);
}

static void on_event(void *context, const struct osh_event *event)
{
	(void)context;
	if (w.event_count < EVENTS_MAX)
		w.events[w.event_count++] = *event;
}

static void open_kernel(void)
{
	struct osh_kernel_options options = { .pin_dir = w.pins, .cgroup_path = w.cgroup };
	struct osh_err err = { 0 };

	cr_assert_eq(osh_kernel_open(&options, &w.kernel, &err), 0, "%s", err.message);
	cr_assert_eq(osh_kernel_watch(w.kernel, w.loop, on_event, NULL), 0);
}

/* Cgroups and directories of test processes that were killed. */
static void sweep(const char *parent, void (*remove_one)(const char *path))
{
	DIR *dir = opendir(parent);
	struct dirent *entry;
	char path[512];

	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "oshk-", 5) != 0 || kill(atoi(entry->d_name + 5), 0) == 0 ||
		    errno != ESRCH || atoi(entry->d_name + 5) <= 0)
			continue;
		snprintf(path, sizeof(path), "%.200s/%.200s", parent, entry->d_name);
		remove_one(path);
	}
	if (dir)
		closedir(dir);
}

static void remove_cgroup(const char *path)
{
	static const char *const children[] = { "s/inner", "s", "t" };
	char child[512];

	snprintf(child, sizeof(child), "%s/cgroup.kill", path);
	if (access(child, F_OK) == 0)
		write_text(child, "1");
	for (size_t i = 0; i < OSH_COUNT_OF(children); i++) {
		snprintf(child, sizeof(child), "%s/%s", path, children[i]);
		/* A killed task leaves its cgroup a moment later. */
		for (int tries = 0; rmdir(child) < 0 && errno == EBUSY && tries < 1000; tries++)
			poll(NULL, 0, 1);
	}
	(void)rmdir(path);
}

static void remove_files(const char *path)
{
	static const char *const files[] = { "net-ok", "net-no", "bpf" };
	char file[512];

	for (size_t i = 0; i < OSH_COUNT_OF(files); i++) {
		snprintf(file, sizeof(file), "%s/%s", path, files[i]);
		if (unlink(file) < 0)
			(void)rmdir(file);
	}
	(void)rmdir(path);
}

static uint64_t make_sandbox(const char *name)
{
	char path[512];

	format(path, sizeof(path), "%s/%s", w.cgroup, name);
	cr_assert_eq(mkdir(path, 0755), 0, "%s: %s", path, strerror(errno));
	return inode_of(path);
}

static void need_root(void)
{
	if (geteuid() == 0)
		return;
	if (getenv("OSH_TESTS_MUST_RUN"))
		cr_assert_fail("these tests need root");
	cr_skip_test("these tests need root");
}

static void world_up(void)
{
	char cgroup2[200];

	need_root();
	find_cgroup2(cgroup2, sizeof(cgroup2));
	cr_assert_neq(cgroup2[0], '\0', "no cgroup v2 is mounted");
	sweep(cgroup2, remove_cgroup);
	sweep("/tmp", remove_files);
	format(w.dir, sizeof(w.dir), "/tmp/oshk-%d", getpid());
	format(w.ok, sizeof(w.ok), "%s/net-ok", w.dir);
	format(w.no, sizeof(w.no), "%s/net-no", w.dir);
	format(w.cgroup, sizeof(w.cgroup), "%s/oshk-%d", cgroup2, getpid());
	cr_assert_eq(mkdir(w.dir, 0755), 0, "%s", w.dir);
	make_binary(w.ok);
	make_binary(w.no);

	cr_assert_eq(unshare(CLONE_NEWNS), 0);
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	format(w.pins, sizeof(w.pins), "%s/bpf", w.dir);
	cr_assert_eq(mkdir(w.pins, 0700), 0);
	cr_assert_eq(mount("bpf", w.pins, "bpf", 0, NULL), 0);
	format(w.pins, sizeof(w.pins), "%s/bpf/agent", w.dir);

	cr_assert_eq(mkdir(w.cgroup, 0755), 0, "%s", w.cgroup);
	make_netns();
	w.loop = osh_loop_new();
	open_kernel();
	w.sandbox = make_sandbox("s");
	cr_assert_eq(osh_kernel_sandbox_add(w.kernel, w.sandbox), 0);
}

static void world_down(void)
{
	char path[160];

	if (!w.dir[0])
		return; /* skipped */
	osh_kernel_uninstall(w.kernel);
	osh_loop_free(w.loop);
	snprintf(path, sizeof(path), "%s/bpf", w.dir);
	(void)umount2(path, MNT_DETACH);
	remove_cgroup(w.cgroup);
	remove_files(w.dir);
}

/* ---- Running probes --------------------------------------------------------------------- */

struct probe {
	pid_t pid;
	int out;
};

static _Noreturn void become(const char *cgroup, const char *binary, char **args, int out,
			     bool host_netns)
{
	char path[512], pid[16], *env[] = { NULL };

	snprintf(path, sizeof(path), "%s/%s/cgroup.procs", w.cgroup, cgroup);
	snprintf(pid, sizeof(pid), "%d", getpid());
	write_text(path, pid);
	if (!host_netns && setns(w.netns, CLONE_NEWNET) < 0)
		_exit(126);
	if (w.root && (chroot(w.root) < 0 || chdir("/") < 0))
		_exit(125);
	dup2(out, STDOUT_FILENO);
	execve(binary, args, env); /* empty: Criterion would take it for a worker of its own */
	_exit(127);
}

/* Start `binary` as "probe WORDS..." in a cgroup below the agent's root. */
static struct probe start_at(const char *cgroup, bool host_netns, const char *binary, ...)
{
	char *args[16] = { (char *)binary, (char *)"probe" };
	struct probe probe;
	size_t count = 2;
	va_list words;
	int out[2];

	va_start(words, binary);
	do
		args[count] = va_arg(words, char *);
	while (args[count++]);
	va_end(words);
	cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
	probe.pid = fork();
	if (probe.pid == 0)
		become(cgroup, binary, args, out[1], host_netns);
	osh_close(out[1]);
	probe.out = out[0];
	return probe;
}

#define start(...) start_at("s", false, __VA_ARGS__, NULL)

/* All that it printed, once it and its children have ended. */
static const char *finish(struct probe *probe)
{
	static char text[512];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(text) - 1 && (n = read(probe->out, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	text[strcspn(text, "\n")] = '\0';
	osh_close(probe->out);
	waitpid(probe->pid, NULL, 0);
	return text;
}

static void expect_output(struct probe probe, const char *want)
{
	const char *got = finish(&probe);

	cr_expect_str_eq(got, want, "probe said \"%s\", want \"%s\"", got, want);
}

#define expect_probe(want, ...) expect_output(start(__VA_ARGS__), want)

static bool is_ready(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	return poll(&wait, 1, WAIT_MS) == 1;
}

static struct osh_addr addr_of(const char *text)
{
	struct osh_addr addr = { { 0, 0, htonl(0xffff), 0 } };

	if (inet_pton(AF_INET, text, &addr.word_be[3]) != 1)
		cr_assert_eq(inet_pton(AF_INET6, text, &addr), 1);
	return addr;
}

/* Take the connection, as the proxy does, and the record that must be there by then. */
static struct osh_flow accept_flow(int listener)
{
	struct osh_flow_key key = { .sandbox = w.sandbox, .client.word_be = { 0, 0, htonl(0xffff) } };
	struct sockaddr_storage peer = { 0 };
	socklen_t len = sizeof(peer);
	struct osh_flow flow = { 0 };
	int fd;

	cr_assert(is_ready(listener), "no connection came to the listener");
	fd = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
	cr_assert_geq(fd, 0);
	if (peer.ss_family == AF_INET6) {
		memcpy(&key.client, &((struct sockaddr_in6 *)&peer)->sin6_addr, sizeof(key.client));
		key.client_port_host = ntohs(((struct sockaddr_in6 *)&peer)->sin6_port);
	} else {
		key.client.word_be[3] = ((struct sockaddr_in *)&peer)->sin_addr.s_addr;
		key.client_port_host = ntohs(((struct sockaddr_in *)&peer)->sin_port);
	}
	cr_assert_eq(osh_maps_flow_take(osh_kernel_maps(w.kernel), &key, &flow), 0,
		     "an accepted connection without a record");
	cr_expect_eq(osh_maps_flow_take(osh_kernel_maps(w.kernel), &key, &flow), -ENOENT,
		     "a record is taken once");
	/* The descriptor stays open until the test ends: the probe still asks for its peer. */
	return flow;
}

static struct osh_identity identity_of(uint32_t id)
{
	struct osh_identity identity = { 0 };

	cr_assert_eq(osh_maps_identity(osh_kernel_maps(w.kernel), id, &identity), 0, "identity %u", id);
	return identity;
}

/* The names, nearest first, of what the flow's program descends from, itself included. */
static const char *lineage(uint32_t id)
{
	static char text[4096];
	size_t len = 0;

	text[0] = '\0';
	for (int i = 0; id && i <= OSH_LINEAGE_MAX + 1; i++) {
		struct osh_identity node = identity_of(id);
		const char *slash = strrchr(node.path, '/');

		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len ? " " : "",
					slash ? slash + 1 : node.path);
		id = node.parent;
	}
	return text;
}

/* The first event with this reason. */
static const struct osh_event *wait_event(uint32_t reason)
{
	for (int tries = 0; tries < 100; tries++) {
		for (size_t i = 0; i < w.event_count; i++)
			if (w.events[i].reason == reason)
				return &w.events[i];
		osh_loop_run_once(w.loop, 100);
	}
	cr_assert_fail("no event with reason %u", reason);
	return NULL;
}

static void expect_flow(int listener, const char *binary, const char *dst, unsigned port)
{
	struct osh_flow flow = accept_flow(listener);
	struct osh_addr want = addr_of(dst);
	struct osh_identity identity = identity_of(flow.identity);

	cr_expect_str_eq(identity.path, binary);
	cr_expect_eq(identity.flags, 0);
	cr_expect_arr_eq(&flow.dst, &want, sizeof(want), "%s", dst);
	cr_expect_eq(flow.dst_port_host, port);
}

TestSuite(kernel, .init = world_up, .fini = world_down, .timeout = 60);

/* ---- Redirection ------------------------------------------------------------------------- */

Test(kernel, tcp_is_redirected_and_recorded)
{
	struct probe probe = start(w.ok, "tcp", "198.18.0.50", "443");
	struct osh_flow flow = accept_flow(w.tcp4);
	struct osh_identity identity = identity_of(flow.identity);
	struct stat st;

	cr_assert_eq(stat(w.ok, &st), 0);
	cr_expect_str_eq(identity.path, w.ok);
	cr_expect_eq(identity.ino, st.st_ino);
	cr_expect_eq(identity.ctime_ns,
		     (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec);
	cr_expect_eq(identity.sandbox, w.sandbox);
	cr_expect_eq(identity.parent, 0);
	cr_expect_eq(flow.dst_port_host, 443);
	cr_expect_eq((pid_t)flow.pid, probe.pid);
	expect_output(probe, "ok peer=198.18.0.50:443");
	cr_expect_eq(osh_kernel_counter(w.kernel, OSH_COUNT_CONNECT_REDIRECTED), 1);
}

Test(kernel, every_form_of_address_is_redirected)
{
	struct probe probe;

	probe = start(w.ok, "tcp", "2001:db8::10", "80");
	expect_flow(w.tcp6, w.ok, "2001:db8::10", 80);
	expect_output(probe, "ok peer=[2001:db8::10]:80");
	probe = start(w.ok, "tcp", "::ffff:203.0.113.10", "443");
	expect_flow(w.tcp4, w.ok, "203.0.113.10", 443);
	expect_output(probe, "ok peer=[::ffff:203.0.113.10]:443");
	probe = start(w.no, "tfo", "203.0.113.10", "443");
	expect_flow(w.tcp4, w.no, "203.0.113.10", 443);
	expect_output(probe, "ok peer=203.0.113.10:443");
}

Test(kernel, other_ports_need_a_policy)
{
	const struct osh_maps *maps = osh_kernel_maps(w.kernel);
	struct osh_reach_key key = {
		.sandbox = w.sandbox, .dst = addr_of("198.18.0.50"), .dst_port_host = 22,
	};
	struct osh_addr want = key.dst;
	const struct osh_event *event;
	struct probe probe;

	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "22");
	event = wait_event(OSH_KERNEL_NOT_REACHABLE);
	cr_expect_eq(event->sandbox, w.sandbox);
	cr_expect_arr_eq(&event->dst, &want, sizeof(want));
	cr_expect_eq(event->dst_port_host, 22);
	cr_expect_eq(event->ip_protocol, IPPROTO_TCP);
	cr_expect_eq(event->family, AF_INET);
	cr_expect_str_eq(identity_of(event->identity).path, w.ok);
	expect_probe("sendto=EPERM", w.ok, "tfo", "198.18.0.50", "22");
	expect_probe("connect=EPERM", w.ok, "tcp", "::ffff:198.18.0.50", "22");
	expect_probe("connect=EPERM", w.ok, "tcp", "2001:db8::10", "22");

	cr_assert_eq(osh_maps_reachable_add(maps, &key), 0);
	probe = start(w.ok, "tcp", "198.18.0.50", "22");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 22);
	expect_output(probe, "ok peer=198.18.0.50:22");
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.51", "22");

	cr_assert_eq(osh_maps_reachable_remove(maps, &key), 0);
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "22");
	memset(&key.dst, 0, sizeof(key.dst)); /* any address on that port */
	cr_assert_eq(osh_maps_reachable_add(maps, &key), 0);
	probe = start(w.ok, "tcp", "198.18.0.51", "22");
	expect_flow(w.tcp4, w.ok, "198.18.0.51", 22);
	expect_output(probe, "ok peer=198.18.0.51:22");
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.51", "23");
}

/* The denial counts for that binary, destination and generation alone. */
Test(kernel, cached_denial)
{
	const struct osh_maps *maps = osh_kernel_maps(w.kernel);
	struct osh_denial_key key = {
		.sandbox = w.sandbox, .dst = addr_of("198.18.0.50"), .dst_port_host = 443,
	};
	struct probe probe = start(w.ok, "tcp", "198.18.0.50", "443");
	uint32_t generation;

	key.identity = accept_flow(w.tcp4).identity;
	expect_output(probe, "ok peer=198.18.0.50:443");
	cr_assert_eq(osh_maps_generation(maps, w.sandbox, &key.generation), 0);
	cr_assert_eq(osh_maps_denial_add(maps, &key), 0);
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "443");
	cr_expect_eq(wait_event(OSH_KERNEL_CACHED_DENIAL)->identity, key.identity);

	probe = start(w.no, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, w.no, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
	probe = start(w.ok, "tcp", "198.18.0.51", "443");
	expect_flow(w.tcp4, w.ok, "198.18.0.51", 443);
	expect_output(probe, "ok peer=198.18.0.51:443");

	cr_assert_eq(osh_kernel_generation_bump(w.kernel, w.sandbox, &generation), 0);
	cr_expect_eq(generation, key.generation + 1);
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
}

Test(kernel, the_agents_address_and_loopback)
{
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.1", "1");
	cr_expect_eq(wait_event(OSH_KERNEL_AGENT_ADDRESS)->dst_port_host, 1);
	expect_probe("connect=EPERM", w.ok, "tcp", "fd6f:7368::c612:1", "1");
	expect_probe("connect=EPERM", w.ok, "tcp", "::ffff:198.18.0.1", "1");
	/* Past the hook by another name of this host: nobody listens there. */
	expect_probe("connect=ECONNREFUSED", w.ok, "tcp", "127.0.0.1", "1");
	expect_probe("connect=ECONNREFUSED", w.ok, "tcp", "0.0.0.0", "1");

	expect_probe("ok", w.ok, "local", "127.0.0.1", "0");
	expect_probe("ok", w.ok, "local", "0.0.0.0", "0");
	expect_probe("ok", w.ok, "local", "::1", "0");
	expect_probe("ok", w.ok, "local", "::", "0");
	cr_expect_eq(osh_kernel_counter(w.kernel, OSH_COUNT_CONNECT_LOCAL), 6);
}

/* ---- DNS and other UDP ----------------------------------------------------------------------- */

static void answer(int fd)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char question[16];

	cr_assert(is_ready(fd), "no question came to the agent's DNS socket");
	cr_assert_eq(recvfrom(fd, question, sizeof(question), 0, (struct sockaddr *)&from, &len), 1);
	cr_assert_eq(sendto(fd, "a", 1, 0, (struct sockaddr *)&from, len), 1);
}

static void expect_dns(int fd, const char *how, const char *resolver, const char *want)
{
	struct probe probe = start(w.ok, how, resolver, "53");

	answer(fd);
	expect_output(probe, want);
}

Test(kernel, dns_goes_to_the_agent_and_answers_as_dialled)
{
	struct probe probe;

	expect_dns(w.udp4, "udp", "8.8.8.8", "ok source=8.8.8.8:53");
	expect_dns(w.udp4, "udp", "127.0.0.53", "ok source=127.0.0.53:53");
	expect_dns(w.udp4, "udp", "198.18.0.1", "ok source=198.18.0.1:53");
	expect_dns(w.udp4, "unspec", "9.9.9.9", "ok source=9.9.9.9:53");
	expect_dns(w.udp4, "udpconn", "8.8.8.8", "ok source=8.8.8.8:53 peer=8.8.8.8:53");
	expect_dns(w.udp6, "udp", "2001:4860::8888", "ok source=[2001:4860::8888]:53");
	expect_dns(w.udp6, "udpconn", "2001:4860::8888",
		   "ok source=[2001:4860::8888]:53 peer=[2001:4860::8888]:53");
	expect_dns(w.udp4, "udp", "::ffff:8.8.8.8", "ok source=[::ffff:8.8.8.8]:53");
	expect_dns(w.udp4, "v4on6", "8.8.8.8", "ok source=[::ffff:8.8.8.8]:53");
	probe = start(w.ok, "tcp", "8.8.8.8", "53");
	cr_expect(is_ready(w.dns_tcp4));
	expect_output(probe, "ok peer=8.8.8.8:53");
}

Test(kernel, other_udp_fails_at_once)
{
	static const char *const ways[] = { "udp", "unspec", "v4on6" };

	for (size_t i = 0; i < OSH_COUNT_OF(ways); i++)
		expect_probe("sendto=EPERM", w.ok, ways[i], "203.0.113.10", "443");
	expect_probe("connect=EPERM", w.ok, "udpconn", "203.0.113.10", "443");
	expect_probe("sendto=EPERM", w.ok, "udp", "2001:db8::10", "443");
	expect_probe("connect=EPERM", w.ok, "udpconn", "2001:db8::10", "443");
	expect_probe("sendto=EPERM", w.ok, "udp", "::ffff:203.0.113.10", "443");
	expect_probe("sendto=EPERM", w.ok, "stray", "203.0.113.10", "443");
	expect_probe("sendto=EPERM", w.ok, "udp", "224.0.0.251", "5353");
	cr_expect_eq(wait_event(OSH_KERNEL_PROTOCOL)->ip_protocol, IPPROTO_UDP);
}

/* ---- Identity --------------------------------------------------------------------------------- */

static void expect_lineage(struct probe probe, const char *want)
{
	struct osh_flow flow = accept_flow(w.tcp4);
	const char *got = lineage(flow.identity);

	cr_expect_str_eq(got, want, "lineage \"%s\", want \"%s\"", got, want);
	expect_output(probe, "ok peer=198.18.0.50:443");
}

Test(kernel, lineage_follows_fork_and_exec)
{
	expect_lineage(start(w.ok, "fork", w.no, "probe", "tcp", "198.18.0.50", "443"), "net-no net-ok");
	expect_lineage(start(w.no, "exec", w.ok, "probe", "tcp", "198.18.0.50", "443"), "net-ok net-no");
	expect_lineage(start(w.ok, "daemon", w.no, "probe", "tcp", "198.18.0.50", "443"),
		       "net-no net-ok");
	expect_lineage(start(w.ok, "thread", w.no, "probe", "tcp", "198.18.0.50", "443"),
		       "net-no net-ok");
	expect_lineage(start(w.ok, "vfork", "198.18.0.50", "443"), "net-ok");
	expect_lineage(start(w.ok, "fork", w.no, "probe", "daemon", w.ok, "probe", "tcp",
			     "198.18.0.50", "443"), "net-ok net-no net-ok");
}

/* A worker of io_uring is a thread of no fork that anybody saw. */
Test(kernel, io_uring_is_judged_as_its_process)
{
	struct probe probe = start(w.no, "uring", "198.18.0.50", "443");

	expect_flow(w.tcp4, w.no, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
	expect_probe("connect=EPERM", w.no, "uring", "198.18.0.50", "22");
	cr_expect_str_eq(identity_of(wait_event(OSH_KERNEL_NOT_REACHABLE)->identity).path, w.no);
}

/* The path is what the program itself sees: through mounts, up to its own root. */
Test(kernel, path_ends_at_the_tasks_root)
{
	char root[128], through[300];
	struct probe probe;

	format(root, sizeof(root), "%s/root", w.dir);
	cr_assert_eq(mkdir(root, 0755), 0);
	cr_assert_eq(mount("/", root, NULL, MS_BIND | MS_REC, NULL), 0);
	format(through, sizeof(through), "%s%s", root, w.ok);
	probe = start(through, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, through, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");

	w.root = root;
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
	w.root = NULL;
	cr_assert_eq(umount2(root, MNT_DETACH), 0);
	cr_assert_eq(rmdir(root), 0);
}

/* The same program started the same way has one identity, however often. */
Test(kernel, identities_are_shared)
{
	uint32_t first = 0;

	for (int i = 0; i < 3; i++) {
		struct probe probe = start(w.ok, "fork", w.no, "probe", "tcp", "198.18.0.50", "443");
		uint32_t identity = accept_flow(w.tcp4).identity;

		expect_output(probe, "ok peer=198.18.0.50:443");
		cr_expect(first == 0 || identity == first);
		first = identity;
	}
	cr_expect_neq(first, 0);
	cr_expect_eq(osh_kernel_counter(w.kernel, OSH_COUNT_EXEC), 6);
}

Test(kernel, a_replaced_binary_is_another_identity)
{
	struct probe probe = start(w.ok, "tcp", "198.18.0.50", "443");
	uint32_t before = accept_flow(w.tcp4).identity, after;

	expect_output(probe, "ok peer=198.18.0.50:443");
	cr_assert_eq(unlink(w.ok), 0);
	make_binary(w.ok);
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	after = accept_flow(w.tcp4).identity;
	expect_output(probe, "ok peer=198.18.0.50:443");
	cr_expect_neq(before, after);
	cr_expect_str_eq(identity_of(after).path, w.ok);
}

Test(kernel, what_has_no_name_has_no_identity)
{
	struct osh_identity identity;

	expect_probe("connect=EPERM", w.ok, "memfd", "198.18.0.50", "443");
	identity = identity_of(wait_event(OSH_KERNEL_NO_IDENTITY)->identity);
	cr_expect_str_eq(identity.path, "memfd:net-ok");
	cr_expect(identity.flags & OSH_EXE_UNLINKED);
	cr_expect_str_eq(identity_of(identity.parent).path, w.ok);
}

Test(kernel, lineage_has_a_bound)
{
	struct osh_identity identity;
	struct probe probe;

	/* OSH_LINEAGE_MAX ancestors are fine, one more is not, and the tree stops growing. */
	probe = start(w.ok, "chain", "64", "198.18.0.50", "443");
	cr_expect_eq(identity_of(accept_flow(w.tcp4).identity).depth, OSH_LINEAGE_MAX);
	expect_output(probe, "ok peer=198.18.0.50:443");
	expect_probe("connect=EPERM", w.ok, "chain", "65", "198.18.0.50", "443");
	identity = identity_of(wait_event(OSH_KERNEL_NO_IDENTITY)->identity);
	cr_expect_eq(identity.flags, OSH_EXE_TOO_DEEP);
	cr_expect_eq(identity.depth, OSH_LINEAGE_MAX + 1);
	w.event_count = 0;
	expect_probe("connect=EPERM", w.ok, "chain", "200", "198.18.0.50", "443");
	identity = identity_of(wait_event(OSH_KERNEL_NO_IDENTITY)->identity);
	cr_expect_eq(identity.depth, OSH_LINEAGE_MAX + 1);
}

/* A path of 255 bytes is an identity, one of 256 is not. */
Test(kernel, path_has_a_bound)
{
	size_t base = strlen(w.dir) + 1, limit = OSH_PATH_MAX - 1;
	char path[OSH_PATH_MAX + 16];
	struct osh_identity identity;
	struct probe probe;

	snprintf(path, sizeof(path), "%s/", w.dir);
	memset(path + base, 'x', limit - base);
	path[limit] = '\0';
	cr_assert_eq(link(w.ok, path), 0);
	probe = start(path, "tcp", "198.18.0.50", "443");
	cr_expect_str_eq(identity_of(accept_flow(w.tcp4).identity).path, path);
	expect_output(probe, "ok peer=198.18.0.50:443");
	cr_assert_eq(unlink(path), 0);

	strcpy(path + limit, "y");
	cr_assert_eq(link(w.ok, path), 0);
	expect_probe("connect=EPERM", path, "tcp", "198.18.0.50", "443");
	identity = identity_of(wait_event(OSH_KERNEL_NO_IDENTITY)->identity);
	cr_expect(identity.flags & OSH_EXE_NO_PATH);
	cr_expect_neq(identity.path[0], '/', "a cut path must not look like a whole one");
	cr_assert_eq(unlink(path), 0);
}

/* ---- Sandboxes ---------------------------------------------------------------------------------- */

Test(kernel, an_unknown_sandbox_is_refused)
{
	make_sandbox("t");
	expect_output(start_at("t", false, w.ok, "tcp", "198.18.0.50", "443", NULL), "socket=EPERM");
	cr_expect_eq(wait_event(OSH_KERNEL_NO_SANDBOX)->family, AF_INET);
}

/* A cgroup made inside a sandbox belongs to it. */
Test(kernel, inner_cgroups_count)
{
	char path[512];
	struct probe probe;

	format(path, sizeof(path), "%s/s/inner", w.cgroup);
	cr_assert_eq(mkdir(path, 0755), 0);
	probe = start_at("s/inner", false, w.ok, "tcp", "198.18.0.50", "443", NULL);
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
}

/* In the agent's own network there is no redirection and no loopback: nothing. */
Test(kernel, outside_its_network_namespace_nothing_works)
{
	expect_output(start_at("s", true, w.ok, "tcp", "198.18.0.50", "443", NULL), "connect=EPERM");
	expect_output(start_at("s", true, w.ok, "tcp", "127.0.0.1", "443", NULL), "connect=EPERM");
	expect_output(start_at("s", true, w.ok, "udp", "8.8.8.8", "53", NULL), "sendto=EPERM");
	wait_event(OSH_KERNEL_WRONG_NETNS);
}

Test(kernel, sockets_and_ports_that_never_are)
{
	static const char *const refused[][3] = {
		{ "2", "1", "262" }, { "2", "2", "136" }, { "10", "2", "136" }, { "2", "3", "1" },
		{ "2", "3", "6" },   { "2", "3", "255" }, { "10", "3", "58" },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(refused); i++)
		expect_probe("socket=EPERM", w.ok, "socket", refused[i][0], refused[i][1], refused[i][2]);
	cr_expect_eq(wait_event(OSH_KERNEL_SOCKET_TYPE)->pid != 0, 1);
	expect_probe("ok", w.ok, "socket", "2", "1", "0");
	expect_probe("ok", w.ok, "socket", "10", "2", "17");
	expect_probe("ok", w.ok, "socket", "1", "1", "0");

	expect_probe("bind=EPERM", w.ok, "bind", "127.0.0.1", "1");
	expect_probe("bind=EPERM", w.ok, "bind", "::", "53");
	expect_probe("ok", w.ok, "bind", "127.0.0.1", "0");
	wait_event(OSH_KERNEL_RESERVED_PORT);
}

/* Loopback is left alone by the connect hook, but not a packet that goes on from there. */
Test(kernel, a_routing_header_stops_the_packet)
{
	expect_probe("sendto=EPERM", w.ok, "rthdr", "::1", "7000");
	cr_expect_eq(wait_event(OSH_KERNEL_PACKET)->sandbox, w.sandbox);
	cr_expect_eq(osh_kernel_counter(w.kernel, OSH_COUNT_PACKET_DROPPED), 1);
	expect_probe("ok", w.ok, "local", "::1", "0");
}

static void count_lease(void *context, uint32_t addr_host, const struct osh_lease *lease)
{
	cr_expect_eq(addr_host, OSH_SYNTH_FIRST);
	cr_expect_str_eq(lease->host, "ok.test");
	++*(int *)context;
}

static void count_reachable(void *context, const struct osh_reach_key *key)
{
	cr_expect_eq(key->dst_port_host, 22);
	++*(int *)context;
}

Test(kernel, removing_a_sandbox_leaves_nothing_of_it)
{
	const struct osh_maps *maps = osh_kernel_maps(w.kernel);
	uint64_t other = make_sandbox("t");
	struct osh_lease_key lease_key = { .sandbox = w.sandbox, .addr_host = OSH_SYNTH_FIRST };
	struct osh_reach_key reach_key = { .sandbox = w.sandbox, .dst_port_host = 22 };
	struct osh_lease lease = { .host = "ok.test" };
	struct probe probe = start(w.ok, "tcp", "198.18.0.50", "443");
	uint32_t identity = accept_flow(w.tcp4).identity, generation;
	struct osh_identity node;
	int leases = 0, reachable = 0;

	expect_output(probe, "ok peer=198.18.0.50:443");
	cr_assert_eq(osh_kernel_sandbox_add(w.kernel, other), 0);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(osh_maps_lease_set(maps, &lease_key, &lease), 0);
		cr_assert_eq(osh_maps_reachable_add(maps, &reach_key), 0);
		lease_key.sandbox = reach_key.sandbox = other;
	}
	cr_assert_eq(osh_kernel_sandbox_remove(w.kernel, w.sandbox), 0);

	cr_expect_eq(osh_maps_identity(maps, identity, &node), -ENOENT);
	cr_expect_eq(osh_maps_generation(maps, w.sandbox, &generation), -ENOENT);
	cr_expect_eq(osh_maps_lease_each(maps, w.sandbox, count_lease, &leases), 0);
	cr_expect_eq(osh_maps_reachable_each(maps, w.sandbox, count_reachable, &reachable), 0);
	cr_expect(leases == 0 && reachable == 0);
	cr_expect_eq(osh_maps_lease_each(maps, other, count_lease, &leases), 0);
	cr_expect_eq(osh_maps_reachable_each(maps, other, count_reachable, &reachable), 0);
	cr_expect(leases == 1 && reachable == 1, "the other sandbox keeps its own");
	expect_probe("socket=EPERM", w.ok, "tcp", "198.18.0.50", "443");
}

/* ---- Life of the programs ---------------------------------------------------------------------------- */

static uint32_t link_id(const char *name)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	char path[512];
	_cleanup_fd_ int fd = -1;

	format(path, sizeof(path), "%s/layout-1/links/%s", w.pins, name);
	fd = bpf_obj_get(path);
	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	return info.id;
}

static void find_sandbox(void *context, uint64_t sandbox)
{
	if (sandbox == w.sandbox)
		++*(int *)context;
}

Test(kernel, closing_and_opening_again_changes_nothing)
{
	static const char *const names[] = { "osh_connect4", "osh_sendmsg6", "osh_on_exec", "osh_sockops" };
	uint32_t ids[OSH_COUNT_OF(names)];
	struct probe probe;
	int found = 0;

	for (size_t i = 0; i < OSH_COUNT_OF(names); i++)
		ids[i] = link_id(names[i]);
	osh_kernel_close(w.kernel);
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "22"); /* with no agent at all */
	/* Redirected, and never accepted: its record must not outlive the agent's return. */
	expect_probe("ok peer=198.18.0.50:443", w.ok, "tcp", "198.18.0.50", "443");
	open_kernel();
	for (size_t i = 0; i < OSH_COUNT_OF(names); i++)
		cr_expect_eq(link_id(names[i]), ids[i], "%s", names[i]);
	osh_kernel_sandbox_each(w.kernel, find_sandbox, &found);
	cr_expect_eq(found, 1);
	cr_expect_eq(wait_event(OSH_KERNEL_NOT_REACHABLE)->dst_port_host, 22, "kept in the ring meanwhile");
	osh_close(accept(w.tcp4, NULL, NULL)); /* the one that nobody waits for */
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
}

/* Pins lost while a sandbox runs: the next start attaches new programs to the old maps. */
Test(kernel, lost_pins_are_made_again)
{
	struct probe probe;
	char path[512];
	int found = 0;

	osh_kernel_close(w.kernel);
	format(path, sizeof(path), "%s/layout-1/links/osh_connect4", w.pins);
	cr_assert_eq(unlink(path), 0);
	open_kernel();
	osh_kernel_sandbox_each(w.kernel, find_sandbox, &found);
	cr_expect_eq(found, 1);
	probe = start(w.ok, "fork", w.no, "probe", "tcp", "198.18.0.50", "443");
	expect_lineage(probe, "net-no net-ok");
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "22");
}

/* Programs of another build with the same layout stay for as long as a sandbox needs them. */
Test(kernel, another_build_waits_for_the_last_sandbox)
{
	uint32_t before = link_id("osh_connect4");
	char path[512], marker[512] = "";
	struct dirent *entry;
	DIR *dir;

	format(path, sizeof(path), "%s/layout-1/build", w.pins);
	dir = opendir(path);
	cr_assert_not_null(dir);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			format(marker, sizeof(marker), "%.200s/%.200s", path, entry->d_name);
	closedir(dir);
	cr_assert_eq(rmdir(marker), 0, "%s", marker);
	osh_kernel_close(w.kernel);
	open_kernel();
	cr_expect_eq(link_id("osh_connect4"), before);
	cr_assert_eq(osh_kernel_sandbox_remove(w.kernel, w.sandbox), 0);
	osh_kernel_close(w.kernel);
	open_kernel();
	cr_expect_neq(link_id("osh_connect4"), before);
	cr_expect_eq(access(marker, F_OK), 0);
}

/* Where no BPF file system is mounted yet, it is. */
Test(kernel, the_bpf_file_system_is_mounted_when_absent)
{
	char pins[64];
	struct osh_kernel_options options = { .pin_dir = pins, .cgroup_path = w.cgroup };
	struct osh_kernel *second = NULL;
	struct osh_err err = { 0 };

	format(pins, sizeof(pins), "/sys/fs/bpf/oshk-%d", getpid());
	/* Ours alone: this is a mount namespace of the test. */
	while (umount2("/sys/fs/bpf", MNT_DETACH) == 0)
		;
	cr_assert_eq(osh_kernel_open(&options, &second, &err), 0, "%s", err.message);
	cr_expect_eq(access(pins, F_OK), 0);
	osh_kernel_uninstall(second);
	cr_expect_neq(access(pins, F_OK), 0);
}

Test(kernel, one_agent_per_pin_directory)
{
	struct osh_kernel_options options = { .pin_dir = w.pins, .cgroup_path = w.cgroup };
	struct osh_kernel *second = NULL;
	struct osh_err err = { 0 };

	cr_expect_eq(osh_kernel_open(&options, &second, &err), -EBUSY);
	cr_expect(strstr(err.message, "another agent"), "%s", err.message);
}

/* Another agent beside this one: its own programs, its own sandboxes. */
Test(kernel, two_agents_side_by_side)
{
	char pins[160], cgroup[300];
	struct osh_kernel_options options = { .pin_dir = pins, .cgroup_path = cgroup };
	struct osh_kernel *second = NULL;
	struct osh_err err = { 0 };
	struct probe probe;

	make_sandbox("t");
	format(cgroup, sizeof(cgroup), "%s/t", w.cgroup); /* any cgroup will do as a root */
	format(pins, sizeof(pins), "%s/bpf/second", w.dir);
	cr_assert_eq(osh_kernel_open(&options, &second, &err), 0, "%s", err.message);
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
	cr_expect_eq(osh_kernel_counter(w.kernel, OSH_COUNT_EXEC), 1);
	cr_expect_eq(osh_kernel_counter(second, OSH_COUNT_EXEC), 0, "not its sandbox");
	osh_kernel_uninstall(second);
	cr_expect_neq(access(pins, F_OK), 0, "uninstall leaves no pin");
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "22");
}

Test(kernel, uninstall_detaches_everything)
{
	osh_kernel_uninstall(osh_take(w.kernel));
	cr_expect_neq(access(w.pins, F_OK), 0);
	/* Only the namespace holds now: there is no way, and nobody says EPERM. */
	expect_probe("connect=ENETUNREACH", w.ok, "tcp", "198.18.0.50", "443");
}

Test(kernel, a_wrong_place_is_said_clearly)
{
	struct osh_kernel_options options = { .pin_dir = "/tmp/oshk-none", .cgroup_path = w.cgroup };
	struct osh_kernel *kernel = NULL;
	struct osh_err err = { 0 };

	cr_expect_eq(osh_kernel_open(&options, &kernel, &err), -EINVAL);
	cr_expect(strstr(err.message, "not on a BPF file system"), "%s", err.message);
	cr_expect_neq(access(options.pin_dir, F_OK), 0, "nothing half made");
	options = (struct osh_kernel_options){ .pin_dir = w.pins, .cgroup_path = "/tmp" };
	cr_expect_eq(osh_kernel_open(&options, &kernel, &err), -EINVAL);
	cr_expect(strstr(err.message, "cgroup v2"), "%s", err.message);
}

Test(kernel, features_are_told)
{
	const struct osh_kernel_feature *features;
	size_t count = osh_kernel_features(w.kernel, &features);

	cr_assert_geq(count, 3);
	for (size_t i = 0; i < count; i++) {
		cr_expect_not_null(features[i].name);
		cr_expect(features[i].present || features[i].fallback, "%s", features[i].name);
	}
	for (int i = 0; i < OSH_COUNTER_COUNT; i++)
		cr_expect_str_neq(osh_counter_name((enum osh_counter)i), "unknown");
	for (int i = 1; i < OSH_KERNEL_REASON_COUNT; i++)
		cr_expect_null(strstr(osh_kernel_reason_text((enum osh_kernel_reason)i), "unknown to"));
}
