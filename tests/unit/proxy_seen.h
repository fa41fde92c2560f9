/* What arrived at a scripted server of proxy_world.h, for the tests to look at. */
#ifndef OSH_TESTS_PROXY_SEEN_H
#define OSH_TESTS_PROXY_SEEN_H

#include "proxy_world.h"

static struct {
	pthread_mutex_t lock;
	char bytes[1 << 20];
	size_t len;
} seen = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void note(const char *data, size_t len)
{
	pthread_mutex_lock(&seen.lock);
	if (len > sizeof(seen.bytes) - seen.len)
		len = sizeof(seen.bytes) - seen.len;
	if (len)
		memcpy(seen.bytes + seen.len, data, len);
	seen.len += len;
	pthread_mutex_unlock(&seen.lock);
}

static bool server_saw(const char *text)
{
	bool found;

	pthread_mutex_lock(&seen.lock);
	found = memmem(seen.bytes, seen.len, text, strlen(text)) != NULL;
	pthread_mutex_unlock(&seen.lock);
	return found;
}

#endif
