/* What the kernel cannot enforce on a cgroup that was not made for it: no namespaces, no seccomp filter
 * and no Landlock of ours stand behind the hooks there, only, on some kernels, bpf/attached.bpf.c. */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/netns.h"
#include "control/agent.h"
#include "control/lifecycle_parts.h"
#include "kernel/kernel.h"
#include "sandbox/sandbox.h"

#define STATUS_BYTES_MAX 65536

/* With one of these, in the host's own user namespace, a process can undo what holds it. The first two
 * do so as well in the one that its network belongs to: packets need not pass by sockets then. */
#define NETWORK_CAPABILITIES (1ull << CAP_NET_ADMIN | 1ull << CAP_NET_RAW)
static const struct {
	unsigned number;
	const char *name;
	bool is_held; /* where the kernel guards what is attached, it is of no use for that */
} capabilities[] = {
	{ CAP_NET_ADMIN, "CAP_NET_ADMIN", true },   { CAP_NET_RAW, "CAP_NET_RAW", true },
	{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN", false },  { CAP_SYS_PTRACE, "CAP_SYS_PTRACE", true },
	{ CAP_SYS_MODULE, "CAP_SYS_MODULE", true }, { CAP_BPF, "CAP_BPF", true },
	{ CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", false },
	/* The host's memory and ports; another kernel in this one's place. */
	{ CAP_SYS_RAWIO, "CAP_SYS_RAWIO", false }, { CAP_SYS_BOOT, "CAP_SYS_BOOT", false },
};

/* No hook of a cgroup stands in for these, whatever the kernel has. A perf_event_open hook would be one
 * system call of dozens that our filter refuses: it would take no row away. */
static const struct {
	enum osh_exposure exposure;
	const char *text;
} exposures[] = {
	{ OSH_EXPOSED_CGROUP, "its processes may leave the cgroup" },
	{ OSH_EXPOSED_PINS, "its processes may remove the rules' pins: without the agent they end" },
	{ OSH_EXPOSED_CALLS, "its system calls are not filtered (perf_event_open, keyctl, userfaultfd)" },
	{ OSH_EXPOSED_CORE, "a crash hands its memory to a program outside (core_pattern)" },
	{ OSH_EXPOSED_TERMINAL, "its processes may type into a terminal of others (TIOCSTI)" },
};

/* What was found of all processes together. */
struct findings {
	const struct osh_agent_sandbox *sandbox;
	uint64_t capabilities;
	unsigned exposure; /* enum osh_exposure */
	bool is_traced; /* by another one in there */
};

static void add(json_t *rows, const char *text)
{
	(void)json_array_append_new(rows, json_string(text));
}

static bool rules_its_network(pid_t pid)
{
	_cleanup_fd_ int net = -1, user = -1;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	net = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	user = open(path, O_RDONLY | O_CLOEXEC);
	return osh_netns_is_ruled_from(net, user) != 0; /* also when it cannot be told */
}

/* Of a line "NAME:\tVALUE" of its status. All bits: it cannot be told. */
static uint64_t status_value(const char *status, const char *name, int base)
{
	const char *line = strstr(status, name);

	return line ? strtoull(line + strlen(name), NULL, base) : UINT64_MAX;
}

/* Of its capabilities those that it may take on at any time. */
static void look_at_status(struct findings *found, pid_t pid, const char *status)
{
	uint64_t permitted = status_value(status, "\nCapPrm:\t", 16);
	uint64_t tracer = status_value(status, "\nTracerPid:\t", 10);

	if (!osh_sandbox_is_in_our_user_namespace(pid))
		permitted &= rules_its_network(pid) ? NETWORK_CAPABILITIES : 0;
	found->capabilities |= permitted;
	found->is_traced |= tracer && osh_sandbox_holds_process(found->sandbox->instance, (pid_t)tracer);
}

static int look_at(void *context, pid_t pid)
{
	_cleanup_free_ char *status = NULL;
	struct findings *found = context;
	char path[32];
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (osh_read_file(path, STATUS_BYTES_MAX, &status, &len) < 0)
		return 0; /* it has ended */
	look_at_status(found, pid, status);
	found->exposure |= osh_sandbox_exposure(found->sandbox->instance, pid);
	return 0;
}

static void add_capabilities(const struct findings *found, bool guarded, json_t *rows)
{
	char text[256] = "", row[320];
	size_t len = 0;

	for (size_t i = 0; i < OSH_COUNT_OF(capabilities); i++) {
		if (found->capabilities & 1ull << capabilities[i].number && !(guarded && capabilities[i].is_held))
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len ? ", " : "",
						capabilities[i].name);
	}
	if (!len)
		return;
	snprintf(row, sizeof(row), "its processes have %s, and can take the rules away", text);
	add(rows, row);
}

static void add_exposures(const struct findings *found, json_t *rows)
{
	for (size_t i = 0; i < OSH_COUNT_OF(exposures); i++) {
		if (found->exposure & exposures[i].exposure)
			add(rows, exposures[i].text);
	}
	if (osh_sandbox_shares(found->sandbox->instance, "pid"))
		add(rows, "its processes may signal programs outside");
	if (osh_sandbox_shares(found->sandbox->instance, "ipc"))
		add(rows, "System V IPC and POSIX queues are shared with programs outside");
}

/* What security hooks would be needed for. connect_unix, which newer kernels have without them, sees the
 * path that a program gives and not the socket that it leads to: a program's own sockets have the same
 * paths as others', so there is nothing to decide on. In a network of its own, abstract names are its. */
static void add_unguarded(const struct osh_agent_sandbox *sandbox, json_t *rows)
{
	add(rows, "sockets of other families than IP are not refused");
	add(rows, "a program may take another one's place (ptrace)");
	add(rows, osh_sandbox_shares(sandbox->instance, "net") ?
			  "Unix sockets are not judged" :
			  "Unix sockets are not judged (abstract ones are its own)");
	add(rows, "sockets that are handed in are not refused");
}

json_t *osh_preflight(const struct osh_agent_sandbox *sandbox)
{
	bool guarded = osh_kernel_guards_attached(sandbox->agent->kernel);
	struct findings found = { .sandbox = sandbox };
	json_t *rows = json_array();

	if (osh_sandbox_each_process(sandbox->instance, look_at, &found) < 0)
		found = (struct findings){ .capabilities = UINT64_MAX, .exposure = OSH_EXPOSED_ALL };
	add_capabilities(&found, guarded, rows);
	add_exposures(&found, rows);
	if (found.is_traced)
		add(rows, "one of its processes traces another");
	if (!guarded)
		add_unguarded(sandbox, rows);
	return rows;
}
