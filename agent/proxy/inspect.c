#include "proxy/inspect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "proxy/http_name.h"

#define INFLATE_PIECE (16u << 10)

/* ---- The sandbox's share ------------------------------------------------------------ */

bool osh_held_take(struct osh_view *view, size_t len)
{
	if (len > OSH_HELD_BYTES_MAX - view->held_bytes)
		return false;
	view->held_bytes += len;
	return true;
}

void osh_held_give_back(struct osh_view *view, size_t len)
{
	view->held_bytes -= len;
}

/* ---- Holding ------------------------------------------------------------------------- */

struct osh_inspection *osh_inspection_new(struct osh_view *view, uint32_t limit)
{
	struct osh_inspection *inspection = calloc(1, sizeof(*inspection));

	if (!inspection)
		return NULL;
	inspection->view = view;
	inspection->limit = limit;
	osh_buf_init(&inspection->body, limit);
	return inspection;
}

void osh_inspection_free(struct osh_inspection *inspection)
{
	if (!inspection)
		return;
	osh_held_give_back(inspection->view, inspection->body.len + inspection->sent.len);
	osh_buf_done(&inspection->body);
	osh_buf_done(&inspection->sent);
	free(inspection);
}

/* Another spelling does not reach the server (http_name.h), but who sends both means two things. */
static void keep_header(struct osh_inspect_header *header, struct osh_str name, struct osh_str value)
{
	header->count++;
	if (!osh_str_chr(name, '_'))
		header->cut |= osh_str_copy(value, header->value, sizeof(header->value)) < 0;
}

static bool is_named(struct osh_str name, const char *wanted)
{
	return name.len == strlen(wanted) && osh_http_name_begins(name, osh_str(wanted));
}

void osh_inspection_header(struct osh_inspection *inspection, struct osh_str name, struct osh_str value)
{
	if (is_named(name, "content-type"))
		keep_header(&inspection->content_type, name, value);
	else if (is_named(name, "content-encoding"))
		keep_header(&inspection->content_encoding, name, value);
	else if (is_named(name, "accept"))
		keep_header(&inspection->accept, name, value);
}

int osh_inspection_add(struct osh_inspection *inspection, struct osh_str payload)
{
	int r;

	if (inspection->too_large || payload.len > osh_buf_free_bytes(&inspection->body)) {
		inspection->too_large = true;
		return 0;
	}
	if (!osh_held_take(inspection->view, payload.len))
		return -EDQUOT;
	r = osh_buf_append_str(&inspection->body, payload);
	if (r < 0)
		osh_held_give_back(inspection->view, payload.len);
	return r;
}

struct osh_str osh_inspection_sent(const struct osh_inspection *inspection)
{
	return osh_buf_str(inspection->sent.len ? &inspection->sent : &inspection->body);
}

/* ---- Inflating ------------------------------------------------------------------------- */

enum osh_coding osh_coding_parse(struct osh_str value)
{
	if (value.len == 0 || osh_str_caseeq_c(value, "identity"))
		return OSH_CODING_NONE;
	if (osh_str_caseeq_c(value, "gzip") || osh_str_caseeq_c(value, "x-gzip"))
		return OSH_CODING_GZIP;
	return osh_str_caseeq_c(value, "deflate") ? OSH_CODING_DEFLATE : OSH_CODING_OTHER;
}

/* RFC 1950 2.2: what RFC 9110 8.4.1.2 means by "deflate". Many clients leave the zlib header
 * out and servers forgive it; so it counts only where it is no valid one. */
static bool has_zlib_header(struct osh_str bytes)
{
	const unsigned char *b = (const unsigned char *)bytes.data;

	return bytes.len >= 2 && (b[0] & 15) == Z_DEFLATED && (b[0] * 256u + b[1]) % 31 == 0;
}

static int window_bits(enum osh_coding coding, struct osh_str bytes)
{
	if (coding == OSH_CODING_GZIP)
		return 16 + MAX_WBITS;
	return has_zlib_header(bytes) ? MAX_WBITS : -MAX_WBITS;
}

/* One piece more. Asks for a byte beyond the maximum at the end, so that a body that fits
 * exactly can be told from one that is larger. */
static int inflate_piece(z_stream *z, struct osh_buf *out, enum osh_inflate_result *ret_result)
{
	unsigned char beyond;
	size_t room = osh_buf_free_bytes(out), want = room < INFLATE_PIECE ? room : INFLATE_PIECE;
	int r;

	if (want && osh_buf_reserve(out, want) < 0) {
		*ret_result = OSH_INFLATE_NO_MEMORY;
		return Z_MEM_ERROR;
	}
	z->next_out = want ? (unsigned char *)osh_buf_tail(out) : &beyond;
	z->avail_out = want ? (unsigned)want : 1;
	r = inflate(z, Z_NO_FLUSH);
	if (want)
		osh_buf_grew(out, want - z->avail_out);
	if (!want && z->avail_out == 0) {
		*ret_result = OSH_INFLATE_TOO_LARGE;
		return Z_BUF_ERROR;
	}
	return r;
}

enum osh_inflate_result osh_inflate(enum osh_coding coding, struct osh_str bytes, struct osh_buf *out)
{
	enum osh_inflate_result result = OSH_INFLATE_BAD;
	z_stream z = {
		.next_in = (unsigned char *)(uintptr_t)bytes.data,
		.avail_in = (unsigned)bytes.len,
	};
	int r;

	if (bytes.len == 0 || inflateInit2(&z, window_bits(coding, bytes)) != Z_OK)
		return bytes.len ? OSH_INFLATE_NO_MEMORY : OSH_INFLATE_BAD;
	do
		r = inflate_piece(&z, out, &result);
	while (r == Z_OK);
	if (r == Z_STREAM_END && z.avail_in == 0)
		result = OSH_INFLATE_OK;
	inflateEnd(&z);
	return result;
}

/* ---- What it says ------------------------------------------------------------------------ */

static const char *inflate_body(const struct osh_inspection *inspection, enum osh_coding coding,
				struct osh_buf *inflated, struct osh_message *message)
{
	osh_buf_init(inflated, inspection->limit);
	message->content_encoding = osh_str_n(NULL, 0);
	switch (osh_inflate(coding, osh_buf_str(&inspection->body), inflated)) {
	case OSH_INFLATE_OK:
		message->body = osh_buf_str(inflated);
		return NULL;
	case OSH_INFLATE_TOO_LARGE:
		message->too_large = true;
		return NULL;
	case OSH_INFLATE_BAD:
		return "the body is not what its Content-Encoding says";
	case OSH_INFLATE_NO_MEMORY:
		break;
	}
	return "no memory to inflate the body";
}

/* The value of charset in a Content-Type; false when it is given in a way that readers
 * disagree about. */
static bool find_charset(struct osh_str type, struct osh_str *ret_charset)
{
	static const char name[] = "charset";
	bool found = false;

	for (size_t i = 0; i + sizeof(name) - 1 <= type.len; i++) {
		size_t at = i + sizeof(name) - 1;
		struct osh_str value;

		if (!osh_str_caseeq_c(osh_str_n(type.data + i, sizeof(name) - 1), name))
			continue;
		if (found || at == type.len || type.data[at] != '=')
			return false;
		found = true;
		at++;
		value = osh_str_until(osh_str_n(type.data + at, type.len - at), "; \t");
		if (value.len > 1 && value.data[0] == '"' && value.data[value.len - 1] == '"')
			*ret_charset = osh_str_n(value.data + 1, value.len - 2);
		else
			*ret_charset = value;
	}
	return true;
}

static bool is_form(struct osh_str type)
{
	static const char form[] = "application/x-www-form-urlencoded";

	return type.len >= sizeof(form) - 1 &&
	       osh_str_caseeq_c(osh_str_n(type.data, sizeof(form) - 1), form);
}

/* The rules read JSON in UTF-8. A server that is told otherwise might read something else
 * out of the same bytes: UTF-7 and UTF-16 hide quotes, a form hides a second query. */
static const char *check_type(struct osh_str type, struct osh_str body)
{
	struct osh_str charset = { 0 };

	if (!find_charset(type, &charset) || (charset.len && !osh_str_caseeq_c(charset, "utf-8") &&
					      !osh_str_caseeq_c(charset, "us-ascii")))
		return "the body's charset is not utf-8";
	if (is_form(type) && body.len &&
	    (osh_str_chr(body, '&') || osh_str_chr(body, ';')))
		return "a body that can be read both as a form and as JSON";
	return NULL;
}

const char *osh_inspection_read(const struct osh_inspection *inspection, struct osh_buf *inflated,
				struct osh_message *ret_message)
{
	struct osh_str encoding = osh_str(inspection->content_encoding.value);
	enum osh_coding coding = osh_coding_parse(encoding);
	const char *fault = NULL;

	osh_buf_init(inflated, 0);
	*ret_message = (struct osh_message){
		.body = osh_buf_str(&inspection->body),
		.too_large = inspection->too_large,
		.content_type = osh_str(inspection->content_type.value),
		.content_encoding = encoding,
		.accept = osh_str(inspection->accept.value),
	};
	if (inspection->content_encoding.count > 1 || inspection->content_encoding.cut)
		return "a body with several content codings cannot be inspected";
	if (inspection->content_type.count > 1 || inspection->content_type.cut)
		return "Content-Type must be given once";
	if (!ret_message->too_large && (coding == OSH_CODING_GZIP || coding == OSH_CODING_DEFLATE))
		fault = inflate_body(inspection, coding, inflated, ret_message);
	if (!fault && !ret_message->too_large)
		fault = check_type(ret_message->content_type, ret_message->body);
	return fault;
}
