/* System call filters: libseccomp makes them, once whole they are ours. */
#ifndef OSH_BASE_SECCOMP_H
#define OSH_BASE_SECCOMP_H

#include <linux/filter.h>
#include <seccomp.h>

/* Compile the filter that `describe` adds rules and attributes to (it returns 0 or -errno, and is
 * called twice); calls without a rule get `otherwise` (SCMP_ACT_*). Returns 0 or -errno. The caller
 * frees ret_program->filter.
 *
 * libseccomp 2.5 overlooks many an allocation that fails: it goes on with a filter that has holes,
 * walks in circles, or crashes. So a program counts only if it comes out the same twice (else
 * -ENOMEM), and this process is ended by SIGVTALRM when that takes it seconds. */
int osh_seccomp_compile(uint32_t otherwise, int (*describe)(scmp_filter_ctx filter),
			struct sock_fprog *ret_program);

/* Hold the calling thread, and whatever it makes and executes, to the filter; it has to have
 * no_new_privs or CAP_SYS_ADMIN (seccomp(2)). Returns 0 or -errno. */
int osh_seccomp_load(const struct sock_fprog *program);

#endif
