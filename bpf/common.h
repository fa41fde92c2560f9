/* What all hooks do: count, report a refusal, find out which sandbox is calling. */
#ifndef OSH_BPF_COMMON_H
#define OSH_BPF_COMMON_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "decide.h"
#include "maps.h"

/* What a program at a security hook of a cgroup answers. */
#define REFUSE 0 /* EPERM */
#define LEAVE 1

static __always_inline void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		(*value)++; /* per CPU */
}

static __always_inline const struct osh_settings *get_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

/* The attached cgroup that the calling task is in, 0: none. */
static __always_inline __u64 current_attached(void)
{
	__u32 zero = 0;
	const __u32 *levels = bpf_map_lookup_elem(&attached_levels, &zero);

	if (!levels || !*levels)
		return 0;
	for (int level = 0; level <= OSH_ATTACH_LEVEL_MAX; level++) {
		__u64 id;

		if (!(*levels & 1u << level))
			continue;
		id = bpf_get_current_ancestor_cgroup_id(level);
		if (id && bpf_map_lookup_elem(&sandboxes, &id))
			return id;
	}
	return 0;
}

/* The sandbox of the calling task, 0 when it is in none of ours: the ancestor of its
 * cgroup just below our root, so that cgroups made inside a sandbox belong to it. */
static __always_inline __u64 current_sandbox(const struct osh_settings *set)
{
	if (bpf_get_current_ancestor_cgroup_id(set->root_level) != set->root_cgroup)
		return current_attached();
	return bpf_get_current_ancestor_cgroup_id(set->root_level + 1);
}

/* Is a socket with this cookie of its network namespace one that the sandbox may use? */
static __always_inline int is_own_netns(const struct osh_settings *set, const struct osh_sandbox *sandbox,
					__u64 netns)
{
	return sandbox && sandbox->netns ? netns == sandbox->netns : netns != set->host_netns;
}

/* What was made in an attached cgroup bears its mark from sock_create on, or from when it was attached. */
static __always_inline __u8 whose_is(struct bpf_sock *sk, __u64 sandbox)
{
	const struct osh_socket *socket = bpf_sk_storage_get(&sockets, sk, NULL, 0);

	return socket && socket->sandbox == sandbox ? OSH_RECEIVER_OWN : OSH_RECEIVER_OTHERS;
}

/* Waking the agent interrupts a processor, at several times the cost of all the rest. Once is
 * enough for a while: it looks again by itself, later than this (agent/kernel/kernel.c). */
static __always_inline __u64 wake_flag(__u64 now_ns)
{
	__u32 zero = 0;
	__u64 *last = bpf_map_lookup_elem(&woken, &zero);

	if (last && now_ns - *last < OSH_EVENT_WAKE_MS * 1000000ull)
		return BPF_RB_NO_WAKEUP;
	if (last)
		*last = now_ns;
	return BPF_RB_FORCE_WAKEUP;
}

/* Room for a record that begins with this event. NULL: there is none, which is counted. The caller fills
 * in what follows it, and submits. */
static __always_inline void *begin_record(const struct osh_event *event, __u64 size)
{
	struct osh_event *record = bpf_ringbuf_reserve(&events, size, 0);

	if (!record) {
		count(OSH_COUNT_EVENT_LOST);
		return NULL;
	}
	*record = *event;
	record->time_ns = bpf_ktime_get_boot_ns();
	return record;
}

static __always_inline void submit_record(struct osh_event *record)
{
	bpf_ringbuf_submit(record, wake_flag(record->time_ns));
}

/* `event` without time; the caller fills in the rest. */
static __always_inline void report(const struct osh_event *event)
{
	struct osh_event *record = begin_record(event, sizeof(*record));

	if (record)
		submit_record(record);
}

#endif
