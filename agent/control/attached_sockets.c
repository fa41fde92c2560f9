/* The Unix sockets of an attached cgroup: what is hidden in them, which of those outside its programs may
 * reach, and what they are connected to already. The last two are asked only where the kernel judges them
 * (osh_kernel_guards_attached). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "control/agent.h"
#include "control/lifecycle_parts.h"
#include "control/recorder.h"
#include "kernel/kernel.h"
#include "sandbox/sandbox.h"

#define FDINFO_BYTES_MAX (16u << 20) /* an io_uring shows its queues, too */
#define IN_QUEUE "scm_fds:"
#define REGISTERED "UserFiles:"

/* ---- Those that the policy names ---------------------------------------- */

static int find_inode(const struct osh_agent_sandbox *sandbox, const char *path, struct osh_unix_key *ret_key)
{
	_cleanup_fd_ int fd = osh_sandbox_open_socket(sandbox->instance, path);
	struct osh_file_question file;
	int r = fd < 0 ? fd : osh_kernel_file(sandbox->agent->kernel, fd, &file);

	if (r < 0)
		return r;
	*ret_key = (struct osh_unix_key){
		.sandbox = sandbox->id,
		.ino = file.ino,
		.dev = file.dev,
		.generation = file.generation,
	};
	return 0;
}

static void tell_left_out(const struct osh_agent_sandbox *sandbox, const char *path, int r)
{
	osh_warning("%s: unix_sockets: %s is left out: %s", sandbox->name, path, strerror(-r));
	osh_recorder_event(sandbox->agent->recorder, sandbox, "unix_sockets: %s is left out: %s", path, strerror(-r));
}

void osh_attachment_name_sockets(struct osh_agent_sandbox *sandbox, const struct osh_policy_doc *policy)
{
	const struct osh_policy_static *statics = osh_policy_doc_static(policy);
	_cleanup_free_ struct osh_unix_key *keys = calloc(statics->unix_socket_count + 1, sizeof(*keys));
	size_t count = 0;
	int r;

	if (!osh_kernel_guards_attached(sandbox->agent->kernel))
		return;
	for (size_t i = 0; keys && i < statics->unix_socket_count; i++) {
		r = find_inode(sandbox, statics->unix_sockets[i], &keys[count]);
		if (r < 0)
			tell_left_out(sandbox, statics->unix_sockets[i], r);
		else
			count++;
	}
	r = osh_kernel_unix_sockets_set(sandbox->agent->kernel, sandbox->id, keys, count);
	if (!keys || r < 0)
		osh_error("%s: not every socket that unix_sockets names is within reach: %s", sandbox->name,
			  strerror(keys ? -r : ENOMEM));
}

static bool is_listening(int fd)
{
	socklen_t len = sizeof(int);
	int listening = 0;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening;
}

/* ---- Those that are in no table ---------------------------------------- */

/* Of a line "NAME: VALUE" of its fdinfo. Many: it cannot be told. */
static unsigned long long count_in_fdinfo(int fd, const char *name)
{
	_cleanup_free_ char *text = NULL;
	const char *line = NULL;
	char path[40];
	size_t len;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (osh_read_file(path, FDINFO_BYTES_MAX, &text, &len) == 0)
		line = strstr(text, name);
	return line ? strtoull(line + strlen(name), NULL, 10) : ULLONG_MAX;
}

/* Does the kernel count, with a listener's, what was sent to it on connections that nobody has accepted
 * yet? Since Linux 6.3; asked by sending a descriptor so. */
static bool counts_unaccepted(void)
{
	const struct sockaddr any = { .sa_family = AF_UNIX }; /* the kernel chooses an abstract name */
	_cleanup_fd_ int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_fd_ int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	_cleanup_fd_ int sent = open("/", O_PATH | O_CLOEXEC);
	struct sockaddr_un name;
	socklen_t len = sizeof(name);

	return bind(listener, &any, sizeof(any.sa_family)) == 0 && listen(listener, 1) == 0 &&
	       getsockname(listener, (struct sockaddr *)&name, &len) == 0 &&
	       connect(client, (struct sockaddr *)&name, len) == 0 && osh_send_fds(client, "", 1, &sent, 1) == 0 &&
	       count_in_fdinfo(listener, IN_QUEUE) == 1;
}

static bool has_unaccepted(int fd)
{
	struct pollfd waiting = { .fd = fd, .events = POLLIN };

	return poll(&waiting, 1, 0) != 0;
}

const char *osh_attachment_parked(const struct osh_sandbox_socket *found)
{
	unsigned long long count;

	if (found->fd < 0)
		return "a socket in a thread's own table";
	if (found->domain == AF_UNSPEC)
		return count_in_fdinfo(found->fd, REGISTERED) ? "files registered with an io_uring" : NULL;
	if (found->domain != AF_UNIX)
		return NULL;
	count = count_in_fdinfo(found->fd, IN_QUEUE);
	if (count == 0 && is_listening(found->fd) && has_unaccepted(found->fd) && !counts_unaccepted())
		count = ULLONG_MAX;
	return count ? "descriptors that are under way in a Unix socket" : NULL;
}

/* ---- Those that lead outside ---------------------------------------- */

/* By the process that listened; one that has ended is taken for one outside. */
static bool is_answered_inside(const struct osh_agent_sandbox *sandbox, int fd)
{
	struct ucred answerer = { 0 };
	socklen_t len = sizeof(answerer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &answerer, &len) == 0 &&
	       osh_sandbox_holds_process(sandbox->instance, answerer.pid);
}

static bool has_name(int fd, int (*get)(int, struct sockaddr *, socklen_t *))
{
	struct sockaddr_un name;
	socklen_t len = sizeof(name);

	return get(fd, (struct sockaddr *)&name, &len) == 0 && len > sizeof(sa_family_t);
}

bool osh_attachment_escapes(const struct osh_agent_sandbox *sandbox, const struct osh_sandbox_socket *found,
			    bool made_inside)
{
	struct sockaddr_un peer;
	socklen_t len = sizeof(peer);

	/* What is sent or dialled from now on is judged, on a socket that was made in there. */
	if (found->type == SOCK_DGRAM || getpeername(found->fd, (struct sockaddr *)&peer, &len) < 0)
		return !made_inside && !is_listening(found->fd);
	if (has_name(found->fd, getpeername))
		return !is_answered_inside(sandbox, found->fd) &&
		       osh_kernel_leads_to_named(sandbox->agent->kernel, sandbox->id, found->fd) <= 0;
	/* The other end of a pair was made where this one was. Whoever connected from outside meant to. */
	return !made_inside && !has_name(found->fd, getsockname);
}
