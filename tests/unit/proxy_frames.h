/* HTTP/2 by hand, for the tests whose client or server breaks off in the middle: frames (RFC 9113 4.1)
 * on a connection of proxy_world.h. */
#ifndef OSH_TESTS_PROXY_FRAMES_H
#define OSH_TESTS_PROXY_FRAMES_H

#include "proxy_world.h"

#include <nghttp2/nghttp2.h>

#define FRAME_HEAD 9

struct frame {
	uint8_t type, flags, stream;
	const uint8_t *payload; /* in the peer's bytes: until drop_frame */
	size_t len;
};

static bool say_frame(struct peer *p, uint8_t type, uint8_t flags, uint8_t stream, const char *payload, size_t len)
{
	const char head[FRAME_HEAD] = { 0, (char)(len >> 8), (char)len, (char)type, (char)flags, 0, 0, 0, (char)stream };

	return peer_write(p, head, sizeof(head)) && peer_write(p, payload, len);
}

static bool say_code(struct peer *p, uint8_t type, uint8_t stream, uint8_t code)
{
	/* GOAWAY names the last stream first: here one that took all. */
	const char payload[8] = { 0, 0, 0, type == NGHTTP2_GOAWAY ? 0x7f : (char)code, 0, 0, 0, (char)code };

	return say_frame(p, type, 0, stream, payload, type == NGHTTP2_GOAWAY ? 8 : 4);
}

/* The next whole frame that is among the bytes already read. */
static bool find_frame(const struct peer *p, struct frame *ret)
{
	const uint8_t *bytes = (const uint8_t *)p->bytes;
	size_t len = p->len < FRAME_HEAD ? 0 : (size_t)bytes[1] << 8 | bytes[2];

	if (p->len < FRAME_HEAD || p->len < FRAME_HEAD + len)
		return false;
	*ret = (struct frame){ bytes[3], bytes[4], bytes[8], bytes + FRAME_HEAD, len };
	return true;
}

/* Wait for it. 0: the connection ended in order, negative: it broke off. */
static int next_frame(struct peer *p, struct frame *ret)
{
	while (!find_frame(p, ret)) {
		int r = peer_read(p);

		if (r <= 0)
			return r;
	}
	return 1;
}

static void drop_frame(struct peer *p, const struct frame *frame)
{
	peer_consume(p, FRAME_HEAD + frame->len);
}

/* Fields without compression (RFC 7541 6.2.2). */
static size_t put_field(char *out, const char *name, const char *value)
{
	return (size_t)sprintf(out, "%c%c%s%c%s", 0x10, (int)strlen(name), name, (int)strlen(value), value);
}

/* The head of a POST whose body is still to come; `length` NULL: as long as it gets. */
static bool begin_post(struct peer *p, uint8_t stream, const char *path, const char *type, const char *length)
{
	char block[512];
	size_t len = put_field(block, ":method", "POST");

	len += put_field(block + len, ":scheme", "https");
	len += put_field(block + len, ":authority", "ok.test");
	len += put_field(block + len, ":path", path);
	len += put_field(block + len, "content-type", type);
	if (length)
		len += put_field(block + len, "content-length", length);
	return say_frame(p, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, stream, block, len);
}

/* A connection to the proxy, greeted. */
static struct peer *dial_http2(void)
{
	struct peer *p = dial_tls_for(WORLD_CURL, "ok.test", "ok.test", "\x02h2");

	cr_assert(p->ssl && peer_say(p, NGHTTP2_CLIENT_MAGIC));
	cr_assert(say_frame(p, NGHTTP2_SETTINGS, 0, 0, "", 0));
	return p;
}

#endif
