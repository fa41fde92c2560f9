/* What supervisor.c, which keeps a proxy alive, and supervisor_sandboxes.c, which knows what it
 * has to be told, share. */
#ifndef OSH_PROXY_SUPERVISOR_PARTS_H
#define OSH_PROXY_SUPERVISOR_PARTS_H

#include "proxy/channel.h"
#include "proxy/rings.h"
#include "proxy/supervisor.h"

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
	bool host_net;
	int ca_fd, policy_fd, vault_fd; /* sealed memfds, -1 when not set yet */
	uint32_t generation;
	uint64_t serial;
};

struct osh_supervisor {
	struct osh_supervisor_options options;
	char dns_servers[512];
	int upstream_ca_fd, via_fd;
	unsigned workers;
	struct osh_rings *rings;
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

/* ---- supervisor.c ---------------------------------------------------------------------- */

/* Send to the proxy that lives; one that takes no messages is replaced. Returns 0. */
int osh_supervisor_send(struct osh_supervisor *supervisor, const struct osh_channel_message *message,
			const int *fds, size_t fd_count);

/* ---- supervisor_sandboxes.c ------------------------------------------------------------ */

/* Tell a fresh proxy of every sandbox. */
void osh_supervisor_tell_sandboxes(struct osh_supervisor *supervisor);
void osh_supervisor_forget_sandboxes(struct osh_supervisor *supervisor);
/* Every pending set of this sandbox up to `serial` is in force: a newer snapshot stands for the
 * older ones. */
void osh_supervisor_complete(struct osh_supervisor *supervisor, uint64_t sandbox, uint64_t serial,
			     int result);

#endif
