/* Which fields of a message go on to the other side, written anew. Pure. */
#ifndef OSH_PROXY_HTTP_PASS_H
#define OSH_PROXY_HTTP_PASS_H

#include "proxy/http_head.h"

/* May the field be passed to the other side? Not when it belongs to one connection (RFC
 * 9110 7.6.1, also what Connection names), frames the message, or tells a server to see
 * another method, path or client than the one that was judged. */
bool osh_http_passes(const struct osh_http_head *head, const struct osh_http_field *field);
/* May a trailer? As a field of a head, and not when it is one of those that a reader has to
 * know before the body (RFC 9110 6.5.1): framing, routing, authentication, conditions, how to
 * decode or to cache. What remains is told of the body: checksums, the metadata of gRPC. */
bool osh_http_trailer_passes(const struct osh_http_field *field);

#endif
