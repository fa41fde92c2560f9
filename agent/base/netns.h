/* Network namespaces, as the kernel's programs tell them apart. */
#ifndef OSH_BASE_NETNS_H
#define OSH_BASE_NETNS_H

#include <stdint.h>

/* The cookie of the calling thread's network namespace (socket(7) SO_NETNS_COOKIE, Linux 5.14;
 * bpf_get_netns_cookie). Returns 0 or -errno. */
int osh_netns_cookie(uint64_t *ret_cookie);

#endif
