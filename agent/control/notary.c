#include "control/notary.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"
#include "control/agent.h"
#include "control/digest.h"
#include "control/lifecycle.h"
#include "control/recorder.h"
#include "control/first_uses.h"
#include "kernel/kernel.h"
#include "sandbox/sandbox.h"

struct osh_notary {
	struct osh_agent *agent;
	struct osh_digests *digests;
};

/* One question while its file is read. */
struct question {
	struct osh_notary *notary;
	uint64_t sandbox;
	struct osh_question_about about;
};

/* ---- Answers ------------------------------------------------------------------------- */

static void answer(struct osh_notary *notary, uint64_t sandbox, const struct osh_question_about *about,
		   const struct osh_exe_facts *facts)
{
	osh_supervisor_answer(notary->agent->supervisor, sandbox, about, facts);
}

static void answer_untold(struct osh_notary *notary, uint64_t sandbox,
			  const struct osh_question_about *about)
{
	struct osh_exe_facts facts = { .trust = OSH_TRUST_UNTOLD, .clean = OSH_CLEAN_NO };

	answer(notary, sandbox, about, &facts);
}

/* ---- Findings -------------------------------------------------------------------------- */

static const char *taint_text(uint32_t flags)
{
	if (flags & OSH_EXE_INJECTED)
		return "its environment loads code, or is too large to tell";
	if (flags & OSH_EXE_LOADER)
		return "it is the dynamic loader, run as the program";
	return "the sandbox may write its file";
}

/* Not a denial: a policy that minds says `clean: true`. Once for each path and way. */
static void record_finding(struct osh_agent_sandbox *sandbox, const struct osh_identity *identity)
{
	uint32_t flags = osh_first_uses_note(&sandbox->first_uses, identity);
	char reason[160];
	struct osh_verdict verdict = {
		.sandbox_id = sandbox->id,
		.decision = OSH_VERDICT_AUDIT,
		.engine = OSH_ENGINE_KERNEL,
		.revision = sandbox->revisions.current,
		.permissive = sandbox->permissive,
		.protocol = "exec",
		.binary = identity->path,
		.reason = reason,
	};

	if (!flags)
		return;
	snprintf(reason, sizeof(reason), "not started clean: %s", taint_text(flags));
	osh_recorder_verdict(sandbox->agent->recorder, &verdict, 1);
}

/* ---- Trust ------------------------------------------------------------------------------- */

static void judge(struct osh_agent_sandbox *sandbox, const struct osh_identity *identity,
		  const unsigned char digest[OSH_DIGEST_LEN], struct osh_exe_facts *facts)
{
	int r = osh_first_uses_see(&sandbox->first_uses, osh_sandbox_dir(sandbox->instance), identity, digest);

	if (r < 0) {
		facts->trust = r == -ESTALE ? OSH_TRUST_CHANGED : OSH_TRUST_UNTOLD;
		if (r != -ESTALE)
			osh_warning("%s: an executable's first use cannot be kept: %s", sandbox->name, strerror(-r));
		return;
	}
	facts->trust = OSH_TRUST_SAME;
	memcpy(facts->digest, digest, sizeof(facts->digest));
	record_finding(sandbox, identity);
}

/* The file that was executed cannot be read at its path: gone, replaced, changed. */
static void judge_without_file(struct osh_agent_sandbox *sandbox, const struct osh_identity *identity,
			       struct osh_exe_facts *facts)
{
	const unsigned char *digest = osh_first_uses_recall(&sandbox->first_uses, identity);

	facts->trust = digest ? OSH_TRUST_SAME : OSH_TRUST_UNTOLD;
	if (digest)
		memcpy(facts->digest, digest, sizeof(facts->digest));
}

static void on_digest(void *context, int result, const unsigned char digest[OSH_DIGEST_LEN])
{
	struct question *question = context;
	struct osh_agent *agent = question->notary->agent;
	struct osh_agent_sandbox *sandbox = osh_lifecycle_find_id(agent, question->sandbox);
	struct osh_exe_facts facts = { .trust = OSH_TRUST_UNTOLD };
	struct osh_identity identity;

	if (sandbox && osh_maps_identity(osh_kernel_maps(agent->kernel), question->about.identity,
					 &identity) == 0) {
		if (result == 0)
			judge(sandbox, &identity, digest, &facts);
		else
			judge_without_file(sandbox, &identity, &facts);
	}
	answer(question->notary, question->sandbox, &question->about, &facts);
	free(question);
}

/* Open the file that was executed. A descriptor, or -errno. */
static int open_executed(struct osh_agent_sandbox *sandbox, const struct osh_identity *identity,
			 struct osh_digest_file *ret_file)
{
	int fd = osh_sandbox_open_executable(sandbox->instance, identity->path);
	struct osh_file_question seen;
	struct stat st;
	int r = fd;

	if (fd >= 0)
		r = osh_kernel_file(sandbox->agent->kernel, fd, &seen);
	if (r == 0 && (seen.dev != identity->dev || seen.ino != identity->ino ||
		       seen.ctime_ns != identity->ctime_ns))
		r = -ESTALE;
	if (r == 0 && fstat(fd, &st) < 0)
		r = -errno;
	if (r < 0) {
		osh_close(fd);
		return r;
	}
	*ret_file = (struct osh_digest_file){
		.dev = seen.dev, .ino = seen.ino, .ctime_ns = seen.ctime_ns, .size = (uint64_t)st.st_size
	};
	return fd;
}

static void ask_file(struct osh_notary *notary, struct osh_agent_sandbox *sandbox,
		     const struct osh_question_about *about)
{
	struct osh_exe_facts facts = { 0 };
	struct osh_digest_file file;
	struct osh_identity identity;
	struct question *question;
	int fd;

	if (osh_maps_identity(osh_kernel_maps(notary->agent->kernel), about->identity, &identity) < 0 ||
	    identity.sandbox != sandbox->id) {
		answer_untold(notary, sandbox->id, about);
		return;
	}
	fd = open_executed(sandbox, &identity, &file);
	question = fd >= 0 ? malloc(sizeof(*question)) : NULL;
	if (!question) {
		osh_close(fd);
		judge_without_file(sandbox, &identity, &facts);
		answer(notary, sandbox->id, about, &facts);
		return;
	}
	*question = (struct question){ .notary = notary, .sandbox = sandbox->id, .about = *about };
	osh_digests_get(notary->digests, fd, &file, on_digest, question);
}

/* ---- Clean --------------------------------------------------------------------------------- */

static bool still_runs(struct osh_agent_sandbox *sandbox, const struct osh_question_about *about)
{
	struct osh_task task;

	return osh_kernel_task(sandbox->agent->kernel, (pid_t)about->pid, &task) == 0 &&
	       task.sandbox == sandbox->id && task.identity == about->identity;
}

/* The process number means the same process when the kernel's record of it does before and
 * after. */
static void ask_clean(struct osh_notary *notary, struct osh_agent_sandbox *sandbox,
		      const struct osh_question_about *about)
{
	struct osh_exe_facts facts = { .clean = OSH_CLEAN_NO };

	if (still_runs(sandbox, about) &&
	    osh_sandbox_maps_written_code(sandbox->instance, (pid_t)about->pid) == 0 &&
	    still_runs(sandbox, about))
		facts.clean = OSH_CLEAN_YES;
	answer(notary, sandbox->id, about, &facts);
}

/* ---- The face ------------------------------------------------------------------------------ */

void osh_notary_ask(struct osh_notary *notary, uint64_t sandbox_id, const struct osh_question_about *about)
{
	struct osh_agent_sandbox *sandbox = osh_lifecycle_find_id(notary->agent, sandbox_id);

	if (!sandbox || !sandbox->instance)
		answer_untold(notary, sandbox_id, about);
	else if (about->pid)
		ask_clean(notary, sandbox, about);
	else
		ask_file(notary, sandbox, about);
}

int osh_notary_open(struct osh_agent *agent, struct osh_notary **ret_notary, struct osh_err *err)
{
	struct osh_notary *notary = calloc(1, sizeof(*notary));

	if (notary) {
		notary->agent = agent;
		notary->digests = osh_digests_new(agent->loop);
	}
	if (!notary || !notary->digests) {
		free(notary);
		return osh_err_sys(err, ENOMEM, "cannot start");
	}
	*ret_notary = notary;
	return 0;
}

void osh_notary_close(struct osh_notary *notary)
{
	if (!notary)
		return;
	osh_digests_free(notary->digests);
	free(notary);
}
