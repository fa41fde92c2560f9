#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/str.h"
#include "cli.h"

#define PATIENCE_MS 1000
#define LINE_BYTES 256

void osh_progress_begin(struct osh_progress *progress, const char *doing)
{
	*progress = (struct osh_progress){ .doing = doing, .since_ms = osh_cli_now_ms() };
}

static bool is_on_terminal(void)
{
	return isatty(STDERR_FILENO);
}

int osh_progress_wait_ms(const struct osh_progress *progress, int left_ms)
{
	int64_t elapsed_ms = osh_cli_now_ms() - progress->since_ms, wait_ms;

	if (!progress->doing || (progress->is_shown && !is_on_terminal()))
		return left_ms;
	/* To the next whole second; the first is the one that counts. */
	wait_ms = PATIENCE_MS - elapsed_ms % PATIENCE_MS;
	return left_ms >= 0 && left_ms < wait_ms ? left_ms : (int)wait_ms;
}

void osh_progress_tick(struct osh_progress *progress)
{
	int64_t elapsed_ms = osh_cli_now_ms() - progress->since_ms;
	char doing[LINE_BYTES];

	if (!progress->doing || elapsed_ms < PATIENCE_MS)
		return;
	if (is_on_terminal()) {
		osh_str_escape(osh_str(progress->doing), doing, sizeof(doing));
		(void)fflush(stdout);
		fprintf(stderr, "\r%s ... %" PRId64 " s\033[K", doing, elapsed_ms / 1000);
	} else if (!progress->is_shown) {
		osh_cli_note("%s ...", progress->doing);
	}
	progress->is_shown = true;
}

void osh_progress_end(struct osh_progress *progress)
{
	if (progress->is_shown && is_on_terminal())
		fputs("\r\033[K", stderr);
	progress->doing = NULL;
}
