/* Bytes both ways between the sandbox and the real server, unseen. */
#ifndef OSH_PROXY_RELAY_H
#define OSH_PROXY_RELAY_H

#include "proxy/session.h"

/* Move what can be moved; ends the session when both sides are done or one failed.
 * Returns true when something moved (step again). Records the verdict of an L4 flow
 * when its upstream answers. */
bool osh_relay_step(struct osh_session *session);
/* It is cut off before its upstream answered: record the verdict. */
void osh_relay_record_cut(struct osh_session *session);

#endif
