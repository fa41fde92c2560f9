/* Private to agent/sandbox: what its files share. Each group is one file. */
#ifndef OSH_SANDBOX_INTERNAL_H
#define OSH_SANDBOX_INTERNAL_H

#include <linux/filter.h>
#include <stdio.h>
#include <sys/mount.h>

#include "base/buf.h"
#include "sandbox/protocol.h"
#include "sandbox/sandbox.h"

#define OSH_SANDBOX_PATH_MAX 512  /* paths that the agent itself makes */
#define OSH_SANDBOX_PROVIDERS_MAX 64

/* Certificates as entries of a Java keystore, made from a PEM file once: it takes
 * milliseconds. All zero: none. */
struct keystore {
	struct osh_buf entries;
	unsigned count;
	ino_t inode;             /* of the file it was made from */
	struct timespec changed;
};

struct osh_sandbox_host {
	struct osh_loop *loop;
	char state_dir[OSH_SANDBOX_PATH_MAX]; /* these three: resolved, absolute */
	char run_dir[OSH_SANDBOX_PATH_MAX];
	char init_path[OSH_SANDBOX_PATH_MAX];
	char key[OSH_KEY_MAX];
	char cgroup[OSH_SANDBOX_PATH_MAX];
	unsigned controllers;     /* bit per enum osh_limit: limits.c */
	int idmap_fd;             /* the map of idmap.c; -1: this kernel has none */
	struct sock_fprog filter; /* seccomp, compiled once; filter.filter owned */
	struct keystore keystore; /* the host's trusted CAs; empty without Java */
	struct osh_timer trash_timer; /* armed while something is left to remove */
	uint64_t places_seen;     /* cover.c: the host's files as they were */
	struct osh_sandbox_instance *instances;
	unsigned sandboxes;       /* how many, at most OSH_SANDBOXES_MAX */
};

/* What the record on disk holds. */
struct sandbox_record {
	char name[OSH_NAME_MAX];
	uint64_t id;
	uid_t uid;
	gid_t gid;
	pid_t init_pid;         /* 0: not launched yet, or stopped */
	uint64_t init_start;    /* /proc/PID/stat field 22: tells a reused pid */
	int64_t created;
	bool keep;
	bool keeps_established; /* attached: sockets that are older are recorded, not ended */
	char **providers;       /* owned, NULL-terminated; may be NULL */
	char attached[OSH_SANDBOX_PATH_MAX]; /* "" or the cgroup that it was attached to */
	uint32_t gateway;       /* where the agent listens in its network, host order */
	uint64_t netns;         /* attached: the cookie of that network namespace */
};

struct pending_command;

struct osh_sandbox_instance {
	struct osh_sandbox_instance *prev, *next; /* in host->instances */
	struct osh_sandbox_host *host;
	struct sandbox_record record;
	char dir[OSH_SANDBOX_PATH_MAX];
	char log_path[OSH_SANDBOX_PATH_MAX];
	char cgroup[OSH_SANDBOX_PATH_MAX];
	char socket_path[OSH_SANDBOX_PATH_MAX];
	bool was_launched;      /* once: uid and gid are settled */
	bool is_damaged;        /* only to be destroyed: what its record said is not known */
	int cgroup_fd;
	int net_fd, root_fd;    /* attached: its network namespace and root directory; else -1 */
	struct osh_io init_io;  /* the connection to init */
	struct osh_io pid_io;   /* init's pidfd; attached: cgroup.events */
	struct osh_timer look;  /* attached: armed while nothing runs in it */
	struct pending_command *commands;
	uint64_t next_command;
	size_t command_count;
	void (*on_death)(void *context, struct osh_sandbox_instance *instance);
	void *on_death_context;
	/* A callback may destroy the instance that calls it: then `gone`, and who entered
	 * last frees. */
	unsigned entered;
	bool gone;
};

/* ---- instance.c ---- */
int sandbox_instance_new(struct osh_sandbox_host *host, const char *name,
			 struct osh_sandbox_instance **ret_instance);
/* Callbacks run between these two; leave may free. */
void sandbox_enter(struct osh_sandbox_instance *instance);
void sandbox_leave(struct osh_sandbox_instance *instance);
/* Watch init's connection and pidfd in the host's loop (both are set). */
int sandbox_watch(struct osh_sandbox_instance *instance);
/* Init does not behave as ours would: end it; the pidfd reports the rest. */
void sandbox_kill_init(struct osh_sandbox_instance *instance);
void sandbox_reap_init(struct osh_sandbox_instance *instance);
/* Back to what cgroup_make made: nothing runs in it, and it can be launched again. */
int sandbox_halt(struct osh_sandbox_instance *instance);

/* Its directory, which nobody else may have yet, and its log. -EEXIST: the name is taken. */
int sandbox_make_dir(struct osh_sandbox_instance *instance, struct osh_err *err);
int sandbox_make_log(const struct osh_sandbox_instance *instance);
/* Free a handle that nothing was made for yet. */
void sandbox_drop(struct osh_sandbox_instance *instance);

/* ---- attached.c ---- */
bool sandbox_is_attached(const struct osh_sandbox_instance *instance);
/* Find its cgroup, network and root again, as an earlier agent left them. -errno: that cgroup is gone.
 * Not *ret_reached: it is there and its rules are in force, but for want of a process of it its network
 * is out of reach. */
size_t attached_top_len(const struct osh_sandbox_host *host);
int attached_take_over(struct osh_sandbox_instance *instance, bool *ret_reached, struct osh_err *err);
/* Take the agent's address out of its network. */
void attached_leave(struct osh_sandbox_instance *instance);

/* ---- tables.c ---- */
struct socket_walk {
	int (*each)(void *context, const struct osh_sandbox_socket *socket);
	void *context;
};
/* Call `each` for what osh_sandbox_each_socket shows of one process, which stands still. Stops when it
 * returns < 0 and returns that. */
int tables_look_through(void *walk, pid_t pid);

/* ---- leave.c ---- */
/* By the texts of its /proc/PID/mountinfo and /proc/PID/status. */
bool attached_may_leave(const struct osh_sandbox_instance *instance, pid_t pid, const char *mounts, const char *status);
/* Is it root or this user, can it become so, or do with a file of theirs as they can? Also when that cannot
 * be told. `status` is the text of its /proc/PID/status. */
bool attached_may_be(pid_t pid, const char *status, uid_t owner);
/* /proc/PID/NAME as text, which is the caller's. 0 or -errno. */
int sandbox_read_proc(pid_t pid, const char *name, char **ret_text);

/* ---- sockets.c ---- */
/* Go into its network. Returns a descriptor of the agent's own, to come back with, or -errno. */
int sandbox_enter_network(const struct osh_sandbox_instance *instance, struct osh_err *err);
void sandbox_leave_network(const struct osh_sandbox_instance *instance, int home);

/* ---- netns.c ---- */
/* The agent's addresses on lo of this network namespace: 0, also when they are there, or -errno. */
int netns_add_gateway(uint32_t gateway);
void netns_remove_gateway(uint32_t gateway);

/* ---- cgroup.c ---- */
/* From its cgroup.events: 1, 0 or -errno (-ENODEV: the cgroup is gone). */
int cgroup_is_empty(int events_fd);
/* Stop everything in it, and have it go on. */
int cgroup_freeze(int cgroup_fd, bool frozen);
/* Whether it has been told to stop, by whomever: 1, 0 or -errno. */
int cgroup_is_frozen(int cgroup_fd);
/* Call `each` for every process in it and below, with a bound; stops when it returns < 0 and
 * returns that. */
int cgroup_each_process(const char *path, int (*each)(void *context, pid_t pid), void *context);
int cgroup_find_mount(const char *mountinfo, char *buf, size_t size);
int cgroup_make(const char *path, int *ret_fd, uint64_t *ret_id);
int cgroup_open(const char *path, int *ret_fd, uint64_t *ret_id);
/* Kill everything in it, without waiting for the ends. */
int cgroup_kill(int cgroup_fd);
/* Ask after the end of whoever is known by a pidfd: the kernel tells of changes here at
 * most every 10 ms. */
int cgroup_await_empty(int cgroup_fd);
int cgroup_remove(const char *path);

/* ---- limits.c ---- */
/* Hand the controllers down from the mount's root to our sandboxes, as far as they are there. */
void limits_find_controllers(struct osh_sandbox_host *host, const char *mount);
/* Set what has a controller. On failure (-errno) *ret_failed is the one that was refused. */
int limits_apply(const struct osh_sandbox_instance *instance, const struct osh_sandbox_limits *limits,
		 enum osh_limit *ret_failed);

/* ---- record.c ---- */
int record_save(const char *dir, const struct sandbox_record *record);
/* 0; 1: of something attached, from its copy, the record itself being of no use; or -errno. */
int record_load(const char *dir, struct sandbox_record *ret_record);
void record_done(struct sandbox_record *record);
int record_set_providers(struct sandbox_record *record, const char *const *providers);
/* Start time of a process in clock ticks after boot. */
int process_start_time(pid_t pid, uint64_t *ret_start);

/* ---- remove.c ---- */
/* Remove a tree that an adversary filled: bounded memory and descriptors at any depth,
 * never through a symbolic link; at most `budget` entries. 0, also when it was not there, 1
 * when something is left, or -errno. */
int tree_remove(const char *path, unsigned budget);
/* The same for a sandbox's directory, which gives its name up at once: what is large goes
 * in slices, through the loop. 0 or -errno. */
int trash_put(struct osh_sandbox_host *host, const char *path, uint64_t id);
/* The same for what copies into a sandbox left that were ended in the middle. Nothing of it runs. */
void trash_copies(const struct osh_sandbox_instance *instance);
void trash_open(struct osh_sandbox_host *host);
/* All of it, now. What cannot be removed stays, with a warning. */
void trash_empty(struct osh_sandbox_host *host);
void trash_close(struct osh_sandbox_host *host);

/* ---- connection.c ---- */
int connection_listen(const char *path, int *ret_fd);
/* Connect and wait for the hello, as long as the process of pidfd lives. */
int connection_open(const char *path, int pidfd, int *ret_fd);

/* ---- command.c ---- */
void command_on_message(struct osh_io *io, uint32_t events);
/* Init is gone: on_exit(137) or on_started(error) for each, exactly once. */
void command_fail_all(struct osh_sandbox_instance *instance);
/* Free them without a word: the handle is let go, the programs run on. */
void command_forget_all(struct osh_sandbox_instance *instance);

/* ---- keystore.c ---- */
/* Read the PEM file `path`, unless it is the one read already. 0 or -errno (-ENOENT). */
int keystore_load(struct keystore *keystore, const char *path);
void keystore_done(struct keystore *keystore);
/* A keystore of the host's certificates and those of a PEM text. 0 or -errno. */
int keystore_write(FILE *out, const struct keystore *host, const char *pem);

/* ---- files.c: what identity, names and trust look like inside ---- */
#define OSH_SANDBOX_HOME "/sandbox"
#define OSH_SANDBOX_CA_BYTES_MAX (8u << 20) /* a host's bundle of trusted CAs */
/* Read-only, the sandbox's own: generated files and init; bound from here to their places. */
#define OSH_SANDBOX_OWN_DIR "/run/openshell"

struct sandbox_files_input {
	const char *name;
	uid_t uid;
	gid_t gid;
	const char *ca_pem; /* may be NULL */
	const struct keystore *keystore;
};

/* One generated file and where it is bound; places end with NULL. */
struct sandbox_file {
	const char *own_name;  /* in OSH_SANDBOX_OWN_DIR */
	bool required;         /* no place to bind it over is an error */
	const char *const *places;
	int (*write)(FILE *out, const struct sandbox_files_input *input);
};
/* What is made once and used by every launch, as long as the host's files are the same. */
int sandbox_files_prepare(struct osh_sandbox_host *host);
size_t sandbox_files(const struct sandbox_file **ret_files);
/* NULL-terminated, malloc'ed, strings too: free with sandbox_strings_free. */
char **sandbox_environment(const char *const *additions);
void sandbox_strings_free(char **strings);

/* ---- seccomp.c ---- */
int seccomp_filter_build(struct sock_fprog *ret_filter);

/* ---- The child between clone and exec (launch.c calls these in this order) ------- */

struct launch {
	const struct osh_sandbox_instance *instance;
	const struct osh_sandbox_spec *spec;
	char **env;
	int idmap_fd;     /* idmap.c; -1: none */
	int root_fd;      /* the new root while it is built */
	int listener_fd;
	int report_fd;
	char detail[256]; /* what a failed step was about; "" when the step's name says it */
};

/* One line for the caller of the launch; the sandbox comes up all the same. */
void launch_warn(const struct launch *launch, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Remember what a failing step was about and return r. */
int launch_fail(struct launch *launch, int r, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* netns.c */
int netns_set_up(void);

/* mount.c */
#define MOUNT_READ_ONLY (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define MOUNT_WRITABLE (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

struct mount_option {
	const char *name, *value; /* value NULL: a flag */
};

/* A copy of what is mounted at `path` ("": of dir_fd itself), or a new file system: the descriptor of a tree that
 * is not visible anywhere yet, or -errno. */
int mount_clone(int dir_fd, const char *path, uint64_t attributes);
int mount_filesystem(const char *type, const struct mount_option *options, size_t count,
		     unsigned attributes);
/* Make it visible. Takes tree_fd over, also when it is an error already. */
int mount_attach(int tree_fd, int place_fd);
/* As O_PATH, making the place and its parents where they are missing: in our own tmpfs
 * only, never on the host (-EROFS). */
int mount_open_place(int root_fd, const char *path, bool directory);
int mount_make_file(int dir_fd, const char *name);
bool mount_same_filesystem(int a, int b);

/* idmap.c */
/* A user namespace that maps no group: a descriptor, or -1: not here. */
int idmap_open(void);
/* Whether this kernel and the host's /usr take it. */
bool idmap_works(int idmap_fd);
/* A read-only copy of what the host has at `path`, as mount_clone, in which nothing can be
 * written to, sockets included, where idmap_fd is not -1 and its file system allows that. */
int mount_clone_host(int idmap_fd, const char *path);

/* root.c, shared.c, devices.c, overlay.c, unix_sockets.c */
/* Does `path` begin with `directory`, as paths do? */
bool path_is_at_or_below(const char *path, const char *directory);
/* Is it the sandbox's own in every sandbox, whatever a policy names? */
bool root_is_own(const struct launch *launch, const char *path);
int root_build(struct launch *launch);
int root_keep_run_later(struct launch *launch);
int root_mount_proc(struct launch *launch);
int root_mount_dev(struct launch *launch);
int root_make_files(struct launch *launch);
int root_bind_unix_sockets(struct launch *launch);
/* Is this one of openshell's own, which no policy grants? By the path that it really has, however a
 * policy writes it. */
bool sandbox_owns_socket(const struct osh_sandbox_host *host, int socket_fd);
int root_mask_secrets(struct launch *launch);
/* Lay over again what is not covered any more, in the root of a running sandbox. */
int root_cover(struct launch *launch);
/* Call `each` for the places on the host that something is laid over (a pattern: for its directory). */
void overlay_each_place(void (*each)(void *context, const char *path), void *context);
int root_enter(struct launch *launch);

/* confine.c */
int confine_limits(void);
int confine_capabilities(void);
int confine_user(uid_t uid, gid_t gid);
int confine_landlock(struct launch *launch);

/* ---- What the sandbox may write (resolve.c) -------------------------------------- */

/* May this user of the sandbox write this open file or directory, through the mount that it was
 * opened on? In an attached cgroup any user but root may be another one of its. 1, 0 or -errno. */
int sandbox_may_write_fd(const struct osh_sandbox_instance *instance, uid_t uid, int fd);

#endif
