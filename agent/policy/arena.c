#include "policy/arena.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 65536
#define ALIGNMENT _Alignof(max_align_t)

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

static struct osh_arena_block *add_block(struct osh_arena *arena, size_t size)
{
	size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
	struct osh_arena_block *block = malloc(sizeof(*block) + room);

	if (!block)
		return NULL;
	block->used = 0;
	block->room = room;
	block->next = arena->blocks;
	arena->blocks = block;
	return block;
}

void *osh_arena_alloc(struct osh_arena *arena, size_t size)
{
	struct osh_arena_block *block = arena->blocks;
	void *memory;

	size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	if (!block || block->room - block->used < size) {
		block = add_block(arena, size);
		if (!block)
			return NULL;
	}
	memory = block->bytes + block->used;
	block->used += size;
	return memset(memory, 0, size);
}

char *osh_arena_copy(struct osh_arena *arena, struct osh_str text)
{
	char *copy = osh_arena_alloc(arena, text.len + 1);

	if (copy && text.len)
		memcpy(copy, text.data, text.len);
	return copy;
}
