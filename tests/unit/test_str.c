/* Slices: comparing, copying, numbers, escaping. */
#include "base/str.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

Test(str, slices_of_nothing)
{
	cr_expect_eq(osh_str(NULL).len, 0);
	cr_expect(osh_str_eq(osh_str(NULL), osh_str("")));
	cr_expect(osh_str_eq_c(osh_str_n(NULL, 0), ""));
	cr_expect(osh_str_has_prefix(osh_str(""), ""));
	cr_expect_not(osh_str_has_prefix(osh_str(""), "x"));
}

Test(str, equality)
{
	cr_expect(osh_str_eq_c(osh_str_n("abcdef", 3), "abc"));
	cr_expect_not(osh_str_eq_c(osh_str_n("abcdef", 3), "abcdef"));
	cr_expect_not(osh_str_eq_c(osh_str("abc"), "ab"));
	cr_expect_not(osh_str_eq_c(osh_str_n("ab\0", 3), "ab"));
	cr_expect_not(osh_str_eq_c(osh_str("Abc"), "abc"));
	cr_expect(osh_str_caseeq_c(osh_str("AbC"), "aBc"));
	cr_expect_not(osh_str_caseeq_c(osh_str("abc"), "abcd"));
	/* Letters only: '[' and '{' differ by the same bit. */
	cr_expect_not(osh_str_caseeq_c(osh_str("["), "{"));
	cr_expect_not(osh_str_caseeq_c(osh_str("\xc9"), "\xe9"));
}

Test(str, prefix_and_suffix)
{
	cr_expect(osh_str_has_prefix(osh_str("ghp_x"), "ghp_"));
	cr_expect_not(osh_str_has_prefix(osh_str("ghp"), "ghp_"));
	cr_expect(osh_str_has_suffix(osh_str("a.json"), ".json"));
	cr_expect_not(osh_str_has_suffix(osh_str("json"), ".json"));
}

Test(str, copy_fits_or_fails)
{
	char buf[4];

	cr_expect_eq(osh_str_copy(osh_str("abc"), buf, sizeof(buf)), 0);
	cr_expect_str_eq(buf, "abc");
	cr_expect_eq(osh_str_copy(osh_str("abcd"), buf, sizeof(buf)), -ENAMETOOLONG);
	cr_expect_str_eq(buf, "");
	cr_expect_eq(osh_str_copy(osh_str_n("a\0b", 3), buf, sizeof(buf)), -EINVAL);
	cr_expect_str_eq(buf, "");
	cr_expect_eq(osh_str_copy(osh_str(NULL), buf, sizeof(buf)), 0);
	cr_expect_str_eq(buf, "");
}

static int parse(const char *text, uint64_t max)
{
	uint64_t value = 77;
	int r = osh_str_parse_u64(osh_str(text), max, &value);

	if (r < 0)
		cr_expect_eq(value, 77, "untouched on failure");
	else
		cr_expect_eq(value, strtoull(text, NULL, 10));
	return r;
}

Test(str, numbers)
{
	static const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "0x1", "1e3", "18446744073709551616",
					   "99999999999999999999999", "1\n" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(parse(bad[i], UINT64_MAX), -EINVAL, "%s", bad[i]);
	cr_expect_eq(parse("0", UINT64_MAX), 0);
	cr_expect_eq(parse("18446744073709551615", UINT64_MAX), 0);
	cr_expect_eq(parse("65535", 65535), 0);
	cr_expect_eq(parse("65536", 65535), -EINVAL);
	cr_expect_eq(parse("007", 65535), 0);
	cr_expect_eq(parse("10", 9), -EINVAL);
	cr_expect_eq(parse("9", 9), 0);
}

static void expect_escaped(const char *bytes, size_t len, const char *want)
{
	char buf[512];
	size_t n = osh_str_escape(osh_str_n(bytes, len), buf, sizeof(buf));

	cr_expect_str_eq(buf, want);
	cr_expect_eq(n, strlen(want));
}

Test(escape, readable_text_stays)
{
	expect_escaped("GET /a-b_c?d=e", 14, "GET /a-b_c?d=e");
	expect_escaped("caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x90\x9a", 17,
		       "caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x90\x9a");
	expect_escaped("", 0, "");
}

Test(escape, what_steers_a_terminal_does_not)
{
	expect_escaped("\x1b[2J\r\n\t\a\0", 9, "\\x1b[2J\\x0d\\x0a\\x09\\x07\\x00");
	expect_escaped("\x7f", 1, "\\x7f");
	expect_escaped("\xc2\x9b", 2, "\\xc2\\x9b"); /* C1 CSI */
	expect_escaped("\xe2\x80\xae", 3, "\\xe2\\x80\\xae"); /* right-to-left override */
	expect_escaped("\xe2\x80\x8b", 3, "\\xe2\\x80\\x8b"); /* zero width space */
	expect_escaped("\xe2\x80\xa8", 3, "\\xe2\\x80\\xa8"); /* line separator */
	expect_escaped("\xf3\xa0\x80\xa1", 4, "\\xf3\\xa0\\x80\\xa1"); /* tag character */
	expect_escaped("\\x41", 4, "\\x5cx41"); /* no text can look like an escape */
}

Test(escape, what_is_no_utf8_is_shown_byte_by_byte)
{
	expect_escaped("\xff", 1, "\\xff");
	expect_escaped("\xc3", 1, "\\xc3");           /* cut */
	expect_escaped("\xc3(", 2, "\\xc3(");         /* no continuation */
	expect_escaped("\xc0\xaf", 2, "\\xc0\\xaf");  /* overlong '/' */
	expect_escaped("\xe0\x80\x8a", 3, "\\xe0\\x80\\x8a"); /* overlong newline */
	expect_escaped("\xed\xa0\x80", 3, "\\xed\\xa0\\x80"); /* surrogate */
	expect_escaped("\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80"); /* above U+10FFFF */
	expect_escaped("\x80", 1, "\\x80");
}

/* At every size: terminated, within the buffer, and a prefix of the whole answer that
 * ends between characters. */
Test(escape, is_cut_between_characters)
{
	static const char text[] = "a\x1b\xc3\xa9\xffz";
	char whole[64], part[64];
	size_t len = osh_str_escape(osh_str(text), whole, sizeof(whole));

	for (size_t size = 1; size <= len + 1; size++) {
		size_t n;

		memset(part, '#', sizeof(part));
		n = osh_str_escape(osh_str(text), part, size);
		cr_assert_lt(n, size);
		cr_assert_eq(part[n], '\0');
		cr_assert_eq(part[size], '#');
		cr_assert_eq(strncmp(part, whole, n), 0);
		cr_assert(n == 0 || n == 1 || n == 5 || n == 7 || n == 11 || n == 12, "cut at %zu", n);
	}
	cr_expect_str_eq(part, whole);
}

Test(ascii, classes_ignore_the_locale)
{
	for (int c = -128; c < 128; c++) {
		bool upper = c >= 'A' && c <= 'Z', lower = c >= 'a' && c <= 'z';

		cr_expect_eq(osh_ascii_is_alpha((char)c), upper || lower);
		cr_expect_eq(osh_ascii_is_digit((char)c), c >= '0' && c <= '9');
		cr_expect_eq(osh_ascii_lower((char)c), (char)(upper ? c + 32 : c));
	}
}

/* One digit above the bound is above the bound. */
Test(str, numbers_below_ten)
{
	uint64_t value = 77;

	cr_expect(osh_str_parse_u64(osh_str("9"), 5, &value) == -EINVAL && value == 77);
	cr_expect(osh_str_parse_u64(osh_str("5"), 5, &value) == 0 && value == 5);
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

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		cr_expect(osh_str_is_utf8(osh_str(table[i].text)) == table[i].good, "row %zu", i);
}

Test(str, until)
{
	cr_expect(osh_str_eq_c(osh_str_until(osh_str("text/plain; q=1"), "; \t"), "text/plain"));
	cr_expect(osh_str_eq_c(osh_str_until(osh_str("a\tb;c"), "; \t"), "a"));
	cr_expect(osh_str_eq_c(osh_str_until(osh_str("none"), "; \t"), "none"));
	cr_expect(osh_str_eq_c(osh_str_until(osh_str_n("a\0b", 3), ";"), "a"));
	cr_expect_eq(osh_str_until(osh_str(";a"), ";").len, 0);
	cr_expect_eq(osh_str_until((struct osh_str){ 0 }, ";").len, 0);
}
