/* An error that a person will read. Inside the code, functions return 0 or
 * -errno; where the reason must reach a user they also fill a struct osh_err
 * that the caller owns. No allocation, so it works when memory does not. */
#ifndef OSH_BASE_ERR_H
#define OSH_BASE_ERR_H

#include <errno.h>
#include <stdbool.h>

struct osh_err {
	int code;             /* positive errno value, 0 when unset */
	char message[1024];   /* one line, no trailing newline */
};

/* Set the message (printf style) and return -code, so that a failing function
 * ends in `return osh_err_set(err, ENOENT, "...")`. err may be NULL. */
int osh_err_set(struct osh_err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* As osh_err_set, with ": " and strerror(code) appended. */
int osh_err_sys(struct osh_err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Did it fail (0 or -errno) for want of memory or descriptors? Then it says nothing of what it was
 * about: what could not be read may be whole, what could not be asked for may be there. */
static inline bool osh_is_shortage(int r)
{
	return r == -ENOMEM || r == -EMFILE || r == -ENFILE;
}

/* Put context in front of an existing message: "context: message". Returns
 * -err->code. */
int osh_err_wrap(struct osh_err *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
