/* ForwardStart, ForwardList, ForwardStop, SandboxDial. */
#include "control/forward.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "control/agent.h"
#include "control/call.h"
#include "control/client.h"
#include "control/lifecycle.h"
#include "sandbox/sandbox.h"

#define FORWARDS_PER_SANDBOX_MAX 64

/* Somebody who forwards, and the call that stands for it. */
struct osh_forward {
	struct osh_forward *next;
	struct osh_agent_sandbox *sandbox;
	struct osh_call *call;
	uint16_t port, local_port;
};

static void free_forward(struct osh_forward *forward)
{
	forward->call->on_cancel = NULL;
	forward->call->context = NULL;
	LL_DELETE(forward->sandbox->forwards, forward);
	free(forward);
}

static void end_forward(struct osh_forward *forward, const char *reason)
{
	struct osh_call *call = forward->call;

	free_forward(forward);
	osh_call_reply(call, json_pack("{s:s}", "reason", reason), NULL, 0);
}

void osh_forward_drop(struct osh_agent_sandbox *sandbox)
{
	while (sandbox->forwards)
		end_forward(sandbox->forwards, "sandbox");
}

static void on_cancel(struct osh_call *call)
{
	free_forward(call->context);
}

static bool is_port(struct osh_call *call, const char *name, json_int_t port)
{
	if (port > 0 && port <= UINT16_MAX)
		return true;
	osh_call_error(call, "Invalid", "%s must be 1 to %d", name, UINT16_MAX);
	return false;
}

/* ---- ForwardStart ---------------------------------------- */

static bool has_room(const struct osh_agent_sandbox *sandbox)
{
	const struct osh_forward *forward;
	int count = 0;

	LL_COUNT(sandbox->forwards, forward, count);
	return count < FORWARDS_PER_SANDBOX_MAX;
}

static void enter(struct osh_call *call, struct osh_agent_sandbox *sandbox, uint16_t port,
		  uint16_t local_port)
{
	struct osh_forward *forward = calloc(1, sizeof(*forward));

	if (!forward) {
		osh_call_error(call, "Failed", "out of memory");
		return;
	}
	*forward = (struct osh_forward){
		.sandbox = sandbox, .call = call, .port = port, .local_port = local_port,
	};
	LL_APPEND(sandbox->forwards, forward);
	call->context = forward;
	call->on_cancel = on_cancel;
	osh_call_reply_continues(call, json_object(), NULL, 0);
}

static void start_forward(struct osh_call *call)
{
	struct osh_agent_sandbox *sandbox;
	json_int_t port, local_port;
	const char *name;

	if (!osh_call_unpack(call, "s:s, s:I, s:I", "name", &name, "port", &port, "local_port",
			     &local_port) ||
	    !is_port(call, "port", port) || !is_port(call, "local_port", local_port))
		return;
	sandbox = osh_call_inside(call, name);
	if (!sandbox)
		return;
	if (!call->more)
		osh_call_error(call, "Invalid", "ForwardStart answers twice: call it with \"more\"");
	else if (!has_room(sandbox))
		osh_call_error(call, "Failed", "%d forward to %s already: stop one first",
			       FORWARDS_PER_SANDBOX_MAX, name);
	else
		enter(call, sandbox, (uint16_t)port, (uint16_t)local_port);
}

/* ---- ForwardList, ForwardStop ---------------------------------------- */

static void list_of(const struct osh_agent_sandbox *sandbox, json_t *list)
{
	const struct osh_forward *forward;

	LL_FOREACH(sandbox->forwards, forward)
		json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:i}", "sandbox", sandbox->name,
						      "port", (int)forward->port, "local_port",
						      (int)forward->local_port, "pid",
						      (int)forward->call->client->peer.pid));
}

static void list_forwards(struct osh_call *call)
{
	struct osh_agent_sandbox *sandbox, *next;
	json_t *list;

	if (!osh_call_unpack(call, ""))
		return;
	list = json_array();
	HASH_ITER(hh, call->agent->sandboxes, sandbox, next) {
		if (osh_lifecycle_is_for(sandbox, call->client->peer.uid))
			list_of(sandbox, list);
	}
	osh_call_reply(call, json_pack("{s:o}", "forwards", list), NULL, 0);
}

static void stop_forward(struct osh_call *call)
{
	struct osh_forward *forward, *next;
	struct osh_agent_sandbox *sandbox;
	json_int_t port, local_port = 0;
	const char *name;
	char from[32] = "";
	int count = 0;

	if (!osh_call_unpack(call, "s:s, s:I, s?I", "name", &name, "port", &port, "local_port",
			     &local_port))
		return;
	sandbox = osh_call_sandbox(call, name, false);
	if (!sandbox)
		return;
	if (local_port)
		snprintf(from, sizeof(from), " from %lld", (long long)local_port);
	LL_FOREACH_SAFE(sandbox->forwards, forward, next) {
		if (forward->port != port || (local_port && forward->local_port != local_port))
			continue;
		end_forward(forward, "stop");
		count++;
	}
	if (count)
		osh_call_reply(call, json_pack("{s:i}", "stopped", count), NULL, 0);
	else
		osh_call_error(call, "NotFound",
			       "nobody forwards%s to port %lld of %s: 'openshell forward list' shows who does",
			       from, (long long)port, name);
}

/* ---- SandboxDial ---------------------------------------- */

static void dial(struct osh_call *call)
{
	struct osh_agent_sandbox *sandbox;
	struct osh_err err = { 0 };
	_cleanup_fd_ int fd = -1;
	json_int_t port;
	const char *name;
	int ipv6;

	if (!osh_call_unpack(call, "s:s, s:I, s:b", "name", &name, "port", &port, "ipv6", &ipv6) ||
	    !is_port(call, "port", port))
		return;
	sandbox = osh_call_inside(call, name);
	if (!sandbox)
		return;
	if (osh_sandbox_dial(sandbox->instance, (uint16_t)port, ipv6, &fd, &err) < 0)
		osh_call_error(call, "Failed", "%s", err.message);
	else
		osh_call_reply(call, json_object(), &fd, 1);
}

const struct osh_method osh_forward_methods[] = {
	{ "ForwardStart", start_forward },
	{ "ForwardList", list_forwards },
	{ "ForwardStop", stop_forward },
	{ "SandboxDial", dial },
	{ 0 },
};
