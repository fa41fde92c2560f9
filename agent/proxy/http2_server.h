/* HTTP/2 with the sandbox: each stream is a session of its own, which begins with one whole
 * request in its buffer. It is judged, held, answered and ended by itself; a refusal is its
 * answer, and the connection stays open. */
#ifndef OSH_PROXY_HTTP2_SERVER_H
#define OSH_PROXY_HTTP2_SERVER_H

#include "proxy/session.h"

/* The handshake agreed on h2. Returns 0 or -ENOMEM. */
int osh_http2_begin(struct osh_session *session);
/* Advance as far as the buffers allow. True when something moved. */
bool osh_http2_step(struct osh_session *session);
/* Nothing was asked for as long as the deadline says. */
void osh_http2_on_deadline(struct osh_session *session);
/* End all streams. */
void osh_http2_end(struct osh_session *session);

#endif
