/* The compiled policy: one block of bytes, every reference an offset from its start, so
 * that it can be mapped anywhere and asked in place. Private to agent/policy.
 *
 * A decision costs the cache lines that it touches. What endpoints have in common (texts,
 * globs, lists, binaries) is stored once; what one endpoint needs lies together.
 *
 * Trust: the agent makes an image and seals it; the header is checked, offsets are not. */
#ifndef OSH_POLICY_IMAGE_H
#define OSH_POLICY_IMAGE_H

#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

#include "policy/policy.h"

#define OSH_IMAGE_MAGIC 0x79636c6f7068736fULL /* "oshpolcy" */
#define OSH_IMAGE_VERSION 3
#define OSH_IMAGE_BYTES_MAX (256u << 20)
#define OSH_IMAGE_LINE 64 /* bytes of a cache line */

struct osh_image_list {
	uint32_t offset;
	uint32_t count;
};

/* Bytes; offset 0 with length 0 is absent. */
struct osh_image_str {
	uint32_t offset;
	uint32_t len;
};

struct osh_image_header {
	uint64_t magic;
	uint32_t version;
	uint32_t len;
	uint32_t revision;
	uint32_t permissive;
	struct osh_policy_limits limits;   /* of the sandbox as a whole */
	uint32_t pad;
	struct osh_image_list entries;     /* osh_image_entry, by key */
	struct osh_image_list endpoints;   /* osh_image_endpoint, by entry */
	struct osh_image_list slots;       /* osh_image_slot; a power of two */
	uint64_t pattern_depths;           /* osh_image_depth of each node that a pattern made */
	struct osh_image_list hostless;    /* u32 endpoint numbers */
	struct osh_image_list literals;    /* osh_image_literal */
	struct osh_image_list middlewares; /* osh_image_middleware, fail-closed ones */
};

/* Hosts: a trie of labels, read from the right, whose nodes all stand in one hash table
 * under the hash of their whole way from the root. So a node is one step away, however deep
 * it lies and however many siblings it has, and only nodes at which something ends or
 * branches exist at all. */
struct osh_image_slot {
	uint32_t hash; /* upper half of the way's */
	uint32_t node; /* osh_image_node, 0: free */
	uint32_t endpoint; /* its first, to be fetched along with it */
};

struct osh_image_node {
	struct osh_image_str name;   /* the way as text; a label "*" is any one label */
	struct osh_image_list hosts; /* osh_image_host */
	uint32_t glob;               /* of the name, when it holds a star; else 0 */
	uint32_t branches;           /* other ways go on from here with a star */
};

/* What still has to stand left of a node's labels for the host to be the endpoint's. */
enum {
	OSH_HOST_NOTHING,
	OSH_HOST_ONE_LABEL,
	OSH_HOST_LABELS, /* one or more */
	OSH_HOST_GLOB,   /* and anything greater: offset of a glob that it has to match */
};

struct osh_image_host {
	uint32_t endpoint;
	uint32_t left;
};

/* A host that is an address. */
struct osh_image_literal {
	struct osh_image_str host;
	struct osh_image_list ports; /* u16 */
};

struct osh_image_binary {
	uint32_t hash;
	uint32_t glob; /* 0: compare bytes */
	struct osh_image_str path;
	uint32_t digest; /* 32 bytes of SHA-256, 0: any */
	uint32_t clean;
};

struct osh_image_entry {
	struct osh_image_str key;
	uint32_t line;
	struct osh_policy_limits limits;
	struct osh_image_list exact; /* osh_image_binary by hash */
	struct osh_image_list globs; /* osh_image_binary */
};

enum {
	OSH_IMAGE_TLS_SKIP = 1 << 0,
	OSH_IMAGE_ENFORCE = 1 << 1,
	OSH_IMAGE_ENCODED_SLASH = 1 << 2,
	OSH_IMAGE_HOST_EXACT = 1 << 3,   /* written out: internal addresses may be meant */
	OSH_IMAGE_GRAPHQL_TEXT = 1 << 4, /* websocket with GraphQL rules or registry */
	OSH_IMAGE_REGISTERED = 1 << 5,   /* persisted_queries: allow_registered */
	OSH_IMAGE_LOOSE_TOOLS = 1 << 6,  /* mcp.strict_tool_names: false */
	OSH_IMAGE_MCP_PROFILE = 1 << 7,
	OSH_IMAGE_HAS_IPS = 1 << 8,
	OSH_IMAGE_REWRITE_BODY = 1 << 9,
	OSH_IMAGE_REWRITE_TEXT = 1 << 10,
	OSH_IMAGE_UNINSPECTED_CREDENTIALS = 1 << 11,
	OSH_IMAGE_TCP = 1 << 12,         /* protocol: tcp: bytes, never to be opened */
	OSH_IMAGE_SIGNED = 1 << 13,      /* credential_signing */
};

struct osh_image_cidr {
	struct in6_addr addr;
	uint32_t bits;
};

/* One cache line, but for lists. */
struct osh_image_endpoint {
	uint32_t entry;
	uint32_t line;
	uint16_t flags;
	uint16_t l7;
	uint32_t specificity;
	struct osh_image_list ports; /* u16 */
	uint32_t path_strict;        /* glob, 0: any path */
	uint32_t path_loose;         /* glob by which the route is chosen, 0: any path */
	uint32_t body_limit;
	struct osh_image_list allows, denies; /* osh_image_rule */
	uint32_t extras;                      /* osh_image_extras, 0: none */
	uint32_t pad[2];
};
_Static_assert(sizeof(struct osh_image_endpoint) == OSH_IMAGE_LINE, "an endpoint is one line");

/* What few endpoints have. */
struct osh_image_extras {
	struct osh_image_list ips;      /* osh_image_cidr */
	struct osh_image_str provider;  /* credential_binding */
	struct osh_image_list registry; /* osh_image_registered */
};

/* What a rule looks at. */
enum osh_image_rule_kind {
	OSH_RULE_HTTP,
	OSH_RULE_GRAPHQL,
	OSH_RULE_RPC, /* json-rpc and mcp */
};

enum {
	OSH_RULE_NEVER = 1 << 0, /* lacks a part: matches nothing */
	OSH_RULE_ANY_METHOD = 1 << 1,
	OSH_RULE_ANY_TYPE = 1 << 2, /* operation_type: "*" */
	OSH_RULE_HAS_NAME = 1 << 3,
	OSH_RULE_HAS_FIELDS = 1 << 4,
	OSH_RULE_HAS_TOOL = 1 << 5,
};

struct osh_image_rule {
	uint16_t kind;
	uint16_t flags;
	uint32_t line; /* 0: of a preset, the endpoint's own counts */
	union {
		struct {
			struct osh_image_str method;    /* upper case */
			uint32_t path;                  /* glob */
			struct osh_image_str path_text; /* as written, for explanations */
			struct osh_image_list query;    /* osh_image_matcher */
		} http;
		struct {
			uint32_t operation;           /* enum osh_operation_type */
			struct osh_image_list names;  /* u32 globs: operation_name */
			struct osh_image_list fields; /* u32 globs */
		} graphql;
		struct {
			struct osh_image_str method;     /* as written */
			uint32_t method_glob;            /* 0: compare bytes */
			struct osh_image_list tools;     /* u32 globs; loose names: osh_image_str */
			struct osh_image_list arguments; /* osh_image_matcher */
		} rpc;
	};
};

struct osh_image_matcher {
	struct osh_image_str key;
	struct osh_image_list globs; /* u32 */
};

struct osh_image_registered {
	struct osh_image_str key;
	uint32_t operation;
	struct osh_image_str name;
	struct osh_image_list fields; /* osh_image_str */
};

struct osh_image_middleware {
	struct osh_image_str key;
	struct osh_image_list include, exclude; /* u32 globs */
};

/* ---- Hashes: no defence, only spread; what they find is compared in full. ---- */

static inline uint64_t osh_image_mix(uint64_t x)
{
	x *= 0x9e3779b97f4a7c15ULL; /* 2^64 / golden ratio */
	return x ^ x >> 32;
}

static inline uint64_t osh_image_load(const char *bytes, size_t len)
{
	uint64_t word = 0;

	memcpy(&word, bytes, len);
	return word;
}

/* Eight bytes a step; the last step may see some of them again. */
static inline uint64_t osh_image_hash(struct osh_str s)
{
	uint64_t hash = s.len;

	if (s.len >= 8) {
		for (size_t i = 0; i + 8 < s.len; i += 8)
			hash = osh_image_mix(hash ^ osh_image_load(s.data + i, 8));
		return osh_image_mix(hash ^ osh_image_load(s.data + s.len - 8, 8));
	}
	if (s.len >= 4)
		hash ^= osh_image_load(s.data, 4) << 8 ^ osh_image_load(s.data + s.len - 4, 4) << 32;
	else if (s.len)
		hash ^= osh_image_load(s.data, 1) << 8 ^ osh_image_load(s.data + s.len / 2, 1) << 16 ^
			osh_image_load(s.data + s.len - 1, 1) << 24;
	return osh_image_mix(hash);
}

/* The way from the root: start with 0, one step a label from the right. */
static inline uint64_t osh_image_step(uint64_t way, uint64_t label_hash)
{
	return osh_image_mix(way + label_hash + 1);
}

/* The step over any one label: no label's hash takes it. */
static inline uint64_t osh_image_step_star(uint64_t way)
{
	return osh_image_mix(~way);
}

/* The bit of pattern_depths for nodes of so many labels. */
static inline uint64_t osh_image_depth(size_t labels)
{
	return 1ULL << (labels < 63 ? labels : 63);
}

/* ---- Reading ---------------------------------------------------------------- */

static inline const struct osh_image_header *osh_image_header(const struct osh_policy *policy)
{
	return (const struct osh_image_header *)(const void *)policy->image;
}

static inline const void *osh_image_at(const struct osh_policy *policy, uint32_t offset)
{
	return policy->image + offset;
}

static inline struct osh_str osh_image_text(const struct osh_policy *policy, struct osh_image_str s)
{
	return (struct osh_str){ .data = (const char *)policy->image + s.offset, .len = s.len };
}

static inline const struct osh_image_endpoint *osh_image_endpoint(const struct osh_policy *policy,
								  uint32_t i)
{
	const struct osh_image_endpoint *endpoints =
		osh_image_at(policy, osh_image_header(policy)->endpoints.offset);

	return endpoints + i;
}

static inline const struct osh_image_entry *osh_image_entry(const struct osh_policy *policy,
							    uint32_t i)
{
	const struct osh_image_entry *entries =
		osh_image_at(policy, osh_image_header(policy)->entries.offset);

	return entries + i;
}

static inline const struct osh_image_extras *osh_image_extras(const struct osh_policy *policy,
							      const struct osh_image_endpoint *e)
{
	static const struct osh_image_extras none = { 0 };

	return e->extras ? osh_image_at(policy, e->extras) : &none;
}

#endif
