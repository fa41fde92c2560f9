/* The verdict ring and the byte form of a record. */
#include "verdict/ring.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 8

static const struct osh_verdict model = {
	.id = 7,
	.time_ns = 1767323045678901234u,
	.sandbox_id = 4242,
	.decision = OSH_VERDICT_AUDIT,
	.engine = OSH_ENGINE_L7,
	.revision = 3,
	.pid = 123,
	.rule_line = 45,
	.status = 403,
	.dst_port_host = 443,
	.permissive = true,
	.sandbox = "demo",
	.binary = "/usr/bin/curl",
	.lineage = "/bin/bash <- /usr/bin/node",
	.host = "api.github.com",
	.protocol = "rest",
	.method = "PUT",
	.target = "/repos/acme/widgets/contents/hello_world.py",
	.message = "mutation IssueNew{createIssue}",
	.policy = "github_rest_api",
	.reason = "PUT /repos/acme/widgets/contents/hello_world.py not permitted by policy",
};

static void expect_same(const struct osh_verdict *a, const struct osh_verdict *b)
{
	cr_expect_eq(a->id, b->id);
	cr_expect_eq(a->time_ns, b->time_ns);
	cr_expect_eq(a->sandbox_id, b->sandbox_id);
	cr_expect_eq(a->decision, b->decision);
	cr_expect_eq(a->engine, b->engine);
	cr_expect_eq(a->revision, b->revision);
	cr_expect_eq(a->pid, b->pid);
	cr_expect_eq(a->rule_line, b->rule_line);
	cr_expect_eq(a->status, b->status);
	cr_expect_eq(a->dst_port_host, b->dst_port_host);
	cr_expect_eq(a->permissive, b->permissive);
	cr_expect_str_eq(a->sandbox, b->sandbox);
	cr_expect_str_eq(a->binary, b->binary);
	cr_expect_str_eq(a->lineage, b->lineage);
	cr_expect_str_eq(a->host, b->host);
	cr_expect_str_eq(a->protocol, b->protocol);
	cr_expect_str_eq(a->method, b->method);
	cr_expect_str_eq(a->target, b->target);
	cr_expect_str_eq(a->message, b->message);
	cr_expect_str_eq(a->policy, b->policy);
	cr_expect_str_eq(a->reason, b->reason);
}

/* ---- One record -------------------------------------------------------------------- */

Test(record, round_trip)
{
	char bytes[OSH_VERDICT_BYTES_MAX];
	struct osh_verdict back;
	size_t len = osh_verdict_encode(&model, bytes);

	cr_assert_eq(osh_verdict_decode(bytes, len, &back), 0);
	expect_same(&back, &model);
}

Test(record, absent_texts_come_back_empty)
{
	struct osh_verdict none = { .id = 1, .decision = OSH_VERDICT_ALLOW };
	char bytes[OSH_VERDICT_BYTES_MAX];
	struct osh_verdict back;

	cr_assert_eq(osh_verdict_decode(bytes, osh_verdict_encode(&none, bytes), &back), 0);
	cr_expect_str_eq(back.sandbox, "");
	cr_expect_str_eq(back.reason, "");
	cr_expect_eq(back.decision, OSH_VERDICT_ALLOW);
}

Test(record, long_texts_are_cut_and_marked_and_always_fit)
{
	static char longest[20000];
	struct osh_verdict all = { 0 };
	char bytes[OSH_VERDICT_BYTES_MAX];
	struct osh_verdict back;
	size_t len;

	memset(longest, 'x', sizeof(longest) - 1);
	all.sandbox = all.binary = all.lineage = all.host = all.protocol = all.method = all.target =
		all.policy = all.reason = longest;
	len = osh_verdict_encode(&all, bytes);
	cr_assert_leq(len, sizeof(bytes));
	cr_assert_eq(osh_verdict_decode(bytes, len, &back), 0);
	cr_expect_str_eq(back.target + strlen(back.target) - 4, "x\xe2\x80\xa6");
	cr_expect_gt(strlen(back.target), 1024);
	cr_expect_str_eq(back.protocol + strlen(back.protocol) - 4, "x\xe2\x80\xa6");
}

/* A two-byte character that straddles the cut goes as a whole, at every alignment. */
Test(record, a_character_is_never_cut_in_two)
{
	for (size_t shift = 0; shift < 4; shift++) {
		struct osh_verdict verdict = { 0 };
		char text[3000], bytes[OSH_VERDICT_BYTES_MAX];
		struct osh_verdict back;
		size_t at = shift;

		memset(text, 'a', shift);
		for (; at + 3 < sizeof(text); at += 2)
			memcpy(text + at, "\xc3\xa9", 2);
		text[at] = '\0';
		verdict.reason = text;
		cr_assert_eq(osh_verdict_decode(bytes, osh_verdict_encode(&verdict, bytes), &back), 0);
		at = strlen(back.reason);
		cr_assert_gt(at, 5);
		cr_expect_str_eq(back.reason + at - 3, "\xe2\x80\xa6");
		cr_expect_eq((unsigned char)back.reason[at - 4], 0xa9, "shift %zu", shift);
	}
}

Test(record, a_text_at_its_bound_is_whole)
{
	char host[257];
	struct osh_verdict verdict = { .host = host };
	char bytes[OSH_VERDICT_BYTES_MAX];
	struct osh_verdict back;

	memset(host, 'h', 256);
	host[256] = '\0';
	cr_assert_eq(osh_verdict_decode(bytes, osh_verdict_encode(&verdict, bytes), &back), 0);
	cr_expect_str_eq(back.host, host);
}

/* Every prefix, and every single changed byte of the head, is refused or harmless. */
Test(record, damaged_bytes_are_refused_or_harmless)
{
	char bytes[OSH_VERDICT_BYTES_MAX], copy[OSH_VERDICT_BYTES_MAX];
	struct osh_verdict back;
	size_t len = osh_verdict_encode(&model, bytes);

	for (size_t i = 0; i < len; i++)
		cr_expect_eq(osh_verdict_decode(bytes, i, &back), -EBADMSG, "prefix %zu", i);
	cr_expect_eq(osh_verdict_decode(bytes, len + 1, &back), -EBADMSG, "a byte too many");
	for (size_t i = 0; i < len; i++) {
		for (unsigned value = 0; value < 256; value += 5) {
			memcpy(copy, bytes, len);
			copy[i] = (char)value;
			if (osh_verdict_decode(copy, len, &back) != 0)
				continue;
			cr_assert_lt(back.decision, OSH_VERDICT_DECISION_COUNT);
			cr_assert_lt(back.engine, OSH_ENGINE_COUNT);
			cr_assert_lt(strlen(back.reason), len);
		}
	}
}

Test(record, a_nul_inside_a_text_is_refused)
{
	char bytes[OSH_VERDICT_BYTES_MAX];
	struct osh_verdict back;
	size_t len = osh_verdict_encode(&model, bytes);
	char *at = memmem(bytes, len, "github_rest_api", 15);

	cr_assert_not_null(at);
	at[3] = '\0';
	cr_expect_eq(osh_verdict_decode(bytes, len, &back), -EBADMSG);
}

/* ---- The ring ---------------------------------------------------------------------- */

static struct osh_ring_writer *writer;
static struct osh_ring_reader *reader;
static char room[OSH_VERDICT_BYTES_MAX];

static void open_ring(void)
{
	cr_assert_eq(osh_ring_create("test", SLOTS, &writer), 0);
	cr_assert_eq(osh_ring_reader_open(osh_ring_writer_fd(writer), OSH_RING_FROM_OLDEST, &reader), 0);
}

static void close_ring(void)
{
	osh_ring_reader_free(reader);
	osh_ring_writer_free(writer);
}

TestSuite(ring, .init = open_ring, .fini = close_ring);

static void publish(uint64_t first, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		struct osh_verdict verdict = model;

		verdict.id = first + i;
		if (verdict.id % 2 == 0)
			verdict.reason = "short";
		osh_ring_publish(writer, &verdict);
	}
}

static void expect_id(struct osh_ring_reader *from, uint64_t id, uint64_t lost)
{
	struct osh_verdict verdict;
	uint64_t said = 99;

	cr_assert_eq(osh_ring_read(from, room, &verdict, &said), 1, "record %lu", (unsigned long)id);
	cr_expect_eq(verdict.id, id);
	cr_expect_eq(said, lost, "record %lu: %lu lost", (unsigned long)id, (unsigned long)said);
}

static void expect_none(struct osh_ring_reader *from)
{
	struct osh_verdict verdict;

	cr_expect_eq(osh_ring_read(from, room, &verdict, NULL), 0);
}

Test(ring, records_arrive_in_order)
{
	struct osh_verdict verdict;

	expect_none(reader);
	publish(1, 3);
	cr_assert_eq(osh_ring_read(reader, room, &verdict, NULL), 1);
	expect_same(&verdict, &(struct osh_verdict){
		1, model.time_ns, model.sandbox_id, model.decision, model.engine, model.revision,
		model.pid, model.rule_line, model.status, model.dst_port_host, model.permissive, model.sandbox,
		model.binary, model.lineage, model.host, model.protocol, model.method, model.target,
		model.message, model.policy, model.reason });
	expect_id(reader, 2, 0);
	expect_id(reader, 3, 0);
	expect_none(reader);
	publish(4, 1);
	expect_id(reader, 4, 0);
}

Test(ring, losses_are_counted_exactly)
{
	publish(1, SLOTS); /* just full: nothing lost */
	expect_id(reader, 1, 0);
	publish(SLOTS + 1, 1);
	expect_id(reader, 2, 0);
	publish(SLOTS + 2, 12); /* 22 in all: the newest eight are there */
	expect_id(reader, 14, 11);
	for (uint64_t id = 15; id <= 21; id++)
		expect_id(reader, id, 0);
	expect_none(reader);
	cr_expect_eq(osh_ring_lost(reader), 11);
}

Test(ring, two_readers_lose_each_for_itself)
{
	struct osh_ring_reader *second, *late;

	publish(1, 2);
	cr_assert_eq(osh_ring_reader_open(osh_ring_writer_fd(writer), OSH_RING_FROM_OLDEST, &second), 0);
	cr_assert_eq(osh_ring_reader_open(osh_ring_writer_fd(writer), OSH_RING_FROM_NOW, &late), 0);
	expect_none(late);
	expect_id(reader, 1, 0);
	expect_id(reader, 2, 0);
	publish(3, SLOTS);
	expect_id(reader, 3, 0);
	expect_id(second, 3, 2);
	expect_id(late, 3, 0);
	cr_expect_eq(osh_ring_lost(reader), 0);
	cr_expect_eq(osh_ring_lost(second), 2);
	osh_ring_reader_free(second);
	osh_ring_reader_free(late);
}

Test(ring, a_reader_descriptor_cannot_write)
{
	int fd = osh_ring_reader_fd(writer);
	struct osh_ring_reader *by_fd;
	char path[64];
	void *memory;
	int again;

	cr_assert_geq(fd, 0);
	cr_expect_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	cr_assert_neq(memory, MAP_FAILED);
	cr_expect_lt(mprotect(memory, 4096, PROT_READ | PROT_WRITE), 0);
	munmap(memory, 4096);
	cr_expect_lt(write(fd, "x", 1), 0);
	cr_expect_lt(ftruncate(fd, 0), 0);
	/* Not even by opening it again: sealed against new writers. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again >= 0) {
		cr_expect_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0), MAP_FAILED);
		cr_expect_lt(pwrite(again, "x", 1, 0), 0);
		close(again);
	}
	/* The twin: reading works, and the writer still writes. */
	cr_assert_eq(osh_ring_reader_open(fd, OSH_RING_FROM_NOW, &by_fd), 0);
	publish(1, 1);
	expect_id(by_fd, 1, 0);
	osh_ring_reader_free(by_fd);
	close(fd);
}

Test(ring, bad_sizes_and_bad_files_are_refused)
{
	struct osh_ring_writer *w;
	struct osh_ring_reader *r;
	char head[64];
	int fd;

	cr_expect_eq(osh_ring_create("test", 0, &w), -EINVAL);
	cr_expect_eq(osh_ring_create("test", 12, &w), -EINVAL);
	cr_expect_eq(osh_ring_create("test", 1u << 30, &w), -EINVAL);
	/* Same bytes, but it could shrink under the reader. */
	fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	cr_assert_eq(pread(osh_ring_writer_fd(writer), head, sizeof(head), 0), (ssize_t)sizeof(head));
	cr_assert_eq(pwrite(fd, head, sizeof(head), 0), (ssize_t)sizeof(head));
	cr_expect_eq(osh_ring_reader_open(fd, OSH_RING_FROM_NOW, &r), -EBADMSG);
	/* Sealed, but shorter than its head says. */
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	cr_expect_eq(osh_ring_reader_open(fd, OSH_RING_FROM_NOW, &r), -EBADMSG);
	close(fd);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	cr_expect_eq(osh_ring_reader_open(fd, OSH_RING_FROM_NOW, &r), -EBADMSG);
	close(fd);
}

/* Offsets of the layout, to play the hostile writer. */
#define AT_LAYOUT 8
#define AT_NEXT 64
#define AT_SLOT(n) (4096 + (off_t)(n) * (64 + OSH_VERDICT_BYTES_MAX))

static void poke_at(int fd, off_t at, uint64_t value, size_t len)
{
	cr_assert_eq(pwrite(fd, &value, len, at), (ssize_t)len);
}

static void poke(off_t at, uint64_t value, size_t len)
{
	poke_at(osh_ring_writer_fd(writer), at, value, len);
}

Test(ring, another_layout_version_is_refused)
{
	struct osh_ring_reader *r;

	poke(AT_LAYOUT, 2, 4);
	cr_expect_eq(osh_ring_reader_open(osh_ring_writer_fd(writer), OSH_RING_FROM_NOW, &r), -EBADMSG);
	poke(AT_LAYOUT, 1, 4);
	cr_assert_eq(osh_ring_reader_open(osh_ring_writer_fd(writer), OSH_RING_FROM_NOW, &r), 0);
	osh_ring_reader_free(r);
}

Test(ring, a_torn_record_is_lost_not_returned)
{
	publish(1, 3);
	poke(AT_SLOT(1), 2 * 1 + 1, 8); /* record 1 is "being written" */
	expect_id(reader, 1, 0);
	expect_id(reader, 3, 1);
	cr_expect_eq(osh_ring_lost(reader), 1);
}

Test(ring, a_hostile_writer_harms_no_reader)
{
	struct osh_verdict verdict;

	publish(1, 4);
	poke(AT_SLOT(0) + 8, UINT64_MAX, 8);     /* a length beyond the slot */
	poke(AT_SLOT(1) + 64 + 44, UINT64_MAX, 8); /* lengths of texts beyond the record */
	expect_id(reader, 3, 2);
	poke(AT_NEXT, UINT64_MAX, 8);
	cr_expect_eq(osh_ring_read(reader, room, &verdict, NULL), 0);
	poke(AT_NEXT, 0, 8); /* back in time */
	cr_expect_eq(osh_ring_read(reader, room, &verdict, NULL), 0);
	for (off_t at = 0; at < AT_SLOT(SLOTS); at += 8)
		poke(at, 0x8181818181818181u * (uint64_t)at, 8);
	for (int i = 0; i < 1000; i++)
		cr_assert_eq(osh_ring_read(reader, room, &verdict, NULL), 0);
}

Test(ring, what_is_staged_is_seen_after_the_flush)
{
	struct osh_verdict verdict = model;

	publish(1, 1);
	for (verdict.id = 2; verdict.id <= 4; verdict.id++)
		osh_ring_stage(writer, &verdict);
	expect_id(reader, 1, 0);
	expect_none(reader);
	osh_ring_flush(writer);
	for (uint64_t id = 2; id <= 4; id++)
		expect_id(reader, id, 0);
	expect_none(reader);
}

/* ---- In memory that outlives its writer -------------------------------------------------- */

/* The memory of `ring`; there it is a BPF map. */
static int kept_fd;
static struct osh_ring_writer *keeper;

static void open_kept(void)
{
	kept_fd = memfd_create("kept", MFD_CLOEXEC);
	cr_assert_geq(kept_fd, 0);
	cr_assert_eq(ftruncate(kept_fd, (off_t)osh_ring_bytes(SLOTS)), 0);
	cr_assert_eq(osh_ring_keeper_open(kept_fd, SLOTS, &keeper), 0);
	cr_assert_eq(osh_ring_reader_at(kept_fd, SLOTS, 0, &reader), 0);
	osh_ring_restart(keeper);
	cr_assert_eq(osh_ring_writer_open(kept_fd, SLOTS, &writer), 0);
}

static void close_kept(void)
{
	close_ring();
	osh_ring_writer_free(keeper);
	close(kept_fd);
}

TestSuite(kept_ring, .init = open_kept, .fini = close_kept);

/* The writer's process ends, another one comes. */
static void change_writers(void)
{
	osh_ring_writer_free(writer);
	cr_assert_eq(osh_ring_writer_open(kept_fd, SLOTS, &writer), 0);
}

static void change_readers(void)
{
	uint64_t position = osh_ring_reader_position(reader);

	osh_ring_reader_free(reader);
	cr_assert_eq(osh_ring_reader_at(kept_fd, SLOTS, position, &reader), 0);
}

Test(kept_ring, a_second_reader_goes_on_where_the_first_ended)
{
	publish(1, 3);
	expect_id(reader, 1, 0);
	change_writers();
	change_readers();
	expect_id(reader, 2, 0);
	expect_id(reader, 3, 0);
	expect_none(reader);
	publish(4, SLOTS + 2); /* its losses are counted from there */
	change_readers();
	expect_id(reader, 6, 2);
}

Test(kept_ring, a_second_writer_goes_on_where_the_first_ended)
{
	publish(1, 3);
	change_writers();
	publish(4, 1);
	for (uint64_t id = 1; id <= 4; id++)
		expect_id(reader, id, 0);
}

Test(kept_ring, a_new_beginning_forgets_all_that_was)
{
	publish(1, SLOTS + 3);
	expect_id(reader, 4, 3);
	osh_ring_restart(keeper);
	expect_none(reader);
	cr_expect_eq(osh_ring_reader_restart(reader), 0);
	expect_none(reader);
	cr_expect_eq(osh_ring_mend(keeper), 0);
	expect_none(reader); /* slot 0 held a whole record, of another number */
	change_writers();
	publish(50, 2);
	expect_id(reader, 50, 0);
	expect_id(reader, 51, 0);
	expect_none(reader);
}

Test(kept_ring, losses_that_no_read_told_are_told_at_the_end)
{
	publish(1, 2);
	poke_at(kept_fd, AT_SLOT(1), 2 * 1 + 1, 8);
	expect_id(reader, 1, 0);
	expect_none(reader);
	cr_expect_not(osh_ring_reader_is_behind(reader));
	cr_expect_eq(osh_ring_reader_restart(reader), 1);
	cr_expect_eq(osh_ring_reader_restart(reader), 0);
}

/* What SIGKILL leaves of the record at hand: nothing, a part, or the whole, not shown yet. */
Test(kept_ring, a_writer_killed_inside_a_record_loses_that_one)
{
	publish(1, 3);
	poke_at(kept_fd, AT_NEXT, 2, 8);
	poke_at(kept_fd, AT_SLOT(2), 2 * 2 + 1, 8);
	cr_expect_eq(osh_ring_mend(keeper), 1);
	expect_id(reader, 1, 0);
	expect_id(reader, 2, 0);
	expect_none(reader);
}

Test(kept_ring, a_writer_killed_behind_a_record_loses_none)
{
	publish(1, 3);
	poke_at(kept_fd, AT_NEXT, 2, 8);
	cr_expect_eq(osh_ring_mend(keeper), 0);
	cr_expect_eq(osh_ring_mend(keeper), 0, "the slot behind it was never written");
	for (uint64_t id = 1; id <= 3; id++)
		expect_id(reader, id, 0);
	expect_none(reader);
}

/* Whatever it left there, the next writer and the reader begin anew, together. */
Test(kept_ring, a_hostile_writer_cannot_spoil_the_next_ones_ring)
{
	static const uint64_t nexts[] = { UINT64_MAX, UINT64_MAX - 1, 1u << 20, 0 };
	struct osh_verdict verdict;

	for (size_t i = 0; i < sizeof(nexts) / sizeof(nexts[0]); i++) {
		publish(1, 2);
		for (off_t at = 0; at < AT_SLOT(SLOTS); at += 8)
			poke_at(kept_fd, at, 0x8181818181818181u * (uint64_t)at, 8);
		for (uint64_t n = 0; n < SLOTS; n++) /* whole records to come */
			poke_at(kept_fd, AT_SLOT(n), 2 * n + 2, 8);
		poke_at(kept_fd, AT_NEXT, nexts[i], 8);
		(void)osh_ring_mend(keeper);
		while (osh_ring_reader_is_behind(reader))
			(void)osh_ring_read(reader, room, &verdict, NULL);
		osh_ring_restart(keeper);
		(void)osh_ring_reader_restart(reader);
		change_writers();
		publish(7, 2);
		expect_id(reader, 7, 0);
		expect_id(reader, 8, 0);
		expect_none(reader);
		(void)osh_ring_reader_restart(reader);
		osh_ring_restart(keeper);
		change_writers();
	}
}

Test(kept_ring, a_ring_that_was_never_begun_or_is_of_another_size_is_not_written_to)
{
	struct osh_ring_writer *w;
	int fd = memfd_create("empty", MFD_CLOEXEC);

	cr_assert_eq(ftruncate(fd, (off_t)osh_ring_bytes(SLOTS)), 0);
	cr_expect_eq(osh_ring_writer_open(fd, SLOTS, &w), -EBADMSG);
	cr_expect_eq(osh_ring_writer_open(kept_fd, SLOTS / 2, &w), -EBADMSG);
	poke_at(kept_fd, AT_LAYOUT, 2, 4);
	cr_expect_eq(osh_ring_writer_open(kept_fd, SLOTS, &w), -EBADMSG);
	close(fd);
}

/* ---- Two threads ------------------------------------------------------------------- */

static void *publish_many(void *count)
{
	publish(1, *(uint64_t *)count);
	osh_ring_flush(writer);
	return NULL;
}

/* Records of two lengths on eight slots: a torn copy would mix them. */
Test(ring, a_racing_reader_sees_whole_records_and_exact_losses)
{
	uint64_t total = 200000, seen = 0, last = 0, lost = 0;
	struct osh_verdict verdict;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, publish_many, &total), 0);
	while (last < total) {
		uint64_t said = 0;

		if (osh_ring_read(reader, room, &verdict, &said) == 0) {
			osh_ring_wait(reader, 100);
			continue;
		}
		lost += said;
		seen++;
		cr_assert_eq(verdict.id, last + said + 1);
		cr_assert_str_eq(verdict.reason, verdict.id % 2 ? model.reason : "short");
		last = verdict.id;
	}
	pthread_join(thread, NULL);
	cr_expect_eq(seen + lost, total);
	cr_expect_eq(osh_ring_lost(reader), lost);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

Test(ring, a_sleeping_reader_is_woken)
{
	uint64_t one = 1, start = now_ms();
	pthread_t thread;
	struct osh_verdict verdict;

	cr_assert_eq(pthread_create(&thread, NULL, publish_many, &one), 0);
	while (osh_ring_read(reader, room, &verdict, NULL) == 0)
		osh_ring_wait(reader, 20000);
	pthread_join(thread, NULL);
	cr_expect_lt(now_ms() - start, 10000, "woken, not timed out");
}

Test(ring, waiting_ends_at_its_time_and_not_at_all_when_there_is_something)
{
	uint64_t start = now_ms();

	osh_ring_wait(reader, 30);
	cr_expect_geq(now_ms() - start, 25);
	publish(1, 1);
	osh_ring_wait(reader, -1); /* would hang if it slept: nobody flushes */
	expect_id(reader, 1, 0);
}
