/* HTTP/2 with the sandbox, where time matters: a client that writes its frames by hand. */
#include "proxy_frames.h"
#include "proxy_recorder.h"

#include "proxy/http1.h"
#include "proxy/session.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  p:\n"
	"    endpoints:\n"
	"      - {host: ok.test, port: 443, protocol: rest, enforcement: enforce,\n"
	"         rules: [{allow: {method: POST, path: \"/allowed\"}}]}\n"
	"    binaries: [{path: /usr/bin/curl}]\n";

#define HEAD_MS 900

static void begin(void)
{
	osh_http1_deadlines.head = HEAD_MS;
	osh_http1_deadlines.body = 300;
	osh_http1_deadlines.reader = 1500;
	begin_recording();
	set_policy(policy);
}

TestSuite(proxy_http2, .init = begin, .timeout = 60);

/* ---- The client ----------------------------------------------------------------------------- */

struct client {
	struct peer *peer;
	nghttp2_hd_inflater *inflater;
	char status[8], grpc_status[8]; /* of the last head */
};

static struct client *dial(void)
{
	struct client *c = calloc(1, sizeof(*c));

	c->peer = dial_http2();
	cr_assert(nghttp2_hd_inflate_new(&c->inflater) == 0);
	return c;
}

static void end(struct client *c)
{
	nghttp2_hd_inflate_del(c->inflater);
	hang_up(c->peer);
	free(c);
}

static void copy_value(char room[8], const nghttp2_nv *field)
{
	snprintf(room, 8, "%.*s", (int)field->valuelen, (const char *)field->value);
}

static void read_head(struct client *c, const uint8_t *block, size_t len)
{
	c->status[0] = c->grpc_status[0] = '\0';
	while (len) {
		nghttp2_nv field;
		int flags = 0;
		ssize_t n = nghttp2_hd_inflate_hd2(c->inflater, &field, &flags, block, len, 1);

		cr_assert(n >= 0);
		block += n;
		len -= (size_t)n;
		if (flags & NGHTTP2_HD_INFLATE_EMIT && field.namelen == 7 && memcmp(field.name, ":status", 7) == 0)
			copy_value(c->status, &field);
		if (flags & NGHTTP2_HD_INFLATE_EMIT && field.namelen == 11 && memcmp(field.name, "grpc-status", 11) == 0)
			copy_value(c->grpc_status, &field);
		if (flags & NGHTTP2_HD_INFLATE_FINAL)
			break;
	}
	nghttp2_hd_inflate_end_headers(c->inflater);
}

/* Read until the head of an answer on this stream. */
static void await_head(struct client *c, uint8_t stream)
{
	struct frame frame = { 0 };
	bool found;

	do {
		cr_assert(next_frame(c->peer, &frame) > 0, "the connection ended");
		found = frame.type == NGHTTP2_HEADERS && frame.stream == stream;
		cr_assert(frame.type != NGHTTP2_RST_STREAM || frame.stream != stream, "reset");
		if (frame.type == NGHTTP2_HEADERS)
			read_head(c, frame.payload, frame.len);
		drop_frame(c->peer, &frame);
	} while (!found);
}

/* ---- Calls that are silent ---------------------------------------------------------------- */

/* A call of gRPC may say nothing for as long as it likes, before its server does: another
 * request is given up for it on the same connection meanwhile. */
Test(proxy_http2, a_silent_call_is_no_slow_body)
{
	struct client *c = dial();

	cr_assert(begin_post(c->peer, 1, "/allowed", "application/grpc", NULL));
	cr_assert(begin_post(c->peer, 3, "/allowed", "application/json", NULL));
	await_head(c, 3);
	cr_expect_str_eq(c->status, "408");
	cr_assert(say_frame(c->peer, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "word", 4));
	await_head(c, 1);
	cr_expect_str_eq(c->status, "200");
	cr_expect(server_saw("word"));
	end(c);
}

/* ---- Calls that are taken back ------------------------------------------------------------ */

static void end_post(struct client *c, uint8_t stream)
{
	cr_assert(say_frame(c->peer, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, stream, "word", 4));
	await_head(c, stream);
	cr_expect_str_eq(c->status, "200");
}

/* Its code; the last stream that is served, if it is one of ours. -1: the connection ended without. */
static int await_goaway(struct client *c, uint8_t *ret_last)
{
	struct frame frame = { 0 };
	int code = -1;

	while (code < 0 && next_frame(c->peer, &frame) > 0) {
		if (frame.type == NGHTTP2_GOAWAY) {
			code = frame.payload[7];
			*ret_last = frame.payload[3];
		}
		drop_frame(c->peer, &frame);
	}
	return code;
}

/* As gRPC does it: before its head was sent. The others go on, whatever pieces the reset comes in. */
Test(proxy_http2, a_call_that_never_began_may_be_reset)
{
	static const char reset[] = "\0\0\4\3\0\0\0\0\5\0\0\0\10";
	struct client *c = dial();

	cr_assert(begin_post(c->peer, 1, "/allowed", "application/grpc", NULL));
	cr_assert(say_code(c->peer, NGHTTP2_RST_STREAM, 3, NGHTTP2_CANCEL));
	for (size_t i = 0; i < sizeof(reset) - 1; i++)
		cr_assert(peer_write(c->peer, reset + i, 1));
	cr_assert(begin_post(c->peer, 7, "/allowed", "application/grpc", NULL));
	end_post(c, 7);
	end_post(c, 1);
	end(c);
}

/* Its twins: what no client has an excuse for, and too many. */
Test(proxy_http2, other_resets_of_what_never_began_end_the_connection)
{
	static const uint8_t streams[] = { 0, 2 };
	struct client *c;
	uint8_t last;

	for (size_t i = 0; i < 2; i++) {
		c = dial();
		cr_assert(say_code(c->peer, NGHTTP2_RST_STREAM, streams[i], NGHTTP2_CANCEL));
		cr_expect(await_goaway(c, &last) == NGHTTP2_PROTOCOL_ERROR);
		end(c);
	}
	c = dial();
	for (int i = 0; i < 1000 && say_code(c->peer, NGHTTP2_RST_STREAM, 3, NGHTTP2_CANCEL); i++)
		;
	cr_expect(await_goaway(c, &last) == NGHTTP2_ENHANCE_YOUR_CALM);
	end(c);
}

/* ---- Connections without a call ------------------------------------------------------------- */

/* What was sent before the first farewell was read is served, and by the second that is known. */
Test(proxy_http2, a_call_that_meets_the_farewell_is_served)
{
	uint64_t *patience_ms = &osh_session_deadlines_ms[OSH_SESSION_HTTP2];
	struct frame settings = { 0 };
	struct client *c;
	uint8_t last = 0;

	*patience_ms = 1500;
	c = dial();
	cr_assert(next_frame(c->peer, &settings) > 0); /* the first deadline is set */
	*patience_ms = 30000;
	cr_expect(await_goaway(c, &last) == NGHTTP2_NO_ERROR && last == 0xff);
	*patience_ms = 300;
	cr_assert(begin_post(c->peer, 1, "/allowed", "application/grpc", NULL));
	end_post(c, 1);
	cr_expect(await_goaway(c, &last) == NGHTTP2_NO_ERROR && last == 1);
	cr_expect(peer_end(c->peer) == 0, "in good order");
	end(c);
}

/* ---- Heads that do not end -------------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Look at all that comes for so long. -1: no GOAWAY. */
static int goaway_within(struct client *c, int ms)
{
	struct pollfd wait = { .fd = c->peer->fd, .events = POLLIN };
	struct frame frame = { 0 };
	int64_t left_ms, end_ms = now_ms() + ms;

	while ((left_ms = end_ms - now_ms()) > 0) {
		if (!SSL_pending(c->peer->ssl) && poll(&wait, 1, (int)left_ms) == 0)
			break;
		cr_assert(peer_read(c->peer) > 0, "the connection ended");
		while (find_frame(c->peer, &frame)) {
			int code = frame.type == NGHTTP2_GOAWAY ? frame.payload[7] : -1;

			drop_frame(c->peer, &frame);
			if (code >= 0)
				return code;
		}
	}
	return -1;
}

/* Say a piece now and then. The connection ends before that has lasted for eight deadlines. */
static void drip(struct client *c, const char *piece, size_t len)
{
	int times = 0, code;

	while ((code = goaway_within(c, HEAD_MS / 6)) < 0 && times++ < 48) {
		if (len)
			cr_assert(peer_write(c->peer, piece, len));
	}
	cr_expect(code == NGHTTP2_PROTOCOL_ERROR, "%d after %d pieces", code, times);
	cr_expect(peer_end(c->peer) == 0, "in good order");
	cr_expect_str_eq(next_verdict()->reason, "HTTP/2: the head of a request, or its trailers, did not come in time");
	end(c);
}

/* A byte of a frame whose length was said, or frames of a byte: a path that gets longer. */
#define PATH_BEGINS "\x04\x7f\xff\x0f/"

Test(proxy_http2, a_head_that_does_not_end_ends_the_connection)
{
	static const char continuation[] = "\0\0\1\x9\0\0\0\0\1x", whole_head[] = "\0\4\0\1\4\0\0\0\1" PATH_BEGINS;
	struct client *c = dial();

	cr_assert(say_frame(c->peer, NGHTTP2_HEADERS, 0, 1, PATH_BEGINS, sizeof(PATH_BEGINS) - 1));
	drip(c, "", 0);
	c = dial();
	cr_assert(say_frame(c->peer, NGHTTP2_HEADERS, 0, 1, PATH_BEGINS, sizeof(PATH_BEGINS) - 1));
	drip(c, continuation, sizeof(continuation) - 1);
	c = dial();
	cr_assert(peer_write(c->peer, whole_head, sizeof(whole_head) - 1));
	drip(c, "x", 1);
}

/* A call may last for hours, but not for its trailers. */
Test(proxy_http2, trailers_that_do_not_end)
{
	struct client *c = dial();

	cr_assert(begin_post(c->peer, 1, "/allowed", "application/grpc", NULL));
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	cr_assert(say_frame(c->peer, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, "", 0));
	drip(c, "", 0);
}

static size_t put_frame(char *out, uint8_t type, uint8_t flags, uint8_t stream, const char *payload, size_t len)
{
	const char head[FRAME_HEAD] = { 0, (char)(len >> 8), (char)len, (char)type, (char)flags, 0, 0, 0, (char)stream };

	memcpy(out, head, FRAME_HEAD);
	memcpy(out + FRAME_HEAD, payload, len);
	return FRAME_HEAD + len;
}

/* The twins: heads in two frames, each of which is there in time. Whenever the proxy looks one is open,
 * and all of them take longer than one may; each has its own time. */
Test(proxy_http2, heads_in_two_frames_are_served)
{
	static const char type[] = "\x0f\x10\x0a" "text/plain";
	struct client *c = dial();
	char post[128], bytes[512];
	size_t post_len = 0, len;

	post_len += put_field(post, ":method", "POST");
	post_len += put_field(post + post_len, ":scheme", "https");
	post_len += put_field(post + post_len, ":authority", "ok.test");
	post_len += put_field(post + post_len, ":path", "/allowed");
	len = put_frame(bytes, NGHTTP2_HEADERS, 0, 1, post, post_len);
	for (uint8_t stream = 1; stream <= 21; stream += 2) {
		cr_assert(peer_write(c->peer, bytes, len));
		cr_assert(goaway_within(c, HEAD_MS / 6) < 0);
		len = put_frame(bytes, NGHTTP2_CONTINUATION, NGHTTP2_FLAG_END_HEADERS, stream, type, sizeof(type) - 1);
		len += put_frame(bytes + len, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, stream, "word", 4);
		len += put_frame(bytes + len, NGHTTP2_HEADERS, 0, stream + 2, post, post_len);
	}
	for (int i = 0; i < 10; i++)
		cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	drip(c, "", 0); /* the last of them does not end */
}

/* Nor does the deadline outlive what it was for. */
Test(proxy_http2, trailers_in_two_frames_and_then_silence)
{
	struct client *c = dial();

	cr_assert(begin_post(c->peer, 1, "/allowed", "application/grpc", NULL));
	cr_assert(say_frame(c->peer, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, "", 0));
	cr_assert(goaway_within(c, HEAD_MS / 6) < 0);
	cr_assert(say_frame(c->peer, NGHTTP2_CONTINUATION, NGHTTP2_FLAG_END_HEADERS, 1, "", 0));
	await_head(c, 1);
	cr_expect_str_eq(c->status, "200");
	cr_assert(goaway_within(c, 2 * HEAD_MS) < 0);
	cr_assert(begin_post(c->peer, 3, "/allowed", "application/grpc", NULL));
	end_post(c, 3);
	end(c);
}

/* ---- Heads that are too large --------------------------------------------------------------------- */

/* Its answer is whole. Then: is it reset, and not for a fault? */
static bool is_let_go(struct client *c, uint8_t stream)
{
	struct frame frame = { 0 };
	bool reset;

	await_head(c, stream);
	cr_expect_str_eq(c->status, "431");
	cr_assert(say_frame(c->peer, NGHTTP2_PING, 0, 0, "12345678", 8));
	for (;;) {
		cr_assert(next_frame(c->peer, &frame) > 0, "the connection ended");
		reset = frame.type == NGHTTP2_RST_STREAM && frame.stream == stream;
		if (reset)
			cr_expect(frame.payload[3] == NGHTTP2_NO_ERROR);
		if (reset || frame.type == NGHTTP2_PING)
			break;
		drop_frame(c->peer, &frame);
	}
	drop_frame(c->peer, &frame);
	return reset;
}

/* A field of a hundred bytes, and a byte for each time that it comes again (RFC 7541 6.1). */
static void say_large_head(struct client *c, uint8_t stream, uint8_t flags)
{
	char block[1024];
	size_t len = put_field(block, ":method", "POST");

	len += put_field(block + len, ":scheme", "https");
	len += put_field(block + len, ":authority", "ok.test");
	len += put_field(block + len, ":path", "/allowed");
	len += (size_t)sprintf(block + len, "\x40\1x\x64%0100d", 0);
	memset(block + len, 0xbe, 400);
	cr_assert(say_frame(c->peer, NGHTTP2_HEADERS, flags | NGHTTP2_FLAG_END_HEADERS, stream, block, len + 400));
}

/* Nobody reads the rest of the request: the client is told, in place of a stream without end. */
Test(proxy_http2, the_stream_of_a_head_that_is_too_large_ends)
{
	struct client *c = dial();

	say_large_head(c, 1, 0);
	cr_expect(is_let_go(c, 1));
	/* The twin has ended itself. */
	say_large_head(c, 3, NGHTTP2_FLAG_END_STREAM);
	cr_expect(!is_let_go(c, 3));
	cr_assert(begin_post(c->peer, 5, "/allowed", "application/grpc", NULL));
	end_post(c, 5);
	end(c);
}

/* ---- Readers that drip --------------------------------------------------------------------- */

/* More than all buffers on the way hold. */
static void serve_much(struct peer *p, uint16_t port_host)
{
	static char block[1 << 16];

	(void)port_host;
	if (peer_await(p, "\r\n\r\n") <= 0 || !peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n"))
		return;
	while (peer_write(p, block, sizeof(block)))
		;
}

static void open_window(struct client *c, uint8_t stream, uint16_t bytes)
{
	const char increment[4] = { 0, 0, (char)(bytes >> 8), (char)bytes };

	cr_assert(say_frame(c->peer, NGHTTP2_WINDOW_UPDATE, 0, stream, increment, sizeof(increment)));
}

/* Look at what came. False: this stream was reset. */
static bool is_alive(struct client *c, uint8_t stream)
{
	struct peer *p = c->peer;
	struct pollfd wait = { .fd = p->fd, .events = POLLIN };
	struct frame frame = { 0 };

	while (SSL_pending(p->ssl) || poll(&wait, 1, 50) > 0) {
		cr_assert(peer_read(p) > 0, "the connection ended");
		while (find_frame(p, &frame)) {
			if (frame.type == NGHTTP2_RST_STREAM && frame.stream == stream)
				return false;
			drop_frame(p, &frame);
		}
	}
	return true;
}

/* How often the window of a large answer can be opened by `bytes`, at most 80 times, which is
 * longer than two deadlines. */
static int read_by(uint16_t bytes)
{
	static const char no_window[] = { 0, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0, 0, 0, 0 };
	struct client *c = dial();
	int times = 0;

	cr_assert(say_frame(c->peer, NGHTTP2_SETTINGS, 0, 0, no_window, sizeof(no_window)));
	cr_assert(begin_post(c->peer, 1, "/allowed", "application/json", NULL));
	cr_assert(say_frame(c->peer, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "", 0));
	await_head(c, 1);
	while (times < 80 && is_alive(c, 1)) {
		open_window(c, 1, bytes);
		times++;
	}
	end(c);
	return times;
}

Test(proxy_http2, a_reader_that_drips_is_ended)
{
	int times;

	world.script = serve_much;
	times = read_by(1);
	cr_expect(times > 1 && times < 80, "%d", times);
	times = read_by(1024);
	cr_expect(times == 80, "the twin moves: %d", times);
}

/* ---- Many at once --------------------------------------------------------------------------- */

#define TRAILER_BYTES 7000
static sem_t answered;

/* A body that almost fills a frame, and trailers that nothing shortens. */
static void serve_trailers(struct peer *p, uint16_t port_host)
{
	static char body[16000], trailer[TRAILER_BYTES];

	(void)port_host;
	memset(trailer, '~', sizeof(trailer) - 1);
	while (peer_await(p, "0\r\n\r\n") > 0) {
		p->len = 0;
		peer_say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e80\r\n");
		peer_write(p, body, sizeof(body));
		peer_say(p, "\r\n0\r\nx-last: ");
		peer_say(p, trailer);
		peer_say(p, "\r\n\r\n");
		sem_post(&answered);
	}
}

static void set_window(struct client *c, uint16_t bytes)
{
	const char window[] = { 0, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0, 0, (char)(bytes >> 8), (char)bytes };

	cr_assert(say_frame(c->peer, NGHTTP2_SETTINGS, 0, 0, window, sizeof(window)));
}

/* Frames that are not payload find room behind what has just filled the connection's buffer. */
Test(proxy_http2, trailers_of_many_answers_at_once)
{
	struct client *c = dial();
	struct frame frame = { 0 };
	unsigned ended = 0;

	osh_http1_deadlines.reader = 60000;
	sem_init(&answered, 0, 0);
	world.script = serve_trailers;
	set_window(c, 0);
	for (uint8_t stream = 1; stream <= 5; stream += 2) {
		cr_assert(begin_post(c->peer, stream, "/allowed", "text/plain", NULL));
		cr_assert(say_frame(c->peer, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, stream, "", 0));
		await_head(c, stream);
		sem_wait(&answered);
	}
	set_policy(policy); /* the worker has taken in what came before */
	set_window(c, 20000);
	while (ended < 3) {
		cr_assert(next_frame(c->peer, &frame) > 0, "the connection ended");
		ended += frame.type == NGHTTP2_HEADERS && frame.flags & NGHTTP2_FLAG_END_STREAM &&
			 frame.len > TRAILER_BYTES;
		drop_frame(c->peer, &frame);
	}
	end(c);
}

/* ---- Denials --------------------------------------------------------------------------------- */

Test(proxy_http2, a_denied_call_ends_with_a_status_of_grpc)
{
	struct client *c = dial();
	const struct osh_verdict *v;

	cr_assert(begin_post(c->peer, 1, "/denied", "application/grpc+proto", NULL));
	await_head(c, 1);
	cr_expect_str_eq(c->status, "200");
	cr_expect_str_eq(c->grpc_status, "7");
	v = next_verdict();
	cr_expect(v->decision == OSH_VERDICT_DENY && v->status == 403);
	/* The twin is no call. */
	cr_assert(begin_post(c->peer, 3, "/denied", "application/json", NULL));
	await_head(c, 3);
	cr_expect_str_eq(c->status, "403");
	cr_expect_str_eq(c->grpc_status, "");
	cr_expect(!server_saw("/denied"));
	end(c);
}
