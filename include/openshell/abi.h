/* What the kernel programs (bpf/) and the agent (agent/kernel, agent/proxy)
 * share: map keys, map values and ring records. Included unchanged by both, so:
 * fixed-width types, explicit zeroed padding, sizes asserted.
 *
 * Byte order: *_be fields are network order, *_host fields host order.
 * A sandbox is named everywhere in the kernel by its cgroup id: never reused
 * while the kernel runs, and what every hook can ask for. */
#ifndef OPENSHELL_ABI_H
#define OPENSHELL_ABI_H

#include <linux/capability.h>
#include <linux/types.h>

#include "openshell/limits.h"

/* With one of these a process writes files of others, or becomes who may (capabilities(7)). */
#define OSH_OWNER_CAPABILITIES                                                                              \
	(1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_FOWNER | 1ull << CAP_SETUID | \
	 1ull << CAP_SETFCAP | 1ull << CAP_SYS_ADMIN)

/* An address as one 16-byte value: IPv4 is stored IPv4-mapped
 * (::ffff:a.b.c.d, RFC 4291 2.5.5.2), so one key serves both families. */
struct osh_addr {
	__u32 word_be[4];
};

/* What runs, and by whom it was started: one interned node of the tree of all
 * execs in a sandbox. The node's id names binary and lineage at once; it is never 0
 * and never given twice. A node with a flag of OSH_EXE_NAMELESS names nothing that a
 * policy may grant to: its path, there for the reader, does not begin with '/' unless it
 * is a real one. A tainted start is a node of its own. */
struct osh_identity {
	__u64 sandbox;     /* cgroup id */
	__u64 ino;
	__u64 ctime_ns;    /* of the executable's inode when it was executed */
	__u32 dev;         /* kernel dev_t (new_encode_dev is not applied) */
	__u32 parent;      /* identity that executed this one; 0: none */
	__u32 depth;       /* ancestors above this one, at most OSH_LINEAGE_MAX + 1 */
	__u32 flags;       /* OSH_EXE_* */
	char path[OSH_PATH_MAX]; /* as seen from the sandbox's root, NUL padded */
};
_Static_assert(sizeof(struct osh_identity) == 40 + OSH_PATH_MAX, "identity is a map key: no holes");

enum {
	OSH_EXE_UNLINKED = 1 << 0,  /* no name in the file system: memfd, O_TMPFILE, deleted */
	OSH_EXE_NO_PATH = 1 << 1,   /* path longer or deeper than the bounds, or outside the root */
	OSH_EXE_TOO_DEEP = 1 << 2,  /* lineage longer than OSH_LINEAGE_MAX */
	/* What began this way may run code that its file does not hold. */
	OSH_EXE_INJECTED = 1 << 3,  /* its environment loads code (bpf/inject.h), or is too large to tell */
	OSH_EXE_LOADER = 1 << 4,    /* the dynamic loader, run as the program */
	OSH_EXE_WRITABLE = 1 << 5,  /* whoever started it may write the executable */
};
/* Nothing that a policy may grant to. */
#define OSH_EXE_NAMELESS (OSH_EXE_UNLINKED | OSH_EXE_NO_PATH | OSH_EXE_TOO_DEEP)
/* A name that a policy may grant to, but not where it asks for `clean: true`. */
#define OSH_EXE_TAINTED (OSH_EXE_INJECTED | OSH_EXE_LOADER | OSH_EXE_WRITABLE)

/* tasks map: thread group id -> this; written at exec and copied at fork. The entry
 * counts only for the process that it was written for: thread group ids come back, and
 * an exec that passed no hook must not keep the identity of the image it replaced. */
struct osh_task {
	__u64 sandbox;
	__u64 start_ns;   /* task_struct.start_boottime of the group leader */
	__u64 exec_id;    /* task_struct.self_exec_id of the group leader */
	__u32 identity;   /* 0: could not be told, and so for all that it starts */
	__u32 flags;      /* OSH_EXE_* of that identity */
};
_Static_assert(sizeof(struct osh_task) == 32, "map value: no holes");

/* sandboxes map: cgroup id -> this. No entry means deny everything. */
struct osh_sandbox {
	__u32 generation;   /* bumped by every policy change; part of the denial key */
	__u32 flags;        /* OSH_SANDBOX_* */
	__u64 netns;        /* cookie of the only network namespace whose sockets count; 0: any but
			     * the agent's own */
	__u32 gateway_host; /* where the agent listens in it: OSH_GATEWAY to OSH_GATEWAY_LAST */
	__u32 pad;
};
_Static_assert(sizeof(struct osh_sandbox) == 24, "map value: no holes");

enum {
	/* mode: permissive. Every TCP destination leads to the agent, which lets through and
	 * records what it would deny. */
	OSH_SANDBOX_REACHES_ALL = 1 << 0,
	/* Its policy lets it write below /usr, /etc and the like: no path is beyond its reach. */
	OSH_SANDBOX_WRITES_SYSTEM = 1 << 1,
	/* A cgroup of somebody else's, with no more than the network rules put on it. Programs outside
	 * may be in its network namespace at any time: loopback is not its own. */
	OSH_SANDBOX_ATTACHED = 1 << 2,
	/* ... the agent among them: a policy may name what listens there, as `localhost`. */
	OSH_SANDBOX_HOST_NET = 1 << 3,
};

/* usage map: cgroup id -> this. Apart from struct osh_sandbox because the kernel counts
 * here while user space replaces that one. */
struct osh_usage {
	__u32 identities;  /* interned: at most OSH_IDENTITIES_PER_SANDBOX_MAX */
	__u32 tasks;       /* its entries in the tasks map: at most OSH_TASKS_PER_SANDBOX_MAX */
	__u64 lost_ns;     /* when the youngest process began that found no room there; 0: none so far */
};
_Static_assert(sizeof(struct osh_usage) == 16, "map value: no holes");

/* settings map, one entry, frozen once the agent has written it. */
struct osh_settings {
	__u64 root_cgroup;  /* cgroup id; sandboxes are its children */
	__u64 host_netns;   /* cookie of the agent's own network namespace */
	__u32 root_level;   /* depth of root_cgroup in the whole hierarchy */
	__u32 pad;
};

/* late map, one entry: whose processes osh_late gives an identity. */
struct osh_late {
	__u64 sandbox; /* the attached cgroup */
	__u32 level;   /* its depth in the whole hierarchy */
	__u32 pad;
};

/* Argument of the osh_cgroup_level program. */
struct osh_level_question {
	__u32 fd;     /* in: the cgroup's directory, open in the calling process */
	__u32 level;  /* out */
	__u64 cgroup; /* out: its id, to compare */
};

/* unix_sockets map (a set): the Unix sockets outside that an attached cgroup's policy names, by
 * their inodes, so that every spelling of a path is the same one. */
struct osh_unix_key {
	__u64 sandbox;
	__u64 ino; /* all three as in struct osh_file_question, below */
	__u32 dev;
	__u32 generation;
};
_Static_assert(sizeof(struct osh_unix_key) == 24, "map key: no holes");

/* Argument of the osh_file program: a file as the exec hook sees one, which fstat(2) does
 * not show on overlayfs and btrfs; of a socket, whose hooks it passes. */
struct osh_file_question {
	__u32 fd;       /* in: open in the calling process */
	__u32 level;    /* in: which of the cgroups that a socket was made in is asked for */
	__u64 ino;      /* out, like those of struct osh_identity, and so on */
	__u64 ctime_ns;
	__u64 socket_cgroup; /* id of the cgroup of that level; 0: made higher up, or no socket */
	__u32 dev;
	__u32 generation;    /* of the inode: the next one with its number has another */
	struct osh_unix_key peer; /* where the other end of a Unix connection is bound, sandbox 0; ino 0: nowhere */
};

/* Why the kernel refused; the agent turns it into words. */
enum osh_kernel_reason {
	OSH_KERNEL_NO_SANDBOX = 1,   /* cgroup is not a sandbox (any more) */
	OSH_KERNEL_NO_IDENTITY,      /* executable or lineage could not be told */
	OSH_KERNEL_NOT_REACHABLE,    /* no policy names this address and port */
	OSH_KERNEL_CACHED_DENIAL,    /* user space denied the same question before */
	OSH_KERNEL_PROTOCOL,         /* UDP other than DNS */
	OSH_KERNEL_SOCKET_TYPE,      /* socket family, type or protocol */
	OSH_KERNEL_AGENT_ADDRESS,    /* dialled the agent's own listener */
	OSH_KERNEL_TABLE_FULL,       /* could not remember the flow */
	OSH_KERNEL_WRONG_NETNS,      /* socket outside the sandbox's network namespace */
	OSH_KERNEL_RESERVED_PORT,    /* bind to a port of the agent */
	OSH_KERNEL_PACKET,           /* a packet that no hook let through */
	OSH_KERNEL_OTHERS_FLOW,      /* sent on a connection that another program opened */
	OSH_KERNEL_SHARED_FLOW,      /* the same, on a kernel that cannot refuse it: told, and ended */
	OSH_KERNEL_OUTSIDE_SOCKET,   /* sent on a socket that was made outside: told only */
	OSH_KERNEL_INSPECTOR,        /* dialled the port where Node takes code to run */
	OSH_KERNEL_OTHERS_LOOPBACK,  /* a service on a loopback that is not the sandbox's alone */
	OSH_KERNEL_UNIX_SOCKET,      /* a Unix socket of the outside that the policy does not name */
	OSH_KERNEL_OTHERS_PLACE,     /* ptrace, or what reaches as far: acting as another program */
	OSH_KERNEL_BPF,              /* bpf(2) */
	OSH_KERNEL_WRONG_CGROUP,     /* socket made outside of the attached cgroup */
	OSH_KERNEL_CORE_DUMP,        /* the kernel, handing the memory of who crashed to a server (core_pattern) */
	OSH_KERNEL_REASON_COUNT,
};

/* flows map: what the connect hook saw, keyed by the client's own end of the
 * redirected connection, set by sockops when it is established and taken
 * (looked up and deleted) by whoever accepts it. It stays when the client closes first:
 * the connection can still be accepted. What nobody accepts (the agent died) is swept
 * when the agent returns. */
struct osh_flow_key {
	__u64 sandbox;
	struct osh_addr client;
	__u16 client_port_host;
	__u16 pad[3];
};
_Static_assert(sizeof(struct osh_flow_key) == 32, "map key: no holes");

struct osh_flow {
	struct osh_addr dst;      /* what the program asked for */
	__u16 dst_port_host;
	__u16 pad;
	__u32 identity;
	__u32 pid;                /* thread group, in the initial pid namespace */
	__u32 is_shared;          /* another program sent on it, as was told: it is not served */
	__u64 cookie;             /* bpf_get_socket_cookie */
};
_Static_assert(sizeof(struct osh_flow) == 40, "map value: no holes");

/* reachable map (a set): destinations that some endpoint of the sandbox's
 * policy names. Address all zero: any address on that port (hostless endpoints).
 * Ports 80 and 443 need no entry: there the proxy explains a denial. */
struct osh_reach_key {
	__u64 sandbox;
	struct osh_addr dst;
	__u16 dst_port_host;
	__u16 pad[3];
};
_Static_assert(sizeof(struct osh_reach_key) == 32, "map key: no holes");

/* sockets map (socket storage): what a socket asked for before it was pointed at the agent. */
struct osh_socket {
	struct osh_flow flow;
	__u64 sandbox;
	__u32 action; /* OSH_ACTION_PEER, _DNS, _REDIRECT (bpf/decide.h) or OSH_SOCKET_KEPT */
	__u32 told;   /* identity that was told to have sent on another's connection */
};
_Static_assert(sizeof(struct osh_socket) == 56, "map value: no holes");

/* Older than the attachment of its cgroup, and let go on: its packets pass. */
#define OSH_SOCKET_KEPT 64

/* denials map (LRU): connect-time questions answered "deny" by user space.
 * Evicting an entry costs a trip to user space, never an allow. */
struct osh_denial_key {
	__u64 sandbox;
	struct osh_addr dst;
	__u32 generation;
	__u32 identity;
	__u16 dst_port_host;
	__u16 pad[3];
};
_Static_assert(sizeof(struct osh_denial_key) == 40, "map key: no holes");

/* leases map: the name behind a synthetic address of one sandbox. Always keyed
 * by the IPv4 form of the address; its IPv6 twin carries the same 32 bits. */
struct osh_lease_key {
	__u64 sandbox;
	__u32 addr_host;  /* inside OSH_SYNTH_PREFIX */
	__u32 pad;
};

struct osh_lease {
	char host[OSH_HOST_MAX]; /* lower case, no trailing dot, NUL padded */
};

/* Kernel ring record: one refusal. */
struct osh_event {
	__u64 sandbox;
	__u64 time_ns;      /* CLOCK_BOOTTIME */
	struct osh_addr dst;
	__u32 identity;
	__u32 pid;
	__u32 reason;       /* enum osh_kernel_reason */
	__u16 dst_port_host;
	__u8 ip_protocol;   /* IPPROTO_*; for OSH_KERNEL_SOCKET_TYPE what was asked for */
	__u8 family;        /* AF_* */
	__u32 sock_type;    /* SOCK_*; only for OSH_KERNEL_SOCKET_TYPE */
	__u32 pad;
	__u64 cookie;       /* of struct osh_flow; only for OSH_KERNEL_SHARED_FLOW */
};
_Static_assert(sizeof(struct osh_event) == 64, "ring record: no holes");

/* Ring record of OSH_KERNEL_UNIX_SOCKET: with the name that the refused socket is bound to, whatever it
 * is called where it was dialled. An abstract one begins with a NUL byte. NUL padded. */
struct osh_unix_event {
	struct osh_event event;
	char name[OSH_UNIX_NAME_MAX];
};

/* counters map (per CPU): indexes. */
enum osh_counter {
	OSH_COUNT_EXEC,
	OSH_COUNT_EXEC_NO_IDENTITY,
	OSH_COUNT_CONNECT_REDIRECTED,
	OSH_COUNT_CONNECT_DENIED,
	OSH_COUNT_CONNECT_LOCAL,
	OSH_COUNT_DNS_REDIRECTED,
	OSH_COUNT_SOCKET_REFUSED,
	OSH_COUNT_EVENT_LOST,      /* ring full: a refusal without a record */
	OSH_COUNT_FLOW_LOST,       /* flows map full: the flow is refused by the proxy */
	OSH_COUNT_TASK_LOST,       /* tasks map full, or the sandbox's share of it used up: the process has no identity */
	OSH_COUNT_PACKET_DROPPED,
	OSH_COUNTER_COUNT,
};

#endif
