#include "proxy/tls_socket.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>

#define FLAG_MORE 0x1000 /* beside those of bio.h, of which a socket has BIO_FLAGS_IN_EOF alone */

static int fd_of(BIO *bio)
{
	return (int)(intptr_t)BIO_get_data(bio);
}

static bool is_for_now(void)
{
	return errno == EAGAIN || errno == EINTR;
}

static int socket_write(BIO *bio, const char *data, int len)
{
	ssize_t n = send(fd_of(bio), data, (size_t)len,
			 MSG_NOSIGNAL | (BIO_test_flags(bio, FLAG_MORE) ? MSG_MORE : 0));

	BIO_clear_retry_flags(bio);
	if (n < 0 && is_for_now())
		BIO_set_retry_write(bio);
	return (int)n;
}

static int socket_read(BIO *bio, char *data, int len)
{
	ssize_t n = recv(fd_of(bio), data, (size_t)len, 0);

	BIO_clear_retry_flags(bio);
	if (n < 0 && is_for_now())
		BIO_set_retry_read(bio);
	if (n == 0)
		BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
	return (int)n;
}

static long socket_control(BIO *bio, int command, long number, void *data)
{
	(void)number;
	(void)data;
	switch (command) {
	case BIO_CTRL_EOF: /* tells an end without close_notify from an error of the socket */
		return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
	case BIO_CTRL_FLUSH: /* nothing is kept back here */
		return 1;
	}
	return 0;
}

static BIO_METHOD *method;

static void make_method(void)
{
	BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");

	if (!made)
		return;
	BIO_meth_set_write(made, socket_write);
	BIO_meth_set_read(made, socket_read);
	BIO_meth_set_ctrl(made, socket_control);
	method = made;
}

int osh_tls_socket_set(SSL *ssl, int fd)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BIO *bio;

	pthread_once(&once, make_method);
	bio = method ? BIO_new(method) : NULL;
	if (!bio)
		return -ENOMEM;
	BIO_set_data(bio, (void *)(intptr_t)fd);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	return 0;
}

void osh_tls_socket_more(SSL *ssl, bool more)
{
	if (more)
		BIO_set_flags(SSL_get_wbio(ssl), FLAG_MORE);
	else
		BIO_clear_flags(SSL_get_wbio(ssl), FLAG_MORE);
}
