/* Verdicts on disk.
 * The journal (STATE/journal/) is for the host: one JSON object per line, all
 * sandboxes, rotated: 'current.jsonl' and up to OSH_JOURNAL_KEPT older ones.
 * A sandbox log (bound read-only over /var/log/openshell.log) is one shorthand
 * line per verdict of that sandbox, bounded in place so that the inode stays. */
#ifndef OSH_VERDICT_JOURNAL_H
#define OSH_VERDICT_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "openshell/verdict.h"

#define OSH_JOURNAL_FILE_BYTES (32u << 20)
#define OSH_JOURNAL_KEPT 4
#define OSH_SANDBOX_LOG_BYTES (4u << 20)

struct osh_journal;

/* Open or create `dir` (mode 0700). Returns 0 or -errno. */
int osh_journal_open(const char *dir, struct osh_journal **ret_journal);
void osh_journal_close(struct osh_journal *journal);
/* Buffered; a write that fails (disk full) drops the record and counts it: the
 * agent never stops enforcing for want of disk. */
void osh_journal_append(struct osh_journal *journal, const struct osh_verdict *verdict);
/* Write what is buffered (called at the end of each batch of events). */
void osh_journal_flush(struct osh_journal *journal);
uint64_t osh_journal_dropped(const struct osh_journal *journal);
/* The id of the oldest record that is kept, read from the disk; 0: there is none. */
uint64_t osh_journal_first_id(const struct osh_journal *journal);
/* The id of the last whole record that was on disk when it was opened; 0: there was none. */
uint64_t osh_journal_last_id(const struct osh_journal *journal);
/* The id after the last one on disk, so that ids go on over a restart; 1 at first. */
uint64_t osh_journal_next_id(const struct osh_journal *journal);
/* Descriptors of the files, oldest first, read-only, owned by the caller: the
 * CLI reads them itself. Returns how many or -errno. */
int osh_journal_reader_fds(const struct osh_journal *journal, int *ret_fds, size_t max);

struct osh_sandbox_log;

/* Open or create the file (mode 0644). Returns 0 or -errno. */
int osh_sandbox_log_open(const char *path, struct osh_sandbox_log **ret_log);
void osh_sandbox_log_close(struct osh_sandbox_log *log);
void osh_sandbox_log_append(struct osh_sandbox_log *log, const struct osh_verdict *verdict);
void osh_sandbox_log_flush(struct osh_sandbox_log *log);

#endif
