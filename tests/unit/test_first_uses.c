/* What executables held at their first use: the same, others, versions, and all of it for the next
 * agent. Each test has a directory of its own; "the next agent" reads it anew. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "control/first_uses.h"

static char dir[] = "/tmp/test_first_uses.XXXXXX";
static struct osh_first_uses uses;
static const unsigned char old_bytes[OSH_DIGEST_LEN] = { 1 }, new_bytes[OSH_DIGEST_LEN] = { 2 };

static void make_dir(void)
{
	cr_assert(mkdtemp(dir) != NULL);
}

static const char *file(void)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/first_uses", dir);
	return path;
}

static void remove_dir(void)
{
	osh_first_uses_done(&uses);
	(void)unlink(file());
	(void)rmdir(dir);
}

TestSuite(first_uses, .init = make_dir, .fini = remove_dir);

/* A version of an executable; `ctime_ns` tells versions apart. */
static struct osh_identity version(const char *path, uint64_t ctime_ns)
{
	struct osh_identity identity = { .sandbox = 1, .dev = 2, .ino = 3, .ctime_ns = ctime_ns };

	snprintf(identity.path, sizeof(identity.path), "%s", path);
	return identity;
}

static int see(const char *path, uint64_t ctime_ns, const unsigned char digest[OSH_DIGEST_LEN])
{
	struct osh_identity identity = version(path, ctime_ns);

	return osh_first_uses_see(&uses, dir, &identity, digest);
}

static const unsigned char *recall(const char *path, uint64_t ctime_ns)
{
	struct osh_identity identity = version(path, ctime_ns);

	return osh_first_uses_recall(&uses, &identity);
}

static int start_next_agent(void)
{
	struct osh_err err = { 0 };

	osh_first_uses_done(&uses);
	uses = (struct osh_first_uses){ 0 };
	return osh_first_uses_load(&uses, dir, &err);
}

static off_t size_on_disk(void)
{
	struct stat st;

	return stat(file(), &st) == 0 ? st.st_size : 0;
}

Test(first_uses, other_bytes_are_refused_by_this_agent_and_the_next)
{
	for (int agent = 0; agent < 3; agent++) {
		cr_expect(eq(int, see("/usr/bin/git", 10, old_bytes), 0));
		cr_expect(eq(int, see("/usr/bin/git", 11, new_bytes), -ESTALE));
		cr_expect(eq(int, see("/usr/bin/curl", 12, new_bytes), 0));
		cr_expect(eq(int, start_next_agent(), 0));
	}
}

Test(first_uses, the_same_bytes_in_another_version_are_the_same)
{
	cr_expect(eq(int, see("/bin/a", 10, old_bytes), 0));
	cr_expect(eq(int, see("/bin/a", 11, old_bytes), 0));
	cr_assert(eq(int, start_next_agent(), 0));
	cr_expect(eq(int, see("/bin/a", 12, old_bytes), 0));
}

Test(first_uses, a_version_that_was_trusted_is_recalled_and_no_other)
{
	cr_expect(eq(ptr, (void *)recall("/bin/a", 10), NULL));
	cr_expect(eq(int, see("/bin/a", 10, old_bytes), 0));
	cr_expect(eq(int, see("/bin/a", 11, new_bytes), -ESTALE));
	for (int agent = 0; agent < 2; agent++) {
		cr_assert(ne(ptr, (void *)recall("/bin/a", 10), NULL));
		cr_expect(eq(int, memcmp(recall("/bin/a", 10), old_bytes, OSH_DIGEST_LEN), 0));
		cr_expect(eq(ptr, (void *)recall("/bin/a", 11), NULL), "denied");
		cr_expect(eq(ptr, (void *)recall("/bin/b", 10), NULL), "the same file by another path");
		cr_assert(eq(int, start_next_agent(), 0));
	}
}

Test(first_uses, a_new_policy_begins_anew_for_the_next_agent_too)
{
	cr_expect(eq(int, see("/bin/a", 10, old_bytes), 0));
	osh_first_uses_reset(&uses, dir);
	cr_expect(ne(ptr, (void *)recall("/bin/a", 10), NULL), "what runs may run on");
	cr_assert(eq(int, start_next_agent(), 0));
	cr_expect(eq(int, see("/bin/a", 11, new_bytes), 0));
	cr_expect(eq(int, see("/bin/a", 10, old_bytes), -ESTALE));
}

Test(first_uses, what_cannot_be_kept_is_not_trusted)
{
	cr_assert(eq(int, mkdir(file(), 0700), 0)); /* in the way */
	cr_expect(eq(int, see("/bin/a", 10, old_bytes), -EISDIR));
	cr_expect(eq(ptr, (void *)recall("/bin/a", 10), NULL));
	cr_assert(eq(int, rmdir(file()), 0));
	cr_expect(eq(int, see("/bin/a", 10, old_bytes), 0));
}

Test(first_uses, a_damaged_file_trusts_nothing_until_the_policy_is_set)
{
	cr_expect(eq(int, see("/bin/a", 10, old_bytes), 0));
	cr_expect(eq(int, see("/bin/b", 10, old_bytes), 0));
	cr_assert(eq(int, truncate(file(), size_on_disk() - 1), 0));
	cr_expect(eq(int, start_next_agent(), -EBADMSG));
	cr_expect(eq(int, see("/bin/a", 10, old_bytes), -EBADMSG));
	cr_expect(eq(ptr, (void *)recall("/bin/a", 10), NULL));
	osh_first_uses_reset(&uses, dir);
	cr_expect(eq(int, see("/bin/a", 10, old_bytes), 0));
	cr_expect(eq(int, start_next_agent(), 0));
}

Test(first_uses, a_path_that_does_not_end_is_damage)
{
	char *bytes;
	size_t len;

	cr_expect(eq(int, see("/bin/a", 10, old_bytes), 0));
	cr_assert(eq(int, osh_read_file(file(), 4096, &bytes, &len), 0));
	memset(bytes, 'x', OSH_PATH_MAX);
	cr_assert(eq(int, osh_replace_file(file(), bytes, len, 0600), 0));
	free(bytes);
	cr_expect(eq(int, start_next_agent(), -EBADMSG));
}

Test(first_uses, there_is_a_bound_and_known_bytes_need_no_room)
{
	off_t full;

	for (uint64_t i = 0; i < OSH_IDENTITIES_PER_SANDBOX_MAX; i++)
		cr_assert(eq(int, see("/bin/a", i, old_bytes), 0));
	full = size_on_disk();
	cr_expect(eq(int, see("/bin/a", OSH_IDENTITIES_PER_SANDBOX_MAX, old_bytes), 0));
	cr_expect(eq(int, see("/bin/b", 1, old_bytes), -ENOSPC));
	cr_expect(eq(i64, size_on_disk(), full));
	cr_expect(eq(int, start_next_agent(), 0), "a full file is read");
	cr_expect(eq(int, see("/bin/b", 1, old_bytes), -ENOSPC));
	osh_first_uses_reset(&uses, dir);
	cr_assert(eq(int, start_next_agent(), 0));
	cr_expect(eq(int, see("/bin/b", 1, old_bytes), 0));
}

Test(first_uses, a_finding_is_new_once)
{
	struct osh_identity identity = version("/bin/a", 10);

	identity.flags = OSH_EXE_INJECTED | OSH_EXE_UNLINKED;
	cr_expect(eq(u32, osh_first_uses_note(&uses, &identity), 0), "never used");
	cr_expect(eq(int, osh_first_uses_see(&uses, dir, &identity, old_bytes), 0));
	cr_expect(eq(u32, osh_first_uses_note(&uses, &identity), OSH_EXE_INJECTED));
	cr_expect(eq(u32, osh_first_uses_note(&uses, &identity), 0));
	identity.flags |= OSH_EXE_LOADER;
	cr_expect(eq(u32, osh_first_uses_note(&uses, &identity), OSH_EXE_LOADER));
}
