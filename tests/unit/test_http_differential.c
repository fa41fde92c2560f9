/* Our HTTP/1.1 reader beside Node's (tests/http/node.js), on the odd messages of the tables in tests/http
 * and on mutations of them, always the same ones. Where the two differ, ours must be the one that
 * refuses: what it takes, Node takes as the same messages with the same bodies. And what we write
 * for the other side is, to Node, exactly the one message that we read. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "policy/host.h"
#include "policy/path.h"
#include "proxy/http_body.h"
#include "proxy/http_head.h"
#include "proxy/http_pass.h"
#include "proxy/http_write.h"

#include "http_cases.h"

#define MUTATIONS 48      /* of each line */
#define MESSAGES_MAX 8    /* on one connection */
#define CONNECTIONS_MAX 20000

extern char **environ;

/* ---- What a reader saw ------------------------------------------------------------------ */

struct message {
	bool whole;   /* it ended */
	bool refused; /* in the middle of its body: what came of that matters no more */
	char *body;   /* hex, "-": empty */
	char *head;   /* start, names and values, each in hex */
};

struct view {
	struct message messages[MESSAGES_MAX];
	size_t count;
	char code[64]; /* why Node stopped; "-": it did not */
};

struct connection {
	char *bytes;
	size_t len;
	bool is_request, is_ours; /* written by us: Node must see exactly what we read */
	struct view view;
};

static struct connection *connections;
static size_t connection_count;

static struct connection *add_connection(struct osh_str bytes, bool is_request, bool is_ours)
{
	struct connection *c = &connections[connection_count++];

	cr_assert(connection_count <= CONNECTIONS_MAX);
	*c = (struct connection){ .len = bytes.len, .is_request = is_request, .is_ours = is_ours };
	c->bytes = malloc(bytes.len + 1);
	memcpy(c->bytes, bytes.data, bytes.len);
	return c;
}

static void put_hex(FILE *out, struct osh_str s)
{
	for (size_t i = 0; i < s.len; i++)
		fprintf(out, "%02x", (unsigned char)s.data[i]);
	if (!s.len)
		fputc('-', out);
}

static char *hex(struct osh_str s)
{
	size_t size;
	char *text = NULL;
	FILE *out = open_memstream(&text, &size);

	put_hex(out, s);
	fclose(out);
	return text;
}

/* START NAME VALUE NAME VALUE..., as node.js writes it. */
static char *describe(const struct osh_str *start, size_t start_count, const struct osh_http_head *head)
{
	size_t size;
	char *text = NULL;
	FILE *out = open_memstream(&text, &size);

	for (size_t i = 0; i < start_count; i++) {
		fputc(' ', out);
		put_hex(out, start[i]);
	}
	for (size_t i = 0; i < head->field_count; i++) {
		fputc(' ', out);
		put_hex(out, head->fields[i].name);
		fputc(' ', out);
		put_hex(out, head->fields[i].value);
	}
	fclose(out);
	return text;
}

/* ---- Ours --------------------------------------------------------------------------------- */

struct body {
	struct osh_buf payload, trailers;
};

static void body_done(struct body *body)
{
	osh_buf_done(&body->payload);
	osh_buf_done(&body->trailers);
}

/* Cut the body of a message off `bytes`. */
static void read_body(const struct osh_http_head *head, struct osh_str *bytes, struct message *m, struct body *ret)
{
	enum osh_http_result result = OSH_HTTP_DONE;
	struct osh_http_body body;

	*ret = (struct body){ { .max = BYTES_MAX }, { .max = BYTES_MAX } };
	osh_http_body_init(&body, head->framing, head->length);
	while (result == OSH_HTTP_DONE && !osh_http_body_is_over(&body)) {
		const char *reason;
		struct osh_str data;
		size_t used;

		result = osh_http_body_take(&body, *bytes, SIZE_MAX, &used, &data, &reason);
		*bytes = osh_str_n(bytes->data + used, bytes->len - used);
		cr_assert(osh_buf_append_str(&ret->payload, data) == 0);
	}
	cr_assert(osh_buf_append_str(&ret->trailers, osh_buf_str(&body.trailers)) == 0);
	m->refused = result == OSH_HTTP_BAD;
	m->whole = osh_http_body_is_over(&body) ||
		   (head->framing == OSH_HTTP_BODY_UNTIL_CLOSE && !m->refused);
	m->body = hex(osh_buf_str(&ret->payload));
	osh_http_body_done(&body);
}

/* In absolute form, whom the target names. */
static struct osh_str authority_of(struct osh_str target)
{
	size_t start = osh_str_has_prefix(target, "https://") ? 8 : 7, end = start;

	while (end < target.len && !strchr("/?#", target.data[end]))
		end++;
	return osh_str_n(target.data + start, end - start);
}

/* False: the judge refuses it before it asks any rule. */
static bool has_meaning(const struct osh_http_head *head, char *room, size_t size, struct osh_path *ret_path)
{
	bool is_absolute = osh_str_has_prefix(head->target, "http");
	struct osh_host host;
	uint16_t port_host;

	if (osh_authority_parse(head->host, 443, &host, &port_host) < 0 ||
	    (is_absolute && osh_authority_parse(authority_of(head->target), 443, &host, &port_host) < 0))
		return false;
	if (osh_str_eq_c(head->target, "*") && osh_str_eq_c(head->method, "OPTIONS")) {
		*ret_path = (struct osh_path){ .path = head->target };
		return true;
	}
	return (is_absolute || head->target.data[0] == '/') &&
	       osh_path_canonicalise(head->target, true, room, size, ret_path) == OSH_PATH_OK;
}

static void add_field(struct osh_http_head *head, struct osh_str name, struct osh_str value)
{
	head->fields[head->field_count++] = (struct osh_http_field){ .name = name, .value = value };
}

/* The fields that the other side must see: those that pass, and behind them ours. */
static void add_passing(const struct osh_http_head *head, enum osh_http_framing framing, const char *length,
			struct osh_http_head *sent)
{
	for (size_t i = 0; i < head->field_count; i++) {
		if (osh_http_passes(head, &head->fields[i]))
			add_field(sent, head->fields[i].name, head->fields[i].value);
	}
	if (framing == OSH_HTTP_BODY_LENGTH)
		add_field(sent, osh_str("Content-Length"), osh_str(length));
	if (framing == OSH_HTTP_BODY_CHUNKED)
		add_field(sent, osh_str("Transfer-Encoding"), osh_str("chunked"));
}

/* Our message: `out` holds its head, `head` is what the other side must make of it. */
static void add_written(struct osh_buf *out, bool is_request, char *head, enum osh_http_framing framing,
			const struct body *body)
{
	struct connection *c;

	cr_assert(osh_http_write_data(out, framing, osh_buf_str(&body->payload)) == 0);
	cr_assert(osh_http_write_end(out, framing, osh_buf_str(&body->trailers)) == 0);
	c = add_connection(osh_buf_str(out), is_request, true);
	c->view.count = 1;
	c->view.messages[0] = (struct message){
		.whole = true, .body = hex(osh_buf_str(&body->payload)), .head = head,
	};
}

static void forward_request(const struct osh_http_head *head, const struct osh_path *path,
			    const struct body *body)
{
	struct osh_http_request_out how = { .path = path->path, .query = path->query,
					    .has_query = path->has_query, .host = osh_str("ok.test") };
	struct osh_buf out OSH_CLEANUP(osh_buf_done) = { .max = 8 * BYTES_MAX };
	struct osh_buf target OSH_CLEANUP(osh_buf_done) = { .max = 2 * BYTES_MAX };
	struct osh_http_head sent = { 0 };
	char length[32];

	osh_buf_append_str(&target, path->path);
	if (path->has_query)
		osh_buf_printf(&target, "?%.*s", (int)path->query.len, path->query.data);
	snprintf(length, sizeof(length), "%zu", body->payload.len);
	add_field(&sent, osh_str("Host"), how.host);
	add_passing(head, head->framing, length, &sent);
	cr_assert(osh_http_write_request(&out, head, &how) == 0);
	add_written(&out, true, describe((struct osh_str[]){ head->method, osh_buf_str(&target) }, 2, &sent),
		    head->framing, body);
}

static void forward_response(const struct osh_http_head *head, struct osh_str status, const struct body *body)
{
	struct osh_http_response_out how = { .client_minor = 1, .framing = head->framing };
	struct osh_buf out OSH_CLEANUP(osh_buf_done) = { .max = 8 * BYTES_MAX };
	const struct osh_http_field *unsent = osh_http_find(head, OSH_HTTP_CONTENT_LENGTH);
	struct osh_http_head sent = { 0 };
	char length[32];

	if (head->framing == OSH_HTTP_BODY_UNTIL_CLOSE)
		how.framing = OSH_HTTP_BODY_CHUNKED;
	snprintf(length, sizeof(length), "%zu", body->payload.len);
	add_passing(head, how.framing, length, &sent);
	if (unsent && head->status == 304)
		add_field(&sent, unsent->name, unsent->value);
	cr_assert(osh_http_write_response(&out, head, &how) == 0);
	add_written(&out, false, describe(&status, 1, &sent), how.framing, body);
}

/* As http1.c does between two requests. */
static void skip_empty_line(struct osh_str *bytes)
{
	if (bytes->len >= 2 && memcmp(bytes->data, "\r\n", 2) == 0)
		*bytes = osh_str_n(bytes->data + 2, bytes->len - 2);
}

/* False: nothing behind it is read as a request. */
static bool read_request(struct osh_str *bytes, struct view *view)
{
	struct body body OSH_CLEANUP(body_done) = { 0 };
	struct message *m = &view->messages[view->count];
	char room[3 * OSH_PATH_TARGET_MAX + 1];
	struct osh_http_scan scan = { 0 };
	struct osh_http_head head;
	struct osh_http_error error;
	struct osh_path path;

	skip_empty_line(bytes);
	if (osh_http_parse_request(*bytes, &scan, &head, &error) != OSH_HTTP_DONE ||
	    !has_meaning(&head, room, sizeof(room), &path))
		return false;
	view->count++;
	m->head = describe((struct osh_str[]){ head.method, head.target }, 2, &head);
	*bytes = osh_str_n(bytes->data + head.len, bytes->len - head.len);
	read_body(&head, bytes, m, &body);
	if (osh_str_eq_c(head.method, "CONNECT"))
		return false;
	if (m->whole)
		forward_request(&head, &path, &body);
	/* To Node, what comes after an offer to upgrade is no HTTP. */
	return m->whole && !head.close && !head.upgrade.len;
}

static void read_requests(struct osh_str bytes, struct view *view)
{
	while (view->count < MESSAGES_MAX && read_request(&bytes, view))
		;
}

static void read_response(struct osh_str bytes, struct view *view)
{
	struct body body OSH_CLEANUP(body_done) = { 0 };
	struct message *m = &view->messages[0];
	struct osh_http_head head;
	char status[16];

	do {
		struct osh_http_scan scan = { 0 };
		struct osh_http_error error;

		if (osh_http_parse_response(bytes, false, &scan, &head, &error) != OSH_HTTP_DONE ||
		    head.status == 101)
			return;
		bytes = osh_str_n(bytes.data + head.len, bytes.len - head.len);
	} while (head.status < 200);
	snprintf(status, sizeof(status), "%u", head.status);
	m->head = describe((struct osh_str[]){ osh_str(status) }, 1, &head);
	view->count = 1;
	read_body(&head, &bytes, m, &body);
	if (m->whole)
		forward_response(&head, osh_str(status), &body);
}

static void add_case(struct osh_str bytes, bool is_request)
{
	struct connection *c = add_connection(bytes, is_request, false);

	if (is_request)
		read_requests(bytes, &c->view);
	else
		read_response(bytes, &c->view);
}

/* ---- Cases -------------------------------------------------------------------------------- */

static void make_cases(bool is_request)
{
	random_state = 0x6f70656e7368656cull;
	for (size_t i = 0; i < seed_count; i++) {
		add_case(osh_str_n(seeds[i].data, seeds[i].len), is_request);
		for (size_t n = 0; n < MUTATIONS; n++) {
			struct bytes b = seeds[i];

			for (size_t deeds = 1 + below(2); deeds; deeds--) {
				const struct bytes *other = &seeds[below(seed_count)];

				mutate(&b, osh_str_n(other->data, other->len));
			}
			add_case(osh_str_n(b.data, b.len), is_request);
		}
	}
}

/* ---- Node's ------------------------------------------------------------------------------- */

/* Both ways by a file, so that nobody waits for anybody. */
static FILE *open_memory(const char *name)
{
	return fdopen(memfd_create(name, MFD_CLOEXEC), "w+");
}

static FILE *run_node(FILE *input)
{
	FILE *output = open_memory("output");
	posix_spawn_file_actions_t actions;
	char script[512];
	pid_t pid;
	int status, r;

	source_path("node.js", script, sizeof(script));
	fflush(input);
	rewind(input);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fileno(input), STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, fileno(output), STDOUT_FILENO);
	r = posix_spawnp(&pid, "node", &actions, NULL, (char *[]){ "node", script, NULL }, environ);
	cr_assert(r == 0, "cannot run node (%s): scripts/install-packages", strerror(r));
	posix_spawn_file_actions_destroy(&actions);
	cr_assert(waitpid(pid, &status, 0) == pid && status == 0, "node ended with status %d", status);
	rewind(output);
	return output;
}

static FILE *ask_node(void)
{
	FILE *input = open_memory("input"), *output;

	for (size_t i = 0; i < connection_count; i++) {
		const struct connection *c = &connections[i];

		fputs(c->is_request ? "request " : "response ", input);
		put_hex(input, osh_str_n(c->bytes, c->len));
		fputc('\n', input);
	}
	output = run_node(input);
	fclose(input);
	return output;
}

/* One connection's lines. */
static void read_view(FILE *output, struct view *ret)
{
	static char line[1 << 16];

	*ret = (struct view){ 0 };
	while (fgets(line, sizeof(line), output)) {
		struct message *m = &ret->messages[ret->count];
		char *rest = line, *body;

		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "end %63s", ret->code) == 1)
			return;
		cr_assert(ret->count < MESSAGES_MAX, "too many messages");
		cr_assert_str_eq(strsep(&rest, " "), "message");
		m->whole = *strsep(&rest, " ") == '1';
		body = strsep(&rest, " ");
		m->body = strdup(body);
		m->head = malloc(strlen(rest) + 2);
		sprintf(m->head, " %s", rest);
		ret->count++;
	}
	cr_assert_fail("node said nothing of a connection");
}

static void free_view(struct view *view)
{
	for (size_t i = 0; i < view->count; i++) {
		free(view->messages[i].head);
		free(view->messages[i].body);
	}
}

/* ---- Beside each other ---------------------------------------------------------------------- */

static bool begins_with(const char *text, const char *start)
{
	return strcmp(start, "-") == 0 || strncmp(text, start, strlen(start)) == 0;
}

/* What is wrong with one message of ours; NULL: nothing. */
static const char *compare_message(const struct message *ours, const struct message *theirs)
{
	if (strcmp(ours->head, theirs->head) != 0)
		return "the heads differ";
	if (ours->whole && (!theirs->whole || strcmp(ours->body, theirs->body) != 0))
		return "the bodies differ";
	if (!ours->whole && !ours->refused && theirs->whole)
		return "we wait where Node sees the end";
	if (!begins_with(ours->body, theirs->body) && !begins_with(theirs->body, ours->body))
		return "the bodies differ";
	return NULL;
}

static const char *compare(const struct connection *c, const struct view *theirs)
{
	const struct view *ours = &c->view;

	for (size_t i = 0; i < ours->count; i++) {
		const char *wrong;

		/* Node knows a list of methods; to us each is a token, which rules may name. */
		if (i >= theirs->count)
			return strcmp(theirs->code, "HPE_INVALID_METHOD") == 0 ? NULL :
									      "we take what Node refuses";
		wrong = compare_message(&ours->messages[i], &theirs->messages[i]);
		if (wrong)
			return wrong;
	}
	if (c->is_ours && (theirs->count != ours->count || strcmp(theirs->code, "-") != 0))
		return "Node sees something else in what we wrote";
	return NULL;
}

static void show(FILE *out, const char *who, const struct view *view)
{
	fprintf(out, "%s, end %s:\n", who, view->code);
	for (size_t i = 0; i < view->count; i++) {
		const struct message *m = &view->messages[i];

		fprintf(out, "  whole %d body %s head%s\n", m->whole, m->body, m->head);
	}
}

static void complain(const struct connection *c, const struct view *theirs, const char *wrong)
{
	char text[4 * BYTES_MAX + 1], *views = NULL;
	size_t size;
	FILE *out = open_memstream(&views, &size);

	osh_str_escape(osh_str_n(c->bytes, c->len), text, sizeof(text));
	show(out, "ours", &c->view);
	show(out, "Node's", theirs);
	fclose(out);
	cr_expect_fail("%s:\n%s\n%s", wrong, text, views);
	free(views);
}

struct tally {
	size_t cases, written, taken, only_node;
};

static struct tally run(const char *name, bool is_request)
{
	struct tally tally = { 0 };
	FILE *output;

	connections = calloc(CONNECTIONS_MAX, sizeof(*connections));
	cr_assert(connections);
	read_seeds(name);
	make_cases(is_request);
	output = ask_node();
	for (size_t i = 0; i < connection_count; i++) {
		struct connection *c = &connections[i];
		struct view theirs;
		const char *wrong;

		read_view(output, &theirs);
		wrong = compare(c, &theirs);
		if (wrong)
			complain(c, &theirs, wrong);
		tally.cases += !c->is_ours;
		tally.written += c->is_ours;
		tally.taken += !c->is_ours && c->view.count > 0;
		tally.only_node += !c->is_ours && theirs.count > c->view.count;
		free_view(&theirs);
		free_view(&c->view);
		free(c->bytes);
	}
	cr_expect(fgetc(output) == EOF);
	fclose(output);
	free(connections);
	cr_log_info("%s: %zu cases, %zu taken, %zu taken by Node alone, %zu written anew", name,
		    tally.cases, tally.taken, tally.only_node, tally.written);
	return tally;
}

/* Either side of the line must have been seen, or nothing was shown. */
TestSuite(http_differential, .timeout = 120);

Test(http_differential, requests)
{
	struct tally tally = run("requests.txt", true);

	cr_expect(tally.cases > 9000 && tally.taken > 1000 && tally.only_node > 500 && tally.written > 800);
}

Test(http_differential, responses)
{
	struct tally tally = run("responses.txt", false);

	cr_expect(tally.cases > 3000 && tally.taken > 400 && tally.only_node > 100 && tally.written > 300);
}
