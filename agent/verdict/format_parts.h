/* Private to agent/verdict: what its formats share. */
#ifndef OSH_VERDICT_FORMAT_PARTS_H
#define OSH_VERDICT_FORMAT_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIME_BYTES 64

/* RFC 3339 in UTC with `digits` (3 or 9) of the fraction. 64 bits of nanoseconds end in 2554. */
void format_time(uint64_t time_ns, int digits, char buf[TIME_BYTES]);
/* Exactly what format_time writes with nine digits. 0 or -EBADMSG. */
int parse_time(const char *text, uint64_t *ret_ns);

/* A line of at most size - 1 bytes, always NUL terminated. */
struct line {
	char *buf;
	size_t size, used;
	bool cut; /* something did not fit */
};
void line_add(struct line *line, const char *text);
void line_add_n(struct line *line, const char *bytes, size_t len);
void line_add_number(struct line *line, uint64_t number);

static inline bool is_set(const char *text)
{
	return text && *text;
}

#endif
