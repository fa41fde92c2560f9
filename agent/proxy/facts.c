#include "proxy/facts.h"

#include <stdlib.h>
#include <string.h>

/* Open questions. All workers together must not fill the channel's socket buffer, where
 * they would wait for the agent; and one sandbox must leave room for the others. */
#define QUESTIONS_PER_WORKER_MAX 16
#define QUESTIONS_PER_VIEW_MAX 2

/* One executable; at most OSH_IDENTITIES_PER_SANDBOX_MAX in a view. */
struct osh_known {
	uint32_t id;
	bool is_asked; /* an answer is under way */
	bool is_fresh; /* told under the policy in force */
	enum osh_trust trust;
	unsigned char digest[32];
	UT_hash_handle hh;
};

static struct osh_known *find(struct osh_view *view, uint32_t id)
{
	struct osh_known *known;

	HASH_FIND(hh, view->known, &id, sizeof(id), known);
	return known;
}

static struct osh_known *find_or_add(struct osh_view *view, uint32_t id)
{
	struct osh_known *known = find(view, id);

	if (known || HASH_COUNT(view->known) >= OSH_IDENTITIES_PER_SANDBOX_MAX)
		return known;
	known = calloc(1, sizeof(*known));
	if (!known)
		return NULL;
	known->id = id;
	HASH_ADD(hh, view->known, id, sizeof(id), known);
	return known;
}

/* ---- Facts ------------------------------------------------------------------------- */

static void fill(struct osh_view *view, struct osh_who *who, bool settled)
{
	for (size_t i = 0; i <= who->ancestor_count; i++) {
		const struct osh_known *known = find(view, who->nodes[i].id);
		struct osh_exe_facts *facts = &who->facts[i];

		*facts = (struct osh_exe_facts){ 0 };
		facts->clean = who->nodes[i].flags & OSH_EXE_TAINTED ? OSH_CLEAN_NO : OSH_CLEAN_YES;
		if (known && (known->is_fresh || settled)) {
			facts->trust = known->trust;
			memcpy(facts->digest, known->digest, sizeof(facts->digest));
		}
	}
	who->facts_version = view->known_version;
	who->facts_are_settled = settled;
}

const struct osh_exe_facts *osh_facts_get(struct osh_session *s, struct osh_who *who)
{
	if (who->facts_version != s->view->known_version || who->facts_are_settled != s->admitted)
		fill(s->view, who, s->admitted);
	/* What an ancestor runs by now is no matter: it started the one that asks. */
	who->facts[0].clean = who->flags & OSH_EXE_TAINTED ? OSH_CLEAN_NO : s->clean;
	return who->facts;
}

void osh_facts_learn(struct osh_view *view, const struct osh_question_about *about,
		     const struct osh_exe_facts *facts)
{
	struct osh_known *known = about->pid ? NULL : find_or_add(view, about->identity);

	if (!known)
		return;
	known->is_asked = false;
	known->is_fresh = true;
	known->trust = facts->trust;
	memcpy(known->digest, facts->digest, sizeof(known->digest));
	view->known_version++;
}

void osh_facts_policy_changed(struct osh_view *view)
{
	struct osh_known *known, *next;

	HASH_ITER(hh, view->known, known, next) {
		known->is_fresh = false;
		if (known->trust == OSH_TRUST_SAME || known->is_asked)
			continue;
		HASH_DEL(view->known, known);
		free(known);
	}
	view->known_version++;
}

void osh_facts_forget(struct osh_view *view)
{
	struct osh_known *known, *next;

	HASH_ITER(hh, view->known, known, next) {
		HASH_DEL(view->known, known);
		free(known);
	}
}

/* ---- Questions ---------------------------------------------------------------------- */

static enum osh_facts_asked send_question(struct osh_view *view, const struct osh_question_about *about)
{
	struct osh_worker *worker = view->worker;
	struct osh_channel_message message = {
		.type = OSH_CHANNEL_QUESTION, .sandbox = view->tenant->id, .about = *about
	};

	if (worker->questions >= QUESTIONS_PER_WORKER_MAX || view->questions >= QUESTIONS_PER_VIEW_MAX)
		return OSH_FACTS_NO_ROOM;
	message.about.worker = worker->index;
	if (osh_channel_send(worker->proxy->channel_fd, &message, NULL, 0) < 0)
		return OSH_FACTS_REFUSED;
	worker->questions++;
	view->questions++;
	return OSH_FACTS_ASKED;
}

static enum osh_facts_asked ask_clean(struct osh_session *s)
{
	struct osh_question_about about = {
		.identity = s->flow.identity, .pid = s->flow.pid, .cookie = s->flow.cookie
	};

	enum osh_facts_asked asked;

	/* One answer for each flow: a process may map more between two. */
	if (s->clean_asked)
		return OSH_FACTS_ASKED;
	asked = send_question(s->view, &about);
	s->clean_asked = asked == OSH_FACTS_ASKED;
	return asked;
}

static enum osh_facts_asked ask_trust(struct osh_view *view, uint32_t id)
{
	struct osh_question_about about = { .identity = id };
	struct osh_known *known = find_or_add(view, id);
	enum osh_facts_asked asked;

	if (!known || known->is_asked)
		return known ? OSH_FACTS_ASKED : OSH_FACTS_REFUSED;
	asked = send_question(view, &about);
	known->is_asked = asked == OSH_FACTS_ASKED;
	return asked;
}

enum osh_facts_asked osh_facts_ask(struct osh_session *s, struct osh_wanted wanted)
{
	const struct osh_who *who = osh_worker_who(s->view->worker, s->flow.identity);

	if (!who || wanted.subject == 0 || wanted.subject > 1 + who->ancestor_count)
		return OSH_FACTS_REFUSED;
	if (wanted.clean)
		return ask_clean(s);
	return ask_trust(s->view, who->nodes[wanted.subject - 1].id);
}

void osh_facts_question_done(struct osh_worker *worker, struct osh_view *view)
{
	/* An answer to a proxy before this one counts for nothing. */
	if (worker->questions)
		worker->questions--;
	if (view && view->questions)
		view->questions--;
}
