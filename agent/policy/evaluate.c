/* The first question: may this program connect? And what all answers share. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "policy/evaluate.h"
#include "policy/glob.h"

/* ---- Opening an image ---------------------------------------------------- */

static bool holds(const struct osh_image_header *header, struct osh_image_list list, size_t size)
{
	return list.offset <= header->len && list.count <= (header->len - list.offset) / size;
}

/* The header is read on trust otherwise: its tables have to lie within the image. */
static bool is_whole(const struct osh_image_header *header)
{
	uint32_t slots = header->slots.count;

	return slots && (slots & (slots - 1)) == 0 &&
	       holds(header, header->slots, sizeof(struct osh_image_slot)) &&
	       holds(header, header->entries, sizeof(struct osh_image_entry)) &&
	       holds(header, header->endpoints, sizeof(struct osh_image_endpoint)) &&
	       holds(header, header->hostless, sizeof(uint32_t)) &&
	       holds(header, header->literals, sizeof(struct osh_image_literal)) &&
	       holds(header, header->middlewares, sizeof(struct osh_image_middleware));
}

int osh_policy_open(const void *image, size_t len, struct osh_policy *ret_policy)
{
	const struct osh_image_header *header = image;

	if (!image || len < sizeof(*header) || (uintptr_t)image % 8)
		return -EBADMSG;
	if (header->magic != OSH_IMAGE_MAGIC || header->version != OSH_IMAGE_VERSION ||
	    header->len != len || !is_whole(header))
		return -EBADMSG;
	*ret_policy = (struct osh_policy){ .image = image, .len = len };
	return 0;
}

uint32_t osh_policy_revision(const struct osh_policy *policy)
{
	return osh_image_header(policy)->revision;
}

bool osh_policy_is_permissive(const struct osh_policy *policy)
{
	return osh_image_header(policy)->permissive;
}

const struct osh_policy_limits *osh_policy_limits(const struct osh_policy *policy)
{
	return &osh_image_header(policy)->limits;
}

const struct osh_policy_limits *osh_policy_entry_limits(const struct osh_policy *policy, uint32_t entry,
							struct osh_str *ret_key)
{
	const struct osh_image_entry *e;

	if (entry >= osh_image_header(policy)->entries.count)
		return NULL;
	e = osh_image_entry(policy, entry);
	*ret_key = osh_image_text(policy, e->key);
	return &e->limits;
}

const char *osh_stage_name(enum osh_stage stage)
{
	switch (stage) {
	case OSH_STAGE_NONE:
		return "";
	case OSH_STAGE_CONNECT:
		return "connect";
	case OSH_STAGE_AUTHORITY:
		return "authority";
	case OSH_STAGE_PARSE:
		return "parse";
	case OSH_STAGE_ROUTE:
		return "route";
	case OSH_STAGE_MESSAGE:
		return "message";
	case OSH_STAGE_RULES:
		return "rules";
	case OSH_STAGE_COUNT:
		break;
	}
	return "unknown";
}

const char *osh_l7_name(enum osh_l7 l7)
{
	switch (l7) {
	case OSH_L7_NONE:
		return "l4";
	case OSH_L7_REST:
		return "rest";
	case OSH_L7_WEBSOCKET:
		return "websocket";
	case OSH_L7_GRAPHQL:
		return "graphql";
	case OSH_L7_JSON_RPC:
		return "json-rpc";
	case OSH_L7_MCP:
		return "mcp";
	case OSH_L7_COUNT:
		break;
	}
	return "unknown";
}

/* ---- Decisions ----------------------------------------------------------- */

void osh_decision_init(struct osh_decision *decision)
{
	/* Everything but the tails of the strings at its end. */
	memset(decision, 0, offsetof(struct osh_decision, message) + 1);
	decision->reason[0] = '\0';
}

void osh_decision_copy(struct osh_decision *to, const struct osh_decision *from)
{
	memcpy(to, from, offsetof(struct osh_decision, message));
	memcpy(to->message, from->message, strlen(from->message) + 1);
	memcpy(to->reason, from->reason, strlen(from->reason) + 1);
}

void osh_decision_deny(struct osh_decision *decision, enum osh_stage stage, const char *format, ...)
{
	va_list args;

	decision->effect = OSH_EFFECT_DENY;
	decision->stage = stage;
	va_start(args, format);
	vsnprintf(decision->reason, sizeof(decision->reason), format, args);
	va_end(args);
}

void osh_decision_note(struct osh_decision *decision, const char *format, ...)
{
	size_t len = strlen(decision->message), size = sizeof(decision->message);
	va_list args;

	if (len && len + 2 < size)
		len += (size_t)snprintf(decision->message + len, size - len, ", ");
	va_start(args, format);
	vsnprintf(decision->message + len, size - len, format, args);
	va_end(args);
}

void osh_decision_allow(struct osh_decision *decision, uint32_t line)
{
	decision->effect = OSH_EFFECT_ALLOW;
	decision->stage = OSH_STAGE_NONE;
	decision->rule_line = line;
	decision->reason[0] = '\0';
}

/* Only what the rules refused can be softened, never what could not be understood. */
void osh_decision_soften(const struct osh_policy *policy, struct osh_decision *decision)
{
	bool by_policy = decision->stage == OSH_STAGE_CONNECT ||
			 decision->stage == OSH_STAGE_ROUTE || decision->stage == OSH_STAGE_RULES;

	if (decision->effect == OSH_EFFECT_DENY && by_policy && !decision->wanted.subject &&
	    osh_policy_is_permissive(policy))
		decision->effect = OSH_EFFECT_AUDIT;
}

/* ---- Connecting ---------------------------------------------------------- */

struct text {
	char *buf;
	size_t size, len;
};

static void add_text(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_text(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->buf + t->len, t->size - t->len, format, args);
	va_end(args);
	if (n > 0)
		t->len = t->len + (size_t)n < t->size ? t->len + (size_t)n : t->size - 1;
}

static void add_binary_reason(struct text *t, const struct osh_match *match,
			      const struct osh_subject *subject, uint32_t entry)
{
	struct osh_str key =
		osh_image_text(match->policy, osh_image_entry(match->policy, entry)->key);
	struct osh_str path;
	const char *fault = osh_entry_fault(match->policy, entry, subject, &path);

	add_text(t, "%sbinary '%.*s' %s policy '%.*s'", t->len ? "; " : "", OSH_STR_ARGS(path), fault,
		 OSH_STR_ARGS(key));
	if (subject->ancestor_count == 0 || t->len > t->size / 2)
		return;
	add_text(t, " (ancestors: [");
	for (size_t i = 0; i < subject->ancestor_count && i < 8; i++)
		add_text(t, "%s%.*s", i ? " -> " : "", OSH_STR_ARGS(subject->ancestors[i]));
	add_text(t, "%s])", subject->ancestor_count > 8 ? " -> ..." : "");
}

/* The smallest entry above `above` among those whose endpoint matched. */
static uint32_t next_entry(const struct osh_match *match, int64_t above)
{
	uint32_t best = UINT32_MAX;

	for (size_t i = 0; i < match->count; i++) {
		uint32_t entry = osh_image_endpoint(match->policy, match->ids[i])->entry;

		if ((int64_t)entry > above && entry < best)
			best = entry;
	}
	return best;
}

#define REASON_ENTRIES_MAX 4

static void explain_binaries(const struct osh_match *match, const struct osh_subject *subject,
			     struct osh_decision *decision)
{
	struct text text = { .buf = decision->reason, .size = sizeof(decision->reason) };
	uint32_t entry = next_entry(match, -1);

	decision->stage = OSH_STAGE_CONNECT;
	decision->wanted = match->wanted;
	decision->nearest_line = osh_image_entry(match->policy, entry)->line;
	for (int i = 0; i < REASON_ENTRIES_MAX && entry != UINT32_MAX; i++) {
		add_binary_reason(&text, match, subject, entry);
		entry = next_entry(match, entry);
	}
	if (entry != UINT32_MAX)
		add_text(&text, "; and others");
}

/* A fail-closed middleware that this agent cannot run takes its hosts with it. */
static bool is_covered(const struct osh_policy *policy, const struct osh_image_middleware *m,
		       struct osh_str host)
{
	const uint32_t *include = osh_image_at(policy, m->include.offset);
	const uint32_t *exclude = osh_image_at(policy, m->exclude.offset);

	for (uint32_t i = 0; i < m->exclude.count; i++) {
		if (osh_glob_match(osh_image_at(policy, exclude[i]), host))
			return false;
	}
	for (uint32_t i = 0; i < m->include.count; i++) {
		if (osh_glob_match(osh_image_at(policy, include[i]), host))
			return true;
	}
	return false;
}

static bool refuse_for_middleware(const struct osh_policy *policy, struct osh_str host,
				  struct osh_decision *decision)
{
	struct osh_image_list list = osh_image_header(policy)->middlewares;
	const struct osh_image_middleware *items = osh_image_at(policy, list.offset);
	char lower[OSH_HOST_MAX];

	if (list.count == 0 || host.len >= sizeof(lower))
		return false;
	for (size_t i = 0; i < host.len; i++)
		lower[i] = osh_ascii_lower(host.data[i]);
	for (uint32_t i = 0; i < list.count; i++) {
		struct osh_str key = osh_image_text(policy, items[i].key);

		if (!is_covered(policy, &items[i], osh_str_n(lower, host.len)))
			continue;
		osh_decision_deny(decision, OSH_STAGE_CONNECT,
				  "middleware '%.*s' is required for this host, but "
				  "this agent runs none",
				  OSH_STR_ARGS(key));
		decision->middleware_required = true;
		return true;
	}
	return false;
}

/* What the granted endpoints say about the connection as a whole. */
static void describe_connection(const struct osh_match *match, struct osh_decision *decision)
{
	const struct osh_image_entry *entry = osh_image_entry(match->policy, match->entry);
	uint32_t l7_id = UINT32_MAX, line_id = UINT32_MAX;

	decision->policy = osh_image_text(match->policy, entry->key);
	decision->entry = match->entry;
	for (size_t i = 0; i < match->granted; i++) {
		const struct osh_image_endpoint *e =
			osh_image_endpoint(match->policy, match->ids[i]);

		if (e->flags & OSH_IMAGE_TLS_SKIP)
			decision->tls = OSH_TLS_SKIP;
		if (e->flags & (OSH_IMAGE_TLS_SKIP | OSH_IMAGE_TCP))
			decision->opaque = true;
		if (e->flags & OSH_IMAGE_UNINSPECTED_CREDENTIALS)
			decision->uninspected_credentials = true;
		if (match->ids[i] < line_id) {
			line_id = match->ids[i];
			decision->rule_line = e->line;
		}
		if (e->l7 != OSH_L7_NONE && match->ids[i] < l7_id) {
			l7_id = match->ids[i];
			decision->l7 = (enum osh_l7)e->l7;
		}
	}
}

bool osh_decide_connect(const struct osh_policy *policy, const struct osh_connect_query *query,
			struct osh_match *match, struct osh_decision *decision)
{
	osh_decision_init(decision);
	osh_match_connect(policy, query, match);
	if (osh_image_header(policy)->entries.count == 0)
		osh_decision_deny(decision, OSH_STAGE_CONNECT,
				  "network connections not allowed by policy");
	else if (match->overflow)
		osh_decision_deny(decision, OSH_STAGE_CONNECT,
				  "more than %d endpoints match %.*s:%u", OSH_MATCH_MAX,
				  OSH_STR_ARGS(query->host), query->port_host);
	else if (match->count == 0)
		osh_decision_deny(decision, OSH_STAGE_CONNECT,
				  "endpoint %.*s:%u is not allowed by any policy",
				  OSH_STR_ARGS(query->host), query->port_host);
	else if (match->granted == 0 || match->wanted.subject)
		explain_binaries(match, &query->subject, decision);
	else if (!refuse_for_middleware(policy, query->host, decision)) {
		describe_connection(match, decision);
		return true;
	}
	return false;
}

void osh_policy_connect(const struct osh_policy *policy, const struct osh_connect_query *query,
			struct osh_decision *ret_decision)
{
	struct osh_match match;

	if (osh_decide_connect(policy, query, &match, ret_decision))
		osh_decision_allow(ret_decision, ret_decision->rule_line);
	osh_decision_soften(policy, ret_decision);
}
