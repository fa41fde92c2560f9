#include "base/json.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* jansson tells of no text why it did not take it. */
static _Thread_local bool ran_out;

static void *allocate(size_t size)
{
	void *p = malloc(size);

	ran_out |= !p;
	return p;
}

int osh_json_parse(const char *text, size_t len, json_t **ret_json)
{
	json_t *json;

	json_set_alloc_funcs(allocate, free);
	ran_out = false;
	json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json)
		return ran_out ? -ENOMEM : -EBADMSG;
	*ret_json = json;
	return 0;
}
