/* Descriptors: whole files, replaced files, sealed memory, passing. */
#include "base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/oshp-fd-XXXXXX";
static char path[128];

static void begin(void)
{
	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/file", dir);
}

static void end(void)
{
	unlink(path);
	rmdir(dir);
}

TestSuite(fd, .init = begin, .fini = end);

Test(fd, replace_and_read)
{
	struct stat st;
	char *data;
	size_t len;

	cr_assert(osh_replace_file(path, "old", 3, 0600) == 0);
	cr_assert(osh_replace_file(path, "newer", 5, 0640) == 0);
	cr_assert(osh_read_file(path, 5, &data, &len) == 0);
	cr_expect(len == 5 && strcmp(data, "newer") == 0);
	free(data);
	cr_expect(osh_read_file(path, 4, &data, &len) == -EFBIG);
	cr_expect(stat(path, &st) == 0 && (st.st_mode & 07777) == 0640);
	cr_expect(osh_read_file(dir, 100, &data, &len) == -EISDIR);
	cr_expect(osh_read_file("/nonexistent", 100, &data, &len) == -ENOENT);
	/* A pipe in place of the file does not hang the reader. */
	unlink(path);
	cr_assert(mkfifo(path, 0600) == 0);
	cr_expect(osh_read_file(path, 100, &data, &len) == -EINVAL);
}

/* A failure leaves the old file and nothing beside it. */
Test(fd, replace_fails_whole)
{
	char beside[160];

	snprintf(beside, sizeof(beside), "%s.new", path);
	cr_assert(mkdir(path, 0700) == 0);
	cr_expect(osh_replace_file(path, "x", 1, 0600) < 0);
	cr_expect(access(beside, F_OK) < 0 && errno == ENOENT);
	rmdir(path);
}

Test(fd, sealed)
{
	int fd = osh_memfd_sealed("oshp", "bytes", 5);
	char buf[5];

	cr_assert(fd >= 0);
	cr_expect(lseek(fd, 0, SEEK_SET) == 0 && osh_read_full(fd, buf, 5) == 0);
	cr_expect(memcmp(buf, "bytes", 5) == 0);
	cr_expect(osh_read_full(fd, buf, 1) == -ENODATA);
	cr_expect(write(fd, "x", 1) < 0 && errno == EPERM);
	cr_expect(ftruncate(fd, 1) < 0 && errno == EPERM);
	cr_expect(mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	close(fd);
}

static size_t open_descriptors(void)
{
	size_t count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

Test(fd, passing)
{
	int pair[2], out[3] = { 0, 1, 2 }, in[OSH_FDS_MAX];
	size_t len, count, before;
	char buf[16];

	cr_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	cr_assert(osh_send_fds(pair[0], "hello", 5, out, 3) == 0);
	cr_assert(osh_recv_fds(pair[1], buf, sizeof(buf), &len, in, OSH_FDS_MAX, &count) == 0);
	cr_expect(len == 5 && count == 3);
	for (size_t i = 0; i < count; i++) {
		cr_expect(fcntl(in[i], F_GETFD) & FD_CLOEXEC);
		close(in[i]);
	}
	/* Too many, or too long: refused whole, and nothing stays open. */
	before = open_descriptors();
	cr_assert(osh_send_fds(pair[0], "hello", 5, out, 3) == 0);
	cr_expect(osh_recv_fds(pair[1], buf, sizeof(buf), &len, in, 2, &count) == -EMSGSIZE);
	cr_assert(osh_send_fds(pair[0], "a longer message", 16, out, 3) == 0);
	cr_expect(osh_recv_fds(pair[1], buf, 5, &len, in, OSH_FDS_MAX, &count) == -EMSGSIZE);
	cr_expect(open_descriptors() == before, "%zu, then %zu", before, open_descriptors());
	close(pair[0]);
	cr_assert(osh_recv_fds(pair[1], buf, sizeof(buf), &len, in, OSH_FDS_MAX, &count) == 0);
	cr_expect(len == 0, "the peer closed");
	close(pair[1]);
}
