/* Standard input, output and error for a program inside that gets no terminal.
 * Whoever holds a descriptor of the user's terminal can read what is typed and
 * change its settings, so none enters a sandbox: where one of ours is a terminal,
 * a pipe goes in its place and is copied here. */
#ifndef OSH_CLI_PIPES_H
#define OSH_CLI_PIPES_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#define OSH_PIPES_MAX 3
#define OSH_PIPES_INPUT_BYTES 4096

struct osh_pipes {
	int inside[OSH_PIPES_MAX]; /* to send: 0, 1, 2 or the program's end of a pipe */
	int input;                 /* our end of the pipe that standard input is copied to, or -1 */
	int output[2];             /* our ends for standard output and error, or -1 */
	bool is_told;              /* error is words for the user, beside data: escaped, a line at a time */
	char typed[OSH_PIPES_INPUT_BYTES]; /* not yet taken by the program */
	size_t typed_start, typed_len;
};

/* `input`, `output`: what to use in place of ours, taken over; -1: ours. With either, what the program
 * says on standard error is escaped. Returns 0 or -errno; osh_pipes_close is safe in any case. */
int osh_pipes_open(struct osh_pipes *pipes, int input, int output);
void osh_pipes_close(struct osh_pipes *pipes);
/* The program's ends were sent: only the program holds them from here on. */
void osh_pipes_sent(struct osh_pipes *pipes);

/* What to wait for (fd -1: nothing), and what to do when it came. */
void osh_pipes_prepare(const struct osh_pipes *pipes, struct pollfd ret_fds[OSH_PIPES_MAX]);
void osh_pipes_copy(struct osh_pipes *pipes, const struct pollfd fds[OSH_PIPES_MAX]);
/* The program ended: copy what it wrote before. */
void osh_pipes_drain(struct osh_pipes *pipes);

#endif
