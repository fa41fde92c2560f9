#include "verdict/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "verdict/format_parts.h"

static const char *const decision_names[OSH_VERDICT_DECISION_COUNT] = {
	[OSH_VERDICT_DENY] = "deny",
	[OSH_VERDICT_ALLOW] = "allow",
	[OSH_VERDICT_AUDIT] = "audit",
};

static const char *const engine_names[OSH_ENGINE_COUNT] = {
	[OSH_ENGINE_KERNEL] = "kernel",
	[OSH_ENGINE_POLICY] = "policy",
	[OSH_ENGINE_L7] = "l7",
	[OSH_ENGINE_TLS] = "tls",
	[OSH_ENGINE_HTTP] = "http",
	[OSH_ENGINE_DNS] = "dns",
	[OSH_ENGINE_SSRF] = "ssrf",
	[OSH_ENGINE_CREDENTIAL] = "credential",
	[OSH_ENGINE_AUTHORITY] = "authority",
	[OSH_ENGINE_UPSTREAM] = "upstream",
	[OSH_ENGINE_BYPASS] = "bypass",
	[OSH_ENGINE_LIMIT] = "limit",
};

const char *osh_verdict_decision_name(enum osh_verdict_decision decision)
{
	if ((unsigned)decision >= OSH_VERDICT_DECISION_COUNT)
		return "unknown";
	return decision_names[decision];
}

const char *osh_verdict_engine_name(enum osh_verdict_engine engine)
{
	return (unsigned)engine < OSH_ENGINE_COUNT ? engine_names[engine] : "unknown";
}

/* ---- The shorthand line ------------------------------------------------------------ */

/* Free text: only ever the last thing of a line. */
static void add_text(struct line *line, const char *text)
{
	line->used += osh_str_escape(osh_str(text), line->buf + line->used,
				     line->size - line->used);
}

/* A value among others: blanks and the line's own punctuation are escaped too, so that
 * a hostile file name cannot look like the fields behind it. */
static void add_word(struct line *line, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	while (*text) {
		size_t plain = strcspn(text, " []()");

		line->used += osh_str_escape(osh_str_n(text, plain), line->buf + line->used,
					     line->size - line->used);
		text += plain;
		if (!*text)
			break;
		line_add(line, "\\x");
		line_add_n(line, hex + ((unsigned char)*text >> 4), 1);
		line_add_n(line, hex + (*text & 15), 1);
		text++;
	}
}

/* A record does not say whether TLS was spoken. On the two ports where custom does, the
 * scheme is written; elsewhere a network-path reference (RFC 3986, 4.2). */
static void add_url(struct line *line, const struct osh_verdict *verdict)
{
	bool is_v6 = strchr(verdict->host, ':') != NULL;

	if (verdict->dst_port_host == 443)
		line_add(line, "https:");
	else if (verdict->dst_port_host == 80)
		line_add(line, "http:");
	line_add(line, is_v6 ? "//[" : "//");
	add_word(line, verdict->host);
	if (is_v6)
		line_add(line, "]");
	if (verdict->dst_port_host != 443 && verdict->dst_port_host != 80) {
		line_add(line, ":");
		line_add_number(line, verdict->dst_port_host);
	}
	if (is_set(verdict->target))
		add_word(line, verdict->target);
}

static void add_binary(struct line *line, const struct osh_verdict *verdict)
{
	add_word(line, is_set(verdict->binary) ? verdict->binary : "-");
	if (verdict->pid) {
		line_add(line, "(");
		line_add_number(line, verdict->pid);
		line_add(line, ")");
	}
}

static void add_destination(struct line *line, const struct osh_verdict *verdict)
{
	if (!is_set(verdict->host)) {
		line_add(line, "-");
	} else if (strchr(verdict->host, ':')) {
		line_add(line, "[");
		add_word(line, verdict->host);
		line_add(line, "]");
	} else {
		add_word(line, verdict->host);
	}
	if (verdict->dst_port_host) {
		line_add(line, ":");
		line_add_number(line, verdict->dst_port_host);
	}
}

static void add_event(struct line *line, const struct osh_verdict *verdict)
{
	bool denied = verdict->decision == OSH_VERDICT_DENY;
	const char *outcome = denied ? " [MED] DENIED " : " [INFO] ALLOWED ";

	if (is_set(verdict->method) && is_set(verdict->host)) {
		line_add(line, "HTTP:");
		add_word(line, verdict->method);
		line_add(line, outcome);
		add_word(line, verdict->method);
		line_add(line, " ");
		add_url(line, verdict);
		if (is_set(verdict->message)) {
			line_add(line, " [message:");
			add_word(line, verdict->message);
			line_add(line, "]");
		}
		line_add(line, " [binary:");
		add_binary(line, verdict);
		line_add(line, "]");
		return;
	}
	line_add(line, verdict->engine == OSH_ENGINE_DNS ? "DNS:QUERY" : "NET:OPEN");
	line_add(line, outcome);
	add_binary(line, verdict);
	line_add(line, " -> ");
	add_destination(line, verdict);
}

/* The agent's own notes about a sandbox (made, policy replaced, ended) decide nothing. */
static bool is_note(const struct osh_verdict *verdict)
{
	return verdict->decision == OSH_VERDICT_ALLOW && is_set(verdict->protocol) &&
	       strcmp(verdict->protocol, OSH_VERDICT_PROTOCOL_NOTE) == 0;
}

static void add_mode(struct line *line, const struct osh_verdict *verdict)
{
	if (verdict->permissive)
		line_add(line, " [mode:permissive]");
}

size_t osh_verdict_line(const struct osh_verdict *verdict, char *buf, size_t size)
{
	struct line line = { .buf = buf, .size = size };
	char time[TIME_BYTES];

	buf[0] = '\0';
	format_time(verdict->time_ns, 3, time);
	line_add(&line, time);
	line_add(&line, " ");
	if (is_note(verdict)) {
		line_add(&line, "SANDBOX:NOTE [INFO] ");
		if (verdict->permissive)
			line_add(&line, "[mode:permissive] ");
		add_text(&line, is_set(verdict->reason) ? verdict->reason : "-");
		return line.used;
	}
	add_event(&line, verdict);
	line_add(&line, " [policy:");
	add_word(&line, is_set(verdict->policy) ? verdict->policy : "-");
	line_add(&line, " engine:");
	line_add(&line, osh_verdict_engine_name(verdict->engine));
	line_add(&line, "]");
	/* ALLOWED as in the reference; without this nobody could tell it from an allow. */
	if (verdict->decision == OSH_VERDICT_AUDIT)
		line_add(&line, " [enforcement:audit]");
	add_mode(&line, verdict);
	if (verdict->id) {
		line_add(&line, " [id:");
		line_add_number(&line, verdict->id);
		line_add(&line, "]");
	}
	if (is_set(verdict->reason)) {
		line_add(&line, " [reason:");
		add_text(&line, verdict->reason);
		line_add(&line, "]");
	}
	return line.used;
}

/* ---- The detail view --------------------------------------------------------------- */

struct fields {
	void (*each)(void *context, const char *name, const char *value);
	void *context;
};

static void give_text(const struct fields *fields, const char *name, const char *text)
{
	char escaped[4 * OSH_VERDICT_BYTES_MAX + 1];

	if (!is_set(text))
		return;
	osh_str_escape(osh_str(text), escaped, sizeof(escaped));
	fields->each(fields->context, name, escaped);
}

static void give_number(const struct fields *fields, const char *name, uint64_t number)
{
	char text[32];

	if (!number)
		return;
	snprintf(text, sizeof(text), "%" PRIu64, number);
	fields->each(fields->context, name, text);
}

void osh_verdict_fields(const struct osh_verdict *verdict,
			void (*each)(void *context, const char *name, const char *value),
			void *context)
{
	const struct fields fields = { .each = each, .context = context };
	char time[TIME_BYTES];

	format_time(verdict->time_ns, 3, time);
	/* The first eight are what the dashboard has always shown, in its order. */
	give_text(&fields, "l7_action", verdict->method);
	give_text(&fields, "l7_target", verdict->target);
	give_text(&fields, "l7_decision", osh_verdict_decision_name(verdict->decision));
	give_text(&fields, "dst_host", verdict->host);
	give_number(&fields, "dst_port", verdict->dst_port_host);
	give_text(&fields, "l7_protocol", verdict->protocol);
	give_text(&fields, "policy", verdict->policy);
	give_text(&fields, "l7_deny_reason", verdict->reason);
	give_text(&fields, "l7_message", verdict->message);
	give_text(&fields, "mode", verdict->permissive ? "permissive" : "");
	give_text(&fields, "binary", verdict->binary);
	give_number(&fields, "pid", verdict->pid);
	give_text(&fields, "lineage", verdict->lineage);
	give_text(&fields, "time", time);
	give_text(&fields, "sandbox", verdict->sandbox);
	give_text(&fields, "engine", osh_verdict_engine_name(verdict->engine));
	give_number(&fields, "revision", verdict->revision);
	give_number(&fields, "rule_line", verdict->rule_line);
	give_number(&fields, "status", verdict->status);
	give_number(&fields, "id", verdict->id);
}
