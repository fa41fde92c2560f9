/* Errors for people, secrets for nobody. */
#include "base/err.h"

#include <criterion/criterion.h>
#include <errno.h>
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
{
	struct osh_err err = { 0 };
	char text[2000];

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
}
