/* Reading JSON, so that a want of memory is not taken for a text that is damaged. */
#ifndef OSH_BASE_JSON_H
#define OSH_BASE_JSON_H

#include <jansson.h>
#include <stddef.h>

/* Parse a whole text; no key may come twice. Returns 0 or -EBADMSG (it is no JSON); the caller owns
 * *ret_json. Without memory it ends the process, with a word: jansson's lexer (2.14) loses the byte that
 * it has no room for, a closing quote too, and reads on behind its buffer. From the first call on it is our
 * allocator that jansson has, in all threads. */
int osh_json_parse(const char *text, size_t len, json_t **ret_json);
/* json_unpack(3), which allocates, too. Returns 0, -EBADMSG (it is not of that form) or -ENOMEM. */
int osh_json_unpack(json_t *json, const char *format, ...);

#endif
