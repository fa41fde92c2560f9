#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

extern char **environ;

/* Why a child could not become the program, through a pipe that exec closes. */
enum failed_step { STEP_TERMINAL, STEP_STDIO, STEP_CWD, STEP_EXEC };

struct failure {
	enum failed_step step;
	int code;
};

/* ---- The command, from the agent's memfd ---------------------------------------- */

void init_command_done(struct init_command *command)
{
	free(command->bytes);
	free(command->argv);
	free(command->env);
	*command = (struct init_command){ 0 };
}

static char *next_string(char **at, const char *end)
{
	char *string = *at;
	char *nul = memchr(string, '\0', (size_t)(end - string));

	if (!nul)
		return NULL;
	*at = nul + 1;
	return string;
}

static bool same_variable(const char *a, const char *b)
{
	size_t len = strcspn(a, "=");

	return strncmp(a, b, len) == 0 && b[len] == '=';
}

/* Init's own environment is the sandbox's: a later setting of a name wins. */
static void set_variable(char **env, size_t *count, char *setting)
{
	for (size_t i = 0; i < *count; i++) {
		if (same_variable(setting, env[i])) {
			env[i] = setting;
			return;
		}
	}
	env[(*count)++] = setting;
}

static bool has_variable(char *const *env, const char *setting)
{
	for (; *env; env++) {
		if (same_variable(setting, *env))
			return true;
	}
	return false;
}

static int split_strings(struct init_command *command, char *at, const char *end)
{
	static char plain_terminal[] = "TERM=xterm";
	size_t own = 0, count = 0;

	while (environ[own])
		own++;
	command->argv = calloc((size_t)command->head.argc + 1, sizeof(char *));
	command->env = calloc(own + command->head.envc + 2, sizeof(char *));
	if (!command->argv || !command->env)
		return -ENOMEM;
	command->cwd = next_string(&at, end);
	if (!command->cwd)
		return -EBADMSG;
	for (uint32_t i = 0; i < command->head.argc; i++) {
		command->argv[i] = next_string(&at, end);
		if (!command->argv[i])
			return -EBADMSG;
	}
	for (size_t i = 0; i < own; i++)
		command->env[count++] = environ[i];
	for (uint32_t i = 0; i < command->head.envc; i++) {
		char *setting = next_string(&at, end);

		if (!setting || !strchr(setting, '='))
			return -EBADMSG;
		set_variable(command->env, &count, setting);
	}
	/* A terminal without a name for it makes programs fail in odd ways. */
	if (command->head.tty && !has_variable(command->env, plain_terminal))
		command->env[count++] = plain_terminal;
	return at == end ? 0 : -EBADMSG;
}

int init_command_read(int fd, struct init_command *ret_command)
{
	struct init_command command = { 0 };
	struct stat st;
	size_t len;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((size_t)st.st_size < sizeof(command.head) || st.st_size > OSH_COMMAND_BYTES_MAX)
		return -EBADMSG;
	len = (size_t)st.st_size;
	command.bytes = malloc(len);
	if (!command.bytes)
		return -ENOMEM;
	r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : osh_read_full(fd, command.bytes, len);
	if (r == 0) {
		memcpy(&command.head, command.bytes, sizeof(command.head));
		if (command.head.argc == 0 || command.head.argc > OSH_COMMAND_STRINGS_MAX ||
		    command.head.envc > OSH_COMMAND_STRINGS_MAX)
			r = -EBADMSG;
	}
	if (r == 0)
		r = split_strings(&command, command.bytes + sizeof(command.head),
				  command.bytes + len);
	if (r < 0) {
		init_command_done(&command);
		return r;
	}
	*ret_command = command;
	return 0;
}

/* ---- In the child --------------------------------------------------------------- */

static void fail(int report_fd, enum failed_step step)
{
	struct failure failure = { .step = step, .code = errno };

	(void)!write(report_fd, &failure, sizeof(failure));
	_exit(127);
}

/* The agent ignores some signals and init blocks some; a program starts with none of that. */
static void reset_signals(void)
{
	const struct sigaction by_default = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &by_default, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static const char *variable(char *const *env, const char *name)
{
	size_t len = strlen(name);

	for (; *env; env++) {
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return *env + len + 1;
	}
	return NULL;
}

/* execvpe(3) looks in init's PATH; this looks in the one the program will have. errno
 * says why nothing could be executed; a file that may not be executed does not hide a
 * later one that may. */
static void exec_by_path(char *const *argv, char *const *env)
{
	const char *dirs = variable(env, "PATH");
	int code = ENOENT;
	char path[PATH_MAX];

	if (argv[0][0] == '\0') {
		errno = ENOENT;
		return;
	}
	if (strchr(argv[0], '/')) {
		execve(argv[0], argv, env);
		return;
	}
	while (dirs && *dirs) {
		size_t len = strcspn(dirs, ":");
		int n = snprintf(path, sizeof(path), "%.*s/%s", (int)len, dirs, argv[0]);

		if (len && n > 0 && (size_t)n < sizeof(path)) {
			execve(path, argv, env);
			if (errno != ENOENT && errno != ENOTDIR)
				code = errno;
		}
		dirs += len + (dirs[len] == ':');
	}
	errno = code;
}

static int take_stdio(const int stdio[static 3])
{
	/* Above 2 first, so that one does not overwrite another's source. */
	int high[3];

	for (int i = 0; i < 3; i++) {
		high[i] = fcntl(stdio[i], F_DUPFD, 10);
		if (high[i] < 0)
			return -1;
	}
	for (int i = 0; i < 3; i++) {
		if (dup2(high[i], i) < 0)
			return -1;
	}
	return 0;
}

static int take_terminal(int slave)
{
	const int stdio[3] = { slave, slave, slave };

	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return -1;
	return take_stdio(stdio);
}

static _Noreturn void become_program(const struct init_command *command, const int stdio[static 3],
				     int slave, int report_fd)
{
	(void)setsid();
	reset_signals();
	if (slave >= 0 && take_terminal(slave) < 0)
		fail(report_fd, STEP_TERMINAL);
	if (slave < 0 && take_stdio(stdio) < 0)
		fail(report_fd, STEP_STDIO);
	if (close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		fail(report_fd, STEP_STDIO);
	if (chdir(command->cwd) < 0)
		fail(report_fd, STEP_CWD);
	exec_by_path(command->argv, command->env);
	fail(report_fd, STEP_EXEC);
	_exit(127);
}

/* ---- In init -------------------------------------------------------------------- */

static void describe(const struct failure *failure, const struct init_command *command, char *text,
		     size_t size)
{
	const char *why = strerror(failure->code);

	switch (failure->step) {
	case STEP_TERMINAL:
		snprintf(text, size, "cannot take the terminal: %s", why);
		return;
	case STEP_STDIO:
		snprintf(text, size, "cannot hand standard input and output over: %s", why);
		return;
	case STEP_CWD:
		snprintf(text, size, "cannot enter directory %s: %s", command->cwd, why);
		return;
	case STEP_EXEC:
		if (failure->code == ENOENT)
			snprintf(text, size, "no such command: %s", command->argv[0]);
		else
			snprintf(text, size, "cannot execute %s: %s", command->argv[0], why);
		return;
	}
}

static int open_terminal(const struct init_command *command, int *ret_master, int *ret_slave)
{
	struct winsize size = { .ws_row = command->head.rows, .ws_col = command->head.columns };

	if (openpty(ret_master, ret_slave, NULL, NULL, &size) < 0)
		return -errno;
	osh_set_cloexec(*ret_master, 1);
	osh_set_cloexec(*ret_slave, 1);
	return osh_set_nonblocking(*ret_master);
}

/* Wait until the child has become the program (the pipe closes) or says why not. */
static int await_exec(int report_fd, struct failure *failure)
{
	int r = osh_read_full(report_fd, failure, sizeof(*failure));

	return r == -ENODATA ? 0 : r < 0 ? r : -failure->code;
}

int init_spawn(const struct init_command *command, const int stdio[static 3], pid_t *ret_pid,
	       struct init_pty *ret_pty, char *text, size_t size)
{
	_cleanup_fd_ int master = -1, slave = -1, report = -1, report_end = -1;
	struct failure failure = { .step = STEP_STDIO };
	int pipe_fds[2];
	pid_t pid;
	int r;

	r = command->head.tty ? open_terminal(command, &master, &slave) : 0;
	if (r == 0 && pipe2(pipe_fds, O_CLOEXEC) < 0)
		r = -errno;
	if (r < 0) {
		snprintf(text, size, "cannot open a terminal: %s", strerror(-r));
		return r;
	}
	report = pipe_fds[0];
	report_end = pipe_fds[1];
	pid = fork();
	if (pid < 0) {
		r = -errno;
		snprintf(text, size, "cannot start a process: %s", strerror(-r));
		return r;
	}
	if (pid == 0)
		become_program(command, stdio, slave, report_end);
	report_end = osh_close(report_end);
	r = await_exec(report, &failure);
	if (r < 0) {
		failure.code = -r;
		describe(&failure, command, text, size);
		return r; /* the main loop reaps the child */
	}
	*ret_pid = pid;
	*ret_pty = (struct init_pty){ osh_take_fd(&master), osh_take_fd(&slave) };
	return 0;
}
