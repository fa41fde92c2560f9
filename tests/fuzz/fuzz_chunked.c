/* Chunked bodies: the payload is the same however the bytes are cut, and what is written
 * anew from it reads back equal. */
#include "proxy/http_body.h"
#include "proxy/http_write.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

/* Returns the bytes consumed; *ret_result is the last result that was no progress. */
static size_t run(struct osh_str bytes, size_t piece, struct osh_buf *payload, struct osh_buf *rewritten,
		  enum osh_http_result *ret_result)
{
	struct osh_http_body body;
	size_t at = 0, seen = 0;

	osh_http_body_init(&body, OSH_HTTP_BODY_CHUNKED, 0);
	*ret_result = OSH_HTTP_NEED_MORE;
	while (seen < bytes.len && *ret_result != OSH_HTTP_BAD) {
		seen = bytes.len - seen < piece ? bytes.len : seen + piece;
		for (;;) {
			const char *reason = NULL;
			struct osh_str chunk;
			size_t used;

			*ret_result = osh_http_body_take(&body, osh_str_n(bytes.data + at, seen - at), 4096,
							 &used, &chunk, &reason);
			if (*ret_result == OSH_HTTP_BAD && !reason)
				abort();
			if (*ret_result != OSH_HTTP_DONE)
				break;
			if (used == 0 || used > seen - at)
				abort();
			osh_buf_append_str(payload, chunk);
			osh_http_write_data(rewritten, OSH_HTTP_BODY_CHUNKED, chunk);
			at += used;
		}
	}
	if (osh_http_body_is_over(&body)) {
		osh_http_write_end(rewritten, OSH_HTTP_BODY_CHUNKED, osh_buf_str(&body.trailers));
		*ret_result = OSH_HTTP_DONE;
	}
	osh_http_body_done(&body);
	return at;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct osh_buf whole, pieces, once, twice, thrice;
	enum osh_http_result result, again;
	size_t used;

	if (size < 1 || size > 1 << 16)
		return 0;
	osh_buf_init(&whole, 1 << 20);
	osh_buf_init(&pieces, 1 << 20);
	osh_buf_init(&once, 1 << 22);
	osh_buf_init(&twice, 1 << 22);
	osh_buf_init(&thrice, 1 << 22);
	used = run(osh_str_n((const char *)data + 1, size - 1), SIZE_MAX / 2, &whole, &once, &result);
	if (run(osh_str_n((const char *)data + 1, size - 1), 1u + data[0] % 16, &pieces, &twice, &again) !=
		    used && result == OSH_HTTP_DONE)
		abort();
	if (result != again || !osh_str_eq(osh_buf_str(&whole), osh_buf_str(&pieces)))
		abort();
	if (result == OSH_HTTP_DONE) {
		osh_buf_clear(&pieces);
		if (run(osh_buf_str(&once), 4096, &pieces, &thrice, &again) != once.len ||
		    again != OSH_HTTP_DONE || !osh_str_eq(osh_buf_str(&whole), osh_buf_str(&pieces)))
			abort();
	}
	osh_buf_done(&whole);
	osh_buf_done(&pieces);
	osh_buf_done(&once);
	osh_buf_done(&twice);
	osh_buf_done(&thrice);
	return 0;
}
