#include "kernel/kernel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "base/mem.h"
#include "kernel/install.h"
#include "kernel/pins.h"

/* Records handled at one wake-up, so that a sandbox which is refused faster than we can
 * write it down does not hold up the rest of the loop. */
#define RECORDS_PER_WAKE 1024
/* Whatever came without a wake-up came within this of one: seen when we look again. */
#define LOOK_AGAIN_MS (OSH_EVENT_WAKE_MS + 2)
/* A purge goes through all tables, for one removed sandbox as for many: it waits for others. */
#define PURGE_AFTER_MS 50
#define PURGE_AGAIN_MS 1000 /* after one that failed */
#define REMOVED_MAX 64

struct osh_kernel {
	struct osh_install install;
	struct osh_maps maps;             /* borrowed from install */
	struct osh_kernel_feature features[OSH_FEATURES_MAX];

	uint64_t removed[REMOVED_MAX];    /* sandboxes, of which the tables still hold something */
	size_t removed_count;
	struct osh_timer purge;           /* armed while there are any, while watching */

	struct osh_loop *loop;            /* while watching */
	struct osh_io io;
	struct osh_timer again;           /* for what came without waking us */
	struct ring_buffer *ring;         /* owned */
	unsigned records_left;            /* of RECORDS_PER_WAKE */
	void (*on_event)(void *context, const struct osh_event *event);
	void *context;
};

static int map_of(const struct osh_kernel *kernel, enum osh_map map)
{
	return kernel->install.map_fds[map];
}

/* ---- What sandboxes leave in the tables -------------------------------------------------- */

static int purge(struct osh_kernel *kernel, bool (*goes)(const void *context, uint64_t sandbox), const void *context)
{
	static const struct {
		enum osh_map map;
		bool in_value; /* where the sandbox's id stands */
	} owned[] = {
		{ OSH_MAP_USAGE, false }, /* first: without it no task's entry is made */
		{ OSH_MAP_TASKS, true },	 { OSH_MAP_IDENTITIES, true },
		{ OSH_MAP_IDENTITY_IDS, false }, { OSH_MAP_FLOWS, false },
		{ OSH_MAP_REACHABLE, false },	 { OSH_MAP_DENIALS, false },
		{ OSH_MAP_LEASES, false },	 { OSH_MAP_UNIX_SOCKETS, false },
	};

	int result = 0;

	for (size_t i = 0; i < OSH_COUNT_OF(owned); i++) {
		int r = osh_maps_purge(map_of(kernel, owned[i].map), owned[i].in_value, goes, context);

		if (r < 0 && result == 0)
			result = r;
	}
	if (result < 0)
		osh_warning("what removed sandboxes left in the kernel's tables stays there for now: %s", strerror(-result));
	return result;
}

static bool is_removed(const void *context, uint64_t sandbox)
{
	const struct osh_kernel *kernel = context;

	for (size_t i = 0; i < kernel->removed_count; i++) {
		if (kernel->removed[i] == sandbox)
			return true;
	}
	return false;
}

int osh_kernel_purge(struct osh_kernel *kernel)
{
	int r = kernel->removed_count ? purge(kernel, is_removed, kernel) : 0;

	if (r == 0)
		kernel->removed_count = 0;
	if (kernel->ring && r == 0)
		osh_loop_timer_cancel(kernel->loop, &kernel->purge);
	return r;
}

static void on_purge(struct osh_timer *timer)
{
	struct osh_kernel *kernel = osh_container_of(timer, struct osh_kernel, purge);

	if (osh_kernel_purge(kernel) < 0)
		(void)osh_loop_timer_set(kernel->loop, timer, PURGE_AGAIN_MS);
}

/* A sandbox that was stopped a moment ago: nothing of then may count, nor go once it has begun anew. */
static int begin_anew(struct osh_kernel *kernel, uint64_t sandbox)
{
	return is_removed(kernel, sandbox) ? osh_kernel_purge(kernel) : 0;
}

static bool is_stranger(const void *context, uint64_t sandbox)
{
	const struct osh_kernel *kernel = context;
	struct osh_sandbox value;

	return bpf_map_lookup_elem(kernel->maps.sandboxes, &sandbox, &value) == -ENOENT;
}

/* An agent that was killed may have removed sandboxes, and not yet what the tables hold of them.
 * Connections that its listener never accepted died with it, whosever they are. */
static void forget_strangers(struct osh_kernel *kernel)
{
	(void)osh_maps_purge(kernel->maps.flows, false, NULL, NULL);
	(void)purge(kernel, is_stranger, kernel);
}

/* ---- Open, close ------------------------------------------------------------------- */

static void borrow_maps(struct osh_kernel *kernel)
{
	kernel->maps = (struct osh_maps){
		.sandboxes = map_of(kernel, OSH_MAP_SANDBOXES),
		.flows = map_of(kernel, OSH_MAP_FLOWS),
		.identities = map_of(kernel, OSH_MAP_IDENTITIES),
		.leases = map_of(kernel, OSH_MAP_LEASES),
		.reachable = map_of(kernel, OSH_MAP_REACHABLE),
		.denials = map_of(kernel, OSH_MAP_DENIALS),
	};
}

int osh_kernel_open(const struct osh_kernel_options *options, struct osh_kernel **ret_kernel,
		    struct osh_err *err)
{
	struct osh_kernel *kernel = calloc(1, sizeof(*kernel));
	int r;

	if (!kernel)
		return osh_err_sys(err, ENOMEM, "cannot start");
	osh_install_init(&kernel->install);
	r = osh_install_open(&kernel->install, options, err);
	if (r < 0) {
		osh_install_done(&kernel->install);
		free(kernel);
		return r;
	}
	borrow_maps(kernel);
	kernel->purge.on_expire = on_purge;
	if (kernel->install.has_old_maps)
		forget_strangers(kernel);
	*ret_kernel = kernel;
	return 0;
}

static void stop_watching(struct osh_kernel *kernel)
{
	(void)osh_kernel_purge(kernel);
	if (!kernel->ring)
		return;
	osh_loop_timer_cancel(kernel->loop, &kernel->again);
	osh_loop_remove(kernel->loop, &kernel->io);
	ring_buffer__free(osh_take(kernel->ring));
}

void osh_kernel_close(struct osh_kernel *kernel)
{
	if (!kernel)
		return;
	stop_watching(kernel);
	osh_install_done(&kernel->install);
	free(kernel);
}

void osh_kernel_uninstall(struct osh_kernel *kernel)
{
	if (!kernel)
		return;
	stop_watching(kernel);
	osh_install_remove(&kernel->install);
	free(kernel);
}

int osh_kernel_sweep(const char *pin_dir, const uint64_t *sandboxes, size_t count, struct osh_err *err)
{
	return osh_install_sweep(pin_dir, sandboxes, count, err);
}

/* ---- Sandboxes ---------------------------------------------------------------------- */

int osh_kernel_sandbox_add(struct osh_kernel *kernel, uint64_t sandbox, bool writes_system)
{
	struct osh_usage usage = { 0 };
	struct osh_sandbox value = {
		.generation = 1,
		.flags = writes_system ? OSH_SANDBOX_WRITES_SYSTEM : 0,
		.gateway_host = OSH_GATEWAY,
	};
	int r = begin_anew(kernel, sandbox);

	if (r == 0)
		r = bpf_map_update_elem(map_of(kernel, OSH_MAP_USAGE), &sandbox, &usage, BPF_NOEXIST);
	if (r < 0 && r != -EEXIST)
		return r;
	r = bpf_map_update_elem(kernel->maps.sandboxes, &sandbox, &value, BPF_NOEXIST);
	return r == -EEXIST ? 0 : r;
}

static int find_level(struct osh_kernel *kernel, unsigned depth, uint32_t *ret_level)
{
	struct osh_settings settings;
	uint32_t zero = 0;
	int r = bpf_map_lookup_elem(map_of(kernel, OSH_MAP_SETTINGS), &zero, &settings);

	if (r < 0)
		return r;
	*ret_level = settings.root_level - 1 + depth; /* our root lies just below the top */
	return *ret_level > OSH_ATTACH_LEVEL_MAX ? -E2BIG : 0;
}

/* Known once, a depth stays known while this agent's programs are in force: it costs the exec
 * hook a look. */
static int note_level(struct osh_kernel *kernel, unsigned depth)
{
	uint32_t zero = 0, levels, level;
	int r = find_level(kernel, depth, &level);

	if (r == 0)
		r = bpf_map_lookup_elem(map_of(kernel, OSH_MAP_ATTACHED_LEVELS), &zero, &levels);
	if (r < 0)
		return r;
	levels |= 1u << level;
	return bpf_map_update_elem(map_of(kernel, OSH_MAP_ATTACHED_LEVELS), &zero, &levels, BPF_ANY);
}

int osh_kernel_attachment_add(struct osh_kernel *kernel, const struct osh_kernel_attachment *attachment)
{
	const struct osh_usage usage = { 0 };
	const struct osh_sandbox value = {
		.generation = 1,
		.flags = OSH_SANDBOX_ATTACHED | (attachment->host_net ? OSH_SANDBOX_HOST_NET : 0),
		.netns = attachment->netns,
		.gateway_host = attachment->gateway_host,
	};
	int r = begin_anew(kernel, attachment->sandbox);

	if (r == 0)
		r = note_level(kernel, attachment->depth);
	if (r == 0)
		r = bpf_map_update_elem(map_of(kernel, OSH_MAP_USAGE), &attachment->sandbox, &usage, BPF_NOEXIST);
	if (r < 0 && r != -EEXIST)
		return r;
	r = bpf_map_update_elem(kernel->maps.sandboxes, &attachment->sandbox, &value, BPF_NOEXIST);
	return r == -EEXIST ? 0 : r;
}

int osh_kernel_late(struct osh_kernel *kernel, const struct osh_kernel_attachment *attachment)
{
	struct osh_late whose = { .sandbox = attachment->sandbox };
	uint32_t zero = 0;
	int r = find_level(kernel, attachment->depth, &whose.level);

	if (r == 0)
		r = bpf_map_update_elem(map_of(kernel, OSH_MAP_LATE), &zero, &whose, BPF_ANY);
	return r < 0 ? r : osh_install_run_late(&kernel->install);
}

/* What the hooks know of one that is known already stays. */
int osh_kernel_own(struct osh_kernel *kernel, uint64_t sandbox, int fd)
{
	const struct osh_socket own = { .sandbox = sandbox };
	struct osh_socket known;
	int map = map_of(kernel, OSH_MAP_SOCKETS);

	if (bpf_map_lookup_elem(map, &fd, &known) == 0 && known.sandbox == sandbox)
		return 0;
	return bpf_map_update_elem(map, &fd, &own, BPF_ANY);
}

int osh_kernel_keep(struct osh_kernel *kernel, uint64_t sandbox, int fd)
{
	const struct osh_socket kept = { .sandbox = sandbox, .action = OSH_SOCKET_KEPT };

	return bpf_map_update_elem(map_of(kernel, OSH_MAP_SOCKETS), &fd, &kept, BPF_ANY);
}

int osh_kernel_unix_sockets_set(struct osh_kernel *kernel, uint64_t sandbox, const struct osh_unix_key *keys,
				size_t count)
{
	return osh_maps_unix_set(map_of(kernel, OSH_MAP_UNIX_SOCKETS), sandbox, keys, count);
}

bool osh_kernel_guards_attached(const struct osh_kernel *kernel)
{
	return kernel->install.hooks.lsm;
}

static void attachment_name(uint64_t sandbox, char buf[static 24])
{
	snprintf(buf, 24, "%llu", (unsigned long long)sandbox);
}

int osh_kernel_attach(struct osh_kernel *kernel, const struct osh_kernel_attachment *attachment,
		      struct osh_err *err)
{
	char name[24];

	attachment_name(attachment->sandbox, name);
	return osh_install_attach(&kernel->install, attachment->cgroup_fd, name, err);
}

bool osh_kernel_has_all_hooks(struct osh_kernel *kernel, uint64_t sandbox)
{
	char name[24];

	attachment_name(sandbox, name);
	return osh_install_has_all_links(&kernel->install, name);
}

unsigned osh_kernel_drop_detached(struct osh_kernel *kernel, uint64_t sandbox)
{
	char name[24];

	attachment_name(sandbox, name);
	return osh_install_drop_detached(&kernel->install, name);
}

void osh_kernel_detach(struct osh_kernel *kernel, uint64_t sandbox)
{
	char name[24];

	attachment_name(sandbox, name);
	osh_install_detach(&kernel->install, name);
}

int osh_kernel_sandbox_remove(struct osh_kernel *kernel, uint64_t sandbox)
{
	/* Without these everything is refused and nothing is added. */
	int r = bpf_map_delete_elem(kernel->maps.sandboxes, &sandbox);

	(void)bpf_map_delete_elem(map_of(kernel, OSH_MAP_USAGE), &sandbox);
	if (kernel->removed_count == REMOVED_MAX && osh_kernel_purge(kernel) < 0)
		kernel->removed_count = 0; /* the next agent finds what they left */
	kernel->removed[kernel->removed_count++] = sandbox;
	if (!kernel->ring || (!kernel->purge.slot && osh_loop_timer_set(kernel->loop, &kernel->purge, PURGE_AFTER_MS) < 0))
		(void)osh_kernel_purge(kernel);
	return r;
}

static bool is_same(const void *context, uint64_t sandbox)
{
	return sandbox == *(const uint64_t *)context;
}

int osh_kernel_generation_bump(struct osh_kernel *kernel, uint64_t sandbox, bool reaches_all,
			       uint32_t *ret_generation)
{
	struct osh_sandbox value;
	int r = bpf_map_lookup_elem(kernel->maps.sandboxes, &sandbox, &value);

	if (r < 0)
		return r;
	value.generation++;
	value.flags &= ~(uint32_t)OSH_SANDBOX_REACHES_ALL;
	value.flags |= reaches_all ? OSH_SANDBOX_REACHES_ALL : 0;
	if (value.generation == 0) {
		/* Around after 2^32 changes: no old answer may come back to life. */
		r = osh_maps_purge(kernel->maps.denials, false, is_same, &sandbox);
		if (r < 0)
			return r;
		value.generation = 1;
	}
	r = bpf_map_update_elem(kernel->maps.sandboxes, &sandbox, &value, BPF_EXIST);
	if (r == 0)
		*ret_generation = value.generation;
	return r;
}

void osh_kernel_sandbox_each(struct osh_kernel *kernel,
			     void (*each)(void *context, uint64_t sandbox), void *context)
{
	uint64_t ids[OSH_SANDBOXES_MAX];
	size_t count = 0;
	uint64_t *previous = NULL;

	/* Collected first: the callback may remove what it is shown. */
	while (count < OSH_SANDBOXES_MAX &&
	       bpf_map_get_next_key(kernel->maps.sandboxes, previous, &ids[count]) == 0)
		previous = &ids[count++];
	for (size_t i = 0; i < count; i++)
		each(context, ids[i]);
}

bool osh_kernel_has_sandbox(const struct osh_kernel *kernel)
{
	return pins_has_sandbox(kernel->maps.sandboxes);
}

static int ask_about_file(struct osh_kernel *kernel, struct osh_file_question *question)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = question, .ctx_size_in = sizeof(*question));

	return bpf_prog_test_run_opts(kernel->install.file_program_fd, &run);
}

int osh_kernel_file(struct osh_kernel *kernel, int fd, struct osh_file_question *ret_file)
{
	struct osh_file_question question = { .fd = (uint32_t)fd };
	int r = ask_about_file(kernel, &question);

	if (r == 0)
		*ret_file = question;
	return r;
}

int osh_kernel_made_inside(struct osh_kernel *kernel, const struct osh_kernel_attachment *attachment, int fd)
{
	struct osh_file_question question = { .fd = (uint32_t)fd };
	int r = find_level(kernel, attachment->depth, &question.level);

	if (r == 0)
		r = ask_about_file(kernel, &question);
	return r < 0 ? r : question.socket_cgroup == attachment->sandbox;
}

int osh_kernel_leads_to_named(struct osh_kernel *kernel, uint64_t sandbox, int fd)
{
	struct osh_file_question question = { .fd = (uint32_t)fd };
	uint8_t present;
	int r = ask_about_file(kernel, &question);

	question.peer.sandbox = sandbox;
	if (r < 0 || !question.peer.ino)
		return r;
	r = bpf_map_lookup_elem(map_of(kernel, OSH_MAP_UNIX_SOCKETS), &question.peer, &present);
	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

int osh_kernel_task(struct osh_kernel *kernel, pid_t pid, struct osh_task *ret_task)
{
	uint32_t key = (uint32_t)pid;
	struct osh_task task;
	int r = bpf_map_lookup_elem(map_of(kernel, OSH_MAP_TASKS), &key, &task);

	if (r == 0)
		*ret_task = task;
	return r;
}

/* ---- Events ---------------------------------------------------------------------------- */

static size_t record_size(const struct osh_event *event)
{
	return event->reason == OSH_KERNEL_UNIX_SOCKET ? sizeof(struct osh_unix_event) : sizeof(*event);
}

static int on_record(void *context, void *data, size_t size)
{
	struct osh_kernel *kernel = context;

	/* The reader takes what it knows; another size is another layout, never adopted. */
	if (size >= sizeof(struct osh_event) && size == record_size(data))
		kernel->on_event(kernel->context, data);
	return --kernel->records_left ? 0 : -EAGAIN; /* the record at hand is consumed either way */
}

static void consume(struct osh_kernel *kernel)
{
	kernel->records_left = RECORDS_PER_WAKE;
	/* What is left wakes us again: the descriptor is level triggered. */
	(void)ring_buffer__consume(kernel->ring);
	if (kernel->records_left < RECORDS_PER_WAKE)
		(void)osh_loop_timer_set(kernel->loop, &kernel->again, LOOK_AGAIN_MS);
}

static void on_ring_ready(struct osh_io *io, uint32_t events)
{
	(void)events;
	consume(osh_container_of(io, struct osh_kernel, io));
}

static void on_again(struct osh_timer *timer)
{
	consume(osh_container_of(timer, struct osh_kernel, again));
}

int osh_kernel_watch(struct osh_kernel *kernel, struct osh_loop *loop,
		     void (*on_event)(void *context, const struct osh_event *event), void *context)
{
	int r;

	if (kernel->ring)
		return -EALREADY;
	kernel->ring = ring_buffer__new(map_of(kernel, OSH_MAP_EVENTS), on_record, kernel, NULL);
	if (!kernel->ring)
		return -errno;
	kernel->loop = loop;
	kernel->on_event = on_event;
	kernel->context = context;
	kernel->io = (struct osh_io){ .fd = ring_buffer__epoll_fd(kernel->ring),
				      .on_ready = on_ring_ready };
	kernel->again.on_expire = on_again;
	r = osh_loop_set(loop, &kernel->io, EPOLLIN);
	if (r < 0)
		ring_buffer__free(osh_take(kernel->ring));
	else /* the wake-up for what comes now may have been an earlier agent's */
		(void)osh_loop_timer_set(loop, &kernel->again, LOOK_AGAIN_MS);
	return r;
}

/* ---- Facts ---------------------------------------------------------------------------------- */

uint64_t osh_kernel_counter(struct osh_kernel *kernel, enum osh_counter counter)
{
	int cpus = libbpf_num_possible_cpus();
	uint32_t index = counter;
	uint64_t sum = 0;
	_cleanup_free_ uint64_t *values = cpus > 0 ? calloc((size_t)cpus, sizeof(*values)) : NULL;

	if (!values || bpf_map_lookup_elem(map_of(kernel, OSH_MAP_COUNTERS), &index, values) < 0)
		return 0;
	for (int i = 0; i < cpus; i++)
		sum += values[i];
	return sum;
}

const char *osh_counter_name(enum osh_counter counter)
{
	switch (counter) {
	case OSH_COUNT_EXEC:
		return "execs_identified";
	case OSH_COUNT_EXEC_NO_IDENTITY:
		return "execs_without_identity";
	case OSH_COUNT_CONNECT_REDIRECTED:
		return "connects_redirected";
	case OSH_COUNT_CONNECT_DENIED:
		return "connects_denied";
	case OSH_COUNT_CONNECT_LOCAL:
		return "connects_local";
	case OSH_COUNT_DNS_REDIRECTED:
		return "dns_redirected";
	case OSH_COUNT_SOCKET_REFUSED:
		return "sockets_refused";
	case OSH_COUNT_EVENT_LOST:
		return "events_lost";
	case OSH_COUNT_FLOW_LOST:
		return "flows_lost";
	case OSH_COUNT_TASK_LOST:
		return "tasks_lost";
	case OSH_COUNT_PACKET_DROPPED:
		return "packets_dropped";
	case OSH_COUNTER_COUNT:
		break;
	}
	return "unknown";
}

const char *osh_kernel_reason_text(enum osh_kernel_reason reason)
{
	switch (reason) {
	case OSH_KERNEL_NO_SANDBOX:
		return "the process is in no known sandbox";
	case OSH_KERNEL_NO_IDENTITY:
		return "the executable or its lineage could not be told";
	case OSH_KERNEL_NOT_REACHABLE:
		return "no policy names this address and port";
	case OSH_KERNEL_CACHED_DENIAL:
		return "denied before under the same policy";
	case OSH_KERNEL_PROTOCOL:
		return "only TCP, and UDP to port 53, may leave a sandbox";
	case OSH_KERNEL_SOCKET_TYPE:
		return "only TCP and UDP sockets may be made in a sandbox";
	case OSH_KERNEL_AGENT_ADDRESS:
		return "the agent's own address was dialled";
	case OSH_KERNEL_TABLE_FULL:
		return "the kernel could not remember the connection (its table is full, or memory is short)";
	case OSH_KERNEL_WRONG_NETNS:
		return "the socket is outside the sandbox's network namespace";
	case OSH_KERNEL_RESERVED_PORT:
		return "the port belongs to the agent";
	case OSH_KERNEL_PACKET:
		return "a packet that no hook let through was dropped";
	case OSH_KERNEL_OTHERS_FLOW:
		return "the connection was opened by another program";
	case OSH_KERNEL_SHARED_FLOW:
		return "sent on a connection that another program opened, which ends it";
	case OSH_KERNEL_OUTSIDE_SOCKET:
		return "sent on a socket that was made outside and handed in";
	case OSH_KERNEL_INSPECTOR:
		return "the port where Node runs the code that it is sent (choose another one to debug)";
	case OSH_KERNEL_OTHERS_LOOPBACK:
		return "a service of others on loopback (policies name the host as host.openshell.internal)";
	case OSH_KERNEL_UNIX_SOCKET:
		return "a Unix socket of the outside that the policy's unix_sockets do not name";
	case OSH_KERNEL_OTHERS_PLACE:
		return "a program may not act as another one (ptrace and the like)";
	case OSH_KERNEL_BPF:
		return "bpf(2) could take the rules away";
	case OSH_KERNEL_WRONG_CGROUP:
		return "the socket was made outside of the attached cgroup";
	case OSH_KERNEL_CORE_DUMP:
		return "a crash may not hand its memory to a server outside (core_pattern)";
	case OSH_KERNEL_REASON_COUNT:
		break;
	}
	return "refused for a reason unknown to this version";
}

bool osh_kernel_is_attached(const struct osh_kernel *kernel)
{
	return osh_install_is_attached(&kernel->install);
}

int osh_kernel_hold_memory(struct osh_kernel *kernel)
{
	return osh_install_hold_memory(&kernel->install);
}

int osh_kernel_repin(struct osh_kernel *kernel)
{
	return osh_install_repin(&kernel->install);
}

size_t osh_kernel_features(struct osh_kernel *kernel, const struct osh_kernel_feature **ret_features)
{
	*ret_features = kernel->features;
	return osh_features_list(&kernel->install.hooks, osh_kernel_is_attached(kernel), kernel->features);
}

const struct osh_maps *osh_kernel_maps(const struct osh_kernel *kernel)
{
	return &kernel->maps;
}
