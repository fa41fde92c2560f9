#include "base/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

#define BATCH 128

/* Looking for events takes less than a microsecond. When it took this long, another thread had the
 * processor for a slice of its own, and will want it again. Who only passed by is gone sooner: the agent
 * that writes verdicts down, the two ends of a flow. */
#define LOOK_NS 300000
#define REST_NS 20000000

/* The last RECENT events are a dialogue when FEW descriptors at most had them. */
#define RECENT 8
#define FEW 4

struct osh_loop {
	int epoll_fd;
	bool stopping;
	uint64_t now_ms;
	uint64_t spin_ns, spun_ns, fetched_ns, rest_until_ns;
	bool expects;   /* what came last was passed on to somebody who will answer */
	bool was_short; /* the last wait for such an answer: the next may be */
	struct osh_timer **heap; /* binary min-heap on due_ms */
	size_t heap_len, heap_room;
	struct osh_deferred *deferred;
	const struct osh_io *recent[RECENT]; /* whose events came last: compared only */
	unsigned recent_at;
	struct epoll_event batch[BATCH];
	int batch_len, batch_at;
	bool batch_was_full;
	void (*batch_end)(void *context);
	void *batch_end_context;
};

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t clock_ms(void)
{
	return clock_ns() / 1000000;
}

struct osh_loop *osh_loop_new(void)
{
	struct osh_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		free(loop);
		return NULL;
	}
	loop->now_ms = clock_ms();
	return loop;
}

void osh_loop_free(struct osh_loop *loop)
{
	if (!loop)
		return;
	osh_close(loop->epoll_fd);
	free(loop->heap);
	free(loop);
}

int osh_loop_set(struct osh_loop *loop, struct osh_io *io, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = io };
	int op;

	if (events == io->events)
		return 0;
	op = !io->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
	if (epoll_ctl(loop->epoll_fd, op, io->fd, &event) < 0)
		return -errno;
	io->events = events;
	return 0;
}

void osh_loop_remove(struct osh_loop *loop, struct osh_io *io)
{
	if (io->events) {
		(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
		io->events = 0;
	}
	for (int i = loop->batch_at; i < loop->batch_len; i++) {
		if (loop->batch[i].data.ptr == io)
			loop->batch[i].data.ptr = NULL;
	}
}

bool osh_loop_has_news(const struct osh_loop *loop, const struct osh_io *io)
{
	for (int i = loop->batch_at + 1; i < loop->batch_len; i++) {
		if (loop->batch[i].data.ptr == io)
			return true;
	}
	return loop->batch_was_full; /* what found no room in it comes with the next */
}

static void heap_put(struct osh_loop *loop, size_t at, struct osh_timer *timer)
{
	loop->heap[at] = timer;
	timer->slot = at + 1;
}

static void heap_up(struct osh_loop *loop, size_t at)
{
	struct osh_timer *timer = loop->heap[at];

	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (loop->heap[parent]->due_ms <= timer->due_ms)
			break;
		heap_put(loop, at, loop->heap[parent]);
		at = parent;
	}
	heap_put(loop, at, timer);
}

static void heap_down(struct osh_loop *loop, size_t at)
{
	struct osh_timer *timer = loop->heap[at];

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= loop->heap_len)
			break;
		if (child + 1 < loop->heap_len &&
		    loop->heap[child + 1]->due_ms < loop->heap[child]->due_ms)
			child++;
		if (loop->heap[child]->due_ms >= timer->due_ms)
			break;
		heap_put(loop, at, loop->heap[child]);
		at = child;
	}
	heap_put(loop, at, timer);
}

int osh_loop_timer_set(struct osh_loop *loop, struct osh_timer *timer, uint64_t in_ms)
{
	timer->deadline_ms = loop->now_ms + in_ms;
	if (timer->slot) {
		if (timer->deadline_ms < timer->due_ms) {
			timer->due_ms = timer->deadline_ms;
			heap_up(loop, timer->slot - 1);
		}
		return 0;
	}
	if (loop->heap_len == loop->heap_room) {
		size_t room = loop->heap_room ? loop->heap_room * 2 : 64;
		struct osh_timer **grown = realloc(loop->heap, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		loop->heap = grown;
		loop->heap_room = room;
	}
	timer->due_ms = timer->deadline_ms;
	heap_put(loop, loop->heap_len++, timer);
	heap_up(loop, timer->slot - 1);
	return 0;
}

void osh_loop_timer_cancel(struct osh_loop *loop, struct osh_timer *timer)
{
	size_t at;

	if (!timer->slot)
		return;
	at = timer->slot - 1;
	timer->slot = 0;
	loop->heap_len--;
	if (at < loop->heap_len) {
		struct osh_timer *moved = loop->heap[loop->heap_len];

		heap_put(loop, at, moved);
		heap_up(loop, at);
		heap_down(loop, moved->slot - 1);
	}
}

void osh_loop_defer(struct osh_loop *loop, struct osh_deferred *deferred)
{
	if (deferred->queued)
		return;
	deferred->queued = true;
	deferred->next = loop->deferred;
	loop->deferred = deferred;
}

void osh_loop_set_batch_end(struct osh_loop *loop, void (*fn)(void *context), void *context)
{
	loop->batch_end = fn;
	loop->batch_end_context = context;
}

static void run_timers(struct osh_loop *loop)
{
	while (loop->heap_len && loop->heap[0]->due_ms <= loop->now_ms) {
		struct osh_timer *timer = loop->heap[0];

		if (timer->deadline_ms > timer->due_ms) { /* it was put off: behind whoever is due before that */
			timer->due_ms = timer->deadline_ms;
			heap_down(loop, 0);
			continue;
		}
		osh_loop_timer_cancel(loop, timer);
		timer->on_expire(timer);
	}
}

static void run_deferred(struct osh_loop *loop)
{
	while (loop->deferred) {
		struct osh_deferred *deferred = loop->deferred;

		loop->deferred = deferred->next;
		deferred->queued = false;
		deferred->run(deferred);
	}
}

static int wait_ms(const struct osh_loop *loop, int timeout_ms)
{
	uint64_t left;

	if (!loop->heap_len)
		return timeout_ms;
	left = loop->heap[0]->due_ms > loop->now_ms ? loop->heap[0]->due_ms - loop->now_ms : 0;
	if (timeout_ms >= 0 && (uint64_t)timeout_ms < left)
		return timeout_ms;
	return left > 3600000 ? 3600000 : (int)left;
}

void osh_loop_set_spin(struct osh_loop *loop, uint64_t spin_ns)
{
	loop->spin_ns = spin_ns;
}

void osh_loop_expect(struct osh_loop *loop)
{
	loop->expects = true;
}

uint64_t osh_loop_spun_ns(const struct osh_loop *loop)
{
	return loop->spun_ns;
}

static int fetch(struct osh_loop *loop, int timeout_ms)
{
	return epoll_wait(loop->epoll_fd, loop->batch, BATCH, timeout_ms);
}

static bool is_new(const struct osh_loop *loop, unsigned at)
{
	for (unsigned i = 0; i < at; i++)
		if (loop->recent[i] == loop->recent[at])
			return false;
	return true;
}

/* Between few, each waits for the other's answer; among many, what comes while this sleeps is done at
 * one waking. */
static bool is_dialogue(const struct osh_loop *loop)
{
	unsigned speakers = 0;

	for (unsigned i = 0; i < RECENT; i++)
		speakers += is_new(loop, i);
	return speakers <= FEW;
}

/* Who has much to do at a time is woken seldom for it: there it is not worth its while. */
static bool is_worth_spinning(const struct osh_loop *loop, uint64_t now_ns)
{
	return loop->expects && loop->was_short && now_ns - loop->fetched_ns < loop->spin_ns / 2 &&
	       now_ns >= loop->rest_until_ns && is_dialogue(loop);
}

/* Until something has come, it was too long, or somebody else took the processor. *now: when it began,
 * and when it ended. */
static int spin(struct osh_loop *loop, uint64_t *now)
{
	const uint64_t began = *now;
	uint64_t looked_at;
	int n;

	do {
		looked_at = *now;
		n = fetch(loop, 0);
		*now = clock_ns();
	} while (n == 0 && *now - began < loop->spin_ns && *now - looked_at < LOOK_NS);
	if (*now - looked_at >= LOOK_NS)
		loop->rest_until_ns = *now + REST_NS;
	loop->spun_ns += *now - began;
	return n;
}

static int fetch_or_spin(struct osh_loop *loop, int timeout_ms)
{
	uint64_t began = clock_ns(), now = began;
	int n = is_worth_spinning(loop, now) ? spin(loop, &now) : 0;

	if (n == 0) {
		n = fetch(loop, timeout_ms);
		now = clock_ns();
	}
	if (loop->expects)
		loop->was_short = now - began < loop->spin_ns;
	loop->expects = false;
	loop->fetched_ns = now;
	return n;
}

int osh_loop_run_once(struct osh_loop *loop, int timeout_ms)
{
	int wait = wait_ms(loop, timeout_ms);
	int n = loop->spin_ns && wait ? fetch_or_spin(loop, wait) : fetch(loop, wait);

	if (n < 0 && errno != EINTR)
		return -errno;
	loop->now_ms = clock_ms();
	loop->batch_len = n > 0 ? n : 0;
	loop->batch_was_full = n == BATCH;
	for (loop->batch_at = 0; loop->batch_at < loop->batch_len; loop->batch_at++) {
		struct epoll_event *event = &loop->batch[loop->batch_at];
		struct osh_io *io = event->data.ptr;

		if (!io)
			continue;
		loop->recent[loop->recent_at++ % RECENT] = io;
		io->on_ready(io, event->events);
	}
	loop->batch_len = 0;
	run_timers(loop);
	run_deferred(loop);
	if (loop->batch_end)
		loop->batch_end(loop->batch_end_context);
	return 0;
}

int osh_loop_run(struct osh_loop *loop)
{
	while (!loop->stopping) {
		int r = osh_loop_run_once(loop, -1);

		if (r < 0)
			return r;
	}
	loop->stopping = false;
	return 0;
}

void osh_loop_stop(struct osh_loop *loop)
{
	loop->stopping = true;
}

uint64_t osh_loop_now_ms(const struct osh_loop *loop)
{
	return loop->now_ms;
}
