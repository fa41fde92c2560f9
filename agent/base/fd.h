/* File descriptors: ownership, passing, whole reads and writes. A descriptor
 * variable starts at -1; 0 is a valid descriptor. */
#ifndef OSH_BASE_FD_H
#define OSH_BASE_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/mem.h"

/* Close if >= 0 and return -1, so that `fd = osh_close(fd)` never leaves a
 * stale number. errno is kept. */
int osh_close(int fd);

static inline void osh_cleanup_fd(int *fd)
{
	osh_close(*fd);
}

#define _cleanup_fd_ OSH_CLEANUP(osh_cleanup_fd)

/* Move a descriptor out of a cleaned-up local. */
static inline int osh_take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* Open a path as a process would whose root directory this is: no link and no ".." leads out of it, and
 * none of /proc's magic links is followed (openat2(2): RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS and the other
 * RESOLVE_* of `resolve`). The descriptor is close-on-exec. Returns it or -errno. */
int osh_open_in_root(int root, const char *path, uint64_t flags, uint64_t resolve);

/* Read or write exactly `len` bytes, through EINTR. Returns 0, -errno, or
 * -ENODATA when the file ends first. */
int osh_read_full(int fd, void *data, size_t len);
int osh_write_full(int fd, const void *data, size_t len);

/* Read a regular file of at most `max` bytes into malloc'ed memory, with a NUL
 * behind it that *ret_len does not count. Symbolic links are followed. Returns 0
 * or -errno (-EFBIG over the bound). The caller frees *ret_data. */
int osh_read_file(const char *path, size_t max, char **ret_data, size_t *ret_len);
int osh_read_fd(int fd, size_t max, char **ret_data, size_t *ret_len);

/* Replace `path` by a file with these bytes and this mode: written beside it,
 * synced, renamed, the directory synced, so that a reader sees the old or the new one,
 * never a part, also after a power cut.
 * Returns 0 or -errno. */
int osh_replace_file(const char *path, const void *data, size_t len, mode_t mode);
/* As osh_replace_file for what is worthless after the host has crashed, or synced later with
 * other files: readers see the old or the new one, the disk may keep neither. */
int osh_replace_file_unsynced(const char *path, const void *data, size_t len, mode_t mode);

/* A sealed memfd holding these bytes: nobody can change or resize it any more
 * (memfd_create(2), F_ADD_SEALS). Returns the descriptor or -errno. */
int osh_memfd_sealed(const char *name, const void *data, size_t len);
/* Read such a memfd that somebody else made, whole, like osh_read_file: its bytes can no
 * longer change, and reading it never blocks. Returns 0, -EPERM (any other file), -EFBIG
 * (over `max` bytes) or -errno. The caller frees *ret_data. */
int osh_memfd_read(int fd, size_t max, char **ret_data, size_t *ret_len);

int osh_set_nonblocking(int fd);
int osh_set_cloexec(int fd, int on);

/* Send bytes with up to OSH_FDS_MAX descriptors (SCM_RIGHTS, unix(7)): one sendmsg(2) with
 * these flags. Returns how many bytes a stream socket took, or -errno (-EAGAIN on a full
 * non-blocking socket). */
#define OSH_FDS_MAX 16
ssize_t osh_send_piece(int sock, const void *data, size_t len, const int *fds, size_t fd_count,
		       int flags);
/* The same for all of them. Returns 0 or -errno. */
int osh_send_fds(int sock, const void *data, size_t len, const int *fds, size_t fd_count);

/* Receive one message. *ret_len is its length (0: the peer closed); received
 * descriptors are close-on-exec and owned by the caller. A message that carries
 * more than `fd_max` descriptors or is longer than `size` on a message-oriented
 * socket is an error (-EMSGSIZE) and its descriptors are closed. */
int osh_recv_fds(int sock, void *data, size_t size, size_t *ret_len, int *fds, size_t fd_max,
		 size_t *ret_fd_count);

#endif
