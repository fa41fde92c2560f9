/* One sandbox as the agent holds it: made, watched, ended, let go. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "base/fd.h"
#include "base/knockout.h"
#include "base/log.h"
#include "base/str.h"

#define REAP_PATIENCE_MS 5000

bool osh_sandbox_name_is_valid(const char *name)
{
	static const char tail[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	size_t len = strspn(name, tail);

	return len > 0 && len < OSH_NAME_MAX && name[len] == '\0' && name[0] != '-';
}

/* ---- Memory --------------------------------------------------------------------- */

int sandbox_instance_new(struct osh_sandbox_host *host, const char *name,
			 struct osh_sandbox_instance **ret_instance)
{
	struct osh_sandbox_instance *instance = calloc(1, sizeof(*instance));

	if (!instance)
		return -ENOMEM;
	instance->host = host;
	instance->cgroup_fd = -1;
	instance->net_fd = -1;
	instance->root_fd = -1;
	instance->record.gateway = OSH_GATEWAY;
	instance->init_io.fd = -1;
	instance->pid_io.fd = -1;
	snprintf(instance->record.name, sizeof(instance->record.name), "%s", name);
	snprintf(instance->dir, sizeof(instance->dir), "%.383s/sandboxes/%s", host->state_dir, name);
	snprintf(instance->log_path, sizeof(instance->log_path), "%.383s/sandboxes/%s/openshell.log",
		 host->state_dir, name);
	snprintf(instance->cgroup, sizeof(instance->cgroup), "%.430s/%s", host->cgroup, name);
	snprintf(instance->socket_path, sizeof(instance->socket_path), "%.383s/init/%s.sock",
		 host->run_dir, name);
	DL_APPEND(host->instances, instance);
	host->sandboxes++;
	*ret_instance = instance;
	return 0;
}

static void free_instance(struct osh_sandbox_instance *instance)
{
	record_done(&instance->record);
	free(instance);
}

void sandbox_enter(struct osh_sandbox_instance *instance)
{
	instance->entered++;
}

void sandbox_leave(struct osh_sandbox_instance *instance)
{
	if (--instance->entered == 0 && instance->gone)
		free_instance(instance);
}

/* Everything but the memory, which a caller further up may still look at. */
static void let_go(struct osh_sandbox_instance *instance)
{
	osh_loop_timer_cancel(instance->host->loop, &instance->look);
	osh_loop_remove(instance->host->loop, &instance->init_io);
	osh_loop_remove(instance->host->loop, &instance->pid_io);
	instance->init_io.fd = osh_close(instance->init_io.fd);
	instance->pid_io.fd = osh_close(instance->pid_io.fd);
	instance->cgroup_fd = osh_close(instance->cgroup_fd);
	instance->net_fd = osh_close(instance->net_fd);
	instance->root_fd = osh_close(instance->root_fd);
	DL_DELETE(instance->host->instances, instance);
	instance->host->sandboxes--;
	instance->gone = true;
}

/* ---- Making --------------------------------------------------------------------- */

static int make_below(const struct osh_sandbox_instance *instance, const char *name, mode_t mode)
{
	char path[OSH_SANDBOX_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/%s", instance->dir, name);
	return mkdir(path, mode) < 0 ? -errno : 0;
}

/* The log exists before it is bound, whoever writes it first. */
int sandbox_make_log(const struct osh_sandbox_instance *instance)
{
	int fd = open(instance->log_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0 || fchmod(fd, 0644) < 0) {
		osh_close(fd);
		return -errno;
	}
	osh_close(fd);
	return 0;
}

static bool is_user_taken(const struct osh_sandbox_host *host, uid_t uid)
{
	const struct osh_sandbox_instance *other;

	DL_FOREACH(host->instances, other) {
		if (other->record.uid == uid)
			return true;
	}
	return false;
}

/* By the cgroup's number, which nobody else has now; but a stopped sandbox may keep one
 * from before the host was started. */
static uid_t choose_user(const struct osh_sandbox_instance *instance)
{
	uint64_t number = instance->record.id;
	uid_t uid;

	do
		uid = OSH_SANDBOX_UID_FIRST + (uid_t)(number++ & 0xffffff);
	while (is_user_taken(instance->host, uid));
	return uid;
}

int sandbox_make_dir(struct osh_sandbox_instance *instance, struct osh_err *err)
{
	if (mkdir(instance->dir, 0700) == 0)
		return 0;
	if (errno == EEXIST)
		return osh_err_set(err, EEXIST, "sandbox %s exists already: choose another name, or delete it "
						"first", instance->record.name);
	return osh_err_sys(err, errno, "cannot make %s", instance->dir);
}

void sandbox_drop(struct osh_sandbox_instance *instance)
{
	let_go(instance);
	free_instance(instance);
}

static int make_state(struct osh_sandbox_instance *instance, struct osh_err *err)
{
	int r = make_below(instance, "root", 0700);

	if (r == 0)
		r = make_below(instance, "sandbox", 0700);
	if (r == 0)
		r = make_below(instance, "tmp", 0700);
	if (r == 0)
		r = sandbox_make_log(instance);
	if (r < 0)
		return osh_err_sys(err, -r, "cannot make the files of sandbox %s in %s",
				   instance->record.name, instance->dir);
	/* An empty cgroup of this name is what a crash left. */
	(void)cgroup_remove(instance->cgroup);
	r = cgroup_make(instance->cgroup, &instance->cgroup_fd, &instance->record.id);
	if (r < 0)
		return osh_err_sys(err, -r, "cannot make cgroup %s", instance->cgroup);
	instance->record.uid = choose_user(instance);
	instance->record.gid = instance->record.uid;
	instance->record.created = time(NULL);
	return 0;
}

int osh_sandbox_cgroup_make(struct osh_sandbox_host *host, const char *name,
			    struct osh_sandbox_instance **ret_instance, struct osh_err *err)
{
	struct osh_sandbox_instance *instance;
	int r;

	if (!osh_sandbox_name_is_valid(name))
		return osh_err_set(err, EINVAL, "a sandbox's name has 1 to %d of a-z, 0-9 and -, "
						"and does not begin with -", OSH_NAME_MAX - 1);
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
	osh_crash_point();
	r = make_state(instance, err);
	osh_crash_point();
	if (r < 0) {
		(void)osh_sandbox_destroy(instance, NULL);
		return r;
	}
	*ret_instance = instance;
	return 0;
}

/* ---- Watching ------------------------------------------------------------------- */

void sandbox_kill_init(struct osh_sandbox_instance *instance)
{
	if (instance->pid_io.fd >= 0)
		(void)pidfd_send_signal(instance->pid_io.fd, SIGKILL, NULL, 0);
}

/* An adopted init is not our child: then another process reaps it. */
void sandbox_reap_init(struct osh_sandbox_instance *instance)
{
	struct pollfd ended = { .fd = instance->pid_io.fd, .events = POLLIN };
	siginfo_t info;

	if (instance->pid_io.fd < 0)
		return;
	(void)poll(&ended, 1, REAP_PATIENCE_MS);
	(void)waitid(P_PIDFD, (id_t)instance->pid_io.fd, &info, WEXITED | WNOHANG);
}

static void on_init_ended(struct osh_io *io, uint32_t events)
{
	struct osh_sandbox_instance *instance =
		osh_container_of(io, struct osh_sandbox_instance, pid_io);

	sandbox_enter(instance);
	/* What it still said before it ended counts. */
	command_on_message(&instance->init_io, events);
	if (!instance->gone) {
		sandbox_reap_init(instance);
		osh_loop_remove(instance->host->loop, &instance->init_io);
		osh_loop_remove(instance->host->loop, &instance->pid_io);
		instance->init_io.fd = osh_close(instance->init_io.fd);
		instance->pid_io.fd = osh_close(instance->pid_io.fd);
		command_fail_all(instance);
	}
	if (!instance->gone && instance->on_death)
		instance->on_death(instance->on_death_context, instance);
	sandbox_leave(instance);
}

int sandbox_watch(struct osh_sandbox_instance *instance)
{
	int r;

	instance->init_io.on_ready = command_on_message;
	instance->pid_io.on_ready = on_init_ended;
	r = osh_loop_set(instance->host->loop, &instance->init_io, EPOLLIN);
	return r < 0 ? r : osh_loop_set(instance->host->loop, &instance->pid_io, EPOLLIN);
}

void osh_sandbox_on_death(struct osh_sandbox_instance *instance,
			  void (*on_death)(void *context, struct osh_sandbox_instance *instance),
			  void *context)
{
	instance->on_death = on_death;
	instance->on_death_context = context;
}

/* ---- Stopping ------------------------------------------------------------------- */

/* By the pidfd: with its pid 1 the whole pid namespace dies, and a cgroup that cgroup.kill
 * was used on kills every process cloned into it later (seen on 6.18). */
int sandbox_halt(struct osh_sandbox_instance *instance)
{
	int r;

	sandbox_kill_init(instance);
	osh_crash_point();
	sandbox_reap_init(instance);
	r = cgroup_await_empty(instance->cgroup_fd);
	osh_loop_remove(instance->host->loop, &instance->init_io);
	osh_loop_remove(instance->host->loop, &instance->pid_io);
	instance->init_io.fd = osh_close(instance->init_io.fd);
	instance->pid_io.fd = osh_close(instance->pid_io.fd);
	instance->record.init_pid = 0;
	(void)unlink(instance->socket_path);
	osh_crash_point();
	if (r == 0)
		trash_copies(instance);
	return r;
}

int osh_sandbox_stop(struct osh_sandbox_instance *instance, struct osh_err *err)
{
	struct sandbox_record stopped = instance->record;
	int r;

	/* The record first: after a crash in between the next agent ends what still runs,
	 * where otherwise it would remove what it finds dead. */
	stopped.init_pid = 0;
	r = record_save(instance->dir, &stopped);
	if (r < 0)
		return osh_err_sys(err, -r, "cannot record that sandbox %s is stopped",
				   instance->record.name);
	sandbox_enter(instance);
	r = sandbox_halt(instance);
	command_fail_all(instance);
	sandbox_leave(instance);
	return r < 0 ? osh_err_sys(err, -r, "cannot end the processes of the sandbox") : 0;
}

/* ---- Ending --------------------------------------------------------------------- */

static void keep_first(int *first, int r, const char *what, struct osh_err *err)
{
	if (r < 0 && *first == 0) {
		*first = r;
		osh_err_sys(err, -r, "cannot remove %s", what);
	}
}

static int end_processes(struct osh_sandbox_instance *instance)
{
	int r;

	if (sandbox_is_attached(instance)) {
		attached_leave(instance);
		return 0;
	}
	r = instance->cgroup_fd < 0 ? 0 : cgroup_kill(instance->cgroup_fd);
	sandbox_reap_init(instance);
	return instance->cgroup_fd < 0 || r < 0 ? r : cgroup_await_empty(instance->cgroup_fd);
}

int osh_sandbox_destroy(struct osh_sandbox_instance *instance, struct osh_err *err)
{
	int first = 0;

	if (!instance || instance->gone)
		return 0;
	sandbox_enter(instance);
	keep_first(&first, end_processes(instance), "the processes", err);
	osh_crash_point();
	/* Their ends are told while the instance is whole; `gone` first, so that a callback
	 * that destroys it again changes nothing. */
	let_go(instance);
	command_fail_all(instance);
	if (!sandbox_is_attached(instance))
		keep_first(&first, cgroup_remove(instance->cgroup), instance->cgroup, err);
	osh_crash_point();
	if (unlink(instance->socket_path) < 0 && errno != ENOENT)
		keep_first(&first, -errno, instance->socket_path, err);
	keep_first(&first, trash_put(instance->host, instance->dir, instance->record.id), instance->dir, err);
	if (first < 0)
		osh_err_wrap(err, "sandbox %s is not removed whole", instance->record.name);
	sandbox_leave(instance);
	return first;
}

void osh_sandbox_release(struct osh_sandbox_instance *instance)
{
	if (!instance || instance->gone)
		return;
	sandbox_enter(instance);
	let_go(instance);
	command_forget_all(instance);
	sandbox_leave(instance);
}

/* ---- Facts ---------------------------------------------------------------------- */

const char *osh_sandbox_name(const struct osh_sandbox_instance *instance)
{
	return instance->record.name;
}

uint64_t osh_sandbox_id(const struct osh_sandbox_instance *instance)
{
	return instance->record.id;
}

const char *osh_sandbox_dir(const struct osh_sandbox_instance *instance)
{
	return instance->dir;
}

const char *osh_sandbox_log_path(const struct osh_sandbox_instance *instance)
{
	return instance->log_path;
}

uid_t osh_sandbox_uid(const struct osh_sandbox_instance *instance)
{
	return instance->record.uid;
}

pid_t osh_sandbox_init_pid(const struct osh_sandbox_instance *instance)
{
	return instance->record.init_pid;
}

int64_t osh_sandbox_created(const struct osh_sandbox_instance *instance)
{
	return instance->record.created;
}

bool osh_sandbox_keep(const struct osh_sandbox_instance *instance)
{
	return instance->record.keep;
}

bool osh_sandbox_is_damaged(const struct osh_sandbox_instance *instance)
{
	return instance->is_damaged;
}

const char *const *osh_sandbox_providers(const struct osh_sandbox_instance *instance)
{
	static const char *const none[] = { NULL };

	return instance->record.providers ? (const char *const *)instance->record.providers : none;
}
