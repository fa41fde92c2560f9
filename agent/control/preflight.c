/* What the kernel cannot enforce on a cgroup that was not made for it: no namespaces, no seccomp filter
 * and no Landlock of ours stand behind the hooks there. */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/netns.h"
#include "control/lifecycle_parts.h"
#include "sandbox/sandbox.h"

#define STATUS_BYTES_MAX 65536

/* With one of these, in the host's own user namespace, a process can undo what holds it. The first two
 * do so as well in the one that its network belongs to: packets need not pass by sockets then. */
#define NETWORK_CAPABILITIES (1ull << CAP_NET_ADMIN | 1ull << CAP_NET_RAW)
static const struct {
	unsigned number;
	const char *name;
} capabilities[] = {
	{ CAP_NET_ADMIN, "CAP_NET_ADMIN" },	  { CAP_NET_RAW, "CAP_NET_RAW" },
	{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN" },	  { CAP_SYS_PTRACE, "CAP_SYS_PTRACE" },
	{ CAP_SYS_MODULE, "CAP_SYS_MODULE" },	  { CAP_BPF, "CAP_BPF" },
	{ CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH" },
};

static void add(json_t *rows, const char *text)
{
	(void)json_array_append_new(rows, json_string(text));
}

static bool is_in_our_user_namespace(pid_t pid)
{
	char path[32];
	struct stat theirs, ours;

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	return stat("/proc/self/ns/user", &ours) < 0 || stat(path, &theirs) < 0 || theirs.st_ino == ours.st_ino;
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

/* "CapPrm:\t00000000a80425fb": what it may take on at any time. */
static uint64_t permitted(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[32];
	const char *line;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (osh_read_file(path, STATUS_BYTES_MAX, &text, &len) < 0)
		return 0; /* it has ended */
	line = strstr(text, "\nCapPrm:\t");
	return line ? strtoull(line + strlen("\nCapPrm:\t"), NULL, 16) : UINT64_MAX;
}

static int look_at(void *context, pid_t pid)
{
	uint64_t *all = context;

	if (is_in_our_user_namespace(pid))
		*all |= permitted(pid);
	else if (rules_its_network(pid))
		*all |= permitted(pid) & NETWORK_CAPABILITIES;
	return 0;
}

static void add_capabilities(const struct osh_agent_sandbox *sandbox, json_t *rows)
{
	uint64_t all = 0;
	char text[256] = "";
	size_t len = 0;

	if (osh_sandbox_each_process(sandbox->instance, look_at, &all) < 0)
		all = UINT64_MAX;
	for (size_t i = 0; i < OSH_COUNT_OF(capabilities); i++) {
		if (all & 1ull << capabilities[i].number)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len ? ", " : "",
						capabilities[i].name);
	}
	if (len) {
		char row[320];

		snprintf(row, sizeof(row), "its processes have %s, and can take the rules away", text);
		add(rows, row);
	}
}

json_t *osh_preflight(const struct osh_agent_sandbox *sandbox)
{
	json_t *rows = json_array();

	add_capabilities(sandbox, rows);
	add(rows, "sockets of other families than IP are not refused");
	add(rows, "a program may take another one's place (ptrace)");
	add(rows, "Unix sockets are not judged");
	add(rows, "how it was started is not known of what runs already");
	return rows;
}
