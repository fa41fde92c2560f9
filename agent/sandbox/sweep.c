/* Ending what an earlier agent left, where no agent is to take it over. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>

#include "base/fd.h"
#include "base/log.h"

struct sweep {
	struct osh_err *err;
	int first; /* failure */
	struct osh_sandbox_left *left;
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

/* Also when that cannot be told. */
static bool is_in_use(const struct osh_sandbox_instance *instance)
{
	_cleanup_fd_ int fd = openat(instance->cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);

	return fd < 0 || cgroup_is_empty(fd) <= 0;
}

/* Its processes are somebody else's, to be ended by nobody here, and would go on without rules. */
static void leave(struct sweep *sweep, struct osh_sandbox_instance *instance)
{
	const char *name = instance->record.name, *cgroup = instance->record.attached;

	osh_warning("sandbox %s: processes run in %s and keep its rules: start openshelld and 'openshell sandbox "
		    "detach %s', or end them and sweep again", name, cgroup, name);
	if (sweep->left->count < OSH_SANDBOXES_MAX)
		sweep->left->ids[sweep->left->count++] = instance->record.id;
	osh_sandbox_release(instance);
}

static void sweep_attached(struct sweep *sweep, struct osh_sandbox_instance *instance)
{
	/* Half attached, it was never said to have rules. */
	if (osh_sandbox_keep(instance) && is_in_use(instance)) {
		leave(sweep, instance);
		return;
	}
	osh_info("sandbox %s: detached from %s", instance->record.name, instance->record.attached);
	note(sweep, osh_sandbox_destroy(instance, sweep->err));
}

static void sweep_one(void *context, struct osh_sandbox_instance *instance)
{
	struct sweep *sweep = context;

	if (sandbox_is_attached(instance)) {
		sweep_attached(sweep, instance);
		return;
	}
	if (osh_sandbox_keep(instance)) {
		note(sweep, stop(instance, sweep->err));
		return;
	}
	osh_info("sandbox %s: ended and removed, it was not to be kept", instance->record.name);
	note(sweep, osh_sandbox_destroy(instance, sweep->err));
}

int osh_sandbox_sweep(struct osh_sandbox_host *host, struct osh_sandbox_left *ret_left, struct osh_err *err)
{
	struct sweep sweep = { .err = err, .left = ret_left };
	int r;

	ret_left->count = 0;
	r = osh_sandbox_adopt_all(host, sweep_one, &sweep, err);

	trash_empty(host);
	return r < 0 ? r : sweep.first;
}
