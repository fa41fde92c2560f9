/* From an empty cgroup to a pid 1 that answers. The child is a copy of the agent made
 * with clone3(2), straight into cgroup and namespaces; it walks a table of steps, each
 * of which takes something away, and ends as openshell-init. A step that fails ends the
 * child: there is no half-confined sandbox. */
#include "sandbox/internal.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/knockout.h"
#include "base/mem.h"
#include "base/seccomp.h"

#define STEPS_PATIENCE_MS 15000
#define WARNINGS_BYTES_MAX 65536

/* child -> parent, until exec closes the socket. */
struct launch_report {
	int code;         /* 0: a warning */
	char step[64];
	char text[256];
	char advice[160];
};

/* ---- In the child: the steps ---------------------------------------------------- */

void launch_warn(const struct launch *launch, const char *format, ...)
{
	struct launch_report report = { 0 };
	va_list args;

	va_start(args, format);
	vsnprintf(report.text, sizeof(report.text), format, args);
	va_end(args);
	(void)osh_send_fds(launch->report_fd, &report, sizeof(report), NULL, 0);
}

int launch_fail(struct launch *launch, int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(launch->detail, sizeof(launch->detail), format, args);
	va_end(args);
	return r;
}

static int leave_session(struct launch *launch)
{
	sigset_t none;

	(void)launch;
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0 || setsid() < 0)
		return -errno;
	umask(022);
	return 0;
}

/* Not by clone3: a cgroup namespace is rooted where its maker was, and that was the agent. */
static int enter_cgroup_namespace(struct launch *launch)
{
	(void)launch;
	return unshare(CLONE_NEWCGROUP) < 0 ? -errno : 0;
}

static int set_host_name(struct launch *launch)
{
	const char *name = launch->instance->record.name;

	return sethostname(name, strlen(name)) < 0 ? -errno : 0;
}

static int set_up_network(struct launch *launch)
{
	(void)launch;
	return osh_layer_off("netns") ? 0 : netns_set_up();
}

static int set_limits(struct launch *launch)
{
	(void)launch;
	return confine_limits();
}

static int drop_capabilities(struct launch *launch)
{
	(void)launch;
	/* A copy made past libc: what the library knows of the parent's pid is wrong here. */
	capng_setpid(getpid());
	return confine_capabilities();
}

static int change_user(struct launch *launch)
{
	return confine_user(launch->instance->record.uid, launch->instance->record.gid);
}

static int close_standard_streams(struct launch *launch)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)launch;
	if (fd < 0)
		return -errno;
	for (int i = 0; i < 3; i++) {
		if (dup2(fd, i) < 0)
			return -errno;
	}
	osh_close(fd);
	/* All else goes at exec; the listener alone stays. */
	if (close_range(OSH_INIT_LISTENER_FD + 1, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return -errno;
	return osh_set_cloexec(OSH_INIT_LISTENER_FD, 0);
}

static int filter_calls(struct launch *launch)
{
	return osh_layer_off("seccomp") ? 0 : osh_seccomp_load(&launch->instance->host->filter);
}

static int become_init(struct launch *launch)
{
	static const char path[] = OSH_SANDBOX_OWN_DIR "/init";
	char *const argv[] = { (char[]){ "openshell-init" }, NULL };

	execve(path, argv, launch->env);
	return launch_fail(launch, -errno, "%s", launch->instance->host->init_path);
}

struct launch_step {
	const char *name;
	int (*run)(struct launch *launch);
	const char *advice;
};

/* The order matters: namespaces and mounts need root, Landlock wants the final paths,
 * seccomp forbids what the others did. */
static const struct launch_step steps[] = {
	{ "own session", leave_session, "" },
	{ "limits", set_limits, "openshelld needs CAP_SYS_RESOURCE, or a core limit of at least 1" },
	{ "cgroup namespace", enter_cgroup_namespace, "openshelld must run as root" },
	{ "host name", set_host_name, "openshelld must run as root" },
	{ "network namespace", set_up_network, "the kernel needs IPv4 and IPv6 (is ipv6.disable set?)" },
	{ "private root", root_build, "openshelld needs CAP_SYS_ADMIN and a kernel of 6.1 or later" },
	{ "entering the private root", root_enter, "the host's root must not be a ramfs" },
	{ "capabilities", drop_capabilities, "openshelld must run as root" },
	{ "own user", change_user, "the user ids of sandboxes must exist in this user namespace" },
	{ "Landlock", confine_landlock, "correct filesystem_policy, or set landlock compatibility" },
	{ "descriptors", close_standard_streams, "" },
	{ "seccomp", filter_calls, "the kernel needs CONFIG_SECCOMP_FILTER" },
	{ "openshell-init", become_init, "reinstall openshell" },
};

static _Noreturn void fail_step(struct launch *launch, const struct launch_step *step, int code)
{
	struct launch_report report = { .code = code };

	snprintf(report.step, sizeof(report.step), "%s", step->name);
	snprintf(report.text, sizeof(report.text), "%s", launch->detail);
	snprintf(report.advice, sizeof(report.advice), "%s", step->advice);
	(void)osh_send_fds(launch->report_fd, &report, sizeof(report), NULL, 0);
	_exit(1);
}

/* Nothing of the agent's but the descriptors that the child needs: first out of the way,
 * then side by side from init's listener on. */
static int keep_descriptors(struct launch *launch)
{
	int *const fds[] = { &launch->listener_fd, &launch->report_fd, &launch->idmap_fd };
	int place = OSH_INIT_LISTENER_FD;

	for (size_t i = 0; i < OSH_COUNT_OF(fds); i++) {
		if (*fds[i] >= 0 && (*fds[i] = fcntl(*fds[i], F_DUPFD_CLOEXEC, 10)) < 0)
			return -errno;
	}
	for (size_t i = 0; i < OSH_COUNT_OF(fds); i++) {
		if (*fds[i] < 0)
			continue;
		if (dup3(*fds[i], place, O_CLOEXEC) < 0)
			return -errno;
		*fds[i] = place++;
	}
	return close_range((unsigned)place, ~0u, 0) < 0 ? -errno : 0;
}

static _Noreturn void run_child(struct launch *launch)
{
	if (keep_descriptors(launch) < 0)
		_exit(1);
	for (size_t i = 0; i < OSH_COUNT_OF(steps); i++) {
		int r = steps[i].run(launch);

		if (r < 0 && !osh_layer_off("steps"))
			fail_step(launch, &steps[i], -r);
	}
	_exit(1); /* not reached: the last step is exec */
}

/* ---- In the agent --------------------------------------------------------------- */

static int start_child(struct launch *launch, pid_t *ret_pid, int *ret_pidfd)
{
	int pidfd = -1;
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
			 (osh_layer_off("netns") ? 0 : CLONE_NEWNET) |
			 CLONE_INTO_CGROUP | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)launch->instance->cgroup_fd,
	};
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid < 0)
		return -errno;
	if (pid == 0)
		run_child(launch);
	*ret_pid = (pid_t)pid;
	*ret_pidfd = pidfd;
	return 0;
}

static void add_warning(char **warnings, const char *text)
{
	size_t len = *warnings ? strlen(*warnings) : 0;
	size_t more = strlen(text) + 2; /* a newline and a NUL */
	char *grown;

	if (len + more > WARNINGS_BYTES_MAX)
		return;
	grown = realloc(*warnings, len + more);
	if (!grown)
		return;
	snprintf(grown + len, more, "%s\n", text);
	*warnings = grown;
}

static int report_failure(const struct launch_report *report, const char *name, struct osh_err *err)
{
	return osh_err_set(err, report->code, "cannot launch sandbox %s: %s: %s%s%s%s%s", name,
			   report->step, report->text, report->text[0] ? ": " : "",
			   strerror(report->code), report->advice[0] ? "; " : "", report->advice);
}

/* Until the child has become init (end of file) or says that it cannot. */
static int follow_child(int fd, const char *name, char **warnings, struct osh_err *err)
{
	for (;;) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		struct launch_report report;
		size_t len;
		int n = poll(&wait, 1, STEPS_PATIENCE_MS);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			return osh_err_set(err, ETIMEDOUT, "cannot launch sandbox %s: its set-up hangs: "
							   "is a file system of the host unreachable?",
					   name);
		r = osh_recv_fds(fd, &report, sizeof(report), &len, NULL, 0, NULL);
		if (r < 0)
			return osh_err_sys(err, -r, "cannot launch sandbox %s", name);
		if (len == 0)
			return 0;
		if (report.code)
			return report_failure(&report, name, err);
		add_warning(warnings, report.text);
	}
}

static int own_directory(const struct osh_sandbox_instance *instance, const char *name, mode_t mode)
{
	char path[OSH_SANDBOX_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/%s", instance->dir, name);
	if (chown(path, instance->record.uid, instance->record.gid) < 0 || chmod(path, mode) < 0)
		return -errno;
	return 0;
}

static int prepare_record(struct osh_sandbox_instance *instance, const struct osh_sandbox_spec *spec)
{
	int r = record_set_providers(&instance->record, spec->providers);

	if (r == 0)
		r = sandbox_files_prepare(instance->host);
	/* Started again, it keeps the user whom its files belong to. */
	if (spec->policy->uid && !instance->was_launched)
		instance->record.uid = spec->policy->uid;
	if (spec->policy->gid && !instance->was_launched)
		instance->record.gid = spec->policy->gid;
	instance->record.keep = spec->keep;
	if (r == 0)
		r = own_directory(instance, "sandbox", 0755);
	if (r == 0)
		r = own_directory(instance, "tmp", 01777);
	return r;
}

/* Clone, follow, greet. On failure the child may still be there: the caller ends it. */
static int launch_child(struct osh_sandbox_instance *instance, struct launch *launch, char **warnings,
			struct osh_err *err)
{
	const char *name = instance->record.name;
	_cleanup_fd_ int reports = -1, report_end = -1, listener = -1;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return osh_err_sys(err, errno, "cannot launch sandbox %s", name);
	reports = pair[0];
	report_end = pair[1];
	r = connection_listen(instance->socket_path, &listener);
	if (r < 0)
		return osh_err_sys(err, -r, "cannot make %s", instance->socket_path);
	launch->listener_fd = listener;
	launch->report_fd = report_end;
	r = start_child(launch, &instance->record.init_pid, &instance->pid_io.fd);
	if (r < 0)
		return osh_err_sys(err, -r, "cannot start a process in new namespaces for sandbox %s "
					    "(openshelld must run as root)", name);
	report_end = osh_close(report_end);
	osh_crash_point();
	r = follow_child(reports, name, warnings, err);
	if (r < 0)
		return r;
	r = connection_open(instance->socket_path, instance->pid_io.fd, &instance->init_io.fd);
	if (r < 0)
		return osh_err_sys(err, -r, "cannot launch sandbox %s: openshell-init does not answer: "
					    "is %s of this version?", name, instance->host->init_path);
	return 0;
}

/* The record comes last: a crash before it leaves a cgroup that adoption empties. */
static int commit(struct osh_sandbox_instance *instance, struct osh_err *err)
{
	int r = process_start_time(instance->record.init_pid, &instance->record.init_start);

	if (r == 0)
		r = record_save(instance->dir, &instance->record);
	if (r == 0)
		r = sandbox_watch(instance);
	if (r < 0)
		return osh_err_sys(err, -r, "cannot record sandbox %s in %s", instance->record.name,
				   instance->dir);
	instance->was_launched = true;
	return 0;
}

static int set_limits_of(const struct osh_sandbox_instance *instance,
			 const struct osh_sandbox_limits *limits, char **warnings, struct osh_err *err)
{
	enum osh_limit failed;
	char text[160];
	int r = limits_apply(instance, limits, &failed);

	if (r < 0)
		return osh_err_sys(err, -r, "cannot limit %s of sandbox %s to %llu",
				   osh_limit_controller(failed), instance->record.name,
				   (unsigned long long)limits->of[failed]);
	for (int i = 0; i < OSH_LIMIT_COUNT; i++) {
		const char *controller = osh_limit_controller((enum osh_limit)i);

		if (!limits->of[i] || osh_sandbox_has_controller(instance->host, (enum osh_limit)i))
			continue;
		snprintf(text, sizeof(text),
			 "--%s is not enforced: this host's cgroup2 has no %s controller", controller,
			 controller);
		add_warning(warnings, text);
	}
	return 0;
}

int osh_sandbox_launch(struct osh_sandbox_instance *instance, const struct osh_sandbox_spec *spec,
		       char **ret_warnings, struct osh_err *err)
{
	struct launch launch = { .instance = instance, .spec = spec, .root_fd = -1,
				 .idmap_fd = instance->host->idmap_fd };
	char *warnings = NULL;
	int r = prepare_record(instance, spec);

	if (r < 0)
		return osh_err_sys(err, -r, "cannot prepare %s", instance->dir);
	launch.env = sandbox_environment(spec->env);
	if (!launch.env)
		return osh_err_sys(err, errno, "environment of sandbox %s", instance->record.name);
	r = set_limits_of(instance, &spec->limits, &warnings, err);
	if (r == 0)
		r = launch_child(instance, &launch, &warnings, err);
	if (r == 0)
		r = commit(instance, err);
	sandbox_strings_free(launch.env);
	if (r < 0) {
		(void)sandbox_halt(instance);
		free(warnings);
		return r;
	}
	if (ret_warnings)
		*ret_warnings = warnings;
	else
		free(warnings);
	return 0;
}
