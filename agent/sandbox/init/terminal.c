#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

/* Of what comes after the end: more than a pty holds (640 KiB, drivers/tty/tty_buffer.c). */
#define REST_BYTES (1u << 20)

struct terminal *terminal_new(int master, int slave, size_t size)
{
	struct terminal *terminal = calloc(1, sizeof(*terminal));
	char *ring = malloc(size); /* takes memory as it is written to */

	if (!terminal || !ring) {
		free(terminal);
		free(ring);
		return NULL;
	}
	*terminal = (struct terminal){
		.master = master, .slave = slave, .ring = ring, .size = size, .last = UINT64_MAX,
	};
	for (size_t i = 0; i < OSH_ATTACHED_MAX; i++)
		terminal->attached[i].fd = -1;
	return terminal;
}

void terminal_hang_up(struct terminal *terminal)
{
	terminal->master = osh_close(terminal->master);
	terminal->slave = osh_close(terminal->slave);
}

void terminal_free(struct terminal *terminal)
{
	if (!terminal)
		return;
	terminal_hang_up(terminal);
	for (size_t i = 0; i < OSH_ATTACHED_MAX; i++)
		osh_close(terminal->attached[i].fd);
	free(terminal->ring);
	free(terminal);
}

/* ---- Readers -------------------------------------------------------------------- */

static uint64_t oldest(const struct terminal *terminal)
{
	return terminal->written > terminal->size ? terminal->written - terminal->size : 0;
}

int terminal_attach(struct terminal *terminal, int *ret_reader)
{
	int ends[2];

	for (size_t i = 0; i < OSH_ATTACHED_MAX; i++) {
		if (terminal->attached[i].fd >= 0)
			continue;
		if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
			return -errno;
		terminal->attached[i].fd = ends[1];
		terminal->attached[i].at = oldest(terminal);
		*ret_reader = ends[0];
		return 0;
	}
	return -EBUSY;
}

static size_t count_attached(const struct terminal *terminal)
{
	size_t count = 0;

	for (size_t i = 0; i < OSH_ATTACHED_MAX; i++)
		count += terminal->attached[i].fd >= 0;
	return count;
}

bool terminal_is_full(const struct terminal *terminal)
{
	return count_attached(terminal) == OSH_ATTACHED_MAX;
}

bool terminal_is_over(const struct terminal *terminal)
{
	return terminal->master < 0 && count_attached(terminal) == 0;
}

static void detach(struct terminal *terminal, size_t i)
{
	terminal->attached[i].fd = osh_close(terminal->attached[i].fd);
	if (count_attached(terminal) == 0 && !terminal->is_retained)
		terminal_hang_up(terminal);
}

/* The bytes from `at` on that lie side by side in the ring. */
static size_t piece_at(const struct terminal *terminal, uint64_t at)
{
	size_t offset = (size_t)(at % terminal->size);
	uint64_t len = terminal->written - at;

	return len < terminal->size - offset ? (size_t)len : terminal->size - offset;
}

static void write_out(struct terminal *terminal, size_t i)
{
	uint64_t *at = &terminal->attached[i].at;

	while (*at < terminal->written) {
		ssize_t n = write(terminal->attached[i].fd, terminal->ring + *at % terminal->size,
				  piece_at(terminal, *at));

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) { /* the reader went away: EPIPE */
			detach(terminal, i);
			return;
		}
		*at += (size_t)n;
	}
	if (terminal->master < 0) /* that was all */
		detach(terminal, i);
}

/* ---- The program ---------------------------------------------------------------- */

static bool has_ended(const struct terminal *terminal)
{
	return terminal->last != UINT64_MAX;
}

/* Bytes that may be written over: those that everybody has. */
static size_t room(const struct terminal *terminal)
{
	uint64_t behind = 0;

	for (size_t i = 0; i < OSH_ATTACHED_MAX; i++) {
		uint64_t lag = terminal->written - terminal->attached[i].at;

		if (terminal->attached[i].fd >= 0 && lag > behind)
			behind = lag;
	}
	return terminal->size - (size_t)behind;
}

static void read_in(struct terminal *terminal)
{
	size_t offset = (size_t)(terminal->written % terminal->size);
	size_t len = terminal->size - offset, most = room(terminal);
	ssize_t n;

	n = read(terminal->master, terminal->ring + offset, len < most ? len : most);
	if (n > 0)
		terminal->written += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR) || has_ended(terminal))
		terminal_hang_up(terminal);
	if (terminal->written >= terminal->last)
		terminal_hang_up(terminal);
}

void terminal_end(struct terminal *terminal)
{
	terminal->last = terminal->written + REST_BYTES;
	while (terminal->master >= 0 && room(terminal))
		read_in(terminal);
}

/* ---- The loop ------------------------------------------------------------------- */

void terminal_prepare(const struct terminal *terminal, struct pollfd ret_polls[OSH_TERMINAL_POLLS])
{
	for (size_t i = 0; i < OSH_ATTACHED_MAX; i++) {
		bool has_more = terminal->attached[i].at < terminal->written || terminal->master < 0;

		/* Without events too: a reader that goes away is an error, which is always told. */
		ret_polls[1 + i] = (struct pollfd){ .fd = terminal->attached[i].fd,
						    .events = has_more ? POLLOUT : 0 };
	}
	ret_polls[0] = (struct pollfd){ .fd = room(terminal) ? terminal->master : -1,
					.events = POLLIN };
}

void terminal_serve(struct terminal *terminal, const struct pollfd polls[OSH_TERMINAL_POLLS])
{
	for (size_t i = 0; i < OSH_ATTACHED_MAX; i++) {
		if (polls[1 + i].fd < 0 || !polls[1 + i].revents)
			continue;
		if (polls[1 + i].revents & POLLERR)
			detach(terminal, i);
		else
			write_out(terminal, i);
	}
	if (terminal->master >= 0 && (polls[0].revents || has_ended(terminal)) && room(terminal))
		read_in(terminal);
}
