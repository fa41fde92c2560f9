#include "control/agent.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/knockout.h"
#include "base/log.h"
#include "control/host_dirs.h"
#include "control/lifecycle.h"
#include "control/notary.h"
#include "control/recorder.h"
#include "control/refusals.h"
#include "control/server.h"
#include "control/takeover.h"
#include "control/uplink.h"
#include "control/watch.h"
#include "control/wire.h"
#include "kernel/kernel.h"
#include "proxy/supervisor.h"
#include "sandbox/sandbox.h"

#define PIN_DIR "/sys/fs/bpf/openshell"

/* ---- Start, in order ---------------------------------------- */

static int make_dirs(struct osh_agent *agent, struct osh_err *err)
{
	const struct osh_config *config = agent->config;
	int n, r = osh_host_dir_make(config->state_dir, 0700, err);

	if (r < 0)
		return r;
	n = snprintf(agent->provider_dir, sizeof(agent->provider_dir), "%s/providers",
		     config->state_dir);
	if (n < 0 || (size_t)n >= sizeof(agent->provider_dir))
		return osh_err_sys(err, ENAMETOOLONG, "state_dir");
	r = osh_host_dir_make(agent->provider_dir, 0700, err);
	/* Members of group openshell go through it to the socket. */
	return r < 0 ? r : osh_host_dir_make(config->run_dir, 0755, err);
}

static const char *pin_dir_of(const char *key, char buf[static PATH_MAX])
{
	snprintf(buf, PATH_MAX, PIN_DIR "%s", key);
	return buf;
}

/* Nobody is ended whose sandboxes we could not go on with. */
static int take_over(const struct osh_agent *agent, struct osh_err *err)
{
	const struct osh_config *config = agent->config;
	char key[OSH_KEY_MAX], pin_dir[PATH_MAX];
	int r = osh_sandbox_key_of(config->run_dir, key, err);

	if (r == 0)
		r = osh_kernel_check(pin_dir_of(key, pin_dir), err);
	return r < 0 ? r : osh_take_over(config->state_dir, agent->signal_io.fd, err);
}

static int take_locks(struct osh_agent *agent, struct osh_err *err)
{
	int r = agent->config->take_over ? take_over(agent, err) : 0;

	if (r < 0)
		return r;
	agent->follows_crash = osh_host_dir_was_left(agent->config->state_dir);
	agent->state_lock_fd = osh_host_dir_lock(agent->config->state_dir, err);
	if (agent->state_lock_fd == -EBUSY && agent->config->take_over)
		return osh_err_set(err, EALREADY, "another openshelld (pid %d) was first to take the place in %s",
				   (int)osh_host_dir_owner(agent->config->state_dir), agent->config->state_dir);
	if (agent->state_lock_fd < 0)
		return agent->state_lock_fd;
	agent->run_lock_fd = osh_host_dir_lock(agent->config->run_dir, err);
	return agent->run_lock_fd < 0 ? agent->run_lock_fd : 0;
}

static void on_signal(struct osh_io *io, uint32_t events)
{
	struct osh_agent *agent = osh_container_of(io, struct osh_agent, signal_io);
	struct signalfd_siginfo info;

	(void)events;
	while (read(io->fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			continue; /* a closed terminal is no reason to stop */
		osh_info("stopping on %s", info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
		osh_loop_stop(agent->loop);
	}
}

static int open_loop(struct osh_agent *agent, struct osh_err *err)
{
	sigset_t signals;
	int r;

	agent->loop = osh_loop_new();
	if (!agent->loop)
		return osh_err_sys(err, errno, "cannot make an event loop");
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	agent->signal_io.fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (agent->signal_io.fd < 0)
		return osh_err_sys(err, errno, "cannot watch signals");
	/* A reader of the log that went away is no reason to end, either. */
	sigaddset(&signals, SIGPIPE);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	r = osh_loop_set(agent->loop, &agent->signal_io, EPOLLIN);
	return r < 0 ? osh_err_sys(err, -r, "cannot watch signals") : 0;
}

/* Next to the agent in a build tree, else where it was installed. */
static void find_init(char path[static PATH_MAX])
{
	char exe[PATH_MAX - 32];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	exe[n > 0 ? n : 0] = '\0';
	slash = strrchr(exe, '/');
	if (slash) {
		*slash = '\0';
		snprintf(path, PATH_MAX, "%s/openshell-init", exe);
		if (access(path, X_OK) == 0)
			return;
	}
	snprintf(path, PATH_MAX, "%s/openshell-init", OSH_LIBEXEC_DIR);
}

static int open_host(struct osh_agent *agent, struct osh_err *err)
{
	char init_path[PATH_MAX];
	struct osh_sandbox_host_options options = {
		.loop = agent->loop,
		.state_dir = agent->config->state_dir,
		.run_dir = agent->config->run_dir,
		.init_path = init_path,
	};

	int r;

	find_init(init_path);
	if (access(init_path, X_OK) < 0)
		return osh_err_sys(err, errno, "cannot run %s: build or install openshell-init",
				   init_path);
	r = osh_sandbox_host_open(&options, &agent->host, err);
	if (r == 0)
		pin_dir_of(osh_sandbox_host_key(agent->host), agent->pin_dir);
	return r;
}

static int open_kernel(struct osh_agent *agent, struct osh_err *err)
{
	struct osh_kernel_options options = {
		.pin_dir = agent->pin_dir,
		.cgroup_path = osh_sandbox_host_cgroup(agent->host),
	};

	return osh_kernel_open(&options, &agent->kernel, err);
}

static uint64_t ring_position(void *context, unsigned worker)
{
	struct osh_agent *agent = context;

	return osh_recorder_position(agent->recorder, worker);
}

static void on_taking(void *context, unsigned worker, uint64_t position)
{
	struct osh_agent *agent = context;

	osh_recorder_taking(agent->recorder, worker, position);
}

static void on_proxy_verdict(void *context, const struct osh_verdict *verdict)
{
	struct osh_agent *agent = context;

	osh_recorder_verdict(agent->recorder, verdict, 1);
}

static void on_taken(void *context, unsigned worker, uint64_t position)
{
	struct osh_agent *agent = context;

	osh_recorder_taken(agent->recorder, worker, position);
}

static void on_proxy_lost(void *context, uint64_t lost)
{
	struct osh_agent *agent = context;

	osh_recorder_lost(agent->recorder, lost);
}

static struct osh_verdict_hook verdict_hook(struct osh_agent *agent)
{
	return (struct osh_verdict_hook){
		.position = ring_position,
		.on_taking = on_taking,
		.on_verdict = on_proxy_verdict,
		.on_taken = on_taken,
		.on_lost = on_proxy_lost,
		.context = agent,
	};
}

static void on_question(void *context, uint64_t sandbox, const struct osh_question_about *about)
{
	struct osh_agent *agent = context;

	osh_notary_ask(agent->notary, sandbox, about);
}

static void flush(void *context)
{
	struct osh_agent *agent = context;

	osh_recorder_flush(agent->recorder);
	osh_refusals_written(agent->refusals);
}

static int open_supervisor(struct osh_agent *agent, struct osh_err *err)
{
	const struct osh_config *config = agent->config;
	const char *servers[OSH_DNS_SERVERS_MAX + 1] = { NULL }, *direct[OSH_VIA_DIRECT_MAX + 1] = { NULL };
	struct osh_supervisor_options options = {
		.loop = agent->loop,
		.pin_dir = agent->pin_dir,
		.maps = osh_kernel_maps(agent->kernel),
		.upstream_ca = config->upstream_ca[0] ? config->upstream_ca : NULL,
		.dns_servers = config->dns_server_count ? servers : NULL,
		.via = { .host = config->upstream_proxy, .port_host = config->upstream_proxy_port_host,
			 .direct = direct },
		.via_credential = config->upstream_proxy_credential[0] ? config->upstream_proxy_credential : NULL,
		.workers = config->workers,
		.verdicts = verdict_hook(agent),
		.on_question = on_question,
		.context = agent,
	};

	for (size_t i = 0; i < config->dns_server_count; i++)
		servers[i] = config->dns_servers[i];
	for (size_t i = 0; i < config->no_proxy_count; i++)
		direct[i] = config->no_proxy[i];
	return osh_supervisor_open(&options, &agent->supervisor, err);
}

/* sd_notify(3): tell whoever started us that the socket is there. */
static void notify_ready(void)
{
	static const char message[] = "READY=1";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	_cleanup_fd_ int fd = -1;
	size_t len = path ? strlen(path) : 0;

	if (len < 2 || len >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    sendto(fd, message, sizeof(message) - 1, MSG_NOSIGNAL, (struct sockaddr *)&address,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		osh_warning("cannot tell NOTIFY_SOCKET that the agent is ready: %s",
			    strerror(errno));
	unsetenv("NOTIFY_SOCKET");
}

/* What belongs to one agent alone, running or sweeping. */
static int open_ground(struct osh_agent *agent, struct osh_err *err)
{
	int r = make_dirs(agent, err);

	/* Whoever takes over from us finds us by the lock: from then on we end in order. */
	if (r == 0)
		r = open_loop(agent, err);
	if (r == 0)
		r = take_locks(agent, err);
	return r < 0 ? r : open_host(agent, err);
}

static int start(struct osh_agent *agent, struct osh_err *err)
{
	int r = open_ground(agent, err);

	if (r == 0)
		r = open_kernel(agent, err);
	if (r == 0)
		r = osh_recorder_open(agent, &agent->recorder, err);
	if (r == 0)
		r = osh_notary_open(agent, &agent->notary, err);
	if (r == 0)
		r = open_supervisor(agent, err);
	if (r == 0)
		r = osh_refusals_open(agent, &agent->refusals, err);
	if (r == 0)
		r = osh_lifecycle_adopt(agent, err);
	if (r == 0) /* behind the sandboxes, whose verdicts were left: they go into their logs */
		r = osh_supervisor_start(agent->supervisor, err);
	if (r < 0)
		return r;
	osh_lifecycle_join(agent);
	agent->is_adopted = true;
	osh_watch_open(agent);
	osh_uplink_open(agent);
	osh_loop_set_batch_end(agent->loop, flush, agent);
	r = osh_server_open(agent, &agent->server, err);
	if (r == 0)
		notify_ready();
	return r;
}

/* ---- Stop ---------------------------------------- */

/* For a start that failed before it knew its sandboxes: none has left a directory. */
static bool has_none_on_disk(const struct osh_agent *agent)
{
	char path[PATH_MAX + 16];
	struct dirent *entry;
	bool none = true;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/sandboxes", agent->config->state_dir);
	dir = opendir(path);
	if (!dir)
		return false;
	while (none && (entry = readdir(dir)))
		none = entry->d_name[0] == '.';
	closedir(dir);
	return none;
}

/* Also of none that only the kernel knows (adoption.c). */
static bool has_none_running(const struct osh_agent *agent)
{
	if (agent->kernel && osh_kernel_has_sandbox(agent->kernel))
		return false;
	return agent->is_adopted || has_none_on_disk(agent);
}

/* Sandboxes run on, and what is pinned keeps refusing what nobody allows; without a
 * sandbox that runs nothing is left to enforce. */
static void stop(struct osh_agent *agent)
{
	bool is_last;

	agent->is_stopping = true;
	osh_server_close(agent->server); /* deletes what was to end with its connection */
	is_last = has_none_running(agent);
	osh_crash_point();
	osh_watch_close(agent);
	osh_uplink_close(agent);
	osh_notary_close(osh_take(agent->notary));
	osh_supervisor_stop(osh_take(agent->supervisor)); /* its last verdicts still come */
	osh_refusals_close(osh_take(agent->refusals));
	osh_lifecycle_release(agent);
	osh_recorder_close(agent->recorder);
	if (is_last)
		osh_kernel_uninstall(agent->kernel); /* closes it, too */
	else
		osh_kernel_close(agent->kernel);
	if (agent->host && is_last)
		osh_sandbox_host_uninstall(agent->host);
	if (agent->host)
		osh_sandbox_host_close(agent->host);
	osh_close(agent->signal_io.fd);
	osh_loop_free(agent->loop);
	if (agent->run_lock_fd >= 0)
		osh_host_dir_unlock(agent->config->run_dir);
	if (agent->state_lock_fd >= 0)
		osh_host_dir_unlock(agent->config->state_dir);
	osh_close(agent->run_lock_fd);
	osh_close(agent->state_lock_fd);
}

static struct osh_agent new_agent(const struct osh_config *config)
{
	return (struct osh_agent){
		.config = config,
		.started = time(NULL),
		.state_lock_fd = -1,
		.run_lock_fd = -1,
		.signal_io = { .fd = -1, .on_ready = on_signal },
	};
}

int osh_agent_run(const struct osh_config *config, struct osh_err *err)
{
	struct osh_agent agent = new_agent(config);
	int r = start(&agent, err);

	if (r == 0) {
		osh_info("serving in %s, %zu sandboxes adopted", config->run_dir,
			 agent.sandbox_count);
		r = osh_loop_run(agent.loop);
		if (r < 0)
			osh_err_sys(err, -r, "the event loop failed");
	}
	stop(&agent);
	return r;
}

static void remove_socket(const struct osh_config *config)
{
	char path[PATH_MAX + sizeof(OSH_WIRE_SOCKET)];

	snprintf(path, sizeof(path), "%s/" OSH_WIRE_SOCKET, config->run_dir);
	(void)unlink(path);
}

/* The last verdicts, before what holds them is removed: into the journal. */
static void save_verdicts(struct osh_agent *agent)
{
	const struct osh_verdict_hook hook = verdict_hook(agent);
	struct osh_err err = { 0 };
	int r;

	if (access(agent->pin_dir, F_OK) < 0)
		return;
	r = osh_recorder_open(agent, &agent->recorder, &err);
	if (r == 0)
		r = osh_supervisor_sweep(agent->pin_dir, &hook, &err);
	if (r < 0)
		osh_error("the last verdicts are not in the journal: %s", err.message);
}

/* What could not be looked at may be an attached cgroup: then its rules stay. */
static int sweep(struct osh_agent *agent, struct osh_err *err)
{
	struct osh_sandbox_left left;
	int r;

	save_verdicts(agent);
	remove_socket(agent->config);
	r = osh_sandbox_sweep(agent->host, &left, err);
	if (r == 0)
		r = osh_kernel_sweep(agent->pin_dir, left.ids, left.count, err);
	if (r < 0)
		return r;
	if (left.count)
		return osh_err_set(err, EINPROGRESS, "attached cgroups left with their rules, because processes run in "
						     "them: %zu", left.count);
	agent->is_adopted = true; /* none: what is left to stop() is the ground */
	return 0;
}

int osh_agent_sweep(const struct osh_config *config, struct osh_err *err)
{
	struct osh_agent agent = new_agent(config);
	int r = open_ground(&agent, err);

	if (r == 0)
		r = sweep(&agent, err);
	stop(&agent);
	return r;
}
