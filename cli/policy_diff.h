/* What differs between two policies, printed. */
#ifndef OSH_CLI_POLICY_DIFF_H
#define OSH_CLI_POLICY_DIFF_H

#include "policy_tools.h"

/* Both have to be valid. As text: one line per difference, each behind `prefix`. Returns
 * the exit status. */
int osh_policy_diff_print(const struct osh_policy_source *before,
			  const struct osh_policy_source *after, enum osh_policy_output output,
			  const char *prefix);

#endif
