#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/document.h"
#include "policy/yaml.h"

#define BYTES_PER_BYTE 24 /* of a document, for each of its text: nodes, marks, room for values */

static void check_top(struct osh_policy_doc *doc, struct osh_diags *diags)
{
	if (doc->version.set && doc->version.value != 1)
		osh_diag_error(diags, doc->version.mark, "unsupported version %llu (must be 1)",
			       (unsigned long long)doc->version.value);
	if (!doc->mode.set)
		return;
	doc->permissive = osh_str_eq_c(doc->mode.text, "permissive");
	if (doc->permissive)
		osh_diag_warning(diags, doc->mode.mark,
				 "mode: permissive turns every denial into a recorded "
				 "audit: nothing is enforced");
	else if (!osh_str_eq_c(doc->mode.text, "enforcing"))
		osh_diag_error(diags, doc->mode.mark,
			       "mode: '%.*s' is unknown (allowed: enforcing, permissive)",
			       OSH_DIAG_VALUE(doc->mode.text));
}

static int build_document(struct osh_str text, struct osh_diags *diags, struct osh_policy_doc *doc)
{
	struct osh_arena tree = { .expected = BYTES_PER_BYTE * text.len };
	struct osh_yaml_node *root = NULL;
	int r = osh_yaml_parse(text, &tree, diags, &root);

	/* Strings of the document point into the tree's memory: both live equally long. */
	doc->arena = tree;
	if (r == 0)
		r = osh_policy_read(root, doc, diags);
	if (r < 0)
		return r;
	check_top(doc, diags);
	r = osh_check_static(doc, diags);
	if (r == 0)
		r = osh_check_entries(doc, diags);
	if (r == 0)
		r = osh_check_overlaps(doc, diags);
	if (r == 0)
		r = osh_check_middlewares(doc, diags);
	if (r == 0 && diags->errors)
		r = -EINVAL;
	return r;
}

int osh_policy_parse(struct osh_str text, struct osh_diags *diags, struct osh_policy_doc **ret_doc)
{
	struct osh_policy_doc *doc = calloc(1, sizeof(*doc));
	int r = doc ? build_document(text, diags, doc) : -ENOMEM;

	osh_diag_sort(diags);
	if (r == -ENOMEM)
		osh_diag_error(diags, (struct osh_mark){ 0 }, "out of memory");
	if (r < 0) {
		osh_policy_doc_free(doc);
		return r;
	}
	*ret_doc = doc;
	return 0;
}

void osh_policy_doc_free(struct osh_policy_doc *doc)
{
	if (!doc)
		return;
	osh_arena_done(&doc->arena);
	free(doc);
}

void osh_policy_doc_binaries(const struct osh_policy_doc *doc,
			     void (*each)(void *context, const char *path, uint32_t line), void *context)
{
	for (size_t i = 0; i < doc->entry_count; i++) {
		const struct osh_entry *entry = &doc->entries[i];

		for (size_t j = 0; j < entry->binary_count; j++) {
			const struct osh_text *path = &entry->binaries[j].path;

			if (path->set && path->text.len)
				each(context, path->text.data, path->mark.line);
		}
	}
}

const struct osh_policy_static *osh_policy_doc_static(const struct osh_policy_doc *doc)
{
	return &doc->statics;
}

/* ---- What the static sections open --------------------------------------- */

static bool is_at_or_below(const char *path, const char *directory)
{
	size_t len = strlen(directory);

	return strncmp(path, directory, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

bool osh_policy_writes_system(const struct osh_policy_static *policy)
{
	/* Those of bpf/inject.h, osh_is_system_path. */
	static const char *const system_paths[] = {
		"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/opt",
	};

	for (size_t i = 0; i < policy->read_write_count; i++) {
		const char *path = policy->read_write[i];

		if (strcmp(path, "/") == 0)
			return true;
		for (size_t j = 0; j < OSH_COUNT_OF(system_paths); j++) {
			if (is_at_or_below(path, system_paths[j]))
				return true;
		}
	}
	return false;
}
