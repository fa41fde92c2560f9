#include "control/first_uses.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/table.h"

/* Of each, since each has an identity; with more, nothing is trusted. */
#define ENTRIES_MAX OSH_IDENTITIES_PER_SANDBOX_MAX

/* A version of a file at its path. No holes: compared as bytes. */
struct version {
	char path[OSH_PATH_MAX];
	uint64_t ino;
	uint64_t ctime_ns;
	uint64_t dev;
};

struct osh_pin {
	char path[OSH_PATH_MAX];
	unsigned char digest[OSH_DIGEST_LEN];
	uint32_t told; /* OSH_EXE_TAINTED flags that were recorded as findings */
	UT_hash_handle hh;
};

struct osh_attested {
	struct version version;
	unsigned char digest[OSH_DIGEST_LEN];
	UT_hash_handle hh;
};

/* The file: one of these for each version that was trusted, the first of a path first. Read by the
 * build that wrote it, or by one whose identities are the same (LAYOUT of agent/kernel). */
struct line {
	struct version version;
	unsigned char digest[OSH_DIGEST_LEN];
};
_Static_assert(sizeof(struct line) == OSH_PATH_MAX + 24 + OSH_DIGEST_LEN, "no holes: written as bytes");

static struct version version_of(const struct osh_identity *identity)
{
	struct version version = {
		.ino = identity->ino, .ctime_ns = identity->ctime_ns, .dev = identity->dev
	};

	memcpy(version.path, identity->path, sizeof(version.path));
	return version;
}

/* ---- In memory ------------------------------------------------------------------------- */

static struct osh_pin *find_pin(const struct osh_first_uses *uses, const char path[static OSH_PATH_MAX])
{
	struct osh_pin *pin;

	HASH_FIND(hh, uses->pins, path, OSH_PATH_MAX, pin);
	return pin;
}

static struct osh_attested *find_attested(const struct osh_first_uses *uses, const struct version *version)
{
	struct osh_attested *attested;

	HASH_FIND(hh, uses->attested, version, sizeof(*version), attested);
	return attested;
}

static int add_pin(struct osh_first_uses *uses, const struct line *line)
{
	struct osh_pin *pin;

	if (find_pin(uses, line->version.path))
		return 0;
	pin = HASH_COUNT(uses->pins) < ENTRIES_MAX ? calloc(1, sizeof(*pin)) : NULL;
	if (!pin)
		return -ENOMEM;
	memcpy(pin->path, line->version.path, sizeof(pin->path));
	memcpy(pin->digest, line->digest, sizeof(pin->digest));
	HASH_ADD(hh, uses->pins, path, sizeof(pin->path), pin);
	return 0;
}

static int add_attested(struct osh_first_uses *uses, const struct line *line)
{
	struct osh_attested *attested = find_attested(uses, &line->version);

	if (!attested) {
		attested = HASH_COUNT(uses->attested) < ENTRIES_MAX ? calloc(1, sizeof(*attested)) : NULL;
		if (!attested)
			return -ENOMEM;
		attested->version = line->version;
		HASH_ADD(hh, uses->attested, version, sizeof(attested->version), attested);
	}
	memcpy(attested->digest, line->digest, sizeof(attested->digest));
	return 0;
}

static int add(struct osh_first_uses *uses, const struct line *line)
{
	int r = add_pin(uses, line);

	return r < 0 ? r : add_attested(uses, line);
}

static void forget_pins(struct osh_first_uses *uses)
{
	struct osh_pin *pin, *next;

	HASH_ITER(hh, uses->pins, pin, next) {
		HASH_DEL(uses->pins, pin);
		free(pin);
	}
}

/* ---- On disk ----------------------------------------------------------------------------- */

static int join(char path[static PATH_MAX], const char *dir)
{
	int n = snprintf(path, PATH_MAX, "%s/first_uses", dir);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* All of the line, or none: a part is taken back. */
static int append(const char *dir, const struct line *line)
{
	char path[PATH_MAX];
	_cleanup_fd_ int fd = -1;
	off_t end;
	int r = join(path, dir);

	if (r < 0)
		return r;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	if (end < 0)
		return -errno;
	r = osh_write_full(fd, line, sizeof(*line));
	if (r < 0)
		(void)!ftruncate(fd, end);
	return r < 0 || fdatasync(fd) == 0 ? r : -errno;
}

static int read_lines(struct osh_first_uses *uses, const char *bytes, size_t len)
{
	struct line line;

	if (len % sizeof(line) != 0)
		return -EBADMSG;
	for (size_t at = 0; at < len; at += sizeof(line)) {
		int r;

		memcpy(&line, bytes + at, sizeof(line));
		if (line.version.path[OSH_PATH_MAX - 1] != '\0')
			return -EBADMSG;
		r = add(uses, &line);
		if (r < 0)
			return r;
	}
	return 0;
}

int osh_first_uses_load(struct osh_first_uses *uses, const char *dir, struct osh_err *err)
{
	_cleanup_free_ char *bytes = NULL;
	char path[PATH_MAX];
	size_t len = 0;
	int r = join(path, dir);

	if (r == 0)
		r = osh_read_file(path, ENTRIES_MAX * sizeof(struct line), &bytes, &len);
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = read_lines(uses, bytes, len);
	if (r == 0)
		return 0;
	uses->is_damaged = true;
	return osh_err_set(err, -r, "%s/first_uses is damaged: set the policy again to trust programs anew", dir);
}

/* ---- The face ------------------------------------------------------------------------------ */

int osh_first_uses_see(struct osh_first_uses *uses, const char *dir, const struct osh_identity *identity,
		  const unsigned char digest[OSH_DIGEST_LEN])
{
	struct line line = { .version = version_of(identity) };
	const struct osh_pin *pin = find_pin(uses, identity->path);
	int r;

	if (uses->is_damaged)
		return -EBADMSG;
	if (pin && memcmp(pin->digest, digest, OSH_DIGEST_LEN) != 0)
		return -ESTALE;
	if (pin && find_attested(uses, &line.version))
		return 0;
	memcpy(line.digest, digest, sizeof(line.digest));
	r = HASH_COUNT(uses->attested) < ENTRIES_MAX ? append(dir, &line) : -ENOSPC;
	if (r == 0)
		r = add(uses, &line);
	return pin ? 0 : r; /* a new version of known bytes need not be kept */
}

const unsigned char *osh_first_uses_recall(const struct osh_first_uses *uses, const struct osh_identity *identity)
{
	const struct version version = version_of(identity);
	const struct osh_attested *attested = find_attested(uses, &version);

	return attested && !uses->is_damaged ? attested->digest : NULL;
}

uint32_t osh_first_uses_note(struct osh_first_uses *uses, const struct osh_identity *identity)
{
	struct osh_pin *pin = find_pin(uses, identity->path);
	uint32_t flags = pin ? identity->flags & OSH_EXE_TAINTED & ~pin->told : 0;

	if (flags)
		pin->told |= flags;
	return flags;
}

void osh_first_uses_reset(struct osh_first_uses *uses, const char *dir)
{
	char path[PATH_MAX];

	forget_pins(uses);
	/* What stays would deny too much, not too little. */
	if (join(path, dir) == 0)
		(void)unlink(path);
	uses->is_damaged = false;
}

void osh_first_uses_done(struct osh_first_uses *uses)
{
	struct osh_attested *attested, *next;

	forget_pins(uses);
	HASH_ITER(hh, uses->attested, attested, next) {
		HASH_DEL(uses->attested, attested);
		free(attested);
	}
}
