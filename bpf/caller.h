/* Who is calling, for hooks that run in the caller's own context. */
#ifndef OSH_BPF_CALLER_H
#define OSH_BPF_CALLER_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "types.h"

struct caller {
	__u64 sandbox;
	__u32 tgid;
	__u32 identity; /* 0: unknown */
	__u32 flags;    /* OSH_EXE_* of that identity */
	__u32 generation;
	__u32 sandbox_flags;
};

/* Sets identity and flags of the caller whose sandbox and tgid are known. An io_uring worker is a
 * thread of the process that it works for, so its group leader answers for it; the entry counts
 * only if it was written for this very process and for the program that it runs now. */
static __always_inline void find_identity(struct caller *caller)
{
	struct task_struct *leader = bpf_get_current_task_btf()->group_leader;
	const struct osh_task *task = bpf_map_lookup_elem(&tasks, &caller->tgid);

	if (!task || !leader || task->sandbox != caller->sandbox ||
	    task->start_ns != leader->start_boottime || task->exec_id != leader->self_exec_id)
		return;
	caller->identity = task->identity;
	caller->flags = task->flags;
}

static __always_inline struct caller current_caller(__u64 sandbox)
{
	struct caller caller = { .sandbox = sandbox, .tgid = bpf_get_current_pid_tgid() >> 32 };

	find_identity(&caller);
	return caller;
}

#endif
