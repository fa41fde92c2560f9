/* What becomes of a flow: where it goes, who asks, what the policy says at connect time, and
 * again when the policy changes. */
#include "proxy/session_decide.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/knockout.h"
#include "proxy/facts.h"
#include "proxy/http1.h"
#include "proxy/rewrite.h"
#include "proxy/session_step.h"
#include "proxy/websocket_relay.h"

/* ---- Questions and records --------------------------------------------------------- */

bool osh_session_query(struct osh_session *s, struct osh_connect_query *ret_query)
{
	struct osh_who *who = osh_worker_who(s->view->worker, s->flow.identity);

	if (!who || who->flags & OSH_EXE_NAMELESS)
		return false;
	*ret_query = (struct osh_connect_query){
		.subject = {
			.binary = osh_str(who->binary),
			.ancestors = who->ancestors,
			.ancestor_count = who->ancestor_count,
			.facts = osh_facts_get(s, who),
		},
		.host = osh_str(s->host.text),
		.port_host = s->port_host,
		.host_net = s->view->tenant->host_net,
	};
	return true;
}

struct osh_verdict osh_session_verdict(struct osh_session *s, enum osh_verdict_engine engine,
				       enum osh_verdict_decision decision, const char *reason)
{
	const struct osh_who *who = osh_worker_who(s->view->worker, s->flow.identity);

	return (struct osh_verdict){
		.engine = engine,
		.decision = decision,
		.pid = s->flow.pid,
		.binary = who ? who->binary : NULL,
		.lineage = who ? who->lineage : NULL,
		.host = s->host.text,
		.dst_port_host = s->port_host,
		.protocol = osh_l7_name(s->decision.l7),
		.rule_line = s->decision.rule_line,
		.reason = reason,
	};
}

void osh_session_record(struct osh_session *s, enum osh_verdict_engine engine,
			enum osh_verdict_decision decision, const char *reason)
{
	struct osh_verdict verdict = osh_session_verdict(s, engine, decision, reason);
	char policy[OSH_HOST_MAX];

	if (s->decision.policy.len && osh_str_copy(s->decision.policy, policy, sizeof(policy)) == 0)
		verdict.policy = policy;
	osh_worker_record(s->view, &verdict);
}

void osh_session_say_unreached(const char *why, char *buf, size_t size)
{
	snprintf(buf, size, "%s%sit ended before there was a connection to its server", why, *why ? "; " : "");
}

static void set_denied(struct osh_session *s, const char *reason)
{
	memset(&s->decision, 0, sizeof(s->decision));
	s->decision.stage = OSH_STAGE_CONNECT;
	snprintf(s->decision.reason, sizeof(s->decision.reason), "%s", reason);
}

/* The connect-time question. */
static void ask(struct osh_session *s)
{
	struct osh_connect_query query;

	if (!s->view->snapshot)
		set_denied(s, "no policy is in force for this sandbox");
	else if (!osh_session_query(s, &query))
		set_denied(s, "the program could not be identified");
	else
		osh_policy_connect(&s->view->snapshot->policy, &query, &s->decision);
	if (osh_layer_off("policy"))
		s->decision.effect = OSH_EFFECT_ALLOW;
}

/* ---- Where to ------------------------------------------------------------------------ */

static bool is_v4_mapped(const struct osh_addr *addr)
{
	return addr->word_be[0] == 0 && addr->word_be[1] == 0 && addr->word_be[2] == htonl(0xffff);
}

/* The IPv4 form of a synthetic address, 0 when it is none: its IPv6 twin carries the
 * same 32 bits. */
static uint32_t synthetic_v4_host(const struct osh_addr *dst)
{
	uint32_t last_host = ntohl(dst->word_be[3]);
	bool is_twin = dst->word_be[0] == htonl(OSH_SYNTH6_WORD0) && dst->word_be[1] == 0 &&
		       dst->word_be[2] == 0;

	if ((is_v4_mapped(dst) || is_twin) && (last_host & OSH_SYNTH_MASK) == OSH_SYNTH_PREFIX)
		return last_host;
	return 0;
}

/* The name behind the address that the program dialled. A synthetic address that was
 * never given out names nothing. */
static int find_host(struct osh_session *s)
{
	const struct osh_addr *dst = &s->flow.dst;
	uint32_t v4_host = synthetic_v4_host(dst);
	char text[INET6_ADDRSTRLEN];

	if (v4_host) {
		struct osh_lease_key key = { .sandbox = s->view->tenant->id, .addr_host = v4_host };
		struct osh_lease lease;

		if (osh_maps_lease_get(&s->view->worker->proxy->maps, &key, &lease) == 0)
			return osh_host_parse(osh_str_n(lease.host, strnlen(lease.host, sizeof(lease.host))),
					      &s->host);
		inet_ntop(AF_INET, &dst->word_be[3], s->host.text, sizeof(s->host.text));
		return -ENOENT;
	}
	if (s->view->tenant->host_net && osh_host_is_loopback((const struct in6_addr *)dst))
		return osh_host_parse(osh_str("localhost"), &s->host);
	if (is_v4_mapped(dst))
		inet_ntop(AF_INET, &dst->word_be[3], text, sizeof(text));
	else
		inet_ntop(AF_INET6, dst, text, sizeof(text));
	return osh_host_parse(osh_str(text), &s->host);
}

/* ---- Deciding ---------------------------------------------------------------------- */

/* A credential may go to this host, and the policy does not say that it may pass unseen. */
bool osh_session_guards_credential(const struct osh_session *s)
{
	return s->decision.effect == OSH_EFFECT_ALLOW && !s->decision.uninspected_credentials &&
	       osh_vault_serves(osh_session_vault(s), osh_str(s->host.text));
}

static void cache_denial(struct osh_session *s)
{
	struct osh_denial_key key = {
		.sandbox = s->view->tenant->id,
		.dst = s->flow.dst,
		.generation = s->view->snapshot ? s->view->snapshot->generation : 0,
		.identity = s->flow.identity,
		.dst_port_host = s->port_host,
	};

	(void)osh_maps_denial_add(&s->view->worker->proxy->maps, &key);
}

/* Not for want of an answer or of room, and not about this one process of many of its identity. */
static bool is_final(const struct osh_session *s)
{
	return !s->decision.wanted.subject && !s->clean_asked && !s->over_limit;
}

/* Ports where a program understands an HTTP answer. */
static bool can_explain(const struct osh_session *s)
{
	return s->port_host == 80 || s->port_host == 443;
}

static void set_uninspected(struct osh_session *s)
{
	s->fault = &osh_credential_opaque;
	s->decision.effect = OSH_EFFECT_DENY;
	s->decision.stage = OSH_STAGE_PARSE;
	snprintf(s->decision.reason, sizeof(s->decision.reason), "%s", osh_credential_opaque.reason);
}

/* Bytes go both ways unseen. Not so where HTTP is spoken to a credential's host: that is
 * opened as with protocol rest, all of it allowed, or else refused. */
static bool is_relayed(struct osh_session *s)
{
	if (s->decision.l7 != OSH_L7_NONE && s->decision.tls != OSH_TLS_SKIP)
		return false;
	return !can_explain(s) || !osh_session_guards_credential(s);
}

void osh_session_stop_asking(struct osh_session *s)
{
	if (s->asking)
		s->view->asking--;
	s->asking = false;
}

static void wait_for_answer(struct osh_session *s, bool asked)
{
	const struct osh_who *who = osh_worker_who(s->view->worker, s->flow.identity);

	s->awaits = asked && who ? who->nodes[s->decision.wanted.subject - 1].id : 0;
	if (s->asking)
		return; /* the deadline is for all answers together */
	s->asking = true;
	s->view->asking++;
	osh_session_set_state(s, OSH_SESSION_ASKING);
}

static void admit_or_deny(struct osh_session *s);

/* Ask the policy, and the agent for what the policy needs to know first. */
static void decide(struct osh_session *s)
{
	enum osh_facts_asked asked = OSH_FACTS_REFUSED;

	ask(s);
	if (s->decision.wanted.subject)
		asked = osh_facts_ask(s, s->decision.wanted);
	if (asked == OSH_FACTS_REFUSED)
		admit_or_deny(s);
	else
		wait_for_answer(s, asked == OSH_FACTS_ASKED);
}

void osh_session_begin(struct osh_session *s)
{
	if (find_host(s) == 0) {
		decide(s);
		return;
	}
	set_denied(s, "this address was not given to any name in this sandbox");
	admit_or_deny(s);
}

void osh_session_move_meter(struct osh_session *s, struct osh_meter *meter)
{
	if (meter == s->meter)
		return;
	if (meter)
		osh_meter_join(meter);
	if (s->meter)
		osh_meter_leave(s->meter);
	s->meter = meter;
	s->conn.meter = meter;
}

/* An allowed flow is one more for the policy's limits; beyond them it is denied. */
static void count_flow(struct osh_session *s)
{
	struct osh_meter *meter = osh_meters_of(&s->view->snapshot->meters, &s->decision);
	const char *why = osh_meter_enter(meter);

	if (!why) {
		s->meter = meter;
		s->conn.meter = meter;
		return;
	}
	s->over_limit = true;
	s->decision.effect = OSH_EFFECT_DENY;
	s->decision.stage = OSH_STAGE_NONE;
	snprintf(s->decision.reason, sizeof(s->decision.reason), "%s", why);
}

/* A denied program understands an HTTP answer: so it spoke it, or would have. */
static bool awaits_http(const struct osh_session *s, bool relayed)
{
	return can_explain(s) || (s->over_limit && !relayed);
}

static void admit_or_deny(struct osh_session *s)
{
	bool relayed;

	osh_session_stop_asking(s);
	s->admitted = true;
	relayed = is_relayed(s);
	if (!relayed && s->decision.opaque)
		set_uninspected(s);
	if (s->decision.effect != OSH_EFFECT_DENY)
		count_flow(s);
	s->denied = s->decision.effect == OSH_EFFECT_DENY;
	s->conn.want_read = true;
	s->conn.hold_read = true;
	if (s->denied) {
		osh_session_record(s, osh_session_refused_by(s), OSH_VERDICT_DENY, s->decision.reason);
		if (!awaits_http(s, relayed)) {
			if (is_final(s))
				cache_denial(s);
			osh_session_take_leave(s, s->decision.reason);
		} else {
			osh_session_set_state(s, OSH_SESSION_SNIFF);
		}
	} else if (relayed) {
		osh_session_set_state(s, OSH_SESSION_RELAY);
		if (osh_session_dial(s, false, OSH_UPSTREAM_ALONE) < 0) {
			osh_session_end(s, true);
			return;
		}
	} else {
		osh_session_set_state(s, OSH_SESSION_SNIFF);
	}
	osh_session_step(s);
}

/* ---- Answers of the agent ------------------------------------------------------------------ */

static bool is_awaited(const struct osh_session *s, const struct osh_question_about *about)
{
	return s->asking && s->awaits == about->identity &&
	       (!about->pid || s->flow.cookie == about->cookie);
}

/* Those that found no room to ask. */
static void ask_on(struct osh_view *view)
{
	struct osh_session *s, *next;

	if (view->asking == 0)
		return;
	DL_FOREACH_SAFE(view->sessions, s, next) {
		if (!s->asking || s->awaits)
			continue;
		decide(s);
		if (s->asking && !s->awaits)
			return;
	}
}

void osh_session_on_answer(struct osh_worker *worker, struct osh_view *view,
			   const struct osh_question_about *about, const struct osh_exe_facts *facts)
{
	struct osh_session *s, *next;
	struct osh_view *other, *next_view;

	if (view && view->asking) {
		DL_FOREACH_SAFE(view->sessions, s, next) {
			if (!is_awaited(s, about))
				continue;
			if (about->pid)
				s->clean = facts->clean;
			decide(s);
		}
	}
	HASH_ITER(hh, worker->views, other, next_view)
		ask_on(other);
}

void osh_session_answer_is_late(struct osh_session *s)
{
	struct osh_wanted wanted = s->decision.wanted;

	set_denied(s, "the agent did not tell in time which file this program runs");
	s->decision.wanted = wanted;
	admit_or_deny(s);
}

/* ---- A new policy ------------------------------------------------------------------------- */

static void judge_again(struct osh_session *s)
{
	if (s->reap.queued)
		return; /* with the connection that carried it */
	if (s->asking) {
		decide(s);
		return;
	}
	if (osh_layer_off("revocation"))
		return;
	if (s->denied || s->state == OSH_SESSION_CLOSING || osh_websocket_is_closing(s))
		return; /* its answer is on the way and closes the connection */
	ask(s);
	if (s->decision.wanted.subject) {
		/* A live flow has no state to wait in. */
		osh_session_record(s, OSH_ENGINE_POLICY, OSH_VERDICT_DENY,
			       "the policy now asks more about this program: reconnect");
		osh_session_end(s, true);
		return;
	}
	if (s->meter && s->decision.effect != OSH_EFFECT_DENY)
		osh_session_move_meter(s, osh_meters_of(&s->view->snapshot->meters, &s->decision));
	/* HTTP: the request in progress is judged now, the next one when it comes, with an
	 * answer that explains. */
	if (s->state != OSH_SESSION_RELAY) { /* a WebSocket is a request, too */
		osh_http1_judge_again(s);
		return;
	}
	if (s->decision.effect == OSH_EFFECT_DENY) {
		osh_session_record(s, OSH_ENGINE_POLICY, OSH_VERDICT_DENY, s->decision.reason);
		osh_session_end(s, true);
	} else if (!is_relayed(s)) {
		osh_session_record(s, OSH_ENGINE_POLICY, OSH_VERDICT_DENY,
			       "the policy now inspects this host: reconnect");
		osh_session_end(s, true);
	}
}

void osh_session_judge_all(struct osh_view *view)
{
	struct osh_session *s, *next;

	DL_FOREACH_SAFE(view->sessions, s, next)
		judge_again(s);
}
