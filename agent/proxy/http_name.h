/* The header fields that something here acts on. A name is looked up once, when its line is read;
 * whoever asks for a field later compares numbers. Pure. */
#ifndef OSH_PROXY_HTTP_NAME_H
#define OSH_PROXY_HTTP_NAME_H

#include <stdbool.h>

#include "base/str.h"

enum osh_http_name {
	OSH_HTTP_OTHER,
	OSH_HTTP_AUTHORIZATION,
	OSH_HTTP_CONNECTION,
	OSH_HTTP_CONTENT_ENCODING,
	OSH_HTTP_CONTENT_LENGTH,
	OSH_HTTP_CONTENT_TYPE,
	OSH_HTTP_EXPECT,
	OSH_HTTP_HOST,
	OSH_HTTP_PROXY_CONNECTION,
	OSH_HTTP_SEC_WEBSOCKET_ACCEPT,
	OSH_HTTP_SEC_WEBSOCKET_EXTENSIONS,
	OSH_HTTP_SEC_WEBSOCKET_KEY,
	OSH_HTTP_SEC_WEBSOCKET_VERSION,
	OSH_HTTP_TRANSFER_ENCODING,
	OSH_HTTP_UPGRADE,
};

/* A set of names. */
#define OSH_HTTP_NAME_BIT(name) (1u << (name))

/* The name's number (ASCII case ignored), and whether the field stays here: it is of one connection only
 * (RFC 9110 7.6.1), is written anew by us, or would make some server see another method, path, host or
 * client than was judged. CGI and its heirs read '_' as '-' (RFC 3875 4.1.18): the number is of the exact
 * name alone, and another spelling of a name that is here stays here. */
enum osh_http_name osh_http_name_of(struct osh_str name, bool *ret_stays);

/* Does the name begin so (in small letters), read in that way? */
bool osh_http_name_begins(struct osh_str name, struct osh_str prefix);

#endif
