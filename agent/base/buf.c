#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/block.h"
#include "base/secret.h"

void osh_buf_init(struct osh_buf *buf, size_t max)
{
	*buf = (struct osh_buf){ .max = max };
}

void osh_buf_init_secret(struct osh_buf *buf, size_t max)
{
	*buf = (struct osh_buf){ .max = max, .secret = true };
}

static void release(struct osh_buf *buf)
{
	if (buf->secret)
		osh_wipe(buf->data, buf->room);
	osh_block_free(buf->data, buf->room);
}

void osh_buf_done(struct osh_buf *buf)
{
	release(buf);
	*buf = (struct osh_buf){ 0 };
}

/* Not by realloc(3): it would leave a secret's bytes in freed memory, and move consumed ones. */
static int grow(struct osh_buf *buf, size_t room)
{
	char *grown = osh_block_alloc(room);

	if (!grown)
		return -ENOMEM;
	if (buf->len)
		memcpy(grown, buf->data + buf->start, buf->len);
	release(buf);
	buf->data = grown;
	buf->start = 0;
	buf->room = room;
	return 0;
}

/* Bytes are moved to the front only by as many that were consumed: else a queue that is never
 * quite empty would move all it holds for every piece that goes through. So the memory of one
 * that is used in this way is up to twice its maximum. */
static size_t room_for(const struct osh_buf *buf, size_t len)
{
	size_t room = buf->room ? buf->room : 2048;

	if (buf->start && len <= buf->room)
		return buf->room < buf->max ? 2 * buf->room : 2 * buf->max;
	while (room < len)
		room *= 2;
	room = osh_block_room(room);
	return room > buf->max && len <= buf->max ? buf->max : room;
}

int osh_buf_reserve(struct osh_buf *buf, size_t want)
{
	if (want > buf->max || buf->len > buf->max - want)
		return -ENOBUFS;
	if (buf->room - buf->start - buf->len >= want)
		return 0;
	if (buf->start < buf->len || buf->room - buf->len < want)
		return grow(buf, room_for(buf, buf->len + want));
	memmove(buf->data, buf->data + buf->start, buf->len);
	buf->start = 0;
	return 0;
}

char *osh_buf_tail(struct osh_buf *buf)
{
	return buf->data + buf->start + buf->len;
}

void osh_buf_grew(struct osh_buf *buf, size_t len)
{
	buf->len += len;
}

int osh_buf_append(struct osh_buf *buf, const void *data, size_t len)
{
	int r;

	if (len == 0)
		return 0;
	r = osh_buf_reserve(buf, len);
	if (r < 0)
		return r;
	memcpy(osh_buf_tail(buf), data, len);
	buf->len += len;
	return 0;
}

int osh_buf_append_str(struct osh_buf *buf, struct osh_str s)
{
	return osh_buf_append(buf, s.data, s.len);
}

int osh_buf_append_c(struct osh_buf *buf, const char *text)
{
	return osh_buf_append(buf, text, strlen(text));
}

int osh_buf_printf(struct osh_buf *buf, const char *format, ...)
{
	va_list args;
	int len, r;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		return -EINVAL;
	/* One more for the NUL that vsnprintf writes behind the text. */
	r = osh_buf_reserve(buf, (size_t)len + 1);
	if (r < 0)
		return r;
	va_start(args, format);
	vsnprintf(osh_buf_tail(buf), (size_t)len + 1, format, args);
	va_end(args);
	buf->len += (size_t)len;
	return 0;
}

void osh_buf_hand_over(struct osh_buf *from, struct osh_buf *to)
{
	struct osh_buf empty = *to;

	*to = *from;
	*from = empty;
}

void osh_buf_consume(struct osh_buf *buf, size_t len)
{
	buf->start += len;
	buf->len -= len;
	if (buf->len == 0)
		buf->start = 0;
}

void osh_buf_clear(struct osh_buf *buf)
{
	buf->start = 0;
	buf->len = 0;
}

void osh_buf_trim(struct osh_buf *buf)
{
	if (buf->len == 0) {
		release(buf);
		buf->data = NULL;
		buf->start = 0;
		buf->room = 0;
	}
}
