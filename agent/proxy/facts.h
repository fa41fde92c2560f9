/* What the proxy knows of executables beyond their paths: whether the file is the one of
 * its first use, its digest, whether it runs clean (policy/policy.h, struct osh_exe_facts).
 * The proxy sees no files, so the agent is asked, once per executable and policy, about
 * those that an entry for the host at hand names; a flow waits for its answer. */
#ifndef OSH_PROXY_FACTS_H
#define OSH_PROXY_FACTS_H

#include "proxy/session.h"

/* Of the flow's program and its ancestors, for osh_subject. Borrowed for the current batch,
 * and until the next call. For a flow that was admitted, what was told under an earlier
 * policy still counts: its program runs on. */
const struct osh_exe_facts *osh_facts_get(struct osh_session *session, struct osh_who *who);

enum osh_facts_asked {
	OSH_FACTS_REFUSED = 0, /* it cannot be found out */
	OSH_FACTS_ASKED,       /* an answer will come: osh_session_on_answer */
	OSH_FACTS_NO_ROOM,     /* too many questions are open: try again after an answer */
};
enum osh_facts_asked osh_facts_ask(struct osh_session *session, struct osh_wanted wanted);

/* The agent answered a question of this worker; `view` is NULL when its sandbox is gone. */
void osh_facts_question_done(struct osh_worker *worker, struct osh_view *view);
/* What it said, whoever had asked. */
void osh_facts_learn(struct osh_view *view, const struct osh_question_about *about,
		     const struct osh_exe_facts *facts);

/* From here on everything is asked again, by new flows. */
void osh_facts_policy_changed(struct osh_view *view);
void osh_facts_forget(struct osh_view *view);

#endif
