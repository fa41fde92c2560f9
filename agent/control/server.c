#include "control/server.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

#include "base/fd.h"
#include "base/log.h"
#include "control/agent.h"
#include "control/client.h"
#include "control/lifecycle.h"
#include "control/peer.h"
#include "sandbox/sandbox.h"

#define CLIENTS_MAX 512
/* Unread bytes of all connections together; whoever would exceed it is closed. */
#define INPUT_BYTES_MAX (64u << 20)
#define ACCEPT_BATCH 16
#define ACCEPT_PAUSE_MS 200

struct osh_server {
	struct osh_agent *agent;
	struct osh_io io;
	struct osh_timer pause;
	struct osh_client *clients; /* longest idle first */
	size_t client_count;
	bool is_out; /* of descriptors or memory: whoever connects waits */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/* ---- Connections ---------------------------------------- */

static void close_client(struct osh_client *client)
{
	struct osh_server *server = client->server;
	struct osh_agent *agent = server->agent;

	if (client->is_closed)
		return;
	client->is_closed = true;
	osh_loop_remove(agent->loop, &client->io);
	osh_client_cancel(client);
	osh_lifecycle_client_gone(agent, client);
	osh_wire_done(&client->wire);
	DL_DELETE(server->clients, client);
	server->client_count--;
	osh_loop_defer(agent->loop, &client->later);
}

static bool is_idle(const struct osh_client *client)
{
	struct osh_agent_sandbox *sandbox, *next;

	if (client->is_busy || !osh_wire_is_flushed(&client->wire))
		return false;
	HASH_ITER(hh, client->server->agent->sandboxes, sandbox, next) {
		if (sandbox->ends_with == client)
			return false;
	}
	return true;
}

/* Make room for one more: the connection that has been idle longest goes. */
static bool evict_idle(struct osh_server *server)
{
	struct osh_client *client;

	DL_FOREACH(server->clients, client) {
		if (is_idle(client)) {
			close_client(client);
			return true;
		}
	}
	return false;
}

static size_t input_bytes(const struct osh_server *server)
{
	const struct osh_client *client;
	size_t bytes = 0;

	DL_FOREACH(server->clients, client)
		bytes += client->wire.in.room;
	return bytes;
}

/* Read only when the last call is answered and its answer has left: a peer that does not
 * read its answers, or sends calls faster than they are handled, waits in its own socket. */
static void update_interest(struct osh_client *client)
{
	uint32_t events = EPOLLRDHUP;

	if (client->is_closed)
		return;
	if (!osh_wire_is_flushed(&client->wire))
		events |= EPOLLOUT;
	else if (!client->is_busy)
		events |= EPOLLIN;
	if (osh_loop_set(client->server->agent->loop, &client->io, events) < 0)
		close_client(client);
}

/* Handle what is whole, one call at a time. Returns false when the client was closed. */
static bool handle_messages(struct osh_client *client)
{
	while (!client->is_closed && !client->is_busy && osh_wire_is_flushed(&client->wire)) {
		struct osh_wire_message message = { 0 };
		int r = osh_wire_take(&client->wire, &message);

		if (r == 0)
			break;
		if (r < 0) {
			osh_debug("control connection closed: not a message of the protocol");
			close_client(client);
			break;
		}
		osh_client_dispatch(client, &message);
		osh_wire_message_done(&message);
	}
	return !client->is_closed;
}

static void touch(struct osh_client *client)
{
	DL_DELETE(client->server->clients, client);
	DL_APPEND(client->server->clients, client);
}

static void on_client_ready(struct osh_io *io, uint32_t events)
{
	struct osh_client *client = osh_container_of(io, struct osh_client, io);
	int r = 0;

	touch(client);
	if (events & EPOLLOUT)
		r = osh_wire_flush(&client->wire);
	if (r == 0 && (events & EPOLLIN))
		r = osh_wire_fill(&client->wire);
	else if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
		r = -ECONNRESET;
	if (r == 0 && input_bytes(client->server) > INPUT_BYTES_MAX) {
		osh_warning(
			"control connection closed: too many unread bytes over all connections");
		r = -ENOBUFS;
	}
	if (r < 0 && r != -EAGAIN) {
		close_client(client);
		return;
	}
	osh_client_proceed(client);
}

void osh_client_proceed(struct osh_client *client)
{
	int r;

	if (!handle_messages(client))
		return;
	r = osh_wire_flush(&client->wire);
	if (r < 0 && r != -EAGAIN) {
		close_client(client);
		return;
	}
	/* An answer that left at once makes room for the next call that is already here. */
	if (r == 0 && !client->is_busy && osh_wire_has_message(&client->wire))
		osh_loop_defer(client->server->agent->loop, &client->later);
	update_interest(client);
}

/* One deferred for both, so that none of a freed connection is ever queued. */
static void run_later(struct osh_deferred *deferred)
{
	struct osh_client *client = osh_container_of(deferred, struct osh_client, later);

	if (client->is_closed)
		free(client);
	else
		osh_client_proceed(client);
}

void osh_client_answered(struct osh_client *client)
{
	if (!client->is_closed)
		osh_loop_defer(client->server->agent->loop, &client->later);
}

/* ---- Admitting ---------------------------------------- */

/* One try: whoever does not read it learns less. */
static void say_refused(int fd, const char *reason)
{
	_cleanup_free_ char *text = NULL;
	json_t *reply = json_pack("{s:s, s:{s:s}}", "error", OSH_WIRE_INTERFACE ".PermissionDenied",
				  "parameters", "message", reason);

	if (reply)
		text = json_dumps(reply, JSON_COMPACT);
	json_decref(reply);
	if (text)
		(void)send(fd, text, strlen(text) + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Sandboxes, and what is attached: neither has a say in its own rules. */
static int check_peer(const struct osh_agent *agent, int fd, struct osh_peer *ret_peer, struct osh_err *err)
{
	const char *cgroups[OSH_SANDBOXES_MAX + 2] = { osh_sandbox_host_cgroup(agent->host) };
	const struct osh_agent_sandbox *sandbox;
	size_t count = 1;

	for (sandbox = agent->sandboxes; sandbox && count <= OSH_SANDBOXES_MAX; sandbox = sandbox->hh.next) {
		if (osh_lifecycle_is_attached(sandbox))
			cgroups[count++] = osh_sandbox_attached(sandbox->instance);
	}
	return osh_peer_check(fd, cgroups, ret_peer, err);
}

static int admit(struct osh_server *server, int fd)
{
	struct osh_agent *agent = server->agent;
	struct osh_client *client;
	struct osh_err err = { 0 };
	struct osh_peer peer;

	if (check_peer(agent, fd, &peer, &err) < 0) {
		osh_warning("control connection refused: %s", err.message);
		say_refused(fd, err.message);
		return -EPERM;
	}
	if (server->client_count >= CLIENTS_MAX && !evict_idle(server)) {
		osh_warning("control connection refused: %d are busy", CLIENTS_MAX);
		return -EBUSY;
	}
	client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	client->server = server;
	client->agent = agent;
	client->peer = peer;
	osh_wire_init(&client->wire, fd);
	client->io = (struct osh_io){ .fd = fd, .on_ready = on_client_ready };
	client->later.run = run_later;
	DL_APPEND(server->clients, client);
	server->client_count++;
	update_interest(client);
	return 0;
}

/* Taken only while there is a second descriptor: with none for the look at who calls, a caller that may
 * wait would be refused. */
static int accept_with_room(int listener)
{
	_cleanup_fd_ int spare = fcntl(listener, F_DUPFD_CLOEXEC, 0);

	return spare < 0 ? -1 : accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static void on_accept(struct osh_io *io, uint32_t events)
{
	struct osh_server *server = osh_container_of(io, struct osh_server, io);

	(void)events;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept_with_room(io->fd);

		if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			/* Out of descriptors or memory: level triggering would spin on it. */
			if (!server->is_out)
				osh_warning("control connections wait until there is room: %s", strerror(errno));
			server->is_out = true;
			(void)osh_loop_set(server->agent->loop, io, 0);
			(void)osh_loop_timer_set(server->agent->loop, &server->pause,
						 ACCEPT_PAUSE_MS);
			return;
		}
		if (fd < 0)
			return;
		if (server->is_out)
			osh_info("control connections are served again");
		server->is_out = false;
		if (admit(server, fd) < 0)
			osh_close(fd);
	}
}

static void on_pause_end(struct osh_timer *timer)
{
	struct osh_server *server = osh_container_of(timer, struct osh_server, pause);

	(void)osh_loop_set(server->agent->loop, &server->io, EPOLLIN);
}

/* ---- Listening ---------------------------------------- */

/* Bound as 0600, opened for the group afterwards: nobody can be early. */
static int bind_socket(struct osh_server *server, struct osh_err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct group *group = getgrnam("openshell");
	mode_t mask;
	int r;

	memcpy(address.sun_path, server->path, sizeof(server->path));
	(void)unlink(server->path); /* an earlier agent's: we hold the lock */
	mask = umask(0177);
	r = bind(server->io.fd, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (r < 0)
		return osh_err_sys(err, errno, "cannot bind %s", server->path);
	if (group &&
	    (chown(server->path, (uid_t)-1, group->gr_gid) < 0 || chmod(server->path, 0660) < 0))
		return osh_err_sys(err, errno, "cannot give %s to group openshell", server->path);
	if (listen(server->io.fd, SOMAXCONN) < 0)
		return osh_err_sys(err, errno, "cannot listen on %s", server->path);
	return 0;
}

int osh_server_open(struct osh_agent *agent, struct osh_server **ret_server, struct osh_err *err)
{
	struct osh_server *server = calloc(1, sizeof(*server));
	int n, r;

	if (!server)
		return osh_err_sys(err, ENOMEM, "cannot serve");
	server->agent = agent;
	server->pause.on_expire = on_pause_end;
	server->io = (struct osh_io){ .fd = -1, .on_ready = on_accept };
	n = snprintf(server->path, sizeof(server->path), "%s/" OSH_WIRE_SOCKET,
		     agent->config->run_dir);
	r = n < 0 || (size_t)n >= sizeof(server->path)
		    ? osh_err_set(err, ENAMETOOLONG,
				  "run_dir is too long for a socket in it: choose a shorter one")
		    : 0;
	if (r < 0) {
		free(server);
		return r;
	}
	server->io.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = server->io.fd < 0 ? osh_err_sys(err, errno, "cannot make a socket")
			      : bind_socket(server, err);
	if (r == 0 && (r = osh_loop_set(agent->loop, &server->io, EPOLLIN)) < 0)
		osh_err_sys(err, -r, "cannot serve");
	if (r < 0) {
		osh_server_close(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

bool osh_server_is_connection(const struct osh_server *server, int fd)
{
	struct sockaddr_un peer = { .sun_family = AF_UNSPEC };
	socklen_t len = sizeof(peer);

	return getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sun_family == AF_UNIX &&
	       strncmp(peer.sun_path, server->path, sizeof(peer.sun_path)) == 0;
}

void osh_server_close(struct osh_server *server)
{
	struct osh_client *client, *next;

	if (!server)
		return;
	osh_loop_timer_cancel(server->agent->loop, &server->pause);
	osh_loop_remove(server->agent->loop, &server->io);
	if (server->io.fd >= 0)
		(void)unlink(server->path);
	server->io.fd = osh_close(server->io.fd);
	DL_FOREACH_SAFE(server->clients, client, next) {
		close_client(client);
		free(client); /* the loop has stopped: nothing runs later */
	}
	free(server);
}
