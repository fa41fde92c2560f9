/* A server for the world of proxy_world.h that notes all that arrives, and what a client
 * asks it with. Requests are answered 200; what is under /ws/ becomes a WebSocket. */
#ifndef OSH_TESTS_PROXY_RECORDER_H
#define OSH_TESTS_PROXY_RECORDER_H

#include "proxy_seen.h"

#include "proxy/websocket.h"

static int turns[2]; /* a byte for each thing that the server waits to be told */

static void wait_for_go(void)
{
	char byte;

	cr_assert(read(turns[0], &byte, 1) == 1);
}

static void go(void)
{
	cr_assert(write(turns[1], "x", 1) == 1);
}

/* Unmask what comes and note it; answers nothing. */
static void read_frames(struct peer *p)
{
	struct osh_websocket_reader reader;

	osh_websocket_reader_init(&reader);
	while (p->len || peer_read(p) > 0) {
		size_t used;
		enum osh_websocket_event event =
			osh_websocket_take(&reader, osh_str_n(p->bytes, p->len), 1 << 20, &used);

		if (event == OSH_WEBSOCKET_TEXT) {
			note("[", 1);
			note(osh_buf_bytes(&reader.text), reader.text.len);
			note("]", 1);
			osh_websocket_next(&reader);
			peer_write(p, "\x81\x04" "seen", 6);
		} else if (event == OSH_WEBSOCKET_PASS) {
			note(p->bytes, used);
		} else if (event == OSH_WEBSOCKET_BAD) {
			note("BAD FRAME", 9);
			break;
		}
		if (event == OSH_WEBSOCKET_NEED_MORE && peer_read(p) <= 0)
			break;
		peer_consume(p, used);
	}
	osh_websocket_reader_done(&reader);
}

static void serve_websocket(struct peer *p, const char *path)
{
	bool extends = strcmp(path, "/ws/chat/extends") == 0;

	peer_say(p, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
	peer_say(p, extends ? "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" : "\r\n");
	if (strcmp(path, "/ws/chat/half") == 0) {
		peer_write(p, "\x81\x0a" "01234", 7); /* half a frame */
		wait_for_go();
		peer_write(p, "56789\x81\x04" "more", 11);
		(void)peer_read(p);
		return;
	}
	read_frames(p);
}

static void serve(struct peer *p, uint16_t port_host)
{
	char path[256] = "";
	ssize_t head;

	(void)port_host;
	while ((head = peer_await(p, "\r\n\r\n")) > 0) {
		char *length = strcasestr(p->bytes, "\r\nContent-Length: ");
		bool chunked = strcasestr(p->bytes, "\r\nTransfer-Encoding: chunked\r\n") != NULL;
		size_t body = length && length < p->bytes + head ? strtoul(length + 18, NULL, 10) : 0;

		sscanf(p->bytes, "%*s %255s", path);
		note(p->bytes, (size_t)head);
		peer_consume(p, (size_t)head);
		if (strncmp(path, "/ws/", 4) == 0) {
			serve_websocket(p, path);
			return;
		}
		while (body) {
			size_t part;

			if (!p->len && peer_read(p) <= 0)
				return;
			part = p->len < body ? p->len : body;
			note(p->bytes, part);
			peer_consume(p, part);
			body -= part;
		}
		if (chunked) {
			ssize_t end = peer_await(p, "0\r\n\r\n");

			if (end < 0)
				return;
			note(p->bytes, (size_t)end);
			peer_consume(p, (size_t)end);
		}
		if (strcmp(path, "/graphql/slow") == 0)
			wait_for_go();
		peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	}
}

static void begin_recording(void)
{
	cr_assert(pipe(turns) == 0);
	world.script = serve;
	world_begin();
}

static char answer[1 << 17];

#define HOST "Host: ok.test\r\n"
#define EXPECT_STATUS(text, status) \
	cr_expect(strncmp(text, "HTTP/1.1 " status, 12) == 0, "wanted %s, got: %.300s", status, text)
#define EXPECT_HAS(text, part) cr_expect(strstr(text, part), "no %s in: %.1500s", part, text)

static const char *ask(struct peer *p, const char *request)
{
	cr_assert(peer_say(p, request));
	return peer_response(p, answer, sizeof(answer));
}

#endif
