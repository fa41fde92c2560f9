/* The proxy that a company puts before the internet (`upstream_proxy` of the agent's
 * configuration): which hosts are reached through it, and what is said to it (CONNECT,
 * RFC 9110 9.3.6). It changes how a host is reached and nothing else: verdicts, the address
 * guard and TLS verification come as without it. Pure. */
#ifndef OSH_PROXY_VIA_H
#define OSH_PROXY_VIA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/secret.h"
#include "policy/document.h"
#include "policy/host.h"
#include "proxy/http_head.h"
#include "proxy/resolver.h"

#define OSH_VIA_DIRECT_MAX 32
#define OSH_VIA_BYTES_MAX (16u << 10)     /* encoded */
#define OSH_VIA_CREDENTIAL_MAX 512        /* "user:password" */
#define OSH_VIA_CONNECT_MAX 2048          /* what osh_via_write_connect writes at most */

/* What the agent was told. */
struct osh_via_settings {
	const char *host;          /* of the proxy, name or address; NULL or "": there is none */
	uint16_t port_host;
	struct osh_str credential; /* "user:password" for Basic (RFC 7617); empty: none */
	const char *const *direct; /* NULL-terminated, see osh_via_direct_parse; NULL: none */
};

/* What is reached without the proxy: a name, with every name below it, or addresses. */
struct osh_via_direct {
	bool is_range;
	struct osh_cidr range;
	struct osh_host host;
};

struct osh_via {
	struct osh_host host;
	uint16_t port_host;         /* 0: there is no proxy */
	struct osh_secret basic;    /* the credential in base64 */
	struct osh_via_direct direct[OSH_VIA_DIRECT_MAX];
	size_t direct_count;
};

/* "name", ".name" and "*.name" mean the same; "addr" and "addr/bits" are addresses. Returns
 * 0 or -EINVAL. */
int osh_via_direct_parse(struct osh_str text, struct osh_via_direct *ret_direct);

/* For the way to the proxy process. `out` is to be a secret one. Returns 0, -ENOMEM or -ENOBUFS. */
int osh_via_encode(const struct osh_via_settings *settings, struct osh_buf *out);
/* Returns 0, -EBADMSG or -ENOMEM; osh_via_done after success. */
int osh_via_decode(struct osh_str bytes, struct osh_via *ret_via);
void osh_via_done(struct osh_via *via);

/* Is this host reached through the proxy? Not so when it is named in `direct`, by name or by
 * all of its addresses (none: by name alone), or is the sandbox's own machine. */
bool osh_via_serves(const struct osh_via *via, const struct osh_host *host,
		    const struct osh_addresses *addresses);

/* Ask for a tunnel. `out` holds the credential then. Returns 0, -ENOMEM or -ENOBUFS. */
int osh_via_write_connect(const struct osh_via *via, const struct osh_host *host, uint16_t port_host,
			  struct osh_buf *out);
/* Read the answer. NEED_MORE; DONE: the tunnel begins behind `*ret_len` bytes; BAD: there is
 * none, and `why` says so in words and what to do. */
enum osh_http_result osh_via_read_answer(const struct osh_via *via, struct osh_str in,
					 struct osh_http_scan *scan, size_t *ret_len, char *why, size_t size);

#endif
