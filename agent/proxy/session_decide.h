/* Between session.c, which moves a flow through its states, and session_decide.c, which says
 * what may become of it. */
#ifndef OSH_PROXY_SESSION_DECIDE_H
#define OSH_PROXY_SESSION_DECIDE_H

#include "proxy/session.h"

/* A flow was accepted: decide, and start what was decided. The agent may have to be asked
 * first; the flow waits for it in ASKING. */
void osh_session_begin(struct osh_session *session);
/* The deadline of ASKING has passed. */
void osh_session_answer_is_late(struct osh_session *session);
/* It waits no more; harmless when it did not. */
void osh_session_stop_asking(struct osh_session *session);
/* A credential may go to this host, and the policy does not say that it may pass unseen. */
bool osh_session_guards_credential(const struct osh_session *session);
/* Count it on this meter (NULL: on none) instead of the one that it has, whatever the limits. */
void osh_session_move_meter(struct osh_session *session, struct osh_meter *meter);
/* Write the verdict about the connection as a whole. */
void osh_session_record(struct osh_session *session, enum osh_verdict_engine engine,
			enum osh_verdict_decision decision, const char *reason);

#endif
