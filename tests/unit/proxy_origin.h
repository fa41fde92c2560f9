/* The server behind the tests of test_proxy_http.c and its neighbours: it answers by path, and misbehaves where
 * it is asked to. */
#ifndef OSH_TESTS_PROXY_ORIGIN_H
#define OSH_TESTS_PROXY_ORIGIN_H

#include "proxy_seen.h"

#include "proxy/http1.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  ok_api:\n"
	"    name: ok_api\n"
	"    endpoints:\n"
	"      - host: ok.test\n"
	"        ports: [443, 80]\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        rules:\n"
	"          - allow: {method: GET, path: \"/pub/**\"}\n"
	"          - allow: {method: POST, path: \"/api/**\"}\n"
	"          - allow: {method: OPTIONS, path: \"/pub/**\"}\n"
	"      - host: other.test\n"
	"        port: 443\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        access: full\n"
	"      - host: host.openshell.internal\n"
	"        port: 80\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        access: full\n"
	"      - host: host.*.internal\n"
	"        port: 80\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        access: full\n"
	"      - host: rebound.test\n"
	"        port: 80\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        access: full\n"
	"    binaries:\n"
	"      - {path: /usr/bin/curl}\n"
	"  l4:\n"
	"    name: l4\n"
	"    endpoints:\n"
	"      - {host: l4.test, port: 5432}\n"
	"    binaries:\n"
	"      - {path: /usr/bin/curl}\n";

/* The same without /pub. */
static const char narrow_policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  ok_api:\n"
	"    name: ok_api\n"
	"    endpoints:\n"
	"      - host: ok.test\n"
	"        ports: [443, 80]\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        rules:\n"
	"          - allow: {method: POST, path: \"/api/**\"}\n"
	"    binaries:\n"
	"      - {path: /usr/bin/curl}\n";

/* ---- The scripted server ------------------------------------------------------------------ */

static struct {
	uint64_t bytes, sum;
} bodies; /* under seen.lock */

static void note_body(const char *data, size_t len)
{
	pthread_mutex_lock(&seen.lock);
	for (size_t i = 0; i < len; i++)
		bodies.sum = bodies.sum * 31 + (unsigned char)data[i];
	bodies.bytes += len;
	pthread_mutex_unlock(&seen.lock);
}

/* Take `len` body bytes off the stream. */
static bool take_bytes(struct peer *p, size_t len)
{
	while (len) {
		size_t part;

		if (!p->len && peer_read(p) <= 0)
			return false;
		part = p->len < len ? p->len : len;
		note_body(p->bytes, part);
		peer_consume(p, part);
		len -= part;
	}
	return true;
}

static bool take_chunks(struct peer *p)
{
	for (;;) {
		ssize_t line = peer_await(p, "\r\n");
		size_t size;

		if (line < 0)
			return false;
		size = strtoul(p->bytes, NULL, 16);
		peer_consume(p, (size_t)line);
		if (size == 0) {
			/* Trailers are part of what is looked at. */
			while ((line = peer_await(p, "\r\n")) > 2) {
				note(p->bytes, (size_t)line);
				peer_consume(p, (size_t)line);
			}
			if (line == 2)
				peer_consume(p, 2);
			return line == 2;
		}
		if (!take_bytes(p, size) || peer_await(p, "\r\n") != 2)
			return false;
		peer_consume(p, 2);
	}
}

#define BIG_BYTES (6u << 20)

static void send_big(struct peer *p)
{
	static char block[1 << 16];

	memset(block, 'x', sizeof(block));
	peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 6291456\r\n\r\n");
	for (size_t sent = 0; sent < BIG_BYTES; sent += sizeof(block))
		peer_write(p, block, sizeof(block));
}

/* Answers by path; false: hang up. */
static bool respond(struct peer *p, const char *path)
{
	static const struct {
		const char *path, *answer;
		bool stay;
	} table[] = {
		{ "/pub/chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				  "5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nGrpc-Status: 0\r\nHost: x\r\n\r\n", true },
		{ "/pub/until-close", "HTTP/1.1 200 OK\r\n\r\nuntil close", false },
		{ "/pub/204", "HTTP/1.1 204 No Content\r\n\r\n", true },
		{ "/pub/304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", true },
		{ "/pub/early", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
				"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true },
		{ "/pub/desync", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
				 "0\r\n\r\n", true },
		{ "/pub/204-body", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", true },
		{ "/pub/101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", true },
		{ "/pub/poison", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"
				 "Content-Length: 6\r\n\r\npoison", true },
		{ "/pub/short", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", false },
		{ "/pub/bad-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", false },
		{ "/pub/ws-wrong", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
				   "Connection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
		  false },
		{ "/pub/gone", NULL, false },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(path, table[i].path) == 0)
			return table[i].answer && peer_say(p, table[i].answer) && table[i].stay;
	}
	if (strcmp(path, "/pub/big") == 0) {
		send_big(p);
		return true;
	}
	return peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Server: real\r\n\r\nhello");
}

static void echo(struct peer *p)
{
	while (p->len || peer_read(p) > 0) {
		peer_write(p, p->bytes, p->len);
		peer_consume(p, p->len);
	}
}

/* Frames that a client sends, masked with zeros, and a server. */
#define CLIENT_FRAME(kind) kind "\x85\0\0\0\0frame"
#define SERVER_FRAME(kind) kind "\x05" "frame"
#define TEXT "\x81"
#define COMPRESSED "\xc1"

/* Answers each frame by one of its own; where it was asked for /raw, not by a frame. */
static void serve_websocket(struct peer *p, const char *path)
{
	bool extends = strstr(path, "deflate") != NULL;
	/* RFC 6455 1.3's own example key and answer. */
	peer_say(p, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
	peer_say(p, extends ? "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" : "\r\n");
	while (p->len || peer_read(p) > 0) {
		note(p->bytes, p->len);
		peer_consume(p, p->len);
		peer_say(p, strstr(path, "raw") ? "HTTP/1.1 200 OK\r\n\r\n" :
			    extends ? SERVER_FRAME(COMPRESSED) : SERVER_FRAME(TEXT));
	}
}

/* Of /pub/late-poison: that the second answer may be said, and that it was. */
static sem_t may_poison, poisoned, may_go_on;

static void serve(struct peer *p, uint16_t port_host)
{
	char path[256] = "";
	ssize_t head;

	(void)port_host;
	for (int nth = 1; (head = peer_await(p, "\r\n\r\n")) > 0; nth++) {
		char *length = strcasestr(p->bytes, "\r\nContent-Length: ");
		bool chunked = strcasestr(p->bytes, "\r\nTransfer-Encoding: chunked\r\n") != NULL;
		bool expects = strcasestr(p->bytes, "\r\nExpect: 100-continue\r\n") != NULL;
		size_t body = length && length < p->bytes + head ? strtoul(length + 18, NULL, 10) : 0;

		note(p->bytes, (size_t)head);
		sscanf(p->bytes, "%*s %255s", path);
		peer_consume(p, (size_t)head);
		if (strncmp(path, "/pub/ws/", 8) == 0) {
			serve_websocket(p, path);
			return;
		}
		if (strstr(path, "/first-only") && nth > 1)
			return; /* the server's patience with a kept connection was just over */
		if (strstr(path, "/first-whole") && nth > 1) {
			peer_say(p, "HTTP/1.1 200 O");
			return;
		}
		if (strcmp(path, "/pub/late-poison") == 0) {
			peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
			sem_wait(&may_poison);
			peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
			sem_post(&poisoned);
			(void)peer_read(p); /* it is not the server that ends the connection */
			return;
		}
		if (strcmp(path, "/pub/events") == 0) {
			peer_say(p, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
			sem_wait(&may_go_on);
			peer_say(p, "data: 2\n\n");
			return;
		}
		if (strcmp(path, "/pub/silent") == 0) {
			(void)peer_read(p);
			return;
		}
		if (strcmp(path, "/api/stuck") == 0) {
			struct pollfd gone = { .fd = p->fd, .events = POLLRDHUP };

			(void)poll(&gone, 1, WORLD_PATIENCE_MS); /* takes nothing of the body */
			return;
		}
		if (strcmp(path, "/api/dialogue") == 0) {
			peer_say(p, "HTTP/1.1 200 OK\r\n\r\nopen\n");
			(void)(take_chunks(p) && peer_say(p, "closed\n"));
			return;
		}
		if (strcmp(path, "/api/refused-early") == 0) {
			peer_say(p, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
			return;
		}
		if (expects)
			peer_say(p, "HTTP/1.1 100 Continue\r\n\r\n");
		if ((chunked && !take_chunks(p)) || !take_bytes(p, body) || !respond(p, path))
			return;
	}
}

static void begin(void)
{
	world.script = serve;
	sem_init(&may_poison, 0, 0);
	sem_init(&poisoned, 0, 0);
	sem_init(&may_go_on, 0, 0);
	world_begin();
	set_policy(policy);
}

static char answer[1 << 17];

#define HOST "Host: ok.test\r\n"
#define EXPECT_STATUS(text, status) \
	cr_expect(strncmp(text, "HTTP/1.1 " status, 12) == 0, "wanted %s, got: %.300s", status, text)
#define EXPECT_HAS(text, part) cr_expect(strstr(text, part), "no %s in: %.1500s", part, text)
#define EXPECT_LACKS(text, part) cr_expect(!strstr(text, part), "%s in: %.1500s", part, text)

static const char *ask(struct peer *p, const char *request)
{
	cr_assert(peer_say(p, request));
	return peer_response(p, answer, sizeof(answer));
}

#endif
