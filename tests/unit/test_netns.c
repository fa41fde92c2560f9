/* Whose capabilities count over a network. Needs root. */
#include "base/netns.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

/* A process in new namespaces, which ends with the test. */
static pid_t start_in(int flags)
{
	int ready[2];
	pid_t pid;
	char ok = 0;

	cr_assert(eq(int, pipe(ready), 0));
	pid = fork();
	if (pid == 0) {
		ok = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && unshare(flags) == 0;
		if (write(ready[1], &ok, 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	cr_assert(eq(int, (int)read(ready[0], &ok, 1), 1));
	cr_assert(ok);
	return pid;
}

static int namespace_of(pid_t pid, const char *kind)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kind);
	return open(path, O_RDONLY | O_CLOEXEC);
}

Test(netns, is_ruled_from_the_user_namespace_that_it_belongs_to_and_from_those_above)
{
	pid_t child = start_in(CLONE_NEWUSER | CLONE_NEWNET);
	int net = namespace_of(child, "net");

	cr_expect(eq(int, osh_netns_is_ruled_from(net, namespace_of(child, "user")), 1));
	cr_expect(eq(int, osh_netns_is_ruled_from(net, namespace_of(getpid(), "user")), 1));
	kill(child, SIGKILL);
}

Test(netns, is_not_ruled_from_one_below_or_beside)
{
	pid_t below = start_in(CLONE_NEWUSER), beside = start_in(CLONE_NEWUSER | CLONE_NEWNET);
	int user = namespace_of(below, "user");

	cr_expect(eq(int, osh_netns_is_ruled_from(namespace_of(below, "net"), user), 0));
	cr_expect(eq(int, osh_netns_is_ruled_from(namespace_of(beside, "net"), user), 0));
	kill(below, SIGKILL);
	kill(beside, SIGKILL);
}

Test(netns, is_told_when_it_cannot_be_told)
{
	cr_expect(eq(int, osh_netns_is_ruled_from(-1, namespace_of(getpid(), "user")), -EBADF));
	cr_expect(eq(int, osh_netns_is_ruled_from(namespace_of(getpid(), "net"), -1), -EBADF));
}
