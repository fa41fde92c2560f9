/* Request targets: one canonical form (threats C23 to C25). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/path.h"

static char buf[3 * OSH_PATH_TARGET_MAX + 1];

static enum osh_path_error canon(const char *target, bool slash, struct osh_path *path)
{
	return osh_path_canonicalise(osh_str(target), slash, buf, sizeof(buf), path);
}

Test(path, accepts)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "", "/" },
		{ "/", "/" },
		{ "/pub/a/../b", "/pub/b" },
		{ "/pub/caf%C3%A9", "/pub/caf%C3%A9" },
		{ "/%7E", "/~" },
		{ "/pub/x/", "/pub/x/" },
		{ "/pub/x/.", "/pub/x/" },
		{ "/pub/x/..", "/pub/" },
		{ "//", "/" },
		{ "/a;b=c/d;e", "/a/d" },
		{ "/..;/", NULL },
		{ "http://ok.test", "/" },
		{ "HTTPS://ok.test/a", "/a" },
		{ "https://ok.test?x", "/" },
		{ "/x%3bhidden/y", "/x/y" },
		{ "/a\"b", "/a%22b" },
		{ "/%C0%AF", "/%C0%AF" }, /* overlong: stays escaped, never becomes a slash */
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct osh_path path;
		enum osh_path_error error = canon(rows[i].in, false, &path);

		if (!rows[i].out) {
			cr_expect_eq(error, OSH_PATH_ABOVE_ROOT, "%s", rows[i].in);
			continue;
		}
		cr_assert_eq(error, OSH_PATH_OK, "%s: %s", rows[i].in, osh_path_error_text(error));
		cr_expect(osh_str_eq_c(path.path, rows[i].out), "%s: %.*s", rows[i].in,
			  (int)path.path.len, path.path.data);
	}
}

Test(path, refuses)
{
	static const struct {
		const char *in;
		bool slash;
		enum osh_path_error error;
	} rows[] = {
		{ "/a%00", false, OSH_PATH_BAD_ESCAPE },
		{ "/a%", false, OSH_PATH_BAD_ESCAPE },
		{ "/a%4", false, OSH_PATH_BAD_ESCAPE },
		{ "/a;%zz", false, OSH_PATH_BAD_ESCAPE },
		{ "/a b\tc", false, OSH_PATH_BAD_BYTE },
		{ "/a\x7f", false, OSH_PATH_BAD_BYTE },
		{ "/a?b\x01", false, OSH_PATH_BAD_BYTE },
		{ "/a?b#c", false, OSH_PATH_BAD_BYTE },
		{ "/caf\xc3\xa9", false, OSH_PATH_BAD_BYTE },
		{ "/a%2fb", false, OSH_PATH_ENCODED_SLASH },
		{ "/a;x%2fb", false, OSH_PATH_ENCODED_SLASH },
		{ "/a%2f..", true, OSH_PATH_DOT_BESIDE_SLASH },
		{ "/.%2fa", true, OSH_PATH_DOT_BESIDE_SLASH },
		{ "/a%2f%2e%2e%2fb", true, OSH_PATH_DOT_BESIDE_SLASH },
		{ "/..", false, OSH_PATH_ABOVE_ROOT },
		{ "/%2e%2e/", false, OSH_PATH_ABOVE_ROOT },
		{ "a", false, OSH_PATH_NOT_ABSOLUTE },
		{ "ftp://ok.test/", false, OSH_PATH_NOT_ABSOLUTE },
		{ "*", false, OSH_PATH_NOT_ABSOLUTE },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(rows); i++) {
		struct osh_path path;

		cr_expect_eq(canon(rows[i].in, rows[i].slash, &path), rows[i].error, "%s: got %s",
			     rows[i].in,
			     osh_path_error_text(canon(rows[i].in, rows[i].slash, &path)));
	}
}

Test(path, keeps_the_query_raw)
{
	struct osh_path path;

	cr_assert_eq(canon("/a/../b?x=%2F..%zz&y", false, &path), OSH_PATH_OK);
	cr_expect(osh_str_eq_c(path.path, "/b"));
	cr_expect(path.has_query && osh_str_eq_c(path.query, "x=%2F..%zz&y"));
	cr_assert_eq(canon("/b?", false, &path), OSH_PATH_OK);
	cr_expect(path.has_query && path.query.len == 0);
	cr_assert_eq(canon("/b", false, &path), OSH_PATH_OK);
	cr_expect_not(path.has_query);
}

Test(path, bounds)
{
	static char target[OSH_PATH_TARGET_MAX + 2];
	struct osh_path path;

	memset(target, '"', sizeof(target)); /* each byte becomes three */
	target[0] = '/';
	cr_assert_eq(osh_path_canonicalise(osh_str_n(target, OSH_PATH_TARGET_MAX), false, buf,
					   sizeof(buf), &path),
		     OSH_PATH_OK);
	cr_expect_eq(path.path.len, 3 * (OSH_PATH_TARGET_MAX - 1) + 1);
	cr_expect_eq(osh_path_canonicalise(osh_str_n(target, OSH_PATH_TARGET_MAX + 1), false, buf,
					   sizeof(buf), &path),
		     OSH_PATH_TOO_LONG);
	cr_expect_eq(osh_path_canonicalise(osh_str_n(target, 100), false, buf, 200, &path),
		     OSH_PATH_TOO_LONG);
}

/* The canonical form is a fixed point: a server that does the same again sees no other
 * path. Random targets over the bytes that matter. */
Test(path, is_a_fixed_point)
{
	static const char *const parts[] = { "/",   ".",   "..",  "a",   ";",  "%2e",
					     "%2F", "%3B", "%41", "%25", "//", "%7e" };
	static char again[sizeof(buf)];
	size_t accepted = 0;

	srand(7);
	for (int round = 0; round < 20000; round++) {
		char target[128] = "/";
		int len = 1;
		bool slash = round & 1;
		struct osh_path path, twice;

		for (int i = rand() % 10; i > 0; i--)
			len += snprintf(target + len, sizeof(target) - (size_t)len, "%s",
					parts[(size_t)rand() % OSH_COUNT_OF(parts)]);
		if (canon(target, slash, &path) != OSH_PATH_OK)
			continue;
		accepted++;
		cr_assert_eq(osh_path_canonicalise(path.path, slash, again, sizeof(again), &twice),
			     OSH_PATH_OK, "%s -> %.*s", target, (int)path.path.len, path.path.data);
		cr_assert(osh_str_eq(path.path, twice.path), "%s", target);
		cr_assert_null(memmem(path.path.data, path.path.len, "/../", 4), "%s", target);
		cr_assert_null(memmem(path.path.data, path.path.len, "//", 2), "%s", target);
	}
	cr_assert_gt(accepted, 1000);
}
