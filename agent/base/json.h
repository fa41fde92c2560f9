/* Reading JSON, so that a want of memory is not taken for a text that is damaged. */
#ifndef OSH_BASE_JSON_H
#define OSH_BASE_JSON_H

#include <jansson.h>
#include <stddef.h>

/* Parse a whole text; no key may come twice. Returns 0, -EBADMSG (it is no JSON) or -ENOMEM. The
 * caller owns *ret_json. From the first call on jansson's allocations are counted, for all threads. */
int osh_json_parse(const char *text, size_t len, json_t **ret_json);

#endif
