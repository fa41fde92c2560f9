/* HTTP/1.1 with the sandbox (RFC 9112): one request at a time is parsed, judged, sent to
 * the real server in canonical form, and answered. What is sent upstream is written
 * anew from the parsed request, never copied, so both sides see one message. */
#ifndef OSH_PROXY_HTTP1_H
#define OSH_PROXY_HTTP1_H

#include "proxy/session.h"

/* Milliseconds. Only tests change them, before a worker starts. */
struct osh_http1_deadlines {
	uint64_t head;     /* from the first byte of a request head to its last, in HTTP/2 also of trailers */
	uint64_t dial;     /* all addresses of the server together */
	uint64_t body;     /* the sandbox sends (or its server takes) no more of the body, or less than a KiB */
	uint64_t reader;   /* the sandbox takes no more of the answer, or less than a KiB of it */
	uint64_t response; /* the server is silent, and has not answered yet */
	uint64_t stream;   /* both are silent, once the answer has begun or in a call of gRPC */
};
extern struct osh_http1_deadlines osh_http1_deadlines;

/* Advance the session's HTTP conversation. True when something changed (step again). */
bool osh_http1_step(struct osh_session *session);
/* The state's deadline passed. True: an answer (408, 504) was queued; step on. */
bool osh_http1_on_deadline(struct osh_session *session);
/* The policy changed while a request is in progress: ends the session when it would
 * now be denied. */
void osh_http1_judge_again(struct osh_session *session);
/* Free the request in progress, if any. One whose server was not reached yet gets its verdict first. */
void osh_http1_drop(struct osh_session *session);

#endif
