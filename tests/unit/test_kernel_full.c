/* Full maps: what finds no room is refused and counted, and works again once there is room. */
#include "test_kernel_world.h"

#include <bpf/bpf.h>

TestSuite(kernel_full, .init = world_up, .fini = world_down, .timeout = 240);

static int open_map(const char *name)
{
	char path[512];
	int fd;

	format(path, sizeof(path), "%s/layout-6/maps/%s", w.pins, name);
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
