/* A cgroup of somebody else's that gets a sandbox's network rules and nothing more: its processes,
 * namespaces and files stay as they are. What is ours in there is an address on lo. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "base/cgroup.h"
#include "base/fd.h"
#include "base/knockout.h"
#include "base/log.h"
#include "base/netns.h"
#include "base/str.h"

#define LOOK_AGAIN_MS 500 /* after one that is empty */

bool sandbox_is_attached(const struct osh_sandbox_instance *instance)
{
	return instance->record.attached[0] != '\0';
}

/* ---- Where ---------------------------------------- */

/* The directory that our root cgroup lies in is the top of what we see of the hierarchy. */
size_t attached_top_len(const struct osh_sandbox_host *host)
{
	return (size_t)(strrchr(host->cgroup, '/') - host->cgroup);
}

static int find_own_cgroup(const struct osh_sandbox_host *host, char path[static OSH_SANDBOX_PATH_MAX])
{
	char below[PATH_MAX];
	int n, r = osh_cgroup_of(getpid(), below);

	if (r < 0)
		return r;
	n = snprintf(path, OSH_SANDBOX_PATH_MAX, "%.*s%s", (int)attached_top_len(host), host->cgroup, below);
	return n < 0 || n >= OSH_SANDBOX_PATH_MAX ? -ENAMETOOLONG : 0;
}

/* The root cgroup of any agent: "openshell", or "openshell-KEY", at the top (host.c). */
static bool is_of_an_agent(const struct osh_sandbox_host *host, const char *path)
{
	const char *below = path + attached_top_len(host) + 1;
	size_t len = strcspn(below, "/");

	return (len == 9 && memcmp(below, "openshell", 9) == 0) || strncmp(below, "openshell-", 10) == 0;
}

/* Not all of the host, not the agent, nothing that has rules already. */
static int check_place(const struct osh_sandbox_host *host, const char *path, struct osh_err *err)
{
	const struct osh_sandbox_instance *other;
	char own[OSH_SANDBOX_PATH_MAX];
	int r;

	if (strncmp(path, host->cgroup, attached_top_len(host)) != 0 || path[attached_top_len(host)] != '/')
		return osh_err_set(err, EINVAL, "%s is not a cgroup below %.*s: name one of the cgroup2 hierarchy",
				   path, (int)attached_top_len(host), host->cgroup);
	if (osh_path_is_below(path, host->cgroup) || osh_path_is_below(host->cgroup, path))
		return osh_err_set(err, EINVAL, "%s holds openshell's own sandboxes: attach to another cgroup", path);
	if (is_of_an_agent(host, path))
		return osh_err_set(err, EINVAL, "%s belongs to another agent's sandboxes, which have rules: attach to "
						"another cgroup", path);
	r = find_own_cgroup(host, own);
	if (r < 0)
		return osh_err_sys(err, -r, "cannot tell which cgroup the agent is in");
	if (osh_path_is_below(own, path))
		return osh_err_set(err, EINVAL, "the agent itself is in %s, and would cut itself off: attach to "
						"a cgroup without it", path);
	DL_FOREACH(host->instances, other) {
		if (sandbox_is_attached(other) &&
		    (osh_path_is_below(path, other->record.attached) || osh_path_is_below(other->record.attached, path)))
			return osh_err_set(err, EEXIST, "sandbox %s is attached to %s: detach it first",
					   other->record.name, other->record.attached);
	}
	return 0;
}

static int find_place(const struct osh_sandbox_host *host, const char *given,
		      char path[static OSH_SANDBOX_PATH_MAX], struct osh_err *err)
{
	char full[PATH_MAX];
	struct statfs fs;

	if (!realpath(given, full) || statfs(full, &fs) < 0)
		return osh_err_sys(err, errno, "%s", given);
	if ((uint32_t)fs.f_type != CGROUP2_SUPER_MAGIC)
		return osh_err_set(err, EINVAL, "%s is not a cgroup of version 2", given);
	if (osh_str_copy(osh_str(full), path, OSH_SANDBOX_PATH_MAX) < 0)
		return osh_err_sys(err, ENAMETOOLONG, "%s", given);
	return check_place(host, path, err);
}

unsigned osh_sandbox_cgroup_depth(const struct osh_sandbox_instance *instance)
{
	unsigned depth = 0;

	for (const char *c = instance->record.attached + attached_top_len(instance->host); *c; c++)
		depth += *c == '/';
	return depth;
}

/* ---- Whose network and files ---------------------------------------- */

/* The number meant a process of the cgroup while both were opened: it is alive afterwards. */
static int open_anchor(void *context, pid_t pid)
{
	struct osh_sandbox_instance *instance = context;
	_cleanup_fd_ int process = pidfd_open(pid, 0), net = -1, root = -1;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	net = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (process < 0 || net < 0 || root < 0 || pidfd_send_signal(process, 0, NULL, 0) < 0)
		return 0; /* it has ended: the next one */
	instance->net_fd = osh_take_fd(&net);
	instance->root_fd = osh_take_fd(&root);
	return 1;
}

bool osh_sandbox_holds_process(const struct osh_sandbox_instance *instance, pid_t pid)
{
	char path[PATH_MAX];

	return osh_cgroup_of(pid, path) == 0 &&
	       osh_path_is_below(path, instance->record.attached + attached_top_len(instance->host));
}

static uint32_t choose_gateway(const struct osh_sandbox_instance *instance)
{
	uint32_t gateway = OSH_GATEWAY;
	const struct osh_sandbox_instance *other;

	DL_FOREACH(instance->host->instances, other) {
		if (other != instance && sandbox_is_attached(other) && other->record.netns == instance->record.netns &&
		    other->record.gateway >= gateway)
			gateway = other->record.gateway + 1;
	}
	return gateway;
}

static int say_unfit(const struct osh_sandbox_instance *instance, int r, struct osh_err *err)
{
	return r == 0 ? 0 : osh_err_sys(err, -r, "cannot prepare the network of %s (lo needs IPv4 and IPv6, and "
						 "there is room for 15 attached cgroups in one network)",
					instance->record.attached);
}

static int identify_network(struct osh_sandbox_instance *instance, bool is_new, struct osh_err *err)
{
	int r, home = sandbox_enter_network(instance, err);

	if (home < 0)
		return home;
	r = osh_netns_cookie(&instance->record.netns);
	sandbox_leave_network(instance, home);
	if (r == 0 && is_new)
		instance->record.gateway = choose_gateway(instance);
	if (r == 0 && instance->record.gateway > OSH_GATEWAY_LAST)
		r = -ENOSPC;
	return say_unfit(instance, r, err);
}

/* The record names the address already: whoever finds it can take it away. */
static int prepare_network(struct osh_sandbox_instance *instance, struct osh_err *err)
{
	int r, home = sandbox_enter_network(instance, err);

	if (home < 0)
		return home;
	r = netns_add_gateway(instance->record.gateway);
	sandbox_leave_network(instance, home);
	return say_unfit(instance, r, err);
}

static int identify(struct osh_sandbox_instance *instance, bool is_new, struct osh_err *err)
{
	int r = cgroup_each_process(instance->record.attached, open_anchor, instance);

	if (r < 0)
		return osh_err_sys(err, -r, "cannot read the processes of %s", instance->record.attached);
	if (r == 0)
		return osh_err_set(err, ESRCH, "no process is in %s: attach when its programs run",
				   instance->record.attached);
	return identify_network(instance, is_new, err);
}

/* ---- Stopped for a moment ---------------------------------------- */

/* A note of ours that it was we who froze it: whoever dies in between does not leave it so. */
static void name_note(const struct osh_sandbox_instance *instance, char path[static OSH_SANDBOX_PATH_MAX + 16])
{
	snprintf(path, OSH_SANDBOX_PATH_MAX + 16, "%s/frozen", instance->dir);
}

static int freeze(const struct osh_sandbox_instance *instance)
{
	char path[OSH_SANDBOX_PATH_MAX + 16];
	int r;

	name_note(instance, path);
	r = osh_replace_file_unsynced(path, "", 0, 0600);
	return r < 0 ? r : cgroup_freeze(instance->cgroup_fd, true);
}

static int thaw(const struct osh_sandbox_instance *instance)
{
	char path[OSH_SANDBOX_PATH_MAX + 16];
	int r = cgroup_freeze(instance->cgroup_fd, false);

	name_note(instance, path);
	(void)unlink(path);
	return r;
}

int osh_sandbox_hold(const struct osh_sandbox_instance *instance)
{
	return freeze(instance);
}

int osh_sandbox_pause(const struct osh_sandbox_instance *instance)
{
	int paused = cgroup_is_frozen(instance->cgroup_fd);

	return paused < 0 ? paused : paused ? cgroup_freeze(instance->cgroup_fd, true) : freeze(instance);
}

bool osh_sandbox_is_held(const struct osh_sandbox_instance *instance)
{
	char path[OSH_SANDBOX_PATH_MAX + 16];

	name_note(instance, path);
	return access(path, F_OK) == 0;
}

void osh_sandbox_let_go(const struct osh_sandbox_instance *instance)
{
	if (osh_sandbox_is_held(instance))
		(void)thaw(instance);
}

/* ---- Making, leaving, finding again ---------------------------------------- */

static int make(struct osh_sandbox_instance *instance, struct osh_err *err)
{
	int r = cgroup_open(instance->record.attached, &instance->cgroup_fd, &instance->record.id);

	if (r < 0)
		return osh_err_sys(err, -r, "%s", instance->record.attached);
	instance->record.created = time(NULL);
	r = identify(instance, true, err);
	if (r < 0)
		return r;
	r = sandbox_make_log(instance);
	if (r == 0)
		r = record_save(instance->dir, &instance->record);
	if (r < 0)
		return osh_err_sys(err, -r, "cannot record sandbox %s in %s", instance->record.name, instance->dir);
	osh_crash_point();
	return prepare_network(instance, err);
}

int osh_sandbox_attach_cgroup(struct osh_sandbox_host *host, const char *name, const char *cgroup,
			      struct osh_sandbox_instance **ret_instance, struct osh_err *err)
{
	struct osh_sandbox_instance *instance;
	char path[OSH_SANDBOX_PATH_MAX];
	int r = find_place(host, cgroup, path, err);

	if (r < 0)
		return r;
	if (host->sandboxes >= OSH_SANDBOXES_MAX)
		return osh_err_set(err, ENOSPC, "there are %d sandboxes already: delete one first",
				   OSH_SANDBOXES_MAX);
	r = sandbox_instance_new(host, name, &instance);
	if (r < 0)
		return osh_err_sys(err, -r, "sandbox %s", name);
	r = sandbox_make_dir(instance, err);
	if (r < 0) {
		sandbox_drop(instance);
		return r;
	}
	memcpy(instance->record.attached, path, sizeof(path));
	r = make(instance, err);
	if (r < 0) {
		(void)osh_sandbox_destroy(instance, NULL);
		return r;
	}
	*ret_instance = instance;
	return 0;
}

int osh_sandbox_attached_whole(struct osh_sandbox_instance *instance, bool keeps_established)
{
	instance->record.keep = true;
	instance->record.keeps_established = keeps_established;
	return record_save(instance->dir, &instance->record);
}

bool osh_sandbox_is_in_host_net(const struct osh_sandbox_instance *instance)
{
	uint64_t own;

	return sandbox_is_attached(instance) && osh_netns_cookie(&own) == 0 && own == instance->record.netns;
}

void attached_leave(struct osh_sandbox_instance *instance)
{
	struct osh_err err = { 0 };
	int home = instance->net_fd < 0 ? -1 : sandbox_enter_network(instance, &err);

	osh_sandbox_let_go(instance);
	/* A network that only programs of the cgroup were in is gone with them; ours is not. */
	if (home >= 0 || osh_sandbox_is_in_host_net(instance))
		netns_remove_gateway(instance->record.gateway);
	if (home >= 0)
		sandbox_leave_network(instance, home);
}

int attached_take_over(struct osh_sandbox_instance *instance, bool *ret_reached, struct osh_err *err)
{
	uint64_t id;
	int r = cgroup_open(instance->record.attached, &instance->cgroup_fd, &id);

	if (r < 0)
		return osh_err_sys(err, -r, "%s", instance->record.attached);
	if (id != instance->record.id)
		return osh_err_set(err, ESTALE, "%s is another cgroup by now", instance->record.attached);
	*ret_reached = identify(instance, false, err) == 0 && prepare_network(instance, err) == 0;
	return 0;
}

/* ---- Watching ---------------------------------------- */

/* An empty cgroup may be filled again or removed, and of the latter nobody tells: its files can be
 * read no more. */
static void look_after(struct osh_sandbox_instance *instance)
{
	int empty = cgroup_is_empty(instance->pid_io.fd);

	if (empty > 0)
		(void)osh_loop_timer_set(instance->host->loop, &instance->look, LOOK_AGAIN_MS);
	if (empty >= 0)
		return;
	osh_loop_remove(instance->host->loop, &instance->pid_io);
	sandbox_enter(instance);
	if (instance->on_death)
		instance->on_death(instance->on_death_context, instance);
	sandbox_leave(instance);
}

static void on_look(struct osh_timer *timer)
{
	look_after(osh_container_of(timer, struct osh_sandbox_instance, look));
}

static void on_cgroup_event(struct osh_io *io, uint32_t events)
{
	(void)events;
	look_after(osh_container_of(io, struct osh_sandbox_instance, pid_io));
}

int osh_sandbox_watch_cgroup(struct osh_sandbox_instance *instance)
{
	instance->pid_io.fd = openat(instance->cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	instance->pid_io.on_ready = on_cgroup_event;
	instance->look.on_expire = on_look;
	return instance->pid_io.fd < 0 ? -errno : osh_loop_set(instance->host->loop, &instance->pid_io, EPOLLPRI);
}

/* ---- Sockets that are older ---------------------------------------- */

int osh_sandbox_each_socket(struct osh_sandbox_instance *instance,
			    int (*each)(void *context, const struct osh_sandbox_socket *socket), void *context)
{
	struct socket_walk walk = { .each = each, .context = context };
	int paused = cgroup_is_frozen(instance->cgroup_fd), r = osh_sandbox_pause(instance), thawed;

	osh_crash_point();
	if (r == 0)
		r = cgroup_each_process(instance->record.attached, tables_look_through, &walk);
	thawed = paused ? 0 : thaw(instance);
	return r < 0 ? r : thawed;
}

int osh_sandbox_each_process(const struct osh_sandbox_instance *instance,
			     int (*each)(void *context, pid_t pid), void *context)
{
	return cgroup_each_process(instance->record.attached, each, context);
}

/* ---- Facts ---------------------------------------- */

bool osh_sandbox_keeps_established(const struct osh_sandbox_instance *instance)
{
	return instance->record.keeps_established;
}

const char *osh_sandbox_attached(const struct osh_sandbox_instance *instance)
{
	return instance->record.attached;
}

int osh_sandbox_cgroup_fd(const struct osh_sandbox_instance *instance)
{
	return instance->cgroup_fd;
}

uint64_t osh_sandbox_netns(const struct osh_sandbox_instance *instance)
{
	return instance->record.netns;
}

uint32_t osh_sandbox_gateway(const struct osh_sandbox_instance *instance)
{
	return instance->record.gateway;
}
