/* The user's terminal while a program of a sandbox owns it. */
#ifndef OSH_CLI_TTY_H
#define OSH_CLI_TTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <termios.h>

struct osh_tty {
	int fd;              /* the terminal, -1: none */
	bool is_raw;
	struct termios saved;
};

/* Standard input and output are both terminals. */
bool osh_tty_is_interactive(void);
/* The size of the terminal on standard output or input; 24x80 when there is none. */
void osh_tty_size(uint16_t *ret_rows, uint16_t *ret_columns);

/* `fd` may be no terminal: the calls below do nothing then. */
void osh_tty_init(struct osh_tty *tty, int fd);
/* Every key goes to the program, ^C too. Returns 0 or -errno. */
int osh_tty_raw(struct osh_tty *tty);
/* As it was. Safe twice. */
void osh_tty_restore(struct osh_tty *tty);

/* Write everything, also to a descriptor that somebody else made non-blocking.
 * Returns 0 or -errno. */
int osh_tty_write(int fd, const char *data, size_t len);

#endif
