#include "policy/arena.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCK_FIRST 65536
#define BLOCK_MAX (4u << 20)
#define BLOCK_MAPPED (2u << 20) /* a huge page; from here on a block is a mapping of its own */
#define ALIGNMENT 8             /* pointers and 64-bit numbers: nothing here needs more */

struct osh_arena_block {
	struct osh_arena_block *next;
	size_t used, room;
	bool mapped;
	_Alignas(max_align_t) char bytes[];
};

static void free_block(struct osh_arena_block *block)
{
	if (block->mapped)
		(void)munmap(block, sizeof(*block) + block->room);
	else
		free(block);
}

void osh_arena_done(struct osh_arena *arena)
{
	while (arena->blocks) {
		struct osh_arena_block *block = arena->blocks;

		arena->blocks = block->next;
		free_block(block);
	}
}

/* Zeroed memory. The document of a large policy takes megabytes for some milliseconds: as
 * ordinary pages, faulting them in would take longer than parsing. */
static struct osh_arena_block *new_block(size_t len)
{
	struct osh_arena_block *block;

	if (len < BLOCK_MAPPED)
		return calloc(1, len);
	block = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (block == MAP_FAILED)
		return NULL;
	(void)madvise(block, len, MADV_HUGEPAGE);
	block->mapped = true;
	return block;
}

/* Each block is twice the one before it: a small policy stays small, a large one takes few
 * blocks. */
static struct osh_arena_block *add_block(struct osh_arena *arena, size_t size)
{
	size_t first = arena->expected > BLOCK_FIRST ? arena->expected : BLOCK_FIRST;
	size_t room = arena->blocks ? 2 * arena->blocks->room : first;
	struct osh_arena_block *block;

	room = room > BLOCK_MAX ? BLOCK_MAX : room;
	room = size > room ? size : room;
	if (sizeof(*block) + room >= BLOCK_MAPPED) /* whole huge pages */
		room = (sizeof(*block) + room + BLOCK_MAPPED - 1) / BLOCK_MAPPED * BLOCK_MAPPED -
		       sizeof(*block);
	block = new_block(sizeof(*block) + room);
	if (!block)
		return NULL;
	block->room = room;
	block->next = arena->blocks;
	arena->blocks = block;
	return block;
}

static void *take(struct osh_arena *arena, size_t size, size_t alignment)
{
	struct osh_arena_block *block = arena->blocks;
	size_t start = block ? (block->used + alignment - 1) & ~(alignment - 1) : 0;

	if (!block || start > block->room || block->room - start < size) {
		block = add_block(arena, size);
		if (!block)
			return NULL;
		start = 0;
	}
	block->used = start + size;
	return block->bytes + start;
}

void *osh_arena_alloc(struct osh_arena *arena, size_t size)
{
	return take(arena, size, ALIGNMENT);
}

char *osh_arena_copy(struct osh_arena *arena, struct osh_str text)
{
	char *copy = take(arena, text.len + 1, 1);

	if (copy && text.len)
		memcpy(copy, text.data, text.len);
	return copy;
}
