#include "base/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

static _Thread_local bool is_parsing;

static void *allocate(size_t size)
{
	void *p = malloc(size);

	if (!p && is_parsing) {
		osh_error("out of memory while JSON is read: free some, and start again");
		_exit(EXIT_FAILURE);
	}
	return p;
}

int osh_json_parse(const char *text, size_t len, json_t **ret_json)
{
	json_t *json;

	json_set_alloc_funcs(allocate, free);
	is_parsing = true;
	json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	is_parsing = false;
	if (!json)
		return -EBADMSG;
	*ret_json = json;
	return 0;
}

int osh_json_unpack(json_t *json, const char *format, ...)
{
	json_error_t error;
	va_list args;
	int r;

	va_start(args, format);
	r = json_vunpack_ex(json, &error, 0, format, args);
	va_end(args);
	if (r == 0)
		return 0;
	return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EBADMSG;
}
