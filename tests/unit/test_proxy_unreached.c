/* What ends while its server is still waited for: its name was asked for, perhaps its address dialled, so
 * that it is on record, once; and so is its twin, which is answered. */
#include "proxy_frames.h"
#include "proxy_late.h"

#define NAME_SERVER_PORT 5300u
#define UNREACHED "it ended before there was a connection to its server"

/* In the places of mute.test and still.test nobody answers for the name. */
#define POLICY(enforcement, access) \
	"version: 1\n" \
	"network_policies:\n" \
	"  all:\n" \
	"    endpoints:\n" \
	"      - { host: ok.test, port: 443, protocol: rest, access: full, enforcement: enforce }\n" \
	"      - { host: mute.test, port: 80, protocol: rest, access: " access ", enforcement: " enforcement " }\n" \
	"      - { host: still.test, port: 5432 }\n" \
	"    binaries: [{ path: /usr/bin/curl }]\n"

static int name_server;

/* Of HTTP/1.1, on 443: /last is heard, and not answered. */
static void serve(struct peer *p, uint16_t port_host)
{
	ssize_t head;

	(void)port_host;
	while ((head = peer_await(p, "\r\n\r\n")) > 0 && !strstr(p->bytes, "/last")) {
		peer_consume(p, (size_t)head);
		peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	}
}

static void begin(void)
{
	init_late();
	world.script = serve;
	snprintf(world.proxy.dns_servers, sizeof(world.proxy.dns_servers), "127.0.0.1:%u", NAME_SERVER_PORT);
	world_begin();
	name_server = listen_at("127.0.0.1", NAME_SERVER_PORT, SOCK_DGRAM, NULL);
	set_policy(POLICY("enforce", "full"));
}

TestSuite(proxy_unreached, .init = begin, .timeout = 60);

/* Who asks for the address of mute.test, or still.test, waits for it from now on. */
static void await_question(const char *label)
{
	char question[512];
	ssize_t len;

	do
		cr_assert((len = recv(name_server, question, sizeof(question), 0)) > 0);
	while (!memmem(question, (size_t)len, label, strlen(label)));
}

static void expect_record(enum osh_verdict_decision decision, const char *method, const char *target,
			  const char *reason)
{
	const struct osh_verdict *v = next_verdict();

	cr_expect(v->decision == decision && v->status == 0);
	cr_expect_str_eq(v->method ? v->method : "", method);
	cr_expect_str_eq(v->target ? v->target : "", target);
	cr_expect_str_eq(v->reason ? v->reason : "", reason);
}

static void expect_status(struct peer *p, const char *status)
{
	char answer[4096];

	peer_response(p, answer, sizeof(answer));
	cr_expect(strncmp(answer, status, strlen(status)) == 0, "%s", answer);
}

/* The twin goes its way, and that was all. */
static void expect_one_for_who_stays(void)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	peer_say(p, "GET /twin HTTP/1.1\r\nHost: ok.test\r\n\r\n");
	expect_status(p, "HTTP/1.1 200 ");
	expect_record(OSH_VERDICT_ALLOW, "GET", "/twin", "");
	expect_no_verdict();
	hang_up(p);
}

/* ---- By the program ------------------------------------------------------------------------- */

static void reset(struct peer *p)
{
	peer_reset(p);
	hang_up(p);
}

static struct peer *ask_mute(void)
{
	struct peer *p = dial_plain(WORLD_CURL, "mute.test", 80);

	peer_say(p, "GET /gone?secret HTTP/1.1\r\nHost: mute.test\r\n\r\n");
	await_question("mute");
	return p;
}

Test(proxy_unreached, while_its_name_is_asked_for)
{
	reset(ask_mute());
	expect_record(OSH_VERDICT_ALLOW, "GET", "/gone", UNREACHED);
	expect_one_for_who_stays();
}

Test(proxy_unreached, what_is_only_watched_keeps_its_reason)
{
	struct peer *p = dial_plain(WORLD_CURL, "mute.test", 80);

	set_policy(POLICY("audit", "read-only"));
	peer_say(p, "PUT /gone HTTP/1.1\r\nHost: mute.test\r\nContent-Length: 0\r\n\r\n");
	await_question("mute");
	reset(p);
	expect_record(OSH_VERDICT_AUDIT, "PUT", "/gone", "PUT /gone not permitted by policy; " UNREACHED);
	expect_one_for_who_stays();
}

Test(proxy_unreached, while_its_server_says_no_hello)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	be_late();
	peer_say(p, "GET /gone HTTP/1.1\r\nHost: ok.test\r\n\r\n");
	sem_wait(&greeted);
	reset(p);
	expect_record(OSH_VERDICT_ALLOW, "GET", "/gone", UNREACHED);
	sem_post(&may_greet);
	sem_post(&may_greet);
	expect_one_for_who_stays();
}

/* It was on record when it was sent for the first time. */
Test(proxy_unreached, while_it_is_sent_again)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	peer_say(p, "GET /first HTTP/1.1\r\nHost: ok.test\r\n\r\n");
	expect_status(p, "HTTP/1.1 200 ");
	expect_record(OSH_VERDICT_ALLOW, "GET", "/first", "");
	be_late();
	peer_say(p, "GET /last HTTP/1.1\r\nHost: ok.test\r\n\r\n");
	sem_wait(&greeted);
	expect_record(OSH_VERDICT_ALLOW, "GET", "/last", "");
	reset(p);
	sem_post(&may_greet);
	sem_post(&may_greet);
	expect_one_for_who_stays();
}

/* ---- By the program, over HTTP/2 ---------------------------------------------------------------- */

static struct peer *ask_twice(void)
{
	struct peer *p = dial_http2();

	be_late();
	begin_post(p, 1, "/one", "text/plain", "4");
	begin_post(p, 3, "/two", "text/plain", "4");
	sem_wait(&greeted);
	return p;
}

Test(proxy_unreached, call_that_is_taken_back)
{
	struct peer *p = ask_twice();
	struct frame frame = { 0 };

	cr_assert(say_code(p, NGHTTP2_RST_STREAM, 1, NGHTTP2_CANCEL));
	expect_record(OSH_VERDICT_ALLOW, "POST", "/one", UNREACHED);
	/* The other is not touched by it. */
	sem_post(&may_greet);
	sem_post(&may_greet);
	cr_assert(say_frame(p, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 3, "word", 4));
	while (frame.type != NGHTTP2_HEADERS) {
		if (frame.payload)
			drop_frame(p, &frame);
		cr_assert(next_frame(p, &frame) > 0);
	}
	cr_expect(frame.stream == 3);
	expect_record(OSH_VERDICT_ALLOW, "POST", "/two", "");
	sem_post(&may_greet);
	expect_one_for_who_stays();
	hang_up(p);
}

Test(proxy_unreached, calls_whose_connection_breaks)
{
	reset(ask_twice());
	expect_record(OSH_VERDICT_ALLOW, "POST", "/one", UNREACHED);
	expect_record(OSH_VERDICT_ALLOW, "POST", "/two", UNREACHED);
	for (int i = 0; i < 3; i++)
		sem_post(&may_greet);
	expect_one_for_who_stays();
}

/* ---- By us ---------------------------------------------------------------------------------- */

/* The kernel's side of a flow is over, or its sandbox, or the agent. A relay waits for its server though
 * its program is gone. */
static void cut_off(enum osh_letter_type type)
{
	struct peer *p = ask_mute(), *raw = dial_plain(WORLD_CURL, "still.test", 5432);

	await_question("still");
	expect_no_verdict();
	post((struct osh_letter){ .type = type, .sandbox = WORLD_SANDBOX });
	expect_record(OSH_VERDICT_ALLOW, "GET", "/gone", UNREACHED);
	expect_record(OSH_VERDICT_ALLOW, "", "", UNREACHED);
	cr_expect(peer_end(p) < 0 && peer_end(raw) < 0);
	hang_up(p);
	hang_up(raw);
}

Test(proxy_unreached, cut_off_with_its_flow)
{
	cut_off(OSH_LETTER_END_FLOW);
	expect_one_for_who_stays();
}

Test(proxy_unreached, cut_off_with_its_sandbox)
{
	expect_one_for_who_stays();
	cut_off(OSH_LETTER_REMOVE);
	expect_no_verdict();
}

Test(proxy_unreached, cut_off_with_its_worker)
{
	expect_one_for_who_stays();
	cut_off(OSH_LETTER_STOP);
	expect_no_verdict();
}

/* Denied in the meantime: that is its verdict. */
Test(proxy_unreached, denied_by_a_new_policy)
{
	char answer[4096];
	struct peer *p = ask_mute();

	set_policy(POLICY("enforce", "read-write"));
	expect_no_verdict();
	set_policy("version: 1\nnetwork_policies: {}\n");
	peer_response(p, answer, sizeof(answer));
	cr_expect(strncmp(answer, "HTTP/1.1 403 ", 13) == 0, "%s", answer);
	cr_expect(next_verdict()->decision == OSH_VERDICT_DENY);
	hang_up(p);
	set_policy(POLICY("enforce", "full"));
	expect_one_for_who_stays();
}
