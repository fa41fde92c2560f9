/* A request's body, held back until it has been judged: kept as received, inflated for the
 * question. Knows nothing of the codec that the request came by. */
#ifndef OSH_PROXY_INSPECT_H
#define OSH_PROXY_INSPECT_H

#include <stdbool.h>

#include "base/buf.h"
#include "policy/policy.h"
#include "proxy/worker.h"

/* All bodies and WebSocket texts that one sandbox has under inspection in one worker; what
 * comes beyond it is refused. */
#define OSH_HELD_BYTES_MAX (64u << 20)

/* Count bytes that a flow begins to hold. False: there is no room. */
bool osh_held_take(struct osh_view *view, size_t len);
void osh_held_give_back(struct osh_view *view, size_t len);

/* One header that may be given once at most. */
struct osh_inspect_header {
	unsigned count;
	char value[256];
	bool cut;
};

struct osh_inspection {
	struct osh_view *view;
	uint32_t limit;      /* of the endpoint that asked for the body */
	struct osh_buf body; /* as received, without its framing; at most `limit` bytes */
	struct osh_buf sent; /* what goes in its place, when credentials were put in: a secret */
	bool too_large;
	struct osh_inspect_header content_type, content_encoding, accept;
};

/* NULL when memory is out. */
struct osh_inspection *osh_inspection_new(struct osh_view *view, uint32_t limit);
void osh_inspection_free(struct osh_inspection *inspection);
/* Remember a header if it matters. */
void osh_inspection_header(struct osh_inspection *inspection, struct osh_str name,
			   struct osh_str value);
/* Hold payload. What is beyond the limit is not kept; too_large tells. 0, -EDQUOT: the
 * sandbox holds too much already, -ENOMEM. */
int osh_inspection_add(struct osh_inspection *inspection, struct osh_str payload);

/* What goes to the server. */
struct osh_str osh_inspection_sent(const struct osh_inspection *inspection);

/* The message to put to the policy; `inflated` is its memory when the body is compressed
 * (to be given back with osh_buf_done). NULL, or why nobody can tell what the body says. */
const char *osh_inspection_read(const struct osh_inspection *inspection, struct osh_buf *inflated,
				struct osh_message *ret_message);

enum osh_inflate_result {
	OSH_INFLATE_OK,
	OSH_INFLATE_BAD,       /* damaged, cut, or bytes behind its end */
	OSH_INFLATE_TOO_LARGE, /* more than the buffer's maximum */
	OSH_INFLATE_NO_MEMORY,
};
enum osh_coding { OSH_CODING_NONE, OSH_CODING_GZIP, OSH_CODING_DEFLATE, OSH_CODING_OTHER };

/* What one Content-Encoding value names; a list of several is OTHER. */
enum osh_coding osh_coding_parse(struct osh_str value);
/* Inflate into `out`, never beyond its maximum. One gzip member alone: what stands behind it
 * is read by some servers and not by others. */
enum osh_inflate_result osh_inflate(enum osh_coding coding, struct osh_str bytes,
				    struct osh_buf *out);

#endif
