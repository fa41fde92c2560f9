/* Hosts and authorities: what is accepted reads back as itself. */
#include <stdlib.h>
#include <string.h>

#include "policy/host.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct osh_str text = osh_str_n((const char *)data, size);
	struct osh_host host, again;
	uint16_t port;

	if (osh_host_parse(text, &host) == 0) {
		if (osh_host_parse(osh_str(host.text), &again) ||
		    strcmp(host.text, again.text) != 0)
			abort();
		if (strpbrk(host.text, " \t\r\n@#?/\\%*,\"'") || !host.text[0])
			abort();
	}
	if (osh_authority_parse(text, 443, &host, &port) == 0 && port == 0)
		abort();
	return 0;
}
