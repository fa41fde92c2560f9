#include "control/recorder.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fd.h"
#include "base/log.h"
#include "control/agent.h"
#include "control/lifecycle.h"
#include "kernel/kernel.h"
#include "verdict/journal.h"
#include "verdict/ledger.h"
#include "verdict/ring.h"

#define RING_SLOTS 2048
/* A ring for each user beside root: at most 128 MiB together. */
#define USERS_MAX 64
#define USER_RING_SLOTS 512
/* Written down and shown together. */
#define BATCH_MAX (USER_RING_SLOTS / 2)

struct user {
	uid_t uid;
	struct osh_ring_writer *ring;
};

struct osh_recorder {
	struct osh_agent *agent;
	struct user users[USERS_MAX];
	size_t user_count;
	struct osh_ring_writer *ring;
	struct osh_journal *journal;
	struct osh_ledger *ledger;
	uint64_t next_id;
	uint64_t lost;
	unsigned batch; /* recorded since the last flush */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int open_ledger(struct osh_recorder *recorder, struct osh_err *err)
{
	const char *pin_dir = recorder->agent->pin_dir;
	_cleanup_fd_ int fd = -1;
	int r = osh_kernel_memory(pin_dir, "ledger", OSH_LEDGER_BYTES, true, &fd);

	if (r >= 0)
		r = osh_ledger_open(fd, &recorder->ledger);
	return r < 0 ? osh_err_sys(err, -r, "cannot open the verdict ledger below %s", pin_dir) : 0;
}

/* An id that was shown and is not in the journal, for want of disk, is not given again. */
static uint64_t first_id(const struct osh_recorder *recorder)
{
	uint64_t journal = osh_journal_next_id(recorder->journal), ledger = osh_ledger_next_id(recorder->ledger);

	return journal > ledger ? journal : ledger;
}

int osh_recorder_open(struct osh_agent *agent, struct osh_recorder **ret_recorder,
		      struct osh_err *err)
{
	struct osh_recorder *recorder = calloc(1, sizeof(*recorder));
	char dir[PATH_MAX + 16];
	int r;

	if (!recorder)
		return osh_err_sys(err, ENOMEM, "cannot open the journal");
	recorder->agent = agent;
	snprintf(dir, sizeof(dir), "%s/journal", agent->config->state_dir);
	r = osh_journal_open(dir, &recorder->journal);
	if (r < 0)
		osh_err_sys(err, -r, "cannot open the journal in %.256s", dir);
	if (r == 0 && (r = osh_ring_create("openshell-verdicts", RING_SLOTS, &recorder->ring)) < 0)
		osh_err_sys(err, -r, "cannot make the verdict ring");
	if (r == 0)
		r = open_ledger(recorder, err);
	if (r < 0) {
		osh_recorder_close(recorder);
		return r;
	}
	recorder->next_id = first_id(recorder);
	*ret_recorder = recorder;
	return 0;
}

void osh_recorder_close(struct osh_recorder *recorder)
{
	if (!recorder)
		return;
	osh_recorder_flush(recorder);
	for (size_t i = 0; i < recorder->user_count; i++)
		osh_ring_writer_free(recorder->users[i].ring);
	if (recorder->ring)
		osh_ring_writer_free(recorder->ring);
	if (recorder->journal)
		osh_journal_close(recorder->journal);
	osh_ledger_close(recorder->ledger);
	free(recorder);
}

/* The ring of one user, made at first use. */
static int open_user_ring(struct osh_recorder *recorder, uid_t uid, struct osh_ring_writer **ret_ring)
{
	struct user *user = recorder->users;
	int r;

	for (; user < recorder->users + recorder->user_count; user++) {
		if (user->uid == uid) {
			*ret_ring = user->ring;
			return 0;
		}
	}
	if (recorder->user_count == USERS_MAX)
		return -EUSERS;
	r = osh_ring_create("openshell-verdicts", USER_RING_SLOTS, &user->ring);
	if (r < 0)
		return r;
	user->uid = uid;
	recorder->user_count++;
	*ret_ring = user->ring;
	return 0;
}

/* Without a ring of their own the verdicts are still in root's and in the journal. */
static void publish_to_owner(struct osh_recorder *recorder, uid_t uid,
			     const struct osh_verdict *verdict)
{
	struct osh_ring_writer *ring;

	if (uid != 0 && open_user_ring(recorder, uid, &ring) == 0)
		osh_ring_stage(ring, verdict);
}

static void count(struct osh_agent_sandbox *sandbox, enum osh_verdict_decision decision,
		  uint64_t by)
{
	switch (decision) {
	case OSH_VERDICT_ALLOW:
		sandbox->allowed += by;
		break;
	case OSH_VERDICT_AUDIT:
		sandbox->audited += by;
		break;
	case OSH_VERDICT_DENY:
	case OSH_VERDICT_DECISION_COUNT:
		sandbox->denied += by;
		break;
	}
}

static void publish(struct osh_recorder *recorder, struct osh_agent_sandbox *sandbox,
		    struct osh_verdict *verdict)
{
	verdict->id = recorder->next_id++;
	if (!verdict->time_ns)
		verdict->time_ns = now_ns();
	if (sandbox)
		verdict->sandbox = sandbox->name;
	osh_ring_stage(recorder->ring, verdict);
	osh_journal_append(recorder->journal, verdict);
	if (sandbox)
		publish_to_owner(recorder, sandbox->origin.owner, verdict);
	if (sandbox && sandbox->log) {
		osh_sandbox_log_append(sandbox->log, verdict);
		sandbox->log_is_dirty = true;
	}
	if (++recorder->batch == BATCH_MAX)
		osh_recorder_flush(recorder);
}

void osh_recorder_verdict(struct osh_recorder *recorder, const struct osh_verdict *verdict,
			  uint64_t how_many)
{
	struct osh_agent_sandbox *sandbox =
		osh_lifecycle_find_id(recorder->agent, verdict->sandbox_id);
	struct osh_verdict copy = *verdict;

	if (sandbox)
		count(sandbox, copy.decision, how_many);
	publish(recorder, sandbox, &copy);
}

/* What only a sandbox's event has. */
static void describe_sandbox(struct osh_verdict *verdict, const struct osh_agent_sandbox *sandbox)
{
	verdict->sandbox_id = sandbox->id;
	verdict->sandbox = sandbox->name;
	verdict->revision = sandbox->revisions.current;
	verdict->permissive = sandbox->permissive;
	verdict->protocol = "sandbox";
}

void osh_recorder_event(struct osh_recorder *recorder, const struct osh_agent_sandbox *sandbox,
			const char *format, ...)
{
	char text[512];
	struct osh_verdict verdict = {
		.decision = OSH_VERDICT_ALLOW,
		.engine = OSH_ENGINE_POLICY,
		.protocol = "agent",
		.reason = text,
	};
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (sandbox)
		describe_sandbox(&verdict, sandbox);
	osh_info("%s%s%s", sandbox ? sandbox->name : "", sandbox ? ": " : "", text);
	publish(recorder, osh_lifecycle_find_id(recorder->agent, verdict.sandbox_id), &verdict);
}

void osh_recorder_lost(struct osh_recorder *recorder, uint64_t how_many)
{
	recorder->lost += how_many;
	osh_recorder_event(recorder, NULL, "%llu verdicts of the proxy were overwritten before they were recorded",
			   (unsigned long long)how_many);
}

uint64_t osh_recorder_position(const struct osh_recorder *recorder, unsigned worker)
{
	return osh_ledger_position(recorder->ledger, worker, osh_journal_last_id(recorder->journal));
}

void osh_recorder_taking(struct osh_recorder *recorder, unsigned worker, uint64_t position)
{
	osh_recorder_flush(recorder);
	osh_ledger_taking(recorder->ledger, worker, position, recorder->next_id);
}

void osh_recorder_taken(struct osh_recorder *recorder, unsigned worker, uint64_t position)
{
	osh_recorder_flush(recorder);
	osh_ledger_taken(recorder->ledger, worker, position);
}

bool osh_recorder_is_complete(const struct osh_recorder *recorder)
{
	return !osh_ledger_is_new(recorder->ledger);
}

void osh_recorder_note_refusals(struct osh_recorder *recorder, uint64_t count)
{
	osh_ledger_set_refusals(recorder->ledger, count);
}

uint64_t osh_recorder_noted_refusals(const struct osh_recorder *recorder)
{
	return osh_ledger_refusals(recorder->ledger);
}

static void flush_logs(struct osh_recorder *recorder)
{
	struct osh_agent_sandbox *sandbox, *next;

	HASH_ITER(hh, recorder->agent->sandboxes, sandbox, next) {
		if (sandbox->log_is_dirty)
			osh_sandbox_log_flush(sandbox->log);
		sandbox->log_is_dirty = false;
	}
}

/* The journal decides what the next agent takes for done. So the sandboxes' logs are written before
 * it (killed in between, a line may stand there twice, and never not at all), and nobody is shown
 * what may yet come under another number. */
void osh_recorder_flush(struct osh_recorder *recorder)
{
	if (!recorder->batch)
		return;
	recorder->batch = 0;
	flush_logs(recorder);
	osh_journal_flush(recorder->journal);
	osh_ledger_set_next_id(recorder->ledger, recorder->next_id);
	osh_ring_flush(recorder->ring);
	for (size_t i = 0; i < recorder->user_count; i++)
		osh_ring_flush(recorder->users[i].ring);
}

uint64_t osh_recorder_lost_count(const struct osh_recorder *recorder)
{
	return recorder->lost;
}

uint64_t osh_recorder_journal_first(const struct osh_recorder *recorder)
{
	return osh_journal_first_id(recorder->journal);
}

uint64_t osh_recorder_journal_dropped(const struct osh_recorder *recorder)
{
	return osh_journal_dropped(recorder->journal);
}

int osh_recorder_ring_fd(struct osh_recorder *recorder, uid_t uid)
{
	struct osh_ring_writer *ring = recorder->ring;
	int r = uid == 0 ? 0 : open_user_ring(recorder, uid, &ring);

	return r < 0 ? r : osh_ring_reader_fd(ring);
}

int osh_recorder_history_fds(struct osh_recorder *recorder, int *ret_fds, size_t max)
{
	osh_recorder_flush(recorder);
	return osh_journal_reader_fds(recorder->journal, ret_fds, max);
}
