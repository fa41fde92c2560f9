/* What a client speaks: more bytes never change an answer that was given, and the words fit. */
#include <stdint.h>
#include <stdlib.h>

#include "proxy/farewell.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum osh_tongue whole = osh_tongue_of(osh_str_n((const char *)data, size));
	char reason[256] = "";
	struct osh_buf out;

	for (size_t len = 0; len < size && len < 16; len++) {
		enum osh_tongue part = osh_tongue_of(osh_str_n((const char *)data, len));

		if (part != OSH_TONGUE_MORE && part != whole)
			abort();
	}
	for (size_t i = 0; i < size && i < sizeof(reason) - 1; i++)
		reason[i] = (char)(data[i] ? data[i] : ' ');
	osh_buf_init(&out, OSH_FAREWELL_BYTES_MAX);
	for (int tongue = OSH_TONGUE_TLS; tongue <= OSH_TONGUE_POSTGRES_ASKS; tongue++) {
		osh_buf_clear(&out);
		if (osh_farewell_write((enum osh_tongue)tongue, reason, &out) < 0)
			abort();
	}
	osh_buf_done(&out);
	return 0;
}
