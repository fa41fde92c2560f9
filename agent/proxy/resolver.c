#include "proxy/resolver.h"

#include <ares.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <uthash.h>
#include <utlist.h>

#include "base/mem.h"
#include "openshell/limits.h"
#include "policy/host.h"

#define CACHE_MAX 1024
#define TTL_MAX_S 300
#define QUERY_TIMEOUT_MS 2000
#define QUERY_TRIES 3

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

struct osh_lookup {
	struct osh_resolver *resolver;
	char host[OSH_HOST_MAX];
	void (*done)(void *context, const struct osh_addresses *addresses, const char *error);
	void *context; /* done NULL: cancelled */
	bool finished, returned;
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
	struct ares_options options = {
		.flags = ARES_FLAG_NOSEARCH,
		.timeout = QUERY_TIMEOUT_MS,
		.tries = QUERY_TRIES,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = resolver,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;

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

/* Returns for how long the answer holds: as long as each of its parts. More than 2^31 seconds
 * count as none (RFC 2181 8). */
static int collect(const struct ares_addrinfo *info, struct osh_addresses *addresses)
{
	int ttl = TTL_MAX_S;

	addresses->count = 0;
	for (const struct ares_addrinfo_cname *c = info->cnames; c; c = c->next) {
		if (c->ttl < ttl)
			ttl = c->ttl;
	}
	for (const struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next) {
		struct in6_addr *to = &addresses->items[addresses->count];

		if (addresses->count == OSH_ADDRESSES_MAX)
			break;
		if (n->ai_family == AF_INET6) {
			*to = ((const struct sockaddr_in6 *)(const void *)n->ai_addr)->sin6_addr;
		} else if (n->ai_family == AF_INET) {
			const struct sockaddr_in *v4 = (const void *)n->ai_addr;

			map_v4(&v4->sin_addr, to);
		} else {
			continue;
		}
		addresses->count++;
		if (n->ai_ttl < ttl)
			ttl = n->ai_ttl;
	}
	return ttl < 0 ? 0 : ttl;
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

static void on_answer(void *context, int status, int timeouts, struct ares_addrinfo *info)
{
	struct osh_lookup *lookup = context;
	struct osh_addresses addresses = { .count = 0 };
	const char *error = NULL;

	(void)timeouts;
	if (status == ARES_SUCCESS) {
		int ttl_s = collect(info, &addresses);

		remember(lookup->resolver, lookup->host, &addresses, ttl_s);
	}
	if (addresses.count == 0)
		error = status == ARES_SUCCESS ? "no address" : ares_strerror(status);
	if (info)
		ares_freeaddrinfo(info);
	lookup->finished = true;
	if (lookup->done)
		lookup->done(lookup->context, &addresses, error);
	if (lookup->returned)
		free(lookup);
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

struct osh_lookup *osh_resolver_ask(struct osh_resolver *resolver, const char *host,
				    void (*done)(void *context, const struct osh_addresses *addresses,
						 const char *error),
				    void *context)
{
	struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC };
	const struct osh_addresses *known = recall(resolver, host);
	struct osh_addresses none = { .count = 0 };
	struct osh_lookup *lookup;

	if (osh_host_is_gateway(osh_str(host))) {
		struct osh_addresses found;

		ask_hosts(resolver, host, &found);
		done(context, &found, found.count ? NULL : "no such name in /etc/hosts");
		return NULL;
	}
	if (known) {
		struct osh_addresses copy = *known;

		done(context, &copy, NULL);
		return NULL;
	}
	lookup = calloc(1, sizeof(*lookup));
	if (!lookup) {
		done(context, &none, "out of memory");
		return NULL;
	}
	lookup->resolver = resolver;
	snprintf(lookup->host, sizeof(lookup->host), "%s", host);
	lookup->done = done;
	lookup->context = context;
	ares_getaddrinfo(resolver->channel, host, NULL, &hints, on_answer, lookup);
	if (lookup->finished) { /* answered from /etc/hosts, or failed at once */
		free(lookup);
		return NULL;
	}
	lookup->returned = true;
	arm_timer(resolver);
	return lookup;
}

void osh_lookup_cancel(struct osh_lookup *lookup)
{
	if (lookup)
		lookup->done = NULL; /* freed when c-ares answers */
}
