/* Network namespaces, as the kernel's programs tell them apart. */
#ifndef OSH_BASE_NETNS_H
#define OSH_BASE_NETNS_H

#include <stdint.h>

/* The cookie of the calling thread's network namespace (socket(7) SO_NETNS_COOKIE, Linux 5.14;
 * bpf_get_netns_cookie). Returns 0 or -errno. */
int osh_netns_cookie(uint64_t *ret_cookie);

/* Whether capabilities in a user namespace count over a network namespace: it owns it, or is an ancestor
 * of the one that does (ioctl_ns(2) NS_GET_USERNS, NS_GET_PARENT). Both are descriptors, of
 * /proc/PID/ns files, and stay the caller's. Returns 1, 0 or -errno. */
int osh_netns_is_ruled_from(int netns_fd, int userns_fd);

#endif
