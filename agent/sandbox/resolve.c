/* Where a path leads in a sandbox's root, asked from outside. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* The process lived after its root was opened, so the number meant it all the time. */
static bool is_alive(int pidfd)
{
	return pidfd_send_signal(pidfd, 0, NULL, 0) == 0;
}

static int open_in_root(const struct osh_sandbox_instance *instance, const char *path)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	char root_path[32];
	_cleanup_fd_ int root = -1;
	int fd;

	snprintf(root_path, sizeof(root_path), "/proc/%d/root", (int)instance->record.init_pid);
	root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || !is_alive(instance->pid_io.fd))
		return -ENOENT;
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	return fd < 0 ? -errno : fd;
}

int osh_sandbox_resolve(struct osh_sandbox_instance *instance, const char *path, char *buf, size_t size)
{
	char link_path[32], found[PATH_MAX];
	_cleanup_fd_ int fd = -1;
	ssize_t len;

	if (instance->pid_io.fd < 0 || path[0] != '/')
		return -ENOENT;
	fd = open_in_root(instance, path);
	if (fd < 0)
		return -ENOENT;
	/* The kernel names it from the top of its own mount tree, which is the sandbox's root. */
	snprintf(link_path, sizeof(link_path), "/proc/self/fd/%d", fd);
	len = readlink(link_path, found, sizeof(found) - 1);
	if (len <= 0 || found[0] != '/')
		return -ENOENT;
	found[len] = '\0';
	if (strcmp(found, path) == 0)
		return -EALREADY;
	if ((size_t)len >= size)
		return -ENAMETOOLONG;
	memcpy(buf, found, (size_t)len + 1);
	return 0;
}
