/* Placeholders on their way through a worker: what the server gets, what is refused, what is
 * recorded. */
#include "proxy_recorder.h"

#include <zlib.h>

#include "credential/base64.h"
#include "proxy/rewrite.h"

#define PLACEHOLDER "ghp_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
#define SECRET "ghp_0000000000REALrealREAL00000000000000"
#define MARKER "openshell:resolve:env:GITHUB_TOKEN"
#define ALIAS "sk-OPENSHELL-RESOLVE-ENV-GITHUB_TOKEN"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  p:\n"
	"    endpoints:\n"
	"      - {host: ok.test, port: 443, path: \"/plain/**\", protocol: rest, enforcement: enforce,\n"
	"         rules: [{allow: {method: \"*\", path: \"/plain/**\"}}],\n"
	"         deny_rules: [{method: GET, path: \"/plain/*REAL*\"},\n"
	"                      {method: GET, path: \"/plain/\\\\[CREDENTIAL\\\\]/denied\"}]}\n"
	"      - {host: ok.test, port: 443, path: \"/body/**\", protocol: rest, enforcement: enforce,\n"
	"         access: full, request_body_credential_rewrite: true}\n"
	"      - {host: ok.test, port: 443, path: \"/lax/**\", protocol: rest, enforcement: enforce,\n"
	"         access: full, request_body_credential_rewrite: true, allow_uninspected_credentials: true}\n"
	"      - {host: ok.test, port: 443, path: \"/bound/**\", protocol: rest, enforcement: enforce,\n"
	"         access: full, credential_binding: {provider: another}}\n"
	"      - {host: ok.test, port: 443, path: \"/mine/**\", protocol: rest, enforcement: enforce,\n"
	"         access: full, credential_binding: {provider: my-github}}\n"
	"      - {host: ok.test, port: 443, path: \"/signed/**\", protocol: rest, enforcement: enforce,\n"
	"         access: full, credential_signing: sigv4, signing_service: s3}\n"
	"      - {host: ok.test, port: 443, path: \"/graphql/**\", protocol: graphql, enforcement: enforce,\n"
	"         request_body_credential_rewrite: true,\n"
	"         rules: [{allow: {operation_type: query, fields: [viewer]}}]}\n"
	"      - {host: ok.test, port: 443, path: \"/ws/rest/**\", protocol: rest, enforcement: enforce,\n"
	"         access: full, websocket_credential_rewrite: true}\n"
	"      - {host: ok.test, port: 443, path: \"/ws/judged/**\", protocol: websocket, enforcement: enforce,\n"
	"         access: full, websocket_credential_rewrite: true}\n"
	"      - {host: ok.test, port: 443, path: \"/ws/plain/**\", protocol: websocket, enforcement: enforce,\n"
	"         access: full}\n"
	"      - {host: ok.test, port: 80, protocol: rest, enforcement: enforce, access: full}\n"
	"      - {host: other.test, port: 443, protocol: rest, enforcement: enforce, access: full}\n"
	"    binaries: [{path: /usr/bin/curl}]\n";

static void begin(void)
{
	static const char *const hosts[] = { "ok.test", "l4.test", NULL };

	begin_recording();
	set_policy(policy);
	set_vault(PLACEHOLDER, SECRET, hosts);
}

TestSuite(proxy_credentials, .init = begin, .timeout = 60);

#define EXPECT_LACKS(text, part) cr_expect(!strstr(text, part), "%s in: %.1500s", part, text)
#define END "\r\n\r\n"

static void expect_refused(struct peer *p, const char *request, const char *status, const char *error)
{
	const struct osh_verdict *v;
	char wanted[128];

	ask(p, request);
	cr_expect(strncmp(answer, status, strlen(status)) == 0, "wanted %s for %.200s, got: %.700s", status,
		  request, answer);
	snprintf(wanted, sizeof(wanted), "\"error\":\"%s\"", error);
	EXPECT_HAS(answer, wanted);
	EXPECT_LACKS(answer, PLACEHOLDER);
	EXPECT_LACKS(answer, "REALreal");
	v = next_verdict();
	if (v->decision == OSH_VERDICT_ALLOW) /* found in the body, on its way */
		v = next_verdict();
	cr_expect(v->engine == OSH_ENGINE_CREDENTIAL && v->decision == OSH_VERDICT_DENY, "%.100s: %s", request,
		  v->reason);
	cr_expect(!strstr(v->target, PLACEHOLDER) && !strstr(v->target, MARKER), "%s", v->target);
}

/* ---- Heads ---------------------------------------------------------------------------------------- */

Test(proxy_credentials, every_place_of_a_head)
{
	static const struct { const char *request, *seen; } rows[] = {
		{ "GET /plain/ HTTP/1.1\r\n" HOST "Authorization: Bearer " PLACEHOLDER, "Authorization: Bearer " SECRET "\r\n" },
		{ "GET /plain/ HTTP/1.1\r\n" HOST "x-api-key: " MARKER, "x-api-key: " SECRET "\r\n" },
		{ "GET /plain/ HTTP/1.1\r\n" HOST "Cookie: a=1; t=" ALIAS "; b=2", "Cookie: a=1; t=" SECRET "; b=2\r\n" },
		{ "GET /plain/ HTTP/1.1\r\n" HOST "X-Two: " MARKER " " PLACEHOLDER, "X-Two: " SECRET " " SECRET "\r\n" },
		{ "GET /plain/?a=1&t=" PLACEHOLDER "&b=2 HTTP/1.1\r\n" HOST "X: x", "GET /plain/?a=1&t=" SECRET "&b=2 HTTP" },
		{ "GET /plain/?t=openshell%3Aresolve%3aenv%3AGITHUB_TOKEN HTTP/1.1\r\n" HOST "X: x", "/plain/?t=" SECRET " HTTP" },
		{ "GET /plain/bot" MARKER "/getMe HTTP/1.1\r\n" HOST "X: x", "GET /plain/bot" SECRET "/getMe HTTP" },
		{ "GET /plain/%67hp_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789/y HTTP/1.1\r\n" HOST "X: x", "GET /plain/" SECRET "/y HTTP" },
		{ "GET /mine/ HTTP/1.1\r\n" HOST "X: " MARKER, "GET /mine/ HTTP/1.1\r\nHost: ok.test\r\nX: " SECRET },
		{ "GET /plain/ HTTP/1.1\r\n" HOST "Authorization: Bearer mine", "Authorization: Bearer mine\r\n" },
	};
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char request[1024];

		snprintf(request, sizeof(request), "%s" END, rows[i].request);
		ask(p, request);
		EXPECT_STATUS(answer, "200");
		cr_expect(server_saw(rows[i].seen), "%s", rows[i].seen);
	}
	cr_expect(!server_saw(PLACEHOLDER) && !server_saw("openshell:") && !server_saw("RESOLVE"));
	hang_up(p);
}

/* A head of `fields` markers, and `padding` bytes in a field without one. */
static void ask_with_many(struct peer *p, size_t fields, size_t padding)
{
	static char request[1 << 16];
	size_t len = (size_t)sprintf(request, "GET /plain/ HTTP/1.1\r\n" HOST "X-Padding: %0*d\r\n", (int)padding, 0);

	for (size_t i = 0; i < fields; i++)
		len += (size_t)sprintf(request + len, "X-%zu: " MARKER "\r\n", i);
	strcpy(request + len, "\r\n");
	ask(p, request);
}

/* What a sandbox sends is short; with its credentials in place it may be longer than any head
 * from outside, and not longer than 64 KiB. */
Test(proxy_credentials, heads_that_grow)
{
	static const char *const hosts[] = { "ok.test", NULL };
	char secret[3001] = "";
	struct peer *p;

	memset(secret, 's', sizeof(secret) - 1);
	set_vault(PLACEHOLDER, secret, hosts);
	p = dial_tls(WORLD_CURL, "ok.test");
	ask_with_many(p, 20, 1);
	EXPECT_STATUS(answer, "200");
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	ask_with_many(p, 20, 6000);
	EXPECT_STATUS(answer, "431");
	EXPECT_HAS(answer, "with their credentials in place, the headers are too large");
	cr_expect(next_verdict()->engine == OSH_ENGINE_CREDENTIAL);
	hang_up(p);
}

Test(proxy_credentials, basic)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	char encoded[256] = "", request[1024];

	osh_base64_encode(osh_str("u:" MARKER), encoded);
	snprintf(request, sizeof(request), "GET /plain/ HTTP/1.1\r\n" HOST "Authorization: Basic %s" END, encoded);
	ask(p, request);
	EXPECT_STATUS(answer, "200");
	memset(encoded, 0, sizeof(encoded));
	osh_base64_encode(osh_str("u:" SECRET), encoded);
	cr_expect(server_saw(encoded));
	hang_up(p);
}

Test(proxy_credentials, rules_and_records_see_that_it_is_one)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	const struct osh_verdict *v;

	/* A rule about the secret's own text finds nothing to match. */
	ask(p, "GET /plain/" PLACEHOLDER "/x?q=" MARKER " HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	v = next_verdict();
	cr_expect_str_eq(v->target, "/plain/[CREDENTIAL]/x");
	ask(p, "GET /plain/" PLACEHOLDER "/denied HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "\"error\":\"policy_denied\"");
	EXPECT_HAS(answer, "/plain/[CREDENTIAL]/denied");
	EXPECT_LACKS(answer, PLACEHOLDER);
	cr_expect_str_eq(next_verdict()->target, "/plain/[CREDENTIAL]/denied");
	hang_up(p);
}

Test(proxy_credentials, never_elsewhere)
{
	static const char *const requests[] = {
		"GET /a HTTP/1.1\r\nHost: other.test\r\nAuthorization: Bearer " PLACEHOLDER END,
		"GET /a HTTP/1.1\r\nHost: other.test\r\nX: " MARKER END,
		"GET /a?t=" ALIAS " HTTP/1.1\r\nHost: other.test" END,
		"GET /" PLACEHOLDER " HTTP/1.1\r\nHost: other.test" END,
		"GET /a HTTP/1.1\r\nHost: other.test\r\nAuthorization: Basic dTpnaHBfQWJDZEVmR2hJaktsTW5PcFFyU3RVdld4WXowMTIzNDU2Nzg5" END,
		"POST /a HTTP/1.1\r\nHost: other.test\r\nContent-Length: 42\r\n\r\nt=" PLACEHOLDER,
		"POST /a HTTP/1.1\r\nHost: other.test\r\nTransfer-Encoding: chunked\r\n\r\n"
		"a\r\nghp_AbCdEf\r\n1e\r\nGhIjKlMnOpQrStUvWxYz0123456789\r\n0\r\n\r\n",
	};

	serve_as(&world.world_ca.ca, "other.test");
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		struct peer *p = dial_tls(WORLD_CURL, "other.test");

		expect_refused(p, requests[i], "HTTP/1.1 403", "credential_endpoint_mismatch");
		hang_up(p);
	}
	cr_expect(!server_saw(PLACEHOLDER) && !server_saw(SECRET) && !server_saw("GITHUB_TOKEN"));
}

Test(proxy_credentials, never_in_clear_nor_through_another_binding)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	expect_refused(p, "GET /a HTTP/1.1\r\n" HOST "X: " MARKER END, "HTTP/1.1 403", "credential_endpoint_mismatch");
	ask(p, "GET /a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
	p = dial_tls(WORLD_CURL, "ok.test");
	expect_refused(p, "GET /bound/ HTTP/1.1\r\n" HOST "X: " MARKER END, "HTTP/1.1 403",
		       "credential_endpoint_mismatch");
	hang_up(p);
	cr_expect(!server_saw(SECRET));
}

Test(proxy_credentials, what_names_nothing_is_refused)
{
	static const char *const requests[] = {
		"GET /plain/ HTTP/1.1\r\n" HOST "X: openshell:resolve:env:NOPE" END,
		"GET /plain/?t=openshell%3Aresolve%3Aenv%3ANOPE HTTP/1.1\r\n" HOST "\r\n",
		"GET /plain/openshell:resolve:env:v6_GITHUB_TOKEN HTTP/1.1\r\n" HOST "\r\n",
		"GET /plain/?" PLACEHOLDER "=1 HTTP/1.1\r\n" HOST "\r\n",
		"GET /plain/ HTTP/1.1\r\n" HOST "xOPENSHELL-RESOLVE-ENV-GITHUB_TOKEN: 1" END,
		"xOPENSHELL-RESOLVE-ENV-GITHUB_TOKEN /plain/ HTTP/1.1\r\n" HOST "\r\n",
	};
	struct peer *p;

	for (int without = 0; without < 2; without++) {
		for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
			if (without && strstr(requests[i], PLACEHOLDER))
				continue; /* just a word then */
			p = dial_tls(WORLD_CURL, "ok.test");
			expect_refused(p, requests[i], "HTTP/1.1 400", "invalid_credential_placeholder");
			hang_up(p);
		}
		post((struct osh_letter){ .type = OSH_LETTER_VAULT, .sandbox = WORLD_SANDBOX });
	}
	cr_expect(world.accepted == 0);
}

Test(proxy_credentials, what_cannot_stand_there_is_unavailable)
{
	static const char *const hosts[] = { "ok.test", NULL };
	struct peer *p;

	set_vault(PLACEHOLDER, "a/../b", hosts);
	p = dial_tls(WORLD_CURL, "ok.test");
	expect_refused(p, "GET /plain/" MARKER " HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 500", "credential_unavailable");
	ask(p, "GET /plain/ HTTP/1.1\r\n" HOST "X: " MARKER END);
	EXPECT_STATUS(answer, "200");
	cr_expect(server_saw("X: a/../b\r\n"));
	hang_up(p);
}

Test(proxy_credentials, none_is_given_back_by_trace)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	expect_refused(p, "TRACE /plain/ HTTP/1.1\r\n" HOST "X: " MARKER END, "HTTP/1.1 405", "method_not_allowed");
	ask(p, "TRACE /plain/ HTTP/1.1\r\n" HOST "X: mine" END);
	EXPECT_STATUS(answer, "200");
	cr_expect(server_saw("X: mine\r\n"));
	hang_up(p);
}

Test(proxy_credentials, nothing_goes_unsigned)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	expect_refused(p, "GET /signed/x HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 500", "credential_unavailable");
	EXPECT_HAS(answer, "credential_signing");
	ask(p, "GET /plain/x HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

/* ---- Bodies ------------------------------------------------------------------------------------------ */

static const char *post_body(const char *path, const char *type, const char *body)
{
	static char request[1 << 19];

	snprintf(request, sizeof(request), "POST %s HTTP/1.1\r\n" HOST "Content-Type: %s\r\nContent-Length: %zu" END "%s",
		 path, type, strlen(body), body);
	return request;
}

Test(proxy_credentials, bodies_are_rewritten_where_the_endpoint_says_so)
{
	static const char *const hosts[] = { "ok.test", NULL };
	static const struct { const char *type, *body, *length, *seen; } rows[] = {
		{ "application/json", "{\"t\":\"" MARKER "\"}", "16", "{\"t\":\"a\\\"b c/&\"}" },
		{ "application/vnd.x+json; charset=utf-8", "[\"" PLACEHOLDER "\"]", "12", "[\"a\\\"b c/&\"]" },
		{ "application/x-www-form-urlencoded", "a=1&t=openshell%3Aresolve%3Aenv%3AGITHUB_TOKEN&b=2", "25",
		  "a=1&t=a%22b%20c%2F%26&b=2" },
		{ "text/plain", "token " ALIAS ".", "36", "token " ALIAS "." },
		{ "Text/Plain", "token " ALIAS "!", "14", "token a\"b c/&!" },
	};
	struct peer *p;

	set_vault(PLACEHOLDER, "a\"b c/&", hosts);
	p = dial_tls(WORLD_CURL, "ok.test");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char length[64];

		if (i == 3) { /* no whole token */
			expect_refused(p, post_body("/body/x", rows[i].type, rows[i].body), "HTTP/1.1 400",
				       "invalid_credential_placeholder");
			hang_up(p);
			p = dial_tls(WORLD_CURL, "ok.test");
			continue;
		}
		ask(p, post_body("/body/x", rows[i].type, rows[i].body));
		EXPECT_STATUS(answer, "200");
		snprintf(length, sizeof(length), "Content-Length: %s\r\n\r\n%s", rows[i].length, rows[i].seen);
		cr_expect(server_saw(length), "row %zu", i);
		cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	}
	/* One without any goes as it came. */
	ask(p, post_body("/body/x", "application/json", "{ \"a\": 1 }"));
	EXPECT_STATUS(answer, "200");
	cr_expect(server_saw("Content-Length: 10\r\n\r\n{ \"a\": 1 }"));
	set_policy(policy); /* the worker is idle when this returns */
	cr_expect_eq(world.worker->views->held_bytes, 0);
	hang_up(p);
}

Test(proxy_credentials, chunked_bodies_and_heads_together)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	ask(p, "POST /body/x HTTP/1.1\r\n" HOST "X: " MARKER "\r\nContent-Type: application/json\r\n"
	       "Transfer-Encoding: chunked\r\n\r\n"
	       "10\r\n{\"t\":\"openshell:\r\n1a\r\nresolve:env:GITHUB_TOKEN\"}\r\n0\r\n\r\n");
	EXPECT_STATUS(answer, "200");
	cr_expect(server_saw("X: " SECRET "\r\n") && server_saw("\r\n30\r\n{\"t\":\"" SECRET "\"}\r\n0\r\n\r\n"));
	hang_up(p);
}

Test(proxy_credentials, in_other_bodies_they_are_refused)
{
	static const struct { const char *path, *type, *body; } rows[] = {
		{ "/plain/x", "application/json", "{\"t\":\"" MARKER "\"}" },
		{ "/plain/x", "text/plain", PLACEHOLDER },
		{ "/body/x", "application/octet-stream", MARKER },
		{ "/body/x", "multipart/form-data; boundary=x", "--x\r\n\r\n" MARKER "\r\n--x--" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer *p = dial_tls(WORLD_CURL, "ok.test");

		expect_refused(p, post_body(rows[i].path, rows[i].type, rows[i].body), "HTTP/1.1 403",
			       "uninspected_credentials");
		hang_up(p);
		/* What names nothing is text there, and the policy may let all of it pass. */
		p = dial_tls(WORLD_CURL, "ok.test");
		ask(p, post_body(rows[i].path, rows[i].type, "openshell:resolve:env:"));
		if (strcmp(rows[i].type, "text/plain") != 0 || strcmp(rows[i].path, "/body/x") != 0)
			EXPECT_STATUS(answer, "200");
		(void)next_verdict();
		hang_up(p);
	}
	cr_expect(!server_saw(MARKER) && !server_saw(PLACEHOLDER) && !server_saw(SECRET));
}

Test(proxy_credentials, unseen_where_the_policy_says_so)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	ask(p, post_body("/lax/x", "application/octet-stream", MARKER));
	EXPECT_STATUS(answer, "200");
	cr_expect(server_saw(MARKER), "as it is: the placeholder, not the secret");
	ask(p, post_body("/lax/x", "application/json", "[\"" MARKER "\"]"));
	EXPECT_STATUS(answer, "200");
	cr_expect(server_saw("[\"" SECRET "\"]"));
	hang_up(p);
	/* Only to its own hosts. */
	serve_as(&world.world_ca.ca, "other.test");
	p = dial_tls(WORLD_CURL, "other.test");
	(void)next_verdict();
	(void)next_verdict();
	expect_refused(p, "POST /lax/x HTTP/1.1\r\nHost: other.test\r\nContent-Length: 34\r\n\r\n" MARKER,
		       "HTTP/1.1 403", "credential_endpoint_mismatch");
	hang_up(p);
}

static char *large_body(size_t len)
{
	char *body = malloc(len + 1);

	memset(body, 'x', len);
	body[len] = '\0';
	return body;
}

Test(proxy_credentials, too_large_to_be_looked_through)
{
	char *body = large_body(OSH_REWRITE_BODY_MAX + 1);
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	expect_refused(p, post_body("/body/x", "text/plain", body), "HTTP/1.1 403", "uninspected_credentials");
	hang_up(p);
	p = dial_tls(WORLD_CURL, "ok.test");
	ask(p, post_body("/lax/x", "text/plain", body));
	EXPECT_STATUS(answer, "200");
	(void)next_verdict();
	body[OSH_REWRITE_BODY_MAX] = '\0';
	memcpy(body, PLACEHOLDER " ", sizeof(PLACEHOLDER));
	ask(p, post_body("/body/x", "text/plain", body));
	EXPECT_STATUS(answer, "200");
	cr_expect(server_saw(SECRET " xxxx"));
	hang_up(p);
	free(body);
}

Test(proxy_credentials, compressed_ones_are_looked_into)
{
	static const char head[] = "POST /%s/x HTTP/1.1\r\n" HOST "Content-Type: application/json\r\n"
				   "Content-Encoding: %s\r\nContent-Length: %zu" END;
	static const struct { const char *path, *coding, *body; bool refused; } rows[] = {
		{ "body", "deflate", "[\"" MARKER "\"]", true },
		{ "body", "deflate", "[\"nothing of it\"]", false },
		{ "body", "br", "[\"who knows\"]", true },
		{ "lax", "br", "[\"who knows\"]", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer *p = dial_tls(WORLD_CURL, "ok.test");
		unsigned char packed[256];
		unsigned long len = sizeof(packed);
		char request[1024];
		int n;

		cr_assert(compress(packed, &len, (const unsigned char *)rows[i].body, strlen(rows[i].body)) == Z_OK);
		n = snprintf(request, sizeof(request), head, rows[i].path, rows[i].coding, (size_t)len);
		peer_write(p, request, (size_t)n);
		peer_write(p, (const char *)packed, len);
		peer_response(p, answer, sizeof(answer));
		cr_expect(strncmp(answer + 9, rows[i].refused ? "403" : "200", 3) == 0, "row %zu: %.300s", i, answer);
		if (rows[i].refused)
			EXPECT_HAS(answer, "uninspected_credentials");
		hang_up(p);
	}
}

Test(proxy_credentials, bodies_that_rules_read)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	const struct osh_verdict *v;

	ask(p, post_body("/graphql/x", "application/json", "{\"query\":\"{viewer(t:\\\"" MARKER "\\\")}\"}"));
	EXPECT_STATUS(answer, "200");
	cr_expect(server_saw("{\"query\":\"{viewer(t:\\\"" SECRET "\\\")}\"}"));
	v = next_verdict();
	cr_expect(v->decision == OSH_VERDICT_ALLOW && strcmp(v->message, "query{viewer}") == 0, "%s", v->message);
	ask(p, post_body("/graphql/x", "application/json", "{\"query\":\"{other(t:\\\"" MARKER "\\\")}\"}"));
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "policy_denied");
	EXPECT_LACKS(answer, MARKER);
	hang_up(p);
}

/* ---- WebSocket ------------------------------------------------------------------------------------------ */

static struct peer *open_websocket(const char *path)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	char request[512];

	snprintf(request, sizeof(request),
		 "GET %s HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n"
		 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" END, path);
	peer_say(p, request);
	cr_assert(peer_await(p, "\r\n\r\n") > 0);
	EXPECT_STATUS(p->bytes, "101");
	peer_consume(p, (size_t)peer_await(p, "\r\n\r\n"));
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	return p;
}

static void send_text(struct peer *p, const char *text)
{
	const unsigned char mask[4] = { 1, 2, 3, 4 };
	char head[OSH_WEBSOCKET_HEAD_MAX], *masked = strdup(text);

	peer_write(p, head, osh_websocket_write_head(head, strlen(text), mask));
	osh_websocket_mask(masked, strlen(text), mask, 0);
	peer_write(p, masked, strlen(text));
	free(masked);
}

Test(proxy_credentials, texts_are_rewritten_where_the_endpoint_says_so)
{
	static const char *const paths[] = { "/ws/rest/a", "/ws/judged/a" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct peer *p = open_websocket(paths[i]);

		send_text(p, "{\"op\":2,\"token\":\"" MARKER "\"}");
		cr_assert(peer_await(p, "seen") > 0);
		cr_expect(server_saw("[{\"op\":2,\"token\":\"" SECRET "\"}]"));
		peer_consume(p, p->len);
		send_text(p, "plain words");
		cr_assert(peer_await(p, "seen") > 0);
		cr_expect(server_saw("[plain words]"));
		peer_consume(p, p->len);
		/* Only judged texts are records of their own. */
		if (i == 1) {
			cr_expect_str_eq(next_verdict()->method, "WEBSOCKET_TEXT");
			cr_expect_str_eq(next_verdict()->method, "WEBSOCKET_TEXT");
		}
		send_text(p, "openshell:resolve:env:NOPE");
		cr_expect(next_verdict()->engine == OSH_ENGINE_CREDENTIAL);
		hang_up(p);
	}
	cr_expect(!server_saw(MARKER) && !server_saw("NOPE"));
}

Test(proxy_credentials, texts_elsewhere_carry_none_away)
{
	struct peer *p = open_websocket("/ws/plain/a");

	send_text(p, "openshell:resolve:env:NOPE");
	cr_assert(peer_await(p, "seen") > 0);
	cr_expect(server_saw("[openshell:resolve:env:NOPE]"), "nobody's: text");
	(void)next_verdict();
	send_text(p, "it is " PLACEHOLDER);
	cr_expect(next_verdict()->engine == OSH_ENGINE_CREDENTIAL);
	hang_up(p);
	cr_expect(!server_saw(PLACEHOLDER) && !server_saw(SECRET));
}

/* ---- Endpoints without rules ----------------------------------------------------------------------------- */

static void set_l4(const char *options)
{
	char text[512];

	snprintf(text, sizeof(text), "version: 1\nnetwork_policies:\n  l4:\n    endpoints:\n"
		 "      - {host: l4.test, port: 443%s}\n      - {host: other.test, port: 443%s}\n"
		 "    binaries: [{path: /usr/bin/curl}]\n", options, options);
	set_policy(text);
}

Test(proxy_credentials, a_host_granted_as_a_whole_is_opened_for_them)
{
	struct peer *p;

	serve_as(&world.world_ca.ca, "l4.test");
	set_l4("");
	p = dial_tls(WORLD_CURL, "l4.test");
	cr_assert(p->ssl, "opened with the sandbox's own CA");
	ask(p, "DELETE /any HTTP/1.1\r\nHost: l4.test\r\nX: " MARKER END);
	EXPECT_STATUS(answer, "200");
	cr_expect(server_saw("DELETE /any HTTP/1.1\r\nHost: l4.test\r\nX: " SECRET "\r\n"));
	hang_up(p);
}

/* The server's own, which a program that trusts the sandbox's CA alone refuses. */
static void expect_foreign_certificate(const char *host)
{
	struct peer *p = dial_tls(WORLD_CURL, host);

	cr_expect_null(p->ssl);
	hang_up(p);
}

Test(proxy_credentials, nobody_passes_their_host_unseen)
{
	static const char *const opaque[] = { ", tls: skip", ", protocol: tcp" };

	for (size_t i = 0; i < sizeof(opaque) / sizeof(opaque[0]); i++) {
		struct peer *p;

		set_l4(opaque[i]);
		p = dial_tls(WORLD_CURL, "l4.test");
		cr_assert(p->ssl, "explained with the sandbox's own CA");
		ask(p, "GET / HTTP/1.1\r\nHost: l4.test" END);
		EXPECT_STATUS(answer, "403");
		EXPECT_HAS(answer, "\"error\":\"uninspected_credentials\"");
		cr_expect(next_verdict()->engine == OSH_ENGINE_CREDENTIAL);
		hang_up(p);
		cr_expect(world.accepted == 0);
	}
	/* Unless the policy says that it may; and other hosts are not concerned. */
	set_l4(", tls: skip, allow_uninspected_credentials: true");
	serve_as(&world.world_ca.ca, "l4.test");
	expect_foreign_certificate("l4.test");
	set_l4(", tls: skip");
	expect_foreign_certificate("other.test");
	cr_expect(world.accepted == 2);
}
