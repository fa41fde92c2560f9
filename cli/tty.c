#include "tty.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool osh_tty_is_interactive(void)
{
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

void osh_tty_size(uint16_t *ret_rows, uint16_t *ret_columns)
{
	struct winsize size = { 0 };

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 &&
	    ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
		size.ws_row = 0;
	*ret_rows = size.ws_row ? size.ws_row : 24;
	*ret_columns = size.ws_col ? size.ws_col : 80;
}

void osh_tty_init(struct osh_tty *tty, int fd)
{
	*tty = (struct osh_tty){ .fd = isatty(fd) ? fd : -1 };
}

int osh_tty_raw(struct osh_tty *tty)
{
	struct termios raw;

	if (tty->fd < 0 || tty->is_raw)
		return 0;
	if (tcgetattr(tty->fd, &tty->saved) < 0)
		return -errno;
	raw = tty->saved;
	cfmakeraw(&raw);
	if (tcsetattr(tty->fd, TCSADRAIN, &raw) < 0)
		return -errno;
	tty->is_raw = true;
	return 0;
}

void osh_tty_restore(struct osh_tty *tty)
{
	if (!tty->is_raw)
		return;
	(void)tcsetattr(tty->fd, TCSADRAIN, &tty->saved);
	tty->is_raw = false;
}

int osh_tty_write(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);
		struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };

		if (n >= 0) {
			data += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			(void)poll(&poll_fd, 1, -1);
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}
