#include "pipes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "tty.h"

#define COPY_BYTES 16384

static bool is_ours(int fd)
{
	return fd <= STDERR_FILENO;
}

/* A job in the background must not take what is typed to the one in front. */
static bool owns_input(void)
{
	return tcgetpgrp(STDIN_FILENO) == getpgrp();
}

static int open_input(struct osh_pipes *pipes)
{
	int ends[2];

	if (!owns_input()) {
		pipes->inside[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		return pipes->inside[0] < 0 ? -errno : 0;
	}
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pipes->inside[0] = ends[0];
	pipes->input = ends[1];
	return osh_set_nonblocking(ends[1]);
}

static int open_output(struct osh_pipes *pipes, int which)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pipes->output[which] = ends[0];
	pipes->inside[1 + which] = ends[1];
	return osh_set_nonblocking(ends[0]);
}

/* Output and error on terminals share a pipe: what is said first appears first. */
static int open_outputs(struct osh_pipes *pipes, bool out, bool err)
{
	int r = out ? open_output(pipes, 0) : 0;

	if (r < 0 || !err)
		return r;
	if (!out)
		return open_output(pipes, 1);
	pipes->inside[2] = fcntl(pipes->inside[1], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	return pipes->inside[2] < 0 ? -errno : 0;
}

int osh_pipes_open(struct osh_pipes *pipes, int input, int output)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	int r = 0;

	*pipes = (struct osh_pipes){ .inside = { input >= 0 ? input : STDIN_FILENO,
						 output >= 0 ? output : STDOUT_FILENO, STDERR_FILENO },
				     .input = -1,
				     .output = { -1, -1 },
				     .is_told = input >= 0 || output >= 0 };
	if (input < 0 && isatty(STDIN_FILENO)) {
		/* A program that does not read what is typed is no reason to die. */
		(void)sigaction(SIGPIPE, &ignore, NULL);
		r = open_input(pipes);
	}
	return r < 0 ? r : open_outputs(pipes, output < 0 && isatty(STDOUT_FILENO),
				    pipes->is_told || isatty(STDERR_FILENO));
}

void osh_pipes_sent(struct osh_pipes *pipes)
{
	for (int i = 0; i < OSH_PIPES_MAX; i++) {
		if (!is_ours(pipes->inside[i]))
			pipes->inside[i] = osh_close(pipes->inside[i]);
	}
}

void osh_pipes_close(struct osh_pipes *pipes)
{
	osh_pipes_sent(pipes);
	pipes->input = osh_close(pipes->input);
	pipes->output[0] = osh_close(pipes->output[0]);
	pipes->output[1] = osh_close(pipes->output[1]);
}

void osh_pipes_prepare(const struct osh_pipes *pipes, struct pollfd ret_fds[OSH_PIPES_MAX])
{
	ret_fds[0] = (struct pollfd){ .fd = -1 };
	if (pipes->input >= 0 && pipes->typed_len)
		ret_fds[0] = (struct pollfd){ .fd = pipes->input, .events = POLLOUT };
	else if (pipes->input >= 0)
		ret_fds[0] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
	for (int i = 0; i < 2; i++)
		ret_fds[1 + i] = (struct pollfd){ .fd = pipes->output[i], .events = POLLIN };
}

static void flush_typed(struct osh_pipes *pipes)
{
	ssize_t n = write(pipes->input, pipes->typed + pipes->typed_start, pipes->typed_len);

	if (n >= 0) {
		pipes->typed_start += (size_t)n;
		pipes->typed_len -= (size_t)n;
	} else if (errno != EAGAIN && errno != EINTR) {
		pipes->input = osh_close(pipes->input); /* it reads no more */
	}
}

static void read_typed(struct osh_pipes *pipes)
{
	ssize_t n = read(STDIN_FILENO, pipes->typed, sizeof(pipes->typed));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) { /* ^D */
		pipes->input = osh_close(pipes->input);
		return;
	}
	pipes->typed_start = 0;
	pipes->typed_len = (size_t)n;
	flush_typed(pipes);
}

/* Nobody asked it to write on a terminal: it must not rule that. */
static int tell(const char *data, size_t len)
{
	char line[4 * COPY_BYTES + 2]; /* of each byte at most \xNN */
	const char *end = data + len;
	int r = 0;

	while (r == 0 && data < end) {
		const char *stop = memchr(data, '\n', (size_t)(end - data));
		size_t part = (size_t)((stop ? stop : end) - data), n;

		n = osh_str_escape(osh_str_n(data, part), line, sizeof(line) - 1);
		if (stop)
			line[n++] = '\n';
		r = osh_tty_write(STDERR_FILENO, line, n);
		data += part + (stop != NULL);
	}
	return r;
}

static int pass_on(const struct osh_pipes *pipes, int which, const char *data, size_t len)
{
	return which == 1 && pipes->is_told ? tell(data, len) : osh_tty_write(STDOUT_FILENO + which, data, len);
}

/* One piece. Returns false when there is none now, or no more. */
static bool copy_output(struct osh_pipes *pipes, int which)
{
	char data[COPY_BYTES];
	ssize_t n = read(pipes->output[which], data, sizeof(data));

	if (n > 0 && pass_on(pipes, which, data, (size_t)n) == 0)
		return true;
	if (n >= 0 || (errno != EAGAIN && errno != EINTR))
		pipes->output[which] = osh_close(pipes->output[which]);
	return false;
}

void osh_pipes_copy(struct osh_pipes *pipes, const struct pollfd fds[OSH_PIPES_MAX])
{
	if (fds[0].revents && fds[0].fd == STDIN_FILENO)
		read_typed(pipes);
	else if (fds[0].revents)
		flush_typed(pipes);
	for (int i = 0; i < 2; i++) {
		if (fds[1 + i].revents)
			(void)copy_output(pipes, i);
	}
}

void osh_pipes_drain(struct osh_pipes *pipes)
{
	for (int i = 0; i < 2; i++) {
		while (pipes->output[i] >= 0 && copy_output(pipes, i))
			;
	}
}
