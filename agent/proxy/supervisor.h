/* The agent's side of the proxy process: start it, hand it sandboxes, policies
 * and secrets, collect its verdicts, start it again when it dies (the listeners
 * stay open here meanwhile, so connections wait and nothing is let through). */
#ifndef OSH_PROXY_SUPERVISOR_H
#define OSH_PROXY_SUPERVISOR_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"
#include "credential/vault.h"
#include "kernel/kernel.h"
#include "openshell/verdict.h"
#include "openshell/sockets.h"
#include "policy/policy.h"
#include "proxy/via.h"

struct osh_supervisor;

/* What a worker of the proxy wants to know of an executable. */
struct osh_question_about {
	uint32_t worker;   /* who asks */
	uint32_t identity; /* of the kernel */
	uint32_t pid;      /* asks for `clean`, of what this process runs now; 0: for `trust` */
	uint32_t pad;
	uint64_t cookie;   /* for `clean`: of the connection */
};

/* Where the verdicts of the workers go: each ring's in its order, and so that of what a killed
 * agent had taken the next one knows what is written down. */
struct osh_verdict_hook {
	/* The record of this worker's ring that comes first. */
	uint64_t (*position)(void *context, unsigned worker);
	/* Those that follow have the positions from this one on, one after the other. */
	void (*on_taking)(void *context, unsigned worker, uint64_t position);
	void (*on_verdict)(void *context, const struct osh_verdict *verdict);
	/* That was all, up to before `position`: to be written down before this returns. */
	void (*on_taken)(void *context, unsigned worker, uint64_t position);
	/* Records that were overwritten, or torn by the writer's death, before the agent read them. */
	void (*on_lost)(void *context, uint64_t lost);
	void *context;
};

struct osh_supervisor_options {
	struct osh_loop *loop;
	const char *pin_dir;             /* of the kernel half: the rings are there */
	const struct osh_maps *maps;     /* borrowed for the life of the supervisor */
	const char *upstream_ca;         /* PEM file added to the system store; NULL none */
	const char *const *dns_servers;  /* NULL-terminated "addr" or "addr:port"; NULL: /etc/resolv.conf */
	struct osh_via_settings via;     /* the proxy before the internet, without its credential, */
	const char *via_credential;      /* ... which is in this file; NULL: none */
	unsigned workers;                /* 0: one per processor */
	struct osh_verdict_hook verdicts;
	/* A worker wants to know of an executable. Each question is answered by one call of
	 * osh_supervisor_answer, at once or later. */
	void (*on_question)(void *context, uint64_t sandbox, const struct osh_question_about *about);
	void *context;                   /* of on_question */
};

/* Ready to be told of sandboxes; no proxy runs yet. Waits for the end of a proxy whose agent was
 * killed. The strings of the options are not kept. */
int osh_supervisor_open(const struct osh_supervisor_options *options,
			struct osh_supervisor **ret_supervisor, struct osh_err *err);
/* Take in the verdicts that an agent before left, then start the proxy. Once. */
int osh_supervisor_start(struct osh_supervisor *supervisor, struct osh_err *err);
/* Instead: take them in and start nothing. That there are none is no error. */
int osh_supervisor_sweep(const char *pin_dir, const struct osh_verdict_hook *hook, struct osh_err *err);
/* End the proxy (SIGTERM, then SIGKILL) and free. */
void osh_supervisor_stop(struct osh_supervisor *supervisor);
pid_t osh_supervisor_pid(const struct osh_supervisor *supervisor);
unsigned osh_supervisor_restarts(const struct osh_supervisor *supervisor);
unsigned osh_supervisor_workers(const struct osh_supervisor *supervisor);

struct osh_supervised_sandbox {
	uint64_t id;                     /* cgroup id */
	const char *name;
	struct osh_sandbox_sockets sockets; /* taken over by the supervisor */
	const char *ca_pem;              /* certificate and key of the sandbox's CA, PEM */
	const char *ca_key_pem;
	bool is_new;                     /* the kernel's maps hold nothing of it yet */
	bool host_net;                   /* its loopback is ours */
};

/* Result of an asynchronous request: 0, or -errno (-ETIMEDOUT never: the caller
 * has its own clock; -ECANCELED when the sandbox was removed meanwhile). Not called
 * when the proxy dies and is replaced: the new one gets everything again and then
 * answers. */
typedef void osh_supervisor_done_fn(void *context, int result);

/* Until a sandbox has a policy its connections wait, unanswered. */
int osh_supervisor_sandbox_add(struct osh_supervisor *supervisor,
			       const struct osh_supervised_sandbox *sandbox, struct osh_err *err);
void osh_supervisor_sandbox_remove(struct osh_supervisor *supervisor, uint64_t sandbox);
/* Publish a compiled snapshot (copied into a sealed memfd). `done` runs when every
 * worker enforces it and its live flows were judged again. A later call for the same
 * sandbox supersedes a pending one, whose done still runs. */
int osh_supervisor_policy_set(struct osh_supervisor *supervisor, uint64_t sandbox,
			      uint32_t generation, const void *image, size_t len,
			      osh_supervisor_done_fn *done, void *context, struct osh_err *err);
/* Give up waiting (the caller's deadline passed): `done` will not run. */
void osh_supervisor_abandon(struct osh_supervisor *supervisor, void *context);
int osh_supervisor_vault_set(struct osh_supervisor *supervisor, uint64_t sandbox,
			     const struct osh_vault *vault, struct osh_err *err);

/* End the connection with this cookie (struct osh_flow), if it is still there. */
void osh_supervisor_flow_end(struct osh_supervisor *supervisor, uint64_t sandbox, uint64_t cookie);

/* This host has it no more: connections to servers that were made from it, or are being made, are ended. */
void osh_supervisor_address_gone(struct osh_supervisor *supervisor, const struct in6_addr *address);

/* Of `facts` what was asked for: `clean` when about->pid is set, else the others. */
void osh_supervisor_answer(struct osh_supervisor *supervisor, uint64_t sandbox,
			   const struct osh_question_about *about, const struct osh_exe_facts *facts);

/* Entry point of `openshelld proxy`: never returns before its work ends. The channel is
 * descriptor 3. Returns an exit status. */
int osh_proxy_main(void);

#endif
