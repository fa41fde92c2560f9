/* Verdict records per second into the ring while a reader in another process takes
 * them out, and what the reader lost. Records are of everyday size. */
#include "verdict/ring.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RECORDS 4000000u
#define BATCH 64u  /* records per flush: what one turn of a busy loop publishes */
#define SLOTS 4096u

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static const struct osh_verdict model = {
	.time_ns = 1767323045678901234u,
	.sandbox_id = 4242,
	.engine = OSH_ENGINE_L7,
	.revision = 3,
	.pid = 12345,
	.status = 403,
	.dst_port_host = 443,
	.sandbox = "demo",
	.binary = "/usr/bin/curl",
	.lineage = "/bin/bash <- /usr/local/bin/claude",
	.host = "api.github.com",
	.protocol = "rest",
	.method = "PUT",
	.target = "/repos/acme/widgets/contents/hello_world.py",
	.policy = "github_rest_api",
	.reason = "PUT /repos/acme/widgets/contents/hello_world.py not permitted by policy",
};

static double write_all(struct osh_ring_writer *writer)
{
	struct osh_verdict verdict = model;
	double start = now_s();

	for (uint32_t i = 1; i <= RECORDS; i++) {
		verdict.id = i;
		osh_ring_publish(writer, &verdict);
		if (i % BATCH == 0)
			osh_ring_flush(writer);
	}
	osh_ring_flush(writer);
	return now_s() - start;
}

/* Read to the last record; what was seen and what was lost must be all. */
static int read_all(int fd)
{
	struct osh_ring_reader *reader;
	char room[OSH_VERDICT_BYTES_MAX];
	uint64_t last = 0, seen = 0;

	if (osh_ring_reader_open(fd, OSH_RING_FROM_OLDEST, &reader) < 0)
		return 1;
	while (last < RECORDS) {
		struct osh_verdict verdict;

		if (osh_ring_read(reader, room, &verdict, NULL) == 0) {
			osh_ring_wait(reader, 1000);
			continue;
		}
		seen++;
		last = verdict.id;
	}
	printf("reader: %" PRIu64 " read, %" PRIu64 " lost and counted, %" PRIu64 " unaccounted for\n", seen,
	       osh_ring_lost(reader), RECORDS - seen - osh_ring_lost(reader));
	fflush(stdout);
	return seen + osh_ring_lost(reader) == RECORDS ? 0 : 1;
}

int main(void)
{
	struct osh_ring_writer *writer;
	double alone, together;
	int status, fd;
	pid_t pid;

	if (osh_ring_create("bench", SLOTS, &writer) < 0)
		return 1;
	alone = write_all(writer);
	osh_ring_writer_free(writer);
	if (osh_ring_create("bench", SLOTS, &writer) < 0)
		return 1;
	fd = osh_ring_writer_fd(writer);
	pid = fork();
	if (pid < 0)
		return 1;
	if (pid == 0)
		_exit(read_all(fd));
	together = write_all(writer);
	if (waitpid(pid, &status, 0) != pid)
		return 1;
	printf("writer alone: %.2f million records/s\n", RECORDS / alone / 1e6);
	printf("writer with a reader: %.2f million records/s (target 1)\n", RECORDS / together / 1e6);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
