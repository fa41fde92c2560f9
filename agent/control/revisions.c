#include "control/revisions.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "openshell/limits.h"

const char *osh_revision_status_name(enum osh_revision_status status)
{
	static const char *const names[OSH_REVISION_STATUS_COUNT] = {
		[OSH_REVISION_PENDING] = "pending",
		[OSH_REVISION_LOADED] = "loaded",
		[OSH_REVISION_FAILED] = "failed",
		[OSH_REVISION_SUPERSEDED] = "superseded",
	};

	return status < OSH_REVISION_STATUS_COUNT ? names[status] : "unknown";
}

/* ---- The list ---------------------------------------- */

static struct osh_revision *find(struct osh_revisions *revisions, uint32_t number)
{
	for (size_t i = 0; number && i < revisions->count; i++) {
		if (revisions->items[i].number == number)
			return &revisions->items[i];
	}
	return NULL;
}

const struct osh_revision *osh_revisions_find(const struct osh_revisions *revisions,
					      uint32_t number)
{
	return find((struct osh_revisions *)(uintptr_t)revisions, number);
}

const struct osh_revision *osh_revisions_current(const struct osh_revisions *revisions)
{
	return osh_revisions_find(revisions, revisions->current);
}

uint32_t osh_revisions_next(const struct osh_revisions *revisions)
{
	return revisions->count ? revisions->items[revisions->count - 1].number + 1 : 1;
}

/* The highest that has not failed is in force; it is superseded by none. */
static void find_current(struct osh_revisions *revisions)
{
	revisions->current = 0;
	for (size_t i = revisions->count; i-- > 0;) {
		struct osh_revision *revision = &revisions->items[i];

		if (revision->status == OSH_REVISION_FAILED)
			continue;
		if (revisions->current)
			revision->status = OSH_REVISION_SUPERSEDED;
		else
			revisions->current = revision->number;
	}
}

static void append(struct osh_revisions *revisions, const struct osh_revision *revision)
{
	if (revisions->count == OSH_REVISIONS_MAX)
		memmove(revisions->items, revisions->items + 1,
			--revisions->count * sizeof(revisions->items[0]));
	revisions->items[revisions->count++] = *revision;
	find_current(revisions);
}

void osh_revisions_loaded(struct osh_revisions *revisions, uint32_t number)
{
	struct osh_revision *revision = find(revisions, number);

	/* Superseded meanwhile: the newer one says so. */
	if (revision && number == revisions->current)
		revision->status = OSH_REVISION_LOADED;
}

/* ---- Names ---------------------------------------- */

static const char *suffix_of(const struct osh_revision *revision)
{
	return revision->status == OSH_REVISION_FAILED ? "failed" : "yaml";
}

static int make_path(char path[static PATH_MAX], const char *dir,
		     const struct osh_revision *revision, struct osh_err *err)
{
	int n = snprintf(path, PATH_MAX, "%s/policy/%" PRIu32 ".%" PRId64 ".%s.%s", dir,
			 revision->number, revision->time, revision->sha256, suffix_of(revision));

	return n < 0 || n >= PATH_MAX ? osh_err_sys(err, ENAMETOOLONG, "%s/policy", dir) : 0;
}

/* The piece up to the next dot, or to the end. */
static struct osh_str take_piece(const char **rest)
{
	const char *dot = strchrnul(*rest, '.');
	struct osh_str piece = osh_str_n(*rest, (size_t)(dot - *rest));

	*rest = *dot ? dot + 1 : dot;
	return piece;
}

static bool parse_name(const char *name, struct osh_revision *ret_revision)
{
	struct osh_str number = take_piece(&name), time = take_piece(&name);
	struct osh_str sha256 = take_piece(&name);
	uint64_t value, seconds;

	*ret_revision = (struct osh_revision){ 0 };
	if (osh_str_parse_u64(number, UINT32_MAX, &value) < 0 || value == 0 ||
	    osh_str_parse_u64(time, INT64_MAX, &seconds) < 0 || sha256.len != OSH_SHA256_HEX - 1 ||
	    osh_str_copy(sha256, ret_revision->sha256, OSH_SHA256_HEX) < 0)
		return false;
	ret_revision->number = (uint32_t)value;
	ret_revision->time = (int64_t)seconds;
	if (strcmp(name, "failed") == 0)
		ret_revision->status = OSH_REVISION_FAILED;
	return strcmp(name, suffix_of(ret_revision)) == 0;
}

/* ---- Storing ---------------------------------------- */

static int make_dir(const char *dir, struct osh_err *err)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/policy", dir) >= (int)sizeof(path))
		return osh_err_sys(err, ENAMETOOLONG, "%s/policy", dir);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return osh_err_sys(err, errno, "cannot make %s", path);
	return 0;
}

static void remove_file(const char *dir, const struct osh_revision *revision)
{
	char path[PATH_MAX];

	if (make_path(path, dir, revision, NULL) == 0)
		(void)unlink(path); /* an old text too many is harmless */
}

int osh_revisions_add(const char *dir, struct osh_revisions *revisions, struct osh_str text,
		      int64_t now, bool sync, struct osh_err *err)
{
	struct osh_revision revision = { .number = osh_revisions_next(revisions), .time = now };
	char path[PATH_MAX];
	int r;

	if (osh_state_sha256(text, revision.sha256) < 0)
		return osh_err_set(err, EIO, "cannot hash the policy");
	r = make_dir(dir, err);
	if (r == 0)
		r = make_path(path, dir, &revision, err);
	if (r < 0)
		return r;
	r = sync ? osh_replace_file(path, text.data, text.len, 0600)
		 : osh_replace_file_unsynced(path, text.data, text.len, 0600);
	if (r < 0) {
		(void)unlink(path);
		return osh_err_sys(err, -r, "cannot write %s", path);
	}
	if (revisions->count == OSH_REVISIONS_MAX)
		remove_file(dir, &revisions->items[0]);
	append(revisions, &revision);
	return 0;
}

int osh_revisions_failed(const char *dir, struct osh_revisions *revisions, struct osh_err *err)
{
	struct osh_revision *revision = find(revisions, revisions->current);
	char stored[PATH_MAX], failed[PATH_MAX];
	int r = make_path(stored, dir, revision, err);

	revision->status = OSH_REVISION_FAILED;
	if (r == 0)
		r = make_path(failed, dir, revision, err);
	if (r == 0 && rename(stored, failed) < 0)
		r = osh_err_sys(err, errno, "cannot rename %s", stored);
	find_current(revisions);
	osh_revisions_loaded(revisions, revisions->current);
	return r;
}

/* ---- Finding what is stored ---------------------------------------- */

static int compare(const void *a, const void *b)
{
	const struct osh_revision *left = a, *right = b;

	return (left->number > right->number) - (left->number < right->number);
}

static bool is_left_over(const char *name)
{
	/* "." and "..", and a text that was being written when the agent ended. */
	return name[0] == '.' || osh_str_has_suffix(osh_str(name), ".new");
}

/* One more than are kept: the oldest may have outlived a crash. */
static int read_names(DIR *stream, struct osh_revision items[static OSH_REVISIONS_MAX + 1],
		      size_t *ret_count)
{
	struct dirent *entry;
	size_t count = 0;

	while ((entry = readdir(stream))) {
		if (is_left_over(entry->d_name))
			continue;
		if (count > OSH_REVISIONS_MAX || !parse_name(entry->d_name, &items[count++]))
			return -EBADMSG;
	}
	qsort(items, count, sizeof(items[0]), compare);
	for (size_t i = 1; i < count; i++) {
		if (items[i].number == items[i - 1].number)
			return -EBADMSG;
	}
	*ret_count = count;
	return count ? 0 : -ENOENT;
}

int osh_revisions_load(const char *dir, struct osh_revisions *ret_revisions, struct osh_err *err)
{
	struct osh_revision items[OSH_REVISIONS_MAX + 1];
	struct osh_revisions revisions = { 0 };
	char path[PATH_MAX];
	size_t count = 0;
	DIR *stream;
	int r;

	if (snprintf(path, sizeof(path), "%s/policy", dir) >= (int)sizeof(path))
		return osh_err_sys(err, ENAMETOOLONG, "%s/policy", dir);
	stream = opendir(path);
	if (!stream)
		return osh_err_sys(err, errno, "cannot read %s", path);
	r = read_names(stream, items, &count);
	closedir(stream);
	if (r < 0)
		return osh_err_set(err, -r, r == -ENOENT ? "%s holds no policy" : "%s is damaged",
				   path);
	if (count > OSH_REVISIONS_MAX)
		remove_file(dir, &items[0]);
	for (size_t i = 0; i < count; i++)
		append(&revisions, &items[i]);
	*ret_revisions = revisions;
	return 0;
}

int osh_revision_read(const char *dir, const struct osh_revision *revision, char **ret_text,
		      size_t *ret_len, struct osh_err *err)
{
	_cleanup_free_ char *text = NULL;
	char path[PATH_MAX], sha256[OSH_SHA256_HEX];
	size_t len = 0;
	int r = make_path(path, dir, revision, err);

	if (r < 0)
		return r;
	r = osh_read_file(path, OSH_POLICY_BYTES_MAX, &text, &len);
	if (r < 0)
		return osh_err_sys(err, -r, "cannot read %s", path);
	if (osh_state_sha256(osh_str_n(text, len), sha256) < 0)
		return osh_err_set(err, EIO, "cannot hash the policy");
	if (strcmp(sha256, revision->sha256) != 0)
		return osh_err_set(
			err, EBADMSG,
			"%s is not what was stored (its SHA-256 differs): set a policy again", path);
	*ret_text = osh_take(text);
	*ret_len = len;
	return 0;
}
