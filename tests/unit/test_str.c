/* Slices, numbers, and the one function that makes bytes safe to show. */
#include "base/str.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

Test(str, numbers)
{
	static const struct {
		const char *text;
		uint64_t max, value;
		int result;
	} table[] = {
		{ "0", 10, 0, 0 },
		{ "10", 10, 10, 0 },
		{ "007", 10, 7, 0 },
		{ "18446744073709551615", UINT64_MAX, UINT64_MAX, 0 },
		{ "18446744073709551616", UINT64_MAX, 0, -EINVAL },
		{ "11", 10, 0, -EINVAL },
		{ "20", 10, 0, -EINVAL },
		{ "", 10, 0, -EINVAL },
		{ "+1", 10, 0, -EINVAL },
		{ "-1", 10, 0, -EINVAL },
		{ " 1", 10, 0, -EINVAL },
		{ "1 ", 10, 0, -EINVAL },
		{ "0x1", 10, 0, -EINVAL },
		{ "9", 5, 0, -EINVAL },
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		uint64_t value = 77;
		int r = osh_str_parse_u64(osh_str(table[i].text), table[i].max, &value);

		cr_expect(r == table[i].result, "%s", table[i].text);
		cr_expect(value == (r == 0 ? table[i].value : 77), "%s: %lu", table[i].text,
			  (unsigned long)value);
	}
}

Test(str, compare)
{
	cr_expect(osh_str_eq_c(osh_str("a"), "a") && !osh_str_eq_c(osh_str("a"), "A"));
	cr_expect(osh_str_caseeq_c(osh_str("Host"), "hOST") && !osh_str_caseeq_c(osh_str("Host"), "Hos"));
	cr_expect(!osh_str_caseeq_c(osh_str("\xc3\xa9"), "\xc3\x89"), "ASCII only");
	cr_expect(osh_str_eq(osh_str(NULL), osh_str("")));
	cr_expect(osh_str_has_prefix(osh_str("abc"), "ab") && !osh_str_has_prefix(osh_str("a"), "ab"));
	cr_expect(osh_str_has_suffix(osh_str("abc"), "bc") && !osh_str_has_suffix(osh_str("c"), "bc"));
}

Test(str, copy)
{
	char buf[4];

	cr_expect(osh_str_copy(osh_str("abc"), buf, sizeof(buf)) == 0);
	cr_expect_str_eq(buf, "abc");
	cr_expect(osh_str_copy(osh_str("abcd"), buf, sizeof(buf)) == -ENAMETOOLONG);
	cr_expect_str_eq(buf, "");
	cr_expect(osh_str_copy(osh_str_n("a\0b", 3), buf, sizeof(buf)) == -EINVAL);
	cr_expect_str_eq(buf, "");
}

Test(str, utf8)
{
	static const struct {
		const char *text;
		bool good;
	} table[] = {
		{ "", true },		{ "plain", true },	  { "caf\xc3\xa9", true },
		{ "\xe2\x82\xac", true }, { "\xf0\x9f\x98\x80", true }, { "\xc3", false },
		{ "\xa9", false },	{ "\xc0\xaf", false },	  { "\xe0\x80\xaf", false },
		{ "\xed\xa0\x80", false }, { "\xf4\x90\x80\x80", false }, { "\xff", false },
		{ "a\xc3(", false },
	};

	for (size_t i = 0; i < COUNT(table); i++)
		cr_expect(osh_str_is_utf8(osh_str(table[i].text)) == table[i].good, "row %zu", i);
}

Test(str, escape)
{
	static const struct {
		const char *text, *want;
	} table[] = {
		{ "plain caf\xc3\xa9", "plain caf\xc3\xa9" },
		{ "a\nb\r\tc", "a\\x0ab\\x0d\\x09c" },
		{ "\x1b[2J", "\\x1b[2J" },
		{ "a\\x0a", "a\\x5cx0a" },
		{ "\x7f", "\\x7f" },
		{ "\xc2\x9b" "31m", "\\xc2\\x9b31m" },       /* C1 CSI */
		{ "\xe2\x80\xae" "exe", "\\xe2\\x80\\xaeexe" }, /* U+202E */
		{ "\xe2\x80\x8b", "\\xe2\\x80\\x8b" },       /* zero width */
		{ "\xe2\x80\xa8", "\\xe2\\x80\\xa8" },       /* line separator */
		{ "\xff\xc3", "\\xff\\xc3" },
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		char buf[64];
		size_t len = osh_str_escape(osh_str(table[i].text), buf, sizeof(buf));

		cr_expect_str_eq(buf, table[i].want, "row %zu: %s", i, buf);
		cr_expect(len == strlen(table[i].want));
	}
}

/* Cut between characters, never inside one or inside an escape. */
Test(str, escape_cuts_whole_characters)
{
	for (size_t size = 1; size < 12; size++) {
		char buf[16] = "";
		size_t len = osh_str_escape(osh_str("a\xc3\xa9\n\xe2\x82\xac"), buf, size);

		cr_expect(len < size && buf[len] == '\0' && osh_str_is_utf8(osh_str_n(buf, len)), "size %zu", size);
		cr_expect(!strchr(buf, '\\') || strstr(buf, "\\x0a"), "size %zu: %s", size, buf);
	}
}
