#include "proxy/resolver.h"

#include <ares.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/table.h"
#include "openshell/limits.h"
#include "policy/host.h"

#define CACHE_MAX 1024
#define TTL_MAX_S 300
#define QUERY_TRIES 3
#define PATIENCE_MS 250 /* with the other family, once one has answered */

unsigned osh_resolver_query_ms = 2000;

struct cached {
	char host[OSH_HOST_MAX];
	struct osh_addresses addresses;
	uint64_t expires_ms;
	UT_hash_handle hh;
};

/* A descriptor that c-ares wants watched. */
struct watch {
	struct osh_io io;
	struct osh_resolver *resolver;
	struct watch *next;
};

struct osh_resolver {
	struct osh_loop *loop;
	ares_channel channel;
	struct osh_timer timer;
	struct watch *watches;
	struct cached *cache;
};

/* A name's addresses are asked for by family, and one that is not answered holds up the other
 * only for a moment (RFC 8305 3). */
struct osh_lookup {
	struct osh_resolver *resolver;
	char host[OSH_HOST_MAX];
	void (*done)(void *context, const struct osh_addresses *addresses, const char *error);
	void *context;       /* done NULL: over, or cancelled */
	unsigned waiting;    /* for so many answers of c-ares; lives until it has them all */
	struct osh_timer patience;
	struct osh_addresses addresses;
	int ttl_s;
	int status;          /* of the last that failed */
};

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

struct osh_resolver *osh_resolver_new(struct osh_loop *loop, const char *servers)
{
	struct osh_resolver *resolver = calloc(1, sizeof(*resolver));
	static char servers_alone[] = "b"; /* /etc/hosts is looked into before */
	struct ares_options options = {
		.flags = ARES_FLAG_NOSEARCH,
		.lookups = servers_alone,
		.timeout = (int)osh_resolver_query_ms,
		.tries = QUERY_TRIES,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = resolver,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB |
		   ARES_OPT_LOOKUPS;

	if (!resolver)
		return NULL;
	resolver->loop = loop;
	resolver->timer.on_expire = on_timer;
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS ||
	    ares_init_options(&resolver->channel, &options, mask) != ARES_SUCCESS) {
		free(resolver);
		return NULL;
	}
	if (*servers && ares_set_servers_ports_csv(resolver->channel, servers) != ARES_SUCCESS) {
		ares_destroy(resolver->channel);
		free(resolver);
		return NULL;
	}
	return resolver;
}

static void map_v4(const void *v4, struct in6_addr *ret)
{
	*ret = (struct in6_addr)IN6ADDR_ANY_INIT;
	ret->s6_addr[10] = 0xff;
	ret->s6_addr[11] = 0xff;
	memcpy(&ret->s6_addr[12], v4, 4);
}

/* An answer holds as long as each of its parts. More than 2^31 seconds count as none
 * (RFC 2181 8). */
static void heed_ttl(struct osh_lookup *lookup, int ttl_s)
{
	if (ttl_s < lookup->ttl_s)
		lookup->ttl_s = ttl_s < 0 ? 0 : ttl_s;
}

static void add_address(struct osh_addresses *addresses, const struct sockaddr *addr)
{
	struct in6_addr *to = &addresses->items[addresses->count];

	if (addresses->count == OSH_ADDRESSES_MAX)
		return;
	if (addr->sa_family == AF_INET6)
		*to = ((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;
	else
		map_v4(&((const struct sockaddr_in *)(const void *)addr)->sin_addr, to);
	addresses->count++;
}

static void collect(struct osh_lookup *lookup, const struct ares_addrinfo *info)
{
	for (const struct ares_addrinfo_cname *c = info->cnames; c; c = c->next)
		heed_ttl(lookup, c->ttl);
	for (const struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next) {
		heed_ttl(lookup, n->ai_ttl);
		add_address(&lookup->addresses, n->ai_addr);
	}
}

static void remember(struct osh_resolver *resolver, const char *host,
		     const struct osh_addresses *addresses, int ttl_s)
{
	struct cached *cached;

	if (ttl_s == 0)
		return;
	HASH_FIND_STR(resolver->cache, host, cached);
	if (cached) { /* two flows asked at once */
		HASH_DEL(resolver->cache, cached);
		free(cached);
	}
	if (HASH_COUNT(resolver->cache) >= CACHE_MAX) {
		cached = resolver->cache; /* the oldest */
		HASH_DEL(resolver->cache, cached);
		free(cached);
	}
	cached = calloc(1, sizeof(*cached));
	if (!cached)
		return;
	snprintf(cached->host, sizeof(cached->host), "%s", host);
	cached->addresses = *addresses;
	cached->expires_ms = osh_loop_now_ms(resolver->loop) + (uint64_t)ttl_s * 1000;
	HASH_ADD_STR(resolver->cache, host, cached);
}

static const struct osh_addresses *recall(struct osh_resolver *resolver, const char *host)
{
	struct cached *cached;

	HASH_FIND_STR(resolver->cache, host, cached);
	if (!cached)
		return NULL;
	if (cached->expires_ms > osh_loop_now_ms(resolver->loop))
		return &cached->addresses;
	HASH_DEL(resolver->cache, cached);
	free(cached);
	return NULL;
}

/* Tell what is known. What only one family answered is not kept: the other may come to its
 * senses before it is over. */
static void finish(struct osh_lookup *lookup)
{
	void (*done)(void *context, const struct osh_addresses *addresses, const char *error) = lookup->done;
	bool is_partial = lookup->waiting > 0;

	osh_loop_timer_cancel(lookup->resolver->loop, &lookup->patience);
	lookup->done = NULL;
	if (!done)
		return;
	if (lookup->addresses.count && !is_partial)
		remember(lookup->resolver, lookup->host, &lookup->addresses, lookup->ttl_s);
	lookup->addresses.timed_out = !lookup->addresses.count && lookup->status == ARES_ETIMEOUT;
	done(lookup->context, &lookup->addresses,
	     lookup->addresses.count ? NULL : ares_strerror(lookup->status));
}

static void on_patience(struct osh_timer *timer)
{
	finish(osh_container_of(timer, struct osh_lookup, patience));
}

static void on_answer(void *context, int status, int timeouts, struct ares_addrinfo *info)
{
	struct osh_lookup *lookup = context;

	(void)timeouts;
	lookup->waiting--;
	if (status == ARES_SUCCESS)
		collect(lookup, info);
	else
		lookup->status = status;
	if (info)
		ares_freeaddrinfo(info);
	if (lookup->waiting == 0) {
		finish(lookup);
		free(lookup);
	} else if (lookup->addresses.count && lookup->done) {
		(void)osh_loop_timer_set(lookup->resolver->loop, &lookup->patience, PATIENCE_MS);
	}
}

/* Of one family, from /etc/hosts (hosts(5)). */
static void look_into_hosts(struct osh_resolver *resolver, const char *host, int family,
			    struct osh_addresses *addresses)
{
	struct hostent *entry = NULL;

	if (ares_gethostbyname_file(resolver->channel, host, family, &entry) != ARES_SUCCESS)
		return;
	for (char **a = entry->h_addr_list; *a && addresses->count < OSH_ADDRESSES_MAX; a++) {
		struct in6_addr *to = &addresses->items[addresses->count++];

		if (family == AF_INET)
			map_v4(*a, to);
		else
			memcpy(to, *a, sizeof(*to));
	}
	ares_free_hostent(entry);
}

static void ask_hosts(struct osh_resolver *resolver, const char *host, struct osh_addresses *addresses)
{
	addresses->count = 0;
	look_into_hosts(resolver, host, AF_INET, addresses);
	look_into_hosts(resolver, host, AF_INET6, addresses);
}

static void send_query(struct osh_lookup *lookup, int family)
{
	struct ares_addrinfo_hints hints = { .ai_family = family };

	lookup->waiting++;
	ares_getaddrinfo(lookup->resolver->channel, lookup->host, NULL, &hints, on_answer, lookup);
}

/* Returns the lookup, NULL when it is over already. */
static struct osh_lookup *ask_servers(struct osh_lookup *lookup)
{
	lookup->waiting = 1; /* for this function: a query may fail at once */
	send_query(lookup, AF_INET6);
	send_query(lookup, AF_INET);
	arm_timer(lookup->resolver);
	if (--lookup->waiting > 0)
		return lookup;
	finish(lookup);
	free(lookup);
	return NULL;
}

/* What is known without asking anybody. */
static bool answer_at_once(struct osh_resolver *resolver, const char *host, struct osh_addresses *found)
{
	const struct osh_addresses *known = recall(resolver, host);

	if (known)
		*found = *known;
	else
		ask_hosts(resolver, host, found);
	return found->count > 0;
}

struct osh_lookup *osh_resolver_ask(struct osh_resolver *resolver, const char *host,
				    void (*done)(void *context, const struct osh_addresses *addresses,
						 const char *error),
				    void *context)
{
	struct osh_addresses found;
	struct osh_lookup *lookup;

	if (answer_at_once(resolver, host, &found)) {
		done(context, &found, NULL);
		return NULL;
	}
	if (osh_host_is_gateway(osh_str(host))) {
		done(context, &found, "no such name in /etc/hosts");
		return NULL;
	}
	lookup = calloc(1, sizeof(*lookup));
	if (!lookup) {
		done(context, &found, "out of memory");
		return NULL;
	}
	lookup->resolver = resolver;
	snprintf(lookup->host, sizeof(lookup->host), "%s", host);
	lookup->done = done;
	lookup->context = context;
	lookup->ttl_s = TTL_MAX_S;
	lookup->status = ARES_ENODATA;
	lookup->patience.on_expire = on_patience;
	return ask_servers(lookup);
}

void osh_lookup_cancel(struct osh_lookup *lookup)
{
	if (!lookup)
		return;
	osh_loop_timer_cancel(lookup->resolver->loop, &lookup->patience);
	lookup->done = NULL; /* freed when c-ares answers */
}
