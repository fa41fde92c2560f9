/* A growable byte queue with a hard maximum: bytes are appended at the end and
 * consumed from the front. */
#ifndef OSH_BASE_BUF_H
#define OSH_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct osh_buf {
	char *data;    /* owned; bytes are data[start .. start+len) */
	size_t start;
	size_t len;
	size_t room;   /* allocated; at most twice the maximum */
	size_t max;    /* never holds more than this */
	bool secret;   /* what it held is wiped before its memory is given back; may be set later */
};

void osh_buf_init(struct osh_buf *buf, size_t max);
/* One that may hold a credential: no copy is left behind by growing or ending. */
void osh_buf_init_secret(struct osh_buf *buf, size_t max);
void osh_buf_done(struct osh_buf *buf);

/* NULL while nothing was ever put in. */
static inline char *osh_buf_bytes(const struct osh_buf *buf)
{
	return buf->data ? buf->data + buf->start : NULL;
}

static inline struct osh_str osh_buf_str(const struct osh_buf *buf)
{
	return osh_str_n(osh_buf_bytes(buf), buf->len);
}

/* Make sure that `want` bytes can be written at osh_buf_tail(). Returns 0,
 * -ENOBUFS over the maximum, -ENOMEM. Pointers into the buffer die. */
int osh_buf_reserve(struct osh_buf *buf, size_t want);
char *osh_buf_tail(struct osh_buf *buf);
/* Bytes were written at the tail. */
void osh_buf_grew(struct osh_buf *buf, size_t len);

int osh_buf_append(struct osh_buf *buf, const void *data, size_t len);
int osh_buf_append_str(struct osh_buf *buf, struct osh_str s);
int osh_buf_append_c(struct osh_buf *buf, const char *text);
int osh_buf_printf(struct osh_buf *buf, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Give all that `from` holds to the empty `to`, by changing their memory: no byte is copied.
 * Their maxima must be the same. */
void osh_buf_hand_over(struct osh_buf *from, struct osh_buf *to);

/* Drop `len` bytes from the front. An emptied buffer keeps its memory. */
void osh_buf_consume(struct osh_buf *buf, size_t len);
void osh_buf_clear(struct osh_buf *buf);
/* Give the memory of an empty buffer back (idle connections). */
void osh_buf_trim(struct osh_buf *buf);

/* How many more bytes it may hold. */
static inline size_t osh_buf_free_bytes(const struct osh_buf *buf)
{
	return buf->max - buf->len;
}

#endif
