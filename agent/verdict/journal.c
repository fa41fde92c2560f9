#include "verdict/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "verdict/format.h"

#define CURRENT_FILE "current.jsonl"
#define BUFFER_BYTES (512u << 10)
/* A record's 4096 bytes, each a six-byte \u00xx at worst, and the names. */
#define LINE_BYTES_MAX (32u << 10)
#define TAIL_BYTES (2 * LINE_BYTES_MAX)

struct osh_journal {
	int dir_fd;
	int fd;              /* current.jsonl, -1 after a failed rotation */
	uint64_t file_bytes;
	uint64_t last_id;    /* on disk when it was opened */
	uint64_t next_id;    /* the one after, or two when the last line was torn */
	uint64_t dropped;
	uint64_t buffered;   /* records in `buf` */
	struct osh_buf buf;
};

/* ---- What a former agent left ------------------------------------------------------ */

/* The id of a whole line. Returns 0 or -EBADMSG (it is not a record). */
static int line_id(struct osh_str line, uint64_t *ret_id)
{
	struct osh_verdict verdict;
	json_t *json = NULL;
	int r = osh_json_parse(line.data, line.len, &json);

	if (r < 0)
		return r;
	r = osh_verdict_from_json(json, &verdict) == 0 ? 0 : -EBADMSG;
	if (r == 0)
		*ret_id = verdict.id;
	json_decref(json);
	return r;
}

/* The greatest id in the last lines of a file, and where its last whole line ends.
 * Ids grow, so the last readable line has it. */
static int read_tail(int fd, uint64_t *ret_id, uint64_t *ret_whole_bytes)
{
	_cleanup_free_ char *tail = malloc(TAIL_BYTES);
	struct stat st;
	off_t start;
	ssize_t n;
	size_t end;

	if (!tail)
		return -ENOMEM;
	if (fstat(fd, &st) < 0)
		return -errno;
	start = st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0;
	n = pread(fd, tail, TAIL_BYTES, start);
	if (n < 0)
		return -errno;
	end = (size_t)n;
	while (end && tail[end - 1] != '\n')
		end--;
	*ret_whole_bytes = (uint64_t)start + end;
	*ret_id = 0;
	while (end) {
		size_t begin = end - 1; /* the line's own newline */
		int r;

		while (begin && tail[begin - 1] != '\n')
			begin--;
		r = line_id(osh_str_n(tail + begin, end - 1 - begin), ret_id);
		if (r != -EBADMSG)
			return r;
		end = begin;
	}
	return 0;
}

static void older_name(unsigned age, char buf[32])
{
	snprintf(buf, 32, "%u.jsonl", age);
}

static int open_file(const struct osh_journal *journal, const char *name, int flags)
{
	int fd = openat(journal->dir_fd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	return fd < 0 ? -errno : fd;
}

/* The id in the first line of a file that is a record, 0 when there is none in what is looked at. */
static uint64_t read_head(int fd)
{
	_cleanup_free_ char *head = malloc(TAIL_BYTES);
	ssize_t n = head ? pread(fd, head, TAIL_BYTES, 0) : -1;
	const char *line = head, *end = n > 0 ? head + n : head, *newline;
	uint64_t id = 0;

	while (line < end && id == 0 && (newline = memchr(line, '\n', (size_t)(end - line)))) {
		(void)line_id(osh_str_n(line, (size_t)(newline - line)), &id);
		line = newline + 1;
	}
	return id;
}

/* Only asked when current.jsonl holds no record: just rotated, or empty. */
static void look_in_older_files(struct osh_journal *journal)
{
	for (unsigned age = 1; age <= OSH_JOURNAL_KEPT && journal->last_id == 0; age++) {
		char name[32];
		uint64_t id = 0, whole;
		int fd;

		older_name(age, name);
		fd = open_file(journal, name, O_RDONLY);
		if (fd >= 0 && read_tail(fd, &id, &whole) == 0)
			journal->last_id = id;
		osh_close(fd);
	}
}

/* A line without its end was torn by a crash: it is cut off, and the id that it most
 * likely carried is not given again. */
static int mend_current(struct osh_journal *journal)
{
	uint64_t id = 0, whole = 0;
	struct stat st;
	int r = read_tail(journal->fd, &id, &whole);

	if (r < 0)
		return r;
	if (fstat(journal->fd, &st) < 0)
		return -errno;
	journal->last_id = id;
	journal->file_bytes = whole;
	look_in_older_files(journal);
	journal->next_id = journal->last_id + 1;
	if ((uint64_t)st.st_size == whole)
		return 0;
	journal->next_id++;
	return ftruncate(journal->fd, (off_t)whole) < 0 ? -errno : 0;
}

/* ---- Opening and closing ------------------------------------------------------------ */

static int open_current(struct osh_journal *journal)
{
	_cleanup_fd_ int fd = open_file(journal, CURRENT_FILE, O_RDWR | O_CREAT | O_APPEND);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	journal->fd = osh_take_fd(&fd);
	journal->file_bytes = (uint64_t)st.st_size;
	return 0;
}

int osh_journal_open(const char *dir, struct osh_journal **ret_journal)
{
	struct osh_journal *journal;
	int r;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	journal = calloc(1, sizeof(*journal));
	if (!journal)
		return -ENOMEM;
	osh_buf_init(&journal->buf, BUFFER_BYTES);
	journal->fd = -1;
	journal->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	r = journal->dir_fd < 0 ? -errno : open_current(journal);
	if (r == 0)
		r = mend_current(journal);
	if (r < 0) {
		osh_journal_close(journal);
		return r;
	}
	*ret_journal = journal;
	return 0;
}

void osh_journal_close(struct osh_journal *journal)
{
	if (!journal)
		return;
	osh_journal_flush(journal);
	osh_close(journal->fd);
	osh_close(journal->dir_fd);
	osh_buf_done(&journal->buf);
	free(journal);
}

/* ---- Writing --------------------------------------------------------------------- */

/* What goes to make room goes by design, but not unseen. */
static void tell_what_is_gone(const struct osh_journal *journal, uint64_t first_before)
{
	uint64_t first = osh_journal_first_id(journal);

	if (first_before && first > first_before)
		osh_warning("the journal is full: it begins with verdict %llu now, verdicts %llu to %llu are gone",
			    (unsigned long long)first, (unsigned long long)first_before,
			    (unsigned long long)first - 1);
}

/* 3 -> 4, 2 -> 3, 1 -> 2, current -> 1; what was 4 is gone. */
static int rotate(struct osh_journal *journal)
{
	uint64_t first = osh_journal_first_id(journal);
	char from[32], to[32];

	for (unsigned age = OSH_JOURNAL_KEPT; age > 1; age--) {
		older_name(age - 1, from);
		older_name(age, to);
		if (renameat(journal->dir_fd, from, journal->dir_fd, to) < 0 && errno != ENOENT)
			return -errno;
	}
	older_name(1, to);
	if (renameat(journal->dir_fd, CURRENT_FILE, journal->dir_fd, to) < 0 && errno != ENOENT)
		return -errno;
	tell_what_is_gone(journal, first);
	journal->fd = osh_close(journal->fd);
	return open_current(journal);
}

static uint64_t count_lines(const char *data, size_t len)
{
	uint64_t count = 0;

	for (size_t i = 0; i < len; i++)
		count += data[i] == '\n';
	return count;
}

/* Write all that is buffered, in whole lines: a part of one is taken back, so that
 * the file never holds a torn line for want of space. Returns the lines written. */
static uint64_t write_lines(struct osh_journal *journal)
{
	const char *data = osh_buf_bytes(&journal->buf);
	size_t done = 0;

	while (done < journal->buf.len) {
		ssize_t n = write(journal->fd, data + done, journal->buf.len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	if (done < journal->buf.len) {
		while (done && data[done - 1] != '\n')
			done--;
		(void)!ftruncate(journal->fd, (off_t)(journal->file_bytes + done));
	}
	journal->file_bytes += done;
	return count_lines(data, done);
}

void osh_journal_flush(struct osh_journal *journal)
{
	int r = 0;

	if (!journal->buffered)
		return;
	if (journal->fd < 0)
		r = open_current(journal); /* again, after a failed rotation */
	else if (journal->file_bytes &&
		 journal->file_bytes + journal->buf.len > OSH_JOURNAL_FILE_BYTES)
		r = rotate(journal);
	if (r == 0)
		journal->buffered -= write_lines(journal);
	journal->dropped += journal->buffered;
	journal->buffered = 0;
	osh_buf_clear(&journal->buf);
}

/* Append one line to the buffer. Returns 0 or -errno; nothing of it stays on failure. */
static int buffer_line(struct osh_journal *journal, const struct osh_verdict *verdict)
{
	int r = osh_buf_reserve(&journal->buf, LINE_BYTES_MAX);
	size_t len;

	if (r < 0)
		return r;
	len = osh_verdict_json_text(verdict, osh_buf_tail(&journal->buf), LINE_BYTES_MAX);
	if (len == 0)
		return -EOVERFLOW;
	osh_buf_tail(&journal->buf)[len] = '\n'; /* over the NUL */
	osh_buf_grew(&journal->buf, len + 1);
	return 0;
}

void osh_journal_append(struct osh_journal *journal, const struct osh_verdict *verdict)
{
	if (osh_buf_free_bytes(&journal->buf) < LINE_BYTES_MAX)
		osh_journal_flush(journal);
	if (buffer_line(journal, verdict) == 0)
		journal->buffered++;
	else
		journal->dropped++;
}

uint64_t osh_journal_dropped(const struct osh_journal *journal)
{
	return journal->dropped;
}

uint64_t osh_journal_first_id(const struct osh_journal *journal)
{
	int fds[OSH_JOURNAL_KEPT + 1];
	int count = osh_journal_reader_fds(journal, fds, OSH_JOURNAL_KEPT + 1);
	uint64_t id = 0;

	for (int i = 0; i < count; i++) {
		if (id == 0)
			id = read_head(fds[i]);
		osh_close(fds[i]);
	}
	return id;
}

uint64_t osh_journal_last_id(const struct osh_journal *journal)
{
	return journal->last_id;
}

uint64_t osh_journal_next_id(const struct osh_journal *journal)
{
	return journal->next_id;
}

int osh_journal_reader_fds(const struct osh_journal *journal, int *ret_fds, size_t max)
{
	size_t count = 0;

	for (unsigned age = OSH_JOURNAL_KEPT + 1; age-- > 0 && count < max;) {
		char name[32] = CURRENT_FILE;
		int fd;

		if (age)
			older_name(age, name);
		fd = open_file(journal, name, O_RDONLY);
		if (fd >= 0)
			ret_fds[count++] = fd;
		else if (fd != -ENOENT) {
			while (count)
				osh_close(ret_fds[--count]);
			return fd;
		}
	}
	return (int)count;
}
