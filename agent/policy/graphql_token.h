/* The tokens of a GraphQL document. Private to agent/policy. */
#ifndef OSH_POLICY_GRAPHQL_TOKEN_H
#define OSH_POLICY_GRAPHQL_TOKEN_H

#include "policy/graphql.h"

enum osh_graphql_token {
	OSH_TOKEN_END = 0,
	OSH_TOKEN_NAME = 256,
	OSH_TOKEN_NUMBER,
	OSH_TOKEN_STRING,
	OSH_TOKEN_SPREAD, /* ... */
	/* any other: the punctuator's own character */
};

struct osh_graphql_lexer {
	const char *at, *end;
	bool escaped;        /* read through the escapes of a JSON string */
	const char *error;   /* the first one; sticky */
	int token;
	struct osh_str text; /* of a name */
	const char *start;   /* of the token */
	size_t tokens;
	size_t depth;        /* for the grammar's use */
};

/* Read the next token; OSH_TOKEN_END at the end and on error. */
void osh_graphql_advance(struct osh_graphql_lexer *p);
/* Remember the first error. Always false. */
bool osh_graphql_fail(struct osh_graphql_lexer *p, const char *error);

#endif
