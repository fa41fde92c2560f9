/* What the agent's configuration says, as the proxy process gets it at its start: it can
 * open no file of the host by itself. Each returns a sealed memfd, the caller's, or -errno. */
#ifndef OSH_PROXY_PROVISION_H
#define OSH_PROXY_PROVISION_H

#include <stddef.h>

#include "base/err.h"
#include "proxy/via.h"

/* The certificates in the PEM file `path`; NULL: none. */
int osh_provision_anchors(const char *path, struct osh_err *err);
/* The proxy before the internet, with the credential in the file `path` ("user:password" in one
 * line; NULL: none), which nobody but its owner may read. */
int osh_provision_via(const struct osh_via_settings *settings, const char *path, struct osh_err *err);
/* Not a memfd: the list as osh_resolver_new takes it, into `room`. NULL: none. Returns 0 or -E2BIG. */
int osh_provision_dns_servers(const char *const *servers, char *room, size_t size, struct osh_err *err);

#endif
