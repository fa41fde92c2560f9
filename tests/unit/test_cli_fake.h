/* An agent to test the CLI against, in one process without privileges: it speaks
 * the interface over a socket of its own, runs "sandboxed" programs on the host,
 * and writes down what it was asked. What it answers is chosen by names:
 *
 *   sandbox "demo", "other" exist; "gone" does not; creating "taken" is Exists
 *   policy text containing "bad": PolicyInvalid; "slow": Timeout; "mute": no answer
 *
 * Included by tests, and compiled alone with -DFAKE_MAIN to look at the CLI by hand. */
#ifndef OSH_TEST_CLI_FAKE_H
#define OSH_TEST_CLI_FAKE_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "control/wire.h"
#include "openshell/verdict.h"
#include "verdict/journal.h"
#include "verdict/ring.h"

#define FAKE_CLIENTS 16
#define FAKE_NAMES 32

struct fake_client {
	struct osh_wire wire;
	bool used;
	pid_t program; /* of a SandboxExec under way, 0: none */
	char temporary[OSH_NAME_MAX]; /* a sandbox that goes with the connection */
};

struct fake {
	char dir[64];
	int listener, signals;
	FILE *calls; /* DIR/calls: one "METHOD parameters" a line */
	struct fake_client clients[FAKE_CLIENTS];
	char names[FAKE_NAMES][OSH_NAME_MAX];
	struct osh_ring_writer *ring;
	struct osh_journal *journal;
	uint64_t next_id;
};

static inline void fake_add_name(struct fake *fake, const char *name)
{
	for (int i = 0; i < FAKE_NAMES; i++) {
		if (!fake->names[i][0]) {
			snprintf(fake->names[i], sizeof(fake->names[i]), "%s", name);
			return;
		}
	}
}

static inline char *fake_find_name(struct fake *fake, const char *name)
{
	for (int i = 0; i < FAKE_NAMES; i++) {
		if (fake->names[i][0] && name && strcmp(fake->names[i], name) == 0)
			return fake->names[i];
	}
	return NULL;
}

/* ---- Verdicts ------------------------------------------------------------------------ */

static inline struct osh_verdict fake_verdict(struct fake *fake, const char *sandbox,
					      enum osh_verdict_decision decision)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (struct osh_verdict){
		.id = fake->next_id++,
		.time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
		.sandbox_id = 77,
		.decision = decision,
		.engine = OSH_ENGINE_L7,
		.revision = 1,
		.pid = 4242,
		.rule_line = 17,
		.status = decision == OSH_VERDICT_DENY ? 403 : 200,
		.dst_port_host = 443,
		.sandbox = sandbox,
		.binary = "/usr/bin/curl",
		.lineage = "/bin/bash <- /usr/lib/openshell-init",
		.host = "api.github.com",
		.protocol = "rest",
		.method = decision == OSH_VERDICT_DENY ? "PUT" : "GET",
		.target = "/repos/acme/widgets/contents/hello_world.py",
		.policy = "github_rest_api",
		.reason =
			decision == OSH_VERDICT_DENY ?
				"PUT /repos/acme/widgets/contents/hello_world.py not permitted by policy" :
				NULL,
	};
}

static inline void fake_publish(struct fake *fake, const struct osh_verdict *verdict)
{
	osh_ring_publish(fake->ring, verdict);
	osh_ring_flush(fake->ring);
}

/* Three in the journal (the last in the ring too), and one that is not on disk yet. */
static inline void fake_fill(struct fake *fake)
{
	struct osh_verdict verdict = fake_verdict(fake, "demo", OSH_VERDICT_ALLOW);

	if (verdict.id == 1)
		verdict.time_ns -= 3600ull * 1000000000u; /* an old one, once */
	osh_journal_append(fake->journal, &verdict);
	verdict = fake_verdict(fake, "other", OSH_VERDICT_DENY);
	osh_journal_append(fake->journal, &verdict);
	verdict = fake_verdict(fake, "demo", OSH_VERDICT_DENY);
	osh_journal_append(fake->journal, &verdict);
	osh_journal_flush(fake->journal);
	fake_publish(fake, &verdict);
	verdict = fake_verdict(fake, "demo", OSH_VERDICT_ALLOW);
	verdict.target = "/evil\x1b]0;title\x07/\xe2\x80\xae/\xe4\xb8\xad\xe6\x96\x87";
	fake_publish(fake, &verdict);
}

/* ---- Answers ---------------------------------------------------------------------------- */

static inline void fake_reply(struct fake_client *client, json_t *parameters, bool continues,
			      const int *fds, size_t fd_count)
{
	json_t *reply = json_pack("{s:o}", "parameters", parameters ? parameters : json_object());

	if (continues)
		json_object_set_new(reply, "continues", json_true());
	osh_wire_queue(&client->wire, reply, fds, fd_count);
	osh_wire_flush(&client->wire);
	json_decref(reply);
}

static inline void fake_error(struct fake_client *client, const char *error, json_t *parameters)
{
	json_t *reply = json_pack("{s:s++, s:o}", "error", OSH_WIRE_INTERFACE, ".", error,
				  "parameters", parameters);

	osh_wire_queue(&client->wire, reply, NULL, 0);
	osh_wire_flush(&client->wire);
	json_decref(reply);
}

static inline void fake_refuse(struct fake_client *client, const char *error, const char *message)
{
	fake_error(client, error, json_pack("{s:s}", "message", message));
}

static inline json_t *fake_sandbox(const char *name)
{
	return json_pack("{s:s, s:s, s:I, s:i, s:i, s:i, s:b, s:[s], s:i, s:s, s:b, s:i, s:i, s:i}",
			 "name", name, "state", "running", "created", (json_int_t)time(NULL) - 125,
			 "id", 77, "uid", 2013265997, "pid", 4000, "keep", 1, "providers",
			 "my-github", "revision", 1, "policy_hash", "0123456789abcdef",
			 "permissive", strcmp(name, "loose") == 0, "allowed",
			 12, "audited", 0, "denied", 3);
}

static inline json_t *fake_list(struct fake *fake)
{
	json_t *list = json_array();

	for (int i = 0; i < FAKE_NAMES; i++) {
		if (fake->names[i][0])
			json_array_append_new(list, fake_sandbox(fake->names[i]));
	}
	return json_pack("{s:o}", "sandboxes", list);
}

static inline void fake_create(struct fake *fake, struct fake_client *client, json_t *parameters)
{
	const char *name = json_string_value(json_object_get(parameters, "name"));
	json_t *warning = json_pack("{s:s, s:i, s:i, s:s}", "level", "warning", "line", 0, "column",
				    0, "message", "landlock: /nonexistent is left out");

	if (!name)
		name = "calm-otter";
	if (strcmp(name, "taken") == 0) {
		json_decref(warning);
		fake_refuse(client, "Exists", "sandbox taken exists already");
		return;
	}
	fake_add_name(fake, name);
	if (!json_is_true(json_object_get(parameters, "keep")))
		snprintf(client->temporary, sizeof(client->temporary), "%s", name);
	fake_reply(client,
		   json_pack("{s:o, s:[o]}", "sandbox", fake_sandbox(name), "warnings", warning),
		   false, NULL, 0);
}

static inline void fake_policy_set(struct fake *fake, struct fake_client *client,
				   const struct osh_wire_message *message)
{
	_cleanup_free_ char *text = NULL;
	size_t len;

	(void)fake;
	if (message->fd_count != 1 ||
	    osh_memfd_read(message->fds[0], OSH_POLICY_BYTES_MAX, &text, &len) < 0)
		fake_refuse(client, "Invalid", "no policy is attached");
	else if (strstr(text, "bad"))
		fake_error(client, "PolicyInvalid",
			   json_pack("{s:s, s:[{s:s, s:i, s:i, s:s}]}", "message",
				     "the policy has 1 error", "diagnostics", "level", "error",
				     "line", 3, "column", 5, "message", "unknown key 'bad\x1b'"));
	else if (strstr(text, "slow"))
		fake_refuse(client, "Timeout", "not every worker has the policy after 1 s");
	else if (!strstr(text, "mute"))
		fake_reply(client, json_pack("{s:i, s:s, s:[]}", "revision", 2, "policy_hash",
					     "feedfacecafe0123", "warnings"), false, NULL, 0);
}

static inline void fake_history(struct fake *fake, struct fake_client *client)
{
	int fds[OSH_FDS_MAX];
	int count = osh_journal_reader_fds(fake->journal, fds, OSH_FDS_MAX);

	fake_reply(client, NULL, false, fds, count > 0 ? (size_t)count : 0);
	for (int i = 0; i < count; i++)
		osh_close(fds[i]);
}

static inline void fake_ring(struct fake *fake, struct fake_client *client)
{
	int fd = osh_ring_reader_fd(fake->ring);

	fake_reply(client, NULL, false, &fd, 1);
	osh_close(fd);
}

/* ---- Programs ---------------------------------------------------------------------------- */

static inline void fake_exec_child(json_t *parameters, const int *fds, const char *dir)
{
	char *argv[64] = { 0 };
	json_t *item;
	size_t i;

	json_array_foreach(json_object_get(parameters, "argv"), i, item)
		argv[i] = (char *)json_string_value(item);
	json_array_foreach(json_object_get(parameters, "env"), i, item)
		putenv((char *)json_string_value(item));
	for (int k = 0; fds && k < 3; k++)
		dup2(fds[k], k);
	signal(SIGPIPE, SIG_DFL);
	if (chdir(dir) == 0)
		execvp(argv[0], argv);
	_exit(127);
}

static inline void fake_exec(struct fake *fake, struct fake_client *client,
			     const struct osh_wire_message *message, json_t *parameters)
{
	const char *program =
		json_string_value(json_array_get(json_object_get(parameters, "argv"), 0));
	bool tty = json_is_true(json_object_get(parameters, "tty"));
	struct winsize size = {
		.ws_row = (unsigned short)json_integer_value(json_object_get(parameters, "rows")),
		.ws_col =
			(unsigned short)json_integer_value(json_object_get(parameters, "columns")),
	};
	int master = -1;
	sigset_t none;

	if (strcmp(program, "no-such-program") == 0) {
		fake_refuse(client, "Failed", "no such command: no-such-program");
		return;
	}
	if (!tty && message->fd_count != 3) {
		fake_refuse(client, "Invalid", "three descriptors are needed");
		return;
	}
	client->program = tty ? forkpty(&master, NULL, NULL, &size) : fork();
	if (client->program == 0) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		fake_exec_child(parameters, tty ? NULL : message->fds, fake->dir);
	}
	/* The real one has a pipe for what the program writes; the pty itself can be read too. */
	if (tty)
		osh_set_nonblocking(master);
	fake_reply(client, json_pack("{s:i}", "pid", (int)client->program), true,
		   (int[]){ master, master }, tty ? 2 : 0);
	osh_close(master);
}

static inline void fake_reap(struct fake *fake)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(fake->signals, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);

		for (int i = 0; i < FAKE_CLIENTS; i++) {
			if (fake->clients[i].used && fake->clients[i].program == pid) {
				fake->clients[i].program = 0;
				/* The kernel's own, when it was quicker than we are to see the end
				 * of the connection. */
				if (code == 128 + SIGHUP)
					fprintf(fake->calls, "hangup\n");
				fflush(fake->calls);
				fake_reply(&fake->clients[i], json_pack("{s:i}", "status", code),
					   false, NULL, 0);
			}
		}
	}
}

/* ---- Calls ------------------------------------------------------------------------------- */

static inline void fake_note(struct fake *fake, const char *method, json_t *parameters)
{
	char *text = json_dumps(parameters, JSON_COMPACT | JSON_SORT_KEYS);

	fprintf(fake->calls, "%s %s\n", method, text);
	fflush(fake->calls);
	free(text);
}

static inline void fake_provider(struct fake *fake, struct fake_client *client,
				 const struct osh_wire_message *message)
{
	char secret[256] = "";
	ssize_t len = message->fd_count ? read(message->fds[0], secret, sizeof(secret) - 1) : -1;

	fprintf(fake->calls, "secret %zd %s\n", len, secret);
	fflush(fake->calls);
	fake_reply(client, NULL, false, NULL, 0);
}

static inline bool fake_needs_sandbox(const char *method)
{
	static const char *const methods[] = { "SandboxGet", "SandboxDelete", "SandboxExec",
					       "PolicySet", "PolicyGet" };

	for (size_t i = 0; i < OSH_COUNT_OF(methods); i++) {
		if (strcmp(method, methods[i]) == 0)
			return true;
	}
	return false;
}

static inline void fake_call(struct fake *fake, struct fake_client *client,
			     struct osh_wire_message *message)
{
	const char *method = json_string_value(json_object_get(message->json, "method"));
	json_t *parameters = json_object_get(message->json, "parameters");
	const char *name = json_string_value(json_object_get(parameters, "name"));
	char *found = fake_find_name(fake, name), text[128];

	method += strlen(OSH_WIRE_INTERFACE) + 1;
	fake_note(fake, method, parameters);
	if (fake_needs_sandbox(method) && !found) {
		snprintf(text, sizeof(text), "sandbox '%s' does not exist", name);
		fake_refuse(client, "NotFound", text);
	} else if (strcmp(method, "SandboxList") == 0) {
		fake_reply(client, fake_list(fake), false, NULL, 0);
	} else if (strcmp(method, "SandboxGet") == 0) {
		fake_reply(client, json_pack("{s:o}", "sandbox", fake_sandbox(name)), false, NULL,
			   0);
	} else if (strcmp(method, "SandboxCreate") == 0) {
		fake_create(fake, client, parameters);
	} else if (strcmp(method, "SandboxDelete") == 0) {
		memset(found, 0, OSH_NAME_MAX);
		fake_reply(client, NULL, false, NULL, 0);
	} else if (strcmp(method, "SandboxExec") == 0) {
		fake_exec(fake, client, message, parameters);
	} else if (strcmp(method, "PolicySet") == 0) {
		fake_policy_set(fake, client, message);
	} else if (strcmp(method, "PolicyGet") == 0) {
		fake_reply(client,
			   json_pack("{s:s, s:i, s:s}", "policy", "version: 1\n# caf\xc3\xa9\n",
				     "revision", 1, "policy_hash", "0123"),
			   false, NULL, 0);
	} else if (strcmp(method, "ProviderCreate") == 0) {
		fake_provider(fake, client, message);
	} else if (strcmp(method, "ProviderList") == 0) {
		fake_reply(client,
			   json_pack("{s:[{s:s, s:s, s:i, s:[s,s]}]}", "providers", "name",
				     "my-github", "type", "github", "created", 1700000000,
				     "variables", "GITHUB_TOKEN", "GH_TOKEN"),
			   false, NULL, 0);
	} else if (strcmp(method, "ProviderDelete") == 0) {
		fake_refuse(client, "NotFound", "provider 'x' does not exist");
	} else if (strcmp(method, "Status") == 0) {
		fake_reply(client,
			   json_pack("{s:s, s:i, s:i, s:s, s:s, s:i, s:i, s:i, s:i,"
				     " s:[{s:s, s:b, s:s}, {s:s, s:b, s:n}], s:{s:i}, s:i, s:i, s:i}",
				     "version", "0.1.0", "pid", 100, "started", 1700000000,
				     "state_dir", "/var/lib/openshell", "run_dir", "/run/openshell",
				     "proxy_pid", 101, "proxy_restarts", 0, "workers", 2,
				     "sandboxes", 2, "features", "name", "connect_unix hooks",
				     "present", 0, "fallback", "hidden by the mount namespace",
				     "name", "ring buffer", "present", 1, "fallback", "counters",
				     "exec", 5, "verdicts_lost", 0, "journal_dropped", 0,
				     "journal_first", 1),
			   false, NULL, 0);
	} else if (strcmp(method, "VerdictRing") == 0) {
		fake_ring(fake, client);
	} else if (strcmp(method, "VerdictHistory") == 0) {
		fake_history(fake, client);
	}
}

static inline void fake_drop(struct fake *fake, struct fake_client *client)
{
	char *temporary = fake_find_name(fake, client->temporary);

	if (temporary) {
		memset(temporary, 0, OSH_NAME_MAX);
		fprintf(fake->calls, "dropped %s\n", client->temporary);
	}
	if (client->program) {
		fprintf(fake->calls, "hangup\n");
		kill(client->program, SIGHUP);
	}
	fflush(fake->calls);
	osh_wire_done(&client->wire);
	*client = (struct fake_client){ 0 };
}

static inline void fake_read(struct fake *fake, struct fake_client *client)
{
	struct osh_wire_message message;
	int r;

	while ((r = osh_wire_fill(&client->wire)) == 0) {
		while (osh_wire_take(&client->wire, &message) == 1) {
			fake_call(fake, client, &message);
			osh_wire_message_done(&message);
		}
	}
	if (r != -EAGAIN)
		fake_drop(fake, client);
}

static inline void fake_accept(struct fake *fake)
{
	int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);

	for (int i = 0; fd >= 0 && i < FAKE_CLIENTS; i++) {
		if (!fake->clients[i].used) {
			fake->clients[i].used = true;
			osh_wire_init(&fake->clients[i].wire, fd);
			return;
		}
	}
	osh_close(fd);
}

/* One round of the loop. */
static inline void fake_step(struct fake *fake, int timeout_ms)
{
	struct pollfd fds[FAKE_CLIENTS + 2] = {
		[FAKE_CLIENTS] = { .fd = fake->listener, .events = POLLIN },
		[FAKE_CLIENTS + 1] = { .fd = fake->signals, .events = POLLIN },
	};

	for (int i = 0; i < FAKE_CLIENTS; i++)
		fds[i] = (struct pollfd){ .fd = fake->clients[i].used ? fake->clients[i].wire.fd :
									-1,
					  .events = POLLIN };
	if (poll(fds, FAKE_CLIENTS + 2, timeout_ms) <= 0)
		return;
	if (fds[FAKE_CLIENTS + 1].revents)
		fake_reap(fake);
	for (int i = 0; i < FAKE_CLIENTS; i++) {
		if (fds[i].revents && fake->clients[i].used)
			fake_read(fake, &fake->clients[i]);
	}
	if (fds[FAKE_CLIENTS].revents)
		fake_accept(fake);
}

static inline int fake_open(struct fake *fake, const char *dir)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char path[128];
	sigset_t mask;

	*fake = (struct fake){ .next_id = 1 };
	snprintf(fake->dir, sizeof(fake->dir), "%s", dir);
	snprintf(path, sizeof(path), "%s/calls", dir);
	fake->calls = fopen(path, "ae");
	snprintf(path, sizeof(path), "%s/journal", dir);
	if (!fake->calls || osh_journal_open(path, &fake->journal) < 0 ||
	    osh_ring_create("fake", 1024, &fake->ring) < 0)
		return -1;
	fake->next_id = osh_journal_next_id(fake->journal);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	fake->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	/* Under its name once it listens: who sees it calls. */
	snprintf(path, sizeof(path), "%s/openshell.sock", dir);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/new.sock", dir);
	unlink(address.sun_path);
	fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fake_add_name(fake, "demo");
	fake_add_name(fake, "other");
	return bind(fake->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	       listen(fake->listener, 8) < 0 || rename(address.sun_path, path) < 0 ? -1 : 0;
}

#ifdef FAKE_MAIN
/* FAKE DIR [VERDICTS-PER-SECOND]: until killed. */
int main(int argc, char **argv)
{
	uint64_t rate = 0;
	struct fake fake;

	if (argc > 2 && osh_str_parse_u64(osh_str(argv[2]), 1000, &rate) < 0)
		return 2;

	if (argc < 2 || fake_open(&fake, argv[1]) < 0)
		return 1;
	fake_fill(&fake);
	for (unsigned n = 0;; n++) {
		fake_step(&fake, rate ? (int)(1000 / rate) : -1);
		if (rate) {
			struct osh_verdict verdict =
				fake_verdict(&fake, n % 3 ? "demo" : "other",
					     n % 4 ? OSH_VERDICT_ALLOW : OSH_VERDICT_DENY);

			if (n % 7 == 5)
				verdict.target =
					"/evil\x1b]0;title\x07/\xe2\x80\xae/\xe4\xb8\xad\xe6\x96\x87/"
					"\xe4\xb8\xad\xe6\x96\x87\xe4\xb8\xad\xe6\x96\x87/a-rather-long-path"
					"/that/goes/on/and/on/and/on/until/it/has/to/be/cut/or/wrapped";

			osh_journal_append(fake.journal, &verdict);
			osh_journal_flush(fake.journal);
			fake_publish(&fake, &verdict);
		}
	}
}
#endif

#endif
