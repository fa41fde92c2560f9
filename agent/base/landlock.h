/* Landlock (landlock(7), Linux 5.13): a thread gives up file access that no rule
 * grants, for itself and everything it will start. There is no packaged library:
 * raw system calls, declared here and in landlock.c alone. */
#ifndef OSH_BASE_LANDLOCK_H
#define OSH_BASE_LANDLOCK_H

#include <stdbool.h>
#include <stddef.h>

/* The ABI number of the running kernel, 0 when it has no Landlock. */
int osh_landlock_abi(void);

struct osh_landlock;

/* Start a rule set that handles everything the kernel can handle: files, and from
 * ABI 6 on also signals and abstract sockets across its border (scoped). Returns 0,
 * -EOPNOTSUPP (no Landlock) or -errno. */
int osh_landlock_new(struct osh_landlock **ret_landlock);
void osh_landlock_free(struct osh_landlock *landlock);

/* Grant what is beneath `path` (a directory) or the file itself: reading and
 * executing, with `writable` also everything else. Symbolic links are followed.
 * Returns 0 or -errno (-ENOENT: nothing granted). */
int osh_landlock_grant(struct osh_landlock *landlock, const char *path, bool writable);
/* The same by an open descriptor (O_PATH is enough). */
int osh_landlock_grant_fd(struct osh_landlock *landlock, int fd, bool writable);

/* Enforce on the calling thread; needs no_new_privs. Irreversible. Returns 0 or -errno. */
int osh_landlock_enforce(struct osh_landlock *landlock);

struct osh_landlock_readable {
	const char *path;
	bool only_files; /* of a directory: reading what is beneath it under a name that one knows */
};

/* All of the above for a process that only reads: absent paths are left out. Returns
 * 0, -EOPNOTSUPP or -errno. */
int osh_landlock_read_only(const struct osh_landlock_readable *readables, size_t count);

#endif
