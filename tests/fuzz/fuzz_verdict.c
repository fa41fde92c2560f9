/* A record's bytes as a hostile writer would put them: alone, in a whole ring, and
 * from there into every text form. */
#include "verdict/format.h"
#include "verdict/ring.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool truth)
{
	if (!truth)
		abort();
}

static void ignore_field(void *context, const char *name, const char *value)
{
	(void)name;
	for (; *value; value++)
		require((unsigned char)*value >= 0x20 && *value != 0x7f);
	(*(int *)context)++;
}

static void check_json_text(const struct osh_verdict *verdict, const json_t *json)
{
	char text[8 * OSH_VERDICT_BYTES_MAX];
	char *want = json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII);

	require(want && osh_verdict_json_text(verdict, text, sizeof(text)) == strlen(want));
	require(strcmp(text, want) == 0);
	free(want);
}

static bool is_same(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

#define YEAR_2554_S 18429292800u /* its first second */

static void check_texts(const struct osh_verdict *verdict)
{
	char line[4 * OSH_VERDICT_BYTES_MAX + 512];
	size_t len = osh_verdict_line(verdict, line, sizeof(line));
	struct osh_verdict back;
	json_t *json = osh_verdict_json(verdict);
	int fields = 0;

	require(len == strlen(line) && !strpbrk(line, "\n\r\x1b\x7f"));
	osh_verdict_fields(verdict, ignore_field, &fields);
	require(fields >= 3);
	require(json != NULL);
	check_json_text(verdict, json);
	/* Of all that decodes, only an id outside 1..INT64_MAX and a time after 2553 have no way back. */
	if ((verdict->id & INT64_MAX) && verdict->time_ns / 1000000000u < YEAR_2554_S)
		require(osh_verdict_from_json(json, &back) == 0 && back.time_ns == verdict->time_ns &&
			is_same(back.binary, verdict->binary) && is_same(back.reason, verdict->reason));
	json_decref(json);
}

static void fuzz_record(const char *data, size_t size)
{
	char again[OSH_VERDICT_BYTES_MAX];
	struct osh_verdict verdict;

	if (osh_verdict_decode(data, size, &verdict) < 0)
		return;
	/* One verdict has one byte form. */
	require(osh_verdict_encode(&verdict, again) == size && memcmp(again, data, size) == 0);
	check_texts(&verdict);
}

/* The bytes laid over head and slots of a sound ring, at an offset they choose. */
static void fuzz_ring(const uint8_t *data, size_t size)
{
	const struct osh_verdict sound = { .id = 1, .reason = "sound" };
	struct osh_ring_writer *writer;
	struct osh_ring_reader *reader;
	struct osh_verdict verdict;
	char room[OSH_VERDICT_BYTES_MAX];
	off_t at;

	if (size < 2)
		return;
	at = data[0] < 128 ? data[0] : 4096 + (data[0] - 128) % 4 * (64 + OSH_VERDICT_BYTES_MAX) + data[1];
	require(osh_ring_create("fuzz", 4, &writer) == 0);
	require(osh_ring_reader_open(osh_ring_writer_fd(writer), OSH_RING_FROM_OLDEST, &reader) == 0);
	for (int i = 0; i < 3; i++)
		osh_ring_publish(writer, &sound);
	(void)!pwrite(osh_ring_writer_fd(writer), data + 2, size - 2, at);
	for (int i = 0; i < 8 && osh_ring_read(reader, room, &verdict, NULL); i++)
		check_texts(&verdict);
	osh_ring_wait(reader, 0);
	osh_ring_reader_free(reader);
	osh_ring_writer_free(writer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (data[0] & 1)
		fuzz_ring(data + 1, size - 1);
	else
		fuzz_record((const char *)data + 1, size - 1);
	return 0;
}
