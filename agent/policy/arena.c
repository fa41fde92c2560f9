#include "policy/arena.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 262144
#define ALIGNMENT 8 /* pointers and 64-bit numbers: nothing here needs more */

struct osh_arena_block {
	struct osh_arena_block *next;
	size_t used, room;
	_Alignas(max_align_t) char bytes[];
};

void osh_arena_done(struct osh_arena *arena)
{
	while (arena->blocks) {
		struct osh_arena_block *block = arena->blocks;

		arena->blocks = block->next;
		free(block);
	}
}

/* A large block comes zeroed from the kernel: no page is touched twice. */
static struct osh_arena_block *add_block(struct osh_arena *arena, size_t size)
{
	size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
	struct osh_arena_block *block = calloc(1, sizeof(*block) + room);

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
	size_t start = block ? (block->used + alignment - 1) / alignment * alignment : 0;

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
