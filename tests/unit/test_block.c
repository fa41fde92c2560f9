/* Kept memory: used again, bounded, and never smaller than what was asked for. */
#include "base/block.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

Test(block, any_size_and_any_memory)
{
	static const size_t sizes[] = { 0, 1, 1024, 1025, 2048, 2049, 8192, 8193, 18432, 18433, 65536, 65537, 1 << 20 };
	enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

	for (int round = 0; round < 3; round++) {
		void *memory[SIZES];

		for (size_t i = 0; i < SIZES; i++) {
			memory[i] = osh_block_alloc(sizes[i]);
			cr_assert(memory[i] && malloc_usable_size(memory[i]) >= sizes[i], "%zu", sizes[i]);
			memset(memory[i], 0xa5, sizes[i]);
		}
		for (size_t i = 0; i < SIZES; i++)
			osh_block_free(memory[i]);
		osh_block_free(malloc(sizes[round + 3]));
		osh_block_free(NULL);
	}
}

Test(block, tells_what_it_gives)
{
	for (size_t size = 1; size < 100000; size += 333) {
		size_t room = osh_block_room(size);
		char *memory = osh_block_alloc(size);

		cr_assert(memory && room >= size && osh_block_room(room) == room);
		memset(memory, 1, room);
		osh_block_free(memory);
	}
}

#if OSH_BLOCKS_KEPT /* none under a sanitizer */

Test(block, what_came_back_last_is_given_next)
{
	char *first = osh_block_alloc(16384);
	char *second;

	cr_assert(first);
	memset(first, 'x', 16384);
	osh_block_free(first);
	second = osh_block_zalloc(17000);
	cr_expect(second == first, "one record's memory serves the next");
	for (size_t i = 0; i < 17000; i++)
		cr_assert(second[i] == 0);
	osh_block_free(second);
}

Test(block, only_a_few_are_kept)
{
	enum { MANY = 1000 };
	static void *memory[MANY];
	struct mallinfo2 before, after;

	for (int i = 0; i < MANY; i++)
		cr_assert((memory[i] = osh_block_alloc(18000)));
	before = mallinfo2();
	for (int i = 0; i < MANY; i++)
		osh_block_free(memory[i]);
	after = mallinfo2();
	cr_expect(before.uordblks - after.uordblks >= (size_t)(MANY - OSH_BLOCKS_KEPT) * 18000);
}

#endif
