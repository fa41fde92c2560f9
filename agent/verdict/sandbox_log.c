/* The log that a sandbox reads about itself. It is bound over a path inside, so the
 * inode has to stay: when full, the file keeps its newer half in place. */
#include "verdict/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "verdict/format.h"

#define BUFFER_BYTES (64u << 10)
/* Longest line: every byte of a record as \xHH, and the frame around. */
#define LINE_BYTES_MAX (4 * OSH_VERDICT_BYTES_MAX + 512)
#define KEEP_BYTES (OSH_SANDBOX_LOG_BYTES / 2)

struct osh_sandbox_log {
	int fd;
	struct osh_buf buf;
};

int osh_sandbox_log_open(const char *path, struct osh_sandbox_log **ret_log)
{
	const int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	_cleanup_fd_ int fd = open(path, flags, 0644);
	struct osh_sandbox_log *log;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (fchmod(fd, 0644) < 0) /* whatever the umask: the sandbox's user reads it */
		return -errno;
	log = calloc(1, sizeof(*log));
	if (!log)
		return -ENOMEM;
	osh_buf_init(&log->buf, BUFFER_BYTES);
	log->fd = osh_take_fd(&fd);
	*ret_log = log;
	return 0;
}

void osh_sandbox_log_close(struct osh_sandbox_log *log)
{
	if (!log)
		return;
	osh_sandbox_log_flush(log);
	osh_close(log->fd);
	osh_buf_done(&log->buf);
	free(log);
}

/* Keep the newest lines of at most KEEP_BYTES. A crash in the middle loses lines that
 * the journal still has. */
static void drop_older_half(int fd, off_t size)
{
	static const char note[] = "# older lines were removed to keep this file small\n";
	_cleanup_free_ char *kept = malloc(KEEP_BYTES);
	ssize_t n = kept ? pread(fd, kept, KEEP_BYTES, size - KEEP_BYTES) : 0;
	const char *first = n > 0 ? memchr(kept, '\n', (size_t)n) : NULL;

	if (ftruncate(fd, 0) < 0)
		return;
	(void)osh_write_full(fd, note, sizeof(note) - 1);
	if (first)
		(void)osh_write_full(fd, first + 1, (size_t)(kept + n - (first + 1)));
}

void osh_sandbox_log_flush(struct osh_sandbox_log *log)
{
	struct stat st;

	if (log->buf.len == 0)
		return;
	if (fstat(log->fd, &st) == 0 && st.st_size > KEEP_BYTES &&
	    (size_t)st.st_size + log->buf.len > OSH_SANDBOX_LOG_BYTES)
		drop_older_half(log->fd, st.st_size);
	/* A full disk costs lines here; the journal counts what it loses. */
	(void)osh_write_full(log->fd, osh_buf_bytes(&log->buf), log->buf.len);
	osh_buf_clear(&log->buf);
	osh_buf_trim(&log->buf); /* a thousand idle sandboxes hold nothing */
}

void osh_sandbox_log_append(struct osh_sandbox_log *log, const struct osh_verdict *verdict)
{
	struct osh_verdict shown = *verdict;
	char line[LINE_BYTES_MAX];
	size_t len;

	shown.id = 0; /* it counts the verdicts of all sandboxes: of no concern inside */
	len = osh_verdict_line(&shown, line, sizeof(line) - 1);

	line[len++] = '\n';
	if (osh_buf_free_bytes(&log->buf) < len)
		osh_sandbox_log_flush(log);
	(void)osh_buf_append(&log->buf, line, len);
}
