/* Times and lines, by which every format of a verdict is written. */
#include "verdict/format_parts.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

#define NS_PER_SECOND 1000000000u

/* ---- Time ------------------------------------------------------------------------ */

static char *put_digits(char *at, uint32_t value, int digits)
{
	for (int i = digits - 1; i >= 0; i--, value /= 10)
		at[i] = (char)('0' + value % 10);
	return at + digits;
}

/* By hand, because every verdict passes here twice: days to date after H. Hinnant,
 * "chrono-compatible low-level date algorithms" (years run from March). */
void format_time(uint64_t time_ns, int digits, char buf[TIME_BYTES])
{
	uint32_t fraction = (uint32_t)(time_ns % NS_PER_SECOND);
	uint32_t second = (uint32_t)(time_ns / NS_PER_SECOND % 86400);
	uint32_t days = (uint32_t)(time_ns / NS_PER_SECOND / 86400) + 719468; /* from 0000-03-01 */
	uint32_t era = days / 146097, day = days % 146097;
	uint32_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	uint32_t month;
	char *at = buf;

	day -= 365 * year + year / 4 - year / 100;
	month = (5 * day + 2) / 153;
	day -= (153 * month + 2) / 5;
	at = put_digits(at, era * 400 + year + (month >= 10), 4);
	*at++ = '-';
	at = put_digits(at, month < 10 ? month + 3 : month - 9, 2);
	*at++ = '-';
	at = put_digits(at, day + 1, 2);
	*at++ = 'T';
	at = put_digits(at, second / 3600, 2);
	*at++ = ':';
	at = put_digits(at, second / 60 % 60, 2);
	*at++ = ':';
	at = put_digits(at, second % 60, 2);
	*at++ = '.';
	at = put_digits(at, digits == 3 ? fraction / 1000000 : fraction, digits);
	*at++ = 'Z';
	*at = '\0';
}

static bool take_number(const char **at, size_t digits, char end, int *ret_value)
{
	uint64_t value;

	if (osh_str_parse_u64(osh_str_n(*at, strnlen(*at, digits)), NS_PER_SECOND, &value) < 0)
		return false;
	if ((*at)[digits] != end)
		return false;
	*at += digits + 1;
	*ret_value = (int)value;
	return true;
}

int parse_time(const char *text, uint64_t *ret_ns)
{
	const char *start = text;
	struct tm tm = { 0 };
	char again[TIME_BYTES];
	uint64_t time_ns;
	int fraction;
	time_t seconds;

	if (!take_number(&text, 4, '-', &tm.tm_year) || !take_number(&text, 2, '-', &tm.tm_mon) ||
	    !take_number(&text, 2, 'T', &tm.tm_mday) || !take_number(&text, 2, ':', &tm.tm_hour) ||
	    !take_number(&text, 2, ':', &tm.tm_min) || !take_number(&text, 2, '.', &tm.tm_sec) ||
	    !take_number(&text, 9, 'Z', &fraction) || *text || tm.tm_year < 1970 ||
	    tm.tm_year > 2553)
		return -EBADMSG;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	seconds = timegm(&tm);
	time_ns = (uint64_t)seconds * NS_PER_SECOND + (uint64_t)fraction;
	/* timegm takes the 31st of February: compare what came of it. */
	format_time(time_ns, 9, again);
	if (strcmp(again, start) != 0)
		return -EBADMSG;
	*ret_ns = time_ns;
	return 0;
}

/* ---- Lines --------------------------------------------------------------------------- */

void line_add_n(struct line *line, const char *bytes, size_t len)
{
	size_t room = line->size - line->used - 1;

	if (len > room) {
		len = room;
		line->cut = true;
	}
	memcpy(line->buf + line->used, bytes, len);
	line->used += len;
	line->buf[line->used] = '\0';
}

void line_add(struct line *line, const char *text)
{
	line_add_n(line, text, strlen(text));
}

void line_add_number(struct line *line, uint64_t number)
{
	char digits[24], *at = digits + sizeof(digits);

	do
		*--at = (char)('0' + number % 10);
	while (number /= 10);
	line_add_n(line, at, (size_t)(digits + sizeof(digits) - at));
}
