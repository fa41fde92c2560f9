#include "control/peer.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statfs.h>

#include "base/cgroup.h"
#include "base/fd.h"
#include "base/knockout.h"
#include "base/str.h"
#include "openshell/limits.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

#define OSH_UID_RANGE (1u << 24)

/* The path of a cgroup directory below its mount point, as /proc/PID/cgroup shows it: the
 * mount point is the topmost directory on the path that is still cgroup2. */
static const char *path_in_mount(const char *cgroup)
{
	char path[PATH_MAX];
	struct statfs fs;
	size_t len = strlen(cgroup);

	if (len >= sizeof(path))
		return NULL;
	memcpy(path, cgroup, len + 1);
	for (;;) {
		char *slash = strrchr(path, '/');

		if (!slash || slash == path)
			return NULL;
		*slash = '\0';
		if (statfs(path, &fs) < 0)
			return NULL;
		if (fs.f_type != CGROUP2_SUPER_MAGIC)
			return cgroup + len;
		len = (size_t)(slash - path);
	}
}

/* Returns 1 inside, 0 outside, negative when it cannot be told. */
static int is_in_cgroup(pid_t pid, const char *cgroup)
{
	const char *top = path_in_mount(cgroup);
	char path[PATH_MAX];
	int r;

	if (!top || !*top)
		return -ENOENT;
	r = osh_cgroup_of(pid, path);
	return r < 0 ? r : osh_path_is_below(path, top);
}

/* With the pidfd that the socket keeps (6.5) a number that was given to another process
 * meanwhile is noticed: a dead process's pidfd is readable. Without it the number stands. */
static bool is_still_alive(int sock)
{
	struct pollfd poll_pid = { .fd = -1, .events = POLLIN };
	socklen_t len = sizeof(poll_pid.fd);
	bool alive;

	if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &poll_pid.fd, &len) < 0)
		return errno == ENOPROTOOPT || errno == EINVAL;
	alive = poll(&poll_pid, 1, 0) == 0;
	osh_close(poll_pid.fd);
	return alive;
}

static int check_outside(int sock, const struct ucred *cred, const char *const *cgroups, struct osh_err *err)
{
	int r = 0;

	if (osh_layer_off("peer"))
		return 0;
	if (cred->uid >= OSH_SANDBOX_UID_FIRST && cred->uid - OSH_SANDBOX_UID_FIRST < OSH_UID_RANGE)
		return osh_err_set(err, EPERM, "calls from inside a sandbox are refused");
	for (; r == 0 && *cgroups; cgroups++)
		r = is_in_cgroup(cred->pid, *cgroups);
	if (r < 0 || !is_still_alive(sock))
		return osh_err_set(err, EPERM, "a caller whose cgroup cannot be told is refused");
	if (r > 0)
		return osh_err_set(err, EPERM, "calls from inside a sandbox are refused");
	return 0;
}

int osh_peer_check(int sock, const char *const *cgroups, struct osh_peer *ret_peer, struct osh_err *err)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int r;

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.pid <= 0)
		return osh_err_set(err, EPERM, "a caller whose process cannot be told is refused");
	r = check_outside(sock, &cred, cgroups, err);
	if (r == 0)
		*ret_peer = (struct osh_peer){ .pid = cred.pid, .uid = cred.uid };
	return r;
}
