/* Who: the identity of every process in a sandbox.
 *
 *   sched_process_exec  reads the executable and interns (sandbox, parent, executable)
 *   sched_process_fork  hands the identity on to the new process
 *   sched_process_exit  forgets a process when its last thread ends
 *
 * Only tasks below our own root cgroup are looked at, so agents stand side by side. */
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "cgroup.h"
#include "common.h"
#include "decide.h"
#include "file.h"
#include "inject.h"
#include "types.h"

char LICENSE[] SEC("license") = "GPL";

#define MOUNTS_MAX 16               /* mount points crossed on the way to the root */
#define CTIME_QUERIED (1u << 31)    /* multigrain timestamps (6.13) keep a flag there */
#define MNT_READONLY 0x40           /* linux/mount.h */
#define RAISES_MAX 16               /* of a time that other processors raise, too */
#define ENV_READS_MAX 1024          /* pieces of an environment; a larger one cannot be told */

enum climb_end {
	CLIMB_ON = 0,    /* bounds reached before the root */
	CLIMB_ROOT,
	CLIMB_OUTSIDE,   /* top of the mount tree, and no root on the way */
	CLIMB_NO_NAME,   /* memfd and the like: in no directory */
};

/* One way from an executable up to its task's root. The path grows from the end of the
 * first half of `text` towards its start; the second half is room that the verifier sees
 * as reachable by the last name's length. */
struct climb {
	struct dentry *dentry;
	struct mount *mount;
	struct dentry *root_dentry;
	struct vfsmount *root_mount;
	__u32 start; /* of the path in text */
	__u32 depth;
	__u32 end;   /* enum climb_end */
	char text[2 * OSH_PATH_MAX];
};

/* A walk over the environment, piece by piece. */
struct env_walk {
	__u64 at, end;
	__u32 in_middle; /* the piece goes on with a variable too long for one */
	__u32 trusts_system;
	__u32 is_told;   /* seen to the end */
	__u32 is_harmful;
	__u32 value;     /* where it starts in text */
	struct osh_env_scan scan;
	char text[2 * OSH_ENV_TEXT_MAX];
};

/* Too large for the stack. The program cannot be entered twice on one processor: the
 * kernel skips a nested run, and a skipped exec leaves the process without identity. */
struct scratch {
	struct climb climb;
	struct env_walk env;
	struct osh_identity identity;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct scratch *get_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratches, &zero);
}

/* ---- The executable ------------------------------------------------------------- */

static __always_inline long climb_mount(struct climb *climb, struct mount *mount)
{
	struct mount *parent = BPF_CORE_READ(mount, mnt_parent);

	if (parent == mount) {
		climb->end = CLIMB_OUTSIDE;
		return 1;
	}
	climb->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
	climb->mount = parent;
	return 0;
}

static __always_inline long climb_directory(struct climb *climb, struct dentry *dentry)
{
	struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	__u32 len = BPF_CORE_READ(dentry, d_name.len);
	__u32 start = climb->start;

	if (parent == dentry) {
		climb->end = CLIMB_NO_NAME;
		return 1;
	}
	if (len >= start || climb->depth >= OSH_PATH_DEPTH_MAX)
		return 1;
	start = (start - len - 1) & (OSH_PATH_MAX - 1);
	climb->text[start] = '/';
	bpf_probe_read_kernel(&climb->text[start + 1], len & (OSH_PATH_MAX - 1),
			      BPF_CORE_READ(dentry, d_name.name));
	climb->start = start;
	climb->depth++;
	climb->dentry = parent;
	return 0;
}

/* One step up: bpf_loop callback, 1 ends it. */
static long climb_step(__u32 index, void *context)
{
	struct scratch *scratch = get_scratch();
	struct dentry *dentry;
	struct climb *climb;
	struct mount *mount;

	if (!scratch)
		return 1;
	climb = &scratch->climb;
	dentry = climb->dentry;
	mount = climb->mount;
	if (dentry == climb->root_dentry &&
	    (void *)mount + bpf_core_field_offset(struct mount, mnt) == climb->root_mount) {
		climb->end = CLIMB_ROOT;
		return 1;
	}
	if (dentry == BPF_CORE_READ(mount, mnt.mnt_root))
		return climb_mount(climb, mount);
	return climb_directory(climb, dentry);
}

/* The path as the task sees it, as the kernel's own d_path makes it (that helper is closed
 * to tracepoint programs). Names are read without the rename lock: a racing rename can
 * mix old and new names only below directories that the racer may write, where a path
 * says nothing about the file anyway. Returns OSH_EXE_*. */
static __always_inline __u32 read_path(struct scratch *scratch, struct file *file,
				       struct task_struct *task)
{
	struct climb *climb = &scratch->climb;
	struct osh_identity *id = &scratch->identity;
	struct dentry *dentry;
	__u32 start, len;

	climb->dentry = BPF_CORE_READ(file, f_path.dentry);
	climb->mount = (void *)BPF_CORE_READ(file, f_path.mnt) -
		       bpf_core_field_offset(struct mount, mnt);
	climb->root_dentry = BPF_CORE_READ(task, fs, root.dentry);
	climb->root_mount = BPF_CORE_READ(task, fs, root.mnt);
	climb->start = OSH_PATH_MAX - 1;
	climb->depth = 0;
	climb->end = CLIMB_ON;
	bpf_loop(OSH_PATH_DEPTH_MAX + MOUNTS_MAX, climb_step, NULL, 0);

	if (climb->end == CLIMB_NO_NAME) {
		/* Shown by its name, "memfd:x": no '/' in front, so it matches no path. */
		dentry = climb->dentry;
		bpf_probe_read_kernel_str(id->path, sizeof(id->path),
					  BPF_CORE_READ(dentry, d_name.name));
		return OSH_EXE_UNLINKED;
	}
	start = climb->start;
	if (climb->end != CLIMB_ROOT) /* the end of a path, likewise without its '/' */
		start++;
	start &= OSH_PATH_MAX - 1;
	len = (OSH_PATH_MAX - 1 - start) & (OSH_PATH_MAX - 1);
	bpf_probe_read_kernel(id->path, len, &climb->text[start]);
	return climb->end == CLIMB_ROOT ? 0 : OSH_EXE_NO_PATH;
}

static __always_inline __u64 read_ctime_ns(struct inode *inode)
{
	struct inode___ctime_6_6 *inode_6_6 = (void *)inode;
	struct inode___ctime_6_1 *inode_6_1 = (void *)inode;
	__u64 sec, nsec;

	if (bpf_core_field_exists(inode->i_ctime_sec)) {
		sec = BPF_CORE_READ(inode, i_ctime_sec);
		nsec = BPF_CORE_READ(inode, i_ctime_nsec) & ~CTIME_QUERIED;
	} else if (bpf_core_field_exists(inode_6_6->__i_ctime)) {
		sec = BPF_CORE_READ(inode_6_6, __i_ctime.tv_sec);
		nsec = BPF_CORE_READ(inode_6_6, __i_ctime.tv_nsec);
	} else {
		sec = BPF_CORE_READ(inode_6_1, i_ctime.tv_sec);
		nsec = BPF_CORE_READ(inode_6_1, i_ctime.tv_nsec);
	}
	return sec * 1000000000ull + nsec;
}

static __always_inline void read_inode(struct inode *inode, __u32 *ret_dev, __u64 *ret_ino,
				       __u64 *ret_ctime_ns)
{
	*ret_dev = BPF_CORE_READ(inode, i_sb, s_dev);
	*ret_ino = BPF_CORE_READ(inode, i_ino);
	*ret_ctime_ns = read_ctime_ns(inode);
}

static __always_inline void read_executable(struct scratch *scratch, struct file *file,
					    struct task_struct *task)
{
	struct osh_identity *id = &scratch->identity;
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	read_inode(inode, &id->dev, &id->ino, &id->ctime_ns);
	id->flags = read_path(scratch, file, task);
	/* Removed from its directory, or never in one (O_TMPFILE). */
	if (BPF_CORE_READ(inode, i_nlink) == 0 || !BPF_CORE_READ(dentry, d_hash.pprev))
		id->flags |= OSH_EXE_UNLINKED;
}

/* ---- How it was started ----------------------------------------------------------- */

static long value_step(__u32 index, void *context)
{
	struct scratch *scratch = get_scratch();
	struct env_walk *env;

	if (!scratch)
		return 1;
	env = &scratch->env;
	return osh_env_step(&env->scan, &env->text[(env->value + index) & (OSH_ENV_TEXT_MAX - 1)]);
}

/* Rare: only for a variable of the table that has a value. */
static __noinline int value_is_harmful(__u32 kind)
{
	struct scratch *scratch = get_scratch();
	struct env_walk *env;

	if (!scratch)
		return 1;
	env = &scratch->env;
	if (kind == OSH_ENV_ANY || (kind == OSH_ENV_PATHS && !env->trusts_system))
		return 1;
	env->scan = (struct osh_env_scan){ .kind = kind };
	bpf_loop(OSH_ENV_TEXT_MAX, value_step, NULL, 0);
	return env->scan.harmful != 0;
}

static __always_inline int variable_is_harmful(struct env_walk *env, int is_cut)
{
	__u32 kind = osh_env_kind(env->text, &env->value);

	if (kind == OSH_ENV_HARMLESS || env->text[env->value & (OSH_ENV_TEXT_MAX - 1)] == '\0')
		return 0;
	return is_cut || value_is_harmful(kind);
}

/* One piece: bpf_loop callback, 1 ends it. */
static long env_step(__u32 index, void *context)
{
	struct scratch *scratch = get_scratch();
	struct env_walk *env;
	int is_cut;
	long len;

	if (!scratch)
		return 1;
	env = &scratch->env;
	if (env->at >= env->end) {
		env->is_told = 1;
		return 1;
	}
	len = bpf_probe_read_user_str(env->text, OSH_ENV_TEXT_MAX, (void *)env->at);
	if (len < 0)
		return 1;
	if (len == 0)
		len = 1; /* an empty string, of which Linux 6.1 does not count the NUL */
	/* Room filled to the last byte: its NUL may be ours, so it is read again. */
	is_cut = len == OSH_ENV_TEXT_MAX;
	env->at += is_cut ? len - 1 : len;
	if (!env->in_middle && variable_is_harmful(env, is_cut)) {
		env->is_harmful = 1;
		return 1;
	}
	env->in_middle = is_cut;
	return 0;
}

static __always_inline void read_writer(struct task_struct *task, struct osh_writer *ret_writer)
{
	ret_writer->uid = BPF_CORE_READ(task, cred, uid.val);
	ret_writer->euid = BPF_CORE_READ(task, cred, euid.val);
	ret_writer->suid = BPF_CORE_READ(task, cred, suid.val);
	BPF_CORE_READ_INTO(&ret_writer->permitted, task, cred, cap_permitted);
}

/* In an attached cgroup root may write anywhere, and others what is theirs. */
static __always_inline int writes_system(const struct osh_sandbox *owner, const struct osh_writer *writer)
{
	return !owner || owner->flags & OSH_SANDBOX_WRITES_SYSTEM ||
	       (owner->flags & OSH_SANDBOX_ATTACHED && osh_writes_as_root(writer));
}

/* The new program's memory holds what it was given, and has not run yet. */
static __always_inline int is_injected(struct env_walk *env, struct task_struct *task,
				       const struct osh_writer *writer, __u64 sandbox)
{
	const struct osh_sandbox *owner = bpf_map_lookup_elem(&sandboxes, &sandbox);

	env->at = BPF_CORE_READ(task, mm, env_start);
	env->end = BPF_CORE_READ(task, mm, env_end);
	env->trusts_system = !writes_system(owner, writer);
	env->in_middle = env->is_told = env->is_harmful = 0;
	bpf_loop(ENV_READS_MAX, env_step, NULL, 0);
	return env->is_harmful || !env->is_told;
}

static __always_inline int is_loader(struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	char name[OSH_ENV_SLACK] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(dentry, d_name.name));
	return osh_is_loader(name);
}

static __always_inline int is_writable(struct file *file, const struct osh_writer *writer)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	if (BPF_CORE_READ(file, f_path.mnt, mnt_flags) & MNT_READONLY)
		return 0;
	return osh_may_write(writer, BPF_CORE_READ(inode, i_uid.val), BPF_CORE_READ(inode, i_mode));
}

static __always_inline __u32 read_taint(struct scratch *scratch, struct file *file,
					struct task_struct *task)
{
	struct osh_writer writer = {};
	__u32 flags = 0;

	read_writer(task, &writer);
	if (is_injected(&scratch->env, task, &writer, scratch->identity.sandbox))
		flags |= OSH_EXE_INJECTED;
	if (is_loader(file))
		flags |= OSH_EXE_LOADER;
	if (is_writable(file, &writer))
		flags |= OSH_EXE_WRITABLE;
	return flags;
}

/* ---- Interning ------------------------------------------------------------------- */

/* Give a new identity its number. 0: a table is full. */
static __always_inline __u32 number_identity(const struct osh_identity *id)
{
	__u32 zero = 0, number, *last, *winner;

	last = bpf_map_lookup_elem(&identity_last, &zero);
	if (!last)
		return 0;
	number = __sync_fetch_and_add(last, 1) + 1;
	/* After 2^32 numbers 0 and those in use are left out. */
	if (number == 0 || bpf_map_update_elem(&identities, &number, id, BPF_NOEXIST))
		return 0;
	if (bpf_map_update_elem(&identity_ids, id, &number, BPF_NOEXIST) == 0)
		return number;
	bpf_map_delete_elem(&identities, &number);
	winner = bpf_map_lookup_elem(&identity_ids, id); /* another processor was first */
	return winner ? *winner : 0;
}

static __always_inline __u32 intern(const struct osh_identity *id)
{
	__u32 *known = bpf_map_lookup_elem(&identity_ids, id), number;
	struct osh_usage *use;

	if (known)
		return *known;
	use = bpf_map_lookup_elem(&usage, &id->sandbox);
	if (!use)
		return 0;
	if (__sync_fetch_and_add(&use->identities, 1) >= OSH_IDENTITIES_PER_SANDBOX_MAX)
		number = 0;
	else
		number = number_identity(id);
	if (!number)
		__sync_fetch_and_add(&use->identities, -1);
	return number;
}

/* Hang the new identity below the one that executed it. At the bound the chain stops
 * growing: what comes after hangs below the same ancestor, so that an endless chain of
 * execs makes no endless chain of identities. Returns 0 when the parent is gone. */
static __always_inline int set_parent(struct osh_identity *id, __u32 parent_number)
{
	const struct osh_identity *parent = bpf_map_lookup_elem(&identities, &parent_number);

	if (!parent)
		return 0;
	if (parent->flags & OSH_EXE_TOO_DEEP) {
		id->parent = parent->parent;
		id->depth = parent->depth;
	} else {
		id->parent = parent_number;
		id->depth = parent->depth + 1;
	}
	if (id->depth > OSH_LINEAGE_MAX)
		id->flags |= OSH_EXE_TOO_DEEP;
	return 1;
}

/* ---- The processes known ------------------------------------------------------------ */

/* An entry is counted while it is there, by the sandbox that stands in it. One that the agent removes
 * belonged to a sandbox whose usage went first. Signed: a count too low would cost a place at most. */
static __always_inline int take_share(struct osh_usage *use)
{
	if ((__s32)__sync_fetch_and_add(&use->tasks, 1) < OSH_TASKS_PER_SANDBOX_MAX)
		return 1;
	__sync_fetch_and_add(&use->tasks, -1);
	return 0;
}

static __always_inline void forget_task(__u32 tgid)
{
	const struct osh_task *task = bpf_map_lookup_elem(&tasks, &tgid);
	struct osh_usage *use;
	__u64 sandbox;

	if (!task)
		return;
	sandbox = task->sandbox;
	if (bpf_map_delete_elem(&tasks, &tgid))
		return; /* another thread that ends was first */
	use = bpf_map_lookup_elem(&usage, &sandbox);
	if (use)
		__sync_fetch_and_add(&use->tasks, -1);
}

/* 0, or it has no entry of this sandbox's. */
static __always_inline long rewrite_task(__u32 tgid, const struct osh_task *now)
{
	const struct osh_task *before = bpf_map_lookup_elem(&tasks, &tgid);

	if (!before || before->sandbox != now->sandbox)
		return -1;
	return bpf_map_update_elem(&tasks, &tgid, now, BPF_EXIST);
}

static __always_inline long add_task(__u32 tgid, const struct osh_task *now, struct osh_usage *use)
{
	if (!take_share(use))
		return -1;
	if (bpf_map_update_elem(&tasks, &tgid, now, BPF_NOEXIST) == 0)
		return 0;
	__sync_fetch_and_add(&use->tasks, -1);
	return -1;
}

/* For one that began at this time there was no room, or none for its parent. */
static __always_inline void note_lost(struct osh_usage *use, __u64 start_ns)
{
	__u64 seen = use->lost_ns;

	for (int tries = 0; tries < RAISES_MAX && seen < start_ns; tries++) {
		__u64 found = __sync_val_compare_and_swap(&use->lost_ns, seen, start_ns);

		if (found == seen)
			return;
		seen = found;
	}
}

/* Has one without an entry lost it, or its parent before it? Any that is no younger than one that did. */
static __always_inline int may_be_lost(__u64 sandbox, __u64 start_ns)
{
	const struct osh_usage *use = bpf_map_lookup_elem(&usage, &sandbox);

	return !use || start_ns <= use->lost_ns;
}

static __always_inline void put_task(__u32 tgid, const struct osh_task *now)
{
	struct osh_usage *use;

	if (rewrite_task(tgid, now) == 0)
		return;
	forget_task(tgid);
	use = bpf_map_lookup_elem(&usage, &now->sandbox);
	if (!use || add_task(tgid, now, use) == 0 || rewrite_task(tgid, now) == 0) /* osh_late was first */
		return;
	note_lost(use, now->start_ns);
	count(OSH_COUNT_TASK_LOST);
}

/* ---- Events ------------------------------------------------------------------------ */

/* What is known of the process before this exec: 1 and *ret_parent (0 for the first
 * program of a sandbox, started from outside), or 0 when its lineage was lost. */
static __always_inline int find_parent(struct task_struct *task, const struct osh_task *before,
				       __u64 sandbox, __u32 *ret_parent)
{
	struct task_struct *real_parent = task->real_parent;
	__u32 parent_tgid = real_parent ? real_parent->tgid : 0;
	const struct osh_task *starter;

	if (before && before->sandbox == sandbox && before->start_ns == task->start_boottime) {
		*ret_parent = before->identity;
		return before->identity && before->exec_id + 1 == task->self_exec_id;
	}
	/* Never seen. From outside, or a fork that could not be recorded? Its parent may have ended. */
	starter = bpf_map_lookup_elem(&tasks, &parent_tgid);
	*ret_parent = 0;
	return (!starter || starter->sandbox != sandbox) && !may_be_lost(sandbox, task->start_boottime);
}

static __always_inline __u32 identify(struct scratch *scratch, struct task_struct *task,
				      struct file *file, __u64 sandbox, __u32 parent)
{
	struct osh_identity *id = &scratch->identity;

	__builtin_memset(id, 0, sizeof(*id));
	id->sandbox = sandbox;
	read_executable(scratch, file, task);
	id->flags |= read_taint(scratch, file, task);
	if (parent && !set_parent(id, parent))
		return 0;
	return intern(id);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(osh_on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	const struct osh_settings *set = get_settings();
	struct scratch *scratch = get_scratch();
	const struct osh_task *before;
	struct osh_task now = {};
	__u32 tgid = task->tgid, parent;

	if (!set || !scratch)
		return 0;
	now.sandbox = current_sandbox(set);
	if (!now.sandbox)
		return 0;
	now.start_ns = task->start_boottime;
	now.exec_id = task->self_exec_id;
	before = bpf_map_lookup_elem(&tasks, &tgid);
	if (before && before->start_ns == now.start_ns && before->exec_id == now.exec_id &&
	    before->sandbox == now.sandbox)
		return 0; /* recorded by another copy of this program (agent upgrade) */
	if (find_parent(task, before, now.sandbox, &parent)) {
		now.identity = identify(scratch, task, bprm->file, now.sandbox, parent);
		if (now.identity)
			now.flags = scratch->identity.flags;
	}
	count(now.identity ? OSH_COUNT_EXEC : OSH_COUNT_EXEC_NO_IDENTITY);
	put_task(tgid, &now);
	return 0;
}

/* The lineage that a process lost is lost to its children. */
static __always_inline void note_lost_child(struct task_struct *parent, struct task_struct *child)
{
	const struct osh_settings *set = get_settings();
	__u64 sandbox = set ? current_sandbox(set) : 0;
	struct osh_usage *use = sandbox ? bpf_map_lookup_elem(&usage, &sandbox) : NULL;

	if (use && parent->group_leader->start_boottime <= use->lost_ns)
		note_lost(use, child->start_boottime);
}

/* A thread shares its leader's entry; a new process gets a copy. The copy keeps the
 * parent's sandbox: a child put into another cgroup has no identity there until it
 * executes something. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(osh_on_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 parent_tgid = parent->tgid, child_tgid = child->tgid;
	const struct osh_task *from;
	struct osh_task copy;

	if (parent_tgid == child_tgid)
		return 0;
	from = bpf_map_lookup_elem(&tasks, &parent_tgid);
	if (!from) {
		note_lost_child(parent, child);
		return 0;
	}
	copy = *from;
	/* An entry left behind by an earlier owner of this number, or an exec that was not
	 * seen, must not come to life again in a child. */
	if (copy.start_ns != parent->group_leader->start_boottime ||
	    copy.exec_id != parent->group_leader->self_exec_id) {
		copy.identity = 0;
		copy.flags = 0;
	}
	copy.start_ns = child->start_boottime;
	copy.exec_id = child->self_exec_id;
	put_task(child_tgid, &copy);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(osh_on_exit, struct task_struct *task)
{
	__u32 tgid = task->tgid;

	/* The leader may go before its threads: only the last one takes the entry along. */
	if (task->signal->live.counter == 0)
		forget_task(tgid);
	return 0;
}

/* ---- Processes that are older than the attachment ------------------------------------- */

/* Its starter, if that is known by now: parents come before their children, by and large. */
static __always_inline __u32 starter_of(struct task_struct *task, __u64 sandbox)
{
	__u32 tgid = BPF_CORE_READ(task, real_parent, tgid);
	const struct osh_task *starter = bpf_map_lookup_elem(&tasks, &tgid);

	return starter && starter->sandbox == sandbox ? starter->identity : 0;
}

/* One that executes something meanwhile has said so itself. */
static __always_inline void put_late(__u32 tgid, const struct osh_task *now)
{
	struct osh_usage *use = bpf_map_lookup_elem(&usage, &now->sandbox);

	if (!use)
		return;
	if (add_task(tgid, now, use) == 0) {
		count(OSH_COUNT_EXEC);
	} else if (!bpf_map_lookup_elem(&tasks, &tgid)) {
		note_lost(use, now->start_ns);
		count(OSH_COUNT_TASK_LOST);
	}
}

/* Run by the agent over all tasks once a cgroup is attached to: those in it that were executed before
 * get the identity of what runs in them now. How they were started cannot be told any more, so none of
 * them is clean. */
SEC("iter/task")
int osh_late(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct scratch *scratch = get_scratch();
	struct osh_task now = {};
	const struct osh_late *whose;
	struct osh_identity *id;
	struct file *file;
	__u32 zero = 0, tgid, parent;

	whose = bpf_map_lookup_elem(&late, &zero);
	if (!task || !scratch || !whose || task->pid != task->tgid ||
	    ancestor_of(BPF_CORE_READ(task, cgroups, dfl_cgrp), whose->level) != whose->sandbox)
		return 0;
	file = BPF_CORE_READ(task, mm, exe_file);
	tgid = task->tgid;
	if (!file || bpf_map_lookup_elem(&tasks, &tgid))
		return 0;
	id = &scratch->identity;
	__builtin_memset(id, 0, sizeof(*id));
	id->sandbox = whose->sandbox;
	read_executable(scratch, file, task);
	id->flags |= OSH_EXE_INJECTED;
	parent = starter_of(task, whose->sandbox);
	now.sandbox = whose->sandbox;
	now.start_ns = task->start_boottime;
	now.exec_id = task->self_exec_id;
	if (!parent || set_parent(id, parent))
		now.identity = intern(id);
	now.flags = now.identity ? id->flags : 0;
	put_late(tgid, &now);
	return 0;
}

/* ---- Questions of the agent ---------------------------------------------------------- */

static __always_inline struct file *file_of(__u32 fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file **files = BPF_CORE_READ(task, files, fdt, fd), *file = NULL;

	bpf_probe_read_kernel(&file, sizeof(file), &files[fd]);
	return file;
}

/* What a Unix socket accepted is bound where its listener is (unix_stream_connect in af_unix.c). */
static __always_inline void read_peer(struct sock *sk, struct osh_unix_key *ret)
{
	struct sock *peer = NULL;
	struct inode *inode;
	__u64 ctime_ns;

	if (sk && BPF_CORE_READ(sk, __sk_common.skc_family) == OSH_AF_UNIX)
		peer = BPF_CORE_READ((struct unix_sock *)sk, peer);
	inode = peer ? BPF_CORE_READ((struct unix_sock *)peer, path.dentry, d_inode) : NULL;
	if (!inode)
		return;
	read_inode(inode, &ret->dev, &ret->ino, &ctime_ns);
	ret->generation = BPF_CORE_READ(inode, i_generation);
}

/* Asked by the agent before it reads a file: is it the one that was executed? */
SEC("syscall")
int osh_file(struct osh_file_question *ctx)
{
	struct file *file = file_of(ctx->fd);
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct sock *sk = socket_of(file);

	read_inode(inode, &ctx->dev, &ctx->ino, &ctx->ctime_ns);
	ctx->generation = BPF_CORE_READ(inode, i_generation);
	ctx->socket_cgroup = sk ? ancestor_of(BPF_CORE_READ(sk, sk_cgrp_data.cgroup), ctx->level) : 0;
	read_peer(sk, &ctx->peer);
	return 0;
}

/* Run once by the agent, with its root cgroup's directory open: how deep that cgroup lies
 * in the whole hierarchy. User space sees paths only from its own cgroup namespace. */
SEC("syscall")
int osh_cgroup_level(struct osh_level_question *ctx)
{
	struct file *file = file_of(ctx->fd);
	struct kernfs_node *node;
	struct cgroup *cgroup;

	node = BPF_CORE_READ(file, f_inode, i_private);
	cgroup = BPF_CORE_READ(node, priv);
	ctx->cgroup = BPF_CORE_READ(node, id);
	ctx->level = BPF_CORE_READ(cgroup, level);
	return 0;
}
