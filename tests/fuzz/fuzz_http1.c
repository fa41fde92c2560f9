/* HTTP heads, both directions. A head that is accepted and written anew must be accepted
 * again and mean the same: else we and the server could disagree. */
#include "proxy/http_write.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static enum osh_http_result parse(struct osh_str bytes, bool is_request, struct osh_http_scan *scan,
				  struct osh_http_head *head)
{
	struct osh_http_error error = { 0 };
	enum osh_http_result result =
		is_request ? osh_http_parse_request(bytes, scan, head, &error) :
			     osh_http_parse_response(bytes, false, scan, head, &error);

	if (result == OSH_HTTP_BAD && (!error.reason || error.status < 400 || error.status > 599))
		abort();
	return result;
}

static void check_same(const struct osh_http_head *a, const struct osh_http_head *b)
{
	if (a->framing != b->framing || a->length != b->length || a->field_count < b->field_count)
		abort();
	if (!osh_str_eq(a->method, b->method) || a->status != b->status)
		abort();
}

static void check_request(const struct osh_http_head *head)
{
	struct osh_http_request_out how = {
		.path = osh_str("/"),
		.host = osh_str("ok.test"),
	};
	struct osh_http_scan scan = { 0 };
	struct osh_http_head again;
	struct osh_buf out;

	osh_buf_init(&out, 1 << 20);
	if (osh_http_write_request(&out, head, &how) < 0)
		abort();
	if (parse(osh_buf_str(&out), true, &scan, &again) != OSH_HTTP_DONE || again.len != out.len)
		abort();
	/* Host is always ours: one field more than what passed. */
	if (!osh_str_eq_c(again.host, "ok.test") || again.minor != 1 || again.close)
		abort();
	check_same(head, &again);
	osh_buf_done(&out);
}

static void check_response(const struct osh_http_head *head)
{
	struct osh_http_response_out how = { .client_minor = 1, .framing = head->framing };
	struct osh_http_scan scan = { 0 };
	struct osh_http_head again;
	struct osh_buf out;

	osh_buf_init(&out, 1 << 20);
	if (osh_http_write_response(&out, head, &how) < 0)
		abort();
	if (parse(osh_buf_str(&out), false, &scan, &again) != OSH_HTTP_DONE || again.len != out.len ||
	    again.status != head->status || again.framing != head->framing)
		abort();
	osh_buf_done(&out);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct osh_str bytes = osh_str_n((const char *)data + 1, size ? size - 1 : 0);
	struct osh_http_scan scan = { 0 }, by_parts = { 0 };
	struct osh_http_head head, parts;
	enum osh_http_result result, early;
	bool is_request;

	if (size < 1)
		return 0;
	is_request = data[0] & 1;
	result = parse(bytes, is_request, &scan, &head);
	/* In two pieces, the cut told by the first byte. */
	early = parse(osh_str_n(bytes.data, bytes.len * (data[0] >> 1) / 128), is_request, &by_parts, &parts);
	if (early == OSH_HTTP_NEED_MORE)
		early = parse(bytes, is_request, &by_parts, &parts);
	if (early != result)
		abort();
	if (result == OSH_HTTP_DONE && is_request)
		check_request(&head);
	if (result == OSH_HTTP_DONE && !is_request)
		check_response(&head);
	return 0;
}
