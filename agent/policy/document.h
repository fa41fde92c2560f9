/* A policy as it was written: every value with its place in the file. Private to
 * agent/policy. */
#ifndef OSH_POLICY_DOCUMENT_H
#define OSH_POLICY_DOCUMENT_H

#include "policy/arena.h"
#include "policy/diag.h"

struct osh_text {
	bool set;
	struct osh_mark mark;
	struct osh_str text; /* NUL terminated */
};

struct osh_flag {
	bool set, value;
	struct osh_mark mark;
};

struct osh_number {
	bool set;
	struct osh_mark mark;
	uint64_t value;
};

struct osh_texts {
	bool set;
	struct osh_mark mark;
	struct osh_text *items;
	size_t count;
};

/* A value that must match one of some globs; with a key when it stands in a map. */
struct osh_matcher {
	struct osh_text key;
	struct osh_texts any;
};

struct osh_matchers {
	bool set;
	struct osh_mark mark;
	struct osh_matcher *items;
	size_t count;
};

/* One allow or deny rule: which fields are set depends on the endpoint's protocol. */
struct osh_rule {
	struct osh_mark mark;
	struct osh_text method, path;
	struct osh_matchers query;
	struct osh_text operation_type, operation_name;
	struct osh_texts fields;
	struct osh_matcher tool;
	struct osh_matchers arguments;
};

struct osh_rules {
	bool set;
	struct osh_mark mark;
	struct osh_rule *items;
	size_t count;
};

struct osh_registry_entry {
	struct osh_text key;
	struct osh_text operation_type, operation_name;
	struct osh_texts fields;
};

struct osh_registry {
	bool set;
	struct osh_mark mark;
	struct osh_registry_entry *items;
	size_t count;
};

struct osh_mcp_options {
	bool set;
	struct osh_mark mark;
	struct osh_number max_body_bytes;
	struct osh_flag strict_tool_names, allow_all_known_mcp_methods;
};

struct osh_json_rpc_options {
	bool set;
	struct osh_mark mark;
	struct osh_number max_body_bytes;
};

struct osh_binding {
	bool set;
	struct osh_mark mark;
	struct osh_text provider;
};

struct osh_cidr {
	struct in6_addr addr;
	unsigned bits; /* of 128 */
};

#define OSH_BODY_LIMIT_DEFAULT 65536

struct osh_endpoint {
	struct osh_mark mark;
	bool broken; /* holds a value of a wrong type, already reported */
	struct osh_text host, path, protocol, access, enforcement, tls;
	struct osh_number port;
	struct osh_texts ports;
	struct osh_texts allowed_ips;
	struct osh_rules rules, deny_rules;
	struct osh_flag allow_encoded_slash, websocket_credential_rewrite;
	struct osh_flag request_body_credential_rewrite, allow_uninspected_credentials;
	struct osh_text credential_signing, signing_service, signing_region;
	struct osh_binding credential_binding;
	struct osh_text persisted_queries;
	struct osh_registry registry;
	struct osh_number graphql_max_body_bytes;
	struct osh_mcp_options mcp;
	struct osh_json_rpc_options json_rpc;

	/* Worked out from the above. */
	bool hostless;
	struct osh_str host_text; /* lower case; literals in canonical form */
	bool host_is_glob, host_is_address;
	struct in6_addr host_addr;
	uint16_t *port_list;
	size_t port_count;
	struct osh_cidr *cidrs;
	size_t cidr_count;
	enum osh_l7 l7;
	bool is_tcp, tls_skip, enforce;
	uint32_t body_limit;
};

struct osh_binary {
	struct osh_mark mark;
	struct osh_text path;
	struct osh_text sha256;
	struct osh_flag harness, clean;
};

struct osh_limits {
	bool set;
	struct osh_mark mark;
	struct osh_number flows, flows_per_second, bytes_per_second;
};

struct osh_entry {
	struct osh_text key;
	struct osh_text name;
	bool has_endpoints, has_binaries;
	struct osh_endpoint *endpoints;
	size_t endpoint_count;
	struct osh_binary *binaries;
	size_t binary_count;
	struct osh_limits limits;
	struct osh_texts unix_sockets;
};

struct osh_middleware {
	struct osh_text key;
	struct osh_text name, middleware, on_error;
	struct osh_number order;
	bool has_selector;
	struct osh_texts include, exclude;
	bool fail_open;
};

struct osh_policy_doc {
	struct osh_arena arena;
	struct osh_policy_static statics;
	struct osh_number version;
	struct osh_text mode;
	bool permissive;
	struct {
		bool set;
		struct osh_flag include_workdir;
		struct osh_texts read_only, read_write;
	} filesystem;
	struct osh_text landlock, run_as_user, run_as_group;
	struct osh_limits limits;  /* of the sandbox as a whole */
	struct osh_entry *entries; /* in order of the file */
	size_t entry_count;
	struct osh_middleware *middlewares;
	size_t middleware_count;
};

/* Tree to document: shapes and types (parse.c). Errors are in diags; returns 0, -EINVAL
 * when nothing further can be checked, -ENOMEM. */
struct osh_yaml_node;
int osh_policy_read(const struct osh_yaml_node *root, struct osh_policy_doc *doc,
		    struct osh_diags *diags);
/* Meaning of network_policies; fills what is worked out (check_entry.c, check.c,
 * check_host.c). 0 or -ENOMEM. */
int osh_check_host(struct osh_policy_doc *doc, struct osh_endpoint *endpoint,
		   struct osh_diags *diags);
int osh_check_endpoint(struct osh_policy_doc *doc, struct osh_endpoint *endpoint,
		       struct osh_diags *diags);
int osh_check_entries(struct osh_policy_doc *doc, struct osh_diags *diags);
/* Rules of one endpoint (check_rules.c). */
void osh_check_rules(const struct osh_endpoint *endpoint, struct osh_diags *diags);
/* Static sections (check_static.c). Returns 0 or -ENOMEM. */
int osh_check_static(struct osh_policy_doc *doc, struct osh_diags *diags);
/* Endpoints that meet must not contradict each other (overlap.c). 0 or -ENOMEM. */
int osh_check_overlaps(const struct osh_policy_doc *doc, struct osh_diags *diags);
/* Middleware selectors (check_middleware.c). 0 or -ENOMEM. */
int osh_check_middlewares(struct osh_policy_doc *doc, struct osh_diags *diags);

/* What an access preset stands for: methods (GraphQL: operation types), each on every path,
 * NULL-terminated; NULL when the protocol has no such preset (compile_rules.c). */
const char *const *osh_preset_words(enum osh_l7 l7, struct osh_str access);

/* Could one text match both globs? Errs towards yes; sees `*` and `?` only. */
bool osh_globs_overlap(struct osh_str a, struct osh_str b);
/* Could one host match both patterns (lower case)? */
bool osh_hosts_overlap(struct osh_str a, struct osh_str b);
/* What makes an endpoint path win over another: its bytes that are not `*`. */
size_t osh_path_specificity(struct osh_str path);

/* `text` is an address or a prefix ("10.0.0.0/8"). Returns 0 or -EINVAL. */
int osh_cidr_parse(struct osh_str text, struct osh_cidr *ret_cidr);
bool osh_cidr_holds(const struct osh_cidr *cidr, const struct in6_addr *addr);

#endif
