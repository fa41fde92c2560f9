/* An empty directory beside a destination: what a sandbox sends is unpacked there, looked
 * through, and moved to its name as a whole. */
#ifndef OSH_CLI_STAGING_H
#define OSH_CLI_STAGING_H

#include <limits.h>
#include <sys/types.h>

#include "base/err.h"

struct osh_staging {
	char dir[PATH_MAX];
	char name[PATH_MAX]; /* where it goes */
	int alive_fd;        /* who writes below `dir` has it open */
	pid_t sweeper;       /* removes `dir` once nobody has, however we end */
};

/* For `to`: a name to be made or a file to be replaced, or a directory to put `base` into. */
int osh_staging_open(const char *to, const char *base, struct osh_staging *ret_staging,
		     struct osh_err *err);
/* Take what a stranger must not bring out of it: links that lead out of the tree, files that
 * are neither file nor directory, mode bits beyond rwx. *ret_refused: how many entries went;
 * each is reported. */
int osh_staging_vet(const struct osh_staging *staging, unsigned *ret_refused, struct osh_err *err);
/* Move the one thing in it to its name. */
int osh_staging_commit(const struct osh_staging *staging, struct osh_err *err);
/* Remove it, and what is still in it. Others that have alive_fd open have ended. */
void osh_staging_close(struct osh_staging *staging);

#endif
