#include "control/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/table.h"

#define FILE_BYTES_MAX (1ull << 30)
#define JOBS_MAX 128
#define CACHE_MAX 1024
#define CHUNK_BYTES (128u << 10)
#define SLICE_NS 2000000u /* then others have their turn */
#define PAUSE_MS 1
/* ctime moves in steps of the timer tick (up to 10 ms before 6.13): a change right after the
 * last one may not show, so a file that young is left to age. */
#define YOUNG_MS 20

struct cached {
	struct osh_digest_file file;
	unsigned char digest[OSH_DIGEST_LEN];
	UT_hash_handle hh;
};

struct waiter {
	struct waiter *next;
	osh_digest_fn *done;
	void *context;
};

struct job {
	struct job *prev, *next;
	struct osh_digest_file file;
	int fd;
	EVP_MD_CTX *hash;
	uint64_t offset;
	struct waiter *waiters;
};

struct osh_digests {
	struct osh_loop *loop;
	struct osh_timer turn;
	struct cached *cache; /* in order of arrival */
	struct job *jobs;     /* the next one first */
	unsigned job_count;
	unsigned char chunk[CHUNK_BYTES];
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- What is known ------------------------------------------------------------------- */

static const struct cached *find_cached(struct osh_digests *digests, const struct osh_digest_file *file)
{
	struct cached *cached;

	HASH_FIND(hh, digests->cache, file, sizeof(*file), cached);
	return cached;
}

static void drop_oldest(struct osh_digests *digests)
{
	struct cached *oldest = digests->cache;

	HASH_DEL(digests->cache, oldest);
	free(oldest);
}

static void remember(struct osh_digests *digests, const struct osh_digest_file *file,
		     const unsigned char digest[OSH_DIGEST_LEN])
{
	struct cached *cached = calloc(1, sizeof(*cached));

	if (!cached)
		return; /* it will be read again */
	if (HASH_COUNT(digests->cache) >= CACHE_MAX)
		drop_oldest(digests);
	cached->file = *file;
	memcpy(cached->digest, digest, sizeof(cached->digest));
	HASH_ADD(hh, digests->cache, file, sizeof(cached->file), cached);
}

/* ---- Jobs ------------------------------------------------------------------------------ */

static struct job *find_job(struct osh_digests *digests, const struct osh_digest_file *file)
{
	struct job *job;

	DL_FOREACH(digests->jobs, job) {
		if (memcmp(&job->file, file, sizeof(*file)) == 0)
			return job;
	}
	return NULL;
}

static void free_job(struct job *job)
{
	osh_close(job->fd);
	EVP_MD_CTX_free(job->hash);
	free(job);
}

static void finish(struct osh_digests *digests, struct job *job, int result,
		   const unsigned char digest[OSH_DIGEST_LEN])
{
	struct waiter *waiters = job->waiters, *waiter, *next;

	DL_DELETE(digests->jobs, job);
	digests->job_count--;
	if (result == 0)
		remember(digests, &job->file, digest);
	free_job(job);
	LL_FOREACH_SAFE(waiters, waiter, next) {
		waiter->done(waiter->context, result, digest);
		free(waiter);
	}
}

/* Is what was read still what is there? */
static bool is_unchanged(const struct job *job)
{
	struct stat st;

	return fstat(job->fd, &st) == 0 && (uint64_t)st.st_size == job->file.size &&
	       (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec ==
		       job->file.ctime_ns;
}

static void conclude(struct osh_digests *digests, struct job *job)
{
	unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
	int r = 0;

	if (EVP_DigestFinal_ex(job->hash, digest, NULL) != 1)
		r = -EIO;
	else if (job->offset != job->file.size || !is_unchanged(job))
		r = -ESTALE;
	finish(digests, job, r, digest);
}

/* Returns whether the job goes on. */
static bool read_chunk(struct osh_digests *digests, struct job *job)
{
	ssize_t n = pread(job->fd, digests->chunk, sizeof(digests->chunk), (off_t)job->offset);

	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 || (n > 0 && EVP_DigestUpdate(job->hash, digests->chunk, (size_t)n) != 1)) {
		finish(digests, job, n < 0 ? -errno : -EIO, digests->chunk);
		return false;
	}
	job->offset += (size_t)n;
	if (n > 0 && job->offset <= job->file.size)
		return true;
	conclude(digests, job);
	return false;
}

static void run_slice(struct osh_digests *digests, struct job *job)
{
	uint64_t end_ns = now_ns(CLOCK_MONOTONIC) + SLICE_NS;

	while (read_chunk(digests, job)) {
		if (now_ns(CLOCK_MONOTONIC) < end_ns)
			continue;
		DL_DELETE(digests->jobs, job); /* to the end of the queue */
		DL_APPEND(digests->jobs, job);
		return;
	}
}

static bool is_young(const struct job *job)
{
	uint64_t now = now_ns(CLOCK_REALTIME);

	return now >= job->file.ctime_ns && now - job->file.ctime_ns < YOUNG_MS * 1000000ull;
}

static void arm(struct osh_digests *digests)
{
	if (digests->jobs && !digests->turn.slot)
		(void)osh_loop_timer_set(digests->loop, &digests->turn, PAUSE_MS);
}

static void on_turn(struct osh_timer *timer)
{
	struct osh_digests *digests = osh_container_of(timer, struct osh_digests, turn);
	struct job *job;

	DL_FOREACH(digests->jobs, job) {
		if (!is_young(job)) {
			run_slice(digests, job);
			break;
		}
	}
	arm(digests);
}

/* ---- Requests ---------------------------------------------------------------------------- */

static int add_waiter(struct job *job, osh_digest_fn *done, void *context)
{
	struct waiter *waiter = calloc(1, sizeof(*waiter));

	if (!waiter)
		return -ENOMEM;
	waiter->done = done;
	waiter->context = context;
	LL_APPEND(job->waiters, waiter);
	return 0;
}

/* `fd` is taken over, also on failure. */
static int add_job(struct osh_digests *digests, int fd, const struct osh_digest_file *file,
		   struct job **ret_job)
{
	bool has_room = digests->job_count < JOBS_MAX && file->size <= FILE_BYTES_MAX;
	struct job *job = has_room ? calloc(1, sizeof(*job)) : NULL;

	if (!job) {
		osh_close(fd);
		return file->size > FILE_BYTES_MAX ? -EFBIG : -EBUSY;
	}
	job->fd = fd;
	job->file = *file;
	job->hash = EVP_MD_CTX_new();
	if (!job->hash || EVP_DigestInit_ex(job->hash, EVP_sha256(), NULL) != 1) {
		free_job(job);
		return -ENOMEM;
	}
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED); /* a slice should not wait for the disk */
	DL_APPEND(digests->jobs, job);
	digests->job_count++;
	*ret_job = job;
	return 0;
}

void osh_digests_get(struct osh_digests *digests, int fd, const struct osh_digest_file *file,
		     osh_digest_fn *done, void *context)
{
	static const unsigned char nothing[OSH_DIGEST_LEN];
	const struct cached *cached = find_cached(digests, file);
	struct job *job = find_job(digests, file);
	bool is_new = !cached && !job;
	int r = 0;

	if (is_new)
		r = add_job(digests, fd, file, &job);
	else
		osh_close(fd);
	if (cached) {
		done(context, 0, cached->digest);
		return;
	}
	if (r == 0 && (r = add_waiter(job, done, context)) < 0 && is_new)
		finish(digests, job, r, nothing);
	if (r < 0) {
		done(context, r, nothing);
		return;
	}
	/* Most files are read in one slice: no need to come back for them. */
	if (is_new && !is_young(job))
		run_slice(digests, job);
	arm(digests);
}

struct osh_digests *osh_digests_new(struct osh_loop *loop)
{
	struct osh_digests *digests = calloc(1, sizeof(*digests));

	if (!digests)
		return NULL;
	digests->loop = loop;
	digests->turn.on_expire = on_turn;
	return digests;
}

void osh_digests_free(struct osh_digests *digests)
{
	if (!digests)
		return;
	osh_loop_timer_cancel(digests->loop, &digests->turn);
	while (digests->jobs)
		finish(digests, digests->jobs, -ECANCELED, digests->chunk);
	while (digests->cache)
		drop_oldest(digests);
	free(digests);
}
