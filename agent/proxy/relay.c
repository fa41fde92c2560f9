#include "proxy/relay.h"

#include <string.h>

#include "proxy/session_step.h"

/* Of a dialogue; more at a time is a body on its way. */
#define MESSAGE_MAX 4096

static size_t move_bytes(struct osh_conn *from, struct osh_conn *to)
{
	size_t room = osh_conn_out_room(to);
	size_t len = from->in.len < room ? from->in.len : room;

	if (len && !to->out.len) {
		osh_buf_hand_over(&from->in, &to->out);
		return len;
	}
	if (len == 0 || osh_buf_append(&to->out, osh_buf_bytes(&from->in), len) < 0)
		return 0;
	osh_buf_consume(&from->in, len);
	return len;
}

/* A half-closed side is passed on once its last byte is. True when that happens now. */
static bool pass_eof(struct osh_conn *from, struct osh_conn *to)
{
	if (!from->eof || from->in.len || to->finish)
		return false;
	to->finish = true;
	return true;
}

static void record_l4(struct osh_session *s, enum osh_verdict_engine engine,
		      enum osh_verdict_decision decision, const char *reason)
{
	struct osh_verdict verdict = osh_session_verdict(s, engine, decision, reason);
	char policy[OSH_HOST_MAX];

	if (osh_str_copy(s->decision.policy, policy, sizeof(policy)) == 0)
		verdict.policy = policy;
	osh_worker_record(s->view, &verdict);
}

static void record_passed(struct osh_session *s, const char *reason)
{
	record_l4(s, OSH_ENGINE_POLICY,
		  s->decision.effect == OSH_EFFECT_AUDIT ? OSH_VERDICT_AUDIT : OSH_VERDICT_ALLOW, reason);
}

/* The first time the upstream is ready. */
static void open_gate(struct osh_session *s)
{
	struct osh_upstream *up = s->upstream;

	if (up->conn.want_read)
		return;
	up->conn.want_read = true;
	osh_conn_end_by_reset(&s->conn);
	osh_conn_end_by_reset(&up->conn);
	record_passed(s, s->decision.reason);
}

void osh_relay_record_cut(struct osh_session *s)
{
	char reason[sizeof(s->decision.reason) + OSH_UNREACHED_MAX];

	osh_session_say_unreached(s->decision.reason, reason, sizeof(reason));
	record_passed(s, reason);
}

bool osh_relay_step(struct osh_session *s)
{
	struct osh_upstream *up = s->upstream;
	size_t len;
	bool moved;

	if (up->state == OSH_UPSTREAM_BROKEN) {
		record_l4(s, up->failure_engine, OSH_VERDICT_DENY, up->failure);
		if (up->failure_engine != OSH_ENGINE_SSRF) { /* as the server would have: not here */
			osh_session_end(s, true);
			return false;
		}
		osh_session_take_leave(s, up->failure);
		return true;
	}
	if (up->state != OSH_UPSTREAM_READY)
		return false;
	open_gate(s);
	if (s->conn.state == OSH_CONN_FAILED || up->conn.state == OSH_CONN_FAILED) {
		osh_session_end(s, true);
		return false;
	}
	len = move_bytes(&s->conn, &up->conn) + move_bytes(&up->conn, &s->conn);
	if (len && len <= MESSAGE_MAX)
		osh_loop_expect(s->view->worker->loop);
	moved = len > 0;
	moved |= pass_eof(&s->conn, &up->conn);
	moved |= pass_eof(&up->conn, &s->conn);
	if (moved)
		osh_session_touch(s);
	if (s->conn.finished && up->conn.finished) {
		osh_session_end(s, false);
		return false;
	}
	return moved;
}
