#include "base/block.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define SLACK 64 /* malloc may give a little more than it was asked for */

struct block {
	struct block *next;
};

struct shelf {
	size_t size;
	unsigned kept, count;
	struct block *blocks;
};

/* 4 KiB hold an exchange, 18 a TLS record with all that may surround it, 64 a connection's whole buffer.
 * Exchanges live for as long as the server takes to answer: of theirs more are kept. */
static _Thread_local struct shelf shelves[] = {
	{ .size = 2048, .kept = 4 * OSH_BLOCKS_KEPT }, { .size = 4096, .kept = 8 * OSH_BLOCKS_KEPT },
	{ .size = 8192, .kept = OSH_BLOCKS_KEPT },     { .size = 18432, .kept = OSH_BLOCKS_KEPT },
	{ .size = 65536, .kept = OSH_BLOCKS_KEPT },
};

#define SMALLEST 1024 /* below it malloc has lists of its own */

static struct shelf *shelf_for(size_t size)
{
	if (size <= SMALLEST)
		return NULL;
	for (size_t i = 0; i < OSH_COUNT_OF(shelves); i++) {
		if (size <= shelves[i].size)
			return &shelves[i];
	}
	return NULL;
}

size_t osh_block_room(size_t size)
{
	const struct shelf *shelf = shelf_for(size);

	return shelf ? shelf->size : size;
}

void *osh_block_alloc(size_t size)
{
	struct shelf *shelf = shelf_for(size);
	struct block *block;

	if (!shelf)
		return malloc(size);
	block = shelf->blocks;
	if (!block)
		return malloc(shelf->size);
	shelf->blocks = block->next;
	shelf->count--;
	return block;
}

void *osh_block_zalloc(size_t size)
{
	void *memory = osh_block_alloc(size);

	return memory ? memset(memory, 0, size) : NULL;
}

/* The shelf of which it may be: large enough for all that is asked of it. */
static struct shelf *shelf_of(size_t usable)
{
	for (size_t i = 0; i < OSH_COUNT_OF(shelves); i++) {
		if (usable >= shelves[i].size && usable - shelves[i].size < SLACK)
			return &shelves[i];
	}
	return NULL;
}

static void give_back(struct shelf *shelf, struct block *block)
{
	if (!block || !shelf || shelf->count == shelf->kept) {
		free(block);
		return;
	}
	block->next = shelf->blocks;
	shelf->blocks = block;
	shelf->count++;
}

void osh_block_free(void *memory, size_t size)
{
	give_back(shelf_for(size), memory);
}

void osh_block_free_any(void *memory)
{
	give_back(memory ? shelf_of(malloc_usable_size(memory)) : NULL, memory);
}
