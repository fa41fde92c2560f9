/* Flows that wait until the agent has told about their program (agent/proxy/facts.c). */
#include "proxy_world.h"

#include "proxy/session.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  p:\n"
	"    endpoints: [{host: ok.test, port: 443, protocol: rest, access: full}]\n"
	"    binaries: [{path: /usr/bin/curl%s}]\n";

static void set_binary(const char *conditions)
{
	char text[1024];

	snprintf(text, sizeof(text), policy, conditions);
	set_policy(text);
}

static void serve(struct peer *p, uint16_t port_host)
{
	(void)port_host;
	while (peer_await(p, "\r\n\r\n") > 0) {
		peer_consume(p, p->len);
		peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	}
}

static void begin(void)
{
	world.script = serve;
	world_begin();
	set_binary("");
}

TestSuite(proxy_facts, .init = begin, .timeout = 60);

static void expect_answer(struct peer *p, const char *status, const char *part)
{
	static char answer[8192];

	cr_assert(peer_say(p, "GET /a HTTP/1.1\r\nHost: ok.test\r\n\r\n"));
	peer_response(p, answer, sizeof(answer));
	cr_expect(strncmp(answer + 9, status, 3) == 0, "wanted %s: %.900s", status, answer);
	cr_expect(strstr(answer, part), "wanted '%s': %.900s", part, answer);
}

static void expect_once(const char *status, const char *part)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	cr_assert(p->ssl);
	expect_answer(p, status, part);
	hang_up(p);
}

Test(proxy_facts, one_question_for_all_flows_of_a_program)
{
	struct peer *first, *second;

	world.holds_answers = true;
	first = dial_plain(WORLD_CURL, "ok.test", 443);
	second = dial_plain(WORLD_CURL, "ok.test", 443);
	while (atomic_load(&world.questions) == 0)
		sched_yield();
	cr_expect_eq(atomic_load(&world.accepted), 0, "nobody was dialled meanwhile");
	sem_post(&world.may_answer);
	world.holds_answers = false;
	hang_up(first);
	hang_up(second);
	expect_once("200", "ok");
	expect_once("200", "ok");
	cr_expect_eq(atomic_load(&world.questions), 1);
}

/* F02: as long as its agent is stopped a program waits, and not for ever. */
Test(proxy_facts, an_agent_that_does_not_answer)
{
	osh_session_deadlines_ms[OSH_SESSION_ASKING] = 300;
	world.holds_answers = true;
	expect_once("403", "the agent did not tell in time");
	cr_expect_eq(atomic_load(&world.accepted), 0);
	cr_expect_eq(atomic_load(&world.questions), 1);
	world.holds_answers = false;
	sem_post(&world.may_answer);
	expect_once("200", "ok");
}

/* A new policy asks again, but not about a flow that lives. */
Test(proxy_facts, asked_again_under_a_new_policy)
{
	struct peer *live = dial_tls(WORLD_CURL, "ok.test");

	expect_answer(live, "200", "ok");
	cr_expect_eq(atomic_load(&world.questions), 1);
	world.facts.trust = OSH_TRUST_CHANGED;
	set_binary("");
	expect_answer(live, "200", "ok");
	cr_expect_eq(atomic_load(&world.questions), 1);
	expect_once("403", "changed since its first use");
	cr_expect_eq(atomic_load(&world.questions), 2);
	hang_up(live);
}

Test(proxy_facts, a_changed_program_is_denied)
{
	world.facts.trust = OSH_TRUST_CHANGED;
	expect_once("403", "changed since its first use");
	expect_once("403", "changed since its first use");
	cr_expect_eq(atomic_load(&world.questions), 1);
	world.facts.trust = OSH_TRUST_SAME;
	set_binary("");
	expect_once("200", "ok");
}

Test(proxy_facts, a_program_whose_file_cannot_be_told_is_denied)
{
	world.facts.trust = OSH_TRUST_UNTOLD;
	expect_once("403", "is not the file any more that was started");
}

/* Clean is asked of each flow: what the process has mapped may have changed. */
Test(proxy_facts, clean_is_asked_of_each_flow)
{
	set_binary(", clean: true");
	expect_once("200", "ok");
	cr_expect_eq(atomic_load(&world.questions), 2);
	world.facts.clean = OSH_CLEAN_NO;
	expect_once("403", "was not started clean");
	cr_expect_eq(atomic_load(&world.questions), 3);
	world.facts.clean = OSH_CLEAN_YES;
	expect_once("200", "ok");
}

/* What a new policy wants to know of a live flow cannot be waited for. */
Test(proxy_facts, a_live_flow_ends_when_more_is_asked)
{
	struct peer *live = dial_tls(WORLD_CURL, "ok.test");

	expect_answer(live, "200", "ok");
	set_binary(", clean: true");
	cr_expect(peer_read(live) <= 0);
	hang_up(live);
	expect_once("200", "ok");
}

Test(proxy_facts, a_pinned_digest_is_compared)
{
	char conditions[128];

	memset(world.facts.digest, 0xab, sizeof(world.facts.digest));
	snprintf(conditions, sizeof(conditions), ", sha256: \"%s%s\"",
		 "abababababababababababababababab", "abababababababababababababababab");
	set_binary(conditions);
	expect_once("200", "ok");
	world.facts.digest[31] = 0;
	set_binary(conditions);
	expect_once("403", "does not have the sha256");
}
