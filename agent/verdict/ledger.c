#include "verdict/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "openshell/limits.h"

#define LEDGER_MAGIC 0x316c2d68736fULL /* "osh-l1": raise the digit when the page changes */

/* id 0: nothing is being taken. */
struct place {
	uint64_t position;
	uint64_t id;
};

/* Two places, of which `now` tells the one that counts: the other is filled first. */
struct ring {
	struct place places[2];
	uint64_t now;
};

struct page {
	uint64_t magic;
	uint64_t next_id;
	uint64_t refusals;
	struct ring rings[OSH_WORKERS_MAX];
};
_Static_assert(sizeof(struct page) <= OSH_LEDGER_BYTES, "one page");

struct osh_ledger {
	struct page *page;
	bool is_new;
};

/* The agent may be killed behind any store, and its successor sees them in this order. */
static void store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

int osh_ledger_open(int fd, struct osh_ledger **ret_ledger)
{
	struct osh_ledger *ledger = calloc(1, sizeof(*ledger));

	if (!ledger)
		return -ENOMEM;
	ledger->page = mmap(NULL, OSH_LEDGER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ledger->page == MAP_FAILED) {
		int r = -errno;

		free(ledger);
		return r;
	}
	ledger->is_new = ledger->page->magic != LEDGER_MAGIC;
	if (ledger->is_new) {
		store(&ledger->page->magic, 0);
		memset(ledger->page, 0, sizeof(*ledger->page));
		store(&ledger->page->magic, LEDGER_MAGIC);
	}
	*ret_ledger = ledger;
	return 0;
}

void osh_ledger_close(struct osh_ledger *ledger)
{
	if (!ledger)
		return;
	munmap(ledger->page, OSH_LEDGER_BYTES);
	free(ledger);
}

bool osh_ledger_is_new(const struct osh_ledger *ledger)
{
	return ledger->is_new;
}

static void put(struct ring *ring, struct place place)
{
	uint64_t other = !ring->now;

	ring->places[other] = place;
	store(&ring->now, other);
}

void osh_ledger_taking(struct osh_ledger *ledger, unsigned ring, uint64_t position, uint64_t id)
{
	put(&ledger->page->rings[ring], (struct place){ .position = position, .id = id });
}

void osh_ledger_taken(struct osh_ledger *ledger, unsigned ring, uint64_t position)
{
	put(&ledger->page->rings[ring], (struct place){ .position = position });
}

uint64_t osh_ledger_position(const struct osh_ledger *ledger, unsigned ring, uint64_t last_id)
{
	const struct ring *it = &ledger->page->rings[ring];
	const struct place *place = &it->places[it->now & 1];

	if (place->id == 0 || last_id < place->id)
		return place->position;
	return place->position + (last_id + 1 - place->id);
}

void osh_ledger_set_next_id(struct osh_ledger *ledger, uint64_t id)
{
	store(&ledger->page->next_id, id);
}

uint64_t osh_ledger_next_id(const struct osh_ledger *ledger)
{
	return ledger->page->next_id;
}

void osh_ledger_set_refusals(struct osh_ledger *ledger, uint64_t count)
{
	store(&ledger->page->refusals, count);
}

uint64_t osh_ledger_refusals(const struct osh_ledger *ledger)
{
	return ledger->page->refusals;
}
