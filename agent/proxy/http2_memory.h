/* What nghttp2 allocates for one session. Field values are copied there on their way to the server, so all of
 * it is wiped when it is freed.
 *
 * When memory runs out nghttp2 does not always know what it has freed already: an item that could not be
 * queued is freed once more with its session (1.52, seen under valgrind). So from the first allocation
 * that fails nothing is freed before osh_http2_memory_done, which frees everything, once. */
#ifndef OSH_PROXY_HTTP2_MEMORY_H
#define OSH_PROXY_HTTP2_MEMORY_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>

struct osh_http2_memory {
	struct osh_http2_piece *pieces; /* in use, or no longer known to be free */
	bool starved;                   /* an allocation failed: the session is to end */
};

/* For nghttp2_session_*_new3, which copies it; `memory`, zeroed, outlives the session. */
nghttp2_mem osh_http2_memory_functions(struct osh_http2_memory *memory);

/* Once nghttp2_session_del has returned. */
void osh_http2_memory_done(struct osh_http2_memory *memory);

#endif
