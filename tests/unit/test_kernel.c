/* Where connects and datagrams go (bpf/egress.bpf.c), and what never goes (bpf/guard.bpf.c). */
#include <linux/rtnetlink.h>
#include <net/route.h>

#include "kernel/install.h"
#include "test_kernel_world.h"

TestSuite(kernel, .init = world_up, .fini = world_down, .timeout = 240);

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

/* mode: permissive: all of TCP leads to the agent, and nothing else does. */
Test(kernel, a_permissive_sandbox_reaches_every_port)
{
	struct probe probe;
	uint32_t generation;

	cr_assert_eq(osh_kernel_generation_bump(w.kernel, w.sandbox, true, &generation), 0);
	probe = start(w.ok, "tcp", "198.18.0.50", "22");
	expect_flow(w.tcp4, w.ok, "198.18.0.50", 22);
	expect_output(probe, "ok peer=198.18.0.50:22");
	cr_assert_eq(osh_kernel_generation_bump(w.kernel, w.sandbox, false, &generation), 0);
	expect_probe("connect=EPERM", w.ok, "tcp", "198.18.0.50", "22");
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

	cr_assert_eq(osh_kernel_generation_bump(w.kernel, w.sandbox, false, &generation), 0);
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

/* D05, D15: also on loopback, where stub resolvers live. */
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

/* As a sandbox has them: everything is on lo. */
static void add_default_routes(void)
{
	char lo[] = "lo";
	struct rtentry v4 = { .rt_flags = RTF_UP, .rt_dev = lo };
	struct in6_rtmsg v6 = {
		.rtmsg_type = RTN_LOCAL,
		.rtmsg_flags = RTF_UP | RTF_LOCAL,
		.rtmsg_metric = 1024,
		.rtmsg_ifindex = 1,
	};
	struct sockaddr_in any = { .sin_family = AF_INET };
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), s4, s6;

	cr_assert_eq(setns(w.netns, CLONE_NEWNET), 0);
	s4 = socket(AF_INET, SOCK_DGRAM, 0);
	s6 = socket(AF_INET6, SOCK_DGRAM, 0);
	memcpy(&v4.rt_dst, &any, sizeof(any));
	memcpy(&v4.rt_genmask, &any, sizeof(any));
	cr_assert_eq(ioctl(s4, SIOCADDRT, &v4), 0);
	cr_assert_eq(ioctl(s6, SIOCADDRT, &v6), 0);
	osh_close(s4);
	osh_close(s6);
	cr_assert_eq(setns(home, CLONE_NEWNET), 0);
	osh_close(home);
}

/* Naming a peer sends nothing and leaves no record; the send fails, and its record tells
 * who and where. */
Test(kernel, connected_udp_is_refused_at_its_send)
{
	const struct osh_event *event;

	add_default_routes();
	expect_probe("sendto=EPERM", w.ok, "udpconn", "203.0.113.10", "443");
	event = wait_event(OSH_KERNEL_PROTOCOL);
	cr_expect_eq(event->dst_port_host, 443);
	cr_expect_neq(event->identity, 0u);
	cr_expect_neq(event->pid, 0u);
	cr_expect_eq(event->sandbox, w.sandbox);
}

Test(kernel, other_udp_fails_at_once)
{
	static const char *const ways[] = { "udp", "unspec", "v4on6" };

	add_default_routes();
	for (size_t i = 0; i < OSH_COUNT_OF(ways); i++)
		expect_probe("sendto=EPERM", w.ok, ways[i], "203.0.113.10", "443");
	expect_probe("sendto=EPERM", w.ok, "udpconn", "203.0.113.10", "443");
	expect_probe("sendto=EPERM", w.ok, "udp", "2001:db8::10", "443");
	expect_probe("sendto=EPERM", w.ok, "udpconn", "2001:db8::10", "443");
	expect_probe("sendto=EPERM", w.ok, "udp", "::ffff:203.0.113.10", "443");
	expect_probe("sendto=EPERM", w.ok, "stray", "203.0.113.10", "443");
	expect_probe("sendto=EPERM", w.ok, "udp", "224.0.0.251", "5353");
	cr_expect_eq(wait_event(OSH_KERNEL_PROTOCOL)->ip_protocol, IPPROTO_UDP);
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

/* Seen before the path is looked up, so the path need not be a foreign one to be refused. */
Test(kernel, unix_sockets_are_for_a_sandbox_in_its_network)
{
	struct osh_optional_hooks hooks;
	char path[128];

	format(path, sizeof(path), "%s/socket", w.dir);
	expect_probe("sendto=ok connect=ok", w.ok, "unix", path);
	osh_features_hooks(-1, &hooks);
	if (!hooks.unix_sockets)
		return; /* before 6.7 the mounts hold alone */
	make_sandbox("t");
	expect_output(start_at("t", false, w.ok, "unix", path, NULL), "sendto=EPERM connect=EPERM");
	cr_expect_eq(wait_event(OSH_KERNEL_NO_SANDBOX)->family, AF_UNIX);
	expect_output(start_at("s", true, w.ok, "unix", path, NULL), "sendto=EPERM connect=EPERM");
	cr_expect_eq(wait_event(OSH_KERNEL_WRONG_NETNS)->sandbox, w.sandbox);
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
	cr_assert_eq(osh_kernel_sandbox_add(w.kernel, other, false), 0);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(osh_maps_lease_set(maps, &lease_key, &lease), 0);
		cr_assert_eq(osh_maps_reachable_add(maps, &reach_key), 0);
		lease_key.sandbox = reach_key.sandbox = other;
	}
	cr_assert_eq(osh_kernel_sandbox_remove(w.kernel, w.sandbox), 0);
	cr_assert(osh_kernel_purge(w.kernel) == 0);

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

Test(kernel, the_loop_forgets_what_was_removed)
{
	struct osh_lease_key key = { .sandbox = w.sandbox, .addr_host = OSH_SYNTH_FIRST };
	struct osh_lease lease = { .host = "ok.test" };
	int leases = 1;

	cr_assert_eq(osh_maps_lease_set(osh_kernel_maps(w.kernel), &key, &lease), 0);
	cr_assert_eq(osh_kernel_sandbox_remove(w.kernel, w.sandbox), 0);
	for (int i = 0; i < 100 && leases; i++) {
		leases = 0;
		osh_loop_run_once(w.loop, 100);
		cr_assert_eq(osh_maps_lease_each(osh_kernel_maps(w.kernel), w.sandbox, count_lease, &leases), 0);
	}
	cr_expect_eq(leases, 0);
}

#define MANY 1000 /* several batches of a walk */

static void mark_seen(void *context, uint32_t addr_host, const struct osh_lease *lease)
{
	bool *seen = context;
	char host[16];

	snprintf(host, sizeof(host), "n%u.test", addr_host - OSH_SYNTH_FIRST);
	cr_assert_lt(addr_host - OSH_SYNTH_FIRST, MANY);
	cr_expect_str_eq(lease->host, host);
	cr_expect_not(seen[addr_host - OSH_SYNTH_FIRST], "%s is shown twice", host);
	seen[addr_host - OSH_SYNTH_FIRST] = true;
}

static size_t count_leases(uint64_t sandbox)
{
	bool seen[MANY] = { false };
	size_t count = 0;

	cr_assert_eq(osh_maps_lease_each(osh_kernel_maps(w.kernel), sandbox, mark_seen, seen), 0);
	for (size_t i = 0; i < MANY; i++)
		count += seen[i];
	return count;
}

Test(kernel, a_walk_shows_every_entry_once_and_a_removal_takes_all_of_one_sandbox)
{
	uint64_t other = make_sandbox("t");
	struct osh_lease lease;

	cr_assert_eq(osh_kernel_sandbox_add(w.kernel, other, false), 0);
	for (uint32_t i = 0; i < 2 * MANY; i++) {
		struct osh_lease_key key = { .sandbox = i % 2 ? other : w.sandbox, .addr_host = OSH_SYNTH_FIRST + i / 2 };

		memset(&lease, 0, sizeof(lease));
		snprintf(lease.host, sizeof(lease.host), "n%u.test", i / 2);
		cr_assert_eq(osh_maps_lease_set(osh_kernel_maps(w.kernel), &key, &lease), 0);
	}
	cr_expect_eq(count_leases(w.sandbox), MANY);
	cr_expect_eq(count_leases(other), MANY);
	cr_assert_eq(osh_kernel_sandbox_remove(w.kernel, w.sandbox), 0);
	cr_assert(osh_kernel_purge(w.kernel) == 0);
	cr_expect_eq(count_leases(w.sandbox), 0);
	cr_expect_eq(count_leases(other), MANY);
}
