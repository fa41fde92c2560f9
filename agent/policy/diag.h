/* Collecting findings about a policy text (policy.h has the types). */
#ifndef OSH_POLICY_DIAG_H
#define OSH_POLICY_DIAG_H

#include "policy/policy.h"

/* Where in the text; counted from 1, 0 when it concerns the whole text. */
struct osh_mark {
	uint32_t line, column;
};

void osh_diag_add(struct osh_diags *diags, enum osh_diag_level level, struct osh_mark mark,
		  const char *format, ...) __attribute__((format(printf, 4, 5)));

#define osh_diag_error(diags, mark, ...) osh_diag_add(diags, OSH_DIAG_ERROR, mark, __VA_ARGS__)
#define osh_diag_warning(diags, mark, ...) osh_diag_add(diags, OSH_DIAG_WARNING, mark, __VA_ARGS__)

/* Put the items in order of the file. */
void osh_diag_sort(struct osh_diags *diags);

/* For "%.*s": a value cut to a readable length. */
#define OSH_DIAG_VALUE_MAX 80
#define OSH_DIAG_VALUE(s) \
	(int)((s).len > OSH_DIAG_VALUE_MAX ? OSH_DIAG_VALUE_MAX : (s).len), \
		((s).data ? (s).data : "")

/* The name in `names` (NULL-terminated) nearest to `word`, NULL when none is near. */
const char *osh_nearest_name(struct osh_str word, const char *const *names);

#endif
