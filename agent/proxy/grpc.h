/* What gRPC adds to HTTP/2 as far as openshell has to speak it: the status of a call, which
 * its clients read instead of HTTP's ("gRPC over HTTP2", grpc/grpc doc/PROTOCOL-HTTP2.md).
 * Pure over bytes. */
#ifndef OSH_PROXY_GRPC_H
#define OSH_PROXY_GRPC_H

#include <stdbool.h>

#include "base/buf.h"

/* Is it the content type of a call: application/grpc, application/grpc+proto, ...? */
bool osh_grpc_is_call(struct osh_str content_type);

/* The fields that end a call which HTTP would answer with `http_status`, as lines of a head:
 * grpc-status (doc/http-grpc-status-mapping.md) and grpc-message. Returns 0, -ENOBUFS or
 * -ENOMEM of the buffer. */
int osh_grpc_write_status(struct osh_buf *out, unsigned http_status, struct osh_str message);

#endif
