/* HTTP/2 with the sandbox, where time matters: a client that writes its frames by hand. */
#include "proxy_frames.h"
#include "proxy_recorder.h"

#include "proxy/http1.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  p:\n"
	"    endpoints:\n"
	"      - {host: ok.test, port: 443, protocol: rest, enforcement: enforce,\n"
	"         rules: [{allow: {method: POST, path: \"/allowed\"}}]}\n"
	"    binaries: [{path: /usr/bin/curl}]\n";

static void begin(void)
{
	osh_http1_deadlines.body = 300;
	osh_http1_deadlines.reader = 600;
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

/* The code that the connection ends with. */
static int await_goaway(struct client *c)
{
	struct frame frame = { 0 };
	int code = -1;

	while (code < 0 && next_frame(c->peer, &frame) > 0) {
		if (frame.type == NGHTTP2_GOAWAY)
			code = frame.payload[7];
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

	for (size_t i = 0; i < 2; i++) {
		c = dial();
		cr_assert(say_code(c->peer, NGHTTP2_RST_STREAM, streams[i], NGHTTP2_CANCEL));
		cr_expect(await_goaway(c) == NGHTTP2_PROTOCOL_ERROR);
		end(c);
	}
	c = dial();
	for (int i = 0; i < 1000 && say_code(c->peer, NGHTTP2_RST_STREAM, 3, NGHTTP2_CANCEL); i++)
		;
	cr_expect(await_goaway(c) == NGHTTP2_ENHANCE_YOUR_CALM);
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

/* How often the window of a large answer can be opened by `bytes`, at most 40 times, which is
 * longer than three deadlines. */
static int read_by(uint16_t bytes)
{
	static const char no_window[] = { 0, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0, 0, 0, 0 };
	struct client *c = dial();
	int times = 0;

	cr_assert(say_frame(c->peer, NGHTTP2_SETTINGS, 0, 0, no_window, sizeof(no_window)));
	cr_assert(begin_post(c->peer, 1, "/allowed", "application/json", NULL));
	cr_assert(say_frame(c->peer, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "", 0));
	await_head(c, 1);
	while (times < 40 && is_alive(c, 1)) {
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
	cr_expect(times > 1 && times < 40, "%d", times);
	times = read_by(1024);
	cr_expect(times == 40, "the twin moves: %d", times);
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
