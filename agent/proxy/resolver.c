#include "proxy/resolver.h"

#include <ares.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <utlist.h>

#include "base/fd.h"
#include "base/inet.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/table.h"
#include "openshell/limits.h"
#include "policy/host.h"
#include "proxy/meter.h"

#define HOSTS "/etc/hosts"
#define KNOWN_MAX 1024
#define TTL_MAX_S 300
#define QUERY_TRIES 3
#define PATIENCE_MS 250 /* with the other family, once one has answered */

struct osh_resolver_pace osh_resolver_pace = { .query_ms = 2000, .failed_ms = 1000, .look_ms = 1000 };
static char conf_path[] = "/etc/resolv.conf";
struct osh_resolver_system osh_resolver_system = { .conf = conf_path, .port_host = 53 };

/* What a name came to, and that it was asked for at all: what does not hold any more stays until
 * others need the room. */
struct known {
	char host[OSH_HOST_MAX];
	struct osh_addresses addresses;
	int status; /* of c-ares: why there are none */
	uint64_t expires_ms;
	UT_hash_handle hh;
};

/* A descriptor that c-ares wants watched. */
struct watch {
	struct osh_io io;
	struct osh_resolver *resolver;
	struct watch *next;
};

/* By what a file that was replaced or written to differs from the one that was read; all 0: there is none. */
struct sight {
	uint64_t device, inode, size, changed_s, changed_ns;
};

struct osh_resolver {
	struct osh_loop *loop;
	char *servers; /* empty: those of osh_resolver_system.conf */
	ares_channel channel;
	struct osh_timer timer;
	struct watch *watches;
	struct known *known;         /* hash */
	struct question *questions;  /* hash: those that somebody else may wait for as well */
	struct sight hosts, conf;
	bool told_hosts, told_conf;  /* that it cannot be read; until it can */
	struct osh_timer look_again; /* at the system's servers; armed: not before */
	bool is_asked;               /* since it was armed */
	struct osh_deferred renewal;
};

/* The addresses of one family, as a question. */
struct half {
	struct question *question;
	int family;
};

/* A name's addresses are asked for by family, and one that is not answered holds up the other
 * only for a moment (RFC 8305 3). Whoever wants the same name meanwhile waits for the same answer. */
struct question {
	struct osh_resolver *resolver;
	char host[OSH_HOST_MAX];
	struct half halves[2];
	unsigned waiting;    /* for so many answers of c-ares; lives until it has them all */
	bool is_told;        /* over for those who asked */
	struct osh_lookup *lookups; /* owned */
	struct osh_timer patience;
	struct osh_addresses addresses;
	int ttl_s;
	int status;          /* of the last that failed */
	UT_hash_handle hh;   /* until it is told */
};

struct osh_lookup {
	struct question *question;
	void (*done)(void *context, const struct osh_addresses *addresses, const char *error);
	void *context;
	struct osh_lookup *prev, *next;
};

/* ---- c-ares in the loop --------------------------------------------------------------------- */

static void arm_timer(struct osh_resolver *resolver)
{
	struct timeval room, *left = ares_timeout(resolver->channel, NULL, &room);

	if (left)
		osh_loop_timer_set(resolver->loop, &resolver->timer,
				   (uint64_t)left->tv_sec * 1000 + (uint64_t)left->tv_usec / 1000 + 1);
	else
		osh_loop_timer_cancel(resolver->loop, &resolver->timer);
}

static void on_timer(struct osh_timer *timer)
{
	struct osh_resolver *resolver = osh_container_of(timer, struct osh_resolver, timer);

	ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	arm_timer(resolver);
}

static void on_socket(struct osh_io *io, uint32_t events)
{
	struct watch *watch = osh_container_of(io, struct watch, io);
	struct osh_resolver *resolver = watch->resolver;
	int fd = io->fd;

	/* c-ares may drop the watch in here. */
	ares_process_fd(resolver->channel, events & (EPOLLIN | EPOLLERR | EPOLLHUP) ? fd : ARES_SOCKET_BAD,
			events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
	arm_timer(resolver);
}

static struct watch *find_watch(struct osh_resolver *resolver, int fd)
{
	struct watch *watch;

	LL_FOREACH(resolver->watches, watch) {
		if (watch->io.fd == fd)
			return watch;
	}
	watch = calloc(1, sizeof(*watch));
	if (watch) {
		watch->resolver = resolver;
		watch->io = (struct osh_io){ .fd = fd, .on_ready = on_socket };
		LL_PREPEND(resolver->watches, watch);
	}
	return watch;
}

/* c-ares tells which of its sockets wait for what; 0, 0 means it is about to close it. */
static void on_socket_state(void *context, ares_socket_t fd, int readable, int writable)
{
	struct osh_resolver *resolver = context;
	struct watch *watch = find_watch(resolver, fd);

	if (!watch)
		return; /* no memory: the query times out */
	if (!readable && !writable) {
		osh_loop_remove(resolver->loop, &watch->io);
		LL_DELETE(resolver->watches, watch);
		free(watch);
		return;
	}
	(void)osh_loop_set(resolver->loop, &watch->io,
			   (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u));
}

static int open_channel(struct osh_resolver *resolver, ares_channel *ret_channel)
{
	static char servers_alone[] = "b"; /* /etc/hosts is looked into before */
	struct ares_options options = {
		.flags = ARES_FLAG_NOSEARCH,
		.ndomains = 0, /* ares_getaddrinfo heeds this alone: what was judged is asked for, and no other name */
		.lookups = servers_alone,
		.timeout = (int)osh_resolver_pace.query_ms,
		.tries = QUERY_TRIES,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = resolver,
		.resolvconf_path = osh_resolver_system.conf,
		.udp_port = osh_resolver_system.port_host,
		.tcp_port = osh_resolver_system.port_host,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_DOMAINS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
		   ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS | ARES_OPT_RESOLVCONF | ARES_OPT_UDP_PORT |
		   ARES_OPT_TCP_PORT;
	ares_channel channel;

	if (ares_init_options(&channel, &options, mask) != ARES_SUCCESS)
		return -ENOMEM;
	if (*resolver->servers && ares_set_servers_ports_csv(channel, resolver->servers) != ARES_SUCCESS) {
		ares_destroy(channel);
		return -EINVAL;
	}
	*ret_channel = channel;
	return 0;
}

/* ---- What the host says, as it changes -------------------------------------------------------- */

static struct sight look(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return (struct sight){ 0 };
	return (struct sight){
		.device = st.st_dev,
		.inode = st.st_ino,
		.size = (uint64_t)st.st_size,
		.changed_s = (uint64_t)st.st_ctim.tv_sec,
		.changed_ns = (uint64_t)st.st_ctim.tv_nsec,
	};
}

static bool is_same(const struct sight *a, const struct sight *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* What was known of names may be otherwise now. */
static void outdate(struct osh_resolver *resolver)
{
	for (struct known *known = resolver->known; known; known = known->hh.next)
		known->expires_ms = 0;
}

/* Whatever was read of it before holds until it can be read again. */
static int check_readable(const char *path)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : 0;
}

/* The servers of a channel cannot be changed while it waits for answers: another one takes over what
 * is under way. Called between batches, so from nothing that c-ares calls. */
static void renew_channel(struct osh_deferred *deferred)
{
	struct osh_resolver *resolver = osh_container_of(deferred, struct osh_resolver, renewal);
	struct sight now = look(osh_resolver_system.conf);
	ares_channel before = resolver->channel;
	int r = check_readable(osh_resolver_system.conf);

	if (r == 0)
		r = open_channel(resolver, &resolver->channel);
	if (r < 0) {
		if (!resolver->told_conf)
			osh_warning("cannot read %s, which has changed: %s; the DNS servers of before are asked",
				    osh_resolver_system.conf, strerror(-r));
		resolver->told_conf = true;
		return;
	}
	osh_info("%s has changed: its DNS servers are asked from now on", osh_resolver_system.conf);
	resolver->told_conf = false;
	resolver->conf = now;
	outdate(resolver);
	ares_cancel(before); /* asks anew, on_answer */
	ares_destroy(before);
	arm_timer(resolver);
}

static void look_at_conf(struct osh_resolver *resolver)
{
	struct sight now = look(osh_resolver_system.conf);

	if (is_same(&now, &resolver->conf))
		resolver->told_conf = false;
	else
		osh_loop_defer(resolver->loop, &resolver->renewal);
	(void)osh_loop_timer_set(resolver->loop, &resolver->look_again, osh_resolver_pace.look_ms);
}

/* Once more for those who asked meanwhile, and for as long as somebody waits for servers that may be gone. */
static void on_look_again(struct osh_timer *timer)
{
	struct osh_resolver *resolver = osh_container_of(timer, struct osh_resolver, look_again);

	if (resolver->is_asked || resolver->questions)
		look_at_conf(resolver);
	resolver->is_asked = false;
}

static void follow_conf(struct osh_resolver *resolver)
{
	if (*resolver->servers)
		return;
	if (resolver->look_again.slot)
		resolver->is_asked = true;
	else
		look_at_conf(resolver);
}

static void follow_hosts(struct osh_resolver *resolver)
{
	struct sight now = look(HOSTS);

	if (is_same(&now, &resolver->hosts))
		return;
	resolver->hosts = now;
	outdate(resolver);
}

/* ---- Life ------------------------------------------------------------------------------------- */

struct osh_resolver *osh_resolver_new(struct osh_loop *loop, const char *servers)
{
	struct osh_resolver *resolver = calloc(1, sizeof(*resolver));

	if (!resolver)
		return NULL;
	resolver->loop = loop;
	resolver->timer.on_expire = on_timer;
	resolver->renewal.run = renew_channel;
	resolver->look_again.on_expire = on_look_again;
	resolver->hosts = look(HOSTS);
	resolver->conf = look(osh_resolver_system.conf);
	resolver->servers = strdup(servers);
	if (resolver->servers && ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS &&
	    open_channel(resolver, &resolver->channel) == 0)
		return resolver;
	free(resolver->servers);
	free(resolver);
	return NULL;
}

/* ---- Answers ---------------------------------------------------------------------------------- */

/* An answer holds as long as each of its parts. More than 2^31 seconds count as none
 * (RFC 2181 8). */
static void heed_ttl(struct question *question, int ttl_s)
{
	if (ttl_s < question->ttl_s)
		question->ttl_s = ttl_s < 0 ? 0 : ttl_s;
}

static void add_address(struct osh_addresses *addresses, const struct sockaddr *addr)
{
	if (addresses->count < OSH_ADDRESSES_MAX && osh_inet_of(addr, &addresses->items[addresses->count]))
		addresses->count++;
}

static void collect(struct question *question, const struct ares_addrinfo *info)
{
	for (const struct ares_addrinfo_cname *c = info->cnames; c; c = c->next)
		heed_ttl(question, c->ttl);
	for (const struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next) {
		heed_ttl(question, n->ai_ttl);
		add_address(&question->addresses, n->ai_addr);
	}
}

static struct known *find_known(const struct osh_resolver *resolver, const char *host)
{
	struct known *known;

	HASH_FIND_STR(resolver->known, host, known);
	return known;
}

static void forget(struct osh_resolver *resolver, struct known *known)
{
	HASH_DEL(resolver->known, known);
	free(known);
}

/* Moved to the end: the first is the one of which nothing was heard for longest. */
static void remember(const struct question *question, uint64_t hold_ms)
{
	struct osh_resolver *resolver = question->resolver;
	struct known *known = find_known(resolver, question->host);

	if (known)
		forget(resolver, known);
	else if (HASH_COUNT(resolver->known) >= KNOWN_MAX)
		forget(resolver, resolver->known);
	known = calloc(1, sizeof(*known));
	if (!known)
		return;
	memcpy(known->host, question->host, sizeof(known->host));
	known->addresses = question->addresses;
	known->status = question->status;
	known->expires_ms = osh_loop_now_ms(resolver->loop) + hold_ms;
	HASH_ADD_STR(resolver->known, host, known);
}

/* What only one family answered is not kept: the other may come to its senses before it is over. A
 * failure is kept for a moment, so that a loop of connects asks for a name once in it. */
static uint64_t hold_ms(const struct question *question, bool is_whole)
{
	if (question->addresses.count)
		return is_whole ? (uint64_t)question->ttl_s * 1000 : 0;
	return question->status == ARES_ENOMEM ? 0 : osh_resolver_pace.failed_ms;
}

/* Tell what is known. */
static void finish(struct question *question, bool is_whole)
{
	struct osh_addresses *addresses = &question->addresses;
	struct osh_lookup *lookup;

	osh_loop_timer_cancel(question->resolver->loop, &question->patience);
	HASH_DEL(question->resolver->questions, question);
	question->is_told = true;
	addresses->timed_out = !addresses->count && question->status == ARES_ETIMEOUT;
	remember(question, hold_ms(question, is_whole));
	while ((lookup = question->lookups)) {
		struct osh_lookup taken = *lookup;

		DL_DELETE(question->lookups, lookup);
		free(lookup);
		taken.done(taken.context, addresses, addresses->count ? NULL : ares_strerror(question->status));
	}
}

/* One answer less to wait for. */
static void release(struct question *question)
{
	if (--question->waiting > 0)
		return;
	if (!question->is_told)
		finish(question, true);
	free(question);
}

static void on_patience(struct osh_timer *timer)
{
	finish(osh_container_of(timer, struct question, patience), false);
}

static void send_half(struct half *half);

static void on_answer(void *context, int status, int timeouts, struct ares_addrinfo *info)
{
	struct half *half = context;
	struct question *question = half->question;

	(void)timeouts;
	if (status == ARES_ECANCELLED && !question->is_told) {
		send_half(half); /* of the servers that are asked now */
		return;
	}
	if (status == ARES_SUCCESS)
		collect(question, info);
	else
		question->status = status;
	if (info)
		ares_freeaddrinfo(info);
	if (question->waiting > 1 && question->addresses.count && !question->is_told)
		(void)osh_loop_timer_set(question->resolver->loop, &question->patience, PATIENCE_MS);
	release(question);
}

/* ---- Asking ------------------------------------------------------------------------------------ */

static void send_half(struct half *half)
{
	struct ares_addrinfo_hints hints = { .ai_family = half->family };

	ares_getaddrinfo(half->question->resolver->channel, half->question->host, NULL, &hints, on_answer, half);
}

/* False: it is over already, and told. */
static bool send_question(struct question *question)
{
	struct osh_resolver *resolver = question->resolver;
	bool waits;

	question->waiting = 1 + OSH_COUNT_OF(question->halves); /* this function: either may fail at once */
	for (size_t i = 0; i < OSH_COUNT_OF(question->halves); i++)
		send_half(&question->halves[i]);
	arm_timer(resolver);
	waits = question->waiting > 1;
	release(question);
	return waits;
}

static struct question *find_question(const struct osh_resolver *resolver, const char *host)
{
	struct question *question;

	HASH_FIND_STR(resolver->questions, host, question);
	return question;
}

static struct question *new_question(struct osh_resolver *resolver, const char *host)
{
	struct question *question = calloc(1, sizeof(*question));

	if (!question)
		return NULL;
	question->resolver = resolver;
	snprintf(question->host, sizeof(question->host), "%s", host);
	question->halves[0] = (struct half){ question, AF_INET6 };
	question->halves[1] = (struct half){ question, AF_INET };
	question->ttl_s = TTL_MAX_S;
	question->status = ARES_ENODATA;
	question->patience.on_expire = on_patience;
	HASH_ADD_STR(resolver->questions, host, question);
	return question;
}

/* Of one family, from /etc/hosts (hosts(5)). Returns what c-ares says. */
static int look_into_hosts(struct osh_resolver *resolver, const char *host, int family,
			   struct osh_addresses *addresses)
{
	struct hostent *entry = NULL;
	int status = ares_gethostbyname_file(resolver->channel, host, family, &entry);

	if (status != ARES_SUCCESS)
		return status;
	for (char **a = entry->h_addr_list; *a && addresses->count < OSH_ADDRESSES_MAX; a++) {
		struct in6_addr *to = &addresses->items[addresses->count++];
		struct in_addr v4;

		memcpy(&v4, *a, sizeof(v4));
		if (family == AF_INET)
			*to = osh_inet_map(v4);
		else
			memcpy(to, *a, sizeof(*to));
	}
	ares_free_hostent(entry);
	return ARES_SUCCESS;
}

/* Returns NULL, or why nothing is known of what it says: a name may be pinned there, so that this is no
 * reason to ask somebody else. That it is absent says that it names nobody. */
static const char *ask_hosts(struct osh_resolver *resolver, const char *host, struct osh_addresses *addresses)
{
	int v4 = look_into_hosts(resolver, host, AF_INET, addresses);
	int v6 = look_into_hosts(resolver, host, AF_INET6, addresses);
	bool failed = v4 == ARES_EFILE || v4 == ARES_ENOMEM || v6 == ARES_EFILE || v6 == ARES_ENOMEM;

	if (failed && !resolver->told_hosts)
		osh_warning("cannot read " HOSTS ": no name can be resolved");
	resolver->told_hosts = failed;
	if (failed)
		addresses->count = 0;
	return failed ? HOSTS " cannot be read" : NULL;
}

static void say_loopback(struct osh_addresses *found)
{
	found->count = OSH_COUNT_OF(osh_host_loopbacks);
	memcpy(found->items, osh_host_loopbacks, sizeof(osh_host_loopbacks));
}

/* What is known without asking anybody: addresses, or why there are none. False: nothing. */
static bool answer_at_once(struct osh_resolver *resolver, const char *host, struct osh_addresses *found,
			   const char **ret_error)
{
	const struct known *known = find_known(resolver, host);

	if (osh_host_is_localhost(osh_str(host))) {
		say_loopback(found);
	} else if (known && known->expires_ms > osh_loop_now_ms(resolver->loop)) {
		*found = known->addresses;
		*ret_error = found->count ? NULL : ares_strerror(known->status);
	} else {
		*ret_error = ask_hosts(resolver, host, found);
	}
	if (!found->count && !*ret_error && osh_host_is_gateway(osh_str(host)))
		*ret_error = "no such name in " HOSTS;
	return found->count > 0 || *ret_error;
}

/* To wait for, sent or not (waiting: 0). NULL: it cannot be asked, as *ret_error says. */
static struct question *open_question(struct osh_resolver *resolver, struct osh_meter *payer, const char *host,
				      const char **ret_error)
{
	struct question *question = find_question(resolver, host);

	if (question)
		return question;
	if (payer && !find_known(resolver, host))
		*ret_error = osh_meter_ask(payer);
	if (*ret_error)
		return NULL;
	question = new_question(resolver, host);
	if (!question)
		*ret_error = "out of memory";
	return question;
}

struct osh_lookup *osh_resolver_ask(struct osh_resolver *resolver, struct osh_meter *payer, const char *host,
				    void (*done)(void *context, const struct osh_addresses *addresses,
						 const char *error),
				    void *context)
{
	struct osh_addresses found = { .count = 0 };
	struct osh_lookup *lookup = NULL;
	struct question *question = NULL;
	const char *error = NULL;

	follow_hosts(resolver);
	follow_conf(resolver);
	if (!answer_at_once(resolver, host, &found, &error)) {
		lookup = calloc(1, sizeof(*lookup));
		question = lookup ? open_question(resolver, payer, host, &error) : NULL;
	}
	if (!question) {
		free(lookup);
		done(context, &found, found.count || error ? error : "out of memory");
		return NULL;
	}
	*lookup = (struct osh_lookup){ .question = question, .done = done, .context = context };
	DL_APPEND(question->lookups, lookup);
	return question->waiting > 0 || send_question(question) ? lookup : NULL;
}

void osh_lookup_cancel(struct osh_lookup *lookup)
{
	if (!lookup)
		return;
	DL_DELETE(lookup->question->lookups, lookup); /* the question goes on: others may want to know */
	free(lookup);
}
