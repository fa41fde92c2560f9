#include "proxy/supervisor.h"

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
#include <utlist.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/knockout.h"
#include "base/log.h"
#include "proxy/channel.h"
#include "proxy/provision.h"
#include "verdict/ring.h"

#define RING_SLOTS 1024
#define SEND_TIMEOUT_S 5
#define END_PATIENCE_MS 2000
#define RESTART_DELAY_MIN_MS 50
#define RESTART_DELAY_MAX_MS 5000

/* A policy_set whose answer is still awaited. */
struct pending {
	struct pending *next;
	uint64_t sandbox;
	uint64_t serial;
	osh_supervisor_done_fn *done;
	void *context;
};

/* Everything that a fresh proxy must be told of one sandbox. */
struct ward {
	struct ward *next;
	uint64_t id;
	char name[OSH_NAME_MAX];
	struct osh_sandbox_sockets sockets;
	int ca_fd, policy_fd, vault_fd; /* sealed memfds, -1 when not set yet */
	uint32_t generation;
	uint64_t serial;
};

struct osh_supervisor {
	struct osh_supervisor_options options;
	char dns_servers[512];
	int upstream_ca_fd, via_fd;
	unsigned workers;
	struct osh_ring_writer *ring_writers[OSH_WORKERS_MAX];
	struct osh_ring_reader *ring_readers[OSH_WORKERS_MAX];
	struct osh_io wake_io;    /* eventfd that workers raise when they published */
	struct osh_io channel_io;
	struct osh_io pid_io;     /* pidfd of the proxy */
	struct osh_timer restart_timer;
	pid_t pid;
	unsigned restarts;
	uint64_t started_ms, restart_delay_ms;
	uint64_t next_serial;
	struct ward *wards;
	struct pending *pending;
};

/* ---- Telling the proxy ------------------------------------------------------ */

static int send_message(struct osh_supervisor *sup, const struct osh_channel_message *message,
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
	return send_message(sup, &message, fds, OSH_COUNT_OF(fds));
}

static void send_rings(struct osh_supervisor *sup)
{
	struct osh_channel_message message = { .type = OSH_CHANNEL_RING };

	for (unsigned i = 0; i < sup->workers; i++) {
		int fd = osh_ring_writer_fd(sup->ring_writers[i]);

		send_message(sup, &message, &fd, 1);
	}
	message.type = OSH_CHANNEL_START;
	send_message(sup, &message, NULL, 0);
}

static void send_add(struct osh_supervisor *sup, const struct ward *ward, bool is_new)
{
	struct osh_channel_message message = {
		.type = OSH_CHANNEL_ADD, .sandbox = ward->id, .is_new = is_new
	};
	int fds[OSH_SANDBOX_SOCKETS_COUNT + 1] = {
		ward->sockets.tcp4,	ward->sockets.tcp6,	ward->sockets.dns_udp4,
		ward->sockets.dns_udp6, ward->sockets.dns_tcp4, ward->sockets.dns_tcp6,
		ward->ca_fd,
	};

	memcpy(message.name, ward->name, sizeof(message.name));
	send_message(sup, &message, fds, OSH_COUNT_OF(fds));
}

static void send_vault(struct osh_supervisor *sup, const struct ward *ward)
{
	struct osh_channel_message message = { .type = OSH_CHANNEL_VAULT, .sandbox = ward->id };

	if (ward->vault_fd >= 0)
		send_message(sup, &message, &ward->vault_fd, 1);
}

static void send_policy(struct osh_supervisor *sup, const struct ward *ward)
{
	struct osh_channel_message message = {
		.type = OSH_CHANNEL_POLICY,
		.sandbox = ward->id,
		.generation = ward->generation,
		.serial = ward->serial,
	};

	if (ward->policy_fd >= 0)
		send_message(sup, &message, &ward->policy_fd, 1);
}

/* ---- Hearing from it --------------------------------------------------------- */

static struct ward *find_ward(struct osh_supervisor *sup, uint64_t id)
{
	struct ward *ward;

	LL_FOREACH(sup->wards, ward) {
		if (ward->id == id)
			return ward;
	}
	return NULL;
}

/* Every pending set of this sandbox up to `serial` is in force: a newer snapshot
 * stands for the older ones. */
static void complete_pending(struct osh_supervisor *sup, uint64_t sandbox, uint64_t serial, int result)
{
	struct pending *pending, *next;

	LL_FOREACH_SAFE(sup->pending, pending, next) {
		if (pending->sandbox != sandbox || pending->serial > serial)
			continue;
		LL_DELETE(sup->pending, pending);
		if (pending->done)
			pending->done(pending->context, result);
		free(pending);
	}
}

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
		complete_pending(sup, message.sandbox, message.serial, message.result);
	else if (message.type == OSH_CHANNEL_QUESTION)
		sup->options.on_question(sup->options.context, message.sandbox, &message.about);
}

static void drain_ring(struct osh_supervisor *sup, unsigned index)
{
	char room[OSH_VERDICT_BYTES_MAX];
	struct osh_verdict verdict;
	uint64_t lost = 0;

	while (osh_ring_read(sup->ring_readers[index], room, &verdict, &lost) == 1) {
		if (lost)
			sup->options.on_lost(sup->options.context, lost);
		sup->options.on_verdict(sup->options.context, &verdict);
	}
}

static void drain_rings(struct osh_supervisor *sup)
{
	for (unsigned i = 0; i < sup->workers; i++)
		drain_ring(sup, i);
	sup->options.on_batch(sup->options.context);
}

static void on_wake(struct osh_io *io, uint32_t events)
{
	struct osh_supervisor *sup = osh_container_of(io, struct osh_supervisor, wake_io);
	uint64_t count;

	(void)events;
	(void)!read(io->fd, &count, sizeof(count));
	drain_rings(sup);
}

/* ---- Life and death ------------------------------------------------------------ */

static int start_process(struct osh_supervisor *sup, int sock)
{
	char *const argv[] = { "openshelld", "proxy", NULL };
	char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", osh_layers_off(), NULL };
	posix_spawn_file_actions_t actions;
	int r;

	posix_spawn_file_actions_init(&actions);
	/* dup2 onto itself would keep close-on-exec, so never let them be equal. */
	posix_spawn_file_actions_adddup2(&actions, sock, OSH_CHANNEL_FD);
	posix_spawn_file_actions_addclosefrom_np(&actions, OSH_CHANNEL_FD + 1);
	r = posix_spawn(&sup->pid, "/proc/self/exe", &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static int spawn_proxy(struct osh_supervisor *sup)
{
	struct timeval timeout = { .tv_sec = SEND_TIMEOUT_S };
	struct ward *ward;
	int pair[2];
	int high, r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	high = fcntl(pair[1], F_DUPFD_CLOEXEC, OSH_CHANNEL_FD + 1);
	osh_close(pair[1]);
	r = high < 0 ? -errno : start_process(sup, high);
	osh_close(high);
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
	LL_FOREACH(sup->wards, ward) {
		send_add(sup, ward, false);
		send_vault(sup, ward);
		send_policy(sup, ward);
	}
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
	drain_rings(sup); /* what it still said */
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

static int make_rings(struct osh_supervisor *sup)
{
	for (unsigned i = 0; i < sup->workers; i++) {
		int r = osh_ring_create("openshell-worker", RING_SLOTS, &sup->ring_writers[i]);

		if (r == 0)
			r = osh_ring_reader_open(osh_ring_writer_fd(sup->ring_writers[i]),
						 OSH_RING_FROM_OLDEST, &sup->ring_readers[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

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

int osh_supervisor_start(const struct osh_supervisor_options *options,
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
	if (r == 0 && (r = make_rings(sup)) < 0)
		osh_err_sys(err, -r, "cannot make the verdict rings");
	if (r == 0)
		r = osh_loop_set(options->loop, &sup->wake_io, EPOLLIN);
	if (r == 0 && (r = spawn_proxy(sup)) < 0)
		osh_err_sys(err, -r, "cannot start the proxy process");
	if (r < 0) {
		osh_supervisor_stop(sup);
		return r;
	}
	*ret_supervisor = sup;
	return 0;
}

static void free_ward(struct ward *ward)
{
	osh_close(ward->sockets.tcp4);
	osh_close(ward->sockets.tcp6);
	osh_close(ward->sockets.dns_udp4);
	osh_close(ward->sockets.dns_udp6);
	osh_close(ward->sockets.dns_tcp4);
	osh_close(ward->sockets.dns_tcp6);
	osh_close(ward->ca_fd);
	osh_close(ward->policy_fd);
	osh_close(ward->vault_fd);
	free(ward);
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
	struct ward *ward, *next_ward;
	struct pending *pending, *next_pending;

	if (!sup)
		return;
	osh_loop_timer_cancel(sup->options.loop, &sup->restart_timer);
	osh_loop_remove(sup->options.loop, &sup->channel_io);
	osh_loop_remove(sup->options.loop, &sup->pid_io);
	osh_loop_remove(sup->options.loop, &sup->wake_io);
	end_process(sup);
	sup->pid_io.fd = osh_close(sup->pid_io.fd);
	for (unsigned i = 0; i < sup->workers; i++) {
		if (sup->ring_readers[i])
			drain_ring(sup, i);
		osh_ring_reader_free(sup->ring_readers[i]);
		osh_ring_writer_free(sup->ring_writers[i]);
	}
	LL_FOREACH_SAFE(sup->wards, ward, next_ward)
		free_ward(ward);
	LL_FOREACH_SAFE(sup->pending, pending, next_pending)
		free(pending);
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

/* ---- Sandboxes --------------------------------------------------------------------- */

/* Certificate and key in one block, a NUL behind each. */
static int ca_memfd(const char *cert_pem, const char *key_pem)
{
	size_t cert_len = strlen(cert_pem) + 1, key_len = strlen(key_pem) + 1;
	char *both = malloc(cert_len + key_len);
	int fd;

	if (!both)
		return -ENOMEM;
	memcpy(both, cert_pem, cert_len);
	memcpy(both + cert_len, key_pem, key_len);
	fd = osh_memfd_sealed("openshell-ca", both, cert_len + key_len);
	osh_wipe(both, cert_len + key_len);
	free(both);
	return fd;
}

int osh_supervisor_sandbox_add(struct osh_supervisor *sup, const struct osh_supervised_sandbox *sandbox,
			       struct osh_err *err)
{
	struct ward *ward = calloc(1, sizeof(*ward));

	if (!ward)
		return osh_err_sys(err, ENOMEM, "cannot tell the proxy of %s", sandbox->name);
	ward->id = sandbox->id;
	snprintf(ward->name, sizeof(ward->name), "%s", sandbox->name);
	ward->policy_fd = -1;
	ward->vault_fd = -1;
	ward->ca_fd = ca_memfd(sandbox->ca_pem, sandbox->ca_key_pem);
	if (ward->ca_fd < 0) {
		int code = -ward->ca_fd;

		free(ward);
		return osh_err_sys(err, code, "cannot hand the CA of %s over", sandbox->name);
	}
	ward->sockets = sandbox->sockets;
	LL_PREPEND(sup->wards, ward);
	send_add(sup, ward, sandbox->is_new);
	return 0;
}

void osh_supervisor_sandbox_remove(struct osh_supervisor *sup, uint64_t sandbox)
{
	struct osh_channel_message message = { .type = OSH_CHANNEL_REMOVE, .sandbox = sandbox };
	struct ward *ward = find_ward(sup, sandbox);

	if (!ward)
		return;
	send_message(sup, &message, NULL, 0);
	LL_DELETE(sup->wards, ward);
	free_ward(ward);
	complete_pending(sup, sandbox, UINT64_MAX, -ECANCELED);
}

int osh_supervisor_policy_set(struct osh_supervisor *sup, uint64_t sandbox, uint32_t generation,
			      const void *image, size_t len, osh_supervisor_done_fn *done,
			      void *context, struct osh_err *err)
{
	struct ward *ward = find_ward(sup, sandbox);
	struct pending *pending;
	int fd;

	if (!ward)
		return osh_err_set(err, ENOENT, "the proxy does not know this sandbox");
	pending = calloc(1, sizeof(*pending));
	fd = pending ? osh_memfd_sealed("openshell-policy", image, len) : -ENOMEM;
	if (fd < 0) {
		free(pending);
		return osh_err_sys(err, -fd, "cannot hand the policy over");
	}
	osh_close(ward->policy_fd);
	ward->policy_fd = fd;
	ward->generation = generation;
	ward->serial = ++sup->next_serial;
	*pending = (struct pending){
		.sandbox = sandbox, .serial = ward->serial, .done = done, .context = context
	};
	LL_APPEND(sup->pending, pending);
	send_policy(sup, ward);
	return 0;
}

void osh_supervisor_abandon(struct osh_supervisor *sup, void *context)
{
	struct pending *pending;

	LL_FOREACH(sup->pending, pending) {
		if (pending->context == context)
			pending->done = NULL;
	}
}

void osh_supervisor_flow_end(struct osh_supervisor *sup, uint64_t sandbox, uint64_t cookie)
{
	struct osh_channel_message message = {
		.type = OSH_CHANNEL_END_FLOW, .sandbox = sandbox, .about.cookie = cookie
	};

	send_message(sup, &message, NULL, 0);
}

void osh_supervisor_answer(struct osh_supervisor *sup, uint64_t sandbox,
			   const struct osh_question_about *about, const struct osh_exe_facts *facts)
{
	struct osh_channel_message message = {
		.type = OSH_CHANNEL_ANSWER, .sandbox = sandbox, .about = *about, .facts = *facts
	};

	send_message(sup, &message, NULL, 0);
}

int osh_supervisor_vault_set(struct osh_supervisor *sup, uint64_t sandbox,
			     const struct osh_vault *vault, struct osh_err *err)
{
	struct ward *ward = find_ward(sup, sandbox);
	struct osh_buf bytes;
	int r, fd;

	if (!ward)
		return osh_err_set(err, ENOENT, "the proxy does not know this sandbox");
	osh_buf_init(&bytes, 1 << 20);
	r = osh_vault_encode(vault, &bytes);
	fd = r < 0 ? r : osh_memfd_sealed("openshell-vault", osh_buf_bytes(&bytes), bytes.len);
	osh_wipe(bytes.data, bytes.room);
	osh_buf_done(&bytes);
	if (fd < 0)
		return osh_err_sys(err, -fd, "cannot hand the credentials over");
	osh_close(ward->vault_fd);
	ward->vault_fd = fd;
	send_vault(sup, ward);
	return 0;
}
