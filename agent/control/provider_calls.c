/* Providers: the secret comes in by a descriptor and never goes out again. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "control/agent.h"
#include "control/call.h"
#include "control/credentials.h"
#include "control/lifecycle.h"
#include "credential/provider.h"
#include "sandbox/sandbox.h"

#define SECRET_BYTES_MAX 4096
#define SECRET_PATIENCE_MS 10000
#define PROVIDERS_MAX 256

/* ---- What is stored ---------------------------------------- */

struct lookup {
	const char *name;
	bool found;
	size_t count;
};

static void look(void *context, const char *name, const char *type, int64_t created)
{
	struct lookup *lookup = context;

	(void)type;
	(void)created;
	lookup->count++;
	if (strcmp(name, lookup->name) == 0)
		lookup->found = true;
}

/* May a provider of this name be made? Returns false when the call has been answered. */
static bool is_free(struct osh_call *call, const char *name)
{
	struct lookup lookup = { .name = name };
	struct osh_err err = { 0 };

	if (osh_provider_list(call->agent->provider_dir, look, &lookup, &err) < 0) {
		osh_call_error(call, "Failed", "%s", err.message);
		return false;
	}
	if (lookup.found) {
		osh_call_error(call, "Exists",
			       "a provider named %s exists: delete it or choose another name",
			       name);
		return false;
	}
	if (lookup.count >= PROVIDERS_MAX) {
		osh_call_error(call, "Failed", "%d providers exist already: delete one",
			       PROVIDERS_MAX);
		return false;
	}
	return true;
}

/* Before a path is built from it. */
static bool is_name(struct osh_call *call, const char *name)
{
	if (osh_sandbox_name_is_valid(name))
		return true;
	osh_call_error(call, "Invalid",
		       "\"%.64s\" is not a provider's name: use [a-z0-9][a-z0-9-]*, at most 63",
		       name);
	return false;
}

/* ---- ProviderCreate ---------------------------------------- */

/* A secret on its way in: its writer may be slow, so the loop waits for it. */
struct intake {
	struct osh_call *call;
	const struct osh_provider_type *type;
	struct osh_io io;
	struct osh_timer deadline;
	size_t len;
	char bytes[SECRET_BYTES_MAX + 1];
};

static void free_intake(struct intake *intake)
{
	struct osh_loop *loop = intake->call->agent->loop;

	intake->call->on_cancel = NULL;
	intake->call->context = NULL;
	osh_loop_remove(loop, &intake->io);
	osh_loop_timer_cancel(loop, &intake->deadline);
	osh_wipe(intake, sizeof(*intake));
	free(intake);
}

static void fail_intake(struct intake *intake, const char *message)
{
	struct osh_call *call = intake->call;

	free_intake(intake);
	osh_call_error(call, "Invalid", "%s", message);
}

static int save_secret(struct intake *intake, const char *name, struct osh_err *err)
{
	struct osh_provider provider = { .type = intake->type };
	int r = osh_secret_init(&provider.secret, osh_str_n(intake->bytes, intake->len));

	if (r < 0)
		return osh_err_sys(err, -r, "cannot keep the secret");
	memcpy(provider.name, name, strlen(name) + 1);
	r = osh_provider_save(intake->call->agent->provider_dir, &provider, err);
	osh_provider_done(&provider);
	return r;
}

static void finish_intake(struct intake *intake)
{
	struct osh_call *call = intake->call;
	const char *name = json_string_value(json_object_get(call->parameters, "name"));
	struct osh_err err = { 0 };
	int r;

	if (!is_free(call, name)) { /* again: it may have been made meanwhile */
		free_intake(intake);
		return;
	}
	r = save_secret(intake, name, &err);
	free_intake(intake);
	if (r < 0)
		osh_call_fail(call, &err);
	else
		osh_call_reply(call, json_object(), NULL, 0);
}

static void read_secret(struct intake *intake)
{
	ssize_t n;

	do {
		n = read(intake->io.fd, intake->bytes + intake->len,
			 sizeof(intake->bytes) - intake->len);
		if (n > 0)
			intake->len += (size_t)n;
		if (intake->len > SECRET_BYTES_MAX) {
			fail_intake(intake, "the secret is longer than 4096 bytes");
			return;
		}
	} while (n > 0 || (n < 0 && errno == EINTR));
	if (n < 0 && errno == EAGAIN)
		return; /* the loop calls again */
	if (n < 0)
		fail_intake(intake, "the secret cannot be read from its descriptor");
	else
		finish_intake(intake);
}

static void on_secret_ready(struct osh_io *io, uint32_t events)
{
	(void)events;
	read_secret(osh_container_of(io, struct intake, io));
}

static void on_secret_late(struct osh_timer *timer)
{
	fail_intake(osh_container_of(timer, struct intake, deadline),
		    "the secret did not arrive within 10 seconds");
}

static void on_intake_cancel(struct osh_call *call)
{
	free_intake(call->context);
}

/* A pipe, which is waited for, or a memfd, which has all it will have. Any other file may
 * block its reader for as long as it likes. */
static int prepare(struct intake *intake)
{
	struct osh_loop *loop = intake->call->agent->loop;
	int fd = intake->io.fd;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) && fcntl(fd, F_GET_SEALS) >= 0)
		return lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
	if (!S_ISFIFO(st.st_mode))
		return -EINVAL;
	r = osh_set_nonblocking(fd);
	if (r == 0)
		r = osh_loop_set(loop, &intake->io, EPOLLIN);
	return r < 0 ? r : osh_loop_timer_set(loop, &intake->deadline, SECRET_PATIENCE_MS);
}

static void take_secret(struct osh_call *call, const struct osh_provider_type *type)
{
	struct intake *intake = calloc(1, sizeof(*intake));

	if (!intake) {
		osh_call_error(call, "Failed", "out of memory");
		return;
	}
	intake->call = call;
	intake->type = type;
	intake->io = (struct osh_io){ .fd = call->fds[0], .on_ready = on_secret_ready };
	intake->deadline.on_expire = on_secret_late;
	call->context = intake;
	call->on_cancel = on_intake_cancel;
	if (prepare(intake) < 0)
		fail_intake(intake, "the secret must come by a pipe or a memfd");
	else
		read_secret(intake);
}

static void create_provider(struct osh_call *call)
{
	const struct osh_provider_type *type;
	const char *name, *type_name;

	if (!osh_call_unpack(call, "s:s, s:s", "name", &name, "type", &type_name))
		return;
	if (!is_name(call, name) || !is_free(call, name))
		return;
	type = osh_provider_type_find(type_name);
	if (!type) {
		osh_call_error(call, "Invalid", "no provider type \"%.64s\"", type_name);
		return;
	}
	if (call->fd_count != 1) {
		osh_call_error(call, "Invalid", "ProviderCreate takes one descriptor, not %zu",
			       call->fd_count);
		return;
	}
	take_secret(call, type);
}

/* ---- The others ---------------------------------------- */

static json_t *variables_json(const struct osh_provider_type *type)
{
	json_t *list = json_array();

	for (const char *const *variable = type ? type->variables : NULL; variable && *variable;
	     variable++)
		json_array_append_new(list, json_string(*variable));
	return list;
}

static void add_provider(void *context, const char *name, const char *type, int64_t created)
{
	json_array_append_new(context, json_pack("{s:s, s:s, s:I, s:o}", "name", name, "type", type,
						 "created", (json_int_t)created, "variables",
						 variables_json(osh_provider_type_find(type))));
}

static void list_providers(struct osh_call *call)
{
	struct osh_err err = { 0 };
	json_t *list;

	if (!osh_call_unpack(call, ""))
		return;
	list = json_array();
	if (osh_provider_list(call->agent->provider_dir, add_provider, list, &err) < 0) {
		json_decref(list);
		osh_call_error(call, "Failed", "%s", err.message);
		return;
	}
	osh_call_reply(call, json_pack("{s:o}", "providers", list), NULL, 0);
}

/* Take the secret back from the proxy too: from now on the placeholder means nothing. */
static void take_back(struct osh_agent *agent, const char *name)
{
	struct osh_agent_sandbox *sandbox, *next;
	struct osh_err err = { 0 };

	HASH_ITER(hh, agent->sandboxes, sandbox, next) {
		for (size_t i = 0; sandbox->in_proxy && i < sandbox->credentials.count; i++) {
			if (strcmp(sandbox->credentials.items[i].provider, name) != 0)
				continue;
			if (osh_credentials_hand_over(sandbox, &err) < 0)
				osh_error("%s: %s", sandbox->name, err.message);
		}
	}
}

static void delete_provider(struct osh_call *call)
{
	struct osh_err err = { 0 };
	const char *name;
	int r;

	if (!osh_call_unpack(call, "s:s", "name", &name) || !is_name(call, name))
		return;
	r = osh_provider_delete(call->agent->provider_dir, name, &err);
	if (r == -ENOENT) {
		osh_call_error(call, "NotFound",
			       "no provider named %s: 'openshell provider list' shows them", name);
		return;
	}
	if (r < 0) {
		osh_call_error(call, "Failed", "%s", err.message);
		return;
	}
	take_back(call->agent, name);
	osh_call_reply(call, json_object(), NULL, 0);
}

const struct osh_method osh_provider_methods[] = {
	{ "ProviderCreate", create_provider },
	{ "ProviderList", list_providers },
	{ "ProviderDelete", delete_provider },
	{ 0 },
};
