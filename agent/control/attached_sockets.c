/* The Unix sockets of an attached cgroup: which of those outside its programs may reach, and what they
 * are connected to already. Asked only where the kernel judges them (osh_kernel_guards_attached). */
#include <errno.h>
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

/* ---- Those that it has already ---------------------------------------- */

static bool is_listening(int fd)
{
	socklen_t len = sizeof(int);
	int listening = 0;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening;
}

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
