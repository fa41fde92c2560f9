#include "proxy/http_write.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "proxy/http_pass.h"
#include "proxy/text_writer.h"

static char *put(char *at, struct osh_str s)
{
	return s.len ? mempcpy(at, s.data, s.len) : at;
}

static void put_field(struct osh_text_writer *w, struct osh_str name, struct osh_str value)
{
	size_t len = name.len + value.len + 4;
	char *at;

	if (w->error == 0)
		w->error = osh_buf_reserve(w->out, len);
	if (w->error < 0)
		return;
	at = put(osh_buf_tail(w->out), name);
	at = put(mempcpy(at, ": ", 2), value);
	memcpy(at, "\r\n", 2);
	osh_buf_grew(w->out, len);
}

static void put_fields(struct osh_text_writer *w, const struct osh_http_head *head, bool no_extensions)
{
	for (size_t i = 0; i < head->field_count; i++) {
		const struct osh_http_field *field = &head->fields[i];

		if (!osh_http_passes(head, field))
			continue;
		if (no_extensions && field->known == OSH_HTTP_SEC_WEBSOCKET_EXTENSIONS)
			continue;
		put_field(w, field->name, field->value);
	}
}

static void put_framing(struct osh_text_writer *w, enum osh_http_framing framing, uint64_t length)
{
	if (framing == OSH_HTTP_BODY_CHUNKED)
		osh_text_put_c(w, "Transfer-Encoding: chunked\r\n");
	if (framing != OSH_HTTP_BODY_LENGTH)
		return;
	osh_text_put_c(w, "Content-Length: ");
	osh_text_put_u64(w, length);
	osh_text_put_c(w, "\r\n");
}

int osh_http_write_request(struct osh_buf *out, const struct osh_http_head *head,
			   const struct osh_http_request_out *how)
{
	struct osh_text_writer w = { .out = out };

	osh_text_put(&w, head->method);
	osh_text_put_c(&w, " ");
	osh_text_put(&w, how->path);
	if (how->has_query) {
		osh_text_put_c(&w, "?");
		osh_text_put(&w, how->query);
	}
	osh_text_put_c(&w, " HTTP/1.1\r\n");
	put_field(&w, osh_str("Host"), how->host);
	put_fields(&w, head, how->no_extensions);
	if (how->length_later)
		return w.error;
	if (how->websocket)
		osh_text_put_c(&w, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	else
		put_framing(&w, head->framing, head->length);
	osh_text_put_c(&w, "\r\n");
	return w.error;
}

int osh_http_write_request_end(struct osh_buf *out, enum osh_http_framing framing, uint64_t length)
{
	struct osh_text_writer w = { .out = out };

	put_framing(&w, framing, length);
	osh_text_put_c(&w, "\r\n");
	return w.error;
}

/* The answer to HEAD, and 304, tell the length of a body that does not come. */
static void put_unsent_length(struct osh_text_writer *w, const struct osh_http_head *head)
{
	const struct osh_http_field *length = osh_http_find(head, OSH_HTTP_CONTENT_LENGTH);

	if (length && head->framing == OSH_HTTP_BODY_NONE && head->status >= 200 && head->status != 204)
		put_field(w, length->name, length->value);
}

int osh_http_write_response(struct osh_buf *out, const struct osh_http_head *head,
			    const struct osh_http_response_out *how)
{
	struct osh_text_writer w = { .out = out };

	osh_text_put_c(&w, "HTTP/1.1 ");
	osh_text_put_u64(&w, head->status); /* three digits, or it would not have been read */
	osh_text_put_c(&w, " ");
	osh_text_put(&w, head->phrase);
	osh_text_put_c(&w, "\r\n");
	put_fields(&w, head, false);
	put_framing(&w, how->framing, head->length);
	put_unsent_length(&w, head);
	if (how->websocket)
		osh_text_put_c(&w, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	else if (how->close)
		osh_text_put_c(&w, "Connection: close\r\n");
	else if (how->client_minor == 0)
		osh_text_put_c(&w, "Connection: keep-alive\r\n");
	osh_text_put_c(&w, "\r\n");
	return w.error;
}

int osh_http_write_data(struct osh_buf *out, enum osh_http_framing framing, struct osh_str data)
{
	struct osh_text_writer w = { .out = out };

	if (framing != OSH_HTTP_BODY_CHUNKED)
		return osh_buf_append_str(out, data);
	if (data.len == 0)
		return 0; /* an empty chunk would end the message */
	w.error = osh_buf_printf(out, "%zx\r\n", data.len);
	osh_text_put(&w, data);
	osh_text_put_c(&w, "\r\n");
	return w.error;
}

int osh_http_write_end(struct osh_buf *out, enum osh_http_framing framing, struct osh_str trailers)
{
	struct osh_http_field fields[OSH_HTTP_FIELDS_MAX];
	struct osh_text_writer w = { .out = out };
	size_t count = 0;

	if (framing != OSH_HTTP_BODY_CHUNKED)
		return 0;
	osh_text_put_c(&w, "0\r\n");
	/* Too many: none passes, the message is whole without them. */
	if (osh_http_parse_trailers(trailers, fields, OSH_HTTP_FIELDS_MAX, &count) < 0)
		count = 0;
	for (size_t i = 0; i < count; i++) {
		if (osh_http_trailer_passes(&fields[i]))
			put_field(&w, fields[i].name, fields[i].value);
	}
	osh_text_put_c(&w, "\r\n");
	return w.error;
}

const char *osh_http_phrase(unsigned status)
{
	static const struct {
		unsigned status;
		const char *phrase;
	} known[] = {
		{ 400, "Bad Request" },
		{ 403, "Forbidden" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 414, "URI Too Long" },
		{ 417, "Expectation Failed" },
		{ 421, "Misdirected Request" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < OSH_COUNT_OF(known); i++) {
		if (known[i].status == status)
			return known[i].phrase;
	}
	return "Error";
}
