/* F12: a cut never looks like an end. Whichever way a message is broken off in its middle, whatever the two
 * sides speak, the other one does not get it whole; its twin, which goes on to its end, it does. */
#include "proxy_frames.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  all:\n"
	"    endpoints:\n"
	"      - { host: ok.test, ports: [443, 80], protocol: rest, access: full, enforcement: enforce }\n"
	"      - { host: l4.test, port: 5432 }\n"
	"    binaries: [{ path: /usr/bin/curl }]\n";

/* Where a message ends, which is "halfhalf". */
enum framing {
	LENGTH,
	CHUNKED,
	CLOSE,  /* where the connection does */
	SOCKET_UP,   /* WebSocket: by a close frame (RFC 6455 5.5.1), which a client masks */
	SOCKET_DOWN,
	FRAMES, /* HTTP/2 */
	FRAMES_LENGTH,
	FRAMES_SOCKET, /* RFC 8441: SOCKET_UP, as payload */
};

#define CLOSE_UP "\x88\x80\0\0\0\0"
#define CLOSE_DOWN "\x88\0"

/* ---- Breaking off, and going on ------------------------------------------------------------------ */

static void go_on(struct peer *p, enum framing framing)
{
	switch (framing) {
	case LENGTH:
		peer_say(p, "half");
		return;
	case CHUNKED:
		peer_say(p, "4\r\nhalf\r\n0\r\n\r\n");
		return;
	case CLOSE:
		peer_say(p, "half");
		if (p->ssl)
			SSL_shutdown(p->ssl);
		shutdown(p->fd, SHUT_WR);
		return;
	case SOCKET_UP:
		peer_write(p, CLOSE_UP, sizeof(CLOSE_UP) - 1);
		return;
	case SOCKET_DOWN:
		peer_write(p, CLOSE_DOWN, sizeof(CLOSE_DOWN) - 1);
		return;
	case FRAMES:
	case FRAMES_LENGTH:
		say_frame(p, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "half", 4);
		return;
	case FRAMES_SOCKET:
		say_frame(p, NGHTTP2_DATA, 0, 1, CLOSE_UP, sizeof(CLOSE_UP) - 1);
		return;
	}
}

/* As who has no more to say. */
static void finish(struct peer *p, enum framing framing)
{
	(void)framing;
	if (p->ssl)
		SSL_shutdown(p->ssl);
	shutdown(p->fd, SHUT_WR);
}

/* As who crashed; also below TLS, which then lacks its own end. */
static void hang_up_rudely(struct peer *p, enum framing framing)
{
	(void)framing;
	shutdown(p->fd, SHUT_WR);
}

static void reset(struct peer *p, enum framing framing)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	(void)framing;
	setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	SSL_free(p->ssl);
	p->ssl = NULL;
	p->fd = osh_close(p->fd);
}

static void end_too_early(struct peer *p, enum framing framing)
{
	if (framing == CHUNKED)
		peer_say(p, "8\r\nhalf\r\n0\r\n\r\n");
	else
		say_frame(p, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "", 0);
}

static void end_too_early_by_trailers(struct peer *p, enum framing framing)
{
	char block[32];

	(void)framing;
	say_frame(p, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1, block,
		  put_field(block, "x-last", "1"));
}

static void end_too_late(struct peer *p, enum framing framing)
{
	(void)framing;
	say_frame(p, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "half too much", 13);
}

static void cancel(struct peer *p, enum framing framing)
{
	(void)framing;
	say_code(p, NGHTTP2_RST_STREAM, 1, NGHTTP2_CANCEL);
}

static void cancel_kindly(struct peer *p, enum framing framing)
{
	(void)framing;
	say_code(p, NGHTTP2_RST_STREAM, 1, NGHTTP2_NO_ERROR);
}

static void go_away(struct peer *p, enum framing framing)
{
	say_code(p, NGHTTP2_GOAWAY, 0, NGHTTP2_NO_ERROR);
	finish(p, framing);
}

/* A frame that no end follows: padding longer than the frame (RFC 9113 6.1). */
static void break_rules(struct peer *p, enum framing framing)
{
	(void)framing;
	say_frame(p, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED | NGHTTP2_FLAG_END_STREAM, 1, "\xffhalf", 5);
}

/* The one end of all connections to servers: all of them are local. */
static void lose_address(struct peer *p, enum framing framing)
{
	struct in6_addr address;

	(void)p, (void)framing;
	cr_assert(inet_pton(AF_INET6, "::ffff:" WORLD_SERVER, &address) == 1);
	post((struct osh_letter){ .type = OSH_LETTER_ADDRESS_GONE, .address = address });
}

static const struct way {
	const char *name;
	void (*go)(struct peer *p, enum framing framing);
	unsigned framings; /* that can be broken off like this */
} ways[] = {
#define ONE(framing) (1u << (framing))
#define MANY (ONE(FRAMES) | ONE(FRAMES_LENGTH) | ONE(FRAMES_SOCKET))
	{ "go on", go_on, ~0u },
	{ "finish", finish, ~0u },
	{ "hang up", hang_up_rudely, ~0u },
	{ "reset", reset, ~0u },
	{ "too early", end_too_early, ONE(FRAMES_LENGTH) | ONE(FRAMES_SOCKET) | ONE(CHUNKED) },
	{ "too early, by trailers", end_too_early_by_trailers, ONE(FRAMES_LENGTH) },
	{ "too late", end_too_late, ONE(FRAMES_LENGTH) },
	{ "cancel", cancel, MANY },
	{ "cancel kindly", cancel_kindly, MANY },
	{ "go away", go_away, MANY },
	{ "lose the address", lose_address, ~0u },
	{ "break the rules", break_rules, MANY },
};

/* Where a message ends with its connection, one that ends in order is no cut. */
static bool is_end(const struct way *way, enum framing framing, uint16_t port_host)
{
	return way->go == go_on || (framing == CLOSE && (way->go == finish ||
							 (way->go == hang_up_rudely && port_host != 443)));
}

/* ---- Listening ------------------------------------------------------------------------------- */

/* DATA frames lose their heads: what is left in p->bytes is payload. */
static bool read_frames_whole(struct peer *p, sem_t *half)
{
	struct frame frame = { 0 };
	bool ended;

	while (next_frame(p, &frame) > 0) {
		if (frame.stream == 1 && frame.type == NGHTTP2_RST_STREAM)
			return false;
		if (frame.stream == 1 && frame.type == NGHTTP2_DATA && frame.len && half)
			sem_post(half);
		ended = frame.stream == 1 && frame.flags & NGHTTP2_FLAG_END_STREAM &&
			(frame.type == NGHTTP2_DATA || frame.type == NGHTTP2_HEADERS);
		drop_frame(p, &frame);
		if (ended)
			return true;
	}
	return false;
}

static bool is_whole(const struct peer *p, enum framing framing)
{
	static const struct osh_str last[] = {
		[CHUNKED] = { "\r\n0\r\n\r\n", 7 },
		[SOCKET_UP] = { CLOSE_UP, sizeof(CLOSE_UP) - 1 },
		[SOCKET_DOWN] = { CLOSE_DOWN, sizeof(CLOSE_DOWN) - 1 },
	};

	if (framing == LENGTH)
		return p->len == 8;
	return framing != CLOSE && memmem(p->bytes, p->len, last[framing].data, last[framing].len);
}

static bool read_text_whole(struct peer *p, enum framing framing, sem_t *half)
{
	int r = 1;

	while (r > 0 && !is_whole(p, framing)) {
		if (half && memmem(p->bytes, p->len, "half", 4)) {
			sem_post(half);
			half = NULL;
		}
		r = peer_read(p);
	}
	return framing == CLOSE ? r == 0 : r > 0;
}

/* Does the body behind this head come to its end? `half` is posted when its first part is there. Not to be
 * told of a cut is no better. */
static bool read_whole(struct peer *p, enum framing framing, sem_t *half)
{
	time_t start = time(NULL);
	bool whole = framing >= FRAMES ? read_frames_whole(p, half) : read_text_whole(p, framing, half);

	cr_expect_lt(time(NULL) - start, WORLD_PATIENCE_MS / 2000);
	return whole;
}

/* ---- The server --------------------------------------------------------------------------------- */

static sem_t half_came, server_done;
static bool server_got_whole;
static enum framing answer_framing;
static void (*answer_way)(struct peer *p, enum framing framing); /* NULL: it listens */

static int choose_http2(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
			unsigned in_len, void *arg)
{
	(void)ssl, (void)arg;
	return SSL_select_next_proto((unsigned char **)out, out_len, (const unsigned char *)"\x02h2", 3, in, in_len) ==
			       OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

static void speak_http2(bool yes)
{
	serve_as(&world.world_ca.ca, "ok.test");
	if (yes)
		SSL_CTX_set_alpn_select_cb(world.server_ctx, choose_http2, NULL);
}

static bool speaks_http2(const struct peer *p)
{
	const unsigned char *name;
	unsigned len = 0;

	if (p->ssl)
		SSL_get0_alpn_selected(p->ssl, &name, &len);
	return len == 2;
}

#define UPGRADE "Connection: Upgrade\r\nUpgrade: websocket\r\n"
#define KEY "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define GET "GET /x HTTP/1."
#define ASK_SOCKET GET "1\r\nHost: ok.test\r\n" UPGRADE KEY "\r\n"

/* Then the connection takes no other request, as those of HTTP/1.1 that are closed. */
static bool await_headers(struct peer *p)
{
	struct frame frame = { 0 };
	bool found = false;

	if (!say_frame(p, NGHTTP2_SETTINGS, 0, 0, "", 0))
		return false;
	while (!found && next_frame(p, &frame) > 0) {
		found = frame.type == NGHTTP2_HEADERS;
		drop_frame(p, &frame);
	}
	return found && say_code(p, NGHTTP2_GOAWAY, 0, NGHTTP2_NO_ERROR);
}

/* RFC 6455 4.2.2, for a key as it stands in the head of the request. */
static bool switch_protocols(struct peer *p, const char *head)
{
	const char *key = strcasestr(head, "Sec-WebSocket-Key: ");
	unsigned char digest[20], accept[4 * 7 + 1] = "";
	char text[256];

	snprintf(text, sizeof(text), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key ? key + 19 : "");
	EVP_Digest(text, strlen(text), digest, NULL, EVP_sha1(), NULL);
	EVP_EncodeBlock(accept, digest, sizeof(digest));
	snprintf(text, sizeof(text), "HTTP/1.1 101 Switching Protocols\r\n" UPGRADE "Sec-WebSocket-Accept: %s\r\n\r\n",
		 accept);
	return peer_say(p, text);
}

/* The head of a request is there. */
static bool await_request(struct peer *p, uint16_t port_host, enum framing *ret_framing)
{
	bool http2 = speaks_http2(p);
	ssize_t end;

	*ret_framing = CLOSE;
	if (port_host == 5432)
		return true;
	end = peer_await(p, http2 ? NGHTTP2_CLIENT_MAGIC : "\r\n\r\n");
	if (end < 0)
		return false;
	*ret_framing = http2 ? FRAMES : strstr(p->bytes, "chunked") ? CHUNKED :
		       strstr(p->bytes, "websocket") ? SOCKET_UP : LENGTH;
	if (*ret_framing == SOCKET_UP && !switch_protocols(p, p->bytes))
		return false;
	peer_consume(p, (size_t)end);
	return !http2 || await_headers(p);
}

static void begin_answer(struct peer *p)
{
	static const char *const heads[] = { /* a WebSocket's was there before */
		[SOCKET_DOWN] = "\x81\4half",
		[LENGTH] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\nhalf",
		[CHUNKED] = "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		[CLOSE] = "HTTP/1.1 200 OK\r\n\r\nhalf",
	};
	char block[64] = "\x88"; /* :status 200 */
	size_t len = 1;

	if (answer_framing < FRAMES) {
		peer_say(p, heads[answer_framing]);
		return;
	}
	if (answer_framing == FRAMES_LENGTH)
		len += put_field(block + 1, "content-length", "8");
	say_frame(p, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, block, len);
	say_frame(p, NGHTTP2_DATA, 0, 1, "half", 4);
}

static void serve(struct peer *p, uint16_t port_host)
{
	enum framing framing;

	if (!await_request(p, port_host, &framing))
		return;
	if (!answer_way) {
		server_got_whole = read_whole(p, framing, &half_came);
		sem_post(&server_done);
		return;
	}
	if (port_host == 5432)
		peer_say(p, "half");
	else
		begin_answer(p);
	sem_wait(&half_came);
	answer_way(p, port_host == 5432 ? CLOSE : answer_framing);
	while (p->fd >= 0 && peer_read(p) > 0) /* it is not the end of this script that ends it */
		p->len = 0;
}

static void begin(void)
{
	sem_init(&half_came, 0, 0);
	sem_init(&server_done, 0, 0);
	world.script = serve;
	world_begin();
	set_policy(policy);
}

TestSuite(proxy_cuts, .init = begin, .timeout = 60);

/* ---- Requests --------------------------------------------------------------------------------- */

static const struct client {
	const char *name;
	uint16_t port_host;
	enum framing framing;
} clients[] = {
	{ "plain, length", 80, LENGTH },
	{ "plain, chunked", 80, CHUNKED },
	{ "TLS, length", 443, LENGTH },
	{ "TLS, chunked", 443, CHUNKED },
	{ "HTTP/2", 443, FRAMES },
	{ "HTTP/2, length", 443, FRAMES_LENGTH },
	{ "relay", 5432, CLOSE },
	{ "WebSocket", 80, SOCKET_UP },
	{ "WebSocket, TLS", 443, SOCKET_UP },
	{ "WebSocket, HTTP/2", 443, FRAMES_SOCKET },
};

static struct peer *dial(const struct client *c)
{
	if (c->framing >= FRAMES)
		return dial_http2();
	if (c->port_host == 443)
		return dial_tls(WORLD_CURL, "ok.test");
	return dial_plain(WORLD_CURL, c->port_host == 5432 ? "l4.test" : "ok.test", c->port_host);
}

#define MASKED_HALF "\x81\x84\0\0\0\0half"

/* A WebSocket on stream 1, accepted by its first head. */
static void open_stream(struct peer *p)
{
	static const char *const fields[][2] = {
		{ ":method", "CONNECT" }, { ":protocol", "websocket" }, { ":scheme", "https" },
		{ ":authority", "ok.test" }, { ":path", "/x" }, { "sec-websocket-version", "13" },
	};
	struct frame frame = { 0 };
	char block[512];
	size_t len = 0;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		len += put_field(block + len, fields[i][0], fields[i][1]);
	cr_assert(say_frame(p, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, block, len));
	while (frame.type != NGHTTP2_HEADERS) {
		cr_assert(next_frame(p, &frame) > 0);
		drop_frame(p, &frame);
	}
}

static void begin_request(struct peer *p, enum framing framing)
{
#define POST "POST /x HTTP/1.1\r\nHost: ok.test\r\n"
	switch (framing) {
	case LENGTH:
		cr_assert(peer_say(p, POST "Content-Length: 8\r\n\r\nhalf"));
		return;
	case CHUNKED:
		cr_assert(peer_say(p, POST "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"));
		return;
	case CLOSE:
		cr_assert(peer_say(p, "half"));
		return;
	case SOCKET_UP:
	case SOCKET_DOWN:
		cr_assert(peer_say(p, ASK_SOCKET) && peer_await(p, "\r\n\r\n") > 0);
		cr_assert(peer_write(p, MASKED_HALF, sizeof(MASKED_HALF) - 1));
		return;
	case FRAMES_SOCKET:
		open_stream(p);
		cr_assert(say_frame(p, NGHTTP2_DATA, 0, 1, MASKED_HALF, sizeof(MASKED_HALF) - 1));
		return;
	case FRAMES:
	case FRAMES_LENGTH:
		cr_assert(begin_post(p, 1, "/x", "text/plain", framing == FRAMES ? NULL : "8"));
		cr_assert(say_frame(p, NGHTTP2_DATA, 0, 1, "half", 4));
		return;
	}
}

static void expect_request(const struct client *c, const struct way *way, const char *server)
{
	struct peer *p = dial(c);

	cr_assert(!c->name || c->port_host != 443 || p->ssl);
	begin_request(p, c->framing);
	cr_assert(sem_wait(&half_came) == 0);
	way->go(p, c->framing);
	cr_assert(sem_wait(&server_done) == 0);
	cr_expect(server_got_whole == is_end(way, c->framing, c->port_host), "%s to %s: %s", c->name, server, way->name);
	hang_up(p);
	/* The second half came, too. */
	while (sem_trywait(&half_came) == 0)
		;
}

static void expect_requests(bool http2)
{
	speak_http2(http2);
	for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
		if (http2 && clients[i].framing < FRAMES)
			continue; /* like asks for like: this server is of another protocol */
		for (size_t j = 0; j < sizeof(ways) / sizeof(ways[0]); j++) {
			if (ways[j].framings & ONE(clients[i].framing))
				expect_request(&clients[i], &ways[j], http2 ? "HTTP/2" : "HTTP/1.1");
		}
	}
}

Test(proxy_cuts, of_requests)
{
	expect_requests(false);
}

Test(proxy_cuts, of_requests_to_a_server_of_http2)
{
	expect_requests(true);
}

/* ---- Answers ------------------------------------------------------------------------------------ */

struct reader {
	const char *name;
	uint16_t port_host;
	const char *request; /* NULL: of HTTP/2 */
};

static const struct reader readers[] = {
	{ "plain", 80, GET "1\r\nHost: ok.test\r\n\r\n" },
	{ "plain, old", 80, GET "0\r\nHost: ok.test\r\n\r\n" },
	{ "TLS", 443, GET "1\r\nHost: ok.test\r\n\r\n" },
	{ "TLS, old", 443, GET "0\r\nHost: ok.test\r\n\r\n" },
	{ "HTTP/2", 443, NULL },
	{ "relay", 5432, "" },
	{ "WebSocket", 80, ASK_SOCKET },
	{ "WebSocket, TLS", 443, ASK_SOCKET },
};

static struct peer *ask(const struct reader *r)
{
	const struct client how = { r->name, r->port_host, r->request ? LENGTH : FRAMES };
	struct peer *p = dial(&how);

	if (r->request)
		cr_assert(peer_say(p, r->request));
	else
		cr_assert(begin_post(p, 1, "/x", "text/plain", NULL) &&
			  say_frame(p, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "", 0));
	return p;
}

/* How the answer that begins here will end. */
static enum framing framing_of_answer(struct peer *p, const struct reader *r)
{
	enum framing framing = CLOSE;
	ssize_t end;

	if (!r->request)
		return FRAMES;
	if (r->port_host == 5432)
		return CLOSE;
	end = peer_await(p, "\r\n\r\n");
	cr_assert(end > 0);
	if (strcasestr(p->bytes, "\r\nUpgrade:"))
		framing = SOCKET_DOWN;
	else if (strcasestr(p->bytes, "\r\nContent-Length:"))
		framing = LENGTH;
	else if (strcasestr(p->bytes, "\r\nTransfer-Encoding: chunked"))
		framing = CHUNKED;
	peer_consume(p, (size_t)end);
	return framing;
}

static void expect_answer(const struct reader *r, enum framing framing, const struct way *way)
{
	struct peer *p;
	bool whole;

	answer_framing = framing;
	answer_way = way->go;
	p = ask(r);
	whole = read_whole(p, framing_of_answer(p, r), &half_came);
	cr_expect(whole == is_end(way, framing, r->port_host), "%s from %d: %s", r->name, framing, way->name);
	hang_up(p);
	while (sem_trywait(&half_came) == 0)
		;
}

/* May a server answer this one so? */
static bool suits(const struct reader *r, enum framing framing)
{
	if (!r->request || framing >= FRAMES)
		return !r->request && framing >= FRAMES;
	if (strstr(r->request, UPGRADE) || framing == SOCKET_DOWN)
		return strstr(r->request, UPGRADE) && framing == SOCKET_DOWN;
	return framing == CLOSE || r->port_host != 5432;
}

/* All of a server's ways to break such an answer off, and the one to end it, for all readers. */
static void expect_answers(enum framing framing)
{
	speak_http2(framing >= FRAMES);
	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
		for (size_t j = 0; suits(&readers[i], framing) && j < sizeof(ways) / sizeof(ways[0]); j++) {
			if (ways[j].framings & ONE(framing))
				expect_answer(&readers[i], framing, &ways[j]);
		}
	}
}

Test(proxy_cuts, of_answers)
{
	expect_answers(LENGTH);
	expect_answers(CHUNKED);
}

Test(proxy_cuts, of_answers_that_end_with_their_connection)
{
	expect_answers(CLOSE);
}

Test(proxy_cuts, of_sockets)
{
	expect_answers(SOCKET_DOWN);
}

Test(proxy_cuts, of_answers_of_http2)
{
	expect_answers(FRAMES);
	expect_answers(FRAMES_LENGTH);
}
