/* One decision, recorded. Written by the proxy (requests, flows) and the agent
 * (kernel refusals, life cycle), read by the CLI, the TUI, the journal. */
#ifndef OPENSHELL_VERDICT_H
#define OPENSHELL_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum osh_verdict_decision {
	OSH_VERDICT_DENY = 0, /* the zero value: what nobody decided is denied */
	OSH_VERDICT_ALLOW,
	OSH_VERDICT_AUDIT, /* forwarded, recorded as a violation */
	OSH_VERDICT_DECISION_COUNT,
};

/* Which part of the product decided (`engine:` in a log line). */
enum osh_verdict_engine {
	OSH_ENGINE_KERNEL = 0, /* a BPF hook */
	OSH_ENGINE_POLICY,     /* connect-time question */
	OSH_ENGINE_L7,         /* a request */
	OSH_ENGINE_TLS,        /* handshake, SNI, upstream certificate */
	OSH_ENGINE_HTTP,       /* malformed or ambiguous HTTP */
	OSH_ENGINE_DNS,
	OSH_ENGINE_SSRF,       /* resolved address refused */
	OSH_ENGINE_CREDENTIAL, /* placeholder where it does not belong */
	OSH_ENGINE_AUTHORITY,  /* Host or :authority is not the name dialled */
	OSH_ENGINE_UPSTREAM,   /* allowed, but the real server could not be reached or verified */
	OSH_ENGINE_BYPASS,     /* reached the agent without passing a hook */
	OSH_ENGINE_LIMIT,      /* allowed, but there are too many: the policy's limits, or the agent's bounds */
	OSH_ENGINE_COUNT,
};

/* Strings are borrowed: they live as long as the call that hands the record on.
 * NULL and "" both mean absent. Text from the network or a sandbox is kept raw
 * here and escaped by every formatter (agent/verdict/format.h). */
struct osh_verdict {
	uint64_t id;            /* given by the agent, increasing, never reused */
	uint64_t time_ns;       /* CLOCK_REALTIME */
	uint64_t sandbox_id;    /* cgroup id */
	enum osh_verdict_decision decision;
	enum osh_verdict_engine engine;
	uint32_t revision;      /* policy revision that decided; 0 none */
	uint32_t pid;           /* in the host's pid namespace; 0 unknown */
	uint32_t rule_line;     /* line of the deciding rule in the policy file; 0 none */
	uint32_t status;        /* HTTP status that the sandbox saw, 0 none */
	uint16_t dst_port_host;
	bool permissive;        /* decided while the sandbox's policy was in mode: permissive */
	const char *sandbox;    /* name */
	const char *binary;     /* executable path */
	const char *lineage;    /* ancestors, nearest first, joined by " <- " */
	const char *host;
	const char *protocol;   /* "rest", "l4", "dns", ... : l7_protocol */
	const char *method;     /* l7_action */
	const char *target;     /* l7_target: canonical path, no query */
	const char *message;    /* l7_message: operations, methods and tools of a body or text; no params */
	const char *policy;     /* key in network_policies */
	const char *reason;     /* l7_deny_reason */
};

/* The largest encoded record; longer strings are cut at encoding, marked by a
 * trailing "…". */
#define OSH_VERDICT_BYTES_MAX 4096

#endif
