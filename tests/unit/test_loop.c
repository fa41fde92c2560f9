/* The event loop: timers in order, deferred work after the batch, and no event for what
 * was removed meanwhile. */
#include "base/loop.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"

static struct osh_loop *loop;

static void begin(void)
{
	loop = osh_loop_new();
	cr_assert(loop);
}

static void end(void)
{
	osh_loop_free(loop);
}

TestSuite(loop, .init = begin, .fini = end, .timeout = 20);

/* ---- Timers ----------------------------------------------------------------------- */

#define TIMERS 200

static struct timed {
	struct osh_timer timer;
	uint64_t in_ms;
} timed[TIMERS];
static uint64_t last_ms;
static unsigned expired;

static void on_expire(struct osh_timer *timer)
{
	struct timed *t = osh_container_of(timer, struct timed, timer);

	cr_expect(t->in_ms >= last_ms, "%lu after %lu", (unsigned long)t->in_ms, (unsigned long)last_ms);
	last_ms = t->in_ms;
	expired++;
}

Test(loop, timers_expire_in_order)
{
	unsigned cancelled = 0;

	srand(7);
	for (int i = 0; i < TIMERS; i++) {
		timed[i].timer.on_expire = on_expire;
		timed[i].in_ms = 1 + (uint64_t)rand() % 50;
		cr_assert(osh_loop_timer_set(loop, &timed[i].timer, timed[i].in_ms) == 0);
	}
	/* Moved and cancelled ones keep the order of the others. */
	for (int i = 0; i < TIMERS; i += 3) {
		timed[i].in_ms = 1 + (uint64_t)rand() % 80;
		cr_assert(osh_loop_timer_set(loop, &timed[i].timer, timed[i].in_ms) == 0);
	}
	for (int i = 1; i < TIMERS; i += 3) {
		osh_loop_timer_cancel(loop, &timed[i].timer);
		osh_loop_timer_cancel(loop, &timed[i].timer);
		cancelled++;
	}
	while (expired < TIMERS - cancelled)
		cr_assert(osh_loop_run_once(loop, 1000) == 0);
	cr_expect(osh_loop_run_once(loop, 0) == 0 && expired == TIMERS - cancelled);
}

/* A deadline that is put off again and again, as that of a busy connection is, holds; one
 * that is brought forward does not wait for the old one. */
Test(loop, a_timer_put_off_and_brought_forward)
{
	struct timed late = { .timer.on_expire = on_expire, .in_ms = 30 };
	struct timed soon = { .timer.on_expire = on_expire, .in_ms = 5 };

	cr_assert(osh_loop_timer_set(loop, &late.timer, 1) == 0);
	cr_assert(osh_loop_timer_set(loop, &late.timer, 30) == 0);
	cr_assert(osh_loop_timer_set(loop, &soon.timer, 60000) == 0);
	cr_assert(osh_loop_timer_set(loop, &soon.timer, 5) == 0);
	while (expired < 2)
		cr_assert(osh_loop_run_once(loop, 1000) == 0);
	cr_expect(last_ms == 30, "the one put off expired first");
	cr_expect(osh_loop_now_ms(loop) >= late.timer.deadline_ms);
}

Test(loop, timers_keep_their_order_however_late_the_loop_is)
{
	struct timed late = { .timer.on_expire = on_expire, .in_ms = 12 };
	struct timed soon = { .timer.on_expire = on_expire, .in_ms = 11 };

	cr_assert(osh_loop_timer_set(loop, &late.timer, 10) == 0);
	cr_assert(osh_loop_timer_set(loop, &late.timer, late.in_ms) == 0);
	cr_assert(osh_loop_timer_set(loop, &soon.timer, soon.in_ms) == 0);
	(void)poll(NULL, 0, 20);
	while (expired < 2)
		cr_assert(osh_loop_run_once(loop, 1000) == 0);
}

/* ---- Events ------------------------------------------------------------------------- */

struct counter {
	struct osh_io io;
	struct osh_deferred deferred;
	struct counter *victim;
	unsigned ready, ran;
};

static void on_deferred(struct osh_deferred *deferred)
{
	osh_container_of(deferred, struct counter, deferred)->ran++;
}

static void on_ready(struct osh_io *io, uint32_t events)
{
	struct counter *c = osh_container_of(io, struct counter, io);

	cr_expect(events & EPOLLIN);
	c->ready++;
	if (c->victim)
		osh_loop_remove(loop, &c->victim->io);
	/* Asked for twice, done once, and not before this returns. */
	osh_loop_defer(loop, &c->deferred);
	osh_loop_defer(loop, &c->deferred);
	cr_expect(c->ran == c->ready - 1);
}

static void watch(struct counter *c)
{
	c->io.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	c->io.on_ready = on_ready;
	c->deferred.run = on_deferred;
	cr_assert(osh_loop_set(loop, &c->io, EPOLLIN) == 0);
}

Test(loop, removed_in_the_same_batch)
{
	struct counter a = { 0 }, b = { 0 };

	watch(&a);
	watch(&b);
	a.victim = &b;
	b.victim = &a;
	cr_assert(osh_loop_run_once(loop, 1000) == 0);
	cr_expect(a.ready + b.ready == 1, "each removes the other: only the first is called");
	cr_expect(a.ran + b.ran == 1);
	osh_loop_remove(loop, &a.io);
	osh_loop_remove(loop, &b.io);
	cr_expect(osh_loop_run_once(loop, 0) == 0 && a.ready + b.ready == 1);
	close(a.io.fd);
	close(b.io.fd);
}

/* Asks about another's event. */
struct curious {
	struct osh_io io;
	struct curious *other;
	bool first, had_news;
};

static bool anyone_ran;

static void on_curious(struct osh_io *io, uint32_t events)
{
	struct curious *c = osh_container_of(io, struct curious, io);

	(void)events;
	c->first = !anyone_ran;
	anyone_ran = true;
	c->had_news = osh_loop_has_news(loop, &c->other->io);
}

static void watch_curiously(struct curious *c, struct curious *other, unsigned count)
{
	*c = (struct curious){ .io = { .fd = eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK), .on_ready = on_curious },
			       .other = other };
	cr_assert(osh_loop_set(loop, &c->io, EPOLLIN) == 0);
}

Test(loop, news_are_events_of_this_batch_that_are_still_to_come)
{
	struct curious a, b, quiet;

	watch_curiously(&a, &b, 1);
	watch_curiously(&b, &a, 1);
	watch_curiously(&quiet, &a, 0);
	cr_assert(osh_loop_run_once(loop, 1000) == 0);
	cr_expect(a.first != b.first);
	cr_expect(a.had_news == a.first && b.had_news == b.first, "the second has none of the first");
	cr_expect(!osh_loop_has_news(loop, &a.io), "and none are left");
	a.other = &quiet;
	cr_assert(osh_loop_run_once(loop, 1000) == 0);
	cr_expect(!a.had_news, "nothing came");
	close(a.io.fd);
	close(b.io.fd);
	close(quiet.io.fd);
}

#define MORE_THAN_A_BATCH 300

Test(loop, a_full_batch_may_have_left_some_out)
{
	static struct curious many[MORE_THAN_A_BATCH], quiet;

	watch_curiously(&quiet, &quiet, 0);
	for (size_t i = 0; i < MORE_THAN_A_BATCH; i++)
		watch_curiously(&many[i], &quiet, 1);
	cr_assert(osh_loop_run_once(loop, 1000) == 0);
	cr_expect(osh_loop_has_news(loop, &quiet.io));
	for (size_t i = 0; i < MORE_THAN_A_BATCH; i++) {
		osh_loop_remove(loop, &many[i].io);
		close(many[i].io.fd);
	}
	cr_assert(osh_loop_run_once(loop, 0) == 0);
	cr_expect(!osh_loop_has_news(loop, &quiet.io));
	close(quiet.io.fd);
}

Test(loop, disarmed_and_armed_again)
{
	struct counter a = { 0 };

	watch(&a);
	cr_assert(osh_loop_set(loop, &a.io, 0) == 0);
	cr_assert(osh_loop_run_once(loop, 0) == 0);
	cr_expect(a.ready == 0);
	cr_assert(osh_loop_set(loop, &a.io, EPOLLIN) == 0);
	cr_assert(osh_loop_run_once(loop, 1000) == 0);
	cr_expect(a.ready == 1);
	osh_loop_remove(loop, &a.io);
	close(a.io.fd);
}

static void on_batch_end(void *context)
{
	++*(unsigned *)context;
}

static void stop(struct osh_timer *timer)
{
	(void)timer;
	osh_loop_stop(loop);
}

Test(loop, run_until_stopped)
{
	struct osh_timer timer = { .on_expire = stop };
	unsigned batches = 0;

	osh_loop_set_batch_end(loop, on_batch_end, &batches);
	cr_assert(osh_loop_timer_set(loop, &timer, 5) == 0);
	cr_expect(osh_loop_run(loop) == 0);
	cr_expect(batches >= 1);
}

/* ---- Keeping the processor ----------------------------------------------------------- */

#define SPIN_NS 20000000

/* Wait for somebody's answer. */
static int await(int timeout_ms)
{
	osh_loop_expect(loop);
	return osh_loop_run_once(loop, timeout_ms);
}

/* Who loses the processor meanwhile has waited long, and rests for a while: then it is tried again. */
#define TRIES 200

static void look_in_vain(void)
{
	struct counter c = { 0 };

	watch(&c);
	for (unsigned i = 0; i < 8; i++)
		cr_assert(await(1000) == 0);
	osh_loop_remove(loop, &c.io);
	close(c.io.fd);
	cr_assert(await(1) == 0);
}

Test(loop, spins_after_a_short_wait_alone)
{
	struct counter c = { 0 };
	uint64_t spun;

	osh_loop_set_spin(loop, SPIN_NS);
	cr_assert(await(30) == 0);
	cr_expect(osh_loop_spun_ns(loop) == 0, "no wait was short yet");
	watch(&c);
	cr_assert(await(1000) == 0 && c.ready == 1);
	cr_expect(osh_loop_spun_ns(loop) == 0, "it had slept before");
	/* What comes while it spins is served. */
	cr_assert(await(1000) == 0 && c.ready == 2);
	cr_expect(osh_loop_spun_ns(loop) < SPIN_NS);
	osh_loop_remove(loop, &c.io);
	close(c.io.fd);
	spun = osh_loop_spun_ns(loop);
	for (int i = 0; i < TRIES && osh_loop_spun_ns(loop) == spun; i++)
		look_in_vain();
	cr_expect(osh_loop_spun_ns(loop) > spun);
	/* So the next wait is slept through. */
	spun = osh_loop_spun_ns(loop);
	cr_assert(await(1) == 0);
	cr_expect(osh_loop_spun_ns(loop) == spun);
}

Test(loop, spins_for_an_answer_alone)
{
	struct counter c = { 0 };
	uint64_t spun;

	osh_loop_set_spin(loop, SPIN_NS);
	watch(&c);
	for (unsigned i = 0; i < 8; i++)
		cr_assert(await(1000) == 0);
	osh_loop_remove(loop, &c.io);
	spun = osh_loop_spun_ns(loop);
	cr_assert(osh_loop_run_once(loop, 1) == 0);
	cr_expect(osh_loop_spun_ns(loop) == spun, "nobody had been asked");
	close(c.io.fd);
	for (int i = 0; i < TRIES && osh_loop_spun_ns(loop) == spun; i++)
		look_in_vain();
	cr_expect(osh_loop_spun_ns(loop) > spun, "how long nobody's answer took says nothing");
}

/* After a batch of events from `speakers`. */
static uint64_t spun_after(unsigned speakers)
{
	struct counter c[8] = { 0 };

	osh_loop_set_spin(loop, SPIN_NS);
	for (unsigned i = 0; i < speakers; i++)
		watch(&c[i]);
	for (unsigned i = 0; i < 8; i++)
		cr_assert(await(1000) == 0);
	for (unsigned i = 0; i < speakers; i++) {
		osh_loop_remove(loop, &c[i].io);
		close(c[i].io.fd);
	}
	cr_assert(await(1) == 0);
	return osh_loop_spun_ns(loop);
}

Test(loop, spins_in_a_dialogue)
{
	for (int i = 0; i < TRIES && osh_loop_spun_ns(loop) == 0; i++)
		(void)spun_after(4);
	cr_expect(osh_loop_spun_ns(loop) > 0);
}

Test(loop, spins_among_few_only)
{
	cr_expect(spun_after(5) == 0);
}

static void *be_busy(void *stop)
{
	while (!atomic_load((atomic_bool *)stop))
		;
	return NULL;
}

/* Who wants the same processor gets it. */
Test(loop, spins_beside_nobody)
{
	const uint64_t longest = 10000000000; /* far beyond what a scheduler lets one thread have */
	struct counter c = { 0 };
	atomic_bool stop = false;
	pthread_t other;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	cr_assert(sched_setaffinity(0, sizeof(one), &one) == 0);
	cr_assert(pthread_create(&other, NULL, be_busy, &stop) == 0);
	osh_loop_set_spin(loop, longest);
	watch(&c);
	cr_assert(await(1000) == 0 && c.ready == 1);
	osh_loop_remove(loop, &c.io);
	cr_assert(await(1) == 0);
	cr_expect(osh_loop_spun_ns(loop) > 0 && osh_loop_spun_ns(loop) < longest);
	atomic_store(&stop, true);
	pthread_join(other, NULL);
	close(c.io.fd);
}
