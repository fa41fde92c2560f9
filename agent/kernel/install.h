/* Private to agent/kernel: the programs and maps in the kernel. Nothing here is
 * kept by the process alone: all of it is pinned, and reopened from its pins. */
#ifndef OSH_KERNEL_INSTALL_H
#define OSH_KERNEL_INSTALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernel/kernel.h"
#include "openshell/limits.h"

/* The maps of bpf/maps.h. */
enum osh_map {
	OSH_MAP_SETTINGS,
	OSH_MAP_SANDBOXES,
	OSH_MAP_USAGE,
	OSH_MAP_TASKS,
	OSH_MAP_IDENTITIES,
	OSH_MAP_IDENTITY_IDS,
	OSH_MAP_FLOWS,
	OSH_MAP_REACHABLE,
	OSH_MAP_DENIALS,
	OSH_MAP_LEASES,
	OSH_MAP_EVENTS,
	OSH_MAP_COUNTERS,
	OSH_MAP_ATTACHED_LEVELS,
	OSH_MAP_LATE,
	OSH_MAP_SOCKETS,
	OSH_MAP_UNIX_SOCKETS,
	OSH_MAP_IDENTITY_LAST, /* this and the next: the programs' alone, held to keep their pins */
	OSH_MAP_WOKEN,
	OSH_MAP_COUNT,
};

/* BPF_CGROUP_UNIX_CONNECT and _SENDMSG, newer than the headers that we build with (6.7). */
#define OSH_UNIX_CONNECT 49
#define OSH_UNIX_SENDMSG 50

/* Hooks that not every supported kernel has; found by trying. */
struct osh_optional_hooks {
	bool unix_sockets; /* connect_unix, sendmsg_unix: 6.7 */
	bool lsm;          /* security hooks of a cgroup, where BPF is an active security module */
	bool send_trace;   /* tracepoint sock_send_length: 6.3 */
	bool sock_destroy; /* bpf_sock_destroy: 6.5 */
};

#define OSH_LINKS_MAX 32

/* What is pinned as pin_dir/PLACE/NAME. Held open, so that a removed pin alone takes nothing away
 * and can be put back: repin.c. */
struct osh_pin {
	const char *place; /* static: LAYOUT "/maps", PINS_MEMORY */
	char name[40];
	int fd;
};

#define OSH_MEMORIES_MAX (OSH_WORKERS_MAX + 1) /* a ring for each, and the ledger */
#define OSH_PINS_MAX (OSH_MAP_COUNT + OSH_LINKS_MAX + 1 + OSH_MEMORIES_MAX)

/* The links on one attached cgroup: attach.c. */
struct osh_held_links {
	struct osh_held_links *next;
	char name[24];                    /* of their directory */
	uint32_t programs[OSH_LINKS_MAX]; /* a pin is called by its program's number */
	int fds[OSH_LINKS_MAX];
	size_t count;
};

struct osh_install {
	int pin_dir_fd;                /* holds the lock: one agent per pin directory */
	struct osh_pin pins[OSH_PINS_MAX]; /* owned, with the descriptors; the next four borrow them */
	size_t pin_count;
	int map_fds[OSH_MAP_COUNT];
	int link_fds[OSH_LINKS_MAX];
	size_t link_count;
	int file_program_fd;           /* osh_file, run by osh_kernel_file */
	struct osh_held_links *held;   /* owned, with the descriptors: the same for attached cgroups */
	char *pin_dir;                 /* owned */
	char build[32];                /* its marker, where this build's programs run; "": another's */
	bool has_old_maps;             /* they were there before this call */
	struct osh_optional_hooks hooks;
};

void osh_install_init(struct osh_install *install);
/* As osh_kernel_sweep. */
int osh_install_sweep(const char *pin_dir, const uint64_t *sandboxes, size_t count, struct osh_err *err);
int osh_install_open(struct osh_install *install, const struct osh_kernel_options *options,
		     struct osh_err *err);
/* Attach every program that is attached to the agent's root cgroup to this one as well, and pin
 * the links under `name`; what is there and in force already stays. The links are held open as well. First the guard
 * of packets and last what leads connections to the agent, so that from the first link on nothing leaves
 * unjudged. Returns how many were not in force before, or -errno: those that were not there before are not
 * there. */
int osh_install_attach(struct osh_install *install, int cgroup_fd, const char *name, struct osh_err *err);
/* Is none of those links missing under `name`, nor detached? */
bool osh_install_has_all_links(const struct osh_install *install, const char *name);
/* Has somebody detached this link (BPF_LINK_DETACH), or is its cgroup gone? */
bool osh_install_is_detached(int link_fd);
/* Forget the links under `name` that are detached, with their pins, so that osh_install_attach makes them
 * anew. Returns how many. */
unsigned osh_install_drop_detached(struct osh_install *install, const char *name);
/* Run osh_late over all tasks. 0 or -errno. */
int osh_install_run_late(const struct osh_install *install);
/* Undo it; what is not there is no error. */
void osh_install_detach(struct osh_install *install, const char *name);
/* Open what is pinned there, a PLACE of struct osh_pin, and hold it. Its descriptor, which the install keeps,
 * or -errno. */
int osh_install_hold(struct osh_install *install, const char *place, const char *name);
/* Hold what memory there is by now (osh_kernel_memory), once. 0 or the first -errno. */
int osh_install_hold_memory(struct osh_install *install);
/* Pin again what is held and has lost its pin, also below a pin_dir that is gone: then it is made and
 * locked again. Returns how many, or the first -errno (-EBUSY: another agent has made it meanwhile). */
int osh_install_repin(struct osh_install *install);
/* The same of what is held for attached cgroups alone; LAYOUT is there. */
int osh_install_repin_attached(const struct osh_install *install);
/* Close what is held for attached cgroups; what is pinned stays. */
void osh_install_release(struct osh_install *install);
/* Close the descriptors; what is pinned stays. */
void osh_install_done(struct osh_install *install);
/* Also remove the pins: everything is detached. */
void osh_install_remove(struct osh_install *install);

/* Has nobody detached a program from the root cgroup? A tracing program goes only with its last
 * descriptor. */
bool osh_install_is_attached(const struct osh_install *install);

/* Find out which of them this kernel has, by trying them on a cgroup. Returns 0 or -errno: -ENOMEM,
 * -EMFILE or -ENFILE when it cannot be told. */
int osh_features_hooks(int cgroup_fd, struct osh_optional_hooks *ret_hooks);

/* The same for a reader. Returns how many. */
#define OSH_FEATURES_MAX 8
size_t osh_features_list(const struct osh_optional_hooks *hooks, bool is_attached,
			 struct osh_kernel_feature features[OSH_FEATURES_MAX]);

/* Delete every entry of a map that belongs to a sandbox of which `goes` says so (NULL: every entry): its
 * id are the first bytes of the key, or of the value. Returns 0 or -errno. */
int osh_maps_purge(int map_fd, bool in_value, bool (*goes)(const void *context, uint64_t sandbox),
		   const void *context);
/* Make these the sandbox's entries of the unix_sockets map, and no others. 0 or the first -errno: what
 * did not find room is left out. */
int osh_maps_unix_set(int map_fd, uint64_t sandbox, const struct osh_unix_key *keys, size_t count);

#endif
