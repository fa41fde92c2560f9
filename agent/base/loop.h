/* One thread's event loop: epoll, timers on CLOCK_MONOTONIC, deferred work.
 * Nothing here locks: a loop belongs to one thread. */
#ifndef OSH_BASE_LOOP_H
#define OSH_BASE_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct osh_loop;

/* Embedded in its owner, found again by osh_container_of. */
struct osh_io {
	int fd;
	uint32_t events; /* the epoll interest currently armed; 0: not registered */
	void (*on_ready)(struct osh_io *io, uint32_t events);
};

struct osh_timer {
	uint64_t deadline_ms; /* CLOCK_MONOTONIC */
	uint64_t due_ms;      /* when the loop looks at it: not after the deadline */
	size_t slot;          /* 1 + position in the loop's heap; 0: not armed */
	void (*on_expire)(struct osh_timer *timer);
};

/* Work to do after the current batch of events: freeing the object whose
 * callback is running, above all. */
struct osh_deferred {
	struct osh_deferred *next;
	bool queued;
	void (*run)(struct osh_deferred *deferred);
};

/* Returns NULL when memory or descriptors are out (errno). */
struct osh_loop *osh_loop_new(void);
/* The owners of ios and timers free them; a loop with armed ones may go. */
void osh_loop_free(struct osh_loop *loop);

/* Arm exactly these events (EPOLLIN, EPOLLOUT, EPOLLEXCLUSIVE only at first;
 * level triggered); 0 unregisters. Returns 0 or -errno. */
int osh_loop_set(struct osh_loop *loop, struct osh_io *io, uint32_t events);
/* Unregister; must be called before the descriptor is closed. Events already
 * fetched for this io in the running batch are dropped. */
void osh_loop_remove(struct osh_loop *loop, struct osh_io *io);
/* May epoll know of something that this io has not been told? Not beyond what had come when the
 * running batch was fetched; no system call. */
bool osh_loop_has_news(const struct osh_loop *loop, const struct osh_io *io);

/* Arm or move a timer to `in_ms` from now. Putting it off costs next to nothing: the loop
 * finds out when it looks. Returns 0 or -ENOMEM. */
int osh_loop_timer_set(struct osh_loop *loop, struct osh_timer *timer, uint64_t in_ms);
void osh_loop_timer_cancel(struct osh_loop *loop, struct osh_timer *timer);

void osh_loop_defer(struct osh_loop *loop, struct osh_deferred *deferred);

/* Called after each batch of events, before sleeping (flush what the batch
 * produced in one go). May be NULL. */
void osh_loop_set_batch_end(struct osh_loop *loop, void (*fn)(void *context), void *context);

/* Keep the processor for up to spin_ns before sleeping, while answers (osh_loop_expect) come sooner than
 * that and what they bring is soon done: being woken takes longer, and costs the one who wakes as well. A
 * later answer ends it until the next early one, and for a while so does somebody else who takes the
 * processor meanwhile. Not while more than a few descriptors have something: what comes while this sleeps is
 * done at one waking. For a thread beside which other processors are free; 0 (at first): never. */
void osh_loop_set_spin(struct osh_loop *loop, uint64_t spin_ns);
/* Somebody who is quick to answer has just been given all that was to be said, so the next event may be near.
 * Not of a body on its way: whoever sends it wants the processor more. */
void osh_loop_expect(struct osh_loop *loop);
/* Processor time that this has taken so far. */
uint64_t osh_loop_spun_ns(const struct osh_loop *loop);

/* Run until osh_loop_stop(). Returns 0 or -errno of epoll_wait. */
int osh_loop_run(struct osh_loop *loop);
/* Run one batch, waiting at most timeout_ms (-1: for ever). */
int osh_loop_run_once(struct osh_loop *loop, int timeout_ms);
void osh_loop_stop(struct osh_loop *loop);

/* CLOCK_MONOTONIC, read once per batch. */
uint64_t osh_loop_now_ms(const struct osh_loop *loop);

#endif
