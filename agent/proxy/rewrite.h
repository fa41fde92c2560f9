/* The credentials of one request, whatever codec it came by: its placeholders are resolved
 * where the endpoint asks for it, and a request that would carry one away unresolved is
 * refused. What rules and records see is judge.c's (osh_judgement.path). */
#ifndef OSH_PROXY_REWRITE_H
#define OSH_PROXY_REWRITE_H

#include "policy/path.h"
#include "proxy/http_head.h"
#include "proxy/inspect.h"
#include "proxy/session.h"

/* Rewritten parts of one head, together. */
#define OSH_REWRITE_HEAD_MAX (64u << 10)
/* A body that is rewritten, as it comes; and as it goes. */
#define OSH_REWRITE_BODY_MAX (256u << 10)
#define OSH_REWRITE_BODY_OUT_MAX (1u << 20)

/* Why a request is refused, and how it is answered. */
struct osh_credential_fault {
	unsigned status;
	const char *error;
	const char *reason;
};
extern const struct osh_credential_fault osh_credential_invalid, osh_credential_mismatch,
	osh_credential_unavailable, osh_credential_uninspected, osh_credential_opaque;

/* Resolve a head in place: path and query (of osh_judgement.sent), and the value of every
 * field. What was rewritten points into `bytes`, which the caller made with
 * osh_buf_init_secret(OSH_REWRITE_HEAD_MAX) and keeps as long; empty afterwards: nothing was,
 * and nothing secret is in the head. NULL, or why the request is refused. */
const struct osh_credential_fault *osh_rewrite_head(const struct osh_session *session,
						    const struct osh_decision *decision,
						    struct osh_str method, struct osh_path *path,
						    struct osh_http_field *fields, size_t count,
						    struct osh_buf *bytes);

/* Does the endpoint want a body of this Content-Type (empty: none given) rewritten? Then it
 * is to be held, up to OSH_REWRITE_BODY_MAX, and put to osh_rewrite_body. `length`: of the
 * body, UINT64_MAX when it is not known yet. */
bool osh_rewrite_wants_body(const struct osh_decision *decision, struct osh_str content_type,
			    uint64_t length);
/* A held body that was allowed. `out`, made with osh_buf_init_secret(OSH_REWRITE_BODY_OUT_MAX),
 * stays empty when the body goes as it came. Compressed ones are looked into, not rewritten. */
const struct osh_credential_fault *osh_rewrite_body(const struct osh_session *session,
						    const struct osh_decision *decision,
						    const struct osh_inspection *inspection,
						    struct osh_buf *out);
/* A WebSocket text of the client, under the same conditions. */
const struct osh_credential_fault *osh_rewrite_text(const struct osh_session *session,
						    const struct osh_decision *decision,
						    struct osh_str text, struct osh_buf *out);
/* A placeholder was found in a part that nobody rewrites: the fault. */
const struct osh_credential_fault *osh_rewrite_refusal(const struct osh_session *session);

#endif
