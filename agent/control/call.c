#include "control/call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/knockout.h"
#include "base/log.h"
#include "base/str.h"
#include "control/agent.h"
#include "control/client.h"
#include "control/lifecycle.h"

#define SERVICE_INTERFACE "org.varlink.service"

/* ---- Answering ---------------------------------------- */

static void release_call(struct osh_call *call)
{
	free(call->method);
	json_decref(call->parameters);
	for (size_t i = 0; i < call->fd_count; i++)
		osh_close(call->fds[i]);
	*call = (struct osh_call){ 0 };
}

static void send_reply(struct osh_call *call, json_t *reply, const int *fds, size_t fd_count)
{
	struct osh_client *client = call->client;
	int r = reply ? 0 : -ENOMEM;

	if (r == 0 && !call->oneway)
		r = osh_wire_queue(&client->wire, reply, fds, fd_count);
	json_decref(reply);
	if (r < 0) {
		/* Unanswered is not an option: end the connection, through the loop. */
		osh_warning("cannot answer %s: %s", call->method, strerror(-r));
		(void)shutdown(client->wire.fd, SHUT_RDWR);
	}
	/* At once, not after what else this batch has to do; what is left the loop sends. */
	(void)osh_wire_flush(&client->wire);
	osh_client_answered(client);
}

static void finish_call(struct osh_call *call)
{
	call->client->is_busy = false;
	release_call(call);
}

void osh_call_reply(struct osh_call *call, json_t *parameters, const int *fds, size_t fd_count)
{
	send_reply(call, json_pack("{s:o}", "parameters", parameters), fds, fd_count);
	finish_call(call);
}

void osh_call_reply_continues(struct osh_call *call, json_t *parameters, const int *fds,
			      size_t fd_count)
{
	send_reply(call, json_pack("{s:o, s:b}", "parameters", parameters, "continues", 1), fds, fd_count);
}

void osh_call_error_object(struct osh_call *call, const char *name, json_t *parameters)
{
	send_reply(call, json_pack("{s:s, s:o}", "error", name, "parameters", parameters), NULL, 0);
	finish_call(call);
}

/* Text that is not UTF-8 (cut inside a character, say) cannot be a JSON string as it is. */
static json_t *text_json(const char *text)
{
	json_t *json = json_string(text);
	char escaped[2048];

	if (json)
		return json;
	osh_str_escape(osh_str(text), escaped, sizeof(escaped));
	return json_string(escaped);
}

void osh_call_error(struct osh_call *call, const char *name, const char *format, ...)
{
	char message[1024], full[64];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	snprintf(full, sizeof(full), OSH_WIRE_INTERFACE ".%s", name);
	osh_call_error_object(call, full, json_pack("{s:o}", "message", text_json(message)));
}

void osh_call_fail(struct osh_call *call, const struct osh_err *err)
{
	const char *name = "Failed";

	if (err->code == ENOENT)
		name = "NotFound";
	else if (err->code == EEXIST)
		name = "Exists";
	else if (err->code == EINVAL || err->code == E2BIG)
		name = "Invalid";
	else if (err->code == ETIMEDOUT)
		name = "Timeout";
	osh_call_error(call, name, "%s", err->message);
}

/* ---- Parameters ---------------------------------------- */

bool osh_call_unpack_object(struct osh_call *call, const char *format, ...)
{
	const char *method = strrchr(call->method, '.') + 1;
	json_error_t error;
	va_list args;
	int r;

	va_start(args, format);
	r = json_vunpack_ex(call->parameters, &error, 0, format, args);
	va_end(args);
	if (r < 0)
		osh_call_error(call, "Invalid", "parameters of %s: %s", method, error.text);
	return r == 0;
}

const char **osh_call_strings(struct osh_call *call, const char *name, json_t *array, size_t max)
{
	size_t count = json_array_size(array); /* 0 for NULL */
	const char **list;

	if ((array && !json_is_array(array)) || count > max) {
		osh_call_error(call, "Invalid", "%s must be a list of at most %zu strings", name,
			       max);
		return NULL;
	}
	list = calloc(count + 1, sizeof(*list));
	for (size_t i = 0; list && i < count; i++) {
		list[i] = json_string_value(json_array_get(array, i));
		if (!list[i]) {
			osh_call_error(call, "Invalid", "%s must be a list of strings", name);
			free(list);
			return NULL;
		}
	}
	if (!list)
		osh_call_error(call, "Failed", "out of memory");
	return list;
}

static void refuse_resting(struct osh_call *call, const struct osh_agent_sandbox *sandbox)
{
	const char *name = sandbox->name, *state = osh_lifecycle_state_name(sandbox->state);

	if (sandbox->state == OSH_AGENT_SANDBOX_DEAD || sandbox->state == OSH_AGENT_SANDBOX_STOPPED)
		osh_call_error(call, "Failed",
			       "sandbox %s is %s: 'openshell sandbox start %s', or delete it", name,
			       state, name);
	else if (sandbox->state == OSH_AGENT_SANDBOX_DAMAGED)
		osh_call_error(call, "Failed", "sandbox %s is damaged: 'openshell sandbox delete %s'", name,
			       name);
	else
		osh_call_error(call, "Failed", "sandbox %s is still %s", name, state);
}

struct osh_agent_sandbox *osh_call_sandbox(struct osh_call *call, const char *name, bool running)
{
	struct osh_agent_sandbox *sandbox = osh_lifecycle_find(call->agent, name);

	if (!sandbox) {
		osh_call_error(call, "NotFound",
			       "no sandbox named %.64s: 'openshell sandbox list' shows them", name);
		return NULL;
	}
	if (!osh_lifecycle_is_for(sandbox, call->client->peer.uid)) {
		osh_call_error(call, "PermissionDenied", "sandbox %.64s belongs to another user", name);
		return NULL;
	}
	if (running && sandbox->state != OSH_AGENT_SANDBOX_RUNNING) {
		refuse_resting(call, sandbox);
		return NULL;
	}
	return sandbox;
}

struct osh_agent_sandbox *osh_call_inside(struct osh_call *call, const char *name)
{
	struct osh_agent_sandbox *sandbox = osh_call_sandbox(call, name, true);

	if (!sandbox || !osh_lifecycle_is_attached(sandbox))
		return sandbox;
	osh_call_error(call, "Invalid", "sandbox %.64s is attached to a cgroup: it has rules for its network, and no "
					"inside of ours", name);
	return NULL;
}

/* ---- Policy texts ---------------------------------------- */

static json_t *diagnostic_json(const struct osh_diag *diag)
{
	return json_pack("{s:s, s:I, s:I, s:o}", "level",
			 diag->level == OSH_DIAG_ERROR ? "error" : "warning", "line",
			 (json_int_t)diag->line, "column", (json_int_t)diag->column, "message",
			 text_json(diag->message));
}

static json_t *diagnostics_json(const struct osh_diags *diags)
{
	json_t *list = json_array();

	for (size_t i = 0; i < diags->count; i++)
		json_array_append_new(list, diagnostic_json(&diags->items[i]));
	return list;
}

void osh_call_add_warning(json_t *warnings, const char *text)
{
	struct osh_diag diag = { .level = OSH_DIAG_WARNING };

	snprintf(diag.message, sizeof(diag.message), "%s", text);
	json_array_append_new(warnings, diagnostic_json(&diag));
}

static void refuse_policy(struct osh_call *call, const struct osh_diags *diags)
{
	char message[64];

	snprintf(message, sizeof(message), "the policy is invalid: %zu error%s", diags->errors,
		 diags->errors == 1 ? "" : "s");
	osh_call_error_object(call, OSH_WIRE_INTERFACE ".PolicyInvalid",
			      json_pack("{s:s, s:o}", "message", message, "diagnostics",
					diagnostics_json(diags)));
}

/* A text cut short can be valid and grant more: it must be the one that was meant. */
static bool is_whole(struct osh_call *call, struct osh_str text, const char *sha256)
{
	char digest[OSH_SHA256_HEX];

	if (!sha256)
		return true;
	if (osh_state_sha256(text, digest) < 0) {
		osh_call_error(call, "Failed", "cannot hash the policy");
		return false;
	}
	if (strcmp(digest, sha256) != 0 && !osh_layer_off("digest")) {
		osh_call_error(
			call, "Invalid",
			"the policy that arrived is not the one that was sent: its SHA-256 is %s",
			digest);
		return false;
	}
	return true;
}

bool osh_call_policy_text(struct osh_call *call, char **ret_text, size_t *ret_len)
{
	int r = call->fd_count == 1
			? osh_memfd_read(call->fds[0], OSH_POLICY_BYTES_MAX, ret_text, ret_len)
			: -EPERM;

	if (r == -EPERM)
		osh_call_error(call, "Invalid", "the policy must come attached, as one sealed memfd");
	else if (r == -EFBIG)
		osh_call_error(call, "Invalid",
			       "the policy is larger than %u bytes, the most one may have",
			       OSH_POLICY_BYTES_MAX);
	else if (r < 0)
		osh_call_error(call, "Failed", "cannot read the policy: %s", strerror(-r));
	return r == 0;
}

bool osh_call_policy(struct osh_call *call, const char *text, size_t len, const char *sha256,
		     struct osh_policy_doc **ret_policy, json_t **ret_warnings)
{
	struct osh_diags diags = { 0 };
	int r;

	if (!is_whole(call, osh_str_n(text, len), sha256))
		return false;
	r = osh_policy_parse(osh_str_n(text, len), &diags, ret_policy);
	if (r == -EINVAL) {
		refuse_policy(call, &diags);
		return false;
	}
	if (r < 0) {
		osh_call_error(call, "Failed", "cannot read the policy: %s", strerror(-r));
		return false;
	}
	*ret_warnings = diagnostics_json(&diags);
	return true;
}

/* ---- Dispatch ---------------------------------------- */

static const struct osh_method *find_in(const struct osh_method *table, const char *name)
{
	for (; table->name; table++) {
		if (strcmp(table->name, name) == 0)
			return table;
	}
	return NULL;
}

static const struct osh_method *find_method(const char *interface, const char *name)
{
	static const struct osh_method *const tables[] = {
		osh_status_methods, osh_sandbox_methods,  osh_exec_methods,
		osh_policy_methods, osh_provider_methods, osh_verdict_methods,
		osh_revision_methods, osh_forward_methods,
	};
	const struct osh_method *method = NULL;

	if (strcmp(interface, SERVICE_INTERFACE) == 0)
		return find_in(osh_service_methods, name);
	for (size_t i = 0; !method && i < OSH_COUNT_OF(tables); i++)
		method = find_in(tables[i], name);
	return method;
}

static void dispatch(struct osh_call *call)
{
	const struct osh_method *method;
	char interface[64] = "";
	const char *dot = strrchr(call->method, '.');

	if (dot)
		(void)osh_str_copy(osh_str_n(call->method, (size_t)(dot - call->method)), interface,
				   sizeof(interface));
	if (strcmp(interface, OSH_WIRE_INTERFACE) != 0 &&
	    strcmp(interface, SERVICE_INTERFACE) != 0) {
		osh_call_error_object(call, SERVICE_INTERFACE ".InterfaceNotFound",
				      json_pack("{s:s}", "interface", interface));
		return;
	}
	method = find_method(interface, dot + 1);
	if (!method) {
		osh_call_error_object(call, SERVICE_INTERFACE ".MethodNotFound",
				      json_pack("{s:s}", "method", call->method));
		return;
	}
	method->handle(call);
}

/* An absent optional parameter may also be written as null. */
static void drop_nulls(json_t *object)
{
	const char *key;
	json_t *value;
	void *next;

	json_object_foreach_safe(object, next, key, value) {
		if (json_is_null(value))
			json_object_del(object, key);
	}
}

void osh_client_dispatch(struct osh_client *client, struct osh_wire_message *message)
{
	struct osh_call *call = &client->call;
	const char *method = json_string_value(json_object_get(message->json, "method"));
	json_t *parameters = json_object_get(message->json, "parameters");

	*call = (struct osh_call){
		.agent = client->agent,
		.client = client,
		.method = strdup(method ? method : ""),
		.parameters = json_is_object(parameters) ? json_incref(parameters) : json_object(),
		.fd_count = message->fd_count,
		.more = json_is_true(json_object_get(message->json, "more")),
		.oneway = json_is_true(json_object_get(message->json, "oneway")),
	};
	memcpy(call->fds, message->fds, sizeof(call->fds));
	message->fd_count = 0;
	client->is_busy = true;
	if (!call->method || !call->parameters) {
		osh_call_error(call, "Failed", "out of memory");
		return;
	}
	drop_nulls(call->parameters);
	osh_debug("call %s", call->method);
	dispatch(call);
}

void osh_client_cancel(struct osh_client *client)
{
	struct osh_call *call = &client->call;

	if (!client->is_busy)
		return;
	if (call->on_cancel)
		call->on_cancel(call);
	finish_call(call);
}
