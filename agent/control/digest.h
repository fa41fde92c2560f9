/* SHA-256 of executables, a slice at a time on the agent's loop: a large file holds up
 * neither the agent nor the small ones. */
#ifndef OSH_CONTROL_DIGEST_H
#define OSH_CONTROL_DIGEST_H

#include <stdint.h>

#include "base/loop.h"

#define OSH_DIGEST_LEN 32

struct osh_digests;

/* What stays the same while a file does. No holes: compared as bytes. */
struct osh_digest_file {
	uint64_t dev, ino, ctime_ns, size;
};

/* result 0: `digest` is that of the file; -errno: it could not be read, it changed meanwhile
 * (-ESTALE), is too large (-EFBIG), or nobody will read it (-EBUSY, -ECANCELED). */
typedef void osh_digest_fn(void *context, int result, const unsigned char digest[OSH_DIGEST_LEN]);

struct osh_digests *osh_digests_new(struct osh_loop *loop); /* NULL: out of memory */
/* Every open request gets -ECANCELED. */
void osh_digests_free(struct osh_digests *digests);

/* Digest the file open at `fd`, which is taken over. `done` runs once, perhaps before this
 * returns. A file whose dev, ino, ctime and size are known is not read again. */
void osh_digests_get(struct osh_digests *digests, int fd, const struct osh_digest_file *file,
		     osh_digest_fn *done, void *context);

#endif
