/* Memory that is given back all at once: a document's nodes and strings. */
#ifndef OSH_POLICY_ARENA_H
#define OSH_POLICY_ARENA_H

#include <stddef.h>

#include "base/str.h"

struct osh_arena_block;

struct osh_arena {
	struct osh_arena_block *blocks;
	size_t expected; /* about so many bytes in all: the first block holds them, in bounds */
};

void osh_arena_done(struct osh_arena *arena);
/* Zeroed, aligned for pointers and 64-bit numbers; NULL when memory is out. */
void *osh_arena_alloc(struct osh_arena *arena, size_t size);
/* A NUL-terminated copy; NULL when memory is out. */
char *osh_arena_copy(struct osh_arena *arena, struct osh_str text);

#endif
