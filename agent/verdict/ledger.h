/* How far the verdicts of the workers are written down, in a page that outlives the agent
 * (osh_kernel_memory) and that no proxy sees. The journal says which number came last, the
 * ledger to which record of which ring the numbers belong: together they tell the next agent
 * exactly where to go on, wherever the one before was killed. Each change is one store. */
#ifndef OSH_VERDICT_LEDGER_H
#define OSH_VERDICT_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#define OSH_LEDGER_BYTES 4096

struct osh_ledger;

/* Map it; the descriptor is not kept. Bytes that are no ledger of this version are replaced by
 * an empty one. Returns 0 or -errno. */
int osh_ledger_open(int fd, struct osh_ledger **ret_ledger);
void osh_ledger_close(struct osh_ledger *ledger);
/* Was there none? Then what an agent before had taken from the rings is unknown. */
bool osh_ledger_is_new(const struct osh_ledger *ledger);

/* From here on the records of this ring from `position` on get the numbers from `id` on, and
 * nothing else gets a number before osh_ledger_taken. All numbers before are in the journal. */
void osh_ledger_taking(struct osh_ledger *ledger, unsigned ring, uint64_t position, uint64_t id);
/* All before `position` are in the journal. */
void osh_ledger_taken(struct osh_ledger *ledger, unsigned ring, uint64_t position);
/* The first record of the ring that is not in a journal whose last number is last_id. */
uint64_t osh_ledger_position(const struct osh_ledger *ledger, unsigned ring, uint64_t last_id);

/* The number after the greatest that anybody saw, in the journal or not; 0: none yet. */
void osh_ledger_set_next_id(struct osh_ledger *ledger, uint64_t id);
uint64_t osh_ledger_next_id(const struct osh_ledger *ledger);

/* Refusals of the kernel that were taken from its ring and are not in the journal. */
void osh_ledger_set_refusals(struct osh_ledger *ledger, uint64_t count);
uint64_t osh_ledger_refusals(const struct osh_ledger *ledger);

#endif
