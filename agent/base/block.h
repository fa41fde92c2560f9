/* Memory of the sizes that every request needs anew: a TLS record, a buffer for one read, the
 * state of an exchange. malloc(3) searches, splits and merges for these; here a thread keeps
 * a few of each size for whoever asks next, and the one that came back last is still in the
 * processor's cache. Sizes beyond them go to malloc. */
#ifndef OSH_BASE_BLOCK_H
#define OSH_BASE_BLOCK_H

#include <stddef.h>

/* Kept of a large size by a thread; of the small ones several times as many (block.c): 2 MiB in all. None
 * where a sanitizer looks for uses after free. */
#ifdef OSH_SANITIZED
#define OSH_BLOCKS_KEPT 0
#else
#define OSH_BLOCKS_KEPT 16
#endif

/* How many bytes one of that size has in truth. */
size_t osh_block_room(size_t size);
/* At least `size` bytes, as malloc(3) gives them; NULL when memory is out. */
void *osh_block_alloc(size_t size);
/* The same, zeroed. */
void *osh_block_zalloc(size_t size);
/* Give it back, with the size that it was asked for. NULL does nothing. */
void osh_block_free(void *memory, size_t size);
/* The same without the size, or of what malloc, calloc and realloc gave: malloc's own note beside the
 * memory is read, which the processor has often to fetch. */
void osh_block_free_any(void *memory);

#endif
