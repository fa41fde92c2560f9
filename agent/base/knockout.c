#include "base/knockout.h"

#ifdef OSH_KNOCKOUT

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

#define VARIABLE "OSH_LAYERS_OFF"

bool osh_layer_off(const char *layer)
{
	const char *item = getenv(VARIABLE);
	size_t len = strlen(layer);

	for (; item && *item; item += strcspn(item, ","), item += *item == ',') {
		if (strncmp(item, layer, len) == 0 && (item[len] == ',' || item[len] == '\0'))
			return true;
	}
	return false;
}

char *osh_layers_off(void)
{
	static char setting[1024];
	const char *value = getenv(VARIABLE);

	if (!value)
		return NULL;
	snprintf(setting, sizeof(setting), VARIABLE "=%s", value);
	return setting;
}

void osh_crash_point(void)
{
	static uint64_t passed;
	const char *text = getenv("OSH_CRASH_AT");
	uint64_t at;

	if (text && osh_str_parse_u64(osh_str(text), UINT64_MAX, &at) == 0 && ++passed == at)
		(void)kill(getpid(), SIGKILL);
}

#endif
