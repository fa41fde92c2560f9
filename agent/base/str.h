/* String slices: bytes that somebody else owns, not NUL terminated. */
#ifndef OSH_BASE_STR_H
#define OSH_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct osh_str {
	const char *data;
	size_t len;
};

/* The smallest are inline: parsers and the policy engine call them for each byte or word. */

static inline struct osh_str osh_str_n(const char *data, size_t len)
{
	return (struct osh_str){ .data = data, .len = len };
}

/* The slice of a C string (NULL gives an empty one). Borrows. */
static inline struct osh_str osh_str(const char *text)
{
	return osh_str_n(text, text ? strlen(text) : 0);
}

/* The same of a literal, where a constant has to stand. */
#define OSH_STR(literal) { .data = (literal), .len = sizeof(literal) - 1 }

static inline bool osh_str_eq(struct osh_str a, struct osh_str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool osh_str_eq_c(struct osh_str a, const char *b)
{
	return osh_str_eq(a, osh_str(b));
}

/* ASCII letters compare without case, whatever the locale. */
bool osh_str_same_letters(const char *a, const char *b, size_t len);

static inline bool osh_str_caseeq(struct osh_str a, struct osh_str b)
{
	return a.len == b.len && osh_str_same_letters(a.data, b.data, a.len);
}

static inline bool osh_str_caseeq_c(struct osh_str a, const char *b)
{
	return osh_str_caseeq(a, osh_str(b));
}

/* Where a byte stands first in the slice, NULL when it does not (memchr(3) may not be asked of an
 * empty slice, which has no data). */
static inline const char *osh_str_chr(struct osh_str s, char c)
{
	return s.len ? memchr(s.data, c, s.len) : NULL;
}

/* Its beginning, up to any of these characters, or a NUL. */
struct osh_str osh_str_until(struct osh_str s, const char *stops);

bool osh_str_has_prefix(struct osh_str s, const char *prefix);
bool osh_str_has_suffix(struct osh_str s, const char *suffix);

/* Is a path this directory, or in it? By its text: both absolute, without "..". */
bool osh_path_is_below(const char *path, const char *directory);

/* Copy with a terminating NUL into buf. Returns 0, or -ENAMETOOLONG when it
 * does not fit or -EINVAL when it holds a NUL; buf is "" then. */
int osh_str_copy(struct osh_str s, char *buf, size_t size);

/* Decimal digits only, no sign, no blank, at most max. Returns 0 or -EINVAL. */
int osh_str_parse_u64(struct osh_str s, uint64_t max, uint64_t *ret_value);

/* Well-formed UTF-8 throughout (RFC 3629: shortest form, no surrogates)? */
bool osh_str_is_utf8(struct osh_str s);

/* Make untrusted bytes safe to print on a terminal and in one log line: control
 * bytes, DEL, a backslash, invalid UTF-8, C1 controls and Unicode format
 * characters that reorder or hide text (bidi controls, zero width, line
 * separators) become \xHH per byte. Always NUL terminates; what does not fit
 * is cut between characters. Returns the length written. size >= 1. */
size_t osh_str_escape(struct osh_str s, char *buf, size_t size);

/* Lower an ASCII letter; other bytes are returned as they are. */
static inline char osh_ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static inline bool osh_ascii_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool osh_ascii_is_alpha(char c)
{
	c = osh_ascii_lower(c);
	return c >= 'a' && c <= 'z';
}

#endif
