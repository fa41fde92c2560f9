/* Texts built into the agent, so that nothing has to be found on disk at run time. */
#ifndef OSH_CONTROL_EMBED_H
#define OSH_CONTROL_EMBED_H

#include "base/str.h"

/* The interface definition, agent/control/io.openshell.varlink. NUL-terminated. */
const char *osh_embed_interface(void);
/* The policy of a sandbox created without one, share/default-policy.yaml. */
struct osh_str osh_embed_default_policy(void);

#endif
