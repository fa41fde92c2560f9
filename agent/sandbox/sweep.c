/* Ending what an earlier agent left, where no agent is to take it over. */
#include "sandbox/internal.h"

#include <errno.h>

#include "base/log.h"

struct sweep {
	struct osh_err *err;
	int first; /* failure */
};

static void note(struct sweep *sweep, int r)
{
	if (r < 0 && sweep->first == 0)
		sweep->first = r;
}

static int stop(struct osh_sandbox_instance *instance, struct osh_err *err)
{
	bool was_running = osh_sandbox_init_pid(instance);
	int r = was_running ? osh_sandbox_stop(instance, err) : 0;

	if (r == 0 && cgroup_remove(instance->cgroup) < 0)
		r = osh_err_sys(err, errno, "cannot remove %s", instance->cgroup);
	if (r == 0 && was_running)
		osh_info("sandbox %s: ended; its files stay in %s", instance->record.name, instance->dir);
	osh_sandbox_release(instance);
	return r;
}

static void sweep_one(void *context, struct osh_sandbox_instance *instance)
{
	struct sweep *sweep = context;

	if (sandbox_is_attached(instance)) {
		osh_info("sandbox %s: detached from %s, whose processes go on without rules", instance->record.name,
			 instance->record.attached);
		note(sweep, osh_sandbox_destroy(instance, sweep->err));
		return;
	}
	if (osh_sandbox_keep(instance)) {
		note(sweep, stop(instance, sweep->err));
		return;
	}
	osh_info("sandbox %s: ended and removed, it was not to be kept", instance->record.name);
	note(sweep, osh_sandbox_destroy(instance, sweep->err));
}

int osh_sandbox_sweep(struct osh_sandbox_host *host, struct osh_err *err)
{
	struct sweep sweep = { .err = err };
	int r = osh_sandbox_adopt_all(host, sweep_one, &sweep, err);

	trash_empty(host);
	return r < 0 ? r : sweep.first;
}
