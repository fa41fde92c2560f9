/* The compiled policy: one block of bytes, every reference an offset from its start, so
 * that it can be mapped anywhere and asked in place. Private to agent/policy.
 *
 * Trust: the agent makes an image and seals it; the header is checked, offsets are not. */
#ifndef OSH_POLICY_IMAGE_H
#define OSH_POLICY_IMAGE_H

#include <netinet/in.h>
#include <stdint.h>

#include "policy/policy.h"

#define OSH_IMAGE_MAGIC 0x79636c6f7068736fULL /* "oshpolcy" */
#define OSH_IMAGE_VERSION 1
#define OSH_IMAGE_BYTES_MAX (256u << 20)

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
	struct osh_image_list entries;     /* osh_image_entry, by key */
	struct osh_image_list endpoints;   /* osh_image_endpoint, by entry */
	struct osh_image_list nodes;       /* osh_image_node; 0 is the root */
	struct osh_image_list slots;       /* osh_image_slot; a power of two */
	struct osh_image_list hostless;    /* u32 endpoint numbers */
	struct osh_image_list middlewares; /* osh_image_middleware, fail-closed ones */
};

/* The label trie: hosts read from the right. Literal children of all nodes share one
 * open-addressing table, so a step costs the same however many siblings there are. */
struct osh_image_node {
	struct osh_image_list exact; /* u32 endpoints whose host ends here */
	struct osh_image_list deep;  /* u32 endpoints whose `**` begins here: one label or more */
	struct osh_image_list globs; /* osh_image_glob_child */
	uint32_t star;               /* child for any one label, 0 none */
	uint32_t pad;
};

struct osh_image_slot {
	uint32_t child; /* 0: free */
	uint32_t parent;
	uint32_t hash;
	struct osh_image_str label;
};

struct osh_image_glob_child {
	uint32_t glob;
	uint32_t child;
};

struct osh_image_binary {
	uint32_t hash;
	uint32_t glob; /* 0: compare bytes */
	struct osh_image_str path;
	uint32_t line;
	uint8_t has_digest;
	uint8_t clean;
	uint8_t pad[2];
	unsigned char digest[32];
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
	OSH_IMAGE_HOST_ADDRESS = 1 << 4, /* the host is an address literal */
	OSH_IMAGE_GRAPHQL_TEXT = 1 << 5, /* websocket with GraphQL rules or registry */
	OSH_IMAGE_REGISTERED = 1 << 6,   /* persisted_queries: allow_registered */
	OSH_IMAGE_LOOSE_TOOLS = 1 << 7,  /* mcp.strict_tool_names: false */
	OSH_IMAGE_MCP_PROFILE = 1 << 8,
	OSH_IMAGE_HAS_IPS = 1 << 9,
	OSH_IMAGE_REWRITE_BODY = 1 << 10,
	OSH_IMAGE_REWRITE_TEXT = 1 << 11,
	OSH_IMAGE_UNINSPECTED_CREDENTIALS = 1 << 12,
	OSH_IMAGE_TCP = 1 << 13,         /* protocol: tcp: bytes, never to be opened */
	OSH_IMAGE_SIGNED = 1 << 14,      /* credential_signing */
};

struct osh_image_cidr {
	struct in6_addr addr;
	uint32_t bits;
};

struct osh_image_endpoint {
	uint32_t entry;
	uint32_t line;
	uint32_t flags;
	uint32_t l7;
	struct osh_image_str host;
	struct osh_image_list ports; /* u16 */
	uint32_t path_strict;        /* glob, 0: any path */
	uint32_t path_loose;         /* glob by which the route is chosen, 0: any path */
	uint32_t specificity;
	uint32_t body_limit;
	struct osh_image_list allows, denies; /* osh_image_rule */
	struct osh_image_list ips;            /* osh_image_cidr */
	struct osh_image_str provider;        /* credential_binding */
	struct osh_image_list registry;       /* osh_image_registered */
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
	uint32_t kind;
	uint32_t flags;
	uint32_t line;
	struct osh_image_str method;     /* HTTP: upper case; RPC: as written */
	uint32_t method_glob;            /* RPC, 0: compare bytes */
	uint32_t path;                   /* HTTP glob */
	struct osh_image_str path_text;  /* as written, for explanations */
	struct osh_image_list query;     /* osh_image_matcher */
	uint32_t operation;              /* GraphQL: enum osh_operation_type */
	struct osh_image_list names;     /* u32 globs: operation_name */
	struct osh_image_list fields;    /* u32 globs */
	struct osh_image_list tools;     /* u32 globs, or texts when tool names are loose */
	struct osh_image_list arguments; /* osh_image_matcher */
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

uint32_t osh_image_hash(struct osh_str s);

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

#endif
