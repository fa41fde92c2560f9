/* What a proxy is told of the sandboxes, kept for the next one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/buf.h"
#include "base/fd.h"
#include "proxy/supervisor_parts.h"

/* ---- Telling the proxy ------------------------------------------------------ */

static void send_add(struct osh_supervisor *sup, const struct ward *ward, bool is_new)
{
	struct osh_channel_message message = {
		.type = OSH_CHANNEL_ADD, .sandbox = ward->id, .is_new = is_new, .host_net = ward->host_net
	};
	int fds[OSH_SANDBOX_SOCKETS_COUNT + 1] = {
		ward->sockets.tcp4,	ward->sockets.tcp6,	ward->sockets.dns_udp4,
		ward->sockets.dns_udp6, ward->sockets.dns_tcp4, ward->sockets.dns_tcp6,
		ward->ca_fd,
	};

	memcpy(message.name, ward->name, sizeof(message.name));
	osh_supervisor_send(sup, &message, fds, OSH_COUNT_OF(fds));
}

static void send_vault(struct osh_supervisor *sup, const struct ward *ward)
{
	struct osh_channel_message message = { .type = OSH_CHANNEL_VAULT, .sandbox = ward->id };

	if (ward->vault_fd >= 0)
		osh_supervisor_send(sup, &message, &ward->vault_fd, 1);
}

static void send_policy(struct osh_supervisor *sup, const struct ward *ward)
{
	struct osh_channel_message message = {
		.type = OSH_CHANNEL_POLICY,
		.sandbox = ward->id,
		.generation = ward->generation,
		.serial = ward->serial,
	};

	if (ward->policy_fd >= 0)
		osh_supervisor_send(sup, &message, &ward->policy_fd, 1);
}

void osh_supervisor_tell_sandboxes(struct osh_supervisor *sup)
{
	struct ward *ward;

	LL_FOREACH(sup->wards, ward) {
		send_add(sup, ward, false);
		send_vault(sup, ward);
		send_policy(sup, ward);
	}
}

/* ---- Wards and what is pending ------------------------------------------------ */

static struct ward *find_ward(struct osh_supervisor *sup, uint64_t id)
{
	struct ward *ward;

	LL_FOREACH(sup->wards, ward) {
		if (ward->id == id)
			return ward;
	}
	return NULL;
}

void osh_supervisor_complete(struct osh_supervisor *sup, uint64_t sandbox, uint64_t serial, int result)
{
	struct pending *pending, *next;

	LL_FOREACH_SAFE(sup->pending, pending, next) {
		if (pending->sandbox != sandbox || pending->serial > serial)
			continue;
		LL_DELETE(sup->pending, pending);
		if (pending->done)
			pending->done(pending->context, result);
		free(pending);
	}
}

static void free_ward(struct ward *ward)
{
	osh_close(ward->sockets.tcp4);
	osh_close(ward->sockets.tcp6);
	osh_close(ward->sockets.dns_udp4);
	osh_close(ward->sockets.dns_udp6);
	osh_close(ward->sockets.dns_tcp4);
	osh_close(ward->sockets.dns_tcp6);
	osh_close(ward->ca_fd);
	osh_close(ward->policy_fd);
	osh_close(ward->vault_fd);
	free(ward);
}

void osh_supervisor_forget_sandboxes(struct osh_supervisor *sup)
{
	struct ward *ward, *next_ward;
	struct pending *pending, *next_pending;

	LL_FOREACH_SAFE(sup->wards, ward, next_ward)
		free_ward(ward);
	LL_FOREACH_SAFE(sup->pending, pending, next_pending)
		free(pending);
}

/* ---- Sandboxes --------------------------------------------------------------------- */

/* Certificate and key in one block, a NUL behind each. */
static int ca_memfd(const char *cert_pem, const char *key_pem)
{
	size_t cert_len = strlen(cert_pem) + 1, key_len = strlen(key_pem) + 1;
	char *both = malloc(cert_len + key_len);
	int fd;

	if (!both)
		return -ENOMEM;
	memcpy(both, cert_pem, cert_len);
	memcpy(both + cert_len, key_pem, key_len);
	fd = osh_memfd_sealed("openshell-ca", both, cert_len + key_len);
	osh_wipe(both, cert_len + key_len);
	free(both);
	return fd;
}

int osh_supervisor_sandbox_add(struct osh_supervisor *sup, const struct osh_supervised_sandbox *sandbox,
			       struct osh_err *err)
{
	struct ward *ward = calloc(1, sizeof(*ward));

	if (!ward)
		return osh_err_sys(err, ENOMEM, "cannot tell the proxy of %s", sandbox->name);
	ward->id = sandbox->id;
	snprintf(ward->name, sizeof(ward->name), "%s", sandbox->name);
	ward->policy_fd = -1;
	ward->vault_fd = -1;
	ward->ca_fd = ca_memfd(sandbox->ca_pem, sandbox->ca_key_pem);
	if (ward->ca_fd < 0) {
		int code = -ward->ca_fd;

		free(ward);
		return osh_err_sys(err, code, "cannot hand the CA of %s over", sandbox->name);
	}
	ward->sockets = sandbox->sockets;
	ward->host_net = sandbox->host_net;
	LL_PREPEND(sup->wards, ward);
	send_add(sup, ward, sandbox->is_new);
	return 0;
}

void osh_supervisor_sandbox_remove(struct osh_supervisor *sup, uint64_t sandbox)
{
	struct osh_channel_message message = { .type = OSH_CHANNEL_REMOVE, .sandbox = sandbox };
	struct ward *ward = find_ward(sup, sandbox);

	if (!ward)
		return;
	osh_supervisor_send(sup, &message, NULL, 0);
	LL_DELETE(sup->wards, ward);
	free_ward(ward);
	osh_supervisor_complete(sup, sandbox, UINT64_MAX, -ECANCELED);
}

int osh_supervisor_policy_set(struct osh_supervisor *sup, uint64_t sandbox, uint32_t generation,
			      const void *image, size_t len, osh_supervisor_done_fn *done,
			      void *context, struct osh_err *err)
{
	struct ward *ward = find_ward(sup, sandbox);
	struct pending *pending;
	int fd;

	if (!ward)
		return osh_err_set(err, ENOENT, "the proxy does not know this sandbox");
	pending = calloc(1, sizeof(*pending));
	fd = pending ? osh_memfd_sealed("openshell-policy", image, len) : -ENOMEM;
	if (fd < 0) {
		free(pending);
		return osh_err_sys(err, -fd, "cannot hand the policy over");
	}
	osh_close(ward->policy_fd);
	ward->policy_fd = fd;
	ward->generation = generation;
	ward->serial = ++sup->next_serial;
	*pending = (struct pending){
		.sandbox = sandbox, .serial = ward->serial, .done = done, .context = context
	};
	LL_APPEND(sup->pending, pending);
	send_policy(sup, ward);
	return 0;
}

void osh_supervisor_abandon(struct osh_supervisor *sup, void *context)
{
	struct pending *pending;

	LL_FOREACH(sup->pending, pending) {
		if (pending->context == context)
			pending->done = NULL;
	}
}

void osh_supervisor_flow_end(struct osh_supervisor *sup, uint64_t sandbox, uint64_t cookie)
{
	struct osh_channel_message message = {
		.type = OSH_CHANNEL_END_FLOW, .sandbox = sandbox, .about.cookie = cookie
	};

	osh_supervisor_send(sup, &message, NULL, 0);
}

void osh_supervisor_address_gone(struct osh_supervisor *sup, const struct in6_addr *address)
{
	struct osh_channel_message message = { .type = OSH_CHANNEL_ADDRESS_GONE, .address = *address };

	osh_supervisor_send(sup, &message, NULL, 0);
}

void osh_supervisor_answer(struct osh_supervisor *sup, uint64_t sandbox,
			   const struct osh_question_about *about, const struct osh_exe_facts *facts)
{
	struct osh_channel_message message = {
		.type = OSH_CHANNEL_ANSWER, .sandbox = sandbox, .about = *about, .facts = *facts
	};

	osh_supervisor_send(sup, &message, NULL, 0);
}

int osh_supervisor_vault_set(struct osh_supervisor *sup, uint64_t sandbox,
			     const struct osh_vault *vault, struct osh_err *err)
{
	struct ward *ward = find_ward(sup, sandbox);
	struct osh_buf bytes;
	int r, fd;

	if (!ward)
		return osh_err_set(err, ENOENT, "the proxy does not know this sandbox");
	osh_buf_init(&bytes, 1 << 20);
	r = osh_vault_encode(vault, &bytes);
	fd = r < 0 ? r : osh_memfd_sealed("openshell-vault", osh_buf_bytes(&bytes), bytes.len);
	osh_wipe(bytes.data, bytes.room);
	osh_buf_done(&bytes);
	if (fd < 0)
		return osh_err_sys(err, -fd, "cannot hand the credentials over");
	osh_close(ward->vault_fd);
	ward->vault_fd = fd;
	send_vault(sup, ward);
	return 0;
}
