/* The world of a kernel test, named by its pid: a mount namespace with a BPF file system, a
 * root cgroup, a network namespace with nothing but lo as a sandbox has it, and two copies of
 * the test as two binaries (test_kernel_probe.h). No packet can leave. Root needed. */
#ifndef OSH_TEST_KERNEL_WORLD_H
#define OSH_TEST_KERNEL_WORLD_H

#include <bpf/bpf.h>
#include <dirent.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/str.h"
#include "kernel/kernel.h"
#include "test_kernel_probe.h"

#define EVENTS_MAX 64

static struct {
	char dir[64];      /* /tmp/oshk-PID */
	char pins[128];
	char ok[128], no[128]; /* two binaries */
	char cgroup[256];  /* the agent's root */
	uint64_t sandbox;  /* cgroup id of its child "s" */
	const char *root;  /* where probes are locked in; NULL: not */
	uid_t uid;         /* of the probes */
	char **env;        /* of the probes; NULL: none */
	int netns;
	int tcp4, tcp6, udp4, udp6, dns_tcp4;
	struct osh_kernel *kernel;
	struct osh_loop *loop;
	struct osh_event events[EVENTS_MAX];
	size_t event_count; /* at most EVENTS_MAX are kept */
	uint64_t event_total;
} w;

static inline void format(char *buf, size_t size, const char *text, ...)
	__attribute__((format(printf, 3, 4)));

static inline void format(char *buf, size_t size, const char *text, ...)
{
	va_list args;
	int n;

	va_start(args, text);
	n = vsnprintf(buf, size, text, args);
	va_end(args);
	cr_assert(n >= 0 && (size_t)n < size);
}

static inline void write_text(const char *path, const char *text)
{
	_cleanup_fd_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
}

/* The mount point of cgroup v2, from /proc/self/mountinfo. */
static inline void find_cgroup2(char *buf, size_t size)
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

static inline uint64_t inode_of(const char *path)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0, "%s", path);
	return st.st_ino;
}

static inline void lo_up(void)
{
	struct {
		struct in6_addr addr;
		uint32_t prefix;
		int ifindex;
	} v6 = { .prefix = 128, .ifindex = 1 };
	struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP }, request = { .ifr_name = "lo:0" };
	struct sockaddr_in *address = (void *)&request.ifr_addr;
	int s4 = socket(AF_INET, SOCK_DGRAM, 0), s6 = socket(AF_INET6, SOCK_DGRAM, 0);

	cr_assert_eq(ioctl(s4, SIOCSIFFLAGS, &up), 0);
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

static inline int open_socket(const char *host, const char *port, int type)
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
static inline void make_netns(void)
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

static inline void make_binary(const char *path)
{
	_cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(copy_self(fd), 0);
}

static inline void on_event(void *context, const struct osh_event *event)
{
	(void)context;
	w.event_total++;
	if (w.event_count < EVENTS_MAX)
		w.events[w.event_count++] = *event;
}

static inline void open_kernel(void)
{
	struct osh_kernel_options options = { .pin_dir = w.pins, .cgroup_path = w.cgroup };
	struct osh_err err = { 0 };

	cr_assert_eq(osh_kernel_open(&options, &w.kernel, &err), 0, "%s", err.message);
	cr_assert_eq(osh_kernel_watch(w.kernel, w.loop, on_event, NULL), 0);
}

/* Cgroups and directories of test processes that were killed. */
static inline void sweep(const char *parent, void (*remove_one)(const char *path))
{
	DIR *dir = opendir(parent);
	struct dirent *entry;
	char path[512];
	uint64_t pid;

	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "oshk-", 5) != 0 ||
		    osh_str_parse_u64(osh_str(entry->d_name + 5), INT32_MAX, &pid) < 0 || pid == 0 ||
		    kill((pid_t)pid, 0) == 0 || errno != ESRCH)
			continue;
		snprintf(path, sizeof(path), "%.200s/%.200s", parent, entry->d_name);
		remove_one(path);
	}
	if (dir)
		closedir(dir);
}

static inline void remove_cgroup(const char *path)
{
	static const char *const children[] = { "s/inner", "s", "t" };
	char child[512];

	snprintf(child, sizeof(child), "%s/cgroup.kill", path);
	if (access(child, F_OK) == 0)
		write_text(child, "1");
	for (size_t i = 0; i < OSH_COUNT_OF(children); i++) {
		snprintf(child, sizeof(child), "%.400s/%s", path, children[i]);
		/* A killed task leaves its cgroup a moment later. */
		for (int tries = 0; rmdir(child) < 0 && errno == EBUSY && tries < 1000; tries++)
			poll(NULL, 0, 1);
	}
	(void)rmdir(path);
}

static inline void remove_files(const char *path)
{
	static const char *const files[] = { "net-ok", "net-no", "bpf" };
	char file[512];

	for (size_t i = 0; i < OSH_COUNT_OF(files); i++) {
		snprintf(file, sizeof(file), "%.400s/%s", path, files[i]);
		if (unlink(file) < 0)
			(void)rmdir(file);
	}
	(void)rmdir(path);
}

static inline uint64_t make_sandbox(const char *name)
{
	char path[512];

	format(path, sizeof(path), "%s/%s", w.cgroup, name);
	cr_assert_eq(mkdir(path, 0755), 0, "%s: %s", path, strerror(errno));
	return inode_of(path);
}

static inline void need_root(void)
{
	if (geteuid() == 0)
		return;
	if (getenv("OSH_TESTS_MUST_RUN"))
		cr_assert_fail("these tests need root");
	cr_skip_test("these tests need root");
}

static inline void world_up(void)
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
	cr_assert_eq(osh_kernel_sandbox_add(w.kernel, w.sandbox, false), 0);
}

static inline void world_down(void)
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

static inline _Noreturn void become(const char *cgroup, const char *binary, char **args, int out,
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
	if (w.uid && setresuid(w.uid, w.uid, w.uid) < 0)
		_exit(124);
	dup2(out, STDOUT_FILENO);
	execve(binary, args, w.env ? w.env : env); /* empty: Criterion would take it for a worker of its own */
	_exit(127);
}

/* Start `binary` as "probe WORDS..." in a cgroup below the agent's root. */
static inline struct probe start_at(const char *cgroup, bool host_netns, const char *binary, ...)
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

static inline void expect_output(struct probe probe, const char *want)
{
	const char *got = finish(&probe);

	cr_expect_str_eq(got, want, "probe said \"%s\", want \"%s\"", got, want);
}

#define expect_probe(want, ...) expect_output(start(__VA_ARGS__), want)

static inline bool is_ready(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	return poll(&wait, 1, WAIT_MS) == 1;
}

static inline struct osh_addr addr_of(const char *text)
{
	struct osh_addr addr = { { 0, 0, htonl(0xffff), 0 } };

	if (inet_pton(AF_INET, text, &addr.word_be[3]) != 1)
		cr_assert_eq(inet_pton(AF_INET6, text, &addr), 1);
	return addr;
}

/* Take the connection, as the proxy does, and the record that must be there by then. */
static inline struct osh_flow accept_flow(int listener)
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

static inline struct osh_identity identity_of(uint32_t id)
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

static inline void expect_flow(int listener, const char *binary, const char *dst, unsigned port)
{
	struct osh_flow flow = accept_flow(listener);
	struct osh_addr want = addr_of(dst);
	struct osh_identity identity = identity_of(flow.identity);

	cr_expect_str_eq(identity.path, binary);
	cr_expect_eq(identity.flags & OSH_EXE_NAMELESS, 0);
	cr_expect_arr_eq(&flow.dst, &want, sizeof(want), "%s", dst);
	cr_expect_eq(flow.dst_port_host, port);
}

static inline void expect_lineage(struct probe probe, const char *want)
{
	struct osh_flow flow = accept_flow(w.tcp4);
	const char *got = lineage(flow.identity);

	cr_expect_str_eq(got, want, "lineage \"%s\", want \"%s\"", got, want);
	expect_output(probe, "ok peer=198.18.0.50:443");
}

#endif
