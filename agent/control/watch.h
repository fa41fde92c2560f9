/* Looking, once a second, whether the kernel half is still in force. */
#ifndef OSH_CONTROL_WATCH_H
#define OSH_CONTROL_WATCH_H

struct osh_agent;

/* From now on until close: programs that somebody detached are logged and recorded for every
 * sandbox that runs, once. Its network is closed then (it has no uplink); a new agent attaches
 * them again. Pins that somebody removed are put back, which is told in the same way. */
void osh_watch_open(struct osh_agent *agent);
void osh_watch_close(struct osh_agent *agent);

#endif
