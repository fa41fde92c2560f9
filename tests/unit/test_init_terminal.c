/* Terminals as openshell-init holds them: replay, readers, backpressure, hanging up. It is no
 * part of the library, so it is compiled in here. */
#include "../../agent/sandbox/init/terminal.c"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>

#define SIZE 4096
#define ROUNDS 100000 /* of the loop; far more than any case takes */

static struct terminal *terminal;
static int program; /* the program's side of the pty */

static void open_terminal(void)
{
	struct termios raw;
	int master, slave;

	signal(SIGPIPE, SIG_IGN);
	cr_assert(eq(int, openpty(&master, &slave, NULL, NULL, NULL), 0));
	cr_assert(eq(int, tcgetattr(slave, &raw), 0));
	cfmakeraw(&raw);
	cr_assert(eq(int, tcsetattr(slave, TCSANOW, &raw), 0));
	osh_set_nonblocking(master);
	program = dup(slave);
	osh_set_nonblocking(program);
	terminal = terminal_new(master, slave, SIZE);
	cr_assert(ne(ptr, terminal, NULL));
}

static void close_terminal(void)
{
	terminal_free(terminal);
	close(program);
}

TestSuite(terminal, .init = open_terminal, .fini = close_terminal);

/* One turn of init's loop, without waiting. Returns whether anything was to do. */
static bool turn(void)
{
	struct pollfd polls[OSH_TERMINAL_POLLS];
	int n;

	terminal_prepare(terminal, polls);
	n = poll(polls, OSH_TERMINAL_POLLS, 0);
	terminal_serve(terminal, polls);
	return n > 0;
}

static void settle(void)
{
	for (int i = 0; i < ROUNDS && turn(); i++)
		continue;
}

/* Byte number n of an endless text. */
static char text_at(uint64_t n)
{
	return (char)('a' + n % 23);
}

/* Have the program write `len` bytes of the text from `*at` on, as far as it may without
 * waiting. */
static void say(uint64_t *at, size_t len)
{
	for (size_t done = 0; done < len;) {
		char piece[512];
		size_t n = len - done < sizeof(piece) ? len - done : sizeof(piece);
		ssize_t written;

		for (size_t i = 0; i < n; i++)
			piece[i] = text_at(*at + i);
		written = write(program, piece, n);
		if (written <= 0)
			return;
		*at += (uint64_t)written;
		done += (size_t)written;
		settle();
	}
}

/* Read what is there, check that it goes on from `*at`, and return how much it was; *ret_end:
 * whether the pipe ended. */
static size_t hear(int reader, uint64_t *at, bool *ret_end)
{
	char data[1000];
	size_t total = 0;
	ssize_t n;

	while ((n = read(reader, data, sizeof(data))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			cr_assert(eq(chr, data[i], text_at(*at + (uint64_t)i)), "byte %ld", (long)(*at + (uint64_t)i));
		*at += (uint64_t)n;
		total += (size_t)n;
	}
	*ret_end = n == 0;
	return total;
}

static int attach(void)
{
	int reader = -1;

	cr_assert(eq(int, terminal_attach(terminal, &reader), 0));
	return reader;
}

Test(terminal, replays_what_the_ring_holds)
{
	uint64_t said = 0, heard;
	bool ended;
	int reader;

	terminal->is_retained = true;
	say(&said, 10 * SIZE + 17); /* nobody reads: nobody waits */
	cr_assert(eq(u64, said, 10 * SIZE + 17));
	reader = attach();
	settle();
	heard = said - SIZE;
	cr_expect(eq(sz, hear(reader, &heard, &ended), SIZE));
	cr_expect(not(ended));
	say(&said, 100); /* and what is written from now on */
	cr_expect(eq(sz, hear(reader, &heard, &ended), 100));
	close(reader);
}

Test(terminal, loses_nothing_to_a_slow_reader)
{
	uint64_t said = 0, heard = 0;
	int reader = attach();
	size_t total = 0;
	bool ended;

	/* Far more than ring, pipe and pty hold together. */
	while (total < 2000000) {
		say(&said, 50000);
		total += hear(reader, &heard, &ended);
		settle();
	}
	cr_expect(le(u64, said - heard, 65536 + 65536 + SIZE), "it was to wait");
	close(reader);
}

Test(terminal, every_reader_gets_everything)
{
	uint64_t said = 0, heard[3] = { 0 };
	int readers[3];
	bool ended;

	for (int i = 0; i < 3; i++)
		readers[i] = attach();
	say(&said, 3000);
	for (int i = 0; i < 3; i++) {
		cr_expect(eq(sz, hear(readers[i], &heard[i], &ended), 3000));
		close(readers[i]);
	}
}

Test(terminal, hangs_up_without_a_reader_unless_it_is_retained)
{
	int first = attach(), second = attach();

	settle();
	close(first);
	settle();
	cr_expect(ge(int, terminal->master, 0), "one still reads");
	close(second);
	settle();
	cr_expect(eq(int, terminal->master, -1));
	cr_expect(terminal_is_over(terminal));
}

Test(terminal, goes_on_retained)
{
	uint64_t said = 0;
	int reader = attach();

	terminal->is_retained = true;
	close(reader);
	settle();
	cr_expect(ge(int, terminal->master, 0));
	say(&said, 3 * SIZE);
	cr_expect(eq(u64, said, 3 * SIZE));
}

Test(terminal, gives_the_rest_after_the_end_and_then_ends)
{
	uint64_t said = 0, heard = 0;
	int reader = attach();
	bool ended = false;

	say(&said, 200000); /* until the program would have to wait */
	terminal_end(terminal);
	for (int i = 0; i < ROUNDS && !ended; i++) {
		hear(reader, &heard, &ended);
		turn();
	}
	cr_expect(ended);
	cr_expect(eq(u64, heard, said));
	cr_expect(terminal_is_over(terminal));
	close(reader);
	/* Who comes later gets what is retained, and the end. */
	reader = attach();
	settle();
	heard = said - SIZE;
	cr_expect(eq(sz, hear(reader, &heard, &ended), SIZE));
	cr_expect(ended);
	close(reader);
}

/* A job that the program left behind writes on, as fast as it can. */
Test(terminal, ends_although_somebody_writes_on)
{
	uint64_t said = 0, heard = 0;
	int reader = attach();
	bool ended = false;

	terminal_end(terminal);
	for (int i = 0; i < ROUNDS && !ended; i++) {
		ssize_t n = write(program, "aaaa", 4);

		(void)n;
		turn();
		while (read(reader, (char[512]){ 0 }, 512) > 0)
			continue;
		ended = read(reader, (char[1]){ 0 }, 1) == 0;
	}
	cr_expect(ended);
	(void)said, (void)heard;
	close(reader);
}

Test(terminal, has_a_bound_of_readers)
{
	int readers[OSH_ATTACHED_MAX], more;

	for (int i = 0; i < OSH_ATTACHED_MAX; i++)
		readers[i] = attach();
	cr_expect(terminal_is_full(terminal));
	cr_expect(eq(int, terminal_attach(terminal, &more), -EBUSY));
	close(readers[3]);
	settle();
	more = attach();
	close(more);
	for (int i = 0; i < OSH_ATTACHED_MAX; i++) {
		if (i != 3)
			close(readers[i]);
	}
}
