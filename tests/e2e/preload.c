/* Preloaded (LD_PRELOAD) into an agent under test: its wall clock is off, and its memory runs out, as a
 * file says that both it and the test map.
 *
 *   FAULTS_FILE   the file, which holds a struct faults. A proxy that the agent starts, whose
 *                 environment is its own, has FAULTS_FILE.proxy. Read-only, it can only set the clock. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define VARIABLE "FAULTS_FILE"

/* In the file, by the machine's own byte order. */
struct faults {
	_Atomic int64_t clock_off_s;   /* added to CLOCK_REALTIME */
	_Atomic uint64_t fail_from;    /* the first allocation that fails, from 1 */
	_Atomic uint64_t fail_count;   /* how many do, from that one on */
	_Atomic uint64_t allocations;  /* that were asked for since a test set this to 0 */
};

static struct faults *faults;
static bool is_writable;

__attribute__((constructor)) static void map_faults(void)
{
	const char *path = getenv(VARIABLE);
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map;

	is_writable = fd >= 0;
	if (path && fd < 0)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	map = mmap(NULL, sizeof(*faults), PROT_READ | (is_writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (map != MAP_FAILED)
		faults = map;
	else if (path)
		_exit(99); /* a test that believes in faults that are none */
}

/* ---- The clock ---------------------------------------- */

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, clock, ret);

	if (r == 0 && faults && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		ret->tv_sec += faults->clock_off_s;
	return r;
}

time_t time(time_t *ret)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
	struct timespec now = { 0 };

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	*ret = (struct timeval){ .tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000 };
	return 0;
}

/* ---- Memory ---------------------------------------- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

/* libseccomp crashes or walks in circles where one of its allocations fails, which ends the process that
 * has asked; that it leaves no filter with holes is tests/unit/test_seccomp.c's to show. */
static uintptr_t spared_from, spared_to;

static int spare(struct dl_phdr_info *object, size_t size, void *context)
{
	(void)size;
	(void)context;
	if (!strstr(object->dlpi_name, "/libseccomp.so"))
		return 0;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		if (object->dlpi_phdr[i].p_type == PT_LOAD && (object->dlpi_phdr[i].p_flags & PF_X)) {
			spared_from = object->dlpi_addr + object->dlpi_phdr[i].p_vaddr;
			spared_to = spared_from + object->dlpi_phdr[i].p_memsz;
		}
	}
	return 1;
}

__attribute__((constructor)) static void find_spared(void)
{
	dl_iterate_phdr(spare, NULL);
}

static bool fails_for(const void *caller)
{
	uint64_t number, from;

	if (!faults || !is_writable || ((uintptr_t)caller >= spared_from && (uintptr_t)caller < spared_to))
		return false;
	number = faults->allocations++ + 1;
	from = faults->fail_from;
	if (number < from || number - from >= faults->fail_count)
		return false;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return fails_for(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return fails_for(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	return fails_for(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return fails_for(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	void *p = fails_for(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);

	if (!p)
		return ENOMEM;
	*ret = p;
	return 0;
}

/* ---- The proxy ---------------------------------------- */

/* One variable for each: what is set here, and what makes it be read. */
int posix_spawn(pid_t *restrict pid, const char *restrict path, const posix_spawn_file_actions_t *actions,
		const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const env[restrict])
{
	__typeof__(&posix_spawn) next = (__typeof__(&posix_spawn))dlsym(RTLD_NEXT, "posix_spawn");
	static char preload[4096], file[4096];
	char *more[16] = { preload, file };
	size_t count = 2;

	if (!faults)
		return next(pid, path, actions, attributes, argv, env);
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", getenv("LD_PRELOAD"));
	snprintf(file, sizeof(file), VARIABLE "=%s.proxy", getenv(VARIABLE));
	for (; *env && count + 1 < sizeof(more) / sizeof(more[0]); env++)
		more[count++] = *env;
	return next(pid, path, actions, attributes, argv, more);
}
