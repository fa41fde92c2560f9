/* What a worker keeps of its connections to servers, for the files that open them. Each
 * shelf is one key: idle HTTP/1.1 connections, and HTTP/2 ones that take more streams. */
#ifndef OSH_PROXY_UPSTREAM_POOL_H
#define OSH_PROXY_UPSTREAM_POOL_H

#include "proxy/upstream.h"

struct osh_http2_client;

/* The most recently used idle connection of this key, or NULL. As far as is known it still
 * lives; on plain TCP, or for OSH_UPSTREAM_SURE, it was asked just now. */
struct osh_upstream *osh_upstream_pool_take(struct osh_upstream_pool *pool,
					    const struct osh_upstream_key *key,
					    enum osh_upstream_use use);
/* An HTTP/2 connection of this key that takes one more stream, or NULL. */
struct osh_http2_client *osh_upstream_pool_share(struct osh_upstream_pool *pool,
						 const struct osh_upstream_key *key);
/* Offer a connection to others, and take it back; twice is fine. 0 or -ENOMEM. */
int osh_upstream_pool_offer(struct osh_upstream_pool *pool, struct osh_http2_client *client,
			    const struct osh_upstream_key *key);
void osh_upstream_pool_withdraw(struct osh_upstream_pool *pool, struct osh_http2_client *client);

/* Who dials for a key, so that others of the key can wait for what comes of it. */
void osh_upstream_pool_lead(struct osh_upstream_pool *pool, struct osh_upstream *leader);
void osh_upstream_pool_unlead(struct osh_upstream_pool *pool, struct osh_upstream *leader);
struct osh_upstream *osh_upstream_pool_leader(struct osh_upstream_pool *pool,
					      const struct osh_upstream_key *key);

#endif
