/* Every map. Each is pinned under its name here, with the layout version of
 * agent/kernel/kernel.c: change a key or a value, and that number must rise.
 * Weak, because each .bpf.c defines them all and the linker keeps one. */
#ifndef OSH_BPF_MAPS_H
#define OSH_BPF_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "openshell/abi.h"

/* Where our part of the cgroup tree begins.
 * Written once by the agent before the programs are attached, then frozen. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct osh_settings);
} settings SEC(".maps") __weak;

/* The sandboxes that exist. Written by the agent, read by every hook.
 * No entry: everything is refused. Full: a sandbox cannot be created. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OSH_SANDBOXES_MAX);
	__type(key, __u64);
	__type(value, struct osh_sandbox);
} sandboxes SEC(".maps") __weak;

/* The depths of the cgroups that were attached to, as bits: what spares everybody else the
 * search. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} attached_levels SEC(".maps") __weak;

/* Written by the agent before it runs osh_late (identity.bpf.c). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct osh_late);
} late SEC(".maps") __weak;

/* What a sandbox has used up. Entry made and removed by the agent, counted in
 * identity.bpf.c. Full: as sandboxes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OSH_SANDBOXES_MAX);
	__type(key, __u64);
	__type(value, struct osh_usage);
} usage SEC(".maps") __weak;

/* Who each process of a sandbox is, by thread group id. Written by identity.bpf.c (fork,
 * exec, exit), read by egress.bpf.c. Not task storage: cgroup programs may not read that
 * on 6.1. Allocated in full at load, so that a storm of forks cannot outrun the
 * allocator. Full, or the sandbox's share used up: the process has no identity, and its
 * connects are refused. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OSH_TASKS_MAX);
	__type(key, __u32);
	__type(value, struct osh_task);
} tasks SEC(".maps") __weak;

/* The identity with a given number. Written by identity.bpf.c, read by the proxy,
 * removed with the sandbox. Full, or the sandbox's share used up: no identity. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OSH_IDENTITIES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct osh_identity);
} identities SEC(".maps") __weak;

/* The number of a given identity: the same, backwards. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OSH_IDENTITIES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct osh_identity);
	__type(value, __u32);
} identity_ids SEC(".maps") __weak;

/* The last identity number given out: counts up, never back. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} identity_last SEC(".maps") __weak;

/* Written by guard.bpf.c when one is made in an attached cgroup, by egress.bpf.c at connect and sendmsg, and by
 * the agent for sockets older than an attachment; freed with the socket. Out of memory: the call is refused. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct osh_socket);
} sockets SEC(".maps") __weak;

/* Connections on their way to the proxy's accept. Written by sockops, taken by the proxy,
 * swept by a returning agent. Full: the proxy finds no record and refuses the flow. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OSH_FLOWS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct osh_flow_key);
	__type(value, struct osh_flow);
} flows SEC(".maps") __weak;

/* A set: what some policy of the sandbox names. Written by agent and proxy, read at
 * connect. Full: the destination stays out of reach. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OSH_REACHABLE_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct osh_reach_key);
	__type(value, __u8);
} reachable SEC(".maps") __weak;

/* A set: the Unix sockets outside that the policy of an attached cgroup names. Written by the agent,
 * read by attached.bpf.c. Full: the socket stays out of reach. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OSH_UNIX_SOCKETS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct osh_unix_key);
	__type(value, __u8);
} unix_sockets SEC(".maps") __weak;

/* A set: connects that the proxy denied. Written by the proxy, read at connect. Full: the
 * oldest goes, and that question is asked again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OSH_DENIALS_MAX);
	__type(key, struct osh_denial_key);
	__type(value, __u8);
} denials SEC(".maps") __weak;

/* Names behind synthetic addresses: user space only, kept here so that they outlive the
 * proxy. Full: the proxy answers SERVFAIL to a new name. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OSH_LEASES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct osh_lease_key);
	__type(value, struct osh_lease);
} leases SEC(".maps") __weak;

/* Refusals, for the agent to publish. Full: the refusal stands, its record is lost and
 * counted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, OSH_EVENT_RING_BYTES);
} events SEC(".maps") __weak;

/* When this processor last woke the agent for the events (CLOCK_BOOTTIME, ns). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} woken SEC(".maps") __weak;

/* enum osh_counter. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OSH_COUNTER_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps") __weak;

#endif
