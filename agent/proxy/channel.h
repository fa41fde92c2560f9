/* Messages between the agent and its proxy: one SOCK_SEQPACKET socket, one fixed
 * struct per message, descriptors by SCM_RIGHTS. What is large (snapshots, keys,
 * secrets) travels as a sealed memfd. */
#ifndef OSH_PROXY_CHANNEL_H
#define OSH_PROXY_CHANNEL_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fd.h"
#include "openshell/limits.h"
#include "policy/policy.h"
#include "proxy/supervisor.h"

#define OSH_CHANNEL_FD 3
#define OSH_LOCK_FD 4 /* open for as long as the proxy lives: osh_kernel_memory_lock */

enum osh_channel_type {
	/* agent to proxy */
	OSH_CHANNEL_HELLO = 1, /* fds: maps (OSH_MAPS_COUNT), eventfd, upstream CA text, via.h */
	OSH_CHANNEL_RING,      /* fds: one verdict ring; sent once per worker */
	OSH_CHANNEL_START,     /* all rings are there: start the workers */
	OSH_CHANNEL_ADD,       /* fds: sockets (OSH_SANDBOX_SOCKETS_COUNT), CA (certificate, key) */
	OSH_CHANNEL_REMOVE,
	OSH_CHANNEL_POLICY,    /* fds: snapshot image */
	OSH_CHANNEL_VAULT,     /* fds: encoded vault */
	OSH_CHANNEL_ANSWER,    /* to a question, from whose message it is made */
	OSH_CHANNEL_END_FLOW,  /* the one with about.cookie */
	OSH_CHANNEL_ADDRESS_GONE, /* `address`, of every sandbox */
	/* proxy to agent */
	OSH_CHANNEL_DONE,      /* every worker enforces snapshot `serial` of `sandbox` */
	OSH_CHANNEL_QUESTION,  /* about an identity of `sandbox`; every one is answered */
	OSH_CHANNEL_TYPE_COUNT,
};

struct osh_channel_message {
	uint32_t type;
	uint32_t generation;
	uint64_t sandbox;
	uint64_t serial;
	int32_t result;
	uint32_t workers;
	uint32_t log_level;
	uint32_t is_new;                 /* ADD: nothing of it is in the maps */
	uint32_t host_net;               /* ADD: its loopback is the proxy's, too */
	uint32_t pad;
	struct osh_question_about about; /* QUESTION, ANSWER; END_FLOW */
	struct osh_exe_facts facts;      /* ANSWER */
	struct in6_addr address;         /* ADDRESS_GONE */
	char name[OSH_NAME_MAX];
	char dns_servers[512]; /* comma separated; empty: the system's */
};

/* Both return 0 or -errno; recv gives -ECONNRESET when the peer is gone and -EBADMSG
 * for a message that is not one. */
int osh_channel_send(int sock, const struct osh_channel_message *message, const int *fds,
		     size_t fd_count);
int osh_channel_recv(int sock, struct osh_channel_message *message, int fds[static OSH_FDS_MAX],
		     size_t *ret_fd_count);

#endif
