/* Bodies and answers of every kind, servers that misbehave, and what is asked of them again. */
#include "proxy_origin.h"

TestSuite(proxy_answers, .init = begin, .timeout = 60);

/* ---- Bodies --------------------------------------------------------------------------------------------- */

Test(proxy_answers, kinds_of_responses)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	peer_say(p, "GET /pub/chunked HTTP/1.1\r\n" HOST "\r\n");
	cr_assert(peer_await(p, "0\r\nGrpc-Status: 0\r\n\r\n") > 0, "%s", p->bytes);
	EXPECT_HAS(p->bytes, "5\r\nhello\r\n1\r\n!\r\n");
	EXPECT_LACKS(p->bytes, "x=y");
	peer_consume(p, p->len);
	peer_say(p, "GET /pub/until-close HTTP/1.1\r\n" HOST "\r\n");
	cr_assert(peer_await(p, "0\r\n\r\n") > 0);
	EXPECT_HAS(p->bytes, "b\r\nuntil close\r\n");
	peer_consume(p, p->len);
	ask(p, "GET /pub/204 HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "204");
	peer_say(p, "GET /pub/304 HTTP/1.1\r\n" HOST "\r\n");
	cr_assert(peer_await(p, "\r\n\r\n") > 0);
	EXPECT_HAS(p->bytes, "Content-Length: 9\r\n");
	peer_consume(p, p->len);
	peer_say(p, "HEAD /pub/a HTTP/1.1\r\n" HOST "\r\n");
	cr_assert(peer_await(p, "\r\n\r\n") > 0);
	EXPECT_HAS(p->bytes, "Content-Length: 5\r\n");
	peer_consume(p, p->len);
	peer_say(p, "GET /pub/early HTTP/1.1\r\n" HOST "\r\n");
	cr_assert(peer_await(p, "\r\n\r\nok") > 0);
	EXPECT_HAS(p->bytes, "HTTP/1.1 103 ");
	peer_consume(p, p->len);
	ask(p, "GET /pub/last HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

Test(proxy_answers, old_client)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	peer_say(p, "GET /pub/chunked HTTP/1.0\r\n" HOST "\r\n");
	while (peer_read(p) > 0)
		;
	EXPECT_HAS(p->bytes, "Connection: close\r\n\r\nhello!");
	EXPECT_LACKS(p->bytes, "chunked");
	hang_up(p);
}

Test(proxy_answers, large_download)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	size_t got;

	peer_say(p, "GET /pub/big HTTP/1.1\r\n" HOST "\r\n");
	cr_assert(peer_await(p, "\r\n\r\n") > 0);
	peer_consume(p, (size_t)peer_await(p, "\r\n\r\n"));
	for (got = 0; got < BIG_BYTES; got += p->len, p->len = 0) {
		cr_assert(p->len || peer_read(p) > 0, "after %zu", got);
		cr_assert(p->bytes[0] == 'x' && p->bytes[p->len - 1] == 'x');
	}
	cr_expect(got == BIG_BYTES);
	ask(p, "GET /pub/next HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

static void *upload(void *context)
{
	struct peer *p = context;
	char block[10000];

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (char)i;
	for (int i = 0; i < 500; i++) {
		peer_say(p, "2710\r\n");
		peer_write(p, block, sizeof(block));
		peer_say(p, "\r\n");
	}
	peer_say(p, "0\r\nHost: no.test\r\nContent-MD5: x\r\n\r\n");
	return NULL;
}

Test(proxy_answers, large_chunked_upload)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	uint64_t sum = 0;

	for (int i = 0; i < 500; i++) {
		for (size_t j = 0; j < 10000; j++)
			sum = sum * 31 + (unsigned char)(char)j;
	}
	peer_say(p, "POST /api/push HTTP/1.1\r\n" HOST
		    "Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\nExpect: 100-continue\r\n\r\n");
	cr_assert(peer_await(p, "HTTP/1.1 100 Continue\r\n\r\n") > 0);
	peer_consume(p, p->len);
	upload(p);
	peer_response(p, answer, sizeof(answer));
	EXPECT_STATUS(answer, "200");
	cr_expect(bodies.bytes == 5000000 && bodies.sum == sum);
	cr_expect(server_saw("Content-MD5") && !server_saw("no.test"));
	hang_up(p);
}

/* C31 */
Test(proxy_answers, expectations)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	/* Denied: the body is never asked for. */
	ask(p, "PUT /x HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "Connection: close");
	cr_expect(peer_end(p) == 0);
	hang_up(p);
	p = dial_plain(WORLD_CURL, "ok.test", 80);
	ask(p, "POST /api/x HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: a-miracle\r\n\r\n");
	EXPECT_STATUS(answer, "417");
	hang_up(p);
	/* Answered before the body was sent. */
	p = dial_plain(WORLD_CURL, "ok.test", 80);
	ask(p, "POST /api/refused-early HTTP/1.1\r\n" HOST "Content-Length: 5000\r\n\r\n");
	EXPECT_STATUS(answer, "413");
	cr_expect(peer_end(p) == 0);
	hang_up(p);
}

Test(proxy_answers, bad_chunk_from_the_sandbox)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	ask(p, "POST /api/x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloGET");
	EXPECT_STATUS(answer, "400");
	cr_expect(peer_end(p) == 0);
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	cr_expect(next_verdict()->engine == OSH_ENGINE_HTTP);
	hang_up(p);
}

/* ---- Servers that misbehave ------------------------------------------------------------------------------- */

/* C39 */
Test(proxy_answers, ambiguous_responses)
{
	static const char *const paths[] = { "desync", "204-body", "101", "ws-wrong", "gone" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct peer *p = dial_tls(WORLD_CURL, "ok.test");
		char request[256];

		snprintf(request, sizeof(request),
			 "GET /pub/%s HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n"
			 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
			 paths[i]);
		ask(p, request);
		cr_expect(strncmp(answer, "HTTP/1.1 502", 12) == 0, "%s: %.200s", paths[i], answer);
		hang_up(p);
	}
}

/* A part is never passed off as the whole. */
Test(proxy_answers, truncated_responses)
{
	static const char *const paths[] = { "short", "bad-chunk" };

	for (size_t i = 0; i < 2; i++) {
		struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);
		char request[128];
		int r;

		snprintf(request, sizeof(request), "GET /pub/%s HTTP/1.1\r\n" HOST "\r\n", paths[i]);
		peer_say(p, request);
		while ((r = peer_read(p)) > 0)
			;
		cr_expect(r < 0 && errno == ECONNRESET, "%s", paths[i]);
		hang_up(p);
	}
}

/* An answer that nobody asked for does not become somebody's answer. */
/* C39 */
Test(proxy_answers, poisoned_connection_is_not_reused)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	ask(p, "GET /pub/poison HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_HAS(answer, "\r\n\r\nok");
	ask(p, "GET /pub/after HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_HAS(answer, "\r\n\r\nhello");
	cr_expect(world.accepted == 2);
	/* The twin: a clean one is. */
	ask(p, "GET /pub/again HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	cr_expect(world.accepted == 2);
	hang_up(p);
}

/* Nor does one that comes while nobody asks. */
Test(proxy_answers, what_an_idle_server_says_ends_its_connection)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	ask(p, "GET /pub/late-poison HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_HAS(answer, "\r\n\r\nok");
	sem_post(&may_poison);
	sem_wait(&poisoned);
	set_policy(policy); /* the worker has seen what came before */
	ask(p, "GET /pub/after HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_HAS(answer, "\r\n\r\nhello");
	cr_expect(world.accepted == 2);
	hang_up(p);
}

/* The worker stands still in a signal's handler, so that what comes meanwhile comes at once. */
static sem_t stands, may_go_on;

static void on_stop(int signal)
{
	(void)signal;
	sem_post(&stands);
	while (sem_wait(&may_go_on) < 0)
		;
}

static void stop_worker(void)
{
	struct sigaction action = { .sa_handler = on_stop };

	sem_init(&stands, 0, 0);
	sem_init(&may_go_on, 0, 0);
	sigaction(SIGUSR1, &action, NULL);
	pthread_kill(world.worker->thread, SIGUSR1);
	sem_wait(&stands);
}

/* Ask something, then once more while a second answer to the first is on its way. */
static void ask_while_poisoned(const char *request)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	ask(p, "GET /pub/late-poison HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_HAS(answer, "\r\n\r\nok");
	set_policy(policy); /* the worker has nothing left to do */
	stop_worker();
	peer_say(p, request);
	sem_post(&may_poison);
	sem_wait(&poisoned);
	sem_post(&may_go_on);
	peer_response(p, answer, sizeof(answer));
	EXPECT_HAS(answer, "\r\n\r\nhello");
	cr_expect(world.accepted == 2);
	hang_up(p);
}

/* Nor does one that comes together with the next request, whichever is looked at first. */
Test(proxy_answers, what_comes_with_a_request_is_no_answer_to_it)
{
	ask_while_poisoned("GET /pub/after HTTP/1.1\r\n" HOST "\r\n");
}

Test(proxy_answers, what_comes_with_a_request_that_cannot_be_repeated_is_no_answer_to_it)
{
	ask_while_poisoned("POST /api/after HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx");
}

/* The twin is the plain case above: a kept connection that is silent serves again. */
Test(proxy_answers, pool_is_not_shared_between_programs)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
	p = dial_tls(WORLD_CURL, "ok.test");
	ask(p, "GET /pub/b HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	cr_expect(world.accepted == 1, "one program, one host: reused");
	hang_up(p);
	p = dial_plain(WORLD_CURL, "ok.test", 80);
	ask(p, "GET /pub/c HTTP/1.1\r\n" HOST "\r\n");
	cr_expect(world.accepted == 2, "never plain for TLS");
	hang_up(p);
}

/* E02, E03, E06 */
Test(proxy_answers, upstream_certificate)
{
	struct world_identity stranger;
	struct peer *p;
	const struct osh_verdict *v;

	make_ca(&stranger, "stranger");
	serve_as(&stranger.ca, "ok.test");
	drop_ca(&stranger);
	p = dial_tls(WORLD_CURL, "ok.test");
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "502");
	EXPECT_HAS(answer, "\"error\":\"upstream_tls_failed\"");
	EXPECT_HAS(answer, "certificate");
	v = next_verdict();
	cr_expect(v->engine == OSH_ENGINE_TLS && v->decision == OSH_VERDICT_DENY && v->status == 502);
	expect_no_verdict();
	/* The right CA for the wrong host. */
	serve_as(&world.world_ca.ca, "no.test");
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "502");
	EXPECT_HAS(answer, "ostname mismatch");
	/* The sandbox's own CA means nothing outside. */
	serve_as(&world.sandbox_ca.ca, "ok.test");
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "502");
	cr_expect(seen.len == 0, "no byte of a request was sent");
	serve_as(&world.world_ca.ca, "ok.test");
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

/* D06 */
Test(proxy_answers, rebinding)
{
	struct peer *p = dial_plain(WORLD_CURL, "rebound.test", 80);

	ask(p, "GET / HTTP/1.1\r\nHost: rebound.test\r\n\r\n");
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "\"error\":\"ssrf_denied\"");
	cr_expect(next_verdict()->engine == OSH_ENGINE_SSRF);
	expect_no_verdict();
	hang_up(p);
}

/* A link-local address is dialled for the names of one's own host, when /etc/hosts says so. */
Test(proxy_answers, host_gateway)
{
	struct peer *p = dial_plain(WORLD_CURL, "host.openshell.internal", 80);

	ask(p, "GET / HTTP/1.1\r\nHost: host.openshell.internal\r\n\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
	p = dial_plain(WORLD_CURL, "host.docker.internal", 80);
	ask(p, "GET / HTTP/1.1\r\nHost: host.docker.internal\r\n\r\n");
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "\"error\":\"ssrf_denied\"");
	EXPECT_HAS(answer, "trusted-gateway check failed");
	hang_up(p);
	/* DNS is not asked for it. */
	p = dial_plain(WORLD_CURL, "host.containers.internal", 80);
	ask(p, "GET / HTTP/1.1\r\nHost: host.containers.internal\r\n\r\n");
	EXPECT_STATUS(answer, "502");
	EXPECT_HAS(answer, "no such name in /etc/hosts");
	hang_up(p);
	cr_expect(world.accepted == 1);
}

Test(proxy_answers, middleware_that_nobody_runs)
{
	char text[4096];
	struct peer *p;

	snprintf(text, sizeof(text), "%snetwork_middlewares:\n  redact: {middleware: openshell/regex, endpoints: "
		 "{include: [ok.test]}}\n", policy);
	set_policy(text);
	p = dial_tls(WORLD_CURL, "ok.test");
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "\"error\":\"middleware_required\"");
	EXPECT_HAS(answer, "middleware 'redact' is required for this host");
	hang_up(p);
	cr_expect(world.accepted == 0);
	snprintf(text, sizeof(text), "%snetwork_middlewares:\n  redact: {middleware: openshell/regex, on_error: fail_open, "
		 "endpoints: {include: [ok.test]}}\n", policy);
	set_policy(text);
	p = dial_tls(WORLD_CURL, "ok.test");
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

/* ---- Once more ------------------------------------------------------------------------------------------------------- */

Test(proxy_answers, safe_request_is_sent_again_on_a_fresh_connection)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	ask(p, "GET /pub/first-only HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	cr_expect(world.accepted == 2);
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	expect_no_verdict();
	hang_up(p);
}

/* Neither what may have had an effect, nor what has begun to be answered, nor what failed on a
 * connection of its own. */
Test(proxy_answers, other_requests_are_not_sent_again)
{
	static const char *const requests[] = {
		"POST /api/first-only HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi",
		"GET /pub/first-only HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi",
		"GET /pub/first-whole HTTP/1.1\r\n" HOST "\r\n",
		"GET /pub/gone HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n",
	};
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	for (size_t i = 0; i < 3; i++) {
		unsigned before;

		ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
		EXPECT_STATUS(answer, "200");
		before = world.accepted;
		ask(p, requests[i]);
		EXPECT_STATUS(answer, "502");
		EXPECT_HAS(answer, "\"error\":\"upstream_failed\"");
		cr_expect(world.accepted == before, "%s", requests[i]);
	}
	ask(p, requests[3]);
	EXPECT_STATUS(answer, "502");
	cr_expect(world.accepted == 4);
	hang_up(p);
}
