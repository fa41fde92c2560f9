/* The last words to a program that is denied and speaks no HTTP, in its own language, where that
 * takes one message. Pure: bytes to words, and words to bytes. */
#ifndef OSH_PROXY_FAREWELL_H
#define OSH_PROXY_FAREWELL_H

#include "base/buf.h"

enum osh_tongue {
	OSH_TONGUE_UNKNOWN = 0,
	OSH_TONGUE_MORE,          /* too few bytes to tell */
	OSH_TONGUE_TLS,           /* a record of a handshake (RFC 8446 5.1) */
	OSH_TONGUE_SSH,           /* an identification string (RFC 4253 4.2) */
	OSH_TONGUE_POSTGRES,      /* StartupMessage (PostgreSQL "Frontend/Backend Protocol", 55.7) */
	OSH_TONGUE_POSTGRES_ASKS, /* SSLRequest or GSSENCRequest, which a StartupMessage follows */
};

#define OSH_POSTGRES_REQUEST_BYTES 8 /* of SSLRequest and GSSENCRequest */
#define OSH_FAREWELL_BYTES_MAX 1024

/* What a client speaks whose first bytes these are. */
enum osh_tongue osh_tongue_of(struct osh_str bytes);

/* Append what a server would say to end it: a fatal alert, SSH_MSG_DISCONNECT, ErrorResponse with
 * `reason`; to POSTGRES_ASKS that there is no encryption. Needs room for OSH_FAREWELL_BYTES_MAX.
 * Returns 0, -ENOENT for a tongue without words, or an error of osh_buf_append. */
int osh_farewell_write(enum osh_tongue tongue, const char *reason, struct osh_buf *out);

#endif
