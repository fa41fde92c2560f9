/* WebSocket frames: the same texts and the same bytes passed however the stream is cut; the
 * text that goes on reads back as the one that was judged. */
#include "proxy/websocket.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* What a text becomes on its way to the server. */
static void check_rewritten(struct osh_str text)
{
	static const unsigned char mask[4] = { 9, 0, 255, 1 };
	struct osh_websocket_reader reader;
	struct osh_buf frame;
	char head[OSH_WEBSOCKET_HEAD_MAX];
	size_t used, at = 0;

	osh_buf_init(&frame, OSH_WEBSOCKET_TEXT_MAX + OSH_WEBSOCKET_HEAD_MAX);
	require(osh_buf_append(&frame, head, osh_websocket_write_head(head, text.len, mask)) == 0);
	require(osh_buf_append_str(&frame, text) == 0);
	osh_websocket_mask(osh_buf_tail(&frame) - text.len, text.len, mask, 0);
	osh_websocket_reader_init(&reader);
	for (;;) {
		enum osh_websocket_event event = osh_websocket_take(
			&reader, osh_str_n(osh_buf_bytes(&frame) + at, frame.len - at), 4096, &used);

		at += used;
		require(event == OSH_WEBSOCKET_KEPT || event == OSH_WEBSOCKET_TEXT);
		if (event == OSH_WEBSOCKET_TEXT)
			break;
	}
	require(at == frame.len && osh_str_eq(osh_buf_str(&reader.text), text));
	osh_websocket_reader_done(&reader);
	osh_buf_done(&frame);
}

/* Texts, and passed bytes, each behind a mark; returns the code of the error, 0 none. */
static unsigned run(const unsigned char *data, size_t size, size_t piece, struct osh_buf *texts,
		    struct osh_buf *passed)
{
	struct osh_websocket_reader reader;
	size_t at = 0, end = 0, used;
	unsigned code = 0;

	osh_websocket_reader_init(&reader);
	while (!code) {
		enum osh_websocket_event event = osh_websocket_take(
			&reader, osh_str_n((const char *)data + at, end - at), 300, &used);

		require(used <= end - at);
		if (event == OSH_WEBSOCKET_PASS) {
			require(used > 0);
			osh_buf_append(passed, data + at, used);
		}
		at += used;
		if (event == OSH_WEBSOCKET_TEXT) {
			require(osh_str_is_utf8(osh_buf_str(&reader.text)));
			check_rewritten(osh_buf_str(&reader.text));
			osh_buf_append_str(texts, osh_buf_str(&reader.text));
			osh_buf_append(texts, "|", 1);
			osh_websocket_next(&reader);
		} else if (event == OSH_WEBSOCKET_BAD) {
			require(reader.reason && reader.code >= 1002);
			code = reader.code;
		} else if (event == OSH_WEBSOCKET_NEED_MORE) {
			require(used == 0);
			if (end == size)
				break;
			end = size - end < piece ? size : end + piece;
		}
	}
	osh_websocket_reader_done(&reader);
	return code;
}

/* Where a walk stops, and why, does not depend on how the stream is cut. */
static void check_walker(const unsigned char *data, size_t size, size_t piece, bool from_client)
{
	struct osh_websocket_walker one = { .from_client = from_client }, two = one;
	struct osh_str bytes = osh_str_n((const char *)data, size);
	size_t whole = osh_websocket_walk(&one, bytes, false), at = 0, end = 0;

	require(whole <= size);
	while (end < size) {
		end = size - end < piece ? size : end + piece;
		at += osh_websocket_walk(&two, osh_str_n(bytes.data + at, end - at), true);
		require(at <= end);
		/* Begin the next frame. */
		if (osh_websocket_at_boundary(&two))
			at += osh_websocket_walk(&two, osh_str_n(bytes.data + at, end - at), false);
	}
	require(at == whole && one.left == two.left && one.fault == two.fault && one.closed == two.closed);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct osh_buf texts[2], passed[2];
	unsigned codes[2];
	size_t piece;

	if (size < 1)
		return 0;
	piece = 1 + data[0] % 40;
	data++;
	size--;
	for (int i = 0; i < 2; i++) {
		osh_buf_init(&texts[i], 64u << 20);
		osh_buf_init(&passed[i], 64u << 20);
		codes[i] = run(data, size, i ? piece : size + 1, &texts[i], &passed[i]);
	}
	require(codes[0] == codes[1]);
	require(osh_str_eq(osh_buf_str(&texts[0]), osh_buf_str(&texts[1])));
	require(osh_str_eq(osh_buf_str(&passed[0]), osh_buf_str(&passed[1])));
	for (int i = 0; i < 2; i++) {
		osh_buf_done(&texts[i]);
		osh_buf_done(&passed[i]);
	}
	check_walker(data, size, piece, true);
	check_walker(data, size, piece, false);
	return 0;
}
