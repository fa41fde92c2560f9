/* JSON bodies: what passes the check is read without leaving it. */
#include <stdlib.h>

#include "policy/json.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void visit(struct osh_str value, unsigned depth)
{
	struct osh_str rest = value, key, child;
	char buf[64];

	if (depth > OSH_JSON_DEPTH_MAX)
		abort();
	switch (osh_json_type(value)) {
	case OSH_JSON_OBJECT:
		while (osh_json_next_member(&rest, &key, &child)) {
			(void)osh_json_raw_eq(key, osh_str("query"));
			visit(child, depth + 1);
		}
		(void)osh_json_get(value, osh_str("method"), &child);
		break;
	case OSH_JSON_ARRAY:
		while (osh_json_next_item(&rest, &child))
			visit(child, depth + 1);
		break;
	case OSH_JSON_STRING:
		(void)osh_json_decode(osh_json_raw(value), buf, sizeof(buf), &child);
		break;
	case OSH_JSON_NONE:
		abort();
	case OSH_JSON_NULL:
	case OSH_JSON_BOOL:
	case OSH_JSON_NUMBER:
		break;
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct osh_str text = osh_str_n((const char *)data, size);

	if (osh_json_check(text))
		return 0;
	visit(osh_json_root(text), 0);
	return 0;
}
