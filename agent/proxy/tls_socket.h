/* What OpenSSL reads from and writes to: a socket, by recv(2) and send(2). OpenSSL's own goes by
 * read(2) and write(2), which look at a file first, and knows no MSG_MORE. */
#ifndef OSH_PROXY_TLS_SOCKET_H
#define OSH_PROXY_TLS_SOCKET_H

#include <openssl/ssl.h>
#include <stdbool.h>

/* Put the SSL on a non-blocking socket, which stays the caller's. Returns 0 or -ENOMEM. */
int osh_tls_socket_set(SSL *ssl, int fd);

/* Does more follow what is written next? Then a part of a segment waits for it (MSG_MORE, send(2)):
 * the records of a burst leave as full segments, not one by one. */
void osh_tls_socket_more(SSL *ssl, bool more);

#endif
