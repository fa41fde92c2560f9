/* A filter is whole or there is none, whichever allocation fails while libseccomp makes it. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/seccomp.h"
#include "sandbox/internal.h"

static int deny_uname(scmp_filter_ctx filter)
{
	return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EXDEV), SCMP_SYS(uname), 0);
}

Test(seccomp, what_it_denies_and_what_not)
{
	struct sock_fprog program;

	cr_assert(eq(int, osh_seccomp_compile(SCMP_ACT_ALLOW, deny_uname, &program), 0));
	cr_assert(eq(int, osh_seccomp_load(&program), 0));
	cr_expect(syscall(SYS_uname, &program) == -1 && errno == EXDEV);
	cr_expect(syscall(SYS_getppid) > 0);
	free(program.filter);
}

static int fail(scmp_filter_ctx filter)
{
	(void)filter;
	return -EPERM;
}

Test(seccomp, what_cannot_be_described_is_no_filter)
{
	struct sock_fprog program;

	cr_expect(eq(int, osh_seccomp_compile(SCMP_ACT_ALLOW, fail, &program), -EPERM));
}

#ifndef OSH_SANITIZED /* which has an allocator of its own */

static unsigned long allocations, failing;

static bool fails(void)
{
	return ++allocations == failing;
}

/* In place of the C library's, for this program and the libraries that it loads. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	return fails() ? NULL : __libc_realloc(old, size);
}

int setitimer(__itimer_which_t which, const struct itimerval *restrict timer, struct itimerval *restrict old)
{
	struct itimerval sooner = { .it_value.tv_usec = timer->it_value.tv_sec * 100000 };

	return (int)syscall(SYS_setitimer, which, &sooner, old);
}

enum outcome { NONE, WHOLE, HOLES };

static enum outcome compile_again(const struct sock_fprog *whole)
{
	struct sock_fprog program;

	if (seccomp_filter_build(&program) < 0)
		return NONE;
	return program.len == whole->len && memcmp(program.filter, whole->filter, whole->len * sizeof(*whole->filter)) == 0 ?
		       WHOLE : HOLES;
}

/* In a process of its own, which libseccomp may end. */
static enum outcome compile_failing(const struct sock_fprog *whole, unsigned long number)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		close(STDERR_FILENO); /* libc's last words about memory that is freed twice */
		(void)prctl(PR_SET_DUMPABLE, 0); /* nor a core for each */
		allocations = 0;
		failing = number;
		_exit((int)compile_again(whole));
	}
	cr_assert(pid > 0);
	cr_assert(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? (enum outcome)WEXITSTATUS(status) : NONE;
}

Test(seccomp, an_allocation_that_fails_makes_no_hole, .timeout = 120)
{
	unsigned long count, none = 0, whole_ones = 0;
	struct sock_fprog whole;

	allocations = 0;
	cr_assert(eq(int, seccomp_filter_build(&whole), 0));
	count = allocations;
	for (unsigned long number = 1; number <= count; number += 23) {
		enum outcome outcome = compile_failing(&whole, number);

		cr_assert(outcome != HOLES, "without allocation %lu of %lu the filter has holes", number, count);
		none += outcome == NONE;
		whole_ones += outcome == WHOLE;
	}
	cr_expect(none > 50 && whole_ones > 50, "%lu times none, %lu times whole", none, whole_ones);
	free(whole.filter);
}

#endif
