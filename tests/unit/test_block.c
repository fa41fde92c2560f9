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
			osh_block_free(memory[i], sizes[i]);
		osh_block_free_any(malloc(sizes[round + 3]));
		osh_block_free(NULL, sizes[round]);
		osh_block_free_any(NULL);
	}
}

Test(block, tells_what_it_gives)
{
	for (size_t size = 1; size < 100000; size += 333) {
		size_t room = osh_block_room(size);
		char *memory = osh_block_alloc(size);

		cr_assert(memory && room >= size && osh_block_room(room) == room);
		memset(memory, 1, room);
		osh_block_free(memory, size);
	}
}

#if OSH_BLOCKS_KEPT /* none under a sanitizer */

Test(block, what_came_back_last_is_given_next)
{
	char *first = osh_block_alloc(16384);
	char *second;

	cr_assert(first);
	memset(first, 'x', 16384);
	osh_block_free(first, 16384);
	second = osh_block_zalloc(17000);
	cr_expect(second == first, "one record's memory serves the next");
	for (size_t i = 0; i < 17000; i++)
		cr_assert(second[i] == 0);
	osh_block_free_any(second);
	first = osh_block_alloc(18432);
	cr_expect(second == first, "given back without its size, too");
	osh_block_free(first, 18432);
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
		osh_block_free(memory[i], 18000);
	after = mallinfo2();
	cr_expect(before.uordblks - after.uordblks >= (size_t)(MANY - OSH_BLOCKS_KEPT) * 18000);
}

#endif
