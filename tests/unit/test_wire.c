/* Both ends of a control connection over a socket pair: framing, descriptors, bounds. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/wire.h"

static struct osh_wire ours, theirs;

static void open_pair(void)
{
	int pair[2];

	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0));
	osh_wire_init(&ours, pair[0]);
	osh_wire_init(&theirs, pair[1]);
}

static void close_pair(void)
{
	osh_wire_done(&ours);
	osh_wire_done(&theirs);
}

TestSuite(wire, .init = open_pair, .fini = close_pair);

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static bool is_same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

static int make_file(const char *text)
{
	int fd = osh_memfd_sealed("test", text, strlen(text));

	cr_assert(ge(int, fd, 0));
	return fd;
}

static int queue_text(const char *text, const int *fds, size_t fd_count)
{
	json_t *json = json_pack("{s:s}", "text", text);
	int r = osh_wire_queue(&ours, json, fds, fd_count);

	json_decref(json);
	return r;
}

/* Fill until a message is whole. */
static int receive(struct osh_wire_message *message)
{
	int r;

	while ((r = osh_wire_take(&theirs, message)) == 0) {
		r = osh_wire_fill(&theirs);
		if (r < 0)
			return r;
	}
	return r;
}

static const char *message_text(const struct osh_wire_message *message)
{
	return json_string_value(json_object_get(message->json, "text"));
}

Test(wire, messages_arrive_in_order)
{
	struct osh_wire_message message;

	cr_assert(eq(int, queue_text("one", NULL, 0), 0));
	cr_assert(eq(int, queue_text("two", NULL, 0), 0));
	cr_assert(eq(int, osh_wire_flush(&ours), 0));
	cr_assert(eq(int, receive(&message), 1));
	cr_expect_str_eq(message_text(&message), "one");
	osh_wire_message_done(&message);
	cr_assert(osh_wire_has_message(&theirs));
	cr_assert(eq(int, receive(&message), 1));
	cr_expect_str_eq(message_text(&message), "two");
	osh_wire_message_done(&message);
	cr_expect(eq(int, receive(&message), -EAGAIN));
}

Test(wire, descriptors_come_with_their_own_message)
{
	int first = make_file("first"), second = make_file("second");
	int both[2] = { second, first };
	struct osh_wire_message message;

	cr_assert(eq(int, queue_text("none", NULL, 0), 0));
	cr_assert(eq(int, queue_text("one", &first, 1), 0));
	cr_assert(eq(int, queue_text("none again", NULL, 0), 0));
	cr_assert(eq(int, queue_text("two", both, 2), 0));
	cr_assert(eq(int, osh_wire_flush(&ours), 0));

	cr_assert(eq(int, receive(&message), 1));
	cr_expect(eq(sz, message.fd_count, 0));
	osh_wire_message_done(&message);
	cr_assert(eq(int, receive(&message), 1));
	cr_assert(eq(sz, message.fd_count, 1));
	cr_expect(is_same_file(message.fds[0], first));
	osh_wire_message_done(&message);
	cr_assert(eq(int, receive(&message), 1));
	cr_expect(eq(sz, message.fd_count, 0));
	osh_wire_message_done(&message);
	cr_assert(eq(int, receive(&message), 1));
	cr_assert(eq(sz, message.fd_count, 2));
	cr_expect(is_same_file(message.fds[0], second));
	cr_expect(is_same_file(message.fds[1], first));
	osh_wire_message_done(&message);
	close(first);
	close(second);
}

/* The largest policy there may be, in its longest spelling, with a descriptor, through
 * sockets that take a part at a time. */
Test(wire, the_largest_policy_passes)
{
	char *text = malloc(OSH_POLICY_BYTES_MAX + 1);
	struct osh_wire_message message;
	int fd = make_file("beside");
	int r, got = 0;

	memset(text, 1, OSH_POLICY_BYTES_MAX);
	text[OSH_POLICY_BYTES_MAX] = '\0';
	cr_assert(eq(int, queue_text(text, &fd, 1), 0));
	do {
		r = osh_wire_flush(&ours);
		cr_assert(r == 0 || r == -EAGAIN);
		while (!got && osh_wire_fill(&theirs) == 0)
			got = osh_wire_take(&theirs, &message);
	} while (r == -EAGAIN);
	cr_assert(eq(int, got, 1));
	cr_expect_str_eq(message_text(&message), text);
	cr_assert(eq(sz, message.fd_count, 1));
	cr_expect(is_same_file(message.fds[0], fd));
	osh_wire_message_done(&message);
	cr_expect(lt(sz, theirs.in.room, OSH_POLICY_BYTES_MAX),
		  "memory of a large message is given back");
	free(text);
	close(fd);
}

Test(wire, an_endless_message_ends_the_connection)
{
	char *bytes = calloc(1, OSH_WIRE_BYTES_MAX);
	size_t sent = 0;
	int r = 0;

	memset(bytes, 'x', OSH_WIRE_BYTES_MAX);
	while (r == 0 || r == -EAGAIN) {
		ssize_t n = send(ours.fd, bytes, OSH_WIRE_BYTES_MAX, MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		r = osh_wire_fill(&theirs);
		cr_assert(le(sz, sent, 2 * (size_t)OSH_WIRE_BYTES_MAX), "it has to stop somewhere");
	}
	cr_expect(eq(int, r, -EMSGSIZE));
	cr_expect(le(sz, theirs.in.room, OSH_WIRE_BYTES_MAX));
	free(bytes);
}

Test(wire, too_many_descriptors_are_refused_and_closed)
{
	struct osh_wire_message message;
	int fds[OSH_FDS_MAX + 1];
	int before = count_fds();
	int r = 0;

	for (size_t i = 0; i <= OSH_FDS_MAX; i++)
		fds[i] = STDIN_FILENO;
	cr_expect(eq(int, queue_text("x", fds, OSH_FDS_MAX + 1), -EMSGSIZE));
	/* As many as allowed, without ever ending the message: those of the next piece are
	 * too many. */
	cr_assert(eq(int, osh_send_fds(ours.fd, "{", 1, fds, OSH_FDS_MAX), 0));
	cr_assert(eq(int, osh_wire_fill(&theirs), 0));
	cr_expect(eq(int, osh_wire_take(&theirs, &message), 0));
	cr_assert(eq(int, osh_send_fds(ours.fd, " ", 1, fds, 1), 0));
	r = osh_wire_fill(&theirs);
	cr_expect(eq(int, r, -EMSGSIZE));
	osh_wire_done(&theirs);
	cr_expect(eq(int, count_fds(), before - 1), "the socket and all descriptors are closed");
}

/* Its twin: as many as allowed. */
Test(wire, the_most_descriptors_pass)
{
	struct osh_wire_message message;
	int fds[OSH_FDS_MAX];

	for (size_t i = 0; i < OSH_FDS_MAX; i++)
		fds[i] = STDIN_FILENO;
	cr_assert(eq(int, queue_text("x", fds, OSH_FDS_MAX), 0));
	cr_assert(eq(int, osh_wire_flush(&ours), 0));
	cr_assert(eq(int, receive(&message), 1));
	cr_expect(eq(sz, message.fd_count, OSH_FDS_MAX));
	osh_wire_message_done(&message);
}

Test(wire, a_closed_peer_is_noticed)
{
	osh_wire_done(&ours);
	cr_expect(eq(int, osh_wire_fill(&theirs), -ECONNRESET));
}

Test(wire, a_slow_reader_fills_no_memory)
{
	char *text = malloc(OSH_POLICY_BYTES_MAX + 1);
	int r = 0, count = 0;

	memset(text, 'x', OSH_POLICY_BYTES_MAX);
	text[OSH_POLICY_BYTES_MAX] = '\0';
	while (r == 0 && count++ < 100)
		r = queue_text(text, NULL, 0);
	cr_expect(eq(int, r, -ENOBUFS));
	cr_expect(le(sz, ours.out.room, OSH_WIRE_BYTES_MAX));
	free(text);
}

Test(wire, bytes_are_taken_one_by_one)
{
	static const char bytes[] = "{\"text\":\"slow\"}";
	struct osh_wire_message message;

	for (size_t i = 0; i < sizeof(bytes); i++) {
		cr_assert(eq(int, osh_wire_take(&theirs, &message), 0));
		cr_assert(eq(int, (int)send(ours.fd, bytes + i, 1, 0), 1));
		cr_assert(eq(int, osh_wire_fill(&theirs), 0));
	}
	cr_assert(eq(int, osh_wire_take(&theirs, &message), 1));
	cr_expect_str_eq(message_text(&message), "slow");
	osh_wire_message_done(&message);
}

/* ---- What is no message ---------------------------------------- */

struct text_case {
	const char *text;
	bool good;
};

Test(wire_parse, texts)
{
	static const struct text_case cases[] = {
		{ "{}", true },
		{ "{\"method\":\"io.openshell.Status\",\"parameters\":{}}", true },
		{ "{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}", true },
		{ "{\"a\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[\"}", true },
		{ "", false },
		{ "[]", false },
		{ "1", false },
		{ "{", false },
		{ "{}{}", false },
		{ "{\"a\":1,\"a\":2}", false },
		{ "{\"a\":\"\\u0000\"}", false },
		{ "{\"a\":\"\xff\"}", false },
		{ "{\"a\":NaN}", false },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(cases); i++) {
		json_t *json = osh_wire_parse(cases[i].text, strlen(cases[i].text));

		cr_expect(eq(int, json != NULL, cases[i].good), "%s", cases[i].text);
		json_decref(json);
	}
}

static json_t *parse_nested(size_t depth)
{
	char text[8 * OSH_WIRE_DEPTH_MAX + 16] = "";
	size_t len = 0;

	for (size_t i = 0; i < depth; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "{\"a\":");
	text[len++] = '1';
	memset(text + len, '}', depth);
	return osh_wire_parse(text, len + depth);
}

Test(wire_parse, depth_is_bounded)
{
	json_t *json = parse_nested(OSH_WIRE_DEPTH_MAX);

	cr_expect(json != NULL);
	json_decref(json);
	cr_expect(parse_nested(OSH_WIRE_DEPTH_MAX + 1) == NULL);
}

static json_t *parse_list(size_t count)
{
	char *text = malloc(2 * count + 16);
	size_t len = (size_t)snprintf(text, 16, "{\"a\":[1");
	json_t *json;

	for (size_t i = 1; i < count; i++) {
		text[len++] = ',';
		text[len++] = '1';
	}
	memcpy(text + len, "]}", 2);
	json = osh_wire_parse(text, len + 2);
	free(text);
	return json;
}

Test(wire_parse, values_are_bounded)
{
	json_t *json = parse_list(OSH_WIRE_VALUES_MAX - 2);

	cr_expect(json != NULL);
	json_decref(json);
	cr_expect(parse_list(OSH_WIRE_VALUES_MAX - 1) == NULL);
}

/* ---- Calls ---------------------------------------- */

static void answer(const char *text)
{
	cr_assert(eq(int, (int)send(theirs.fd, text, strlen(text) + 1, 0), (int)strlen(text) + 1));
}

Test(wire, a_call_is_spelt_as_varlink)
{
	struct osh_wire_message message;
	struct osh_err err = { 0 };

	cr_assert(eq(int,
		     osh_wire_send_call(&ours, "SandboxGet", json_pack("{s:s}", "name", "demo"),
					true, NULL, 0, &err),
		     0));
	cr_assert(eq(int, receive(&message), 1));
	cr_expect_str_eq(json_string_value(json_object_get(message.json, "method")),
			 "io.openshell.SandboxGet");
	cr_expect(eq(int, json_boolean_value(json_object_get(message.json, "more")), 1));
	cr_expect_str_eq(json_string_value(json_object_get(
				 json_object_get(message.json, "parameters"), "name")),
			 "demo");
	osh_wire_message_done(&message);
}

Test(wire, replies_are_sorted)
{
	struct osh_wire_reply reply;
	struct osh_err err = { 0 };

	cr_expect(eq(int, osh_wire_try_next(&ours, &reply, &err), -EAGAIN));
	answer("{\"parameters\":{\"pid\":7},\"continues\":true}");
	answer("{\"error\":\"io.openshell.NotFound\",\"parameters\":{\"message\":\"no such "
	       "thing\"}}");
	answer("{\"error\":\"org.varlink.service.MethodNotFound\"}");

	cr_assert(eq(int, osh_wire_next(&ours, &reply, &err), 0));
	cr_expect(reply.continues);
	cr_expect(eq(int, (int)json_integer_value(json_object_get(reply.parameters, "pid")), 7));
	cr_expect_str_empty(reply.error);
	osh_wire_reply_done(&reply);

	cr_assert(eq(int, osh_wire_next(&ours, &reply, &err), -EREMOTEIO));
	cr_expect(not(reply.continues));
	cr_expect_str_eq(reply.error, "NotFound");
	cr_expect_str_eq(err.message, "no such thing");
	osh_wire_reply_done(&reply);

	cr_assert(eq(int, osh_wire_next(&ours, &reply, &err), -EREMOTEIO));
	cr_expect_str_eq(reply.error, "org.varlink.service.MethodNotFound");
	osh_wire_reply_done(&reply);
}

Test(wire, rubbish_from_the_agent_is_an_error)
{
	struct osh_wire_reply reply;
	struct osh_err err = { 0 };

	answer("rubbish");
	cr_expect(eq(int, osh_wire_next(&ours, &reply, &err), -EBADMSG));
	cr_expect_str_not_empty(err.message);
}

Test(wire_connect, an_absent_agent_is_told)
{
	struct osh_wire wire;
	struct osh_err err = { 0 };
	char path[200];

	cr_expect(eq(int, osh_wire_connect("/nonexistent/openshell.sock", &wire, &err), -ENOENT));
	cr_expect(strstr(err.message, "/nonexistent/openshell.sock") != NULL);
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	cr_expect(eq(int, osh_wire_connect(path, &wire, &err), -ENAMETOOLONG));
}
