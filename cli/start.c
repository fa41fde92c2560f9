#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli.h"
#include "progress.h"

#define AGENT "openshelld"
#define READY_TIMEOUT_MS 30000
#define LOG_TAIL_BYTES 2048

/* The agent's and nobody else's: what the user exported (a token, a proxy) must
 * not live on in a daemon's environment. */
#define AGENT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct launch {
	char program[PATH_MAX];
	char log[64];
	int log_fd;
	char notify_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int notify_fd;
	pid_t pid;
	int pid_fd;
};

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* As the build tree (same folder) and an installation (bin, sbin) have it. */
static bool find_beside(char path[PATH_MAX])
{
	static const char *const places[] = { "", "../sbin/" };
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (len <= 0)
		return false;
	self[len] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return false;
	*slash = '\0';
	for (size_t i = 0; i < OSH_COUNT_OF(places); i++) {
		int n = snprintf(path, PATH_MAX, "%s/%s" AGENT, self, places[i]);

		if (n > 0 && n < PATH_MAX && is_program(path))
			return true;
	}
	return false;
}

/* Absolute entries only: "." in root's PATH must not choose a daemon. */
static bool find_in_path(char path[PATH_MAX])
{
	const char *entry = getenv("PATH");

	while (entry && *entry) {
		size_t len = strcspn(entry, ":");
		int n = snprintf(path, PATH_MAX, "%.*s/" AGENT, (int)len, entry);

		if (entry[0] == '/' && n > 0 && n < PATH_MAX && is_program(path))
			return true;
		entry += len + (entry[len] == ':');
	}
	return false;
}

static int open_log(struct launch *launch)
{
	static const char *const places[] = { "/var/log/openshelld.log",
					      "/run/openshell/openshelld.log" };

	for (size_t i = 0; i < OSH_COUNT_OF(places); i++) {
		if (i == 1)
			(void)mkdir("/run/openshell", 0755);
		launch->log_fd = open(places[i],
				      O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
		if (launch->log_fd >= 0) {
			snprintf(launch->log, sizeof(launch->log), "%s", places[i]);
			return 0;
		}
	}
	return -errno;
}

/* The agent sends "READY=1" to the socket that NOTIFY_SOCKET names (sd_notify(3)). */
static int open_notify(struct launch *launch)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "/run/openshell-start.%d",
		 (int)getpid());
	launch->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (launch->notify_fd < 0)
		return -errno;
	(void)unlink(address.sun_path); /* left by a killed process that had our pid */
	if (bind(launch->notify_fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	memcpy(launch->notify_path, address.sun_path, sizeof(launch->notify_path));
	return 0;
}

static void launch_done(struct launch *launch)
{
	launch->log_fd = osh_close(launch->log_fd);
	launch->notify_fd = osh_close(launch->notify_fd);
	launch->pid_fd = osh_close(launch->pid_fd);
	if (launch->notify_path[0])
		(void)unlink(launch->notify_path);
}

/* In the child, between fork and exec. */
static void become_agent(const struct launch *launch)
{
	char notify[sizeof(launch->notify_path) + 16];
	char *argv[] = { (char *)AGENT, NULL };
	char *envp[] = { (char *)AGENT_PATH, notify, NULL };
	int null_fd = open("/dev/null", O_RDWR);
	sigset_t none;

	snprintf(notify, sizeof(notify), "NOTIFY_SOCKET=%s", launch->notify_path);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (setsid() < 0 || chdir("/") < 0 || null_fd < 0 || dup2(null_fd, 0) < 0 ||
	    dup2(launch->log_fd, 1) < 0 || dup2(launch->log_fd, 2) < 0)
		_exit(126);
	/* The caller's descriptors are not the agent's: it would hold a pipe open for ever. */
	if (syscall(SYS_close_range, 3u, ~0u, 0u) < 0)
		_exit(126);
	execve(launch->program, argv, envp);
	_exit(127);
}

static int spawn(struct launch *launch, struct osh_err *err)
{
	launch->pid = fork();
	if (launch->pid < 0)
		return osh_err_sys(err, errno, "cannot start %s", launch->program);
	if (launch->pid == 0)
		become_agent(launch);
	launch->pid_fd = (int)syscall(SYS_pidfd_open, launch->pid, 0u);
	if (launch->pid_fd < 0)
		return osh_err_sys(err, errno, "cannot watch %s", launch->program);
	return 0;
}

/* The last line the agent logged: why it ended. */
static void read_last_line(const struct launch *launch, char *line, size_t size)
{
	_cleanup_fd_ int fd = open(launch->log, O_RDONLY | O_CLOEXEC);
	char text[LOG_TAIL_BYTES + 1];
	struct stat st;
	ssize_t len = 0;
	char *start;

	if (fd >= 0 && fstat(fd, &st) == 0)
		len = pread(fd, text, LOG_TAIL_BYTES,
			    st.st_size > LOG_TAIL_BYTES ? st.st_size - LOG_TAIL_BYTES : 0);
	while (len > 0 && text[len - 1] == '\n')
		len--;
	text[len > 0 ? len : 0] = '\0';
	start = strrchr(text, '\n');
	snprintf(line, size, "%.*s", (int)size - 1, start ? start + 1 : text);
}

static int report_death(const struct launch *launch, struct osh_err *err)
{
	char line[256];
	int status = 0;

	if (waitpid(launch->pid, &status, 0) < 0)
		return osh_err_sys(err, errno, "cannot learn how %s ended", launch->program);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return osh_err_set(err, ENOEXEC, "cannot execute %s", launch->program);
	read_last_line(launch, line, sizeof(line));
	return osh_err_set(err, ECHILD, "%s ended at once; see %s: %s", launch->program,
			   launch->log, line);
}

static bool is_ready(const struct launch *launch)
{
	char text[256];
	ssize_t len = recv(launch->notify_fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	if (len <= 0)
		return false;
	text[len] = '\0';
	return strstr(text, "READY=1") != NULL;
}

static int wait_ready(const struct launch *launch, struct osh_progress *progress, struct osh_err *err)
{
	struct pollfd fds[] = {
		{ .fd = launch->notify_fd, .events = POLLIN },
		{ .fd = launch->pid_fd, .events = POLLIN },
	};
	int64_t deadline_ms = osh_cli_now_ms() + READY_TIMEOUT_MS;

	for (;; osh_progress_tick(progress)) {
		int64_t left = deadline_ms - osh_cli_now_ms();

		if (left <= 0)
			return osh_err_set(err, ETIMEDOUT,
					   "%s (pid %d) is not ready after %d seconds; see %s",
					   launch->program, (int)launch->pid,
					   READY_TIMEOUT_MS / 1000, launch->log);
		if (poll(fds, OSH_COUNT_OF(fds), osh_progress_wait_ms(progress, (int)left)) < 0 && errno != EINTR)
			return osh_err_sys(err, errno, "cannot wait for %s", launch->program);
		if ((fds[0].revents & POLLIN) && is_ready(launch))
			return 0;
		if (fds[1].revents & POLLIN)
			return report_death(launch, err);
	}
}

static int start_and_wait(struct launch *launch, struct osh_err *err)
{
	struct osh_progress progress;
	int r = open_log(launch);

	if (r < 0)
		return osh_err_sys(err, -r, "cannot open a log file for " AGENT);
	r = open_notify(launch);
	if (r < 0)
		return osh_err_sys(err, -r, "cannot make a socket in /run to hear from " AGENT);
	r = spawn(launch, err);
	if (r < 0)
		return r;
	osh_progress_begin(&progress, "starting " AGENT);
	r = wait_ready(launch, &progress, err);
	osh_progress_end(&progress);
	return r;
}

int osh_start_agent(struct osh_err *err)
{
	struct launch launch = { .log_fd = -1, .notify_fd = -1, .pid_fd = -1 };
	int r;

	if (!find_beside(launch.program) && !find_in_path(launch.program))
		return osh_err_set(err, ENOENT,
				   "no agent runs and no " AGENT " is found beside openshell,"
				   " in ../sbin or in PATH: install it");
	r = start_and_wait(&launch, err);
	if (r == 0)
		osh_cli_note("no agent was running: started %s (pid %d, log %s)", launch.program,
			     (int)launch.pid, launch.log);
	launch_done(&launch);
	return r;
}
