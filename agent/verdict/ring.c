/* The shared memory: a head page, then slots of one size. Record n lives in slot
 * n % slots. A slot's sequence is 2n+1 while record n is being written and 2n+2 when
 * it is whole (a seqlock: H. Boehm, "Can seqlocks get along with programming language
 * memory models?", MSPC 2012). Payload words are copied by relaxed atomics, so that a
 * race with the writer has a defined outcome: a mixed copy, which the second look at
 * the sequence refuses.
 *
 * A writer that died inside a record left an odd sequence at slot `next`: that record was
 * never to be read, and osh_ring_mend counts it. */
#include "verdict/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

#define RING_MAGIC 0x676e69722d68736fULL /* "osh-ring" */
#define RING_LAYOUT 1u
#define RING_SLOTS_MAX 65536u
#define PAYLOAD_WORDS (OSH_VERDICT_BYTES_MAX / sizeof(uint64_t))

/* Tries of one read while the writer laps the reader; then the caller is told "none
 * now" and comes again. Bounds what a hostile writer can cost. */
#define READ_TRIES 64

struct ring_head {
	uint64_t magic;
	uint32_t layout;
	uint32_t slots;
	_Alignas(64) uint64_t next; /* number of the record to come */
	uint32_t wake;              /* futex word: bumped by every flush */
};

/* 4160 bytes apart, not 4096: neighbours fall into different cache sets. */
struct ring_slot {
	_Alignas(64) uint64_t sequence;
	uint64_t len;
	_Alignas(64) uint64_t payload[PAYLOAD_WORDS];
};
_Static_assert(sizeof(struct ring_slot) == 64 + OSH_VERDICT_BYTES_MAX, "slot: no holes");

#define HEAD_BYTES 4096
_Static_assert(sizeof(struct ring_head) <= HEAD_BYTES, "the head has its own page");

struct osh_ring_writer {
	int fd;
	uint32_t slots;
	bool unflushed;
	uint64_t next; /* number of the record to come; what is staged is ahead of the head's */
	size_t bytes;
	unsigned char *memory;
};

struct osh_ring_reader {
	const unsigned char *memory;
	size_t bytes;
	uint32_t slots;   /* from the size of the file, never read again from the memory */
	uint64_t next;    /* number of the record wanted */
	uint64_t lost;
	uint64_t unsaid;  /* part of lost that no read has reported yet */
};

#define PAGE_BYTES 4096u

size_t osh_ring_bytes(uint32_t slots)
{
	size_t bytes = HEAD_BYTES + (size_t)slots * sizeof(struct ring_slot);

	return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static bool is_power_of_two(uint32_t n)
{
	return n && (n & (n - 1)) == 0;
}

static struct ring_head *writer_head(const struct osh_ring_writer *writer)
{
	return (struct ring_head *)(void *)writer->memory;
}

static const struct ring_head *reader_head(const struct osh_ring_reader *reader)
{
	return (const struct ring_head *)(const void *)reader->memory;
}

/* ---- Opening ------------------------------------------------------------------- */

static bool is_ours(const struct ring_head *head)
{
	return head->magic == RING_MAGIC && head->layout == RING_LAYOUT && is_power_of_two(head->slots) &&
	       head->slots <= RING_SLOTS_MAX;
}

/* Check size and head of a memfd; the size decides how many slots there are. Without
 * the seal, a shrinking file would kill whoever maps it (SIGBUS). */
static int check_memfd(int fd, uint32_t *ret_slots)
{
	struct ring_head head;
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	ssize_t n;

	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return -EBADMSG;
	if (fstat(fd, &st) < 0)
		return -errno;
	n = pread(fd, &head, sizeof(head), 0);
	if (n < 0)
		return -errno;
	if ((size_t)n != sizeof(head) || !is_ours(&head) || st.st_size != (off_t)osh_ring_bytes(head.slots))
		return -EBADMSG;
	*ret_slots = head.slots;
	return 0;
}

static int map_for_writing(int *fd, uint32_t slots, struct osh_ring_writer **ret_writer)
{
	struct osh_ring_writer *writer = calloc(1, sizeof(*writer));
	size_t bytes = osh_ring_bytes(slots);
	void *memory;

	if (!writer)
		return -ENOMEM;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (memory == MAP_FAILED) {
		int r = -errno;

		free(writer);
		return r;
	}
	writer->memory = memory;
	writer->bytes = bytes;
	writer->slots = slots;
	writer->fd = osh_take_fd(fd);
	writer->next = __atomic_load_n(&writer_head(writer)->next, __ATOMIC_ACQUIRE);
	*ret_writer = writer;
	return 0;
}

int osh_ring_create(const char *name, uint32_t slots, struct osh_ring_writer **ret_writer)
{
	struct ring_head head = { .magic = RING_MAGIC, .layout = RING_LAYOUT, .slots = slots };
	_cleanup_fd_ int fd = -1;

	if (!is_power_of_two(slots) || slots > RING_SLOTS_MAX)
		return -EINVAL;
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	/* A memfd is born with mode 0777: whoever holds a read-only descriptor could open
	 * it again for writing through /proc/self/fd. */
	if (fchmod(fd, 0600) < 0 || ftruncate(fd, (off_t)osh_ring_bytes(slots)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return -errno;
	if (pwrite(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head))
		return -EIO;
	return map_for_writing(&fd, slots, ret_writer);
}

int osh_ring_keeper_open(int fd, uint32_t slots, struct osh_ring_writer **ret_writer)
{
	_cleanup_fd_ int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return own < 0 ? -errno : map_for_writing(&own, slots, ret_writer);
}

int osh_ring_writer_open(int fd, uint32_t slots, struct osh_ring_writer **ret_writer)
{
	struct osh_ring_writer *writer = NULL;
	int r = osh_ring_keeper_open(fd, slots, &writer);

	if (r == 0 && (!is_ours(writer_head(writer)) || writer_head(writer)->slots != slots)) {
		osh_ring_writer_free(writer);
		r = -EBADMSG;
	}
	if (r == 0)
		*ret_writer = writer;
	return r;
}

void osh_ring_writer_free(struct osh_ring_writer *writer)
{
	if (!writer)
		return;
	munmap(writer->memory, writer->bytes);
	osh_close(writer->fd);
	free(writer);
}

int osh_ring_writer_fd(const struct osh_ring_writer *writer)
{
	return writer->fd;
}

int osh_ring_reader_fd(const struct osh_ring_writer *writer)
{
	char path[64];
	int fd;

	/* From the first reader on, nobody but the holder of today's mapping writes: not
	 * even root through /proc (memfd_create(2), F_SEAL_FUTURE_WRITE). */
	(void)fcntl(writer->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", writer->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int osh_ring_reader_at(int fd, uint32_t slots, uint64_t position, struct osh_ring_reader **ret_reader)
{
	struct osh_ring_reader *reader = calloc(1, sizeof(*reader));
	size_t bytes = osh_ring_bytes(slots);
	void *memory;

	if (!reader)
		return -ENOMEM;
	memory = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		int r = -errno;

		free(reader);
		return r;
	}
	*reader = (struct osh_ring_reader){ .memory = memory, .bytes = bytes, .slots = slots, .next = position };
	*ret_reader = reader;
	return 0;
}

int osh_ring_reader_open(int fd, enum osh_ring_from from, struct osh_ring_reader **ret_reader)
{
	struct osh_ring_reader *reader;
	uint32_t slots = 0;
	uint64_t next;
	int r = check_memfd(fd, &slots);

	if (r == 0)
		r = osh_ring_reader_at(fd, slots, 0, &reader);
	if (r < 0)
		return r;
	next = __atomic_load_n(&reader_head(reader)->next, __ATOMIC_ACQUIRE);
	if (from == OSH_RING_FROM_OLDEST)
		next = next > slots ? next - slots : 0;
	reader->next = next;
	*ret_reader = reader;
	return 0;
}

void osh_ring_reader_free(struct osh_ring_reader *reader)
{
	if (!reader)
		return;
	munmap((void *)(uintptr_t)reader->memory, reader->bytes);
	free(reader);
}

/* ---- Writing ------------------------------------------------------------------- */

static size_t words_of(size_t len)
{
	return (len + sizeof(uint64_t) - 1) / sizeof(uint64_t);
}

static struct ring_slot *slot_of(const struct osh_ring_writer *writer, uint64_t number)
{
	void *slots = writer->memory + HEAD_BYTES;

	return (struct ring_slot *)slots + (number & (writer->slots - 1));
}

void osh_ring_stage(struct osh_ring_writer *writer, const struct osh_verdict *verdict)
{
	union {
		char bytes[OSH_VERDICT_BYTES_MAX];
		uint64_t words[PAYLOAD_WORDS];
	} record;
	uint64_t number = writer->next++;
	struct ring_slot *slot = slot_of(writer, number);
	size_t len = osh_verdict_encode(verdict, record.bytes);

	/* The last word is written whole: no byte of the stack behind the record. */
	memset(record.bytes + len, 0, words_of(len) * sizeof(uint64_t) - len);
	__atomic_store_n(&slot->sequence, 2 * number + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	__atomic_store_n(&slot->len, len, __ATOMIC_RELAXED);
	for (size_t i = 0; i < words_of(len); i++)
		__atomic_store_n(&slot->payload[i], record.words[i], __ATOMIC_RELAXED);
	__atomic_store_n(&slot->sequence, 2 * number + 2, __ATOMIC_RELEASE);
	writer->unflushed = true;
}

static void show(struct osh_ring_writer *writer)
{
	__atomic_store_n(&writer_head(writer)->next, writer->next, __ATOMIC_RELEASE);
}

void osh_ring_publish(struct osh_ring_writer *writer, const struct osh_verdict *verdict)
{
	osh_ring_stage(writer, verdict);
	show(writer);
}

void osh_ring_flush(struct osh_ring_writer *writer)
{
	struct ring_head *head = writer_head(writer);

	if (!writer->unflushed)
		return;
	writer->unflushed = false;
	show(writer);
	/* Readers cannot write, so they cannot say that they sleep: always one call. */
	__atomic_fetch_add(&head->wake, 1, __ATOMIC_RELEASE);
	(void)syscall(SYS_futex, &head->wake, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* ---- After a writer's death -------------------------------------------------------- */

uint64_t osh_ring_mend(struct osh_ring_writer *writer)
{
	uint64_t number = __atomic_load_n(&writer_head(writer)->next, __ATOMIC_ACQUIRE);
	uint64_t sequence = __atomic_load_n(&slot_of(writer, number)->sequence, __ATOMIC_ACQUIRE);

	writer->next = number;
	if (sequence == 2 * number + 2) {
		writer->next++;
		show(writer);
	}
	return sequence == 2 * number + 1;
}

void osh_ring_restart(struct osh_ring_writer *writer)
{
	struct ring_head *head = writer_head(writer);

	/* First of all no record is left to read: whoever dies here has read them. */
	writer->next = 0;
	show(writer);
	/* A number that comes again must not find itself whole already. */
	for (uint32_t i = 0; i < writer->slots; i++)
		__atomic_store_n(&slot_of(writer, i)->sequence, 0, __ATOMIC_RELAXED);
	head->layout = RING_LAYOUT;
	head->slots = writer->slots;
	head->magic = RING_MAGIC;
}

/* ---- Reading ------------------------------------------------------------------- */

static void lose(struct osh_ring_reader *reader, uint64_t count)
{
	reader->next += count;
	reader->lost += count;
	reader->unsaid += count;
}

/* Copy the wanted record if it is whole before and after. */
static bool copy_record(const struct osh_ring_reader *reader, char *room, size_t *ret_len)
{
	const void *slots = reader->memory + HEAD_BYTES;
	const struct ring_slot *slot =
		(const struct ring_slot *)slots + (reader->next & (reader->slots - 1));
	uint64_t whole = 2 * reader->next + 2;
	uint64_t len;

	if (__atomic_load_n(&slot->sequence, __ATOMIC_ACQUIRE) != whole)
		return false;
	len = __atomic_load_n(&slot->len, __ATOMIC_RELAXED);
	if (len > OSH_VERDICT_BYTES_MAX)
		len = 0; /* torn or hostile: either check below refuses it */
	for (size_t i = 0; i < words_of(len); i++) {
		uint64_t word = __atomic_load_n(&slot->payload[i], __ATOMIC_RELAXED);

		memcpy(room + i * sizeof(word), &word, sizeof(word));
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (__atomic_load_n(&slot->sequence, __ATOMIC_RELAXED) != whole)
		return false;
	*ret_len = len;
	return true;
}

/* Records that are overwritten already, given the writer's position. */
static uint64_t overwritten(const struct osh_ring_reader *reader, uint64_t written)
{
	uint64_t behind = written - reader->next;

	return behind > reader->slots ? behind - reader->slots : 0;
}

int osh_ring_read(struct osh_ring_reader *reader, char *room, struct osh_verdict *ret_verdict,
		  uint64_t *ret_lost)
{
	for (int i = 0; i < READ_TRIES; i++) {
		uint64_t written = __atomic_load_n(&reader_head(reader)->next, __ATOMIC_ACQUIRE);
		size_t len = 0;

		if (written <= reader->next)
			return 0;
		lose(reader, overwritten(reader, written));
		/* Published and not whole any more: the writer is overwriting it. Whole but
		 * not a record: a hostile writer. Lost either way. */
		if (!copy_record(reader, room, &len) ||
		    osh_verdict_decode(room, len, ret_verdict) < 0) {
			lose(reader, 1);
			continue;
		}
		reader->next++;
		if (ret_lost)
			*ret_lost = reader->unsaid;
		reader->unsaid = 0;
		return 1;
	}
	return 0;
}

bool osh_ring_reader_is_behind(const struct osh_ring_reader *reader)
{
	return __atomic_load_n(&reader_head(reader)->next, __ATOMIC_ACQUIRE) > reader->next;
}

void osh_ring_wait(struct osh_ring_reader *reader, int timeout_ms)
{
	const struct ring_head *head = reader_head(reader);
	struct timespec timeout = {
		.tv_sec = timeout_ms / 1000,
		.tv_nsec = (long)(timeout_ms % 1000) * 1000000,
	};
	/* The word first: a flush after this look ends the sleep at once. */
	uint32_t wake = __atomic_load_n(&head->wake, __ATOMIC_ACQUIRE);

	if (osh_ring_reader_is_behind(reader))
		return;
	(void)syscall(SYS_futex, &head->wake, FUTEX_WAIT, wake, timeout_ms < 0 ? NULL : &timeout,
		      NULL, 0);
}

uint64_t osh_ring_reader_position(const struct osh_ring_reader *reader)
{
	return reader->next;
}

uint64_t osh_ring_reader_restart(struct osh_ring_reader *reader)
{
	uint64_t unsaid = reader->unsaid;

	reader->next = 0;
	reader->unsaid = 0;
	return unsaid;
}

uint64_t osh_ring_lost(const struct osh_ring_reader *reader)
{
	return reader->lost;
}
