/* The Unix sockets outside that a policy names: each is bound to the same path inside. The
 * mount is of the socket itself, so whoever replaces it outside does not get in, and every
 * spelling of its path inside leads to it or nowhere. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

/* Parts of the root that are file systems of the sandbox: empty as yet, and nobody inside. */
static const char *const own_directories[] = { "/tmp", "/sandbox" };

static int open_place(int root_fd, const char *path)
{
	for (size_t i = 0; i < OSH_COUNT_OF(own_directories); i++) {
		const char *own = own_directories[i];
		_cleanup_fd_ int fd = -1;

		if (!path_is_at_or_below(path, own))
			continue;
		fd = osh_open_in_root(root_fd, own, O_PATH | O_DIRECTORY, 0);
		return fd < 0 ? fd : mount_open_place(fd, path + strlen(own), false);
	}
	return mount_open_place(root_fd, path, false);
}

bool sandbox_owns_socket(const struct osh_sandbox_host *host, int socket_fd)
{
	char link[64], path[PATH_MAX];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", socket_fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return true;
	path[len] = '\0';
	return path_is_at_or_below(path, host->state_dir) || path_is_at_or_below(path, host->run_dir);
}

static int open_socket(const struct launch *launch, const char *path)
{
	_cleanup_fd_ int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	return sandbox_owns_socket(launch->instance->host, fd) ? -EPERM : osh_take_fd(&fd);
}

static int bind_socket(const struct launch *launch, const char *path)
{
	_cleanup_fd_ int socket_fd = open_socket(launch, path), place = -1;

	if (socket_fd < 0)
		return socket_fd;
	place = open_place(launch->root_fd, path);
	return place < 0 ? place : mount_attach(mount_clone(socket_fd, "", MOUNT_READ_ONLY), place);
}

int root_bind_unix_sockets(struct launch *launch)
{
	const struct osh_policy_static *policy = launch->spec->policy;

	for (size_t i = 0; i < policy->unix_socket_count; i++) {
		int r = bind_socket(launch, policy->unix_sockets[i]);

		if (r < 0)
			launch_warn(launch, "unix_sockets: %s is left out: %s", policy->unix_sockets[i],
				    strerror(-r));
	}
	return 0;
}
