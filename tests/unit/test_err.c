/* Errors for people, and secrets that must not become one. */
#include "base/err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/secret.h"

Test(err, set_gives_code_and_message)
{
	struct osh_err err = { 0 };

	cr_expect_eq(osh_err_set(&err, ENOENT, "no sandbox named %s", "x"), -ENOENT);
	cr_expect_eq(err.code, ENOENT);
	cr_expect_str_eq(err.message, "no sandbox named x");
	cr_expect_eq(osh_err_set(NULL, EINVAL, "nobody listens"), -EINVAL);
}

Test(err, sys_appends_the_systems_words)
{
	struct osh_err err = { 0 };
	char want[256];

	snprintf(want, sizeof(want), "cannot open /x: %s", strerror(EACCES));
	cr_expect_eq(osh_err_sys(&err, EACCES, "cannot open %s", "/x"), -EACCES);
	cr_expect_str_eq(err.message, want);
	cr_expect_eq(osh_err_sys(NULL, EACCES, "x"), -EACCES);
}

Test(err, wrap_puts_context_in_front)
{
	struct osh_err err = { 0 };

	osh_err_set(&err, E2BIG, "too long");
	cr_expect_eq(osh_err_wrap(&err, "policy %s", "p.yaml"), -E2BIG);
	cr_expect_str_eq(err.message, "policy p.yaml: too long");
	cr_expect_eq(osh_err_wrap(&err, "demo"), -E2BIG);
	cr_expect_str_eq(err.message, "demo: policy p.yaml: too long");
}

Test(err, long_messages_are_cut_never_overrun)
{
	struct osh_err err = { 0 };
	char text[2000];

	memset(text, 'e', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	osh_err_set(&err, EIO, "%s", text);
	cr_expect_eq(strlen(err.message), sizeof(err.message) - 1);
	cr_expect_eq(osh_err_wrap(&err, "%s", text), -EIO);
	cr_expect_lt(strlen(err.message), sizeof(err.message));
	osh_err_sys(&err, EIO, "%s", text);
	cr_expect_not_null(strstr(err.message, strerror(EIO)), "the reason is not what is cut");
}

Test(secret, holds_what_it_was_given_and_forgets_it)
{
	struct osh_secret secret = { 0 };

	cr_expect_not(osh_secret_is_set(&secret));
	osh_secret_done(&secret);
	cr_assert_eq(osh_secret_init(&secret, osh_str_n("a\0b", 3)), 0);
	cr_expect(osh_secret_is_set(&secret));
	cr_expect(osh_str_eq(osh_secret_reveal(&secret), osh_str_n("a\0b", 3)));
	osh_secret_done(&secret);
	cr_expect_not(osh_secret_is_set(&secret));
	cr_expect_eq(osh_secret_reveal(&secret).len, 0);
	osh_secret_done(&secret);
}

Test(secret, wipe_clears_every_byte)
{
	char bytes[33];

	memset(bytes, 's', sizeof(bytes));
	osh_wipe(bytes, 32);
	for (int i = 0; i < 32; i++)
		cr_expect_eq(bytes[i], 0);
	cr_expect_eq(bytes[32], 's');
	osh_wipe(NULL, 0);
}
