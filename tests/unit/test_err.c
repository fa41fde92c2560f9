<<<<<<< HEAD
/* Errors for people, secrets for nobody. */
=======
/* Errors for people, and secrets that must not become one. */
>>>>>>> main
#include "base/err.h"

#include <criterion/criterion.h>
#include <errno.h>
<<<<<<< HEAD
#include <string.h>

#include "base/log.h"
#include "base/secret.h"

Test(err, messages)
{
	struct osh_err err = { 0 };

	cr_expect(osh_err_set(&err, EINVAL, "bad %s", "thing") == -EINVAL);
	cr_expect_str_eq(err.message, "bad thing");
	cr_expect(err.code == EINVAL);
	cr_expect(osh_err_wrap(&err, "policy %d", 7) == -EINVAL);
	cr_expect_str_eq(err.message, "policy 7: bad thing");
	cr_expect(osh_err_sys(&err, ENOENT, "open %s", "x") == -ENOENT);
	cr_expect_str_eq(err.message, "open x: No such file or directory");
	cr_expect(osh_err_set(NULL, EINVAL, "nobody reads it") == -EINVAL);
}

/* Whatever is put in, the message is a string that fits. */
Test(err, long_messages)
=======
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
>>>>>>> main
{
	struct osh_err err = { 0 };
	char text[2000];

<<<<<<< HEAD
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	osh_err_set(&err, EINVAL, "%s", text);
	cr_expect(strlen(err.message) == sizeof(err.message) - 1);
	osh_err_wrap(&err, "%s", text);
	cr_expect(strlen(err.message) == sizeof(err.message) - 1);
	osh_err_sys(&err, EINVAL, "%s", text);
	cr_expect(strstr(err.message, "Invalid argument"), "the reason survives the cut");
}

Test(err, log_levels)
{
	enum osh_log_level level = OSH_LOG_INFO;

	cr_expect(osh_log_level_parse("debug", &level) == 0 && level == OSH_LOG_DEBUG);
	cr_expect(osh_log_level_parse("loud", &level) == -EINVAL && level == OSH_LOG_DEBUG);
	cr_expect(osh_log_level_parse("Debug", &level) == -EINVAL);
}

Test(err, secrets)
{
	struct osh_secret secret = { 0 };
	char bytes[] = "hunter2";

	cr_expect(!osh_secret_is_set(&secret));
	cr_assert(osh_secret_init(&secret, osh_str(bytes)) == 0);
	osh_wipe(bytes, sizeof(bytes));
	cr_expect(memcmp(bytes, "\0\0\0\0\0\0\0", 8) == 0);
	cr_expect(osh_secret_is_set(&secret) && osh_str_eq_c(osh_secret_reveal(&secret), "hunter2"));
	osh_secret_done(&secret);
	osh_secret_done(&secret);
	cr_expect(!osh_secret_is_set(&secret));
=======
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
>>>>>>> main
}
