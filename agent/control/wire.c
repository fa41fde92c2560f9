#include "control/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/json.h"

#define PIECE_BYTES (64u << 10)
#define KEEP_BYTES (64u << 10) /* more than this is given back once it is empty */

static void close_all(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		fds[i] = osh_close(fds[i]);
}

void osh_wire_message_done(struct osh_wire_message *message)
{
	json_decref(message->json);
	message->json = NULL;
	close_all(message->fds, message->fd_count);
	message->fd_count = 0;
}

void osh_wire_init(struct osh_wire *wire, int fd)
{
	*wire = (struct osh_wire){ .fd = fd };
	osh_buf_init(&wire->in, OSH_WIRE_BYTES_MAX);
	osh_buf_init(&wire->out, OSH_WIRE_BYTES_MAX);
	(void)osh_set_nonblocking(fd);
}

static void close_queue(struct osh_wire_fd *queue, size_t *count)
{
	for (size_t i = 0; i < *count; i++)
		osh_close(queue[i].fd);
	*count = 0;
}

void osh_wire_done(struct osh_wire *wire)
{
	wire->fd = osh_close(wire->fd);
	close_queue(wire->in_fds, &wire->in_fd_count);
	close_queue(wire->out_fds, &wire->out_fd_count);
	osh_buf_done(&wire->in);
	osh_buf_done(&wire->out);
}

/* A large buffer is the exception (a policy text): do not keep it for an idle peer. */
static void shrink(struct osh_buf *buf)
{
	if (buf->room > KEEP_BYTES)
		osh_buf_trim(buf);
}

/* ---- In ---------------------------------------- */

int osh_wire_fill(struct osh_wire *wire)
{
	size_t room = osh_buf_free_bytes(&wire->in);
	size_t len = 0, count = 0;
	int fds[OSH_FDS_MAX];
	int r;

	if (room == 0)
		return -EMSGSIZE;
	if (room > PIECE_BYTES)
		room = PIECE_BYTES;
	r = osh_buf_reserve(&wire->in, room);
	if (r < 0)
		return r;
	r = osh_recv_fds(wire->fd, osh_buf_tail(&wire->in), room, &len, fds,
			 OSH_FDS_MAX - wire->in_fd_count, &count);
	if (r < 0)
		return r;
	if (len == 0) {
		close_all(fds, count);
		return -ECONNRESET;
	}
	for (size_t i = 0; i < count; i++) {
		uint64_t from = wire->in_taken + wire->in.len;

		wire->in_fds[wire->in_fd_count++] =
			(struct osh_wire_fd){ .fd = fds[i], .from = from, .to = from + len };
	}
	osh_buf_grew(&wire->in, len);
	return 0;
}

/* The length of the first message without its NUL, or -1. Bytes are looked at once,
 * however small the pieces are. */
static ssize_t first_message_length(struct osh_wire *wire)
{
	const char *bytes, *nul;

	if (wire->in_scanned == wire->in.len)
		return -1;
	bytes = osh_buf_bytes(&wire->in);
	nul = memchr(bytes + wire->in_scanned, '\0', wire->in.len - wire->in_scanned);
	if (nul)
		return nul - bytes;
	wire->in_scanned = wire->in.len;
	return -1;
}

bool osh_wire_has_message(struct osh_wire *wire)
{
	return first_message_length(wire) >= 0;
}

/* The descriptors whose piece ended inside the message that ends at `end`. */
static void take_fds(struct osh_wire *wire, uint64_t end, struct osh_wire_message *message)
{
	size_t taken = 0;

	while (taken < wire->in_fd_count && wire->in_fds[taken].to <= end)
		message->fds[message->fd_count++] = wire->in_fds[taken++].fd;
	wire->in_fd_count -= taken;
	memmove(wire->in_fds, wire->in_fds + taken, wire->in_fd_count * sizeof(wire->in_fds[0]));
}

int osh_wire_take(struct osh_wire *wire, struct osh_wire_message *ret_message)
{
	struct osh_wire_message message = { 0 };
	ssize_t len = first_message_length(wire);

	if (len < 0)
		return 0;
	message.json = osh_wire_parse(osh_buf_bytes(&wire->in), (size_t)len);
	if (!message.json)
		return -EBADMSG;
	osh_buf_consume(&wire->in, (size_t)len + 1);
	shrink(&wire->in);
	wire->in_scanned = 0;
	wire->in_taken += (size_t)len + 1;
	take_fds(wire, wire->in_taken, &message);
	*ret_message = message;
	return 1;
}

/* Count what a parser would allocate for, before it does. */
static bool is_within_bounds(const char *text, size_t len)
{
	size_t values = 1, depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		if (c == '"')
			in_string = true;
		else if ((c == '{' || c == '[') && ++depth > OSH_WIRE_DEPTH_MAX)
			return false;
		else if ((c == '}' || c == ']') && depth)
			depth--;
		if ((c == '{' || c == '[' || c == ',') && ++values > OSH_WIRE_VALUES_MAX)
			return false;
	}
	return true;
}

json_t *osh_wire_parse(const char *text, size_t len)
{
	json_t *json = NULL;

	if (len > OSH_WIRE_BYTES_MAX || !is_within_bounds(text, len) || osh_json_parse(text, len, &json) < 0)
		return NULL;
	if (!json_is_object(json)) {
		json_decref(json);
		json = NULL;
	}
	return json;
}

/* ---- Out ---------------------------------------- */

/* Duplicate all or none. */
static int duplicate_fds(struct osh_wire *wire, const int *fds, size_t count, uint64_t from,
			 uint64_t to)
{
	struct osh_wire_fd *tail = wire->out_fds + wire->out_fd_count;

	if (count > OSH_FDS_MAX - wire->out_fd_count)
		return -EMSGSIZE;
	for (size_t i = 0; i < count; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			int r = -errno;

			close_queue(tail, &i);
			return r;
		}
		tail[i] = (struct osh_wire_fd){ .fd = fd, .from = from, .to = to };
	}
	wire->out_fd_count += count;
	return 0;
}

int osh_wire_queue(struct osh_wire *wire, const json_t *json, const int *fds, size_t fd_count)
{
	_cleanup_free_ char *text = json_dumps(json, JSON_COMPACT);
	uint64_t from = wire->out_sent + wire->out.len;
	size_t len;
	int r;

	if (!text)
		return -ENOMEM;
	len = strlen(text) + 1;
	r = osh_buf_reserve(&wire->out, len);
	if (r == 0)
		r = duplicate_fds(wire, fds, fd_count, from, from + len);
	if (r < 0)
		return r;
	return osh_buf_append(&wire->out, text, len); /* reserved: cannot fail */
}

/* How much may go in one piece, and the descriptors that go with it: those of a
 * message leave with its first bytes, and no other message shares that piece. */
static size_t next_piece(const struct osh_wire *wire, size_t *ret_fd_count)
{
	const struct osh_wire_fd *first = wire->out_fds;
	size_t count = 0;

	*ret_fd_count = 0;
	if (!wire->out_fd_count)
		return wire->out.len;
	if (first->from > wire->out_sent)
		return (size_t)(first->from - wire->out_sent);
	while (count < wire->out_fd_count && wire->out_fds[count].from == first->from)
		count++;
	*ret_fd_count = count;
	return (size_t)(first->to - wire->out_sent);
}

int osh_wire_flush(struct osh_wire *wire)
{
	while (wire->out.len) {
		size_t fd_count, len = next_piece(wire, &fd_count);
		int fds[OSH_FDS_MAX];
		ssize_t n;

		for (size_t i = 0; i < fd_count; i++)
			fds[i] = wire->out_fds[i].fd;
		n = osh_send_piece(wire->fd, osh_buf_bytes(&wire->out), len, fds, fd_count,
				   MSG_DONTWAIT);
		if (n < 0)
			return (int)n;
		close_all(fds, fd_count);
		wire->out_fd_count -= fd_count;
		memmove(wire->out_fds, wire->out_fds + fd_count,
			wire->out_fd_count * sizeof(wire->out_fds[0]));
		osh_buf_consume(&wire->out, (size_t)n);
		wire->out_sent += (uint64_t)n;
	}
	shrink(&wire->out);
	return 0;
}

bool osh_wire_is_flushed(const struct osh_wire *wire)
{
	return wire->out.len == 0;
}

/* ---- The caller's end ---------------------------------------- */

int osh_wire_connect(const char *path, struct osh_wire *ret_wire, struct osh_err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_fd_ int fd = -1;

	if (strlen(path) >= sizeof(address.sun_path))
		return osh_err_set(err, ENAMETOOLONG, "socket path %s is longer than %zu bytes",
				   path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return osh_err_sys(err, errno, "cannot make a socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno == EACCES || errno == EPERM)
			return osh_err_set(err, errno,
					   "not allowed to use %s: be root or in group openshell",
					   path);
		return osh_err_sys(err, errno, "no agent answers at %s", path);
	}
	osh_wire_init(ret_wire, osh_take_fd(&fd));
	return 0;
}

void osh_wire_reply_done(struct osh_wire_reply *reply)
{
	json_decref(reply->parameters);
	reply->parameters = NULL;
	close_all(reply->fds, reply->fd_count);
	reply->fd_count = 0;
}

static int wait_for(const struct osh_wire *wire, short events)
{
	struct pollfd poll_fd = { .fd = wire->fd, .events = events };

	while (poll(&poll_fd, 1, -1) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static json_t *make_call(const char *method, json_t *parameters, bool more)
{
	json_t *call = json_pack("{s:s++, s:o}", "method", OSH_WIRE_INTERFACE, ".", method,
				 "parameters", parameters ? parameters : json_object());

	if (call && more && json_object_set_new(call, "more", json_true()) < 0) {
		json_decref(call);
		call = NULL;
	}
	return call;
}

int osh_wire_send_call(struct osh_wire *wire, const char *method, json_t *parameters, bool more,
		       const int *fds, size_t fd_count, struct osh_err *err)
{
	json_t *call = make_call(method, parameters, more);
	int r = call ? osh_wire_queue(wire, call, fds, fd_count) : -ENOMEM;

	json_decref(call);
	while (r == 0 && (r = osh_wire_flush(wire)) == -EAGAIN)
		r = wait_for(wire, POLLOUT);
	return r < 0 ? osh_err_sys(err, -r, "cannot send %s to the agent", method) : 0;
}

static void set_error(struct osh_wire_reply *reply, const char *error, struct osh_err *err)
{
	static const char prefix[] = OSH_WIRE_INTERFACE ".";
	const char *text = json_string_value(json_object_get(reply->parameters, "message"));

	if (strncmp(error, prefix, sizeof(prefix) - 1) == 0)
		error += sizeof(prefix) - 1;
	snprintf(reply->error, sizeof(reply->error), "%s", error);
	osh_err_set(err, EREMOTEIO, "%s", text ? text : reply->error);
}

/* Sort a message into a reply, taking its descriptors over. */
static int read_reply(struct osh_wire_message *message, struct osh_wire_reply *reply,
		      struct osh_err *err)
{
	const char *error = json_string_value(json_object_get(message->json, "error"));
	json_t *parameters = json_object_get(message->json, "parameters");

	*reply = (struct osh_wire_reply){
		.parameters = json_is_object(parameters) ? json_incref(parameters) : json_object(),
		.continues = json_is_true(json_object_get(message->json, "continues")),
		.fd_count = message->fd_count,
	};
	memcpy(reply->fds, message->fds, sizeof(reply->fds));
	message->fd_count = 0;
	if (error)
		set_error(reply, error, err);
	osh_wire_message_done(message);
	return error ? -EREMOTEIO : 0;
}

int osh_wire_try_next(struct osh_wire *wire, struct osh_wire_reply *ret_reply, struct osh_err *err)
{
	struct osh_wire_message message;
	int r;

	while ((r = osh_wire_take(wire, &message)) == 0) {
		r = osh_wire_fill(wire);
		if (r == -EAGAIN)
			return r;
		if (r == -ECONNRESET)
			return osh_err_set(err, ECONNRESET, "the agent closed the connection");
		if (r < 0)
			return osh_err_sys(err, -r, "cannot read the agent's reply");
	}
	if (r < 0)
		return osh_err_set(err, -r, "the agent's reply cannot be understood");
	return read_reply(&message, ret_reply, err);
}

int osh_wire_next(struct osh_wire *wire, struct osh_wire_reply *ret_reply, struct osh_err *err)
{
	int r;

	while ((r = osh_wire_try_next(wire, ret_reply, err)) == -EAGAIN) {
		r = wait_for(wire, POLLIN);
		if (r < 0)
			return osh_err_sys(err, -r, "cannot wait for the agent");
	}
	return r;
}

int osh_wire_call(struct osh_wire *wire, const char *method, json_t *parameters, const int *fds,
		  size_t fd_count, struct osh_wire_reply *ret_reply, struct osh_err *err)
{
	int r = osh_wire_send_call(wire, method, parameters, false, fds, fd_count, err);

	return r < 0 ? r : osh_wire_next(wire, ret_reply, err);
}
