/* filesystem_policy, landlock and process: what a sandbox gets at its creation. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "policy/document.h"

#define FS_PATHS_MAX 256
#define FS_PATH_MAX 4096

/* The reference's restrictive defaults, for a section that is absent. */
static const char *const default_read_only[] = { "/usr", "/lib", "/proc",   "/dev/urandom",
						 "/app", "/etc", "/var/log" };
static const char *const default_read_write[] = { "/tmp", "/dev/null" };

static int set_default_paths(struct osh_arena *arena, const char *const *paths, size_t count,
			     char ***ret_paths, size_t *ret_count)
{
	char **copy = osh_arena_alloc(arena, count * sizeof(*copy));

	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		copy[i] = osh_arena_copy(arena, osh_str(paths[i]));
		if (!copy[i])
			return -ENOMEM;
	}
	*ret_paths = copy;
	*ret_count = count;
	return 0;
}

/* Drop empty and "." components and a trailing slash, in place. False: holds "..". */
static bool normalise_path(char *path)
{
	char *out = path, *in = path;

	while (*in) {
		size_t len = strcspn(in, "/");

		if (len == 2 && in[0] == '.' && in[1] == '.')
			return false;
		if (len && !(len == 1 && in[0] == '.')) {
			*out++ = '/';
			memmove(out, in, len);
			out += len;
		}
		in += len;
		in += *in == '/';
	}
	if (out == path)
		*out++ = '/';
	*out = '\0';
	return true;
}

static void check_path(const struct osh_text *text, const char *list, bool writable, char *normal,
		       struct osh_diags *diags)
{
	if (text->text.len == 0) {
		osh_diag_error(diags, text->mark, "empty path in %s", list);
		return;
	}
	if (text->text.len > FS_PATH_MAX) {
		osh_diag_error(diags, text->mark, "path longer than %d characters in %s (%zu)",
			       FS_PATH_MAX, list, text->text.len);
		return;
	}
	if (text->text.data[0] != '/') {
		osh_diag_error(diags, text->mark,
			       "relative path in %s: '%.*s' (paths start with /)", list,
			       OSH_DIAG_VALUE(text->text));
		return;
	}
	memcpy(normal, text->text.data, text->text.len + 1);
	if (!normalise_path(normal)) {
		osh_diag_error(diags, text->mark, "path traversal (..) in %s: '%.*s'", list,
			       OSH_DIAG_VALUE(text->text));
		return;
	}
	if (writable && strcmp(normal, "/") == 0)
		osh_diag_error(diags, text->mark,
			       "%s \"%.*s\" is too broad: the whole file system must not be "
			       "writable",
			       list, OSH_DIAG_VALUE(text->text));
}

static int check_paths(struct osh_policy_doc *doc, const struct osh_texts *texts, const char *list,
		       bool writable, struct osh_diags *diags, char ***ret_paths, size_t *ret_count)
{
	char **paths = osh_arena_alloc(&doc->arena, (texts->count + 1) * sizeof(*paths));
	size_t count = 0;

	if (!paths)
		return -ENOMEM;
	for (size_t i = 0; i < texts->count; i++) {
		const struct osh_text *text = &texts->items[i];

		if (!text->set)
			continue;
		paths[count] = osh_arena_alloc(&doc->arena, text->text.len + 2);
		if (!paths[count])
			return -ENOMEM;
		check_path(text, list, writable, paths[count++], diags);
	}
	*ret_paths = paths;
	*ret_count = count;
	return 0;
}

static int check_filesystem(struct osh_policy_doc *doc, struct osh_diags *diags)
{
	struct osh_policy_static *s = &doc->statics;
	size_t total = doc->filesystem.read_only.count + doc->filesystem.read_write.count;
	int r;

	s->has_filesystem = doc->filesystem.set;
	if (!doc->filesystem.set) {
		s->include_workdir = true;
		r = set_default_paths(&doc->arena, default_read_only,
				      OSH_COUNT_OF(default_read_only), &s->read_only,
				      &s->read_only_count);
		if (r == 0)
			r = set_default_paths(&doc->arena, default_read_write,
					      OSH_COUNT_OF(default_read_write), &s->read_write,
					      &s->read_write_count);
		return r;
	}
	s->include_workdir = doc->filesystem.include_workdir.value;
	if (total > FS_PATHS_MAX)
		osh_diag_error(diags,
			       doc->filesystem.read_only.set ? doc->filesystem.read_only.mark :
							       doc->filesystem.read_write.mark,
			       "more than %d paths in total in read_only and read_write (%zu)",
			       FS_PATHS_MAX, total);
	r = check_paths(doc, &doc->filesystem.read_only, "read_only", false, diags, &s->read_only,
			&s->read_only_count);
	if (r == 0)
		r = check_paths(doc, &doc->filesystem.read_write, "read_write", true, diags,
				&s->read_write, &s->read_write_count);
	return r;
}

static void check_landlock(struct osh_policy_doc *doc, struct osh_diags *diags)
{
	doc->statics.landlock = OSH_LANDLOCK_BEST_EFFORT;
	if (!doc->landlock.set || osh_str_eq_c(doc->landlock.text, "best_effort"))
		return;
	if (osh_str_eq_c(doc->landlock.text, "hard_requirement"))
		doc->statics.landlock = OSH_LANDLOCK_HARD_REQUIREMENT;
	else
		osh_diag_error(diags, doc->landlock.mark,
			       "landlock.compatibility: '%.*s' is unknown (allowed: "
			       "best_effort, hard_requirement)",
			       OSH_DIAG_VALUE(doc->landlock.text));
}

/* "sandbox" is the sandbox's own id; else a number, but never root's. */
static void check_id(const struct osh_text *text, const char *key, struct osh_diags *diags,
		     uint32_t *ret_id)
{
	bool digits = text->text.len > 0;
	uint64_t id;

	if (!text->set || osh_str_eq_c(text->text, "sandbox"))
		return;
	for (size_t i = 0; i < text->text.len; i++)
		digits &= osh_ascii_is_digit(text->text.data[i]);
	if (osh_str_eq_c(text->text, "root"))
		osh_diag_error(diags, text->mark,
			       "%s: root is refused (allowed: sandbox, or an id from 1 to "
			       "4294967294 in quotes)",
			       key);
	else if (osh_str_caseeq_c(text->text, "sandbox"))
		osh_diag_error(diags, text->mark,
			       "%s: name is case-sensitive: write sandbox, not '%.*s'", key,
			       OSH_DIAG_VALUE(text->text));
	else if (!digits && text->text.len && osh_ascii_is_digit(text->text.data[0]))
		osh_diag_error(diags, text->mark, "%s: trailing text after the number: '%.*s'", key,
			       OSH_DIAG_VALUE(text->text));
	else if (!digits)
		osh_diag_error(diags, text->mark,
			       "%s: unknown name '%.*s' (allowed: sandbox, or an id from 1 to "
			       "4294967294 in quotes)",
			       key, OSH_DIAG_VALUE(text->text));
	else if (osh_str_parse_u64(text->text, UINT32_MAX - 1, &id) < 0)
		osh_diag_error(diags, text->mark,
			       "%s: '%.*s' is out of 32-bit range (1 to 4294967294)", key,
			       OSH_DIAG_VALUE(text->text));
	else if (id == 0)
		osh_diag_error(diags, text->mark,
			       "%s: uid/gid 0 is refused: a sandbox never runs as root", key);
	else
		*ret_id = (uint32_t)id;
}

int osh_check_static(struct osh_policy_doc *doc, struct osh_diags *diags)
{
	check_landlock(doc, diags);
	check_id(&doc->run_as_user, "run_as_user", diags, &doc->statics.uid);
	check_id(&doc->run_as_group, "run_as_group", diags, &doc->statics.gid);
	return check_filesystem(doc, diags);
}
