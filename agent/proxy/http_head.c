#include "proxy/http_head.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/knockout.h"
#include "base/mem.h"

/* ---- Bytes ---------------------------------------------------------------------- */

/* RFC 9110 5.6.2. */
static const bool token_bytes[256] = {
	['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
	['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true, ['\''] = true,
	['*'] = true, ['+'] = true, ['-'] = true, ['.'] = true, ['^'] = true, ['_'] = true,
	['`'] = true, ['|'] = true, ['~'] = true,
};

static bool is_token_byte(char c)
{
	return token_bytes[(unsigned char)c];
}

bool osh_http_is_token(struct osh_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!is_token_byte(s.data[i]))
			return false;
	}
	return s.len > 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct osh_str trim(struct osh_str s)
{
	while (s.len && is_blank(s.data[0])) {
		s.data++;
		s.len--;
	}
	while (s.len && is_blank(s.data[s.len - 1]))
		s.len--;
	return s;
}

/* No control byte but a tab (RFC 9110 5.5). */
static bool is_text(struct osh_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.data[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

/* Cut the part before the next comma off the list. */
static bool next_item(struct osh_str *list, struct osh_str *ret_item)
{
	const char *comma;
	size_t len;

	if (!list->data)
		return false;
	comma = osh_str_chr(*list, ',');
	len = comma ? (size_t)(comma - list->data) : list->len;
	*ret_item = trim(osh_str_n(list->data, len));
	*list = comma ? osh_str_n(comma + 1, list->len - len - 1) : osh_str_n(NULL, 0);
	return true;
}

bool osh_http_list_has(struct osh_str list, struct osh_str token)
{
	struct osh_str item;

	while (next_item(&list, &item)) {
		if (osh_str_caseeq(item, token))
			return true;
	}
	return false;
}

/* ---- Lines ----------------------------------------------------------------------- */

static enum osh_http_result bad(struct osh_http_error *error, unsigned status, const char *reason)
{
	error->status = status;
	error->reason = reason;
	return OSH_HTTP_BAD;
}

/* "HTTP/1.x". */
static enum osh_http_result parse_version(struct osh_str s, unsigned *ret_minor,
					  struct osh_http_error *error)
{
	if (s.len != 8 || memcmp(s.data, "HTTP/", 5) != 0 || !osh_ascii_is_digit(s.data[5]) ||
	    s.data[6] != '.' || !osh_ascii_is_digit(s.data[7]))
		return bad(error, 400, "the start line does not end in an HTTP version");
	if (s.data[5] != '1' || s.data[7] > '1')
		return bad(error, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
	*ret_minor = (unsigned)(s.data[7] - '0');
	return OSH_HTTP_DONE;
}

/* A known method in other letters is a different method to some servers and the same to
 * others. */
static bool is_misspelt_method(struct osh_str method)
{
	static const char *const known[] = {
		"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
	};

	for (size_t i = 0; i < OSH_COUNT_OF(known); i++) {
		if (osh_str_caseeq_c(method, known[i]))
			return !osh_str_eq_c(method, known[i]);
	}
	return false;
}

static bool is_target(struct osh_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] <= 0x20 || s.data[i] >= 0x7f)
			return false;
	}
	return s.len > 0;
}

static enum osh_http_result parse_request_line(struct osh_str line, struct osh_http_head *head,
					       struct osh_http_error *error)
{
	const char *first = osh_str_chr(line, ' ');
	const char *last = first ? memrchr(line.data, ' ', line.len) : NULL;

	if (!first || first == last)
		return bad(error, 400, "the request line is not METHOD TARGET VERSION");
	head->method = osh_str_n(line.data, (size_t)(first - line.data));
	head->target = osh_str_n(first + 1, (size_t)(last - first) - 1);
	if (head->method.len > OSH_HTTP_METHOD_MAX || !osh_http_is_token(head->method))
		return bad(error, 400, "the method is not a token");
	if (is_misspelt_method(head->method))
		return bad(error, 400, "methods are case-sensitive: write it in upper case");
	if (!is_target(head->target))
		return bad(error, 400, "the request target holds bytes that must be percent-encoded");
	return parse_version(osh_str_n(last + 1, line.len - (size_t)(last + 1 - line.data)),
			     &head->minor, error);
}

static enum osh_http_result parse_status_line(struct osh_str line, struct osh_http_head *head,
					      struct osh_http_error *error)
{
	const char *p = line.data;

	if (line.len < 12 || p[8] != ' ' || (line.len > 12 && p[12] != ' ') || !is_text(line))
		return bad(error, 502, "the server's status line is malformed");
	for (size_t i = 9; i < 12; i++) {
		if (!osh_ascii_is_digit(p[i]))
			return bad(error, 502, "the server's status line is malformed");
	}
	head->status = (unsigned)(p[9] - '0') * 100 + (unsigned)(p[10] - '0') * 10 + (unsigned)(p[11] - '0');
	if (head->status < 100 || head->status > 599)
		return bad(error, 502, "the server's status code is out of range");
	head->phrase = line.len > 13 ? osh_str_n(p + 13, line.len - 13) : osh_str_n(p, 0);
	return parse_version(osh_str_n(p, 8), &head->minor, error);
}

/* "name: value". The name must touch the colon (RFC 9112 5.1). */
static bool parse_field(struct osh_str line, bool only_utf8, struct osh_http_field *ret)
{
	const char *colon = osh_str_chr(line, ':');

	if (!colon)
		return false;
	ret->name = osh_str_n(line.data, (size_t)(colon - line.data));
	ret->value = trim(osh_str_n(colon + 1, line.len - ret->name.len - 1));
	if (!osh_http_is_token(ret->name))
		return false;
	ret->known = osh_http_name_of(ret->name, &ret->stays);
	return is_text(ret->value) && (!only_utf8 || osh_str_is_utf8(ret->value));
}

/* Cut the next CRLF-terminated line off. The caller knows that there is one and that no
 * CR or LF stands alone. */
static struct osh_str next_line(struct osh_str *text)
{
	const char *end = osh_str_chr(*text, '\n');
	struct osh_str line = osh_str_n(text->data, (size_t)(end - text->data) - 1);

	*text = osh_str_n(end + 1, text->len - line.len - 2);
	return line;
}

/* A CR that no LF follows is some parsers' line end. */
static bool has_lone_cr(struct osh_str line)
{
	return osh_str_chr(line, '\r') != NULL;
}

static void note_name(struct osh_http_head *head, enum osh_http_name name)
{
	unsigned bit = name == OSH_HTTP_OTHER ? 0 : OSH_HTTP_NAME_BIT(name);

	head->repeated |= head->seen & bit;
	head->seen |= bit;
}

static enum osh_http_result parse_fields(struct osh_str text, bool is_request,
					 struct osh_http_head *head, struct osh_http_error *error)
{
	unsigned status = is_request ? 400 : 502;

	for (;;) {
		struct osh_str line = next_line(&text);

		if (line.len == 0)
			return OSH_HTTP_DONE;
		if (has_lone_cr(line))
			return bad(error, status, "a header holds a carriage return");
		if (is_blank(line.data[0]))
			return bad(error, status, "a header is folded over two lines");
		if (head->field_count == OSH_HTTP_FIELDS_MAX)
			return bad(error, is_request ? 431 : 502, "too many headers");
		if (!parse_field(line, is_request, &head->fields[head->field_count]))
			return bad(error, status, "a header is malformed");
		note_name(head, head->fields[head->field_count].known);
		head->field_count++;
	}
}

/* ---- What the fields say ------------------------------------------------------------- */

void osh_http_head_copy(struct osh_http_head *to, const struct osh_http_head *from)
{
	memcpy(to, from, offsetof(struct osh_http_head, fields) + from->field_count * sizeof(from->fields[0]));
}

const struct osh_http_field *osh_http_find(const struct osh_http_head *head, enum osh_http_name name)
{
	if (!(head->seen & OSH_HTTP_NAME_BIT(name)))
		return NULL;
	for (size_t i = 0; i < head->field_count; i++) {
		if (head->fields[i].known == name)
			return &head->fields[i];
	}
	return NULL;
}

/* What the lists of all Connection fields hold. */
struct options {
	bool close, keep_alive;
	unsigned names; /* OSH_HTTP_NAME_BIT of each that is a field's name */
	bool others;    /* more than how this connection goes on */
};

static void note_option(struct options *options, struct osh_str item)
{
	bool stays;

	if (osh_str_caseeq_c(item, "close")) {
		options->close = true;
	} else if (osh_str_caseeq_c(item, "keep-alive")) {
		options->keep_alive = true;
	} else {
		options->names |= OSH_HTTP_NAME_BIT(osh_http_name_of(item, &stays));
		options->others = true;
	}
}

static void read_options(const struct osh_http_head *head, enum osh_http_name name, struct options *ret)
{
	struct osh_str list, item;

	*ret = (struct options){ 0 };
	if (!(head->seen & OSH_HTTP_NAME_BIT(name)))
		return;
	for (size_t i = 0; i < head->field_count; i++) {
		for (list = head->fields[i].value; head->fields[i].known == name && next_item(&list, &item);)
			note_option(ret, item);
	}
}

/* A tab between the value and the end of its line: to some parsers no blank that may be there. */
static bool is_followed_by_tab(struct osh_str value)
{
	const char *p = value.data + value.len;

	while (*p == ' ')
		p++;
	return *p == '\t';
}

/* Transfer-Encoding and Content-Length together, either twice, or any coding but chunked
 * alone, is how requests are smuggled (RFC 9112 6.1, 11.2). */
static enum osh_http_result read_framing(struct osh_http_head *head, unsigned status,
					 struct osh_http_error *error)
{
	const struct osh_http_field *length = osh_http_find(head, OSH_HTTP_CONTENT_LENGTH);
	const struct osh_http_field *coding = osh_http_find(head, OSH_HTTP_TRANSFER_ENCODING);

	if (length && coding && !osh_layer_off("framing"))
		return bad(error, status, "both Content-Length and Transfer-Encoding");
	if (head->repeated & OSH_HTTP_NAME_BIT(OSH_HTTP_CONTENT_LENGTH))
		return bad(error, status, "more than one Content-Length");
	if (head->repeated & OSH_HTTP_NAME_BIT(OSH_HTTP_TRANSFER_ENCODING))
		return bad(error, status, "more than one Transfer-Encoding");
	if (coding && (!osh_str_caseeq_c(coding->value, "chunked") || head->minor == 0))
		return bad(error, status, "Transfer-Encoding other than chunked");
	if (length && osh_str_parse_u64(length->value, OSH_HTTP_LENGTH_MAX, &head->length) < 0)
		return bad(error, status, "Content-Length is not a number");
	if ((length && is_followed_by_tab(length->value)) || (coding && is_followed_by_tab(coding->value)))
		return bad(error, status, "a tab behind Content-Length or Transfer-Encoding");
	head->framing = coding ? OSH_HTTP_BODY_CHUNKED :
			length ? OSH_HTTP_BODY_LENGTH : OSH_HTTP_BODY_NONE;
	return OSH_HTTP_DONE;
}

static void read_connection(struct osh_http_head *head, struct options *ret_options)
{
	const struct osh_http_field *upgrade = osh_http_find(head, OSH_HTTP_UPGRADE);
	struct options proxy;

	read_options(head, OSH_HTTP_CONNECTION, ret_options);
	read_options(head, OSH_HTTP_PROXY_CONNECTION, &proxy); /* some servers heed it */
	head->close = ret_options->close || proxy.close || (head->minor == 0 && !ret_options->keep_alive);
	head->connection_names = ret_options->others;
	if (upgrade && ret_options->names & OSH_HTTP_NAME_BIT(OSH_HTTP_UPGRADE))
		head->upgrade = upgrade->value;
}

static enum osh_http_result check_request(struct osh_http_head *head, struct osh_http_error *error)
{
	static const unsigned once = OSH_HTTP_NAME_BIT(OSH_HTTP_HOST) | OSH_HTTP_NAME_BIT(OSH_HTTP_AUTHORIZATION) |
				     OSH_HTTP_NAME_BIT(OSH_HTTP_CONTENT_TYPE) | OSH_HTTP_NAME_BIT(OSH_HTTP_EXPECT) |
				     OSH_HTTP_NAME_BIT(OSH_HTTP_UPGRADE);
	static const unsigned never_named =
		OSH_HTTP_NAME_BIT(OSH_HTTP_HOST) | OSH_HTTP_NAME_BIT(OSH_HTTP_AUTHORIZATION) |
		OSH_HTTP_NAME_BIT(OSH_HTTP_CONTENT_TYPE) | OSH_HTTP_NAME_BIT(OSH_HTTP_CONTENT_ENCODING) |
		OSH_HTTP_NAME_BIT(OSH_HTTP_CONTENT_LENGTH) | OSH_HTTP_NAME_BIT(OSH_HTTP_TRANSFER_ENCODING);
	const struct osh_http_field *host = osh_http_find(head, OSH_HTTP_HOST);
	const struct osh_http_field *expect = osh_http_find(head, OSH_HTTP_EXPECT);
	struct options options;

	if (head->repeated & once)
		return bad(error, 400, "Host, Authorization, Content-Type, Expect or Upgrade is there twice");
	if (!host)
		return bad(error, 400, "no Host header");
	head->host = host->value;
	read_connection(head, &options);
	if (options.names & never_named)
		return bad(error, 400, "Connection names a header that must reach the server");
	if (expect && !osh_str_caseeq_c(expect->value, "100-continue"))
		return bad(error, 417, "Expect other than 100-continue");
	head->expect_continue = expect && head->minor == 1;
	return read_framing(head, 400, error);
}

/* RFC 9112 6.3: some responses have no body, whatever their fields say. */
static enum osh_http_result check_response(struct osh_http_head *head, bool to_head,
					   struct osh_http_error *error)
{
	enum osh_http_result result;
	struct options options;

	read_connection(head, &options);
	result = read_framing(head, 502, error);
	if (result != OSH_HTTP_DONE)
		return result;
	if (head->status < 200 && head->close)
		return bad(error, 502, "an interim response ends the connection");
	if (head->status < 200 || head->status == 204) {
		if (head->framing == OSH_HTTP_BODY_CHUNKED || head->length)
			return bad(error, 502, "the server announced a body where none is allowed");
		head->framing = OSH_HTTP_BODY_NONE;
	} else if (to_head || head->status == 304) {
		head->framing = OSH_HTTP_BODY_NONE;
	} else if (head->framing == OSH_HTTP_BODY_NONE) {
		head->framing = OSH_HTTP_BODY_UNTIL_CLOSE;
	}
	return OSH_HTTP_DONE;
}

/* ---- The whole head ------------------------------------------------------------------- */

/* Before the first line is complete: can it still become one? Answers at once what is no
 * HTTP at all (a banner, binary), which would otherwise wait for a deadline. */
static bool may_become_request(struct osh_str bytes)
{
	for (size_t i = 0; i < bytes.len; i++) {
		if (bytes.data[i] == ' ')
			return i > 0;
		if (!is_token_byte(bytes.data[i]) || i >= OSH_HTTP_METHOD_MAX)
			return false;
	}
	return true;
}

static enum osh_http_result parse_start_line(struct osh_str line, bool is_request, bool is_own,
					     struct osh_http_head *head, struct osh_http_error *error)
{
	enum osh_http_result result;

	if (has_lone_cr(line))
		return bad(error, is_request ? 400 : 502, "the start line holds a carriage return");
	if (!is_request)
		return parse_status_line(line, head, error);
	result = parse_request_line(line, head, error);
	if (result == OSH_HTTP_DONE && head->target.len > OSH_HTTP_TARGET_MAX && !is_own)
		return bad(error, 414, "the request target is too long");
	return result;
}

static size_t longest_head(bool is_request, bool is_own)
{
	if (is_own)
		return OSH_HTTP_OWN_HEAD_MAX;
	return is_request ? OSH_HTTP_REQUEST_HEAD_MAX : OSH_HTTP_RESPONSE_HEAD_MAX;
}

/* Find the empty line; look at every byte once, however often we are called. */
static enum osh_http_result find_end(struct osh_str bytes, bool is_request, struct osh_http_scan *scan,
				     struct osh_http_head *head, struct osh_http_error *error)
{
	unsigned status = is_request ? 400 : 502;

	while (scan->at < bytes.len) {
		const char *lf = memchr(bytes.data + scan->at, '\n', bytes.len - scan->at);
		size_t end;

		if (!lf) {
			scan->at = bytes.len;
			break;
		}
		end = (size_t)(lf - bytes.data);
		if (end == scan->line_start || bytes.data[end - 1] != '\r')
			return bad(error, status, "a line ends in LF without CR");
		if (!scan->has_start_line) {
			enum osh_http_result result = parse_start_line(
				osh_str_n(bytes.data + scan->line_start, end - 1 - scan->line_start),
				is_request, scan->is_own, head, error);

			if (result != OSH_HTTP_DONE)
				return result;
			scan->has_start_line = true;
		} else if (end - 1 == scan->line_start) {
			head->len = end + 1;
			return OSH_HTTP_DONE;
		}
		scan->at = end + 1;
		scan->line_start = scan->at;
	}
	if (is_request && !scan->has_start_line && !may_become_request(bytes))
		return bad(error, 400, "this is not HTTP");
	return OSH_HTTP_NEED_MORE;
}

static enum osh_http_result too_large(bool is_request, const struct osh_http_scan *scan,
				      struct osh_http_error *error)
{
	if (!is_request)
		return bad(error, 502, "the server's headers are too large");
	return scan->has_start_line ? bad(error, 431, "the headers are too large") :
				      bad(error, 414, "the request line is too long");
}

static enum osh_http_result parse_head(struct osh_str bytes, bool is_request, bool to_head,
				       struct osh_http_scan *scan, struct osh_http_head *head,
				       struct osh_http_error *error)
{
	size_t max = longest_head(is_request, scan->is_own);
	struct osh_str text = osh_str_n(bytes.data, bytes.len < max ? bytes.len : max);
	enum osh_http_result result;

	head->field_count = 0;
	head->seen = head->repeated = 0;
	head->length = 0;
	head->status = 0;
	head->close = head->connection_names = head->expect_continue = false;
	head->host = head->upgrade = head->method = head->target = head->phrase = osh_str_n("", 0);
	result = find_end(text, is_request, scan, head, error);
	if (result == OSH_HTTP_NEED_MORE && text.len == max)
		return too_large(is_request, scan, error);
	if (result != OSH_HTTP_DONE)
		return result;
	text.len = head->len;
	/* The slices of an earlier call may point to where the bytes no longer are. */
	result = parse_start_line(next_line(&text), is_request, scan->is_own, head, error);
	if (result == OSH_HTTP_DONE)
		result = parse_fields(text, is_request, head, error);
	if (result == OSH_HTTP_DONE)
		result = is_request ? check_request(head, error) : check_response(head, to_head, error);
	return result;
}

enum osh_http_result osh_http_parse_request(struct osh_str bytes, struct osh_http_scan *scan,
					    struct osh_http_head *ret_head,
					    struct osh_http_error *ret_error)
{
	return parse_head(bytes, true, false, scan, ret_head, ret_error);
}

enum osh_http_result osh_http_parse_response(struct osh_str bytes, bool to_head,
					     struct osh_http_scan *scan,
					     struct osh_http_head *ret_head,
					     struct osh_http_error *ret_error)
{
	enum osh_http_result result = parse_head(bytes, false, to_head, scan, ret_head, ret_error);

	/* Whatever is wrong with a server's answer, the client is told of a bad gateway. */
	if (result == OSH_HTTP_BAD)
		ret_error->status = 502;
	return result;
}

int osh_http_parse_trailers(struct osh_str bytes, struct osh_http_field *fields, size_t max,
			    size_t *ret_count)
{
	size_t count = 0;

	while (bytes.len) {
		const char *lf = osh_str_chr(bytes, '\n');
		struct osh_str line;

		if (!lf || lf == bytes.data || lf[-1] != '\r')
			return -EBADMSG;
		line = next_line(&bytes);
		if (line.len == 0 || has_lone_cr(line) || is_blank(line.data[0]) || count == max ||
		    !parse_field(line, true, &fields[count]))
			return -EBADMSG;
		count++;
	}
	*ret_count = count;
	return 0;
}
