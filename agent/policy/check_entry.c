/* The entries of network_policies: binaries, and what belongs to an entry as a whole. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/document.h"
#include "policy/glob.h"

#define KEY_MAX 256
#define UNIX_SOCKETS_MAX 64 /* of a whole policy: each is a mount */

/* ---- Binaries ------------------------------------------------------------ */

static void check_digest(const struct osh_binary *binary, struct osh_diags *diags)
{
	struct osh_str text = binary->sha256.text;
	bool good = text.len == 64;

	for (size_t i = 0; good && i < text.len; i++) {
		char c = osh_ascii_lower(text.data[i]);

		good = osh_ascii_is_digit(c) || (c >= 'a' && c <= 'f');
	}
	if (binary->sha256.set && !good)
		osh_diag_error(diags, binary->sha256.mark,
			       "binary entry: sha256 must be 64 hexadecimal digits, "
			       "not '%.*s'",
			       OSH_DIAG_VALUE(text));
	if (binary->sha256.set && osh_str_chr(binary->path.text, '*'))
		osh_diag_error(diags, binary->sha256.mark,
			       "binary entry: sha256 needs a path without wildcard");
}

static struct osh_str last_component(struct osh_str path)
{
	size_t i = path.len;

	while (i > 0 && path.data[i - 1] != '/')
		i--;
	return osh_str_n(path.data + i, path.len - i);
}

/* Names of the dynamic loader: whoever runs it runs anything. */
static bool is_loader(struct osh_str path)
{
	struct osh_str name = last_component(path);

	return osh_str_has_prefix(name, "ld-linux") || osh_str_has_prefix(name, "ld-musl") ||
	       osh_str_has_prefix(name, "ld.so");
}

static bool is_interpreter(struct osh_str path)
{
	static const char *const names[] = { "node", "nodejs", "deno", "bun",  "python", "python3", "perl",
					     "ruby", "php",    "java", "bash", "sh",     "dash",    "busybox" };
	struct osh_str name = last_component(path);

	for (size_t i = 0; i < OSH_COUNT_OF(names); i++) {
		if (osh_str_eq_c(name, names[i]))
			return true;
	}
	return false;
}

static bool is_normal_path(struct osh_str path)
{
	for (size_t i = 0, start = 1; i <= path.len; i++) {
		struct osh_str part;

		if (i == 0 || (i < path.len && path.data[i] != '/'))
			continue;
		part = osh_str_n(path.data + start, i - start);
		if (part.len == 0 || osh_str_eq_c(part, ".") || osh_str_eq_c(part, ".."))
			return false;
		start = i + 1;
	}
	return true;
}

static void check_binary(const struct osh_binary *binary, struct osh_diags *diags)
{
	struct osh_str path = binary->path.text;
	unsigned char *code = NULL;
	size_t len;
	enum osh_glob_error error;

	if (!binary->path.set)
		return;
	check_digest(binary, diags);
	if (binary->harness.set)
		osh_diag_warning(diags, binary->harness.mark,
				 "harness is deprecated and does nothing");
	if (path.len == 0 || path.data[0] != '/') {
		osh_diag_warning(diags, binary->path.mark,
				 "binary path '%.*s' does not start with /: it matches "
				 "nothing",
				 OSH_DIAG_VALUE(path));
		return;
	}
	if (!osh_str_chr(path, '*')) {
		if (!is_normal_path(path))
			osh_diag_warning(diags, binary->path.mark,
					 "binary path '%.*s' holds an empty, '.' or "
					 "'..' component: it matches nothing",
					 OSH_DIAG_VALUE(path));
		if (path.len >= OSH_PATH_MAX)
			osh_diag_warning(diags, binary->path.mark,
					 "binary path is longer than %d bytes: such a "
					 "program has no identity",
					 OSH_PATH_MAX - 1);
		if (is_loader(path))
			osh_diag_warning(diags, binary->path.mark,
					 "'%.*s' is a dynamic loader: whoever may run "
					 "it runs any program under its name",
					 OSH_DIAG_VALUE(path));
		return;
	}
	error = osh_glob_compile(path, '/', &code, &len);
	free(code);
	if (error)
		osh_diag_warning(diags, binary->path.mark,
				 "binary path: glob syntax: %s in '%.*s': it matches "
				 "nothing",
				 osh_glob_error_text(error), OSH_DIAG_VALUE(path));
}

/* ---- Entries ------------------------------------------------------------- */

static void check_limit(const struct osh_number *number, const char *key, struct osh_diags *diags)
{
	if (number->set && (number->value == 0 || number->value > UINT32_MAX))
		osh_diag_error(diags, number->mark, "limits: %s must be from 1 to 4294967295", key);
}

static void check_limits(const struct osh_limits *limits, struct osh_diags *diags)
{
	check_limit(&limits->flows, "flows", diags);
	check_limit(&limits->flows_per_second, "flows_per_second", diags);
	check_limit(&limits->bytes_per_second, "bytes_per_second", diags);
}

static void check_extras(const struct osh_entry *entry, struct osh_diags *diags)
{
	check_limits(&entry->limits, diags);
	for (size_t i = 0; i < entry->unix_sockets.count; i++) {
		const struct osh_text *path = &entry->unix_sockets.items[i];

		if (path->set && (path->text.len == 0 || path->text.data[0] != '/' ||
				  path->text.len > 107 || !is_normal_path(path->text)))
			osh_diag_error(diags, path->mark,
				       "unix_sockets: '%.*s' must be an absolute, normalised "
				       "path of at most 107 bytes",
				       OSH_DIAG_VALUE(path->text));
	}
}

static int check_entry(struct osh_policy_doc *doc, struct osh_entry *entry, struct osh_diags *diags)
{
	int r = 0;

	if (entry->key.text.len == 0 || entry->key.text.len > KEY_MAX)
		osh_diag_error(diags, entry->key.mark, "a policy's name must have 1 to %d bytes",
			       KEY_MAX);
	if (entry->endpoint_count == 0 && entry->unix_sockets.count == 0)
		osh_diag_warning(diags, entry->key.mark,
				 "policy '%.*s' has no endpoints: it grants nothing",
				 OSH_DIAG_VALUE(entry->key.text));
	if (entry->binary_count == 0 && entry->endpoint_count)
		osh_diag_warning(diags, entry->key.mark,
				 "policy '%.*s' has no binaries: it matches nobody",
				 OSH_DIAG_VALUE(entry->key.text));
	for (size_t i = 0; i < entry->endpoint_count && r == 0; i++)
		r = osh_check_endpoint(doc, &entry->endpoints[i], diags);
	for (size_t i = 0; i < entry->binary_count; i++)
		check_binary(&entry->binaries[i], diags);
	check_extras(entry, diags);
	return r;
}

static bool is_listed(const struct osh_policy_static *statics, const char *path)
{
	for (size_t i = 0; i < statics->unix_socket_count; i++) {
		if (strcmp(statics->unix_sockets[i], path) == 0)
			return true;
	}
	return false;
}

/* Sockets are put into the sandbox's root at its creation, so they are static. */
static int list_unix_sockets(struct osh_policy_doc *doc, struct osh_diags *diags)
{
	struct osh_policy_static *statics = &doc->statics;

	statics->unix_sockets = osh_arena_alloc(&doc->arena, UNIX_SOCKETS_MAX * sizeof(char *));
	if (!statics->unix_sockets)
		return -ENOMEM;
	for (size_t i = 0; i < doc->entry_count; i++) {
		const struct osh_texts *paths = &doc->entries[i].unix_sockets;

		for (size_t j = 0; j < paths->count; j++) {
			const struct osh_text *path = &paths->items[j];

			if (!path->set || is_listed(statics, path->text.data))
				continue;
			if (statics->unix_socket_count == UNIX_SOCKETS_MAX) {
				osh_diag_error(diags, path->mark, "more than %d unix_sockets",
					       UNIX_SOCKETS_MAX);
				return 0;
			}
			statics->unix_sockets[statics->unix_socket_count++] =
				osh_arena_copy(&doc->arena, path->text);
			if (!statics->unix_sockets[statics->unix_socket_count - 1])
				return -ENOMEM;
		}
	}
	return 0;
}

/* Once: who names one mostly names more. */
static void warn_of_interpreter(const struct osh_policy_doc *doc, struct osh_diags *diags)
{
	for (size_t i = 0; i < doc->entry_count; i++) {
		const struct osh_entry *entry = &doc->entries[i];

		for (size_t j = 0; j < entry->binary_count; j++) {
			const struct osh_text *path = &entry->binaries[j].path;

			if (!path->set || !is_interpreter(path->text))
				continue;
			osh_diag_warning(diags, path->mark,
					 "'%.*s' runs any script: what is granted to it is granted to "
					 "all that it is told to run", OSH_DIAG_VALUE(path->text));
			return;
		}
	}
}

int osh_check_entries(struct osh_policy_doc *doc, struct osh_diags *diags)
{
	int r = 0;

	check_limits(&doc->limits, diags);
	if (doc->entry_count > OSH_POLICY_ENTRIES_MAX)
		osh_diag_error(diags, doc->entries[OSH_POLICY_ENTRIES_MAX].key.mark,
			       "more than %d network policies", OSH_POLICY_ENTRIES_MAX);
	for (size_t i = 0; i < doc->entry_count && r == 0; i++)
		r = check_entry(doc, &doc->entries[i], diags);
	warn_of_interpreter(doc, diags);
	return r < 0 ? r : list_unix_sockets(doc, diags);
}
