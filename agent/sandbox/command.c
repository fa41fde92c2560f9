/* Programs inside: asked of init, answered through the loop. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#define MESSAGES_PER_TURN 64
#define STATUS_KILLED (128 + SIGKILL)

struct pending_command {
	struct pending_command *next;
	uint64_t id;
	bool tty, started;
	bool holds; /* not hung up when its caller goes */
	bool abandoned; /* nobody listens; kept until init says that it ended */
	struct osh_sandbox_command_events events;
};

static const struct osh_sandbox_terminal no_terminal = { -1, -1 };

static struct pending_command *find_command(struct osh_sandbox_instance *instance, uint64_t id)
{
	struct pending_command *command;

	LL_FOREACH(instance->commands, command) {
		if (command->id == id)
			return command;
	}
	return NULL;
}

static struct pending_command *take_command(struct osh_sandbox_instance *instance,
					    struct pending_command *command)
{
	LL_DELETE(instance->commands, command);
	instance->command_count--;
	return command;
}

static void send_order(struct osh_sandbox_instance *instance, uint32_t type, uint64_t id, int value)
{
	const struct osh_init_message message = { .type = type, .id = id, .value = value };

	if (instance->init_io.fd >= 0)
		(void)osh_send_fds(instance->init_io.fd, &message, sizeof(message), NULL, 0);
}

static void send_signal(struct osh_sandbox_instance *instance, uint64_t id, int sig)
{
	send_order(instance, OSH_INIT_SIGNAL, id, sig);
}

/* ---- Asking --------------------------------------------------------------------- */

/* Returns how many, or -E2BIG. */
static int append_strings(struct osh_buf *buf, const char *const *strings)
{
	int count = 0;

	for (; strings && strings[count]; count++) {
		if (count >= OSH_COMMAND_STRINGS_MAX ||
		    osh_buf_append(buf, strings[count], strlen(strings[count]) + 1) < 0)
			return -E2BIG;
	}
	return count;
}

static bool are_settings(const char *const *env)
{
	for (; env && *env; env++) {
		if ((*env)[0] == '=' || !strchr(*env, '='))
			return false;
	}
	return true;
}

/* The command as init reads it, in a sealed memfd: arguments may be longer than a message. */
static int command_memfd(const struct osh_sandbox_command *command, struct osh_err *err)
{
	const char *cwd = command->cwd ? command->cwd : OSH_SANDBOX_HOME;
	struct osh_init_command head = {
		.tty = command->tty, .first = command->is_first, .rows = command->rows, .columns = command->columns,
	};
	struct osh_buf buf;
	int argc, envc = 0, fd;

	osh_buf_init(&buf, OSH_COMMAND_BYTES_MAX);
	argc = osh_buf_append(&buf, &head, sizeof(head));
	if (argc == 0)
		argc = osh_buf_append(&buf, cwd, strlen(cwd) + 1);
	if (argc == 0)
		argc = append_strings(&buf, command->argv);
	if (argc >= 0)
		envc = append_strings(&buf, command->env);
	if (argc < 0 || envc < 0) {
		osh_buf_done(&buf);
		return osh_err_set(err, E2BIG, "arguments and environment are longer than %u bytes",
				   OSH_COMMAND_BYTES_MAX);
	}
	head.argc = (uint32_t)argc;
	head.envc = (uint32_t)envc;
	memcpy(osh_buf_bytes(&buf), &head, sizeof(head));
	fd = osh_memfd_sealed("openshell-command", osh_buf_bytes(&buf), buf.len);
	osh_buf_done(&buf);
	return fd < 0 ? osh_err_sys(err, -fd, "cannot hand the command over") : fd;
}

static int check_room(const struct osh_sandbox_instance *instance, struct osh_err *err)
{
	if (instance->gone || instance->init_io.fd < 0)
		return osh_err_set(err, ESRCH, "sandbox %s is not running", instance->record.name);
	if (instance->command_count >= OSH_COMMANDS_MAX)
		return osh_err_set(err, EAGAIN, "%d commands run in sandbox %s already: end one first",
				   OSH_COMMANDS_MAX, instance->record.name);
	return 0;
}

static int check_command(const struct osh_sandbox_command *command, struct osh_err *err)
{
	if (!command->argv || !command->argv[0])
		return osh_err_set(err, EINVAL, "no command given");
	if (!are_settings(command->env))
		return osh_err_set(err, EINVAL, "an environment setting has the form NAME=VALUE");
	return 0;
}

/* Send what asks for it, and wait for the answers. */
static int ask(struct osh_sandbox_instance *instance, uint32_t type, const int *fds, size_t fd_count,
	       const struct pending_command *wanted, struct osh_err *err)
{
	const struct osh_init_message message = { .type = type, .id = ++instance->next_command };
	struct pending_command *pending = calloc(1, sizeof(*pending));
	int r;

	if (!pending)
		return osh_err_sys(err, ENOMEM, "sandbox %s", instance->record.name);
	*pending = *wanted;
	pending->id = message.id;
	r = osh_send_fds(instance->init_io.fd, &message, sizeof(message), fds, fd_count);
	if (r < 0) {
		free(pending);
		return osh_err_sys(err, -r, "sandbox %s takes no command", instance->record.name);
	}
	LL_PREPEND(instance->commands, pending);
	instance->command_count++;
	return 0;
}

int osh_sandbox_spawn(struct osh_sandbox_instance *instance, const struct osh_sandbox_command *command,
		      const struct osh_sandbox_command_events *events, struct osh_err *err)
{
	const struct pending_command wanted = {
		.tty = command->tty, .holds = command->is_first && command->tty, .events = *events,
	};
	_cleanup_fd_ int memfd = -1;
	int fds[4], r;

	r = check_room(instance, err);
	if (r == 0)
		r = check_command(command, err);
	if (r < 0)
		return r;
	memfd = command_memfd(command, err);
	if (memfd < 0)
		return memfd;
	fds[0] = memfd;
	memcpy(fds + 1, command->stdio, sizeof(command->stdio));
	return ask(instance, OSH_INIT_SPAWN, fds, command->tty ? 1 : 4, &wanted, err);
}

int osh_sandbox_attach(struct osh_sandbox_instance *instance,
		       const struct osh_sandbox_command_events *events, struct osh_err *err)
{
	const struct pending_command wanted = { .tty = true, .holds = true, .events = *events };
	int r = check_room(instance, err);

	return r < 0 ? r : ask(instance, OSH_INIT_ATTACH, NULL, 0, &wanted, err);
}

static struct pending_command *find_by_context(struct osh_sandbox_instance *instance, const void *context)
{
	struct pending_command *command;

	LL_FOREACH(instance->commands, command) {
		if (!command->abandoned && command->events.context == context)
			break;
	}
	return command;
}

void osh_sandbox_spawn_detach(struct osh_sandbox_instance *instance, const void *context)
{
	struct pending_command *command = find_by_context(instance, context);

	if (!command)
		return;
	send_order(instance, OSH_INIT_RETAIN, command->id, 0);
	command->abandoned = true;
	command->holds = true;
}

void osh_sandbox_spawn_signal(struct osh_sandbox_instance *instance, const void *context, int sig)
{
	struct pending_command *command = find_by_context(instance, context);

	if (command && command->started)
		send_signal(instance, command->id, sig);
}

void osh_sandbox_spawn_forget(struct osh_sandbox_instance *instance, const void *context)
{
	struct pending_command *command = find_by_context(instance, context);

	if (command)
		command->abandoned = true;
}

void osh_sandbox_spawn_abandon(struct osh_sandbox_instance *instance, const void *context)
{
	struct pending_command *command = find_by_context(instance, context);

	if (!command)
		return;
	command->abandoned = true;
	if (command->started && !command->holds)
		send_signal(instance, command->id, SIGHUP);
}

/* ---- Answers -------------------------------------------------------------------- */

/* Only what a terminal is made of: what came is handed on to a user. */
static bool is_pty_master(int fd)
{
	int number;

	return ioctl(fd, TIOCGPTN, &number) == 0;
}

static bool is_pipe_to_read(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
	       (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
}

static bool is_terminal(const int fds[static 2], size_t count)
{
	return count >= 1 && is_pipe_to_read(fds[0]) && (count == 1 || is_pty_master(fds[1]));
}

/* Each handler returns 0, or -EBADMSG when ours would not have said that. Descriptors that it
 * does not pass on are closed by the caller. */
static int on_started(struct osh_sandbox_instance *instance, const struct osh_init_message *message,
		      int fds[static 2], size_t fd_count)
{
	struct pending_command *command = find_command(instance, message->id);
	struct osh_sandbox_terminal terminal = no_terminal;

	if (!command || command->started || message->value <= 0)
		return -EBADMSG;
	if (command->tty ? !is_terminal(fds, fd_count) : fd_count > 0)
		return -EBADMSG;
	command->started = true;
	if (command->abandoned) {
		if (!command->holds)
			send_signal(instance, command->id, SIGHUP);
		return 0;
	}
	if (command->tty)
		terminal = (struct osh_sandbox_terminal){ osh_take_fd(&fds[0]), osh_take_fd(&fds[1]) };
	command->events.on_started(command->events.context, NULL, message->value, terminal);
	return 0;
}

static int on_failed(struct osh_sandbox_instance *instance, const struct osh_init_message *message)
{
	struct pending_command *command = find_command(instance, message->id);
	struct osh_err err;
	char text[sizeof(err.message)];

	if (!command || command->started || message->value <= 0)
		return -EBADMSG;
	take_command(instance, command);
	/* It holds what the caller typed, through a process of the sandbox. */
	osh_str_escape(osh_str_n(message->text, strnlen(message->text, sizeof(message->text))), text,
		       sizeof(text));
	osh_err_set(&err, message->value, "%s", text);
	if (!command->abandoned)
		command->events.on_started(command->events.context, &err, 0, no_terminal);
	free(command);
	return 0;
}

static int on_exited(struct osh_sandbox_instance *instance, const struct osh_init_message *message)
{
	struct pending_command *command = find_command(instance, message->id);

	if (!command || !command->started || message->value < 0 || message->value > 255)
		return -EBADMSG;
	take_command(instance, command);
	if (!command->abandoned)
		command->events.on_exit(command->events.context, message->value);
	free(command);
	return 0;
}

static int handle(struct osh_sandbox_instance *instance, const struct osh_init_message *message,
		  int fds[static 2], size_t fd_count)
{
	switch (message->type) {
	case OSH_INIT_STARTED:
		return on_started(instance, message, fds, fd_count);
	case OSH_INIT_FAILED:
		return on_failed(instance, message);
	case OSH_INIT_EXITED:
		return on_exited(instance, message);
	default:
		return -EBADMSG;
	}
}

/* Returns 1 when a message was handled, 0 when there is none now, -errno. */
static int receive(struct osh_sandbox_instance *instance)
{
	struct osh_init_message message;
	size_t len, fd_count = 0;
	int fds[2] = { -1, -1 };
	int r = osh_recv_fds(instance->init_io.fd, &message, sizeof(message), &len, fds, 2, &fd_count);

	if (r == -EAGAIN)
		return 0;
	if (r < 0)
		return r;
	r = len == 0			  ? -ECONNRESET :
	    len != sizeof(message) ? -EBADMSG :
				     handle(instance, &message, fds, fd_count);
	osh_close(fds[0]);
	osh_close(fds[1]);
	return r < 0 ? r : 1;
}

void command_on_message(struct osh_io *io, uint32_t events)
{
	struct osh_sandbox_instance *instance =
		osh_container_of(io, struct osh_sandbox_instance, init_io);
	int r = 1;

	(void)events;
	sandbox_enter(instance);
	for (int i = 0; i < MESSAGES_PER_TURN && r > 0 && !instance->gone && io->fd >= 0; i++)
		r = receive(instance);
	if (r < 0 && !instance->gone) {
		/* Without a way to speak to it, or with one that lies, it must not run on; its
		 * end is reported by its pidfd. */
		if (r != -ECONNRESET)
			osh_warning("init of sandbox %s misbehaves (%s): ending it",
				    instance->record.name, strerror(-r));
		osh_loop_remove(instance->host->loop, io);
		io->fd = osh_close(io->fd);
		sandbox_kill_init(instance);
	}
	sandbox_leave(instance);
}

void command_fail_all(struct osh_sandbox_instance *instance)
{
	struct osh_err err;

	osh_err_set(&err, ESRCH, "sandbox %s ended", instance->record.name);
	while (instance->commands) {
		struct pending_command *command = take_command(instance, instance->commands);

		if (!command->abandoned && command->started)
			command->events.on_exit(command->events.context, STATUS_KILLED);
		else if (!command->abandoned)
			command->events.on_started(command->events.context, &err, 0, no_terminal);
		free(command);
	}
}

void command_forget_all(struct osh_sandbox_instance *instance)
{
	while (instance->commands)
		free(take_command(instance, instance->commands));
}
