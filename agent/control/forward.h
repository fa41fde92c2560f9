/* Servers inside that are reached from the host (forward_calls.c). Who forwards is a process of
 * the caller's own: it listens on the host and copies bytes; the agent only opens the way in,
 * one connection at a time, and knows who forwards what. */
#ifndef OSH_CONTROL_FORWARD_H
#define OSH_CONTROL_FORWARD_H

struct osh_agent_sandbox;

/* The sandbox stops or goes: who forwards to it is told. */
void osh_forward_drop(struct osh_agent_sandbox *sandbox);

#endif
