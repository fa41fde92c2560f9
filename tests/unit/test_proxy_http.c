/* HTTP through the data plane: what a sandboxed program asks, what the server sees, what
 * is answered, what is recorded. Real TLS, policy, vault and sockets; a fake kernel. */
#include "proxy_origin.h"

TestSuite(proxy_http, .init = begin, .timeout = 60);

/* ---- Allowed and denied ----------------------------------------------------------------------- */

Test(proxy_http, allowed_over_tls)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	const struct osh_verdict *v;

	cr_assert(p->ssl, "handshake");
	ask(p, "GET /pub/x/../y?q=1 HTTP/1.1\r\nHost: OK.test:443\r\nX-Forwarded-For: 1.1.1.1\r\n"
	       "X-Request-Id: 7\r\nConnection: x-hop\r\nX-Hop: 1\r\nUpgrade: TLS/1.0\r\n\r\n");
	EXPECT_STATUS(answer, "200");
	EXPECT_HAS(answer, "X-Server: real");
	EXPECT_HAS(answer, "\r\n\r\nhello");
	v = next_verdict();
	cr_expect(v->decision == OSH_VERDICT_ALLOW && v->engine == OSH_ENGINE_L7);
	cr_expect_str_eq(v->method, "GET");
	cr_expect_str_eq(v->target, "/pub/y");
	cr_expect_str_eq(v->policy, "ok_api");
	cr_expect_str_eq(v->host, "ok.test");
	cr_expect_str_eq(v->binary, "/usr/bin/curl");
	cr_expect(v->dst_port_host == 443 && v->pid == 77 && v->rule_line > 0 && v->revision == 1);
	cr_expect(server_saw("GET /pub/y?q=1 HTTP/1.1\r\nHost: ok.test\r\n"));
	cr_expect(server_saw("X-Request-Id: 7\r\n"));
	cr_expect(!server_saw("X-Forwarded-For") && !server_saw("X-Hop") && !server_saw("Upgrade"));
	expect_no_verdict();
	hang_up(p);
}

Test(proxy_http, denied_explains_and_keeps_the_connection)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	const struct osh_verdict *v;

	ask(p, "PUT /pub/a?secret=1 HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello");
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "Content-Type: application/json\r\n");
	EXPECT_HAS(answer, "X-Content-Type-Options: nosniff\r\n");
	EXPECT_HAS(answer, "X-OpenShell-Policy: ok_api\r\n");
	EXPECT_LACKS(answer, "Connection: close");
	EXPECT_HAS(answer, "{\"error\":\"policy_denied\",\"policy\":\"ok_api\"");
	EXPECT_HAS(answer, "\"detail\":\"PUT /pub/a not permitted by policy\"");
	EXPECT_HAS(answer, "\"binary\":\"/usr/bin/curl\"");
	EXPECT_HAS(answer, "\"host\":\"ok.test\",\"port\":443");
	EXPECT_LACKS(answer, "secret");
	v = next_verdict();
	cr_expect(v->decision == OSH_VERDICT_DENY && v->engine == OSH_ENGINE_L7 && v->status == 403);
	cr_expect_str_eq(v->method, "PUT");
	cr_expect_str_eq(v->target, "/pub/a");
	cr_expect_str_eq(v->reason, "PUT /pub/a not permitted by policy");
	/* The twin, on the same connection: its body was swallowed, not read as a request. */
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	cr_expect(!server_saw("PUT"));
	expect_no_verdict();
	hang_up(p);
}

Test(proxy_http, pipelined)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	/* The body of the second holds a whole request. */
	ask(p, "GET /pub/1 HTTP/1.1\r\n" HOST "\r\n"
	       "POST /no HTTP/1.1\r\n" HOST "Content-Length: 43\r\n\r\n"
	       "GET /pub/smuggled HTTP/1.1\r\n" HOST
	       "GET /pub/3 HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	peer_response(p, answer, sizeof(answer));
	EXPECT_STATUS(answer, "403");
	peer_response(p, answer, sizeof(answer));
	EXPECT_STATUS(answer, "200");
	cr_expect(server_saw("GET /pub/1 ") && server_saw("GET /pub/3 ") && !server_saw("smuggled"));
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	cr_expect(next_verdict()->decision == OSH_VERDICT_DENY);
	cr_expect_str_eq(next_verdict()->target, "/pub/3");
	expect_no_verdict();
	hang_up(p);
}

/* More answers of our own than are kept back for one burst: none may wait for an event that
 * never comes. */
Test(proxy_http, many_pipelined)
{
	static const char request[] = "GET /no HTTP/1.1\r\n" HOST "\r\n";
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	char all[200 * (sizeof(request) - 1)];

	for (int i = 0; i < 200; i++)
		memcpy(all + (size_t)i * (sizeof(request) - 1), request, sizeof(request) - 1);
	cr_assert(peer_write(p, all, sizeof(all)));
	for (int i = 0; i < 200; i++) {
		cr_assert(peer_response(p, answer, sizeof(answer)), "answer %d", i);
		EXPECT_STATUS(answer, "403");
	}
	hang_up(p);
}

Test(proxy_http, denied_host_is_explained)
{
	struct peer *p = dial_tls(WORLD_CURL, "no.test");
	const struct osh_verdict *v;

	cr_assert(p->ssl, "it is answered as that host");
	ask(p, "GET / HTTP/1.1\r\nHost: no.test\r\n\r\n");
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "\"error\":\"policy_denied\"");
	EXPECT_HAS(answer, "\"detail\":\"CONNECT no.test:443 not permitted by policy\"");
	EXPECT_HAS(answer, "\"binary\":\"/usr/bin/curl\"");
	EXPECT_HAS(answer, "Connection: close\r\n");
	cr_expect(peer_end(p) == 0, "closed cleanly");
	v = next_verdict();
	cr_expect(v->decision == OSH_VERDICT_DENY && v->engine == OSH_ENGINE_POLICY);
	hang_up(p);
	p = dial_plain(WORLD_EVIL, "ok.test", 80);
	ask(p, "GET /pub/x HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "/usr/bin/evil");
	cr_expect_str_eq(next_verdict()->binary, "/usr/bin/evil");
	expect_no_verdict();
	cr_expect(world.accepted == 0, "no byte reached a server");
	hang_up(p);
}

Test(proxy_http, other_ports_are_reset)
{
	struct peer *p = dial_plain(WORLD_EVIL, "l4.test", 5432);

	cr_expect(peer_read(p) < 0 && errno == ECONNRESET);
	cr_expect(next_verdict()->decision == OSH_VERDICT_DENY);
	cr_expect(kernel->denials == 1, "the kernel refuses the next one itself");
	hang_up(p);
	p = dial_plain(WORLD_EVIL, "l4.test", 5432);
	peer_say(p, "\1\2\3");
	cr_expect(peer_read(p) < 0 && errno == ECONNRESET);
	hang_up(p);
}

Test(proxy_http, bypass_attempt)
{
	struct osh_addr dst = address_of("ok.test");
	struct peer *p = calloc(1, sizeof(*p));

	peer_init(p, dial_listener(0, &dst, 80));
	cr_expect(peer_read(p) <= 0);
	cr_expect(next_verdict()->engine == OSH_ENGINE_BYPASS);
	hang_up(p);
}

/* ---- Which host ----------------------------------------------------------------------------------- */

/* C02 */
Test(proxy_http, authority)
{
	static const struct {
		const char *request, *status;
	} table[] = {
		{ "GET /pub/a HTTP/1.1\r\nHost: no.test\r\n\r\n", "421" },
		{ "GET /pub/a HTTP/1.1\r\nHost: ok.test:8443\r\n\r\n", "421" },
		{ "GET /pub/a HTTP/1.1\r\nHost: ok.test@no.test\r\n\r\n", "400" },
		{ "GET /pub/a HTTP/1.1\r\nHost: 0x7f.1\r\n\r\n", "400" },
		{ "GET /pub/a HTTP/1.1\r\nHost: ok.test,no.test\r\n\r\n", "400" },
		{ "GET https://no.test/pub/a HTTP/1.1\r\nHost: ok.test\r\n\r\n", "421" },
		{ "GET https://ok.test/pub/a HTTP/1.1\r\nHost: no.test\r\n\r\n", "421" },
		{ "GET http://ok.test/pub/a HTTP/1.1\r\nHost: ok.test\r\n\r\n", "400" },
		{ "GET ftp://ok.test/pub/a HTTP/1.1\r\nHost: ok.test\r\n\r\n", "400" },
		{ "GET pub/a HTTP/1.1\r\nHost: ok.test\r\n\r\n", "400" },
		{ "GET * HTTP/1.1\r\nHost: ok.test\r\n\r\n", "400" },
		{ "CONNECT no.test:443 HTTP/1.1\r\nHost: no.test\r\n\r\n", "421" },
		{ "CONNECT no.test:443 HTTP/1.1\r\nHost: ok.test\r\n\r\n", "421" },
		{ "CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test\r\n\r\n", "403" },
		{ "GET /pub/%2e%2e/%2e%2e/x HTTP/1.1\r\nHost: ok.test\r\n\r\n", "400" },
		{ "GET /pub/a%2fb HTTP/1.1\r\nHost: ok.test\r\n\r\n", "400" },
		{ "GET https://OK.test:443/pub/a HTTP/1.1\r\nHost: ok.test.\r\n\r\n", "200" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct peer *p = dial_tls(WORLD_CURL, "ok.test");
		const struct osh_verdict *v;

		ask(p, table[i].request);
		cr_expect(strncmp(answer + 9, table[i].status, 3) == 0, "%s: %.120s", table[i].request, answer);
		v = next_verdict();
		cr_expect((v->decision == OSH_VERDICT_ALLOW) == (strcmp(table[i].status, "200") == 0));
		expect_no_verdict();
		hang_up(p);
	}
	cr_expect(!server_saw("no.test"));
}

Test(proxy_http, malformed)
{
	static const char *const table[] = {
		"GET /pub/a HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET /pub/a HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n",
		"GET /pub/a HTTP/1.1\n" HOST "\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"\1\2\3",
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

		ask(p, table[i]);
		cr_expect(strncmp(answer, "HTTP/1.1 400", 12) == 0 || strncmp(answer, "HTTP/1.1 505", 12) == 0,
			  "%s: %.100s", table[i], answer);
		EXPECT_HAS(answer, "Connection: close");
		cr_expect(peer_end(p) == 0, "%s", table[i]);
		cr_expect(next_verdict()->engine == OSH_ENGINE_HTTP);
		expect_no_verdict();
		hang_up(p);
	}
	cr_expect(world.accepted == 0);
}

/* C01, C04 */
Test(proxy_http, server_name)
{
	struct peer *p = dial_tls_as(WORLD_CURL, "ok.test", "no.test");

	cr_expect(!p->ssl, "refused by an alert");
	cr_expect(next_verdict()->engine == OSH_ENGINE_TLS);
	free(p);
	/* Without a name the address decides; Host is still held to it. */
	p = dial_tls_as(WORLD_CURL, "ok.test", NULL);
	cr_assert(p->ssl);
	ask(p, "GET /pub/a HTTP/1.1\r\nHost: no.test\r\n\r\n");
	EXPECT_STATUS(answer, "421");
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

/* An address that names nothing, however right the rest is. */
/* C05 */
Test(proxy_http, address_without_a_name)
{
	struct peer *p = dial_tls_as(WORLD_CURL, WORLD_SERVER, "ok.test");

	cr_assert(p->ssl);
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "403");
	cr_expect(world.accepted == 0);
	hang_up(p);
	p = dial_tls_as(WORLD_CURL, "198.18.0.99", "ok.test");
	cr_assert(p->ssl);
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "not given to any name");
	cr_expect(world.accepted == 0);
	hang_up(p);
}

/* Where the policy permits every method, too; and what follows is no request. */
/* C20 */
Test(proxy_http, connect_is_refused)
{
	struct peer *p;

	serve_as(&world.world_ca.ca, "other.test");
	p = dial_tls(WORLD_CURL, "other.test");
	ask(p, "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test\r\n\r\n"
	       "GET /smuggled HTTP/1.1\r\nHost: other.test\r\n\r\n");
	EXPECT_STATUS(answer, "405");
	EXPECT_HAS(answer, "method_not_allowed");
	cr_expect(peer_end(p) == 0);
	cr_expect(next_verdict()->status == 405);
	expect_no_verdict();
	cr_expect(world.accepted == 0);
	hang_up(p);
	p = dial_tls(WORLD_CURL, "other.test");
	ask(p, "GET /x HTTP/1.1\r\nHost: other.test\r\n\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

/* C26 */
Test(proxy_http, any_token_is_a_method)
{
	struct peer *p;

	serve_as(&world.world_ca.ca, "other.test");
	p = dial_tls(WORLD_CURL, "other.test");
	ask(p, "BREW /pot HTTP/1.1\r\nHost: other.test\r\n\r\n");
	EXPECT_STATUS(answer, "200");
	cr_expect(server_saw("BREW /pot HTTP/1.1\r\n"));
	ask(p, "B(EW /pot HTTP/1.1\r\nHost: other.test\r\n\r\n");
	EXPECT_STATUS(answer, "400");
	hang_up(p);
}

/* ---- Requests that ask to be taken for others ------------------------------------------------------------------ */

#define FORM "Content-Type: application/x-www-form-urlencoded\r\n"
#define JSON "Content-Type: application/json\r\n"
#define PARTS "Content-Type: multipart/form-data; boundary=x\r\n"

/* C27 */
Test(proxy_http, method_override)
{
	static const struct { const char *request, *status; } table[] = {
		{ "POST /api/x?_method=POST HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", "200" },
		{ "POST /api/x?a=1&%5Fmethod=DELETE HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", "403" },
		{ "POST /api/x?_method=post&_method=delete HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", "403" },
		{ "POST /api/x HTTP/1.1\r\n" HOST "X-HTTP-Method-Override: DELETE\r\nX_Method_Override: PUT\r\n"
		  "X-HTTP-Method: PUT\r\nContent-Length: 0\r\n\r\n", "200" },
		{ "POST /api/x HTTP/1.1\r\n" HOST FORM "Content-Length: 16\r\n\r\na=b&_method=POST", "200" },
		{ "POST /api/x HTTP/1.1\r\n" HOST FORM "Content-Length: 18\r\n\r\na=b&_method=DELETE", "403" },
		{ "POST /api/x HTTP/1.1\r\n" HOST FORM "Transfer-Encoding: chunked\r\n\r\n"
		  "4\r\n_met\r\na\r\nhod=DELETE\r\n0\r\n\r\n", "403" },
		{ "POST /api/x HTTP/1.1\r\n" HOST FORM "Transfer-Encoding: chunked\r\n\r\n"
		  "4\r\n_met\r\n8\r\nhod=POST\r\n0\r\n\r\n", "200" },
		{ "POST /api/x HTTP/1.1\r\n" HOST "Content-Type: text/plain\r\nContent-Length: 14\r\n\r\n_method=DELETE", "200" },
		{ "POST /api/x HTTP/1.1\r\n" HOST PARTS "Content-Length: 63\r\n\r\n--x\r\nContent-Disposition: "
		  "form-data; name=\"_method\"\r\n\r\nx\r\n--x--", "403" },
		{ "POST /api/x HTTP/1.1\r\n" HOST PARTS "Content-Length: 63\r\n\r\n--x\r\nContent-Disposition: "
		  "form-data; name=\"amethod\"\r\n\r\nx\r\n--x--", "200" },
		/* A type that some read as the form's, or none at all. */
		{ "POST /api/x HTTP/1.1\r\n" HOST "Content-Type: application/x-www-form-urlencoded,\r\nContent-Length: 14\r\n"
		  "\r\n_method=DELETE", "403" },
		{ "POST /api/x HTTP/1.1\r\n" HOST "Content-Type: application/x-www-form-urlencoded,\r\nContent-Length: 14\r\n"
		  "\r\namethod=DELETE", "200" },
		{ "POST /api/x HTTP/1.1\r\n" HOST "Content-Length: 14\r\n\r\n_method=DELETE", "403" },
		{ "POST /api/x HTTP/1.1\r\n" HOST "Content-Length: 14\r\n\r\namethod=DELETE", "200" },
		{ "POST /api/x HTTP/1.1\r\n" HOST JSON "Content-Length: 20\r\n\r\n{\"_method\":\"DELETE\"}", "403" },
		{ "POST /api/x HTTP/1.1\r\n" HOST JSON "Content-Length: 20\r\n\r\n{\"amethod\":\"DELETE\"}", "200" },
		/* A form that is not read. */
		{ "POST /api/x HTTP/1.1\r\n" HOST FORM "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\na=b", "403" },
		{ "POST /api/x HTTP/1.1\r\n" HOST FORM "Content-Encoding: identity\r\nContent-Length: 3\r\n\r\na=b", "200" },
		{ "POST /api/x HTTP/1.1\r\n" HOST "Content-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n"
		  "\r\na=b", "200" },
		/* A field that only some read as the type does not reach the server. */
		{ "POST /api/x HTTP/1.1\r\n" HOST "Content-Type: text/plain\r\nContent_Type: application/x-www-form-urlencoded\r\n"
		  "Content-Length: 14\r\n\r\n_method=DELETE", "200" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct peer *p = dial_tls(WORLD_CURL, "ok.test");

		ask(p, table[i].request);
		cr_expect(strncmp(answer + 9, table[i].status, 3) == 0, "row %zu: %.200s", i, answer);
		if (strcmp(table[i].status, "403") == 0) {
			EXPECT_HAS(answer, strstr(table[i].request, "gzip") ? "not permitted by policy (its form may ask for it" :
									       "not permitted by policy (asked for by _method");
			EXPECT_HAS(answer, "\"error\":\"policy_denied\"");
		}
		hang_up(p);
	}
	cr_expect(!server_saw("verride") && !server_saw("Method: PUT") && !server_saw("Content_Type"));
}

/* Two types, or one that would not reach the server: judged by one, read by another. */
Test(proxy_http, types_that_two_read_in_two_ways)
{
	static const char *const heads[] = {
		"Content-Type: text/plain\r\n" FORM,
		FORM "content-type: text/plain\r\n",
		"Content-Type: text/plain\r\nConnection: content-type\r\n",
		"Content-Encoding: deflate\r\nConnection: Content-Encoding\r\n",
	};
	struct peer *p;

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		char request[512];

		snprintf(request, sizeof(request), "POST /api/x HTTP/1.1\r\n" HOST "%sContent-Length: 3\r\n\r\na=b", heads[i]);
		p = dial_tls(WORLD_CURL, "ok.test");
		ask(p, request);
		cr_expect(strncmp(answer + 9, "400", 3) == 0, "row %zu: %.200s", i, answer);
		hang_up(p);
	}
	p = dial_tls(WORLD_CURL, "ok.test");
	ask(p, "POST /api/x HTTP/1.1\r\n" HOST FORM "Content-Encoding: identity\r\nConnection: x-other\r\nContent-Length: 3\r\n\r\na=b");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

Test(proxy_http, method_override_that_the_policy_permits)
{
	struct peer *p;

	serve_as(&world.world_ca.ca, "other.test");
	p = dial_tls(WORLD_CURL, "other.test");
	ask(p, "POST /x?_method=DELETE HTTP/1.1\r\nHost: other.test\r\n" FORM "Content-Length: 14\r\n\r\n_method=DELETE");
	EXPECT_STATUS(answer, "200");
	ask(p, "POST /x HTTP/1.1\r\nHost: other.test\r\n" PARTS "Content-Length: 63\r\n\r\n--x\r\nContent-Disposition: "
	       "form-data; name=\"_method\"\r\n\r\nx\r\n--x--");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

/* ---- A new policy ------------------------------------------------------------------------------------------------- */

Test(proxy_http, kept_connection_is_judged_by_the_new_policy)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	cr_expect(next_verdict()->revision == 1);
	set_policy(narrow_policy);
	expect_no_verdict();
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "403");
	cr_expect(next_verdict()->revision == 2);
	ask(p, "POST /api/a HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n");
	EXPECT_STATUS(answer, "200");
	set_policy(policy);
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

Test(proxy_http, request_in_flight_is_judged_again)
{
	struct peer *denied = dial_plain(WORLD_CURL, "ok.test", 80);
	struct peer *allowed = dial_plain(WORLD_CURL, "ok.test", 80);

	/* Both stop in the middle of their bodies. */
	peer_say(denied, "GET /pub/a HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nhello");
	peer_say(allowed, "POST /api/a HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nhello");
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	set_policy(narrow_policy);
	peer_response(denied, answer, sizeof(answer));
	EXPECT_STATUS(answer, "403");
	cr_expect(next_verdict()->decision == OSH_VERDICT_DENY);
	ask(allowed, "hello");
	EXPECT_STATUS(answer, "200");
	expect_no_verdict();
	hang_up(denied);
	hang_up(allowed);
}
