#include "proxy/spread.h"

#include <time.h>

#define WINDOW_MS 100
#define BUSY_PERCENT 75
#define TAKEN_MAX 128 /* in a window: how busy they will make it shows only at its end */

/* The processor's time, not the clock's: to a worker that waits for a processor another thread
 * that wants one is no help. Without what it spent on looking for work. */
static uint64_t worked_ms(const struct osh_worker *worker)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec - osh_loop_spun_ns(worker->loop)) / 1000000;
}

void osh_spread_measure(struct osh_worker *worker)
{
	struct osh_load *load = &worker->load;
	uint64_t now_ms = osh_loop_now_ms(worker->loop), passed_ms = now_ms - load->measured_ms, used_ms;

	if (passed_ms < WINDOW_MS)
		return;
	used_ms = worked_ms(worker);
	if ((used_ms - load->used_ms) * 100 >= passed_ms * BUSY_PERCENT)
		atomic_store(&load->busy_until_ms, now_ms + 2 * WINDOW_MS); /* the next may end late */
	load->measured_ms = now_ms;
	load->used_ms = used_ms;
	atomic_store(&load->taken, 0);
}

static bool is_busy(struct osh_worker *worker, uint64_t now_ms)
{
	return now_ms < atomic_load(&worker->load.busy_until_ms) || atomic_load(&worker->load.taken) >= TAKEN_MAX;
}

struct osh_worker *osh_spread_choose(struct osh_view *view)
{
	struct osh_worker *chosen = view->worker;
	struct osh_proxy *proxy = chosen->proxy;
	uint64_t now_ms = osh_loop_now_ms(chosen->loop);
	bool all_are_ready = atomic_load(&view->tenant->ready_count) == proxy->worker_count;

	for (unsigned i = 0; i < proxy->worker_count && all_are_ready; i++) {
		if (!is_busy(proxy->workers[i], now_ms)) {
			chosen = proxy->workers[i];
			break;
		}
	}
	atomic_fetch_add(&chosen->load.taken, 1);
	return chosen;
}
