#include "policy/graphql.h"

enum osh_operation_type osh_operation_type_parse(struct osh_str word)
{
	if (osh_str_eq_c(word, "query"))
		return OSH_OPERATION_QUERY;
	if (osh_str_eq_c(word, "mutation"))
		return OSH_OPERATION_MUTATION;
	if (osh_str_eq_c(word, "subscription"))
		return OSH_OPERATION_SUBSCRIPTION;
	return OSH_OPERATION_NONE;
}
