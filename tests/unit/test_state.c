/* A sandbox's state on disk: revisions, CA, placeholders; names; the agent's lock. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "control/host_dirs.h"
#include "control/names.h"
#include "control/recipe.h"
#include "control/revisions.h"
#include "control/state.h"

static char dir[] = "/tmp/test_state.XXXXXX";
static struct osh_revisions revisions;
static struct osh_err err;

static void make_dir(void)
{
	cr_assert(mkdtemp(dir) != NULL);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_dir(void)
{
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(state, .init = make_dir, .fini = remove_dir);

static void add(const char *text)
{
	cr_assert(
		eq(int, osh_revisions_add(dir, &revisions, osh_str(text), 1700000000, false, &err), 0),
		"%s", err.message);
}

static void write_file(const char *name, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	cr_assert(eq(int, osh_replace_file(path, text, strlen(text), 0600), 0));
}

static bool exists(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

static mode_t mode_of(const char *name)
{
	char path[PATH_MAX];
	struct stat st = { 0 };

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	cr_assert(eq(int, stat(path, &st), 0), "%s", name);
	return st.st_mode & 07777;
}

/* Where a revision's text lies, below `dir`. */
static const char *file_of(const struct osh_revision *revision)
{
	static char name[256];

	snprintf(name, sizeof(name), "policy/%u.%lld.%s.yaml", revision->number,
		 (long long)revision->time, revision->sha256);
	return name;
}

/* FIPS 180-2, B.1 */
Test(state, sha256_is_sha256)
{
	char hex[OSH_SHA256_HEX];

	cr_assert(eq(int, osh_state_sha256(osh_str("abc"), hex), 0));
	cr_expect_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

Test(state, revisions_are_kept_and_found_again)
{
	struct osh_revisions again;
	const struct osh_revision *revision;
	char *text = NULL;
	size_t len = 0;

	add("version: 1\n");
	osh_revisions_loaded(&revisions, 1);
	cr_expect(eq(int, revisions.items[0].status, OSH_REVISION_LOADED));
	add("version: 1 # two\n");
	cr_assert(eq(int, osh_revisions_load(dir, &again, &err), 0), "%s", err.message);
	cr_expect(eq(u32, again.current, 2));
	cr_assert(eq(sz, again.count, 2));
	cr_expect(eq(int, again.items[0].status, OSH_REVISION_SUPERSEDED));
	cr_expect(eq(int, again.items[1].status, OSH_REVISION_PENDING));
	cr_expect(eq(i64, again.items[1].time, 1700000000));
	revision = osh_revisions_current(&again);
	cr_assert(eq(int, osh_revision_read(dir, revision, &text, &len, &err), 0));
	cr_expect_str_eq(text, "version: 1 # two\n");
	cr_expect(eq(sz, len, strlen(text)));
	free(text);
	cr_expect(eq(u32, mode_of("policy"), 0700));
	cr_expect(eq(u32, mode_of(file_of(revision)), 0600));
}

Test(state, a_failed_revision_gives_way_to_the_one_before)
{
	struct osh_revisions again;

	add("one");
	add("two");
	cr_assert(eq(int, osh_revisions_failed(dir, &revisions, &err), 0));
	cr_assert(eq(int, osh_revisions_load(dir, &again, &err), 0));
	cr_expect(eq(u32, again.current, 1));
	cr_expect(eq(int, again.items[1].status, OSH_REVISION_FAILED));
	cr_expect(eq(int, revisions.items[0].status, OSH_REVISION_LOADED));
	add("three");
	cr_expect(eq(u32, revisions.current, 3), "numbers are not used twice");
}

Test(state, a_first_revision_that_failed_leaves_none)
{
	struct osh_revisions again;

	add("one");
	cr_assert(eq(int, osh_revisions_failed(dir, &revisions, &err), 0));
	cr_expect(eq(u32, revisions.current, 0));
	cr_expect_null(osh_revisions_current(&revisions));
	cr_assert(eq(int, osh_revisions_load(dir, &again, &err), 0));
	cr_expect_null(osh_revisions_current(&again));
}

Test(state, the_oldest_revision_goes)
{
	struct osh_revisions again;
	char first[256];

	add("text");
	snprintf(first, sizeof(first), "%s", file_of(&revisions.items[0]));
	for (int i = 1; i <= OSH_REVISIONS_MAX; i++)
		add("text");
	cr_expect(eq(sz, revisions.count, OSH_REVISIONS_MAX));
	cr_expect(eq(u32, revisions.items[0].number, 2));
	cr_expect(eq(u32, revisions.current, OSH_REVISIONS_MAX + 1));
	cr_expect(not(exists(first)));
	cr_expect(exists(file_of(&revisions.items[0])));
	/* One that a crash left goes at the next start. */
	write_file(first, "text");
	cr_assert(eq(int, osh_revisions_load(dir, &again, &err), 0));
	cr_expect(not(exists(first)));
	cr_expect(eq(sz, again.count, OSH_REVISIONS_MAX));
	cr_expect(eq(u32, again.items[0].number, 2));
}

/* A text cut short on disk must never be used, though it may be valid. */
Test(state, every_cut_of_a_policy_is_refused)
{
	static const char whole[] = "version: 1\nnetwork_policies: {}\n";
	char *text = NULL;
	size_t len = 0;

	add(whole);
	for (size_t cut = 0; cut < sizeof(whole) - 1; cut++) {
		char part[sizeof(whole)] = "";

		memcpy(part, whole, cut);
		write_file(file_of(&revisions.items[0]), part);
		cr_expect(eq(int,
			     osh_revision_read(dir, &revisions.items[0], &text, &len, &err),
			     -EBADMSG),
			  "cut at %zu", cut);
	}
	write_file(file_of(&revisions.items[0]), whole);
	cr_expect(eq(int, osh_revision_read(dir, &revisions.items[0], &text, &len, &err), 0));
	free(text);
}

/* The directory is the index: what does not belong there makes all of it untrusted. */
Test(state, a_strange_file_among_the_revisions_is_refused)
{
#define HASH "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1"
	static const char *const names[] = {
		"x",	  "2",		    "2.1700000000." HASH,     "0.1700000000." HASH ".yaml",
		"2..yaml", "2.-1." HASH ".yaml", "2.1." HASH "0.yaml",    "1.1." HASH ".yaml",
		"2.1." HASH ".yaml.old", "4294967296.1." HASH ".yaml", "+2.1." HASH ".yaml",
	};
	struct osh_revisions again;
	char path[PATH_MAX];

	cr_expect(eq(int, osh_revisions_load(dir, &again, &err), -ENOENT));
	add("text");
	write_file("policy/2.1." HASH ".yaml.new", "half written");
	cr_expect(eq(int, osh_revisions_load(dir, &again, &err), 0));
	for (size_t i = 0; i < OSH_COUNT_OF(names); i++) {
		snprintf(path, sizeof(path), "policy/%s", names[i]);
		write_file(path, "text");
		cr_expect(eq(int, osh_revisions_load(dir, &again, &err), -EBADMSG), "%s", names[i]);
		snprintf(path, sizeof(path), "%s/policy/%s", dir, names[i]);
		cr_assert(eq(int, unlink(path), 0));
	}
	write_file("policy/2.1." HASH ".yaml", "text");
	cr_assert(eq(int, osh_revisions_load(dir, &again, &err), 0));
	cr_expect(eq(u32, again.current, 2));
}

Test(state, nothing_changes_when_the_disk_refuses)
{
	struct osh_revisions before;
	char path[PATH_MAX], aside[PATH_MAX];

	add("one");
	before = revisions;
	snprintf(path, sizeof(path), "%s/policy", dir);
	snprintf(aside, sizeof(aside), "%s/aside", dir);
	cr_assert(eq(int, rename(path, aside), 0));
	write_file("policy", "a file in place of the directory");
	cr_expect(lt(int, osh_revisions_add(dir, &revisions, osh_str("two"), 0, false, &err), 0));
	cr_expect(eq(int, memcmp(&before, &revisions, sizeof(before)), 0));
	cr_assert(eq(int, unlink(path), 0));
	cr_assert(eq(int, rename(aside, path), 0));
	add("two");
	cr_expect(eq(u32, revisions.current, 2));
}

Test(state, the_origin_is_kept)
{
	struct osh_origin origin = { .owner = 1234 }, again;

	for (int i = 0; i < OSH_SECTION_COUNT; i++)
		snprintf(origin.sections[i], OSH_SHA256_HEX, "%064d", i);
	cr_assert(eq(int, osh_state_origin_save(dir, &origin, &err), 0));
	cr_expect(eq(u32, mode_of("origin.json"), 0600));
	cr_assert(eq(int, osh_state_origin_load(dir, &again, &err), 0), "%s", err.message);
	cr_expect(eq(int, memcmp(&origin, &again, sizeof(origin)), 0));
	write_file("origin.json", "{\"owner\":-1,\"sections\":{}}");
	cr_expect(eq(int, osh_state_origin_load(dir, &again, &err), -EBADMSG));
}

Test(state, static_sections_have_digests_of_their_own)
{
	char *ro[] = { "/usr", "/lib" }, *joined[] = { "/usr/lib" }, *agent[] = { "/run/agent" };
	struct osh_policy_static a = { .has_filesystem = true,
				       .read_only = ro,
				       .read_only_count = 2 };
	struct osh_policy_static b = a;
	char da[OSH_SECTION_COUNT][OSH_SHA256_HEX], db[OSH_SECTION_COUNT][OSH_SHA256_HEX];

	cr_assert(eq(int, osh_state_digest_static(&a, da), 0));
	cr_assert(eq(int, osh_state_digest_static(&b, db), 0));
	cr_expect(eq(int, memcmp(da, db, sizeof(da)), 0));
	b.read_only = joined;
	b.read_only_count = 1;
	b.landlock = OSH_LANDLOCK_HARD_REQUIREMENT;
	b.unix_sockets = agent;
	b.unix_socket_count = 1;
	cr_assert(eq(int, osh_state_digest_static(&b, db), 0));
	cr_expect_str_neq(da[OSH_SECTION_FILESYSTEM], db[OSH_SECTION_FILESYSTEM]);
	cr_expect_str_neq(da[OSH_SECTION_LANDLOCK], db[OSH_SECTION_LANDLOCK]);
	cr_expect_str_neq(da[OSH_SECTION_UNIX_SOCKETS], db[OSH_SECTION_UNIX_SOCKETS]);
	cr_expect_str_eq(da[OSH_SECTION_PROCESS], db[OSH_SECTION_PROCESS]);
}

Test(state, the_ca_key_is_for_root_alone)
{
	char *cert = NULL, *key = NULL;

	cr_assert(eq(int, osh_state_ca_save(dir, "certificate", "key", &err), 0));
	cr_expect(eq(u32, mode_of("ca.json"), 0600));
	cr_assert(eq(int, osh_state_ca_load(dir, &cert, &key, &err), 0));
	cr_expect_str_eq(cert, "certificate");
	cr_expect_str_eq(key, "key");
	free(cert);
	free(key);
	write_file("ca.json", "{\"certificate\":\"x\"}");
	cr_expect(eq(int, osh_state_ca_load(dir, &cert, &key, &err), -EBADMSG));
}

Test(state, placeholders_are_kept)
{
	struct osh_credentials credentials = { 0 }, again;

	cr_assert(eq(int, osh_state_credentials_load(dir, &again, &err), 0));
	cr_expect(eq(sz, again.count, 0));
	credentials.count = 1;
	snprintf(credentials.items[0].provider, OSH_NAME_MAX, "my-github");
	credentials.items[0].placeholder = strdup("ghp_xyz");
	cr_assert(eq(int, osh_state_credentials_save(dir, &credentials, &err), 0));
	cr_expect(eq(u32, mode_of("credentials.json"), 0600));
	cr_assert(eq(int, osh_state_credentials_load(dir, &again, &err), 0));
	cr_assert(eq(sz, again.count, 1));
	cr_expect_str_eq(again.items[0].provider, "my-github");
	cr_expect_str_eq(again.items[0].placeholder, "ghp_xyz");
	osh_credentials_done(&again);
	write_file("credentials.json", "[{\"provider\":\"a\",\"placeholder\":\"b\"},{}]");
	cr_expect(eq(int, osh_state_credentials_load(dir, &again, &err), -EBADMSG));
	osh_credentials_done(&credentials);
}

/* ---- Names ---------------------------------------- */

static bool never(void *context, const char *name)
{
	(void)context;
	(void)name;
	return false;
}

static bool always(void *context, const char *name)
{
	(void)context;
	(void)name;
	return true;
}

/* Only names with a number are free. */
static bool has_no_number(void *context, const char *name)
{
	(void)context;
	return strpbrk(name, "0123456789") == NULL;
}

static bool is_valid(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < OSH_NAME_MAX && name[0] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

Test(names, are_valid_and_free)
{
	char name[OSH_NAME_MAX];

	for (int i = 0; i < 200; i++) {
		cr_assert(eq(int, osh_name_make(never, NULL, name), 0));
		cr_expect(is_valid(name), "%s", name);
	}
	cr_assert(eq(int, osh_name_make(has_no_number, NULL, name), 0));
	cr_expect(is_valid(name), "%s", name);
	cr_expect(eq(int, osh_name_make(always, NULL, name), -EEXIST));
}

/* ---- The agent's directories ---------------------------------------- */

Test(state, a_second_agent_is_kept_out)
{
	int first = osh_host_dir_lock(dir, &err), second;
	char pid[32];

	cr_assert(ge(int, first, 0));
	second = osh_host_dir_lock(dir, &err);
	cr_expect(eq(int, second, -EBUSY));
	snprintf(pid, sizeof(pid), "(pid %d)", (int)getpid());
	cr_expect(strstr(err.message, pid) != NULL, "%s", err.message);
	osh_host_dir_unlock(dir);
	osh_close(first);
	cr_expect(not(exists("openshelld.lock")));
	second = osh_host_dir_lock(dir, &err);
	cr_expect(ge(int, second, 0));
	osh_close(second);
}

Test(state, directories_that_others_can_write_are_refused)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/a/b", dir);
	cr_assert(eq(int, osh_host_dir_make(path, 0700, &err), 0));
	cr_expect(eq(u32, mode_of("a/b"), 0700));
	cr_expect(eq(int, osh_host_dir_make(path, 0700, &err), 0));
	cr_assert(eq(int, chmod(path, 0770), 0));
	cr_expect(eq(int, osh_host_dir_make(path, 0700, &err), -EPERM));
	write_file("file", "");
	snprintf(path, sizeof(path), "%s/file", dir);
	cr_expect(eq(int, osh_host_dir_make(path, 0700, &err), -ENOTDIR));
}

/* ---- Recipes ---------------------------------------- */

Test(state, recipes_come_back_as_they_were)
{
	struct osh_recipe recipe = {
		.env = json_pack("[s, s]", "A=1", "B= x\n"),
		.labels = json_pack("{s:s}", "tier/a.b-c_d", "web"),
		.command = json_pack("[s, s]", "sh", "-c"),
		.workdir = json_string("/tmp"),
		.limits = { .of = { 1500, 1 << 30, 7 } },
	};
	struct osh_recipe loaded = { 0 }, none = { 0 };

	cr_assert(eq(int, osh_recipe_load(dir, &loaded, &err), -ENOENT));
	cr_assert(eq(int, osh_recipe_save(dir, &recipe, &err), 0), "%s", err.message);
	cr_expect(eq(u32, mode_of("recipe.json"), 0600));
	cr_assert(eq(int, osh_recipe_load(dir, &loaded, &err), 0), "%s", err.message);
	cr_expect(json_equal(loaded.env, recipe.env));
	cr_expect(json_equal(loaded.labels, recipe.labels));
	cr_expect(json_equal(loaded.command, recipe.command));
	cr_expect(json_equal(loaded.workdir, recipe.workdir));
	cr_expect(eq(ptr, loaded.command_env, NULL));
	cr_expect_arr_eq(loaded.limits.of, recipe.limits.of, sizeof(recipe.limits.of));
	osh_recipe_done(&loaded);
	osh_recipe_done(&recipe);
	/* Nothing asked for is a recipe too. */
	cr_assert(eq(int, osh_recipe_save(dir, &none, &err), 0));
	cr_assert(eq(int, osh_recipe_load(dir, &loaded, &err), 0), "%s", err.message);
	cr_expect(all(eq(ptr, loaded.env, NULL), eq(ptr, loaded.workdir, NULL)));
	osh_recipe_done(&loaded);
}

Test(state, damaged_recipes_are_told)
{
	static const char *const cases[] = {
		"", "{", "[]", "{}", "{\"limits\": 1}", "{\"limits\": {\"cpu_milli\": -1}}",
		"{\"limits\": {\"more\": 1}}", "{\"limits\": {}, \"env\": \"A=1\"}",
		"{\"limits\": {}, \"env\": [1]}", "{\"limits\": {}, \"command\": {}}",
		"{\"limits\": {}, \"workdir\": []}", "{\"limits\": {}, \"labels\": [\"a\"]}",
		"{\"limits\": {}, \"labels\": {\"a\": 1}}", "{\"limits\": {}, \"labels\": {\"a b\": \"\"}}",
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct osh_recipe recipe = { 0 };

		write_file("recipe.json", cases[i]);
		cr_expect(eq(int, osh_recipe_load(dir, &recipe, &err), -EBADMSG), "%s", cases[i]);
		cr_expect(all(eq(ptr, recipe.env, NULL), eq(ptr, recipe.labels, NULL)), "%s", cases[i]);
	}
}

Test(state, labels_are_checked)
{
	json_t *many = json_object();
	char key[OSH_LABEL_BYTES_MAX + 2];

	for (int i = 0; i < OSH_LABELS_MAX; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		json_object_set_new(many, key, json_string("v"));
	}
	cr_expect(eq(int, osh_recipe_check_labels(many, &err), 0));
	json_object_set_new(many, "one-more", json_string("v"));
	cr_expect(eq(int, osh_recipe_check_labels(many, &err), -EINVAL));
	json_object_clear(many);
	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	json_object_set_new(many, key + 1, json_string(key + 1));
	cr_expect(eq(int, osh_recipe_check_labels(many, &err), 0));
	json_object_set_new(many, key, json_string(""));
	cr_expect(eq(int, osh_recipe_check_labels(many, &err), -EINVAL));
	json_object_clear(many);
	json_object_set_new(many, "", json_string(""));
	cr_expect(eq(int, osh_recipe_check_labels(many, &err), -EINVAL));
	json_decref(many);
	cr_expect(eq(int, osh_recipe_check_labels(NULL, &err), 0));
}

Test(state, a_long_command_is_shown_cut_between_words)
{
	struct osh_recipe recipe = { .command = json_array() };
	const char *shown;
	json_t *json;

	for (int i = 0; i < 100; i++)
		json_array_append_new(recipe.command, json_string("word"));
	json = osh_recipe_json(&recipe);
	shown = json_string_value(json_object_get(json, "command"));
	cr_expect(all(gt(sz, strlen(shown), 200), lt(sz, strlen(shown), 256)));
	cr_expect_str_eq(shown + strlen(shown) - 9, "word word");
	json_decref(json);
	osh_recipe_done(&recipe);
}

Test(state, all_of_it_can_be_synced)
{
	cr_expect(lt(int, osh_state_sync(dir, &err), 0), "there is no policy yet");
	cr_assert(eq(int, osh_revisions_add(dir, &revisions, osh_str("version: 1\n"), 1, false, &err), 0));
	cr_expect(eq(int, osh_state_sync(dir, &err), 0), "%s", err.message);
	cr_expect(lt(int, osh_state_sync("/nowhere", &err), 0));
}
