#include "control/refusals.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/table.h"
#include "control/agent.h"
#include "control/lifecycle.h"
#include "control/recorder.h"
#include "kernel/kernel.h"
#include "openshell/verdict.h"
#include "proxy/supervisor.h"

/* Different refusals told one by one within a second, over all and per sandbox; what is
 * beyond is told as one number per sandbox. */
#define KINDS_MAX 2048
#define KINDS_PER_SANDBOX_MAX 256
#define SANDBOXES_MAX 1024
#define WINDOW_MS 1000

/* What makes two refusals equal. No holes: compared as bytes. */
struct kind_key {
	uint64_t sandbox;
	struct osh_addr dst;
	uint32_t identity;
	uint32_t reason;
	uint32_t sock_type;
	uint16_t dst_port_host;
	uint8_t ip_protocol;
	uint8_t family;
	char unix_name[OSH_UNIX_NAME_MAX]; /* of struct osh_unix_event */
};

struct kind {
	UT_hash_handle hh;
	struct kind_key key;
	struct osh_event last;
	uint64_t held_back; /* beyond the first of this window */
};

struct tally {
	UT_hash_handle hh;
	uint64_t sandbox;
	unsigned kinds;
	uint64_t beyond; /* refusals of kinds beyond the bound */
};

struct osh_refusals {
	struct osh_agent *agent;
	struct kind *kinds;
	struct tally *tallies;
	struct osh_timer window;
	uint64_t held;    /* told so far by no record */
	uint64_t in_hand; /* these, and what is recorded and not yet in the journal */
};

/* ---- Words ---------------------------------------- */

static uint32_t low_word_host(const struct osh_addr *addr)
{
	return ntohl(addr->word_be[3]);
}

static bool is_ipv4(const struct osh_addr *addr)
{
	return addr->word_be[0] == 0 && addr->word_be[1] == 0 && addr->word_be[2] == htonl(0xffff);
}

static bool is_synthetic(const struct osh_addr *addr)
{
	bool is_twin = addr->word_be[0] == htonl(OSH_SYNTH6_WORD0) && !addr->word_be[1] &&
		       !addr->word_be[2];

	return (is_ipv4(addr) || is_twin) &&
	       (low_word_host(addr) & OSH_SYNTH_MASK) == OSH_SYNTH_PREFIX;
}

static void address_text(const struct osh_addr *addr, char text[static INET6_ADDRSTRLEN])
{
	if (is_ipv4(addr))
		inet_ntop(AF_INET, &addr->word_be[3], text, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, addr->word_be, text, INET6_ADDRSTRLEN);
}

/* The name that was leased behind a synthetic address, else the address. */
static void host_text(const struct osh_maps *maps, const struct osh_event *event,
		      char text[static OSH_HOST_MAX])
{
	struct osh_lease_key key = { .sandbox = event->sandbox,
				     .addr_host = low_word_host(&event->dst) };
	struct osh_lease lease;

	if (is_synthetic(&event->dst) && osh_maps_lease_get(maps, &key, &lease) == 0) {
		snprintf(text, OSH_HOST_MAX, "%.*s", OSH_HOST_MAX - 1, lease.host);
		return;
	}
	address_text(&event->dst, text);
}

static const char *identity_path(const struct osh_identity *identity,
				 char path[static OSH_PATH_MAX + 16])
{
	if (identity->flags & OSH_EXE_NO_PATH)
		return "(path too long)";
	snprintf(path, OSH_PATH_MAX + 16, "%.*s%s", OSH_PATH_MAX - 1, identity->path,
		 identity->flags & OSH_EXE_UNLINKED ? " (no file)" : "");
	return path;
}

struct words {
	char binary[OSH_PATH_MAX + 16];
	char lineage[OSH_VERDICT_BYTES_MAX];
	char host[OSH_HOST_MAX];
	char reason[256];
};

static void append_ancestor(struct words *words, size_t *used, const struct osh_identity *identity)
{
	char path[OSH_PATH_MAX + 16];
	int n = snprintf(words->lineage + *used, sizeof(words->lineage) - *used, "%s%s",
			 *used ? " <- " : "", identity_path(identity, path));

	if (n > 0)
		*used += (size_t)n;
	if (*used >= sizeof(words->lineage))
		*used = sizeof(words->lineage) - 1;
}

static void tell_identity(const struct osh_maps *maps, uint32_t id, struct words *words)
{
	struct osh_identity identity;
	char path[OSH_PATH_MAX + 16];
	size_t used = 0;

	words->binary[0] = '\0';
	words->lineage[0] = '\0';
	if (!id || osh_maps_identity(maps, id, &identity) < 0)
		return;
	snprintf(words->binary, sizeof(words->binary), "%s", identity_path(&identity, path));
	for (int depth = 0; depth < OSH_LINEAGE_MAX && identity.parent; depth++) {
		if (osh_maps_identity(maps, identity.parent, &identity) < 0)
			break;
		append_ancestor(words, &used, &identity);
	}
}

static const char *protocol_name(const struct osh_event *event)
{
	if (event->family == AF_UNIX)
		return "unix";
	switch (event->ip_protocol) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return "icmp";
	default:
		return "socket";
	}
}

static const char *read_unix_name(const struct osh_event *event)
{
	return osh_container_of(event, const struct osh_unix_event, event)->name;
}

/* The count stands for this window's equal refusals beyond the first. */
static void tell_reason(const struct osh_event *event, const char *unix_name, uint64_t more, struct words *words)
{
	const char *text = osh_kernel_reason_text((enum osh_kernel_reason)event->reason);
	bool is_abstract = !unix_name[0];
	size_t used;

	if (event->reason == OSH_KERNEL_SOCKET_TYPE)
		snprintf(words->reason, sizeof(words->reason),
			 "%s (family %u, type %u, protocol %u)", text, event->family,
			 event->sock_type, event->ip_protocol);
	else if (event->reason == OSH_KERNEL_UNIX_SOCKET)
		snprintf(words->reason, sizeof(words->reason), "%s (it is bound to %s%.*s)", text,
			 is_abstract ? "@" : "", OSH_UNIX_NAME_MAX - 1, unix_name + is_abstract);
	else
		snprintf(words->reason, sizeof(words->reason), "%s", text);
	used = strlen(words->reason);
	if (more)
		snprintf(words->reason + used, sizeof(words->reason) - used,
			 " (%llu more within a second)", (unsigned long long)more);
}

/* The kernel's clock is CLOCK_BOOTTIME; people's is CLOCK_REALTIME. */
static uint64_t wall_time_ns(uint64_t boot_ns)
{
	struct timespec wall, boot;
	uint64_t now_boot_ns;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	now_boot_ns = (uint64_t)boot.tv_sec * 1000000000u + (uint64_t)boot.tv_nsec;
	if (boot_ns > now_boot_ns)
		boot_ns = now_boot_ns;
	return (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec -
	       (now_boot_ns - boot_ns);
}

static bool is_only_told(const struct osh_event *event)
{
	return event->reason == OSH_KERNEL_SHARED_FLOW || event->reason == OSH_KERNEL_OUTSIDE_SOCKET;
}

/* A socket that was made or received has none, a Unix socket a path. */
static bool is_about_address(const struct osh_event *event)
{
	return event->reason != OSH_KERNEL_SOCKET_TYPE && event->reason != OSH_KERNEL_WRONG_CGROUP &&
	       event->reason != OSH_KERNEL_OTHERS_PLACE && event->reason != OSH_KERNEL_BPF && event->family != AF_UNIX &&
	       (event->reason != OSH_KERNEL_WRONG_NETNS || event->ip_protocol != 0);
}

static void record(struct osh_refusals *refusals, const struct osh_event *event, const char *unix_name,
		   uint64_t more)
{
	const struct osh_maps *maps = osh_kernel_maps(refusals->agent->kernel);
	const struct osh_agent_sandbox *sandbox =
		osh_lifecycle_find_id(refusals->agent, event->sandbox);
	struct words words;
	struct osh_verdict verdict = {
		.permissive = sandbox && sandbox->permissive,
		.time_ns = wall_time_ns(event->time_ns),
		.sandbox_id = event->sandbox,
		.decision = is_only_told(event) ? OSH_VERDICT_AUDIT : OSH_VERDICT_DENY,
		.engine = event->reason == OSH_KERNEL_AGENT_ADDRESS ? OSH_ENGINE_BYPASS
								    : OSH_ENGINE_KERNEL,
		.pid = event->pid,
		.dst_port_host = event->dst_port_host,
		.binary = words.binary,
		.lineage = words.lineage,
		.host = words.host,
		.protocol = protocol_name(event),
		.reason = words.reason,
	};

	tell_identity(maps, event->identity, &words);
	tell_reason(event, unix_name, more, &words);
	if (!is_about_address(event))
		verdict.host = NULL; /* none was dialled */
	else
		host_text(maps, event, words.host);
	osh_recorder_verdict(refusals->agent->recorder, &verdict, more ? more : 1);
}

static void record_beyond(struct osh_refusals *refusals, const struct tally *tally)
{
	char reason[128];
	struct osh_verdict verdict = {
		.sandbox_id = tally->sandbox,
		.decision = OSH_VERDICT_DENY,
		.engine = OSH_ENGINE_KERNEL,
		.protocol = "socket",
		.reason = reason,
	};

	snprintf(reason, sizeof(reason),
		 "%llu more refusals by the kernel within a second, of too many kinds",
		 (unsigned long long)tally->beyond);
	osh_recorder_verdict(refusals->agent->recorder, &verdict, tally->beyond);
}

/* ---- What would be lost by our death ---------------------------------------- */

static void note_in_hand(struct osh_refusals *refusals, uint64_t count)
{
	refusals->in_hand = count;
	osh_recorder_note_refusals(refusals->agent->recorder, count);
}

void osh_refusals_written(struct osh_refusals *refusals)
{
	if (refusals->in_hand != refusals->held)
		note_in_hand(refusals, refusals->held);
}

/* Killed between writing and noting it, the agent before had fewer in hand than it noted. */
static void record_inherited(struct osh_refusals *refusals)
{
	char reason[128];
	struct osh_verdict verdict = {
		.decision = OSH_VERDICT_DENY,
		.engine = OSH_ENGINE_KERNEL,
		.protocol = "socket",
		.reason = reason,
	};

	refusals->in_hand = osh_recorder_noted_refusals(refusals->agent->recorder);
	if (!refusals->in_hand)
		return;
	snprintf(reason, sizeof(reason),
		 "up to %llu refusals by the kernel are known by number only: the agent before was killed",
		 (unsigned long long)refusals->in_hand);
	osh_warning("%s", reason);
	osh_recorder_verdict(refusals->agent->recorder, &verdict, refusals->in_hand);
}

/* ---- Holding back ---------------------------------------- */

static struct tally *get_tally(struct osh_refusals *refusals, uint64_t sandbox)
{
	struct tally *tally;

	HASH_FIND(hh, refusals->tallies, &sandbox, sizeof(sandbox), tally);
	if (tally || HASH_COUNT(refusals->tallies) >= SANDBOXES_MAX)
		return tally;
	tally = calloc(1, sizeof(*tally));
	if (!tally)
		return NULL;
	tally->sandbox = sandbox;
	HASH_ADD(hh, refusals->tallies, sandbox, sizeof(sandbox), tally);
	return tally;
}

static struct kind *add_kind(struct osh_refusals *refusals, struct tally *tally,
			     const struct kind_key *key)
{
	struct kind *kind;

	if (tally->kinds >= KINDS_PER_SANDBOX_MAX || HASH_COUNT(refusals->kinds) >= KINDS_MAX)
		return NULL;
	kind = calloc(1, sizeof(*kind));
	if (!kind)
		return NULL;
	kind->key = *key;
	HASH_ADD(hh, refusals->kinds, key, sizeof(*key), kind);
	tally->kinds++;
	return kind;
}

static void on_event(void *context, const struct osh_event *event)
{
	struct osh_refusals *refusals = context;
	struct kind_key key = {
		.sandbox = event->sandbox,
		.dst = event->dst,
		.identity = event->identity,
		.reason = event->reason,
		.sock_type = event->sock_type,
		.dst_port_host = event->dst_port_host,
		.ip_protocol = event->ip_protocol,
		.family = event->family,
	};
	struct tally *tally = get_tally(refusals, event->sandbox);
	struct kind *kind;

	if (event->reason == OSH_KERNEL_UNIX_SOCKET)
		memcpy(key.unix_name, read_unix_name(event), sizeof(key.unix_name));
	note_in_hand(refusals, refusals->in_hand + 1);
	if (event->reason == OSH_KERNEL_SHARED_FLOW)
		osh_supervisor_flow_end(refusals->agent->supervisor, event->sandbox, event->cookie);

	if (!refusals->window.slot)
		(void)osh_loop_timer_set(refusals->agent->loop, &refusals->window, WINDOW_MS);
	HASH_FIND(hh, refusals->kinds, &key, sizeof(key), kind);
	if (kind) {
		kind->last = *event;
		kind->held_back++;
		refusals->held++;
		return;
	}
	if (tally && !add_kind(refusals, tally, &key)) {
		tally->beyond++;
		refusals->held++;
		return;
	}
	record(refusals, event, key.unix_name, 0);
}

void osh_refusals_flush(struct osh_refusals *refusals)
{
	struct kind *kind, *next_kind;
	struct tally *tally, *next_tally;

	HASH_ITER(hh, refusals->kinds, kind, next_kind) {
		if (kind->held_back)
			record(refusals, &kind->last, kind->key.unix_name, kind->held_back);
		HASH_DEL(refusals->kinds, kind);
		free(kind);
	}
	HASH_ITER(hh, refusals->tallies, tally, next_tally) {
		if (tally->beyond)
			record_beyond(refusals, tally);
		HASH_DEL(refusals->tallies, tally);
		free(tally);
	}
	refusals->held = 0;
}

static void on_window_end(struct osh_timer *timer)
{
	osh_refusals_flush(osh_container_of(timer, struct osh_refusals, window));
}

int osh_refusals_open(struct osh_agent *agent, struct osh_refusals **ret_refusals,
		      struct osh_err *err)
{
	struct osh_refusals *refusals = calloc(1, sizeof(*refusals));
	int r;

	if (!refusals)
		return osh_err_sys(err, ENOMEM, "cannot watch the kernel's refusals");
	refusals->agent = agent;
	refusals->window.on_expire = on_window_end;
	r = osh_kernel_watch(agent->kernel, agent->loop, on_event, refusals);
	if (r < 0) {
		free(refusals);
		return osh_err_sys(err, -r, "cannot watch the kernel's refusals");
	}
	record_inherited(refusals);
	*ret_refusals = refusals;
	return 0;
}

void osh_refusals_close(struct osh_refusals *refusals)
{
	if (!refusals)
		return;
	osh_loop_timer_cancel(refusals->agent->loop, &refusals->window);
	osh_refusals_flush(refusals);
	osh_recorder_flush(refusals->agent->recorder);
	osh_refusals_written(refusals);
	free(refusals);
}
