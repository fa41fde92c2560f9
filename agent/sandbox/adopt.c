/* Taking over what an earlier agent left: running sandboxes as they are, ended ones as stopped
 * (their files are somebody's work) or, not to be kept, away; what cannot be understood fenced. */
#include "sandbox/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

#define CGROUP_PROCS_BYTES_MAX (64u << 20)

/* cgroup.procs lists one pid per line, as numbered for the reader. */
static int is_in_cgroup(pid_t pid, int cgroup_fd)
{
	_cleanup_fd_ int fd = openat(cgroup_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	char wanted[16];
	size_t len, wanted_len = (size_t)snprintf(wanted, sizeof(wanted), "%d\n", (int)pid);
	int r = fd < 0 ? -errno : osh_read_fd(fd, CGROUP_PROCS_BYTES_MAX, &text, &len);

	if (r < 0)
		return r;
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
		if (strncmp(line, wanted, wanted_len) == 0)
			return 1;
	}
	return 0;
}

struct adoption {
	struct osh_sandbox_host *host;
	void (*each)(void *context, struct osh_sandbox_instance *instance);
	void *context;
};

/* Is it still the same sandbox, and the same process under that number? The pidfd is
 * opened first, so that what is checked then is what it holds. */
static int verify(struct osh_sandbox_instance *instance)
{
	struct sandbox_record *record = &instance->record;
	uint64_t id, start;
	int r = cgroup_open(instance->cgroup, &instance->cgroup_fd, &id);

	if (r < 0)
		return r;
	if (id != record->id || record->init_pid <= 0)
		return -ESTALE;
	instance->pid_io.fd = pidfd_open(record->init_pid, 0);
	if (instance->pid_io.fd < 0)
		return -errno;
	r = process_start_time(record->init_pid, &start);
	if (r < 0)
		return r;
	r = is_in_cgroup(record->init_pid, instance->cgroup_fd);
	if (r < 0)
		return r;
	return r && start == record->init_start ? 0 : -ESTALE;
}

static bool is_empty(int cgroup_fd)
{
	_cleanup_fd_ int fd = openat(cgroup_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	char byte;

	return fd >= 0 && read(fd, &byte, 1) == 0;
}

/* An empty cgroup of its own, whatever was in it before. */
static int renew_cgroup(struct osh_sandbox_instance *instance)
{
	uint64_t id;
	int r;

	instance->cgroup_fd = osh_close(instance->cgroup_fd);
	r = cgroup_open(instance->cgroup, &instance->cgroup_fd, &id);
	if (r == 0) {
		r = cgroup_kill(instance->cgroup_fd);
		if (r == 0)
			r = cgroup_await_empty(instance->cgroup_fd);
		instance->cgroup_fd = osh_close(instance->cgroup_fd);
		if (r == 0)
			r = cgroup_remove(instance->cgroup);
	}
	if (r == 0 || r == -ENOENT)
		r = cgroup_make(instance->cgroup, &instance->cgroup_fd, &instance->record.id);
	return r;
}

/* What ran in it has ended, with its init or with the host, or cannot be watched over any more:
 * as if it had been stopped. */
static int take_over_ended(struct osh_sandbox_instance *instance, int code)
{
	const char *name = instance->record.name;

	osh_warning("sandbox %s: what ran in it %s (%s): it is stopped, 'openshell sandbox start %s' runs it "
		    "again", name, code == ESTALE || code == ENOENT || code == ESRCH ? "has ended" : "is out of reach",
		    strerror(code), name);
	osh_loop_remove(instance->host->loop, &instance->init_io);
	osh_loop_remove(instance->host->loop, &instance->pid_io);
	instance->init_io.fd = osh_close(instance->init_io.fd);
	instance->pid_io.fd = osh_close(instance->pid_io.fd); /* may be anybody's */
	instance->record.init_pid = 0;
	code = renew_cgroup(instance);
	(void)unlink(instance->socket_path);
	if (code < 0)
		return code;
	trash_copies(instance);
	return record_save(instance->dir, &instance->record);
}

/* Its cgroup is as it was, or, since the host was started anew, has to be made. What still
 * runs in it was about to be ended when the agent was. */
static int take_over_stopped(struct osh_sandbox_instance *instance)
{
	uint64_t id;
	int r = cgroup_open(instance->cgroup, &instance->cgroup_fd, &id);
	bool is_as_it_was = r == 0 && id == instance->record.id && is_empty(instance->cgroup_fd);

	if (!is_as_it_was)
		r = renew_cgroup(instance);
	if (r < 0)
		return r;
	trash_copies(instance);
	return is_as_it_was ? 0 : record_save(instance->dir, &instance->record);
}

static int take_over_running(struct osh_sandbox_instance *instance)
{
	int r = verify(instance);

	if (r == 0)
		r = connection_open(instance->socket_path, instance->pid_io.fd, &instance->init_io.fd);
	return r < 0 ? r : sandbox_watch(instance);
}

static int read_record(struct osh_sandbox_instance *instance)
{
	struct sandbox_record record;
	int r = record_load(instance->dir, &record);

	if (r < 0)
		return r;
	if (strcmp(record.name, instance->record.name) != 0) {
		record_done(&record);
		return -EBADMSG;
	}
	instance->record = record;
	instance->was_launched = true;
	if (r > 0) {
		osh_error("sandbox %s: %s/record.json was damaged or gone: its copy is in force", record.name, instance->dir);
		(void)record_save(instance->dir, &instance->record); /* or again by the next agent */
	}
	return 0;
}

/* Nobody else gets the user whom its files belong to. */
static uid_t find_user(const struct osh_sandbox_instance *instance)
{
	char path[OSH_SANDBOX_PATH_MAX + 16];
	struct stat st;

	snprintf(path, sizeof(path), "%s/sandbox", instance->dir);
	return lstat(path, &st) == 0 ? st.st_uid : 0;
}

/* Whether it was to run cannot be told, so nothing of it does; its files are somebody's work,
 * and stay until they are asked to go. Returns as adopt_one. */
static int fence(const struct adoption *adoption, struct osh_sandbox_instance *instance, int code)
{
	const char *name = instance->record.name;
	int r;

	osh_error("sandbox %s cannot be taken over from %s/record.json (%s): nothing of it runs, its files "
		  "stay until 'openshell sandbox delete %s'", name, instance->dir, strerror(code), name);
	instance->is_damaged = true;
	instance->record.keep = true;
	instance->record.init_pid = 0;
	instance->record.uid = find_user(instance);
	r = renew_cgroup(instance);
	if (r < 0) {
		osh_error("sandbox %s: not taken over, what runs in %s goes on without network: %s", name,
			  instance->cgroup, strerror(-r));
		osh_sandbox_release(instance);
		return 0;
	}
	adoption->each(adoption->context, instance);
	return 1;
}

/* What cannot be taken over is ended: nobody could watch over it. The cgroup is found by
 * name, so this works without a record. */
static void clear_away(struct osh_sandbox_instance *instance, int code)
{
	struct osh_err err;
	uint64_t id;

	osh_warning("removing what is left of sandbox %s (%s)", instance->record.name, strerror(code));
	/* A pidfd that failed the check may be anybody's. */
	instance->pid_io.fd = osh_close(instance->pid_io.fd);
	if (instance->cgroup_fd < 0)
		(void)cgroup_open(instance->cgroup, &instance->cgroup_fd, &id);
	if (osh_sandbox_destroy(instance, &err) < 0)
		osh_warning("%s", err.message);
}

/* With its cgroup its rules are gone. Returns as adopt_one. */
static int adopt_attached(const struct adoption *adoption, struct osh_sandbox_instance *instance)
{
	struct osh_err err = { 0 };
	bool reached = false;
	int r = attached_take_over(instance, &reached, &err);

	if (r == 0) {
		if (!reached)
			osh_error("sandbox %s: %s: what starts there reaches nothing; attach anew", instance->record.name,
				  err.message);
		adoption->each(adoption->context, instance);
		return 1;
	}
	osh_warning("sandbox %s: not attached any more: %s", instance->record.name, err.message);
	clear_away(instance, -r);
	return 0;
}

/* Returns 1 when it was handed over, 0 when it is gone, -errno when that cannot be told now: then
 * nothing has been done to it. */
static int adopt_one(const struct adoption *adoption, const char *name)
{
	struct osh_sandbox_instance *instance;
	int r = sandbox_instance_new(adoption->host, name, &instance);

	if (r < 0)
		return r;
	r = read_record(instance);
	if (r < 0 && r != -ENOENT && !osh_is_shortage(r)) /* without one it never ran */
		return fence(adoption, instance, -r);
	if (r == 0 && sandbox_is_attached(instance))
		return adopt_attached(adoption, instance);
	if (r == 0)
		r = instance->record.init_pid ? take_over_running(instance) : take_over_stopped(instance);
	if (osh_is_shortage(r)) {
		osh_sandbox_release(instance);
		return r;
	}
	if (r < 0 && instance->was_launched && instance->record.init_pid && instance->record.keep)
		r = take_over_ended(instance, -r);
	if (r < 0 && instance->was_launched && !instance->record.init_pid)
		return fence(adoption, instance, -r);
	if (r < 0) {
		clear_away(instance, -r);
		return 0;
	}
	adoption->each(adoption->context, instance);
	return 1;
}

/* Call `one` for every entry of a directory that has a sandbox's name: the rest is
 * somebody's mistake, not ours to touch. Returns the sum, or -errno of the first failure. */
static int walk_names(const char *path, const struct adoption *adoption,
		      int (*one)(const struct adoption *adoption, const char *name))
{
	struct dirent *entry;
	int count = 0, r = 0;
	DIR *dir = opendir(path);

	if (!dir)
		return -errno;
	while (r >= 0 && (entry = readdir(dir))) {
		if (entry->d_type != DT_DIR || !osh_sandbox_name_is_valid(entry->d_name))
			continue;
		r = one(adoption, entry->d_name);
		count += r > 0;
	}
	closedir(dir);
	return r < 0 ? r : count;
}

/* Programs without a state: somebody removed it under a running sandbox. */
static int end_stateless(const struct adoption *adoption, const char *name)
{
	struct osh_sandbox_instance *instance;
	int r = sandbox_instance_new(adoption->host, name, &instance);

	if (r < 0)
		return r;
	if (access(instance->dir, F_OK) == 0)
		osh_sandbox_release(instance);
	else
		clear_away(instance, ENOENT);
	return 0;
}

int osh_sandbox_adopt_all(struct osh_sandbox_host *host,
			  void (*each)(void *context, struct osh_sandbox_instance *instance),
			  void *context, struct osh_err *err)
{
	const struct adoption adoption = { .host = host, .each = each, .context = context };
	char path[OSH_SANDBOX_PATH_MAX + 16];
	int count, r;

	snprintf(path, sizeof(path), "%s/sandboxes", host->state_dir);
	count = walk_names(path, &adoption, adopt_one);
	r = count < 0 ? count : walk_names(host->cgroup, &adoption, end_stateless);
	if (r >= 0)
		osh_sandbox_keep_covered(host);
	return r < 0 ? osh_err_sys(err, -r, "cannot take sandboxes over") : count;
}
