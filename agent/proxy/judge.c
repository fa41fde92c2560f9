#include "proxy/judge.h"

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/knockout.h"
#include "base/mem.h"
#include "proxy/inspect.h"
#include "proxy/rewrite.h"

/* What a judgement's paths point into. Not in the judgement: on the stack it would be twenty
 * pages to walk through for each request. */
static _Thread_local struct {
	char path[3 * OSH_PATH_TARGET_MAX + 1];
	char shown[3 * OSH_PATH_TARGET_MAX + 1];
	char query[OSH_HTTP_TARGET_MAX];
} room;

static void refuse(struct osh_judgement *j, unsigned status, const char *error,
		   enum osh_verdict_engine engine, enum osh_stage stage, const char *reason)
{
	j->effect = OSH_EFFECT_DENY;
	j->status = status;
	j->error = error;
	j->engine = engine;
	j->decision.effect = OSH_EFFECT_DENY;
	j->decision.stage = stage;
	snprintf(j->decision.reason, sizeof(j->decision.reason), "%s", reason);
}

/* The authority must be the name behind the address that the program dialled: one
 * connection, one host (no fronting, no coalescing). */
static bool check_authority(struct osh_session *session, struct osh_str authority,
			    struct osh_judgement *j)
{
	struct osh_host host;
	uint16_t port_host;

	if (osh_layer_off("authority"))
		return true;
	if (osh_authority_parse(authority, session->tls ? 443 : 80, &host, &port_host) < 0) {
		refuse(j, 400, "invalid_request_authority", OSH_ENGINE_AUTHORITY, OSH_STAGE_AUTHORITY,
		       "the request names no valid host");
		return false;
	}
	if (strcmp(host.text, session->host.text) != 0 || port_host != session->port_host) {
		char reason[512];

		snprintf(reason, sizeof(reason), "the request names %.200s:%u but the connection is to %.200s:%u",
			 host.text, port_host, session->host.text, session->port_host);
		refuse(j, 421, "request_authority_mismatch", OSH_ENGINE_AUTHORITY, OSH_STAGE_AUTHORITY,
		       reason);
		return false;
	}
	return true;
}

/* CONNECT, whose target is a host (RFC 9112 3.2.3). */
static bool is_connect(const struct osh_request_facts *facts)
{
	return osh_str_eq_c(facts->method, "CONNECT");
}

/* A target in absolute form names scheme and host once more (RFC 9112 3.2.2): both must be
 * those of this connection. */
static bool check_target(struct osh_session *session, const struct osh_request_facts *facts,
			 struct osh_judgement *j)
{
	const char *scheme = session->tls ? "https://" : "http://";
	size_t len = strlen(scheme), end;
	struct osh_str target = facts->target;

	if (is_connect(facts))
		return check_authority(session, target, j);
	if (target.len == 0 || target.data[0] == '/' || osh_str_eq_c(target, "*"))
		return true;
	if (target.len < len || !osh_str_caseeq_c(osh_str_n(target.data, len), scheme)) {
		refuse(j, 400, "invalid_request_target", OSH_ENGINE_HTTP, OSH_STAGE_PARSE,
		       "the target is neither a path nor a URL of this connection's scheme");
		return false;
	}
	for (end = len; end < target.len && !strchr("/?#", target.data[end]); end++)
		;
	return check_authority(session, osh_str_n(target.data + len, end - len), j);
}

/* An encoded slash is let through here when any endpoint might allow it, and asked
 * about again once the rules have selected one. */
static bool canonicalise(const struct osh_request_facts *facts, struct osh_judgement *j,
			 bool *ret_encoded_slash)
{
	enum osh_path_error error;

	*ret_encoded_slash = false;
	if (osh_layer_off("path") || is_connect(facts) ||
	    (osh_str_eq_c(facts->target, "*") && osh_str_eq_c(facts->method, "OPTIONS"))) {
		j->path = (struct osh_path){ .path = facts->target };
		return true;
	}
	error = osh_path_canonicalise(facts->target, false, room.path, sizeof(room.path), &j->path);
	if (error == OSH_PATH_ENCODED_SLASH) {
		*ret_encoded_slash = true;
		error = osh_path_canonicalise(facts->target, true, room.path, sizeof(room.path),
					      &j->path);
	}
	if (error == OSH_PATH_OK)
		return true;
	j->path = (struct osh_path){ 0 };
	refuse(j, 400, "invalid_request_target", OSH_ENGINE_HTTP, OSH_STAGE_PARSE,
	       osh_path_error_text(error));
	return false;
}

static void refuse_credential(struct osh_judgement *j, const struct osh_credential_fault *fault)
{
	refuse(j, fault->status, fault->error, OSH_ENGINE_CREDENTIAL, OSH_STAGE_PARSE, fault->reason);
}

/* Rules and records see that a credential stands there, and not which. */
static bool hide_placeholders(const struct osh_session *session, struct osh_judgement *j)
{
	const struct osh_vault *vault = osh_session_vault(session);
	struct osh_path *shown = &j->path;

	j->sent = j->path;
	if (!osh_vault_contains(vault, shown->path) && !osh_vault_contains(vault, shown->query))
		return true;
	if (osh_vault_redact(vault, shown->path, OSH_CREDENTIAL_SHOWN, room.shown,
			     sizeof(room.shown), &shown->path) == 0 &&
	    osh_vault_redact(vault, shown->query, "%5BCREDENTIAL%5D", room.query,
			     sizeof(room.query), &shown->query) == 0)
		return true;
	j->path = (struct osh_path){ 0 };
	refuse_credential(j, &osh_credential_invalid);
	return false;
}

static const char *error_of(const struct osh_decision *decision)
{
	return decision->middleware_required ? "middleware_required" : "policy_denied";
}

static void ask_policy(struct osh_session *session, const struct osh_request_facts *facts,
		       struct osh_judgement *j)
{
	struct osh_request_query query = {
		.method = facts->method,
		.path = j->path.path,
		.query = j->path.query,
		.websocket_upgrade = facts->websocket_upgrade,
		.message = facts->message,
	};

	if (!session->view->snapshot || !osh_session_query(session, &query.connect)) {
		refuse(j, 403, "policy_denied", OSH_ENGINE_POLICY, OSH_STAGE_CONNECT,
		       "no policy is in force for this program");
		return;
	}
	osh_policy_request(&session->view->snapshot->policy, &query, &j->decision);
	if (osh_layer_off("rules"))
		j->decision.effect = OSH_EFFECT_ALLOW;
	j->effect = j->decision.effect;
	j->engine = j->decision.stage == OSH_STAGE_CONNECT ? OSH_ENGINE_POLICY : OSH_ENGINE_L7;
	j->status = j->decision.stage == OSH_STAGE_PARSE ? 400 : 403;
	j->error = error_of(&j->decision);
}

/* Why it was refused when it connected. */
static void explain_connection(const struct osh_session *session, struct osh_judgement *j)
{
	osh_decision_copy(&j->decision, &session->decision);
	j->effect = OSH_EFFECT_DENY;
	j->status = session->over_limit ? 429 : 403;
	j->error = session->over_limit ? "limit_exceeded" :
		   session->fault ? session->fault->error : error_of(&j->decision);
	j->engine = osh_session_refused_by(session);
}

/* SigV4 and its like: what the server would get unsigned goes nowhere. */
static void refuse_unsigned(struct osh_judgement *j)
{
	refuse(j, 500, "credential_unavailable", OSH_ENGINE_CREDENTIAL, OSH_STAGE_PARSE,
	       "the policy demands credential_signing here, which this agent does not perform: take it "
	       "out of the endpoint, and sign inside");
}

static void say_override(struct osh_decision *decision, enum osh_form form)
{
	size_t len = strlen(decision->reason);

	snprintf(decision->reason + len, sizeof(decision->reason) - len, "%s",
		 form == OSH_FORM_CODED ? " (its form may ask for it: send it without Content-Encoding)" :
					  " (asked for by _method in the query or form)");
}

/* A server may take the request for one with the method that its query names: that one has to
 * be permitted, too. */
static void judge_overrides(struct osh_session *session, const struct osh_request_facts *facts,
			    struct osh_judgement *j)
{
	struct osh_request_facts other = *facts;
	struct osh_str query = j->path.query;
	struct osh_override form;
	bool found;

	osh_override_init(&form, OSH_FORM_PAIRS);
	do {
		found = osh_override_next(&form, &query) || osh_override_end(&form);
		other.method = osh_str(form.method);
		if (found)
			ask_policy(session, &other, j);
		if (found && j->effect == OSH_EFFECT_DENY)
			say_override(&j->decision, form.form);
	} while (found && j->effect != OSH_EFFECT_DENY);
}

/* The connection's decision names the policy in a refusal before the rules. */
static void begin(const struct osh_session *session, struct osh_judgement *j)
{
	memset(j, 0, offsetof(struct osh_judgement, decision));
	osh_decision_copy(&j->decision, &session->decision);
}

void osh_judge_request(struct osh_session *session, const struct osh_request_facts *facts,
		       struct osh_judgement *ret)
{
	bool encoded_slash;

	begin(session, ret);
	if (session->denied) {
		/* Refused when it connected; whatever it says now, this is the answer. */
		(void)(canonicalise(facts, ret, &encoded_slash) && hide_placeholders(session, ret));
		explain_connection(session, ret);
		return;
	}
	if (!check_authority(session, facts->authority, ret) ||
	    !check_target(session, facts, ret) || !canonicalise(facts, ret, &encoded_slash) ||
	    !hide_placeholders(session, ret))
		return;
	ask_policy(session, facts, ret);
	if (ret->effect != OSH_EFFECT_DENY && encoded_slash && !ret->decision.allow_encoded_slash)
		refuse(ret, 400, "invalid_request_target", OSH_ENGINE_HTTP, OSH_STAGE_PARSE,
		       osh_path_error_text(OSH_PATH_ENCODED_SLASH));
	if (ret->effect != OSH_EFFECT_DENY && ret->decision.signing)
		refuse_unsigned(ret);
	if (ret->effect != OSH_EFFECT_DENY && ret->decision.l7 == OSH_L7_REST)
		judge_overrides(session, facts, ret);
}

/* ---- Forms ------------------------------------------------------------------------- */

static bool judge_as(struct osh_session *session, const struct osh_request_facts *facts,
		     const struct osh_override *form, const char *method, struct osh_judgement *ret)
{
	struct osh_request_facts other = *facts;

	other.method = osh_str(method);
	osh_judge_request(session, &other, ret);
	if (ret->effect == OSH_EFFECT_DENY)
		say_override(&ret->decision, form->form);
	return ret->effect != OSH_EFFECT_DENY;
}

/* Where only that there is one is known, it may be any that changes something. */
static bool judge_found(struct osh_session *session, const struct osh_request_facts *facts,
			const struct osh_override *form, struct osh_judgement *ret)
{
	if (form->form == OSH_FORM_PAIRS)
		return judge_as(session, facts, form, form->method, ret);
	return judge_as(session, facts, form, "PUT", ret) && judge_as(session, facts, form, "PATCH", ret) &&
	       judge_as(session, facts, form, "DELETE", ret);
}

bool osh_judge_form(struct osh_session *session, const struct osh_request_facts *facts,
		    struct osh_override *form, struct osh_str bytes, bool last,
		    struct osh_judgement *ret)
{
	while (osh_override_next(form, &bytes)) {
		if (!judge_found(session, facts, form, ret))
			return false;
	}
	return !last || !osh_override_end(form) || judge_found(session, facts, form, ret);
}

/* ---- Messages ---------------------------------------------------------------------- */

static void judge_message(struct osh_session *session, const struct osh_request_facts *facts,
			  const struct osh_message *message, struct osh_judgement *ret)
{
	struct osh_request_facts with_body = *facts;

	with_body.message = message;
	osh_judge_request(session, &with_body, ret);
}

/* The body as rules may see it; `copy` (given back by the caller) is its memory when it had
 * to be changed. False: it cannot be shown. */
static bool hide_in_body(const struct osh_session *session, struct osh_message *message, char **copy)
{
	const struct osh_vault *vault = osh_session_vault(session);

	*copy = NULL;
	if (!osh_vault_contains(vault, message->body))
		return true;
	*copy = malloc(message->body.len);
	return *copy && osh_vault_redact(vault, message->body, OSH_CREDENTIAL_SHOWN, *copy,
					 message->body.len, &message->body) == 0;
}

/* A placeholder in a body that is not rewritten, or was compressed. */
static bool carries_placeholder(const struct osh_session *session, const struct osh_judgement *j,
				const struct osh_message *message, const struct osh_buf *inflated)
{
	return (inflated->len || !j->decision.rewrite_body) &&
	       osh_vault_contains(osh_session_vault(session), message->body);
}

void osh_judge_body(struct osh_session *session, const struct osh_request_facts *facts,
		    const struct osh_inspection *inspection, struct osh_judgement *ret)
{
	_cleanup_free_ char *copy = NULL;
	struct osh_message message, received;
	struct osh_buf inflated;
	const char *fault = osh_inspection_read(inspection, &inflated, &message);

	received = message;
	if (!fault && !hide_in_body(session, &message, &copy))
		fault = "the body holds too many credential placeholders";
	/* Asked even when it cannot be read: a policy that reads no bodies here does not care. */
	judge_message(session, facts, fault ? NULL : &message, ret);
	if (fault && osh_judge_wants_body(ret))
		refuse(ret, 403, "policy_denied", OSH_ENGINE_L7, OSH_STAGE_MESSAGE, fault);
	ret->decision.body_limit = 0;
	if (ret->effect != OSH_EFFECT_DENY && carries_placeholder(session, ret, &received, &inflated))
		refuse_credential(ret, osh_rewrite_refusal(session));
	osh_buf_done(&inflated);
}

void osh_judge_text(struct osh_session *session, const struct osh_request_facts *facts,
		    struct osh_str text, struct osh_judgement *ret)
{
	struct osh_message message = { .body = text.data ? text : osh_str(""), .is_text = true };
	_cleanup_free_ char *copy = NULL;
	bool shown = hide_in_body(session, &message, &copy);

	judge_message(session, facts, &message, ret);
	if (!shown)
		refuse_credential(ret, &osh_credential_invalid);
}

/* jansson refuses invalid UTF-8; the escape makes any bytes valid. Cut, so that the whole
 * answer stays within what http1.c keeps room for. */
static json_t *json_text(struct osh_str text)
{
	char escaped[1536];

	osh_str_escape(text, escaped, sizeof(escaped));
	return json_string(escaped);
}

static json_t *describe_missing_rule(struct osh_session *session, struct osh_str method,
				     struct osh_str path, const char *binary)
{
	return json_pack("{s:s, s:s, s:o, s:o, s:s, s:i, s:o}", "type", "rest_allow", "layer", "l7",
			 "method", json_text(method), "path", json_text(path), "host",
			 session->host.text, "port", (int)session->port_host, "binary",
			 json_text(osh_str(binary)));
}

/* "METHOD path", as a rule would say it. */
static json_t *describe_rule(struct osh_str method, struct osh_str path)
{
	char text[1024];

	snprintf(text, sizeof(text), "%.*s %.*s", (int)method.len, method.data,
		 (int)(path.len < 900 ? path.len : 900), path.data ? path.data : "");
	return json_text(osh_str(text));
}

static json_t *describe_detail(struct osh_session *session, const struct osh_judgement *j,
			       bool at_connect)
{
	char text[OSH_HOST_MAX + 64];

	if (!at_connect)
		return json_text(osh_str(j->decision.reason));
	snprintf(text, sizeof(text), "CONNECT %s:%u not permitted by policy", session->host.text,
		 session->port_host);
	return json_text(osh_str(text));
}

/* What the program inside, or the user behind it, can do about it. */
static json_t *advise(const struct osh_judgement *j)
{
	static const char *const by_engine[OSH_ENGINE_COUNT] = {
		[OSH_ENGINE_TLS] = "The policy permits this; the server could not be verified. A policy "
				   "change will not help.",
		[OSH_ENGINE_UPSTREAM] = "The policy permits this; the server could not be reached. "
					"Retrying may help, a policy change will not.",
		[OSH_ENGINE_HTTP] = "The message itself was refused: no policy change will permit it.",
		[OSH_ENGINE_AUTHORITY] = "The message itself was refused: no policy change will permit it.",
		[OSH_ENGINE_CREDENTIAL] = "Send a credential only to its own provider, over TLS, in a header, "
					  "a query value or the path; the reason says what else a policy can "
					  "allow.",
		[OSH_ENGINE_LIMIT] = "The policy permits this, but not so many at once: try again when other "
				     "connections have ended.",
	};

	if (by_engine[j->engine])
		return json_pack("[s]", by_engine[j->engine]);
	return json_pack("[s, s]", "This is the sandbox's policy, not the server: retrying will not help.",
			 "Ask the user outside to allow it: openshell logs <sandbox> --denied shows its id, "
			 "openshell policy explain <id> the change that would.");
}

/* Rules of the others speak of what stands in the body. */
static bool names_path(const struct osh_decision *decision)
{
	return decision->l7 == OSH_L7_REST || decision->l7 == OSH_L7_WEBSOCKET;
}

/* People read it on a terminal: it ends its line. Takes `text` over. */
static char *end_line(char *text, size_t *ret_len)
{
	size_t len = text ? strlen(text) : 0;
	char *grown = text ? realloc(text, len + 2) : NULL;

	if (!grown) {
		free(text);
		return NULL;
	}
	grown[len] = '\n';
	grown[len + 1] = '\0';
	*ret_len = len + 1;
	return grown;
}

char *osh_judge_explain(struct osh_session *session, const struct osh_judgement *j,
			struct osh_str method, size_t *ret_len)
{
	const struct osh_who *who = osh_worker_who(session->view->worker, session->flow.identity);
	const char *binary = who ? who->binary : "";
	bool at_connect = j->decision.stage == OSH_STAGE_CONNECT;
	bool by_rules = j->decision.stage == OSH_STAGE_RULES;
	json_t *body = json_object();
	char *text;

	if (!body)
		return NULL;
	json_object_set_new(body, "error", json_string(j->error));
	json_object_set_new(body, "policy",
			    j->decision.policy.len ? json_text(j->decision.policy) : json_null());
	if (method.len)
		json_object_set_new(body, "rule", describe_rule(method, j->path.path));
	json_object_set_new(body, "detail", describe_detail(session, j, at_connect));
	json_object_set_new(body, "layer", json_string(at_connect ? "l4" : "l7"));
	json_object_set_new(body, "protocol", json_string(osh_l7_name(j->decision.l7)));
	json_object_set_new(body, "method", json_text(method));
	json_object_set_new(body, "path", json_text(j->path.path));
	json_object_set_new(body, "host", json_string(session->host.text));
	json_object_set_new(body, "port", json_integer(session->port_host));
	json_object_set_new(body, "binary", json_text(osh_str(binary)));
	json_object_set_new(body, "reason", json_text(osh_str(j->decision.reason)));
	if (j->decision.message[0])
		json_object_set_new(body, "operation", json_text(osh_str(j->decision.message)));
	if (by_rules && names_path(&j->decision))
		json_object_set_new(body, "rule_missing",
				    describe_missing_rule(session, method, j->path.path, binary));
	json_object_set_new(body, "next_steps", advise(j));
	text = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	return end_line(text, ret_len);
}
