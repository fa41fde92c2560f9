/* The socket between the agent and an init. */
#include "sandbox/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"

#define HELLO_PATIENCE_MS 5000

/* By way of the directory's descriptor: RUN_DIR may be longer than sun_path. */
static int address_of(const char *path, struct sockaddr_un *addr, int *ret_dir_fd)
{
	char dir[OSH_SANDBOX_PATH_MAX];
	const char *name = strrchr(path, '/') + 1;
	int fd, n;

	snprintf(dir, sizeof(dir), "%.*s", (int)(name - path), path);
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/%s", fd, name);
	if (n < 0 || (size_t)n >= sizeof(addr->sun_path)) {
		osh_close(fd);
		return -ENAMETOOLONG;
	}
	*ret_dir_fd = fd;
	return 0;
}

int connection_listen(const char *path, int *ret_fd)
{
	_cleanup_fd_ int dir = -1;
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;
	int r;

	if (fd < 0)
		return -errno;
	r = address_of(path, &addr, &dir);
	if (r < 0)
		return r;
	(void)unlink(path); /* of a sandbox of this name that a crash left */
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	/* The directory is 0700 already, so there is no moment at which others could connect. */
	if (chmod(path, 0600) < 0 || listen(fd, 8) < 0) {
		r = -errno;
		(void)unlink(path);
		return r;
	}
	*ret_fd = osh_take_fd(&fd);
	return 0;
}

static int await_hello(int fd, int pidfd)
{
	struct pollfd polls[2] = { { .fd = fd, .events = POLLIN }, { .fd = pidfd, .events = POLLIN } };
	struct osh_init_message message;
	size_t len;
	int n, r;

	do
		n = poll(polls, 2, HELLO_PATIENCE_MS);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ETIMEDOUT;
	if (!polls[0].revents)
		return -ESRCH; /* only the process moved: it ended */
	r = osh_recv_fds(fd, &message, sizeof(message), &len, NULL, 0, NULL);
	if (r < 0)
		return r;
	if (len == 0)
		return -ECONNRESET;
	if (len != sizeof(message) || message.type != OSH_INIT_HELLO)
		return -EBADMSG;
	return message.value == OSH_INIT_VERSION ? 0 : -EPROTO;
}

int connection_open(const char *path, int pidfd, int *ret_fd)
{
	_cleanup_fd_ int dir = -1;
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr;
	int r;

	if (fd < 0)
		return -errno;
	r = address_of(path, &addr, &dir);
	if (r < 0)
		return r;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	r = await_hello(fd, pidfd);
	if (r < 0)
		return r;
	*ret_fd = osh_take_fd(&fd);
	return 0;
}
