/* Full maps: what finds no room is refused and counted, and works again once there is room. */
#include "test_kernel_world.h"

#include <bpf/bpf.h>
#include <sys/prctl.h>

#include "kernel/install.h"
#include "kernel/pins.h"

TestSuite(kernel_full, .init = world_up, .fini = world_down, .timeout = 240);

static int open_map(const char *name)
{
	char path[512];
	int fd;

	format(path, sizeof(path), "%s/" LAYOUT "/maps/%s", w.pins, name);
	fd = bpf_obj_get(path);
	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	return fd;
}

/* Entries of no sandbox until there is no room; `make_key` writes the nth key. */
static unsigned fill(int fd, void (*make_key)(void *key, uint32_t n), const void *value)
{
	char key[64];
	uint32_t n = 0;

	do
		make_key(key, n++);
	while (bpf_map_update_elem(fd, key, value, BPF_NOEXIST) == 0);
	cr_assert_eq(errno, E2BIG, "%s", strerror(errno));
	return n - 1;
}

static void free_some(int fd, void (*make_key)(void *key, uint32_t n))
{
	char key[64];

	for (uint32_t n = 0; n < 16; n++) {
		make_key(key, n);
		cr_expect_eq(bpf_map_delete_elem(fd, key), 0);
	}
}

static void make_flow_key(void *key, uint32_t n)
{
	const struct osh_flow_key flow = { .sandbox = 1, .client.word_be = { n } };

	memcpy(key, &flow, sizeof(flow));
}

Test(kernel_full, flows)
{
	static const struct osh_flow none;
	int fd = osh_kernel_maps(w.kernel)->flows;
	struct osh_flow_key key = { 0 };
	struct osh_flow flow;
	struct probe probe;
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	int taken;

	cr_expect_leq(fill(fd, make_flow_key, &none), OSH_FLOWS_MAX);
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	cr_assert(is_ready(w.tcp4));
	taken = accept4(w.tcp4, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
	key = (struct osh_flow_key){ .sandbox = w.sandbox,
				     .client.word_be = { 0, 0, htonl(0xffff), peer.sin_addr.s_addr },
				     .client_port_host = ntohs(peer.sin_port) };
	cr_expect_eq(osh_maps_flow_take(osh_kernel_maps(w.kernel), &key, &flow), -ENOSPC,
		     "nothing says whose it is: the proxy closes it");
	cr_expect_neq(wait_event(OSH_KERNEL_TABLE_FULL)->identity, 0);
	cr_expect_eq(osh_kernel_counter(w.kernel, OSH_COUNT_FLOW_LOST), 1);
	finish(&probe);
	osh_close(taken);
	free_some(fd, make_flow_key);
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
}

/* Beyond what pid_max can be (2^22). */
static void make_task_key(void *key, uint32_t n)
{
	n += 1u << 23;
	memcpy(key, &n, sizeof(n));
}

Test(kernel_full, tasks)
{
	static const struct osh_task none;
	int fd = open_map("tasks");
	struct probe probe;

	cr_expect_leq(fill(fd, make_task_key, &none), OSH_TASKS_MAX);
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "443");
	cr_expect_eq(wait_event(OSH_KERNEL_NO_IDENTITY)->identity, 0);
	cr_expect_gt(osh_kernel_counter(w.kernel, OSH_COUNT_TASK_LOST), 0);
	free_some(fd, make_task_key);
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
	osh_close(fd);
}

/* ---- A sandbox's share of the processes ---------------------------------------- */

static struct osh_usage usage_of(uint64_t sandbox)
{
	_cleanup_fd_ int fd = open_map("usage");
	struct osh_usage usage;

	cr_assert_eq(bpf_map_lookup_elem(fd, &sandbox, &usage), 0);
	return usage;
}

/* As if so many ran in it. */
static void set_tasks_used(uint64_t sandbox, uint32_t used)
{
	_cleanup_fd_ int fd = open_map("usage");
	struct osh_usage usage = usage_of(sandbox);

	usage.tasks = used;
	cr_assert_eq(bpf_map_update_elem(fd, &sandbox, &usage, BPF_EXIST), 0);
}

static void await_stop(pid_t pid)
{
	int status;

	do
		cr_assert_gt(waitpid(pid, &status, WUNTRACED), 0);
	while (!WIFSTOPPED(status));
}

static void expect_served(const char *cgroup, uint64_t sandbox)
{
	uint64_t mine = w.sandbox;
	struct probe probe = start_at(cgroup, false, w.ok, "tcp", "198.18.0.50", "443", NULL);

	w.sandbox = sandbox;
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
	w.sandbox = mine;
}

/* F22: whoever fills its own share takes nothing from others. */
Test(kernel_full, a_sandbox_fills_its_own_share_of_the_processes)
{
	uint64_t other = make_sandbox("t");
	struct probe last;

	cr_assert_eq(osh_kernel_sandbox_add(w.kernel, other, false), 0);
	set_tasks_used(w.sandbox, OSH_TASKS_PER_SANDBOX_MAX - 1);
	last = start(w.ok, "stop", w.ok, "probe", "tcp", "198.18.0.50", "443");
	await_stop(last.pid);
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "443");
	cr_expect_eq(wait_event(OSH_KERNEL_NO_IDENTITY)->identity, 0);
	cr_expect_eq(osh_kernel_counter(w.kernel, OSH_COUNT_TASK_LOST), 1);
	expect_served("t", other);
	cr_assert_eq(kill(last.pid, SIGCONT), 0); /* who has a place keeps it over an exec */
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(last, "ok peer=198.18.0.50:443");
	expect_served("s", w.sandbox);
	cr_expect_eq(usage_of(w.sandbox).tasks, OSH_TASKS_PER_SANDBOX_MAX - 1);
	cr_expect_eq(usage_of(other).tasks, 0);
}

/* The last of so many generations, of which the second finds no room if it is the share's last place that the
 * first takes. */
static struct probe start_orphan(const char *generations, uint32_t used)
{
	struct probe probe;

	set_tasks_used(w.sandbox, used);
	probe = start(w.ok, "orphan", generations, w.no, "probe", "tcp", "198.18.0.50", "443");
	for (int status = 0; !WIFSTOPPED(status);)
		cr_assert_gt(probe.pid = waitpid(-1, &status, WUNTRACED), 0);
	cr_assert_eq(kill(probe.pid, SIGCONT), 0);
	return probe;
}

/* One whose fork found no room does not count as come from outside once its parent has ended and there is
 * room again. */
Test(kernel_full, a_lineage_lost_for_want_of_room_does_not_begin_anew)
{
	static const char *const generations[] = { "1", "2" };

	cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* orphans come to us, outside */
	for (size_t i = 0; i < OSH_COUNT_OF(generations); i++) {
		expect_output(start_orphan(generations[i], OSH_TASKS_PER_SANDBOX_MAX - 1), "connect=EPERM");
		expect_served("s", w.sandbox); /* what comes from outside later lost nothing */
		expect_lineage(start_orphan(generations[i], 0), "net-no net-ok");
	}
}

Test(kernel_full, every_way_to_begin_and_end_leaves_the_count_right)
{
	static char *const ways[] = { "fork", "daemon", "thread", "exec" };
	uint64_t other = make_sandbox("t");
	char path[512], pid[16];
	struct probe probe;

	cr_assert_eq(osh_kernel_sandbox_add(w.kernel, other, false), 0);
	for (size_t i = 0; i < OSH_COUNT_OF(ways); i++) {
		probe = start(w.ok, ways[i], w.no, "probe", "tcp", "198.18.0.50", "443");
		(void)accept_flow(w.tcp4);
		expect_output(probe, "ok peer=198.18.0.50:443");
		cr_expect_eq(usage_of(w.sandbox).tasks, 0, "%s", ways[i]);
	}
	/* Into another sandbox: it moves when it executes. */
	probe = start(w.ok, "stop", w.ok, "probe", "stop", w.ok, "probe", "socket", "2", "1", "0");
	await_stop(probe.pid);
	format(path, sizeof(path), "%s/t/cgroup.procs", w.cgroup);
	format(pid, sizeof(pid), "%d", (int)probe.pid);
	write_text(path, pid);
	cr_expect(usage_of(w.sandbox).tasks == 1 && usage_of(other).tasks == 0);
	cr_assert_eq(kill(probe.pid, SIGCONT), 0);
	await_stop(probe.pid);
	cr_expect(usage_of(w.sandbox).tasks == 0 && usage_of(other).tasks == 1);
	/* Begun anew while it runs: neither it nor its end counts. */
	cr_assert_eq(osh_kernel_sandbox_remove(w.kernel, other), 0);
	cr_assert_eq(osh_kernel_sandbox_add(w.kernel, other, false), 0);
	cr_expect_eq(usage_of(other).tasks, 0);
	cr_assert_eq(kill(probe.pid, SIGKILL), 0);
	(void)finish(&probe);
	cr_expect_eq(usage_of(other).tasks, 0);
	expect_served("t", other);
	cr_expect_eq(usage_of(other).tasks, 0);
}

/* An agent killed while it removed one. */
Test(kernel_full, a_returning_agent_forgets_what_strangers_used)
{
	uint64_t other = make_sandbox("t");

	cr_assert_eq(osh_kernel_sandbox_add(w.kernel, other, false), 0);
	set_tasks_used(w.sandbox, 7);
	set_tasks_used(other, 7);
	cr_assert_eq(bpf_map_delete_elem(osh_kernel_maps(w.kernel)->sandboxes, &other), 0);
	osh_kernel_close(osh_take(w.kernel));
	open_kernel();
	cr_expect_eq(usage_of(w.sandbox).tasks, 7);
	cr_assert_eq(osh_kernel_sandbox_add(w.kernel, other, false), 0);
	cr_expect_eq(usage_of(other).tasks, 0);
}

static void make_reach_key(void *key, uint32_t n)
{
	const struct osh_reach_key reach = { .sandbox = 1, .dst.word_be = { n } };

	memcpy(key, &reach, sizeof(reach));
}

Test(kernel_full, reachable)
{
	static const uint8_t one = 1;
	const struct osh_maps *maps = osh_kernel_maps(w.kernel);
	struct osh_reach_key key = { .sandbox = w.sandbox, .dst = addr_of("198.18.0.50"), .dst_port_host = 5432 };
	struct probe probe;

	cr_expect_leq(fill(maps->reachable, make_reach_key, &one), OSH_REACHABLE_MAX);
	cr_expect_lt(osh_maps_reachable_add(maps, &key), 0);
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "5432");
	wait_event(OSH_KERNEL_NOT_REACHABLE);
	free_some(maps->reachable, make_reach_key);
	cr_assert_eq(osh_maps_reachable_add(maps, &key), 0);
	probe = start(w.ok, "tcp", "198.18.0.50", "5432");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 5432);
	expect_output(probe, "ok peer=198.18.0.50:5432");
}

static bool is_named(int map, uint64_t sandbox, uint64_t ino)
{
	const struct osh_unix_key key = { .sandbox = sandbox, .ino = ino };
	uint8_t present;

	return bpf_map_lookup_elem(map, &key, &present) == 0;
}

/* A set takes the place of the one before; what finds no room is out of reach. */
Test(kernel_full, unix_sockets)
{
	const struct osh_unix_key first[] = { { .sandbox = 1, .ino = 10 }, { .sandbox = 1, .ino = 11 } };
	const struct osh_unix_key second[] = { { .sandbox = 1, .ino = 11 }, { .sandbox = 1, .ino = 12 } };
	const struct osh_unix_key others[] = { { .sandbox = 2, .ino = 10 } };
	const struct osh_unix_key many[] = { { .sandbox = 2, .ino = 10 }, { .sandbox = 2, .ino = 20 },
					     { .sandbox = 2, .ino = 21 } };
	int map = bpf_map_create(BPF_MAP_TYPE_HASH, "unix_sockets", sizeof(*first), 1, 4, NULL);

	cr_assert_geq(map, 0);
	cr_expect_eq(osh_maps_unix_set(map, 1, first, 2), 0);
	cr_expect_eq(osh_maps_unix_set(map, 2, others, 1), 0);
	cr_expect(is_named(map, 1, 10) && is_named(map, 1, 11) && is_named(map, 2, 10));
	cr_expect_eq(osh_maps_unix_set(map, 1, second, 2), 0);
	cr_expect_not(is_named(map, 1, 10), "not named any more");
	cr_expect(is_named(map, 1, 11) && is_named(map, 1, 12) && is_named(map, 2, 10));
	cr_expect_eq(osh_maps_unix_set(map, 2, many, 3), -E2BIG);
	cr_expect(is_named(map, 2, 10) && is_named(map, 2, 20) && !is_named(map, 2, 21));
	cr_expect_eq(osh_maps_unix_set(map, 2, NULL, 0), 0);
	cr_expect(!is_named(map, 2, 10) && is_named(map, 1, 12));
	osh_close(map);
}

/* What is forgotten is asked again, by way of the agent: never let through. */
Test(kernel_full, denials)
{
	const struct osh_maps *maps = osh_kernel_maps(w.kernel);
	struct osh_denial_key key = {
		.sandbox = w.sandbox, .dst = addr_of("198.18.0.50"), .dst_port_host = 443,
	};
	struct probe probe = start(w.ok, "tcp", "198.18.0.50", "443");
	struct osh_denial_key other = { .sandbox = 1 };
	uint8_t one;

	key.identity = accept_flow(w.tcp4).identity;
	expect_output(probe, "ok peer=198.18.0.50:443");
	cr_assert_eq(osh_maps_generation(maps, w.sandbox, &key.generation), 0);
	cr_assert_eq(osh_maps_denial_add(maps, &key), 0);
	for (uint32_t n = 0; n < 4 * OSH_DENIALS_MAX; n++) {
		other.dst.word_be[0] = n;
		cr_assert_eq(osh_maps_denial_add(maps, &other), 0, "the oldest makes room");
	}
	cr_assert_lt(bpf_map_lookup_elem(maps->denials, &key, &one), 0, "nobody asked meanwhile: it went");
	probe = start(w.ok, "tcp", "198.18.0.50", "443");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 443);
	expect_output(probe, "ok peer=198.18.0.50:443");
}
