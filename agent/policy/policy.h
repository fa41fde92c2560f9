/* The policy engine: text -> document -> compiled snapshot -> verdict.
 * No I/O, no threads, no globals: the agent, the proxy and the CLI link it.
 *
 * A snapshot ("image") is one flat, position-independent block of bytes: the
 * agent compiles it, seals it in a memfd, and the proxy maps it read-only and
 * asks questions of it in place. Asking neither allocates nor locks, so any
 * number of threads may ask one snapshot at once. */
#ifndef OSH_POLICY_POLICY_H
#define OSH_POLICY_POLICY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "openshell/limits.h"

/* ---- 1. Text to document ------------------------------------------------ */

enum osh_diag_level { OSH_DIAG_ERROR, OSH_DIAG_WARNING, OSH_DIAG_LEVEL_COUNT };

/* One finding about a policy text. Lines and columns count from 1. */
struct osh_diag {
	enum osh_diag_level level;
	uint32_t line, column;
	char message[640]; /* names the offending value and what is allowed */
};

/* Filled in order of the file; what does not fit is only counted. Errors beyond
 * OSH_POLICY_ERRORS_MAX likewise. Start it zeroed. */
struct osh_diags {
	struct osh_diag items[2 * OSH_POLICY_ERRORS_MAX];
	size_t count;    /* valid items */
	size_t errors;   /* errors found, also those not kept */
	size_t warnings;
};

/* Write "FILE:LINE:COLUMN: message" (warnings: "FILE:LINE:COLUMN: warning: ...").
 * Untrusted bytes are escaped. Returns the length, cut at size - 1. */
size_t osh_diag_format(const struct osh_diag *diag, const char *file, char *buf, size_t size);

enum osh_landlock_mode { OSH_LANDLOCK_BEST_EFFORT, OSH_LANDLOCK_HARD_REQUIREMENT };

/* What is applied once, when a sandbox is created. */
struct osh_policy_static {
	bool has_filesystem;
	bool include_workdir;
	char **read_only;     /* absolute paths, normalised */
	size_t read_only_count;
	char **read_write;
	size_t read_write_count;
	/* What the entries' `unix_sockets` name, each path once: absolute, normalised. */
	char **unix_sockets;
	size_t unix_socket_count;
	enum osh_landlock_mode landlock;
	/* run_as_user / run_as_group: 0 means the sandbox's own id ("sandbox"). */
	uint32_t uid, gid;
};

struct osh_policy_doc;

/* Parse and validate a whole policy file (policy-semantics: schema, strictness,
 * overlap checks). Warnings may come with success. On failure *ret_doc is
 * untouched and diags holds at least one error. Returns 0, -EINVAL or -ENOMEM.
 * Input over OSH_POLICY_BYTES_MAX, nested over OSH_POLICY_DEPTH_MAX, not UTF-8,
 * with aliases, tags, several documents or duplicate keys is refused. */
int osh_policy_parse(struct osh_str text, struct osh_diags *diags, struct osh_policy_doc **ret_doc);
void osh_policy_doc_free(struct osh_policy_doc *doc);

/* Borrowed; lives as long as the document. Absent sections give the restrictive
 * defaults of the reference. */
const struct osh_policy_static *osh_policy_doc_static(const struct osh_policy_doc *doc);

/* May a sandbox of this policy write below /usr, /etc or another directory of the system? */
bool osh_policy_writes_system(const struct osh_policy_static *policy);

/* Paths and globs of the binaries that the policy's entries name, each with its line. */
void osh_policy_doc_binaries(const struct osh_policy_doc *doc,
			     void (*each)(void *context, const char *path, uint32_t line), void *context);

/* ---- 2. Document to snapshot -------------------------------------------- */

struct osh_policy_compile_options {
	uint32_t revision;
	/* Where a literal binary path of the policy leads, when it is a symbolic
	 * link in the sandbox's own root: the target becomes one more accepted
	 * path. Writes it to buf and returns 0; 1: the sandbox may lead the link
	 * elsewhere, so the target counts in place of the path; or negative: no
	 * link, not found. NULL: paths are taken as written (offline evaluation). */
	int (*resolve_binary)(void *context, const char *path, char *buf, size_t size);
	void *context;
};

/* Compile into malloc'ed memory that the caller frees. Returns 0 or -ENOMEM,
 * -E2BIG. */
int osh_policy_compile(const struct osh_policy_doc *doc,
		       const struct osh_policy_compile_options *options, void **ret_image,
		       size_t *ret_len);

/* ---- 3. Questions -------------------------------------------------------- */

/* A view of an image; copyable, owns nothing. */
struct osh_policy {
	const unsigned char *image;
	size_t len;
};

/* Check magic, version and length, then borrow the image (8-byte aligned).
 * Returns 0 or -EBADMSG. */
int osh_policy_open(const void *image, size_t len, struct osh_policy *ret_policy);
uint32_t osh_policy_revision(const struct osh_policy *policy);

/* mode: permissive. Denials by policy come back as OSH_EFFECT_AUDIT (also from
 * osh_policy_connect); malformed requests and the address guard still deny. */
bool osh_policy_is_permissive(const struct osh_policy *policy);

/* Is an executable the file that it was at its first use under this policy? */
enum osh_trust {
	OSH_TRUST_UNASKED = 0,
	OSH_TRUST_SAME,    /* yes, or this is its first use */
	OSH_TRUST_CHANGED, /* other bytes: denied until the policy is set again */
	OSH_TRUST_UNTOLD,  /* the file that was executed is not at its path any more, or cannot be read */
};

/* Was it started, and does it run, without code from elsewhere (binaries' `clean: true`)? */
enum osh_cleanness {
	OSH_CLEAN_UNASKED = 0,
	OSH_CLEAN_YES,
	OSH_CLEAN_NO,
};

/* What is known of one executable beyond its path. */
struct osh_exe_facts {
	enum osh_trust trust;
	enum osh_cleanness clean;
	unsigned char digest[32]; /* SHA-256; with OSH_TRUST_SAME */
};

/* What has to be found out before a question can be answered. */
struct osh_wanted {
	uint32_t subject; /* 0: nothing; 1: about the binary; 1 + n: about its nth ancestor */
	bool clean;       /* `clean` of its facts; else `trust` */
};

/* Who asks. Ancestors nearest first. `facts` is NULL (paths alone count, and what the policy
 * pins by sha256 or clean matches nobody) or holds 1 + ancestor_count items, the binary's
 * first. A fact that is needed and UNASKED makes the decision DENY with `wanted` set: find it
 * out and ask again. */
struct osh_subject {
	struct osh_str binary;
	const struct osh_str *ancestors;
	size_t ancestor_count;
	const struct osh_exe_facts *facts;
};

enum osh_effect { OSH_EFFECT_DENY = 0, OSH_EFFECT_ALLOW, OSH_EFFECT_AUDIT };

/* Where a refusal was decided; the words of the case files. */
enum osh_stage {
	OSH_STAGE_NONE, /* allowed */
	OSH_STAGE_CONNECT,
	OSH_STAGE_AUTHORITY,
	OSH_STAGE_PARSE,
	OSH_STAGE_ROUTE,
	OSH_STAGE_MESSAGE,
	OSH_STAGE_RULES,
	OSH_STAGE_COUNT,
};
const char *osh_stage_name(enum osh_stage stage);

enum osh_l7 {
	OSH_L7_NONE, /* L4 only: relay bytes */
	OSH_L7_REST,
	OSH_L7_WEBSOCKET,
	OSH_L7_GRAPHQL,
	OSH_L7_JSON_RPC,
	OSH_L7_MCP,
	OSH_L7_COUNT,
};
const char *osh_l7_name(enum osh_l7 l7); /* "l4", "rest", ... */

enum osh_tls_mode { OSH_TLS_AUTO, OSH_TLS_SKIP };

/* Policies (bit set in the image's order) that match host, port and subject:
 * computed once per connection, reused for each of its requests. Opaque. */
#define OSH_POLICY_ENTRIES_MAX 16384

struct osh_connect_query {
	struct osh_subject subject;
	struct osh_str host;  /* lower case, no trailing dot; or an IP literal */
	uint16_t port_host;
	bool host_net;        /* loopback is the host's: it may be named as localhost, and by no other name */
};

/* Our `limits`, of the whole policy or of one of its entries; 0: no limit. */
struct osh_policy_limits {
	uint32_t flows, flows_per_second, bytes_per_second;
};

/* Strings point into the image, or into the decision itself. */
#define OSH_DECISION_MESSAGE_MAX 256 /* cut when longer, NUL included */

struct osh_decision {
	enum osh_effect effect;
	struct osh_wanted wanted;  /* not decided yet; effect is DENY */
	enum osh_stage stage;
	enum osh_l7 l7;            /* parser that the traffic needs */
	enum osh_tls_mode tls;
	struct osh_str policy;     /* matched entry's key, empty when none */
	uint32_t rule_line;        /* line of the deciding rule or endpoint, 0 none */
	uint32_t nearest_line;     /* denied: line of the rule that came closest, 0 none */
	struct osh_str nearest;    /* that rule's path as written, if it has one */
	bool allow_encoded_slash;  /* of the selected endpoint */
	uint32_t body_limit;       /* bytes of body to inspect; 0: none (osh_message) */
	bool rewrite_body;         /* request_body_credential_rewrite */
	bool rewrite_text;         /* websocket_credential_rewrite */
	bool uninspected_credentials; /* allow_uninspected_credentials */
	bool signing;              /* credential_signing: the server expects a signature */
	bool opaque;               /* tls: skip or protocol: tcp: bytes that nobody may open */
	bool middleware_required;  /* denied for a fail-closed middleware that is not run */
	struct osh_str credential_provider; /* credential_binding.provider, empty when none */
	uint32_t entry;            /* number of the matched policy in this image: key for counters */
	bool text_inspected;       /* WebSocket: every client text has to be asked about */
	char message[OSH_DECISION_MESSAGE_MAX]; /* what a body or text asks for, for people: "query Viewer{viewer}" */
	char reason[512];          /* empty when allowed */
};

/* The texts only as far as they go. */
void osh_decision_copy(struct osh_decision *to, const struct osh_decision *from);

/* The connect-time question. effect is ALLOW or DENY; with mode: permissive AUDIT instead of
 * DENY, then with OSH_L7_NONE: nothing names the host, so nothing is inspected. */
void osh_policy_connect(const struct osh_policy *policy, const struct osh_connect_query *query,
			struct osh_decision *ret_decision);

/* Could any subject reach this host on any port? Calls `each` once per port
 * that some endpoint grants for this host (used to fill the kernel's reachable
 * map); hostless endpoints are reported by osh_policy_hostless_ports. */
void osh_policy_ports(const struct osh_policy *policy, struct osh_str host,
		      void (*each)(void *context, uint16_t port_host), void *context);
void osh_policy_hostless_ports(const struct osh_policy *policy,
			       void (*each)(void *context, uint16_t port_host), void *context);
/* Endpoints whose host is an IP literal: the client may dial it directly. */
void osh_policy_literal_hosts(const struct osh_policy *policy,
			      void (*each)(void *context, struct osh_str host, uint16_t port_host),
			      void *context);

/* What a request says beyond its head. Where the parser of the matching endpoint reads
 * bodies, asking without a message is answered by DENY at stage "message" with body_limit
 * set: read up to that many bytes, then ask again with a message.
 *
 * WebSocket: ask once without a message for the handshake, then for each text message of
 * the client with is_text set. */
struct osh_message {
	struct osh_str body;             /* whole, decoded; or the text message */
	bool is_text;
	bool too_large;                  /* more than body_limit bytes came */
	struct osh_str content_type;     /* header values, empty when absent */
	struct osh_str content_encoding; /* empty once the proxy has inflated the body */
	struct osh_str accept;
};

struct osh_request_query {
	struct osh_connect_query connect;
	struct osh_str method;
	struct osh_str path;    /* canonical (osh_path_canonicalise), no query */
	struct osh_str query;   /* raw, without '?' */
	bool websocket_upgrade; /* the request carries a valid RFC 6455 handshake */
	const struct osh_message *message; /* NULL: only the head is known */
};

/* The request-time question, whole: includes the connect-time one, so that a
 * kept connection is judged by the policy of the moment. */
void osh_policy_request(const struct osh_policy *policy, const struct osh_request_query *query,
			struct osh_decision *ret_decision);

/* The limits of the sandbox as a whole. */
const struct osh_policy_limits *osh_policy_limits(const struct osh_policy *policy);
/* Those of entry number `entry` (osh_decision.entry), and its key; entries are numbered by
 * their keys in byte order. NULL when there is no such entry. */
const struct osh_policy_limits *osh_policy_entry_limits(const struct osh_policy *policy, uint32_t entry,
							struct osh_str *ret_key);

/* ---- 4. Destination addresses (SSRF guard) ------------------------------- */

enum osh_address_verdict {
	OSH_ADDRESS_DENY_INTERNAL = 0, /* "internal address" */
	OSH_ADDRESS_DENY_ALLOWED_IPS,  /* "allowed_ips check failed" */
	OSH_ADDRESS_DENY_GATEWAY,      /* "trusted-gateway check failed" */
	OSH_ADDRESS_DENY_PORT,         /* control-plane port outside public-only mode */
	OSH_ADDRESS_ALLOW,
};

/* May this resolved address be dialled for a connection that `connect` allowed?
 * `addr` is IPv4-mapped for IPv4. Every address of an answer has to pass. That of a gateway
 * (osh_host_is_gateway) comes from /etc/hosts: the caller sees to it. */
enum osh_address_verdict osh_policy_address(const struct osh_policy *policy,
					    const struct osh_connect_query *query,
					    const struct in6_addr *addr);
const char *osh_address_verdict_detail(enum osh_address_verdict verdict);

#endif
