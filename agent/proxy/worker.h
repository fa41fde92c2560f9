/* The data plane's inside: what the files of this folder share.
 *
 *   proxy   one per process: maps, settings, the workers
 *   tenant  one sandbox, shared by all workers: sockets, CA; never changes
 *   view    a tenant as one worker sees it: its policy snapshot, vault, sessions
 *   worker  one thread, one loop; owns everything that its sessions touch
 *
 * A view belongs to its worker's thread alone, so nothing on the data path locks.
 * The main thread, and a worker that has a connection for another one, reach a worker only
 * through its mailbox. */
#ifndef OSH_PROXY_WORKER_H
#define OSH_PROXY_WORKER_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/table.h"
#include "credential/vault.h"
#include "kernel/kernel.h"
#include "openshell/sockets.h"
#include "policy/policy.h"
#include "proxy/ca.h"
#include "proxy/channel.h"
#include "proxy/meter.h"
#include "proxy/supervisor.h"
#include "proxy/via.h"
#include "verdict/ring.h"

struct osh_dns;
struct osh_http2_client;
struct osh_in_force;
struct osh_known;
struct osh_resolver;
struct osh_session;
struct osh_upstream_pool;
struct osh_worker;

struct osh_proxy {
	struct osh_maps maps;
	int agent_eventfd;      /* raised when a worker published verdicts */
	int channel_fd;
	char dns_servers[512];
	struct osh_via via;     /* the proxy before the internet */
	X509_STORE *trust;      /* upstream anchors; shared, OpenSSL locks it */
	unsigned char ticket_keys[80]; /* of sessions with sandboxes: name, HMAC, AES (OpenSSL's order) */
	unsigned worker_count;
	struct osh_worker *workers[OSH_WORKERS_MAX];
	struct osh_in_force *in_force; /* hash: the main thread's, main.c */
};

/* A compiled policy in shared memory, counted by the workers that use it. */
struct osh_snapshot {
	atomic_uint refs;
	void *memory;
	size_t len;
	struct osh_policy policy;
	struct osh_meters meters;
	uint32_t generation;
};

struct osh_vault_box {
	atomic_uint refs;
	struct osh_vault *vault;
};

struct osh_tenant {
	atomic_uint refs;
	uint64_t id;
	char name[OSH_NAME_MAX];
	bool is_new; /* the kernel's maps hold nothing of it when it gets here */
	bool host_net; /* attached, in our network: its loopback is ours, and called localhost */
	atomic_uint ready_count; /* workers that have a policy for it */
	struct osh_sandbox_sockets sockets; /* owned */
	struct osh_ca ca;
};

/* One listening socket in one worker's loop. */
struct osh_listener {
	struct osh_io io;
	struct osh_timer retry; /* listens again after descriptors had run out */
	struct osh_view *view;
};

struct osh_view {
	struct osh_worker *worker;
	struct osh_tenant *tenant;      /* counted */
	struct osh_snapshot *snapshot;  /* counted; NULL: deny everything */
	struct osh_vault_box *vault;    /* counted; NULL: no credentials */
	struct osh_listener tcp4, tcp6;
	struct osh_dns *dns;            /* only in the worker that answers this tenant's DNS */
	struct osh_session *sessions;   /* doubly linked */
	unsigned session_count;
	size_t held_bytes;              /* bodies and texts under inspection, proxy/inspect.h */
	bool reported_full;             /* a refusal for want of room was recorded; until there is room */
	struct osh_known *known;        /* hash: what the agent told of executables, proxy/facts.h */
	unsigned known_version;         /* counts changes of it */
	unsigned questions;             /* that the agent has not answered */
	unsigned asking;                /* sessions that wait for an answer */
	UT_hash_handle hh;              /* by tenant->id */
};

/* One executable of a lineage. */
struct osh_node {
	uint32_t id;
	uint32_t flags; /* OSH_EXE_* */
};

/* Who is behind an identity number of the kernel; cached per worker. */
struct osh_who {
	uint32_t id;
	uint32_t flags;
	char binary[OSH_PATH_MAX];
	char *lineage;                  /* "a <- b"; owned */
	struct osh_str *ancestors;      /* owned, into ancestor_text */
	size_t ancestor_count;
	char *ancestor_text;            /* owned */
	struct osh_node *nodes;         /* owned: the program itself, then its ancestors */
	struct osh_exe_facts *facts;    /* owned, of each node; proxy/facts.c fills them in */
	unsigned facts_version;         /* of view->known that they are from; 0: of none */
	bool facts_are_settled;         /* also what was told under an earlier policy */
	UT_hash_handle hh;
};

/* How busy a worker is, proxy/spread.h. */
struct osh_load {
	uint64_t measured_ms, used_ms;       /* when, and the thread's processor time then; its own */
	atomic_uint_fast64_t busy_until_ms;  /* of the loops' clock; the others look at it */
	atomic_uint taken;                   /* connections since it was measured */
};

struct osh_worker {
	struct osh_proxy *proxy;
	unsigned index;
	pthread_t thread;
	bool started;
	struct osh_loop *loop;
	struct osh_view *views;         /* hash */
	struct osh_who *whos;           /* hash, bounded */
	struct osh_resolver *resolver;
	struct osh_upstream_pool *pool;
	struct osh_http2_client *http2_clients; /* doubly linked; the pool shares some of them */
	SSL_CTX *server_ctx, *client_ctx;
	EVP_PKEY *leaf_key;
	struct osh_leaf *leaves, *refused_leaves; /* hashes, bounded */
	struct osh_tls_session *tls_sessions; /* hash, bounded: of servers */
	struct osh_ring_writer *ring;
	int spare_fd;                   /* given up to refuse with when descriptors run out, accept.c */
	unsigned questions;             /* of all views */
	unsigned published;             /* verdicts that the agent was not told of */
	uint64_t told_ms;
	struct osh_timer tell;
	struct osh_load load;
	/* Mailbox: letters from the main thread and other workers. */
	pthread_mutex_t mail_lock;
	struct osh_letter *mail;
	struct osh_io mail_io;          /* eventfd */
};

enum osh_letter_type {
	OSH_LETTER_ADD,
	OSH_LETTER_REMOVE,
	OSH_LETTER_POLICY,
	OSH_LETTER_VAULT,
	OSH_LETTER_ANSWER,
	OSH_LETTER_END_FLOW,
	OSH_LETTER_ADDRESS_GONE,
	OSH_LETTER_FLOW,
	OSH_LETTER_STOP,
};

/* Shared by the letters of one message: the last worker to act on it answers. */
struct osh_errand {
	atomic_uint left;
	uint64_t sandbox;
	uint64_t serial;
};

struct osh_letter {
	struct osh_letter *next;
	enum osh_letter_type type;
	uint64_t sandbox;
	struct osh_tenant *tenant;      /* ADD: counted for the receiver */
	struct osh_snapshot *snapshot;  /* POLICY: counted */
	struct osh_vault_box *vault;    /* VAULT: counted */
	struct osh_errand *errand;      /* POLICY */
	struct osh_question_about about; /* ANSWER, END_FLOW */
	struct osh_exe_facts facts;     /* ANSWER */
	struct in6_addr address;        /* ADDRESS_GONE */
	int fd;                         /* FLOW: owned by the receiver */
	struct osh_flow flow;           /* FLOW */
};

/* Make a worker whose thread is not running yet. The ring is taken over. NULL when
 * memory is out. */
struct osh_worker *osh_worker_new(struct osh_proxy *proxy, unsigned index, struct osh_ring_writer *ring);
int osh_worker_start(struct osh_worker *worker);
/* From another thread: let it put on record what it has begun, and wait for its end, but no longer
 * than `until` (CLOCK_REALTIME). Nothing happens to one that was not started. */
void osh_worker_stop(struct osh_worker *worker, const struct timespec *until);
/* From any thread: hand a letter over (owned by the worker from now on). Those of one thread
 * arrive in order. */
void osh_worker_post(struct osh_worker *worker, struct osh_letter *letter);

struct osh_tenant *osh_tenant_ref(struct osh_tenant *tenant);
void osh_tenant_unref(struct osh_tenant *tenant);
struct osh_snapshot *osh_snapshot_ref(struct osh_snapshot *snapshot);
void osh_snapshot_unref(struct osh_snapshot *snapshot);
struct osh_vault_box *osh_vault_box_ref(struct osh_vault_box *box);
void osh_vault_box_unref(struct osh_vault_box *box);

/* A sandbox as this worker sees it; NULL: it has none of that number. */
struct osh_view *osh_worker_view(struct osh_worker *worker, uint64_t sandbox);

/* Who this identity is; NULL when the kernel does not know it (any more). Valid until
 * the current batch of events ends. */
struct osh_who *osh_worker_who(struct osh_worker *worker, uint32_t identity);

/* Record a decision; fills in time, sandbox and revision from the view. */
void osh_worker_record(struct osh_view *view, struct osh_verdict *verdict);

#endif
