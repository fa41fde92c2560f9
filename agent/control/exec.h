/* Programs running in sandboxes on behalf of connections (exec_calls.c). */
#ifndef OSH_CONTROL_EXEC_H
#define OSH_CONTROL_EXEC_H

struct osh_agent_sandbox;

/* The sandbox goes: whoever waits for a program in it is told that it was killed. */
void osh_exec_drop(struct osh_agent_sandbox *sandbox);

#endif
