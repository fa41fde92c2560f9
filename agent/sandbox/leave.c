/* Could a process of an attached cgroup move out of it? Whoever may write the cgroup.procs of a cgroup
 * above can (cgroups(7), "Delegation Containment": that of the common ancestor counts), if it sees the
 * hierarchy from there on, not from its own cgroup down as most containers do. */
#include "sandbox/internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/str.h"
#include "openshell/abi.h"

/* A line of proc_pid_mountinfo(5): "36 35 0:31 ROOT PLACE rw,... - cgroup2 ...", ROOT as it is called in
 * our own cgroup namespace. */
static bool shows_above(const char *line, const char *below_top)
{
	char root[PATH_MAX], access[3], rest[512];

	if (sscanf(line, "%*s %*s %*s %4095s %*s %2[rwo]%511[^\n]", root, access, rest) != 3 ||
	    strcmp(access, "rw") != 0 || !strstr(rest, " - cgroup2 "))
		return false;
	return strcmp(root, "/") == 0 || strncmp(root, "/..", 3) == 0 ||
	       (strcmp(root, below_top) != 0 && osh_path_is_below(below_top, root));
}

/* Is there a place where it sees cgroups above this one, and may write? */
static bool sees_above(const char *mounts, const char *below_top)
{
	for (const char *line = mounts; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if (shows_above(line, below_top))
			return true;
	}
	return false;
}

/* In a user namespace of its own they do not count for the host's files. */
static bool overrides_owners(pid_t pid, const char *status)
{
	static const char name[] = "\nCapPrm:\t";
	const char *line = strstr(status, name);

	return (!line || strtoull(line + sizeof(name) - 1, NULL, 16) & OSH_OWNER_CAPABILITIES) &&
	       osh_sandbox_is_in_our_user_namespace(pid);
}

/* "Uid:\treal\teffective\tsaved\tfs": it may become any of them. */
bool attached_may_be(pid_t pid, const char *status, uid_t owner)
{
	const char *line = strstr(status, "\nUid:\t");
	unsigned uids[4] = { 0 };

	if (!line || sscanf(line, "\nUid: %u %u %u %u", &uids[0], &uids[1], &uids[2], &uids[3]) != 4)
		return true; /* it cannot be told */
	for (size_t i = 0; i < OSH_COUNT_OF(uids); i++) {
		if (uids[i] == 0 || uids[i] == owner)
			return true;
	}
	return overrides_owners(pid, status);
}

static bool may_write_above(const struct osh_sandbox_instance *instance, pid_t pid, const char *status)
{
	char path[OSH_SANDBOX_PATH_MAX + 16];
	const char *cgroup = instance->record.attached;
	struct stat st;

	for (size_t len = strlen(cgroup); len > attached_top_len(instance->host);) {
		while (cgroup[--len] != '/')
			;
		snprintf(path, sizeof(path), "%.*s/cgroup.procs", (int)len, cgroup);
		if (stat(path, &st) < 0 || attached_may_be(pid, status, st.st_uid))
			return true;
	}
	return false;
}

bool attached_may_leave(const struct osh_sandbox_instance *instance, pid_t pid, const char *mounts, const char *status)
{
	return sees_above(mounts, instance->record.attached + attached_top_len(instance->host)) &&
	       may_write_above(instance, pid, status);
}
