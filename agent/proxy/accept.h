/* accept(2) for a process whose descriptors may run out: what cannot be served is refused at
 * once, instead of left to wait while the loop spins. */
#ifndef OSH_PROXY_ACCEPT_H
#define OSH_PROXY_ACCEPT_H

#include <sys/socket.h>

struct osh_worker;

/* Accept one connection, non-blocking. Returns its descriptor (the caller's), or
 * -EAGAIN: none waits; -EMFILE: one was refused (reset) for want of descriptors, and there may
 * be more; any other -errno: nothing can be done now, try again after a pause.
 * *ret_peer is whom the connection came from, also when it was refused. */
int osh_accept(struct osh_worker *worker, int listener, struct sockaddr_storage *ret_peer);

#endif
