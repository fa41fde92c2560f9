/* Flows that live on: upgraded ones, bytes both ways, slow sides, streams. */
#include "proxy_origin.h"

TestSuite(proxy_streams, .init = begin, .timeout = 60);

/* ---- Upgrades ------------------------------------------------------------------------------------------------ */

#define WEBSOCKET "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" \
		  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

static struct peer *upgrade_with(const char *path, const char *fields)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	char request[512];
	ssize_t len;

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" HOST "%s" WEBSOCKET, path, fields);
	peer_say(p, request);
	len = peer_await(p, "\r\n\r\n");
	cr_assert(len > 0);
	EXPECT_HAS(p->bytes, "HTTP/1.1 101 ");
	EXPECT_HAS(p->bytes, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
	peer_consume(p, (size_t)len);
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	return p;
}

static struct peer *upgrade(const char *path)
{
	return upgrade_with(path, "");
}

#define SAY(p, bytes) cr_assert(peer_write(p, bytes, sizeof(bytes) - 1))

static void expect_frame(struct peer *p, const char *frame)
{
	cr_assert(peer_await(p, "frame") > 0);
	cr_expect(strncmp(p->bytes, frame, strlen(frame)) == 0);
	peer_consume(p, p->len);
}

static void expect_close_frame(struct peer *p, unsigned code)
{
	while (p->len < 4 && peer_read(p) > 0)
		;
	cr_assert(p->len >= 4, "no frame came");
	cr_expect((unsigned char)p->bytes[0] == 0x88, "no close frame: %.40s", p->bytes);
	cr_expect(((unsigned char)p->bytes[2] << 8 | (unsigned char)p->bytes[3]) == (int)code);
}

Test(proxy_streams, websocket)
{
	struct peer *p = upgrade("/pub/ws/x");

	for (int i = 0; i < 3; i++) {
		SAY(p, CLIENT_FRAME(TEXT));
		expect_frame(p, SERVER_FRAME(TEXT));
	}
	/* The rule that permitted it goes: so does it. */
	set_policy(narrow_policy);
	expect_close_frame(p, 1012);
	SAY(p, "\x88\x80\0\0\0\0");
	while (peer_read(p) > 0)
		;
	cr_expect(next_verdict()->decision == OSH_VERDICT_DENY);
	hang_up(p);
	p = dial_tls(WORLD_CURL, "ok.test");
	ask(p, "GET /no HTTP/1.1\r\n" HOST WEBSOCKET);
	EXPECT_STATUS(answer, "403");
	hang_up(p);
}

/* Java's client says so. Bytes of a body would be taken for frames. */
Test(proxy_streams, a_websocket_may_say_that_it_has_no_body)
{
	struct peer *p = upgrade_with("/pub/ws/x", "Content-Length: 0\r\n");

	cr_expect(!server_saw("ontent-"));
	SAY(p, CLIENT_FRAME(TEXT));
	expect_frame(p, SERVER_FRAME(TEXT));
	hang_up(p);
	p = dial_tls(WORLD_CURL, "ok.test");
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "Content-Length: 4\r\n" WEBSOCKET "body");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

/* Extensions are the two sides' own affair where no rule is about texts. */
Test(proxy_streams, compressed_frames_pass_where_they_were_agreed_upon)
{
	struct peer *p = upgrade("/pub/ws/deflate");

	SAY(p, CLIENT_FRAME(COMPRESSED));
	expect_frame(p, SERVER_FRAME(COMPRESSED));
	hang_up(p);
	p = upgrade("/pub/ws/x");
	SAY(p, CLIENT_FRAME(COMPRESSED));
	expect_close_frame(p, 1002);
	cr_expect(next_verdict()->engine == OSH_ENGINE_HTTP);
	hang_up(p);
}

/* An upgrade is no way past the rules, whoever is on the other side. */
Test(proxy_streams, what_is_no_frame_ends_a_websocket)
{
	struct peer *p = upgrade("/pub/ws/x");

	peer_say(p, "GET /smuggled HTTP/1.1\r\n" HOST "\r\n");
	expect_close_frame(p, 1002);
	cr_expect(!server_saw("smuggled"));
	cr_expect_str_eq(next_verdict()->method, "WEBSOCKET");
	hang_up(p);
	p = upgrade("/pub/ws/raw");
	SAY(p, CLIENT_FRAME(TEXT));
	expect_close_frame(p, 1002);
	cr_expect(next_verdict()->decision == OSH_VERDICT_DENY);
	hang_up(p);
}

/* Java's client asks for it whenever it may. */
Test(proxy_streams, h2c_is_let_be)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
	       "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
	EXPECT_STATUS(answer, "200");
	cr_expect(!server_saw("h2c") && !server_saw("pgrade") && !server_saw("ettings"));
	ask(p, "GET /secret HTTP/1.1\r\n" HOST "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
	       "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
	EXPECT_STATUS(answer, "403");
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

/* ---- Bytes ----------------------------------------------------------------------------------------------------------- */

static void serve_banner(struct peer *p, uint16_t port_host)
{
	if (port_host != 5432) {
		serve(p, port_host);
		return;
	}
	peer_say(p, "banner\n");
	echo(p);
}

Test(proxy_streams, relay)
{
	struct peer *p;
	const struct osh_verdict *v;

	world.script = serve_banner;
	p = dial_plain(WORLD_CURL, "l4.test", 5432);
	cr_assert(peer_await(p, "banner\n") > 0, "the server may speak first");
	v = next_verdict();
	cr_expect(v->decision == OSH_VERDICT_ALLOW && v->engine == OSH_ENGINE_POLICY);
	cr_expect_str_eq(v->protocol, "l4");
	peer_say(p, "\1\2\3 anything");
	cr_assert(peer_await(p, "\1\2\3 anything") > 0);
	shutdown(p->fd, SHUT_WR);
	while (peer_read(p) > 0)
		;
	expect_no_verdict();
	hang_up(p);
}

/* A hello that comes byte by byte is still held to its name. */
Test(proxy_streams, hello_in_pieces_on_l4)
{
	static const char hello[] = "\x16\3\1\0\x4b\1\0\0\x47\3\3"
				    "01234567890123456789012345678901"
				    "\0\0\2\x13\1\1\0\0\x1c"
				    "\0\0\0\x0c\0\x0a\0\0\7no.test"
				    "\x0a\x0a\0\x08" "12345678";
	struct peer *p;

	world.script = serve_banner;
	p = dial_plain(WORLD_CURL, "l4.test", 5432);
	cr_assert(peer_await(p, "banner\n") > 0);
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	peer_consume(p, p->len);
	for (size_t i = 0; i < sizeof(hello) - 1; i++)
		peer_write(p, hello + i, 1);
	cr_expect(peer_read(p) > 0 && p->bytes[0] == 21, "an alert, not an echo");
	cr_expect(next_verdict()->engine == OSH_ENGINE_TLS);
	hang_up(p);
}

/* ---- Slow sides ------------------------------------------------------------------------------------------ */

static void begin_impatient(void)
{
	osh_http1_deadlines = (struct osh_http1_deadlines){
		.head = 1000, .dial = 1000, .body = 1000, .reader = 1000, .response = 1000, .stream = 1000
	};
	begin();
}

TestSuite(proxy_deadlines, .init = begin_impatient, .timeout = 60);

Test(proxy_deadlines, slow_head)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	ask(p, "GET /pub/a HTTP/1.1\r\nHo");
	EXPECT_STATUS(answer, "408");
	cr_expect(peer_end(p) == 0);
	cr_expect(next_verdict()->status == 408);
	hang_up(p);
}

Test(proxy_deadlines, slow_body)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	ask(p, "POST /api/a HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nhello");
	EXPECT_STATUS(answer, "408");
	cr_expect(peer_end(p) == 0);
	hang_up(p);
}

#define PIECES 30

/* A body of PIECES that come one by one, longer than the deadline in all. */
static const char *upload_slowly(const char *piece, size_t len)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);
	struct pollfd wait = { .fd = p->fd, .events = POLLIN };
	char request[256];

	snprintf(request, sizeof(request), "POST /api/a HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n",
		 PIECES * len);
	peer_say(p, request);
	for (int i = 0; i < PIECES && poll(&wait, 1, 100) == 0; i++)
		peer_write(p, piece, len);
	peer_response(p, answer, sizeof(answer));
	hang_up(p);
	return answer;
}

/* Bytes that come for the deadline's sake do not put it off. */
/* C33 */
Test(proxy_deadlines, dripping_body)
{
	static const char kib[1024];

	EXPECT_STATUS(upload_slowly("x", 1), "408");
	EXPECT_HAS(answer, "request_timeout");
	/* The twin: slow but moving. */
	EXPECT_STATUS(upload_slowly(kib, sizeof(kib)), "200");
}

/* More than all buffers on the way hold, for a server that reads none of it: that is not the
 * client's slowness. */
/* F11 */
Test(proxy_deadlines, server_that_takes_no_body)
{
	static const char much[16u << 20];
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	peer_say(p, "POST /api/stuck HTTP/1.1\r\n" HOST "Content-Length: 16777216\r\n\r\n");
	(void)peer_write(p, much, sizeof(much));
	peer_response(p, answer, sizeof(answer));
	EXPECT_STATUS(answer, "504");
	EXPECT_HAS(answer, "takes no more of the request");
	hang_up(p);
}

/* F11 */
Test(proxy_deadlines, silent_server)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	ask(p, "GET /pub/silent HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "504");
	EXPECT_HAS(answer, "upstream_timeout");
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

/* A reader that stops is ended, and its flow with it. */
/* C33 */
Test(proxy_deadlines, reader_that_stops)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);
	struct pollfd wait = { .fd = p->fd, .events = POLLHUP };

	peer_say(p, "GET /pub/big HTTP/1.1\r\n" HOST "\r\n");
	cr_expect(poll(&wait, 1, 10000) == 1 && (wait.revents & (POLLHUP | POLLERR)));
	hang_up(p);
}

static void begin_with_patience_for_servers(void)
{
	osh_http1_deadlines.reader = 1000;
	osh_http1_deadlines.body = 1000;
	begin();
}

TestSuite(proxy_events, .init = begin_with_patience_for_servers, .timeout = 60);

/* Once the server has begun to answer, both may be silent: an upload is a stream, too. The
 * twin shows that the time is over in which a request has to come. */
Test(proxy_events, dialogue)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test"), *twin = dial_tls(WORLD_CURL, "ok.test");

	peer_say(p, "POST /api/dialogue HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
	cr_assert(peer_await(p, "open\n") > 0, "%s", p->bytes);
	ask(twin, "POST /api/a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
	EXPECT_STATUS(answer, "408");
	peer_say(p, "5\r\nagain\r\n0\r\n\r\n");
	cr_expect(peer_await(p, "closed\n") > 0, "%s", p->bytes);
	hang_up(twin);
	hang_up(p);
}

/* Each event is passed on when it comes; silence between two is the server's right. */
/* C33 */
Test(proxy_events, event_stream)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	struct pollfd more = { .fd = p->fd, .events = POLLIN };

	peer_say(p, "GET /pub/events HTTP/1.1\r\n" HOST "\r\n");
	cr_assert(peer_await(p, "data: 1\n\n") > 0, "before there is a second: %s", p->bytes);
	cr_expect(poll(&more, 1, 1500) == 0);
	sem_post(&may_go_on);
	cr_assert(peer_await(p, "data: 2\n\n\r\n0\r\n\r\n") > 0, "%s", p->bytes);
	hang_up(p);
}
