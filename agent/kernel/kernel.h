/* The kernel half: the only folder that calls libbpf. Loads the programs of
 * bpf/, attaches them once to the agent's root cgroup (every sandbox is a child
 * of it and inherits them), pins links and maps so that enforcement outlives the
 * agent, and adopts what an earlier agent pinned. */
#ifndef OSH_KERNEL_KERNEL_H
#define OSH_KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"
#include "openshell/abi.h"

struct osh_kernel;

struct osh_kernel_options {
	const char *pin_dir;     /* on bpffs, made when absent, mode 0700 */
	const char *cgroup_path; /* the agent's root cgroup, exists */
};

/* Adopt the pinned programs when their layout version is ours, else load, attach
 * and pin anew (replacing others; while no sandbox runs). Flow records that an earlier
 * agent left are dropped, so open before any listener. Returns 0 or -errno with a
 * message that says what is missing and what to do. */
int osh_kernel_open(const struct osh_kernel_options *options, struct osh_kernel **ret_kernel,
		    struct osh_err *err);
/* Would open take over the sandboxes that run there? 0, or -EBUSY with a message: they run under
 * programs of another version. */
int osh_kernel_check(const char *pin_dir, struct osh_err *err);
/* Free the handles; what is pinned stays in force. */
void osh_kernel_close(struct osh_kernel *kernel);
/* Detach and unpin everything: only when no sandbox runs. */
void osh_kernel_uninstall(struct osh_kernel *kernel);
/* The same for what an earlier agent left, of whatever version. Where these attached cgroups, `count` of
 * them, are to keep their rules, only what concerns others goes, and the next agent takes them over.
 * Returns 0, -EBUSY (an agent uses it) or another -errno. */
int osh_kernel_sweep(const char *pin_dir, const uint64_t *sandboxes, size_t count, struct osh_err *err);

/* A sandbox in the kernel: `sandbox` is its cgroup id. Without add, everything
 * its tasks try is refused; adding one that is there changes nothing. writes_system: its
 * policy lets it write below /usr, /etc and the like (OSH_SANDBOX_WRITES_SYSTEM). What else
 * the tables hold of a removed one goes with osh_kernel_purge. */
int osh_kernel_sandbox_add(struct osh_kernel *kernel, uint64_t sandbox, bool writes_system);
int osh_kernel_sandbox_remove(struct osh_kernel *kernel, uint64_t sandbox);
/* Drop every entry of removed sandboxes. It goes through all tables, so it is left to the loop, soon, and
 * happens at once where nobody watches (osh_kernel_watch), before one of them is added again, and at the end.
 * 0 or -errno, with a warning: it is tried again, and none of them is added meanwhile. */
int osh_kernel_purge(struct osh_kernel *kernel);
/* A cgroup of somebody else's that gets the same rules (OSH_SANDBOX_ATTACHED). */
struct osh_kernel_attachment {
	uint64_t sandbox;      /* its id */
	int cgroup_fd;
	unsigned depth;        /* below the top of the hierarchy as this process sees it; 0: the top */
	uint64_t netns;        /* cookie of the only network namespace that its sockets may be of */
	uint32_t gateway_host; /* where the agent listens there */
	bool host_net;         /* that of this process */
};

/* Make it known as osh_kernel_sandbox_add does, and its tasks with it: what they execute from now
 * on has an identity. -E2BIG: deeper than OSH_ATTACH_LEVEL_MAX. */
int osh_kernel_attachment_add(struct osh_kernel *kernel, const struct osh_kernel_attachment *attachment);
/* Give the processes that it has already the identity of what runs in them; they are not clean. 0 or
 * -errno: then they have none until they execute something. */
int osh_kernel_late(struct osh_kernel *kernel, const struct osh_kernel_attachment *attachment);
/* Put the hooks on it. From its return on nothing leaves unjudged. Returns how many were not on it
 * before, or -errno with a message; then those still are not. */
int osh_kernel_attach(struct osh_kernel *kernel, const struct osh_kernel_attachment *attachment,
		      struct osh_err *err);
/* Are all its hooks on it that an agent before this one put there? */
bool osh_kernel_has_all_hooks(struct osh_kernel *kernel, uint64_t sandbox);
/* Forget those of its hooks that somebody detached, so that osh_kernel_attach puts them on again. Returns
 * how many. */
unsigned osh_kernel_drop_detached(struct osh_kernel *kernel, uint64_t sandbox);
/* Was an open socket made in it, so that it passes the hooks? 1, 0 or -errno. */
int osh_kernel_made_inside(struct osh_kernel *kernel, const struct osh_kernel_attachment *attachment, int fd);
/* The Unix sockets outside that its programs may reach are these from now on. 0 or -errno: some did not
 * find room, and are out of reach. */
int osh_kernel_unix_sockets_set(struct osh_kernel *kernel, uint64_t sandbox, const struct osh_unix_key *keys,
				size_t count);
/* Does a connection (of a Unix socket of the caller's) lead to one of them? 1, 0 or -errno. */
int osh_kernel_leads_to_named(struct osh_kernel *kernel, uint64_t sandbox, int fd);
/* Do the kernel's security hooks stand in for what a sandbox has around it (bpf/attached.bpf.c)? */
bool osh_kernel_guards_attached(const struct osh_kernel *kernel);
/* A socket that was made in it before the hooks were there: as one that was made since, it is the sandbox's
 * own, should it listen. 0 or -errno. */
int osh_kernel_own(struct osh_kernel *kernel, uint64_t sandbox, int fd);
/* A socket in it that is older: its packets pass as before. 0 or -errno. */
int osh_kernel_keep(struct osh_kernel *kernel, uint64_t sandbox, int fd);
/* Take them away: its programs are on their own again. Then osh_kernel_sandbox_remove. */
void osh_kernel_detach(struct osh_kernel *kernel, uint64_t sandbox);

/* A new policy: cached denials of the sandbox count no more; with reaches_all (mode:
 * permissive) every TCP destination leads to the proxy. */
int osh_kernel_generation_bump(struct osh_kernel *kernel, uint64_t sandbox, bool reaches_all,
			       uint32_t *ret_generation);
/* Call `each` for every sandbox the kernel knows (adoption). */
void osh_kernel_sandbox_each(struct osh_kernel *kernel,
			     void (*each)(void *context, uint64_t sandbox), void *context);

/* Does the kernel know any? Also true when it cannot say: nothing is taken away then. */
bool osh_kernel_has_sandbox(const struct osh_kernel *kernel);

/* An open file as the exec hook saw it, to compare with an identity: fstat(2) shows other
 * numbers on overlayfs and btrfs. 0 or -errno. */
int osh_kernel_file(struct osh_kernel *kernel, int fd, struct osh_file_question *ret_file);
/* What runs in a process of a sandbox. 0, or -ENOENT: unknown. */
int osh_kernel_task(struct osh_kernel *kernel, pid_t pid, struct osh_task *ret_task);

/* Refusals recorded by the kernel. The callback runs inside the loop; the event
 * is borrowed, and the first part of a struct osh_unix_event if its reason is
 * OSH_KERNEL_UNIX_SOCKET. */
int osh_kernel_watch(struct osh_kernel *kernel, struct osh_loop *loop,
		     void (*on_event)(void *context, const struct osh_event *event), void *context);

/* Sum over all processors. */
uint64_t osh_kernel_counter(struct osh_kernel *kernel, enum osh_counter counter);
const char *osh_counter_name(enum osh_counter counter);
const char *osh_kernel_reason_text(enum osh_kernel_reason reason);

/* What `openshell status` shows: a feature found by trying it, and what is used
 * in its place when it is absent. */
struct osh_kernel_feature {
	const char *name;     /* "connect_unix hooks" */
	bool present;
	const char *fallback; /* used when absent; NULL: required */
};
size_t osh_kernel_features(struct osh_kernel *kernel, const struct osh_kernel_feature **ret_features);
/* Are all programs still attached, or has somebody detached one? */
bool osh_kernel_is_attached(const struct osh_kernel *kernel);
/* Programs and maps that have lost their pins, without which they end with this agent, get them again.
 * Returns how many pins, or -errno: some are lost for as long as that holds. */
int osh_kernel_repin(struct osh_kernel *kernel);

/* ---- Memory that outlives the agent ---------------------------------------- */

/* `bytes` (whole pages, at offset 0 of the descriptor) to map with MAP_SHARED, of this name below
 * pin_dir: whoever comes next finds them as they were left; uninstall and sweep remove them. They
 * cannot shrink, and need no room on any disk. Returns 0: found; 1: made, all zero (may_make; the same
 * name of another size is replaced); -ENOENT: not there; or -errno. The descriptor is the caller's. */
int osh_kernel_memory(const char *pin_dir, const char *name, size_t bytes, bool may_make, int *ret_fd);
/* One writer at a time: the descriptor is the lock, for as long as anybody has it open. Hand it to who
 * writes there, and the successor waits here until that one has ended. Returns it or -errno
 * (-EWOULDBLOCK: still held after three seconds; -ENOENT: there is no memory). */
int osh_kernel_memory_lock(const char *pin_dir);
/* From here on osh_kernel_repin puts back the pins of the memory that there is now, too. Once. 0 or -errno. */
int osh_kernel_hold_memory(struct osh_kernel *kernel);

/* ---- Map access with held descriptors, also from the proxy --------------- */

/* The maps that the proxy works with; it needs no capability for that
 * (kernel commit c8644cd0efe7, 5.19). */
struct osh_maps {
	int sandboxes;  /* read: generation */
	int flows;      /* take */
	int identities; /* read: id -> struct osh_identity */
	int leases;     /* read, write */
	int reachable;  /* write, delete */
	int denials;    /* write */
};
#define OSH_MAPS_COUNT 6

/* Borrowed descriptors. */
const struct osh_maps *osh_kernel_maps(const struct osh_kernel *kernel);

/* All return 0 or -errno (-ENOENT: no entry). */
/* -ENOSPC: no entry, and no room for one: the kernel half has told so. */
int osh_maps_flow_take(const struct osh_maps *maps, const struct osh_flow_key *key,
		       struct osh_flow *ret_flow);
int osh_maps_identity(const struct osh_maps *maps, uint32_t id, struct osh_identity *ret_identity);
int osh_maps_generation(const struct osh_maps *maps, uint64_t sandbox, uint32_t *ret_generation);
int osh_maps_lease_get(const struct osh_maps *maps, const struct osh_lease_key *key,
		       struct osh_lease *ret_lease);
int osh_maps_lease_set(const struct osh_maps *maps, const struct osh_lease_key *key,
		       const struct osh_lease *lease);
/* Walk the leases of one sandbox (adoption after a restart). */
int osh_maps_lease_each(const struct osh_maps *maps, uint64_t sandbox,
			void (*each)(void *context, uint32_t addr_host, const struct osh_lease *lease),
			void *context);
int osh_maps_reachable_add(const struct osh_maps *maps, const struct osh_reach_key *key);
int osh_maps_reachable_remove(const struct osh_maps *maps, const struct osh_reach_key *key);
int osh_maps_reachable_each(const struct osh_maps *maps, uint64_t sandbox,
			    void (*each)(void *context, const struct osh_reach_key *key), void *context);
int osh_maps_denial_add(const struct osh_maps *maps, const struct osh_denial_key *key);

#endif
