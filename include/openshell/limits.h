/* Every bound that two parts of openshell must agree on, in one place.
 * Included by BPF code too: only preprocessor constants. */
#ifndef OPENSHELL_LIMITS_H
#define OPENSHELL_LIMITS_H

#define OSH_NAME_MAX 64       /* sandbox and provider names, NUL included: [a-z0-9][a-z0-9-]{0,62} */
#define OSH_PATH_MAX 256      /* an executable's path as identity, NUL included; longer means no identity */
#define OSH_HOST_MAX 256      /* a DNS name in text form (RFC 1035: 253), NUL included */
#define OSH_UNIX_NAME_MAX 112 /* what a Unix socket is bound to (sun_path of unix(7): 108), NUL included */
#define OSH_LINEAGE_MAX 64    /* ancestors of a task; deeper means no identity */
#define OSH_PATH_DEPTH_MAX 48 /* directories in an executable's path */

#define OSH_IDENTITIES_MAX 65536           /* all sandboxes together */
#define OSH_IDENTITIES_PER_SANDBOX_MAX 4096
#define OSH_TASKS_MAX 32768                /* processes in all sandboxes; more have no identity */
/* As many as identities, an eighth of the table: seven forking without end leave the others room. */
#define OSH_TASKS_PER_SANDBOX_MAX 4096
#define OSH_SANDBOXES_MAX 1024
#define OSH_ATTACH_LEVEL_MAX 24            /* how deep a cgroup that is attached to may lie */
#define OSH_FLOWS_MAX 65536
#define OSH_DENIALS_MAX 65536
#define OSH_REACHABLE_MAX 262144
#define OSH_UNIX_SOCKETS_MAX 4096          /* named by the policies of attached cgroups */
#define OSH_LEASES_MAX 131072
#define OSH_LEASES_PER_SANDBOX_MAX 8192
/* Names that a sandbox may have asked of the host's DNS servers for the first time: a name carries what its labels
 * say. So many a second, and so many at once after a while without. */
#define OSH_NEW_NAMES_PER_SECOND 50
#define OSH_NEW_NAMES_BURST 500
#define OSH_EVENT_RING_BYTES (4u << 20)
#define OSH_WORKERS_MAX 8                  /* threads of the proxy */
#define OSH_WORKER_RING_SLOTS 1024         /* verdicts of one that wait for the agent; older ones are lost */
/* How often each processor wakes the agent for refusals: waking costs more than refusing. */
#define OSH_EVENT_WAKE_MS 1

/* The sandbox's private network. 198.18.0.0/15 (RFC 2544) never routes on the
 * internet; fd6f:7368::/96 (RFC 4193) carries the same 32 bits for IPv6. */
#define OSH_SYNTH_PREFIX 0xc6120000u  /* 198.18.0.0, host order */
#define OSH_SYNTH_MASK 0xfffe0000u    /* /15 */
#define OSH_SYNTH_FIRST 0xc6120010u   /* the first address given to a name */
#define OSH_SYNTH_LAST 0xc613fffeu
#define OSH_GATEWAY 0xc6120001u       /* 198.18.0.1: on lo; the agent listens here */
#define OSH_GATEWAY_LAST 0xc612000fu  /* attached cgroups that share a network get one of those between */
#define OSH_SYNTH6_WORD0 0xfd6f7368u  /* first 32 bits of fd6f:7368::/96, host order; words 1 and 2 are 0 */

/* Both are below ip_unprivileged_port_start, so a sandbox can never squat on them. */
#define OSH_REDIRECT_PORT 1
#define OSH_DNS_PORT 53

/* Where a Node that gets SIGUSR1 opens its inspector, which runs any code sent to it under Node's
 * name (node(1), --inspect-port). */
#define OSH_INSPECTOR_PORT 9229

/* Users without an account, far above what useradd, systemd and container runtimes
 * hand out (systemd's UIDS-GIDS: 1879048192 and up is unused). */
#define OSH_PROXY_UID 0x77fffffeu
#define OSH_SANDBOX_UID_FIRST 0x78000000u /* + low 24 bits of the cgroup id */

/* Copies into a sandbox arrive in this directory of /sandbox or /tmp: there the agent finds what was ended in
 * the middle. */
#define OSH_COPY_DIR ".openshell-cp"

#define OSH_POLICY_BYTES_MAX (1u << 20)
#define OSH_POLICY_DEPTH_MAX 32
#define OSH_POLICY_ERRORS_MAX 20

#endif
