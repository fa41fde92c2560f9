/* Files and directories into a sandbox and out of it. What reads or writes in it runs in it,
 * as its user and behind its policy: no path and no symbolic link leads it elsewhere. */
#ifndef OSH_CLI_COPY_H
#define OSH_CLI_COPY_H

#include "client.h"

struct osh_copy {
	const struct osh_cli *cli;
	const char *sandbox;
	const char *from, *to; /* one is here, the other one inside */
};

/* Copy `from` here to `to` inside: into it when that is a directory. Returns the exit status;
 * a failure is reported. */
int osh_copy_in(struct osh_client *client, const struct osh_copy *copy);
/* The other way. What comes out is a stranger's: links that lead out of what is copied,
 * devices and set-user-id bits stay behind, and nothing is written but the one name. */
int osh_copy_out(struct osh_client *client, const struct osh_copy *copy);

#endif
