/* GraphQL documents: names that are reported lie in the document and are names. */
#include <stdlib.h>

#include "policy/graphql.h"
#include "policy/json.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check_name(struct osh_str name, struct osh_str document)
{
	if (name.len == 0 || name.data < document.data ||
	    name.data + name.len > document.data + document.len)
		abort();
	for (size_t i = 0; i < name.len; i++) {
		if (!osh_ascii_is_alpha(name.data[i]) && !osh_ascii_is_digit(name.data[i]) &&
		    name.data[i] != '_')
			abort();
	}
}

static void check(struct osh_str document, bool escaped)
{
	static struct osh_graphql_operation op;

	if (osh_graphql_read(document, escaped, osh_str(""), &op))
		return;
	if (op.type == OSH_OPERATION_NONE)
		abort();
	for (size_t i = 0; i < op.field_count; i++)
		check_name(op.fields[i], document);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct osh_str text = osh_str_n((const char *)data, size);

	check(text, false);
	/* Read through escapes only what is a checked JSON string. */
	if (size >= 2 && data[0] == '"' && !osh_json_check(text) &&
	    osh_json_type(text) == OSH_JSON_STRING && data[size - 1] == '"')
		check(osh_json_raw(text), true);
	return 0;
}
