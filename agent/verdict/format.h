/* A verdict as text. One escape function (osh_str_escape, jansson for JSON)
 * stands between untrusted bytes and every output. */
#ifndef OSH_VERDICT_FORMAT_H
#define OSH_VERDICT_FORMAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "openshell/verdict.h"

const char *osh_verdict_decision_name(enum osh_verdict_decision decision); /* allow, deny, audit */
const char *osh_verdict_engine_name(enum osh_verdict_engine engine);

/* l7_protocol of the agent's own notes about a sandbox: no traffic, nothing decided. Their
 * line is the time, "SANDBOX:NOTE [INFO] " and the reason. */
#define OSH_VERDICT_PROTOCOL_NOTE "sandbox"

/* The shorthand line of policy-semantics "Log lines", with a UTC time stamp in
 * front and no newline:
 *   2026-01-02T03:04:05.678Z HTTP:PUT [MED] DENIED PUT https://api.github.com/x
 *   [binary:/usr/bin/curl(123)] [policy:github_rest_api engine:l7] [reason:...]
 * Returns the length, cut at size - 1. */
size_t osh_verdict_line(const struct osh_verdict *verdict, char *buf, size_t size);

/* A JSON object (id, time, sandbox, binary, pid, lineage, and the l7_ and dst_
 * fields under the names of the dashboard; absent ones left out). The caller
 * owns the reference; NULL when memory is out. A text that is not UTF-8 is escaped as by
 * osh_str_escape, and the name of its field is in the array "escaped", absent without. */
json_t *osh_verdict_json(const struct osh_verdict *verdict);
/* The same object as text: one line of ASCII, compact, without a newline; many times as
 * fast, for the journal. Returns the length, 0 when it does not fit. */
size_t osh_verdict_json_text(const struct osh_verdict *verdict, char *buf, size_t size);
/* The reverse, for the journal: strings are borrowed from `json`, in which what was escaped becomes
 * the bytes it was. 0 or -EBADMSG. */
int osh_verdict_from_json(json_t *json, struct osh_verdict *ret_verdict);

/* Field names and values in the order of the detail view; calls `each` for every
 * field that is set, value escaped. */
void osh_verdict_fields(const struct osh_verdict *verdict,
			void (*each)(void *context, const char *name, const char *value),
			void *context);

#endif
