/* The journal on disk and the log of one sandbox. */
#include "verdict/journal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "verdict/format.h"

static char home[] = "/tmp/osh-test-journal-XXXXXX";
static char dir[128], current[160], older[160], log_path[160];
static struct osh_journal *journal;

static void make_home(void)
{
	cr_assert_not_null(mkdtemp(home));
	snprintf(dir, sizeof(dir), "%s/journal", home);
	snprintf(current, sizeof(current), "%s/current.jsonl", dir);
	snprintf(older, sizeof(older), "%s/1.jsonl", dir);
	snprintf(log_path, sizeof(log_path), "%s/demo.log", home);
}

static void remove_home(void)
{
	static const char *const names[] = { "journal/current.jsonl", "journal/1.jsonl", "journal/2.jsonl",
					     "journal/3.jsonl", "journal/4.jsonl", "demo.log", "target" };
	char path[256];

	osh_journal_close(journal);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", home, names[i]);
		unlink(path);
	}
	rmdir(dir);
	rmdir(home);
}

TestSuite(journal, .init = make_home, .fini = remove_home, .timeout = 60);
TestSuite(sandbox_log, .init = make_home, .fini = remove_home, .timeout = 60);

static void open_journal(void)
{
	osh_journal_close(journal);
	journal = NULL;
	cr_assert_eq(osh_journal_open(dir, &journal), 0);
}

static void append(uint64_t id, const char *reason)
{
	const struct osh_verdict verdict = {
		.id = id,
		.time_ns = 1767323045678901234u,
		.decision = OSH_VERDICT_DENY,
		.engine = OSH_ENGINE_L7,
		.sandbox = "demo",
		.host = "api.github.com",
		.reason = reason,
	};

	osh_journal_append(journal, &verdict);
}

static void write_text(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | flags, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(osh_write_full(fd, text, strlen(text)), 0);
	close(fd);
}

/* All records of one descriptor, which must be whole lines. Returns how many; *ret_last
 * is the last id. */
static size_t read_records(int fd, uint64_t *ret_first, uint64_t *ret_last)
{
	char *text, *line, *rest;
	size_t len, count = 0;

	cr_assert_eq(osh_read_fd(fd, 64u << 20, &text, &len), 0);
	cr_assert(len == 0 || text[len - 1] == '\n');
	for (line = text; (rest = strchr(line, '\n')); line = rest + 1) {
		json_t *json = json_loadb(line, (size_t)(rest - line), 0, NULL);
		struct osh_verdict verdict;

		cr_assert_eq(osh_verdict_from_json(json, &verdict), 0, "%.*s", (int)(rest - line), line);
		if (count++ == 0)
			*ret_first = verdict.id;
		*ret_last = verdict.id;
		json_decref(json);
	}
	free(text);
	return count;
}

static size_t read_current(uint64_t *ret_last)
{
	int fd = open(current, O_RDONLY);
	uint64_t first = 0;
	size_t count;

	cr_assert_geq(fd, 0);
	count = read_records(fd, &first, ret_last);
	close(fd);
	return count;
}

Test(journal, starts_at_one_and_goes_on_after_a_restart)
{
	uint64_t last = 0;
	struct stat st;

	open_journal();
	cr_expect_eq(osh_journal_next_id(journal), 1);
	append(1, "a");
	append(2, "b");
	osh_journal_flush(journal);
	cr_expect_eq(read_current(&last), 2);
	cr_expect_eq(last, 2);
	open_journal();
	cr_expect_eq(osh_journal_next_id(journal), 3);
	cr_expect_eq(osh_journal_dropped(journal), 0);
	cr_assert_eq(stat(current, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0600);
	cr_assert_eq(stat(dir, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0700);
}

Test(journal, nothing_is_written_before_a_flush_and_all_at_close)
{
	uint64_t last = 0;

	open_journal();
	append(1, "a");
	cr_expect_eq(read_current(&last), 0);
	osh_journal_close(journal);
	journal = NULL;
	cr_expect_eq(read_current(&last), 1);
}

/* Torn at each byte of the last line: the file is mended, and no id is given twice. */
Test(journal, a_torn_last_line_costs_no_id)
{
	char *text;
	size_t len, second;

	open_journal();
	append(41, "a");
	append(42, "b");
	osh_journal_flush(journal);
	cr_assert_eq(osh_read_file(current, 1 << 20, &text, &len), 0);
	second = (size_t)(strchr(text, '\n') + 1 - text);
	for (size_t cut = second; cut <= len; cut++) {
		uint64_t last = 0;

		osh_journal_close(journal);
		journal = NULL;
		cr_assert_eq(osh_replace_file(current, text, cut, 0600), 0);
		open_journal();
		cr_assert_eq(osh_journal_next_id(journal), cut == second ? 42 : 43, "cut at %zu", cut);
		append(osh_journal_next_id(journal), "c");
		osh_journal_flush(journal);
		cr_assert_eq(read_current(&last), cut == len ? 3 : 2);
	}
	free(text);
}

Test(journal, garbage_lines_are_passed_over)
{
	open_journal();
	append(5, "a");
	osh_journal_flush(journal);
	write_text(current, "\n\nnot json\n{\"id\":99}\n[]\n", O_APPEND);
	open_journal();
	cr_expect_eq(osh_journal_next_id(journal), 6);
}

Test(journal, an_empty_current_file_takes_the_id_of_the_older_one)
{
	open_journal();
	append(7, "a");
	osh_journal_flush(journal);
	cr_assert_eq(rename(current, older), 0);
	open_journal();
	cr_expect_eq(osh_journal_next_id(journal), 8);
}

Test(journal, rotates_keeps_five_files_and_hands_them_out_in_order)
{
	static char reason[3501];
	uint64_t id = 0, before = 0, first_kept;
	int fds[OSH_JOURNAL_KEPT + 3], count;
	struct stat st;

	open_journal();
	memset(reason, 'r', sizeof(reason) - 1);
	cr_expect_eq(osh_journal_first_id(journal), 0);
	while (id * 3600 < OSH_JOURNAL_FILE_BYTES)
		append(++id, reason);
	cr_expect_eq(osh_journal_first_id(journal), 1);
	while (id * 3600 < (OSH_JOURNAL_KEPT + 2ull) * OSH_JOURNAL_FILE_BYTES)
		append(++id, reason);
	osh_journal_flush(journal);
	first_kept = osh_journal_first_id(journal);
	count = osh_journal_reader_fds(journal, fds, OSH_JOURNAL_KEPT + 3);
	cr_assert_eq(count, OSH_JOURNAL_KEPT + 1);
	for (int i = 0; i < count; i++) {
		uint64_t first = 0, last = 0;

		cr_assert_eq(fstat(fds[i], &st), 0);
		cr_expect_leq(st.st_size, OSH_JOURNAL_FILE_BYTES);
		cr_expect_lt(write(fds[i], "x", 1), 0, "read-only");
		cr_assert_gt(read_records(fds[i], &first, &last), 0);
		cr_expect_eq(first, i ? before + 1 : first_kept);
		before = last;
		close(fds[i]);
	}
	cr_expect_eq(before, id);
	cr_expect_eq(osh_journal_dropped(journal), 0);
	count = osh_journal_reader_fds(journal, fds, 2);
	cr_expect_eq(count, 2);
	close(fds[0]);
	close(fds[1]);
}

/* A file size limit stands for the full disk: the same short writes and errors. */
static void limit_files(rlim_t bytes)
{
	struct rlimit limit = { .rlim_cur = bytes, .rlim_max = RLIM_INFINITY };

	sigaction(SIGXFSZ, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(journal, a_full_disk_drops_whole_records_and_counts_them)
{
	uint64_t last = 0;
	size_t written;

	open_journal();
	limit_files(1000);
	for (uint64_t id = 1; id <= 20; id++)
		append(id, "out of space");
	osh_journal_flush(journal);
	written = read_current(&last);
	cr_expect_gt(written, 0);
	cr_expect_lt(written, 20);
	cr_expect_eq(osh_journal_dropped(journal), 20 - written);
	/* The twin: with space again, records go on. */
	limit_files(RLIM_INFINITY);
	append(21, "space again");
	osh_journal_flush(journal);
	cr_expect_eq(read_current(&last), written + 1);
	cr_expect_eq(last, 21);
	cr_expect_eq(osh_journal_dropped(journal), 20 - written);
}

Test(journal, hostile_text_is_one_line_of_ascii)
{
	static const char reason[] = "a\nb\x1b]52;c;x\a\xe2\x80\xae\xff";
	char *text;
	size_t len;

	open_journal();
	append(1, reason);
	osh_journal_flush(journal);
	cr_assert_eq(osh_read_file(current, 1 << 20, &text, &len), 0);
	for (size_t i = 0; i < len - 1; i++)
		cr_assert(text[i] >= 0x20 && text[i] < 0x7f, "byte %02x", (unsigned char)text[i]);
	cr_expect_eq(text[len - 1], '\n');
	free(text);
}

Test(journal, a_symbolic_link_is_not_followed)
{
	char target[160];

	snprintf(target, sizeof(target), "%s/target", home);
	write_text(target, "", O_CREAT);
	cr_assert_eq(mkdir(dir, 0700), 0);
	cr_assert_eq(symlink(target, current), 0);
	cr_expect_eq(osh_journal_open(dir, &journal), -ELOOP);
	unlink(current);
	open_journal();
}

/* ---- The sandbox's own log ------------------------------------------------------------ */

static void log_append(struct osh_sandbox_log *log, uint64_t id, const char *reason)
{
	const struct osh_verdict verdict = {
		.id = id,
		.time_ns = id * 1000000000u,
		.binary = "/usr/bin/git",
		.host = "github.com",
		.dst_port_host = 443,
		.reason = reason,
	};

	osh_sandbox_log_append(log, &verdict);
}

Test(sandbox_log, one_line_per_verdict_readable_by_all)
{
	struct osh_sandbox_log *log;
	struct stat st;
	char *text;
	size_t len;

	umask(077);
	cr_assert_eq(osh_sandbox_log_open(log_path, &log), 0);
	log_append(log, 1, "first");
	osh_sandbox_log_flush(log);
	osh_sandbox_log_close(log);
	cr_assert_eq(osh_sandbox_log_open(log_path, &log), 0);
	log_append(log, 2, "second");
	osh_sandbox_log_close(log);
	cr_assert_eq(osh_read_file(log_path, 1 << 20, &text, &len), 0);
	cr_expect_str_eq(text, "1970-01-01T00:00:01.000Z NET:OPEN [MED] DENIED /usr/bin/git -> github.com:443 "
			       "[policy:- engine:kernel] [reason:first]\n"
			       "1970-01-01T00:00:02.000Z NET:OPEN [MED] DENIED /usr/bin/git -> github.com:443 "
			       "[policy:- engine:kernel] [reason:second]\n");
	free(text);
	cr_assert_eq(stat(log_path, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0644);
}

Test(sandbox_log, is_bounded_in_place_and_keeps_the_newest)
{
	static char reason[2001];
	struct osh_sandbox_log *log;
	struct stat before, after;
	uint64_t id = 0;
	char *text, *at;
	size_t len;

	memset(reason, 'r', sizeof(reason) - 1);
	cr_assert_eq(osh_sandbox_log_open(log_path, &log), 0);
	cr_assert_eq(stat(log_path, &before), 0);
	while (id * 2000 < 3ull * OSH_SANDBOX_LOG_BYTES) {
		log_append(log, ++id, reason);
		if (id % 8 == 0) {
			osh_sandbox_log_flush(log);
			cr_assert_eq(stat(log_path, &after), 0);
			cr_assert_leq(after.st_size, OSH_SANDBOX_LOG_BYTES);
		}
	}
	log_append(log, ++id, "the end");
	osh_sandbox_log_close(log);
	cr_assert_eq(stat(log_path, &after), 0);
	cr_expect_eq(after.st_ino, before.st_ino);
	cr_assert_eq(osh_read_file(log_path, OSH_SANDBOX_LOG_BYTES, &text, &len), 0);
	cr_expect_eq(strncmp(text, "# older lines were removed", 26), 0);
	at = strchr(text, '\n') + 1;
	cr_expect_eq(strncmp(at, "1970-01-01T", 11), 0, "whole lines only: %.60s", at);
	cr_expect_str_eq(text + len - strlen("[reason:the end]\n"), "[reason:the end]\n");
	free(text);
}

Test(sandbox_log, a_symbolic_link_is_not_followed)
{
	struct osh_sandbox_log *log;

	cr_assert_eq(symlink("/dev/null", log_path), 0);
	cr_expect_eq(osh_sandbox_log_open(log_path, &log), -ELOOP);
	unlink(log_path);
	cr_assert_eq(osh_sandbox_log_open(log_path, &log), 0);
	osh_sandbox_log_close(log);
}
