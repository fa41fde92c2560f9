#include "streams.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

#define COPY_BYTES 16384

/* From fds[i] to fds[!i]. */
struct way {
	char data[COPY_BYTES];
	size_t start, len;
	bool has_ended; /* nothing more is read */
	bool is_shut;   /* and the other side knows */
};

struct osh_stream {
	int fds[2];
	struct way ways[2];
	bool is_broken;
};

static void free_stream(struct osh_stream *stream)
{
	osh_close(stream->fds[0]);
	osh_close(stream->fds[1]);
	free(stream);
}

int osh_streams_add(struct osh_streams *streams, int one, int other)
{
	struct osh_stream *stream = NULL;
	size_t i = 0;

	while (i < OSH_STREAMS_MAX && streams->items[i])
		i++;
	if (i < OSH_STREAMS_MAX)
		stream = calloc(1, sizeof(*stream));
	if (!stream || osh_set_nonblocking(one) < 0 || osh_set_nonblocking(other) < 0) {
		free(stream);
		osh_close(one);
		osh_close(other);
		return i == OSH_STREAMS_MAX ? -ENOBUFS : -ENOMEM;
	}
	stream->fds[0] = one;
	stream->fds[1] = other;
	streams->items[i] = stream;
	streams->count++;
	return 0;
}

void osh_streams_done(struct osh_streams *streams)
{
	for (size_t i = 0; i < OSH_STREAMS_MAX; i++) {
		if (streams->items[i])
			free_stream(streams->items[i]);
	}
	*streams = (struct osh_streams){ 0 };
}

/* ---- One way ---------------------------------------- */

static bool is_again(void)
{
	return errno == EAGAIN || errno == EINTR;
}

static void read_in(struct osh_stream *stream, int from)
{
	struct way *way = &stream->ways[from];
	ssize_t n = read(stream->fds[from], way->data, sizeof(way->data));

	if (n < 0 && is_again())
		return;
	if (n < 0)
		stream->is_broken = true;
	else if (n == 0)
		way->has_ended = true;
	way->start = 0;
	way->len = n > 0 ? (size_t)n : 0;
}

static void write_out(struct osh_stream *stream, int from)
{
	struct way *way = &stream->ways[from];
	ssize_t n = way->len ? send(stream->fds[!from], way->data + way->start, way->len, MSG_NOSIGNAL) : 0;

	if (n < 0) {
		stream->is_broken = !is_again();
		return;
	}
	way->start += (size_t)n;
	way->len -= (size_t)n;
	if (way->len == 0 && way->has_ended && !way->is_shut) {
		way->is_shut = true;
		(void)shutdown(stream->fds[!from], SHUT_WR);
	}
}

/* ---- Both ---------------------------------------- */

static short events_of(const struct osh_stream *stream, int side)
{
	const struct way *in = &stream->ways[side], *out = &stream->ways[!side];

	return (short)((!in->has_ended && !in->len ? POLLIN : 0) | (out->len ? POLLOUT : 0));
}

void osh_streams_prepare(const struct osh_streams *streams, struct pollfd ret_polls[OSH_STREAMS_POLLS])
{
	for (size_t i = 0; i < OSH_STREAMS_POLLS; i++) {
		const struct osh_stream *stream = streams->items[i / 2];
		short events = stream ? events_of(stream, (int)(i % 2)) : 0;

		/* A side of which nothing is wanted could still report its end, again and again. */
		ret_polls[i] = (struct pollfd){ .fd = events ? stream->fds[i % 2] : -1, .events = events };
	}
}

static void serve(struct osh_stream *stream, const struct pollfd polls[2])
{
	for (int side = 0; side < 2; side++) {
		if (polls[side].fd < 0 || !polls[side].revents)
			continue;
		if (polls[side].events & POLLIN)
			read_in(stream, side);
	}
	for (int side = 0; side < 2; side++)
		write_out(stream, side);
}

static bool is_over(const struct osh_stream *stream)
{
	return stream->is_broken || (stream->ways[0].is_shut && stream->ways[1].is_shut);
}

void osh_streams_serve(struct osh_streams *streams, const struct pollfd polls[OSH_STREAMS_POLLS])
{
	for (size_t i = 0; i < OSH_STREAMS_MAX; i++) {
		struct osh_stream *stream = streams->items[i];

		if (!stream)
			continue;
		serve(stream, polls + 2 * i);
		if (is_over(stream)) {
			free_stream(stream);
			streams->items[i] = NULL;
			streams->count--;
		}
	}
}
