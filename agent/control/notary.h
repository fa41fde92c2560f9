/* Trust on first use: which bytes each executable that a policy names had when it was first
 * used under that policy (control/first_uses.h). The proxy asks (proxy/facts.h), by the kernel's identity; the
 * file is opened in the sandbox's own root and must be the one that was executed. */
#ifndef OSH_CONTROL_NOTARY_H
#define OSH_CONTROL_NOTARY_H

#include <stdint.h>

#include "base/err.h"
#include "proxy/supervisor.h"

struct osh_agent;
struct osh_notary;

int osh_notary_open(struct osh_agent *agent, struct osh_notary **ret_notary, struct osh_err *err);
/* While the supervisor is there: what is still open is answered. */
void osh_notary_close(struct osh_notary *notary);

/* Answers with osh_supervisor_answer, at once or later. */
void osh_notary_ask(struct osh_notary *notary, uint64_t sandbox, const struct osh_question_about *about);

#endif
