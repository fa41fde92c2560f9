#include "proxy/farewell.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define REASON_MAX 400

#define TLS_HANDSHAKE 22
#define TLS_ALERT 21
#define TLS_FATAL 2
#define TLS_ACCESS_DENIED 49

#define SSH_BLOCK 8 /* RFC 4253 6: before keys are agreed on */
#define SSH_PADDING_MIN 4
#define SSH_MSG_DISCONNECT 1
#define SSH_DISCONNECT_HOST_NOT_ALLOWED_TO_CONNECT 1

#define POSTGRES_VERSION_3 3u /* major, upper half of the word */
#define POSTGRES_SSL_REQUEST 80877103u
#define POSTGRES_GSSENC_REQUEST 80877104u
#define POSTGRES_STARTUP_MAX 10000 /* MAX_STARTUP_PACKET_LENGTH */

/* ---- Hearing ------------------------------------------------------------------------- */

static uint32_t word_at(struct osh_str bytes, size_t at)
{
	uint32_t word_be;

	memcpy(&word_be, bytes.data + at, sizeof(word_be));
	return ntohl(word_be);
}

/* Does it begin so, as far as it goes? */
static bool begins(struct osh_str bytes, const char *start)
{
	size_t len = strlen(start);

	return memcmp(bytes.data, start, bytes.len < len ? bytes.len : len) == 0;
}

static enum osh_tongue postgres(struct osh_str bytes)
{
	uint32_t len, code;

	if (bytes.len < 8)
		return OSH_TONGUE_MORE;
	len = word_at(bytes, 0);
	code = word_at(bytes, 4);
	if (len == OSH_POSTGRES_REQUEST_BYTES &&
	    (code == POSTGRES_SSL_REQUEST || code == POSTGRES_GSSENC_REQUEST))
		return OSH_TONGUE_POSTGRES_ASKS;
	return len > 8 && len <= POSTGRES_STARTUP_MAX && code >> 16 == POSTGRES_VERSION_3 ?
		       OSH_TONGUE_POSTGRES : OSH_TONGUE_UNKNOWN;
}

enum osh_tongue osh_tongue_of(struct osh_str bytes)
{
	static const char ssh[] = "SSH-2.0-";

	if (bytes.len == 0)
		return OSH_TONGUE_MORE;
	if (begins(bytes, "\x16\x03"))
		return bytes.len < 2 ? OSH_TONGUE_MORE : OSH_TONGUE_TLS;
	if (begins(bytes, ssh))
		return bytes.len < strlen(ssh) ? OSH_TONGUE_MORE : OSH_TONGUE_SSH;
	/* A length below 64 KiB. */
	if (bytes.data[0] == 0 && (bytes.len == 1 || bytes.data[1] == 0))
		return postgres(bytes);
	return OSH_TONGUE_UNKNOWN;
}

/* ---- Speaking -------------------------------------------------------------------------- */

static int put_byte(struct osh_buf *out, uint8_t byte)
{
	return osh_buf_append(out, &byte, 1);
}

static int put_word(struct osh_buf *out, uint32_t word)
{
	uint32_t word_be = htonl(word);

	return osh_buf_append(out, &word_be, sizeof(word_be));
}

static int say_tls(struct osh_buf *out)
{
	static const uint8_t alert[] = { TLS_ALERT, 3, 1, 0, 2, TLS_FATAL, TLS_ACCESS_DENIED };

	return osh_buf_append(out, alert, sizeof(alert));
}

/* An identification string of our own and one packet, before any key exchange: RFC 4253 11.1. */
static int say_ssh(struct osh_buf *out, struct osh_str text)
{
	static const char padding[SSH_BLOCK + SSH_PADDING_MIN];
	size_t payload = 1 + 4 + 4 + text.len + 4; /* number, code, text, language (empty) */
	size_t padding_len = SSH_BLOCK - (4 + 1 + payload) % SSH_BLOCK;
	int r;

	if (padding_len < SSH_PADDING_MIN)
		padding_len += SSH_BLOCK;
	r = osh_buf_append_c(out, "SSH-2.0-openshell\r\n");
	r = r < 0 ? r : put_word(out, (uint32_t)(1 + payload + padding_len));
	r = r < 0 ? r : put_byte(out, (uint8_t)padding_len);
	r = r < 0 ? r : put_byte(out, SSH_MSG_DISCONNECT);
	r = r < 0 ? r : put_word(out, SSH_DISCONNECT_HOST_NOT_ALLOWED_TO_CONNECT);
	r = r < 0 ? r : put_word(out, (uint32_t)text.len);
	r = r < 0 ? r : osh_buf_append_str(out, text);
	r = r < 0 ? r : put_word(out, 0);
	return r < 0 ? r : osh_buf_append(out, padding, padding_len);
}

static int put_field(struct osh_buf *out, char kind, struct osh_str value)
{
	int r = put_byte(out, (uint8_t)kind);

	r = r < 0 ? r : osh_buf_append_str(out, value);
	return r < 0 ? r : put_byte(out, 0);
}

/* 28000: invalid_authorization_specification. */
static int say_postgres(struct osh_buf *out, struct osh_str text)
{
	struct osh_str severity = osh_str("FATAL"), state = osh_str("28000");
	size_t len = 4 + 2 * (2 + severity.len) + (2 + state.len) + (2 + text.len) + 1;
	int r = put_byte(out, 'E');

	r = r < 0 ? r : put_word(out, (uint32_t)len);
	r = r < 0 ? r : put_field(out, 'S', severity);
	r = r < 0 ? r : put_field(out, 'V', severity);
	r = r < 0 ? r : put_field(out, 'C', state);
	r = r < 0 ? r : put_field(out, 'M', text);
	return r < 0 ? r : put_byte(out, 0);
}

int osh_farewell_write(enum osh_tongue tongue, const char *reason, struct osh_buf *out)
{
	char shown[REASON_MAX], text[REASON_MAX + 64];

	osh_str_escape(osh_str(reason), shown, sizeof(shown));
	snprintf(text, sizeof(text), "openshell: denied by the sandbox's policy: %s", shown);
	switch (tongue) {
	case OSH_TONGUE_TLS:
		return say_tls(out);
	case OSH_TONGUE_SSH:
		return say_ssh(out, osh_str(text));
	case OSH_TONGUE_POSTGRES:
		return say_postgres(out, osh_str(text));
	case OSH_TONGUE_POSTGRES_ASKS:
		return osh_buf_append_c(out, "N");
	case OSH_TONGUE_UNKNOWN:
	case OSH_TONGUE_MORE:
		break;
	}
	return -ENOENT;
}
