/* What takes longer than a second says so, on standard error: on a terminal in one line that
 * counts and goes away, elsewhere in a plain line, once. */
#ifndef OSH_CLI_PROGRESS_H
#define OSH_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct osh_progress {
	const char *doing; /* borrowed: "creating sandbox x"; NULL: nothing is said */
	int64_t since_ms;
	bool is_shown;
};

void osh_progress_begin(struct osh_progress *progress, const char *doing);
/* How long may be waited until osh_progress_tick is due, at most `left_ms` (-1: for ever);
 * for poll(2). */
int osh_progress_wait_ms(const struct osh_progress *progress, int left_ms);
void osh_progress_tick(struct osh_progress *progress);
/* Before anything else is said. */
void osh_progress_end(struct osh_progress *progress);

#endif
