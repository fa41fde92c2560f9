/* Frames from a sandbox: nghttp2 reads them, each request becomes HTTP/1.1 text, and the
 * strict parser reads that. Whatever the bytes, the text holds one head and nothing behind
 * it, and what it becomes for a server is what was read. */
#include "proxy/http2_message.h"

#include <stdint.h>
#include <stdlib.h>

struct state {
	struct osh_http2_block block;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_back(const struct osh_buf *text)
{
	struct osh_http_scan scan = { 0 };
	struct osh_http_head head;
	struct osh_http_error error;
	struct osh_http2_fields fields;

	if (osh_http_parse_request(osh_buf_str(text), &scan, &head, &error) != OSH_HTTP_DONE)
		return;
	if (head.len != text->len || !head.close)
		abort();
	osh_http2_request_fields(&head, false, &fields);
	if (fields.count > OSH_HTTP2_FIELDS_MAX)
		abort();
}

static void write_request(struct osh_http2_block *block, bool ended)
{
	enum osh_http_framing framing;
	struct osh_buf text;

	osh_buf_init(&text, 128 << 10);
	if (osh_http2_write_request(&text, block, ended, "AAAAAAAAAAAAAAAAAAAAAA==", &framing) == 0)
		read_back(&text);
	osh_buf_done(&text);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct state *s = context;

	(void)session;
	(void)frame;
	osh_http2_block_clear(&s->block);
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *context)
{
	struct state *s = context;

	(void)session;
	(void)frame;
	(void)flags;
	return osh_http2_block_add(&s->block, osh_str_n((const char *)name, name_len),
				   osh_str_n((const char *)value, value_len)) < 0 ?
		       NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct state *s = context;

	(void)session;
	if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		write_request(&s->block, frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	nghttp2_session *session;
	struct state s;

	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_option_new(&option);
	nghttp2_option_set_no_recv_client_magic(option, 1); /* straight to the frames */
	osh_http2_block_init(&s.block, OSH_HTTP_REQUEST_HEAD_MAX);
	if (nghttp2_session_server_new2(&session, callbacks, &s, option) == 0) {
		nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, NULL, 0);
		(void)nghttp2_session_mem_recv(session, data, size);
		nghttp2_session_del(session);
	}
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
	osh_http2_block_done(&s.block);
	return 0;
}
