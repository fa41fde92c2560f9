#include "proxy/grpc.h"

#include <string.h>

#include "proxy/text_writer.h"

#define CONTENT_TYPE "application/grpc"

bool osh_grpc_is_call(struct osh_str type)
{
	size_t len = strlen(CONTENT_TYPE);

	return osh_str_has_prefix(type, CONTENT_TYPE) &&
	       (type.len == len || type.data[len] == '+' || type.data[len] == ';');
}

/* The codes of grpc/grpc doc/statuscodes.md. */
static const char *status_of(unsigned http_status)
{
	switch (http_status) {
	case 400:
		return "13"; /* INTERNAL */
	case 401:
		return "16"; /* UNAUTHENTICATED */
	case 403:
		return "7"; /* PERMISSION_DENIED */
	case 404:
		return "12"; /* UNIMPLEMENTED */
	case 429:
	case 502:
	case 503:
	case 504:
		return "14"; /* UNAVAILABLE */
	default:
		return "2"; /* UNKNOWN */
	}
}

/* Printable ASCII but for '%' stands for itself. */
static void put_message(struct osh_text_writer *w, struct osh_str message)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < message.len; i++) {
		unsigned char c = (unsigned char)message.data[i];
		const char escaped[] = { '%', digits[c >> 4], digits[c & 15] };
		bool plain = c >= 0x20 && c <= 0x7e && c != '%';

		osh_text_put(w, plain ? osh_str_n(message.data + i, 1) : osh_str_n(escaped, sizeof(escaped)));
	}
}

int osh_grpc_write_status(struct osh_buf *out, unsigned http_status, struct osh_str message)
{
	struct osh_text_writer w = { .out = out };

	osh_text_put_c(&w, "grpc-status: ");
	osh_text_put_c(&w, status_of(http_status));
	osh_text_put_c(&w, "\r\ngrpc-message: ");
	put_message(&w, message);
	osh_text_put_c(&w, "\r\n");
	return w.error;
}
