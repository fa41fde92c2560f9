/* Descriptors: whole reads and writes, files replaced, sealed memory, passing. */
#include "base/fd.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char home[] = "/tmp/osh-test-fd-XXXXXX";
static char path[128], temporary[160];

static void make_home(void)
{
	cr_assert_not_null(mkdtemp(home));
	snprintf(path, sizeof(path), "%s/file", home);
	snprintf(temporary, sizeof(temporary), "%s.new", path);
}

static void remove_home(void)
{
	unlink(path);
	unlink(temporary);
	rmdir(home);
}

TestSuite(fd, .init = make_home, .fini = remove_home);

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static atomic_bool is_over;

static void *rename_all_the_time(void *unused)
{
	(void)unused;
	while (!atomic_load(&is_over)) {
		rename(path, temporary);
		rename(temporary, path);
	}
	return NULL;
}

/* The kernel lets a ".." fail whenever something is renamed meanwhile, anywhere. */
Test(fd, a_path_with_dots_opens_while_files_are_renamed)
{
	int root = open(home, O_PATH | O_DIRECTORY | O_CLOEXEC);
	pthread_t thread;

	osh_close(open(path, O_CREAT | O_WRONLY, 0600));
	cr_assert(eq(int, pthread_create(&thread, NULL, rename_all_the_time, NULL), 0));
	for (int i = 0; i < 20000; i++) {
		int fd = osh_open_in_root(root, "/../../..", O_PATH, 0);

		cr_assert(is_open(fd), "try %d: %s", i, strerror(-fd));
		osh_close(fd);
	}
	atomic_store(&is_over, true);
	pthread_join(thread, NULL);
	osh_close(root);
}

Test(fd, nothing_leads_out_of_a_root)
{
	int root = open(home, O_PATH | O_DIRECTORY | O_CLOEXEC), top = open("/", O_PATH | O_CLOEXEC), found;

	cr_assert(eq(int, symlink("../../../etc/passwd", path), 0));
	cr_expect(eq(int, osh_open_in_root(root, "/file", O_PATH, 0), -ENOENT));
	cr_expect(eq(int, osh_open_in_root(root, "/file", O_PATH, RESOLVE_NO_SYMLINKS), -ELOOP));
	unlink(path);
	cr_assert(eq(int, symlink("/proc/self/root/etc/passwd", path), 0));
	cr_expect(eq(int, osh_open_in_root(top, path, O_PATH, 0), -ELOOP), "a magic link");
	unlink(path);
	osh_close(open(temporary, O_CREAT | O_WRONLY, 0600));
	cr_assert(eq(int, symlink("../../../file.new", path), 0));
	found = osh_open_in_root(root, "/file", O_PATH, 0);
	cr_expect(is_open(found), "what stays inside is found");
	osh_close(found);
	osh_close(top);
	osh_close(root);
}

Test(fd, close_keeps_errno_and_takes_nothing)
{
	int fd = open("/dev/null", O_RDONLY);

	errno = ENOTTY;
	cr_expect_eq(osh_close(fd), -1);
	cr_expect_not(is_open(fd));
	errno = ENOTTY;
	cr_expect_eq(osh_close(-1), -1);
	cr_expect_eq(errno, ENOTTY);
}

Test(fd, cleanup_and_take)
{
	int kept, lost;

	{
		_cleanup_fd_ int fd = open("/dev/null", O_RDONLY);
		_cleanup_fd_ int other = open("/dev/null", O_RDONLY);

		lost = other;
		kept = osh_take_fd(&fd);
		cr_expect_eq(fd, -1);
	}
	cr_expect(is_open(kept));
	cr_expect_not(is_open(lost));
	close(kept);
}

static void *write_slowly(void *fd)
{
	for (const char *c = "slowly"; *c; c++)
		cr_assert_eq(write(*(int *)fd, c, 1), 1);
	close(*(int *)fd);
	return NULL;
}

Test(fd, read_full_waits_for_all_and_knows_the_end)
{
	char buf[16] = "";
	pthread_t thread;
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	cr_assert_eq(pthread_create(&thread, NULL, write_slowly, &ends[1]), 0);
	cr_expect_eq(osh_read_full(ends[0], buf, 6), 0);
	cr_expect_str_eq(buf, "slowly");
	cr_expect_eq(osh_read_full(ends[0], buf, 1), -ENODATA);
	cr_expect_eq(osh_read_full(ends[0], buf, 0), 0);
	pthread_join(thread, NULL);
	close(ends[0]);
	cr_expect_eq(osh_read_full(-1, buf, 1), -EBADF);
	cr_expect_eq(osh_write_full(-1, buf, 1), -EBADF);
}

Test(fd, replace_file_swaps_whole_files)
{
	char *text;
	struct stat st;
	size_t len;

	umask(0);
	cr_assert_eq(osh_replace_file(path, "one", 3, 0600), 0);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0600);
	/* What a crash left beside it is no hindrance. */
	cr_assert_eq(symlink("/etc/passwd", temporary), 0);
	cr_assert_eq(osh_replace_file(path, "second", 6, 0644), 0);
	cr_assert_eq(osh_read_file(path, 100, &text, &len), 0);
	cr_expect_str_eq(text, "second");
	cr_expect_eq(len, 6);
	cr_expect_neq(access(temporary, F_OK), 0);
	free(text);
	snprintf(temporary, sizeof(temporary), "%s/absent/file", home);
	cr_expect_eq(osh_replace_file(temporary, "x", 1, 0600), -ENOENT);
}

Test(fd, read_file_is_bounded_and_takes_files_only)
{
	char *text = NULL;
	size_t len = 99;

	cr_expect_eq(osh_read_file(path, 10, &text, &len), -ENOENT);
	cr_assert_eq(osh_replace_file(path, "0123456789", 10, 0600), 0);
	cr_expect_eq(osh_read_file(path, 9, &text, &len), -EFBIG);
	cr_expect_null(text);
	cr_expect_eq(len, 99);
	cr_assert_eq(osh_read_file(path, 10, &text, &len), 0);
	cr_expect_str_eq(text, "0123456789");
	free(text);
	cr_expect_eq(osh_read_file(home, 10, &text, &len), -EISDIR);
	cr_expect_eq(osh_read_file("/dev/null", 10, &text, &len), -EINVAL);
	unlink(path);
	cr_assert_eq(mkfifo(path, 0600), 0);
	cr_expect_eq(osh_read_file(path, 10, &text, &len), -EINVAL, "a FIFO must not hang us");
	unlink(path);
	cr_assert_eq(osh_replace_file(path, "", 0, 0600), 0);
	cr_assert_eq(osh_read_file(path, 0, &text, &len), 0, "an empty file is a file");
	cr_expect_str_eq(text, "");
	free(text);
}

/* Files of /proc report no size. */
Test(fd, read_file_reads_what_has_no_size)
{
	char *text;
	size_t len;

	cr_assert_eq(osh_read_file("/proc/self/status", 1 << 20, &text, &len), 0);
	cr_expect_not_null(strstr(text, "Pid:"));
	free(text);
}

Test(fd, reads_a_memfd_that_is_sealed_and_nothing_else)
{
	int fd = osh_memfd_sealed("test", "by\0es", 5), pair[2];
	char *data = NULL;
	size_t len = 0;

	cr_assert_geq(fd, 0);
	cr_expect_eq(lseek(fd, 3, SEEK_SET), 3, "the position is the other side's");
	cr_assert_eq(osh_memfd_read(fd, 5, &data, &len), 0);
	cr_expect_eq(len, 5);
	cr_expect_eq(memcmp(data, "by\0es", 6), 0);
	free(data);
	cr_expect_eq(osh_memfd_read(fd, 4, &data, &len), -EFBIG);
	osh_close(fd);

	fd = memfd_create("half", MFD_ALLOW_SEALING);
	cr_expect_eq(osh_memfd_read(fd, 5, &data, &len), -EPERM, "not sealed");
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	cr_expect_eq(osh_memfd_read(fd, 5, &data, &len), -EPERM, "it can still be written");
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	cr_assert_eq(osh_memfd_read(fd, 5, &data, &len), 0);
	cr_expect_eq(len, 0);
	free(data);
	osh_close(fd);

	cr_assert_eq(pipe(pair), 0);
	cr_expect_eq(osh_memfd_read(pair[0], 5, &data, &len), -EPERM, "it would wait");
	osh_close(pair[0]);
	osh_close(pair[1]);
	fd = open("/etc/passwd", O_RDONLY);
	cr_expect_eq(osh_memfd_read(fd, 5, &data, &len), -EPERM);
	osh_close(fd);
}

Test(fd, a_sealed_memfd_stays_as_it_is)
{
	int fd = osh_memfd_sealed("test", "bytes", 5);
	char buf[8] = "";

	cr_assert_geq(fd, 0);
	cr_expect_eq(pread(fd, buf, sizeof(buf), 0), 5);
	cr_expect_str_eq(buf, "bytes");
	cr_expect_lt(pwrite(fd, "x", 1, 0), 0);
	cr_expect_lt(ftruncate(fd, 0), 0);
	cr_expect_lt(ftruncate(fd, 100), 0);
	cr_expect_eq(mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	cr_expect_lt(fcntl(fd, F_ADD_SEALS, 0), 0);
	cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

Test(fd, flags)
{
	int fd = open("/dev/null", O_RDONLY);

	cr_expect_eq(osh_set_nonblocking(fd), 0);
	cr_expect(ne(int, fcntl(fd, F_GETFL) & O_NONBLOCK, 0));
	cr_expect_eq(osh_set_cloexec(fd, 1), 0);
	cr_expect(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	cr_expect_eq(osh_set_cloexec(fd, 0), 0);
	cr_expect_not(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	cr_expect_eq(osh_set_nonblocking(fd), -EBADF);
}

/* ---- Passing --------------------------------------------------------------------------- */

static int count_open(void)
{
	int count = 0;

	for (int fd = 0; fd < 200; fd++)
		count += is_open(fd);
	return count;
}

Test(fd, descriptors_travel_with_their_message)
{
	int socks[2], ends[2], got[4] = { -1, -1, -1, -1 };
	size_t len = 0, count = 0;
	char buf[16] = "";

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks), 0);
	cr_assert_eq(pipe(ends), 0);
	cr_assert_eq(osh_send_fds(socks[0], "two", 4, ends, 2), 0);
	cr_assert_eq(osh_send_fds(socks[0], "none", 5, NULL, 0), 0);
	cr_assert_eq(osh_recv_fds(socks[1], buf, sizeof(buf), &len, got, 4, &count), 0);
	cr_expect_str_eq(buf, "two");
	cr_expect_eq(count, 2);
	cr_expect(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(write(got[1], "p", 1), 1);
	cr_assert_eq(read(ends[0], buf, 1), 1);
	cr_expect_eq(buf[0], 'p');
	cr_assert_eq(osh_recv_fds(socks[1], buf, sizeof(buf), &len, got + 2, 2, &count), 0);
	cr_expect_str_eq(buf, "none");
	cr_expect_eq(count, 0);
	close(socks[0]);
	cr_assert_eq(osh_recv_fds(socks[1], buf, sizeof(buf), &len, NULL, 0, &count), 0);
	cr_expect_eq(len, 0, "the peer closed");
}

Test(fd, surplus_descriptors_and_long_messages_are_errors_that_leak_nothing)
{
	int socks[2], null = open("/dev/null", O_RDONLY), got[1], before;
	int many[3] = { null, null, null };
	size_t len = 0, count = 0;
	char buf[4];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks), 0);
	before = count_open();
	cr_assert_eq(osh_send_fds(socks[0], "x", 1, many, 3), 0);
	cr_expect_eq(osh_recv_fds(socks[1], buf, sizeof(buf), &len, got, 1, &count), -EMSGSIZE);
	cr_assert_eq(osh_send_fds(socks[0], "x", 1, many, 1), 0);
	cr_expect_eq(osh_recv_fds(socks[1], buf, sizeof(buf), &len, NULL, 0, &count), -EMSGSIZE);
	cr_assert_eq(osh_send_fds(socks[0], "too long", 9, many, 1), 0);
	cr_expect_eq(osh_recv_fds(socks[1], buf, sizeof(buf), &len, got, 1, &count), -EMSGSIZE);
	cr_expect_eq(count_open(), before);
	cr_expect_eq(osh_send_fds(socks[0], "x", 1, many, OSH_FDS_MAX + 1), -EINVAL);
	/* The twin: what fits arrives. */
	cr_assert_eq(osh_send_fds(socks[0], "x", 1, many, 1), 0);
	cr_expect_eq(osh_recv_fds(socks[1], buf, sizeof(buf), &len, got, 1, &count), 0);
	cr_expect_eq(count, 1);
}

Test(fd, a_full_socket_says_so)
{
	int socks[2], r;
	char block[4096] = "";

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, socks), 0);
	do
		r = osh_send_fds(socks[0], block, sizeof(block), NULL, 0);
	while (r == 0);
	cr_expect_eq(r, -EAGAIN);
	/* The twin: room again, and it goes. */
	cr_assert_eq(read(socks[1], block, sizeof(block)), (ssize_t)sizeof(block));
	cr_expect_eq(osh_send_fds(socks[0], block, 1, NULL, 0), 0);
}

Test(fd, a_gone_peer_is_an_error_and_no_signal)
{
	int socks[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socks), 0);
	close(socks[1]);
	cr_expect_eq(osh_send_fds(socks[0], "x", 1, NULL, 0), -EPIPE);
}
