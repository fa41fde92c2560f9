#include "feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "verdict/format.h"

#define CHUNK_BYTES (256u << 10)
/* A longer line is no record of ours: it is left out. */
#define LINE_BYTES_MAX (64u << 10)
#define NS_PER_SECOND 1000000000ull

void osh_feed_init(struct osh_feed *feed, const char *sandbox)
{
	*feed = (struct osh_feed){ .sandbox = sandbox };
}

void osh_feed_close(struct osh_feed *feed)
{
	osh_ring_reader_free(feed->ring);
	feed->ring = NULL;
}

/* Given out before? The id alone would not do: where the journal was removed, ids begin
 * anew. The second verdict under one is later than all that were seen. */
static bool is_known(const struct osh_feed *feed, const struct osh_verdict *verdict)
{
	return verdict->id <= feed->last_id && verdict->time_ns <= feed->newest_ns;
}

static void remember(struct osh_feed *feed, const struct osh_verdict *verdict)
{
	feed->last_id = verdict->id;
	if (verdict->time_ns > feed->newest_ns)
		feed->newest_ns = verdict->time_ns;
}

/* ---- The journal's files ------------------------------------------------------------- */

struct history {
	struct osh_feed *feed;
	uint64_t since_ns;
	void (*each)(void *context, const struct osh_verdict *verdict);
	void *context;
};

static void take_line(const struct history *history, struct osh_str line)
{
	json_t *json = json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES, NULL);
	struct osh_verdict verdict;

	if (json && osh_verdict_from_json(json, &verdict) == 0 &&
	    !is_known(history->feed, &verdict)) {
		remember(history->feed, &verdict);
		if (verdict.time_ns >= history->since_ns)
			history->each(history->context, &verdict);
	}
	json_decref(json);
}

/* A name has no character that JSON would spell in another way, so a line without
 * it is about another sandbox: most lines need no parser. */
static bool may_concern(const struct history *history, struct osh_str line)
{
	const char *sandbox = history->feed->sandbox;

	return !sandbox || memmem(line.data, line.len, sandbox, strlen(sandbox));
}

/* Take the whole lines of data[0..len). Returns how many bytes they have. */
static size_t take_lines(const struct history *history, const char *data, size_t len)
{
	struct osh_str skipped = { 0 };
	size_t done = 0;

	for (;;) {
		const char *end = memchr(data + done, '\n', len - done);
		struct osh_str line;

		if (!end)
			break;
		line = osh_str_n(data + done, (size_t)(end - data) - done);
		done = (size_t)(end - data) + 1;
		skipped = (struct osh_str){ 0 };
		if (may_concern(history, line))
			take_line(history, line);
		else
			skipped = line;
	}
	if (skipped.len) /* for its id: where the ring has to go on */
		take_line(history, skipped);
	return done;
}

/* From `offset` on; in the middle of a line when that is not 0. */
static int read_journal(const struct history *history, int fd, off_t offset)
{
	_cleanup_free_ char *data = malloc(CHUNK_BYTES + LINE_BYTES_MAX);
	bool skip_line = offset > 0;
	size_t len = 0;

	if (!data)
		return -ENOMEM;
	for (;;) {
		ssize_t n = pread(fd, data + len, CHUNK_BYTES, offset);
		size_t done = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno :
				       0; /* a last line without its end is still being written */
		offset += n;
		len += (size_t)n;
		if (skip_line) {
			const char *end = memchr(data, '\n', len);

			done = end ? (size_t)(end - data) + 1 : len;
			skip_line = !end;
		}
		done += take_lines(history, data + done, len - done);
		len -= done;
		memmove(data, data + done, len);
		if (len >= LINE_BYTES_MAX) {
			len = 0;
			skip_line = true;
		}
	}
}

/* Where each file is to be read from, so that all of them together give the newest
 * bytes_max; a file's size to skip it. */
static void find_offsets(const int *fds, size_t count, uint64_t bytes_max, uint64_t since_ns,
			 off_t offsets[OSH_FDS_MAX])
{
	for (size_t i = count; i-- > 0;) {
		struct stat st;
		bool is_old;

		offsets[i] = 0;
		if (fstat(fds[i], &st) < 0)
			continue;
		is_old = (uint64_t)(st.st_mtime + 1) * NS_PER_SECOND < since_ns; /* all of it */
		if (is_old)
			offsets[i] = st.st_size;
		else if ((uint64_t)st.st_size > bytes_max)
			offsets[i] = st.st_size - (off_t)bytes_max;
		bytes_max -= (uint64_t)(st.st_size - offsets[i]);
	}
}

static int read_history(const struct history *history, struct osh_client *client,
			uint64_t bytes_max, struct osh_err *err)
{
	struct osh_wire_reply reply;
	off_t offsets[OSH_FDS_MAX];
	int r = osh_client_ask(client, "VerdictHistory", json_object(), NULL, 0,
			       OSH_CLIENT_TIMEOUT_MS, &reply, err);

	if (r == 0)
		find_offsets(reply.fds, reply.fd_count, bytes_max, history->since_ns, offsets);
	for (size_t i = 0; r == 0 && i < reply.fd_count; i++) {
		r = read_journal(history, reply.fds[i], offsets[i]);
		if (r < 0)
			osh_err_sys(err, -r, "cannot read the journal");
	}
	osh_wire_reply_done(&reply);
	return r;
}

/* ---- The ring -------------------------------------------------------------------------- */

static int open_ring(struct osh_feed *feed, struct osh_client *client, struct osh_err *err)
{
	struct osh_wire_reply reply;
	int r = osh_client_ask(client, "VerdictRing", json_object(), NULL, 0, OSH_CLIENT_TIMEOUT_MS,
			       &reply, err);

	if (r == 0 && reply.fd_count == 0)
		r = osh_err_set(err, EPROTO, "the agent sent no verdict ring");
	if (r == 0) {
		r = osh_ring_reader_open(reply.fds[0], OSH_RING_FROM_OLDEST, &feed->ring);
		if (r < 0)
			osh_err_sys(err, -r,
				    "cannot read the agent's verdict ring (are agent and CLI of"
				    " one version?)");
	}
	osh_wire_reply_done(&reply);
	return r;
}

int osh_feed_open(struct osh_feed *feed, struct osh_client *client, uint64_t bytes_max,
		  uint64_t since_ns,
		  void (*each)(void *context, const struct osh_verdict *verdict), void *context,
		  struct osh_err *err)
{
	const struct history history = {
		.feed = feed, .since_ns = since_ns, .each = each, .context = context,
	};
	int r;

	osh_feed_close(feed);
	r = open_ring(feed, client, err);
	if (r == 0)
		r = read_history(&history, client, bytes_max, err);
	if (r < 0)
		osh_feed_close(feed);
	return r;
}

/* Of the records that the ring dropped, those that the journal gave are not lost. */
static uint64_t truly_lost(const struct osh_feed *feed, const struct osh_verdict *verdict,
			   uint64_t lost)
{
	uint64_t gap = verdict->id > feed->last_id + 1 ? verdict->id - feed->last_id - 1 : 0;

	return lost < gap ? lost : gap;
}

int osh_feed_next(struct osh_feed *feed, struct osh_verdict *ret_verdict, uint64_t *ret_lost)
{
	struct osh_verdict verdict;
	uint64_t dropped = 0, lost = 0;

	*ret_lost = 0;
	while (feed->ring && osh_ring_read(feed->ring, feed->room, &verdict, &lost) > 0) {
		dropped += lost;
		if (is_known(feed, &verdict))
			continue;
		*ret_lost = truly_lost(feed, &verdict, dropped);
		remember(feed, &verdict);
		*ret_verdict = verdict;
		return 1;
	}
	return 0;
}

void osh_feed_wait(struct osh_feed *feed, int timeout_ms)
{
	if (feed->ring)
		osh_ring_wait(feed->ring, timeout_ms);
}
