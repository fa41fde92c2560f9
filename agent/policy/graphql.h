/* GraphQL documents, as far as a verdict needs them: which operation a request selects
 * and what root fields it asks for. Pure, without allocation, in one pass per fragment. */
#ifndef OSH_POLICY_GRAPHQL_H
#define OSH_POLICY_GRAPHQL_H

#include <stdbool.h>
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
#define OSH_GRAPHQL_NAME_MAX 256

/* One selected operation. `each` is called for every root field: aliases resolved,
 * fragments and inline fragments expanded, __typename counted, the same name maybe more
 * than once. */
struct osh_graphql_visitor {
	void *context;
	/* The operation that runs, before its fields; name empty when anonymous. */
	void (*on_operation)(void *context, enum osh_operation_type type, struct osh_str name);
	void (*on_field)(void *context, struct osh_str name);
};

/* `document` is the text; with `escaped` set it is the inside of a JSON string, read
 * through its escapes. `operation_name` is empty when the request gives none. Returns
 * NULL, or why the request has to be refused. */
const char *osh_graphql_visit(struct osh_str document, bool escaped, struct osh_str operation_name,
			      const struct osh_graphql_visitor *visitor);

#endif
