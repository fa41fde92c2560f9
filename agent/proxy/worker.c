#include "proxy/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "proxy/dns.h"
#include "proxy/facts.h"
#include "proxy/resolver.h"
#include "proxy/session.h"
#include "proxy/spread.h"
#include "proxy/tls.h"
#include "proxy/upstream.h"

#define WHOS_MAX 2048
/* A server on this host answers within, one elsewhere does not: sleeping and being woken twice made
 * half of what a request took (tests/bench/bench.md). */
#define SPIN_NS 100000
#define TELL_MS 4
#define TELL_COUNT 128 /* an eighth of the ring (supervisor.c): before its oldest are lost */

/* ---- Shared objects ----------------------------------------------------------- */

static void close_sockets(struct osh_sandbox_sockets *sockets)
{
	osh_close(sockets->tcp4);
	osh_close(sockets->tcp6);
	osh_close(sockets->dns_udp4);
	osh_close(sockets->dns_udp6);
	osh_close(sockets->dns_tcp4);
	osh_close(sockets->dns_tcp6);
}

struct osh_tenant *osh_tenant_ref(struct osh_tenant *tenant)
{
	atomic_fetch_add(&tenant->refs, 1);
	return tenant;
}

void osh_tenant_unref(struct osh_tenant *tenant)
{
	if (!tenant || atomic_fetch_sub(&tenant->refs, 1) != 1)
		return;
	close_sockets(&tenant->sockets);
	osh_ca_done(&tenant->ca);
	free(tenant);
}

struct osh_snapshot *osh_snapshot_ref(struct osh_snapshot *snapshot)
{
	atomic_fetch_add(&snapshot->refs, 1);
	return snapshot;
}

void osh_snapshot_unref(struct osh_snapshot *snapshot)
{
	if (!snapshot || atomic_fetch_sub(&snapshot->refs, 1) != 1)
		return;
	osh_meters_done(&snapshot->meters);
	munmap(snapshot->memory, snapshot->len);
	free(snapshot);
}

struct osh_vault_box *osh_vault_box_ref(struct osh_vault_box *box)
{
	atomic_fetch_add(&box->refs, 1);
	return box;
}

void osh_vault_box_unref(struct osh_vault_box *box)
{
	if (!box || atomic_fetch_sub(&box->refs, 1) != 1)
		return;
	osh_vault_free(box->vault);
	free(box);
}

/* ---- Who ------------------------------------------------------------------------ */

static void free_who(struct osh_who *who)
{
	free(who->lineage);
	free(who->ancestors);
	free(who->ancestor_text);
	free(who->nodes);
	free(who->facts);
	free(who);
}

/* Cached facts never change (an identity number is never reused), so forgetting all
 * of them when the table is full costs a few lookups and nothing else. Called between
 * batches, since sessions borrow entries only within one. */
static void bound_whos(struct osh_worker *worker)
{
	struct osh_who *who, *next;

	if (HASH_COUNT(worker->whos) < WHOS_MAX)
		return;
	HASH_ITER(hh, worker->whos, who, next) {
		HASH_DEL(worker->whos, who);
		free_who(who);
	}
}

/* The paths of `parent` and its ancestors, nearest first. One without a path or a name
 * stays "": it grants nothing, because it cannot match. */
static int collect_ancestors(struct osh_worker *worker, uint32_t parent,
			     char paths[OSH_LINEAGE_MAX + 1][OSH_PATH_MAX],
			     struct osh_node nodes[OSH_LINEAGE_MAX + 1], size_t *ret_count)
{
	struct osh_identity node;
	size_t count = 0;

	for (; parent && count <= OSH_LINEAGE_MAX; parent = node.parent) {
		int r = osh_maps_identity(&worker->proxy->maps, parent, &node);

		if (r < 0)
			return r;
		memcpy(paths[count], node.path, OSH_PATH_MAX);
		paths[count][node.flags & OSH_EXE_NAMELESS ? 0 : OSH_PATH_MAX - 1] = '\0';
		nodes[count] = (struct osh_node){ .id = parent, .flags = node.flags };
		count++;
	}
	*ret_count = count;
	return 0;
}

/* Both texts in memory of just their size: thousands of them are kept. */
static int load_ancestors(struct osh_worker *worker, struct osh_who *who, uint32_t parent)
{
	char paths[OSH_LINEAGE_MAX + 1][OSH_PATH_MAX];
	struct osh_node nodes[OSH_LINEAGE_MAX + 1];
	struct osh_buf text, lineage;
	size_t count = 0;
	int r = collect_ancestors(worker, parent, paths, nodes, &count);

	if (r < 0)
		return r;
	osh_buf_init(&text, sizeof(paths));
	osh_buf_init(&lineage, sizeof(paths) + 4 * (OSH_LINEAGE_MAX + 1) + 1);
	for (size_t i = 0; i < count && r == 0; i++) {
		r = osh_buf_append(&text, paths[i], strlen(paths[i]) + 1);
		if (r == 0)
			r = osh_buf_printf(&lineage, "%s%s", i ? " <- " : "", *paths[i] ? paths[i] : "?");
	}
	if (r == 0)
		r = osh_buf_append(&lineage, "", 1);
	who->ancestor_text = text.data; /* taken over, whatever comes */
	who->lineage = lineage.data;
	who->ancestors = calloc(count ? count : 1, sizeof(*who->ancestors));
	who->nodes = calloc(1 + count, sizeof(*who->nodes));
	who->facts = calloc(1 + count, sizeof(*who->facts));
	if (r < 0 || !who->ancestors || !who->nodes || !who->facts)
		return -ENOMEM;
	who->nodes[0] = (struct osh_node){ .id = who->id, .flags = who->flags };
	memcpy(who->nodes + 1, nodes, count * sizeof(*nodes));
	for (const char *at = who->ancestor_text; who->ancestor_count < count; at += strlen(at) + 1)
		who->ancestors[who->ancestor_count++] = osh_str(at);
	return 0;
}

struct osh_who *osh_worker_who(struct osh_worker *worker, uint32_t identity)
{
	struct osh_identity node;
	struct osh_who *who;

	HASH_FIND(hh, worker->whos, &identity, sizeof(identity), who);
	if (who)
		return who;
	if (osh_maps_identity(&worker->proxy->maps, identity, &node) < 0)
		return NULL;
	who = calloc(1, sizeof(*who));
	if (!who)
		return NULL;
	who->id = identity;
	who->flags = node.flags;
	memcpy(who->binary, node.path, sizeof(who->binary));
	who->binary[sizeof(who->binary) - 1] = '\0';
	if (load_ancestors(worker, who, node.parent) < 0) {
		free_who(who);
		return NULL;
	}
	HASH_ADD(hh, worker->whos, id, sizeof(who->id), who);
	return who;
}

/* ---- Verdicts -------------------------------------------------------------------- */

void osh_worker_record(struct osh_view *view, struct osh_verdict *verdict)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	verdict->time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	verdict->sandbox = view->tenant->name;
	verdict->sandbox_id = view->tenant->id;
	if (view->snapshot) {
		verdict->revision = osh_policy_revision(&view->snapshot->policy);
		verdict->permissive = osh_policy_is_permissive(&view->snapshot->policy);
	}
	osh_ring_publish(view->worker->ring, verdict);
	view->worker->published++;
}

static void tell_agent(struct osh_worker *worker)
{
	uint64_t one = 1;

	worker->published = 0;
	worker->told_ms = osh_loop_now_ms(worker->loop);
	(void)!write(worker->proxy->agent_eventfd, &one, sizeof(one));
}

static void on_tell(struct osh_timer *timer)
{
	struct osh_worker *worker = osh_container_of(timer, struct osh_worker, tell);

	if (worker->published)
		tell_agent(worker);
}

/* The first verdict is told at once; under load the agent would be woken for each, so the rest
 * wait in the ring for a moment, or until they are many. */
static bool may_wait(const struct osh_worker *worker)
{
	return worker->published < TELL_COUNT && osh_loop_now_ms(worker->loop) < worker->told_ms + TELL_MS;
}

static void on_batch_end(void *context)
{
	struct osh_worker *worker = context;

	bound_whos(worker);
	osh_spread_measure(worker);
	if (!worker->published)
		return;
	if (!may_wait(worker))
		tell_agent(worker);
	else if (!worker->tell.slot && osh_loop_timer_set(worker->loop, &worker->tell, TELL_MS) < 0)
		tell_agent(worker);
}

/* ---- Letters ----------------------------------------------------------------------- */

struct osh_view *osh_worker_view(struct osh_worker *worker, uint64_t sandbox)
{
	struct osh_view *view;

	HASH_FIND(hh, worker->views, &sandbox, sizeof(sandbox), view);
	return view;
}

static void start_listening(struct osh_listener *listener)
{
	struct osh_view *view = listener->view;

	/* Exclusive: a connection wakes one worker, not all. Without IPv6 there is no socket. */
	if (listener->io.fd >= 0 &&
	    osh_loop_set(view->worker->loop, &listener->io, EPOLLIN | EPOLLEXCLUSIVE) < 0)
		osh_error("cannot listen for %s", view->tenant->name);
}

static void on_retry(struct osh_timer *timer)
{
	start_listening(osh_container_of(timer, struct osh_listener, retry));
}

/* Not listening yet: until the first policy is there connections wait in the backlog, else
 * a restarted proxy would deny what its predecessor allowed. */
static void prepare_listener(struct osh_view *view, struct osh_listener *listener, int fd)
{
	listener->view = view;
	listener->io = (struct osh_io){ .fd = fd, .on_ready = osh_session_on_listener };
	listener->retry.on_expire = on_retry;
}

static void on_add(struct osh_worker *worker, struct osh_letter *letter)
{
	struct osh_view *view = calloc(1, sizeof(*view));
	struct osh_tenant *tenant = letter->tenant;

	if (!view || osh_worker_view(worker, tenant->id)) {
		free(view);
		return;
	}
	letter->tenant = NULL; /* taken */
	view->worker = worker;
	view->tenant = tenant;
	view->known_version = 1;
	HASH_ADD_KEYPTR(hh, worker->views, &tenant->id, sizeof(tenant->id), view);
	prepare_listener(view, &view->tcp4, tenant->sockets.tcp4);
	prepare_listener(view, &view->tcp6, tenant->sockets.tcp6);
	/* One worker owns a tenant's names: no lock, no name with two addresses. */
	if (tenant->id % worker->proxy->worker_count == worker->index)
		view->dns = osh_dns_new(view);
}

static void on_remove(struct osh_worker *worker, struct osh_letter *letter)
{
	struct osh_view *view = osh_worker_view(worker, letter->sandbox);

	if (!view)
		return;
	osh_session_end_all(view);
	osh_upstream_pool_drop(worker->pool, view->tenant->id);
	osh_tls_forget(worker, view->tenant->id);
	osh_loop_remove(worker->loop, &view->tcp4.io);
	osh_loop_remove(worker->loop, &view->tcp6.io);
	osh_loop_timer_cancel(worker->loop, &view->tcp4.retry);
	osh_loop_timer_cancel(worker->loop, &view->tcp6.retry);
	osh_dns_free(view->dns);
	osh_facts_forget(view);
	HASH_DEL(worker->views, view);
	osh_snapshot_unref(view->snapshot);
	osh_vault_box_unref(view->vault);
	osh_tenant_unref(view->tenant);
	free(view);
}

static void answer_errand(struct osh_worker *worker, struct osh_errand *errand)
{
	struct osh_channel_message message = { .type = OSH_CHANNEL_DONE };

	if (atomic_fetch_sub(&errand->left, 1) != 1)
		return;
	message.sandbox = errand->sandbox;
	message.serial = errand->serial;
	(void)osh_channel_send(worker->proxy->channel_fd, &message, NULL, 0);
	free(errand);
}

static void on_policy(struct osh_worker *worker, struct osh_letter *letter)
{
	struct osh_view *view = osh_worker_view(worker, letter->sandbox);

	if (view) {
		bool is_first = !view->snapshot;

		osh_snapshot_unref(view->snapshot);
		view->snapshot = osh_take(letter->snapshot);
		if (is_first) {
			start_listening(&view->tcp4);
			start_listening(&view->tcp6);
			atomic_fetch_add(&view->tenant->ready_count, 1);
		}
		if (view->dns)
			osh_dns_policy_changed(view->dns);
		osh_facts_policy_changed(view);
		osh_session_judge_all(view);
	}
	answer_errand(worker, letter->errand);
}

static void on_vault(struct osh_worker *worker, struct osh_letter *letter)
{
	struct osh_view *view = osh_worker_view(worker, letter->sandbox);

	if (view) {
		osh_vault_box_unref(view->vault);
		view->vault = osh_take(letter->vault);
	}
}

static void on_answer(struct osh_worker *worker, struct osh_letter *letter)
{
	struct osh_view *view = osh_worker_view(worker, letter->sandbox);

	if (letter->about.worker == worker->index)
		osh_facts_question_done(worker, view);
	if (view)
		osh_facts_learn(view, &letter->about, &letter->facts);
	osh_session_on_answer(worker, view, &letter->about, &letter->facts);
}

/* Nothing that was sent from it would be answered: better to begin anew at once than to wait for that. */
static void on_address_gone(struct osh_worker *worker, const struct osh_letter *letter)
{
	struct osh_view *view, *next;
	struct osh_session *s;

	osh_upstream_pool_leave_address(worker->pool, &letter->address);
	HASH_ITER(hh, worker->views, view, next) {
		DL_FOREACH(view->sessions, s) {
			if (s->upstream)
				osh_upstream_leave_address(s->upstream, &letter->address);
		}
	}
}

static void on_end_flow(struct osh_worker *worker, struct osh_letter *letter)
{
	struct osh_view *view = osh_worker_view(worker, letter->sandbox);

	if (view)
		osh_session_end_flow(view, letter->about.cookie);
}

/* What else it holds needs no farewell: it goes with the process. */
static void on_stop(struct osh_worker *worker)
{
	struct osh_view *view, *next;

	HASH_ITER(hh, worker->views, view, next)
		osh_session_end_unreached(view);
	osh_loop_stop(worker->loop);
}

static void on_flow(struct osh_worker *worker, struct osh_letter *letter)
{
	struct osh_view *view = osh_worker_view(worker, letter->sandbox);

	if (view)
		osh_session_admit(view, letter->fd, &letter->flow);
	else
		osh_close(letter->fd); /* its sandbox went meanwhile */
}

static void open_letter(struct osh_worker *worker, struct osh_letter *letter)
{
	switch (letter->type) {
	case OSH_LETTER_ADD:
		on_add(worker, letter);
		break;
	case OSH_LETTER_REMOVE:
		on_remove(worker, letter);
		break;
	case OSH_LETTER_POLICY:
		on_policy(worker, letter);
		break;
	case OSH_LETTER_VAULT:
		on_vault(worker, letter);
		break;
	case OSH_LETTER_ANSWER:
		on_answer(worker, letter);
		break;
	case OSH_LETTER_END_FLOW:
		on_end_flow(worker, letter);
		break;
	case OSH_LETTER_ADDRESS_GONE:
		on_address_gone(worker, letter);
		break;
	case OSH_LETTER_FLOW:
		on_flow(worker, letter);
		break;
	case OSH_LETTER_STOP:
		on_stop(worker);
		break;
	}
	osh_tenant_unref(letter->tenant);
	osh_snapshot_unref(letter->snapshot);
	osh_vault_box_unref(letter->vault);
	free(letter);
}

static void on_mail(struct osh_io *io, uint32_t events)
{
	struct osh_worker *worker = osh_container_of(io, struct osh_worker, mail_io);
	struct osh_letter *letters, *letter, *next;
	uint64_t count;

	(void)events;
	(void)!read(io->fd, &count, sizeof(count));
	pthread_mutex_lock(&worker->mail_lock);
	letters = worker->mail;
	worker->mail = NULL;
	pthread_mutex_unlock(&worker->mail_lock);
	LL_FOREACH_SAFE(letters, letter, next)
		open_letter(worker, letter);
}

void osh_worker_post(struct osh_worker *worker, struct osh_letter *letter)
{
	uint64_t one = 1;

	pthread_mutex_lock(&worker->mail_lock);
	LL_APPEND(worker->mail, letter);
	pthread_mutex_unlock(&worker->mail_lock);
	(void)!write(worker->mail_io.fd, &one, sizeof(one));
}

/* ---- The thread ------------------------------------------------------------------- */

struct osh_worker *osh_worker_new(struct osh_proxy *proxy, unsigned index, struct osh_ring_writer *ring)
{
	struct osh_worker *worker = calloc(1, sizeof(*worker));

	if (!worker)
		return NULL;
	worker->proxy = proxy;
	worker->index = index;
	worker->ring = ring;
	worker->spare_fd = -1;
	pthread_mutex_init(&worker->mail_lock, NULL);
	worker->loop = osh_loop_new();
	worker->mail_io = (struct osh_io){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.on_ready = on_mail,
	};
	if (!worker->loop || worker->mail_io.fd < 0)
		return NULL; /* the process ends: nothing to take down */
	worker->resolver = osh_resolver_new(worker->loop, proxy->dns_servers);
	worker->pool = osh_upstream_pool_new(worker);
	if (!worker->resolver || !worker->pool || osh_tls_worker_init(worker) < 0)
		return NULL;
	worker->tell.on_expire = on_tell;
	osh_loop_set_batch_end(worker->loop, on_batch_end, worker);
	if (proxy->worker_count > 1) /* one for each processor, unless somebody wants it otherwise */
		osh_loop_set_spin(worker->loop, SPIN_NS);
	if (osh_loop_set(worker->loop, &worker->mail_io, EPOLLIN) < 0)
		return NULL;
	return worker;
}

static void *run(void *context)
{
	struct osh_worker *worker = context;
	int r = osh_loop_run(worker->loop);

	/* A worker that cannot wait for events cannot serve: end the process, the agent
	 * starts another. */
	if (r < 0) {
		osh_error("worker %u: %s", worker->index, strerror(-r));
		_exit(1);
	}
	return NULL;
}

int osh_worker_start(struct osh_worker *worker)
{
	int r = pthread_create(&worker->thread, NULL, run, worker);

	worker->started = r == 0;
	return -r;
}

void osh_worker_stop(struct osh_worker *worker, const struct timespec *until)
{
	struct osh_letter *letter = worker->started ? calloc(1, sizeof(*letter)) : NULL;

	if (!letter)
		return;
	letter->type = OSH_LETTER_STOP;
	osh_worker_post(worker, letter);
	(void)pthread_timedjoin_np(worker->thread, NULL, until);
}
