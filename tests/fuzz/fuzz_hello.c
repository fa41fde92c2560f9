/* ClientHello: any bytes, and the same answer however many more may follow. */
#include "proxy/hello.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct osh_hello whole, part;
	enum osh_hello_result result = osh_hello_parse(osh_str_n((const char *)data, size), &whole);

	if (result == OSH_HELLO_DONE) {
		for (size_t i = 0; i < whole.sni.len; i++) {
			if (whole.sni.data[i] <= 0x20 || (unsigned char)whole.sni.data[i] >= 0x7f)
				abort();
		}
	}
	/* A prefix never decides otherwise than the whole does. */
	if (size > 1 && result != OSH_HELLO_NEED_MORE) {
		enum osh_hello_result early = osh_hello_parse(
			osh_str_n((const char *)data, data[size - 1] % size), &part);

		if (early == OSH_HELLO_DONE &&
		    (result != OSH_HELLO_DONE || !osh_str_eq(part.sni, whole.sni)))
			abort();
		if (early == OSH_HELLO_BAD && result == OSH_HELLO_DONE)
			abort();
	}
	return 0;
}
