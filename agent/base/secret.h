/* Bytes that must never be printed, logged or left in freed memory. The type
 * has no conversion to text: only the code that puts a credential on the wire
 * calls osh_secret_reveal(). */
#ifndef OSH_BASE_SECRET_H
#define OSH_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct osh_secret {
	char *bytes_; /* private */
	size_t len_;
};

/* Copy `value` into fresh memory. Returns 0 or -ENOMEM. */
int osh_secret_init(struct osh_secret *secret, struct osh_str value);
/* Wipe and free; safe on a zeroed struct and twice. */
void osh_secret_done(struct osh_secret *secret);
bool osh_secret_is_set(const struct osh_secret *secret);
/* Borrow the bytes, to put them on the wire or on disk. Grep for callers. */
struct osh_str osh_secret_reveal(const struct osh_secret *secret);
/* Overwrite memory in a way that the compiler cannot drop. */
void osh_wipe(void *data, size_t len);

#endif
