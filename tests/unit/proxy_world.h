/* A small world around the data plane, for tests of it: one worker in a network namespace
 * of its own (nothing can leave), a fake kernel (the maps), a client that is "redirected"
 * and a scripted server. Everything else is the real thing: policy, TLS, vault, ring.
 *
 * A header, since each test program is one file; needs root for the namespaces. */
#ifndef OSH_TESTS_PROXY_WORLD_H
#define OSH_TESTS_PROXY_WORLD_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Not every test needs all of it. */
#pragma GCC diagnostic ignored "-Wunused-function"

#include "base/fd.h"
#include "base/log.h"
#include "proxy/ca.h"
#include "proxy/channel.h"
#include "proxy/tls.h"
#include "proxy/worker.h"
#include "verdict/ring.h"

#define WORLD_SERVER "203.0.113.10"
#define WORLD_GATEWAY "169.254.7.1"
#define WORLD_SANDBOX 4242u
#define WORLD_CURL 1u
#define WORLD_EVIL 2u
#define WORLD_PATIENCE_MS 10000

/* ---- The fake kernel -------------------------------------------------------------------- */

struct world_flow {
	uint16_t client_port_host;
	struct osh_flow flow;
};

/* In shared memory, since the proxy may be a process of its own: it finds it behind the
 * "map" descriptors. */
static struct world_kernel {
	pthread_mutex_t lock;
	struct world_flow flows[64];
	size_t flow_count;
	struct { uint32_t addr_host; struct osh_lease lease; } leases[OSH_LEASES_PER_SANDBOX_MAX + 8];
	size_t lease_count;
	struct osh_reach_key reachable[512];
	size_t reachable_count;
	size_t denials;
} *kernel;

static void map_kernel(int fd)
{
	kernel = mmap(NULL, sizeof(*kernel), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (kernel == MAP_FAILED)
		abort();
}

static void lock_kernel(const struct osh_maps *maps)
{
	if (!kernel)
		map_kernel(maps->flows);
	pthread_mutex_lock(&kernel->lock);
}

static void make_kernel(struct osh_maps *ret_maps)
{
	pthread_mutexattr_t shared;
	int fd = memfd_create("oshp-kernel", MFD_CLOEXEC);

	cr_assert(fd >= 0 && ftruncate(fd, sizeof(*kernel)) == 0);
	map_kernel(fd);
	pthread_mutexattr_init(&shared);
	pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&kernel->lock, &shared);
	*ret_maps = (struct osh_maps){ fd, fd, fd, fd, fd, fd };
}

int osh_maps_flow_take(const struct osh_maps *maps, const struct osh_flow_key *key,
		       struct osh_flow *ret_flow)
{
	int r = -ENOENT;

	lock_kernel(maps);
	for (size_t i = 0; i < kernel->flow_count; i++) {
		if (kernel->flows[i].client_port_host == key->client_port_host) {
			*ret_flow = kernel->flows[i].flow;
			kernel->flows[i] = kernel->flows[--kernel->flow_count];
			r = 0;
			break;
		}
	}
	pthread_mutex_unlock(&kernel->lock);
	return r;
}

int osh_maps_identity(const struct osh_maps *maps, uint32_t id, struct osh_identity *ret_identity)
{
	static const char *const paths[] = { NULL, "/usr/bin/curl", "/usr/bin/evil" };

	(void)maps;
	if (id == 0 || id > 2)
		return -ENOENT;
	*ret_identity = (struct osh_identity){ .sandbox = WORLD_SANDBOX };
	strcpy(ret_identity->path, paths[id]);
	return 0;
}

int osh_maps_lease_get(const struct osh_maps *maps, const struct osh_lease_key *key,
		       struct osh_lease *ret_lease)
{
	int r = -ENOENT;

	lock_kernel(maps);
	for (size_t i = 0; i < kernel->lease_count; i++) {
		if (kernel->leases[i].addr_host == key->addr_host && key->sandbox == WORLD_SANDBOX) {
			*ret_lease = kernel->leases[i].lease;
			r = 0;
		}
	}
	pthread_mutex_unlock(&kernel->lock);
	return r;
}

int osh_maps_lease_set(const struct osh_maps *maps, const struct osh_lease_key *key,
		       const struct osh_lease *lease)
{
	int r = -ENOSPC;

	lock_kernel(maps);
	if (kernel->lease_count < sizeof(kernel->leases) / sizeof(kernel->leases[0])) {
		kernel->leases[kernel->lease_count].addr_host = key->addr_host;
		kernel->leases[kernel->lease_count++].lease = *lease;
		r = 0;
	}
	pthread_mutex_unlock(&kernel->lock);
	return r;
}

int osh_maps_lease_each(const struct osh_maps *maps, uint64_t sandbox,
			void (*each)(void *context, uint32_t addr_host, const struct osh_lease *lease),
			void *context)
{
	(void)sandbox;
	lock_kernel(maps);
	pthread_mutex_unlock(&kernel->lock);
	for (size_t i = 0; i < kernel->lease_count; i++)
		each(context, kernel->leases[i].addr_host, &kernel->leases[i].lease);
	return 0;
}

static ssize_t find_reachable(const struct osh_reach_key *key)
{
	for (size_t i = 0; i < kernel->reachable_count; i++) {
		if (memcmp(&kernel->reachable[i], key, sizeof(*key)) == 0)
			return (ssize_t)i;
	}
	return -1;
}

int osh_maps_reachable_add(const struct osh_maps *maps, const struct osh_reach_key *key)
{
	lock_kernel(maps);
	if (find_reachable(key) < 0)
		kernel->reachable[kernel->reachable_count++] = *key;
	pthread_mutex_unlock(&kernel->lock);
	return 0;
}

int osh_maps_reachable_remove(const struct osh_maps *maps, const struct osh_reach_key *key)
{
	ssize_t at;

	lock_kernel(maps);
	at = find_reachable(key);
	if (at >= 0)
		kernel->reachable[at] = kernel->reachable[--kernel->reachable_count];
	pthread_mutex_unlock(&kernel->lock);
	return at >= 0 ? 0 : -ENOENT;
}

int osh_maps_reachable_each(const struct osh_maps *maps, uint64_t sandbox,
			    void (*each)(void *context, const struct osh_reach_key *key), void *context)
{
	(void)sandbox;
	lock_kernel(maps);
	pthread_mutex_unlock(&kernel->lock);
	for (size_t i = 0; i < kernel->reachable_count; i++)
		each(context, &kernel->reachable[i]);
	return 0;
}

int osh_maps_denial_add(const struct osh_maps *maps, const struct osh_denial_key *key)
{
	(void)key;
	lock_kernel(maps);
	kernel->denials++;
	pthread_mutex_unlock(&kernel->lock);
	return 0;
}

/* ---- A connection, plain or TLS, blocking, with a deadline ---------------------------------- */

struct peer {
	int fd;
	SSL *ssl;
	char bytes[1 << 16];
	size_t len;
};

static void peer_init(struct peer *p, int fd)
{
	struct timeval patience = { .tv_sec = WORLD_PATIENCE_MS / 1000 };

	p->fd = fd;
	p->ssl = NULL;
	p->len = 0;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

static void peer_close(struct peer *p)
{
	if (p->ssl) {
		SSL_shutdown(p->ssl);
		SSL_free(p->ssl);
	}
	p->ssl = NULL;
	p->fd = osh_close(p->fd);
}

static bool peer_write(struct peer *p, const char *data, size_t len)
{
	while (len) {
		ssize_t n = p->ssl ? SSL_write(p->ssl, data, (int)len) :
				     send(p->fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static bool peer_say(struct peer *p, const char *text)
{
	return peer_write(p, text, strlen(text));
}

/* More bytes into p->bytes. 0: the end (clean), negative: error or deadline. */
static int peer_read(struct peer *p)
{
	size_t room = sizeof(p->bytes) - 1 - p->len;
	ssize_t n;

	cr_assert(room > 0);
	n = p->ssl ? SSL_read(p->ssl, p->bytes + p->len, (int)room) : recv(p->fd, p->bytes + p->len, room, 0);
	if (p->ssl && n <= 0)
		return SSL_get_error(p->ssl, (int)n) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
	if (n > 0)
		p->len += (size_t)n;
	p->bytes[p->len] = '\0';
	return n > 0 ? 1 : (int)n;
}

static void peer_consume(struct peer *p, size_t len)
{
	memmove(p->bytes, p->bytes + len, p->len - len);
	p->len -= len;
	p->bytes[p->len] = '\0';
}

/* Read until `text` is there; its end as offset, -1 when the connection ends before. */
static ssize_t peer_await(struct peer *p, const char *text)
{
	for (;;) {
		char *found;

		p->bytes[p->len] = '\0';
		found = memmem(p->bytes, p->len, text, strlen(text));
		if (found)
			return found - p->bytes + (ssize_t)strlen(text);
		if (peer_read(p) <= 0)
			return -1;
	}
}

/* From now on it ends as a crash of its machine looks. */
static void peer_reset(struct peer *p)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	if (p->ssl)
		SSL_set_quiet_shutdown(p->ssl, 1);
}

/* Nothing more comes: 0 clean end, -1 reset or TLS cut off, 1 bytes came. */
static int peer_end(struct peer *p)
{
	return p->len ? 1 : peer_read(p);
}

/* One response with a Content-Length: head and body as text, cut off the stream. */
static char *peer_response(struct peer *p, char *room, size_t size)
{
	ssize_t head = peer_await(p, "\r\n\r\n");
	char *length;
	size_t total;

	room[0] = '\0';
	if (head < 0)
		return room;
	total = (size_t)head;
	length = strcasestr(p->bytes, "\r\nContent-Length: ");
	if (length && length < p->bytes + head)
		total += strtoul(length + 18, NULL, 10);
	while (p->len < total) {
		if (peer_read(p) <= 0)
			return room;
	}
	cr_assert(total < size);
	memcpy(room, p->bytes, total);
	room[total] = '\0';
	peer_consume(p, total);
	return room;
}

/* ---- Certificates ----------------------------------------------------------------------------- */

struct world_identity {
	struct osh_ca ca;
	char *cert_pem, *key_pem;
};

static void make_ca(struct world_identity *id, const char *name)
{
	cr_assert(osh_ca_new(name, &id->cert_pem, &id->key_pem) == 0);
	cr_assert(osh_ca_load(id->cert_pem, id->key_pem, &id->ca) == 0);
}

static void drop_ca(struct world_identity *id)
{
	osh_ca_done(&id->ca);
	free(id->cert_pem);
	free(id->key_pem);
}

static SSL_CTX *server_context(const struct osh_ca *ca, const char *host)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = osh_ca_leaf_key();
	X509 *leaf = osh_ca_mint(ca, key, host);

	cr_assert(leaf && SSL_CTX_use_certificate(ctx, leaf) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
	X509_free(leaf);
	EVP_PKEY_free(key);
	return ctx;
}

/* ---- The world ----------------------------------------------------------------------------------- */

static struct {
	struct osh_proxy proxy;
	struct osh_worker *worker;
	struct osh_ring_reader *reader;
	int channel_fd;
	struct osh_exe_facts facts;   /* the agent's answer to every question */
	bool holds_answers;           /* until may_answer is posted */
	sem_t may_answer, policy_done;
	uint64_t done_serial;
	atomic_uint questions;
	struct world_identity sandbox_ca, world_ca;
	struct sockaddr_in listener;
	struct sockaddr_in dns;
	/* Scripted server. */
	int server_fds[3];
	SSL_CTX *server_ctx;
	void (*script)(struct peer *p, uint16_t port_host);
	uint64_t serial;
	struct osh_snapshot *in_force; /* counted */
	atomic_uint accepted;
} world;

/* Where the server listens: TLS on the first, plain on the others. */
static const uint16_t world_ports[] = { 443, 80, 5432 };

static void add_address(const char *text, const char *label)
{
	struct ifreq req = { 0 };
	struct sockaddr_in *addr = (struct sockaddr_in *)&req.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strcpy(req.ifr_name, label);
	addr->sin_family = AF_INET;
	cr_assert(inet_pton(AF_INET, text, &addr->sin_addr) == 1);
	cr_assert(ioctl(fd, SIOCSIFADDR, &req) == 0, "SIOCSIFADDR %s: %s", text, strerror(errno));
	close(fd);
}

static void lo_up(void)
{
	struct ifreq req = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert(ioctl(fd, SIOCGIFFLAGS, &req) == 0);
	req.ifr_flags |= IFF_UP;
	cr_assert(ioctl(fd, SIOCSIFFLAGS, &req) == 0);
	close(fd);
}

/* Names of the world come from a hosts file, as c-ares reads it. */
static void bind_hosts(void)
{
	static const char hosts[] = "127.0.0.1 localhost\n" WORLD_SERVER
				    " ok.test no.test l4.test other.test\n"
				    "127.0.0.1 rebound.test\n"
				    WORLD_GATEWAY " host.openshell.internal\n"
				    "169.254.169.254 host.docker.internal\n";
	char path[] = "/tmp/oshp-hosts-XXXXXX";
	int fd = mkstemp(path);

	cr_assert(fd >= 0 && osh_write_full(fd, hosts, sizeof(hosts) - 1) == 0);
	fchmod(fd, 0644);
	close(fd);
	cr_assert(mount(path, "/etc/hosts", NULL, MS_BIND, NULL) == 0, "bind hosts: %s", strerror(errno));
	unlink(path);
}

static int listen_at(const char *addr_text, uint16_t port_host, int type, struct sockaddr_in *ret)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(port_host) };
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;

	inet_pton(AF_INET, addr_text, &addr.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	cr_assert(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0, "bind: %s", strerror(errno));
	if (type == SOCK_STREAM)
		cr_assert(listen(fd, 64) == 0);
	if (ret) {
		getsockname(fd, (struct sockaddr *)&addr, &len);
		*ret = addr;
	}
	return fd;
}

struct server_conn {
	int fd;
	uint16_t port_host;
};

static void *serve_one(void *context)
{
	struct server_conn *conn = context;
	struct peer *p = calloc(1, sizeof(*p));

	peer_init(p, conn->fd);
	if (conn->port_host == 443) {
		p->ssl = SSL_new(world.server_ctx);
		SSL_set_fd(p->ssl, p->fd);
	}
	if (!p->ssl || SSL_accept(p->ssl) == 1)
		world.script(p, conn->port_host);
	peer_close(p);
	free(p);
	free(conn);
	return NULL;
}

static void *accept_all(void *context)
{
	size_t index = (size_t)context;

	for (;;) {
		struct server_conn *conn = calloc(1, sizeof(*conn));
		pthread_t thread;

		conn->fd = accept4(world.server_fds[index], NULL, NULL, SOCK_CLOEXEC);
		if (conn->fd < 0) {
			free(conn);
			return NULL;
		}
		atomic_fetch_add(&world.accepted, 1);
		conn->port_host = world_ports[index];
		pthread_create(&thread, NULL, serve_one, conn);
		pthread_detach(thread);
	}
}

/* From now on the server on 443 is `host`, by a certificate of `ca`. */
static void serve_as(const struct osh_ca *ca, const char *host)
{
	SSL_CTX_free(world.server_ctx);
	world.server_ctx = server_context(ca, host);
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
			   unsigned in_len, void *known)
{
	(void)ssl;
	return SSL_select_next_proto((unsigned char **)out, out_len, known, (unsigned)strlen(known), in, in_len) ==
			       OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* The server takes this protocol and no other: "\x02h2". */
static void serve_protocol(char *known)
{
	SSL_CTX_set_alpn_select_cb(world.server_ctx, choose_protocol, known);
}

static void start_server(void)
{
	for (size_t i = 0; i < 3; i++) {
		pthread_t thread;

		/* On every address, so that what gets past the guard is seen. */
		world.server_fds[i] = listen_at("0.0.0.0", world_ports[i], SOCK_STREAM, NULL);
		pthread_create(&thread, NULL, accept_all, (void *)i);
		pthread_detach(thread);
	}
}

static void post(struct osh_letter model)
{
	struct osh_letter *letter = calloc(1, sizeof(*letter));

	*letter = model;
	osh_worker_post(world.worker, letter);
}

/* From here on, below those that the kernel gives to who asks for any: TCP and UDP have them both. */
#define DNS_PORT 5300

/* Those of IPv6 are there, and never dialled. */
static void open_sockets(struct osh_sandbox_sockets *sockets)
{
	static in_port_t port = DNS_PORT;
	int *const all[] = { &sockets->tcp4,	 &sockets->tcp6,     &sockets->dns_udp4,
			     &sockets->dns_udp6, &sockets->dns_tcp4, &sockets->dns_tcp6 };

	sockets->tcp4 = listen_at("127.0.0.1", 0, SOCK_STREAM, &world.listener);
	sockets->dns_udp4 = listen_at("127.0.0.1", port, SOCK_DGRAM, &world.dns);
	sockets->dns_tcp4 = listen_at("127.0.0.1", port++, SOCK_STREAM, NULL);
	sockets->tcp6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sockets->dns_tcp6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sockets->dns_udp6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert(listen(sockets->tcp6, 1) == 0 && listen(sockets->dns_tcp6, 1) == 0);
	for (size_t i = 0; i < OSH_SANDBOX_SOCKETS_COUNT; i++)
		osh_set_nonblocking(*all[i]);
}

static void add_sandbox(void)
{
	struct osh_tenant *tenant = calloc(1, sizeof(*tenant));

	tenant->refs = 1;
	tenant->id = WORLD_SANDBOX;
	strcpy(tenant->name, "world");
	open_sockets(&tenant->sockets);
	cr_assert(osh_ca_load(world.sandbox_ca.cert_pem, world.sandbox_ca.key_pem, &tenant->ca) == 0);
	post((struct osh_letter){ .type = OSH_LETTER_ADD, .sandbox = WORLD_SANDBOX, .tenant = tenant });
}

/* The agent's end of the channel: a thread that says of every executable what world.facts
 * says, at once or when a test lets it. */
static void *run_agent(void *unused)
{
	struct osh_channel_message message;
	int fds[OSH_FDS_MAX];
	size_t fd_count;

	(void)unused;
	while (osh_channel_recv(world.channel_fd, &message, fds, &fd_count) == 0) {
		if (message.type == OSH_CHANNEL_DONE) {
			world.done_serial = message.serial;
			sem_post(&world.policy_done);
			continue;
		}
		atomic_fetch_add(&world.questions, 1);
		if (world.holds_answers)
			sem_wait(&world.may_answer);
		post((struct osh_letter){ .type = OSH_LETTER_ANSWER, .sandbox = message.sandbox,
					  .about = message.about, .facts = world.facts });
	}
	return NULL;
}

static void start_agent(void)
{
	pthread_t thread;

	sem_init(&world.policy_done, 0, 0);
	sem_init(&world.may_answer, 0, 0);
	world.facts = (struct osh_exe_facts){ .trust = OSH_TRUST_SAME, .clean = OSH_CLEAN_YES };
	cr_assert(pthread_create(&thread, NULL, run_agent, NULL) == 0);
}

/* Put a policy in force; returns when the worker enforces it. */
static void set_policy(const char *yaml)
{
	struct osh_policy_compile_options options = { .revision = (uint32_t)++world.serial };
	struct osh_snapshot *snapshot = calloc(1, sizeof(*snapshot));
	struct osh_errand *errand = calloc(1, sizeof(*errand));
	struct osh_diags *diags = calloc(1, sizeof(*diags));
	struct osh_policy_doc *doc = NULL;
	void *image;

	cr_assert(osh_policy_parse(osh_str(yaml), diags, &doc) == 0, "line %u: %s", diags->items[0].line,
		  diags->items[0].message);
	cr_assert(osh_policy_compile(doc, &options, &image, &snapshot->len) == 0);
	osh_policy_doc_free(doc);
	free(diags);
	snapshot->memory = mmap(NULL, snapshot->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				-1, 0);
	cr_assert(snapshot->memory != MAP_FAILED);
	memcpy(snapshot->memory, image, snapshot->len);
	free(image);
	cr_assert(osh_policy_open(snapshot->memory, snapshot->len, &snapshot->policy) == 0);
	snapshot->refs = 2; /* the worker's and the world's */
	cr_assert(osh_meters_init(&snapshot->meters, &snapshot->policy,
				  world.in_force ? &world.in_force->meters : NULL) == 0);
	osh_snapshot_unref(world.in_force);
	world.in_force = snapshot;
	errand->left = 1;
	errand->sandbox = WORLD_SANDBOX;
	errand->serial = world.serial;
	post((struct osh_letter){ .type = OSH_LETTER_POLICY, .sandbox = WORLD_SANDBOX,
				  .snapshot = snapshot, .errand = errand });
	cr_assert(sem_wait(&world.policy_done) == 0);
	cr_assert(world.done_serial == world.serial);
}

static void set_vault(const char *placeholder, const char *secret, const char *const *hosts)
{
	struct osh_vault_box *box = calloc(1, sizeof(*box));
	struct osh_secret value;

	cr_assert(osh_secret_init(&value, osh_str(secret)) == 0);
	box->refs = 1;
	box->vault = osh_vault_new();
	cr_assert(osh_vault_add(box->vault, &(struct osh_vault_item){
		.provider = "my-github", .placeholder = placeholder, .revision = 7,
		.variables = (const char *const[]){ "GITHUB_TOKEN", NULL }, .hosts = hosts, .secret = &value,
	}) == 0);
	osh_secret_done(&value);
	post((struct osh_letter){ .type = OSH_LETTER_VAULT, .sandbox = WORLD_SANDBOX, .vault = box });
}

/* Threads outlive a test, and nothing of OpenSSL works behind its own end: they would crash, or leave what it
 * keeps for them. It has none. Before main, for the first to begin it decides: Criterion does (by libgit2). */
__attribute__((constructor)) static void spare_openssl_its_end(void)
{
	if (OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL) != 1)
		abort();
}

/* Namespaces, certificates and the server; no proxy yet. */
static void world_prepare(void)
{
	if (geteuid() != 0)
		cr_skip_test("needs root: makes its own network namespace");
	signal(SIGPIPE, SIG_IGN);
	cr_assert(unshare(CLONE_NEWNET | CLONE_NEWNS) == 0, "unshare: %s", strerror(errno));
	cr_assert(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	lo_up();
	add_address(WORLD_SERVER, "lo:1");
	add_address(WORLD_GATEWAY, "lo:2");
	add_address("169.254.169.254", "lo:3");
	bind_hosts();
	make_ca(&world.sandbox_ca, "world");
	make_ca(&world.world_ca, "the world");
	make_kernel(&world.proxy.maps);
	serve_as(&world.world_ca.ca, "ok.test");
	start_server();
}

/* `.init` of the suites: the world, and one worker in this process. */
static void world_begin(void)
{
	struct osh_ring_writer *ring;
	int pair[2];

	world_prepare();
	cr_assert(osh_ring_create("oshp-ring", 1024, &ring) == 0);
	cr_assert(osh_ring_reader_open(osh_ring_writer_fd(ring), OSH_RING_FROM_OLDEST, &world.reader) == 0);
	cr_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	world.channel_fd = pair[0];
	world.proxy.channel_fd = pair[1];
	world.proxy.agent_eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	world.proxy.worker_count = 1;
	cr_assert(osh_tls_proxy_init(&world.proxy, osh_str(world.world_ca.cert_pem)) == 0);
	world.worker = osh_worker_new(&world.proxy, 0, ring);
	cr_assert(world.worker);
	world.proxy.workers[0] = world.worker;
	cr_assert(osh_worker_start(world.worker) == 0);
	start_agent();
	add_sandbox();
}

/* Of TCP, made from now on and in this namespace alone. */
static void world_limit_sockets(unsigned bytes_max)
{
	static const char *const paths[] = { "/proc/sys/net/ipv4/tcp_rmem", "/proc/sys/net/ipv4/tcp_wmem" };

	for (size_t i = 0; i < OSH_COUNT_OF(paths); i++) {
		FILE *file = fopen(paths[i], "we");

		cr_assert(file && fprintf(file, "4096 16384 %u\n", bytes_max) > 0 && fclose(file) == 0, "%s", paths[i]);
	}
}

/* ---- The client ---------------------------------------------------------------------------------------- */

/* The address that the world's DNS would have given. */
static struct osh_addr address_of(const char *host)
{
	struct osh_addr addr = { .word_be = { 0, 0, htonl(0xffff), 0 } };
	struct in_addr literal;
	struct osh_lease lease = { 0 };
	struct osh_lease_key key = { .sandbox = WORLD_SANDBOX };

	if (inet_pton(AF_INET, host, &literal) == 1) {
		addr.word_be[3] = literal.s_addr;
		return addr;
	}
	for (size_t i = 0; i < kernel->lease_count; i++) {
		if (strcmp(kernel->leases[i].lease.host, host) == 0)
			key.addr_host = kernel->leases[i].addr_host;
	}
	if (!key.addr_host) {
		key.addr_host = OSH_SYNTH_FIRST + 1000 + (uint32_t)kernel->lease_count;
		strcpy(lease.host, host);
		osh_maps_lease_set(&world.proxy.maps, &key, &lease);
	}
	addr.word_be[3] = htonl(key.addr_host);
	return addr;
}

static int dial_listener(uint32_t identity, const struct osh_addr *dst, uint16_t port_host)
{
	struct sockaddr_in own = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(own);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(bind(fd, (struct sockaddr *)&own, sizeof(own)) == 0);
	getsockname(fd, (struct sockaddr *)&own, &len);
	if (identity) {
		pthread_mutex_lock(&kernel->lock);
		kernel->flows[kernel->flow_count++] = (struct world_flow){
			.client_port_host = ntohs(own.sin_port),
			.flow = { .dst = *dst, .dst_port_host = port_host, .identity = identity, .pid = 77 },
		};
		pthread_mutex_unlock(&kernel->lock);
	}
	cr_assert(connect(fd, (struct sockaddr *)&world.listener, sizeof(world.listener)) == 0);
	return fd;
}

static struct peer *dial_plain(uint32_t identity, const char *host, uint16_t port_host)
{
	struct osh_addr dst = address_of(host);
	struct peer *p = calloc(1, sizeof(*p));

	peer_init(p, dial_listener(identity, &dst, port_host));
	return p;
}

/* TLS on a connection, as `sni` (NULL: none), trusting the sandbox's CA alone; `alpn` in wire
 * format, NULL: none. Without an `ssl` when it failed. */
static struct peer *start_tls(struct peer *p, const char *sni, const char *alpn)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), world.sandbox_ca.ca.cert);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	p->ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	SSL_set_fd(p->ssl, p->fd);
	if (alpn)
		SSL_set_alpn_protos(p->ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
	if (sni) {
		SSL_set_tlsext_host_name(p->ssl, sni);
		SSL_set1_host(p->ssl, sni);
	}
	if (SSL_connect(p->ssl) != 1) {
		SSL_free(p->ssl);
		p->ssl = NULL;
		p->fd = osh_close(p->fd);
	}
	return p;
}

static struct peer *dial_tls_for(uint32_t identity, const char *host, const char *sni, const char *alpn)
{
	return start_tls(dial_plain(identity, host, 443), sni, alpn);
}

static struct peer *dial_tls_as(uint32_t identity, const char *host, const char *sni)
{
	return dial_tls_for(identity, host, sni, NULL);
}

static struct peer *dial_tls(uint32_t identity, const char *host)
{
	return dial_tls_as(identity, host, host);
}

static void hang_up(struct peer *p)
{
	peer_close(p);
	free(p);
}

/* ---- Verdicts -------------------------------------------------------------------------------------------- */

/* The next verdict, waited for; fails the test when none comes. Valid until the next call. */
static const struct osh_verdict *next_verdict(void)
{
	static char room[OSH_VERDICT_BYTES_MAX];
	static struct osh_verdict verdict;

	for (int i = 0; i < WORLD_PATIENCE_MS / 100; i++) {
		if (osh_ring_read(world.reader, room, &verdict, NULL) == 1)
			return &verdict;
		osh_ring_wait(world.reader, 100);
	}
	cr_assert(false, "no verdict came");
	return NULL;
}

/* There is none but those already taken. Every earlier event of the worker has been dealt
 * with once it answers a letter. */
static void expect_no_verdict(void)
{
	static char room[OSH_VERDICT_BYTES_MAX];
	struct osh_verdict verdict;

	cr_expect(osh_ring_read(world.reader, room, &verdict, NULL) == 0, "unexpected: %s %s %s",
		  verdict.method ? verdict.method : "-", verdict.target ? verdict.target : "-",
		  verdict.reason ? verdict.reason : "-");
}

#endif
