/* Connections that a sandbox opened: whose they are, and whether there is room for them. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "proxy/accept.h"
#include "proxy/session_decide.h"
#include "proxy/spread.h"

#define ACCEPT_BATCH 64
#define ACCEPT_PAUSE_MS 200

static void record_bypass(struct osh_view *view, uint16_t client_port_host)
{
	char reason[128];
	struct osh_verdict verdict = {
		.engine = OSH_ENGINE_BYPASS,
		.decision = OSH_VERDICT_DENY,
		.protocol = "l4",
		.reason = reason,
	};

	snprintf(reason, sizeof(reason),
		 "connection from port %u reached the agent without passing the kernel hook",
		 client_port_host);
	osh_worker_record(view, &verdict);
}

static void flow_key_of(const struct osh_view *view, const struct sockaddr_storage *peer,
			struct osh_flow_key *key)
{
	memset(key, 0, sizeof(*key));
	key->sandbox = view->tenant->id;
	if (peer->ss_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const void *)peer;

		memcpy(&key->client, &v6->sin6_addr, sizeof(key->client));
		key->client_port_host = ntohs(v6->sin6_port);
	} else {
		const struct sockaddr_in *v4 = (const void *)peer;

		key->client.word_be[2] = htonl(0xffff);
		key->client.word_be[3] = v4->sin_addr.s_addr;
		key->client_port_host = ntohs(v4->sin_port);
	}
}

/* No room for another flow of this sandbox. Recorded once, until there has been room again. */
static void record_want_of_room(struct osh_view *view, const struct osh_flow *flow, const char *reason)
{
	const struct osh_who *who = osh_worker_who(view->worker, flow->identity);
	struct osh_verdict verdict = {
		.engine = OSH_ENGINE_LIMIT,
		.decision = OSH_VERDICT_DENY,
		.protocol = "l4",
		.binary = who ? who->binary : NULL,
		.pid = flow->pid,
		.dst_port_host = flow->dst_port_host,
		.reason = reason,
	};

	if (!view->reported_full)
		osh_worker_record(view, &verdict);
	view->reported_full = true;
}

/* Take what the kernel knows of a connection; false when it knows nothing. There is a record of
 * it: ours, or the kernel's own when its table is full. */
static bool take_flow(struct osh_view *view, const struct sockaddr_storage *peer, struct osh_flow *ret_flow)
{
	struct osh_flow_key key;
	int r;

	flow_key_of(view, peer, &key);
	r = osh_maps_flow_take(&view->worker->proxy->maps, &key, ret_flow);
	if (r < 0 && r != -ENOSPC)
		record_bypass(view, key.client_port_host);
	return r == 0;
}

void osh_session_admit(struct osh_view *view, int fd, const struct osh_flow *flow)
{
	struct osh_session *s = osh_session_new(view, fd, flow);

	if (!s) {
		record_want_of_room(view, flow, "too many connections at once in this sandbox");
		osh_close(fd);
		return;
	}
	view->reported_full = false;
	osh_session_begin(s);
}

/* False when memory is out. */
static bool hand_over(struct osh_worker *to, const struct osh_view *view, int fd, const struct osh_flow *flow)
{
	struct osh_letter *letter = calloc(1, sizeof(*letter));

	if (!letter)
		return false;
	letter->type = OSH_LETTER_FLOW;
	letter->sandbox = view->tenant->id;
	letter->fd = fd;
	letter->flow = *flow;
	osh_worker_post(to, letter);
	return true;
}

static void on_accepted(struct osh_view *view, int fd, const struct sockaddr_storage *peer)
{
	struct osh_flow flow;
	struct osh_worker *chosen;

	if (!take_flow(view, peer, &flow) || flow.is_shared) {
		osh_close(fd);
		return;
	}
	chosen = osh_spread_choose(view);
	if (chosen == view->worker || !hand_over(chosen, view, fd, &flow))
		osh_session_admit(view, fd, &flow);
}

static void on_refused(struct osh_view *view, const struct sockaddr_storage *peer)
{
	struct osh_flow flow;

	if (take_flow(view, peer, &flow))
		record_want_of_room(view, &flow, "the agent has no descriptors left for another connection");
}

/* Out of memory, or of descriptors even to refuse by: connections wait in the backlog while
 * live flows go on and end. Without the pause the level-triggered loop would spin. */
static void pause_listening(struct osh_listener *listener, int error)
{
	struct osh_loop *loop = listener->view->worker->loop;

	osh_warning("cannot accept for %s: %s; trying again soon", listener->view->tenant->name,
		    strerror(error));
	osh_loop_remove(loop, &listener->io);
	(void)osh_loop_timer_set(loop, &listener->retry, ACCEPT_PAUSE_MS);
}

void osh_session_on_listener(struct osh_io *io, uint32_t events)
{
	struct osh_listener *listener = osh_container_of(io, struct osh_listener, io);
	struct osh_view *view = listener->view;

	(void)events;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage peer;
		int fd = osh_accept(view->worker, io->fd, &peer);

		if (fd >= 0) {
			on_accepted(view, fd, &peer);
		} else if (fd == -EMFILE) {
			on_refused(view, &peer);
		} else {
			if (fd != -EAGAIN)
				pause_listening(listener, -fd);
			return;
		}
	}
}
