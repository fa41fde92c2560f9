/* Compressed bodies: never more than the bound, and never more than one meaning. */
#include "proxy/inspect.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	enum osh_inflate_result results[2];
	struct osh_buf out[2];
	enum osh_coding coding;
	struct osh_str bytes;

	if (size < 1)
		return 0;
	coding = data[0] & 1 ? OSH_CODING_GZIP : OSH_CODING_DEFLATE;
	bytes = osh_str_n((const char *)data + 1, size - 1);
	for (int i = 0; i < 2; i++) {
		osh_buf_init(&out[i], i ? 64u << 10 : 100);
		results[i] = osh_inflate(coding, bytes, &out[i]);
		if (out[i].len > out[i].max || out[i].room > out[i].max)
			abort();
	}
	/* What fits the small bound is the same under the large one. */
	if (results[0] == OSH_INFLATE_OK &&
	    (results[1] != OSH_INFLATE_OK || !osh_str_eq(osh_buf_str(&out[0]), osh_buf_str(&out[1]))))
		abort();
	osh_buf_done(&out[0]);
	osh_buf_done(&out[1]);
	return 0;
}
