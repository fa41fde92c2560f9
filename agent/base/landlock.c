#include "base/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* The system's linux/landlock.h may be older than the kernel: what is used here is
 * declared here (Documentation/userspace-api/landlock.rst). */
#define CREATE_RULESET_VERSION (1u << 0)
#define RULE_PATH_BENEATH 1

enum {
	FS_EXECUTE = 1 << 0,
	FS_WRITE_FILE = 1 << 1,
	FS_READ_FILE = 1 << 2,
	FS_READ_DIR = 1 << 3,
	FS_ABI_1 = (1 << 13) - 1,  /* and removing, making files of each kind */
	FS_REFER = 1 << 13,        /* ABI 2: rename and link across directories */
	FS_TRUNCATE = 1 << 14,     /* ABI 3 */
	FS_IOCTL_DEV = 1 << 15,    /* ABI 5 */

	FS_READ = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR,
	FS_ON_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV,
};

enum {
	SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0, /* ABI 6 */
	SCOPE_SIGNAL = 1 << 1,               /* ABI 6 */
};

struct ruleset_attr {
	uint64_t handled_access_fs;
	/* Not used. TCP rules (ABI 4) are a list of ports that can only shrink, and the ports
	 * that a sandbox may reach are the policy's of the moment: the kernel half judges them. */
	uint64_t handled_access_net;
	uint64_t scoped;
};

struct path_beneath_attr {
	uint64_t allowed_access;
	int32_t parent_fd;
} __attribute__((packed));

struct osh_landlock {
	int fd;
	uint64_t handled_fs;
};

static int create_ruleset(const struct ruleset_attr *attr, size_t size, uint32_t flags)
{
	return (int)syscall(SYS_landlock_create_ruleset, attr, size, flags);
}

/* Not built in (ENOSYS) and not enabled at boot (EOPNOTSUPP) are facts about the host;
 * any other error is a failure, never "no Landlock". */
static int query_abi(void)
{
	int abi = create_ruleset(NULL, 0, CREATE_RULESET_VERSION);

	if (abi >= 0)
		return abi;
	return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : -errno;
}

int osh_landlock_abi(void)
{
	int abi = query_abi();

	return abi < 0 ? 0 : abi;
}

static uint64_t fs_rights_of(int abi)
{
	uint64_t rights = FS_ABI_1;

	if (abi >= 2)
		rights |= FS_REFER;
	if (abi >= 3)
		rights |= FS_TRUNCATE;
	if (abi >= 5)
		rights |= FS_IOCTL_DEV;
	return rights;
}

/* A kernel refuses a struct longer than it knows only when the surplus is not zero,
 * so the whole struct may be passed to every one. */
int osh_landlock_new(struct osh_landlock **ret_landlock)
{
	int abi = query_abi();
	struct ruleset_attr attr = { .handled_access_fs = fs_rights_of(abi) };
	struct osh_landlock *landlock;

	if (abi <= 0)
		return abi < 0 ? abi : -EOPNOTSUPP;
	if (abi >= 6)
		attr.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
	landlock = malloc(sizeof(*landlock));
	if (!landlock)
		return -ENOMEM;
	landlock->handled_fs = attr.handled_access_fs;
	landlock->fd = create_ruleset(&attr, sizeof(attr), 0);
	if (landlock->fd < 0) {
		int code = errno;

		free(landlock);
		return -code;
	}
	*ret_landlock = landlock;
	return 0;
}

void osh_landlock_free(struct osh_landlock *landlock)
{
	if (!landlock)
		return;
	osh_close(landlock->fd);
	free(landlock);
}

static int grant_fd(struct osh_landlock *landlock, int fd, uint64_t rights)
{
	struct path_beneath_attr rule = { .allowed_access = rights, .parent_fd = fd };
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	/* Rights on directories are refused (EINVAL) for anything else. */
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= FS_ON_FILES;
	if (syscall(SYS_landlock_add_rule, landlock->fd, RULE_PATH_BENEATH, &rule, 0) < 0)
		return -errno;
	return 0;
}

static int grant(struct osh_landlock *landlock, const char *path, uint64_t rights)
{
	_cleanup_fd_ int fd = open(path, O_PATH | O_CLOEXEC);

	return fd < 0 ? -errno : grant_fd(landlock, fd, rights);
}

static uint64_t rights_of(const struct osh_landlock *landlock, bool writable)
{
	return writable ? landlock->handled_fs : FS_READ;
}

int osh_landlock_grant_fd(struct osh_landlock *landlock, int fd, bool writable)
{
	return grant_fd(landlock, fd, rights_of(landlock, writable));
}

int osh_landlock_grant(struct osh_landlock *landlock, const char *path, bool writable)
{
	return grant(landlock, path, rights_of(landlock, writable));
}

int osh_landlock_enforce(struct osh_landlock *landlock)
{
	return syscall(SYS_landlock_restrict_self, landlock->fd, 0) < 0 ? -errno : 0;
}

int osh_landlock_read_only(const struct osh_landlock_readable *readables, size_t count)
{
	struct osh_landlock *landlock = NULL;
	int r = osh_landlock_new(&landlock);

	for (size_t i = 0; r == 0 && i < count; i++) {
		r = grant(landlock, readables[i].path, readables[i].only_files ? FS_READ_FILE : FS_READ);
		if (r == -ENOENT || r == -ENOTDIR)
			r = 0; /* nothing there: nothing to grant */
	}
	if (r == 0)
		r = osh_landlock_enforce(landlock);
	osh_landlock_free(landlock);
	return r;
}
