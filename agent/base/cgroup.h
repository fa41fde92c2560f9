/* Which cgroup a process is in. */
#ifndef OSH_BASE_CGROUP_H
#define OSH_BASE_CGROUP_H

#include <limits.h>
#include <sys/types.h>

/* The path of its cgroup in the version 2 hierarchy ("0::/..." of /proc/PID/cgroup, cgroups(7)),
 * from the root of our cgroup namespace on; "/" at its top. Returns 0, -ENOENT when the hierarchy is not
 * there, -ENAMETOOLONG, or another -errno. */
int osh_cgroup_of(pid_t pid, char ret_path[static PATH_MAX]);

#endif
