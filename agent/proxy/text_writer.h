/* Writes the text of a message piece by piece into a buffer. Collects the first failure, so
 * that a writer checks once, at its end. */
#ifndef OSH_PROXY_TEXT_WRITER_H
#define OSH_PROXY_TEXT_WRITER_H

#include <stdint.h>

#include "base/buf.h"

struct osh_text_writer {
	struct osh_buf *out; /* borrowed */
	int error;           /* 0 or -errno of the first piece that found no room */
};

static inline void osh_text_put(struct osh_text_writer *w, struct osh_str s)
{
	if (w->error == 0)
		w->error = osh_buf_append_str(w->out, s);
}

static inline void osh_text_put_c(struct osh_text_writer *w, const char *text)
{
	osh_text_put(w, osh_str(text));
}

/* In decimal. */
static inline void osh_text_put_u64(struct osh_text_writer *w, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	osh_text_put(w, osh_str_n(digits + at, sizeof(digits) - at));
}

#endif
