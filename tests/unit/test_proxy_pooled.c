/* F12: what a server of HTTP/2 breaks off, and what of it is used again. test_proxy_upstream.c has the same
 * of HTTP/1.1, test_proxy_cuts.c every way to break off. And of both: for how long a connection is kept
 * that nobody uses, and how many. */
#include "proxy_frames.h"

#include "proxy/upstream.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  all:\n"
	"    endpoints:\n"
	"      - { host: ok.test, ports: [443, 80], protocol: rest, access: full, enforcement: enforce }\n"
	"      - { host: no.test, port: 80, protocol: rest, access: full, enforcement: enforce }\n"
	"    binaries: [{ path: /usr/bin/curl }]\n";

static enum way { WHOLE, CANCELLED, RESET } way;
static sem_t may_break;
static sem_t has_come, may_answer, has_gone; /* "/held"; a connection's end */

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

static void serve_http1(struct peer *p)
{
	ssize_t head;

	while ((head = peer_await(p, "\r\n\r\n")) > 0) {
		bool held = memmem(p->bytes, (size_t)head, "/held", 5) != NULL;

		peer_consume(p, (size_t)head);
		if (held) {
			sem_post(&has_come);
			sem_wait(&may_answer);
		}
		peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	}
}

static void serve_http2(struct peer *p)
{
	struct frame frame;
	bool goes_on = peer_await(p, NGHTTP2_CLIENT_MAGIC) > 0 && say_frame(p, NGHTTP2_SETTINGS, 0, 0, "", 0);

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

static void serve(struct peer *p, uint16_t port_host)
{
	if (port_host == 443)
		serve_http2(p);
	else
		serve_http1(p);
	sem_post(&has_gone);
}

static void begin(void)
{
	sem_init(&may_break, 0, 0);
	sem_init(&has_come, 0, 0);
	sem_init(&may_answer, 0, 0);
	sem_init(&has_gone, 0, 0);
	world.script = serve;
	world_begin();
	serve_protocol("\x02h2");
	set_policy(policy);
}

#define IDLE_MS 300

static void begin_impatient(void)
{
	osh_upstream_idle.timeout_ms = IDLE_MS;
	begin();
}

static void begin_narrow(void)
{
	osh_upstream_idle.per_key_max = 2;
	osh_upstream_idle.max = 3;
	begin();
}

TestSuite(proxy_pooled, .init = begin, .timeout = 60);
TestSuite(proxy_pooled_briefly, .init = begin_impatient, .timeout = 60);
TestSuite(proxy_pooled_few, .init = begin_narrow, .timeout = 60);

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

/* ---- What nobody uses -------------------------------------------------------------------------------- */

static void ask(struct peer *p, const char *path, const char *host)
{
	char request[128];

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host);
	cr_assert(peer_say(p, request));
}

static void expect_answer(struct peer *p)
{
	char text[1024];

	peer_response(p, text, sizeof(text));
	cr_expect(strncmp(text, "HTTP/1.1 200 ", 13) == 0, "%s", text);
}

static void await_ends(unsigned count)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WORLD_PATIENCE_MS / 1000;
	for (unsigned i = 0; i < count; i++)
		cr_assert(sem_timedwait(&has_gone, &until) == 0, "%u of %u have ended", i, count);
}

static void expect_no_end(void)
{
	cr_expect(sem_trywait(&has_gone) < 0, "one more has ended");
}

/* By each version: it goes though the program that used it is still there, and the next request has its own. */
Test(proxy_pooled_briefly, a_connection_is_closed_when_its_time_is_over)
{
	struct peer *plain = dial_plain(WORLD_CURL, "ok.test", 80), *p;

	for (unsigned i = 1; i <= 2; i++) {
		ask(plain, "/x", "ok.test");
		expect_answer(plain);
		cr_expect_eq(world.accepted, i);
		await_ends(1);
	}
	p = dial_http2();
	for (unsigned i = 1; i <= 2; i++) {
		cr_expect(is_answered(p, (uint8_t)(2 * i - 1)));
		cr_expect_eq(world.accepted, 2 + i);
		await_ends(1);
	}
	hang_up(p);
	hang_up(plain);
}

/* Nothing is to be read for so long. */
static void expect_silence(const struct peer *p, int ms)
{
	struct pollfd wait = { .fd = p->fd, .events = POLLIN };

	cr_expect(poll(&wait, 1, ms) == 0);
}

/* The time is of those that are idle: whoever waits on a kept one for his answer gets it. */
Test(proxy_pooled_briefly, one_in_use_is_not)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	ask(p, "/x", "ok.test");
	expect_answer(p);
	ask(p, "/held", "ok.test");
	sem_wait(&has_come);
	expect_silence(p, 2 * IDLE_MS);
	sem_post(&may_answer);
	expect_answer(p);
	hang_up(p);
}

/* The twin of the first: within its time it is used again. */
Test(proxy_pooled, a_connection_is_used_again_within_its_time)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	for (int i = 0; i < 3; i++) {
		ask(p, "/x", "ok.test");
		expect_answer(p);
	}
	hang_up(p);
	p = dial_plain(WORLD_CURL, "ok.test", 80);
	ask(p, "/x", "ok.test");
	expect_answer(p);
	cr_expect_eq(world.accepted, 1, "by the program's next connection, too");
	expect_no_end();
	hang_up(p);
}

#define CROWD 4

/* So many requests to `host` at once, each on a connection of its own. */
static void ask_at_once(struct peer *crowd[], unsigned count, const char *host)
{
	for (unsigned i = 0; i < count; i++)
		ask(crowd[i], "/held", host);
	for (unsigned i = 0; i < count; i++)
		sem_wait(&has_come);
	for (unsigned i = 0; i < count; i++)
		sem_post(&may_answer);
	for (unsigned i = 0; i < count; i++)
		expect_answer(crowd[i]);
}

static void dial_crowd(struct peer *crowd[], const char *host)
{
	for (unsigned i = 0; i < CROWD; i++)
		crowd[i] = dial_plain(WORLD_CURL, host, 80);
}

static void part(struct peer *crowd[])
{
	for (unsigned i = 0; i < CROWD; i++)
		hang_up(crowd[i]);
}

/* Two of a key and three in all: those of the next requests are the kept ones, and no more. */
Test(proxy_pooled_few, no_more_are_kept_than_may_be)
{
	struct peer *ok[CROWD], *no[CROWD];

	dial_crowd(ok, "ok.test");
	dial_crowd(no, "no.test");
	ask_at_once(ok, CROWD, "ok.test");
	cr_expect_eq(world.accepted, CROWD);
	await_ends(CROWD - 2);
	expect_no_end();
	ask_at_once(ok, 2, "ok.test");
	cr_expect_eq(world.accepted, CROWD, "two were kept");
	ask_at_once(no, CROWD, "no.test");
	cr_expect_eq(world.accepted, 2 * CROWD);
	await_ends(CROWD - 1);
	ask_at_once(no, 1, "no.test");
	ask_at_once(ok, 2, "ok.test");
	cr_expect_eq(world.accepted, 2 * CROWD, "three were kept");
	expect_no_end();
	part(ok);
	part(no);
}

/* The twin: under the bounds of use all of them are kept. */
Test(proxy_pooled, a_crowd_is_kept)
{
	struct peer *ok[CROWD];

	dial_crowd(ok, "ok.test");
	for (int i = 0; i < 2; i++)
		ask_at_once(ok, CROWD, "ok.test");
	cr_expect_eq(world.accepted, CROWD);
	expect_no_end();
	part(ok);
}
