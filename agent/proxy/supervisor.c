#include "proxy/supervisor_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/knockout.h"
#include "base/log.h"
#include "proxy/channel.h"
#include "proxy/provision.h"

#define SEND_TIMEOUT_S 5
#define END_PATIENCE_MS 2000
#define RESTART_DELAY_MIN_MS 50
#define RESTART_DELAY_MAX_MS 5000

/* ---- Telling the proxy ------------------------------------------------------ */

int osh_supervisor_send(struct osh_supervisor *sup, const struct osh_channel_message *message,
			const int *fds, size_t fd_count)
{
	int r;

	if (sup->channel_io.fd < 0)
		return 0; /* between two proxies: the next one is told everything */
	r = osh_channel_send(sup->channel_io.fd, message, fds, fd_count);
	if (r < 0) {
		/* It does not take messages: a new one will. */
		osh_error("proxy does not take messages (%s): replacing it", strerror(-r));
		kill(sup->pid, SIGKILL);
	}
	return 0;
}

static int send_hello(struct osh_supervisor *sup)
{
	struct osh_channel_message message = {
		.type = OSH_CHANNEL_HELLO,
		.workers = sup->workers,
		.log_level = (uint32_t)osh_log_level_get(),
	};
	const struct osh_maps *maps = sup->options.maps;
	int fds[OSH_MAPS_COUNT + 3] = { maps->sandboxes, maps->flows,	      maps->identities,
					maps->leases,	 maps->reachable,     maps->denials,
					sup->wake_io.fd, sup->upstream_ca_fd, sup->via_fd };

	memcpy(message.dns_servers, sup->dns_servers, sizeof(message.dns_servers));
	return osh_supervisor_send(sup, &message, fds, OSH_COUNT_OF(fds));
}

static void send_rings(struct osh_supervisor *sup)
{
	struct osh_channel_message message = { .type = OSH_CHANNEL_RING };

	for (unsigned i = 0; i < sup->workers; i++) {
		int fd = osh_rings_fd(sup->rings, i);

		osh_supervisor_send(sup, &message, &fd, 1);
	}
	message.type = OSH_CHANNEL_START;
	osh_supervisor_send(sup, &message, NULL, 0);
}

/* ---- Hearing from it --------------------------------------------------------- */

static void on_channel(struct osh_io *io, uint32_t events)
{
	struct osh_supervisor *sup = osh_container_of(io, struct osh_supervisor, channel_io);
	struct osh_channel_message message;
	int fds[OSH_FDS_MAX];
	size_t fd_count;
	int r = osh_channel_recv(io->fd, &message, fds, &fd_count);

	(void)events;
	if (r == -EAGAIN)
		return;
	if (r < 0) {
		/* Its end is told by the pidfd; stop listening to a dead socket. */
		osh_loop_remove(sup->options.loop, io);
		io->fd = osh_close(io->fd);
		return;
	}
	for (size_t i = 0; i < fd_count; i++)
		osh_close(fds[i]); /* it has none to give */
	if (message.type == OSH_CHANNEL_DONE)
		osh_supervisor_complete(sup, message.sandbox, message.serial, message.result);
	else if (message.type == OSH_CHANNEL_QUESTION)
		sup->options.on_question(sup->options.context, message.sandbox, &message.about);
}

static void on_wake(struct osh_io *io, uint32_t events)
{
	struct osh_supervisor *sup = osh_container_of(io, struct osh_supervisor, wake_io);
	uint64_t count;

	(void)events;
	(void)!read(io->fd, &count, sizeof(count));
	osh_rings_drain(sup->rings);
}

/* ---- Life and death ------------------------------------------------------------ */

static int start_process(struct osh_supervisor *sup, int sock, int lock)
{
	char *const argv[] = { "openshelld", "proxy", NULL };
	char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", osh_layers_off(), NULL };
	posix_spawn_file_actions_t actions;
	int r;

	posix_spawn_file_actions_init(&actions);
	/* dup2 onto itself would keep close-on-exec, so never let them be equal. */
	posix_spawn_file_actions_adddup2(&actions, sock, OSH_CHANNEL_FD);
	posix_spawn_file_actions_adddup2(&actions, lock, OSH_LOCK_FD);
	posix_spawn_file_actions_addclosefrom_np(&actions, OSH_LOCK_FD + 1);
	r = posix_spawn(&sup->pid, "/proc/self/exe", &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static int spawn_proxy(struct osh_supervisor *sup)
{
	struct timeval timeout = { .tv_sec = SEND_TIMEOUT_S };
	int pair[2];
	int high, lock, r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	high = fcntl(pair[1], F_DUPFD_CLOEXEC, OSH_LOCK_FD + 1);
	lock = fcntl(osh_rings_lock_fd(sup->rings), F_DUPFD_CLOEXEC, OSH_LOCK_FD + 1);
	osh_close(pair[1]);
	r = high < 0 || lock < 0 ? -errno : start_process(sup, high, lock);
	osh_close(high);
	osh_close(lock);
	if (r < 0) {
		osh_close(pair[0]);
		return r;
	}
	setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	sup->channel_io.fd = pair[0];
	sup->pid_io.fd = pidfd_open(sup->pid, 0);
	sup->started_ms = osh_loop_now_ms(sup->options.loop);
	osh_loop_set(sup->options.loop, &sup->channel_io, EPOLLIN);
	osh_loop_set(sup->options.loop, &sup->pid_io, EPOLLIN);
	send_hello(sup);
	send_rings(sup);
	osh_supervisor_tell_sandboxes(sup);
	return 0;
}

static void forget_process(struct osh_supervisor *sup)
{
	osh_loop_remove(sup->options.loop, &sup->channel_io);
	osh_loop_remove(sup->options.loop, &sup->pid_io);
	sup->channel_io.fd = osh_close(sup->channel_io.fd);
	sup->pid_io.fd = osh_close(sup->pid_io.fd);
	sup->pid = 0;
}

static void on_proxy_end(struct osh_io *io, uint32_t events)
{
	struct osh_supervisor *sup = osh_container_of(io, struct osh_supervisor, pid_io);
	uint64_t lived_ms = osh_loop_now_ms(sup->options.loop) - sup->started_ms;
	int status = 0;

	(void)events;
	waitpid(sup->pid, &status, 0);
	osh_error("proxy (pid %d) ended: %s %d; starting another", (int)sup->pid,
		  WIFSIGNALED(status) ? "signal" : "status",
		  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	forget_process(sup);
	osh_rings_finish(sup->rings); /* what it still said */
	sup->restarts++;
	/* At once the first time, slower while it keeps dying young. */
	if (lived_ms > RESTART_DELAY_MAX_MS)
		sup->restart_delay_ms = 0;
	osh_loop_timer_set(sup->options.loop, &sup->restart_timer, sup->restart_delay_ms);
	sup->restart_delay_ms = sup->restart_delay_ms ? sup->restart_delay_ms * 2 : RESTART_DELAY_MIN_MS;
	if (sup->restart_delay_ms > RESTART_DELAY_MAX_MS)
		sup->restart_delay_ms = RESTART_DELAY_MAX_MS;
}

static void on_restart(struct osh_timer *timer)
{
	struct osh_supervisor *sup = osh_container_of(timer, struct osh_supervisor, restart_timer);
	int r = spawn_proxy(sup);

	if (r < 0) {
		osh_error("cannot start the proxy: %s; trying again", strerror(-r));
		osh_loop_timer_set(sup->options.loop, timer, RESTART_DELAY_MAX_MS);
	}
}

/* ---- Setting up ------------------------------------------------------------------ */

static int provide(struct osh_supervisor *sup, struct osh_err *err)
{
	const struct osh_supervisor_options *options = &sup->options;
	int r = osh_provision_dns_servers(options->dns_servers, sup->dns_servers, sizeof(sup->dns_servers), err);

	if (r < 0)
		return r;
	sup->upstream_ca_fd = osh_provision_anchors(options->upstream_ca, err);
	if (sup->upstream_ca_fd < 0)
		return sup->upstream_ca_fd;
	sup->via_fd = osh_provision_via(&options->via, options->via_credential, err);
	return sup->via_fd < 0 ? sup->via_fd : 0;
}

static unsigned choose_workers(unsigned wanted)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	if (wanted == 0)
		wanted = processors > 0 ? (unsigned)processors : 1;
	return wanted > OSH_WORKERS_MAX ? OSH_WORKERS_MAX : wanted;
}

int osh_supervisor_open(const struct osh_supervisor_options *options,
			struct osh_supervisor **ret_supervisor, struct osh_err *err)
{
	struct osh_supervisor *sup = calloc(1, sizeof(*sup));
	int r;

	if (!sup)
		return osh_err_sys(err, ENOMEM, "cannot start the proxy");
	sup->options = *options;
	sup->workers = choose_workers(options->workers);
	sup->upstream_ca_fd = sup->via_fd = -1;
	sup->channel_io = (struct osh_io){ .fd = -1, .on_ready = on_channel };
	sup->pid_io = (struct osh_io){ .fd = -1, .on_ready = on_proxy_end };
	sup->wake_io = (struct osh_io){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .on_ready = on_wake };
	sup->restart_timer.on_expire = on_restart;
	r = sup->wake_io.fd < 0 ? osh_err_sys(err, errno, "eventfd") : 0;
	if (r == 0)
		r = provide(sup, err);
	if (r == 0)
		r = osh_rings_open(options->pin_dir, sup->workers, &sup->options.verdicts, &sup->rings, err);
	if (r == 0 && (r = osh_loop_set(options->loop, &sup->wake_io, EPOLLIN)) < 0)
		osh_err_sys(err, -r, "cannot watch the proxy");
	if (r < 0) {
		osh_supervisor_stop(sup);
		return r;
	}
	*ret_supervisor = sup;
	return 0;
}

int osh_supervisor_start(struct osh_supervisor *sup, struct osh_err *err)
{
	int r;

	osh_rings_finish(sup->rings);
	r = spawn_proxy(sup);
	return r < 0 ? osh_err_sys(err, -r, "cannot start the proxy process") : 0;
}

int osh_supervisor_sweep(const char *pin_dir, const struct osh_verdict_hook *hook, struct osh_err *err)
{
	struct osh_rings *rings = NULL;
	int r = osh_rings_open(pin_dir, 0, hook, &rings, err);

	if (r < 0)
		return r;
	osh_rings_finish(rings);
	osh_rings_close(rings);
	return 0;
}

/* Closing the channel is the request to end; a proxy that takes too long is killed. */
static void end_process(struct osh_supervisor *sup)
{
	struct pollfd poll_pid = { .fd = sup->pid_io.fd, .events = POLLIN };

	if (!sup->pid)
		return;
	sup->channel_io.fd = osh_close(sup->channel_io.fd);
	if (poll(&poll_pid, 1, END_PATIENCE_MS) <= 0)
		kill(sup->pid, SIGKILL);
	waitpid(sup->pid, NULL, 0);
	sup->pid = 0;
}

void osh_supervisor_stop(struct osh_supervisor *sup)
{
	if (!sup)
		return;
	osh_loop_timer_cancel(sup->options.loop, &sup->restart_timer);
	osh_loop_remove(sup->options.loop, &sup->channel_io);
	osh_loop_remove(sup->options.loop, &sup->pid_io);
	osh_loop_remove(sup->options.loop, &sup->wake_io);
	end_process(sup);
	sup->pid_io.fd = osh_close(sup->pid_io.fd);
	if (sup->rings)
		osh_rings_finish(sup->rings);
	osh_rings_close(sup->rings);
	osh_supervisor_forget_sandboxes(sup);
	osh_close(sup->upstream_ca_fd);
	osh_close(sup->via_fd);
	osh_close(sup->wake_io.fd);
	free(sup);
}

pid_t osh_supervisor_pid(const struct osh_supervisor *sup)
{
	return sup->pid;
}

unsigned osh_supervisor_restarts(const struct osh_supervisor *sup)
{
	return sup->restarts;
}

unsigned osh_supervisor_workers(const struct osh_supervisor *sup)
{
	return sup->workers;
}
