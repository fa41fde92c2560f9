/* What the executables of a sandbox held when a policy that names them was first used: on disk as
 * well (the file `first_uses` in its state directory), so that one which was replaced stays denied under
 * the next agent, too. */
#ifndef OSH_CONTROL_FIRST_USES_H
#define OSH_CONTROL_FIRST_USES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "control/digest.h"
#include "openshell/abi.h"

struct osh_pin;
struct osh_attested;

/* Zero: nothing is known yet. */
struct osh_first_uses {
	struct osh_pin *pins;           /* by path: its first bytes under the policy in force */
	struct osh_attested *attested;  /* by path and version of the file: what was trusted */
	bool is_damaged;                /* the file cannot be read: nothing is trusted until reset */
};

/* Read what an earlier agent wrote in `dir`; nothing there is nothing known. On failure
 * (-EBADMSG: damaged) all that is asked is untold until osh_first_uses_reset. */
int osh_first_uses_load(struct osh_first_uses *uses, const char *dir, struct osh_err *err);

/* The bytes of this executable are `digest` now. 0: they are those of its first use, or this is
 * it, which is on disk then; -ESTALE: they are others; -errno: cannot be told, or not kept. */
int osh_first_uses_see(struct osh_first_uses *uses, const char *dir, const struct osh_identity *identity,
		  const unsigned char digest[OSH_DIGEST_LEN]);

/* What this very version of the file held when it was trusted, though it is not there to be read
 * any more. NULL: it never was. */
const unsigned char *osh_first_uses_recall(const struct osh_first_uses *uses, const struct osh_identity *identity);

/* Of the flags OSH_EXE_TAINTED of a trusted executable: those that are new; they are not the
 * next time. */
uint32_t osh_first_uses_note(struct osh_first_uses *uses, const struct osh_identity *identity);

/* A new policy: what comes next is first use, also for the next agent. What was trusted may run
 * on. */
void osh_first_uses_reset(struct osh_first_uses *uses, const char *dir);
/* Forget all in memory. */
void osh_first_uses_done(struct osh_first_uses *uses);

#endif
