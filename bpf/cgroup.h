/* Where a cgroup lies. */
#ifndef OSH_BPF_CGROUP_H
#define OSH_BPF_CGROUP_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "types.h"

/* The cgroup of this level that one is in, or is; 0: it lies higher. */
static __always_inline __u64 ancestor_of(struct cgroup *cgroup, __u32 level)
{
	struct cgroup *ancestor = NULL;

	if (level > OSH_ATTACH_LEVEL_MAX || level > (__u32)BPF_CORE_READ(cgroup, level))
		return 0;
	bpf_probe_read_kernel(&ancestor, sizeof(ancestor), &cgroup->ancestors[level]);
	return BPF_CORE_READ(ancestor, kn, id);
}

/* Was this socket made in that attached cgroup, or below? An accepted one counts as made where its
 * listener was, an accepted Unix socket where its peer was. */
static __always_inline int is_made_in(struct sock *sk, __u64 attached)
{
	struct cgroup *cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	__u32 zero = 0;
	const __u32 *levels = bpf_map_lookup_elem(&attached_levels, &zero);

	for (__u32 level = 0; levels && level <= OSH_ATTACH_LEVEL_MAX; level++) {
		if (*levels & 1u << level && ancestor_of(cgroup, level) == attached)
			return 1;
	}
	return 0;
}

#endif
