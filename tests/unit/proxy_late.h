/* A server of proxy_world.h that has the client's hello, and answers it when a test lets it. */
#ifndef OSH_TESTS_PROXY_LATE_H
#define OSH_TESTS_PROXY_LATE_H

#include "proxy_world.h"

static sem_t greeted, may_greet;

static int greet_late(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
		      unsigned in_len, void *context)
{
	(void)ssl, (void)out, (void)out_len, (void)in, (void)in_len, (void)context;
	sem_post(&greeted);
	sem_wait(&may_greet);
	return SSL_TLSEXT_ERR_NOACK;
}

static void be_late(void)
{
	SSL_CTX_set_alpn_select_cb(world.server_ctx, greet_late, NULL);
}

static void init_late(void)
{
	sem_init(&greeted, 0, 0);
	sem_init(&may_greet, 0, 0);
}

#endif
