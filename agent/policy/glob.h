/* Globs: compiled once into a few bytes, matched in place without allocation, in time
 * at most proportional to pattern times text.
 *
 *   ?  one byte         *  any bytes            neither crosses the delimiter
 *   [a-z] [!a-z]        one byte, never the delimiter
 *   {a,b}               one of several, may nest
 *   \x                  x itself
 *   ** as a whole component: leading zero or more components, between two delimiters
 *   one delimiter or any depth, at the end the delimiter and anything; alone everything.
 *   Glued to other text it means *.
 * Matching is anchored at both ends and sees case. */
#ifndef OSH_POLICY_GLOB_H
#define OSH_POLICY_GLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define OSH_GLOB_PATTERN_MAX 4096
#define OSH_GLOB_ALTERNATIVES_MAX 64 /* after {a,b} is multiplied out */
/* Bytes that hold any compiled pattern of these bounds. */
#define OSH_GLOB_COMPILED_MAX (OSH_GLOB_ALTERNATIVES_MAX * (3 * OSH_GLOB_PATTERN_MAX + 4) + 4)

enum osh_glob_error {
	OSH_GLOB_OK = 0,
	OSH_GLOB_OPEN_CLASS,  /* '[' without ']' */
	OSH_GLOB_OPEN_BRACE,  /* '{' without '}' */
	OSH_GLOB_STRAY_BRACE, /* '}' without '{' */
	OSH_GLOB_BAD_RANGE,   /* [z-a] */
	OSH_GLOB_BAD_ESCAPE,  /* '\' at the end */
	OSH_GLOB_TOO_LONG,
	OSH_GLOB_TOO_MANY, /* alternatives */
	OSH_GLOB_NO_MEMORY,
	OSH_GLOB_ERROR_COUNT,
};
const char *osh_glob_error_text(enum osh_glob_error error);

/* Compile into malloc'ed memory that the caller frees. */
enum osh_glob_error osh_glob_compile(struct osh_str pattern, char delimiter,
				     unsigned char **ret_code, size_t *ret_len);

/* `code` is what osh_glob_compile made. */
bool osh_glob_match(const unsigned char *code, struct osh_str text);

/* Does the pattern hold any character that is special to a glob? */
bool osh_glob_is_literal(struct osh_str pattern);

#endif
