/* Bodies and WebSocket texts on their way through a worker: what the server sees of them, and
 * when. */
#include "proxy_recorder.h"

#include <zlib.h>

#include "proxy/http1.h"
#include "proxy/inspect.h"

/* %s: what is allowed beside `viewer`, and the path of WebSocket texts. */
static const char policy_form[] =
	"version: 1\n"
	"network_policies:\n"
	"  q:\n"
	"    endpoints:\n"
	"      - host: ok.test\n"
	"        port: 443\n"
	"        path: /graphql/**\n"
	"        protocol: graphql\n"
	"        enforcement: enforce\n"
	"        graphql_max_body_bytes: 40000\n"
	"        rules:\n"
	"          - allow: {operation_type: query, fields: [%s]}\n"
	"      - host: ok.test\n"
	"        port: 443\n"
	"        path: /ws/**\n"
	"        protocol: websocket\n"
	"        enforcement: enforce\n"
	"        rules:\n"
	"          - allow: {method: GET, path: \"%s\"}\n"
	"          - allow: {method: WEBSOCKET_TEXT, path: \"/ws/chat/**\"}\n"
	"    binaries:\n"
	"      - {path: /usr/bin/curl}\n";

static void set_rules(const char *field, const char *handshakes)
{
	char text[2048];

	snprintf(text, sizeof(text), policy_form, field, handshakes);
	set_policy(text);
}

static void begin(void)
{
	begin_recording();
	set_rules("viewer", "/ws/**");
}

TestSuite(proxy_inspection, .init = begin, .timeout = 60);

#define VIEWER "{\"query\":\"{viewer}\"}"
#define SECRET "{\"query\":\"{secret}\"}"
_Static_assert(sizeof(VIEWER) == 21 && sizeof(SECRET) == 21, "20 bytes");
#define POST "POST /graphql/x HTTP/1.1\r\n" HOST

/* ---- Bodies ------------------------------------------------------------------------------------- */

Test(proxy_inspection, denied_and_allowed_on_one_connection)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	const struct osh_verdict *v;

	ask(p, POST "Content-Length: 20\r\n\r\n" SECRET);
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "\"operation\":\"query{secret}\"");
	cr_expect(world.accepted == 0, "nobody was dialled");
	v = next_verdict();
	cr_expect(v->decision == OSH_VERDICT_DENY && strcmp(v->message, "query{secret}") == 0, "%s", v->message);
	ask(p, POST "Content-Length: 20\r\n\r\n" VIEWER);
	EXPECT_STATUS(answer, "200");
	v = next_verdict();
	cr_expect(v->decision == OSH_VERDICT_ALLOW && strcmp(v->message, "query{viewer}") == 0, "%s", v->message);
	cr_expect(strcmp(v->method, "POST") == 0 && strcmp(v->target, "/graphql/x") == 0);
	cr_expect(strcmp(v->protocol, "graphql") == 0);
	cr_expect(server_saw("Content-Length: 20\r\n") && server_saw(VIEWER) && !server_saw("secret"));
	expect_no_verdict();
	hang_up(p);
}

/* The memory of an exchange is not cleared, and a text that is cut fills all of its room. */
Test(proxy_inspection, a_name_longer_than_its_room_is_cut)
{
	static const char form[] = "{\"query\":\"query %s{%s}\"}";
	char name[301], body[400];
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	const struct osh_verdict *v;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (int i = 0; i < 4; i++) {
		snprintf(body, sizeof(body), form, name, i % 2 ? "viewer" : "secret");
		peer_say(p, POST "Content-Length: 326\r\n\r\n");
		cr_assert_eq(strlen(body), 326);
		ask(p, body);
		if (i % 2)
			EXPECT_STATUS(answer, "200");
		else
			EXPECT_STATUS(answer, "403");
		v = next_verdict();
		cr_expect_eq(strlen(v->message), OSH_DECISION_MESSAGE_MAX - 1);
		cr_expect_eq(strspn(v->message + strlen("query "), "n"), strlen(v->message) - strlen("query "));
	}
	hang_up(p);
}

Test(proxy_inspection, nothing_is_dialled_before_the_last_byte)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	peer_say(p, POST "Content-Length: 20\r\n\r\n");
	for (size_t i = 0; i < 19; i++)
		peer_write(p, &VIEWER[i], 1);
	set_rules("viewer", "/ws/**"); /* the worker has seen to all of it when this returns */
	cr_expect(world.accepted == 0);
	expect_no_verdict();
	ask(p, "}");
	EXPECT_STATUS(answer, "200");
	cr_expect(world.accepted == 1 && server_saw(VIEWER));
	hang_up(p);
}

Test(proxy_inspection, chunks_are_put_together)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	ask(p, POST "Transfer-Encoding: chunked\r\n\r\nA\r\n{\"query\":\"\r\nA\r\n{viewer}\"}\r\n0\r\n\r\n");
	EXPECT_STATUS(answer, "200");
	cr_expect(server_saw("Transfer-Encoding: chunked\r\n") && server_saw("14\r\n" VIEWER "\r\n0\r\n\r\n"));
	ask(p, POST "Transfer-Encoding: chunked\r\n\r\nA\r\n{\"query\":\"\r\nA\r\n{secret}\"}\r\n0\r\n\r\n");
	EXPECT_STATUS(answer, "403");
	ask(p, POST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
	EXPECT_STATUS(answer, "403");
	/* Two parsers could end such a body in two places. */
	ask(p, POST "Transfer-Encoding: chunked\r\n\r\n14\r\n" VIEWER "x");
	EXPECT_STATUS(answer, "400");
	cr_expect(world.accepted == 1);
	hang_up(p);
}

Test(proxy_inspection, the_agent_asks_for_the_body)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	ssize_t len;

	peer_say(p, POST "Expect: 100-continue\r\nContent-Length: 20\r\n\r\n");
	len = peer_await(p, "\r\n\r\n");
	cr_assert(len > 0);
	EXPECT_STATUS(p->bytes, "100");
	cr_expect(world.accepted == 0, "nobody else was asked");
	peer_consume(p, (size_t)len);
	ask(p, VIEWER);
	EXPECT_STATUS(answer, "200");
	/* Not where the length alone says no. */
	ask(p, POST "Expect: 100-continue\r\nContent-Length: 40001\r\n\r\n");
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "larger than the 40000 bytes");
	hang_up(p);
}

Test(proxy_inspection, a_large_body_goes_on_whole)
{
	static char body[40001];
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	int len = snprintf(body, sizeof(body), "{\"query\":\"{viewer}\",\"x\":\"");

	memset(body + len, 'x', 40000 - (size_t)len);
	memcpy(body + 39998, "\"}", 2);
	for (int i = 0; i < 3; i++) {
		peer_say(p, POST "Content-Length: 40000\r\n\r\n");
		ask(p, body);
		EXPECT_STATUS(answer, "200");
		cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	}
	cr_expect(server_saw(body));
	set_rules("viewer", "/ws/**"); /* the worker is idle when this returns */
	cr_expect_eq(world.worker->views->held_bytes, 0, "all of it is given back");
	hang_up(p);
}

Test(proxy_inspection, cut_bodies_and_lost_clients)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	peer_say(p, POST "Content-Length: 20\r\n\r\n{\"query\":\"{view");
	hang_up(p);
	p = dial_tls(WORLD_CURL, "ok.test");
	ask(p, POST "Content-Length: 20\r\n\r\n" VIEWER);
	EXPECT_STATUS(answer, "200");
	hang_up(p);
	set_rules("viewer", "/ws/**");
	cr_expect_eq(world.worker->views->held_bytes, 0);
}

Test(proxy_inspection, the_share_of_a_sandbox)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	ask(p, POST "Content-Length: 20\r\n\r\n" VIEWER);
	EXPECT_STATUS(answer, "200");
	set_rules("viewer", "/ws/**"); /* the worker is idle when this returns */
	world.worker->views->held_bytes = OSH_HELD_BYTES_MAX - 10;
	ask(p, POST "Content-Length: 20\r\n\r\n" VIEWER);
	EXPECT_STATUS(answer, "503");
	EXPECT_HAS(answer, "inspection_saturated");
	world.worker->views->held_bytes = 0;
	hang_up(p);
	p = dial_tls(WORLD_CURL, "ok.test");
	ask(p, POST "Content-Length: 20\r\n\r\n" VIEWER);
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

Test(proxy_inspection, a_new_policy_while_the_server_thinks)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	for (int i = 0; i < 2; i++) {
		peer_say(p, "POST /graphql/slow HTTP/1.1\r\n" HOST "Content-Length: 20\r\n\r\n" VIEWER);
		cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
		set_rules(i == 0 ? "viewer, other" : "other", "/ws/**");
		go();
		peer_response(p, answer, sizeof(answer));
		if (i == 0)
			EXPECT_STATUS(answer, "200"); /* what is still allowed goes on */
		else
			EXPECT_STATUS(answer, "403");
	}
	cr_expect(next_verdict()->decision == OSH_VERDICT_DENY);
	hang_up(p);
}

Test(proxy_inspection, placeholders_in_compressed_bodies)
{
	static const char *const hosts[] = { "api.test", NULL };
	static const char plain[] = "{\"query\":\"{viewer}\",\"x\":\"ghp_PLACEHOLDERPLACEHOLDER0123\"}";
	unsigned char squeezed[256];
	uLongf len = sizeof(squeezed);
	char head[256];
	struct peer *p;

	cr_assert(compress(squeezed, &len, (const unsigned char *)plain, sizeof(plain) - 1) == Z_OK);
	set_vault("ghp_PLACEHOLDERPLACEHOLDER0123", "ghp_secret", hosts);
	p = dial_tls(WORLD_CURL, "ok.test");
	snprintf(head, sizeof(head), POST "Content-Encoding: deflate\r\nContent-Length: %lu\r\n\r\n", len);
	peer_say(p, head);
	peer_write(p, (const char *)squeezed, len);
	peer_response(p, answer, sizeof(answer));
	EXPECT_STATUS(answer, "403");
	EXPECT_HAS(answer, "credential_endpoint_mismatch");
	cr_expect(world.accepted == 0);
	hang_up(p);
	p = dial_tls(WORLD_CURL, "ok.test");
	ask(p, POST "Content-Length: 20\r\n\r\n" VIEWER);
	EXPECT_STATUS(answer, "200");
	hang_up(p);
}

/* ---- WebSocket -------------------------------------------------------------------------------------- */

#define UPGRADE(path) "GET " path " HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n" \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n" \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

static struct peer *dial_websocket(const char *upgrade)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");
	ssize_t len;

	cr_assert(peer_say(p, upgrade));
	len = peer_await(p, "\r\n\r\n");
	cr_assert(len > 0);
	EXPECT_STATUS(p->bytes, "101");
	peer_consume(p, (size_t)len);
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	return p;
}

static void say_text(struct peer *p, const char *text)
{
	static const unsigned char mask[4] = { 1, 2, 3, 4 };
	char bytes[256], *payload;
	size_t len = strlen(text), head = osh_websocket_write_head(bytes, len, mask);

	payload = bytes + head;
	memcpy(payload, text, len);
	osh_websocket_mask(payload, len, mask, 0);
	cr_assert(peer_write(p, bytes, head + len));
}

/* The next bytes are exactly these. */
static void expect_bytes(struct peer *p, const char *bytes, size_t len)
{
	while (p->len < len && peer_read(p) > 0)
		;
	cr_expect(p->len >= len && memcmp(p->bytes, bytes, len) == 0, "got %zu bytes: %.*s", p->len,
		  (int)p->len, p->bytes);
	peer_consume(p, p->len < len ? p->len : len);
}

static void expect_close(struct peer *p, unsigned code)
{
	while (p->len < 4 && peer_read(p) > 0)
		;
	cr_assert(p->len >= 4, "no frame came");
	cr_expect((unsigned char)p->bytes[0] == 0x88, "no close frame");
	cr_expect(((unsigned char)p->bytes[2] << 8 | (unsigned char)p->bytes[3]) == (int)code, "code %d",
		  (unsigned char)p->bytes[2] << 8 | (unsigned char)p->bytes[3]);
	while (p->len < 2u + (unsigned char)p->bytes[1] && peer_read(p) > 0)
		;
	/* It has been heard once it is answered. */
	cr_expect(peer_write(p, "\x88\x80\0\0\0\0", 6));
	cr_expect(peer_read(p) == 0, "a clean end");
	cr_expect(p->len == 2u + (unsigned char)p->bytes[1], "nothing follows the close frame");
}

Test(proxy_inspection, texts_are_judged_one_by_one)
{
	struct peer *p = dial_websocket(UPGRADE("/ws/chat/1"));
	const struct osh_verdict *v;

	cr_expect(!server_saw("permessage-deflate"));
	say_text(p, "hello");
	expect_bytes(p, "\x81\x04" "seen", 6);
	cr_expect(server_saw("[hello]"));
	v = next_verdict();
	cr_expect(v->decision == OSH_VERDICT_ALLOW && strcmp(v->method, "WEBSOCKET_TEXT") == 0);
	say_text(p, "");
	expect_bytes(p, "\x81\x04" "seen", 6);
	cr_expect(server_saw("[]") && !server_saw("BAD FRAME"));
	hang_up(p);
	p = dial_tls(WORLD_CURL, "ok.test");
	ask(p, "GET /ws/chat/1 HTTP/1.1\r\n" HOST "\r\n");
	EXPECT_STATUS(answer, "403");
	hang_up(p);
}

Test(proxy_inspection, a_denied_text_never_arrives)
{
	struct peer *p = dial_websocket(UPGRADE("/ws/listen"));
	const struct osh_verdict *v;

	cr_assert(peer_write(p, "\x82\x83\0\0\0\0bin", 9));
	say_text(p, "never");
	expect_close(p, 1008);
	v = next_verdict();
	cr_expect(v->decision == OSH_VERDICT_DENY && strcmp(v->method, "WEBSOCKET_TEXT") == 0);
	cr_expect(strcmp(v->target, "/ws/listen") == 0);
	cr_expect(!server_saw("never"));
	hang_up(p);
}

Test(proxy_inspection, our_close_frame_is_cut_in_between_frames)
{
	struct peer *p = dial_websocket(UPGRADE("/ws/chat/half"));

	expect_bytes(p, "\x81\x0a" "01234", 7);
	cr_assert(peer_write(p, "\x81\x01x", 3)); /* not masked */
	cr_expect(next_verdict()->decision == OSH_VERDICT_DENY);
	go();
	expect_bytes(p, "56789", 5);
	expect_close(p, 1002);
	hang_up(p);
}

Test(proxy_inspection, a_server_that_extends_unasked_is_refused)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	ask(p, UPGRADE("/ws/chat/extends"));
	EXPECT_STATUS(answer, "502");
	hang_up(p);
}

Test(proxy_inspection, a_new_policy_closes_with_1012)
{
	struct peer *p = dial_websocket(UPGRADE("/ws/chat/1"));

	set_rules("viewer", "/ws/**");
	say_text(p, "still here");
	expect_bytes(p, "\x81\x04" "seen", 6);
	cr_expect(next_verdict()->decision == OSH_VERDICT_ALLOW);
	set_rules("viewer", "/ws/other");
	expect_close(p, 1012);
	cr_expect(next_verdict()->decision == OSH_VERDICT_DENY);
	hang_up(p);
}

Test(proxy_inspection, a_text_that_breaks_off_goes_nowhere)
{
	struct peer *p = dial_websocket(UPGRADE("/ws/chat/1"));

	cr_assert(peer_write(p, "\x81\x85\0\0\0\0par", 9));
	hang_up(p);
	p = dial_websocket(UPGRADE("/ws/chat/2"));
	say_text(p, "whole");
	expect_bytes(p, "\x81\x04" "seen", 6);
	cr_expect(server_saw("[whole]") && !server_saw("par"));
	hang_up(p);
}
