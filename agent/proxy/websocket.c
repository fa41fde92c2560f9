#include "proxy/websocket.h"

#include <string.h>

#include "base/knockout.h"

#define FIN 0x80
#define RESERVED 0x70
#define MASKED 0x80
#define CONTROL 0x08
#define CONTROL_PAYLOAD_MAX 125

enum opcode {
	CONTINUATION = 0x0,
	TEXT = 0x1,
	BINARY = 0x2,
	CLOSE = 0x8,
	PING = 0x9,
	PONG = 0xa,
};

static const char after_close[] = "bytes after the close frame";

/* ---- Heads ------------------------------------------------------------------------------- */

/* One frame's head, its numbers read (5.2). */
struct head {
	unsigned opcode;
	bool fin, reserved, masked;
	bool minimal; /* the length is written in the shortest form, and has no sign bit */
	uint64_t len;
	size_t size;
	unsigned char mask[4];
};

static uint64_t read_be(const unsigned char *p, size_t count)
{
	uint64_t value = 0;

	for (size_t i = 0; i < count; i++)
		value = value << 8 | p[i];
	return value;
}

/* False: the head is not whole. */
static bool read_head(const unsigned char *p, size_t len, struct head *head)
{
	size_t extra;

	if (len < 2)
		return false;
	*head = (struct head){
		.opcode = p[0] & 15,
		.fin = p[0] & FIN,
		.reserved = p[0] & RESERVED,
		.masked = p[1] & MASKED,
		.minimal = true,
		.len = p[1] & 127,
	};
	extra = head->len == 126 ? 2 : head->len == 127 ? 8 : 0;
	head->size = 2 + extra + (head->masked ? 4 : 0);
	if (len < head->size)
		return false;
	if (extra) {
		head->len = read_be(p + 2, extra);
		head->minimal = extra == 2 ? head->len > 125 : head->len > 0xffff && !(head->len >> 63);
	}
	if (head->masked)
		memcpy(head->mask, p + 2 + extra, 4);
	return true;
}

/* What neither side may send, whatever its message (5.1, 5.2). */
static const char *check_head(const struct head *head, bool from_client, bool extended)
{
	if (head->reserved && !extended)
		return "a frame uses reserved bits, but no extension was agreed upon";
	if (head->masked != from_client)
		return from_client ? "a frame of the client is not masked" : "a frame of the server is masked";
	if (!head->minimal)
		return "a frame's length is not in its shortest form";
	if (head->opcode > PONG || (head->opcode > BINARY && head->opcode < CLOSE))
		return "a frame has an unknown opcode";
	if ((head->opcode & CONTROL) && (!head->fin || head->len > CONTROL_PAYLOAD_MAX))
		return "a control frame is fragmented or longer than 125 bytes";
	return NULL;
}

size_t osh_websocket_write_head(char buf[static OSH_WEBSOCKET_HEAD_MAX], uint64_t len,
				const unsigned char mask[static 4])
{
	size_t extra = len <= 125 ? 0 : len <= 0xffff ? 2 : 8, at = 2;

	buf[0] = (char)(FIN | TEXT);
	buf[1] = (char)(MASKED | (extra == 0 ? len : extra == 2 ? 126 : 127));
	for (size_t i = extra; i > 0; i--)
		buf[at++] = (char)(len >> 8 * (i - 1));
	memcpy(buf + at, mask, 4);
	return at + 4;
}

void osh_websocket_mask(char *bytes, size_t len, const unsigned char mask[static 4], size_t at)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] ^= (char)mask[(at + i) & 3];
}

size_t osh_websocket_write_close(char buf[static OSH_WEBSOCKET_CONTROL_MAX],
				 enum osh_websocket_code code, const char *reason)
{
	size_t len = strlen(reason);

	if (len > CONTROL_PAYLOAD_MAX - 2)
		len = CONTROL_PAYLOAD_MAX - 2;
	/* The reason is UTF-8 (5.5.1): not cut inside a character. */
	while (len && len < strlen(reason) && ((unsigned char)reason[len] & 0xc0) == 0x80)
		len--;
	buf[0] = (char)(FIN | CLOSE);
	buf[1] = (char)(len + 2);
	buf[2] = (char)(code >> 8);
	buf[3] = (char)code;
	memcpy(buf + 4, reason, len);
	return len + 4;
}

/* ---- The client's direction ------------------------------------------------------------------ */

void osh_websocket_reader_init(struct osh_websocket_reader *r)
{
	*r = (struct osh_websocket_reader){ .message = OSH_WEBSOCKET_NONE };
	osh_buf_init(&r->text, OSH_WEBSOCKET_TEXT_MAX);
}

void osh_websocket_reader_done(struct osh_websocket_reader *r)
{
	osh_buf_done(&r->text);
}

void osh_websocket_next(struct osh_websocket_reader *r)
{
	osh_buf_clear(&r->text);
	osh_buf_trim(&r->text);
}

static enum osh_websocket_event bad(struct osh_websocket_reader *r, enum osh_websocket_code code,
				    const char *reason)
{
	r->code = code;
	r->reason = reason;
	return OSH_WEBSOCKET_BAD;
}

static enum osh_websocket_event bad_frame(struct osh_websocket_reader *r, const char *reason)
{
	return bad(r, OSH_WEBSOCKET_PROTOCOL_ERROR, reason);
}

/* Codes that may stand in a close frame (7.4). */
static bool is_close_code(unsigned code)
{
	return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
	       (code >= 3000 && code <= 4999);
}

static enum osh_websocket_event check_close(struct osh_websocket_reader *r, const struct head *head,
					    const char *payload)
{
	char plain[CONTROL_PAYLOAD_MAX];

	r->closed = true;
	if (head->len == 0)
		return OSH_WEBSOCKET_PASS;
	memcpy(plain, payload, head->len);
	osh_websocket_mask(plain, head->len, head->mask, 0);
	if (head->len == 1 || !is_close_code((unsigned)read_be((const unsigned char *)plain, 2)))
		return bad_frame(r, "a close frame holds no valid code");
	if (!osh_str_is_utf8(osh_str_n(plain + 2, head->len - 2)))
		return bad(r, OSH_WEBSOCKET_BAD_TEXT, "the reason of a close frame is not UTF-8");
	return OSH_WEBSOCKET_PASS;
}

/* Control frames may come between the fragments of a message, and pass at once. */
static enum osh_websocket_event take_control(struct osh_websocket_reader *r, const struct head *head,
					     struct osh_str bytes, size_t *ret_used)
{
	if (bytes.len < head->size + head->len)
		return OSH_WEBSOCKET_NEED_MORE;
	*ret_used = head->size + head->len;
	return head->opcode == CLOSE ? check_close(r, head, bytes.data + head->size) : OSH_WEBSOCKET_PASS;
}

/* Which message the frame belongs to (5.4). */
static enum osh_websocket_event begin_fragment(struct osh_websocket_reader *r, const struct head *head)
{
	if (head->opcode == CONTINUATION && r->message == OSH_WEBSOCKET_NONE)
		return bad_frame(r, "a continuation frame continues nothing");
	if (head->opcode != CONTINUATION && r->message != OSH_WEBSOCKET_NONE)
		return bad_frame(r, "a message begins before the last one ended");
	if (head->opcode == TEXT)
		r->message = OSH_WEBSOCKET_IN_TEXT;
	else if (head->opcode == BINARY)
		r->message = OSH_WEBSOCKET_IN_BINARY;
	if (head->opcode != CONTINUATION)
		r->fragments = 0;
	if (++r->fragments > OSH_WEBSOCKET_FRAGMENTS_MAX)
		return bad(r, OSH_WEBSOCKET_TOO_BIG, "a message has more than 4096 fragments");
	if (r->message == OSH_WEBSOCKET_IN_BINARY && head->len > OSH_WEBSOCKET_BINARY_MAX)
		return bad(r, OSH_WEBSOCKET_TOO_BIG, "a binary frame is larger than 16 MiB");
	if (r->message == OSH_WEBSOCKET_IN_TEXT && head->len > osh_buf_free_bytes(&r->text))
		return bad(r, OSH_WEBSOCKET_TOO_BIG, "a text is larger than 4 MiB");
	return OSH_WEBSOCKET_PASS;
}

/* The frame in progress is over. */
static enum osh_websocket_event end_fragment(struct osh_websocket_reader *r)
{
	bool is_text = r->message == OSH_WEBSOCKET_IN_TEXT;

	r->in_frame = false;
	if (r->last)
		r->message = OSH_WEBSOCKET_NONE;
	if (!is_text)
		return OSH_WEBSOCKET_PASS;
	if (!r->last)
		return OSH_WEBSOCKET_KEPT;
	if (!osh_str_is_utf8(osh_buf_str(&r->text)))
		return bad(r, OSH_WEBSOCKET_BAD_TEXT, "a text is not UTF-8");
	return OSH_WEBSOCKET_TEXT;
}

static enum osh_websocket_event take_head(struct osh_websocket_reader *r, struct osh_str bytes,
					  size_t *ret_used)
{
	enum osh_websocket_event event;
	struct head head;
	const char *fault;

	if (!read_head((const unsigned char *)bytes.data, bytes.len, &head))
		return OSH_WEBSOCKET_NEED_MORE;
	fault = check_head(&head, true, false);
	if (fault)
		return bad_frame(r, fault);
	if (head.opcode & CONTROL)
		return take_control(r, &head, bytes, ret_used);
	event = begin_fragment(r, &head);
	if (event == OSH_WEBSOCKET_BAD)
		return event;
	*ret_used = head.size;
	r->in_frame = true;
	r->last = head.fin;
	r->left = head.len;
	r->masked = 0;
	memcpy(r->mask, head.mask, 4);
	if (r->left == 0)
		return end_fragment(r);
	return r->message == OSH_WEBSOCKET_IN_TEXT ? OSH_WEBSOCKET_KEPT : OSH_WEBSOCKET_PASS;
}

static enum osh_websocket_event keep_text(struct osh_websocket_reader *r, struct osh_str bytes)
{
	if (osh_buf_append_str(&r->text, bytes) < 0)
		return bad(r, OSH_WEBSOCKET_NO_ROOM, "no memory for a text");
	osh_websocket_mask(osh_buf_tail(&r->text) - bytes.len, bytes.len, r->mask, r->masked);
	r->masked = (r->masked + bytes.len) & 3;
	return OSH_WEBSOCKET_KEPT;
}

static enum osh_websocket_event take_payload(struct osh_websocket_reader *r, struct osh_str bytes,
					     size_t max, size_t *ret_used)
{
	bool is_text = r->message == OSH_WEBSOCKET_IN_TEXT;
	size_t len = bytes.len;

	if (!is_text && len > max)
		len = max;
	if (len > r->left)
		len = (size_t)r->left;
	if (is_text && keep_text(r, osh_str_n(bytes.data, len)) == OSH_WEBSOCKET_BAD)
		return OSH_WEBSOCKET_BAD;
	*ret_used = len;
	r->left -= len;
	if (r->left == 0)
		return end_fragment(r);
	return is_text ? OSH_WEBSOCKET_KEPT : OSH_WEBSOCKET_PASS;
}

enum osh_websocket_event osh_websocket_take(struct osh_websocket_reader *r, struct osh_str bytes,
					    size_t max, size_t *ret_used)
{
	*ret_used = 0;
	if (bytes.len == 0 || max < OSH_WEBSOCKET_CONTROL_MAX)
		return OSH_WEBSOCKET_NEED_MORE;
	if (r->closed)
		return bad_frame(r, after_close);
	if (r->in_frame)
		return take_payload(r, bytes, max, ret_used);
	return take_head(r, bytes, ret_used);
}

/* ---- A direction that nobody reads ------------------------------------------------------------ */

static const char *check_walked(const struct osh_websocket_walker *w, const struct head *head)
{
	if (osh_layer_off("frames"))
		return NULL;
	return w->closed ? after_close : check_head(head, w->from_client, w->extended);
}

size_t osh_websocket_walk(struct osh_websocket_walker *w, struct osh_str bytes, bool to_boundary)
{
	size_t at = 0;

	while (at < bytes.len && !w->fault && !(to_boundary && osh_websocket_at_boundary(w))) {
		size_t rest = bytes.len - at;
		struct head head;

		if (w->left) {
			rest = rest < w->left ? rest : (size_t)w->left;
			w->left -= rest;
			at += rest;
			continue;
		}
		if (!read_head((const unsigned char *)bytes.data + at, rest, &head))
			break;
		w->fault = check_walked(w, &head);
		if (w->fault)
			break;
		w->closed = head.opcode == CLOSE;
		w->left = head.len;
		at += head.size;
	}
	return at;
}
