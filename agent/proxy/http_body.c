#include "proxy/http_body.h"

#include <string.h>

#include "base/mem.h"

void osh_http_body_init(struct osh_http_body *body, enum osh_http_framing framing, uint64_t length)
{
	*body = (struct osh_http_body){
		.framing = framing,
		.left = framing == OSH_HTTP_BODY_LENGTH ? length : 0,
	};
	osh_buf_init(&body->trailers, OSH_HTTP_TRAILERS_MAX);
}

void osh_http_body_done(struct osh_http_body *body)
{
	osh_buf_done(&body->trailers);
}

bool osh_http_body_is_over(const struct osh_http_body *body)
{
	switch (body->framing) {
	case OSH_HTTP_BODY_NONE:
		return true;
	case OSH_HTTP_BODY_LENGTH:
		return body->left == 0;
	case OSH_HTTP_BODY_CHUNKED:
		return body->state == OSH_HTTP_CHUNK_DONE;
	case OSH_HTTP_BODY_UNTIL_CLOSE:
		break;
	}
	return false;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static enum osh_http_result bad(const char **ret_reason, const char *reason)
{
	*ret_reason = reason;
	return OSH_HTTP_BAD;
}

/* The line at the front, its CRLF counted in *ret_used. DONE when there is one. */
static enum osh_http_result find_line(struct osh_str bytes, size_t max, struct osh_str *ret_line,
				      size_t *ret_used, const char **ret_reason)
{
	size_t seen = least(bytes.len, max);
	const char *lf = seen ? memchr(bytes.data, '\n', seen) : NULL;

	if (!lf && seen == max)
		return bad(ret_reason, "a line of the chunked body is too long");
	if (!lf)
		return OSH_HTTP_NEED_MORE;
	if (lf == bytes.data || lf[-1] != '\r')
		return bad(ret_reason, "a line of the chunked body ends in LF without CR");
	*ret_line = osh_str_n(bytes.data, (size_t)(lf - bytes.data) - 1);
	*ret_used = ret_line->len + 2;
	return OSH_HTTP_DONE;
}

static int hex_value(char c)
{
	if (osh_ascii_is_digit(c))
		return c - '0';
	c = osh_ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t token_len(struct osh_str s)
{
	size_t len = 0;

	while (len < s.len && osh_http_is_token(osh_str_n(s.data + len, 1)))
		len++;
	return len;
}

/* 0: it does not end, or holds what is no text. */
static size_t quoted_len(struct osh_str s)
{
	bool escaped = false;

	for (size_t at = 1; at < s.len; at++) {
		unsigned char c = (unsigned char)s.data[at];

		if ((c < 0x20 && c != '\t') || c >= 0x7f)
			return 0;
		if (c == '"' && !escaped)
			return at + 1;
		escaped = c == '\\' && !escaped;
	}
	return 0;
}

/* ;name, ;name=token or ;name="text" (RFC 9112 7.1.1), without the blanks that no sender
 * makes and that parsers have read differently. 0: none. */
static size_t extension_len(struct osh_str s)
{
	struct osh_str value;
	size_t len;

	if (!s.len || s.data[0] != ';')
		return 0;
	len = token_len(osh_str_n(s.data + 1, s.len - 1)) + 1;
	if (len == 1 || len == s.len || s.data[len] != '=')
		return len == 1 ? 0 : len;
	value = osh_str_n(s.data + len + 1, s.len - len - 1);
	value.len = value.len && value.data[0] == '"' ? quoted_len(value) : token_len(value);
	return value.len ? len + 1 + value.len : 0;
}

/* Up to 15 digits: what fits OSH_HTTP_LENGTH_MAX with room to spare. Extensions are dropped. */
static bool parse_chunk_size(struct osh_str line, uint64_t *ret_size)
{
	uint64_t size = 0;
	size_t at = 0, extension;

	while (at < line.len && hex_value(line.data[at]) >= 0) {
		size = size << 4 | (uint64_t)hex_value(line.data[at]);
		if (++at > 15)
			return false;
	}
	if (at == 0)
		return false;
	while ((extension = extension_len(osh_str_n(line.data + at, line.len - at))) > 0)
		at += extension;
	*ret_size = size;
	return at == line.len;
}

static enum osh_http_result take_size(struct osh_http_body *body, struct osh_str bytes,
				      size_t *ret_used, const char **ret_reason)
{
	struct osh_str line;
	enum osh_http_result result = find_line(bytes, OSH_HTTP_CHUNK_LINE_MAX, &line, ret_used,
						ret_reason);

	if (result != OSH_HTTP_DONE)
		return result;
	if (!parse_chunk_size(line, &body->left))
		return bad(ret_reason, "a chunk size is malformed");
	body->state = body->left ? OSH_HTTP_CHUNK_DATA : OSH_HTTP_CHUNK_TRAILERS;
	return OSH_HTTP_DONE;
}

static enum osh_http_result take_data_end(struct osh_http_body *body, struct osh_str bytes,
					  size_t *ret_used, const char **ret_reason)
{
	if (bytes.data[0] != '\r' || (bytes.len > 1 && bytes.data[1] != '\n'))
		return bad(ret_reason, "a chunk is longer than its size says");
	if (bytes.len < 2)
		return OSH_HTTP_NEED_MORE;
	*ret_used = 2;
	body->state = OSH_HTTP_CHUNK_SIZE;
	return OSH_HTTP_DONE;
}

/* No trailer may say where a message or the connection ends (RFC 9110 6.5.1): some parsers
 * believe it. */
static bool is_framing(enum osh_http_name name)
{
	return name == OSH_HTTP_CONTENT_LENGTH || name == OSH_HTTP_TRANSFER_ENCODING ||
	       name == OSH_HTTP_CONNECTION || name == OSH_HTTP_PROXY_CONNECTION || name == OSH_HTTP_UPGRADE;
}

static enum osh_http_result take_trailer(struct osh_http_body *body, struct osh_str bytes,
					 size_t *ret_used, const char **ret_reason)
{
	struct osh_str line;
	enum osh_http_result result = find_line(bytes, OSH_HTTP_TRAILERS_MAX, &line, ret_used,
						ret_reason);
	struct osh_http_field field;
	size_t count;

	if (result != OSH_HTTP_DONE)
		return result;
	if (line.len == 0) {
		body->state = OSH_HTTP_CHUNK_DONE;
		return OSH_HTTP_DONE;
	}
	if (osh_http_parse_trailers(osh_str_n(bytes.data, *ret_used), &field, 1, &count) < 0)
		return bad(ret_reason, "a trailer is malformed");
	if (is_framing(field.known))
		return bad(ret_reason, "a trailer says where the message or the connection ends");
	if (osh_buf_append(&body->trailers, bytes.data, *ret_used) < 0)
		return bad(ret_reason, "the trailers are too large");
	return OSH_HTTP_DONE;
}

static enum osh_http_result take_payload(struct osh_http_body *body, struct osh_str bytes, size_t max,
					 size_t *ret_used, struct osh_str *ret_data)
{
	size_t len = least(bytes.len, max);

	if (body->framing != OSH_HTTP_BODY_UNTIL_CLOSE && body->left < len)
		len = (size_t)body->left;
	if (len == 0)
		return OSH_HTTP_NEED_MORE;
	*ret_data = osh_str_n(bytes.data, len);
	*ret_used = len;
	if (body->framing == OSH_HTTP_BODY_UNTIL_CLOSE)
		return OSH_HTTP_DONE;
	body->left -= len;
	if (body->framing == OSH_HTTP_BODY_CHUNKED && body->left == 0)
		body->state = OSH_HTTP_CHUNK_DATA_END;
	return OSH_HTTP_DONE;
}

static enum osh_http_result take_chunked(struct osh_http_body *body, struct osh_str bytes, size_t max,
					 size_t *ret_used, struct osh_str *ret_data,
					 const char **ret_reason)
{
	switch (body->state) {
	case OSH_HTTP_CHUNK_SIZE:
		return take_size(body, bytes, ret_used, ret_reason);
	case OSH_HTTP_CHUNK_DATA:
		return take_payload(body, bytes, max, ret_used, ret_data);
	case OSH_HTTP_CHUNK_DATA_END:
		return take_data_end(body, bytes, ret_used, ret_reason);
	case OSH_HTTP_CHUNK_TRAILERS:
		return take_trailer(body, bytes, ret_used, ret_reason);
	case OSH_HTTP_CHUNK_DONE:
		break;
	}
	return OSH_HTTP_NEED_MORE;
}

enum osh_http_result osh_http_body_take(struct osh_http_body *body, struct osh_str bytes, size_t max,
					size_t *ret_used, struct osh_str *ret_data,
					const char **ret_reason)
{
	*ret_used = 0;
	*ret_data = osh_str_n(bytes.data, 0);
	if (bytes.len == 0 || osh_http_body_is_over(body))
		return OSH_HTTP_NEED_MORE;
	if (body->framing == OSH_HTTP_BODY_CHUNKED)
		return take_chunked(body, bytes, max, ret_used, ret_data, ret_reason);
	return take_payload(body, bytes, max, ret_used, ret_data);
}
