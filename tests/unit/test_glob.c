/* Globs: a table of what they mean, and a slow model that they are compared with. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/glob.h"

static int match(const char *pattern, char delimiter, const char *text)
{
	unsigned char *code = NULL;
	size_t len;
	int matches;

	if (osh_glob_compile(osh_str(pattern), delimiter, &code, &len) != OSH_GLOB_OK)
		return -1;
	matches = osh_glob_match(code, osh_str(text));
	free(code);
	return matches;
}

Test(glob, table)
{
	static const struct {
		const char *pattern, *yes, *no;
		char delimiter;
	} rows[] = {
		{ "/a/*", "/a/b", "/a/b/c", '/' },
		{ "/a/*", "/a/", "/a", '/' },
		{ "/a/**", "/a/", "/a", '/' },
		{ "/a/**", "/a/b/c", "/ab", '/' },
		{ "**", "/any/thing", NULL, '/' },
		{ "**", "", NULL, '/' },
		{ "*", "abc", "/", '/' },
		{ "**/x", "x", "ax", '/' },
		{ "**/x", "/a/b/x", "/a/b/xx", '/' },
		{ "/a/**/b", "/a/b", "/ab", '/' },
		{ "/a/**/b", "/a/x/y/b", "/a/x/yb", '/' },
		{ "/**/a/**/b", "/x/a/y/b", "/x/y/b", '/' },
		{ "/**/*.git/info/refs", "/o/r.git/info/refs", "/o/r/info/refs", '/' },
		{ "/a**", "/abc", "/ab/c", '/' },
		{ "/a**b/c", "/axxb/c", "/a/b/c", '/' },
		{ "/***", "/a", "/a/b", '/' },
		{ "/?", "/a", "//", '/' },
		{ "/[a-c]x", "/bx", "/dx", '/' },
		{ "/[!a-c]x", "/dx", "/bx", '/' },
		{ "/[^a]", "/b", "/a", '/' },
		{ "/[!a]b", "/cb", "//b", '/' },
		{ "/[]]", "/]", "/[", '/' },
		{ "/[a-]", "/-", "/b", '/' },
		{ "/{a,b}/c", "/b/c", "/ab/c", '/' },
		{ "/{a,b{c,d}}", "/bd", "/b", '/' },
		{ "/{,x}y", "/y", "/xxy", '/' },
		{ "/{*,x/y}", "/x/y", "/x/z", '/' },
		{ "/a{/**,}", "/a", "/ab", '/' },
		{ "/a{/**,}", "/a/b/c", "/b", '/' },
		{ "/\\*", "/*", "/a", '/' },
		{ "/\\{a\\}", "/{a}", "/a", '/' },
		{ "/a*b*c", "/axbxc", "/axbxcx", '/' },
		{ "/a*b*c", "/abbc", "/ab/c", '/' },
		{ "*a*a*a", "aaa", "aa", '/' },
		{ "foo-*", "foo-a/b", "foo-1.2", '.' },
		{ "1.**", "1.2.3", "12", '.' },
		{ "*.example.com", "a.example.com", "a.b.example.com", '.' },
		{ "A", "A", "a", '/' },
		{ "", "", "a", '/' },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		cr_expect_eq(match(rows[i].pattern, rows[i].delimiter, rows[i].yes), 1,
			     "%s must match %s", rows[i].pattern, rows[i].yes);
		if (rows[i].no)
			cr_expect_eq(match(rows[i].pattern, rows[i].delimiter, rows[i].no), 0,
				     "%s must not match %s", rows[i].pattern, rows[i].no);
	}
}

Test(glob, broken)
{
	static const struct {
		const char *pattern;
		enum osh_glob_error error;
	} rows[] = {
		{ "/[a", OSH_GLOB_OPEN_CLASS },
		{ "/[]", OSH_GLOB_OPEN_CLASS },
		{ "/[!]", OSH_GLOB_OPEN_CLASS },
		{ "/{a", OSH_GLOB_OPEN_BRACE },
		{ "/{a,{b}", OSH_GLOB_OPEN_BRACE },
		{ "/a}", OSH_GLOB_STRAY_BRACE },
		{ "/[z-a]", OSH_GLOB_BAD_RANGE },
		{ "/a\\", OSH_GLOB_BAD_ESCAPE },
		{ "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", OSH_GLOB_TOO_MANY },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		unsigned char *code = NULL;
		size_t len;

		cr_expect_eq(osh_glob_compile(osh_str(rows[i].pattern), '/', &code, &len),
			     rows[i].error, "%s", rows[i].pattern);
		cr_expect_null(code);
	}
	cr_expect_eq(match("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", '/', "ababab"), 1,
		     "64 alternatives are allowed");
}

/* ---- The model: the meaning, tried every way ----------------------------- */

static bool model(const char *p, const char *start, const char *t, const char *begin)
{
	if (*p == '\0')
		return *t == '\0';
	if (p[0] == '*' && p[1] == '*') {
		const char *end = p;
		bool component;

		while (*end == '*')
			end++;
		component = end - p == 2 && (p == start || p[-1] == '/') &&
			    (*end == '/' || *end == '\0');
		if (component && *end == '\0')
			return true;
		if (component) {
			if (model(end + 1, start, t, begin))
				return true;
			for (const char *s = t; *s; s++) {
				if (*s == '/' && model(end + 1, start, s + 1, begin))
					return true;
			}
			return false;
		}
		p = end - 1;
	}
	if (*p == '*') {
		for (const char *s = t;; s++) {
			if (model(p + 1, start, s, begin))
				return true;
			if (*s == '\0' || *s == '/')
				return false;
		}
	}
	if (*p == '?')
		return *t && *t != '/' && model(p + 1, start, t + 1, begin);
	return *p == *t && model(p + 1, start, t + 1, begin);
}

static void random_text(const char *alphabet, size_t max, char *buf)
{
	size_t len = (size_t)rand() % (max + 1);

	for (size_t i = 0; i < len; i++)
		buf[i] = alphabet[(size_t)rand() % strlen(alphabet)];
	buf[len] = '\0';
}

Test(glob, agrees_with_the_model)
{
	size_t matched = 0;

	srand(11);
	for (int round = 0; round < 300000; round++) {
		char pattern[12], text[12];
		bool want;

		random_text("ab//**?", 10, pattern);
		random_text("aab//", 10, text);
		want = model(pattern, pattern, text, text);
		matched += want;
		cr_assert_eq(match(pattern, '/', text), want, "%s on %s", pattern, text);
	}
	cr_assert_gt(matched, 10000);
}

/* Patterns that make a naive matcher blow up. */
Test(glob, stays_fast, .timeout = 10)
{
	static char text[4097];
	char pattern[256];
	int len = snprintf(pattern, sizeof(pattern), "/");

	memset(text, 'a', sizeof(text) - 1);
	text[0] = '/';
	for (size_t i = 2; i < sizeof(text) - 1; i += 2)
		text[i] = '/';
	for (int i = 0; i < 30; i++)
		len += snprintf(pattern + len, sizeof(pattern) - (size_t)len, "**/a/*a");
	snprintf(pattern + len, sizeof(pattern) - (size_t)len, "/b");
	for (int i = 0; i < 100; i++)
		cr_assert_eq(match(pattern, '/', text), 0);
	memset(text + 1, 'a', sizeof(text) - 2);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(match("/*a*a*a*a*a*a*a*a*a*a*a*b", '/', text), 0);
}
