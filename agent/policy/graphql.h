/* GraphQL documents, as far as a verdict needs them: which operation a request selects
 * and which root fields it asks for. The whole document must be well formed (executable
 * definitions of the October 2021 edition). Pure, no allocation, linear time. */
#ifndef OSH_POLICY_GRAPHQL_H
#define OSH_POLICY_GRAPHQL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum osh_operation_type {
	OSH_OPERATION_NONE = 0,
	OSH_OPERATION_QUERY,
	OSH_OPERATION_MUTATION,
	OSH_OPERATION_SUBSCRIPTION,
	OSH_OPERATION_COUNT,
};
/* OSH_OPERATION_NONE for another word. */
enum osh_operation_type osh_operation_type_parse(struct osh_str word);

#define OSH_GRAPHQL_TOKENS_MAX 20000
#define OSH_GRAPHQL_DEPTH_MAX 128
#define OSH_GRAPHQL_FRAGMENTS_MAX 256
#define OSH_GRAPHQL_FIELDS_MAX 512

/* The operation that runs: aliases resolved, fragments and inline fragments expanded,
 * __typename counted, a field maybe more than once. Names point into the document. */
struct osh_graphql_operation {
	enum osh_operation_type type;
	struct osh_str name; /* empty: anonymous */
	size_t field_count;
	struct osh_str fields[OSH_GRAPHQL_FIELDS_MAX];
};

/* With `escaped` set, `document` is the inside of a checked JSON string and is read
 * through its escapes. `operation_name` is empty when the request gives none. Returns
 * NULL, or why the request has to be refused. */
const char *osh_graphql_read(struct osh_str document, bool escaped, struct osh_str operation_name,
			     struct osh_graphql_operation *ret);

#endif
