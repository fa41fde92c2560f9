/* Which worker serves a new connection: proxy/spread.h. */
#include <criterion/criterion.h>
#include <time.h>

#include "proxy/spread.h"

#define WORKERS 3

static struct osh_proxy proxy;
static struct osh_worker workers[WORKERS];
static struct osh_tenant tenant;
static struct osh_view views[WORKERS];

/* All of one loop, so that they have one clock. */
static void set_up(void)
{
	struct osh_loop *loop = osh_loop_new();

	proxy.worker_count = WORKERS;
	tenant.ready_count = WORKERS;
	for (unsigned i = 0; i < WORKERS; i++) {
		proxy.workers[i] = &workers[i];
		workers[i] = (struct osh_worker){ .proxy = &proxy, .index = i, .loop = loop };
		views[i] = (struct osh_view){ .worker = &workers[i], .tenant = &tenant };
	}
}

static void tear_down(void)
{
	osh_loop_free(workers[0].loop);
}

TestSuite(spread, .init = set_up, .fini = tear_down);

static unsigned chosen_by(unsigned accepter)
{
	return osh_spread_choose(&views[accepter])->index;
}

static void make_busy(unsigned i)
{
	workers[i].load.busy_until_ms = osh_loop_now_ms(workers[i].loop) + 1000;
}

Test(spread, idle_workers_leave_all_to_the_first)
{
	for (unsigned i = 0; i < WORKERS; i++)
		cr_assert_eq(chosen_by(i), 0);
}

Test(spread, a_busy_worker_gets_help_from_the_next)
{
	make_busy(0);
	cr_assert_eq(chosen_by(0), 1);
	make_busy(1);
	cr_assert_eq(chosen_by(0), 2);
}

Test(spread, when_all_are_busy_who_accepts_serves)
{
	for (unsigned i = 0; i < WORKERS; i++)
		make_busy(i);
	for (unsigned i = 0; i < WORKERS; i++)
		cr_assert_eq(chosen_by(i), i);
}

Test(spread, busy_ends_with_its_time)
{
	workers[0].load.busy_until_ms = osh_loop_now_ms(workers[0].loop);
	cr_assert_eq(chosen_by(1), 0);
}

/* How busy they make it is not known yet. */
Test(spread, a_burst_does_not_go_to_one_worker)
{
	unsigned got[WORKERS] = { 0 };

	for (int i = 0; i < 300; i++)
		got[chosen_by(2)]++;
	cr_assert_eq(got[0], 128);
	cr_assert_eq(got[1], 128);
	cr_assert_eq(got[2], 44);
}

/* Else a connection would be denied for want of a policy that there is. */
Test(spread, who_has_no_policy_yet_gets_nothing)
{
	tenant.ready_count = WORKERS - 1;
	cr_assert_eq(chosen_by(2), 2);
	tenant.ready_count = WORKERS;
	cr_assert_eq(chosen_by(2), 0);
}

static uint64_t thread_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* As if the last measurement had been `ago_ms` ago, and `used_ms` of a processor since. */
static void measure(uint64_t ago_ms, uint64_t used_ms)
{
	struct osh_load *load = &workers[0].load;

	while (thread_ms() < used_ms)
		;
	load->measured_ms = osh_loop_now_ms(workers[0].loop) - ago_ms;
	load->used_ms = thread_ms() - used_ms;
	osh_spread_measure(&workers[0]);
}

Test(spread, measuring_tells_the_busy_from_the_idle)
{
	measure(1000, 500);
	cr_assert_eq(chosen_by(1), 0, "half of a processor");
	measure(100, 90);
	cr_assert_eq(chosen_by(1), 1, "nine tenths of one");
}

Test(spread, measuring_forgets_the_burst)
{
	workers[0].load.taken = 128;
	cr_assert_eq(chosen_by(1), 1);
	measure(50, 0);
	cr_assert_eq(chosen_by(1), 1, "too soon to know");
	measure(100, 0);
	cr_assert_eq(chosen_by(1), 0);
}
