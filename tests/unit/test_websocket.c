/* WebSocket frames: what a client may send, what comes out of it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/websocket.h"

static struct osh_websocket_reader reader;

static void init(void)
{
	osh_websocket_reader_init(&reader);
}

static void fini(void)
{
	osh_websocket_reader_done(&reader);
}

TestSuite(websocket, .init = init, .fini = fini);

static const unsigned char mask[4] = { 0x37, 0xfa, 0x21, 0x3d };

/* A masked frame into buf; `first` is FIN, reserved bits and opcode. */
static struct osh_str frame(char *buf, unsigned char first, const char *payload, size_t len)
{
	size_t at = 2;

	buf[0] = (char)first;
	buf[1] = (char)(0x80 | (len <= 125 ? len : len <= 0xffff ? 126 : 127));
	for (size_t extra = len <= 125 ? 0 : len <= 0xffff ? 2 : 8; extra; extra--)
		buf[at++] = (char)(len >> 8 * (extra - 1));
	memcpy(buf + at, mask, 4);
	memcpy(buf + at + 4, payload, len);
	osh_websocket_mask(buf + at + 4, len, mask, 0);
	return osh_str_n(buf, at + 4 + len);
}

/* Feed everything; stop at a text or an error. `step`: bytes that arrive at once. Returns the
 * last event, NEED_MORE when all was taken; *ret_passed counts what goes on. */
static enum osh_websocket_event feed(struct osh_str bytes, size_t step, size_t *ret_passed)
{
	size_t at = 0, end = step < bytes.len ? step : bytes.len, used;

	*ret_passed = 0;
	for (;;) {
		enum osh_websocket_event event = osh_websocket_take(
			&reader, osh_str_n(bytes.data + at, end - at), 4096, &used);

		at += used;
		cr_assert(at <= end);
		if (event == OSH_WEBSOCKET_PASS)
			*ret_passed += used;
		if (event == OSH_WEBSOCKET_TEXT || event == OSH_WEBSOCKET_BAD)
			return event;
		if (event != OSH_WEBSOCKET_NEED_MORE)
			continue;
		cr_assert_eq(used, 0);
		if (end == bytes.len)
			return event;
		end = end + step < bytes.len ? end + step : bytes.len;
	}
}

static void expect_text(const char *text)
{
	cr_expect(osh_str_eq_c(osh_buf_str(&reader.text), text), "got '%.*s'", (int)reader.text.len,
		  reader.text.len ? osh_buf_bytes(&reader.text) : "");
	osh_websocket_next(&reader);
	cr_expect_eq(reader.text.room, 0, "memory is given back");
}

/* ---- What passes ---------------------------------------------------------------------------- */

/* The example of RFC 6455 5.7. */
Test(websocket, hello_of_the_standard)
{
	static const char hello[] = "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
	size_t passed;

	for (size_t step = 1; step <= sizeof(hello) - 1; step++) {
		cr_expect_eq(feed(osh_str_n(hello, sizeof(hello) - 1), step, &passed), OSH_WEBSOCKET_TEXT);
		cr_expect_eq(passed, 0, "no byte goes on before the verdict");
		expect_text("Hello");
	}
}

Test(websocket, lengths_of_all_three_forms)
{
	static const size_t sizes[] = { 0, 1, 125, 126, 127, 65535, 65536, 70000 };
	static char payload[70001], buf[70100];
	size_t passed;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(payload, 'x', sizes[i]);
		payload[sizes[i]] = '\0';
		cr_expect_eq(feed(frame(buf, 0x81, payload, sizes[i]), 5000, &passed), OSH_WEBSOCKET_TEXT);
		cr_expect_eq(reader.text.len, sizes[i]);
		expect_text(payload);
	}
}

Test(websocket, fragments_with_control_frames_between)
{
	char bytes[256], one[64];
	size_t len = 0, passed;
	struct osh_str part;
	static const struct { unsigned char first; const char *payload; } frames[] = {
		{ 0x01, "first " }, { 0x89, "ping" }, { 0x00, "" }, { 0x8a, "" }, { 0x00, "second " }, { 0x80, "third" },
	};

	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		part = frame(one, frames[i].first, frames[i].payload, strlen(frames[i].payload));
		memcpy(bytes + len, part.data, part.len);
		len += part.len;
	}
	for (size_t step = 1; step < len; step += 3) {
		cr_expect_eq(feed(osh_str_n(bytes, len), step, &passed), OSH_WEBSOCKET_TEXT);
		cr_expect_eq(passed, 10 + 6, "both control frames, whole");
		expect_text("first second third");
	}
}

Test(websocket, binary_passes_and_a_text_may_follow)
{
	char bytes[128], one[64];
	struct osh_str part = frame(bytes, 0x02, "\xff\xfe", 2);
	size_t len = part.len, binary, passed;

	part = frame(one, 0x80, "\x00", 1);
	memcpy(bytes + len, part.data, part.len);
	binary = len += part.len;
	part = frame(one, 0x81, "text", 4);
	memcpy(bytes + len, part.data, part.len);
	len += part.len;
	cr_expect_eq(feed(osh_str_n(bytes, len), 3, &passed), OSH_WEBSOCKET_TEXT);
	cr_expect_eq(passed, binary);
	expect_text("text");
}

Test(websocket, a_character_split_between_fragments)
{
	char bytes[64], one[32];
	struct osh_str part = frame(bytes, 0x01, "\xc3", 1);
	size_t len = part.len, passed;

	part = frame(one, 0x80, "\xa9", 1);
	memcpy(bytes + len, part.data, part.len);
	cr_expect_eq(feed(osh_str_n(bytes, len + part.len), 100, &passed), OSH_WEBSOCKET_TEXT);
	expect_text("\xc3\xa9");
}

Test(websocket, no_more_than_there_is_room_for)
{
	static char payload[5000], buf[5100];
	struct osh_str bytes = frame(buf, 0x82, payload, sizeof(payload));
	size_t used;

	cr_expect_eq(osh_websocket_take(&reader, bytes, 10, &used), OSH_WEBSOCKET_NEED_MORE);
	cr_expect_eq(osh_websocket_take(&reader, bytes, 200, &used), OSH_WEBSOCKET_PASS);
	cr_expect_eq(used, 8, "the head");
	bytes = osh_str_n(bytes.data + used, bytes.len - used);
	cr_expect_eq(osh_websocket_take(&reader, bytes, 200, &used), OSH_WEBSOCKET_PASS);
	cr_expect_eq(used, 200);
}

Test(websocket, close_frames)
{
	static const struct { const char *payload; size_t len; enum osh_websocket_event want; unsigned code; } cases[] = {
		{ "", 0, OSH_WEBSOCKET_PASS, 0 },
		{ "\x03\xe8", 2, OSH_WEBSOCKET_PASS, 0 },
		{ "\x03\xe8" "bye", 5, OSH_WEBSOCKET_PASS, 0 },
		{ "\x0f\xa0", 2, OSH_WEBSOCKET_PASS, 0 },
		{ "\x03", 1, OSH_WEBSOCKET_BAD, 1002 },
		{ "\x03\xed", 2, OSH_WEBSOCKET_BAD, 1002 }, /* 1005 */
		{ "\x00\x01", 2, OSH_WEBSOCKET_BAD, 1002 },
		{ "\x03\xe8\xff", 3, OSH_WEBSOCKET_BAD, 1007 },
	};
	char buf[64];
	size_t used;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct osh_str bytes = frame(buf, 0x88, cases[i].payload, cases[i].len);

		init();
		cr_expect_eq(osh_websocket_take(&reader, bytes, 4096, &used), cases[i].want, "case %zu", i);
		if (cases[i].want == OSH_WEBSOCKET_BAD)
			cr_expect_eq(reader.code, cases[i].code, "case %zu", i);
		else
			cr_expect_eq(osh_websocket_take(&reader, bytes, 4096, &used), OSH_WEBSOCKET_BAD,
				     "nothing after a close frame");
	}
}

/* ---- What does not -------------------------------------------------------------------------------- */

#define BYTES(literal) literal, sizeof(literal) - 1

/* C22 */
Test(websocket, errors)
{
	static const struct { const char *what, *bytes; size_t len; unsigned code; } cases[] = {
		{ "not masked", BYTES("\x81\x01x"), 1002 },
		{ "RSV1", BYTES("\xc1\x80\0\0\0\0"), 1002 },
		{ "RSV2", BYTES("\xa1\x80\0\0\0\0"), 1002 },
		{ "RSV3", BYTES("\x91\x80\0\0\0\0"), 1002 },
		{ "RSV on a control frame", BYTES("\xc9\x80\0\0\0\0"), 1002 },
		{ "opcode 3", BYTES("\x83\x80\0\0\0\0"), 1002 },
		{ "opcode 11", BYTES("\x8b\x80\0\0\0\0"), 1002 },
		{ "fragmented ping", BYTES("\x09\x80\0\0\0\0"), 1002 },
		{ "long ping", BYTES("\x89\xfe\0\x7e\0\0\0\0"), 1002 },
		{ "125 in two bytes", BYTES("\x81\xfe\0\x7d\0\0\0\0"), 1002 },
		{ "65535 in eight bytes", BYTES("\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0"), 1002 },
		{ "a negative length", BYTES("\x82\xff\x80\0\0\0\0\1\0\0\0\0\0\0"), 1002 },
		{ "continues nothing", BYTES("\x80\x80\0\0\0\0"), 1002 },
		{ "text within a text", BYTES("\x01\x80\0\0\0\0\x81\x80\0\0\0\0"), 1002 },
		{ "text within binary", BYTES("\x02\x80\0\0\0\0\x81\x80\0\0\0\0"), 1002 },
		{ "bad UTF-8", BYTES("\x81\x82\0\0\0\0\xc3\x28"), 1007 },
		{ "a surrogate", BYTES("\x81\x83\0\0\0\0\xed\xa0\x80"), 1007 },
		{ "cut UTF-8", BYTES("\x81\x81\0\0\0\0\xc3"), 1007 },
		{ "4 MiB and one", BYTES("\x81\xff\0\0\0\0\0\x40\0\1\0\0\0\0"), 1009 },
		{ "binary of 16 MiB and one", BYTES("\x82\xff\0\0\0\0\1\0\0\1\0\0\0\0"), 1009 },
	};
	size_t passed;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		init();
		cr_expect_eq(feed(osh_str_n(cases[i].bytes, cases[i].len), 1, &passed), OSH_WEBSOCKET_BAD, "%s",
			     cases[i].what);
		cr_expect_eq(reader.code, cases[i].code, "%s: %u", cases[i].what, reader.code);
		cr_expect(reader.reason && *reader.reason);
		fini();
	}
	init();
}

Test(websocket, sizes_at_their_bounds_begin)
{
	size_t passed;

	cr_expect_eq(feed(osh_str_n("\x81\xff\0\0\0\0\0\x40\0\0\0\0\0\0", 14), 20, &passed), OSH_WEBSOCKET_NEED_MORE);
	init();
	cr_expect_eq(feed(osh_str_n("\x82\xff\0\0\0\0\1\0\0\0\0\0\0\0", 14), 20, &passed), OSH_WEBSOCKET_NEED_MORE);
	cr_expect_eq(passed, 14);
}

Test(websocket, fragments_have_a_bound)
{
	static const char begin[] = "\x01\x80\0\0\0\0", more[] = "\x00\x80\0\0\0\0";
	size_t passed;

	cr_assert_eq(feed(osh_str_n(begin, 6), 6, &passed), OSH_WEBSOCKET_NEED_MORE);
	for (int i = 1; i < OSH_WEBSOCKET_FRAGMENTS_MAX; i++)
		cr_assert_eq(feed(osh_str_n(more, 6), 6, &passed), OSH_WEBSOCKET_NEED_MORE, "%d", i);
	cr_expect_eq(feed(osh_str_n(more, 6), 6, &passed), OSH_WEBSOCKET_BAD);
	cr_expect_eq(reader.code, 1009);
}

/* Many small fragments may not add up beyond the bound of a text either. */
Test(websocket, a_text_in_fragments_has_the_same_bound)
{
	static char payload[2 << 20], buf[(2 << 20) + 16];
	size_t passed;

	memset(payload, 'x', sizeof(payload));
	cr_expect_eq(feed(frame(buf, 0x01, payload, sizeof(payload)), 65536, &passed), OSH_WEBSOCKET_NEED_MORE);
	cr_expect_eq(feed(frame(buf, 0x00, payload, sizeof(payload)), 65536, &passed), OSH_WEBSOCKET_NEED_MORE);
	cr_expect_eq(feed(frame(buf, 0x00, "", 0), 65536, &passed), OSH_WEBSOCKET_NEED_MORE);
	cr_expect_eq(feed(frame(buf, 0x80, "x", 1), 65536, &passed), OSH_WEBSOCKET_BAD);
	cr_expect_eq(reader.code, 1009);
}

/* ---- What we write ----------------------------------------------------------------------------------- */

Test(websocket, a_head_reads_back)
{
	static const size_t sizes[] = { 0, 1, 125, 126, 65535, 65536, OSH_WEBSOCKET_TEXT_MAX };
	static char buf[OSH_WEBSOCKET_TEXT_MAX + OSH_WEBSOCKET_HEAD_MAX];
	size_t passed;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t head = osh_websocket_write_head(buf, sizes[i], mask);

		memset(buf + head, 'y', sizes[i]);
		/* In two pieces, at an odd place. */
		osh_websocket_mask(buf + head, sizes[i] / 3, mask, 0);
		osh_websocket_mask(buf + head + sizes[i] / 3, sizes[i] - sizes[i] / 3, mask, sizes[i] / 3);
		cr_expect_eq(feed(osh_str_n(buf, head + sizes[i]), 1 << 20, &passed), OSH_WEBSOCKET_TEXT);
		cr_expect_eq(reader.text.len, sizes[i]);
		for (size_t j = 0; j < reader.text.len; j++)
			cr_assert_eq(osh_buf_bytes(&reader.text)[j], 'y');
		osh_websocket_next(&reader);
	}
}

Test(websocket, a_close_frame_carries_code_and_reason)
{
	char buf[OSH_WEBSOCKET_CONTROL_MAX], reason[300];
	size_t len = osh_websocket_write_close(buf, OSH_WEBSOCKET_POLICY, "no");

	cr_expect_eq(len, 6);
	cr_expect_arr_eq(buf, "\x88\x04\x03\xf0no", 6);
	memset(reason, 'a', sizeof(reason));
	reason[122] = (char)0xc3; /* é, whose second byte does not fit */
	reason[123] = (char)0xa9;
	reason[sizeof(reason) - 1] = '\0';
	len = osh_websocket_write_close(buf, OSH_WEBSOCKET_RELOAD, reason);
	cr_expect_eq(len, 2 + 2 + 122, "cut before the character, %zu", len);
	cr_expect_eq((unsigned char)buf[1], len - 2);
}

/* ---- Directions that nobody reads ------------------------------------------------------------------------ */

Test(websocket, the_walker_finds_every_boundary)
{
	/* text "ab", an empty ping, 126 bytes of binary. */
	char bytes[4 + 2 + 4 + 126] = "\x81\x02" "ab" "\x89\x00" "\x82\x7e\x00\x7e";
	static const size_t ends[] = { 4, 6, sizeof(bytes) };

	for (size_t cut = 1; cut < sizeof(bytes); cut++) {
		struct osh_websocket_walker walker = { .left = 0 };
		size_t at = osh_websocket_walk(&walker, osh_str_n(bytes, cut), false), end = 0;

		cr_expect(at <= cut && !walker.fault);
		while (ends[end] < at)
			end++;
		cr_expect_eq(osh_websocket_at_boundary(&walker), at == 0 || ends[end] == at, "%zu", cut);
		if (osh_websocket_at_boundary(&walker)) /* the next head is not whole: none of it passes */
			cr_expect(cut - at < 4);
		else
			at += osh_websocket_walk(&walker, osh_str_n(bytes + at, sizeof(bytes) - at), true);
		cr_expect(at == 0 || at == ends[end], "%zu: stopped at %zu", cut, at);
		cr_expect(osh_websocket_at_boundary(&walker));
	}
}

Test(websocket, at_a_boundary_nothing_more_is_passed)
{
	struct osh_websocket_walker walker = { .left = 0 };

	cr_expect_eq(osh_websocket_walk(&walker, osh_str_n("\x81\x01x", 3), true), 0);
	cr_expect_eq(osh_websocket_walk(&walker, osh_str_n("\x81\x01x", 3), false), 3);
}

Test(websocket, what_is_no_frame_stops_the_walk)
{
	static const struct {
		const char *name, *bytes;
		size_t len;
		bool from_client, extended;
		size_t passed; /* SIZE_MAX: all, without a fault */
	} table[] = {
		{ "client's text", BYTES("\x81\x81\0\0\0\0x"), true, false, SIZE_MAX },
		{ "client's text, compressed", BYTES("\xc1\x81\0\0\0\0x"), true, true, SIZE_MAX },
		{ "... and no extension", BYTES("\xc1\x81\0\0\0\0x"), true, false, 0 },
		{ "unmasked by a client", BYTES("\x81\x01x"), true, false, 0 },
		{ "server's text", BYTES("\x81\x01x"), false, false, SIZE_MAX },
		{ "masked by a server", BYTES("\x81\x81\0\0\0\0x"), false, false, 0 },
		{ "a request", BYTES("GET /secret HTTP/1.1\r\n"), true, false, 0 },
		{ "a response", BYTES("HTTP/1.1 200 OK\r\n"), false, true, 0 },
		{ "unknown opcode", BYTES("\x83\x01x"), false, false, 0 },
		{ "behind a good one", BYTES("\x81\x01xHTTP/1.1"), false, false, 3 },
		{ "long ping", BYTES("\x89\x7e\0\x7e"), false, false, 0 },
		{ "length of 2^63", BYTES("\x82\x7f\x80\0\0\0\0\0\0\0"), false, false, 0 },
		{ "length in the long form", BYTES("\x82\x7e\0\x05hello"), false, false, 0 },
		{ "close", BYTES("\x88\x02\x03\xe8"), false, false, SIZE_MAX },
		{ "behind a close", BYTES("\x88\x02\x03\xe8\x81\x01x"), false, false, 4 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct osh_websocket_walker walker = { .from_client = table[i].from_client,
						       .extended = table[i].extended };
		struct osh_str bytes = osh_str_n(table[i].bytes, table[i].len);
		size_t walked = osh_websocket_walk(&walker, bytes, false);

		cr_expect_eq(walked, table[i].passed == SIZE_MAX ? bytes.len : table[i].passed, "%s: %zu",
			     table[i].name, walked);
		cr_expect_eq(walker.fault != NULL, table[i].passed != SIZE_MAX, "%s", table[i].name);
	}
}
