/* The states of a flow that have a file of their own; session.c steps it through them. Each
 * returns true when something changed: step again. */
#ifndef OSH_PROXY_SESSION_STEP_H
#define OSH_PROXY_SESSION_STEP_H

#include "proxy/session.h"

/* ---- session_sniff.c ------------------------------------------------------------------ */

bool osh_session_step_sniff(struct osh_session *session);
bool osh_session_step_handshake(struct osh_session *session);
/* L4: the client's first bytes are looked at only to hold TLS to its name; the server may
 * speak first meanwhile. */
bool osh_session_step_relay(struct osh_session *session);

/* ---- session_farewell.c --------------------------------------------------------------- */

/* It is denied, for `reason`, and speaks no HTTP: end it in its own language. The verdict is
 * the caller's. */
void osh_session_take_leave(struct osh_session *session, const char *reason);
bool osh_session_step_farewell(struct osh_session *session);

#endif
