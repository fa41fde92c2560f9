/* The proxy as a process of its own: started, confined, told its work, killed and replaced
 * by the supervisor. What it may call is tried by letting it work. */
#include "proxy_late.h"

#include <sys/prctl.h>

#include "base/loop.h"
#include "proxy/supervisor.h"

static const char policy[] =
	"version: 1\n"
	"network_policies:\n"
	"  ok_api:\n"
	"    name: ok_api\n"
	"    endpoints:\n"
	"      - host: ok.test\n"
	"        ports: [443, 80]\n"
	"        protocol: rest\n"
	"        enforcement: enforce\n"
	"        access: read-only\n"
	"      - {host: l4.test, port: 5432}\n"
	"    binaries:\n"
	"      - {path: /usr/bin/curl}\n";

/* The supervisor starts /proc/self/exe as `openshelld proxy`: that is this program. */
__attribute__((constructor)) static void be_the_proxy(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[0], "openshelld") == 0 && strcmp(argv[1], "proxy") == 0)
		_exit(osh_proxy_main());
}

static struct osh_loop *loop;
static struct osh_supervisor *supervisor;
static unsigned verdicts, allowed, in_force;
static char ca_path[] = "/tmp/oshp-ca-XXXXXX";

static void on_verdict(void *context, const struct osh_verdict *verdict)
{
	(void)context;
	verdicts++;
	allowed += verdict->decision == OSH_VERDICT_ALLOW;
}

static void on_lost(void *context, uint64_t lost)
{
	(void)context;
	cr_expect(false, "%lu verdicts lost", (unsigned long)lost);
}

static void on_question(void *context, uint64_t sandbox, const struct osh_question_about *about)
{
	struct osh_exe_facts facts = { .trust = OSH_TRUST_SAME, .clean = OSH_CLEAN_YES };

	(void)context;
	osh_supervisor_answer(supervisor, sandbox, about, &facts);
}

/* Memory that outlives a proxy, as the kernel half makes it. */
int osh_kernel_memory(const char *pin_dir, const char *name, size_t bytes, bool may_make, int *ret_fd)
{
	(void)pin_dir;
	if (!may_make)
		return -ENOENT;
	*ret_fd = memfd_create(name, MFD_CLOEXEC);
	cr_assert(*ret_fd >= 0 && ftruncate(*ret_fd, (off_t)bytes) == 0);
	return 1;
}

int osh_kernel_memory_lock(const char *pin_dir)
{
	(void)pin_dir;
	return memfd_create("lock", MFD_CLOEXEC);
}

/* How far each worker's ring is written down. */
static uint64_t positions[OSH_WORKERS_MAX];

static uint64_t position_of(void *context, unsigned worker)
{
	(void)context;
	return positions[worker];
}

static void on_taking(void *context, unsigned worker, uint64_t position)
{
	(void)context;
	cr_expect(position == positions[worker], "worker %u: %lu is skipped", worker, (unsigned long)position);
}

static void on_taken(void *context, unsigned worker, uint64_t position)
{
	(void)context;
	positions[worker] = position;
}

static void on_policy(void *context, int result)
{
	(void)context;
	cr_expect(result == 0);
	in_force++;
}

/* Run the agent's loop until *counter reaches `want`. */
static void await(const unsigned *counter, unsigned want)
{
	uint64_t end_ms = osh_loop_now_ms(loop) + WORLD_PATIENCE_MS;

	while (*counter < want && osh_loop_now_ms(loop) < end_ms)
		cr_assert(osh_loop_run_once(loop, 100) == 0);
	cr_assert(*counter >= want, "%u of %u in time", *counter, want);
}

static void put_policy(void)
{
	struct osh_policy_compile_options options = { .revision = 1 };
	struct osh_diags *diags = calloc(1, sizeof(*diags));
	struct osh_policy_doc *doc = NULL;
	unsigned want = in_force + 1;
	struct osh_err err;
	void *image;
	size_t len;

	cr_assert(osh_policy_parse(osh_str(policy), diags, &doc) == 0);
	cr_assert(osh_policy_compile(doc, &options, &image, &len) == 0);
	cr_assert(osh_supervisor_policy_set(supervisor, WORLD_SANDBOX, 1, image, len, on_policy, NULL,
					    &err) == 0, "%s", err.message);
	await(&in_force, want);
	osh_policy_doc_free(doc);
	free(image);
	free(diags);
}

static void serve_hello(struct peer *p, uint16_t port_host)
{
	(void)port_host;
	while (peer_await(p, "\r\n\r\n") > 0) {
		peer_consume(p, p->len);
		peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
	}
}

static void begin(void)
{
	struct osh_supervisor_options options = {
		.maps = &world.proxy.maps,
		.upstream_ca = ca_path,
		.workers = 2,
		.verdicts = { .position = position_of, .on_taking = on_taking, .on_verdict = on_verdict,
			      .on_taken = on_taken, .on_lost = on_lost },
		.on_question = on_question,
	};
	struct osh_supervised_sandbox sandbox = { .id = WORLD_SANDBOX, .name = "world" };
	struct osh_err err;
	int fd;

	world.script = serve_hello;
	world_prepare();
	fd = mkstemp(ca_path);
	cr_assert(osh_write_full(fd, world.world_ca.cert_pem, strlen(world.world_ca.cert_pem)) == 0);
	close(fd);
	loop = osh_loop_new();
	options.loop = loop;
	cr_assert(osh_supervisor_open(&options, &supervisor, &err) == 0, "%s", err.message);
	cr_assert(osh_supervisor_start(supervisor, &err) == 0, "%s", err.message);
	unlink(ca_path);
	open_sockets(&sandbox.sockets);
	sandbox.ca_pem = world.sandbox_ca.cert_pem;
	sandbox.ca_key_pem = world.sandbox_ca.key_pem;
	cr_assert(osh_supervisor_sandbox_add(supervisor, &sandbox, &err) == 0, "%s", err.message);
	put_policy();
}

static void end(void)
{
	osh_supervisor_stop(supervisor);
}

TestSuite(proxy_process, .init = begin, .fini = end, .timeout = 60);

static void expect_status(struct peer *p, const char *request, const char *status)
{
	static char answer[8192];

	cr_assert(peer_say(p, request));
	peer_response(p, answer, sizeof(answer));
	cr_expect(strncmp(answer + 9, status, 3) == 0, "wanted %s: %.900s", status, answer);
}

/* A proxy that was started anew asks the agent about the program: the loop runs in a thread
 * while this one is a client. */
static atomic_bool is_talking;

static void *run_meanwhile(void *unused)
{
	(void)unused;
	while (atomic_load(&is_talking))
		cr_assert(osh_loop_run_once(loop, 10) == 0);
	return NULL;
}

static void talk(void (*client)(void))
{
	pthread_t thread;

	atomic_store(&is_talking, true);
	cr_assert(pthread_create(&thread, NULL, run_meanwhile, NULL) == 0);
	client();
	atomic_store(&is_talking, false);
	pthread_join(thread, NULL);
}

static struct peer *held;

static void hold(void)
{
	held = dial_tls(WORLD_CURL, "ok.test");
	expect_status(held, "GET /a HTTP/1.1\r\nHost: ok.test\r\n\r\n", "200");
}

static void work_once(void)
{
	struct peer *p = dial_tls(WORLD_CURL, "ok.test");

	cr_assert(p->ssl, "TLS handshake");
	expect_status(p, "GET /a HTTP/1.1\r\nHost: ok.test\r\n\r\n", "200");
	expect_status(p, "PUT /a HTTP/1.1\r\nHost: ok.test\r\n\r\n", "403");
	hang_up(p);
}

static unsigned long status_field(pid_t pid, const char *name, int base)
{
	char path[64], *text, *at;
	unsigned long value;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	cr_assert(osh_read_file(path, 1 << 16, &text, &len) == 0);
	at = strstr(text, name);
	cr_assert(at, "%s", name);
	value = strtoul(at + strlen(name), NULL, base);
	free(text);
	return value;
}

Test(proxy_process, confined)
{
	static const char *const capabilities[] = { "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:" };
	pid_t pid = osh_supervisor_pid(supervisor);

	for (size_t i = 0; i < 5; i++)
		cr_expect(status_field(pid, capabilities[i], 16) == 0, "%s", capabilities[i]);
	cr_expect(status_field(pid, "\nUid:", 10) == OSH_PROXY_UID);
	cr_expect(status_field(pid, "\nGid:", 10) == OSH_PROXY_UID);
	cr_expect(status_field(pid, "NoNewPrivs:", 10) == 1);
	cr_expect(status_field(pid, "\nSeccomp:", 10) == 2);
	/* And it works. */
	talk(work_once);
	await(&verdicts, 2);
	cr_expect(allowed == 1);
}

Test(proxy_process, killed_and_replaced)
{
	unsigned char question[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0\2ok\4test\0\0\1\0\1", reply[512];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct timeval patience = { .tv_sec = 10 };
	pid_t before = osh_supervisor_pid(supervisor);
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	cr_assert(connect(fd, (struct sockaddr *)&world.dns, sizeof(world.dns)) == 0);
	talk(hold);
	kill(before, SIGKILL);
	cr_expect(peer_read(held) <= 0, "its flows end with it");
	while (osh_supervisor_restarts(supervisor) == 0 || osh_supervisor_pid(supervisor) == 0)
		cr_assert(osh_loop_run_once(loop, 100) == 0);
	cr_expect(osh_supervisor_pid(supervisor) != before);
	/* The next one knows everything again, the names included. */
	talk(work_once);
	cr_assert(send(fd, question, sizeof(question) - 1, 0) > 0);
	n = recv(fd, reply, sizeof(reply), 0);
	cr_expect(n > 0 && kernel->lease_count == 1, "the lease of old: %zd bytes, %zu leases", n,
		  kernel->lease_count);
	await(&verdicts, 3);
	hang_up(held);
	close(fd);
}

static void ask_for_late_server(void)
{
	held = dial_tls(WORLD_CURL, "ok.test");
	cr_assert(peer_say(held, "GET /late HTTP/1.1\r\nHost: ok.test\r\n\r\n"));
	sem_wait(&greeted);
}

/* What has gone out for a request is on record though the agent stops before its server answers. */
Test(proxy_process, stopped_while_a_server_is_dialled)
{
	init_late();
	be_late();
	talk(ask_for_late_server);
	cr_expect(verdicts == 0);
	osh_supervisor_stop(osh_take(supervisor));
	cr_expect(verdicts == 1 && allowed == 1, "%u, %u allowed", verdicts, allowed);
	cr_expect(peer_read(held) <= 0);
	sem_post(&may_greet);
	hang_up(held);
}

/* A policy that is waited for when the proxy dies is answered for by the next one. */
Test(proxy_process, policy_survives_a_death)
{
	unsigned want = in_force + 1;
	struct osh_policy_compile_options options = { .revision = 2 };
	struct osh_diags *diags = calloc(1, sizeof(*diags));
	struct osh_policy_doc *doc = NULL;
	struct osh_err err;
	void *image;
	size_t len;

	cr_assert(osh_policy_parse(osh_str("version: 1\n"), diags, &doc) == 0);
	cr_assert(osh_policy_compile(doc, &options, &image, &len) == 0);
	kill(osh_supervisor_pid(supervisor), SIGKILL);
	cr_assert(osh_supervisor_policy_set(supervisor, WORLD_SANDBOX, 2, image, len, on_policy, NULL,
					    &err) == 0);
	await(&in_force, want);
	{
		struct peer *p = dial_tls(WORLD_CURL, "ok.test");

		cr_assert(p->ssl);
		expect_status(p, "GET /a HTTP/1.1\r\nHost: ok.test\r\n\r\n", "403");
		hang_up(p);
	}
	osh_policy_doc_free(doc);
	free(image);
	free(diags);
}
