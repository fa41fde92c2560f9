/* Sandboxes: build one, run programs in it, find it again, end it.
 *
 * Order of a creation (agent/control drives it): cgroup_make -> the kernel half
 * learns the cgroup -> launch -> listeners -> the proxy learns the sandbox and its
 * policy -> spawn. No program of the user runs before all of that is true. */
#ifndef OSH_SANDBOX_SANDBOX_H
#define OSH_SANDBOX_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"
#include "openshell/limits.h"
#include "openshell/sockets.h"
#include "policy/policy.h"

struct osh_sandbox_host;
struct osh_sandbox_instance;

/* ---- The host side, once per agent -------------------------------------- */

struct osh_sandbox_host_options {
	struct osh_loop *loop;
	const char *state_dir;   /* sandboxes live in STATE_DIR/sandboxes/NAME/ (0700) */
	const char *run_dir;     /* RUN_DIR/init/NAME.sock: how a restarted agent reaches an init */
	const char *init_path;   /* build/openshell-init or the installed one */
};

/* Find cgroup2 in /proc/self/mountinfo, make the agent's root cgroup (name derived
 * from run_dir, so that two agents do not meet), move nothing. Returns 0 or
 * -errno with a message that says what to do. */
int osh_sandbox_host_open(const struct osh_sandbox_host_options *options,
			  struct osh_sandbox_host **ret_host, struct osh_err *err);
void osh_sandbox_host_close(struct osh_sandbox_host *host);
/* Remove the root cgroup; only when no sandbox is left. */
void osh_sandbox_host_uninstall(struct osh_sandbox_host *host);
const char *osh_sandbox_host_cgroup(const struct osh_sandbox_host *host); /* absolute path */
/* Short key derived from run_dir ("" for /run/openshell): names pins likewise. */
#define OSH_KEY_MAX 16
const char *osh_sandbox_host_key(const struct osh_sandbox_host *host);
/* The same before there is a host, of a directory that exists. 0 or -errno with a message. */
int osh_sandbox_key_of(const char *run_dir, char ret_key[static OSH_KEY_MAX], struct osh_err *err);
/* 0..n: the Landlock ABI of this kernel; 0 none. */
int osh_sandbox_landlock_abi(void);

/* Whether sockets of the host are out of reach in directories that are shown inside
 * (id-mapped mounts), asked of the kernel and of /usr. */
bool osh_sandbox_has_idmap(const struct osh_sandbox_host *host);

/* To be called now and then: where files of the host were replaced that something of a sandbox's own lies over, or
 * nothing, lay it over the new ones. Takes a process for that moment. */
void osh_sandbox_keep_covered(struct osh_sandbox_host *host);

/* ---- Limits ---- */

enum osh_limit {
	OSH_LIMIT_CPU,    /* thousandths of a processor */
	OSH_LIMIT_MEMORY, /* bytes */
	OSH_LIMIT_PIDS,   /* tasks */
	OSH_LIMIT_COUNT,
};

struct osh_sandbox_limits {
	uint64_t of[OSH_LIMIT_COUNT]; /* 0: none */
};

const char *osh_limit_name(enum osh_limit limit);       /* "cpu_milli": its key in the interface */
const char *osh_limit_controller(enum osh_limit limit); /* "cpu": what enforces it */
/* Does cgroup2 have the controller that enforces this limit? Without it none is enforced. */
bool osh_sandbox_has_controller(const struct osh_sandbox_host *host, enum osh_limit limit);

/* [a-z0-9][a-z0-9-]{0,62} */
bool osh_sandbox_name_is_valid(const char *name);

/* ---- One sandbox ---------------------------------------------------------- */

struct osh_sandbox_spec {
	const char *name;
	const struct osh_policy_static *policy; /* filesystem, Landlock mode, ids */
	const char *ca_pem;                     /* the sandbox's CA certificate, PEM text */
	bool keep;                              /* survives the command that made it */
	const char *const *env;                 /* NULL-terminated KEY=VALUE: placeholders and the like */
	const char *const *providers;           /* NULL-terminated names, kept in the record */
	struct osh_sandbox_limits limits;       /* one without a controller is a warning */
};

/* Make STATE_DIR/sandboxes/NAME and the cgroup. -EEXIST: name taken. */
int osh_sandbox_cgroup_make(struct osh_sandbox_host *host, const char *name,
			    struct osh_sandbox_instance **ret_instance, struct osh_err *err);

/* ---- A cgroup of somebody else's ---- */

/* In place of cgroup_make and launch: STATE_DIR/sandboxes/NAME for a cgroup2 directory that exists and
 * has processes, and the agent's address on lo of their network namespace. Refused are the agent's own
 * cgroup and its sandboxes' and what has rules already, above or below. */
int osh_sandbox_attach_cgroup(struct osh_sandbox_host *host, const char *name, const char *cgroup,
			      struct osh_sandbox_instance **ret_instance, struct osh_err *err);
/* The rules are in force for all that is in it: from now on an agent that adopts it keeps it
 * (osh_sandbox_keep), and knows whether sockets that are older were to be kept. 0 or -errno. */
int osh_sandbox_attached_whole(struct osh_sandbox_instance *instance, bool keeps_established);
bool osh_sandbox_keeps_established(const struct osh_sandbox_instance *instance);
/* "" unless it is one: the directory. */
const char *osh_sandbox_attached(const struct osh_sandbox_instance *instance);
int osh_sandbox_cgroup_fd(const struct osh_sandbox_instance *instance); /* borrowed */
unsigned osh_sandbox_cgroup_depth(const struct osh_sandbox_instance *instance); /* below the hierarchy's top */
uint64_t osh_sandbox_netns(const struct osh_sandbox_instance *instance);  /* SO_NETNS_COOKIE */
uint32_t osh_sandbox_gateway(const struct osh_sandbox_instance *instance); /* host order */
/* Attached, and in the network of this process: its loopback is the host's. */
bool osh_sandbox_is_in_host_net(const struct osh_sandbox_instance *instance);
/* Have osh_sandbox_on_death called when the cgroup is removed. 0 or -errno. */
int osh_sandbox_watch_cgroup(struct osh_sandbox_instance *instance);

/* A socket that a process of it holds, or an io_uring, which may hold some. */
struct osh_sandbox_socket {
	pid_t pid;
	int fd; /* the very one, borrowed; -1: a thread of the process has it for itself, out of our reach
		 * before Linux 6.9 */
	int domain, type, protocol; /* AF_UNSPEC: an io_uring, or not known */
};
/* Stop all its processes for a moment, and show every one that is in a table of theirs. Returns 0, or -errno
 * or what `each` returned other than 0. */
int osh_sandbox_each_socket(struct osh_sandbox_instance *instance,
			    int (*each)(void *context, const struct osh_sandbox_socket *socket), void *context);
/* Stop all its processes until it is detached, or let go by this agent or another one. 0 or -errno. */
int osh_sandbox_hold(const struct osh_sandbox_instance *instance);
/* The same, unless they are stopped already: what its manager paused is the manager's to resume. */
int osh_sandbox_pause(const struct osh_sandbox_instance *instance);
/* Was it we, or an agent before us, who stopped them? Not so if its manager paused it. */
bool osh_sandbox_is_held(const struct osh_sandbox_instance *instance);
/* Let them go on, if they are held. */
void osh_sandbox_let_go(const struct osh_sandbox_instance *instance);
/* Is the process in it, or below? */
bool osh_sandbox_holds_process(const struct osh_sandbox_instance *instance, pid_t pid);
/* What a sandbox's own walls hold and the hooks on a cgroup do not. */
enum osh_exposure {
	OSH_EXPOSED_CGROUP = 1 << 0,   /* it may move to one outside, where no rule holds */
	OSH_EXPOSED_PINS = 1 << 1,     /* it may remove what keeps the rules beyond the agent's life */
	OSH_EXPOSED_CALLS = 1 << 2,    /* no seccomp filter */
	OSH_EXPOSED_CORE = 1 << 3,     /* a helper outside gets its memory when it crashes */
	OSH_EXPOSED_TERMINAL = 1 << 4, /* it may put input into a terminal that somebody outside reads */
	OSH_EXPOSED_ALL = (1 << 5) - 1,
};
/* Bits of enum osh_exposure of one process of it, by /proc; none of one that has ended, all when it cannot
 * be told. */
unsigned osh_sandbox_exposure(const struct osh_sandbox_instance *instance, pid_t pid);
/* Does one of its processes share its namespace of this kind ("pid": or one within) with a process outside?
 * True when it cannot be told. Reads all of /proc. */
bool osh_sandbox_shares(const struct osh_sandbox_instance *instance, const char *kind);
/* Is it in the caller's user namespace? True when it cannot be told, false of one that has ended. */
bool osh_sandbox_is_in_our_user_namespace(pid_t pid);
int osh_sandbox_each_process(const struct osh_sandbox_instance *instance,
			     int (*each)(void *context, pid_t pid), void *context);

/* Start openshell-init as pid 1 of new pid, mount, ipc, uts, net and cgroup
 * namespaces in the sandbox's cgroup, with everything applied that never loosens
 * again: private root, /sandbox, /tmp, resolv.conf, hosts, passwd, CA bundles,
 * Landlock, seccomp, no_new_privs, no capability, own uid. Returns when init
 * answers. On failure nothing is left behind but what cgroup_make made (destroy
 * it); one that was stopped is again. Its user, once given, stays. With OSH_LANDLOCK_HARD_REQUIREMENT an unusable path or a kernel without
 * Landlock is an error; best effort leaves it out and says so in *warnings (may
 * be NULL; one line per warning, malloc'ed, the caller frees). */
int osh_sandbox_launch(struct osh_sandbox_instance *instance, const struct osh_sandbox_spec *spec,
		       char **ret_warnings, struct osh_err *err);

/* End everything that runs in it and keep its files, user and place: launch again, or
 * destroy. What keeps it (its record) is on disk before anything ends, synced: it outlives
 * the host. Callbacks of programs that run are told that they were killed. */
int osh_sandbox_stop(struct osh_sandbox_instance *instance, struct osh_err *err);

/* Sockets of the agent inside the sandbox's network namespace, owned by the
 * caller, non-blocking, close-on-exec (setns there and back; single-threaded). */
int osh_sandbox_sockets_open(struct osh_sandbox_instance *instance,
			     struct osh_sandbox_sockets *ret_sockets, struct osh_err *err);

/* Begin a connection to a port on the sandbox's own loopback, as from a program of it: a
 * non-blocking socket, owned by the caller, on which connect(2) is under way (SO_ERROR says how
 * it ended). No hook of the sandbox applies to it. */
int osh_sandbox_dial(struct osh_sandbox_instance *instance, uint16_t port, bool ipv6, int *ret_fd,
		     struct osh_err *err);

/* A program to run inside. */
struct osh_sandbox_command {
	const char *const *argv;  /* NULL-terminated, argv[0] looked up in the sandbox's PATH */
	const char *const *env;   /* NULL-terminated additions to the sandbox's environment */
	const char *cwd;          /* NULL: /sandbox */
	bool tty;                 /* give it a pty of the sandbox's own devpts, as session leader */
	bool is_first;            /* what the sandbox is for: it goes on when its caller goes, and
				   * with tty can be attached to */
	uint16_t rows, columns;
	int stdio[3];             /* only without tty; borrowed, duplicated */
};

/* One look at a program's terminal, which its init holds. */
struct osh_sandbox_terminal {
	int output; /* a pipe with what it writes, from what is retained on; -1: no terminal */
	int master; /* the pty, to write to and to set the size of; -1: the program has ended */
};

struct osh_sandbox_command_events {
	/* Started (err NULL): pid inside the sandbox; the terminal's descriptors are owned by
	 * the callee. Not started: err says why ("no such command: x"). */
	void (*on_started)(void *context, const struct osh_err *err, pid_t pid,
			   struct osh_sandbox_terminal terminal);
	/* Ended: the shell's convention, 0..255 (128 + signal). Called exactly once after a
	 * successful start, also when the sandbox dies (137). */
	void (*on_exit)(void *context, int status);
	void *context;
};

/* Ask the sandbox's init to run it; answers arrive through the loop. Returns 0
 * or -errno when init cannot be asked. */
int osh_sandbox_spawn(struct osh_sandbox_instance *instance, const struct osh_sandbox_command *command,
		      const struct osh_sandbox_command_events *events, struct osh_err *err);
/* The same for the terminal of the first command, running or ended: -ENOENT in on_started's
 * err when it has none. */
int osh_sandbox_attach(struct osh_sandbox_instance *instance,
		       const struct osh_sandbox_command_events *events, struct osh_err *err);
/* The program keeps its terminal and goes on without its caller, whose callbacks with this context are
 * forgotten. */
void osh_sandbox_spawn_detach(struct osh_sandbox_instance *instance, const void *context);
/* Forget the callbacks with this context, and tell nobody. */
void osh_sandbox_spawn_forget(struct osh_sandbox_instance *instance, const void *context);
/* Send a signal to the process group of the program with this context, if it runs. */
void osh_sandbox_spawn_signal(struct osh_sandbox_instance *instance, const void *context, int sig);
/* The caller went away: hang up (SIGHUP, then the pty or pipes are closed), unless it is
 * the first command on a terminal, and forget the callbacks with this context. */
void osh_sandbox_spawn_abandon(struct osh_sandbox_instance *instance, const void *context);

/* Called when the sandbox's init ends by itself or is killed. */
void osh_sandbox_on_death(struct osh_sandbox_instance *instance,
			  void (*on_death)(void *context, struct osh_sandbox_instance *instance),
			  void *context);

/* Kill everything in it (cgroup.kill), wait until it is empty, remove cgroup,
 * mounts, directories and files; its name is free then. Of very many files the rest
 * goes later, in slices through the loop, or by the next agent. Works on half-made
 * ones. Frees the instance. */
int osh_sandbox_destroy(struct osh_sandbox_instance *instance, struct osh_err *err);
/* Free the handle, leave the sandbox running (the agent stops). */
void osh_sandbox_release(struct osh_sandbox_instance *instance);

/* Find every sandbox of an earlier agent under state_dir: running ones (pid and start
 * time of init and cgroup id checked) and stopped ones (osh_sandbox_init_pid is 0), with them
 * those whose programs have ended since, are handed to `each`; what was not to be kept, or never
 * ran, is removed. Returns how many or -errno. */
int osh_sandbox_adopt_all(struct osh_sandbox_host *host,
			  void (*each)(void *context, struct osh_sandbox_instance *instance),
			  void *context, struct osh_err *err);

/* Attached cgroups that a sweep left as they were. */
struct osh_sandbox_left {
	uint64_t ids[OSH_SANDBOXES_MAX];
	size_t count;
};

/* End what an earlier agent left running and remove what it left: sandboxes that are not to be
 * kept, half-made and half-removed ones, cgroups, sockets. Files of kept sandboxes stay, as of
 * stopped ones, and those of damaged ones; an attached cgroup in which processes run is left to the next
 * agent. Each thing that is done is told in the log. Returns 0 or -errno, having gone on with the rest; then
 * others may have been left than those in *ret_left. */
int osh_sandbox_sweep(struct osh_sandbox_host *host, struct osh_sandbox_left *ret_left, struct osh_err *err);

/* Facts; strings are borrowed and live as long as the instance. */
const char *osh_sandbox_name(const struct osh_sandbox_instance *instance);
uint64_t osh_sandbox_id(const struct osh_sandbox_instance *instance); /* cgroup id */
const char *osh_sandbox_dir(const struct osh_sandbox_instance *instance);
const char *osh_sandbox_log_path(const struct osh_sandbox_instance *instance);
uid_t osh_sandbox_uid(const struct osh_sandbox_instance *instance);
pid_t osh_sandbox_init_pid(const struct osh_sandbox_instance *instance); /* 0: stopped */
int64_t osh_sandbox_created(const struct osh_sandbox_instance *instance); /* Unix seconds */
bool osh_sandbox_keep(const struct osh_sandbox_instance *instance);
/* Adopted without a usable record: nothing of it runs, all that can be done is to destroy it. */
bool osh_sandbox_is_damaged(const struct osh_sandbox_instance *instance);
const char *const *osh_sandbox_providers(const struct osh_sandbox_instance *instance);

/* Where a path leads inside the sandbox's root when it or a directory in it is a
 * symbolic link (openat2 RESOLVE_IN_ROOT on /proc/INIT/root): 0 and the final path,
 * -ENOENT, or -EALREADY when it is no link. For osh_policy_compile. */
int osh_sandbox_resolve(struct osh_sandbox_instance *instance, const char *path, char *buf, size_t size);

/* Open the file at a path that the kernel gave an executable (no link in it), for reading. A
 * descriptor owned by the caller, or -errno; whether it is the file that was executed is the
 * caller's to find out. */
int osh_sandbox_open_executable(struct osh_sandbox_instance *instance, const char *path);
/* The Unix socket at a path inside, links followed; opened by its path alone (O_PATH), which dials
 * nobody. A descriptor owned by the caller, or -errno (-EPERM: it is openshell's own). */
int osh_sandbox_open_socket(struct osh_sandbox_instance *instance, const char *path);

/* Could the sandbox itself put another file at this path, or write the one that is there?
 * `path` may be a glob: then the directories before its first star are asked about. Not asked about attached cgroups, whose root
 * may write anywhere: that is said once, when they are attached. */
bool osh_sandbox_may_write(struct osh_sandbox_instance *instance, const char *path);

/* Does a process of the sandbox run code from a file that the sandbox may write (mapped
 * executable; /proc/PID/maps)? 0: no, 1: yes, -errno: it cannot be told. What was copied
 * into anonymous memory is not seen. */
int osh_sandbox_maps_written_code(struct osh_sandbox_instance *instance, pid_t pid);

#endif
