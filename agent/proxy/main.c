/* `openshelld proxy`: the data plane process. Drops everything it does not need
 * before it reads its first message, then turns messages into letters for its
 * workers until the agent closes the channel. */
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "proxy/confine.h"
#include "proxy/supervisor.h"
#include "proxy/tls.h"
#include "proxy/worker.h"

#define VAULT_BYTES_MAX (1u << 20)
#define CA_BYTES_MAX (64u << 10)
#define UPSTREAM_CA_BYTES_MAX (4u << 20)

static void close_all(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		osh_close(fds[i]);
}

static int take_via(struct osh_proxy *proxy, int fd)
{
	char *bytes = NULL;
	size_t len = 0;
	int r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : osh_read_fd(fd, OSH_VIA_BYTES_MAX, &bytes, &len);

	osh_close(fd);
	if (r == 0)
		r = osh_via_decode(osh_str_n(bytes, len), &proxy->via);
	if (bytes)
		osh_wipe(bytes, len);
	free(bytes);
	return r;
}

static int take_hello(struct osh_proxy *proxy, const struct osh_channel_message *message, int *fds,
		      size_t fd_count)
{
	_cleanup_free_ char *ca_text = NULL;
	size_t ca_len = 0;
	int r;

	if (fd_count != OSH_MAPS_COUNT + 3 || message->workers == 0 || message->workers > OSH_WORKERS_MAX)
		return -EBADMSG;
	proxy->maps = (struct osh_maps){
		.sandboxes = fds[0], .flows = fds[1],	  .identities = fds[2],
		.leases = fds[3],    .reachable = fds[4], .denials = fds[5],
	};
	proxy->agent_eventfd = fds[6];
	proxy->worker_count = message->workers;
	memcpy(proxy->dns_servers, message->dns_servers, sizeof(proxy->dns_servers));
	if (lseek(fds[7], 0, SEEK_SET) < 0 ||
	    osh_read_fd(fds[7], UPSTREAM_CA_BYTES_MAX, &ca_text, &ca_len) < 0)
		return -EBADMSG;
	osh_close(fds[7]);
	r = take_via(proxy, fds[8]);
	if (r < 0)
		return r;
	osh_log_init("openshelld proxy", (enum osh_log_level)message->log_level);
	return osh_tls_proxy_init(proxy, osh_str_n(ca_text, ca_len));
}

static int take_ring(struct osh_proxy *proxy, unsigned index, int fd)
{
	struct osh_ring_writer *ring;
	int r;

	if (index >= proxy->worker_count) {
		osh_close(fd);
		return -EBADMSG;
	}
	r = osh_ring_writer_open(fd, OSH_WORKER_RING_SLOTS, &ring);
	osh_close(fd);
	if (r < 0)
		return r;
	proxy->workers[index] = osh_worker_new(proxy, index, ring);
	return proxy->workers[index] ? 0 : -ENOMEM;
}

static int start_workers(struct osh_proxy *proxy)
{
	for (unsigned i = 0; i < proxy->worker_count; i++) {
		int r = proxy->workers[i] ? osh_worker_start(proxy->workers[i]) : -EBADMSG;

		if (r < 0)
			return r;
	}
	return 0;
}

/* One letter per worker, each with its own reference of what it carries. */
static int post_to_all(struct osh_proxy *proxy, const struct osh_letter *model)
{
	for (unsigned i = 0; i < proxy->worker_count; i++) {
		struct osh_letter *letter = calloc(1, sizeof(*letter));

		if (!letter)
			return -ENOMEM;
		*letter = *model;
		if (letter->tenant)
			osh_tenant_ref(letter->tenant);
		if (letter->snapshot)
			osh_snapshot_ref(letter->snapshot);
		if (letter->vault)
			osh_vault_box_ref(letter->vault);
		osh_worker_post(proxy->workers[i], letter);
	}
	return 0;
}

static int read_ca(int fd, struct osh_ca *ret_ca)
{
	char *text = NULL;
	size_t len, cert_len;
	int r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : osh_read_fd(fd, CA_BYTES_MAX, &text, &len);

	if (r < 0)
		return r;
	cert_len = strlen(text) + 1;
	r = cert_len < len ? osh_ca_load(text, text + cert_len, ret_ca) : -EBADMSG;
	osh_wipe(text, len);
	free(text);
	return r;
}

static int take_sandbox(struct osh_proxy *proxy, const struct osh_channel_message *message, int *fds,
			size_t fd_count)
{
	struct osh_letter letter = { .type = OSH_LETTER_ADD, .sandbox = message->sandbox };
	struct osh_tenant *tenant;
	int r;

	if (fd_count != OSH_SANDBOX_SOCKETS_COUNT + 1)
		return -EBADMSG;
	tenant = calloc(1, sizeof(*tenant));
	if (!tenant)
		return -ENOMEM;
	tenant->refs = 1;
	tenant->id = message->sandbox;
	tenant->is_new = message->is_new;
	tenant->host_net = message->host_net;
	memcpy(tenant->name, message->name, sizeof(tenant->name));
	tenant->sockets = (struct osh_sandbox_sockets){
		.tcp4 = fds[0],	    .tcp6 = fds[1],	.dns_udp4 = fds[2],
		.dns_udp6 = fds[3], .dns_tcp4 = fds[4], .dns_tcp6 = fds[5],
	};
	r = read_ca(fds[6], &tenant->ca);
	osh_close(fds[6]);
	letter.tenant = tenant;
	if (r == 0)
		r = post_to_all(proxy, &letter);
	osh_tenant_unref(tenant);
	return r;
}

static struct osh_snapshot *map_snapshot(int fd, uint32_t generation)
{
	struct osh_snapshot *snapshot = calloc(1, sizeof(*snapshot));
	struct stat st;

	if (!snapshot || fstat(fd, &st) < 0 || st.st_size <= 0) {
		free(snapshot);
		return NULL;
	}
	snapshot->refs = 1;
	snapshot->generation = generation;
	snapshot->len = (size_t)st.st_size;
	snapshot->memory = mmap(NULL, snapshot->len, PROT_READ, MAP_SHARED, fd, 0);
	if (snapshot->memory == MAP_FAILED) {
		free(snapshot);
		return NULL;
	}
	if (osh_policy_open(snapshot->memory, snapshot->len, &snapshot->policy) < 0) {
		osh_snapshot_unref(snapshot);
		return NULL;
	}
	return snapshot;
}

/* The latest policy of each sandbox, whose meters the next one takes on. */
struct osh_in_force {
	uint64_t sandbox;
	struct osh_snapshot *snapshot; /* counted */
	UT_hash_handle hh;
};

static struct osh_in_force *find_in_force(struct osh_proxy *proxy, uint64_t sandbox)
{
	struct osh_in_force *found;

	HASH_FIND(hh, proxy->in_force, &sandbox, sizeof(sandbox), found);
	return found;
}

/* Give a new snapshot its meters. Returns 0 or -ENOMEM. */
static int succeed(struct osh_proxy *proxy, uint64_t sandbox, struct osh_snapshot *snapshot)
{
	struct osh_in_force *now = find_in_force(proxy, sandbox);
	int r = osh_meters_init(&snapshot->meters, &snapshot->policy, now ? &now->snapshot->meters : NULL);

	if (r < 0)
		return r;
	if (!now) {
		now = calloc(1, sizeof(*now));
		if (!now)
			return -ENOMEM;
		now->sandbox = sandbox;
		HASH_ADD(hh, proxy->in_force, sandbox, sizeof(now->sandbox), now);
	}
	osh_snapshot_unref(now->snapshot);
	now->snapshot = osh_snapshot_ref(snapshot);
	return 0;
}

static void forget_sandbox(struct osh_proxy *proxy, uint64_t sandbox)
{
	struct osh_in_force *now = find_in_force(proxy, sandbox);

	if (!now)
		return;
	HASH_DEL(proxy->in_force, now);
	osh_snapshot_unref(now->snapshot);
	free(now);
}

static int take_policy(struct osh_proxy *proxy, const struct osh_channel_message *message, int *fds,
		       size_t fd_count)
{
	struct osh_letter letter = { .type = OSH_LETTER_POLICY, .sandbox = message->sandbox };
	int r;

	if (fd_count != 1)
		return -EBADMSG;
	letter.snapshot = map_snapshot(fds[0], message->generation);
	osh_close(fds[0]);
	letter.errand = calloc(1, sizeof(*letter.errand));
	if (!letter.snapshot || !letter.errand)
		return -EBADMSG;
	letter.errand->left = proxy->worker_count;
	letter.errand->sandbox = message->sandbox;
	letter.errand->serial = message->serial;
	r = succeed(proxy, message->sandbox, letter.snapshot);
	if (r == 0)
		r = post_to_all(proxy, &letter);
	osh_snapshot_unref(letter.snapshot);
	return r;
}

static int take_vault(struct osh_proxy *proxy, const struct osh_channel_message *message, int *fds,
		      size_t fd_count)
{
	struct osh_letter letter = { .type = OSH_LETTER_VAULT, .sandbox = message->sandbox };
	char *bytes = NULL;
	size_t len = 0;
	int r;

	if (fd_count != 1)
		return -EBADMSG;
	r = lseek(fds[0], 0, SEEK_SET) < 0 ? -errno : osh_read_fd(fds[0], VAULT_BYTES_MAX, &bytes, &len);
	osh_close(fds[0]);
	if (r < 0)
		return r;
	letter.vault = calloc(1, sizeof(*letter.vault));
	if (letter.vault) {
		letter.vault->refs = 1;
		r = osh_vault_decode(osh_str_n(bytes, len), &letter.vault->vault);
		if (r == 0)
			r = post_to_all(proxy, &letter);
		osh_vault_box_unref(letter.vault);
	}
	osh_wipe(bytes, len);
	free(bytes);
	return r;
}

/* Returns 0, or -errno: the proxy then ends, since an agent that speaks another
 * language cannot be obeyed. */
static int handle(struct osh_proxy *proxy, const struct osh_channel_message *message, int *fds,
		  size_t fd_count, unsigned *rings)
{
	struct osh_letter letter = { .sandbox = message->sandbox };

	switch ((enum osh_channel_type)message->type) {
	case OSH_CHANNEL_HELLO:
		return take_hello(proxy, message, fds, fd_count);
	case OSH_CHANNEL_RING:
		if (fd_count != 1)
			break;
		return take_ring(proxy, (*rings)++, fds[0]);
	case OSH_CHANNEL_START:
		return start_workers(proxy);
	case OSH_CHANNEL_ADD:
		return take_sandbox(proxy, message, fds, fd_count);
	case OSH_CHANNEL_REMOVE:
		letter.type = OSH_LETTER_REMOVE;
		forget_sandbox(proxy, message->sandbox);
		return post_to_all(proxy, &letter);
	case OSH_CHANNEL_POLICY:
		return take_policy(proxy, message, fds, fd_count);
	case OSH_CHANNEL_VAULT:
		return take_vault(proxy, message, fds, fd_count);
	case OSH_CHANNEL_ANSWER:
		letter.type = OSH_LETTER_ANSWER;
		letter.about = message->about;
		letter.facts = message->facts;
		return post_to_all(proxy, &letter);
	case OSH_CHANNEL_END_FLOW:
		letter.type = OSH_LETTER_END_FLOW;
		letter.about = message->about;
		return post_to_all(proxy, &letter);
	case OSH_CHANNEL_ADDRESS_GONE:
		letter.type = OSH_LETTER_ADDRESS_GONE;
		letter.address = message->address;
		return post_to_all(proxy, &letter);
	case OSH_CHANNEL_DONE:
	case OSH_CHANNEL_QUESTION:
	case OSH_CHANNEL_TYPE_COUNT:
		break;
	}
	close_all(fds, fd_count);
	return -EBADMSG;
}

static int serve(struct osh_proxy *proxy)
{
	struct osh_channel_message message;
	int fds[OSH_FDS_MAX];
	unsigned rings = 0;
	size_t fd_count;

	for (;;) {
		int r = osh_channel_recv(proxy->channel_fd, &message, fds, &fd_count);

		if (r == -ECONNRESET)
			return 0; /* the agent is gone: so are we; it or its successor starts another */
		if (r == 0)
			r = handle(proxy, &message, fds, fd_count, &rings);
		if (r < 0) {
			osh_error("bad message from the agent: %s", strerror(-r));
			return r;
		}
	}
}

/* The agent waits for longer, and then reads what they said last. */
static void stop_workers(struct osh_proxy *proxy)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	for (unsigned i = 0; i < proxy->worker_count; i++) {
		if (proxy->workers[i])
			osh_worker_stop(proxy->workers[i], &until);
	}
}

/* At the end of a build with AddressSanitizer: what nothing points to any more. Reports, and ends the
 * process with a status of its own, when there is some. */
#ifdef OSH_FINDS_LEAKS
#include <sanitizer/lsan_interface.h>

static void look_for_leaks(void)
{
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* its helper stops our threads */
	__lsan_do_leak_check();
	osh_info("looked for leaks");
}
#else
static void look_for_leaks(void)
{
}
#endif

int osh_proxy_main(void)
{
	static struct osh_proxy proxy; /* one per process; workers keep pointers to it */
	struct osh_err err = { 0 };
	int r;

	osh_log_init("openshelld proxy", OSH_LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	proxy.channel_fd = OSH_CHANNEL_FD;
	if (osh_confine(&err) < 0) {
		osh_error("%s", err.message);
		return 1;
	}
	r = serve(&proxy);
	stop_workers(&proxy);
	look_for_leaks();
	/* _exit: a worker may still run, and nothing that they hold needs a farewell. */
	_exit(r < 0 ? 1 : 0);
}
