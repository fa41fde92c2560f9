/* HTTP through the data plane: what a sandboxed program asks, what the server sees, what
 * is answered, what is recorded. Real TLS, policy, vault and sockets; a fake kernel-> */
#include "proxy_seen.h"

#include "proxy/http1.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  ok_api:\n"
	"    name: ok_api\n"
	"    endpoints:\n"
	"      - host: ok.test\n"
	"        ports: [443, 80]\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        rules:\n"
	"          - allow: {method: GET, path: \"/pub/**\"}\n"
	"          - allow: {method: POST, path: \"/api/**\"}\n"
	"          - allow: {method: OPTIONS, path: \"/pub/**\"}\n"
	"      - host: other.test\n"
	"        port: 443\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        access: full\n"
	"      - host: host.openshell.internal\n"
	"        port: 80\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        access: full\n"
	"      - host: host.*.internal\n"
	"        port: 80\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        access: full\n"
	"      - host: rebound.test\n"
	"        port: 80\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        access: full\n"
	"    binaries:\n"
	"      - {path: /usr/bin/curl}\n"
	"  l4:\n"
	"    name: l4\n"
	"    endpoints:\n"
	"      - {host: l4.test, port: 5432}\n"
	"    binaries:\n"
	"      - {path: /usr/bin/curl}\n";

/* The same without /pub. */
static const char narrow_policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  ok_api:\n"
	"    name: ok_api\n"
	"    endpoints:\n"
	"      - host: ok.test\n"
	"        ports: [443, 80]\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        rules:\n"
	"          - allow: {method: POST, path: \"/api/**\"}\n"
	"    binaries:\n"
	"      - {path: /usr/bin/curl}\n";

/* ---- The scripted server ------------------------------------------------------------------ */

static struct {
	uint64_t bytes, sum;
} bodies; /* under seen.lock */

static void note_body(const char *data, size_t len)
{
	pthread_mutex_lock(&seen.lock);
	for (size_t i = 0; i < len; i++)
		bodies.sum = bodies.sum * 31 + (unsigned char)data[i];
	bodies.bytes += len;
	pthread_mutex_unlock(&seen.lock);
}

/* Take `len` body bytes off the stream. */
static bool take_bytes(struct peer *p, size_t len)
{
	while (len) {
		size_t part;

		if (!p->len && peer_read(p) <= 0)
			return false;
		part = p->len < len ? p->len : len;
		note_body(p->bytes, part);
		peer_consume(p, part);
		len -= part;
	}
	return true;
}

static bool take_chunks(struct peer *p)
{
	for (;;) {
		ssize_t line = peer_await(p, "\r\n");
		size_t size;

		if (line < 0)
			return false;
		size = strtoul(p->bytes, NULL, 16);
		peer_consume(p, (size_t)line);
		if (size == 0) {
			/* Trailers are part of what is looked at. */
			while ((line = peer_await(p, "\r\n")) > 2) {
				note(p->bytes, (size_t)line);
				peer_consume(p, (size_t)line);
			}
			if (line == 2)
				peer_consume(p, 2);
			return line == 2;
		}
		if (!take_bytes(p, size) || peer_await(p, "\r\n") != 2)
			return false;
		peer_consume(p, 2);
	}
}

#define BIG_BYTES (6u << 20)

static void send_big(struct peer *p)
{
	static char block[1 << 16];

	memset(block, 'x', sizeof(block));
	peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 6291456\r\n\r\n");
	for (size_t sent = 0; sent < BIG_BYTES; sent += sizeof(block))
		peer_write(p, block, sizeof(block));
}

/* Answers by path; false: hang up. */
static bool respond(struct peer *p, const char *path)
{
	static const struct {
		const char *path, *answer;
		bool stay;
	} table[] = {
		{ "/pub/chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				  "5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nGrpc-Status: 0\r\nHost: x\r\n\r\n", true },
		{ "/pub/until-close", "HTTP/1.1 200 OK\r\n\r\nuntil close", false },
		{ "/pub/204", "HTTP/1.1 204 No Content\r\n\r\n", true },
		{ "/pub/304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", true },
		{ "/pub/early", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
				"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true },
		{ "/pub/desync", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
				 "0\r\n\r\n", true },
		{ "/pub/204-body", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", true },
		{ "/pub/101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", true },
		{ "/pub/poison", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"
				 "Content-Length: 6\r\n\r\npoison", true },
		{ "/pub/short", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", false },
		{ "/pub/bad-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", false },
		{ "/pub/ws-wrong", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
				   "Connection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
		  false },
		{ "/pub/gone", NULL, false },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(path, table[i].path) == 0)
			return table[i].answer && peer_say(p, table[i].answer) && table[i].stay;
	}
	if (strcmp(path, "/pub/big") == 0) {
		send_big(p);
		return true;
	}
	return peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Server: real\r\n\r\nhello");
}

static void echo(struct peer *p)
{
	while (p->len || peer_read(p) > 0) {
		peer_write(p, p->bytes, p->len);
		peer_consume(p, p->len);
	}
}

/* Frames that a client sends, masked with zeros, and a server. */
#define CLIENT_FRAME(kind) kind "\x85\0\0\0\0frame"
#define SERVER_FRAME(kind) kind "\x05" "frame"
#define TEXT "\x81"
#define COMPRESSED "\xc1"

/* Answers each frame by one of its own; where it was asked for /raw, not by a frame. */
static void serve_websocket(struct peer *p, const char *path)
{
	bool extends = strstr(path, "deflate") != NULL;
	/* RFC 6455 1.3's own example key and answer. */
	peer_say(p, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
	peer_say(p, extends ? "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" : "\r\n");
	while (p->len || peer_read(p) > 0) {
		note(p->bytes, p->len);
		peer_consume(p, p->len);
		peer_say(p, strstr(path, "raw") ? "HTTP/1.1 200 OK\r\n\r\n" :
			    extends ? SERVER_FRAME(COMPRESSED) : SERVER_FRAME(TEXT));
	}
}

static void serve(struct peer *p, uint16_t port_host)
{
	char path[256] = "";
	ssize_t head;

	(void)port_host;
	for (int nth = 1; (head = peer_await(p, "\r\n\r\n")) > 0; nth++) {
		char *length = strcasestr(p->bytes, "\r\nContent-Length: ");
		bool chunked = strcasestr(p->bytes, "\r\nTransfer-Encoding: chunked\r\n") != NULL;
		bool expects = strcasestr(p->bytes, "\r\nExpect: 100-continue\r\n") != NULL;
		size_t body = length && length < p->bytes + head ? strtoul(length + 18, NULL, 10) : 0;

		note(p->bytes, (size_t)head);
		sscanf(p->bytes, "%*s %255s", path);
		peer_consume(p, (size_t)head);
		if (strncmp(path, "/pub/ws/", 8) == 0) {
			serve_websocket(p, path);
			return;
		}
		if (strstr(path, "/first-only") && nth > 1)
			return; /* the server's patience with a kept connection was just over */
		if (strstr(path, "/first-whole") && nth > 1) {
			peer_say(p, "HTTP/1.1 200 O");
			return;
		}
		if (strcmp(path, "/pub/events") == 0) {
			struct pollfd quiet = { .fd = p->fd, .events = POLLIN };

			peer_say(p, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
			(void)poll(&quiet, 1, 700);
			peer_say(p, "data: 2\n\n");
			return;
		}
		if (strcmp(path, "/pub/silent") == 0) {
			(void)peer_read(p);
			return;
		}
		if (strcmp(path, "/api/dialogue") == 0) {
			peer_say(p, "HTTP/1.1 200 OK\r\n\r\nopen\n");
			(void)(take_chunks(p) && peer_say(p, "closed\n"));
			return;
		}
		if (strcmp(path, "/api/refused-early") == 0) {
			peer_say(p, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
			return;
		}
		if (expects)
			peer_say(p, "HTTP/1.1 100 Continue\r\n\r\n");
		if ((chunked && !take_chunks(p)) || !take_bytes(p, body) || !respond(p, path))
			return;
	}
}

static void begin(void)
{
	world.script = serve;
	world_begin();
	set_policy(policy);
}

TestSuite(proxy_http, .init = begin, .timeout = 60);

static char answer[1 << 17];

#define HOST "Host: ok.test\r\n"
#define EXPECT_STATUS(text, status) \
	cr_expect(strncmp(text, "HTTP/1.1 " status, 12) == 0, "wanted %s, got: %.300s", status, text)
#define EXPECT_HAS(text, part) cr_expect(strstr(text, part), "no %s in: %.1500s", part, text)
#define EXPECT_LACKS(text, part) cr_expect(!strstr(text, part), "%s in: %.1500s", part, text)

static const char *ask(struct peer *p, const char *request)
{
	cr_assert(peer_say(p, request));
	return peer_response(p, answer, sizeof(answer));
}

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

/* ---- Bodies --------------------------------------------------------------------------------------------- */

Test(proxy_http, kinds_of_responses)
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

Test(proxy_http, old_client)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	peer_say(p, "GET /pub/chunked HTTP/1.0\r\n" HOST "\r\n");
	while (peer_read(p) > 0)
		;
	EXPECT_HAS(p->bytes, "Connection: close\r\n\r\nhello!");
	EXPECT_LACKS(p->bytes, "chunked");
	hang_up(p);
}

Test(proxy_http, large_download)
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

Test(proxy_http, large_chunked_upload)
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

Test(proxy_http, expectations)
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

Test(proxy_http, bad_chunk_from_the_sandbox)
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

Test(proxy_http, ambiguous_responses)
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
Test(proxy_http, truncated_responses)
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
Test(proxy_http, poisoned_connection_is_not_reused)
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

Test(proxy_http, pool_is_not_shared_between_programs)
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

Test(proxy_http, upstream_certificate)
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

Test(proxy_http, rebinding)
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
Test(proxy_http, host_gateway)
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

Test(proxy_http, middleware_that_nobody_runs)
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

/* ---- Upgrades ------------------------------------------------------------------------------------------------ */

#define WEBSOCKET "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" \
		  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

static struct peer *upgrade(const char *path)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	char request[512];
	ssize_t len;

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" HOST WEBSOCKET, path);
	peer_say(p, request);
	len = peer_await(p, "\r\n\r\n");
	cr_assert(len > 0);
	EXPECT_HAS(p->bytes, "HTTP/1.1 101 ");
	EXPECT_HAS(p->bytes, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
	peer_consume(p, (size_t)len);
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	return p;
}

#define SAY(p, bytes) cr_assert(peer_write(p, bytes, sizeof(bytes) - 1))

static void expect_frame(struct peer *p, const char *frame)
{
	cr_assert(peer_await(p, "frame") > 0);
	cr_expect(strncmp(p->bytes, frame, strlen(frame)) == 0);
	peer_consume(p, p->len);
}

static void expect_close_frame(struct peer *p, unsigned code)
{
	while (p->len < 4 && peer_read(p) > 0)
		;
	cr_assert(p->len >= 4, "no frame came");
	cr_expect((unsigned char)p->bytes[0] == 0x88, "no close frame: %.40s", p->bytes);
	cr_expect(((unsigned char)p->bytes[2] << 8 | (unsigned char)p->bytes[3]) == (int)code);
}

Test(proxy_http, websocket)
{
	struct peer *p = upgrade("/pub/ws/x");

	for (int i = 0; i < 3; i++) {
		SAY(p, CLIENT_FRAME(TEXT));
		expect_frame(p, SERVER_FRAME(TEXT));
	}
	/* The rule that permitted it goes: so does it. */
	set_policy(narrow_policy);
	expect_close_frame(p, 1012);
	SAY(p, "\x88\x80\0\0\0\0");
	while (peer_read(p) > 0)
		;
	cr_expect(next_verdict()->decision == OSH_VERDICT_DENY);
	hang_up(p);
	p = dial_tls(WORLD_CURL, "ok.test");
	ask(p, "GET /no HTTP/1.1\r\n" HOST WEBSOCKET);
	EXPECT_STATUS(answer, "403");
	hang_up(p);
}

/* Extensions are the two sides' own affair where no rule is about texts. */
Test(proxy_http, compressed_frames_pass_where_they_were_agreed_upon)
{
	struct peer *p = upgrade("/pub/ws/deflate");

	SAY(p, CLIENT_FRAME(COMPRESSED));
	expect_frame(p, SERVER_FRAME(COMPRESSED));
	hang_up(p);
	p = upgrade("/pub/ws/x");
	SAY(p, CLIENT_FRAME(COMPRESSED));
	expect_close_frame(p, 1002);
	cr_expect(next_verdict()->engine == OSH_ENGINE_HTTP);
	hang_up(p);
}

/* An upgrade is no way past the rules, whoever is on the other side. */
Test(proxy_http, what_is_no_frame_ends_a_websocket)
{
	struct peer *p = upgrade("/pub/ws/x");

	peer_say(p, "GET /smuggled HTTP/1.1\r\n" HOST "\r\n");
	expect_close_frame(p, 1002);
	cr_expect(!server_saw("smuggled"));
	cr_expect_str_eq(next_verdict()->method, "WEBSOCKET");
	hang_up(p);
	p = upgrade("/pub/ws/raw");
	SAY(p, CLIENT_FRAME(TEXT));
	expect_close_frame(p, 1002);
	cr_expect(next_verdict()->decision == OSH_VERDICT_DENY);
	hang_up(p);
}

Test(proxy_http, h2c_is_refused)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
	       "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "unsupported_l7_protocol");
	cr_expect(world.accepted == 0);
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

/* Where the policy permits every method, too; and what follows is no request. */
Test(proxy_http, connect_is_refused)
{
	struct peer *p;

	world.server_ctx = server_context(&world.world_ca.ca, "other.test");
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

/* ---- Requests that ask to be taken for others ------------------------------------------------------------------ */

#define FORM "Content-Type: application/x-www-form-urlencoded\r\n"
#define PARTS "Content-Type: multipart/form-data; boundary=x\r\n"

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
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct peer *p = dial_tls(WORLD_CURL, "ok.test");

		ask(p, table[i].request);
		cr_expect(strncmp(answer + 9, table[i].status, 3) == 0, "row %zu: %.200s", i, answer);
		if (strcmp(table[i].status, "403") == 0) {
			EXPECT_HAS(answer, "not permitted by policy (asked for by _method");
			EXPECT_HAS(answer, "\"error\":\"policy_denied\"");
		}
		hang_up(p);
	}
	cr_expect(!server_saw("verride") && !server_saw("Method: PUT"));
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

/* ---- Bytes ----------------------------------------------------------------------------------------------------------- */

static void serve_banner(struct peer *p, uint16_t port_host)
{
	if (port_host != 5432) {
		serve(p, port_host);
		return;
	}
	peer_say(p, "banner\n");
	echo(p);
}

Test(proxy_http, relay)
{
	struct peer *p;
	const struct osh_verdict *v;

	world.script = serve_banner;
	p = dial_plain(WORLD_CURL, "l4.test", 5432);
	cr_assert(peer_await(p, "banner\n") > 0, "the server may speak first");
	v = next_verdict();
	cr_expect(v->decision == OSH_VERDICT_ALLOW && v->engine == OSH_ENGINE_POLICY);
	cr_expect_str_eq(v->protocol, "l4");
	peer_say(p, "\1\2\3 anything");
	cr_assert(peer_await(p, "\1\2\3 anything") > 0);
	shutdown(p->fd, SHUT_WR);
	while (peer_read(p) > 0)
		;
	expect_no_verdict();
	hang_up(p);
}

/* A hello that comes byte by byte is still held to its name. */
Test(proxy_http, hello_in_pieces_on_l4)
{
	static const char hello[] = "\x16\3\1\0\x4b\1\0\0\x47\3\3"
				    "01234567890123456789012345678901"
				    "\0\0\2\x13\1\1\0\0\x1c"
				    "\0\0\0\x0c\0\x0a\0\0\7no.test"
				    "\x0a\x0a\0\x08" "12345678";
	struct peer *p;

	world.script = serve_banner;
	p = dial_plain(WORLD_CURL, "l4.test", 5432);
	cr_assert(peer_await(p, "banner\n") > 0);
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	peer_consume(p, p->len);
	for (size_t i = 0; i < sizeof(hello) - 1; i++)
		peer_write(p, hello + i, 1);
	cr_expect(peer_read(p) > 0 && p->bytes[0] == 21, "an alert, not an echo");
	cr_expect(next_verdict()->engine == OSH_ENGINE_TLS);
	hang_up(p);
}

/* ---- Stale and slow -------------------------------------------------------------------------------------------------- */

Test(proxy_http, safe_request_is_sent_again_on_a_fresh_connection)
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
Test(proxy_http, other_requests_are_not_sent_again)
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

static void begin_impatient(void)
{
	osh_http1_deadlines = (struct osh_http1_deadlines){
		.head = 300, .dial = 300, .body = 300, .reader = 300, .response = 300, .stream = 300
	};
	begin();
}

TestSuite(proxy_deadlines, .init = begin_impatient, .timeout = 60);

Test(proxy_deadlines, slow_head)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	ask(p, "GET /pub/a HTTP/1.1\r\nHo");
	EXPECT_STATUS(answer, "408");
	cr_expect(peer_end(p) == 0);
	cr_expect(next_verdict()->status == 408);
	hang_up(p);
}

Test(proxy_deadlines, slow_body)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);

	ask(p, "POST /api/a HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nhello");
	EXPECT_STATUS(answer, "408");
	cr_expect(peer_end(p) == 0);
	hang_up(p);
	/* The twin: slow but moving. */
	p = dial_plain(WORLD_CURL, "ok.test", 80);
	peer_say(p, "POST /api/a HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n");
	for (int i = 0; i < 10; i++) {
		struct pollfd wait = { .fd = p->fd, .events = POLLIN };

		cr_expect(poll(&wait, 1, 100) == 0, "nothing comes yet");
		peer_say(p, "x");
	}
	peer_response(p, answer, sizeof(answer));
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

Test(proxy_deadlines, silent_server)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	ask(p, "GET /pub/silent HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "504");
	EXPECT_HAS(answer, "upstream_timeout");
	ask(p, "GET /pub/a HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

/* A reader that stops is ended, and its flow with it. */
Test(proxy_deadlines, reader_that_stops)
{
	struct peer *p = dial_plain(WORLD_CURL, "ok.test", 80);
	struct pollfd wait = { .fd = p->fd, .events = POLLHUP };

	peer_say(p, "GET /pub/big HTTP/1.1\r\n" HOST "\r\n");
	cr_expect(poll(&wait, 1, 10000) == 1 && (wait.revents & (POLLHUP | POLLERR)));
	hang_up(p);
}

static void begin_with_patience_for_servers(void)
{
	osh_http1_deadlines.reader = 150;
	osh_http1_deadlines.body = 150;
	begin();
}

TestSuite(proxy_events, .init = begin_with_patience_for_servers, .timeout = 60);

/* Once the server has begun to answer, both may be silent: an upload is a stream, too. The
 * twin shows that the time is over in which a request has to come. */
Test(proxy_events, dialogue)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test"), *twin = dial_tls(WORLD_CURL, "ok.test");

	peer_say(p, "POST /api/dialogue HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
	cr_assert(peer_await(p, "open\n") > 0, "%s", p->bytes);
	ask(twin, "POST /api/a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
	EXPECT_STATUS(answer, "408");
	peer_say(p, "5\r\nagain\r\n0\r\n\r\n");
	cr_expect(peer_await(p, "closed\n") > 0, "%s", p->bytes);
	hang_up(twin);
	hang_up(p);
}

/* Each event is passed on when it comes; silence between two is the server's right. */
Test(proxy_events, event_stream)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	struct timespec start, first;

	clock_gettime(CLOCK_MONOTONIC, &start);
	peer_say(p, "GET /pub/events HTTP/1.1\r\n" HOST "\r\n");
	cr_assert(peer_await(p, "data: 1\n\n") > 0);
	clock_gettime(CLOCK_MONOTONIC, &first);
	cr_expect((first.tv_sec - start.tv_sec) * 1000 + (first.tv_nsec - start.tv_nsec) / 1000000 < 600,
		  "before the second is sent");
	cr_assert(peer_await(p, "data: 2\n\n\r\n0\r\n\r\n") > 0, "%s", p->bytes);
	hang_up(p);
}
