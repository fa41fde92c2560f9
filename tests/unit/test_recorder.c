/* The agent killed at any instruction while it takes verdicts from a ring, and the next one goes
 * on: each verdict is in the journal once. */
#include "control/recorder.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "control/agent.h"
#include "kernel/kernel.h"
#include "openshell/limits.h"
#include "proxy/rings.h"
#include "verdict/ring.h"

#define LIVES 100
#define LIFE_US_MAX 2000
#define RECORDS_PER_LIFE 3000u /* all of them fit into the journal's files */
#define RECORDS_MAX (LIVES * (RECORDS_PER_LIFE + BATCH_MAX + 2))
#define BATCH_MAX 40u

static char state_dir[] = "/tmp/openshell-recorder.XXXXXX";
static struct osh_config config;
static struct osh_agent agent;
static struct osh_rings *rings;

/* ---- What outlives an agent --------------------------------------------------------------- */

static struct {
	char name[16];
	int fd;
} memories[OSH_WORKERS_MAX + 1];

int osh_kernel_memory(const char *pin_dir, const char *name, size_t bytes, bool may_make, int *ret_fd)
{
	size_t i = 0;

	(void)pin_dir;
	while (memories[i].name[0] && strcmp(memories[i].name, name) != 0)
		i++;
	if (!memories[i].name[0] && !may_make)
		return -ENOENT;
	if (memories[i].name[0]) {
		*ret_fd = dup(memories[i].fd);
		return 0;
	}
	snprintf(memories[i].name, sizeof(memories[i].name), "%s", name);
	memories[i].fd = memfd_create(name, MFD_CLOEXEC);
	cr_assert_eq(ftruncate(memories[i].fd, (off_t)bytes), 0);
	*ret_fd = dup(memories[i].fd);
	return 1;
}

int osh_kernel_memory_lock(const char *pin_dir)
{
	(void)pin_dir;
	return memfd_create("lock", MFD_CLOEXEC);
}

/* ---- An agent ---------------------------------------------------------------------------- */

static uint64_t position_of(void *context, unsigned worker)
{
	(void)context;
	return osh_recorder_position(agent.recorder, worker);
}

static void on_taking(void *context, unsigned worker, uint64_t position)
{
	(void)context;
	osh_recorder_taking(agent.recorder, worker, position);
}

static void on_verdict(void *context, const struct osh_verdict *verdict)
{
	(void)context;
	osh_recorder_verdict(agent.recorder, verdict, 1);
}

static void on_taken(void *context, unsigned worker, uint64_t position)
{
	(void)context;
	osh_recorder_taken(agent.recorder, worker, position);
}

/* A record that the writer was killed in: nobody was told of it. */
static void on_lost(void *context, uint64_t lost)
{
	(void)context;
	cr_expect_eq(lost, 1);
}

static const struct osh_verdict_hook hook = {
	.position = position_of, .on_taking = on_taking, .on_verdict = on_verdict,
	.on_taken = on_taken, .on_lost = on_lost,
};

static void start_agent(void)
{
	struct osh_err err = { 0 };

	cr_assert_eq(osh_recorder_open(&agent, &agent.recorder, &err), 0, "%s", err.message);
	cr_assert_eq(osh_rings_open("", 1, &hook, &rings, &err), 0, "%s", err.message);
	osh_rings_finish(rings);
}

static void stop_agent(void)
{
	osh_rings_finish(rings);
	osh_rings_close(rings);
	osh_recorder_close(agent.recorder);
}

/* Shared with its child. `told`: all up to this one were recorded before their requests were answered. */
static struct shared {
	atomic_uint told;
	atomic_bool is_ready;
} *shared;

static struct osh_verdict numbered(unsigned number, char target[static 16])
{
	snprintf(target, 16, "/%u", number);
	return (struct osh_verdict){ .time_ns = 1, .decision = OSH_VERDICT_ALLOW, .target = target };
}

/* Until it is killed: a proxy records, and the agent takes. Refusals of the kernel come between. */
static void live(unsigned seed, unsigned number)
{
	const unsigned last = number + RECORDS_PER_LIFE;
	struct osh_ring_writer *writer;
	char target[16];

	start_agent();
	cr_assert_eq(osh_ring_writer_open(osh_rings_fd(rings, 0), OSH_WORKER_RING_SLOTS, &writer), 0);
	atomic_store(&shared->is_ready, true);
	while (number < last) {
		for (unsigned count = (unsigned)rand_r(&seed) % BATCH_MAX; count; count--) {
			struct osh_verdict verdict = numbered(number, target);

			osh_ring_publish(writer, &verdict);
			atomic_store(&shared->told, number++);
		}
		osh_rings_drain(rings);
		if (rand_r(&seed) % 4 == 0)
			osh_recorder_verdict(agent.recorder, &(struct osh_verdict){ .time_ns = 1, .target = "" }, 1);
		if (rand_r(&seed) % 4 == 0)
			osh_recorder_flush(agent.recorder);
	}
	for (;;)
		pause();
}

static void live_and_die(unsigned *seed)
{
	struct timespec life = { .tv_nsec = (long)(rand_r(seed) % LIFE_US_MAX) * 1000 };
	unsigned number = atomic_load(&shared->told) + 2; /* the one between may be recorded, untold */
	pid_t pid;

	atomic_store(&shared->is_ready, false);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0)
		live((unsigned)rand_r(seed), number);
	while (!atomic_load(&shared->is_ready))
		cr_assert_eq(waitpid(pid, NULL, WNOHANG), 0, "the agent does not start");
	nanosleep(&life, NULL);
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

/* ---- The journal ---------------------------------------------------------------------------- */

static unsigned char *seen; /* how often each number */
static uint64_t last_id;

static uint64_t number_behind(const char *line, const char *key)
{
	const char *at = strstr(line, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static const char *const files[] = { "4.jsonl", "3.jsonl", "2.jsonl", "1.jsonl", "current.jsonl" };

static void read_file(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[4096];

	while (file && fgets(line, sizeof(line), file)) {
		uint64_t id = number_behind(line, "\"id\":");
		uint64_t number = number_behind(line, "\"l7_target\":\"/");

		cr_assert_gt(id, last_id, "%s", line);
		last_id = id;
		cr_assert_lt(number, RECORDS_MAX, "%s", line);
		seen[number]++;
	}
	if (file)
		fclose(file);
}

static void each_file(void (*each)(const char *path))
{
	char path[128];

	for (size_t i = 0; i < OSH_COUNT_OF(files); i++) {
		snprintf(path, sizeof(path), "%s/journal/%s", state_dir, files[i]);
		each(path);
	}
}

static void begin(void)
{
	cr_assert_not_null(mkdtemp(state_dir));
	snprintf(config.state_dir, sizeof(config.state_dir), "%s", state_dir);
	agent.config = &config;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(shared, MAP_FAILED);
	seen = calloc(RECORDS_MAX, 1);
	cr_assert_not_null(seen);
	start_agent();
	stop_agent();
}

static void remove_file(const char *path)
{
	(void)unlink(path);
}

static void end(void)
{
	char path[128];

	each_file(remove_file);
	snprintf(path, sizeof(path), "%s/journal", state_dir);
	rmdir(path);
	rmdir(state_dir);
}

TestSuite(recorder, .init = begin, .fini = end, .timeout = 120);

static unsigned seed_of_today(void)
{
	const char *wanted = getenv("OSH_SEED");

	return wanted ? (unsigned)strtoul(wanted, NULL, 10) : (unsigned)time(NULL);
}

Test(recorder, each_verdict_is_written_down_once_whenever_the_agent_is_killed)
{
	unsigned seed = seed_of_today(), first = seed, told[LIVES + 1] = { 0 };

	for (size_t i = 1; i <= LIVES; i++) {
		live_and_die(&seed);
		told[i] = atomic_load(&shared->told);
	}
	start_agent();
	stop_agent();
	each_file(read_file);
	cr_expect_gt(told[LIVES], LIVES, "they hardly lived");
	for (size_t i = 1; i <= LIVES; i++) {
		for (unsigned n = told[i - 1] + 2; n <= told[i]; n++)
			cr_assert_eq(seen[n], 1, "seed %u: %u is there %u times", first, n, seen[n]);
		cr_assert_leq(seen[told[i] + 1], 1, "seed %u", first);
	}
}
