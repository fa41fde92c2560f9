#include "proxy/http2_memory.h"

#include <malloc.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/secret.h"

struct osh_http2_piece {
	struct osh_http2_piece *prev, *next; /* in osh_http2_memory.pieces */
	alignas(max_align_t) char bytes[];
};

static struct osh_http2_piece *piece_of(void *bytes)
{
	return osh_container_of(bytes, struct osh_http2_piece, bytes);
}

static size_t room_of(struct osh_http2_piece *piece)
{
	return malloc_usable_size(piece) - sizeof(*piece);
}

static void drop(struct osh_http2_memory *memory, struct osh_http2_piece *piece)
{
	DL_DELETE(memory->pieces, piece);
	osh_wipe(piece->bytes, room_of(piece));
	free(piece);
}

static void *take(size_t size, void *context)
{
	struct osh_http2_memory *memory = context;
	struct osh_http2_piece *piece = NULL;

	if (size <= SIZE_MAX - sizeof(*piece))
		piece = malloc(sizeof(*piece) + size);
	if (!piece) {
		memory->starved = true;
		return NULL;
	}
	DL_PREPEND(memory->pieces, piece);
	return piece->bytes;
}

static void *take_zeroed(size_t count, size_t size, void *context)
{
	size_t all;
	void *bytes = take(__builtin_mul_overflow(count, size, &all) ? SIZE_MAX : all, context);

	return bytes ? memset(bytes, 0, all) : NULL;
}

static void give_back(void *bytes, void *context)
{
	struct osh_http2_memory *memory = context;

	if (bytes && !memory->starved)
		drop(memory, piece_of(bytes));
}

/* Not by realloc(3), which would leave a value's bytes in freed memory. */
static void *take_more(void *bytes, size_t size, void *context)
{
	size_t room = bytes ? room_of(piece_of(bytes)) : 0;
	void *grown = take(size, context);

	if (grown && room)
		memcpy(grown, bytes, room < size ? room : size);
	if (grown)
		give_back(bytes, context);
	return grown;
}

nghttp2_mem osh_http2_memory_functions(struct osh_http2_memory *memory)
{
	return (nghttp2_mem){
		.mem_user_data = memory,
		.malloc = take,
		.free = give_back,
		.calloc = take_zeroed,
		.realloc = take_more,
	};
}

void osh_http2_memory_done(struct osh_http2_memory *memory)
{
	while (memory->pieces)
		drop(memory, memory->pieces);
	memory->starved = false;
}
