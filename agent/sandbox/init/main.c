#include "init.h"
#include "terminal.h"

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

/* The command that the sandbox was made for, and what became of it. */
struct first_command {
	pid_t pid;                 /* 0: none yet */
	bool ended;
	int status;
	struct terminal *terminal; /* NULL: it was given none */
};

static struct {
	int listener, connection, signals;
	struct command commands[OSH_COMMANDS_MAX];
	struct first_command first;
	/* Of running programs, and of ended ones as long as somebody reads. */
	struct program_terminal {
		pid_t pid;                 /* 0: it has ended */
		struct terminal *terminal; /* NULL: free slot; owned */
	} terminals[OSH_COMMANDS_MAX];
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

static int tell(uint32_t type, uint64_t id, int32_t value, const char *text, const int *fds,
		size_t fd_count)
{
	struct osh_init_message message = { .type = type, .value = value, .id = id };

	if (init.connection < 0)
		return -ENOTCONN;
	if (text)
		snprintf(message.text, sizeof(message.text), "%s", text);
	return osh_send_fds(init.connection, &message, sizeof(message), fds, fd_count);
}

/* As tell, where the agent cannot go on without the answer. */
static void answer(uint32_t type, uint64_t id, int32_t value, const char *text)
{
	if (tell(type, id, value, text, NULL, 0) < 0)
		drop_agent();
}

/* It runs. With a terminal: one more reader of it, and who writes to it. */
static void answer_started(uint64_t id, pid_t pid, struct terminal *terminal)
{
	int fds[2], r = terminal ? terminal_attach(terminal, &fds[0]) : 0;

	if (r == 0 && terminal) {
		fds[1] = terminal->master;
		r = tell(OSH_INIT_STARTED, id, pid, NULL, fds, terminal->master >= 0 ? 2 : 1);
		osh_close(fds[0]);
	} else if (r == 0) {
		r = tell(OSH_INIT_STARTED, id, pid, NULL, NULL, 0);
	}
	if (r < 0)
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
	answer(OSH_INIT_HELLO, 0, OSH_INIT_VERSION, NULL);
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

static struct program_terminal *free_terminal_slot(void)
{
	for (size_t i = 0; i < OSH_COMMANDS_MAX; i++) {
		if (!init.terminals[i].terminal)
			return &init.terminals[i];
	}
	return NULL;
}

static struct program_terminal *find_terminal(pid_t pid)
{
	for (size_t i = 0; i < OSH_COMMANDS_MAX; i++) {
		if (init.terminals[i].terminal && init.terminals[i].pid == pid)
			return &init.terminals[i];
	}
	return NULL;
}

/* Before there is a program, so that none is started that nobody could look at. */
static int check_room(const struct init_command *command, char *text, size_t size)
{
	if (!free_slot() || (command->head.tty && !free_terminal_slot())) {
		snprintf(text, size, "%d commands run already: end one first", OSH_COMMANDS_MAX);
		return -EAGAIN;
	}
	if (command->head.first && init.first.pid && !init.first.ended) {
		snprintf(text, size, "the first command still runs");
		return -EBUSY;
	}
	return 0;
}

/* Takes the pty over. NULL: no memory; then the program is hung up. */
static struct terminal *keep_terminal(pid_t pid, const struct init_pty *pty, bool is_first)
{
	struct terminal *terminal = terminal_new(pty->master, pty->slave,
						 is_first ? OSH_REPLAY_BYTES : OSH_BACKLOG_BYTES);

	if (!terminal) {
		osh_close(pty->master);
		osh_close(pty->slave);
		return NULL;
	}
	terminal->is_retained = is_first;
	*free_terminal_slot() = (struct program_terminal){ pid, terminal };
	return terminal;
}

/* An earlier one's terminal goes when the last one who reads it does. */
static void become_first(pid_t pid, struct terminal *terminal)
{
	init.first = (struct first_command){ .pid = pid, .terminal = terminal };
}

static void start_command(uint64_t id, const struct init_command *command, const int stdio[static 3])
{
	struct init_pty pty = { -1, -1 };
	char text[sizeof(((struct osh_init_message *)0)->text)];
	struct terminal *terminal = NULL;
	pid_t pid;
	int r = check_room(command, text, sizeof(text));

	if (r == 0)
		r = init_spawn(command, stdio, &pid, &pty, text, sizeof(text));
	if (r < 0) {
		answer(OSH_INIT_FAILED, id, -r, text);
		return;
	}
	if (command->head.tty)
		terminal = keep_terminal(pid, &pty, command->head.first);
	if (command->head.first)
		become_first(pid, terminal);
	if (command->head.tty && !terminal) {
		answer(OSH_INIT_FAILED, id, ENOMEM, "no memory for a terminal");
		return;
	}
	*free_slot() = (struct command){ .pid = pid, .id = id, .of_this_agent = true };
	answer_started(id, pid, terminal);
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
		answer(OSH_INIT_FAILED, id, -r, "openshell-init cannot read the command");
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

static void report_end(struct command *command);

static void handle_attach(uint64_t id)
{
	struct command *slot = free_slot();

	if (!init.first.pid || !init.first.terminal) {
		answer(OSH_INIT_FAILED, id, ENOENT, "the sandbox has no first command with a terminal");
		return;
	}
	if (!slot || terminal_is_full(init.first.terminal)) {
		answer(OSH_INIT_FAILED, id, EAGAIN, "too many are attached already");
		return;
	}
	*slot = (struct command){ .pid = init.first.pid, .id = id, .of_this_agent = true };
	answer_started(id, init.first.pid, init.first.terminal);
	if (!init.first.ended)
		return;
	slot->ended = true;
	slot->status = init.first.status;
	report_end(slot);
}

static void handle_retain(uint64_t id)
{
	struct command *command = find_command(id);
	struct program_terminal *found = command ? find_terminal(command->pid) : NULL;

	if (found)
		found->terminal->is_retained = true;
}

/* Returns false when there is nothing more to read. */
static bool read_agent(void)
{
	struct osh_init_message message;
	int fds[OSH_FDS_MAX];
	size_t len, fd_count = 0;
	int r = osh_recv_fds(init.connection, &message, sizeof(message), &len, fds, OSH_FDS_MAX,
			     &fd_count);

	if (r == -EAGAIN)
		return false;
	if (r < 0 || len != sizeof(message)) {
		drop_agent();
	} else if (message.type == OSH_INIT_SPAWN) {
		handle_spawn(message.id, fds, fd_count);
	} else if (message.type == OSH_INIT_SIGNAL) {
		handle_signal(message.id, message.value);
	} else if (message.type == OSH_INIT_ATTACH) {
		handle_attach(message.id);
	} else if (message.type == OSH_INIT_RETAIN) {
		handle_retain(message.id);
	}
	for (size_t i = 0; i < fd_count; i++)
		osh_close(fds[i]);
	return init.connection >= 0;
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
	r = tell(OSH_INIT_EXITED, command->id, command->status, NULL, NULL, 0);
	if (r == 0)
		*command = (struct command){ 0 };
	else if (r != -EAGAIN)
		drop_agent();
}

/* Everybody who waits for it is told: there are several where some are attached. */
static void note_end(pid_t pid, int status)
{
	int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	struct program_terminal *found = find_terminal(pid);

	if (found) {
		terminal_end(found->terminal);
		found->pid = 0;
	}
	if (init.first.pid == pid && !init.first.ended) {
		init.first.ended = true;
		init.first.status = code;
	}
	for (size_t i = 0; i < OSH_COMMANDS_MAX; i++) {
		struct command *command = &init.commands[i];

		if (command->pid != pid || command->ended)
			continue;
		command->ended = true;
		command->status = code;
		report_end(command);
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

	signal(SIGPIPE, SIG_IGN); /* a reader that went away: seen as a failed write */
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

/* The first command's stays for who attaches later. */
static void free_terminals(void)
{
	for (size_t i = 0; i < OSH_COMMANDS_MAX; i++) {
		struct terminal *terminal = init.terminals[i].terminal;

		if (!terminal || terminal == init.first.terminal || !terminal_is_over(terminal))
			continue;
		terminal_free(terminal);
		init.terminals[i] = (struct program_terminal){ 0 };
	}
}

/* Returns how many polls they take; *ret_count terminals, in this order. */
static size_t prepare_terminals(struct pollfd *polls, struct terminal **terminals, size_t *ret_count)
{
	size_t count = 0;

	for (size_t i = 0; i < OSH_COMMANDS_MAX; i++) {
		if (!init.terminals[i].terminal)
			continue;
		terminals[count] = init.terminals[i].terminal;
		terminal_prepare(terminals[count], polls + count * OSH_TERMINAL_POLLS);
		count++;
	}
	*ret_count = count;
	return count * OSH_TERMINAL_POLLS;
}

/* A reader that detaches has the agent say so, and closes its pipe then. Hence what the agent
 * says is asked for behind the pipes, and heard before their ends count. */
static void run_once(void)
{
	enum { SIGNALS, LISTENER, CONNECTION, OWN };
	static struct pollfd polls[OSH_COMMANDS_MAX * OSH_TERMINAL_POLLS + OWN];
	static struct terminal *terminals[OSH_COMMANDS_MAX];
	bool waiting = report_ends();
	struct pollfd *own;
	size_t count;

	free_terminals();
	own = polls + prepare_terminals(polls, terminals, &count);
	own[SIGNALS] = (struct pollfd){ .fd = init.signals, .events = POLLIN };
	own[LISTENER] = (struct pollfd){ .fd = init.listener, .events = POLLIN };
	own[CONNECTION] = (struct pollfd){ .fd = init.connection, .events = POLLIN };
	if (waiting)
		own[CONNECTION].events |= POLLOUT;
	if (poll(polls, (nfds_t)(own + OWN - polls), -1) < 0)
		return; /* EINTR: nothing else can be repaired here */
	if (own[CONNECTION].revents & (POLLIN | POLLHUP | POLLERR)) {
		while (read_agent())
			continue;
	}
	if (own[SIGNALS].revents)
		reap();
	for (size_t i = 0; i < count; i++)
		terminal_serve(terminals[i], polls + i * OSH_TERMINAL_POLLS);
	if (own[LISTENER].revents)
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
