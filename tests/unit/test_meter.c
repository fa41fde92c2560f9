/* Meters are counted on by all workers at once: no limit is overrun, and nothing stays counted. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "openshell/limits.h"
#include "policy/policy.h"
#include "proxy/meter.h"

#define ENTRY(name, limits) \
	"  " name ":\n    " limits "\n" \
	"    endpoints: [{ host: " name ".test, port: 80 }]\n    binaries: [{ path: /usr/bin/curl }]\n"

struct made {
	void *image;
	struct osh_policy policy;
	struct osh_meters meters;
};

static struct made make(const char *text, const struct made *before)
{
	struct osh_diags *diags = calloc(1, sizeof(*diags));
	struct osh_policy_doc *doc;
	struct made made;
	size_t len;

	cr_assert(osh_policy_parse(osh_str(text), diags, &doc) == 0, "%s", diags->items[0].message);
	cr_assert(osh_policy_compile(doc, NULL, &made.image, &len) == 0);
	osh_policy_doc_free(doc);
	free(diags);
	cr_assert(osh_policy_open(made.image, len, &made.policy) == 0);
	cr_assert(osh_meters_init(&made.meters, &made.policy, before ? &before->meters : NULL) == 0);
	return made;
}

static void drop(struct made *made)
{
	osh_meters_done(&made->meters);
	free(made->image);
}

static struct osh_meter *of(const struct made *made, const char *host)
{
	struct osh_connect_query query = {
		.subject.binary = osh_str("/usr/bin/curl"), .host = osh_str(host), .port_host = 80
	};
	struct osh_decision decision;

	osh_policy_connect(&made->policy, &query, &decision);
	cr_assert(decision.effect == OSH_EFFECT_ALLOW);
	return osh_meters_of(&made->meters, &decision);
}

/* A policy that follows takes a meter on by its entry's key, wherever that stands now. */
Test(meter, taken_on)
{
	struct made a = make("version: 1\nnetwork_policies:\n" ENTRY("b", "limits: { flows: 1 }") ENTRY("d", ""),
			     NULL);
	struct made b = make("version: 1\nnetwork_policies:\n" ENTRY("a", "limits: { flows: 9 }")
			     ENTRY("b", "limits: { flows: 2 }") ENTRY("c", "limits: { flows: 9 }") ENTRY("d", ""), &a);

	cr_expect(of(&a, "b.test") == of(&b, "b.test") && of(&a, "d.test") == of(&b, "d.test"));
	cr_expect(of(&b, "a.test") != of(&b, "b.test") && of(&b, "c.test") != of(&b, "b.test"));
	cr_expect(of(&b, "d.test") != of(&b, "b.test"), "without limits of its own: the sandbox's");
	cr_assert_null(osh_meter_enter(of(&a, "b.test")));
	cr_expect_null(osh_meter_enter(of(&b, "b.test")), "the new limit counts");
	cr_expect_not_null(osh_meter_enter(of(&b, "b.test")));
	cr_expect_null(osh_meter_enter(of(&b, "d.test")), "others are not in it");
	osh_meter_leave(of(&b, "d.test"));
	osh_meter_leave(of(&b, "b.test"));
	drop(&a); /* the meters live on with the policy that took them on */
	cr_expect_null(osh_meter_enter(of(&b, "b.test")));
	osh_meter_leave(of(&b, "b.test"));
	osh_meter_leave(of(&b, "b.test"));
	drop(&b);
}

/* Names are counted on the sandbox as a whole, and under the next policy as well. */
Test(meter, new_names)
{
	struct made a = make("version: 1\nnetwork_policies:\n" ENTRY("a", "limits: { flows: 9 }") ENTRY("b", ""), NULL);
	struct made b = make("version: 1\nnetwork_policies:\n" ENTRY("c", "limits: { flows: 9 }"), &a);
	unsigned count = 0;

	while (!osh_meter_ask(of(&a, count % 2 ? "a.test" : "b.test")) && count < 20 * OSH_NEW_NAMES_BURST)
		count++;
	cr_expect(count >= OSH_NEW_NAMES_BURST && count < 20 * OSH_NEW_NAMES_BURST, "%u", count);
	cr_expect_not_null(osh_meter_ask(of(&b, "c.test")));
	cr_expect_null(osh_meter_enter(of(&b, "c.test")), "flows are counted apart");
	osh_meter_leave(of(&b, "c.test"));
	drop(&a);
	drop(&b);
}

#define THREADS 4
#define ROUNDS 50000
#define FLOWS_MAX 3

static struct osh_meter *shared;
static atomic_uint inside, peak, entered, refused;

static void *come_and_go(void *unused)
{
	(void)unused;
	for (int i = 0; i < ROUNDS; i++) {
		unsigned now, most = peak;

		if (osh_meter_enter(shared)) {
			refused++;
			continue;
		}
		entered++;
		now = ++inside;
		while (now > most && !atomic_compare_exchange_weak(&peak, &most, now))
			;
		inside--;
		osh_meter_leave(shared);
	}
	return NULL;
}

static void run_threads(void *(*work)(void *unused))
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		cr_assert(pthread_create(&threads[i], NULL, work, NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

Test(meter, flows_of_many_threads)
{
	struct made made = make("version: 1\nlimits: { flows: 3 }\nnetwork_policies:\n"
				ENTRY("a", "limits: { flows: 1000 }"), NULL);

	shared = of(&made, "a.test");
	run_threads(come_and_go);
	cr_expect(peak <= FLOWS_MAX && entered + refused == THREADS * ROUNDS, "%u", peak);
	/* Nobody is left in it: exactly three find room. */
	for (int i = 0; i < FLOWS_MAX; i++)
		cr_expect_null(osh_meter_enter(shared));
	cr_expect_not_null(osh_meter_enter(shared));
	for (int i = 0; i < FLOWS_MAX; i++)
		osh_meter_leave(shared);
	drop(&made);
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#define NEW_FLOWS 100000
#define NEW_A_SECOND 20

/* How many of so many attempts, without a pause, were let in; each leaves at once. */
static unsigned attempt(struct osh_meter *meter, const char *reason)
{
	unsigned in = 0;

	for (int i = 0; i < NEW_FLOWS; i++) {
		const char *why = osh_meter_enter(meter);

		if (why) {
			cr_assert_str_eq(why, reason);
			continue;
		}
		in++;
		osh_meter_leave(meter);
	}
	return in;
}

/* A second's worth at once and then what the time gives, however long this took; a higher limit lets all in. */
static void expect_rate(const char *text, const char *without, const char *reason)
{
	struct made made = make(text, NULL), twin = make(without, NULL);
	struct osh_meter *meter = of(&made, "a.test");
	double start = now_s();
	unsigned in = attempt(meter, reason);
	double took = now_s() - start;

	cr_expect(in >= NEW_A_SECOND && in <= NEW_A_SECOND * (1 + took) + 1, "%u in %f s", in, took);
	cr_expect(in < NEW_FLOWS);
	while (osh_meter_enter(meter)) /* there is room again: the suite's deadline ends a wait for ever */
		sched_yield();
	osh_meter_leave(meter);
	cr_expect(attempt(of(&twin, "a.test"), "") == NEW_FLOWS);
	drop(&made);
	drop(&twin);
}

Test(meter, new_flows_a_second, .timeout = 60)
{
	expect_rate("version: 1\nlimits: { flows_per_second: 20 }\nnetwork_policies:\n" ENTRY("a", ""),
		    "version: 1\nlimits: { flows_per_second: 1000000 }\nnetwork_policies:\n" ENTRY("a", ""),
		    "the limit of this sandbox on new flows a second is reached");
	expect_rate("version: 1\nnetwork_policies:\n" ENTRY("a", "limits: { flows_per_second: 20 }"),
		    "version: 1\nnetwork_policies:\n" ENTRY("b", "limits: { flows_per_second: 20 }") ENTRY("a", ""),
		    "the limit of this policy entry on new flows a second is reached");
}

#define RATE 1000000
#define SECONDS 0.5

static atomic_ulong moved;
static double begin_s;

static void *move(void *unused)
{
	(void)unused;
	while (now_s() < begin_s + SECONDS) {
		uint64_t wait_ms = osh_meter_wait_ms(shared);

		if (wait_ms == 0) {
			size_t piece = osh_meter_piece(shared);

			osh_meter_moved(shared, piece);
			moved += piece;
		} else {
			nanosleep(&(struct timespec){ .tv_nsec = (long)(wait_ms < 50 ? wait_ms : 50) * 1000000 }, NULL);
		}
	}
	return NULL;
}

/* What the rate gives, a tenth of a second's worth at once, and a last piece of each thread. */
Test(meter, bytes_of_many_threads)
{
	struct made made = make("version: 1\nlimits: { bytes_per_second: 1000000 }\nnetwork_policies:\n"
				ENTRY("a", ""), NULL);
	double took;

	shared = of(&made, "a.test");
	cr_expect(osh_meter_piece(shared) > 0 && osh_meter_wait_ms(shared) == 0);
	begin_s = now_s();
	run_threads(move);
	took = now_s() - begin_s;
	cr_expect((double)moved <= RATE * (took + 0.1) + THREADS * (16 << 10), "%lu in %f s", (unsigned long)moved,
		  took);
	cr_expect(moved > RATE * SECONDS / 10, "%lu: it moves on", (unsigned long)moved);
	drop(&made);
}

/* Without a meter, or without a limit, nothing waits. */
Test(meter, without_limits)
{
	struct made made = make("version: 1\nnetwork_policies:\n" ENTRY("a", ""), NULL);
	struct osh_meter *meter = of(&made, "a.test");

	osh_meter_moved(meter, SIZE_MAX / 2);
	cr_expect(osh_meter_wait_ms(meter) == 0 && osh_meter_piece(meter) == SIZE_MAX);
	cr_expect(osh_meter_wait_ms(NULL) == 0 && osh_meter_piece(NULL) == SIZE_MAX);
	osh_meter_moved(NULL, 1);
	for (int i = 0; i < 1000; i++)
		cr_assert_null(osh_meter_enter(meter));
	for (int i = 0; i < 1000; i++)
		osh_meter_leave(meter);
	drop(&made);
}
