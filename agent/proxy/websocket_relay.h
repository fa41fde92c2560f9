/* A WebSocket after the upgrade. Where the policy has rules about its texts, each is put to the
 * policy before any of its bytes goes on; else frames pass unread, but nothing that is none. */
#ifndef OSH_PROXY_WEBSOCKET_RELAY_H
#define OSH_PROXY_WEBSOCKET_RELAY_H

#include "proxy/session.h"

/* The server accepted the upgrade, `extended`: and extensions (RFC 6455 9.1). Take the session
 * over. 0 or -ENOMEM. */
int osh_websocket_begin(struct osh_session *session, bool extended);
/* Move what can be moved. True when something changed (step again). */
bool osh_websocket_step(struct osh_session *session);
/* A new policy no longer permits this connection: close it, and say so. */
void osh_websocket_reload(struct osh_session *session, const char *reason);
/* Our close frame is under way: nothing of the client is listened to any more. */
bool osh_websocket_is_closing(const struct osh_session *session);
/* In CLOSING: the frame is sent, the client's own is waited for. Sets conn.finish once it came. */
void osh_websocket_await_close(struct osh_session *session);
void osh_websocket_drop(struct osh_session *session);

#endif
