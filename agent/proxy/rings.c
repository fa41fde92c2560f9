#include "proxy/rings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "verdict/ring.h"

struct ring {
	struct osh_ring_writer *keeper; /* NULL: there is none */
	struct osh_ring_reader *reader;
};

struct osh_rings {
	const struct osh_verdict_hook *hook;
	struct ring rings[OSH_WORKERS_MAX];
	int lock_fd;
};

static int open_ring(struct osh_rings *rings, const char *pin_dir, unsigned worker, bool may_make)
{
	struct ring *ring = &rings->rings[worker];
	_cleanup_fd_ int fd = -1;
	char name[32];
	int r, is_new;

	snprintf(name, sizeof(name), "worker%u", worker);
	is_new = osh_kernel_memory(pin_dir, name, osh_ring_bytes(OSH_WORKER_RING_SLOTS), may_make, &fd);
	if (is_new < 0)
		return is_new == -ENOENT && !may_make ? 0 : is_new;
	if (is_new)
		rings->hook->on_taken(rings->hook->context, worker, 0);
	r = osh_ring_reader_at(fd, OSH_WORKER_RING_SLOTS,
			       rings->hook->position(rings->hook->context, worker), &ring->reader);
	return r < 0 ? r : osh_ring_keeper_open(fd, OSH_WORKER_RING_SLOTS, &ring->keeper);
}

static int open_all(struct osh_rings *rings, const char *pin_dir, unsigned workers, struct osh_err *err)
{
	for (unsigned i = 0; i < OSH_WORKERS_MAX; i++) {
		int r = open_ring(rings, pin_dir, i, i < workers);

		if (r < 0)
			return osh_err_sys(err, -r, "cannot open the verdict ring of worker %u below %s", i, pin_dir);
	}
	rings->lock_fd = osh_kernel_memory_lock(pin_dir);
	if (rings->lock_fd == -EWOULDBLOCK)
		return osh_err_set(err, EBUSY, "the proxy of the agent before has not ended: kill it");
	if (rings->lock_fd < 0)
		return osh_err_sys(err, -rings->lock_fd, "cannot lock the verdict rings below %s", pin_dir);
	return 0;
}

int osh_rings_open(const char *pin_dir, unsigned workers, const struct osh_verdict_hook *hook,
		   struct osh_rings **ret_rings, struct osh_err *err)
{
	struct osh_rings *rings = calloc(1, sizeof(*rings));
	int r;

	if (!rings)
		return osh_err_sys(err, ENOMEM, "cannot open the verdict rings");
	rings->hook = hook;
	rings->lock_fd = -1;
	r = open_all(rings, pin_dir, workers, err);
	if (r < 0) {
		osh_rings_close(rings);
		return r;
	}
	*ret_rings = rings;
	return 0;
}

void osh_rings_close(struct osh_rings *rings)
{
	if (!rings)
		return;
	for (unsigned i = 0; i < OSH_WORKERS_MAX; i++) {
		osh_ring_reader_free(rings->rings[i].reader);
		osh_ring_writer_free(rings->rings[i].keeper);
	}
	osh_close(rings->lock_fd);
	free(rings);
}

int osh_rings_fd(const struct osh_rings *rings, unsigned worker)
{
	return osh_ring_writer_fd(rings->rings[worker].keeper);
}

int osh_rings_lock_fd(const struct osh_rings *rings)
{
	return rings->lock_fd;
}

/* A record's number follows from its position, so each gap begins a new row. */
static void drain(struct osh_rings *rings, unsigned worker)
{
	const struct osh_verdict_hook *hook = rings->hook;
	struct osh_ring_reader *reader = rings->rings[worker].reader;
	char room[OSH_VERDICT_BYTES_MAX];
	struct osh_verdict verdict;
	bool is_taking = false;
	uint64_t lost = 0;

	while (osh_ring_read(reader, room, &verdict, &lost) == 1) {
		if (lost)
			hook->on_lost(hook->context, lost);
		if (lost || !is_taking)
			hook->on_taking(hook->context, worker, osh_ring_reader_position(reader) - 1);
		is_taking = true;
		hook->on_verdict(hook->context, &verdict);
	}
	if (is_taking)
		hook->on_taken(hook->context, worker, osh_ring_reader_position(reader));
}

void osh_rings_drain(struct osh_rings *rings)
{
	for (unsigned i = 0; i < OSH_WORKERS_MAX; i++) {
		if (rings->rings[i].reader)
			drain(rings, i);
	}
}

static void finish(struct osh_rings *rings, unsigned worker)
{
	const struct osh_verdict_hook *hook = rings->hook;
	struct ring *ring = &rings->rings[worker];
	uint64_t lost = osh_ring_mend(ring->keeper);

	do {
		drain(rings, worker);
	} while (osh_ring_reader_is_behind(ring->reader));
	/* In this order: killed in between, the next agent finds nothing left to read. */
	osh_ring_restart(ring->keeper);
	lost += osh_ring_reader_restart(ring->reader);
	hook->on_taken(hook->context, worker, 0);
	if (lost)
		hook->on_lost(hook->context, lost);
}

void osh_rings_finish(struct osh_rings *rings)
{
	for (unsigned i = 0; i < OSH_WORKERS_MAX; i++) {
		if (rings->rings[i].reader)
			finish(rings, i);
	}
}
