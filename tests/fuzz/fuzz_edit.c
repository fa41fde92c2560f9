/* Edits of policy texts: the text and then one edit of each kind, apart by NULs. What comes
 * out has to be YAML that is written the same once more, and two policies can be compared. */
#include <stdlib.h>
#include <string.h>

#include "policy/diff.h"
#include "policy/edit.h"
#include "policy/yaml_write.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

enum { TEXT, ADD_ENDPOINT, BINARY, ADD_ALLOW, ADD_DENY, REMOVE_ENDPOINT, REMOVE_RULE, RULE_NAME, PARTS };

static struct osh_policy_doc *parse(struct osh_str text)
{
	static struct osh_diags diags;
	struct osh_policy_doc *doc = NULL;

	memset(&diags, 0, sizeof(diags));
	return osh_policy_parse(text, &diags, &doc) < 0 ? NULL : doc;
}

static void check_written(struct osh_str text)
{
	static struct osh_diags diags;
	struct osh_arena first = { 0 }, second = { 0 };
	struct osh_yaml_node *root = NULL, *again = NULL;
	struct osh_buf buf;

	memset(&diags, 0, sizeof(diags));
	osh_buf_init(&buf, 8u << 20);
	if (osh_yaml_parse(text, &first, &diags, &root) < 0)
		abort();
	if (osh_yaml_write(root, &buf) < 0 ||
	    osh_yaml_parse(osh_buf_str(&buf), &second, &diags, &again) < 0 ||
	    !osh_yaml_same(root, again))
		abort();
	osh_buf_done(&buf);
	osh_arena_done(&first);
	osh_arena_done(&second);
}

static void compare(const struct osh_policy_doc *before, struct osh_str text)
{
	struct osh_policy_doc *after = parse(text);
	struct osh_changes changes;
	char line[256];

	if (!after)
		return;
	if (osh_policy_diff(before, after, &changes) == 0) {
		for (size_t i = 0; i < changes.count; i++)
			(void)osh_change_format(&changes.items[i], line, sizeof(line));
		osh_changes_done(&changes);
	}
	osh_policy_doc_free(after);
}

static void edit(struct osh_str text, const struct osh_policy_doc *before, char *const *parts)
{
	const char *lists[PARTS][2] = { { 0 } };
	struct osh_policy_edits edits = { 0 };
	struct osh_err err = { 0 };
	char *edited = NULL;
	size_t len = 0;

	for (int i = ADD_ENDPOINT; i < RULE_NAME; i++)
		lists[i][0] = parts[i] && parts[i][0] ? parts[i] : NULL;
	edits.add_endpoints = lists[ADD_ENDPOINT];
	edits.binaries = lists[BINARY];
	edits.add_allows = lists[ADD_ALLOW];
	edits.add_denies = lists[ADD_DENY];
	edits.remove_endpoints = lists[REMOVE_ENDPOINT];
	edits.remove_rules = lists[REMOVE_RULE];
	edits.rule_name = parts[RULE_NAME] && parts[RULE_NAME][0] ? parts[RULE_NAME] : NULL;
	if (osh_policy_edit(text, &edits, &edited, &len, &err) < 0) {
		if (!err.message[0])
			abort();
		return;
	}
	check_written(osh_str_n(edited, len));
	compare(before, osh_str_n(edited, len));
	free(edited);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	char *copy = calloc(size + 1, 1), *parts[PARTS] = { 0 };
	size_t at = 0;

	if (!copy)
		return 0;
	if (size)
		memcpy(copy, data, size);
	for (int i = 0; i < PARTS && at <= size; i++) {
		parts[i] = copy + at;
		at += strlen(parts[i]) + 1;
	}
	{
		struct osh_str text = osh_str(parts[TEXT]);
		struct osh_policy_doc *doc = parse(text);

		if (doc)
			edit(text, doc, parts);
		osh_policy_doc_free(doc);
	}
	free(copy);
	return 0;
}
