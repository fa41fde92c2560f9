/* JSON from untrusted bodies, read in place: no tree, no allocation, bounded depth.
 *
 * A library that builds a tree would allocate on the data path and would keep one of two
 * equal keys; a server that keeps the other one would see another request than we judged.
 * Here every look-up of a key notices a second one. */
#ifndef OSH_POLICY_JSON_H
#define OSH_POLICY_JSON_H

#include <stdbool.h>

#include "base/str.h"

#define OSH_JSON_DEPTH_MAX 64

/* RFC 8259, strictly: one value, UTF-8, no control byte in strings, nothing behind it.
 * Returns NULL, or why the text is refused. Everything below takes text (or values in it)
 * that passed. */
const char *osh_json_check(struct osh_str text);

/* The value itself, without the blanks around it. */
struct osh_str osh_json_root(struct osh_str text);

enum osh_json_type {
	OSH_JSON_NONE, /* no value: absent */
	OSH_JSON_NULL,
	OSH_JSON_BOOL,
	OSH_JSON_NUMBER,
	OSH_JSON_STRING,
	OSH_JSON_ARRAY,
	OSH_JSON_OBJECT,
};
enum osh_json_type osh_json_type(struct osh_str value);

/* Step through the members of an object or the items of an array. Start with *rest as
 * the value; false at the end. Keys are raw: the inside of the quotes. */
bool osh_json_next_member(struct osh_str *rest, struct osh_str *ret_key, struct osh_str *ret_value);
bool osh_json_next_item(struct osh_str *rest, struct osh_str *ret_value);

/* The value of a key; empty when absent. False when the key is there twice, or with its
 * letters in another case, which some servers take for the key itself (Go's encoding/json). */
bool osh_json_get(struct osh_str object, struct osh_str key, struct osh_str *ret_value);

/* The inside of a string value, still escaped. */
struct osh_str osh_json_raw(struct osh_str value);
/* Resolve escapes. Returns false when it does not fit, or holds a NUL or a lone surrogate. */
bool osh_json_decode(struct osh_str raw, char *buf, size_t size, struct osh_str *ret_text);
bool osh_json_raw_eq(struct osh_str raw, struct osh_str text);

#endif
