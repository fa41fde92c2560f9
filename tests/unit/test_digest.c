/* Digests of files, a slice at a time (agent/control/digest.c). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "control/digest.h"

static struct osh_loop *loop;
static struct osh_digests *digests;
static char path[] = "/tmp/osh-digest-XXXXXX";

struct outcome {
	unsigned count;
	int result;
	unsigned char digest[OSH_DIGEST_LEN];
};

static void begin(void)
{
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	cr_assert_eq(osh_write_full(fd, "abc", 3), 0);
	close(fd);
	loop = osh_loop_new();
	digests = osh_digests_new(loop);
	cr_assert(loop && digests);
}

static void end(void)
{
	osh_digests_free(digests);
	osh_loop_free(loop);
	unlink(path);
}

TestSuite(digest, .init = begin, .fini = end, .timeout = 60);

static void on_digest(void *context, int result, const unsigned char digest[OSH_DIGEST_LEN])
{
	struct outcome *outcome = context;

	outcome->count++;
	outcome->result = result;
	memcpy(outcome->digest, digest, sizeof(outcome->digest));
}

static int open_file(struct osh_digest_file *ret_file)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	cr_assert_geq(fd, 0);
	cr_assert_eq(fstat(fd, &st), 0);
	*ret_file = (struct osh_digest_file){
		.dev = st.st_dev, .ino = st.st_ino, .size = (uint64_t)st.st_size,
		.ctime_ns = (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec,
	};
	return fd;
}

static void get(struct outcome *outcome)
{
	struct osh_digest_file file;
	int fd = open_file(&file);

	osh_digests_get(digests, fd, &file, on_digest, outcome);
}

static void await(const struct outcome *outcome)
{
	for (int i = 0; outcome->count == 0 && i < 3000; i++)
		cr_assert_eq(osh_loop_run_once(loop, 10), 0);
	cr_assert_eq(outcome->count, 1);
}

/* FIPS 180-2, B.1. */
static const unsigned char digest_of_abc[OSH_DIGEST_LEN] = {
	0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
	0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
};

Test(digest, known_and_remembered)
{
	struct outcome first = { 0 }, second = { 0 }, third = { 0 };

	cr_assert_eq(chmod(path, 0600), 0); /* young again */
	get(&first);
	get(&second);
	cr_expect_eq(first.count, 0, "a file this young may change unseen");
	await(&first);
	cr_expect_eq(first.result, 0);
	cr_expect_arr_eq(first.digest, digest_of_abc, OSH_DIGEST_LEN);
	cr_expect_eq(second.count, 1, "one reading for both");
	cr_expect_arr_eq(second.digest, digest_of_abc, OSH_DIGEST_LEN);
	get(&third);
	cr_expect_eq(third.count, 1, "at once, the second time");
	cr_expect_arr_eq(third.digest, digest_of_abc, OSH_DIGEST_LEN);
}

/* A large file gives way to a small one, and is one reading of many slices. */
Test(digest, large_files_take_turns)
{
	struct outcome large = { 0 }, small = { 0 };
	char other[] = "/tmp/osh-digest-XXXXXX";
	struct osh_digest_file file;
	struct stat st;
	int fd = mkstemp(other);

	cr_assert_eq(truncate(path, 512 << 20), 0);
	cr_assert_eq(osh_write_full(fd, "abc", 3), 0);
	cr_assert_eq(fstat(fd, &st), 0);
	file = (struct osh_digest_file){
		.dev = st.st_dev, .ino = st.st_ino, .size = 3,
		.ctime_ns = (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec,
	};
	get(&large);
	osh_digests_get(digests, fd, &file, on_digest, &small);
	await(&small);
	cr_expect_arr_eq(small.digest, digest_of_abc, OSH_DIGEST_LEN);
	cr_expect_eq(large.count, 0, "512 MiB are not read in one slice");
	await(&large);
	cr_expect_eq(large.result, 0);
	unlink(other);
}

#define SLICES (64 << 20) /* bytes that are not read in one slice */

Test(digest, a_file_that_changes_is_refused)
{
	struct outcome outcome = { 0 };

	cr_assert_eq(truncate(path, SLICES), 0);
	get(&outcome);
	cr_assert_eq(chmod(path, 0700), 0);
	await(&outcome);
	cr_expect_eq(outcome.result, -ESTALE);
}

Test(digest, a_file_that_grows_is_refused)
{
	struct outcome outcome = { 0 };

	cr_assert_eq(truncate(path, SLICES), 0);
	get(&outcome);
	cr_assert_eq(truncate(path, SLICES + 1), 0);
	await(&outcome);
	cr_expect_eq(outcome.result, -ESTALE);
}

Test(digest, too_large_is_refused_at_once)
{
	struct outcome outcome = { 0 };

	cr_assert_eq(truncate(path, (1ll << 30) + 1), 0);
	get(&outcome);
	cr_expect_eq(outcome.count, 1);
	cr_expect_eq(outcome.result, -EFBIG);
}

Test(digest, who_waits_at_the_end_is_told)
{
	struct outcome outcome = { 0 };

	get(&outcome);
	osh_digests_free(digests);
	digests = NULL;
	cr_expect_eq(outcome.count, 1);
	cr_expect_eq(outcome.result, -ECANCELED);
}
