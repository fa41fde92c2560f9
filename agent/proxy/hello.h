/* The first flight of a TLS client (RFC 8446 4.1.2, RFC 5246 7.4.1.2), read for one
 * thing: the server name it asks for (RFC 6066 3). Pure over bytes; OpenSSL still
 * parses them for real where the connection is terminated. */
#ifndef OSH_PROXY_HELLO_H
#define OSH_PROXY_HELLO_H

#include "base/str.h"
#include "openshell/limits.h"

#define OSH_HELLO_FIRST_BYTE 22       /* handshake record */
#define OSH_HELLO_BYTES_MAX (16 << 10) /* records and all; a longer hello is BAD */

enum osh_hello_result { OSH_HELLO_NEED_MORE, OSH_HELLO_DONE, OSH_HELLO_BAD };

struct osh_hello {
	struct osh_str sni; /* empty when none was sent; points into name */
	char name[OSH_HOST_MAX];
};

/* `bytes` start at the first byte of the connection. What follows the ClientHello is not
 * looked at. The name holds only visible ASCII; whether it is a host name is asked of
 * osh_host_parse. ret is filled on DONE. */
enum osh_hello_result osh_hello_parse(struct osh_str bytes, struct osh_hello *ret_hello);

#endif
