/* nghttp2's memory: wiped when freed; and when some was refused, what is freed too often is freed once. */
#include "proxy/http2_memory.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NEVER SIZE_MAX /* bytes that nobody has */

static struct osh_http2_memory memory;
static nghttp2_mem mem;

static void setup(void)
{
	mem = osh_http2_memory_functions(&memory);
}

TestSuite(http2_memory, .init = setup);

Test(http2_memory, what_is_given_back_is_gone)
{
	char *first = mem.malloc(100, mem.mem_user_data), *second = mem.calloc(10, 10, mem.mem_user_data);

	cr_assert(first && second);
	for (int i = 0; i < 100; i++)
		cr_assert(second[i] == 0);
	cr_assert(eq(sz, (uintptr_t)first % 16, 0));
	mem.free(first, mem.mem_user_data);
	cr_assert(memory.pieces && !memory.starved);
	mem.free(second, mem.mem_user_data);
	mem.free(NULL, mem.mem_user_data);
	cr_assert(eq(ptr, memory.pieces, NULL));
}

Test(http2_memory, growing_keeps_what_is_there)
{
	char *bytes = mem.realloc(NULL, 4, mem.mem_user_data);

	strcpy(bytes, "abc");
	bytes = mem.realloc(bytes, 5000, mem.mem_user_data);
	cr_assert(eq(str, bytes, "abc"));
	bytes = mem.realloc(bytes, 2, mem.mem_user_data);
	cr_assert(eq(chr, bytes[1], 'b'));
	mem.free(bytes, mem.mem_user_data);
	cr_assert(eq(ptr, memory.pieces, NULL));
}

/* Each way to ask for too much. What is known from before stays as it was, however often it is freed. */
static void expect_kept(void *refused, char *kept)
{
	cr_assert(eq(ptr, refused, NULL));
	cr_assert(memory.starved);
	mem.free(kept, mem.mem_user_data);
	mem.free(kept, mem.mem_user_data);
	cr_assert(eq(str, kept, "kept"));
	osh_http2_memory_done(&memory);
	cr_assert(memory.pieces == NULL && !memory.starved);
}

static char *keep(void)
{
	return strcpy(mem.malloc(5, mem.mem_user_data), "kept");
}

Test(http2_memory, a_refused_piece)
{
	char *kept = keep();

	expect_kept(mem.malloc(NEVER, mem.mem_user_data), kept);
}

Test(http2_memory, a_refused_array)
{
	char *kept = keep();

	expect_kept(mem.calloc(SIZE_MAX / 2, 3, mem.mem_user_data), kept);
}

Test(http2_memory, a_piece_that_cannot_grow)
{
	char *kept = keep();

	expect_kept(mem.realloc(kept, NEVER, mem.mem_user_data), kept);
}

Test(http2_memory, what_is_left_ends_with_it)
{
	cr_assert(keep() && keep());
	osh_http2_memory_done(&memory);
	cr_assert(eq(ptr, memory.pieces, NULL));
}
