/* Providers on disk, placeholders, and what a sandbox's environment gets. */
#include "credential/provider.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "credential/vault.h"

#define SECRET "ghp_S3cretS3cretS3cretS3cretS3cretS3cret"

static char home[] = "/tmp/osh-test-provider-XXXXXX";
static char dir[128];
static struct osh_err err;

static void make_home(void)
{
	cr_assert_not_null(mkdtemp(home));
	snprintf(dir, sizeof(dir), "%s/providers", home);
}

static void remove_home(void)
{
	static const char *const names[] = { "my-github", "b", "a", "link" };
	char path[256];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s.json", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
	rmdir(home);
}

TestSuite(provider, .init = make_home, .fini = remove_home);

static int save(const char *name, const char *type, struct osh_str value)
{
	struct osh_provider provider = { .type = osh_provider_type_find(type) };
	int r;

	err = (struct osh_err){ 0 };
	snprintf(provider.name, sizeof(provider.name), "%s", name);
	cr_assert_eq(osh_secret_init(&provider.secret, value), 0);
	r = osh_provider_save(dir, &provider, &err);
	osh_provider_done(&provider);
	return r;
}

static const char *path_of(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s.json", dir, name);
	return path;
}

Test(provider, saved_and_loaded_again)
{
	struct osh_provider back;
	struct stat st;

	cr_assert_eq(save("my-github", "github", osh_str(SECRET)), 0, "%s", err.message);
	cr_assert_eq(stat(path_of("my-github"), &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0600);
	cr_assert_eq(stat(dir, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0700);
	cr_assert_eq(osh_provider_load(dir, "my-github", &back, &err), 0, "%s", err.message);
	cr_expect_str_eq(back.name, "my-github");
	cr_expect_str_eq(back.type->name, "github");
	cr_expect(osh_str_eq_c(osh_secret_reveal(&back.secret), SECRET));
	osh_provider_done(&back);
}

Test(provider, the_file_is_json_without_the_bare_secret)
{
	json_t *json;
	char *text;
	size_t len;

	cr_assert_eq(save("my-github", "github", osh_str(SECRET)), 0);
	cr_assert_eq(osh_read_file(path_of("my-github"), 16384, &text, &len), 0);
	json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	cr_assert_not_null(json);
	cr_expect_str_eq(json_string_value(json_object_get(json, "type")), "github");
	cr_expect_gt(json_integer_value(json_object_get(json, "created")), 1000000000);
	json_decref(json);
	free(text);
}

Test(provider, every_length_of_secret_up_to_the_bound)
{
	static char value[4097];
	struct osh_provider back;

	memset(value, 's', sizeof(value));
	for (size_t len = 1; len <= 4096; len = len < 8 ? len + 1 : len * 2) {
		cr_assert_eq(save("a", "openai", osh_str_n(value, len)), 0);
		cr_assert_eq(osh_provider_load(dir, "a", &back, &err), 0, "%zu: %s", len, err.message);
		cr_expect_eq(osh_secret_reveal(&back.secret).len, len);
		osh_provider_done(&back);
		cr_assert_eq(osh_provider_delete(dir, "a", &err), 0);
	}
	cr_expect_eq(save("a", "openai", osh_str_n(value, 4097)), -EINVAL);
}

Test(provider, bad_secrets_are_refused_without_a_file)
{
	static const struct osh_str bad[] = { { "", 0 }, { "a\nb", 3 }, { "a\rb", 3 }, { "a\0b", 3 } };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_expect_eq(save("a", "github", bad[i]), -EINVAL);
		cr_expect_neq(err.message[0], '\0');
		cr_expect_neq(access(path_of("a"), F_OK), 0);
	}
}

Test(provider, bad_names_never_become_a_path)
{
	static const char *const bad[] = { "", "-x", "../x", "a/b", ".", "A", "a.b", "a b", "a\n", "%s" };
	struct osh_provider back;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_expect_eq(save(bad[i], "github", osh_str("x")), -EINVAL, "%s", bad[i]);
		cr_expect_eq(osh_provider_load(dir, bad[i], &back, &err), -EINVAL);
		cr_expect_eq(osh_provider_delete(dir, bad[i], &err), -EINVAL);
	}
	/* The twin: the longest good one. */
	cr_assert_eq(mkdir(dir, 0700), 0);
	cr_expect_eq(osh_provider_load(dir, "a23456789012345678901234567890123456789012345678901234567890123",
				       &back, &err), -ENOENT);
	cr_expect_eq(osh_provider_load(dir, "a234567890123456789012345678901234567890123456789012345678901234",
				       &back, &err), -EINVAL);
}

Test(provider, a_taken_name_keeps_what_it_has)
{
	struct osh_provider back;

	cr_assert_eq(save("a", "github", osh_str(SECRET)), 0);
	cr_expect_eq(save("a", "openai", osh_str("other")), -EEXIST);
	cr_assert_eq(osh_provider_load(dir, "a", &back, &err), 0);
	cr_expect_str_eq(back.type->name, "github");
	osh_provider_done(&back);
}

Test(provider, deleted_and_absent)
{
	struct osh_provider back;

	cr_assert_eq(save("a", "github", osh_str(SECRET)), 0);
	cr_expect_eq(osh_provider_delete(dir, "a", &err), 0);
	cr_expect_eq(osh_provider_delete(dir, "a", &err), -ENOENT);
	cr_expect_eq(osh_provider_load(dir, "a", &back, &err), -ENOENT);
}

static void replace(const char *name, const char *text, size_t len, mode_t mode)
{
	cr_assert_eq(osh_replace_file(path_of(name), text, len, mode), 0);
}

/* Cut at every byte, and changed at every byte: refused, or still a provider. */
Test(provider, damaged_files_are_refused)
{
	struct osh_provider back;
	char *text;
	size_t len;

	cr_assert_eq(save("a", "github", osh_str(SECRET)), 0);
	cr_assert_eq(osh_read_file(path_of("a"), 16384, &text, &len), 0);
	for (size_t cut = 0; cut < len; cut++) {
		replace("a", text, cut, 0600);
		cr_assert_eq(osh_provider_load(dir, "a", &back, &err), -EBADMSG, "cut at %zu", cut);
	}
	for (size_t at = 0; at < len; at++) {
		text[at] ^= 0x20;
		replace("a", text, len, 0600);
		text[at] ^= 0x20;
		if (osh_provider_load(dir, "a", &back, &err) == 0)
			osh_provider_done(&back);
		else
			cr_assert_eq(err.code, EBADMSG);
	}
	replace("a", text, len, 0600);
	cr_assert_eq(osh_provider_load(dir, "a", &back, &err), 0, "the twin: whole again");
	osh_provider_done(&back);
	free(text);
}

Test(provider, open_files_and_links_are_not_used)
{
	struct osh_provider back;
	char target[256];

	cr_assert_eq(save("a", "github", osh_str(SECRET)), 0);
	cr_assert_eq(chmod(path_of("a"), 0640), 0);
	cr_expect_eq(osh_provider_load(dir, "a", &back, &err), -EPERM);
	cr_assert_eq(chmod(path_of("a"), 0600), 0);
	snprintf(target, sizeof(target), "%s", path_of("a"));
	cr_assert_eq(symlink(target, path_of("link")), 0);
	cr_expect_eq(osh_provider_load(dir, "link", &back, &err), -ELOOP);
	cr_assert_eq(osh_provider_load(dir, "a", &back, &err), 0);
	osh_provider_done(&back);
}

static void collect(void *context, const char *name, const char *type, int64_t created)
{
	char *all = context;

	snprintf(all + strlen(all), 256 - strlen(all), "%s=%s%s ", name, type,
		 created > 1000000000 ? "" : "?");
}

Test(provider, listed_by_name)
{
	char all[256] = "";

	cr_expect_eq(osh_provider_list(dir, collect, all, &err), 0, "no directory yet");
	cr_expect_str_eq(all, "");
	cr_assert_eq(save("b", "gitlab", osh_str("glpat-x")), 0);
	cr_assert_eq(save("a", "github", osh_str(SECRET)), 0);
	replace("my-github", "torn", 4, 0600);
	cr_assert_eq(osh_provider_list(dir, collect, all, &err), 0);
	cr_expect_str_eq(all, "a=github b=gitlab my-github=damaged? ");
}

/* ---- Types -------------------------------------------------------------------------- */

Test(types, table)
{
	const struct osh_provider_type *type;

	cr_expect_null(osh_provider_type_find("nope"));
	cr_expect_null(osh_provider_type_find(""));
	for (size_t i = 0; (type = osh_provider_type_at(i)); i++) {
		cr_expect_eq(osh_provider_type_find(type->name), type);
		cr_expect_not_null(type->variables[0]);
		cr_expect_not_null(type->hosts[0]);
		cr_expect_null(strchr(type->hosts[0], '*'), "hosts are exact");
	}
}

/* ---- Placeholders ------------------------------------------------------------------- */

static char *placeholder_of(const char *value)
{
	struct osh_secret secret;
	char *placeholder;

	cr_assert_eq(osh_secret_init(&secret, osh_str(value)), 0);
	placeholder = osh_placeholder_new(&secret);
	cr_assert_not_null(placeholder);
	osh_secret_done(&secret);
	return placeholder;
}

static int class_of(char c)
{
	return osh_ascii_is_digit(c) ? 0 : c >= 'A' && c <= 'Z' ? 1 : c >= 'a' && c <= 'z' ? 2 : c;
}

Test(placeholder, has_the_shape_of_the_secret)
{
	static const struct { const char *secret, *prefix; } rows[] = {
		{ SECRET, "ghp_" },
		{ "github_pat_11ABCDEFG0abcdefghijkl_ABCDEFabcdef0123456789", "github_pat_" },
		{ "glpat-ABCDEFabcdef01234567", "glpat-" },
		{ "sk-proj-ABCDEFabcdef01234567", "sk-proj-" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *placeholder = placeholder_of(rows[i].secret);

		cr_assert_eq(strlen(placeholder), strlen(rows[i].secret));
		cr_expect(osh_str_has_prefix(osh_str(placeholder), rows[i].prefix));
		for (size_t k = 0; placeholder[k]; k++)
			cr_expect_eq(class_of(placeholder[k]), class_of(rows[i].secret[k]));
		cr_expect_str_neq(placeholder, rows[i].secret);
		free(placeholder);
	}
}

/* No run of the secret's own characters survives, and two are never alike. */
Test(placeholder, tells_nothing_of_the_secret)
{
	char *first = placeholder_of(SECRET), *second = placeholder_of(SECRET);
	size_t same = 0;

	cr_expect_str_neq(first, second);
	for (size_t i = 4; i < strlen(SECRET); i++)
		same += first[i] == SECRET[i];
	cr_expect_lt(same, 18, "%zu of 36 characters", same);
	free(first);
	free(second);
	first = placeholder_of("hunter_two!");
	cr_expect(!osh_str_has_prefix(osh_str(first), "hunter"), "an unknown prefix is part of the secret");
	free(first);
}

Test(placeholder, short_odd_and_long_secrets_fit_the_vault)
{
	static const char *const host[] = { "github.com", NULL }, *const none[] = { NULL };
	static char longest[4097];
	const char *const secrets[] = { "a", "ghp_", "1", "!@#$%^&*()", "____________________________",
					"p\xc3\xa4sswort", longest };
	struct osh_vault *vault = osh_vault_new();

	memset(longest, '-', 4096);
	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
		char *placeholder = placeholder_of(secrets[i]);
		struct osh_secret secret;
		size_t random = 0;

		for (size_t k = 0; placeholder[k]; k++)
			random += osh_ascii_is_alpha(placeholder[k]) || osh_ascii_is_digit(placeholder[k]);
		cr_expect_geq(random, 20, "%s", placeholder);
		cr_expect_leq(strlen(placeholder), 160);
		cr_assert_eq(osh_secret_init(&secret, osh_str(secrets[i])), 0);
		cr_expect_eq(osh_vault_add(vault, &(struct osh_vault_item){ .provider = "p",
			.placeholder = placeholder, .variables = none, .hosts = host, .secret = &secret }),
			     0, "%s", placeholder);
		osh_secret_done(&secret);
		free(placeholder);
	}
	osh_vault_free(vault);
}

/* ---- Environment --------------------------------------------------------------------- */

static void set_variable(void *context, const char *key, const char *value)
{
	char *all = context;

	snprintf(all + strlen(all), 4096 - strlen(all), "%s=%s\n", key, value);
	setenv(key, value, 1);
}

Test(environment, every_variable_and_no_git_without_a_user)
{
	unsigned configs = 3;
	char all[4096] = "";

	osh_provider_environment(osh_provider_type_find("openai"), "PH", &configs, set_variable, all);
	cr_expect_str_eq(all, "OPENAI_API_KEY=PH\n");
	cr_expect_eq(configs, 3);
}

static char *git_fill(const char *host)
{
	char command[512], answer[256], *text;
	char *const argv[] = { "sh", "-c", command, NULL };
	size_t len;
	pid_t pid;

	snprintf(answer, sizeof(answer), "%s/answer", home);
	snprintf(command, sizeof(command),
		 "printf 'protocol=https\\nhost=%s\\n\\n' | GIT_TERMINAL_PROMPT=0 GIT_ASKPASS= HOME=%s "
		 "git credential fill >%s 2>/dev/null", host, home, answer);
	cr_assert_eq(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ), 0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	cr_assert_eq(osh_read_file(answer, 4096, &text, &len), 0);
	unlink(answer);
	return text;
}

/* Asked of git itself, numbered behind another provider's configuration. */
Test(environment, git_offers_the_placeholder_to_its_host_alone, .init = make_home, .fini = remove_home)
{
	unsigned configs = 0;
	char all[4096] = "", count[16], *text;

	osh_provider_environment(osh_provider_type_find("gitlab"), "gitlab-ph", &configs, set_variable, all);
	cr_expect_eq(configs, 2);
	osh_provider_environment(osh_provider_type_find("github"), "github-ph", &configs, set_variable, all);
	cr_expect_eq(configs, 4);
	cr_expect_not_null(strstr(all, "GITHUB_TOKEN=github-ph\nGH_TOKEN=github-ph\n"));
	cr_expect_null(strstr(strstr(all, "GIT_CONFIG_VALUE_3"), "github-ph"));
	snprintf(count, sizeof(count), "%u", configs);
	setenv("GIT_CONFIG_COUNT", count, 1);
	text = git_fill("github.com");
	cr_expect_str_eq(text, "protocol=https\nhost=github.com\nusername=x-access-token\npassword=github-ph\n");
	free(text);
	text = git_fill("gitlab.com");
	cr_expect_str_eq(text, "protocol=https\nhost=gitlab.com\nusername=oauth2\npassword=gitlab-ph\n");
	free(text);
	text = git_fill("no.test");
	cr_expect_null(strstr(text, "password"), "%s", text);
	free(text);
}
