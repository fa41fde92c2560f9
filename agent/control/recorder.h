/* Where every verdict passes: it gets its number, and goes to its sandbox's log and counters, to
 * the journal, and then to the ring. What a killed agent had not written down yet is still where it
 * came from: the ledger says from where on. */
#ifndef OSH_CONTROL_RECORDER_H
#define OSH_CONTROL_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "openshell/verdict.h"

struct osh_agent;
struct osh_agent_sandbox;
struct osh_recorder;

int osh_recorder_open(struct osh_agent *agent, struct osh_recorder **ret_recorder,
		      struct osh_err *err);
void osh_recorder_close(struct osh_recorder *recorder);

/* A decision about traffic. id, sandbox (the name) and time when it is 0 are filled in
 * here; `sandbox_id` says whose it is, which need not exist any more. `count` is how
 * many decisions it stands for. */
void osh_recorder_verdict(struct osh_recorder *recorder, const struct osh_verdict *verdict,
			  uint64_t count);
/* An event in a sandbox's life, or the agent's (NULL): recorded like a verdict, counted as none. */
__attribute__((format(printf, 3, 4)))
void osh_recorder_event(struct osh_recorder *recorder, const struct osh_agent_sandbox *sandbox,
			const char *format, ...);
/* For struct osh_verdict_hook (proxy/supervisor.h): where a worker's ring is to be read from; what
 * follows comes from there; all before is to be written down now. */
uint64_t osh_recorder_position(const struct osh_recorder *recorder, unsigned worker);
void osh_recorder_taking(struct osh_recorder *recorder, unsigned worker, uint64_t position);
void osh_recorder_taken(struct osh_recorder *recorder, unsigned worker, uint64_t position);
/* Does it know what an agent before had written down? Not after the host went down. */
bool osh_recorder_is_complete(const struct osh_recorder *recorder);
/* How many refusals of the kernel would be lost by our death now; what an agent before had noted. */
void osh_recorder_note_refusals(struct osh_recorder *recorder, uint64_t count);
uint64_t osh_recorder_noted_refusals(const struct osh_recorder *recorder);
/* Verdicts of the proxy that were overwritten before the agent read them. */
void osh_recorder_lost(struct osh_recorder *recorder, uint64_t count);
/* Make what was recorded visible: at the end of each batch of events. */
void osh_recorder_flush(struct osh_recorder *recorder);

uint64_t osh_recorder_lost_count(const struct osh_recorder *recorder);
/* The oldest that the journal keeps (0: it keeps none), and how many it could not be given. */
uint64_t osh_recorder_journal_first(const struct osh_recorder *recorder);
uint64_t osh_recorder_journal_dropped(const struct osh_recorder *recorder);
/* A new read-only descriptor of the ring that this user may read: root's holds every
 * verdict, another user's those of the sandboxes that are theirs, from the first of these
 * on. Owned by the caller; or -errno (-EUSERS: too many users). */
int osh_recorder_ring_fd(struct osh_recorder *recorder, uid_t uid);
/* The journal's files, oldest first, owned by the caller: for root's eyes only. How many,
 * or -errno. */
int osh_recorder_history_fds(struct osh_recorder *recorder, int *ret_fds, size_t max);

#endif
