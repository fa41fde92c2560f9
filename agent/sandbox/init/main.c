#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

/* A program that the agent asked for, from its start until the agent knows its end. */
struct command {
	pid_t pid;          /* 0: free slot */
	uint64_t id;
	bool of_this_agent; /* asked for over the connection of now */
	bool ended;         /* status waits for room in the socket */
	int status;
};

static struct {
	int listener, connection, signals;
	struct command commands[OSH_COMMANDS_MAX];
} init = { .listener = OSH_INIT_LISTENER_FD, .connection = -1, .signals = -1 };

/* ---- The agent ------------------------------------------------------------------ */

/* A new agent numbers anew: what the old one started runs on, its end is nobody's news. */
static void drop_agent(void)
{
	init.connection = osh_close(init.connection);
	for (size_t i = 0; i < OSH_COMMANDS_MAX; i++) {
		init.commands[i].of_this_agent = false;
		if (init.commands[i].ended)
			init.commands[i] = (struct command){ 0 };
	}
}

static int tell(uint32_t type, uint64_t id, int32_t value, const char *text, int fd)
{
	struct osh_init_message message = { .type = type, .value = value, .id = id };

	if (init.connection < 0)
		return -ENOTCONN;
	if (text)
		snprintf(message.text, sizeof(message.text), "%s", text);
	return osh_send_fds(init.connection, &message, sizeof(message), &fd, fd >= 0 ? 1 : 0);
}

/* As tell, where the agent cannot go on without the answer. */
static void answer(uint32_t type, uint64_t id, int32_t value, const char *text, int fd)
{
	if (tell(type, id, value, text, fd) < 0)
		drop_agent();
}

/* Only root outside this pid namespace (where its pid cannot be named, hence 0): the
 * socket's directory keeps others away, this is the second lock. */
static bool is_agent(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == 0 &&
	       peer.pid == 0;
}

/* The newest agent is the right one: an older one is dead or about to be. */
static void accept_agent(void)
{
	int fd = accept4(init.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (!is_agent(fd)) {
		osh_close(fd);
		return;
	}
	drop_agent();
	init.connection = fd;
	answer(OSH_INIT_HELLO, 0, OSH_INIT_VERSION, NULL, -1);
}

/* ---- Commands ------------------------------------------------------------------- */

static struct command *find_command(uint64_t id)
{
	for (size_t i = 0; i < OSH_COMMANDS_MAX; i++) {
		struct command *command = &init.commands[i];

		if (command->pid && command->of_this_agent && command->id == id)
			return command;
	}
	return NULL;
}

static struct command *free_slot(void)
{
	for (size_t i = 0; i < OSH_COMMANDS_MAX; i++) {
		if (!init.commands[i].pid)
			return &init.commands[i];
	}
	return NULL;
}

static void start_command(uint64_t id, const struct init_command *command, const int stdio[static 3])
{
	struct command *slot = free_slot();
	char text[sizeof(((struct osh_init_message *)0)->text)];
	int master = -1;
	pid_t pid;
	int r;

	if (!slot) {
		snprintf(text, sizeof(text), "%d commands run already: end one first",
			 OSH_COMMANDS_MAX);
		answer(OSH_INIT_FAILED, id, EAGAIN, text, -1);
		return;
	}
	r = init_spawn(command, stdio, &pid, &master, text, sizeof(text));
	if (r < 0) {
		answer(OSH_INIT_FAILED, id, -r, text, -1);
		return;
	}
	*slot = (struct command){ .pid = pid, .id = id, .of_this_agent = true };
	answer(OSH_INIT_STARTED, id, pid, NULL, master);
	osh_close(master);
}

static void handle_spawn(uint64_t id, const int *fds, size_t fd_count)
{
	const int none[3] = { -1, -1, -1 };
	struct init_command command;
	int r = fd_count ? init_command_read(fds[0], &command) : -EBADMSG;

	if (r == 0 && fd_count != (command.head.tty ? 1u : 4u)) {
		init_command_done(&command);
		r = -EBADMSG;
	}
	if (r < 0) {
		answer(OSH_INIT_FAILED, id, -r, "openshell-init cannot read the command", -1);
		return;
	}
	start_command(id, &command, command.head.tty ? none : fds + 1);
	init_command_done(&command);
}

/* Its process group: a command leads a session, so the group bears its pid. */
static void handle_signal(uint64_t id, int sig)
{
	struct command *command = find_command(id);

	if (command && !command->ended && sig > 0 && sig < NSIG)
		(void)kill(-command->pid, sig);
}

static void read_agent(void)
{
	struct osh_init_message message;
	int fds[OSH_FDS_MAX];
	size_t len, fd_count = 0;
	int r = osh_recv_fds(init.connection, &message, sizeof(message), &len, fds, OSH_FDS_MAX,
			     &fd_count);

	if (r == -EAGAIN)
		return;
	if (r < 0 || len != sizeof(message)) {
		drop_agent();
	} else if (message.type == OSH_INIT_SPAWN) {
		handle_spawn(message.id, fds, fd_count);
	} else if (message.type == OSH_INIT_SIGNAL) {
		handle_signal(message.id, message.value);
	}
	for (size_t i = 0; i < fd_count; i++)
		osh_close(fds[i]);
}

/* ---- Ends ----------------------------------------------------------------------- */

/* A full socket keeps the status here until the agent reads: nothing is lost. */
static void report_end(struct command *command)
{
	int r;

	if (!command->of_this_agent) {
		*command = (struct command){ 0 };
		return;
	}
	r = tell(OSH_INIT_EXITED, command->id, command->status, NULL, -1);
	if (r == 0)
		*command = (struct command){ 0 };
	else if (r != -EAGAIN)
		drop_agent();
}

static void note_end(pid_t pid, int status)
{
	for (size_t i = 0; i < OSH_COMMANDS_MAX; i++) {
		struct command *command = &init.commands[i];

		if (command->pid != pid || command->ended)
			continue;
		command->ended = true;
		command->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status)
						      : WEXITSTATUS(status);
		report_end(command);
		return;
	}
}

static void reap(void)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(init.signals, &info, sizeof(info)) > 0)
		continue;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		note_end(pid, status);
}

static bool report_ends(void)
{
	bool waiting = false;

	for (size_t i = 0; i < OSH_COMMANDS_MAX; i++) {
		if (init.commands[i].ended) {
			report_end(&init.commands[i]);
			waiting = waiting || init.commands[i].ended;
		}
	}
	return waiting;
}

/* ---- The loop ------------------------------------------------------------------- */

static int prepare(void)
{
	sigset_t blocked;

	/* The sandbox's programs are of the same user: they may not look into this one. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD);
	if (sigprocmask(SIG_SETMASK, &blocked, NULL) < 0)
		return -errno;
	init.signals = signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK);
	if (init.signals < 0 || osh_set_cloexec(init.listener, 1) < 0)
		return -errno;
	return osh_set_nonblocking(init.listener);
}

static void run_once(void)
{
	bool waiting = report_ends();
	struct pollfd polls[3] = {
		{ .fd = init.signals, .events = POLLIN },
		{ .fd = init.listener, .events = POLLIN },
		{ .fd = init.connection, .events = POLLIN },
	};

	if (waiting)
		polls[2].events |= POLLOUT;
	if (poll(polls, 3, -1) < 0)
		return; /* EINTR: nothing else can be repaired here */
	if (polls[0].revents)
		reap();
	if (polls[2].revents & (POLLIN | POLLHUP | POLLERR))
		read_agent();
	if (polls[1].revents)
		accept_agent();
}

int main(void)
{
	/* Also when a program inside starts it: it is in the sandbox's root. */
	if (getpid() != 1 || prepare() < 0) {
		static const char text[] = "openshell-init: is started by openshelld as pid 1 of a sandbox\n";

		(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
		return 1;
	}
	for (;;)
		run_once();
}
