#include "base/seccomp.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define PROGRAM_BYTES_MAX (BPF_MAXINSNS * sizeof(struct sock_filter))
#define PATIENCE_S 2 /* of processor time: some milliseconds are usual */

static int export_program(scmp_filter_ctx filter, struct sock_fprog *ret_program)
{
	_cleanup_fd_ int fd = memfd_create("openshell-seccomp", MFD_CLOEXEC);
	char *bytes;
	size_t len;
	int r;

	if (fd < 0)
		return -errno;
	r = seccomp_export_bpf(filter, fd);
	if (r < 0)
		return r;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	r = osh_read_fd(fd, PROGRAM_BYTES_MAX, &bytes, &len);
	if (r < 0)
		return r;
	*ret_program = (struct sock_fprog){ .len = (unsigned short)(len / sizeof(struct sock_filter)),
					    .filter = (struct sock_filter *)bytes };
	return 0;
}

static int compile(uint32_t otherwise, int (*describe)(scmp_filter_ctx filter), struct sock_fprog *ret_program)
{
	scmp_filter_ctx filter = seccomp_init(otherwise);
	int r = filter ? describe(filter) : -ENOMEM;

	if (r == 0)
		r = export_program(filter, ret_program);
	seccomp_release(filter);
	return r;
}

static bool is_same(const struct sock_fprog *a, const struct sock_fprog *b)
{
	return a->len == b->len && memcmp(a->filter, b->filter, a->len * sizeof(*a->filter)) == 0;
}

static void bound_time(time_t seconds)
{
	const struct itimerval bound = { .it_value.tv_sec = seconds };

	(void)setitimer(ITIMER_VIRTUAL, &bound, NULL);
}

int osh_seccomp_compile(uint32_t otherwise, int (*describe)(scmp_filter_ctx filter),
			struct sock_fprog *ret_program)
{
	struct sock_fprog first = { 0 }, second = { 0 };
	int r;

	bound_time(PATIENCE_S);
	r = compile(otherwise, describe, &first);
	if (r == 0)
		r = compile(otherwise, describe, &second);
	bound_time(0);
	if (r == 0 && !is_same(&first, &second))
		r = -ENOMEM;
	free(second.filter);
	if (r < 0) {
		free(first.filter);
		return r;
	}
	*ret_program = first;
	return 0;
}

int osh_seccomp_load(const struct sock_fprog *program)
{
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program) < 0 ? -errno : 0;
}
