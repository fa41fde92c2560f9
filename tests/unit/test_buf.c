/* The byte queue: order, bound, memory. */
#include "base/buf.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

Test(buf, keeps_order_and_bound)
{
	struct osh_buf buf;
	unsigned char next_in = 0, next_out = 0;

	osh_buf_init(&buf, 1000);
	srand(1);
	for (int i = 0; i < 20000; i++) {
		size_t len = (size_t)rand() % 200;
		unsigned char piece[200];

		if (rand() % 2) {
			for (size_t j = 0; j < len; j++)
				piece[j] = (unsigned char)(next_in + j);
			if (len <= osh_buf_free_bytes(&buf)) {
				cr_assert(osh_buf_append(&buf, piece, len) == 0);
				next_in = (unsigned char)(next_in + len);
			} else {
				cr_assert(osh_buf_append(&buf, piece, len) == -ENOBUFS);
			}
		} else {
			len = len < buf.len ? len : buf.len;
			for (size_t j = 0; j < len; j++)
				cr_assert((unsigned char)osh_buf_bytes(&buf)[j] == next_out++);
			osh_buf_consume(&buf, len);
		}
		cr_assert(buf.len <= 1000 && buf.room <= 2000);
	}
	osh_buf_done(&buf);
	cr_expect(buf.data == NULL && buf.len == 0);
}

/* A queue that is never empty, as between a fast sender and a slow reader, moves its bytes
 * only now and then, and keeps to its memory. */
Test(buf, a_backlog_is_not_moved_for_each_piece)
{
	char piece[100] = "";
	unsigned moved = 0;
	struct osh_buf buf;

	osh_buf_init(&buf, 1000);
	while (osh_buf_free_bytes(&buf) >= sizeof(piece))
		cr_assert(osh_buf_append(&buf, piece, sizeof(piece)) == 0);
	for (int i = 0; i < 1000; i++) {
		size_t before;

		osh_buf_consume(&buf, sizeof(piece));
		before = buf.start;
		cr_assert(osh_buf_append(&buf, piece, sizeof(piece)) == 0);
		moved += buf.start < before;
	}
	cr_expect(moved <= 100 && buf.room <= 2000, "moved %u times, room %zu", moved, buf.room);
	osh_buf_done(&buf);
}

Test(buf, handed_over)
{
	struct osh_buf from, to;

	osh_buf_init(&from, 1000);
	osh_buf_init(&to, 1000);
	cr_assert(osh_buf_append_c(&from, "xabc") == 0);
	osh_buf_consume(&from, 1);
	osh_buf_hand_over(&from, &to);
	cr_expect(osh_str_eq_c(osh_buf_str(&to), "abc") && from.len == 0);
	cr_expect(osh_buf_append_c(&from, "next") == 0 && osh_str_eq_c(osh_buf_str(&from), "next"));
	osh_buf_done(&from);
	osh_buf_done(&to);
}

Test(buf, printf_and_strings)
{
	struct osh_buf buf;

	osh_buf_init(&buf, 32);
	cr_expect(osh_buf_printf(&buf, "%s=%d", "a", 7) == 0);
	cr_expect(osh_buf_append_c(&buf, ";") == 0);
	cr_expect(osh_buf_append_str(&buf, osh_str("b")) == 0);
	cr_expect(osh_str_eq_c(osh_buf_str(&buf), "a=7;b"));
	/* What does not fit leaves the rest as it was. */
	cr_expect(osh_buf_printf(&buf, "%030d", 1) == -ENOBUFS);
	cr_expect(osh_str_eq_c(osh_buf_str(&buf), "a=7;b"));
	osh_buf_done(&buf);
}

Test(buf, empty)
{
	struct osh_buf buf;

	osh_buf_init(&buf, 8);
	cr_expect(osh_buf_bytes(&buf) == NULL && osh_buf_str(&buf).len == 0);
	cr_expect(osh_buf_append(&buf, NULL, 0) == 0);
	cr_expect(osh_buf_reserve(&buf, 9) == -ENOBUFS);
	cr_expect(osh_buf_reserve(&buf, SIZE_MAX) == -ENOBUFS);
	cr_expect(osh_buf_append(&buf, "12345678", 8) == 0);
	cr_expect(osh_buf_append(&buf, "9", 1) == -ENOBUFS);
	osh_buf_consume(&buf, 8);
	osh_buf_trim(&buf);
	cr_expect(buf.data == NULL);
	/* Not while something is in it. */
	cr_expect(osh_buf_append_c(&buf, "x") == 0);
	osh_buf_trim(&buf);
	cr_expect(osh_str_eq_c(osh_buf_str(&buf), "x"));
	osh_buf_done(&buf);
	osh_buf_done(&buf);
}
