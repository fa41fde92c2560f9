#include "proxy/websocket_relay.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/http1_exchange.h"
#include "proxy/inspect.h"
#include "proxy/websocket.h"

#define PIECE_MAX (16u << 10)
#define CLOSE_MS 3000 /* for the server to end its frame, before ours is cut in */

static const char no_room[] = "too many messages are under inspection at once in this sandbox";

struct osh_websocket {
	bool inspects;                      /* the client's texts */
	struct osh_websocket_reader reader; /* client to server, where they are inspected */
	struct osh_websocket_walker up;     /* ... where they are not */
	struct osh_websocket_walker down;   /* server to client */
	size_t held;                        /* bytes of the text that count against the sandbox's share */
	/* A text that was allowed, on its way as one frame: what the policy saw is what goes. */
	struct osh_buf rewritten; /* ... with its credentials in place; empty: as it came */
	bool sending;
	size_t sent;
	unsigned char mask[4];
	/* The close frame that waits for the end of the server's frame. */
	char close[OSH_WEBSOCKET_CONTROL_MAX];
	size_t close_len; /* 0: not closing */
};

int osh_websocket_begin(struct osh_session *s, bool extended)
{
	s->websocket = calloc(1, sizeof(*s->websocket));
	if (!s->websocket)
		return -ENOMEM;
	s->websocket->inspects = s->exchange->inspects_text;
	osh_websocket_reader_init(&s->websocket->reader);
	s->websocket->up = (struct osh_websocket_walker){ .from_client = true, .extended = extended };
	s->websocket->down = (struct osh_websocket_walker){ .extended = extended };
	osh_buf_init_secret(&s->websocket->rewritten, OSH_WEBSOCKET_TEXT_MAX);
	osh_session_set_state(s, OSH_SESSION_WEBSOCKET);
	return 0;
}

static void give_back(struct osh_session *s)
{
	osh_held_give_back(s->view, s->websocket->held);
	s->websocket->held = 0;
}

static void forget_text(struct osh_session *s)
{
	struct osh_websocket *ws = s->websocket;

	give_back(s);
	osh_buf_clear(&ws->rewritten);
	osh_buf_trim(&ws->rewritten);
	osh_websocket_next(&ws->reader);
}

void osh_websocket_drop(struct osh_session *s)
{
	if (!s->websocket)
		return;
	give_back(s);
	osh_websocket_reader_done(&s->websocket->reader);
	osh_buf_done(&s->websocket->rewritten);
	free(s->websocket);
	s->websocket = NULL;
}

/* ---- Closing -------------------------------------------------------------------------- */

static void start_closing(struct osh_session *s, enum osh_websocket_code code, const char *reason)
{
	struct osh_websocket *ws = s->websocket;

	if (ws->close_len)
		return;
	ws->close_len = osh_websocket_write_close(ws->close, code, reason);
	forget_text(s);
	osh_session_set_deadline(s, CLOSE_MS);
}

bool osh_websocket_is_closing(const struct osh_session *s)
{
	return s->websocket && s->websocket->close_len > 0;
}

void osh_websocket_reload(struct osh_session *s, const char *reason)
{
	start_closing(s, OSH_WEBSOCKET_RELOAD, reason);
}

/* Throw away what the client says. True: its last frame came, or what is none. */
static bool read_texts_to_end(struct osh_session *s)
{
	struct osh_websocket_reader *reader = &s->websocket->reader;
	enum osh_websocket_event event = OSH_WEBSOCKET_PASS;

	while (event != OSH_WEBSOCKET_NEED_MORE && event != OSH_WEBSOCKET_BAD && !reader->closed) {
		size_t used;

		event = osh_websocket_take(reader, osh_buf_str(&s->conn.in), OSH_CONN_BUF_MAX, &used);
		osh_buf_consume(&s->conn.in, used);
		if (event == OSH_WEBSOCKET_KEPT || event == OSH_WEBSOCKET_TEXT)
			osh_websocket_next(reader);
	}
	return event == OSH_WEBSOCKET_BAD || reader->closed;
}

static bool read_frames_to_end(struct osh_session *s)
{
	struct osh_websocket_walker *walker = &s->websocket->up;

	osh_buf_consume(&s->conn.in, osh_websocket_walk(walker, osh_buf_str(&s->conn.in), false));
	return walker->fault || (walker->closed && walker->left == 0);
}

/* The client's answer to our close frame, or the end of its bytes, ends the connection (RFC 6455
 * 7.1.1): a client that is hung up on while it answers would take a refusal for a broken line. */
void osh_websocket_await_close(struct osh_session *s)
{
	bool ended = s->websocket->inspects ? read_texts_to_end(s) : read_frames_to_end(s);

	if (ended || s->conn.eof) {
		osh_websocket_drop(s);
		s->conn.finish = true;
	}
}

/* Between two frames of the server: ours is the last. */
static bool finish_closing(struct osh_session *s)
{
	struct osh_websocket *ws = s->websocket;

	if (!osh_websocket_at_boundary(&ws->down) || osh_conn_out_room(&s->conn) < ws->close_len)
		return false;
	if (osh_buf_append(&s->conn.out, ws->close, ws->close_len) < 0) {
		osh_session_end(s, true);
		return false;
	}
	osh_upstream_free(s->upstream);
	s->upstream = NULL;
	osh_session_set_state(s, OSH_SESSION_CLOSING);
	return true;
}

static void refuse(struct osh_session *s, enum osh_websocket_code code, enum osh_verdict_engine engine,
		   const char *reason)
{
	s->exchange->message[0] = '\0'; /* that of an earlier text */
	osh_exchange_record_as(s, "WEBSOCKET", engine, OSH_VERDICT_DENY, reason, 0);
	start_closing(s, code, reason);
}

/* ---- Frames that nobody reads ------------------------------------------------------------ */

/* As many as go into `room`. True when something changed. */
static bool move_frames(struct osh_session *s, struct osh_websocket_walker *walker, struct osh_buf *from,
			struct osh_buf *to, size_t room)
{
	struct osh_str bytes = osh_buf_str(from);
	bool closing = s->websocket->close_len > 0;
	size_t len;

	if (walker->fault)
		return false;
	bytes.len = bytes.len < room ? bytes.len : room;
	len = osh_websocket_walk(walker, bytes, closing);
	if (osh_buf_append(to, bytes.data, len) < 0) {
		osh_session_end(s, true);
		return false;
	}
	osh_buf_consume(from, len);
	if (walker->fault && !closing)
		refuse(s, OSH_WEBSOCKET_PROTOCOL_ERROR, OSH_ENGINE_HTTP, walker->fault);
	return len > 0 || walker->fault;
}

static bool move_down(struct osh_session *s)
{
	size_t room = osh_conn_out_room(&s->conn);

	/* Room for the close frame is kept. */
	room = room > OSH_WEBSOCKET_CONTROL_MAX ? room - OSH_WEBSOCKET_CONTROL_MAX : 0;
	return move_frames(s, &s->websocket->down, &s->upstream->conn.in, &s->conn.out, room);
}

/* ---- Texts, client to server --------------------------------------------------------------------- */

static void record_text(struct osh_session *s, const struct osh_judgement *j)
{
	static const enum osh_verdict_decision decisions[] = {
		[OSH_EFFECT_DENY] = OSH_VERDICT_DENY,
		[OSH_EFFECT_ALLOW] = OSH_VERDICT_ALLOW,
		[OSH_EFFECT_AUDIT] = OSH_VERDICT_AUDIT,
	};

	osh_exchange_keep_decision(s->exchange, j);
	osh_exchange_record_as(s, "WEBSOCKET_TEXT", j->engine, decisions[j->effect], j->decision.reason, 0);
}

static void begin_sending(struct osh_session *s)
{
	struct osh_websocket *ws = s->websocket;

	/* Unpredictable, as every client's has to be (RFC 6455 10.3). */
	if (RAND_bytes(ws->mask, sizeof(ws->mask)) != 1) {
		osh_session_end(s, true);
		return;
	}
	ws->sending = true;
	ws->sent = 0;
}

/* Put the credentials into a text that was allowed. False: it was refused. */
static bool rewrite_text(struct osh_session *s, const struct osh_decision *decision)
{
	struct osh_websocket *ws = s->websocket;
	const struct osh_credential_fault *fault =
		osh_rewrite_text(s, decision, osh_buf_str(&ws->reader.text), &ws->rewritten);

	if (fault) {
		refuse(s, OSH_WEBSOCKET_POLICY, OSH_ENGINE_CREDENTIAL, fault->reason);
		return false;
	}
	if (!osh_held_take(s->view, ws->rewritten.len)) {
		refuse(s, OSH_WEBSOCKET_NO_ROOM, OSH_ENGINE_L7, no_room);
		return false;
	}
	ws->held += ws->rewritten.len;
	if (ws->rewritten.len)
		s->upstream->conn.out.secret = true;
	return true;
}

/* A text is whole. */
static void judge_text(struct osh_session *s)
{
	struct osh_request_facts facts = osh_exchange_facts(s->exchange);
	struct osh_judgement j;

	osh_judge_text(s, &facts, osh_buf_str(&s->websocket->reader.text), &j);
	if (j.effect != OSH_EFFECT_DENY && !rewrite_text(s, &j.decision))
		return;
	/* Where only credentials are looked for, the handshake's record stands for all. */
	if (j.decision.text_inspected || j.effect == OSH_EFFECT_DENY)
		record_text(s, &j);
	if (j.effect == OSH_EFFECT_DENY)
		start_closing(s, OSH_WEBSOCKET_POLICY, j.decision.reason);
	else
		begin_sending(s);
}

static bool send_text(struct osh_session *s)
{
	struct osh_websocket *ws = s->websocket;
	struct osh_buf *out = &s->upstream->conn.out;
	struct osh_str text = osh_buf_str(ws->rewritten.len ? &ws->rewritten : &ws->reader.text);
	char head[OSH_WEBSOCKET_HEAD_MAX];
	size_t len = text.len - ws->sent, room = osh_buf_free_bytes(out);
	int r = 0;

	if (room < OSH_WEBSOCKET_CONTROL_MAX)
		return false;
	if (ws->sent == 0)
		r = osh_buf_append(out, head, osh_websocket_write_head(head, text.len, ws->mask));
	room -= sizeof(head);
	len = len < room ? len : room;
	len = len < PIECE_MAX ? len : PIECE_MAX;
	if (r == 0)
		r = osh_buf_append(out, text.data ? text.data + ws->sent : NULL, len);
	if (r < 0) {
		osh_session_end(s, true);
		return false;
	}
	if (len)
		osh_websocket_mask(osh_buf_tail(out) - len, len, ws->mask, ws->sent);
	ws->sent += len;
	if (ws->sent == text.len) {
		ws->sending = false;
		forget_text(s);
	}
	return true;
}

/* Count what the reader kept. */
static bool take_share(struct osh_session *s)
{
	struct osh_websocket *ws = s->websocket;
	size_t len = ws->reader.text.len - ws->held;

	if (!osh_held_take(s->view, len)) {
		refuse(s, OSH_WEBSOCKET_NO_ROOM, OSH_ENGINE_L7, no_room);
		return false;
	}
	ws->held += len;
	return true;
}

static bool pass(struct osh_session *s, size_t len)
{
	if (osh_buf_append(&s->upstream->conn.out, osh_buf_bytes(&s->conn.in), len) == 0)
		return true;
	osh_session_end(s, true);
	return false;
}

static bool move_up(struct osh_session *s)
{
	struct osh_websocket *ws = s->websocket;
	struct osh_str bytes = osh_buf_str(&s->conn.in);
	enum osh_websocket_event event;
	size_t used;

	if (!ws->inspects)
		return move_frames(s, &ws->up, &s->conn.in, &s->upstream->conn.out,
				   osh_buf_free_bytes(&s->upstream->conn.out));
	if (ws->sending)
		return send_text(s);
	/* A piece at a time, so that no text grows beyond the sandbox's share unseen. */
	if (bytes.len > PIECE_MAX)
		bytes.len = PIECE_MAX;
	event = osh_websocket_take(&ws->reader, bytes, osh_buf_free_bytes(&s->upstream->conn.out), &used);
	switch (event) {
	case OSH_WEBSOCKET_NEED_MORE:
		return false;
	case OSH_WEBSOCKET_BAD:
		refuse(s, ws->reader.code, OSH_ENGINE_HTTP, ws->reader.reason);
		return true;
	case OSH_WEBSOCKET_PASS:
		if (!pass(s, used))
			return false;
		break;
	case OSH_WEBSOCKET_KEPT:
	case OSH_WEBSOCKET_TEXT:
		break;
	}
	osh_buf_consume(&s->conn.in, used);
	if ((event == OSH_WEBSOCKET_KEPT || event == OSH_WEBSOCKET_TEXT) && take_share(s) &&
	    event == OSH_WEBSOCKET_TEXT)
		judge_text(s);
	return !s->reap.queued;
}

/* ---- Both ------------------------------------------------------------------------------------ */

static bool pass_eof(struct osh_conn *from, struct osh_conn *to)
{
	if (!from->eof || from->in.len || to->finish)
		return false;
	to->finish = true;
	return true;
}

static bool step_closing(struct osh_session *s)
{
	bool moved = move_down(s);

	if (s->reap.queued)
		return false;
	if (finish_closing(s))
		return true;
	/* The server's frame will never end: nothing can be cut in. */
	if (!s->reap.queued && !moved && s->upstream->conn.eof) {
		osh_session_end(s, true);
		return false;
	}
	return moved && !s->reap.queued;
}

bool osh_websocket_step(struct osh_session *s)
{
	struct osh_conn *up = &s->upstream->conn;
	bool moved;

	if (s->conn.state == OSH_CONN_FAILED || up->state == OSH_CONN_FAILED) {
		osh_session_end(s, true);
		return false;
	}
	if (s->websocket->close_len)
		return step_closing(s);
	moved = move_up(s);
	if (s->reap.queued)
		return false;
	if (s->websocket->close_len)
		return true;
	moved |= move_down(s);
	if (s->reap.queued)
		return false;
	/* A frame that is cut off goes nowhere. */
	if (!moved && s->conn.eof && !s->websocket->sending && !up->out.len)
		osh_buf_clear(&s->conn.in);
	if (!moved && up->eof && !s->conn.out.len)
		osh_buf_clear(&up->in);
	if (!s->websocket->sending)
		moved |= pass_eof(&s->conn, up);
	moved |= pass_eof(up, &s->conn);
	if (moved)
		osh_session_touch(s);
	if (s->conn.finished && up->finished) {
		osh_session_end(s, false);
		return false;
	}
	return moved;
}
