/* The head of an HTTP/1.1 message (RFC 9112): start line and fields, read strictly. What
 * two parsers could read in two ways is refused here, so that the message that is judged
 * is the message that the server sees. Pure over bytes. */
#ifndef OSH_PROXY_HTTP_HEAD_H
#define OSH_PROXY_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/http_name.h"

#define OSH_HTTP_REQUEST_HEAD_MAX (32u << 10)
#define OSH_HTTP_RESPONSE_HEAD_MAX (60u << 10) /* below OSH_CONN_BUF_MAX: it must fit */
#define OSH_HTTP_OWN_HEAD_MAX (64u << 10)      /* OSH_CONN_BUF_MAX: credentials make heads longer */
#define OSH_HTTP_TARGET_MAX (16u << 10)
#define OSH_HTTP_METHOD_MAX 64
#define OSH_HTTP_FIELDS_MAX 100
#define OSH_HTTP_LENGTH_MAX (UINT64_MAX >> 1)

enum osh_http_result { OSH_HTTP_NEED_MORE, OSH_HTTP_DONE, OSH_HTTP_BAD };

struct osh_http_field {
	struct osh_str name, value; /* value without blanks around it */
	enum osh_http_name known;
	bool stays;                 /* osh_http_name_of */
};

/* How long the body is. */
enum osh_http_framing {
	OSH_HTTP_BODY_NONE,
	OSH_HTTP_BODY_LENGTH,
	OSH_HTTP_BODY_CHUNKED,
	OSH_HTTP_BODY_UNTIL_CLOSE, /* responses only */
};

/* All slices point into the bytes that were parsed. */
struct osh_http_head {
	struct osh_str method, target;   /* request */
	unsigned status;                 /* response */
	struct osh_str phrase;
	unsigned minor;                  /* HTTP/1.minor */
	size_t len;                      /* bytes of the head, empty line included */
	unsigned seen, repeated;         /* OSH_HTTP_NAME_BIT of the known names that are there, and there again */
	/* What the fields say. */
	enum osh_http_framing framing;
	uint64_t length;                 /* OSH_HTTP_BODY_LENGTH */
	struct osh_str host;             /* request */
	struct osh_str upgrade;          /* value of Upgrade, when Connection names it */
	bool close;                      /* the connection ends after this message */
	bool connection_names;           /* Connection lists more than how this one goes on */
	bool expect_continue;
	size_t field_count;
	struct osh_http_field fields[OSH_HTTP_FIELDS_MAX]; /* last: most of it is seldom touched */
};

/* Why a head is BAD: a phrase for people and the status to answer a client with. */
struct osh_http_error {
	const char *reason;
	unsigned status;
};

/* Where the scan for the end of the head stopped; start it zeroed for each message. */
struct osh_http_scan {
	size_t at;
	size_t line_start;
	bool has_start_line; /* complete and well formed */
	bool is_own;         /* a request that we wrote: OSH_HTTP_OWN_HEAD_MAX bounds it alone */
};

/* `bytes` start at the first byte of the message and hold at least what earlier calls
 * with this scan saw. ret_head is filled on DONE, ret_error on BAD. */
enum osh_http_result osh_http_parse_request(struct osh_str bytes, struct osh_http_scan *scan,
					    struct osh_http_head *ret_head,
					    struct osh_http_error *ret_error);
/* `to_head`: the request was HEAD. The framing is that of RFC 9112 6.3. */
enum osh_http_result osh_http_parse_response(struct osh_str bytes, bool to_head,
					     struct osh_http_scan *scan,
					     struct osh_http_head *ret_head,
					     struct osh_http_error *ret_error);

/* Trailer fields (RFC 9112 7.1.2): `bytes` are whole lines, the empty one excluded.
 * Returns 0 or -EBADMSG. */
int osh_http_parse_trailers(struct osh_str bytes, struct osh_http_field *fields, size_t max,
			    size_t *ret_count);

/* Copy a head with the fields that it has. Its slices point to where they did. */
void osh_http_head_copy(struct osh_http_head *to, const struct osh_http_head *from);

/* The first field of that name (not OSH_HTTP_OTHER); NULL when absent. */
const struct osh_http_field *osh_http_find(const struct osh_http_head *head, enum osh_http_name name);
/* Does a comma-separated list hold this token (ASCII case ignored)? */
bool osh_http_list_has(struct osh_str list, struct osh_str token);
bool osh_http_is_token(struct osh_str s);

#endif
