/* Limits of a sandbox's cgroup (cgroup-v2: cpu.max, memory.max, pids.max). On a hybrid host
 * these controllers are in hierarchies of their own (v1), out of reach here: then a limit is
 * not enforced, and whoever asked for it is told. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

#define CPU_PERIOD_US 100000

struct limit_kind {
	const char *name, *controller, *file;
};

static const struct limit_kind kinds[OSH_LIMIT_COUNT] = {
	[OSH_LIMIT_CPU] = { "cpu_milli", "cpu", "cpu.max" },
	[OSH_LIMIT_MEMORY] = { "memory", "memory", "memory.max" },
	[OSH_LIMIT_PIDS] = { "pids", "pids", "pids.max" },
};

const char *osh_limit_name(enum osh_limit limit)
{
	return kinds[limit].name;
}

const char *osh_limit_controller(enum osh_limit limit)
{
	return kinds[limit].controller;
}

bool osh_sandbox_has_controller(const struct osh_sandbox_host *host, enum osh_limit limit)
{
	return host->controllers & 1u << limit;
}

/* One write is one setting; what a file system of the kernel refuses is refused whole. */
static int write_setting(const char *dir, const char *file, const char *text)
{
	char path[OSH_SANDBOX_PATH_MAX + 32];
	_cleanup_fd_ int fd = -1;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* A controller is handed down from parent to child, one level after the other. */
void limits_find_controllers(struct osh_sandbox_host *host, const char *mount)
{
	for (int i = 0; i < OSH_LIMIT_COUNT; i++) {
		char enable[16];

		snprintf(enable, sizeof(enable), "+%s", kinds[i].controller);
		(void)write_setting(mount, "cgroup.subtree_control", enable);
		if (write_setting(host->cgroup, "cgroup.subtree_control", enable) == 0)
			host->controllers |= 1u << i;
	}
}

int limits_apply(const struct osh_sandbox_instance *instance, const struct osh_sandbox_limits *limits,
		 enum osh_limit *ret_failed)
{
	char text[64];

	for (int i = 0; i < OSH_LIMIT_COUNT; i++) {
		uint64_t value = limits->of[i];
		int r;

		*ret_failed = (enum osh_limit)i;
		if (!osh_sandbox_has_controller(instance->host, (enum osh_limit)i))
			continue;
		/* Also "max": a cgroup that is started again may have had another. */
		if (!value)
			snprintf(text, sizeof(text), "max");
		else if (i == OSH_LIMIT_CPU)
			snprintf(text, sizeof(text), "%" PRIu64 " %d", value * (CPU_PERIOD_US / 1000),
				 CPU_PERIOD_US);
		else
			snprintf(text, sizeof(text), "%" PRIu64, value);
		r = write_setting(instance->cgroup, kinds[i].file, text);
		if (r < 0)
			return r;
	}
	return 0;
}
