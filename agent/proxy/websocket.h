/* WebSocket frames (RFC 6455): read strictly, texts put together, where the policy wants to see
 * them; else only followed from head to head. Pure over bytes: no I/O. */
#ifndef OSH_PROXY_WEBSOCKET_H
#define OSH_PROXY_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define OSH_WEBSOCKET_TEXT_MAX (4u << 20)
#define OSH_WEBSOCKET_BINARY_MAX (16u << 20) /* of one frame */
#define OSH_WEBSOCKET_FRAGMENTS_MAX 4096
#define OSH_WEBSOCKET_HEAD_MAX 14
#define OSH_WEBSOCKET_CONTROL_MAX (OSH_WEBSOCKET_HEAD_MAX + 125)

/* RFC 6455 7.4.1 and its registry. */
enum osh_websocket_code {
	OSH_WEBSOCKET_PROTOCOL_ERROR = 1002,
	OSH_WEBSOCKET_BAD_TEXT = 1007,
	OSH_WEBSOCKET_POLICY = 1008,
	OSH_WEBSOCKET_TOO_BIG = 1009,
	OSH_WEBSOCKET_RELOAD = 1012,
	OSH_WEBSOCKET_NO_ROOM = 1013,
};

enum osh_websocket_event {
	OSH_WEBSOCKET_NEED_MORE, /* nothing can be done with these bytes alone */
	OSH_WEBSOCKET_PASS,      /* the used bytes go on as they are */
	OSH_WEBSOCKET_KEPT,      /* the used bytes belong to a text and are kept */
	OSH_WEBSOCKET_TEXT,      /* the used bytes complete the text in `text` */
	OSH_WEBSOCKET_BAD,       /* `code` and `reason` say why */
};

enum osh_websocket_message { OSH_WEBSOCKET_NONE, OSH_WEBSOCKET_IN_TEXT, OSH_WEBSOCKET_IN_BINARY };

struct osh_websocket_reader {
	enum osh_websocket_message message; /* begun and not ended */
	unsigned fragments;
	uint64_t left;           /* payload of the frame in progress */
	size_t masked;           /* bytes of that payload seen: where the mask stands */
	bool in_frame, last;     /* the frame in progress ends its message */
	unsigned char mask[4];
	bool closed;             /* a close frame went by: nothing may follow */
	struct osh_buf text;     /* unmasked */
	enum osh_websocket_code code;
	const char *reason;
};

void osh_websocket_reader_init(struct osh_websocket_reader *reader);
void osh_websocket_reader_done(struct osh_websocket_reader *reader);
/* Take from the front of the client's bytes; no extension was agreed upon. At most `max` bytes are to be passed on, and a
 * control frame only whole: max is OSH_WEBSOCKET_CONTROL_MAX at least. */
enum osh_websocket_event osh_websocket_take(struct osh_websocket_reader *reader, struct osh_str bytes,
					    size_t max, size_t *ret_used);
/* The text has been dealt with: give its memory back and read on. */
void osh_websocket_next(struct osh_websocket_reader *reader);

/* The head of one whole text frame as a client sends it. Returns its length. */
size_t osh_websocket_write_head(char buf[static OSH_WEBSOCKET_HEAD_MAX], uint64_t len,
				const unsigned char mask[static 4]);
/* XOR with the mask, which stands at payload byte `at` (5.3). */
void osh_websocket_mask(char *bytes, size_t len, const unsigned char mask[static 4], size_t at);
/* A close frame as a server sends it; the reason is cut to what fits. Returns its length. */
size_t osh_websocket_write_close(char buf[static OSH_WEBSOCKET_CONTROL_MAX],
				 enum osh_websocket_code code, const char *reason);

/* Follows a direction whose payload nobody reads, and holds it to the form of frames (RFC 6455
 * 5.1, 5.2): what is no WebSocket does not get through an upgrade to one. */
struct osh_websocket_walker {
	bool from_client;  /* its frames are masked, those of a server are not */
	bool extended;     /* extensions were agreed upon: reserved bits are theirs */
	bool closed;       /* the frame in progress, or the last one, is a close frame */
	uint64_t left;     /* payload of the frame in progress */
	const char *fault; /* of the frame at which the walk stopped for ever; NULL: none */
};
/* How many of these bytes may be passed on: payload, and whole heads; with `to_boundary` not
 * beyond the end of the frame in progress. The walker moves past them. */
size_t osh_websocket_walk(struct osh_websocket_walker *walker, struct osh_str bytes, bool to_boundary);
static inline bool osh_websocket_at_boundary(const struct osh_websocket_walker *walker)
{
	return walker->left == 0;
}

#endif
