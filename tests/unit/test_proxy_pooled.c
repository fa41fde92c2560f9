/* F12: what a server of HTTP/2 breaks off, and what of it is used again. test_proxy_upstream.c has the same
 * of HTTP/1.1, test_proxy_cuts.c every way to break off. */
#include "proxy_frames.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  all:\n"
	"    endpoints: [{ host: ok.test, port: 443, protocol: rest, access: full, enforcement: enforce }]\n"
	"    binaries: [{ path: /usr/bin/curl }]\n";

static enum way { WHOLE, CANCELLED, RESET } way;
static sem_t may_break;

/* ---- The server ---------------------------------------------------------------------------------- */

static bool answer(struct peer *p, uint8_t stream)
{
	bool whole = way == WHOLE;

	say_frame(p, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, stream, "\x88", 1); /* :status 200 */
	say_frame(p, NGHTTP2_DATA, whole ? NGHTTP2_FLAG_END_STREAM : 0, stream, whole ? "full" : "half", 4);
	if (whole)
		return true;
	sem_wait(&may_break);
	if (way == CANCELLED)
		return say_code(p, NGHTTP2_RST_STREAM, stream, NGHTTP2_CANCEL);
	peer_reset(p);
	return false;
}

static void serve(struct peer *p, uint16_t port_host)
{
	struct frame frame;
	bool goes_on = peer_await(p, NGHTTP2_CLIENT_MAGIC) > 0 && say_frame(p, NGHTTP2_SETTINGS, 0, 0, "", 0);

	(void)port_host;
	if (goes_on)
		peer_consume(p, sizeof(NGHTTP2_CLIENT_MAGIC) - 1);
	while (goes_on && next_frame(p, &frame) > 0) {
		bool is_whole = frame.stream && (frame.flags & NGHTTP2_FLAG_END_STREAM) &&
				(frame.type == NGHTTP2_DATA || frame.type == NGHTTP2_HEADERS);
		uint8_t stream = frame.stream;

		drop_frame(p, &frame);
		if (is_whole)
			goes_on = answer(p, stream);
	}
}

static void begin(void)
{
	sem_init(&may_break, 0, 0);
	world.script = serve;
	world_begin();
	serve_protocol("\x02h2");
	set_policy(policy);
}

TestSuite(proxy_pooled, .init = begin, .timeout = 60);

/* ---- The program ----------------------------------------------------------------------------------- */

/* A request: did its answer, of which some came, get to its end? */
static bool is_answered(struct peer *p, uint8_t stream)
{
	struct frame frame;
	bool some = false, whole = false, broken = false;

	cr_assert(begin_post(p, stream, "/x", "text/plain", NULL));
	cr_assert(say_frame(p, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, stream, "word", 4));
	while (!whole && !broken && next_frame(p, &frame) > 0) {
		bool is_ours = frame.stream == stream;

		if (is_ours && frame.type == NGHTTP2_DATA && frame.len && !some) {
			some = true;
			sem_post(&may_break);
		}
		whole = is_ours && frame.type == NGHTTP2_DATA && (frame.flags & NGHTTP2_FLAG_END_STREAM);
		broken = is_ours && frame.type == NGHTTP2_RST_STREAM;
		drop_frame(p, &frame);
	}
	cr_expect(some && (whole || broken), "some %d whole %d broken %d", some, whole, broken);
	if (whole) /* nobody waited for it */
		sem_trywait(&may_break);
	return whole;
}

Test(proxy_pooled, what_is_broken_is_not_used_again)
{
	struct peer *p = dial_http2();

	cr_expect(is_answered(p, 1));
	cr_expect(is_answered(p, 3));
	cr_expect_eq(world.accepted, 1, "the twin: a whole one is");
	way = CANCELLED;
	cr_expect_not(is_answered(p, 5));
	way = WHOLE;
	cr_expect(is_answered(p, 7));
	cr_expect_eq(world.accepted, 1, "a stream's end is not its connection's");
	way = RESET;
	cr_expect_not(is_answered(p, 9));
	way = WHOLE;
	cr_expect(is_answered(p, 11));
	cr_expect_eq(world.accepted, 2);
	cr_expect(is_answered(p, 13));
	cr_expect_eq(world.accepted, 2);
	hang_up(p);
}
