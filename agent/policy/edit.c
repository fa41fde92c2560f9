/* The edits of one call, in their order, on the tree of a policy. */
#include "policy/edit.h"

#include <errno.h>

#include "policy/edit_ops.h"

static int check_counts(const struct osh_policy_edits *edits, struct osh_err *err)
{
	const char *const *const lists[] = { edits->remove_rules,  edits->remove_endpoints,
					     edits->add_endpoints, edits->add_allows,
					     edits->add_denies,	   edits->binaries };
	size_t adds = 0, all = 0;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		size_t count = 0;

		while (lists[i] && lists[i][count])
			count++;
		if (count > OSH_EDITS_MAX)
			return osh_err_set(err, EINVAL, "more than %d edits of one kind in a call",
					   OSH_EDITS_MAX);
		all += lists[i] == edits->binaries ? 0 : count;
		adds += lists[i] == edits->add_endpoints ? count : 0;
	}
	if (all == 0)
		return osh_err_set(err, EINVAL, "nothing to change: give at least one edit");
	if (edits->rule_name && (adds != 1 || !edits->rule_name[0]))
		return osh_err_set(err, EINVAL,
				   "--rule-name names the entry of exactly one --add-endpoint");
	if (edits->binaries && edits->binaries[0] && adds == 0)
		return osh_err_set(
			err, EINVAL,
			"--binary says who may use an --add-endpoint, and there is none");
	return 0;
}

enum kind { REMOVE_RULE, REMOVE_ENDPOINT, ADD_ENDPOINT, ADD_ALLOW, ADD_DENY };

static int apply_one(struct osh_editor *e, enum kind kind, const struct osh_policy_edits *edits)
{
	switch (kind) {
	case REMOVE_RULE:
		return osh_edit_remove_rule(e);
	case REMOVE_ENDPOINT:
		return osh_edit_remove_endpoint(e);
	case ADD_ENDPOINT:
		return osh_edit_add_endpoint(e, edits);
	case ADD_ALLOW:
		return osh_edit_add_rule(e, edits->rule_name, false);
	case ADD_DENY:
		return osh_edit_add_rule(e, edits->rule_name, true);
	}
	return -EINVAL;
}

static int apply_all(struct osh_editor *e, const struct osh_policy_edits *edits)
{
	const struct {
		enum kind kind;
		const char *flag;
		const char *const *texts;
	} steps[] = {
		{ REMOVE_RULE, "--remove-rule", edits->remove_rules },
		{ REMOVE_ENDPOINT, "--remove-endpoint", edits->remove_endpoints },
		{ ADD_ENDPOINT, "--add-endpoint", edits->add_endpoints },
		{ ADD_ALLOW, "--add-allow", edits->add_allows },
		{ ADD_DENY, "--add-deny", edits->add_denies },
	};
	int r = 0;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		for (const char *const *text = steps[i].texts; r == 0 && text && *text; text++) {
			e->flag = steps[i].flag;
			e->text = *text;
			r = apply_one(e, steps[i].kind, edits);
		}
	}
	return r;
}

int osh_policy_edit(struct osh_str text, const struct osh_policy_edits *edits, char **ret_text,
		    size_t *ret_len, struct osh_err *err)
{
	struct osh_editor e = { .err = err };
	struct osh_diags diags = { 0 };
	int r = check_counts(edits, err);

	if (r < 0)
		return r;
	r = osh_yaml_parse(text, &e.arena, &diags, &e.root);
	if (r < 0 || e.root->kind != OSH_YAML_MAPPING)
		r = osh_err_set(err, r == -ENOMEM ? ENOMEM : EINVAL,
				"the policy cannot be read: %s",
				diags.count ? diags.items[0].message : "it is no mapping");
	if (r == 0)
		r = osh_edit_pieces_find(&e.pieces, text, e.root);
	if (r == 0)
		r = apply_all(&e, edits);
	if (r == 0) {
		r = osh_edit_pieces_write(&e.pieces, text, e.root, ret_text, ret_len);
		if (r < 0)
			osh_err_set(err, -r, "the changed policy is larger than a policy may be");
	} else if (r == -ENOMEM) {
		(void)osh_edit_no_memory(&e);
	}
	osh_edit_pieces_done(&e.pieces);
	osh_arena_done(&e.arena);
	return r;
}
