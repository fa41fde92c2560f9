/* F24: cached denials. They never allow anything; a stale one would refuse what is allowed now. Programs
 * and maps are those in use, and what takes 2^32 policies or a number given twice is forced. */
#include "test_kernel_world.h"

#include <bpf/bpf.h>

#include "kernel/install.h"
#include "kernel/pins.h"

TestSuite(kernel_denials, .init = world_up, .fini = world_down, .timeout = 240);

#define HOST "198.18.0.50"

static const struct osh_maps *maps(void)
{
	return osh_kernel_maps(w.kernel);
}

/* Of net-ok, which gets to the agent, to HOST and port 443 under the policy in force. */
static struct osh_denial_key ask(void)
{
	struct osh_denial_key key = { .sandbox = w.sandbox, .dst = addr_of(HOST), .dst_port_host = 443 };
	struct probe probe = start(w.ok, "tcp", HOST, "443");

	key.identity = accept_flow(w.tcp4).identity;
	expect_output(probe, "ok peer=" HOST ":443");
	cr_assert_eq(osh_maps_generation(maps(), w.sandbox, &key.generation), 0);
	return key;
}

static void deny(const struct osh_denial_key *key)
{
	cr_assert_eq(osh_maps_denial_add(maps(), key), 0);
}

static bool is_denied(const struct osh_denial_key *key)
{
	uint8_t one;

	return bpf_map_lookup_elem(maps()->denials, key, &one) == 0;
}

static void expect_refused(void)
{
	expect_probe("connect=EPERM", w.ok, "tcp", HOST, "443");
	cr_expect_neq(wait_event(OSH_KERNEL_CACHED_DENIAL)->identity, 0);
}

static void set_generation(uint32_t generation)
{
	struct osh_sandbox value;

	cr_assert_eq(bpf_map_lookup_elem(maps()->sandboxes, &w.sandbox, &value), 0);
	value.generation = generation;
	cr_assert_eq(bpf_map_update_elem(maps()->sandboxes, &w.sandbox, &value, BPF_EXIST), 0);
}

/* The next program to be identified gets this number. */
static void set_next_identity(uint32_t number)
{
	uint32_t zero = 0, last = number - 1;
	char path[512];
	_cleanup_fd_ int fd = -1;

	format(path, sizeof(path), "%s/" LAYOUT "/maps/identity_last", w.pins);
	fd = bpf_obj_get(path);
	cr_assert_geq(fd, 0);
	cr_assert_eq(bpf_map_update_elem(fd, &zero, &last, BPF_ANY), 0);
}

static uint32_t bump(void)
{
	uint32_t generation;

	cr_assert_eq(osh_kernel_generation_bump(w.kernel, w.sandbox, false, &generation), 0);
	return generation;
}

/* As many entries as half the table has buckets: of the thousand that are asked for hundreds share one
 * with a stranger. */
Test(kernel_denials, what_shares_a_bucket_is_not_taken_for_it)
{
	struct osh_denial_key key = ask(), other = key;

	for (uint32_t n = 1; n <= OSH_DENIALS_MAX / 2; n++) {
		other.identity = key.identity + n;
		deny(&other);
	}
	for (uint32_t n = 1; n <= 1000; n++) {
		other.identity = key.identity + OSH_DENIALS_MAX + n;
		cr_assert_not(is_denied(&other), "%u was never denied", other.identity);
	}
	ask();
	deny(&key);
	expect_refused();
}

/* One field off is another question. */
Test(kernel_denials, every_field_counts)
{
	const struct osh_denial_key key = ask();
	struct osh_denial_key others[] = { key, key, key, key, key, key, key, key };

	others[0].sandbox++;
	others[1].identity++;
	others[2].generation++;
	others[3].generation = 0; /* of a proxy that has no policy yet */
	others[4].dst_port_host++;
	others[5].dst.word_be[0]++;
	others[6].dst.word_be[3]++;
	others[7].dst.word_be[2] = 0; /* not an IPv4 address any more */
	for (size_t i = 0; i < OSH_COUNT_OF(others); i++)
		deny(&others[i]);
	ask();
	deny(&key);
	expect_refused();
}

/* The 2^32nd policy begins at 1 again, where old answers would wait. */
Test(kernel_denials, none_comes_back_when_generations_wrap)
{
	struct osh_denial_key oldest = ask(), newest, other;

	cr_assert_eq(oldest.generation, 1);
	deny(&oldest);
	other = oldest;
	other.sandbox++;
	deny(&other);
	set_generation(UINT32_MAX);
	newest = ask();
	deny(&newest);
	expect_refused();
	cr_expect_eq(bump(), 1);
	cr_expect_not(is_denied(&oldest));
	cr_expect_not(is_denied(&newest));
	cr_expect(is_denied(&other), "the other sandbox keeps its own");
	oldest = ask();
	cr_expect_eq(oldest.generation, 1);
	deny(&oldest);
	w.event_count = 0;
	expect_refused();
	cr_expect_eq(bump(), 2, "and goes on");
	ask();
}

/* A sandbox whose cgroup, generation and program have the numbers of one that was deleted. */
Test(kernel_denials, none_outlives_its_sandbox)
{
	const struct osh_denial_key key = ask();
	struct osh_denial_key again;

	deny(&key);
	expect_refused();
	cr_assert_eq(osh_kernel_sandbox_remove(w.kernel, w.sandbox), 0);
	cr_assert_eq(osh_kernel_sandbox_add(w.kernel, w.sandbox, false), 0);
	cr_expect_not(is_denied(&key));
	set_next_identity(key.identity);
	again = ask();
	cr_expect_arr_eq(&again, &key, sizeof(key), "the same question");
	deny(&again);
	w.event_count = 0;
	expect_refused();
}
